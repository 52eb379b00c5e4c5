//! Parameters of a call: from the URL, and from the form of a POST, as
//! Prometheus takes them. Reads and checks values; knows no routes. A body that is
//! no form is not read: some clients post with all they have to say in the URL.

use super::answer::Failure;
use crate::model::duration;
use axum::body::Bytes;
use axum::extract::{FromRequest, Query, Request};
use axum::http::{Method, StatusCode, header};

/// Longest body of a POST, in bytes.
pub(super) const MAX_BODY_BYTES: usize = 64 << 10;
/// What clients of Prometheus send for "since ever" and "for ever", of which no
/// calendar here has the year.
const ENDS_OF_TIME: [(&str, i64); 2] =
    [("-292273086-05-16T16:47:06Z", -MAX_TIME_MS), ("292277025-08-18T07:12:54.999999999Z", MAX_TIME_MS)];
/// Farthest time from the epoch.
const MAX_TIME_MS: i64 = i64::MAX / 1024;

/// Names and values in the order in which they came, repeats included.
#[derive(Clone, Debug, Default)]
pub(super) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let Query(of_url) = Query::<Vec<(String, String)>>::try_from_uri(request.uri())
            .map_err(|error| Failure::bad_data(format!("cannot read the URL's parameters: {error}")))?;
        let is_form = request.headers().get(header::CONTENT_TYPE).is_some_and(|kind| {
            let essence = kind.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
            essence.trim_ascii().eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
        });
        let mut pairs = Vec::new();
        if request.method() == Method::POST && is_form {
            let form = Bytes::from_request(request, state).await.map_err(|error| {
                Failure::bad_data(match error.status() {
                    StatusCode::PAYLOAD_TOO_LARGE => {
                        format!("the form has more than the {MAX_BODY_BYTES} bytes that are allowed")
                    }
                    _ => format!("cannot read the form: {error}"),
                })
            })?;
            pairs.extend(form_urlencoded::parse(&form).into_owned());
        }
        // What is in both counts as in the form.
        pairs.extend(of_url);
        Ok(Params(pairs))
    }
}

impl Params {
    /// The first value of `name`, unless it is empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).filter(|v| !v.is_empty())
    }

    /// All values of `name`.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn required(&self, name: &str) -> Result<&str, Failure> {
        self.text(name).ok_or_else(|| invalid(name, "it is missing"))
    }

    /// A time, in ms: Unix seconds or RFC 3339.
    pub fn time_ms(&self, name: &str) -> Result<Option<i64>, Failure> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let time = match text.parse::<f64>() {
            Ok(seconds) => ms_of(seconds),
            Err(_) => match ENDS_OF_TIME.iter().find(|(end, _)| *end == text) {
                Some((_, ms)) => Some(*ms),
                None => text.parse::<jiff::Timestamp>().ok().map(|time| time.as_millisecond()),
            },
        };
        time.map(Some).ok_or_else(|| invalid(name, format!("{text:?} is neither Unix seconds nor RFC 3339")))
    }

    /// As [`Params::time_ms`], of a parameter that must be there.
    pub fn required_time_ms(&self, name: &str) -> Result<i64, Failure> {
        self.time_ms(name)?.ok_or_else(|| invalid(name, "it is missing"))
    }

    /// A span, in ms: seconds, or a duration such as `5m`.
    pub fn span_ms(&self, name: &str) -> Result<Option<i64>, Failure> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let span = match text.parse::<f64>() {
            Ok(seconds) => ms_of(seconds),
            Err(_) => duration::parse_ms(text).ok().and_then(|ms| i64::try_from(ms).ok()),
        };
        span.filter(|ms| *ms > 0).map(Some).ok_or_else(|| {
            invalid(name, format!("{text:?} is neither seconds above 0 nor a duration such as 5m"))
        })
    }

    /// A number of results; 0 and nothing mean no limit.
    pub fn limit(&self) -> Result<Option<usize>, Failure> {
        let Some(text) = self.text("limit") else { return Ok(None) };
        let limit: usize =
            text.parse().map_err(|_| invalid("limit", format!("{text:?} is not a whole number")))?;
        Ok((limit > 0).then_some(limit))
    }
}

/// The answer to a parameter that cannot be used.
pub(super) fn invalid(name: &str, reason: impl std::fmt::Display) -> Failure {
    Failure::bad_data(format!("invalid parameter {name:?}: {reason}"))
}

fn ms_of(seconds: f64) -> Option<i64> {
    let ms = (seconds * 1000.0).round();
    (ms.abs() < MAX_TIME_MS as f64).then_some(ms as i64)
}
