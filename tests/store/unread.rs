//! A place of the log that the disk never gives back: it costs what stood there,
//! once that is plain, and holds up nothing else for longer.

use crate::damage::check_true;
use crate::files::DAMAGED;
use crate::world::{
    ALL, Model, SPAN_MS, START_MS, TestStore, WINDOW_MS, Window, World, dump, open, options, read,
};
use statsdeck::model::batch::GaugeValue;
use statsdeck::model::{FlushBatch, Labels, MetricType, Points, SeriesId, SeriesKey, TimeRange};
use statsdeck::store::memory::Fault;
use statsdeck::store::{Backend, Maintained, MemoryBackend, Options};
use std::path::{Path, PathBuf};

/// The upkeep, counted from 1, that writes a block without what it cannot read.
pub const GIVEN_UP_AT: usize = 63;

/// What a disk fails by.
const PAGE_BYTES: usize = 4096;
const SERIES: u32 = 2000;
/// Windows of a span, and some.
const WINDOWS: i64 = 3 * SPAN_MS / WINDOW_MS + 1;

/// A window of many gauges: its samples take some pages of the disk.
fn wide(at: i64) -> Window {
    let (start_ms, end_ms) = (START_MS + at * WINDOW_MS, START_MS + (at + 1) * WINDOW_MS);
    let key =
        |id: u32| SeriesKey { labels: Labels::of_name(&format!("g{id}")), metric_type: MetricType::Gauge };
    let value = |id: u32| (f64::from(id) + at as f64).sqrt();
    let gauge = |id: u32| GaugeValue { id: SeriesId(id), last: value(id), min: value(id), max: value(id) };
    let named = if at == 0 { (0..SERIES).map(|id| (SeriesId(id), key(id))).collect() } else { Vec::new() };
    let gauges = (0..SERIES).map(gauge).collect();
    Window { named, batch: FlushBatch { start_ms, end_ms, gauges, ..FlushBatch::default() } }
}

fn logs(backend: &MemoryBackend) -> Vec<(PathBuf, Vec<u8>)> {
    let is_log =
        |path: &Path| path.parent() == Some(Path::new("/data")) && path.extension() == Some("log".as_ref());
    backend.files().into_iter().filter(|(path, _)| is_log(path)).collect()
}

pub fn damaged(backend: &MemoryBackend) -> Vec<(PathBuf, Vec<u8>)> {
    backend.files().into_iter().filter(|(path, _)| path.starts_with(DAMAGED)).collect()
}

/// A store with two full spans of a world and a window, and the time then.
fn two_spans(backend: &MemoryBackend, mut world: World) -> (TestStore, Model, i64) {
    let ((store, _), mut model) = (open(backend), Model::default());
    while world.end_ms < START_MS + 2 * SPAN_MS + WINDOW_MS {
        let window = world.window(0);
        store.append(&window).unwrap();
        model.apply(&window);
    }
    (store, model, world.end_ms)
}

/// A store with three full spans and a window, and where window 4 lies in the
/// first segment.
fn filled(backend: &MemoryBackend) -> (TestStore, Model, std::ops::Range<usize>) {
    let ((store, _), mut model) = (open(backend), Model::default());
    let mut place = 0..0;
    for at in 0..WINDOWS {
        let window = wide(at);
        let before = logs(backend).first().map_or(0, |(_, log)| log.len());
        store.append(&window).unwrap();
        model.apply(&window);
        if at == 4 {
            place = before..logs(backend)[0].1.len();
        }
    }
    (store, model, place)
}

/// Upkeeps until a block is written or there were `most`; those that failed.
fn keep(store: &TestStore, most: usize) -> (Vec<usize>, Maintained) {
    let mut failed = Vec::new();
    for upkeep in 1..=most {
        let done = store.maintain(START_MS + WINDOWS * WINDOW_MS).expect("all else is done");
        if done.blocks_written > 0 {
            return (failed, done);
        }
        failed.extend((done.builds_failed > 0).then_some(upkeep));
    }
    (failed, Maintained::default())
}

#[test]
fn it_is_tried_less_and_less_often_and_given_up_after_an_hour() {
    let backend = MemoryBackend::new();
    let (store, model, place) = filled(&backend);
    let (path, log) = logs(&backend).remove(0);
    let middle = (place.start + place.end) / 2;
    backend.fail_reads_within(&path, middle..middle + 100);
    let (failed, done) = keep(&store, 2 * GIVEN_UP_AT);
    assert_eq!(failed, [1, 3, 7, 15, 31]);
    assert_eq!((done.blocks_written, done.builds_failed), (3, 0), "later spans go on");
    assert_eq!(store.stats().wal_segments, 1);
    assert_eq!(damaged(&backend), [("/data/damaged/wal-0000000000.log".into(), log)], "as it was");
    assert_eq!((store.stats().frames_lost, store.stats().chunks_lost), (1, 0));

    let expected = model.series(ALL);
    let check = |store: &TestStore| {
        let found = read(store, ALL);
        assert_eq!(found.len(), expected.len());
        let lost_ms = START_MS + 5 * WINDOW_MS;
        let mut lost = 0;
        for (found, expected) in found.iter().zip(&expected) {
            let (Points::Floats(found), Points::Floats(expected)) = (&found.points, &expected.points) else {
                panic!("gauges are floats")
            };
            let kept: Vec<_> = expected.iter().filter(|sample| sample.timestamp_ms != lost_ms).collect();
            assert!(found.iter().eq(expected) || found.iter().eq(kept), "only that window lacks");
            lost += expected.len() - found.len();
        }
        // A page of the disk, and what shares groups with it.
        assert!(lost > 0 && lost < SERIES as usize * 3 / 4, "{lost} of {SERIES} points are lost");
    };
    check(&store);
    drop(store);
    let (store, _) = open(&backend);
    check(&store);
    assert_eq!(store.stats().frames_lost, 0);
}

/// The fault that an old segment, which is not kept open, is opened with; the
/// store, what it was given, and the end of its windows.
fn shut(backend: &MemoryBackend, number: i32) -> (TestStore, Model, PathBuf, Vec<u8>, i64) {
    let (mut world, mut model) = (World::new(5, 12), Model::default());
    // Each start begins a segment; the newest 64 are kept open.
    for _ in 0..90 {
        let (store, _) = open(backend);
        let window = world.window(0);
        store.append(&window).unwrap();
        model.apply(&window);
    }
    let (store, _) = open(backend);
    let (path, bytes) = logs(backend).remove(3);
    backend.fail_opens_of(&path, number);
    (store, model, path, bytes, world.end_ms)
}

#[test]
fn a_segment_that_the_disk_does_not_open_costs_its_windows_and_is_kept() {
    let backend = MemoryBackend::new();
    let (store, model, path, bytes, end_ms) = shut(&backend, libc::EIO);
    for upkeep in 1..=GIVEN_UP_AT {
        let done = store.maintain(end_ms).unwrap();
        assert_eq!(done.blocks_written > 0, upkeep == GIVEN_UP_AT, "upkeep {upkeep}");
    }
    assert_eq!(store.stats().frames_lost, 1);
    let kept_as = Path::new(DAMAGED).join(path.file_name().unwrap());
    assert_eq!(damaged(&backend), [(kept_as, bytes)]);
    check_true(&read(&store, ALL), &model.series(ALL), "without a segment");
    let later = TimeRange { start_ms: START_MS + SPAN_MS + 1, end_ms: i64::MAX };
    assert_eq!(dump(&read(&store, later)), dump(&model.series(later)));
}

#[test]
fn what_the_daemon_has_no_descriptors_for_or_may_not_open_is_waited_for() {
    for number in [libc::EMFILE, libc::ENFILE, libc::EACCES, libc::ENOMEM] {
        let backend = MemoryBackend::new();
        let (store, model, _, _, end_ms) = shut(&backend, number);
        for _ in 0..2 * GIVEN_UP_AT {
            assert_eq!(store.maintain(end_ms).unwrap().blocks_written, 0);
        }
        backend.heal();
        let written: usize = (0..64).map(|_| store.maintain(end_ms).unwrap().blocks_written).sum();
        assert!(written > 1);
        assert_eq!(dump(&read(&store, ALL)), dump(&model.series(ALL)));
        assert_eq!((store.stats().frames_lost, damaged(&backend).len()), (0, 0));
    }
}

#[test]
fn what_can_be_read_again_within_the_hour_is_all_there() {
    let backend = MemoryBackend::new();
    let (store, model, place) = filled(&backend);
    let (path, _) = logs(&backend).remove(0);
    backend.fail_reads_within(&path, place);
    assert_eq!(keep(&store, GIVEN_UP_AT - 1).0, [1, 3, 7, 15, 31]);
    backend.heal();
    let (failed, done) = keep(&store, 1);
    assert_eq!((failed.len(), done.blocks_written), (0, 3));
    assert_eq!(dump(&read(&store, ALL)), dump(&model.series(ALL)));
    assert_eq!((store.stats().frames_lost, damaged(&backend).len()), (0, 0));
}

#[test]
fn what_cannot_be_written_gives_up_nothing_and_is_tried_each_time() {
    let backend = MemoryBackend::new();
    let (store, model, _) = filled(&backend);
    backend.set_room(backend.used_bytes());
    let now_ms = START_MS + WINDOWS * WINDOW_MS;
    for _ in 0..GIVEN_UP_AT + 3 {
        store.maintain(now_ms).expect_err("there is no room");
    }
    backend.heal();
    assert_eq!(store.maintain(now_ms).unwrap().blocks_written, 3);
    assert_eq!(dump(&read(&store, ALL)), dump(&model.series(ALL)));
    assert_eq!((store.stats().frames_lost, damaged(&backend).len()), (0, 0));
}

/// Samples, tables, names, directories, headers, late values.
#[test]
fn a_bad_place_anywhere_costs_no_more_than_its_page_and_never_the_next_span() {
    let mut at = 0;
    loop {
        let backend = MemoryBackend::new();
        let (store, model, now_ms) = two_spans(&backend, World::new(5, 12).with_late(3 * WINDOW_MS));
        let (path, log) = logs(&backend).remove(0);
        if at >= log.len() {
            break;
        }
        let case = format!("at {at} of {}", log.len());
        backend.fail_reads_within(&path, at..at + 1);
        for _ in 0..GIVEN_UP_AT {
            store.maintain(now_ms).unwrap_or_else(|error| panic!("{case}: {error}"));
        }
        assert_eq!(store.stats().blocks, 2, "{case}");
        let later = TimeRange { start_ms: START_MS + SPAN_MS + WINDOW_MS, end_ms: i64::MAX };
        // A counter's late value may be in the lost window.
        let corrected = model.corrected();
        let mut found = read(&store, later);
        found.retain(|series| !corrected.contains_key(&series.labels));
        assert_eq!(dump(&found), dump(&model.series(later)), "{case}");
        assert_eq!(damaged(&backend).len() as u64, store.stats().frames_lost.min(1), "{case}");
        at += 211;
    }
    assert!(at > 1000, "{at}");
}

#[test]
fn a_fault_while_it_is_given_up_loses_neither_the_rest_nor_the_file() {
    let mut at = 0;
    let mut is_met = true;
    while is_met {
        for fault in Fault::ALL {
            let backend = MemoryBackend::new();
            let (store, model, now_ms) = two_spans(&backend, World::new(5, 12));
            let (path, log) = logs(&backend).remove(0);
            let case = format!("{fault:?} of operation {at}");
            backend.fail_reads_within(&path, log.len() - 1..log.len());
            let keep = |upkeeps| (0..upkeeps).for_each(|_| drop(store.maintain(now_ms)));
            keep(GIVEN_UP_AT - 1);
            let before = backend.operations();
            backend.fail_at(before + at, fault, false);
            keep(1);
            is_met = backend.operations() > before + at;
            keep(3 * GIVEN_UP_AT);
            assert_eq!((store.stats().blocks, store.stats().wal_segments), (2, 1), "{case}");
            assert_eq!(damaged(&backend), [("/data/damaged/wal-0000000000.log".into(), log)], "{case}");
            check_true(&read(&store, ALL), &model.series(ALL), &case);
            let later = TimeRange { start_ms: START_MS + SPAN_MS + 1, end_ms: i64::MAX };
            assert_eq!(dump(&read(&store, later)), dump(&model.series(later)), "{case}");
        }
        at += 1;
    }
    assert!(at > 8, "{at} operations");
}

#[test]
fn a_damaged_block_whose_windows_the_log_has_is_kept_aside_and_written_again() {
    let backend = MemoryBackend::new();
    let (store, model, _) = filled(&backend);
    let now_ms = START_MS + WINDOWS * WINDOW_MS;
    // The daemon ended between the block and the removal of its log.
    logs(&backend).iter().for_each(|(path, _)| backend.fail_removal_of(path));
    store.maintain(now_ms).expect_err("the log stays");
    drop(store);
    backend.heal();
    let blocks = || -> Vec<_> {
        let is_block =
            |path: &Path| crate::damage::is_block(path) && path.parent() == Some(Path::new("/data"));
        backend.files().into_iter().filter(|(path, _)| is_block(path)).collect()
    };
    let (path, sound) = blocks().pop().unwrap();
    let mut bytes = sound.clone();
    *bytes.last_mut().unwrap() ^= 0x40;
    backend.put(&path, &bytes);
    let (store, _) = open(&backend);
    assert_eq!(store.maintain(now_ms).unwrap().blocks_written, 1);
    let kept_as = Path::new("/data/damaged").join(path.file_name().unwrap());
    assert_eq!(damaged(&backend), [(kept_as, bytes)]);
    assert!(blocks().pop().unwrap() == (path, sound));
    assert_eq!(dump(&read(&store, ALL)), dump(&model.series(ALL)));
}

#[test]
fn a_start_that_meets_it_says_what_to_do_and_that_helps() {
    let backend = MemoryBackend::new();
    let (store, model, _) = filled(&backend);
    drop(store);
    let (path, mut log) = logs(&backend).remove(0);
    // The names of a window, or its directory.
    for at in (0..log.len()).step_by(PAGE_BYTES) {
        let bad = at..(at + PAGE_BYTES).min(log.len());
        backend.fail_reads_within(&path, bad.clone());
        let Err(error) = TestStore::open(options(), backend.clone(), START_MS) else { continue };
        let said = error.to_string();
        assert!(said.starts_with("cannot read /data/wal-0000000000.log: "), "{said}");
        assert!(said.contains("put a copy of it there") && said.contains("or move it elsewhere"), "{said}");

        let whole = log.clone();
        log[bad].fill(0);
        backend.put(&path, &log);
        let (store, _) = open(&backend);
        assert!(store.stats().frames_lost <= 2, "{at}");
        check_true(&read(&store, ALL), &model.series(ALL), "with zeros");
        drop(store);
        backend.put(&path, &whole);
        log = whole;
    }
    backend.fail_reads_of(&path);
    assert!(TestStore::open(options(), backend.clone(), START_MS).is_err());
    backend.rename(&path, Path::new("/elsewhere.log")).unwrap();
    let (store, _) = open(&backend);
    let later = TimeRange { start_ms: START_MS + SPAN_MS + 1, end_ms: i64::MAX };
    assert_eq!(dump(&read(&store, later)), dump(&model.series(later)));
}

#[test]
fn a_power_cut_while_it_is_given_up_costs_no_more_than_the_place() {
    let mut at = 0;
    let mut is_met = true;
    while is_met {
        for seed in 0..6 {
            let backend = MemoryBackend::new();
            let (store, model, now_ms) = two_spans(&backend, World::new(5, 12));
            let (path, log) = logs(&backend).remove(0);
            let case = format!("power cut at operation {at}, seed {seed}");
            backend.fail_reads_within(&path, log.len() - 1..log.len());
            (0..GIVEN_UP_AT - 1).for_each(|_| drop(store.maintain(now_ms)));
            let before = backend.operations();
            backend.fail_at(before + at, Fault::Fail, true);
            drop(store.maintain(now_ms));
            is_met = backend.operations() > before + at;
            let backend = backend.crashed(seed);
            drop(store);
            // Its directory, read at the start, is in that place.
            let bad = log.len() - 1..log.len();
            if logs(&backend).iter().any(|(left, _)| *left == path) {
                backend.fail_reads_within(&path, bad);
                let refused = TestStore::open(options(), backend.clone(), START_MS);
                assert!(refused.is_err(), "{case}");
                backend.heal();
            }
            let (store, _) = open(&backend);
            let found = read(&store, ALL);
            check_true(&found, &model.series(ALL), &case);
            let is_given_up = store.stats().blocks > 0;
            if !is_given_up {
                assert_eq!(dump(&found), dump(&model.series(ALL)), "{case}");
            }
            for _ in 0..3 {
                store.maintain(now_ms).unwrap();
            }
            assert_eq!((store.stats().blocks, store.stats().wal_segments), (2, 1), "{case}");
            assert_eq!(dump(&read(&store, ALL)), dump(&found), "{case}");
            for (kept_as, bytes) in damaged(&backend) {
                assert!(bytes == log, "{case}: {}", kept_as.display());
            }
            let later = TimeRange { start_ms: START_MS + SPAN_MS + 1, end_ms: i64::MAX };
            assert_eq!(dump(&read(&store, later)), dump(&model.series(later)), "{case}");
        }
        at += 1;
    }
    assert!(at > 8, "{at} operations");
}

/// As after a start with shorter blocks.
#[test]
fn a_segment_of_two_spans_is_put_aside_when_both_are_in_blocks() {
    for is_in_first in [true, false] {
        let backend = MemoryBackend::new();
        let long = Options { block_span_ms: 2 * SPAN_MS, ..options() };
        let (store, _) = TestStore::open(long, backend.clone(), START_MS).unwrap();
        let mut model = Model::default();
        let mut ends = Vec::new();
        for at in 0..2 * SPAN_MS / WINDOW_MS {
            store.append(&wide(at)).unwrap();
            model.apply(&wide(at));
            ends.push(logs(&backend)[0].1.len());
        }
        drop(store);
        let (store, _) = open(&backend);
        for at in 2 * SPAN_MS / WINDOW_MS..WINDOWS {
            store.append(&wide(at)).unwrap();
            model.apply(&wide(at));
        }
        let (path, log) = logs(&backend).remove(0);
        let at = if is_in_first { 3 } else { ends.len() - 3 };
        let bad = (ends[at - 1] + ends[at]) / 2;
        backend.fail_reads_within(&path, bad..bad + 10);
        let first_ms = START_MS + SPAN_MS;
        for upkeep in 1..=GIVEN_UP_AT {
            store.maintain(START_MS + WINDOWS * WINDOW_MS).unwrap();
            let blocks = store.stats().blocks;
            let expected = match upkeep {
                GIVEN_UP_AT => 3,
                _ if is_in_first => 0,
                _ => 1,
            };
            assert_eq!(blocks, expected, "upkeep {upkeep}");
            assert_eq!(damaged(&backend).len(), usize::from(blocks == 3), "upkeep {upkeep}");
        }
        assert!(damaged(&backend)[0].1 == log);
        assert_eq!(store.stats().frames_lost, 1);
        check_true(&read(&store, ALL), &model.series(ALL), "two spans");
        let good = if is_in_first {
            TimeRange { start_ms: first_ms + 1, end_ms: i64::MAX }
        } else {
            TimeRange { start_ms: 0, end_ms: first_ms }
        };
        assert_eq!(dump(&read(&store, good)), dump(&model.series(good)));
    }
}
