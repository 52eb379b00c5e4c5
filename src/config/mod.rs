//! The config: as written in TOML (`file.rs`) and what it means (`config.rs`).

pub mod alert;
#[expect(clippy::module_inception, reason = "the folder's main concept has its name")]
pub mod config;
pub mod error;
pub mod file;
mod go_duration;
pub mod limits;
mod listen;
pub mod mapping;
mod mapping_file;
pub mod query;
pub mod size;
pub mod tier;
pub mod view;
mod view_text;

pub use config::Config;
pub use error::{Error, Problem, nearest};
pub use mapping::Mapping;
