//! `GET /dashboard/live`: server-sent events. `flush` with the window's end
//! after each flush; `intake` when lines came in and the page asked for it.
//!
//! The number of listeners is capped; a stream ends when the browser leaves or
//! when the daemon drops its side of the watch.

use super::page_state::PageState;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// How often the counts of lines are looked at.
const INTAKE_EVERY: Duration = Duration::from_secs(1);
/// Events that may wait for a slow browser; it misses nothing by missing one.
const MAX_WAITING: usize = 4;

/// Follows the flushes.
pub async fn live(State(state): State<Arc<PageState>>) -> Response {
    let Ok(permit) = state.listeners.clone().try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many pages listen; this one asks now and then\n")
            .into_response();
    };
    let (sender, receiver) = mpsc::channel::<Result<Event, Infallible>>(MAX_WAITING);
    let mut flushed = state.parts.flushed.clone();
    flushed.mark_unchanged();
    let intake = state.parts.intake.clone();
    tokio::spawn(async move {
        let _permit = permit;
        let mut every = tokio::time::interval(INTAKE_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut known = intake();
        loop {
            let event = tokio::select! {
                () = sender.closed() => break,
                changed = flushed.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    let end_ms = *flushed.borrow_and_update();
                    Event::default().event("flush").data(end_ms.to_string())
                }
                _ = every.tick() => {
                    let now = intake();
                    if now == known {
                        continue;
                    }
                    known = now;
                    Event::default().event("intake").data(known.received.to_string())
                }
            };
            if let Err(mpsc::error::TrySendError::Closed(_)) = sender.try_send(Ok(event)) {
                break;
            }
        }
    });
    let mut response =
        Sse::new(ReceiverStream::new(receiver)).keep_alive(KeepAlive::default()).into_response();
    let buffering = axum::http::HeaderName::from_static("x-accel-buffering");
    response.headers_mut().insert(buffering, axum::http::HeaderValue::from_static("no"));
    response
}
