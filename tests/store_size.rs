//! Bytes on disk of a sample and of a distribution, names and indexes included.
//! What is written is the same in every run, so that a ceiling says when a change
//! made it longer.

#[allow(dead_code)]
#[path = "../benches/peers/mix.rs"]
mod mix;

use mix::{Kind, Mix, WINDOW_MS};
use statsdeck::catalogue::Catalogue;
use statsdeck::model::batch::{CounterValue, GaugeValue};
use statsdeck::model::{FlushBatch, Histogram, Labels, MetricType, SeriesId, SeriesKey};
use statsdeck::store::{MemoryBackend, Options, Store, Tier};
use std::path::Path;
use std::sync::Arc;

/// The beginning of a block's span, and the windows of one.
const START_MS: i64 = 1_699_992_000_000;
const WINDOWS: i64 = 720;

/// Bytes of the block of windows, and of that of minutes, by sample.
fn bytes_a_sample(
    keys: impl Iterator<Item = (Vec<(&'static str, String)>, MetricType)>,
    mut fill: impl FnMut(i64, &[SeriesId], &mut FlushBatch),
) -> (f64, f64) {
    let (backend, catalogue) = (MemoryBackend::new(), Arc::new(Catalogue::new(10_000)));
    let tiers = vec![Tier { resolution_ms: 60_000, retention_ms: 2 * WINDOWS * WINDOW_MS }];
    let options = Options { tiers, ..Options::new("/store") }.with_retention(2 * WINDOWS * WINDOW_MS);
    let (store, _) = Store::open(options, backend.clone(), catalogue.clone(), START_MS).unwrap();
    let ids: Vec<SeriesId> = keys
        .map(|(labels, metric_type)| {
            let key = SeriesKey { labels: Labels::from_pairs(labels), metric_type };
            catalogue.register(key).unwrap()
        })
        .collect();
    let mut samples = 0;
    for window in 0..WINDOWS {
        let start_ms = START_MS + window * WINDOW_MS;
        let mut batch = FlushBatch { start_ms, end_ms: start_ms + WINDOW_MS, ..FlushBatch::default() };
        fill(window, &ids, &mut batch);
        samples += batch.samples();
        store.append(&batch).unwrap();
    }
    let done = store.maintain(START_MS + WINDOWS * WINDOW_MS).unwrap();
    assert_eq!((done.blocks_written, done.blocks_built), (1, 1));
    let bytes = |start: &str| {
        let files = backend.files();
        let is_it =
            |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start));
        let found = files.iter().filter(|(path, _)| is_it(path));
        found.map(|(_, bytes)| bytes.len()).sum::<usize>() as f64 / samples as f64
    };
    (bytes("block-0-"), bytes("block-1m-"))
}

fn check(what: &str, (fine, coarse): (f64, f64), most: (f64, f64)) {
    println!("{what}: {fine:.3} bytes a sample, {coarse:.3} more for steps of a minute");
    assert!(fine <= most.0, "{what}: {fine:.3} bytes a sample");
    assert!(coarse <= most.1, "{what}: {coarse:.3} bytes a sample for steps of a minute");
}

#[test]
fn a_sample_of_a_usual_mix_takes_little_more_than_a_byte() {
    let mut mix = Mix::new(600);
    let keys = (0..mix.len()).map(|series| match Mix::kind(series) {
        Kind::Counter => (Mix::labels(series), MetricType::Counter),
        Kind::Gauge => (Mix::labels(series), MetricType::Gauge),
    });
    let mut values = Vec::new();
    let bytes = bytes_a_sample(keys, |_, ids, batch| {
        mix.next(&mut values);
        for (series, (id, value)) in ids.iter().zip(&values).enumerate() {
            let (id, last) = (*id, *value);
            match Mix::kind(series) {
                Kind::Counter => {
                    batch.counters.push(CounterValue { id, total: last, start_total: None });
                }
                Kind::Gauge => batch.gauges.push(GaugeValue { id, last, min: last, max: last }),
            }
        }
    });
    check("counters, gauges, quantiles", bytes, (1.17, 0.81));
}

#[test]
fn a_distribution_takes_less_than_a_byte_a_value() {
    for (values, most) in [(20, (13.2, 7.2)), (100, (36.8, 17.0))] {
        let keys = (0..12).map(|timer| (mix::timer_labels(timer), MetricType::Timer));
        let bytes = bytes_a_sample(keys, |window, ids, batch| {
            for (timer, id) in ids.iter().enumerate() {
                let drawn = mix::durations(timer, window as u64, values);
                batch.timers.push((*id, Histogram::from_values(drawn.map(|value| (value, 1.0)))));
            }
        });
        check(&format!("timers of {values} values"), bytes, most);
    }
}
