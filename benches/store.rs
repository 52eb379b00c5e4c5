//! What a flush costs, durable on the real disk, and what a read costs.
//!
//! `cargo bench --bench store`; the directory is made under the target folder,
//! because a temporary one may be in memory.

use criterion::{Criterion, criterion_group};
use statsdeck::catalogue::Catalogue;
use statsdeck::model::batch::{CounterValue, GaugeValue};
use statsdeck::model::label::NAME;
use statsdeck::model::{
    FlushBatch, Histogram, Labels, Matcher, MetricType, Select, SeriesId, SeriesKey, TimeRange,
};
use statsdeck::store::{FsBackend, Options, Recovered, Store};
use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const WINDOW_MS: i64 = 10_000;
/// The beginning of a block's span, and the windows of one.
const START_MS: i64 = 1_699_992_000_000;
const SPAN_WINDOWS: i64 = 720;
const FLUSHES: i64 = 300;
const MILLION: u32 = 1_000_000;
/// What makes this program the one that is killed, and what it says before.
const FILL: &str = "STATSDECK_BENCH_FILL";
const FILLED: &str = "filled";
/// Far more often than in life, so that there are many to tell from.
const FLUSH_EVERY: Duration = Duration::from_millis(250);

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

/// A store whose catalogue knows so many series.
fn open(options: Options, series: u32) -> Store {
    let (store, catalogue, _) = reopened(options);
    catalogue.restore((0..series).map(|id| (SeriesId(id), key(id))), 0);
    store
}

fn reopened(options: Options) -> (Store, Arc<Catalogue>, Recovered) {
    let catalogue = Arc::new(Catalogue::new(10_000_000));
    let (store, recovered) =
        Store::open(options, FsBackend, catalogue.clone(), START_MS).expect("the store opens");
    (store, catalogue, recovered)
}

fn options(name: &str) -> Options {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-store-{name}"));
    let _ = std::fs::remove_dir_all(&dir);
    Options::new(dir)
}

/// How long a flush takes until it is durable: one of a hundred takes longer than p99.
fn flush(_: &mut Criterion) {
    let series = 100_000;
    let store = open(options("flush"), series);
    store.append(&batch(series, 0)).expect("there is room");
    let mut took: Vec<Duration> = Vec::new();
    for window in 1..=FLUSHES {
        let batch = batch(series, window);
        let begun = Instant::now();
        store.append(&batch).expect("there is room");
        took.push(begun.elapsed());
    }
    took.sort();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    println!(
        "flush of {series} series, of these 20,000 timers of 20 values, durable: median {:?}, p99 {:?}, greatest {:?}",
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

fn read(criterion: &mut Criterion) {
    let series = 1_000;
    let windows = 24 * 360;
    let store = open(options("read"), series);
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
    let store = open(options.clone(), 10_000);
    for window in 0..60 {
        store.append(&batch(10_000, window)).expect("there is room");
    }
    println!("log: {} bytes", store.stats().wal_bytes);
    drop(store);
    let mut group = criterion.benchmark_group("open");
    group.sample_size(10);
    group.bench_function("after a crash, 10k series x 60 windows in the log", |bencher| {
        bencher.iter(|| reopened(options.clone()).2.series.len());
    });
    group.finish();
}

/// A million counters, as long as nothing of them is in a block yet. How many
/// windows, `STATSDECK_BENCH_WINDOWS` says; 719 are two hours, and 3 GB.
/// Another process writes them, and is killed while it writes the next.
fn million(criterion: &mut Criterion) {
    let windows = std::env::var("STATSDECK_BENCH_WINDOWS").ok().and_then(|text| text.parse().ok());
    let windows: i64 = windows.unwrap_or(60);
    let options = options("million");
    killed_while_writing(windows);
    let mut group = criterion.benchmark_group(format!("1,000,000 counters, {windows} windows in the log"));
    group.sample_size(10);
    group.bench_function("open after kill -9", |bencher| {
        bencher.iter(|| assert_eq!(reopened(options.clone()).2.series.len(), MILLION as usize));
    });
    let (store, catalogue, recovered) = reopened(options);
    let of_each = |bytes: usize| bytes as f64 / f64::from(MILLION);
    println!(
        "memory: {:.1} bytes a series in the store, {:.1} in the catalogue",
        of_each(store.memory()),
        of_each(catalogue.memory())
    );
    println!("log: {} bytes", store.stats().wal_bytes);
    let end_ms = START_MS + windows * WINDOW_MS;
    assert!(recovered.last_end_ms >= Some(end_ms), "a flush is lost: {:?}", recovered.last_end_ms);
    let range = TimeRange { start_ms: START_MS, end_ms };
    let select = |matchers: &[Matcher]| {
        let request = Select { matchers, range, step_ms: 0, max_series: 10_000, max_points: 100_000_000 };
        store.select(&request).expect("within the limits")
    };
    let one = [Matcher::equal(NAME, counter_name(654_321))];
    assert_eq!(select(&one).len(), 1);
    group.bench_function("select of one", |bencher| bencher.iter(|| black_box(select(&one))));
    let thousand = counter_name(654_321).replace("321", "...");
    let many = [Matcher::regex(NAME, &thousand).expect("a sound expression")];
    assert_eq!(select(&many).len(), 1_000);
    group.bench_function("select of 1,000", |bencher| bencher.iter(|| black_box(select(&many))));
    let all = Select { matchers: &[], range, step_ms: 0, max_series: 10_000, max_points: 100 };
    group.bench_function("too many asked for", |bencher| bencher.iter(|| store.select(&all).is_err()));
    group.finish();
    let written = (recovered.last_end_ms.unwrap_or(START_MS) - START_MS) / WINDOW_MS;
    for window in written..SPAN_WINDOWS {
        store.append(&counters(window)).expect("there is room");
    }
    compaction(&store, written.max(SPAN_WINDOWS));
}

/// Runs [`fill`] in a process of its own until that has written so many windows,
/// and kills it a moment later.
fn killed_while_writing(windows: i64) {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .env(FILL, windows.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program, once more");
    let said = BufReader::new(child.stdout.take().expect("it is piped"));
    for line in said.lines().map_while(Result::ok) {
        if line == FILLED {
            break;
        }
        println!("{line}");
    }
    std::thread::sleep(Duration::from_millis(50));
    child.kill().expect("it still writes");
    child.wait().expect("it was ours");
}

/// Writes windows of a million counters, tells when there are enough, and goes on.
fn fill(windows: i64) {
    let (store, catalogue, _) = reopened(options("million"));
    for id in 0..MILLION {
        let labels = Labels::of_name(&counter_name(id));
        catalogue.register(SeriesKey { labels, metric_type: MetricType::Counter }).unwrap();
    }
    let mut took: Vec<Duration> = Vec::new();
    for window in 0.. {
        let batch = counters(window);
        let begun = Instant::now();
        store.append(&batch).expect("there is room");
        took.push(begun.elapsed());
        if window + 1 == windows {
            println!("append of 1,000,000 counters: first (with names) {:?}", took.remove(0));
            took.sort();
            println!("  then median {:?}, greatest {:?}", took[took.len() / 2], took[took.len() - 1]);
            println!("{FILLED}");
        }
    }
}

fn counter_name(id: u32) -> String {
    format!("prod.checkout.web_07.http.requests.c{id:07}")
}

/// A window of a million counters.
fn counters(window: i64) -> FlushBatch {
    let total = |id: u32| (i64::from(id % 1000) * 17 + window * 31) as f64;
    let counters = (0..MILLION)
        .map(|id| CounterValue { id: SeriesId(id), total: total(id), start_total: None })
        .collect();
    let start_ms = START_MS + window * WINDOW_MS;
    FlushBatch { start_ms, end_ms: start_ms + WINDOW_MS, counters, ..FlushBatch::default() }
}

/// Flushes while the span of a block is written, and the memory of that.
fn compaction(store: &Store, first: i64) {
    let (before, mut took) = (resident("VmRSS"), Vec::new());
    // From now on the peak is told anew.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let upkeep = scope.spawn(|| store.maintain(START_MS + SPAN_WINDOWS * WINDOW_MS));
        for window in first.. {
            let batch = counters(window);
            let begun = Instant::now();
            store.append(&batch).expect("there is room");
            took.push(begun.elapsed());
            std::thread::sleep(FLUSH_EVERY);
            if upkeep.is_finished() {
                upkeep.join().expect("it does not panic").expect("there is room");
                break;
            }
        }
    });
    took.sort();
    println!(
        "a span of {SPAN_WINDOWS} windows became a block in {:?}; {} flushes meanwhile: median {:?}, greatest {:?}",
        begun.elapsed(),
        took.len(),
        took[took.len() / 2],
        took[took.len() - 1]
    );
    println!(
        "memory of the process: {} MiB before, {} MiB at the peak; a batch in memory is {} MiB",
        before >> 20,
        resident("VmHWM") >> 20,
        counters(first).memory() >> 20
    );
    println!("{:#?}", store.stats());
}

/// Bytes of resident memory, as the kernel tells.
fn resident(what: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    kib.unwrap_or_default() << 10
}

/// Takes the files away again.
fn clear(_: &mut Criterion) {
    for name in ["flush", "read", "reopen", "million"] {
        let _ = std::fs::remove_dir_all(options(name).dir);
    }
}

criterion_group!(benches, flush, read, reopen, million, clear);

fn main() {
    if let Some(windows) = std::env::var(FILL).ok().and_then(|text| text.parse().ok()) {
        return fill(windows);
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
