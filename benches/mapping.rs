//! Mapping a name: what a new spelling costs, by the number of mappings, and
//! that a known one costs nothing more.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use statsdeck::aggregate::{Registry, Table, table};
use statsdeck::catalogue::Catalogue;
use statsdeck::config::Mapping;
use statsdeck::mapping::Mapper;
use statsdeck::model::MetricType;
use statsdeck::protocol::Dialect;
use statsdeck::telemetry::{Telemetry, Transport};
use std::fmt::Write;
use std::hint::black_box;
use std::sync::Arc;

const NAMES: usize = 1000;

fn mapper(yaml: &str) -> Arc<Mapper> {
    Mapping::parse(&[("bench.yml".into(), yaml.into())]).expect("the mappings are right").mapper
}

/// Globs of four components, with names that each of them matches.
fn globs(
    count: usize,
    glob: impl Fn(usize) -> String,
    name: impl Fn(usize) -> String,
) -> (Arc<Mapper>, Vec<String>) {
    let mut yaml = String::from("mappings:\n");
    for at in 0..count {
        let glob = glob(at);
        let _ = writeln!(yaml, "- {{match: '{glob}', name: m{at}_total, labels: {{host: $1, code: $2}}}}");
    }
    (mapper(&yaml), (0..NAMES).map(|at| name(at * 7919 % count)).collect())
}

fn resolve(c: &mut Criterion) {
    let mut group = c.benchmark_group("mapping");
    group.throughput(Throughput::Elements(NAMES as u64));
    let mut bench = |what: &str, count: usize, mapper: Arc<Mapper>, names: Vec<String>| {
        group.bench_function(BenchmarkId::new(what, count), |b| {
            b.iter(|| {
                for name in &names {
                    black_box(mapper.resolve(black_box(name), MetricType::Counter));
                }
            });
        });
    };
    for count in [10, 100, 10_000] {
        let (mapper, names) =
            globs(count, |at| format!("app{at}.*.requests.*"), |at| format!("app{at}.web-07.requests.200"));
        bench("globs", count, mapper.clone(), names);
        let none = (0..NAMES).map(|at| format!("other{at}.web-07.requests.200")).collect();
        bench("globs, none matches", count, mapper, none);
        let (mapper, names) = globs(
            count,
            |at| format!("*.*.requests.app{at}_*"),
            |at| format!("prod.web-07.requests.app{at}_200"),
        );
        bench("globs within components", count, mapper, names);
    }
    for count in [10, 100, 1000] {
        let mut yaml = String::from("mappings:\n");
        for at in 0..count {
            let _ = writeln!(
                yaml,
                "- {{match: '^app{at}\\.([^.]+)\\.requests\\.(\\d+)$', match_type: regex, name: m{at}, labels: {{host: $1}}}}"
            );
        }
        let names = (0..NAMES).map(|at| format!("app{}.web-07.requests.200", at * 7919 % count)).collect();
        bench("regexes", count, mapper(&yaml), names);
    }
    group.finish();
}

fn known(c: &mut Criterion) {
    let mut group = c.benchmark_group("known series");
    group.throughput(Throughput::Elements(NAMES as u64));
    let packets: Vec<String> =
        (0..NAMES).map(|at| format!("app{}.web-{at}.requests.200:1|c", at % 100)).collect();
    let plain = globs(100, |at| format!("app{at}.*.requests.*"), |_| String::new()).0;
    let scaled = mapper("mappings:\n- {match: '*.*.*.*', name: x, labels: {host: $2}, scale: 0.5}\n");
    for (what, mapper) in
        [("without mappings", None), ("mapped", Some(plain)), ("mapped and scaled", Some(scaled))]
    {
        let options = table::Options {
            line_bytes_max: 8192,
            labels_max: 32,
            idle_windows_max: 1000,
            spellings_max: 1_000_000,
        };
        let registry = Arc::new(Registry::new(Arc::new(Catalogue::new(1_000_000))));
        let mut table = Table::new(options, registry, Arc::new(Telemetry::default()), Transport::Udp);
        table.set_mapper(mapper);
        group.bench_function(what, |b| {
            b.iter(|| {
                for packet in &packets {
                    table.packet(0, packet.as_bytes(), Dialect::Statsd, |_, _| {});
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, resolve, known);
criterion_main!(benches);
