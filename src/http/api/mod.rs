//! The HTTP API under `/api/v1`: Prometheus' own, so that what can read a
//! Prometheus can read us.

mod answer;
mod query;
mod series;
mod state;

pub use state::ApiState;

pub use query::router;
