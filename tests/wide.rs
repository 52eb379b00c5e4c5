//! Queries over so many series that several threads work on them: the answers
//! are those of a plain model, to the last bit where the order of sums is told.

use statsdeck::model::{Histogram, Labels, MetricType};
use statsdeck::query::{Cancel, Engine, Error, MemorySource, Options, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

const SERIES: usize = 1_500;
const STEP_MS: i64 = 10_000;
const STEPS: usize = 150;
const JOBS: usize = 7;

/// Of series `number` at step `at`; each has gaps of its own.
fn value(number: usize, at: usize) -> Option<f64> {
    let noise = (number * 7_919 + at * 104_729) % 1_009;
    (!noise.is_multiple_of(11)).then(|| (noise as f64 - 300.0) / 7.0)
}

fn labels(number: usize) -> Labels {
    Labels::from_pairs([
        ("__name__", "wide".to_owned()),
        ("job", format!("job{}", number % JOBS)),
        ("instance", format!("i{number:05}")),
    ])
}

fn engine(options: Options) -> Engine {
    let source = MemorySource::new();
    for number in 0..SERIES {
        let labels = labels(number);
        for at in 0..STEPS {
            match value(number, at) {
                Some(value) => source.push(&labels, Some(MetricType::Gauge), at as i64 * STEP_MS, value),
                None => source.push_stale(&labels, Some(MetricType::Gauge), at as i64 * STEP_MS),
            }
        }
    }
    for number in 0..50usize {
        let labels =
            Labels::from_pairs([("__name__", "timer".to_owned()), ("instance", format!("i{number}"))]);
        for at in 0..STEPS {
            let histogram = Histogram::from_values((1..20).map(|v| (((v * at + number) % 97) as f64, 1.0)));
            source.push_histogram(&labels, Some(MetricType::Timer), at as i64 * STEP_MS, histogram);
        }
    }
    Engine::new(Arc::new(source), options)
}

/// What an aggregation makes of values.
type Fold<'a> = &'a dyn Fn(&[f64]) -> f64;
/// Value by text of the labels and step.
type Answer = BTreeMap<(String, usize), f64>;

fn asked(engine: &Engine, query: &str) -> Answer {
    let end_ms = (STEPS as i64 - 1) * STEP_MS;
    let Value::Matrix(series) = engine.range(query, 0, end_ms, STEP_MS).unwrap().value else {
        panic!("a matrix")
    };
    let mut answer = Answer::new();
    for series in series {
        for (at_ms, number) in series.points.iter() {
            let place = (series.labels.to_string(), (at_ms / STEP_MS) as usize);
            assert!(answer.insert(place, number.as_float().unwrap()).is_none());
        }
    }
    answer
}

/// The same, of what `fold` makes of the values of each job at each step.
fn expected(fold: impl Fn(&[f64]) -> f64) -> Answer {
    let mut answer = Answer::new();
    for (job, at) in (0..JOBS).flat_map(|job| (0..STEPS).map(move |at| (job, at))) {
        let members = (0..SERIES).filter(|number| number % JOBS == job);
        let values: Vec<f64> = members.filter_map(|number| value(number, at)).collect();
        answer.insert((format!("{{job=\"job{job}\"}}"), at), fold(&values));
    }
    answer
}

fn close(found: &Answer, expected: &Answer) -> bool {
    let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-9 * b.abs().max(1.0);
    found.keys().eq(expected.keys()) && found.values().zip(expected.values()).all(near)
}

#[test]
fn aggregations_of_many_series_are_those_of_a_plain_model() {
    let engine = engine(Options::default());
    let sum = |values: &[f64]| values.iter().sum::<f64>();
    let mean = |values: &[f64]| sum(values) / values.len() as f64;
    let variance = |values: &[f64]| {
        let mean = mean(values);
        values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / values.len() as f64
    };
    let quantile = |values: &[f64]| {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        let rank = 0.7 * (values.len() - 1) as f64;
        let (low, share) = (rank.floor() as usize, rank.fract());
        values[low] * (1.0 - share) + values[(low + 1).min(values.len() - 1)] * share
    };
    let folds: [(&str, Fold<'_>); 8] = [
        ("sum", &sum),
        ("avg", &mean),
        ("min", &|values| values.iter().copied().fold(f64::INFINITY, f64::min)),
        ("max", &|values| values.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
        ("count", &|values| values.len() as f64),
        ("group", &|_| 1.0),
        ("stdvar", &variance),
        ("stddev", &|values| variance(values).sqrt()),
    ];
    for (name, fold) in folds {
        for query in [
            format!("{name} by (job) (wide)"),
            format!("{name} without (instance) (last_over_time(wide[10s]))"),
        ] {
            assert!(close(&asked(&engine, &query), &expected(fold)), "{query}");
        }
    }
    assert!(close(&asked(&engine, "quantile by (job) (0.7, wide)"), &expected(quantile)), "quantile");
}

#[test]
fn the_best_of_many_are_the_same_whichever_thread_sees_them_first() {
    let engine = engine(Options::default());
    for (op, k) in [("topk", 3), ("topk", 70), ("bottomk", 1)] {
        let mut expected = Answer::new();
        for (job, at) in (0..JOBS).flat_map(|job| (0..STEPS).map(move |at| (job, at))) {
            let members = (0..SERIES).filter(|number| number % JOBS == job);
            let mut values: Vec<(f64, usize)> =
                members.filter_map(|number| Some((value(number, at)?, number))).collect();
            let sign = if op == "topk" { -1.0 } else { 1.0 };
            values.sort_by(|a, b| (sign * a.0).total_cmp(&(sign * b.0)).then(a.1.cmp(&b.1)));
            for (value, number) in values.into_iter().take(k) {
                expected.insert((labels(number).to_string(), at), value);
            }
        }
        assert_eq!(asked(&engine, &format!("{op} by (job) ({k}, wide)")), expected, "{op} {k}");
    }
}

#[test]
fn answers_do_not_differ_from_run_to_run() {
    let engine = engine(Options::default());
    for query in [
        "sum(wide)",
        "avg(wide * 1e-3)",
        "histogram_quantile(0.9, sum(rate(timer[1m])))",
        "histogram_quantile(0.5, rate(timer[1m]))",
        "wide / on () group_left () sum(wide)",
    ] {
        let first = asked(&engine, query);
        assert!(!first.is_empty(), "{query}");
        for _ in 0..3 {
            assert_eq!(asked(&engine, query), first, "{query}");
        }
    }
}

#[test]
fn what_is_held_is_limited_and_what_is_read_is_not() {
    // A tenth of what there is.
    let engine = engine(Options { max_points: SERIES * STEPS / 10, ..Options::default() });
    let end_ms = (STEPS as i64 - 1) * STEP_MS;
    let ask = |query: &str| engine.range(query, 0, end_ms, STEP_MS);
    assert_eq!(ask("sum(wide)").unwrap().samples, SERIES * STEPS, "stale markers are samples, too");
    assert!(ask("topk(1, wide * 0)").is_err(), "operands are held whole");
    for query in ["wide", "sum(wide * 2)", "quantile(0.5, wide)"] {
        let error = ask(query).unwrap_err();
        assert!(matches!(error, Error::Limit { .. }), "{query}: {error}");
    }
}

#[test]
fn a_query_of_many_series_can_be_given_up() {
    let cancel = Cancel::new();
    let engine = engine(Options::default()).with_cancel(cancel.clone());
    cancel.cancel();
    let error = engine.range("sum(wide)", 0, (STEPS as i64 - 1) * STEP_MS, STEP_MS).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
}
