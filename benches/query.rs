//! What queries cost: parsing, evaluation over series in memory, and over a
//! store on disk.
//!
//! `cargo bench --bench query`. The store has 10,000 series of 24 hours, or of as
//! many as `STATSDECK_BENCH_HOURS` says; it is made once, under the target
//! folder, and takes some minutes.

use criterion::{Criterion, criterion_group, criterion_main};
use statsdeck::catalogue::Catalogue;
use statsdeck::model::batch::{CounterValue, GaugeValue};
use statsdeck::model::{FlushBatch, Histogram, Labels, MetricType, SeriesId, SeriesKey};
use statsdeck::query::{Engine, Expr, MemorySource, Options};
use statsdeck::store::{self, FsBackend, Store, Tier};
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;

const HOURS: i64 = 6;
const INTERVAL_MS: i64 = 10_000;
const END_MS: i64 = HOURS * 3_600_000;
/// A multiple of two hours.
const START_MS: i64 = 1_699_992_000_000;

/// 1,000 counters of 10 jobs and 100 timers, six hours of windows of 10 s.
fn engine() -> Engine {
    let source = MemorySource::new();
    for number in 0..1000i64 {
        let (job, instance) = (format!("job{}", number % 10), format!("i{number}"));
        let labels = Labels::from_pairs([
            ("__name__", "requests"),
            ("job", job.as_str()),
            ("instance", instance.as_str()),
        ]);
        for at in 0..=END_MS / INTERVAL_MS {
            source.push(&labels, Some(MetricType::Counter), at * INTERVAL_MS, (at * (number + 1)) as f64);
        }
    }
    for number in 0..100i64 {
        let instance = format!("i{number}");
        let labels = Labels::from_pairs([("__name__", "seconds"), ("instance", instance.as_str())]);
        for at in 0..=END_MS / INTERVAL_MS {
            let values = (0..20).map(|v| (0.01 * (1 + (v * at + number) % 97) as f64, 1.0));
            let histogram = Histogram::from_values(values);
            source.push_histogram(&labels, Some(MetricType::Timer), at * INTERVAL_MS, histogram);
        }
    }
    Engine::new(Arc::new(source), Options::default())
}

fn queries(criterion: &mut Criterion) {
    let long = "sum by (job) (rate(requests{job=~\"job.*\"}[5m])) / ignoring(x) \
        group_left sum(rate(requests[5m])) > 0.5";
    criterion.bench_function("parse", |bencher| bencher.iter(|| Expr::parse(black_box(long))));

    let engine = engine();
    let mut group = criterion.benchmark_group("query");
    group.sample_size(10);
    for expr in ["sum by (job) (rate(requests[5m]))", "topk(5, requests)", "requests{instance=\"i7\"}"] {
        let parsed = Expr::parse(expr).unwrap();
        group.bench_function(format!("instant {expr}"), |bencher| {
            bencher.iter(|| engine.instant_parsed(&parsed, END_MS).unwrap());
        });
    }
    for expr in [
        "rate(requests{instance=\"i7\"}[5m])",
        "sum by (job) (rate(requests[5m]))",
        "topk(5, rate(requests[5m]))",
        "requests / on(job, instance) requests",
        "max_over_time(sum(rate(requests{job=\"job1\"}[1m]))[10m:1m])",
        "histogram_quantile(0.95, sum(rate(seconds[5m])))",
        "histogram_quantile(0.95, rate(seconds{instance=\"i7\"}[5m]))",
    ] {
        let parsed = Expr::parse(expr).unwrap();
        group.bench_function(format!("range 6h/15s {expr}"), |bencher| {
            bencher.iter(|| engine.range_parsed(&parsed, 0, END_MS, 15_000).unwrap());
        });
    }
    group.finish();
}

/// 6,000 counters, 3,900 gauges, 100 timers of 20 values a window.
fn key(id: u32) -> SeriesKey {
    let (name, metric_type, number) = match id {
        0..6_000 => ("http.requests", MetricType::Counter, id),
        6_000..9_900 => ("mem.used", MetricType::Gauge, id - 6_000),
        _ => ("http.seconds", MetricType::Timer, id - 9_900),
    };
    let labels = Labels::from_pairs([
        ("__name__", name.to_owned()),
        ("env", format!("env{}", number / 1_000)),
        ("job", format!("job{}", number % 10)),
        ("instance", format!("web-{number:04}")),
    ]);
    SeriesKey { labels, metric_type }
}

fn batch(window: i64, totals: &mut [f64]) -> FlushBatch {
    let start_ms = START_MS + window * INTERVAL_MS;
    let mut batch = FlushBatch { start_ms, end_ms: start_ms + INTERVAL_MS, ..FlushBatch::default() };
    for number in 0..10_000u32 {
        let id = SeriesId(number);
        let noise = (i64::from(number) * 7919 + window * 104_729) % 1009;
        match number {
            0..6_000 => {
                let total = &mut totals[number as usize];
                *total += (noise % (1 + i64::from(number % 100))) as f64;
                batch.counters.push(CounterValue {
                    id,
                    total: *total,
                    start_total: (window == 0).then_some(0.0),
                });
            }
            6_000..9_900 => {
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

/// The store, and the end of its last window.
fn stored() -> (Engine, i64) {
    let hours = std::env::var("STATSDECK_BENCH_HOURS").ok().and_then(|text| text.parse().ok());
    let windows = hours.unwrap_or(24) * 360;
    let end_ms = START_MS + windows * INTERVAL_MS;
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-query-{windows}"));
    let tier = |resolution_ms, retention_ms| Tier { resolution_ms, retention_ms };
    let tiers = vec![tier(60_000, 30 * 86_400_000), tier(900_000, 730 * 86_400_000)];
    let catalogue = Arc::new(Catalogue::new(1_000_000));
    let options = store::Options::new(dir).with_tiers(tiers);
    let (store, recovered) = Store::open(options, FsBackend, catalogue.clone(), end_ms).expect("it opens");
    if recovered.series.is_empty() {
        catalogue.restore((0..10_000).map(|id| (SeriesId(id), key(id))), 0);
    }
    let done = recovered.last_end_ms.map_or(0, |end| (end - START_MS) / INTERVAL_MS);
    let mut totals = vec![0.0; 6_000];
    for window in 0..windows {
        let batch = batch(window, &mut totals);
        if window >= done {
            store.append(&batch).expect("there is room");
            if window % 720 == 30 {
                store.maintain(batch.end_ms).expect("there is room");
            }
        }
    }
    store.maintain(end_ms).expect("there is room");
    println!("{:?}", store.stats());
    (Engine::new(Arc::new(store), Options { max_points: 100_000_000, ..Options::default() }), end_ms)
}

fn over_a_store(criterion: &mut Criterion) {
    let (engine, end_ms) = stored();
    let mut group = criterion.benchmark_group("store, 10,000 series");
    group.sample_size(10);
    for (hours, step_s, expr) in [
        (24, 10, "{\"http.requests\", instance=\"web-0007\"}"),
        (24, 60, "sum by (job) ({\"mem.used\", env=\"env1\"})"),
        (6, 15, "rate({\"http.requests\", env=\"env1\"}[5m])"),
        (6, 15, "sum by (job) (rate({\"http.requests\", env=\"env1\"}[5m]))"),
        (24, 60, "topk(5, rate({\"http.requests\", env=\"env1\"}[5m]))"),
        (6, 60, "max_over_time(sum by (job) (rate({\"http.requests\", env=\"env1\"}[5m]))[30m:1m])"),
        (6, 60, "histogram_quantile(0.99, sum by (job) (rate(http_seconds[5m])))"),
        (24, 300, "max_over_time({\"mem.used\", env=\"env1\"}[1h])"),
        (
            6,
            60,
            "{\"mem.used\", env=\"env1\"} * on (instance) group_left () {\"http.requests\", env=\"env1\"}",
        ),
        (6, 60, "count({instance=~\"web-[0-9]+\", __name__=~\".*(used|requests)\"})"),
        (6, 60, "quantile(0.9, {\"mem.used\"})"),
    ] {
        let parsed = Expr::parse(expr).unwrap();
        let start_ms = end_ms - hours * 3_600_000;
        group.bench_function(format!("{hours}h/{step_s}s {expr}"), |bencher| {
            bencher.iter(|| engine.range_parsed(&parsed, start_ms, end_ms, step_s * 1000).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, queries, over_a_store);
criterion_main!(benches);
