//! The daemon: builds the parts, joins them, and stops them in order.

pub mod admin_port;
pub mod alerting;
pub mod allocator;
pub mod evaluator;
pub mod flusher;
mod intake;
pub mod keeper;
pub mod kernel_drops;
pub mod marker_writer;
pub mod notices;
pub mod receive;
pub mod reject_log;
pub mod retention_change;
pub mod run;
pub mod secret_file;
pub mod self_metrics;
pub mod service;
mod store_figures;
mod store_opening;
mod threads;

pub use run::{Daemon, Error};
pub use store_opening::store_options;
