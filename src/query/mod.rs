//! PromQL: parse, evaluate, answer.

pub mod source;

pub use source::{Source, SourceError};
