//! The daemon: builds the parts, joins them, and stops them in order.

pub mod admin_port;
pub mod alerting;
pub mod allocator;
mod core;
mod error;
pub mod evaluator;
pub mod flusher;
mod intake;
pub mod keeper;
pub mod kernel_drops;
pub mod marker_writer;
pub mod notices;
mod ports;
pub mod receive;
mod recovery;
pub mod reject_log;
pub mod retention_change;
pub mod run;
pub mod secret_file;
pub mod self_metrics;
pub mod service;
mod serving;
mod store_figures;
mod threads;

pub use error::Error;
pub use recovery::store_options;
pub use run::Daemon;
