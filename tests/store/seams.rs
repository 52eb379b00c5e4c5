//! Queries over windows, minutes and quarters of an hour answer at the edges of
//! steps as one over the windows alone does, also where a daemon stood still.

use crate::world::{Dice, TestStore};
use statsdeck::model::batch::{CounterValue, GaugeValue};
use statsdeck::model::label::NAME;
use statsdeck::model::{FlushBatch, Histogram, Labels, Matcher, MetricType, SeriesId, SeriesKey, Sketch};
use statsdeck::query::{Engine, Options as QueryOptions};
use statsdeck::store::{Maintained, MemoryBackend, Options, Tier};
use std::sync::Arc;

const WINDOW_MS: i64 = 10_000;
const QUARTER_MS: i64 = 900_000;
const HOUR_MS: i64 = 4 * QUARTER_MS;
const START_MS: i64 = 1_888_888 * QUARTER_MS;
const COUNTERS: u32 = 3;

fn open(tiers: Vec<Tier>, retention_ms: i64) -> TestStore {
    let options = Options { retention_ms, block_span_ms: 2 * QUARTER_MS, ..Options::new("/data") };
    let (store, _) =
        TestStore::open(options.with_tiers(tiers), MemoryBackend::new(), START_MS).expect("the store opens");
    let kinds = [("c0", MetricType::Counter), ("c1", MetricType::Counter), ("c2", MetricType::Counter)];
    let others = [("g", MetricType::Gauge), ("t", MetricType::Timer), ("s", MetricType::Set)];
    let named = kinds.into_iter().chain(others).enumerate().map(|(at, (name, metric_type))| {
        (SeriesId(at as u32 + 1), SeriesKey { labels: Labels::from_pairs([(NAME, name)]), metric_type })
    });
    store.catalogue.restore(named, 0);
    store
}

/// A day of windows; now and then nothing for some minutes, as when a daemon
/// is started anew.
fn windows(seed: u64) -> Vec<FlushBatch> {
    let mut dice = Dice::new(seed);
    let (mut all, mut end_ms) = (Vec::new(), START_MS);
    let (mut totals, mut living, mut idle) = ([0.0; 3], [false; 3], [0u64; 3]);
    let (mut gauge_lives, mut is_new) = (false, true);
    while end_ms < START_MS + 24 * HOUR_MS {
        if dice.roll(60) == 0 {
            end_ms += WINDOW_MS * (1 + dice.roll(80) as i64);
            (living, is_new) = ([false; 3], true);
            gauge_lives = false;
        }
        end_ms += WINDOW_MS;
        let mut batch = FlushBatch { start_ms: end_ms - WINDOW_MS, end_ms, ..FlushBatch::default() };
        for at in 0..COUNTERS as usize {
            let id = SeriesId(at as u32 + 1);
            let added = if dice.roll(if at == 0 { 2 } else { 40 }) == 0 { dice.roll(50) } else { 0 };
            idle[at] = if added > 0 { 0 } else { idle[at] + 1 };
            let expires = idle[at] > 30 && at < 2;
            // After a start a known one goes on at once.
            let begins = !living[at] && (added > 0 || is_new && !expires);
            if expires && living[at] {
                batch.stale.push(id);
                living[at] = false;
            } else if living[at] || begins {
                let start_total = begins.then_some(totals[at]);
                totals[at] += added as f64;
                living[at] = true;
                batch.counters.push(CounterValue { id, total: totals[at], start_total });
            }
        }
        is_new = false;
        let value = dice.roll(1000) as f64;
        if gauge_lives && dice.roll(50) == 0 {
            batch.stale.push(SeriesId(4));
            gauge_lives = false;
        } else if gauge_lives || dice.roll(20) == 0 {
            batch.gauges.push(GaugeValue { id: SeriesId(4), last: value, min: value, max: value });
            gauge_lives = true;
        }
        if dice.roll(3) > 0 {
            let values = (0..1 + dice.roll(4)).map(|_| (dice.roll(5000) as f64 / 1000.0, 1.0));
            batch.timers.push((SeriesId(5), Histogram::from_values(values.collect::<Vec<_>>())));
            let mut sketch = Sketch::default();
            (0..dice.roll(4)).for_each(|_| sketch.insert(&dice.roll(200).to_le_bytes()));
            batch.sets.push((SeriesId(6), sketch));
        }
        all.push(batch);
    }
    all
}

fn fill(store: &TestStore, windows: &[FlushBatch]) {
    for (at, window) in windows.iter().enumerate() {
        store.store.append(window).unwrap();
        if at % 100 == 0 {
            while store.maintain(window.end_ms).unwrap() != Maintained::default() {}
        }
    }
}

/// Two engines that were given the same: one over windows, minutes and quarters,
/// one over windows alone.
fn engines(seed: u64) -> [Engine; 2] {
    let windows = windows(seed);
    let tier = |resolution_ms, hours| Tier { resolution_ms, retention_ms: hours * HOUR_MS };
    let tiers = vec![tier(60_000, 8), tier(QUARTER_MS, 10_000)];
    [(tiers, 3), (Vec::new(), 10_000)].map(|(tiers, hours)| {
        let store = open(tiers, hours * HOUR_MS);
        fill(&store, &windows);
        Engine::new(Arc::new(store.store), QueryOptions::default())
    })
}

#[test]
fn what_is_asked_at_the_edges_of_steps_is_the_same_on_every_tier() {
    for seed in 1..=2 {
        let [tiered, plain] = engines(seed);
        let end_ms = START_MS + 23 * HOUR_MS;
        for expr in [
            "last_over_time({__name__=~\"c.\"}[1h])",
            "last_over_time(g[30m])",
            "min_over_time(g[1h])",
            "max_over_time(g[15m])",
            "increase(c2[15m] anchored)",
            "increase(c0[15m] anchored)",
            "increase(c1[1h] anchored)",
            "rate(c1[3h] anchored)",
            "increase(c1[2h] anchored offset 15m)",
            "distinct_over_time(s[1h])",
            "histogram_quantile(0.9, rate(t[30m]))",
            "histogram_count(increase(t[1h]))",
        ] {
            for (step_ms, start_ms) in
                [(QUARTER_MS, HOUR_MS), (2 * QUARTER_MS, QUARTER_MS), (HOUR_MS, HOUR_MS)]
            {
                let ask =
                    |engine: &Engine| engine.range(expr, START_MS + start_ms, end_ms, step_ms).unwrap().value;
                let (found, expected) = (format!("{:?}", ask(&tiered)), format!("{:?}", ask(&plain)));
                assert_eq!(found, expected, "{expr}, each {step_ms} ms, seed {seed}");
            }
        }
    }
}

#[test]
fn totals_of_hours_long_gone_are_exact_also_where_a_daemon_stood_still() {
    for seed in 1..=3 {
        let [tiered, plain] = engines(seed);
        for name in ["c0", "c1", "c2"] {
            for first in 1..90 {
                let edges: Vec<i64> = (first..first + 4).map(|at| START_MS + at * QUARTER_MS).collect();
                let ask = |engine: &Engine| engine.totals(&[Matcher::equal(NAME, name)], &edges).unwrap();
                assert_eq!(ask(&tiered), ask(&plain), "{name}, from quarter {first} on, seed {seed}");
            }
        }
    }
}
