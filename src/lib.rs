//! statsdeck: StatsD and DogStatsD in; exact rollups on disk, PromQL, a
//! dashboard, a Prometheus scrape endpoint and alert notices out.
//!
//! `ARCHITECTURE.md` has the map. Floors import downwards only.

// floor 9
pub mod cli;
// floor 8
pub mod daemon;
// floor 7
pub mod config;
// floor 6
pub mod admin;
pub mod http;
// floor 5
pub mod dashboard;
pub mod notify;
// floor 4
pub mod alert;
pub mod exchange;
// floor 3
pub mod query;
// floor 2
pub mod aggregate;
pub mod ingest;
pub mod store;
// floor 1
pub mod catalogue;
pub mod exposition;
pub mod mapping;
pub mod protocol;
pub mod telemetry;
pub mod workers;
// floor 0
pub mod clock;
pub mod lock;
pub mod model;
