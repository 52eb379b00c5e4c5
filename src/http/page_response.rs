//! Answers of the dashboard: headers that keep a page to itself, and gzip.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;

/// Only our own files, no inline script or style, no frame around us.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Smaller bodies are not worth compressing.
const GZIP_FROM_BYTES: usize = 1_024;

/// A page.
pub fn html(status: StatusCode, text: String, headers: &HeaderMap) -> Response<Body> {
    let mut response = answer(text, "text/html; charset=utf-8", headers);
    *response.status_mut() = status;
    let head = response.headers_mut();
    head.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    head.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    head.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    response
}

/// Anything else that is text.
pub fn answer(text: String, content_type: &'static str, headers: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    let head = response.headers_mut();
    head.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    head.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    head.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    head.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if text.len() >= GZIP_FROM_BYTES && accepts_gzip(headers) {
        head.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        *response.body_mut() = Body::from(gzipped(text.as_bytes(), 5));
    } else {
        *response.body_mut() = Body::from(text);
    }
    response
}

/// Whether the client takes gzip.
pub fn accepts_gzip(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        value.to_ascii_lowercase().split(',').any(|coding| {
            let mut parts = coding.split(';').map(str::trim);
            let is_refused = |q: &str| q.strip_prefix("q=").and_then(|q| q.parse().ok()) == Some(0.0);
            parts.next() == Some("gzip") && !parts.any(is_refused)
        })
    })
}

/// `bytes` compressed at `level` (0 to 9).
pub fn gzipped(bytes: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::new(level));
    // Writing into memory does not fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_given_to_who_asks_for_it() {
        let cases = [
            ("gzip", true),
            ("br, gzip;q=0.8", true),
            ("gzip;q=0", false),
            ("gzip; q=0.0, br", false),
            ("gzip;Q=0., br", false),
            ("br, X-gzip, GZIP", true),
            ("identity", false),
            ("xgzip", false),
        ];
        for (value, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            assert_eq!(accepts_gzip(&headers), expected, "{value}");
        }
    }
}
