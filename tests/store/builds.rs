//! Building coarser blocks beside what goes wrong: damaged files, a disk that
//! fails in one place, a daemon that is to stop.

use crate::answers::STEP_MS;
use crate::world::{SPAN_MS, START_MS, TestStore, WINDOW_MS, World, options};
use statsdeck::store::repair::repair;
use statsdeck::store::{Maintained, MemoryBackend, Options, Tier};
use std::cell::Cell;
use std::path::{Path, PathBuf};

const SPANS: i64 = 12;

/// Windows for two spans, coarse steps for ever.
fn tiered() -> Options {
    let tiers = vec![Tier { resolution_ms: STEP_MS, retention_ms: 1_000_000 * SPAN_MS }];
    Options { retention_ms: 2 * SPAN_MS, ..options() }.with_tiers(tiers)
}

fn open(backend: &MemoryBackend) -> TestStore {
    TestStore::open(tiered(), backend.clone(), START_MS).expect("the store opens").0
}

/// Windows of full spans in blocks, of which nothing is built yet.
fn unbuilt(backend: &MemoryBackend) -> (TestStore, i64) {
    let fine = Options { tiers: Vec::new(), retention_ms: 1000 * SPAN_MS, ..tiered() };
    let (store, _) = TestStore::open(fine, backend.clone(), START_MS).unwrap();
    let mut world = World::new(3, 8);
    (0..SPANS * SPAN_MS / WINDOW_MS).for_each(|_| store.append(&world.window(0)).unwrap());
    store.maintain(world.end_ms).unwrap();
    drop(store);
    (open(backend), world.end_ms)
}

fn blocks(backend: &MemoryBackend, step: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let is_of = |path: &Path| {
        let name = path.strip_prefix("/data").unwrap().to_str().unwrap();
        name.starts_with(step) && name.ends_with(".sd")
    };
    backend.files().into_iter().filter(|(path, _)| is_of(path)).collect()
}

#[test]
fn a_damaged_coarse_block_is_left_alone_until_it_is_repaired() {
    let backend = MemoryBackend::new();
    let (store, end_ms) = unbuilt(&backend);
    assert!(store.maintain(end_ms).unwrap().blocks_built > 0);
    let fine = blocks(&backend, "block-0-");
    drop(store);
    let (path, sound) = blocks(&backend, "block-1m40s-").remove(0);
    let mut bytes = sound.clone();
    *bytes.last_mut().unwrap() ^= 0x40;
    backend.put(&path, &bytes);

    let store = open(&backend);
    while store.maintain(end_ms).unwrap() != Maintained::default() {}
    let others = blocks(&backend, "block-1m40s-").len();
    assert!(others as i64 >= SPANS - 3, "others are built: {others}");
    let kept = blocks(&backend, "block-1m40s-").remove(0);
    assert!(kept == (path.clone(), bytes), "not a byte of it is another one");
    assert!(blocks(&backend, "block-0-").first() == fine.first(), "what it was built of stays");
    assert_eq!(store.stats().blocks_lost, 1);
    drop(store);

    repair(&backend, Path::new("/data"), |_| {}).unwrap();
    let store = open(&backend);
    while store.maintain(end_ms).unwrap() != Maintained::default() {}
    let again = blocks(&backend, "block-1m40s-").remove(0);
    assert!(again == (path, sound), "it is built again");
    assert_eq!(store.stats().blocks_lost, 0);
}

#[test]
fn a_build_that_fails_is_tried_less_and_less_often_and_holds_up_nothing_else() {
    let backend = MemoryBackend::new();
    let (store, end_ms) = unbuilt(&backend);
    let (bad, bytes) = blocks(&backend, "block-0-").remove(0);
    // It opens, and what is in it cannot be read: there are fewer bytes than it had.
    backend.put(&bad, &bytes[..20]);
    let mut failed = Vec::new();
    for upkeep in 1..40 {
        let done = store.maintain(end_ms).expect("the rest of the upkeep is done");
        failed.extend((done.builds_failed > 0).then_some(upkeep));
    }
    assert_eq!(failed, [1, 3, 7, 15, 31]);
    assert_eq!(blocks(&backend, "block-1m40s-").len() as i64, SPANS - 1, "all others are built");
    let left = blocks(&backend, "block-0-");
    assert!(left.len() <= 4 && left[0].0 == bad, "what is too old left, but for the source: {}", left.len());
    backend.put(&bad, &bytes);
    let built = (0..64).map(|_| store.maintain(end_ms).unwrap().blocks_built).sum::<usize>();
    assert_eq!((built, blocks(&backend, "block-1m40s-").len() as i64), (1, SPANS));
}

#[test]
fn what_was_done_and_what_failed_is_told_beside_an_error() {
    let backend = MemoryBackend::new();
    let (store, end_ms) = unbuilt(&backend);
    let mut fine = blocks(&backend, "block-0-");
    let (bad, bytes) = fine.remove(0);
    backend.put(&bad, &bytes[..20]);
    backend.fail_removal_of(&fine[0].0);
    let mut errors = 0;
    let mut all = Maintained::default();
    for _ in 0..6 {
        let (done, whole) = store.maintain_until(end_ms, &|| false);
        errors += usize::from(whole.is_err());
        all.blocks_built += done.blocks_built;
        all.blocks_dropped += done.blocks_dropped;
        all.builds_failed += done.builds_failed;
    }
    assert!(errors > 0 && all.blocks_built > 0 && all.blocks_dropped > 0, "{errors} {all:?}");
    assert_eq!(all.builds_failed, 2, "tried at the first upkeep and the third");
}

#[test]
fn a_block_that_coarser_ones_have_a_part_of_does_not_go_first_for_want_of_room() {
    let backend = MemoryBackend::new();
    let tier = |steps, spans| Tier { resolution_ms: steps * WINDOW_MS, retention_ms: spans * SPAN_MS };
    let kept = |spans, tiers| Options { retention_ms: spans * SPAN_MS, ..options() }.with_tiers(tiers);
    let open = |options| TestStore::open(options, backend.clone(), START_MS).unwrap().0;
    let settle =
        |store: &TestStore, now_ms| while store.maintain(now_ms).unwrap() != Maintained::default() {};
    // Blocks of steps of 50 s end at every fourth span.
    let store = open(kept(8, vec![tier(5, 1000)]));
    let mut world = World::new(3, 8);
    (0..22 * SPAN_MS / WINDOW_MS).for_each(|_| store.append(&world.window(0)).unwrap());
    settle(&store, world.end_ms);
    drop(store);
    // Those of 100 s would end at spans 1, 10 and 19; the second is damaged.
    let at = |step: &str, span: i64| {
        let end_ms = START_MS + span * SPAN_MS;
        PathBuf::from(format!("/data/block-{step}-{end_ms:015}.sd"))
    };
    backend.put(&at("1m40s", 10), b"damaged");
    let both = kept(6, vec![tier(5, 20), tier(10, 1000)]);
    let store = open(both.clone());
    settle(&store, world.end_ms);
    let is_there = |path: PathBuf| backend.files().iter().any(|(there, _)| *there == path);
    assert!(is_there(at("1m40s", 1)) && is_there(at("1m40s", 19)) && is_there(at("50s", 12)));
    let end_of = |path: &Path| path.to_str().and_then(|path| path.rsplit('-').next()).map(str::to_owned);
    let newest = blocks(&backend, "block-50s-").pop().and_then(|(path, _)| end_of(&path));
    let windows = blocks(&backend, "block-0-").into_iter().filter(|(path, _)| end_of(path) <= newest);
    let windows: usize = windows.map(|(_, bytes)| bytes.len()).sum();
    let bytes = store.stats().block_bytes + store.stats().wal_bytes;
    drop(store);

    let store = open(both.with_max_bytes(Some(bytes - windows as u64 - 100)));
    store.maintain(world.end_ms).unwrap();
    assert!(!is_there(at("50s", 16)), "steps of 100 s have all of it");
    assert!(is_there(at("50s", 12)), "nothing else has the first half of it");
}

#[test]
fn a_stop_ends_a_build_between_chunks_and_the_next_upkeep_does_it_all() {
    let asked = Cell::new(0);
    let mut at = 0;
    loop {
        let backend = MemoryBackend::new();
        let (store, end_ms) = unbuilt(&backend);
        asked.set(0);
        let stop = || {
            asked.set(asked.get() + 1);
            asked.get() > at
        };
        let done = store.maintain_until(end_ms, &stop).0;
        let names: Vec<_> = backend.files().into_iter().map(|(path, _)| path).collect();
        assert!(!names.iter().any(|path| path.extension() == Some("tmp".as_ref())), "{names:?}");
        assert!(asked.get() <= at + 1, "stopped at once: asked {} times", asked.get());
        if asked.get() <= at {
            assert_eq!(done.blocks_built, 4, "it was not stopped");
            break;
        }
        while store.maintain(end_ms).unwrap() != Maintained::default() {}
        assert_eq!(blocks(&backend, "block-1m40s-").len() as i64, SPANS);
        at = at * 2 + 1;
    }
    assert!(at > 30, "asked {at} times");
}
