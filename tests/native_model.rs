//! Native histograms against plainer things: the observations that went into
//! them, and floats that count the same.

use proptest::prelude::*;
use statsdeck::model::{Labels, NativeHistogram};
use statsdeck::query::{Distribution, Engine, MemorySource, Number, Options, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A histogram of observations, bucket by bucket from the definition: `2^(i-1)/f`
/// to `2^i/f` with `f` buckets to each power of two.
fn histogram(schema: i32, values: &[f64]) -> NativeHistogram {
    let zero_threshold = 1e-9;
    let lists = |sign: f64| {
        let mut buckets: BTreeMap<i32, f64> = BTreeMap::new();
        for value in values.iter().map(|value| value * sign).filter(|value| *value > zero_threshold) {
            let index = (value.log2() * 2f64.powi(schema)).ceil() as i32;
            *buckets.entry(index).or_default() += 1.0;
        }
        buckets.into_iter().collect()
    };
    NativeHistogram {
        schema,
        count: values.len() as f64,
        sum: values.iter().sum(),
        zero_threshold,
        zero_count: values.iter().filter(|value| value.abs() <= zero_threshold).count() as f64,
        positive: lists(1.0),
        negative: lists(-1.0),
        ..NativeHistogram::default()
    }
}

fn single(engine: &Engine, expr: &str, at_ms: i64) -> Option<Number> {
    let result = engine.instant(expr, at_ms).unwrap_or_else(|error| panic!("{expr}: {error}"));
    let Value::Vector(points) = result.value else { panic!("{expr} is a vector") };
    assert!(points.len() <= 1, "{expr}: {points:?}");
    points.into_iter().next().map(|point| point.value)
}

fn float(engine: &Engine, expr: &str, at_ms: i64) -> Option<f64> {
    single(engine, expr, at_ms).and_then(|number| number.as_float())
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![8 => 1e-3f64..1e6, 2 => -1e6f64..-1e-3, 1 => Just(0.0)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_quantile_is_in_the_bucket_of_the_value_at_its_rank(
        mut values in prop::collection::vec(value(), 1..200),
        q in 0.0f64..=1.0,
        schema in -4i32..=8,
    ) {
        let source = MemorySource::new();
        source.push_native(&Labels::of_name("h"), 0, histogram(schema, &values));
        let engine = Engine::new(Arc::new(source), Options::default());
        let found = float(&engine, &format!("histogram_quantile({q}, h)"), 0).unwrap();
        values.sort_by(f64::total_cmp);
        // The answer lies between the bounds around the value at the rank, or at the edge of the one beside.
        let rank = q * values.len() as f64;
        let low = values[(rank.floor() as usize).saturating_sub(1).min(values.len() - 1)];
        let high = values[(rank.ceil() as usize).min(values.len() - 1)];
        let base = 2f64.powf(2f64.powi(-schema)) * (1.0 + 1e-9);
        let widen = |value: f64, up: bool| if (value > 0.0) == up { value * base } else { value / base };
        prop_assert!(widen(low, false) - 1e-9 <= found && found <= widen(high, true) + 1e-9,
            "{found} is not between {low} and {high}");
    }

    #[test]
    fn a_share_up_to_a_bound_is_counted(
        values in prop::collection::vec(value(), 1..200),
        power in -8i32..20,
        schema in 0i32..=8,
    ) {
        let bound = 2f64.powi(power);
        let source = MemorySource::new();
        source.push_native(&Labels::of_name("h"), 0, histogram(schema, &values));
        let engine = Engine::new(Arc::new(source), Options::default());
        let expected = values.iter().filter(|value| **value <= bound).count() as f64;
        let share = float(&engine, &format!("histogram_fraction(-Inf, {bound}, h)"), 0).unwrap();
        prop_assert!((share * values.len() as f64 - expected).abs() < 1e-6, "{share} of {expected}");
        let trimmed = float(&engine, &format!("histogram_count(h </ {bound})"), 0).unwrap();
        prop_assert!((trimmed - expected).abs() < 1e-6, "{trimmed} of {expected}");
    }

    #[test]
    fn rates_and_sums_are_those_of_floats(
        steps in prop::collection::vec(prop::collection::vec(1e-3f64..1e6, 0..6), 2..12),
        resets in prop::collection::vec(0u8..6, 12),
        range_s in 60i64..900,
        schemas in prop::collection::vec(0i32..=8, 2),
    ) {
        // Two series; the second sees every other observation, in coarser or finer buckets.
        let source = MemorySource::new();
        for (place, schema) in schemas.iter().enumerate() {
            let label = place.to_string();
            let of = |name: &str| Labels::from_pairs([("__name__", name), ("i", label.as_str())]);
            let mut all: Vec<f64> = Vec::new();
            for (at, values) in steps.iter().enumerate() {
                if resets[at] == 0 {
                    // Not less than before in one bucket alone: a reset of all.
                    all.clear();
                }
                all.extend(values.iter().skip(place).step_by(place + 1));
                let at_ms = at as i64 * 60_000;
                let histogram = histogram(*schema, &all);
                source.push(&of("c_total"), None, at_ms, histogram.count);
                source.push_native(&of("h"), at_ms, histogram);
            }
        }
        let engine = Engine::new(Arc::new(source), Options::default());
        let end_ms = (steps.len() as i64 - 1) * 60_000;
        let close = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1e-9),
            (a, b) => a.is_none() && b.is_none(),
        };
        // What a counter shows of a reset may be less than what its buckets show: only where all rise.
        if resets[..steps.len()].iter().all(|reset| *reset != 0) {
            for function in ["increase", "rate", "delta", "irate", "idelta"] {
                for i in 0..2 {
                    let ours = float(&engine, &format!("histogram_count({function}(h{{i=\"{i}\"}}[{range_s}s]))"), end_ms);
                    let plain = float(&engine, &format!("{function}(c_total{{i=\"{i}\"}}[{range_s}s])"), end_ms);
                    prop_assert!(close(ours, plain), "{function}: {ours:?} and {plain:?}");
                }
            }
        }
        for function in ["sum", "avg"] {
            let ours = float(&engine, &format!("histogram_count({function}(h))"), end_ms);
            let plain = float(&engine, &format!("{function}(c_total)"), end_ms);
            prop_assert!(close(ours, plain), "{function}: {ours:?} and {plain:?}");
            let over_time = float(&engine, &format!("histogram_count({function}_over_time(h{{i=\"0\"}}[{range_s}s]))"), end_ms);
            let plain = float(&engine, &format!("{function}_over_time(c_total{{i=\"0\"}}[{range_s}s])"), end_ms);
            prop_assert!(close(over_time, plain), "{function}_over_time: {over_time:?} and {plain:?}");
        }
        // Buckets add up to the count, whatever was done.
        let Some(Number::Histogram(Distribution::Native(sum))) = single(&engine, "sum(h)", end_ms) else {
            panic!("a histogram");
        };
        let weights: f64 = sum.buckets().map(|bucket| bucket.count).sum();
        prop_assert!((weights - sum.count).abs() < 1e-6, "{weights} in buckets, {} counted", sum.count);
    }
}
