//! Where a series ends and begins anew, told in a few windows: what is read, and
//! what a start knows.

use crate::answers::read;
use crate::world::{ALL, SPAN_MS, START_MS, TestStore, WINDOW_MS, Window, open};
use statsdeck::model::batch::{CounterValue, GaugeValue};
use statsdeck::model::late::LateValue;
use statsdeck::model::{FlushBatch, Labels, Late, MetricType, Points, SeriesId, SeriesKey};
use statsdeck::store::MemoryBackend;

const ID: SeriesId = SeriesId(1);

/// The window that is `at` windows after the first.
fn window(at: i64) -> FlushBatch {
    let start_ms = START_MS + at * WINDOW_MS;
    FlushBatch { start_ms, end_ms: start_ms + WINDOW_MS, ..FlushBatch::default() }
}

fn append(store: &TestStore, metric_type: MetricType, batch: FlushBatch) {
    let key = SeriesKey { labels: Labels::of_name("one"), metric_type };
    store.append(&Window { named: vec![(ID, key)], batch }).unwrap();
}

#[test]
fn a_counter_that_begins_anew_at_a_windows_end_keeps_that_windows_total() {
    let (store, _) = open(&MemoryBackend::new());
    let count = |at, total, start_total, late| {
        let counters = vec![CounterValue { id: ID, total, start_total }];
        let late = Late { interval_ms: WINDOW_MS, counters: late, ..Late::default() };
        append(&store, MetricType::Counter, FlushBatch { counters, late, ..window(at) });
    };
    let block = SPAN_MS / WINDOW_MS;
    count(block - 1, 5.0, Some(0.0), vec![]);
    store.maintain(START_MS + SPAN_MS).unwrap();
    assert_eq!(store.stats().blocks, 1);
    count(block, 7.0, None, vec![]);
    count(block + 1, 8.0, Some(7.0), vec![]);
    let end_ms = window(block).end_ms;
    count(block + 2, 11.0, None, vec![LateValue { id: ID, end_ms, value: 3.0 }]);
    let series = read(&store, ALL);
    let Points::Floats(samples) = &series[0].points else { panic!("counters are floats") };
    let values: Vec<f64> = samples.iter().map(|sample| sample.value).collect();
    assert_eq!(values, [0.0, 5.0, 10.0, 11.0, 11.0], "{samples:?}");
}

#[test]
fn an_end_before_one_whose_value_is_not_told_does_not_tell_it() {
    let backend = MemoryBackend::new();
    let (store, _) = open(&backend);
    let gauge = |at, last| {
        let gauges = vec![GaugeValue { id: ID, last, min: last, max: last }];
        append(&store, MetricType::Gauge, FlushBatch { gauges, ..window(at) });
    };
    let end = |at| store.store.append(&FlushBatch { stale: vec![ID], ..window(at) }).unwrap();
    gauge(0, 1.0);
    end(1);
    gauge(2, 2.0);
    // The window before cannot be read now, so that its value is not noted.
    backend.fail_read_at(backend.reads(), true);
    end(3);
    backend.heal();
    drop(store);
    let series = open(&backend).1.series;
    assert_eq!((series[0].last, series[0].ended), (Some(2.0), true));
}
