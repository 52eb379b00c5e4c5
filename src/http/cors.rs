//! Whose pages may read what the API says: nobody's unless the config names an
//! origin. Applies to what reads alone; what changes something takes no request
//! of another site's page, whatever is set.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

/// Calls that read and may come as a POST.
const READING_POSTS: [&str; 7] = [
    "/api/v1/query",
    "/api/v1/query_range",
    "/api/v1/series",
    "/api/v1/labels",
    "/api/v1/format_query",
    "/api/v1/parse_query",
    "/api/v1/query_exemplars",
];
const METHODS: &str = "GET, POST, OPTIONS";
const HEADERS: &str = "Accept, Authorization, Content-Type, Origin";
/// How long a browser may remember the answer.
const MAX_AGE_S: &str = "600";

/// The origin whose pages may read, `*` for all; `None` for none.
#[derive(Clone, Debug, Default)]
pub struct Cors(Option<Arc<str>>);

impl Cors {
    pub fn new(origin: Option<&str>) -> Self {
        Cors(origin.map(Arc::from))
    }

    /// Whether this is a call that reads, of a page that may.
    pub fn admits(&self, request: &Request) -> bool {
        READING_POSTS.contains(&request.uri().path()) && self.admitted(request.headers()).is_some()
    }

    fn admitted(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let own = self.0.as_deref()?;
        let origin = headers.get(header::ORIGIN)?;
        let is_own = own == "*" || origin.as_bytes().eq_ignore_ascii_case(own.as_bytes());
        is_own.then(|| origin.clone())
    }
}

/// Answers what a browser asks before it lets a page ask, and tells it whose
/// pages may read the answer.
pub async fn layer(State(cors): State<Cors>, request: Request, next: Next) -> Response {
    let origin = cors.admitted(request.headers());
    let asks_before = *request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match (&origin, asks_before) {
        (Some(_), true) => {
            let told = [
                (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
                (header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS),
                (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE_S),
            ];
            (StatusCode::NO_CONTENT, told, Body::empty()).into_response()
        }
        _ => next.run(request).await,
    };
    if cors.0.is_some() {
        response.headers_mut().append(header::VARY, HeaderValue::from_static("origin"));
    }
    if let Some(origin) = origin {
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_of_one_origin_may_read_and_nothing_more() {
        let grafana = "https://grafana.example.org";
        let cases = [
            (None, grafana, "/api/v1/query", false),
            (Some(grafana), grafana, "/api/v1/query", true),
            (Some(grafana), "https://Grafana.example.org", "/api/v1/query_range", true),
            (Some(grafana), "https://grafana.example.org.evil.example", "/api/v1/query", false),
            (Some(grafana), "null", "/api/v1/query", false),
            (Some("*"), "https://any.example", "/api/v1/series", true),
            (Some("*"), "https://any.example", "/api/v1/parse_query", true),
            (Some("*"), "https://any.example", "/api/v1/write", false),
            (Some("*"), "https://any.example", "/metrics", false),
        ];
        for (own, origin, path, expected) in cases {
            let request = Request::post(path).header("origin", origin).body(Body::empty()).unwrap();
            assert_eq!(Cors::new(own).admits(&request), expected, "{own:?} {origin} {path}");
        }
    }
}
