//! A year with both daylight-saving days, through the default tiers: daily totals
//! of every zone are the integers that were counted, percentiles and distinct
//! counts are within their bounds of the raw values, whichever tier answers.
//!
//! `STATSDECK_WINDOWS_PER_HOUR=60 cargo test --release --test store year` for a
//! denser year.

use crate::world::{Dice, TestStore};
use jiff::civil::date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use statsdeck::model::batch::CounterValue;
use statsdeck::model::{
    FlushBatch, Histogram, Labels, Matcher, MetricType, Points, Select, SeriesId, SeriesKey, Sketch,
    TimeRange,
};
use statsdeck::query::{self, Engine, Source};
use statsdeck::store::{MemoryBackend, Options, Store, Tier};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const WINDOW_MS: i64 = 10_000;
/// Of a percentile, relative; of a distinct count beyond 128, relative: three
/// times the standard error of 4,096 registers.
const QUANTILE_ERROR: f64 = 0.008;
const DISTINCT_ERROR: f64 = 0.049;

/// The raw values, by the end of their window.
#[derive(Default)]
struct Raw {
    counts: BTreeMap<i64, i64>,
    values: BTreeMap<i64, Vec<f64>>,
    members: BTreeMap<i64, Vec<u64>>,
}

impl Raw {
    fn count(&self, start_ms: i64, end_ms: i64) -> i64 {
        self.counts.range(start_ms + 1..=end_ms).map(|(_, count)| count).sum()
    }

    fn sorted(&self, start_ms: i64, end_ms: i64) -> Vec<f64> {
        let values = self.values.range(start_ms + 1..=end_ms).flat_map(|(_, values)| values.iter().copied());
        let mut values: Vec<f64> = values.collect();
        values.sort_unstable_by(f64::total_cmp);
        values
    }

    fn distinct(&self, start_ms: i64, end_ms: i64) -> usize {
        let members = self.members.range(start_ms + 1..=end_ms).flat_map(|(_, members)| members);
        members.collect::<BTreeSet<_>>().len()
    }
}

struct Year {
    store: Arc<Store>,
    engine: Engine,
    raw: Raw,
    dice: Dice,
    total: i64,
}

impl Year {
    fn begin(now_ms: i64) -> Self {
        let tier = |resolution_ms, days| Tier { resolution_ms, retention_ms: days * DAY_MS };
        let options = Options::new("/data").with_tiers(vec![tier(60_000, 30), tier(900_000, 730)]);
        let (opened, _) = TestStore::open(options, MemoryBackend::new(), now_ms).unwrap();
        let key = |name, metric_type| SeriesKey { labels: Labels::of_name(name), metric_type };
        let named = vec![
            (SeriesId(0), key("jobs", MetricType::Counter)),
            (SeriesId(1), key("took", MetricType::Timer)),
            (SeriesId(2), key("users", MetricType::Set)),
        ];
        opened.catalogue.restore(named, 0);
        let store = Arc::new(opened.store);
        let engine = Engine::new(store.clone() as Arc<dyn Source>, query::Options::default());
        Year { store, engine, raw: Raw::default(), dice: Dice::new(7), total: 0 }
    }

    fn window(&mut self, end_ms: i64) {
        let count = self.dice.roll(1000) as i64 - 100;
        // Over five orders of magnitude.
        let value = |dice: &mut Dice| (dice.roll(1 << 20) as f64 / f64::from(1 << 20) * 12.0 - 8.0).exp();
        let values: Vec<f64> = (0..=self.dice.roll(8)).map(|_| value(&mut self.dice)).collect();
        let members: Vec<u64> = (0..self.dice.roll(6)).map(|_| self.dice.roll(20_000)).collect();
        let start_total = (self.total == 0 && self.raw.counts.is_empty()).then_some(0.0);
        self.total += count;
        let mut sketch = Sketch::default();
        members.iter().for_each(|member| sketch.insert(&member.to_le_bytes()));
        let batch = FlushBatch {
            start_ms: end_ms - WINDOW_MS,
            end_ms,
            counters: vec![CounterValue { id: SeriesId(0), total: self.total as f64, start_total }],
            timers: vec![(SeriesId(1), Histogram::from_values(values.iter().map(|value| (*value, 1.0))))],
            sets: if members.is_empty() { Vec::new() } else { vec![(SeriesId(2), sketch)] },
            ..FlushBatch::default()
        };
        self.store.append(&batch).unwrap();
        self.raw.counts.insert(end_ms, count);
        self.raw.values.insert(end_ms, values);
        self.raw.members.insert(end_ms, members);
    }

    /// Totals between midnights, as the dashboard asks and as PromQL does.
    fn check_days(&self, midnights: &[i64], case: &str) {
        let found = self.engine.totals(&[Matcher::equal("__name__", "jobs")], midnights).unwrap();
        for (day, found) in midnights.windows(2).zip(found) {
            let expected = self.raw.count(day[0], day[1]) as f64;
            assert_eq!(found.unwrap_or_default(), expected, "{case}: {day:?}");
            let expr = format!("increase(jobs[{}s] anchored)", (day[1] - day[0]) / 1000);
            let value = self.engine.instant(&expr, day[1]).unwrap().value;
            let query::Value::Vector(points) = value else { panic!("{expr} is no vector") };
            let found = points.first().and_then(|point| point.value.as_float());
            assert_eq!(found, Some(expected), "{case}: {expr} at {}", day[1]);
        }
    }

    fn check_span(&self, start_ms: i64, end_ms: i64, case: &str) {
        let found = self.engine.distribution(&[Matcher::equal("__name__", "took")], start_ms, end_ms, 1);
        let (found, values) = (found.unwrap().remove(0), self.raw.sorted(start_ms, end_ms));
        assert_eq!(found.count, values.len() as f64, "{case}");
        for q in [0.5, 0.9, 0.99, 0.999] {
            let place = q * (values.len() as f64 - 1.0);
            let (low, high) =
                (values[place.floor() as usize], values[(place.ceil() as usize + 1).min(values.len() - 1)]);
            let value = found.quantile(q);
            let fits = low * (1.0 - QUANTILE_ERROR) <= value && value <= high * (1.0 + QUANTILE_ERROR);
            assert!(fits, "{case}: p{} is {value}, and {low} to {high} of {}", q * 100.0, values.len());
        }
        let matchers = [Matcher::equal("__name__", "users")];
        let range = TimeRange { start_ms: start_ms + 1, end_ms };
        let step_ms = if end_ms % 900_000 == 0 && start_ms % 900_000 == 0 { 900_000 } else { 0 };
        let request = Select { matchers: &matchers, range, step_ms, max_series: 1, max_points: usize::MAX };
        let mut all = Sketch::default();
        for series in self.store.select(&request).unwrap() {
            let Points::Sketches(points) = series.points else { panic!("a set has sketches") };
            points.iter().for_each(|(_, sketch)| all.merge(sketch));
        }
        let (found, expected) = (all.count(), self.raw.distinct(start_ms, end_ms) as f64);
        let bound = if expected <= 128.0 { 0.0 } else { expected * DISTINCT_ERROR };
        assert!((found - expected).abs() <= bound, "{case}: {found} distinct instead of {expected}");
    }
}

/// Midnights of the zone in the year.
fn midnights(zone: &str) -> Vec<i64> {
    let zone = TimeZone::get(zone).unwrap();
    (0..=365)
        .map(|day| {
            let date = date(2026, 1, 1).checked_add(day.days()).unwrap();
            date.to_zoned(zone.clone()).unwrap().timestamp().as_millisecond()
        })
        .collect()
}

#[test]
fn a_year_has_its_exact_days_and_its_percentiles_in_every_tier() {
    let per_hour = std::env::var("STATSDECK_WINDOWS_PER_HOUR").ok().and_then(|text| text.parse().ok());
    let zones = ["Europe/Berlin", "America/New_York", "Asia/Kathmandu"];
    let midnights: Vec<Vec<i64>> = zones.iter().map(|zone| midnights(zone)).collect();
    // The hours around each change of a clock are dense.
    let changes = midnights.iter().flat_map(|days| days.windows(2)).filter(|day| day[1] - day[0] != DAY_MS);
    let changes: Vec<i64> = changes.map(|day| day[0]).collect();
    assert_eq!(changes.len(), 4, "two zones change twice");
    let begin_ms = "2025-12-31T00:00:00Z".parse::<Timestamp>().unwrap().as_millisecond();
    let end_ms = "2027-01-02T00:00:00Z".parse::<Timestamp>().unwrap().as_millisecond();
    let mut ends: BTreeSet<i64> = midnights.iter().flatten().copied().collect();
    let mut dice = Dice::new(11);
    for hour_ms in (begin_ms..end_ms).step_by(HOUR_MS as usize) {
        let is_dense = changes.iter().any(|change| (hour_ms - change).abs() < 30 * HOUR_MS);
        for _ in 0..per_hour.unwrap_or(if is_dense { 20 } else { 1 }) {
            ends.insert(hour_ms + (1 + dice.roll(360) as i64) * WINDOW_MS);
        }
    }
    // What is asked again and again, until it comes from the coarsest tier.
    let dst_day = changes[0] - changes[0].rem_euclid(900_000);
    let spans =
        [("hour", dst_day, HOUR_MS), ("day", dst_day, DAY_MS), ("month", dst_day - 29 * DAY_MS, 30 * DAY_MS)];
    let mut year = Year::begin(begin_ms);
    let mut next_upkeep_ms = begin_ms;
    let mut asked: BTreeSet<(usize, i64)> = BTreeSet::new();
    for end_ms in ends {
        year.window(end_ms);
        if end_ms >= next_upkeep_ms {
            year.store.maintain(end_ms).unwrap();
            next_upkeep_ms = end_ms + 2 * HOUR_MS;
        }
        for (at, (name, start_ms, length_ms)) in spans.iter().enumerate() {
            let until_ms = start_ms + length_ms;
            // From windows, from steps of a minute, and of a quarter of an hour.
            for days in [0, 4, 45, 200] {
                if end_ms > until_ms + days * DAY_MS && asked.insert((at, days)) {
                    year.check_span(*start_ms, until_ms, &format!("{name}, {days} days later"));
                    for (zone, midnights) in zones.iter().zip(&midnights) {
                        let of_span = midnights.iter().filter(|at| (*start_ms..=until_ms).contains(at));
                        let of_span: Vec<i64> = of_span.copied().collect();
                        year.check_days(&of_span, &format!("{zone}, {name}, {days} days later"));
                    }
                }
            }
        }
    }
    assert_eq!(asked.len(), 12);
    for (zone, midnights) in zones.iter().zip(&midnights) {
        year.check_days(midnights, zone);
    }
    for _ in 0..40 {
        let length_ms = [HOUR_MS, DAY_MS, 30 * DAY_MS][dice.roll(3) as usize];
        let start_ms = begin_ms + dice.roll((330 * DAY_MS / HOUR_MS) as u64) as i64 * HOUR_MS;
        year.check_span(start_ms, start_ms + length_ms, &format!("{length_ms} ms from {start_ms}"));
    }
}
