//! The past of before, written into a store that has tiers already: it goes
//! into each of them, whatever was built before.

use crate::world::{Model, SPAN_MS, START_MS, TestStore, WINDOW_MS, World, options};
use statsdeck::model::label::NAME;
use statsdeck::model::{Labels, Matcher, MetricType, Points, Sample, Select, SeriesId, SeriesKey, TimeRange};
use statsdeck::store::backfill::{Part, Place};
use statsdeck::store::memory::Fault;
use statsdeck::store::{Error, Maintained, MemoryBackend, Options, Store, Tier};
use std::path::Path;

const STEPS_MS: [i64; 2] = [2 * WINDOW_MS, 10 * WINDOW_MS];

fn tiered() -> Options {
    let tier = |resolution_ms, spans| Tier { resolution_ms, retention_ms: spans * SPAN_MS };
    let tiers = vec![tier(STEPS_MS[0], 24), tier(STEPS_MS[1], 10_000)];
    Options { retention_ms: 8 * SPAN_MS, ..options() }.with_tiers(tiers)
}

fn register(store: &TestStore, name: &str) -> SeriesId {
    let key = SeriesKey { labels: Labels::of_name(name), metric_type: MetricType::Gauge };
    store.catalogue.register(key).unwrap()
}

/// A span's points: one a window, its value the number of the window.
fn points(span_end_ms: i64) -> Vec<Sample> {
    let times = (span_end_ms - SPAN_MS + WINDOW_MS..=span_end_ms).step_by(WINDOW_MS as usize);
    times.map(|timestamp_ms| Sample { timestamp_ms, value: (timestamp_ms / WINDOW_MS) as f64 }).collect()
}

fn fill(store: &Store, id: SeriesId, span_end_ms: i64) {
    let mut parts = vec![Part::from([(id, points(span_end_ms))])];
    store.backfill(span_end_ms, || Ok::<_, Error>(parts.pop())).unwrap();
}

fn settle(store: &Store, now_ms: i64) {
    while store.maintain(now_ms).unwrap() != Maintained::default() {}
}

fn read(store: &Store, step_ms: i64) -> Vec<Sample> {
    let request = Select {
        matchers: &[Matcher::equal(NAME, "old")],
        range: TimeRange { start_ms: i64::MIN, end_ms: i64::MAX },
        step_ms,
        max_series: 1,
        max_points: usize::MAX,
    };
    let Some(series) = store.select(&request).unwrap().pop() else { return Vec::new() };
    let Points::Floats(samples) = series.points else { panic!("floats") };
    samples
}

/// A store with `spans` spans of windows, all of which are in its tiers.
fn filled(backend: &MemoryBackend, spans: i64) -> (TestStore, i64) {
    let store = TestStore::open(tiered(), backend.clone(), START_MS).expect("the store opens").0;
    let (mut world, mut model) = (World::new(3, 4), Model::default());
    for _ in 0..spans * SPAN_MS / WINDOW_MS {
        let window = world.window(0);
        store.append(&window).unwrap();
        model.apply(&window);
    }
    settle(&store, world.end_ms);
    (store, world.end_ms)
}

#[test]
fn a_span_whose_block_is_damaged_takes_nothing() {
    let backend = MemoryBackend::new();
    let (store, now_ms) = filled(&backend, 4);
    let end_ms = store.span_end(START_MS + 1) - 10 * SPAN_MS;
    assert_eq!(store.place(end_ms, now_ms), Place::Free);
    drop(store);
    backend.put(Path::new(&format!("/data/block-0-{end_ms:015}.sd")), b"damaged");
    let (store, _) = TestStore::open(tiered(), backend, START_MS).unwrap();
    assert_eq!(store.place(end_ms, now_ms), Place::Taken);
}

#[test]
fn the_past_before_all_there_is_goes_into_every_tier() {
    let backend = MemoryBackend::new();
    let (store, now_ms) = filled(&backend, 40);
    let id = register(&store, "old");
    // Of 20 spans, with a hole; half of them older than the second tier.
    let first_ms = store.span_end(START_MS + 1) - 30 * SPAN_MS;
    let ends: Vec<i64> = (0..20).filter(|at| *at != 13).map(|at| first_ms + at * SPAN_MS).collect();
    for end_ms in &ends {
        assert_eq!(store.place(*end_ms, now_ms), Place::Free);
        fill(&store, id, *end_ms);
        assert_eq!(store.place(*end_ms, now_ms), Place::Taken);
    }
    settle(&store, now_ms);
    let check = |store: &Store, case: &str| {
        let samples = read(store, STEPS_MS[1]);
        let expected = ends.iter().flat_map(|end_ms| points(*end_ms));
        let expected = expected.filter(|sample| sample.timestamp_ms % STEPS_MS[1] == 0);
        assert_eq!(samples, expected.collect::<Vec<_>>(), "{case}");
    };
    check(&store, "built");
    // The windows are older than windows are kept.
    let request = TimeRange { start_ms: first_ms - SPAN_MS, end_ms: first_ms + 20 * SPAN_MS };
    assert_eq!(store.resolution_ms(request), STEPS_MS[1]);
    // The hole takes more, and what is built does not.
    let hole_ms = first_ms + 13 * SPAN_MS;
    assert_eq!(store.place(hole_ms, now_ms), Place::Free);
    assert!(ends.iter().all(|end_ms| store.place(*end_ms, now_ms) == Place::Taken));
    drop(store);
    let store = TestStore::open(tiered(), backend.clone(), now_ms).expect("the store opens").0;
    check(&store, "after a start");
    settle(&store, now_ms);
    check(&store, "and its upkeep");
}

#[test]
fn what_is_in_steps_takes_no_windows_any_more_though_it_has_none_of_the_time() {
    let backend = MemoryBackend::new();
    let store = TestStore::open(tiered(), backend.clone(), START_MS).expect("the store opens").0;
    let mut world = World::new(3, 4);
    // A stop for some spans, within the span of a block of steps.
    let mut window = |spans: i64, wait_ms: i64| {
        world.end_ms += wait_ms;
        for _ in 0..spans * SPAN_MS / WINDOW_MS {
            store.append(&world.window(0)).unwrap();
        }
        world.end_ms
    };
    let stopped_ms = window(2, 0);
    let now_ms = window(40, 3 * SPAN_MS);
    settle(&store, now_ms);
    let gap_ms = store.span_end(stopped_ms + SPAN_MS + 1);
    assert_eq!(store.place(gap_ms, now_ms), Place::Taken);
}

#[test]
fn a_full_disk_costs_the_block_that_is_being_written_and_nothing_else() {
    for fault in [Fault::Fail, Fault::Tear] {
        for position in 0.. {
            let backend = MemoryBackend::new();
            let (store, now_ms) = filled(&backend, 14);
            let id = register(&store, "old");
            let end_ms = store.span_end(START_MS + 1) - 5 * SPAN_MS;
            fill(&store, id, end_ms - SPAN_MS);
            let before = read(&store, 0);
            backend.fail_at(backend.operations() + position, fault, true);
            let mut parts = vec![Part::from([(id, points(end_ms))])];
            let written = store.backfill(end_ms, || Ok::<_, Error>(parts.pop()));
            backend.heal();
            if written.is_ok() {
                assert!(position > 3, "some of it fails");
                break;
            }
            assert_eq!(read(&store, 0), before, "{position}");
            drop(store);
            // Also when all stops there.
            let store = TestStore::open(tiered(), backend.clone(), now_ms).expect("the store opens").0;
            if store.place(end_ms, now_ms) == Place::Free {
                assert_eq!(read(&store, 0), before, "{position}");
                fill(&store, id, end_ms);
            }
            let expected = [points(end_ms - SPAN_MS), points(end_ms)].concat();
            assert_eq!(read(&store, 0), expected, "{position}");
            settle(&store, now_ms);
        }
    }
}
