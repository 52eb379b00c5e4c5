//! Answers in Prometheus' JSON: the envelope, its errors with their codes, and
//! query results.
//!
//! Results are written straight into text: a matrix may hold millions of points,
//! which no tree of JSON values should hold again.

use super::parts::{Part, Parts};
use super::sending::Held;
use crate::model::Labels;
use crate::query::{self, Distribution, MatrixSeries, Number, QueryResult, SourceError, Value, number};
use axum::Extension;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::fmt::Write;
use std::time::Duration;

/// Points that are written at once at least, how long each is, about, and at least.
const PART_POINTS: usize = 1 << 15;
const POINT_BYTES: usize = 34;
const POINT_BYTES_MIN: u64 = 7;

/// An answer that is not one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    status: StatusCode,
    /// Prometheus' word for the kind of error.
    error_type: &'static str,
    message: String,
}

impl Failure {
    pub fn bad_data(message: impl Into<String>) -> Self {
        Failure { status: StatusCode::BAD_REQUEST, error_type: "bad_data", message: message.into() }
    }

    pub fn timeout(message: impl Into<String>) -> Self {
        Failure { status: StatusCode::SERVICE_UNAVAILABLE, error_type: "timeout", message: message.into() }
    }

    pub fn unavailable(message: impl Into<String>) -> Self {
        Failure {
            status: StatusCode::SERVICE_UNAVAILABLE,
            error_type: "unavailable",
            message: message.into(),
        }
    }

    pub fn is_timeout(&self) -> bool {
        self.error_type == "timeout"
    }

    pub fn internal(message: impl Into<String>) -> Self {
        Failure { status: StatusCode::INTERNAL_SERVER_ERROR, error_type: "internal", message: message.into() }
    }
}

impl From<query::Error> for Failure {
    fn from(error: query::Error) -> Self {
        let message = error.to_string();
        let execution = StatusCode::UNPROCESSABLE_ENTITY;
        let (status, error_type) = match error {
            query::Error::Parse(_) | query::Error::Syntax { .. } => {
                return Failure::bad_data(format!("invalid parameter \"query\": {message}"));
            }
            query::Error::Range(_) => (StatusCode::BAD_REQUEST, "bad_data"),
            query::Error::Execution(_) | query::Error::Limit { .. } => (execution, "execution"),
            query::Error::Source(SourceError::Limit { .. }) => (execution, "execution"),
            query::Error::TimedOut => (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
            query::Error::Cancelled => (StatusCode::SERVICE_UNAVAILABLE, "canceled"),
            query::Error::Source(SourceError::Storage(_)) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Failure { status, error_type, message }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut body = String::from("{\"status\":\"error\",\"errorType\":");
        push_text(&mut body, self.error_type);
        body.push_str(",\"error\":");
        push_text(&mut body, &self.message);
        body.push('}');
        json(self.status, body)
    }
}

/// A successful answer whose `data` is already JSON.
pub(super) fn success(data: &str, warnings: &[String]) -> Response {
    let mut body = String::with_capacity(data.len() + 64);
    body.push_str(SUCCESS);
    body.push_str(data);
    push_annotations(&mut body, warnings, &[]);
    body.push('}');
    json(StatusCode::OK, body)
}

const JSON: &str = "application/json";
const SUCCESS: &str = "{\"status\":\"success\",\"data\":";

/// A query's answer. Of many points only what is around them is written: they
/// themselves are when they are sent, and then let go of.
pub(super) struct Answer {
    begin: String,
    parts: Vec<Vec<MatrixSeries>>,
    end: String,
}

impl Answer {
    pub fn of(result: QueryResult, stats: Option<Stats>) -> Self {
        let kind = result.value.type_name();
        let mut begin = format!("{SUCCESS}{{\"resultType\":\"{kind}\",\"result\":");
        let (mut parts, mut end) = (Vec::new(), String::new());
        match result.value {
            Value::Matrix(series) => {
                begin.push('[');
                parts = parts_of(series);
                if let [part] = &parts[..] {
                    push_part(&mut begin, part);
                    parts.clear();
                }
                end.push(']');
            }
            value => push_value(&mut end, &value),
        }
        if let Some(stats) = stats {
            push_stats(&mut end, stats);
        }
        end.push('}');
        push_annotations(&mut end, &result.warnings, &result.infos);
        end.push('}');
        if parts.is_empty() {
            begin.push_str(&std::mem::take(&mut end));
        }
        Answer { begin, parts, end }
    }
}

impl From<Answer> for Response {
    fn from(answer: Answer) -> Self {
        let Answer { begin, parts, end } = answer;
        let part = |(number, series): (usize, Vec<MatrixSeries>)| {
            let points: u64 = series.iter().map(|series| series.points.len() as u64).sum();
            let write = move || {
                let mut text = String::new();
                if number > 0 {
                    text.push(',');
                }
                push_part(&mut text, &series);
                text
            };
            Part::new(points * POINT_BYTES_MIN, write)
        };
        let bytes = |series: &MatrixSeries| series.labels.own_weight() * 16 + series.points.bytes();
        let series: usize = parts.iter().flatten().map(bytes).sum();
        let held = Held(begin.len() + series + end.len());
        let body = Body::new(Parts::new(begin, parts.into_iter().enumerate().map(part).collect(), end));
        (StatusCode::OK, Extension(held), [(header::CONTENT_TYPE, JSON)], body).into_response()
    }
}

/// What a query cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stats {
    /// For its turn.
    pub waited: Duration,
    pub evaluated: Duration,
    /// Samples read, each once, however many steps see it.
    pub samples: usize,
    /// Most samples and values that were held at a time.
    pub peak: usize,
}

fn push_annotations(body: &mut String, warnings: &[String], infos: &[String]) {
    for (name, texts) in [("warnings", warnings), ("infos", infos)] {
        if !texts.is_empty() {
            push_formatted(body, format_args!(",\"{name}\":"));
            push_list(body, texts, |body, text| push_text(body, text));
        }
    }
}

/// A result that is no matrix.
fn push_value(out: &mut String, value: &Value) {
    match value {
        Value::Scalar(point) => push_point(out, point.timestamp_ms, point.value),
        Value::String(point) => {
            out.push('[');
            push_time(out, point.timestamp_ms);
            out.push(',');
            push_text(out, &point.text);
            out.push(']');
        }
        Value::Vector(points) => push_list(out, points, |out, point| {
            out.push_str("{\"metric\":");
            push_labels(out, &point.labels);
            match &point.value {
                Number::Float(value) => {
                    out.push_str(",\"value\":");
                    push_point(out, point.timestamp_ms, *value);
                }
                Number::Histogram(histogram) => {
                    out.push_str(",\"histogram\":");
                    push_histogram(out, point.timestamp_ms, histogram);
                }
            }
            out.push('}');
        }),
        // Written part by part.
        Value::Matrix(_) => {}
    }
}

fn push_stats(out: &mut String, stats: Stats) {
    let [waited, evaluated] = [stats.waited, stats.evaluated].map(|time| time.as_secs_f64());
    push_formatted(
        out,
        format_args!(
            ",\"stats\":{{\"timings\":{{\"evalTotalTime\":{evaluated},\"resultSortTime\":0,\
             \"queryPreparationTime\":0,\"innerEvalTime\":{evaluated},\"execQueueTime\":{waited},\
             \"execTotalTime\":{}}},\"samples\":{{\"totalQueryableSamples\":{samples},\
             \"peakSamples\":{peak}}}}}",
            waited + evaluated,
            samples = stats.samples,
            peak = stats.peak,
        ),
    );
}

/// Series that are written together: some points, and the last of them the rest.
fn parts_of(series: Vec<MatrixSeries>) -> Vec<Vec<MatrixSeries>> {
    let (mut parts, mut part, mut points) = (Vec::new(), Vec::new(), 0);
    for one in series {
        points += one.points.len();
        part.push(one);
        if points >= PART_POINTS {
            parts.push(std::mem::take(&mut part));
            points = 0;
        }
    }
    parts.extend(Some(part).filter(|part| !part.is_empty()));
    parts
}

fn push_part(out: &mut String, part: &[MatrixSeries]) {
    out.reserve(part.iter().map(|series| series.points.len()).sum::<usize>() * POINT_BYTES);
    push_series(out, part);
}

/// Series one after the other, without what is around a list.
fn push_series(out: &mut String, series: &[MatrixSeries]) {
    for (at, series) in series.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        out.push_str("{\"metric\":");
        push_labels(out, &series.labels);
        let floats = series.points.iter().filter_map(|(at_ms, number)| Some((at_ms, number.as_float()?)));
        if floats.clone().next().is_some() {
            out.push_str(",\"values\":");
            push_list(out, floats, |out, (at_ms, value)| push_point(out, at_ms, value));
        }
        let histograms = series.points.iter().filter_map(|(at_ms, number)| match number {
            Number::Histogram(histogram) => Some((at_ms, histogram)),
            Number::Float(_) => None,
        });
        if histograms.clone().next().is_some() {
            out.push_str(",\"histograms\":");
            push_list(out, histograms, |out, (at_ms, histogram)| push_histogram(out, at_ms, &histogram));
        }
        out.push('}');
    }
}

/// A JSON list of the items.
pub(super) fn push_list<T>(
    out: &mut String,
    items: impl IntoIterator<Item = T>,
    mut push: impl FnMut(&mut String, T),
) {
    out.push('[');
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        push(out, item);
    }
    out.push(']');
}

/// A JSON object of label names and values.
pub(super) fn push_labels(out: &mut String, labels: &Labels) {
    out.push('{');
    for (at, (name, value)) in labels.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        push_text(out, name);
        out.push(':');
        push_text(out, value);
    }
    out.push('}');
}

/// A JSON string. `<`, `>` and `&` are escaped as well, so that an answer may
/// stand inside a page.
pub(super) fn push_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                push_formatted(out, format_args!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn push_formatted(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(arguments);
}

/// Seconds, with three decimals where they are not whole.
fn push_time(out: &mut String, at_ms: i64) {
    let (sign, ms) = (if at_ms < 0 { "-" } else { "" }, at_ms.unsigned_abs());
    out.push_str(sign);
    number::push_integer(out, (ms / 1000) as i64);
    if ms % 1000 != 0 {
        let digits = [ms / 100 % 10, ms / 10 % 10, ms % 10].map(|digit| char::from(b'0' + digit as u8));
        out.push('.');
        out.extend(digits);
    }
}

fn push_point(out: &mut String, at_ms: i64, value: f64) {
    out.push('[');
    push_time(out, at_ms);
    out.push_str(",\"");
    number::push_value(out, value);
    out.push_str("\"]");
}

/// `[time, {count, sum, buckets}]`. A bucket is `[rule, low, high, count]`,
/// where rule says which ends belong to it: 0 the upper, 1 the lower, 3 both.
fn push_histogram(out: &mut String, at_ms: i64, histogram: &Distribution) {
    out.push('[');
    push_time(out, at_ms);
    push_formatted(
        out,
        format_args!(
            ",{{\"count\":\"{}\",\"sum\":\"{}\"",
            number::format_value(histogram.count()),
            number::format_value(histogram.sum())
        ),
    );
    let buckets = histogram.buckets();
    if !buckets.is_empty() {
        out.push_str(",\"buckets\":");
        push_list(out, &buckets, |out, bucket| {
            let rule = match (bucket.lower_included, bucket.upper_included) {
                (false, true) => 0,
                (true, false) => 1,
                (false, false) => 2,
                (true, true) => 3,
            };
            let [low, high, weight] = [bucket.lower, bucket.upper, bucket.count].map(number::format_value);
            push_formatted(out, format_args!("[{rule},\"{low}\",\"{high}\",\"{weight}\"]"));
        });
    }
    out.push_str("}]");
}

fn json(status: StatusCode, body: String) -> Response {
    let held = Held(body.len());
    (status, Extension(held), [(header::CONTENT_TYPE, JSON)], body).into_response()
}
