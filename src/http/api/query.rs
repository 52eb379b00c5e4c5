//! `/api/v1/query`, `query_range`, `format_query` and build information.
//!
//! An evaluation runs on a thread of its own kind, never on those that serve
//! connections; so many at a time as there are permits. It is stopped when its
//! time is up and when the client goes away (its handler is dropped then).

use super::answer::{Failure, annotated, result_data, success};
use super::params::{MAX_BODY_BYTES, Params, invalid};
use super::{ApiState, MAX_CONCURRENT, series};
use crate::query::{Cancel, Engine, Error};
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::Response;
use axum::routing::get;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// The Prometheus whose API this is: clients choose what they ask by it.
const COMPATIBLE_WITH: &str = "3.5.0";

/// The routes of the query API.
pub fn router() -> Router<Arc<ApiState>> {
    Router::new()
        .route("/api/v1/query", get(instant).post(instant))
        .route("/api/v1/query_range", get(range).post(range))
        .route("/api/v1/format_query", get(format).post(format))
        .route("/api/v1/status/buildinfo", get(build_info))
        .merge(series::router())
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
}

async fn instant(State(state): State<Arc<ApiState>>, params: Params) -> Result<Response, Failure> {
    let query = params.required("query")?.to_owned();
    let at_ms = params.time_ms("time")?.unwrap_or_else(|| state.clock.now_ms());
    let limit = params.limit()?;
    evaluated(&state, &params, move |engine| {
        let mut result = engine.instant(&query, at_ms)?;
        result.truncate(limit);
        Ok(annotated(&result_data(&result), &result.warnings, &result.infos))
    })
    .await
}

async fn range(State(state): State<Arc<ApiState>>, params: Params) -> Result<Response, Failure> {
    let query = params.required("query")?.to_owned();
    let missing = |name| invalid(name, "it is missing");
    let start_ms = params.time_ms("start")?.ok_or_else(|| missing("start"))?;
    let end_ms = params.time_ms("end")?.ok_or_else(|| missing("end"))?;
    let step_ms = params.span_ms("step")?.ok_or_else(|| missing("step"))?;
    let limit = params.limit()?;
    evaluated(&state, &params, move |engine| {
        let mut result = engine.range(&query, start_ms, end_ms, step_ms)?;
        result.truncate(limit);
        Ok(annotated(&result_data(&result), &result.warnings, &result.infos))
    })
    .await
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

async fn build_info() -> Response {
    let data = format!(
        "{{\"version\":\"{COMPATIBLE_WITH}\",\"revision\":\"statsdeck-{}\",\"branch\":\"\",\"buildUser\":\"\",\
         \"buildDate\":\"\",\"goVersion\":\"\"}}",
        env!("CARGO_PKG_VERSION")
    );
    success(&data, &[])
}

/// Runs `work` within the limits of number and time: with its share of the
/// points first, and again, alone of its kind, where it needs more of them.
pub(super) async fn evaluated<T: Send + 'static>(
    state: &ApiState,
    params: &Params,
    work: impl Fn(Engine) -> Result<T, Error> + Send + Sync + 'static,
) -> Result<T, Failure> {
    let options = state.engine.options();
    let asked = params.span_ms("timeout")?.map(|ms| Duration::from_millis(ms.unsigned_abs()));
    let deadline = Instant::now() + asked.map_or(options.timeout, |asked| asked.min(options.timeout));
    let work = Arc::new(work);
    let share = options.max_points / MAX_CONCURRENT;
    let first = turn(&state.permits, deadline, state.engine.clone().with_max_points(share), &work).await?;
    match first {
        Err(error) if error.is_of_points() => {
            Ok(turn(&state.heavy, deadline, state.engine.clone(), &work).await??)
        }
        result => Ok(result?),
    }
}

/// Runs `work` once there is a permit.
async fn turn<T: Send + 'static>(
    permits: &Arc<Semaphore>,
    deadline: Instant,
    engine: Engine,
    work: &Arc<impl Fn(Engine) -> Result<T, Error> + Send + Sync + 'static>,
) -> Result<Result<T, Error>, Failure> {
    let permit = tokio::time::timeout_at(deadline, Arc::clone(permits).acquire_owned())
        .await
        .map_err(|_| Failure::timeout("too many queries are running; try again later"))?
        .map_err(|_| Failure::internal("the server is stopping"))?;
    let cancel = Cancel::new();
    let engine = engine.with_cancel(cancel.clone());
    // Dropped with this future, be it done or given up by the client.
    let _given_up = CancelOnDrop(cancel.clone());
    let work = Arc::clone(work);
    let task = tokio::task::spawn_blocking(move || {
        // Held until the work has really stopped.
        let _permit = permit;
        work(engine)
    });
    match tokio::time::timeout_at(deadline, task).await {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(_)) => Err(Failure::internal("the evaluation failed unexpectedly")),
        Err(_) => {
            cancel.time_out();
            Err(Error::TimedOut.into())
        }
    }
}

struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
