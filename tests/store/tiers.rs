//! Tiers: what coarser blocks answer is what the windows answered, also when the
//! fine ones leave and tiers change.

use crate::answers::{STEP_MS, answers, extents, select};
use crate::world::{ALL, Model, SPAN_MS, START_MS, TestStore, WINDOW_MS, World, options};
use statsdeck::model::{GaugePart, Labels, MetricType, Sample, Series, SeriesKey, TimeRange};
use statsdeck::query;
use statsdeck::store::backfill::Place;
use statsdeck::store::{Loss, Maintained, MemoryBackend, Options, Store, Tier};

/// Steps of the tiers.
const STEPS_MS: [i64; 2] = [2 * WINDOW_MS, STEP_MS];

fn tiered() -> Options {
    let tier = |resolution_ms, spans| Tier { resolution_ms, retention_ms: spans * SPAN_MS };
    let tiers = vec![tier(STEPS_MS[0], 24), tier(STEPS_MS[1], 1_000_000)];
    Options { retention_ms: 8 * SPAN_MS, ..options() }.with_tiers(tiers)
}

fn open(backend: &MemoryBackend, options: Options) -> TestStore {
    TestStore::open(options, backend.clone(), START_MS).expect("the store opens").0
}

/// All that was received is answered at every step, in every part of the time.
fn check(store: &Store, model: &Model, range: TimeRange, case: &str) {
    let ends: Vec<i64> =
        (range.start_ms / STEP_MS + 1..=range.end_ms / STEP_MS).map(|k| k * STEP_MS).collect();
    let expected = model.series(range);
    for step_ms in [0, WINDOW_MS, STEPS_MS[0], STEPS_MS[1], 3 * STEPS_MS[1]] {
        for part in [GaugePart::Last, GaugePart::Min, GaugePart::Max] {
            let is_asked =
                |series: &&Series| part == GaugePart::Last || series.metric_type == Some(MetricType::Gauge);
            let found = select(store, range, step_ms, part).expect("the store can be read");
            let found: Vec<Series> = found.iter().filter(is_asked).cloned().collect();
            let expected: Vec<Series> = expected.iter().filter(is_asked).cloned().collect();
            let (found, expected) = (answers(&found, &ends, part), answers(&expected, &ends, part));
            if found != expected {
                let differs = found.lines().zip(expected.lines()).find(|(a, b)| a != b);
                panic!("{case}, {range:?} at {step_ms} ms, {part:?}: found and expected {differs:?}");
            }
        }
    }
}

/// `spans` full spans in blocks, of which the tiers are built.
fn filled(backend: &MemoryBackend, options: Options, spans: i64) -> (TestStore, World, Model) {
    let (store, mut world, mut model) = (open(backend, options), World::new(3, 8), Model::default());
    for _ in 0..spans * SPAN_MS / WINDOW_MS {
        let window = world.window(0);
        store.append(&window).unwrap();
        model.apply(&window);
    }
    while store.maintain(world.end_ms).unwrap() != Maintained::default() {}
    (store, world, model)
}

#[test]
fn fine_blocks_leave_by_age_and_the_oldest_of_the_finest_for_want_of_room() {
    let backend = MemoryBackend::new();
    let (store, world, _) = filled(&backend, tiered(), 60);
    let count = |of: &str| {
        let files = backend.files().into_iter().map(|(path, _)| path.display().to_string());
        files.filter(|path| path.contains(&format!("block-{of}-"))).count()
    };
    // 8 spans of windows, 24 of steps of 20 s; 4 of windows make a block of those, 12 one of the coarsest.
    let found = (count("0"), count("20s"), count("1m40s"));
    assert!((8..=12).contains(&found.0) && (6..=9).contains(&found.1) && found.2 >= 4, "{found:?}");
    let bytes = store.stats().block_bytes + store.stats().wal_bytes;
    drop(store);

    let small = Options { max_bytes: Some(bytes * 3 / 4), ..tiered() };
    let store = open(&backend, small);
    store.maintain(world.end_ms).unwrap();
    let stats = store.stats();
    assert!(stats.block_bytes + stats.wal_bytes <= bytes * 3 / 4);
    assert!(count("0") < found.0 && count("1m40s") == found.2, "the finest go first");
}

#[test]
fn with_little_room_coarse_steps_of_new_time_take_the_place_of_the_oldest() {
    let backend = MemoryBackend::new();
    let (store, mut world, mut model) = filled(&backend, tiered(), 120);
    let bytes = |of: &str| -> u64 {
        let files = backend.files().into_iter().filter(|(path, _)| path.display().to_string().contains(of));
        files.map(|(_, bytes)| bytes.len() as u64).sum()
    };
    // For what is coarse, the log, and one or two blocks of windows.
    let max_bytes = bytes("block-1m40s-") + bytes("wal-") + bytes("block-0-") / 6;
    drop(store);
    let store = open(&backend, Options { max_bytes: Some(max_bytes), ..tiered() });
    store.catalogue.restore(model.keys.clone().into_iter().collect::<Vec<_>>(), 0);
    let bounded_ms = world.end_ms;
    for at in 0..120 * SPAN_MS / WINDOW_MS {
        let window = world.window(0);
        store.append(&window).unwrap();
        model.apply(&window);
        if at % 5 == 0 {
            store.maintain(world.end_ms).unwrap();
            assert!(store.stats().block_bytes + store.stats().wal_bytes <= max_bytes);
        }
    }
    let range =
        TimeRange { start_ms: bounded_ms + 30 * SPAN_MS + 1, end_ms: world.end_ms / STEP_MS * STEP_MS };
    check(&store, &model, range, "new");
    let oldest = TimeRange { start_ms: START_MS, end_ms: START_MS + 12 * SPAN_MS };
    assert!(select(&store, oldest, STEP_MS, GaugePart::Last).unwrap().is_empty(), "the oldest makes room");
}

#[test]
fn the_past_is_not_filled_where_a_coarser_tier_would_hide_it() {
    let backend = MemoryBackend::new();
    let (store, mut world, _) = filled(&backend, Options { retention_ms: 1000 * SPAN_MS, ..tiered() }, 4);
    // Nothing for twenty spans; coarser blocks reach into that time.
    for at in 0..60 * SPAN_MS / WINDOW_MS {
        store.append(&world.window(if at == 0 { 20 * SPAN_MS / WINDOW_MS } else { 0 })).unwrap();
    }
    while store.maintain(world.end_ms).unwrap() != Maintained::default() {}
    let mut hidden = 0;
    for span in 6..22 {
        let end_ms = store.span_end(START_MS + span * SPAN_MS);
        if store.place(end_ms, world.end_ms) != Place::Free {
            hidden += 1;
            continue;
        }
        let samples = vec![Sample { timestamp_ms: end_ms, value: 7.0 }];
        let key = SeriesKey { labels: Labels::of_name("past"), metric_type: MetricType::Gauge };
        let id = store.catalogue.register(key).unwrap();
        let mut part = Some(vec![(id, samples)]);
        store.backfill::<statsdeck::store::Error>(end_ms, || Ok(part.take())).unwrap();
        let range = TimeRange { start_ms: end_ms - STEP_MS + 1, end_ms };
        assert!(!select(&store, range, STEP_MS, GaugePart::Last).unwrap().is_empty(), "span {span}");
    }
    assert!(hidden > 0, "no coarser tier reaches there");
}

#[test]
fn a_clock_that_is_years_ahead_for_some_hours_does_not_cost_the_history() {
    let backend = MemoryBackend::new();
    let (store, mut world, model) = filled(&backend, tiered(), 60);
    let before = store.stats().blocks;
    let (range, end_ms) = (TimeRange { start_ms: START_MS + 1, end_ms: world.end_ms }, world.end_ms);
    let ahead = 2_000_000 * SPAN_MS / WINDOW_MS;
    for at in 0..2 * SPAN_MS / WINDOW_MS {
        store.append(&world.window(if at == 0 { ahead } else { 0 })).unwrap();
        store.maintain(world.end_ms).unwrap();
    }
    assert!(store.stats().blocks > before);
    drop(store);
    // Set right, and started anew.
    let (store, _) = TestStore::open(tiered(), backend.clone(), end_ms).unwrap();
    store.maintain(end_ms).unwrap();
    check(&store, &model, TimeRange { end_ms: end_ms / STEP_MS * STEP_MS, ..range }, "set right");
    drop(store);
    // Not by mistake: a day later all of that is old.
    let store = open(&backend, tiered());
    for _ in 0..900 {
        // Every two minutes.
        store.append(&world.window(11)).unwrap();
    }
    while store.maintain(world.end_ms).unwrap() != Maintained::default() {}
    let old = TimeRange { start_ms: 0, end_ms };
    assert!(select(&store, old, 0, GaugePart::Last).unwrap().is_empty());
    let files = backend.files().into_iter().map(|(path, _)| path.display().to_string());
    assert!(!files.into_iter().any(|path| path.contains("00170000")), "files of old");
}

#[test]
fn a_tier_that_is_taken_out_or_added_costs_nothing_that_was_there() {
    let backend = MemoryBackend::new();
    let (store, world, model) = filled(&backend, tiered(), 60);
    let range = TimeRange { start_ms: START_MS + 1, end_ms: world.end_ms / STEP_MS * STEP_MS };
    drop(store);
    // The finer one out: what it has stays until the coarse one has it, too.
    let coarse = Options { tiers: tiered().tiers[1..].to_vec(), ..tiered() };
    let without_finer = backend.crashed(0);
    let store = open(&without_finer, coarse);
    while store.maintain(world.end_ms).unwrap() != Maintained::default() {}
    check(&store, &model, range, "the finer one taken out");
    drop(store);
    // All of them out: they stay as long as windows do.
    let none = Options { tiers: Vec::new(), ..tiered() };
    let without_any = backend.crashed(0);
    let store = open(&without_any, none.clone());
    while store.maintain(world.end_ms).unwrap() != Maintained::default() {}
    let kept_ms = (world.end_ms - none.retention_ms) / STEP_MS * STEP_MS;
    check(&store, &model, TimeRange { start_ms: kept_ms + 1, ..range }, "all taken out");
    drop(store);
    let store = open(&backend, none);
    check(&store, &model, range, "read before upkeep");
    drop(store);
    // Others in.
    let tiers = vec![Tier { resolution_ms: 5 * WINDOW_MS, retention_ms: 1_000_000 * SPAN_MS }];
    let store = open(&backend, Options { tiers, ..tiered() });
    while store.maintain(world.end_ms).unwrap() != Maintained::default() {}
    check(&store, &model, range, "others");
    for step_ms in [0, STEP_MS] {
        let found = select(&store, ALL, step_ms, GaugePart::Last).unwrap();
        assert_eq!(extents(&found), extents(&model.series(ALL)));
    }
}

/// What opening with other options would cost.
fn losses(backend: &MemoryBackend, options: &Options, now_ms: i64) -> Vec<Loss> {
    let store = open(backend, options.clone());
    store.losses(now_ms).unwrap()
}

#[test]
fn what_a_change_of_the_tiers_costs_is_told_before_it_leaves() {
    let backend = MemoryBackend::new();
    let (store, world, _) = filled(&backend, tiered(), 60);
    let now_ms = world.end_ms;
    assert_eq!(store.losses(now_ms).unwrap(), [], "nothing is known of a time before");
    store.note_tiers().unwrap();
    drop(store);
    let check = |options: &Options, expected: &[(i64, bool, Option<i64>)]| {
        let found = losses(&backend, options, now_ms);
        let told: Vec<_> = found.iter().map(|l| (l.resolution_ms, l.is_tier_gone, l.left_ms)).collect();
        assert_eq!(told, expected, "{found:?}");
        assert!(found.iter().all(|loss| loss.blocks > 0 && loss.bytes > 0 && loss.from_ms < loss.until_ms));
    };
    let [fine, coarse] = STEPS_MS;
    check(&tiered(), &[]);
    check(&Options { retention_ms: 20 * SPAN_MS, ..tiered() }, &[]);
    check(&Options { retention_ms: 4 * SPAN_MS, ..tiered() }, &[(0, false, Some(fine))]);
    let tiers = tiered().tiers;
    // The coarse one is gone, and then all of them.
    check(&Options { tiers: vec![tiers[0]], ..tiered() }, &[(coarse, true, None)]);
    check(&Options { tiers: vec![], ..tiered() }, &[(fine, true, None), (coarse, true, None)]);
    check(&Options { tiers: vec![tiers[1]], ..tiered() }, &[(fine, true, Some(coarse))]);
    // Windows of another length are windows.
    let before = backend.files().len();
    let store = open(&backend, Options { tiers: vec![tiers[1]], ..tiered() });
    assert_eq!(backend.files().len(), before, "nothing has left yet");
    store.note_tiers().unwrap();
    store.maintain(now_ms).unwrap();
    assert!(backend.files().len() < before, "who agreed has it dropped");
    drop(store);
    check(&Options { tiers: vec![tiers[1]], ..tiered() }, &[]);
}

#[test]
fn a_value_is_found_at_any_time_where_only_coarse_steps_are_left() {
    let backend = MemoryBackend::new();
    let (store, ..) = filled(&backend, tiered(), 60);
    let options = query::Options { lookback_ms: WINDOW_MS, ..query::Options::default() };
    let engine = query::Engine::new(std::sync::Arc::new(store.store), options);
    let count =
        |at_ms| match engine.instant("count(count_over_time({host=~\".+\"}[200s]))", at_ms).unwrap().value {
            query::Value::Vector(points) => points.len(),
            other => panic!("{other:?}"),
        };
    let at_ms = START_MS + 5 * STEP_MS + 3 * WINDOW_MS;
    assert_eq!(count(at_ms), 1);
    let value = engine.instant("{host=~\".+\"}", at_ms).unwrap().value;
    assert!(matches!(value, query::Value::Vector(points) if !points.is_empty()));
}

/// `cargo test --test store -- --ignored --nocapture bytes_of_each_tier`
#[test]
#[ignore = "prints figures"]
fn bytes_of_each_tier() {
    let backend = MemoryBackend::new();
    let tier = |resolution_ms, days: i64| Tier { resolution_ms, retention_ms: days * 86_400_000 };
    let options = Options::new("/data").with_tiers(vec![tier(60_000, 30), tier(900_000, 730)]);
    filled(&backend, options, 8 * 86_400_000 / SPAN_MS);
    for (name, points_a_day) in [("0", 8_640.0), ("1m", 1_440.0), ("15m", 96.0)] {
        let files = backend.files();
        let blocks =
            files.iter().filter(|(path, _)| path.display().to_string().contains(&format!("block-{name}-")));
        let (blocks, bytes) = blocks.fold((0, 0), |(n, bytes), (_, file)| (n + 1, bytes + file.len()));
        println!("{name}: {blocks} blocks, {bytes} bytes; a series of a day has {points_a_day} points");
    }
}
