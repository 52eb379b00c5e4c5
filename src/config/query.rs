//! `[query]` and `http.cors_origin`: what one query may cost, how many there may
//! be at a time, and whose pages may ask.

use super::config::{ms, number};
use super::error::Problem;
use super::file;
use crate::http::api::Bounds;
use crate::query::Options;
use std::time::Duration;
use toml::Spanned;

const DAY_MS: i64 = 86_400_000;

/// Bounds of queries.
#[derive(Clone, Copy, Debug)]
pub struct Query {
    pub options: Options,
    pub bounds: Bounds,
}

/// What `[query]` means.
pub fn query(written: &file::Query, problems: &mut Vec<Problem>) -> Query {
    let (options, bounds) = (Options::default(), Bounds::default());
    let timeout_ms = options.timeout.as_millis() as i64;
    let timeout_ms = span_ms(&written.timeout, "query.timeout", timeout_ms, problems).unsigned_abs();
    let waiting =
        number(&written.waiting, "query.waiting", bounds.waiting as u64, 0..=65_536, problems) as usize;
    let mut count = |value, key, default: usize, most: u64| {
        number(value, key, default as u64, 1..=most, problems) as usize
    };
    Query {
        bounds: Bounds { running: count(&written.running, "query.running", bounds.running, 1024), waiting },
        options: Options {
            max_steps: count(&written.steps, "query.steps", options.max_steps, 1_000_000),
            max_series: count(&written.series, "query.series", options.max_series, 100_000_000),
            max_points: count(&written.samples, "query.samples", options.max_points, 10_000_000_000),
            timeout: Duration::from_millis(timeout_ms),
            lookback_ms: span_ms(&written.lookback, "query.lookback", options.lookback_ms, problems),
            ..options
        },
    }
}

/// Whose pages may read what the API says.
pub fn cors_origin(written: Option<&Spanned<String>>, problems: &mut Vec<Problem>) -> Option<String> {
    let written = written?;
    let text = written.as_ref();
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let is_origin = host.is_some_and(|host| !host.is_empty() && host.bytes().all(is_of_host));
    if text != "*" && !is_origin {
        let message = "must be an origin, as \"https://grafana.example.org\" (no slash at its end), or \"*\"";
        problems.push(Problem::new(written.span(), "http.cors_origin", message));
        return None;
    }
    Some(text.to_ascii_lowercase())
}

fn is_of_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte)
}

fn span_ms(value: &Option<Spanned<String>>, key: &str, default_ms: i64, problems: &mut Vec<Problem>) -> i64 {
    let found = ms(value, key, default_ms, problems);
    if (1..=DAY_MS).contains(&found) {
        return found;
    }
    problems.push(Problem::new(value.as_ref().map(Spanned::span), key, "must be between 1ms and 1d"));
    default_ms
}
