//! `/api/v1/status/{config,flags,runtimeinfo}`: what a Prometheus tells of itself.
//!
//! Only what is named here is told: figures and durations. No address, token, path
//! or text of the config gets out this way.

use super::ApiState;
use super::answer::{Failure, success};
use crate::model::duration::format_ms;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use serde_json::json;
use std::sync::Arc;

/// What is told of the daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Length of a window, after which rules are evaluated as well, in ms.
    pub interval_ms: i64,
    /// How long anything is kept, in ms.
    pub retention_ms: i64,
    /// Bytes of disk beyond which the oldest data is dropped before its time.
    pub max_bytes: Option<u64>,
    /// Ms since the epoch.
    pub started_ms: i64,
}

/// The routes.
pub(super) fn router() -> Router<Arc<ApiState>> {
    Router::new()
        .route("/api/v1/status/config", get(config))
        .route("/api/v1/status/flags", get(flags))
        .route("/api/v1/status/runtimeinfo", get(runtime_info))
}

/// As Prometheus would write it, what there is of it.
async fn config(State(state): State<Arc<ApiState>>) -> Response {
    let interval = span(state.settings.interval_ms);
    let timeout = span(state.engine.options().timeout.as_millis() as i64);
    let yaml = format!(
        "global:\n  scrape_interval: {interval}\n  scrape_timeout: {interval}\n  evaluation_interval: {interval}\n\
         # The settings of statsdeck are in its own file, which is not told here; queries take {timeout} at most.\n"
    );
    success(&json!({"yaml": yaml}).to_string(), &[])
}

async fn flags(State(state): State<Arc<ApiState>>) -> Response {
    let (options, settings) = (state.engine.options(), state.settings);
    let flags = json!({
        "query.lookback-delta": span(options.lookback_ms),
        "query.max-concurrency": state.bounds.running.to_string(),
        "query.max-samples": options.max_points.to_string(),
        "query.timeout": span(options.timeout.as_millis() as i64),
        "storage.tsdb.retention.size": size(settings.max_bytes),
        "storage.tsdb.retention.time": span(settings.retention_ms),
        "web.enable-admin-api": "false",
        "web.enable-lifecycle": "true",
        "web.enable-remote-write-receiver": "true",
    });
    success(&flags.to_string(), &[])
}

async fn runtime_info(State(state): State<Arc<ApiState>>) -> Result<Response, Failure> {
    let settings = state.settings;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let retention = match settings.max_bytes {
        Some(_) => format!("{} or {}", span(settings.retention_ms), size(settings.max_bytes)),
        None => span(settings.retention_ms),
    };
    let info = json!({
        "startTime": rfc3339(settings.started_ms)?,
        "serverTime": rfc3339(state.clock.now_ms())?,
        "GOMAXPROCS": threads,
        "storageRetention": retention,
    });
    Ok(success(&info.to_string(), &[]))
}

fn span(ms: i64) -> String {
    format_ms(ms.unsigned_abs())
}

/// As flags have it: without a limit, `0B`.
fn size(bytes: Option<u64>) -> String {
    format!("{}B", bytes.unwrap_or_default())
}

fn rfc3339(ms: i64) -> Result<String, Failure> {
    jiff::Timestamp::from_millisecond(ms)
        .map(|time| time.to_string())
        .map_err(|_| Failure::internal("the clock is out of range"))
}
