//! Metrics by HTTP: `POST /metrics` and the token that goes with it.
//!
//! A request with a bad item is not taken at all: the first one is named by its
//! index and field. Of a good request the answer says how many items went into
//! overflow series, as a limit is reached. Each item is a line of the ledger.

use crate::aggregate::Table;
use crate::aggregate::table::{self, Refusal};
use crate::clock::Clock;
use crate::http::auth::{self, Auth, AuthError, Scope};
use crate::model::{MetricType, Observation, Value};
use crate::protocol::tag::{self, Tags};
use crate::protocol::{Line, Reject, number};
use crate::telemetry::{Limited, Telemetry, Transport};
use arc_swap::ArcSwap;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use serde_json::{Value as JsonValue, json};
use smallvec::smallvec;
use std::sync::{Arc, Mutex};

/// Most items of one request.
pub const ITEMS_MAX: usize = 10_000;
/// How much of a body that is no JSON is told of.
const EXCERPT_BYTES: usize = 1000;
/// Longest name, key or value of an item in bytes.
const TEXT_BYTES_MAX: usize = 4096;

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

/// One item of a request, checked.
#[derive(Debug)]
struct Item {
    name: String,
    tags: String,
    metric_type: MetricType,
    value: ItemValue,
    weight: f64,
}

#[derive(Debug)]
enum ItemValue {
    Number(f64),
    Member(String),
}

/// What is wrong with which field of an item.
#[derive(Debug, PartialEq)]
struct BadField {
    field: &'static str,
    message: String,
    reject: Reject,
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
    let items = match serde_json::from_slice::<JsonValue>(&body) {
        Ok(JsonValue::Array(items)) => items,
        Ok(one) => vec![one],
        Err(error) => {
            state.telemetry.received(Transport::Http, 1);
            state.telemetry.rejected(Reject::BadJson);
            let excerpt = String::from_utf8_lossy(&body[..body.len().min(EXCERPT_BYTES)]);
            (state.refused)(now_ms, &excerpt, Refusal::Rejected(Reject::BadJson));
            return bad_request(json!({"error": format!("the body is not JSON: {error}")}));
        }
    };
    if items.len() > ITEMS_MAX {
        count_refused(&state.telemetry, items.len(), Reject::Batch);
        let message = format!("{} items in one request; at most {ITEMS_MAX} are taken", items.len());
        return bad_request(json!({"error": message}));
    }
    let mut checked = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        match check(item, &state.limits) {
            Ok(item) => checked.push(item),
            Err(bad) => {
                count_refused(&state.telemetry, 1, bad.reject);
                count_refused(&state.telemetry, items.len() - 1, Reject::Batch);
                (state.refused)(now_ms, &item.to_string(), Refusal::Rejected(bad.reject));
                let error = format!("item {index}: {}: {}", bad.field, bad.message);
                return bad_request(json!({"error": error, "index": index, "field": bad.field}));
            }
        }
    }
    let inserted = insert(&state, now_ms, &checked);
    let accepted = checked.len() - inserted.limited;
    let mut answer = json!({"accepted": accepted});
    if inserted.overflowed > 0 {
        answer["overflowed"] = inserted.overflowed.into();
    }
    if inserted.limited == 0 {
        return (StatusCode::ACCEPTED, Json(answer)).into_response();
    }
    let error =
        format!("there is no room for series: {} of {} items were left out", inserted.limited, checked.len());
    answer["error"] = error.into();
    (StatusCode::TOO_MANY_REQUESTS, Json(answer)).into_response()
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
        let mut tags = Tags::default();
        if tags.push(item.tags.as_bytes()).is_err() {
            continue;
        }
        let value = match &item.value {
            ItemValue::Number(number) => Value::Number(*number),
            ItemValue::Member(member) => Value::Member(member.as_bytes()),
        };
        let observation = Observation { value, metric_type: item.metric_type, weight: item.weight };
        let line =
            Line { name: item.name.as_bytes(), tags, at_ms: None, observations: smallvec![observation] };
        match table.parsed(now_ms, &line) {
            Ok(()) => inserted.overflowed += usize::from(table.overflowed()),
            // To the sender, what a mapping drops was taken.
            Err(Refusal::Limited(Limited::MappingDrop)) => {}
            // Rejected is none: all were checked.
            Err(refusal @ (Refusal::Limited(_) | Refusal::Rejected(_))) => {
                inserted.limited += 1;
                (state.refused)(now_ms, &item.name, refusal);
            }
        }
    }
    inserted
}

fn check(item: &JsonValue, limits: &table::Options) -> Result<Item, BadField> {
    let bad = |field, message: &str, reject| BadField { field, message: message.into(), reject };
    let object = item.as_object().ok_or_else(|| bad("item", "must be an object", Reject::BadJson))?;
    let name = match object.get("metric").or_else(|| object.get("name")) {
        Some(JsonValue::String(name)) => name.trim(),
        Some(_) => return Err(bad("metric", "must be a text", Reject::EmptyName)),
        None => return Err(bad("metric", "is missing", Reject::EmptyName)),
    };
    if name.is_empty() {
        return Err(bad("metric", "must not be empty", Reject::EmptyName));
    }
    if name.len() > TEXT_BYTES_MAX || name.contains(['|', '\n', '\0']) {
        return Err(bad("metric", "must be at most 4096 bytes, without '|' and line feeds", Reject::BadJson));
    }
    let metric_type = match object.get("type").map_or(Some("count"), JsonValue::as_str) {
        Some("count" | "counter" | "c") => MetricType::Counter,
        Some("gauge" | "g") => MetricType::Gauge,
        Some("timing" | "timer" | "ms") => MetricType::Timer,
        Some("histogram" | "distribution" | "h" | "d") => MetricType::Histogram,
        Some("set" | "s") => MetricType::Set,
        _ => {
            let message =
                "must be \"count\", \"gauge\", \"timing\", \"histogram\", \"distribution\" or \"set\"";
            return Err(bad("type", message, Reject::UnknownType));
        }
    };
    let value = value(object.get("value"), metric_type)?;
    let weight = match object.get("sample_rate") {
        None | Some(JsonValue::Null) => 1.0,
        Some(rate) => match rate.as_f64() {
            Some(rate) if rate > 0.0 && rate <= 1.0 => (1.0 / rate).min(crate::protocol::line::WEIGHT_MAX),
            _ => {
                return Err(bad(
                    "sample_rate",
                    "must be a number above 0 and at most 1",
                    Reject::BadSampleRate,
                ));
            }
        },
    };
    let tags = tags(object.get("tags"))?;
    fits(name, &tags, limits).map_err(|reject| bad("tags", reject.explanation(), reject))?;
    Ok(Item { name: name.to_owned(), tags, metric_type, value, weight })
}

/// Whether name and tags are within the limits that lines have.
fn fits(name: &str, tags: &str, limits: &table::Options) -> Result<(), Reject> {
    if name.len() + tags.len() > limits.line_bytes_max {
        return Err(Reject::LineTooLong);
    }
    if tags.split(',').count() > limits.labels_max {
        // Some may come twice.
        let mut sections = Tags::default();
        sections.push(tags.as_bytes())?;
        tag::labels(name.as_bytes(), &sections, limits.labels_max)?;
    }
    Ok(())
}

fn value(written: Option<&JsonValue>, metric_type: MetricType) -> Result<ItemValue, BadField> {
    let bad = |message: &str, reject| BadField { field: "value", message: message.into(), reject };
    let written = written.ok_or_else(|| bad("is missing", Reject::EmptyValue))?;
    if metric_type == MetricType::Set {
        return match written {
            JsonValue::String(member) => Ok(ItemValue::Member(member.clone())),
            JsonValue::Number(number) => Ok(ItemValue::Member(number.to_string())),
            _ => Err(bad("must be a text or a number", Reject::BadValue)),
        };
    }
    let number = match written {
        JsonValue::Number(number) => number.as_f64().filter(|number| number.is_finite()),
        // Clients that format numbers themselves.
        JsonValue::String(text) => number::finite(text.trim().as_bytes()).ok(),
        _ => None,
    };
    let number = number.ok_or_else(|| bad("must be a finite number", Reject::BadValue))?;
    Ok(ItemValue::Number(number))
}

/// Tags as one section of a line: from `{"key": "value"}` or `["key:value"]`.
fn tags(written: Option<&JsonValue>) -> Result<String, BadField> {
    let bad = |message: &str| BadField { field: "tags", message: message.into(), reject: Reject::BadJson };
    let mut section = String::new();
    let mut push = |key: &str, value: &str| {
        let key_fits = !key.is_empty() && key.len() <= TEXT_BYTES_MAX && !key.contains([',', ':', '|', '\n']);
        let value_fits = value.len() <= TEXT_BYTES_MAX && !value.contains([',', '|', '\n']);
        if !key_fits || !value_fits {
            return Err(bad("a key without ',', ':' and '|' and a value without ',' and '|' are needed"));
        }
        if !section.is_empty() {
            section.push(',');
        }
        section.push_str(key);
        section.push(':');
        section.push_str(value);
        Ok(())
    };
    match written {
        None | Some(JsonValue::Null) => {}
        Some(JsonValue::Object(tags)) => {
            for (key, value) in tags {
                match value {
                    JsonValue::String(value) => push(key, value)?,
                    JsonValue::Number(value) => push(key, &value.to_string())?,
                    JsonValue::Bool(value) => push(key, &value.to_string())?,
                    _ => return Err(bad("values must be texts, numbers or booleans")),
                }
            }
        }
        Some(JsonValue::Array(tags)) => {
            for tag in tags {
                let tag = tag.as_str().ok_or_else(|| bad("must be a list of texts, \"key:value\""))?;
                let (key, value) = tag.split_once(':').unwrap_or((tag, ""));
                push(key, value)?;
            }
        }
        Some(_) => return Err(bad("must be an object or a list of \"key:value\"")),
    }
    Ok(section)
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

fn refuse_auth(error: AuthError) -> Response {
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
