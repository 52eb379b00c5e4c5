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

    /// The colours named in each block of the style sheet that names them all.
    fn palettes() -> Vec<std::collections::BTreeMap<String, [f64; 3]>> {
        let name = regex::Regex::new(r"--([a-z0-9-]+): #([0-9a-f]{3,6});").unwrap();
        let blocks = STYLE.text.split('}').map(|block| {
            name.captures_iter(block)
                .map(|found| {
                    let digits: Vec<u32> = found[2].chars().filter_map(|c| c.to_digit(16)).collect();
                    let channel = |at: usize| match digits.len() {
                        3 => f64::from(digits[at] * 17),
                        _ => f64::from(digits[at * 2] * 16 + digits[at * 2 + 1]),
                    };
                    (found[1].to_owned(), [channel(0), channel(1), channel(2)])
                })
                .collect()
        });
        blocks.filter(|found: &std::collections::BTreeMap<_, _>| found.len() > 10).collect()
    }

    /// WCAG 2: relative luminance, and the ratio of two.
    fn contrast(a: [f64; 3], b: [f64; 3]) -> f64 {
        let luminance = |rgb: [f64; 3]| {
            let [r, g, b] = rgb
                .map(|c| c / 255.0)
                .map(|c| if c <= 0.03928 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) });
            0.2126 * r + 0.7152 * g + 0.0722 * b
        };
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn text_and_lines_stand_out_in_light_and_dark() {
        let palettes = palettes();
        assert_eq!(palettes.len(), 3, "light, dark by system, dark by choice");
        assert_eq!(palettes[1], palettes[2], "both kinds of dark are the same");
        let texts =
            ["text", "soft"].map(|text| (text, vec!["card", "ground", "wash", "press", "bad-wash"], 4.5));
        let words = ["link", "good", "warn"].map(|text| (text, vec!["card"], 4.5));
        let alarm = [("bad", vec!["card", "bad-wash"], 4.5)];
        let lines = ["s1", "s2", "s3", "s4", "s5", "s6", "bars"].map(|line| (line, vec!["card"], 3.0));
        for palette in &palettes {
            for (front, backs, least) in texts.iter().chain(&words).chain(&alarm).chain(&lines) {
                for back in backs {
                    let found = contrast(palette[*front], palette[*back]);
                    assert!(found >= *least, "{front} on {back}: {found:.2}");
                }
            }
        }
    }
}
