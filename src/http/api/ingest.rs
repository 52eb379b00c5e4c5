//! Metrics by HTTP: `POST /metrics` and the token that goes with it.
//!
//! A request with a bad item (`item.rs`) is not taken at all: the first one is
//! named by its index and field. Of a good request the answer says how many
//! items went into overflow series, as a limit is reached. Each item is a line
//! of the ledger.

use super::item::{self, BadBody, Item};
use crate::aggregate::Table;
use crate::aggregate::table::{self, Refusal};
use crate::clock::Clock;
use crate::http::auth::{self, Auth, AuthError, Scope};
use crate::protocol::Reject;
use crate::telemetry::{Limited, Telemetry, Transport};
use arc_swap::ArcSwap;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use serde_json::{Value as JsonValue, json};
use std::sync::{Arc, Mutex};

/// How much of a body that is no JSON is told of.
const EXCERPT_BYTES: usize = 1000;

/// Hears of an item that was not taken: the time in ms, the item, and why.
pub type Refused = Arc<dyn Fn(i64, &str, Refusal) + Send + Sync>;

/// What the handlers need.
pub struct IngestState {
    pub table: Arc<Mutex<Table>>,
    /// Those of the table.
    pub limits: table::Options,
    pub refused: Refused,
    pub telemetry: Arc<Telemetry>,
    pub auth: Arc<ArcSwap<Auth>>,
    pub clock: Arc<dyn Clock>,
}

/// `POST /metrics` and `POST /api/v1/token`.
pub fn router(state: Arc<IngestState>) -> Router {
    Router::new().route("/metrics", post(ingest)).route("/api/v1/token", post(token)).with_state(state)
}

async fn ingest(State(state): State<Arc<IngestState>>, headers: HeaderMap, body: Bytes) -> Response {
    let now_ms = state.clock.now_ms();
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if let Err(error) = state.auth.load().check(Scope::Write, authorization, now_ms) {
        return refuse_auth(error);
    }
    if headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
    {
        count_refused(&state.telemetry, 1, Reject::BadJson);
        (state.refused)(now_ms, "a compressed body", Refusal::Rejected(Reject::BadJson));
        let error = json!({"error": "compressed bodies are not taken; send JSON without Content-Encoding"});
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, Json(error)).into_response();
    }
    let items = match item::read(&body, &state.limits) {
        Ok(items) => items,
        Err(bad) => return refuse_body(&state, now_ms, &body, bad),
    };
    let inserted = insert(&state, now_ms, &items);
    let accepted = items.len() - inserted.limited;
    let mut answer = json!({"accepted": accepted});
    if inserted.overflowed > 0 {
        answer["overflowed"] = inserted.overflowed.into();
    }
    if inserted.limited == 0 {
        return (StatusCode::ACCEPTED, Json(answer)).into_response();
    }
    let error =
        format!("there is no room for series: {} of {} items were left out", inserted.limited, items.len());
    answer["error"] = error.into();
    (StatusCode::TOO_MANY_REQUESTS, Json(answer)).into_response()
}

/// Nothing of the body was taken: all its items go into the ledger.
fn refuse_body(state: &IngestState, now_ms: i64, body: &[u8], bad: BadBody) -> Response {
    match bad {
        BadBody::NotJson(error) => {
            count_refused(&state.telemetry, 1, Reject::BadJson);
            let excerpt = String::from_utf8_lossy(&body[..body.len().min(EXCERPT_BYTES)]);
            (state.refused)(now_ms, &excerpt, Refusal::Rejected(Reject::BadJson));
            bad_request(json!({"error": format!("the body is not JSON: {error}")}))
        }
        BadBody::TooMany(items) => {
            count_refused(&state.telemetry, items, Reject::Batch);
            let message = format!("{items} items in one request; at most {} are taken", item::ITEMS_MAX);
            bad_request(json!({"error": message}))
        }
        BadBody::Item { index, items, item, bad } => {
            count_refused(&state.telemetry, 1, bad.reject);
            count_refused(&state.telemetry, items - 1, Reject::Batch);
            (state.refused)(now_ms, &item, Refusal::Rejected(bad.reject));
            let error = format!("item {index}: {}: {}", bad.field, bad.message);
            bad_request(json!({"error": error, "index": index, "field": bad.field}))
        }
    }
}

/// What became of the items of a request.
#[derive(Default)]
struct Inserted {
    /// Left out by a limit.
    limited: usize,
    /// Taken into overflow series.
    overflowed: usize,
}

/// Puts the items into the open window.
fn insert(state: &IngestState, now_ms: i64, items: &[Item]) -> Inserted {
    // A panic while the table was locked would have ended the process's thread;
    // its cells are valid between lines.
    let mut table = state.table.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut inserted = Inserted::default();
    for item in items {
        match table.parsed(now_ms, &item.line()) {
            Ok(()) => inserted.overflowed += usize::from(table.overflowed()),
            // To the sender, what a mapping drops was taken.
            Err(Refusal::Limited(Limited::MappingDrop)) => {}
            // Rejected is none: all were checked.
            Err(refusal @ (Refusal::Limited(_) | Refusal::Rejected(_))) => {
                inserted.limited += 1;
                (state.refused)(now_ms, item.name(), refusal);
            }
        }
    }
    inserted
}

/// `POST /api/v1/token`: an API key, as JSON `{"api_key": "…"}`, as a form
/// field of that name (or OAuth's `client_secret`), in `X-API-Key` or in
/// `Authorization`, for a bearer token.
async fn token(State(state): State<Arc<IngestState>>, headers: HeaderMap, body: Bytes) -> Response {
    let Some(key) = key_of(&headers, &body) else {
        return bad_request(
            json!({"error": "no API key: send {\"api_key\": \"…\"} or the header X-API-Key"}),
        );
    };
    match state.auth.load().bearer(&key, state.clock.now_ms()) {
        Ok(bearer) => {
            let answer = json!({
                "access_token": bearer,
                "token": bearer,
                "token_type": "Bearer",
                "expires_in": auth::BEARER_TTL_MS / 1000,
            });
            ([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response()
        }
        Err(error) => refuse_auth(error),
    }
}

fn key_of(headers: &HeaderMap, body: &[u8]) -> Option<String> {
    const FIELDS: [&str; 5] = ["api_key", "apiKey", "key", "client_secret", "token"];
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(key) = text("x-api-key") {
        return Some(key.trim().to_owned());
    }
    if let Ok(JsonValue::Object(object)) = serde_json::from_slice(body) {
        let field = FIELDS.iter().find_map(|field| object.get(*field)?.as_str());
        if let Some(key) = field {
            return Some(key.to_owned());
        }
    } else if let Some((_, key)) =
        form_urlencoded::parse(body).find(|(name, _)| FIELDS.contains(&name.as_ref()))
    {
        return Some(key.into_owned());
    }
    auth::presented(text("authorization")?)
}

pub(super) fn refuse_auth(error: AuthError) -> Response {
    let status = match error {
        AuthError::Missing | AuthError::Unknown => StatusCode::UNAUTHORIZED,
        AuthError::Forbidden => StatusCode::FORBIDDEN,
        AuthError::NoRandomness => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
    (status, challenge, Json(json!({"error": error.to_string()}))).into_response()
}

fn bad_request(body: JsonValue) -> Response {
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}

fn count_refused(telemetry: &Telemetry, lines: usize, reject: Reject) {
    telemetry.received(Transport::Http, lines as u64);
    (0..lines).for_each(|_| telemetry.rejected(reject));
}
