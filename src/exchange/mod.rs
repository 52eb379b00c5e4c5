//! Data out of the store as files for other tools, and files of other tools
//! into it. Formats are read and written here; what is on disk is `store`'s.

pub mod error;
pub mod export;
pub mod hdr_log;
pub mod import;
pub mod live_store;
pub mod open_metrics;
pub mod open_metrics_text;
#[cfg(feature = "parquet")]
pub mod parquet_file;
pub mod row;
pub mod spool;
pub mod whisper;

pub use error::Error;
