//! Sums of timers' rates over a store: added up as they are packed in its files,
//! they are what comes of reading each series, rating it and summing the rates.

use proptest::prelude::*;
use statsdeck::catalogue::Catalogue;
use statsdeck::model::{FlushBatch, Histogram, Labels, MetricType, SeriesId, SeriesKey};
use statsdeck::query::{Engine, Number, Options, Value};
use statsdeck::store::{self, MemoryBackend, Store, Tier};
use std::sync::{Arc, LazyLock};

const WINDOW_MS: i64 = 30_000;
const HOUR_MS: i64 = 3_600_000;
const START_MS: i64 = 1_699_992_000_000;
const WINDOWS: i64 = 7 * HOUR_MS / WINDOW_MS;
const END_MS: i64 = START_MS + WINDOWS * WINDOW_MS;
const SERIES: i64 = 9;

/// What the timers of a store are like.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Whole weights of values that are not far apart.
    Usual,
    /// One of them is sampled, so that its weights are no whole numbers.
    Sampled,
    /// Values that are no decimals, of all sizes and both signs.
    Wide,
    /// Weights that few of them take beyond 2^32.
    Heavy,
}

const KINDS: [Kind; 4] = [Kind::Usual, Kind::Sampled, Kind::Wide, Kind::Heavy];

static ENGINES: LazyLock<Vec<Engine>> = LazyLock::new(|| KINDS.map(engine).into());

fn noise(seed: i64) -> i64 {
    let mut state = seed as u64 ^ 0x9e37_79b9_7f4a_7c15;
    for _ in 0..3 {
        state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }
    ((state ^ (state >> 31)) >> 1) as i64
}

/// The distribution of a series in a window; `None` where there was nothing.
fn distribution(kind: Kind, series: i64, window: i64) -> Option<Histogram> {
    let noise = |what: i64, below: i64| noise(((series * 10_000 + window) * 100) + what) % below;
    // Each begins later, and has gaps of its own.
    if window < series * 60 || noise(0, 7) == 0 || (window / 40 + series) % 9 == 0 {
        return None;
    }
    let values = (1..=noise(1, 12)).map(|at| {
        let value = (1 + noise(10 + at, 5_000)) as f64;
        match kind {
            Kind::Usual => (value / 1024.0, 1.0),
            Kind::Sampled if series == 4 => (value / 1024.0, 1.0 / 3.0),
            Kind::Sampled => (value / 1024.0, 2.0),
            Kind::Wide if series == 3 => (10f64.powi(noise(30, 500) as i32 - 250), 1.0),
            Kind::Wide => (value.sqrt() * if at % 5 == 0 { -1.0 } else { 1.0 }, 1.0),
            Kind::Heavy => (value / 1024.0, 1e8),
        }
    });
    Some(Histogram::from_values(values))
}

/// A store with blocks of windows and of steps, and a log.
fn engine(kind: Kind) -> Engine {
    let catalogue = Arc::new(Catalogue::new(100));
    let register = |number: i64| {
        // Members of a group are not neighbours.
        let (number, group) = (number.to_string(), format!("g{}", number % 3));
        let labels = [("__name__", "took"), ("a", number.as_str()), ("group", group.as_str())];
        let key = SeriesKey { labels: Labels::from_pairs(labels), metric_type: MetricType::Timer };
        catalogue.register(key).unwrap()
    };
    let ids: Vec<SeriesId> = (0..SERIES).map(register).collect();
    let options = store::Options { retention_ms: 5 * HOUR_MS, ..store::Options::new("data") };
    // Blocks are small, so that the time of a sum can mostly be cut between them.
    let options = options.with_block_span(HOUR_MS / 2);
    let tier = |resolution_ms| Tier { resolution_ms, retention_ms: 1_000 * HOUR_MS };
    let options = options.with_tiers(vec![tier(60_000), tier(600_000)]);
    let (store, _) = Store::open(options, MemoryBackend::new(), catalogue.clone(), START_MS).unwrap();
    for window in 1..=WINDOWS {
        let end_ms = START_MS + window * WINDOW_MS;
        let timers =
            ids.iter().zip(0..).filter_map(|(id, series)| Some((*id, distribution(kind, series, window)?)));
        let (timers, start_ms) = (timers.collect(), end_ms - WINDOW_MS);
        store.append(&FlushBatch { start_ms, end_ms, timers, ..FlushBatch::default() }).unwrap();
    }
    while store.maintain(END_MS).unwrap().blocks_built > 0 {}
    Engine::new(Arc::new(store), Options::default())
}

fn is_close(found: f64, expected: f64) -> bool {
    found.to_bits() == expected.to_bits() || (found - expected).abs() <= 1e-9 * expected.abs()
}

fn is_same(found: &Number, expected: &Number, is_signed: bool) -> bool {
    match (found, expected) {
        (Number::Float(found), Number::Float(expected)) => is_close(*found, *expected),
        (Number::Histogram(found), Number::Histogram(expected)) => {
            // What is added up in another order is rounded otherwise: where signs differ, by any part.
            let sums = is_signed || is_close(found.sum(), expected.sum());
            let (ours, theirs) = (found.as_log_linear().unwrap(), expected.as_log_linear().unwrap());
            let ends = (ours.min, ours.max) == (theirs.min, theirs.max);
            let (found, expected) = (found.buckets(), expected.buckets());
            let buckets =
                found.iter().zip(&expected).all(|(a, b)| a.lower == b.lower && is_close(a.count, b.count));
            sums && ends && is_close(ours.count, theirs.count) && found.len() == expected.len() && buckets
        }
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn sums_of_packed_timers_are_those_of_their_rates(
        kind in 0..KINDS.len(),
        function in prop::sample::select(vec!["rate", "increase"]),
        by in prop::sample::select(vec!["", "", "by (group)", "by (a)", "without (a)"]),
        // Most of them are whole ranks, at which a bucket may end.
        quantile in prop::option::of(prop_oneof![
            prop::sample::select(vec![0.1, 0.2, 0.25, 0.5, 0.75, 0.9]),
            0.01f64..0.999,
        ]),
        (grain_s, range, step, start) in (
            prop::sample::select(vec![1i64, 30, 60, 600]), 1i64..40, 1i64..30, -20i64..700),
        steps in prop::sample::select(vec![0i64, 1, 40]),
        fixed in prop::bool::weighted(0.1),
    ) {
        let (engine, grain_ms) = (&ENGINES[kind], grain_s * 1000);
        let at = if fixed { " @ end()" } else { "" };
        let call = format!("{function}(took[{}s]{at})", range * grain_s);
        let of = |sum: String| match quantile {
            Some(q) => format!("histogram_quantile({q}, {sum})"),
            None => sum,
        };
        // What is part of a union is read series by series.
        let [packed, whole] = [format!("sum {by} ({call})"), format!("sum {by} ({call} or none)")].map(of);
        let start_ms = (START_MS + start * grain_ms).min(END_MS - grain_ms);
        let ask = |text: &str| match steps {
            0 => match engine.instant(text, start_ms).unwrap().value {
                Value::Vector(points) => points.into_iter().map(|p| (p.labels, vec![(0, p.value)])).collect(),
                _ => Vec::new(),
            },
            _ => match engine.range(text, start_ms, start_ms + steps * step * grain_ms, step * grain_ms).unwrap().value {
                Value::Matrix(series) => series.into_iter().map(|s| (s.labels, s.points.iter().collect())).collect(),
                _ => Vec::new(),
            },
        };
        let (mut found, mut expected): (Vec<_>, Vec<_>) = (ask(&packed), ask(&whole));
        // Of an instant vector no order was asked for.
        for all in [&mut found, &mut expected] {
            all.sort_by(|a, b| a.0.cmp(&b.0));
        }
        prop_assert_eq!(found.len(), expected.len(), "{}", packed);
        let is_signed = matches!(KINDS[kind], Kind::Wide);
        for ((labels, found), (expected_labels, expected)) in found.iter().zip(&expected) {
            prop_assert_eq!(labels, expected_labels);
            prop_assert_eq!(found.len(), expected.len(), "{}", packed);
            for ((at, found), (expected_at, expected)) in found.iter().zip(expected) {
                prop_assert_eq!(at, expected_at);
                prop_assert!(is_same(found, expected, is_signed), "{} at {}: {:?} {:?}", packed, at, found, expected);
            }
        }
    }
}

#[test]
fn every_kind_answers() {
    for engine in &*ENGINES {
        let answer = engine.range("sum by (group) (increase(took[10m]))", START_MS, END_MS, 600_000).unwrap();
        let Value::Matrix(series) = answer.value else { panic!("a matrix") };
        assert_eq!(series.len(), 3);
        assert!(series.iter().all(|series| series.points.len() > 30));
    }
}

#[test]
fn a_sum_of_all_is_the_same_wherever_its_time_is_cut() {
    let engine = &ENGINES[0];
    for (hours, range_s, step_s) in [(3, 60, 60), (4, 90, 210), (3, 1_800, 420), (4, 30, 300), (2, 3_600, 30)]
    {
        for begun in 0..6 {
            let start_ms = END_MS - hours * HOUR_MS - begun * 10 * WINDOW_MS;
            let points = |text: &str| {
                let answer = engine.range(text, start_ms, END_MS - begun * 20 * WINDOW_MS, step_s * 1000);
                let Value::Matrix(series) = answer.unwrap().value else { panic!("a matrix") };
                series.iter().flat_map(|series| series.points.iter().collect::<Vec<_>>()).collect::<Vec<_>>()
            };
            let call = format!("increase(took[{range_s}s])");
            let (packed, whole) = (format!("sum({call})"), format!("sum({call} or none)"));
            let (found, expected) = (points(&packed), points(&whole));
            assert!(found.len() == expected.len() && !found.is_empty(), "{packed}");
            for ((at, found), (expected_at, expected)) in found.iter().zip(&expected) {
                assert!(at == expected_at && is_same(found, expected, false), "{packed} at {at}");
            }
        }
    }
}
