//! Files of every format version so far can be read. The fixture of a version
//! is written once, by
//! `cargo test --test store -- --ignored write_the_fixture`,
//! and never changed after its release.

use crate::world::{ALL, SPAN_MS, START_MS, TestStore, WINDOW_MS, Window, World, dump, open, options, read};
use statsdeck::model::label::NAME;
use statsdeck::model::late::{LateGauge, LateValue};
use statsdeck::model::{Histogram, Labels, Late, MetricType, SeriesId, SeriesKey, Sketch};
use statsdeck::store::{FsBackend, MemoryBackend, Options, Tier};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Versions 1 and 2 of the log with blocks of version 1; 3 is log 2 with blocks 2,
/// 4 log 2 with blocks 3, 5 log 3 with blocks 3.
fn fixture(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/compat/v{version}"))
}

#[test]
fn version_1_reads() {
    check(1);
}

#[test]
fn version_2_reads() {
    check(2);
}

/// Of the same log, with a block of steps.
#[test]
fn version_3_reads() {
    check(3);
}

/// Blocks long enough for columns.
#[test]
fn version_4_reads() {
    check(4);
}

/// What was sampled elsewhere, in the log, in windows and in steps.
#[test]
fn version_5_reads() {
    check(5);
    let text = std::fs::read_to_string(fixture(5).join("expected.txt")).unwrap();
    assert!(text.contains("remote_requests_total") && text.contains("remote_temperature"), "{text}");
    let dir = fixture(5).join("store");
    let log = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let log = log.filter(|path| path.extension().is_some_and(|extension| extension == "log")).max();
    assert_eq!(std::fs::read(log.unwrap()).unwrap()[8..12], [3, 0, 0, 0]);
}

fn check(version: u32) {
    let fixture = fixture(version);
    let backend = MemoryBackend::new();
    for entry in std::fs::read_dir(fixture.join("store")).expect("the fixture is there") {
        let entry = entry.unwrap();
        let name = entry.file_name();
        backend.put(&options().dir.join(name), &std::fs::read(entry.path()).unwrap());
    }
    let (store, recovered) = open(&backend);
    let stats = store.stats();
    let blocks = [1, 1, 2, 3, 3][version as usize - 1];
    assert_eq!((stats.blocks, stats.blocks_lost, stats.frames_lost, stats.tails_cut), (blocks, 0, 0, 0));
    let mut text = dump(&read(&store, ALL));
    for series in &recovered.series {
        text.push_str(&format!(
            "{} {} {:?}\n",
            series.id.0,
            store.catalogue.series(series.id).unwrap().labels,
            series.last
        ));
    }
    text.push_str(&format!("{} {:?}\n", store.catalogue.next_id(), recovered.last_end_ms));
    let expected = fixture.join("expected.txt");
    if std::env::var_os("STATSDECK_WRITE_FIXTURE").is_some() {
        std::fs::write(&expected, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(expected).unwrap());
}

#[test]
#[ignore = "writes the fixture; then run version_5_reads once with STATSDECK_WRITE_FIXTURE=1"]
fn write_the_fixture() {
    let dir = fixture(5).join("store");
    let _ = std::fs::remove_dir_all(&dir);
    let block_span_ms = 80 * WINDOW_MS;
    let tiers = vec![Tier { resolution_ms: 2 * WINDOW_MS, retention_ms: 1000 * SPAN_MS }];
    let options =
        Options { dir: dir.clone(), retention_ms: block_span_ms, block_span_ms, tiers, ..options() };
    let (store, _) = TestStore::open(options, FsBackend, START_MS).unwrap();
    let mut world = World::new(4, 6);
    let mut late_totals = BTreeMap::new();
    world.end_ms = (START_MS / block_span_ms + 1) * block_span_ms;
    // A span, and a few windows behind it.
    for _ in 0..85 {
        let mut batch = world.window(0);
        add_late(&mut batch, &mut late_totals);
        add_sampled(&mut batch);
        store.append(&batch).unwrap();
    }
    let done = store.maintain(world.end_ms).unwrap();
    assert_eq!((done.blocks_written, done.blocks_built), (1, 2));
    drop(store);
    std::fs::remove_file(dir.join("lock")).unwrap();
}

/// A value of each kind for two windows before, of series that there are.
fn add_late(window: &mut Window, late_totals: &mut BTreeMap<SeriesId, f64>) {
    let end_ms = window.start_ms - 2 * WINDOW_MS;
    let batch = &mut window.batch;
    let mut all = Late { interval_ms: WINDOW_MS, ..Late::default() };
    for counter in &mut batch.counters {
        let before = late_totals.get(&counter.id).copied().unwrap_or_default();
        counter.total += before;
        counter.start_total = counter.start_total.map(|total| total + before);
    }
    if let Some(counter) = batch.counters.first_mut() {
        counter.total += 2.0;
        *late_totals.entry(counter.id).or_default() += 2.0;
        all.counters.push(LateValue { id: counter.id, end_ms, value: 2.0 });
    }
    if let Some(id) = batch.gauges.first().map(|gauge| gauge.id) {
        let gauge =
            LateGauge { last: 0.5, min: -1.0, max: 0.5, at_ms: end_ms, holds: false, is_sample: false };
        all.gauges.push(LateValue { id, end_ms, value: gauge });
    }
    if let Some((id, _)) = batch.timers.first() {
        all.timers.push(LateValue { id: *id, end_ms, value: Histogram::from_values([(0.125, 3.0)]) });
    }
    if let Some((id, _)) = batch.sets.first() {
        let mut set = Sketch::default();
        set.insert(b"late");
        all.sets.push(LateValue { id: *id, end_ms, value: set });
    }
    batch.late = all;
}

/// A counter that begins anew now and then and a gauge, both sampled elsewhere,
/// twice a window.
fn add_sampled(window: &mut Window) {
    let (end_ms, metric_type) = (window.end_ms, MetricType::Sampled);
    let at = (end_ms - START_MS) / WINDOW_MS;
    for (number, name) in [(900, "remote_requests_total"), (901, "remote_temperature")] {
        let id = SeriesId(number);
        let labels = Labels::from_pairs([(NAME, name), ("job", "node")]);
        window.named.push((id, SeriesKey { labels, metric_type }));
        for back_ms in [7_001, 2_003] {
            let value = if number == 900 { (at % 30) as f64 * 3.0 } else { 20.0 + (at % 7) as f64 * 0.125 };
            let at_ms = end_ms - back_ms;
            let gauge =
                LateGauge { last: value, min: value, max: value, at_ms, holds: false, is_sample: true };
            window.batch.late.gauges.push(LateValue { id, end_ms: at_ms, value: gauge });
        }
    }
    window.batch.late.settle();
}

/// Changes one file of the fixture and returns why the store does not open.
fn refusal(prefix: &str, change: fn(&mut Vec<u8>)) -> String {
    let backend = MemoryBackend::new();
    for entry in std::fs::read_dir(fixture(2).join("store")).expect("the fixture is there") {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let mut bytes = std::fs::read(entry.path()).unwrap();
        if name.starts_with(prefix) {
            change(&mut bytes);
        }
        backend.put(&options().dir.join(name), &bytes);
    }
    let before = backend.files();
    let error = TestStore::open(options(), backend.clone(), START_MS).err().expect("refused");
    assert_eq!(backend.files(), before, "nothing is touched");
    error.to_string()
}

#[test]
fn files_of_a_newer_version_are_refused_and_left_alone() {
    let of_log = refusal("wal-", |bytes| {
        bytes[8] = 4;
        let crc = crc32fast::hash(&bytes[..12]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    });
    let of_block = refusal("block-", |bytes| {
        bytes[8] = 4;
        *bytes.last_mut().unwrap() = b'4';
    });
    for (error, file) in
        [(of_log, "/data/wal-0000000001.log"), (of_block, "/data/block-0-001700000100000.sd")]
    {
        let told = format!("{file} has format version 4, this statsdeck reads up to 3: use a newer one");
        assert_eq!(error, told);
    }
}
