//! HTTP: pages, the scrape endpoint, and the API.

pub mod api;
