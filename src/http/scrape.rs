//! `GET /metrics`: every series that is alive, and our own figures.
//!
//! The page changes at a flush and not between; it is made at most once for
//! each, whoever asks. A timer is a summary: count and sum since the daemon
//! started, quantiles of the last minute.

use crate::aggregate::Windows;
use crate::aggregate::window::{Live, LiveValue};
use crate::exposition::text::{CONTENT_TYPE, Kind, Page, Shown};
use crate::model::label::{Labels, NAME};
use crate::model::{Histogram, Matcher, MetricType, Points, Select, TimeRange};
use crate::protocol::tag::OWN_PREFIX;
use crate::query::Source;
use crate::telemetry::{FamilyKind, Telemetry};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

/// Quantiles that a summary shows.
const QUANTILES: [f64; 5] = [0.5, 0.9, 0.95, 0.99, 1.0];
/// Span that a summary's quantiles are of.
const SUMMARY_SPAN_MS: i64 = 60_000;
/// Most series and points read for one name's summaries.
const POINTS_MAX: usize = 20_000_000;
const SERIES_MAX: usize = 2_000_000;

/// What the page is made from.
pub struct ScrapeState {
    pub windows: Arc<Mutex<Windows>>,
    pub source: Arc<dyn Source>,
    pub telemetry: Arc<Telemetry>,
    cached: Mutex<Option<(i64, Arc<str>)>>,
}

impl ScrapeState {
    pub fn new(windows: Arc<Mutex<Windows>>, source: Arc<dyn Source>, telemetry: Arc<Telemetry>) -> Self {
        ScrapeState { windows, source, telemetry, cached: Mutex::new(None) }
    }

    /// The page as of now.
    fn page(&self) -> String {
        let series = self.series_page();
        let mut own = Page::default();
        for family in self.telemetry.families() {
            let kind = match family.kind {
                FamilyKind::Counter => Kind::Counter,
                FamilyKind::Gauge => Kind::Gauge,
            };
            for (labels, value) in family.samples {
                let labels = labels.iter().map(|(name, value)| (*name, value.as_str()));
                let labels = Labels::from_pairs(labels.chain([(NAME, family.name)]));
                own.add(labels, kind, family.help, Shown::Value(value));
            }
        }
        let (own, _) = own.render();
        format!("{series}{own}")
    }

    /// The part that changes at flushes only.
    fn series_page(&self) -> Arc<str> {
        // Held while the page is made, so that others wait instead of making it again.
        let mut cached = self.cached.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (end_ms, mut live) = {
            let windows = self.windows.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            let end_ms = windows.last_end_ms();
            match &*cached {
                Some((made_ms, page)) if *made_ms == end_ms => return page.clone(),
                _ => (end_ms, windows.live()),
            }
        };
        // Of those that clash the oldest stands, on every page.
        live.sort_unstable_by_key(|series| series.id);
        let recent = self.recent(&live, end_ms);
        let mut page = Page::default();
        for series in live {
            let labels = series.key.labels;
            if labels.name().starts_with(OWN_PREFIX) {
                continue;
            }
            let metric_type = series.key.metric_type;
            let (kind, shown) = match series.value {
                LiveValue::Counter(total) => (Kind::Counter, Shown::Value(total)),
                LiveValue::Gauge(last) | LiveValue::Set(last) => (Kind::Gauge, Shown::Value(last)),
                LiveValue::Distribution { count, sum } => {
                    let recent = recent.get(&labels);
                    let quantile = |q| recent.map_or(f64::NAN, |recent| recent.quantile(q));
                    let quantiles = QUANTILES.iter().map(|q| (*q, quantile(*q))).collect();
                    (Kind::Summary, Shown::Summary { quantiles, count, sum })
                }
            };
            page.add(labels, kind, help(metric_type), shown);
        }
        let (page, clashing) = page.render();
        self.telemetry.scrape_clashing_series.set(clashing as i64);
        let page: Arc<str> = page.into();
        *cached = Some((end_ms, page.clone()));
        page
    }

    /// Distributions of the last minute, by labels. Where they cannot be read
    /// the summaries show no quantiles; counts and sums stand.
    fn recent(&self, live: &[Live], end_ms: i64) -> HashMap<Labels, Histogram> {
        let distributions = live.iter().filter(|series| series.key.metric_type.is_distribution());
        let names: BTreeSet<&str> = distributions.map(|series| series.key.labels.name()).collect();
        let mut recent = HashMap::new();
        for name in names {
            let request = Select {
                matchers: &[Matcher::equal(NAME, name)],
                range: TimeRange { start_ms: end_ms - SUMMARY_SPAN_MS + 1, end_ms },
                step_ms: 0,
                max_series: SERIES_MAX,
                max_points: POINTS_MAX,
            };
            let selected = match self.source.select(&request) {
                Ok(selected) => selected,
                Err(error) => {
                    tracing::warn!(%error, name, "a summary's quantiles cannot be read for the scrape page");
                    continue;
                }
            };
            for series in selected {
                if let Points::Histograms(points) = series.points {
                    let mut merged = Histogram::default();
                    points.iter().for_each(|(_, window)| merged.merge(window));
                    recent.insert(series.labels, merged);
                }
            }
        }
        recent
    }
}

pub fn router(state: Arc<ScrapeState>) -> Router {
    Router::new().route("/metrics", get(scrape)).with_state(state)
}

async fn scrape(State(state): State<Arc<ScrapeState>>) -> Response {
    match tokio::task::spawn_blocking(move || state.page()).await {
        Ok(page) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], page).into_response(),
        Err(error) => {
            tracing::error!(%error, "making the scrape page failed");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn help(metric_type: MetricType) -> &'static str {
    match metric_type {
        MetricType::Counter => "Counter received by StatsD.",
        MetricType::Gauge => "Gauge received by StatsD.",
        MetricType::Timer => "Timer received by StatsD, in seconds; quantiles of the last minute.",
        MetricType::Histogram => "Histogram received by StatsD; quantiles of the last minute.",
        MetricType::Set => "Distinct members in the last window, received by StatsD.",
    }
}
