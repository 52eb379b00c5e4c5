//! PromQL: parse, evaluate, answer.

mod aggregation;
mod binary;
mod cancel;
mod column;
mod distribution;
mod engine;
mod error;
mod eval;
pub mod expr;
mod function;
pub mod function_table;
mod histogram_function;
mod label_function;
mod math;
pub mod memory;
pub mod notation;
pub mod number;
mod over_time;
mod parse;
mod plan;
mod rate;
pub mod source;
mod sum;
pub mod testlang;
mod totals;
mod track;
mod value;

pub use cancel::Cancel;
pub use engine::{Engine, Options};
pub use error::Error;
pub use expr::{Expr, Parsed, Selector, ValueType};
pub use memory::MemorySource;
pub use parse::{format, parse_selector};
pub use source::{Source, SourceError};
pub use value::{MatrixSeries, Number, QueryResult, ScalarPoint, StringPoint, Value, VectorPoint};
