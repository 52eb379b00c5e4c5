//! Prometheus' text format, as others scrape it.

pub mod text;

pub use text::Page;
