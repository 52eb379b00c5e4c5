//! Aggregating and flushing: known series in a table, and the merge of a
//! window.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use statsdeck::aggregate::{Options, Registry, Table, Windows, table};
use statsdeck::catalogue::Catalogue;
use statsdeck::protocol::Dialect;
use statsdeck::telemetry::{Telemetry, Transport};
use std::sync::Arc;

const SERIES: usize = 10_000;
const LINES_A_PACKET: usize = 29;

fn packets(suffix: &str) -> Vec<String> {
    let lines: Vec<String> = (0..SERIES)
        .map(|at| format!("prod.checkout.web-{:02}.requests.{at}:{}{suffix}", at % 97, at % 999))
        .collect();
    lines.chunks(LINES_A_PACKET).map(|lines| lines.join("\n")).collect()
}

fn new_table() -> (Table, Arc<Registry>, Arc<Telemetry>) {
    let registry = Arc::new(Registry::new(Arc::new(Catalogue::new(10_000_000))));
    let telemetry = Arc::new(Telemetry::default());
    let options = table::Options {
        line_bytes_max: 8192,
        labels_max: 32,
        idle_windows_max: 1000,
        spellings_max: 10_000_000,
    };
    (Table::new(options, registry.clone(), telemetry.clone(), Transport::Udp), registry, telemetry)
}

fn aggregate(c: &mut Criterion) {
    let mut group = c.benchmark_group("aggregate");
    group.throughput(Throughput::Elements(SERIES as u64));
    for (name, suffix) in [
        ("counters", "|c"),
        ("gauges", "|g"),
        ("timers", "|ms"),
        ("tagged counters", "|c|#env:prod,host:web-07,status:200"),
    ] {
        let packets = packets(suffix);
        let (mut table, ..) = new_table();
        group.bench_function(name, |b| {
            b.iter(|| {
                for packet in &packets {
                    table.packet(0, packet.as_bytes(), Dialect::Statsd, |_, _| {});
                }
            });
        });
    }
    group.finish();
}

fn flush(c: &mut Criterion) {
    let mut group = c.benchmark_group("flush");
    group.throughput(Throughput::Elements(SERIES as u64));
    for (name, suffix) in [("counters", "|c"), ("timers", "|ms")] {
        let packets = packets(suffix);
        let (mut table, registry, telemetry) = new_table();
        let expire_ms = 300_000;
        let options = Options {
            interval_ms: 10_000,
            counter_expire_ms: expire_ms,
            gauge_expire_ms: expire_ms,
            timer_expire_ms: expire_ms,
            set_expire_ms: expire_ms,
        };
        let mut windows = Windows::new(options, telemetry, vec![], 0);
        let mut end_ms = 0;
        group.bench_function(name, |b| {
            b.iter_batched(
                || {
                    for packet in &packets {
                        table.packet(0, packet.as_bytes(), Dialect::Statsd, |_, _| {});
                    }
                    end_ms += options.interval_ms;
                    (table.take(), registry.take_new(), end_ms)
                },
                |(partial, new_series, end_ms)| windows.flush(end_ms, new_series, vec![partial]),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, aggregate, flush);
criterion_main!(benches);
