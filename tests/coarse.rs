//! What queries answer when the windows are gone and only coarse steps are
//! left: the same as from the windows, where every edge is the end of a step.
//!
//! The windows are kept beside the store, and every answer is worked out of them
//! once more, the plain way.

use statsdeck::catalogue::Catalogue;
use statsdeck::model::batch::{CounterValue, GaugeValue};
use statsdeck::model::{FlushBatch, Histogram, Labels, Matcher, MetricType, SeriesId, SeriesKey};
use statsdeck::query::{Engine, Number, Options, Value};
use statsdeck::store::{self, MemoryBackend, Store, Tier};
use std::sync::Arc;

const WINDOW_MS: i64 = 30_000;
const STEP_MS: i64 = 600_000;
const HOUR_MS: i64 = 3_600_000;
const START_MS: i64 = 1_699_992_000_000;
const HOURS: i64 = 24;
const END_MS: i64 = START_MS + HOURS * HOUR_MS;
/// Before that, only steps are left.
const FINE_MS: i64 = END_MS - 4 * HOUR_MS;
/// Until then there was a gauge that ended without a mark.
const SILENT_MS: i64 = END_MS - 390_000;
const GAUGES: usize = 5;

/// What was sent in a window, of each series.
#[derive(Clone, Default)]
struct Window {
    end_ms: i64,
    gauges: [Option<f64>; GAUGES],
    counted: [Option<f64>; 2],
    timed: Vec<f64>,
}

/// Deterministic numbers.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn windows() -> Vec<Window> {
    let mut dice = Dice(0x5157_a75d);
    let mut alive = [true; GAUGES];
    let number = |dice: &mut Dice| dice.below(8_000) as f64 / 8.0 - 300.0;
    (1..=HOURS * HOUR_MS / WINDOW_MS)
        .map(|window| {
            let mut gauges = [None; GAUGES];
            for (alive, gauge) in alive.iter_mut().zip(&mut gauges) {
                // Runs of windows with values, and gaps of all lengths.
                *alive ^= dice.below(25) == 0;
                *gauge = alive.then(|| number(&mut dice));
            }
            let counted = [Some(dice.below(100) as f64), (window > 777).then(|| dice.below(9) as f64)];
            let timed = (0..dice.below(4)).map(|_| (1 + dice.below(5_000)) as f64 / 1e3).collect();
            Window { end_ms: START_MS + window * WINDOW_MS, gauges, counted, timed }
        })
        .collect()
}

fn key(name: String, metric_type: MetricType) -> SeriesKey {
    SeriesKey { labels: Labels::of_name(&name), metric_type }
}

/// A store that was given the windows, and has dropped the older ones.
fn engine(windows: &[Window]) -> Engine {
    let catalogue = Arc::new(Catalogue::new(100));
    let register = |name, metric_type| catalogue.register(key(name, metric_type)).unwrap();
    let gauges: Vec<SeriesId> =
        (0..GAUGES).map(|at| register(format!("gauge_{at}"), MetricType::Gauge)).collect();
    let counters: Vec<SeriesId> =
        (0..2).map(|at| register(format!("counter_{at}"), MetricType::Counter)).collect();
    let timer = register("timer".into(), MetricType::Timer);
    let silent = register("silent".into(), MetricType::Gauge);
    let options = store::Options { retention_ms: END_MS - FINE_MS, ..store::Options::new("data") };
    let options = options.with_tiers(vec![Tier { resolution_ms: STEP_MS, retention_ms: 1_000 * HOUR_MS }]);
    let (store, _) = Store::open(options, MemoryBackend::new(), catalogue.clone(), START_MS).unwrap();
    let mut totals = [0.0; 2];
    for (number, window) in windows.iter().enumerate() {
        let before = number.checked_sub(1).and_then(|at| windows.get(at));
        let mut batch = FlushBatch {
            start_ms: window.end_ms - WINDOW_MS,
            end_ms: window.end_ms,
            ..FlushBatch::default()
        };
        for (at, id) in gauges.iter().enumerate() {
            match window.gauges[at] {
                Some(last) => batch.gauges.push(GaugeValue { id: *id, last, min: last, max: last }),
                None if before.is_some_and(|before| before.gauges[at].is_some()) => batch.stale.push(*id),
                None => {}
            }
        }
        for (at, id) in counters.iter().enumerate() {
            let Some(counted) = window.counted[at] else { continue };
            let begins = before.is_none_or(|before| before.counted[at].is_none());
            let start_total = begins.then_some(totals[at]);
            totals[at] += counted;
            batch.counters.push(CounterValue { id: *id, total: totals[at], start_total });
        }
        if window.end_ms <= SILENT_MS {
            let value = GaugeValue { id: silent, last: 1.0, min: 1.0, max: 1.0 };
            batch.gauges.push(value);
        }
        if !window.timed.is_empty() {
            batch.timers.push((timer, Histogram::from_values(window.timed.iter().map(|v| (*v, 1.0)))));
        }
        store.append(&batch).unwrap();
    }
    while store.maintain(END_MS).unwrap().blocks_built > 0 {}
    let everything = statsdeck::model::TimeRange { start_ms: START_MS, end_ms: END_MS };
    assert_eq!(store.resolution_ms(everything), STEP_MS, "windows have left");
    Engine::new(Arc::new(store), Options::default())
}

/// Values of the only series of an answer.
fn asked(engine: &Engine, query: &str, start_ms: i64, step_ms: i64) -> Vec<(i64, f64)> {
    let Value::Matrix(series) = engine.range(query, start_ms, END_MS, step_ms).unwrap().value else {
        panic!("a matrix")
    };
    let points = series.iter().flat_map(|series| series.points.iter());
    points.map(|(at, number)| (at, number.as_float().unwrap())).collect()
}

#[test]
fn gauges_over_time_are_those_of_their_windows() {
    let windows = windows();
    let engine = engine(&windows);
    for gauge in 0..GAUGES {
        for (range_ms, step_ms) in
            [(STEP_MS, STEP_MS), (HOUR_MS, STEP_MS), (HOUR_MS, HOUR_MS), (6 * HOUR_MS, HOUR_MS)]
        {
            for function in ["sum", "count", "avg", "min", "max", "last"] {
                let fold = |values: &[f64]| match function {
                    "sum" => values.iter().sum(),
                    "count" => values.len() as f64,
                    "avg" => values.iter().sum::<f64>() / values.len() as f64,
                    "min" => values.iter().copied().fold(f64::INFINITY, f64::min),
                    "max" => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                    _ => values[values.len() - 1],
                };
                let mut expected = Vec::new();
                let mut at_ms = START_MS;
                while at_ms <= END_MS {
                    let within =
                        |window: &&Window| at_ms - range_ms < window.end_ms && window.end_ms <= at_ms;
                    let values: Vec<f64> =
                        windows.iter().filter(within).filter_map(|window| window.gauges[gauge]).collect();
                    if !values.is_empty() {
                        expected.push((at_ms, fold(&values)));
                    }
                    at_ms += step_ms;
                }
                let query = format!("{function}_over_time(gauge_{gauge}[{}s])", range_ms / 1000);
                assert_eq!(asked(&engine, &query, START_MS, step_ms), expected, "{query} each {step_ms} ms");
            }
        }
    }
}

#[test]
fn a_mean_weighs_windows_alike_where_steps_and_windows_meet() {
    let windows = windows();
    let engine = engine(&windows);
    // From the middle of a step on, so that the finest is read; ranges begin with one.
    let at_ms = FINE_MS + STEP_MS / 2;
    for gauge in 0..GAUGES {
        let range_ms = at_ms - (FINE_MS - 2 * HOUR_MS);
        let within = |window: &&Window| at_ms - range_ms < window.end_ms && window.end_ms <= at_ms;
        let values: Vec<f64> =
            windows.iter().filter(within).filter_map(|window| window.gauges[gauge]).collect();
        let query = format!("avg_over_time(gauge_{gauge}[{}s])", range_ms / 1000);
        let Value::Vector(found) = engine.instant(&query, at_ms).unwrap().value else { panic!("a vector") };
        let expected = values.iter().sum::<f64>() / values.len() as f64;
        assert_eq!(found.first().map(|point| point.value.clone()), Some(Number::Float(expected)), "{query}");
    }
}

#[test]
fn totals_of_spans_are_exact_from_whatever_tier() {
    let windows = windows();
    let engine = engine(&windows);
    let odd = FINE_MS + 7 * WINDOW_MS;
    let cases: [Vec<i64>; 4] = [
        (0..=HOURS).map(|hour| START_MS + hour * HOUR_MS).collect(),
        (0..=HOURS * 6).map(|step| START_MS + step * STEP_MS).collect(),
        vec![START_MS, START_MS + 7 * HOUR_MS, START_MS + 7 * HOUR_MS + STEP_MS, END_MS],
        // Of the windows that are left, any edge.
        vec![odd, odd + WINDOW_MS, odd + 3 * WINDOW_MS, END_MS],
    ];
    for boundaries in cases {
        for counter in 0..2 {
            let expected: Vec<Option<f64>> = boundaries
                .windows(2)
                .map(|ends| {
                    let within = |window: &&Window| ends[0] < window.end_ms && window.end_ms <= ends[1];
                    let counted = windows.iter().filter(within).filter_map(|window| window.counted[counter]);
                    counted.fold(None, |sum, counted| Some(sum.unwrap_or(0.0) + counted))
                })
                .collect();
            let matchers = [Matcher::equal("__name__", format!("counter_{counter}"))];
            let found = engine.totals(&matchers, &boundaries).unwrap();
            assert_eq!(found, expected, "counter {counter} between {boundaries:?}");
        }
    }
}

#[test]
fn distributions_of_spans_are_those_of_their_windows() {
    let windows = windows();
    let engine = engine(&windows);
    let matchers = [Matcher::equal("__name__", "timer")];
    for (start_ms, end_ms, spans) in [
        (START_MS, END_MS, 24),
        (START_MS, END_MS, 1),
        (START_MS + STEP_MS, END_MS - STEP_MS, 2),
        (FINE_MS, END_MS, 13),
    ] {
        let found = engine.distribution(&matchers, start_ms, end_ms, spans).unwrap();
        let edge =
            |number: usize| start_ms as f64 + (end_ms - start_ms) as f64 * number as f64 / spans as f64;
        for (number, found) in found.iter().enumerate() {
            let within = |window: &&Window| {
                edge(number) < window.end_ms as f64 && window.end_ms as f64 <= edge(number + 1)
            };
            let values = windows.iter().filter(within).flat_map(|window| &window.timed);
            let expected = Histogram::from_values(values.map(|value| (*value, 1.0)));
            let case = format!("span {number} of {spans} from {start_ms}");
            assert_eq!((found.count, found.buckets()), (expected.count, expected.buckets()), "{case}");
            assert_eq!((found.min, found.max), (expected.min, expected.max), "{case}");
            assert!((found.sum - expected.sum).abs() < 1e-6, "{case}");
        }
    }
}

#[test]
fn one_range_is_read_in_coarse_steps_but_for_its_edges() {
    let windows = windows();
    let engine = engine(&windows);
    for (end_ms, range_ms) in [
        (END_MS, 4 * HOUR_MS),
        (END_MS - 70_000, 3 * HOUR_MS + 1_000),
        (END_MS - STEP_MS - 1, 2 * HOUR_MS),
        (END_MS - 3 * WINDOW_MS, STEP_MS - 1),
        (END_MS - 3 * WINDOW_MS, 2 * STEP_MS - 5 * WINDOW_MS),
    ] {
        let within = |window: &&Window| end_ms - range_ms < window.end_ms && window.end_ms <= end_ms;
        let within: Vec<&Window> = windows.iter().filter(within).collect();
        let expected =
            Histogram::from_values(within.iter().flat_map(|window| &window.timed).map(|v| (*v, 1.0)));
        for query in [
            format!("increase(timer[{range_ms}ms])"),
            format!("sum(increase(timer[{range_ms}ms]))"),
            format!("sum(increase(timer[{range_ms}ms] @ {}))", end_ms as f64 / 1e3),
        ] {
            let result = engine.instant(&query, end_ms).unwrap();
            let Value::Vector(samples) = &result.value else { panic!("a vector") };
            let [Number::Histogram(found)] = samples.iter().map(|s| &s.value).collect::<Vec<_>>()[..] else {
                panic!("{query}: one distribution")
            };
            let found = found.as_log_linear().unwrap();
            assert_eq!((found.count, found.buckets()), (expected.count, expected.buckets()), "{query}");
            assert_eq!((found.min, found.max), (expected.min, expected.max), "{query}");
            let edges = 2 * STEP_MS / WINDOW_MS;
            let most = (range_ms / STEP_MS + edges) as usize;
            assert!(result.samples <= most, "{query}: {} samples", result.samples);
        }
    }
}

#[test]
fn who_asks_for_an_estimate_is_told() {
    let engine = engine(&windows());
    let infos = |query: &str, start_ms| engine.range(query, start_ms, END_MS, STEP_MS).unwrap().infos;
    for function in ["stddev_over_time(", "quantile_over_time(0.5, "] {
        let query = format!("{function}gauge_0[1h])");
        let told = infos(&query, START_MS);
        assert!(told.len() == 1 && told[0].contains("10m"), "{query}: {told:?}");
        assert_eq!(infos(&query, END_MS - HOUR_MS), Vec::<String>::new(), "{query}, of windows");
    }
    assert_eq!(infos("avg_over_time(gauge_0[1h])", START_MS), Vec::<String>::new());
}

#[test]
fn a_value_is_no_longer_good_because_another_is_of_a_coarser_time() {
    let engine = engine(&windows());
    // The value of a step is good for as long as one; of a window, five minutes.
    let until_ms = SILENT_MS + 300_000;
    let last_of = |query: &str| asked(&engine, query, END_MS - HOUR_MS, WINDOW_MS).last().map(|(at, _)| *at);
    assert_eq!(last_of("silent offset 20h"), Some(END_MS));
    for query in [
        "silent",
        "silent + silent offset 20h",
        "silent offset 20h + silent",
        "silent and increase(silent[10m] anchored offset 20h)",
    ] {
        assert_eq!(last_of(query), Some(until_ms - WINDOW_MS), "{query}");
    }
    // Nor because steps are all that is left of a time before it.
    let all = asked(&engine, "silent", START_MS + WINDOW_MS, WINDOW_MS);
    assert_eq!(all.last().map(|(at, _)| *at), Some(until_ms - WINDOW_MS));
    let expected = (until_ms - START_MS) / WINDOW_MS - 1 - (STEP_MS / WINDOW_MS - 1);
    assert_eq!(all.len() as i64, expected, "each since the first step has a value");
}
