//! HTTP: pages, the scrape endpoint, and the API.

pub mod api;
pub mod auth;
pub mod guard;
pub mod router;
pub mod scrape;
pub mod server;
