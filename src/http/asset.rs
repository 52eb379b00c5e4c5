//! Style sheet, script and icon, compiled in. Their URLs carry a hash of their
//! content, so that browsers may keep them for ever.

use super::page_response::{accepts_gzip, gzipped};
use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use std::sync::LazyLock;
use xxhash_rust::xxh3::xxh3_64;

/// A file that is served as it is.
pub struct Asset {
    /// Address from the root.
    pub href: String,
    content_type: &'static str,
    text: &'static str,
    gzip: Vec<u8>,
}

impl Asset {
    fn new(stem: &str, extension: &str, content_type: &'static str, text: &'static str) -> Self {
        let hash = xxh3_64(text.as_bytes());
        let href = format!("/dashboard/assets/{stem}.{hash:016x}.{extension}");
        Asset { href, content_type, text, gzip: gzipped(text.as_bytes(), 9) }
    }

    /// Bytes that travel to a browser.
    pub fn gzip_bytes(&self) -> usize {
        self.gzip.len()
    }

    fn answer(&self, headers: &HeaderMap) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        let head = response.headers_mut();
        head.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        head.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
        head.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        head.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        if accepts_gzip(headers) {
            head.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            *response.body_mut() = Body::from(self.gzip.clone());
        } else {
            *response.body_mut() = Body::from(self.text);
        }
        response
    }
}

pub static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("dashboard", "css", "text/css; charset=utf-8", include_str!("assets/dashboard.css"))
});
pub static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("dashboard", "js", "text/javascript; charset=utf-8", include_str!("assets/dashboard.js"))
});
pub static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("icon", "svg", "image/svg+xml", include_str!("assets/icon.svg")));

/// `GET /dashboard/assets/{name}`.
pub async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response<Body> {
    let known: [&Asset; 3] = [&STYLE, &SCRIPT, &ICON];
    match known.into_iter().find(|asset| asset.href.ends_with(&format!("/{name}"))) {
        Some(asset) => asset.answer(&headers),
        None => {
            let mut response = Response::new(Body::from("no such file\n"));
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn script_and_style_keep_their_budgets() {
        assert!(SCRIPT.gzip_bytes() <= 20_000, "script: {} bytes", SCRIPT.gzip_bytes());
        assert!(STYLE.gzip_bytes() <= 8_000, "style: {} bytes", STYLE.gzip_bytes());
    }
}
