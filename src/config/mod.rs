//! The config: as written in TOML (`file.rs`) and what it means (`config.rs`).

pub mod error;
pub mod view;

pub use error::{Error, Problem, nearest};
