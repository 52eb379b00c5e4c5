//! The values of one chart: `panel.csv` for people's tools, `panel.txt` for
//! the page's own tooltips. Named by the same parameters as the chart.

use super::page::{PageState, Pairs};
use super::page_response::answer;
use crate::dashboard::calendar::Calendar;
use crate::dashboard::catalogue::Metric;
use crate::dashboard::chart::MAX_POINTS;
use crate::dashboard::export;
use crate::dashboard::range::Range;
use crate::dashboard::reading::Reader;
use crate::dashboard::source::PanelSource;
use crate::model::MetricType;
use crate::query::Error;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use std::sync::Arc;

/// `GET /dashboard/panel.csv`.
pub async fn csv(State(state): State<Arc<PageState>>, pairs: Pairs, headers: HeaderMap) -> Response<Body> {
    let mut response = file(state, pairs, headers, "text/csv; charset=utf-8", |source, reader, is_bars| {
        Ok(if is_bars {
            export::bars_csv(&source.bar_chart(reader)?, &reader.calendar)
        } else {
            export::lines_csv(&source.line_chart(reader)?, &reader.calendar)
        })
    })
    .await;
    if response.status() == StatusCode::OK {
        let disposition = HeaderValue::from_static("attachment; filename=\"statsdeck.csv\"");
        response.headers_mut().insert(header::CONTENT_DISPOSITION, disposition);
    }
    response
}

/// `GET /dashboard/panel.txt`.
pub async fn text(State(state): State<Arc<PageState>>, pairs: Pairs, headers: HeaderMap) -> Response<Body> {
    file(state, pairs, headers, "text/plain; charset=utf-8", |source, reader, is_bars| {
        Ok(if is_bars {
            // As the page shows them: without the empty days before the first.
            let bars = source.bar_chart(reader)?;
            export::bars_text(&source.trimmed(bars), &reader.calendar)
        } else {
            export::lines_text(&source.line_chart(reader)?, &reader.calendar)
        })
    })
    .await
}

async fn file(
    state: Arc<PageState>,
    pairs: Pairs,
    headers: HeaderMap,
    content_type: &'static str,
    write: impl FnOnce(&PanelSource, &Reader, bool) -> Result<String, Error> + Send + 'static,
) -> Response<Body> {
    let refuse = |status, message: String| {
        let mut response = answer(message + "\n", "text/plain; charset=utf-8", &headers);
        *response.status_mut() = status;
        response
    };
    let pairs = pairs.map(|Query(pairs)| pairs).unwrap_or_default();
    let one = |name: &str| pairs.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let Some((source, calendar)) = source(&state, one) else {
        return refuse(StatusCode::NOT_FOUND, "there is no such panel".into());
    };
    let range = match Range::parse(one("range"), one("from"), one("to"), &calendar) {
        Ok(range) => range.unwrap_or(Range::last(86_400_000)),
        Err(error) => return refuse(StatusCode::BAD_REQUEST, error.to_string()),
    };
    let points = one("points").and_then(|n| n.parse().ok()).unwrap_or(MAX_POINTS).clamp(3, MAX_POINTS);
    let reader = state.reader(&calendar, range.span(state.anchor_ms()), points);
    let is_bars = one("chart") == Some("bars");
    let read = state.read(reader, state.deadline(), move |reader| write(&source, reader, is_bars));
    match read.await {
        Ok(Ok(text)) => answer(text, content_type, &headers),
        Ok(Err(error)) => refuse(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()),
        Err(reason) => refuse(StatusCode::SERVICE_UNAVAILABLE, reason),
    }
}

/// The panel that the parameters name.
fn source<'a>(state: &PageState, one: impl Fn(&str) -> Option<&'a str>) -> Option<(PanelSource, Calendar)> {
    if let Some(name) = one("metric") {
        let type_name = one("type")?;
        let metric_type = MetricType::ALL.into_iter().find(|t| t.as_str() == type_name)?;
        let metric = Metric { name: name.to_owned(), metric_type: metric_type.seen_as(name), series: 1 };
        return Some((PanelSource::of_metric(&metric), state.parts.calendar.clone()));
    }
    let (id, at) = (one("view")?, one("panel")?.parse::<usize>().ok()?);
    let views = state.views.load();
    let view = views.iter().find(|view| view.id == id)?;
    Some((PanelSource::of_view(view, at, view.panels.get(at)?), view.calendar.clone()))
}
