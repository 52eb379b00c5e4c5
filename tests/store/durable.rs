//! What was done is there after the power failed, whatever writes one: the file
//! was synced, and then the directory that has its name.

use crate::damage;
use crate::world::{ALL, SPAN_MS, START_MS, TestStore, World, dump, open, options, read};
use statsdeck::model::{Labels, MetricType, Sample, SeriesKey, TimeRange};
use statsdeck::store::backfill::Part;
use statsdeck::store::inspect::{Depth, inspect};
use statsdeck::store::repair::repair;
use statsdeck::store::{Error, Maintained, MemoryBackend, Options, Tier};
use std::path::{Path, PathBuf};

const DIR: &str = "/data";
const CRASHES: u64 = 60;

/// Does it, and asks after many ways for the power to fail.
fn check(what: &str, act: impl Fn(&MemoryBackend), there: impl Fn(&MemoryBackend) -> String) {
    let backend = MemoryBackend::new();
    act(&backend);
    // Not the same one: to look may make durable.
    let expected = {
        let other = MemoryBackend::new();
        act(&other);
        there(&other)
    };
    assert!(!expected.is_empty(), "{what}");
    for seed in 0..CRASHES {
        assert_eq!(there(&backend.crashed(seed)), expected, "{what}, crash {seed}");
    }
}

fn points(backend: &MemoryBackend) -> String {
    dump(&read(&open(backend).0, ALL))
}

fn tiered() -> Options {
    options().with_tiers(vec![Tier { resolution_ms: SPAN_MS, retention_ms: 2000 * SPAN_MS }])
}

fn windows(backend: &MemoryBackend) -> (TestStore, i64) {
    let store = TestStore::open(tiered(), backend.clone(), START_MS).expect("the store opens").0;
    let mut world = World::new(7, 5);
    for _ in 0..25 {
        store.append(&world.window(0)).unwrap();
    }
    (store, world.end_ms)
}

#[test]
fn windows_are_there() {
    check("append", |backend| drop(windows(backend)), points);
}

#[test]
fn blocks_of_windows_and_of_steps_are_there() {
    let upkeep = |backend: &MemoryBackend| {
        let (store, now_ms) = windows(backend);
        while store.maintain(now_ms).unwrap() != Maintained::default() {}
    };
    let blocks = |backend: &MemoryBackend| {
        let blocks = backend.files().into_iter().filter(|(path, _)| damage::is_block(path));
        blocks.map(|(path, bytes)| format!("{} {}\n", path.display(), bytes.len())).collect()
    };
    check("maintain", upkeep, points);
    check("maintain", upkeep, blocks);
}

#[test]
fn how_the_data_is_kept_is_there() {
    let tiers = |backend: &MemoryBackend| {
        let files = backend.files().into_iter().filter(|(path, _)| path.ends_with("tiers"));
        files.map(|(_, bytes)| String::from_utf8(bytes).unwrap()).collect()
    };
    check("note_tiers", |backend| windows(backend).0.note_tiers().unwrap(), tiers);
    let changed = |backend: &MemoryBackend| {
        backend.put(&Path::new(DIR).join("tiers"), b"0 1d\n");
        windows(backend).0.note_tiers().unwrap();
    };
    check("note_tiers, once more", changed, tiers);
}

#[test]
fn what_was_imported_is_there() {
    let import = |backend: &MemoryBackend| {
        let (store, _) = windows(backend);
        let key = SeriesKey { labels: Labels::of_name("old"), metric_type: MetricType::Gauge };
        let id = store.catalogue.register(key).unwrap();
        let end_ms = store.span_end(START_MS) - 5 * SPAN_MS;
        let samples = vec![Sample { timestamp_ms: end_ms - 10, value: 4.5 }];
        let mut parts = vec![Part::from([(id, samples)])];
        assert_eq!(store.backfill(end_ms, || Ok::<_, Error>(parts.pop())).unwrap(), 1);
    };
    let old = |backend: &MemoryBackend| {
        let (store, _) = open(backend);
        let old = TimeRange { start_ms: 0, end_ms: START_MS - 4 * SPAN_MS };
        dump(&read(&store, old))
    };
    check("backfill", import, old);
    check("backfill", import, points);
}

#[test]
fn what_was_repaired_is_whole_and_what_was_damaged_is_kept() {
    let mut damaged: Vec<(PathBuf, Vec<u8>)> = damage::files().0;
    for (_, bytes) in damaged.iter_mut().filter(|(_, bytes)| bytes.len() > 80) {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x41;
    }
    // One that cannot be read at all is moved.
    damaged.iter_mut().rfind(|(path, _)| damage::is_block(path)).unwrap().1.truncate(300);
    let repaired = |backend: &MemoryBackend| {
        damaged.iter().for_each(|(path, bytes)| backend.put(path, bytes));
        let outcome = repair(backend, Path::new(DIR), |_| {}).unwrap();
        assert_eq!((outcome.repaired.len(), outcome.left.len()), (3, 0));
    };
    let files = |backend: &MemoryBackend| {
        let found = inspect(backend, Path::new(DIR), Depth::Everything, |_| {}).unwrap();
        assert_eq!(found.damages(), 0);
        let files = backend.files().into_iter();
        let files = files.filter(|(path, _)| path.extension().is_none_or(|end| end != "tmp"));
        files.map(|(path, bytes)| format!("{} {:08x}\n", path.display(), crc32fast::hash(&bytes))).collect()
    };
    check("repair", repaired, files);
}
