//! `GET /metrics`: every series that is alive, and our own figures.
//!
//! The page changes at a flush and not between; it is made when a window is
//! closed and when it can be read, whoever asks, one at a time, and all who ask
//! share it. A timer is a summary: count and sum since the daemon started,
//! quantiles of the last minute; or what its mapping says.

use crate::aggregate::overflow::OVERFLOW_LABEL;
use crate::aggregate::treated::{Buckets, Treated, TreatedSeries};
use crate::aggregate::window::{Live, LiveValue};
use crate::aggregate::{Registry, Windows};
use crate::exposition::text::{CONTENT_TYPE, Kind, Page, Shown};
use crate::mapping::Observer;
use crate::model::label::{Labels, NAME, OWN_PREFIX};
use crate::model::{Histogram, Matcher, MetricType, Points, Select, SeriesKey, TimeRange};
use crate::query::Source;
use crate::telemetry::{FamilyKind, Telemetry};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use tokio::sync::{Semaphore, watch};

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
    pub registry: Arc<Registry>,
    pub source: Arc<dyn Source>,
    pub telemetry: Arc<Telemetry>,
    /// End of the newest window that can be read from `source`.
    flushed: watch::Receiver<i64>,
    cached: Mutex<Option<(Made, Bytes)>>,
    /// The permit to work on the page: who waits for it holds no thread.
    turn: Arc<Semaphore>,
}

/// What a page was made of: the end of the last window closed, and of the last
/// one that could be read. They differ while a window is being written.
type Made = (i64, i64);

impl ScrapeState {
    pub fn new(
        windows: Arc<Mutex<Windows>>,
        registry: Arc<Registry>,
        source: Arc<dyn Source>,
        telemetry: Arc<Telemetry>,
        flushed: watch::Receiver<i64>,
    ) -> Self {
        ScrapeState {
            windows,
            registry,
            source,
            telemetry,
            flushed,
            cached: Mutex::new(None),
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// The page as of now: the series, and our own figures.
    fn page(&self) -> [Bytes; 2] {
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
        [series, own.into()]
    }

    /// The part that changes at flushes only.
    fn series_page(&self) -> Bytes {
        // Held while the page is made, so that others wait instead of making it again.
        let mut cached = self.cached.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let readable_ms = *self.flushed.borrow();
        let (end_ms, live, treated) = {
            let windows = self.windows.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            let end_ms = windows.last_end_ms();
            match &*cached {
                Some((made, page)) if *made == (end_ms, readable_ms) => return page.clone(),
                _ => (end_ms, windows.live(), windows.treated().clone()),
            }
        };
        let mut series = Vec::with_capacity(live.len());
        self.registry.each_named(live, |key, live| series.push((key, live)));
        // Of those that clash the oldest stands, on every page.
        series.sort_unstable_by_key(|(_, live)| live.id);
        let recent = self.recent(&series, &treated, end_ms);
        let mut page = Page::default();
        for (SeriesKey { labels, metric_type }, live) in series {
            let treated = treated.get(live.id);
            if labels.name().starts_with(OWN_PREFIX) && labels.get(OVERFLOW_LABEL).is_none() {
                continue;
            }
            let own_help = treated.and_then(|treated| treated.treatment.help.as_deref());
            let (kind, shown) = match live.value {
                LiveValue::Counter(total) => (Kind::Counter, Shown::Value(total)),
                LiveValue::Gauge(last) | LiveValue::Set(last) => (Kind::Gauge, Shown::Value(last)),
                LiveValue::Distribution { count, sum } => match treated {
                    Some(Treated { buckets: Some(buckets), .. }) => (Kind::Histogram, histogram(buckets)),
                    _ => {
                        let recent = recent.get(&labels);
                        let quantile = |q| recent.map_or(f64::NAN, |recent| recent.quantile(q));
                        let (quantiles, _) = summary(treated);
                        let quantiles = quantiles.iter().map(|q| (*q, quantile(*q))).collect();
                        (Kind::Summary, Shown::Summary { quantiles, count, sum })
                    }
                },
            };
            page.add(labels, kind, own_help.unwrap_or(help(metric_type)), shown);
        }
        let (page, clashing) = page.render();
        self.telemetry.scrape_clashing_series.set(clashing as i64);
        let page = Bytes::from(page);
        *cached = Some(((end_ms, readable_ms), page.clone()));
        page
    }

    /// Distributions of summaries over their span, by labels. Where they cannot
    /// be read the summaries show no quantiles; counts and sums stand.
    fn recent(
        &self,
        series: &[(SeriesKey, Live)],
        treated: &TreatedSeries,
        end_ms: i64,
    ) -> HashMap<Labels, Histogram> {
        let mut names: BTreeMap<&str, i64> = BTreeMap::new();
        let mut spans: HashMap<&Labels, i64> = HashMap::new();
        for (key, live) in series.iter().filter(|(key, _)| key.metric_type.is_distribution()) {
            let treated = treated.get(live.id);
            if matches!(treated, Some(Treated { buckets: Some(_), .. })) {
                continue;
            }
            let (_, span_ms) = summary(treated);
            let longest_ms = names.entry(key.labels.name()).or_default();
            *longest_ms = span_ms.max(*longest_ms);
            if span_ms != SUMMARY_SPAN_MS {
                spans.insert(&key.labels, span_ms);
            }
        }
        let mut recent = HashMap::new();
        for (name, longest_ms) in names {
            let request = Select {
                matchers: &[Matcher::equal(NAME, name)],
                range: TimeRange { start_ms: end_ms - longest_ms + 1, end_ms },
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
                    let after_ms = end_ms - spans.get(&series.labels).unwrap_or(&SUMMARY_SPAN_MS);
                    let mut merged = Histogram::default();
                    let within = points.iter().filter(|(at_ms, _)| *at_ms > after_ms);
                    within.for_each(|(_, window)| merged.merge(window));
                    recent.insert(series.labels, merged);
                }
            }
        }
        recent
    }
}

/// Quantiles of a summary, and the span that they are of, in ms.
fn summary(treated: Option<&Treated>) -> (&[f64], i64) {
    match treated.map(|treated| &treated.treatment.observer) {
        Some(Observer::Summary { quantiles, max_age_ms }) => (quantiles, *max_age_ms),
        _ => (&QUANTILES, SUMMARY_SPAN_MS),
    }
}

fn histogram(shown: &Buckets) -> Shown {
    let counts = &shown.counts;
    let mut buckets = Vec::with_capacity(counts.bounds.len());
    let mut below = 0.0;
    for (bound, count) in counts.bounds.iter().zip(&counts.counts) {
        below += count;
        buckets.push((*bound, below));
    }
    let above = counts.counts.last().copied().unwrap_or(0.0);
    Shown::Histogram { buckets, count: below + above, sum: shown.sum }
}

pub fn router(state: Arc<ScrapeState>) -> Router {
    Router::new().route("/metrics", get(scrape)).with_state(state)
}

async fn scrape(State(state): State<Arc<ScrapeState>>) -> Response {
    let turn = state.turn.clone().acquire_owned().await;
    let made = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        state.page()
    });
    match made.await {
        Ok(parts) => {
            let length = parts.iter().map(Bytes::len).sum::<usize>();
            let head = [
                (header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE)),
                (header::CONTENT_LENGTH, length.into()),
            ];
            // Sent from where it is kept: no copy for each who asks.
            let body = Body::from_stream(tokio_stream::iter(parts.map(Ok::<_, Infallible>)));
            (head, body).into_response()
        }
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
        // Whoever sampled it exposes it.
        MetricType::Sampled => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::table::Partial;
    use crate::aggregate::window::Options;
    use crate::catalogue::Catalogue;
    use crate::query::MemorySource;

    #[test]
    fn quantiles_are_there_as_soon_as_their_window_can_be_read() {
        let telemetry = Arc::new(Telemetry::default());
        let expire_ms = 300_000;
        let options = Options {
            interval_ms: 10_000,
            counter_expire_ms: expire_ms,
            gauge_expire_ms: expire_ms,
            timer_expire_ms: expire_ms,
            set_expire_ms: expire_ms,
        };
        let mut windows = Windows::new(options, telemetry.clone(), vec![], 0);
        let registry = Arc::new(Registry::new(Arc::new(Catalogue::new(1))));
        let key = SeriesKey { labels: Labels::of_name("t"), metric_type: MetricType::Timer };
        let id = registry.register(key.clone()).unwrap();
        let window = Histogram::from_values([(0.5, 1.0)]);
        let partial = Partial { timers: vec![(id, window.clone())], ..Partial::default() };
        windows.flush(10_000, registry.take_new(), vec![partial]);
        let source = Arc::new(MemorySource::new());
        let (flushed, follows) = watch::channel(0);
        let state =
            ScrapeState::new(Arc::new(Mutex::new(windows)), registry, source.clone(), telemetry, follows);
        let page = || String::from_utf8(state.page().concat()).unwrap();
        // The window is closed and not yet written.
        assert!(page().contains("t{quantile=\"1\"} NaN"));
        source.push_histogram(&key.labels, Some(MetricType::Timer), 10_000, window);
        flushed.send_replace(10_000);
        let page = page();
        assert!(page.contains("t{quantile=\"1\"} 0.5") && page.contains("t_count 1"), "{page}");
    }
}
