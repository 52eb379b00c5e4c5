//! Durable data.

pub mod state;
mod state_file;
