//! Queries over HTTP.

use super::ApiState;
use axum::Router;
use std::sync::Arc;

/// The routes of the query API.
pub fn router() -> Router<Arc<ApiState>> {
    Router::new()
}
