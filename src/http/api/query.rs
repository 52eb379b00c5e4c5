//! `/api/v1/query`, `query_range`, `format_query`, `parse_query` and
//! `query_exemplars`.

use super::answer::{Answer, Failure, Stats, success};
use super::evaluation::evaluated;
use super::params::{MAX_BODY_BYTES, Params, invalid};
use super::{ApiState, series, settings, status, tree};
use crate::query::{Engine, Error, Expr, QueryResult};
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::Response;
use axum::routing::get;
use std::sync::Arc;
use std::time::Instant;

/// The routes of the query API.
pub fn router() -> Router<Arc<ApiState>> {
    Router::new()
        .route("/api/v1/query", get(instant).post(instant))
        .route("/api/v1/query_range", get(range).post(range))
        .route("/api/v1/format_query", get(format).post(format))
        .route("/api/v1/parse_query", get(parse).post(parse))
        .route("/api/v1/query_exemplars", get(exemplars).post(exemplars))
        .merge(series::router())
        .merge(settings::router())
        .merge(status::router())
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
}

async fn instant(State(state): State<Arc<ApiState>>, params: Params) -> Result<Response, Failure> {
    let query = params.required("query")?.to_owned();
    let at_ms = params.time_ms("time")?.unwrap_or_else(|| state.clock.now_ms());
    answered(&state, &params, move |engine| engine.instant(&query, at_ms)).await
}

async fn range(State(state): State<Arc<ApiState>>, params: Params) -> Result<Response, Failure> {
    let query = params.required("query")?.to_owned();
    let (start_ms, end_ms) = (params.required_time_ms("start")?, params.required_time_ms("end")?);
    let step_ms = params.span_ms("step")?.ok_or_else(|| invalid("step", "it is missing"))?;
    answered(&state, &params, move |engine| engine.range(&query, start_ms, end_ms, step_ms)).await
}

/// The answer to a query, with what any of the two may be asked for.
async fn answered(
    state: &ApiState,
    params: &Params,
    work: impl Fn(&Engine) -> Result<QueryResult, Error> + Send + Sync + 'static,
) -> Result<Response, Failure> {
    let limit = params.limit()?;
    let lookback_ms = params.span_ms("lookback_delta")?;
    let wants_stats = params.text("stats").is_some();
    let asked = Instant::now();
    let answer = evaluated(state, params, move |engine| {
        let engine = match lookback_ms {
            Some(lookback_ms) => engine.with_lookback(lookback_ms),
            None => engine,
        };
        let begun = Instant::now();
        let mut result = work(&engine)?;
        let stats = wants_stats.then(|| Stats {
            waited: begun.duration_since(asked),
            evaluated: begun.elapsed(),
            samples: result.samples,
            peak: result.peak_samples,
        });
        result.truncate(limit);
        Ok(Answer::of(result, stats))
    });
    Ok(answer.await?.into())
}

async fn format(State(state): State<Arc<ApiState>>, params: Params) -> Result<Response, Failure> {
    let query = params.required("query")?.to_owned();
    // Regular expressions take their time, here as well.
    evaluated(&state, &params, move |_| {
        let mut data = String::new();
        super::answer::push_text(&mut data, &crate::query::format(&query)?);
        Ok(success(&data, &[]))
    })
    .await
}

async fn parse(State(state): State<Arc<ApiState>>, params: Params) -> Result<Response, Failure> {
    let query = params.required("query")?.to_owned();
    evaluated(&state, &params, move |_| Ok(success(&tree::tree(&Expr::parse(&query)?).to_string(), &[])))
        .await
}

/// There are none, which Grafana likes to hear rather than "not found".
async fn exemplars(State(state): State<Arc<ApiState>>, params: Params) -> Result<Response, Failure> {
    let query = params.required("query")?.to_owned();
    let (start_ms, end_ms) = (params.time_ms("start")?, params.time_ms("end")?);
    if start_ms.zip(end_ms).is_some_and(|(start_ms, end_ms)| end_ms < start_ms) {
        return Err(invalid("end", "it is before start"));
    }
    evaluated(&state, &params, move |_| Expr::parse(&query).map(|_| success("[]", &[]))).await
}
