//! The config: as written in TOML (`file.rs`) and what it means (`config.rs`).

pub mod error;
pub mod view;
mod view_text;

pub use error::{Error, Problem, nearest};
