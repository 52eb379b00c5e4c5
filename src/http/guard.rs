//! What every request passes: the count of requests, the bounds of its body,
//! the check of tokens, and the refusal of what other sites' pages send.

use super::auth::{Auth, AuthError, Scope};
use super::cors::Cors;
use crate::clock::Clock;
use crate::telemetry::Telemetry;
use arc_swap::ArcSwap;
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::LengthLimitError;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

/// Largest body of a request in bytes.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// A body must have come by then: who sends it slowly holds a connection.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Shared by the guards.
#[derive(Clone)]
pub struct Guard {
    pub auth: Arc<ArcSwap<Auth>>,
    pub clock: Arc<dyn Clock>,
    pub telemetry: Arc<Telemetry>,
    pub cors: Cors,
}

/// Lets requests through that may read.
pub async fn read(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    guarded(Scope::Read, guard, request, next).await
}

/// Lets requests through that may change settings.
pub async fn admin(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    guarded(Scope::Admin, guard, request, next).await
}

/// Counts requests, reads their bodies, and refuses those that a page of another site sends with
/// the visitor's browser: an open loopback port is no invitation to them.
pub async fn every(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    guard.telemetry.http_requests.add(1);
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if changes && from_another_site(request.headers()) && !guard.cors.admits(&request) {
        return (StatusCode::FORBIDDEN, "requests of other sites' pages are not taken\n").into_response();
    }
    match with_whole_body(request, BODY_TIMEOUT).await {
        Ok(request) => next.run(request).await,
        Err(refusal) => refusal,
    }
}

/// The request with its body in memory.
async fn with_whole_body(request: Request, timeout: Duration) -> Result<Request, Response> {
    if request.body().is_end_stream() {
        return Ok(request);
    }
    let (head, body) = request.into_parts();
    match tokio::time::timeout(timeout, axum::body::to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(Ok(bytes)) => Ok(Request::from_parts(head, Body::from(bytes))),
        Ok(Err(error)) if error.source().is_some_and(|source| source.is::<LengthLimitError>()) => {
            let message = format!("a body may have {BODY_BYTES_MAX} bytes at most\n");
            Err((StatusCode::PAYLOAD_TOO_LARGE, message).into_response())
        }
        Ok(Err(_)) => Err((StatusCode::BAD_REQUEST, "the body broke off\n").into_response()),
        Err(_) => Err((StatusCode::REQUEST_TIMEOUT, "the body did not come in time\n").into_response()),
    }
}

async fn guarded(scope: Scope, guard: Guard, request: Request, next: Next) -> Response {
    let authorization = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match guard.auth.load().check(scope, authorization, guard.clock.now_ms()) {
        Ok(()) => next.run(request).await,
        Err(error) => {
            let status = match error {
                AuthError::Missing | AuthError::Unknown | AuthError::NoRandomness => StatusCode::UNAUTHORIZED,
                AuthError::Forbidden => StatusCode::FORBIDDEN,
            };
            // Basic, because that is what a browser can ask its user for.
            let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"statsdeck\"")];
            (status, challenge, format!("{error}\n")).into_response()
        }
    }
}

fn from_another_site(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    match (text("origin"), text("host")) {
        (Some(origin), Some(host)) => origin.split_once("://").is_none_or(|(_, from)| from != host),
        (Some(_), None) => true,
        (None, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bodies_have_a_size_and_a_time() {
        let begun = tokio_stream::once(Ok::<_, std::io::Error>("begun"));
        let slow = Body::from_stream(tokio_stream::StreamExt::chain(begun, tokio_stream::pending()));
        let cases = [
            (Body::empty(), Ok(0)),
            (Body::from("12345"), Ok(5)),
            (Body::from(vec![0; BODY_BYTES_MAX]), Ok(BODY_BYTES_MAX)),
            (Body::from(vec![0; BODY_BYTES_MAX + 1]), Err(StatusCode::PAYLOAD_TOO_LARGE)),
            (slow, Err(StatusCode::REQUEST_TIMEOUT)),
        ];
        for (body, expected) in cases {
            let size = match with_whole_body(Request::new(body), Duration::from_millis(50)).await {
                Ok(request) => Ok(axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap().len()),
                Err(refusal) => Err(refusal.status()),
            };
            assert_eq!(size, expected);
        }
    }

    #[test]
    fn other_sites_are_told_from_clients_and_ourselves() {
        let cases: [(&[(&str, &str)], bool); 6] = [
            (&[], false),
            (&[("host", "127.0.0.1:8127")], false),
            (&[("origin", "http://127.0.0.1:8127"), ("host", "127.0.0.1:8127")], false),
            (&[("origin", "https://evil.example"), ("host", "127.0.0.1:8127")], true),
            (&[("sec-fetch-site", "cross-site")], true),
            (&[("sec-fetch-site", "same-origin")], false),
        ];
        for (pairs, expected) in cases {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(header::HeaderName::from_static(name), value.parse().unwrap());
            }
            assert_eq!(from_another_site(&headers), expected, "{pairs:?}");
        }
    }
}
