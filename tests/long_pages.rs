//! Pages over a month: read from coarse steps, with the figures of the windows.
//!
//! The store keeps all windows beside its steps, so that both could be read; how
//! many points were read is counted. Figures are worked out of the windows once
//! more.

use statsdeck::catalogue::Catalogue;
use statsdeck::dashboard::calendar::Calendar;
use statsdeck::dashboard::number::Unit;
use statsdeck::dashboard::range::Span;
use statsdeck::dashboard::reading::Reader;
use statsdeck::dashboard::view::{Selection, Show};
use statsdeck::model::batch::GaugeValue;
use statsdeck::model::{
    FlushBatch, Grains, Labels, Matcher, MetricType, Select, Series, SeriesId, SeriesKey, Sketch, TimeRange,
};
use statsdeck::query::{Engine, Options, Source, SourceError};
use statsdeck::store::{self, MemoryBackend, Store, Tier};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const WINDOW_MS: i64 = 100_000;
const STEP_MS: i64 = 900_000;
const DAY_MS: i64 = 86_400_000;
const START_MS: i64 = 1_699_920_000_000;
const DAYS: i64 = 33;
const END_MS: i64 = START_MS + DAYS * DAY_MS;

struct Counting {
    store: Store,
    points: AtomicUsize,
}

impl Source for Counting {
    fn select(&self, request: &Select<'_>) -> Result<Vec<Series>, SourceError> {
        self.select_at(request, &Grains::all(request.step_ms))
    }

    fn select_at(&self, request: &Select<'_>, grains: &Grains) -> Result<Vec<Series>, SourceError> {
        let found = Store::select_at(&self.store, request, grains)?;
        self.points.fetch_add(found.iter().map(|series| series.points.len()).sum(), Ordering::Relaxed);
        Ok(found)
    }

    fn series(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        max_series: usize,
    ) -> Result<Vec<SeriesKey>, SourceError> {
        Ok(Store::series(&self.store, matchers, range, max_series)?)
    }
}

/// Users of a window: a few of many, some of them once only.
fn users(window: i64) -> impl Iterator<Item = i64> {
    let once = (window % 97 == 0).then_some(1_000 + window);
    (0..window % 3).map(move |user| (window * 7 + user * 13) % 40).chain(once)
}

fn value(window: i64) -> f64 {
    ((window * 7_919) % 1_009) as f64 - 200.0
}

fn filled() -> Arc<Counting> {
    let catalogue = Arc::new(Catalogue::new(10));
    let register = |name, metric_type| {
        catalogue.register(SeriesKey { labels: Labels::of_name(name), metric_type }).unwrap()
    };
    let (gauge, set): (SeriesId, SeriesId) =
        (register("heap", MetricType::Gauge), register("visitors", MetricType::Set));
    let options = store::Options { retention_ms: 100 * DAY_MS, ..store::Options::new("data") };
    let options = options.with_tiers(vec![Tier { resolution_ms: STEP_MS, retention_ms: 1_000 * DAY_MS }]);
    let (store, _) = Store::open(options, MemoryBackend::new(), catalogue.clone(), START_MS).unwrap();
    for window in 1..=(END_MS - START_MS) / WINDOW_MS {
        let end_ms = START_MS + window * WINDOW_MS;
        let mut sketch = Sketch::default();
        users(window).for_each(|user| sketch.insert(&user.to_le_bytes()));
        let last = value(window);
        let gauges = vec![GaugeValue { id: gauge, last, min: last, max: last }];
        let sets = vec![(set, sketch)];
        let batch =
            FlushBatch { start_ms: end_ms - WINDOW_MS, end_ms, gauges, sets, ..FlushBatch::default() };
        store.append(&batch).unwrap();
    }
    while store.maintain(END_MS).unwrap().blocks_built > 0 {}
    Arc::new(Counting { store, points: AtomicUsize::new(0) })
}

#[test]
fn a_month_is_read_from_steps_with_the_figures_of_its_windows() {
    let source = filled();
    let engine = Engine::new(source.clone(), Options::default());
    let reader = |span| Reader {
        engine: engine.clone(),
        calendar: Calendar::new(jiff::tz::TimeZone::UTC),
        span,
        newest_ms: END_MS,
        window_ms: WINDOW_MS,
        points: 240,
        day_totals: Arc::default(),
        markers: Arc::from([]),
    };
    let window_of = |at_ms: i64| (at_ms - START_MS) / WINDOW_MS;
    // More users than are counted one by one are estimated, however they are merged.
    let distinct = |from_ms: i64, until_ms: i64| {
        let all: BTreeSet<i64> = (window_of(from_ms) + 1..=window_of(until_ms)).flat_map(users).collect();
        let mut sketch = Sketch::default();
        all.iter().for_each(|user| sketch.insert(&user.to_le_bytes()));
        let estimate = sketch.count().round();
        assert!((estimate - all.len() as f64).abs() <= 0.03 * all.len() as f64);
        if from_ms >= until_ms { f64::NAN } else { estimate }
    };
    // A month that ends now, and spans that begin and end within a step.
    for (start_ms, end_ms) in [
        (END_MS - 30 * DAY_MS, END_MS),
        (END_MS - 30 * DAY_MS - 3 * WINDOW_MS, END_MS - 3 * WINDOW_MS),
        (START_MS + 97 * WINDOW_MS, START_MS + 97 * WINDOW_MS + 20 * DAY_MS),
        (START_MS + 96 * WINDOW_MS, START_MS + 97 * 12 * WINDOW_MS),
        (START_MS + DAY_MS, START_MS + DAY_MS + 4 * WINDOW_MS),
    ] {
        let span = Span { start_ms, end_ms };
        let case = format!("from window {} to {}", window_of(start_ms), window_of(end_ms));
        let reader = reader(span);
        let read = |what: &str| {
            let windows = ((end_ms - start_ms) / WINDOW_MS) as usize;
            let points = source.points.swap(0, Ordering::Relaxed);
            // The newest steps are not in a block yet.
            assert!(windows < 2_000 || points < windows / 3, "{case}: {points} points for {what}");
        };
        source.points.store(0, Ordering::Relaxed);
        let visitors = Selection::of_metric("visitors");
        let chart = reader.lines(&visitors, MetricType::Set, &[], &Unit::Count).unwrap();
        read("the line of a set");
        assert_eq!(chart.lines[0].summary, Some(distinct(start_ms, end_ms)), "{case}");
        for (at, shown) in chart.lines[0].values.iter().enumerate().skip(1) {
            let (from_ms, until_ms) = (chart.grid.time_ms(at - 1), chart.grid.time_ms(at));
            let expected = distinct(from_ms.max(start_ms), until_ms.min(end_ms));
            assert_eq!(*shown, expected, "{case}: point {at}");
        }
        let number = reader.number(&visitors, MetricType::Set, Show::Last, span).unwrap();
        read("the number of a set");
        assert_eq!(number, Some(distinct(start_ms, end_ms)), "{case}");

        let heap = Selection::of_metric("heap");
        let chart = reader.lines(&heap, MetricType::Gauge, &[], &Unit::Plain).unwrap();
        read("the line of a gauge");
        let times = chart.grid.times_ms().map(|at_ms| at_ms.min(END_MS));
        for (at_ms, shown) in times.zip(&chart.lines[0].values).filter(|(at_ms, _)| *at_ms > START_MS) {
            assert_eq!(*shown, value(window_of(at_ms)), "{case}: at {at_ms}");
        }
        let number = reader.number(&heap, MetricType::Gauge, Show::Last, span).unwrap();
        assert_eq!(number, Some(value(window_of(end_ms))), "{case}");
        // A month's extremes lie between the points of its line.
        let windows: Vec<f64> = (window_of(start_ms) + 1..=window_of(end_ms)).map(value).collect();
        for (function, expected) in [
            ("min", windows.iter().copied().fold(f64::INFINITY, f64::min)),
            ("max", windows.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
            ("last", windows[windows.len() - 1]),
        ] {
            let query = format!("{function}_over_time(heap[{}s])", windows.len() as i64 * WINDOW_MS / 1000);
            source.points.store(0, Ordering::Relaxed);
            assert_eq!(reader.query_number(&query, end_ms).unwrap(), Some(expected), "{case}: {query}");
            if start_ms % STEP_MS == 0 && end_ms % STEP_MS == 0 {
                read(&query);
            }
        }
    }
}
