//! How much the answers take that are being sent, all together: a client that reads
//! slowly holds its answer as long as `patience.rs` lets it, and there may be many.
//!
//! Short answers always go out: of those there are as many as connections. A longer
//! one has its room from when it was computed until its last byte was taken; where
//! there is none, it is let go of and refused.

use super::answer::Failure;
use crate::telemetry::{Counter, Family, FamilyKind};
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Longest answer that counts as short, in bytes.
const SHORT_BYTES: usize = 256 << 10;
/// What room is counted in.
const UNIT_BYTES: usize = 1 << 10;

/// The bytes that an answer takes until it is sent, as its maker knows them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held(pub usize);

/// Room for the answers that are being sent.
#[derive(Debug)]
pub struct Sending {
    room: Arc<Semaphore>,
    units: usize,
    refused: Counter,
}

impl Sending {
    /// Room for so many bytes.
    pub fn new(bytes: usize) -> Self {
        let units = (bytes / UNIT_BYTES).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Sending { room: Arc::new(Semaphore::new(units)), units, refused: Counter::default() }
    }

    /// Room for an answer; one that takes more than there is gets all of it.
    fn take(&self, bytes: usize) -> Option<Room> {
        let units = bytes.div_ceil(UNIT_BYTES).min(self.units) as u32;
        let permit = Arc::clone(&self.room).try_acquire_many_owned(units).ok();
        if permit.is_none() {
            self.refused.add(1);
        }
        permit.map(|permit| Room(Arc::new(permit)))
    }

    fn taken_bytes(&self) -> usize {
        self.units.saturating_sub(self.room.available_permits()) * UNIT_BYTES
    }

    pub(super) fn families(&self) -> [Family; 2] {
        let level = |value: f64| vec![(vec![], value)];
        [
            Family {
                name: "statsdeck_answers_sending_bytes",
                kind: FamilyKind::Gauge,
                help: "Memory of long answers of the API that clients have not read to their end.",
                samples: level(self.taken_bytes() as f64),
            },
            Family {
                name: "statsdeck_answers_refused_total",
                kind: FamilyKind::Counter,
                help: "Answers of the API that were not sent, as others took all the room.",
                samples: level(self.refused.value() as f64),
            },
        ]
    }
}

/// Sends what there is room for.
pub async fn layer(State(sending): State<Arc<Sending>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let held = response.extensions_mut().remove::<Held>();
    let Some(Held(bytes)) = held.filter(|held| held.0 > SHORT_BYTES) else { return response };
    match sending.take(bytes) {
        Some(room) => response.map(|body| Body::new(Sent { body, room })),
        None => {
            let taken = sending.taken_bytes() >> 20;
            let message = format!(
                "the answer has {} MiB, and others that are being sent take {taken} MiB of the {} MiB for all; \
                 try again later, or ask for less",
                bytes.div_ceil(1 << 20),
                (sending.units * UNIT_BYTES) >> 20
            );
            Failure::unavailable(message).into_response()
        }
    }
}

/// Shared by an answer's body and by what of it waits in the connection.
#[derive(Clone)]
struct Room(#[expect(dead_code, reason = "it is given back when it is dropped")] Arc<OwnedSemaphorePermit>);

/// A body that gives its room back once all of it was taken.
struct Sent {
    body: Body,
    room: Room,
}

struct Piece(Bytes, #[expect(dead_code, reason = "it is given back when it is dropped")] Room);

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let kept =
            |frame: Frame<Bytes>| frame.map_data(|bytes| Bytes::from_owner(Piece(bytes, self.room.clone())));
        Poll::Ready(frame.map(|frame| frame.map(kept)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::http::StatusCode;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use http_body_util::BodyExt;
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;

    const LONG: usize = 1 << 20;

    async fn ask(sending: &Arc<Sending>, bytes: usize) -> Response {
        let answer = move || async move {
            let mut response = Response::new(Body::from("7".repeat(bytes)));
            response.extensions_mut().insert(Held(bytes));
            response
        };
        let router =
            Router::new().route("/", get(answer)).layer(from_fn_with_state(Arc::clone(sending), layer));
        TowerToHyperService::new(router).call(Request::get("/").body(Body::empty()).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn answers_that_nobody_reads_take_no_more_than_the_room_for_all() {
        let sending = Arc::new(Sending::new(2 * LONG));
        let waiting = [ask(&sending, LONG).await, ask(&sending, LONG).await];
        assert_eq!(sending.taken_bytes(), 2 * LONG);
        let refused = ask(&sending, LONG).await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        let said = refused.into_body().collect().await.unwrap().to_bytes();
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains("\"unavailable\"") && said.contains("take 2 MiB of the 2 MiB"), "{said}");
        assert_eq!(sending.refused.value(), 1);
        assert_eq!(ask(&sending, SHORT_BYTES).await.status(), StatusCode::OK, "short ones go out");
        drop(waiting);
        assert_eq!(ask(&sending, LONG).await.status(), StatusCode::OK);
        assert_eq!(sending.taken_bytes(), 0);
    }

    #[tokio::test]
    async fn room_is_given_back_when_the_last_byte_was_taken_and_not_before() {
        let sending = Arc::new(Sending::new(LONG));
        // More than there is: all of it, for it alone.
        let answer = ask(&sending, 3 * LONG).await;
        assert_eq!(answer.body().size_hint().exact(), Some(3 * LONG as u64));
        assert_eq!(ask(&sending, LONG).await.status(), StatusCode::SERVICE_UNAVAILABLE);
        let mut body = answer.into_body();
        let mut bytes = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(body.frame().await.is_none());
        drop(body);
        let last = bytes.split_off(3 * LONG - 1);
        drop(bytes);
        assert_eq!(sending.taken_bytes(), LONG, "a byte waits in the connection");
        drop(last);
        assert_eq!(sending.taken_bytes(), 0);
    }
}
