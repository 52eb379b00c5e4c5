//! statsdeck: StatsD and DogStatsD in; exact rollups on disk, PromQL, a
//! dashboard, a Prometheus scrape endpoint and alert notices out.
//!
//! `ARCHITECTURE.md` has the map. Floors import downwards only.

// floor 7
pub mod config;
// floor 6
pub mod http;
// floor 5
pub mod dashboard;
// floor 3
pub mod query;
// floor 0
pub mod clock;
pub mod model;
