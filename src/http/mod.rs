//! HTTP: pages, the scrape endpoint, and the API.

pub mod api;
pub mod asset;
pub mod auth;
pub mod cors;
pub mod guard;
pub mod gzip;
pub mod live;
pub mod makers;
pub mod page;
mod page_file;
mod page_response;
mod page_state;
mod patience;
pub mod router;
pub mod scrape;
pub mod server;
