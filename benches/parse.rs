//! Parsing: what a line costs before it is put anywhere.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use statsdeck::protocol::{Dialect, Line, packet};
use std::hint::black_box;

fn parse(c: &mut Criterion) {
    let packets = [
        ("counter", "prod.checkout.web-07.http.requests:1|c\n".repeat(29)),
        ("sampled timer", "prod.checkout.web-07.http.time:12.5|ms|@0.25\n".repeat(29)),
        (
            "four tags",
            "prod.http.requests:1|c|#env:prod,host:web-07,route:/api/v1/items,status:200\n".repeat(15),
        ),
        ("packed", "prod.http.time:1:2:3:4:5:6:7:8|d|#env:prod\n".repeat(29)),
    ];
    let mut group = c.benchmark_group("parse");
    for (name, text) in packets {
        group.throughput(Throughput::Elements(packet::lines(text.as_bytes()).count() as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                for line in packet::lines(black_box(text.as_bytes())) {
                    black_box(Line::parse(line, Dialect::Statsd)).ok();
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
