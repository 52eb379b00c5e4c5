//! Remote write: `POST /api/v1/write`, as other senders and Prometheus itself
//! do it.
//!
//! A body that cannot be read is not taken at all; of a good one each series is
//! for itself. What has no place and never will is told with 400, which senders
//! do not repeat; while the store does not take what there is, the answer is 503,
//! and senders keep what they have. Each sample is a line of the ledger.

use super::ingest::{Refused, refuse_auth};
use crate::aggregate::table::{self, Refusal};
use crate::aggregate::{SampleTable, sampled};
use crate::clock::Clock;
use crate::http::auth::{Auth, Scope};
use crate::lock::lock;
use crate::model::Labels;
use crate::model::label::NAME;
use crate::protocol::remote_write::{self, Series, Version};
use crate::protocol::{Reject, tag};
use crate::store::Store;
use crate::telemetry::{Limited, Telemetry, Transport};
use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;

/// How far back a sample may lie that is not in blocks yet, in ms; and how far
/// ahead.
pub const AGE_MAX_MS: i64 = 86_400_000;
pub const AHEAD_MAX_MS: i64 = 300_000;
/// Bodies that are unpacked at a time; others wait for their turn.
const TURNS: usize = 2;
/// Series that are told of in an answer.
const TOLD_MAX: usize = 10;
/// Seconds after which a sender should try again.
const RETRY_SECONDS: &str = "5";

/// What the handler needs.
pub struct WriteState {
    pub samples: Arc<Mutex<SampleTable>>,
    pub limits: table::Options,
    /// Length of a window in ms.
    pub interval_ms: i64,
    pub store: Arc<Store>,
    pub refused: Refused,
    pub telemetry: Arc<Telemetry>,
    pub auth: Arc<ArcSwap<Auth>>,
    pub clock: Arc<dyn Clock>,
    pub turns: Arc<Semaphore>,
}

impl WriteState {
    /// How many bodies may be unpacked at a time.
    pub fn turns() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(TURNS))
    }
}

/// `POST /api/v1/write`.
pub fn router(state: Arc<WriteState>) -> Router {
    Router::new().route("/api/v1/write", post(write)).with_state(state)
}

async fn write(State(state): State<Arc<WriteState>>, headers: HeaderMap, body: Bytes) -> Response {
    let now_ms = state.clock.now_ms();
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if let Err(error) = state.auth.load().check(Scope::Write, text(header::AUTHORIZATION), now_ms) {
        return refuse_auth(error);
    }
    let Some(version) = Version::of_content_type(text(header::CONTENT_TYPE).unwrap_or_default()) else {
        let message = "the content type must be application/x-protobuf, with proto=prometheus.WriteRequest or \
                       proto=io.prometheus.write.v2.Request\n";
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, message).into_response();
    };
    if !text(header::CONTENT_ENCODING).is_some_and(|coding| coding.eq_ignore_ascii_case("snappy")) {
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, "the content encoding must be snappy\n").into_response();
    }
    let turn = state.turns.clone().acquire_owned().await;
    let taken = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        take(&state, now_ms, version, &body)
    });
    match taken.await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::error!(%error, "taking a remote write failed");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn take(state: &WriteState, now_ms: i64, version: Version, body: &[u8]) -> Response {
    let mut samples = 0;
    let message = remote_write::unpacked(body);
    let sound = message.as_ref().map_err(|error| *error).and_then(|message| {
        // As a whole before any of it is taken.
        remote_write::read(version, message, |series| samples += series.samples.len())
    });
    let message = match (message, sound) {
        (Ok(message), Ok(())) => message,
        (_, Err(error)) | (Err(error), _) => {
            state.telemetry.received(Transport::RemoteWrite, 1);
            state.telemetry.rejected(Reject::BadWrite);
            (state.refused)(now_ms, &error.to_string(), Refusal::Rejected(Reject::BadWrite));
            let too_large = matches!(error, remote_write::Error::TooLong(_));
            let status = if too_large { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::BAD_REQUEST };
            return (status, format!("{error}\n")).into_response();
        }
    };
    if state.telemetry.store_failing_since_ms.value() > 0 {
        return later("the store does not take data at the moment\n");
    }
    if !lock(&state.samples).has_room(samples) {
        return later("too many samples wait to be written\n");
    }
    let mut taking = Taking {
        state,
        now_ms,
        // A window from now all that is taken is in the log.
        floor_ms: state
            .store
            .late_floor_ms(now_ms + 2 * state.interval_ms)
            .max(now_ms.saturating_sub(AGE_MAX_MS)),
        written: 0,
        refused: 0,
        told: Vec::new(),
    };
    // It was sound before.
    let _ = remote_write::read(version, &message, |series| taking.take(series));
    taking.answer()
}

fn later(message: &'static str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, RETRY_SECONDS)], message).into_response()
}

/// A message that is being taken.
struct Taking<'a> {
    state: &'a WriteState,
    now_ms: i64,
    floor_ms: i64,
    written: u64,
    refused: u64,
    /// What was refused, for the sender.
    told: Vec<String>,
}

impl Taking<'_> {
    fn take(&mut self, series: &Series<'_>) {
        let telemetry = &*self.state.telemetry;
        let all = series.samples.len() + series.histograms;
        telemetry.received(Transport::RemoteWrite, all as u64);
        telemetry.last_line_ms.set(self.now_ms);
        let labels = match labels(series, &self.state.limits) {
            Ok(labels) => labels,
            Err(reject) => {
                let sent = sent(series);
                return self.refuse(&sent, all, Refusal::Rejected(reject));
            }
        };
        let (mut in_time, mut too_old, mut too_new) = (Vec::with_capacity(series.samples.len()), 0, 0);
        for sample in &series.samples {
            match sample.timestamp_ms {
                at_ms if at_ms <= self.floor_ms => too_old += 1,
                at_ms if at_ms > self.now_ms.saturating_add(AHEAD_MAX_MS) => too_new += 1,
                _ => in_time.push(*sample),
            }
        }
        let mut refusals = vec![
            (series.histograms, Refusal::Rejected(Reject::NativeHistogram)),
            (too_old, Refusal::Rejected(Reject::TooOld)),
            (too_new, Refusal::Rejected(Reject::TooNew)),
        ];
        // A series of which nothing is taken is none.
        if !in_time.is_empty() {
            match lock(&self.state.samples).push(sampled::key(labels.clone()), &in_time) {
                Ok(()) => {
                    self.written += in_time.len() as u64;
                    telemetry.lines_accepted.add(in_time.len() as u64);
                }
                Err(_) => refusals.push((in_time.len(), Refusal::Limited(Limited::Series))),
            }
        }
        for (samples, refusal) in refusals.into_iter().filter(|(samples, _)| *samples > 0) {
            self.refuse(&labels.to_string(), samples, refusal);
        }
    }

    fn refuse(&mut self, series: &str, samples: usize, refusal: Refusal) {
        let telemetry = &*self.state.telemetry;
        self.refused += samples as u64;
        let why = match refusal {
            Refusal::Rejected(reject) => {
                (0..samples).for_each(|_| telemetry.rejected(reject));
                reject.explanation()
            }
            Refusal::Limited(limited) => {
                (0..samples).for_each(|_| telemetry.limited(limited));
                "limits.series or a limit of its prefix is reached"
            }
        };
        if samples > 0 {
            (self.state.refused)(self.now_ms, series, refusal);
            if self.told.len() < TOLD_MAX {
                self.told.push(format!("{series}: {why}\n"));
            }
        }
    }

    fn answer(self) -> Response {
        let written = [
            (HeaderName::from_static("x-prometheus-remote-write-samples-written"), self.written.to_string()),
            (HeaderName::from_static("x-prometheus-remote-write-histograms-written"), "0".to_owned()),
            (HeaderName::from_static("x-prometheus-remote-write-exemplars-written"), "0".to_owned()),
        ];
        if self.refused == 0 {
            return (StatusCode::NO_CONTENT, written).into_response();
        }
        let (refused, all) = (self.refused, self.refused + self.written);
        let message =
            format!("{refused} of {all} samples are not taken, the others are\n{}", self.told.concat());
        (StatusCode::BAD_REQUEST, written, message).into_response()
    }
}

/// The labels of a series as they are kept.
///
/// # Errors
/// Why they make none, or are beyond `limits`.
pub fn labels(series: &Series<'_>, limits: &table::Options) -> Result<Labels, Reject> {
    if series.is_cut || series.labels.len() > limits.labels_max + 1 {
        return Err(Reject::TooManyLabels);
    }
    let mut name: Option<&[u8]> = None;
    let mut others: Vec<(&[u8], &[u8])> = Vec::with_capacity(series.labels.len());
    for (label, value) in &series.labels {
        if std::str::from_utf8(label).is_err() || std::str::from_utf8(value).is_err() || label.is_empty() {
            return Err(Reject::BadLabels);
        }
        if label.len().max(value.len()) > limits.label_bytes_max {
            return Err(Reject::LabelTooLong);
        }
        let is_known = others.iter().any(|(known, _)| known == label);
        match *label == NAME.as_bytes() {
            true if name.is_some() => return Err(Reject::BadLabels),
            true => name = Some(value),
            false if is_known => return Err(Reject::BadLabels),
            // To Prometheus an empty label is none.
            false if value.is_empty() => {}
            false => others.push((label, value)),
        }
    }
    let name = name.filter(|name| !name.is_empty()).ok_or(Reject::BadLabels)?;
    tag::labels_of(name, others.into_iter(), limits.labels_max)
}

/// A series as it was sent, for those who read logs.
fn sent(series: &Series<'_>) -> String {
    let labels = series.labels.iter().take(32);
    let labels = labels.map(|(name, value)| {
        format!("{}={:?}", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
    });
    let mut text = labels.collect::<Vec<_>>().join(", ");
    let end = crate::model::label::beginning(&text, 500).len();
    text.truncate(end);
    format!("{{{text}}}")
}
