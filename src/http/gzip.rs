//! Answers of the API in gzip, for clients that take it: apart from the threads
//! that serve connections, at the lowest level, and so many at a time as there
//! are cores. While all are at work an answer goes out as it is.

use super::page_response::{accepts_gzip, gzipped};
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use tokio::sync::Semaphore;

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
    // It was computed within the limits of a query.
    let Ok(bytes) = axum::body::to_bytes(body, usize::MAX).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let whole = bytes.clone();
    let packed = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        gzipped(&whole, LEVEL)
    });
    let Ok(packed) = packed.await else { return Response::from_parts(head, Body::from(bytes)) };
    head.headers.remove(header::CONTENT_LENGTH);
    head.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    Response::from_parts(head, Body::from(packed))
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
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;
    use std::io::Read;

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
