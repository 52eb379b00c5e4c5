//! `/api/v1/markers`: what happened, such as deployments, and adding to it.
//! Reads and writes the state file, off the threads that serve connections.

use super::answer::Failure;
use super::params::{Params, invalid};
use crate::clock::Clock;
use crate::http::auth::{Auth, AuthError, Scope};
use crate::model::marker::AHEAD_MS_MAX;
use crate::model::{Marker, MarkerKind};
use crate::store::marker_table::MARKERS_MAX;
use crate::store::state::{self, StateStore};
use arc_swap::ArcSwap;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Markers in an answer that was not given a limit.
const LIMIT_DEFAULT: usize = 1_000;

/// Shared by the handlers.
pub struct MarkersState {
    pub store: Arc<StateStore>,
    pub auth: Arc<ArcSwap<Auth>>,
    pub clock: Arc<dyn Clock>,
    /// Older markers go.
    pub retention_ms: i64,
}

/// `GET`, for those who may read.
pub fn router() -> Router<Arc<MarkersState>> {
    Router::new().route("/api/v1/markers", get(list))
}

/// `POST`, which looks at the token itself.
pub fn write_router() -> Router<Arc<MarkersState>> {
    Router::new().route("/api/v1/markers", post(add))
}

/// A marker as it is answered.
#[derive(Serialize)]
struct Shown {
    /// In seconds since the epoch.
    time: f64,
    kind: &'static str,
    title: String,
    text: String,
    host: String,
    source: String,
    key: String,
    priority: &'static str,
    /// `key:value` each.
    tags: Vec<String>,
}

/// A marker as it is sent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    title: String,
    #[serde(default)]
    text: String,
    time: Option<Time>,
    kind: Option<String>,
    #[serde(default)]
    host: String,
    #[serde(default)]
    source: String,
    #[serde(default)]
    key: String,
    priority: Option<String>,
    #[serde(default)]
    tags: Tags,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Time {
    Seconds(f64),
    Text(String),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Tags {
    Pairs(BTreeMap<String, String>),
    List(Vec<String>),
}

impl Default for Tags {
    fn default() -> Self {
        Tags::List(Vec::new())
    }
}

#[derive(Serialize)]
struct Success<T> {
    status: &'static str,
    data: T,
}

async fn list(State(state): State<Arc<MarkersState>>, params: Params) -> Result<Response, Failure> {
    let start_ms = params.time_ms("start")?.unwrap_or(0);
    let end_ms = params.time_ms("end")?.unwrap_or(i64::MAX);
    if start_ms > end_ms {
        return Err(invalid("end", "it is before start"));
    }
    let limit = params.limit()?.unwrap_or(LIMIT_DEFAULT).min(MARKERS_MAX as usize);
    let found = blocking(move || state.store.markers(start_ms, end_ms, limit)).await?;
    let data: Vec<Shown> = found.into_iter().map(Shown::from).collect();
    Ok(Json(Success { status: "success", data }).into_response())
}

async fn add(
    State(state): State<Arc<MarkersState>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    let now_ms = state.clock.now_ms();
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if let Err(error) = state.auth.load().check(Scope::Write, authorization, now_ms) {
        return Ok(refuse(error));
    }
    let sent: Sent = serde_json::from_slice(&body)
        .map_err(|error| Failure::bad_data(format!("no marker, such as {{\"title\": \"…\"}}: {error}")))?;
    let marker = sent.marker(now_ms)?;
    let saved = marker.clone();
    let oldest_ms = now_ms - state.retention_ms;
    blocking(move || state.store.save_markers(&[saved], oldest_ms)).await?;
    let answer = Success { status: "success", data: Shown::from(marker) };
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, state::Error> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(Failure::internal(error.to_string())),
        Err(_) => Err(Failure::internal("the markers could not be reached; the log says more")),
    }
}

fn refuse(error: AuthError) -> Response {
    let status = match error {
        AuthError::Missing | AuthError::Unknown => StatusCode::UNAUTHORIZED,
        AuthError::Forbidden => StatusCode::FORBIDDEN,
        AuthError::NoRandomness => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
    let body = serde_json::json!({"status": "error", "errorType": "auth", "error": error.to_string()});
    (status, challenge, Json(body)).into_response()
}

impl Sent {
    fn marker(self, now_ms: i64) -> Result<Marker, Failure> {
        if self.title.trim().is_empty() {
            return Err(invalid("title", "it is empty"));
        }
        let kind = match &self.kind {
            None => MarkerKind::default(),
            Some(word) => MarkerKind::parse(word).ok_or_else(|| {
                invalid("kind", format!("{word:?} is none of \"info\", \"success\", \"warning\", \"error\""))
            })?,
        };
        let is_low_priority = match self.priority.as_deref() {
            None | Some("normal") => false,
            Some("low") => true,
            Some(word) => return Err(invalid("priority", format!("{word:?} is not \"normal\" or \"low\""))),
        };
        let at_ms = match &self.time {
            None => now_ms,
            Some(time) => time.ms().filter(|at_ms| *at_ms > 0).ok_or_else(|| {
                invalid("time", "it is neither seconds since 1970 nor a text such as 2026-11-24T12:00:00Z")
            })?,
        };
        if at_ms > now_ms.saturating_add(AHEAD_MS_MAX) {
            return Err(invalid("time", "it is more than a day ahead"));
        }
        let tags = match self.tags {
            Tags::Pairs(pairs) => pairs.into_iter().collect(),
            Tags::List(tags) => tags.iter().map(|tag| pair(tag)).collect(),
        };
        let (title, text, host) = (self.title, self.text, self.host);
        let (source, key) = (self.source, self.key);
        Ok(Marker { at_ms, kind, title, text, host, source, key, is_low_priority, tags }.bounded())
    }
}

impl Time {
    fn ms(&self) -> Option<i64> {
        match self {
            Time::Seconds(seconds) => {
                let ms = (seconds * 1000.0).round();
                (ms.abs() < 1e15).then_some(ms as i64)
            }
            Time::Text(text) => text.parse::<jiff::Timestamp>().ok().map(|time| time.as_millisecond()),
        }
    }
}

impl From<Marker> for Shown {
    fn from(marker: Marker) -> Self {
        let tag =
            |(key, value): (String, String)| if value.is_empty() { key } else { format!("{key}:{value}") };
        Shown {
            time: marker.at_ms as f64 / 1000.0,
            kind: marker.kind.as_str(),
            title: marker.title,
            text: marker.text,
            host: marker.host,
            source: marker.source,
            key: marker.key,
            priority: if marker.is_low_priority { "low" } else { "normal" },
            tags: marker.tags.into_iter().map(tag).collect(),
        }
    }
}

fn pair(tag: &str) -> (String, String) {
    let (key, value) = tag.split_once(':').unwrap_or((tag, ""));
    (key.to_owned(), value.to_owned())
}
