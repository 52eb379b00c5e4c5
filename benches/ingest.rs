//! The whole way in: packets through a real socket into a table, on this
//! machine's loopback. Sender and receiver share its cores.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use statsdeck::aggregate::{Registry, Table, table};
use statsdeck::catalogue::Catalogue;
use statsdeck::ingest::socket::{self, Batch};
use statsdeck::protocol::Dialect;
use statsdeck::telemetry::{Telemetry, Transport};
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

const PACKETS: usize = 1_000;

fn ingest(c: &mut Criterion) {
    let mut group = c.benchmark_group("ingest");
    for (name, lines) in [("one line a packet", 1), ("29 lines a packet", 29)] {
        let packets: Vec<String> = (0..PACKETS)
            .map(|at| {
                let lines: Vec<String> =
                    (0..lines).map(|line| format!("prod.web.requests.{}:1|c", at * lines + line)).collect();
                lines.join("\n")
            })
            .collect();
        let address = "127.0.0.1:0".parse().expect("an address");
        let receiver = socket::bind(address, 16 << 20, Duration::from_millis(100), false).expect("a socket");
        let sender = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        sender.connect(receiver.local_addr().expect("an address")).expect("a peer");
        let registry = Arc::new(Registry::new(Arc::new(Catalogue::new(1_000_000))));
        let options = table::Options {
            line_bytes_max: 8192,
            labels_max: 32,
            idle_windows_max: 1000,
            spellings_max: 10_000_000,
        };
        let mut table = Table::new(options, registry, Arc::new(Telemetry::default()), Transport::Udp);
        let mut batch = Batch::default();
        group.throughput(Throughput::Elements((PACKETS * lines) as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                for packet in &packets {
                    sender.send(packet.as_bytes()).expect("sent");
                }
                let mut received = 0;
                while received < PACKETS {
                    let more = batch.receive(&receiver, true).expect("received");
                    assert!(more > 0, "packets were lost");
                    received += more;
                    for packet in batch.packets() {
                        table.packet(0, packet, Dialect::Statsd, |_, _| {});
                    }
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, ingest);
criterion_main!(benches);
