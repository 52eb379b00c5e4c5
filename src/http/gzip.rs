//! Answers of the API in gzip, for clients that take it: apart from the threads
//! that serve connections, at the lowest level, and so many at a time as there
//! are cores. While all are at work an answer goes out as it is. All are compressed
//! part by part; one that is whole already is collected again, to tell its length.

use super::page_response::accepts_gzip;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::Frame;
use std::io::{self, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Smaller answers fit into a packet as they are.
const FROM_BYTES: u64 = 1_400;
const LEVEL: u32 = 1;

/// How many answers may be compressed at the same time.
#[derive(Clone, Debug)]
pub struct Gzip(Arc<Semaphore>);

impl Gzip {
    pub fn new(at_a_time: usize) -> Self {
        Gzip(Arc::new(Semaphore::new(at_a_time)))
    }
}

impl Default for Gzip {
    fn default() -> Self {
        Gzip::new(std::thread::available_parallelism().map_or(1, usize::from))
    }
}

/// Compresses what is worth it.
pub async fn layer(State(gzip): State<Gzip>, request: Request, next: Next) -> Response {
    let is_taken = accepts_gzip(request.headers());
    let mut response = next.run(request).await;
    let is_json = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    let is_long = response.body().size_hint().lower() >= FROM_BYTES;
    if !is_json || !is_long || response.headers().contains_key(header::CONTENT_ENCODING) {
        return response;
    }
    response.headers_mut().append(header::VARY, HeaderValue::from_static("accept-encoding"));
    let turn = if is_taken { Arc::clone(&gzip.0).try_acquire_owned().ok() } else { None };
    let Some(turn) = turn else { return response };
    let (mut head, body) = response.into_parts();
    let is_whole = body.size_hint().exact().is_some();
    let mut packed = Body::new(Packed::new(body, turn, gzip));
    // Of what is there already the length can be told.
    if is_whole {
        // It was computed within the limits of a query.
        let Ok(bytes) = axum::body::to_bytes(packed, usize::MAX).await else {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        };
        packed = Body::from(bytes);
    }
    head.headers.remove(header::CONTENT_LENGTH);
    head.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    Response::from_parts(head, packed)
}

type Encoder = GzEncoder<Vec<u8>>;
/// Compressing of a part: what comes of it, and the encoder for the next one.
type Work = Pin<Box<dyn Future<Output = io::Result<(Bytes, Option<Encoder>)>> + Send>>;

/// A body, compressed frame by frame as it is read: of a long answer no more is in
/// memory than without. Each frame waits for its turn, so that
/// a client that reads slowly has none meanwhile.
struct Packed {
    body: Body,
    gzip: Gzip,
    /// The turn that the first frame has already.
    turn: Option<OwnedSemaphorePermit>,
    /// `None` while it is at work, and when all is done.
    encoder: Option<Encoder>,
    work: Option<Work>,
}

impl Packed {
    fn new(body: Body, turn: OwnedSemaphorePermit, gzip: Gzip) -> Self {
        let encoder = GzEncoder::new(Vec::new(), Compression::new(LEVEL));
        Packed { body, gzip, turn: Some(turn), encoder: Some(encoder), work: None }
    }

    /// Compresses `text`; without one, ends.
    fn begin(&mut self, mut encoder: Encoder, text: Option<Bytes>) -> Work {
        let (turns, turn) = (Arc::clone(&self.gzip.0), self.turn.take());
        Box::pin(async move {
            let turn = match turn {
                Some(turn) => turn,
                None => turns.acquire_owned().await.map_err(io::Error::other)?,
            };
            let packed = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                let Some(text) = text else { return Ok((encoder.finish()?.into(), None)) };
                encoder.write_all(&text)?;
                Ok((std::mem::take(encoder.get_mut()).into(), Some(encoder)))
            });
            packed.await.map_err(io::Error::other)?
        })
    }
}

impl HttpBody for Packed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        loop {
            if let Some(work) = &mut this.work {
                let done = ready!(work.as_mut().poll(context));
                this.work = None;
                match done {
                    Ok((packed, encoder)) => {
                        this.encoder = encoder;
                        // The encoder may have kept all of it.
                        if packed.is_empty() {
                            continue;
                        }
                        return Poll::Ready(Some(Ok(Frame::data(packed))));
                    }
                    Err(error) => return Poll::Ready(Some(Err(axum::Error::new(error)))),
                }
            }
            if this.encoder.is_none() {
                return Poll::Ready(None);
            }
            let text = match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => frame.into_data().ok(),
                Some(Err(error)) => {
                    this.encoder = None;
                    return Poll::Ready(Some(Err(error)));
                }
                None => None,
            };
            if let Some(encoder) = this.encoder.take() {
                this.work = Some(this.begin(encoder, text));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::http::Request;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use flate2::read::GzDecoder;
    use http_body_util::BodyExt;
    use hyper::body::SizeHint;
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;
    use std::io::Read;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio_stream::StreamExt;

    /// Frames of a body that count how many of them were asked for; after the last
    /// one comes an error, where it `fails`.
    fn frames(many: usize, fails: bool) -> (Arc<AtomicUsize>, Response) {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let frame = move |number: usize| {
            counted.fetch_add(1, Ordering::Relaxed);
            match number < many {
                true => Ok(Bytes::from("7".repeat(50_000))),
                false => Err(io::Error::other("as is tested")),
            }
        };
        let all = many + usize::from(fails);
        let body = tokio_stream::iter(0..all).map(frame);
        let body = Sized { body: Body::from_stream(body), lower: many as u64 * 50_000 };
        (asked, ([(header::CONTENT_TYPE, "application/json")], Body::new(body)).into_response())
    }

    /// A body whose least size is known, as that of a long answer is.
    struct Sized {
        body: Body,
        lower: u64,
    }

    impl HttpBody for Sized {
        type Data = Bytes;
        type Error = axum::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
            Pin::new(&mut self.body).poll_frame(context)
        }

        fn size_hint(&self) -> SizeHint {
            let mut hint = SizeHint::new();
            hint.set_lower(self.lower);
            hint
        }
    }

    async fn packed(gzip: &Gzip, many: usize, fails: bool) -> (Arc<AtomicUsize>, Response) {
        let (asked, response) = frames(many, fails);
        let response = Arc::new(std::sync::Mutex::new(Some(response)));
        let next = move || async move { response.lock().unwrap().take().unwrap() };
        let router = Router::new().route("/", get(next)).layer(from_fn_with_state(gzip.clone(), layer));
        let request = Request::get("/").header("accept-encoding", "gzip").body(Body::empty()).unwrap();
        let response = TowerToHyperService::new(router).call(request).await.unwrap();
        assert_eq!(response.headers()[header::CONTENT_ENCODING], "gzip");
        (asked, response)
    }

    #[tokio::test]
    async fn what_is_sent_in_parts_is_compressed_part_by_part() {
        let gzip = Gzip::new(1);
        let (asked, response) = packed(&gzip, 40, false).await;
        assert!(asked.load(Ordering::Relaxed) <= 1, "nothing is read before it is sent");
        let mut body = response.into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(asked.load(Ordering::Relaxed) < 10, "{asked:?} parts are in memory");
        // Whoever reads slowly keeps no other from being compressed.
        assert_eq!(gzip.0.available_permits(), 1);
        let rest = body.collect().await.unwrap().to_bytes();
        let mut text = String::new();
        GzDecoder::new(&*[first, rest].concat()).read_to_string(&mut text).unwrap();
        assert!(text.len() == 2_000_000 && text.bytes().all(|byte| byte == b'7'));
    }

    #[tokio::test]
    async fn half_an_answer_is_an_error() {
        let (_, response) = packed(&Gzip::new(1), 2, true).await;
        assert!(response.into_body().collect().await.is_err());
    }

    #[tokio::test]
    async fn long_json_is_compressed_for_those_who_take_it_while_there_is_room() {
        let cases = [
            (1, "/long", "gzip", true),
            (1, "/long", "identity", false),
            (1, "/short", "gzip", false),
            (1, "/page", "gzip", false),
            (0, "/long", "gzip", false),
        ];
        let json = |size: usize| ([(header::CONTENT_TYPE, "application/json")], "7".repeat(size));
        for (at_a_time, path, encoding, expected) in cases {
            let router = Router::new()
                .route("/long", get(move || async move { json(10_000) }))
                .route("/short", get(move || async move { json(100) }))
                .route("/page", get(|| async { "7".repeat(10_000) }))
                .layer(from_fn_with_state(Gzip::new(at_a_time), layer));
            let request = Request::get(path).header("accept-encoding", encoding).body(Body::empty()).unwrap();
            let response = TowerToHyperService::new(router).call(request).await.unwrap();
            let is_packed = response.headers().contains_key(header::CONTENT_ENCODING);
            assert_eq!(is_packed, expected, "{at_a_time} {path} {encoding}");
            assert!(response.body().size_hint().exact().is_some(), "its length can be told");
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let mut text = String::new();
            match is_packed {
                true => GzDecoder::new(&*body).read_to_string(&mut text).unwrap(),
                false => (&*body).read_to_string(&mut text).unwrap(),
            };
            assert!(text.bytes().all(|byte| byte == b'7') && !text.is_empty());
        }
    }
}
