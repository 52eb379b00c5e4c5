//! Durable data.

pub mod state;
