//! The config: as written in TOML (`file.rs`) and what it means (`config.rs`).

pub mod alert;
pub mod error;

pub use error::{Error, Problem, nearest};
