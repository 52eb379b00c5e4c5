//! The HTTP API under `/api/v1`: Prometheus' own, so that what can read a
//! Prometheus can read us.

pub mod alerts;
mod answer;
mod evaluation;
pub mod health;
pub mod ingest;
pub mod item;
pub mod markers;
mod params;
mod parts;
mod query;
pub mod sending;
mod series;
mod settings;
mod state;
mod status;
pub mod top;
mod tree;
pub mod write;

pub use state::{ApiState, Bounds};

pub use query::router;
pub use settings::Settings;
