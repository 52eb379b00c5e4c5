//! What queries cost: parsing, and evaluation over series in memory.
//! `cargo bench --bench query`

use criterion::{Criterion, criterion_group, criterion_main};
use statsdeck::model::{Histogram, Labels, MetricType};
use statsdeck::query::{Engine, Expr, MemorySource, Options};
use std::hint::black_box;
use std::sync::Arc;

const HOURS: i64 = 6;
const INTERVAL_MS: i64 = 10_000;
const END_MS: i64 = HOURS * 3_600_000;

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

criterion_group!(benches, queries);
criterion_main!(benches);
