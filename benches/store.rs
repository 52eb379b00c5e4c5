//! What a flush costs, durable on the real disk, and what a read costs.
//!
//! `cargo bench --bench store`; the directory is made under the target folder,
//! because a temporary one may be in memory.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use statsdeck::model::batch::{CounterValue, GaugeValue};
use statsdeck::model::label::NAME;
use statsdeck::model::{
    FlushBatch, Histogram, Labels, Matcher, MetricType, Select, SeriesId, SeriesKey, TimeRange,
};
use statsdeck::store::{FsBackend, Options, Store};
use std::hint::black_box;
use std::path::PathBuf;

const WINDOW_MS: i64 = 10_000;
const START_MS: i64 = 1_699_992_000_000;

/// Half counters, three tenths gauges, two tenths timers of 20 values.
fn metric_type(id: u32) -> MetricType {
    match id % 10 {
        0..5 => MetricType::Counter,
        5..8 => MetricType::Gauge,
        _ => MetricType::Timer,
    }
}

fn key(id: u32) -> SeriesKey {
    let labels = Labels::from_pairs([
        (NAME, format!("app.request.{}", id / 100)),
        ("env", "prod".to_owned()),
        ("host", format!("web-{:04}", id % 100)),
    ]);
    SeriesKey { labels, metric_type: metric_type(id) }
}

fn batch(series: u32, window: i64) -> FlushBatch {
    let start_ms = START_MS + window * WINDOW_MS;
    let mut batch = FlushBatch { start_ms, end_ms: start_ms + WINDOW_MS, ..FlushBatch::default() };
    for number in 0..series {
        let id = SeriesId(number);
        if window == 0 {
            batch.new_series.push((id, key(number)));
        }
        let noise = (i64::from(number) * 7919 + window * 104_729) % 1009;
        match metric_type(number) {
            MetricType::Counter => {
                let total = (window * 500 + noise) as f64;
                batch.counters.push(CounterValue { id, total, start_total: (window == 0).then_some(0.0) });
            }
            MetricType::Gauge => {
                let last = noise as f64 / 10.0;
                batch.gauges.push(GaugeValue { id, last, min: last, max: last });
            }
            _ => {
                let value = |at: i64| 0.012 + ((noise + at * 7919) % 1009) as f64 / 1e5;
                batch.timers.push((id, Histogram::from_values((0..20).map(|at| (value(at), 1.0)))));
            }
        }
    }
    batch
}

fn options(name: &str) -> Options {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-store-{name}"));
    let _ = std::fs::remove_dir_all(&dir);
    Options::new(dir)
}

fn flush(criterion: &mut Criterion) {
    let series = 100_000;
    let mut group = criterion.benchmark_group("flush, durable");
    group.throughput(Throughput::Elements(u64::from(series))).sample_size(20);
    let (store, _) = Store::open(options("flush"), FsBackend, START_MS).expect("the directory can be made");
    store.append(&batch(series, 0)).expect("there is room");
    let mut window = 0;
    group.bench_function("100k series, of these 20k timers of 20 values", |bencher| {
        bencher.iter_batched(
            || {
                window += 1;
                batch(series, window)
            },
            |batch| store.append(&batch).expect("there is room"),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn read(criterion: &mut Criterion) {
    let series = 1_000;
    let windows = 24 * 360;
    let (store, _) = Store::open(options("read"), FsBackend, START_MS).expect("the directory can be made");
    for window in 0..windows {
        store.append(&batch(series, window)).expect("there is room");
    }
    let end_ms = START_MS + windows * WINDOW_MS;
    store.maintain(end_ms).expect("there is room");
    println!("{:#?}", store.stats());
    let range = TimeRange { start_ms: START_MS, end_ms };
    let select = |matchers: &[Matcher]| {
        let limits = (1_000_000, 100_000_000);
        let request = Select { matchers, range, step_ms: 0, max_series: limits.0, max_points: limits.1 };
        store.select(&request).expect("within the limits")
    };
    let mut group = criterion.benchmark_group("select 24 h at 10 s");
    group.sample_size(20);
    for (what, host) in [("one counter", "web-0000"), ("one timer", "web-0009")] {
        let one = [Matcher::equal(NAME, "app.request.3"), Matcher::equal("host", host)];
        assert_eq!(select(&one).len(), 1);
        group.bench_function(what, |bencher| bencher.iter(|| black_box(select(&one))));
    }
    let many = [Matcher::regex("host", "web-00[0-9][0-4]").expect("a sound expression")];
    assert_eq!(select(&many).len(), 500);
    group.bench_function("500 counters", |bencher| bencher.iter(|| black_box(select(&many))));
    group.finish();
}

fn reopen(criterion: &mut Criterion) {
    let options = options("reopen");
    let (store, _) = Store::open(options.clone(), FsBackend, START_MS).expect("the directory can be made");
    for window in 0..60 {
        store.append(&batch(10_000, window)).expect("there is room");
    }
    println!("log: {} bytes", store.stats().wal_bytes);
    drop(store);
    let mut group = criterion.benchmark_group("open");
    group.sample_size(10);
    group.bench_function("after a crash, 10k series x 60 windows in the log", |bencher| {
        bencher.iter(|| Store::open(options.clone(), FsBackend, START_MS).expect("it opens").1.series.len());
    });
    group.finish();
}

/// Takes the files away again.
fn clear(_: &mut Criterion) {
    for name in ["flush", "read", "reopen"] {
        let _ = std::fs::remove_dir_all(options(name).dir);
    }
}

criterion_group!(benches, flush, read, reopen, clear);
criterion_main!(benches);
