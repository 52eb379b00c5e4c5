//! What an operator meets: full disks, a second daemon, retention, odd clocks,
//! queries while all of that goes on.

use crate::world::{
    ALL, Model, SPAN_MS, START_MS, TestStore, WINDOW_MS, Window, World, dump, open, options, read,
};
use statsdeck::model::batch::{CounterValue, GaugeValue};
use statsdeck::model::{FlushBatch, Histogram, Labels, MetricType, Points, SeriesId, SeriesKey, TimeRange};
use statsdeck::store::memory::Fault;
use statsdeck::store::{Backend, Error, FsBackend, MemoryBackend, Options};

fn gauge(id: u32, value: f64, start_ms: i64) -> Window {
    let key = SeriesKey { labels: Labels::of_name(&format!("g{id}")), metric_type: MetricType::Gauge };
    let id = SeriesId(id);
    let gauges = vec![GaugeValue { id, last: value, min: value, max: value }];
    let batch = FlushBatch { start_ms, end_ms: start_ms + WINDOW_MS, gauges, ..FlushBatch::default() };
    Window { named: vec![(id, key)], batch }
}

#[test]
fn a_full_disk_refuses_and_recovers_by_itself() {
    let backend = MemoryBackend::new();
    let (store, _) = open(&backend);
    let (mut world, mut model) = (World::new(11, 8), Model::default());
    for round in 0..12 {
        let batch = world.window(0);
        if round % 3 == 2 {
            for more in [0, 1, 17, 40] {
                backend.set_room(backend.used_bytes() + more);
                let error = store.append(&batch).expect_err("there is no room");
                assert!(error.is_disk_full(), "{error}");
            }
            // Still full: what is there can be read, also after a restart.
            assert_eq!(dump(&read(&store, ALL)), dump(&model.series(ALL)));
            backend.heal();
        }
        store.append(&batch).expect("there is room again");
        model.apply(&batch);
        backend.set_room(backend.used_bytes());
        let _ = store.maintain(batch.end_ms);
        backend.heal();
    }
    store.maintain(world.end_ms).unwrap();
    assert_eq!(dump(&read(&store, ALL)), dump(&model.series(ALL)));
    drop(store);
    let (store, _) = open(&backend);
    assert_eq!(dump(&read(&store, ALL)), dump(&model.series(ALL)));
    assert_eq!(store.stats().tails_cut, 0, "failed writes were cut back at once");
}

#[test]
fn the_log_that_a_block_has_makes_room_for_the_next_block() {
    let backend = MemoryBackend::new();
    let (store, _) = open(&backend);
    let (mut world, mut model) = (World::new(7, 8), Model::default());
    for _ in 0..6 * SPAN_MS / WINDOW_MS {
        let batch = world.window(0);
        store.append(&batch).unwrap();
        model.apply(&batch);
    }
    let log =
        |at: usize| backend.files().into_iter().filter(|(path, _)| is_log(path)).nth(at).unwrap().1.len();
    // No block is larger than the log that it is written of.
    let largest = (0..6).map(log).max().unwrap();
    backend.set_room(backend.used_bytes() + largest);
    store.maintain(world.end_ms).expect("it frees what it needs");
    assert_eq!(store.stats().wal_segments, 0);
    assert_eq!(dump(&read(&store, ALL)), dump(&model.series(ALL)));
}

#[test]
fn a_start_on_a_full_disk_first_removes_the_log_that_blocks_have() {
    let backend = MemoryBackend::new();
    let (store, _) = open(&backend);
    let mut world = World::new(7, 8);
    let span = |world: &mut World, store: &TestStore| {
        (0..SPAN_MS / WINDOW_MS).for_each(|_| store.append(&world.window(0)).unwrap());
    };
    span(&mut world, &store);
    let (path, _) = backend.files().into_iter().find(|(path, _)| is_log(path)).unwrap();
    // The daemon ended between the block and the removal of its log.
    backend.fail_removal_of(&path);
    store.maintain(world.end_ms).expect_err("the log stays");
    backend.heal();
    span(&mut world, &store);
    drop(store);
    let (store, _) = open(&backend);
    backend.set_room(backend.used_bytes());
    store.maintain(world.end_ms).expect("there is room for the block where the log was");
    assert_eq!((store.stats().wal_segments, store.stats().blocks), (0, 2));
}

#[test]
fn a_file_that_cannot_be_removed_keeps_no_other_file() {
    let backend = MemoryBackend::new();
    let options = Options { retention_ms: 2 * SPAN_MS, ..options() };
    let (store, _) = TestStore::open(options, backend.clone(), START_MS).unwrap();
    let mut world = World::new(7, 8);
    let window = |world: &mut World| store.append(&world.window(0)).unwrap();
    (0..SPAN_MS / WINDOW_MS).for_each(|_| window(&mut world));
    let log = backend.files().into_iter().map(|(path, _)| path).find(|path| is_log(path)).unwrap();
    backend.fail_removal_of(&log);
    (0..3 * SPAN_MS / WINDOW_MS).for_each(|_| window(&mut world));
    store.maintain(world.end_ms).expect_err("it is told");
    assert_eq!(store.stats().wal_segments, 1, "the others went");

    let block = backend.files().into_iter().map(|(path, _)| path).find(|path| !is_log(path)).unwrap();
    backend.heal();
    backend.fail_removal_of(&block);
    (0..20 * SPAN_MS / WINDOW_MS).for_each(|_| window(&mut world));
    let _ = store.maintain(world.end_ms);
    store.maintain(world.end_ms).expect_err("it is told");
    let files: Vec<_> = backend.files().into_iter().map(|(path, _)| path).collect();
    assert!(files.contains(&block) && files.len() <= 5, "what is too old left: {files:?}");
    backend.heal();
    store.maintain(world.end_ms).unwrap();
    assert!(!backend.files().into_iter().any(|(path, _)| path == block), "and it, when it can");
}

fn is_log(path: &std::path::Path) -> bool {
    path.extension() == Some("log".as_ref())
}

#[test]
fn a_window_that_was_given_up_never_comes_back() {
    for fault in [Fault::Fail, Fault::Tear, Fault::Deny] {
        for at in 0..70 {
            let backend = MemoryBackend::new();
            let (store, _) = open(&backend);
            backend.fail_at(at, fault, false);
            let mut expected = Vec::new();
            for window in 0..25 {
                let batch = gauge(1, window as f64, START_MS + window * WINDOW_MS);
                if store.append(&batch).is_ok() {
                    expected.push(window as f64);
                }
            }
            assert!(expected.len() >= 24, "one fault costs one window at most");
            drop(store);
            backend.heal();
            let (store, _) = open(&backend);
            let series = read(&store, ALL);
            let Points::Floats(points) = &series[0].points else { panic!("gauges are floats") };
            let found: Vec<f64> = points.iter().map(|sample| sample.value).collect();
            assert_eq!(found, expected, "{fault:?} at {at}");
            assert_eq!(store.stats().tails_cut + store.stats().frames_lost, 0, "{fault:?} at {at}");
        }
    }
}

#[test]
fn a_second_daemon_is_refused_by_name_of_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new(dir.path().join("deep").join("data"));
    let (store, _) = TestStore::open(options.clone(), FsBackend, START_MS).unwrap();
    let error = TestStore::open(options.clone(), FsBackend, START_MS).err().expect("refused");
    assert!(matches!(error, Error::Locked { .. }));
    let text = error.to_string();
    assert!(text.contains("in use by another statsdeck") && text.contains("data_dir"), "{text}");
    drop(store);
    TestStore::open(options, FsBackend, START_MS).expect("the first one is gone");
}

#[test]
fn the_parent_of_a_plain_relative_data_dir_can_be_synced() {
    let parent = std::path::Path::new("statsdeck-data").parent().expect("the empty path");
    FsBackend.sync_dir(parent).unwrap();
    assert!(FsBackend.sync_dir(std::path::Path::new("not-there")).is_err());
}

#[test]
fn on_a_real_disk_it_goes_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { block_span_ms: SPAN_MS, ..Options::new(dir.path()) };
    let (mut world, mut model) = (World::new(21, 12), Model::default());
    for _ in 0..4 {
        let (store, recovered) = TestStore::open(options.clone(), FsBackend, START_MS).unwrap();
        assert_eq!(recovered.last_end_ms, model.last_end_ms);
        for _ in 0..13 {
            let batch = world.window(0);
            store.append(&batch).unwrap();
            model.apply(&batch);
        }
        store.maintain(world.end_ms).unwrap();
        assert_eq!(dump(&read(&store, ALL)), dump(&model.series(ALL)));
        let stats = store.stats();
        let on_disk: u64 =
            std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
        assert_eq!(stats.wal_bytes + stats.block_bytes, on_disk);
        assert_eq!(stats.series, model.series(ALL).len() as u64);
    }
}

#[test]
fn old_points_leave_and_their_series_with_them() {
    let backend = MemoryBackend::new();
    let retention_ms = 3 * SPAN_MS;
    let options = Options { retention_ms, ..options() };
    let (store, _) = TestStore::open(options, backend.clone(), START_MS).unwrap();
    store.append(&gauge(1, 5.0, START_MS)).unwrap();
    let mut end_ms = START_MS;
    let mut most_bytes = 0;
    for at in 1..=200 {
        let batch = gauge(2, f64::from(at), START_MS + i64::from(at) * WINDOW_MS);
        end_ms = batch.end_ms;
        store.append(&batch).unwrap();
        store.maintain(end_ms).unwrap();
        let series = read(&store, ALL);
        let oldest = series.iter().map(|series| match &series.points {
            Points::Floats(points) => points[0].timestamp_ms,
            _ => unreachable!("gauges are floats"),
        });
        let oldest = oldest.min().unwrap();
        // A block goes as a whole, once its last point is too old.
        assert!(
            oldest > end_ms - retention_ms - SPAN_MS
                && oldest <= (end_ms - retention_ms + SPAN_MS).max(START_MS + WINDOW_MS)
        );
        most_bytes = most_bytes.max(backend.used_bytes());
    }
    let stats = store.stats();
    assert_eq!(stats.series, 1, "{stats:?}");
    assert!(stats.blocks <= 4 && stats.wal_segments <= 2, "{stats:?}");
    assert!(most_bytes < 5_000, "{most_bytes}");
    // A clock that ran ahead does not cost the history.
    let before = dump(&read(&store, ALL));
    store.maintain(end_ms + 1_000_000 * SPAN_MS).unwrap();
    assert_eq!(dump(&read(&store, ALL)), before);
}

#[test]
fn a_retention_of_an_hour_is_kept_and_may_change_between_starts() {
    let hour_ms = 3_600_000;
    let backend = MemoryBackend::new();
    let (mut world, mut model) = (World::new(31, 5), Model::default());
    for hours in [48, 1, 48, 1, 3, 48] {
        let options = Options::new("/data").with_retention(hours * hour_ms);
        let (store, recovered) = TestStore::open(options, backend.clone(), START_MS).unwrap();
        assert_eq!(recovered.last_end_ms, model.last_end_ms, "{hours} h");
        assert_eq!(dump(&read(&store, ALL)), dump(&model.series(ALL)), "{hours} h");
        for _ in 0..11 {
            // Every five minutes.
            let batch = world.window(29);
            store.append(&batch).unwrap();
            model.apply(&batch);
        }
        if hours == 48 {
            store.maintain(world.end_ms).unwrap();
        }
        assert_eq!(dump(&read(&store, ALL)), dump(&model.series(ALL)), "{hours} h");
    }
}

#[test]
fn blocks_take_no_files_while_nobody_reads() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { block_span_ms: SPAN_MS, ..Options::new(dir.path()) };
    let (store, _) = TestStore::open(options.clone(), FsBackend, START_MS).unwrap();
    let (mut world, mut model) = (World::new(5, 3), Model::default());
    for _ in 0..100 {
        let batch = world.window(0);
        store.append(&batch).unwrap();
        model.apply(&batch);
    }
    assert!(store.maintain(world.end_ms).unwrap().blocks_written >= 9);
    let check = |store: &TestStore| {
        assert_eq!(dump(&read(store, ALL)), dump(&model.series(ALL)));
        let open = std::fs::read_dir("/proc/self/fd").unwrap();
        let paths = open.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
        let blocks =
            paths.filter(|path| path.starts_with(dir.path()) && path.extension() == Some("sd".as_ref()));
        assert_eq!(blocks.count(), 0);
    };
    check(&store);
    drop(store);
    check(&TestStore::open(options, FsBackend, START_MS).unwrap().0);
}

#[test]
fn a_counter_forgotten_and_begun_anew_is_not_read_with_what_it_was() {
    let options = Options { retention_ms: 2 * SPAN_MS, ..options() };
    let (store, _) = TestStore::open(options.clone(), MemoryBackend::new(), START_MS).unwrap();
    let first_ms = START_MS - START_MS % SPAN_MS;
    let key = SeriesKey { labels: Labels::of_name("c"), metric_type: MetricType::Counter };
    let window = |at: i64, id: u32, total| {
        let mut window = gauge(9, 0.0, first_ms + at * WINDOW_MS);
        window.named = vec![(SeriesId(id), key.clone())];
        window.batch.gauges.clear();
        window.batch.counters = vec![CounterValue { id: SeriesId(id), total, start_total: Some(0.0) }];
        window
    };
    store.append(&window(0, 1, 1000.0)).unwrap();
    // Silent for longer than the retention, and its block is there for a little more.
    store.append(&window(23, 2, 5.0)).unwrap();
    store.maintain(first_ms + 24 * WINDOW_MS).unwrap();
    assert_eq!(store.stats().blocks, 1);
    let series = read(&store, ALL);
    let Points::Floats(points) = &series[0].points else { panic!("counters are floats") };
    assert_eq!(points.iter().map(|sample| sample.value).collect::<Vec<_>>(), [0.0, 5.0]);
    let old = TimeRange { start_ms: 0, end_ms: first_ms + SPAN_MS };
    assert_eq!(store.series(&[], old, 9).unwrap(), []);
}

/// A store of `spans` full spans, none of which is in a block yet.
fn spans_of_gauges(options: Options, backend: &MemoryBackend, spans: i64) -> (TestStore, i64) {
    let (store, _) = TestStore::open(options, backend.clone(), START_MS).unwrap();
    let first_ms = START_MS - START_MS % SPAN_MS;
    for at in 0..spans * SPAN_MS / WINDOW_MS {
        store.append(&gauge(1, at as f64, first_ms + at * WINDOW_MS)).unwrap();
    }
    (store, first_ms + spans * SPAN_MS)
}

#[test]
fn a_log_that_is_gone_though_its_removal_failed_takes_no_room_from_blocks() {
    let maintained = |max_bytes, denied: Option<u64>| {
        let backend = MemoryBackend::new();
        let (store, end_ms) = spans_of_gauges(Options { max_bytes, ..options() }, &backend, 9);
        let before = backend.operations();
        denied.into_iter().for_each(|at| backend.fail_at(before + at, Fault::Deny, false));
        let _ = store.maintain(end_ms);
        (backend.operations() - before, backend)
    };
    let (operations, whole) = maintained(None, None);
    let max_bytes = whole.used_bytes();
    for at in 0..operations {
        let (_, backend) = maintained(Some(max_bytes as u64), Some(at));
        let removed = backend.take_removed();
        let blocks = removed.iter().filter(|(path, _)| path.extension() == Some("sd".as_ref()));
        let bytes = blocks.map(|(_, content)| content.len()).sum::<usize>();
        let had = backend.used_bytes() + bytes;
        assert!(bytes == 0 || had > max_bytes, "operation {at}: {bytes} bytes of blocks left");
    }
}

#[test]
fn files_that_somebody_removed_are_gone_and_upkeep_goes_on() {
    let backend = MemoryBackend::new();
    let options = Options { retention_ms: 2 * SPAN_MS, ..options() };
    let (store, end_ms) = spans_of_gauges(options, &backend, 2);
    let logs = || backend.files().into_iter().filter(|(path, _)| path.extension() == Some("log".as_ref()));
    let (first_log, _) = logs().next().unwrap();
    backend.remove(&first_log).unwrap();
    store.maintain(end_ms).unwrap();
    assert_eq!((store.stats().blocks, store.stats().wal_segments, logs().count()), (2, 0, 0));

    let blocks = backend.files().into_iter().filter(|(path, _)| path.extension() == Some("sd".as_ref()));
    blocks.for_each(|(path, _)| backend.remove(&path).unwrap());
    store.append(&gauge(1, 0.0, end_ms + 4 * SPAN_MS)).unwrap();
    assert_eq!(store.maintain(end_ms + 5 * SPAN_MS).unwrap().blocks_dropped, 2);
    assert_eq!(read(&store, ALL)[0].points.len(), 1);
}

#[test]
fn an_old_block_that_cannot_be_removed_keeps_no_new_one_from_its_place() {
    let backend = MemoryBackend::new();
    let options = Options { retention_ms: SPAN_MS, ..options() };
    let (store, end_ms) = spans_of_gauges(options, &backend, 1);
    store.maintain(end_ms).unwrap();
    let batch = gauge(1, 1.0, end_ms + 2 * SPAN_MS);
    store.append(&batch).unwrap();
    store.append(&gauge(1, 2.0, end_ms + 3 * SPAN_MS)).unwrap();
    backend.fail_at(backend.operations(), Fault::Fail, false);
    let error = store.maintain(end_ms + 3 * SPAN_MS).unwrap_err().to_string();
    assert!(error.contains("remove"), "{error}");
    assert_eq!(store.stats().blocks, 2, "the new block is there, the old one still");
    let done = store.maintain(end_ms + 3 * SPAN_MS).unwrap();
    assert_eq!((done.blocks_written, done.blocks_dropped, store.stats().blocks), (0, 1, 1));
}

#[test]
fn two_hours_in_memory_take_less_than_16_bytes_a_point() {
    let options = Options::new("/data");
    let (store, _) = TestStore::open(options, MemoryBackend::new(), START_MS).unwrap();
    let first_ms = START_MS - START_MS % 7_200_000;
    for window in 0..720 {
        let mut batch = gauge(0, 0.0, first_ms + window * WINDOW_MS);
        for id in 1..100u32 {
            batch.named.push((SeriesId(id), gauge(id, 0.0, 0).named[0].1.clone()));
            let last = (i64::from(id) * 7919 + window * 104_729) as f64 % 1009.0 / 7.0;
            batch.batch.gauges.push(GaugeValue { id: SeriesId(id), last, min: last, max: last });
        }
        store.append(&batch).unwrap();
    }
    let stats = store.stats();
    assert_eq!(stats.head_samples, 72_000);
    assert!(stats.head_bytes < 16 * stats.head_samples, "{stats:?}");
    store.maintain(first_ms + 7_200_000).unwrap();
    let stats = store.stats();
    assert_eq!((stats.blocks, stats.head_samples, stats.head_bytes, stats.wal_segments), (1, 0, 0, 0));
}

#[test]
fn windows_come_once_and_in_order() {
    let (store, _) = open(&MemoryBackend::new());
    let first = gauge(1, 1.0, START_MS + WINDOW_MS);
    store.append(&first).unwrap();
    let mut longer = first.clone();
    longer.batch.start_ms = START_MS - 5;
    for again in [first, gauge(1, 2.0, START_MS), longer] {
        let error = store.append(&again).unwrap_err();
        assert!(matches!(error, Error::OutOfOrder { .. }), "{error}");
    }
    let end_ms = START_MS + 9 * WINDOW_MS;
    let empty = FlushBatch { start_ms: end_ms, end_ms, ..FlushBatch::default() };
    assert!(matches!(store.store.append(&empty), Err(Error::Batch { .. })));
    for (start_ms, end_ms) in
        [(-20_000, -10_000), (i64::MIN, i64::MAX), (0, i64::MAX), (end_ms, i64::MAX / 2)]
    {
        let odd = FlushBatch { start_ms, end_ms, ..FlushBatch::default() };
        assert!(store.store.append(&odd).is_err(), "{start_ms}..{end_ms}");
    }
    assert_eq!(read(&store, ALL)[0].points.len(), 1);
}

#[test]
fn samples_without_a_place_are_counted_and_harm_nothing() {
    let backend = MemoryBackend::new();
    let (store, _) = open(&backend);
    let mut batch = gauge(1, 1.0, START_MS);
    // Nobody named series 9, and series 1 is no counter.
    batch.batch.counters.push(CounterValue { id: SeriesId(9), total: 1.0, start_total: None });
    batch.batch.counters.push(CounterValue { id: SeriesId(1), total: 7.0, start_total: None });
    store.append(&batch).unwrap();
    assert_eq!(store.stats().samples_refused, 2);
    let expected = dump(&read(&store, ALL));
    assert!(expected.contains("g1"), "{expected}");
    drop(store);
    let (store, _) = open(&backend);
    assert_eq!(dump(&read(&store, ALL)), expected);
    assert_eq!(store.catalogue.next_id(), 2);
}

#[test]
fn sums_that_left_the_numbers_cost_their_own_sample_only() {
    let backend = MemoryBackend::new();
    let (store, _) = open(&backend);
    for at in 0..12 {
        let mut batch = gauge(1, f64::from(at), START_MS + i64::from(at) * WINDOW_MS);
        let key = SeriesKey { labels: Labels::of_name("t"), metric_type: MetricType::Timer };
        batch.named.push((SeriesId(2), key));
        let values = match at {
            // Two values that a hostile sender chose: the sum is ∞ − ∞.
            3 => vec![(1e200, 1e200), (-1e200, 1e200)],
            4 => vec![(1.0, f64::MAX), (1.0, f64::MAX)],
            _ => vec![(1.0, 1.0)],
        };
        batch.batch.timers.push((SeriesId(2), Histogram::from_values(values)));
        store.append(&batch).unwrap();
    }
    assert_eq!(store.stats().samples_refused, 2);
    let before = dump(&read(&store, ALL));
    assert_eq!(before.lines().count(), 2 + 12 + 10);
    store.maintain(START_MS + 12 * WINDOW_MS).unwrap();
    assert_eq!(dump(&read(&store, ALL)), before);
    drop(store);
    let (store, _) = open(&backend);
    assert_eq!(dump(&read(&store, ALL)), before);
    assert_eq!(store.stats().frames_lost, 0);
}

#[test]
fn windows_without_samples_are_windows_too() {
    let backend = MemoryBackend::new();
    let (store, _) = open(&backend);
    let mut end_ms = START_MS;
    for _ in 0..40 {
        let batch = FlushBatch { start_ms: end_ms, end_ms: end_ms + WINDOW_MS, ..FlushBatch::default() };
        end_ms = batch.end_ms;
        store.store.append(&batch).unwrap();
    }
    store.maintain(end_ms).unwrap();
    assert!(read(&store, ALL).is_empty());
    drop(store);
    let (store, recovered) = open(&backend);
    assert_eq!((recovered.last_end_ms, recovered.series.len()), (Some(end_ms), 0));
    assert_eq!(store.stats().blocks_lost, 0);
    assert!(store.append(&gauge(1, 1.0, end_ms - WINDOW_MS)).is_err());
    store.append(&gauge(1, 1.0, end_ms)).unwrap();
}

#[test]
fn a_sample_that_comes_twice_or_out_of_order_counts_once() {
    let (store, _) = open(&MemoryBackend::new());
    let mut batch = gauge(3, 1.0, START_MS);
    batch.named.extend(gauge(1, 0.0, 0).named);
    batch.batch.gauges.extend([(3, 5.0), (1, 2.0)].map(|(id, last)| GaugeValue {
        id: SeriesId(id),
        last,
        min: last,
        max: last,
    }));
    store.append(&batch).unwrap();
    let text = dump(&read(&store, ALL));
    let values: Vec<&str> = text.lines().filter_map(|line| line.split(' ').nth(3)).collect();
    assert_eq!((values, store.stats().samples_refused), (vec!["2", "5"], 1), "{text}");
}

#[test]
fn a_counter_that_begins_has_its_first_increase() {
    let (store, _) = open(&MemoryBackend::new());
    let key = SeriesKey { labels: Labels::of_name("c"), metric_type: MetricType::Counter };
    let id = SeriesId(0);
    let window = |at: i64, total, start_total| FlushBatch {
        start_ms: START_MS + at * WINDOW_MS,
        end_ms: START_MS + (at + 1) * WINDOW_MS,
        counters: vec![CounterValue { id, total, start_total }],
        ..FlushBatch::default()
    };
    store.append(&Window { named: vec![(id, key)], batch: window(0, 3.0, Some(0.0)) }).unwrap();
    store.store.append(&FlushBatch { counters: vec![], stale: vec![id], ..window(1, 0.0, None) }).unwrap();
    // It begins again in the very moment that it had ended.
    store.store.append(&window(2, 5.0, Some(3.0))).unwrap();
    let text = dump(&read(&store, ALL));
    let values: Vec<&str> = text.lines().skip(1).filter_map(|line| line.split(' ').nth(3)).collect();
    assert_eq!(values, ["0", "3", "3", "5"], "{text}");
}

#[test]
fn queries_see_every_point_once_while_blocks_come_and_go() {
    let (store, _) = open(&MemoryBackend::new());
    let windows = 400;
    let (store, done) = (&store, &std::sync::atomic::AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(move || {
                let mut seen = 0;
                while !done.load(std::sync::atomic::Ordering::Acquire) {
                    for series in read(store, TimeRange { start_ms: START_MS, end_ms: i64::MAX }) {
                        let Points::Floats(points) = &series.points else { panic!("gauges are floats") };
                        for (at, sample) in points.iter().enumerate() {
                            assert_eq!(sample.timestamp_ms, START_MS + (at as i64 + 1) * WINDOW_MS);
                            assert_eq!(sample.value, at as f64);
                        }
                        assert!(points.len() >= seen, "points went away");
                        seen = points.len();
                    }
                }
            });
        }
        for at in 0..windows {
            store.append(&gauge(1, at as f64, START_MS + at * WINDOW_MS)).unwrap();
            if at % 7 == 0 {
                store.maintain(START_MS + at * WINDOW_MS).unwrap();
            }
        }
        done.store(true, std::sync::atomic::Ordering::Release);
    });
    assert_eq!(read(store, ALL)[0].points.len(), windows as usize);
}
