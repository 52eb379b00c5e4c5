//! `GET /api/v1/status/top`: who makes the series, by name, first part of the
//! name, label and listener; the limits; and who is over them.
//!
//! `by=name|prefix|label|source` asks for one of the lists, `n=` for their
//! length.

use super::answer::{Failure, success};
use super::params::{Params, invalid};
use crate::aggregate::top::Maker;
use crate::http::makers::{LIMIT, LIMIT_MAX, Makers, Report, Source};
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use serde::Serialize;
use std::sync::Arc;

/// The lists there are.
const LISTS: [&str; 4] = ["name", "prefix", "label", "source"];

/// The route.
pub fn router(makers: Arc<Makers>) -> Router {
    Router::new().route("/api/v1/status/top", get(top)).with_state(makers)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    series: u64,
    series_limit: usize,
    /// Series that are new since then, in Unix seconds.
    new: u64,
    new_since: f64,
    approximate: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    by_name: Option<Vec<Row<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by_prefix: Option<Vec<Row<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by_label: Option<Vec<Row<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by_source: Option<Vec<SourceRow<'a>>>,
    prefix_limits: Vec<PrefixLimit<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    overflowed: Option<Overflowed<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    series: u64,
    new: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    example: Option<&'a str>,
}

#[derive(Serialize)]
struct SourceRow<'a> {
    name: &'a str,
    series: usize,
}

#[derive(Serialize)]
struct PrefixLimit<'a> {
    prefix: &'a str,
    series: usize,
    limit: usize,
}

/// Lines of the last hour, or longer while they go on.
#[derive(Serialize)]
struct Overflowed<'a> {
    since: f64,
    last: f64,
    names: Vec<Offender<'a>>,
    others: u64,
}

#[derive(Serialize)]
struct Offender<'a> {
    name: &'a str,
    lines: u64,
}

async fn top(State(makers): State<Arc<Makers>>, params: Params) -> Result<Response, Failure> {
    let limit = match params.text("n").map(str::parse) {
        None => LIMIT,
        Some(Ok(limit)) if (1..=LIMIT_MAX).contains(&limit) => limit,
        Some(_) => return Err(invalid("n", format!("it must be between 1 and {LIMIT_MAX}"))),
    };
    let by = params.text("by");
    if by.is_some_and(|by| !LISTS.contains(&by)) {
        return Err(invalid("by", format!("it must be one of {}", LISTS.join(", "))));
    }
    let stopping = || Failure::internal("the server is stopping");
    let report = makers.report(limit).await.ok_or_else(stopping)?;
    let answer = serde_json::to_string(&Answer::of(&report, by));
    Ok(success(&answer.map_err(|error| Failure::internal(error.to_string()))?, &[]))
}

impl<'a> Answer<'a> {
    fn of(report: &'a Report, by: Option<&str>) -> Self {
        let asked = |list: &str| by.is_none_or(|by| by == list);
        let rows =
            |list: &str, makers: &'a [Maker]| asked(list).then(|| makers.iter().map(Row::of).collect());
        let source = |of: &'a Source| SourceRow { name: &of.name, series: of.series };
        let top = &report.top;
        Answer {
            series: top.series,
            series_limit: report.series_max,
            new: top.new,
            new_since: seconds(report.new_since_ms),
            approximate: top.approximate,
            by_name: rows("name", &top.names),
            by_prefix: rows("prefix", &top.prefixes),
            by_label: rows("label", &top.labels),
            by_source: asked("source").then(|| report.sources.iter().map(source).collect()),
            prefix_limits: report
                .prefixes
                .iter()
                .map(|of| PrefixLimit { prefix: &of.prefix, series: of.series, limit: of.series_max })
                .collect(),
            overflowed: report.offence.as_ref().map(|offence| Overflowed {
                since: seconds(offence.since_ms),
                last: seconds(offence.last_ms),
                names: offence.names.iter().map(|(name, lines)| Offender { name, lines: *lines }).collect(),
                others: offence.others,
            }),
        }
    }
}

impl<'a> Row<'a> {
    fn of(maker: &'a Maker) -> Self {
        Row {
            name: &maker.name,
            series: maker.series,
            new: maker.new,
            values: maker.values.map(|values| values as u64),
            example: maker.example.as_deref(),
        }
    }
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}
