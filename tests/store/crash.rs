//! Every change of the disk fails once, or is the last one before the power
//! goes: what was acknowledged is there, and at most the one window in flight
//! besides.

use crate::world::{ALL, Model, START_MS, TestStore, Window, World, dump, open, options, read};
use statsdeck::store::MemoryBackend;
use statsdeck::store::memory::Fault;

const WINDOWS: usize = 24;

/// What the writer believes.
struct Told {
    acknowledged: Model,
    in_flight: Option<Window>,
    world: World,
}

/// Writes windows, retries each once, stops at the first that stays refused.
fn run(store: &TestStore, mut world: World) -> Told {
    let mut told = Told { acknowledged: Model::default(), in_flight: None, world: world.clone() };
    for at in 0..WINDOWS {
        let batch = world.window(i64::from(at == 17) * 4);
        if store.append(&batch).is_err() && store.append(&batch).is_err() {
            told.in_flight = Some(batch);
            break;
        }
        told.acknowledged.apply(&batch);
        if at % 5 == 4 {
            // Upkeep may fail; the data must not care.
            let _ = store.maintain(batch.end_ms);
        }
    }
    told.world = world;
    told
}

fn check(after: &MemoryBackend, told: &Told, case: &str) {
    let (store, recovered) = open(after);
    let found = dump(&read(&store, ALL));
    let mut possible = vec![told.acknowledged.clone()];
    if let Some(batch) = &told.in_flight {
        let mut more = told.acknowledged.clone();
        more.apply(batch);
        possible.push(more);
    }
    let matching = possible.into_iter().find(|model| dump(&model.series(ALL)) == found);
    let mut model = matching.unwrap_or_else(|| {
        panic!("{case}: acknowledged\n{}\nfound\n{found}", dump(&told.acknowledged.series(ALL)))
    });
    assert_eq!(recovered.last_end_ms, model.last_end_ms, "{case}");
    assert_eq!(store.stats().frames_lost, 0, "{case}: nothing acknowledged is damaged");
    assert_eq!(store.stats().blocks_lost, 0, "{case}");

    // And it goes on from there.
    let mut world = told.world.successor();
    let batch = world.window(1);
    store.append(&batch).unwrap_or_else(|error| panic!("{case}: {error}"));
    model.apply(&batch);
    store.maintain(batch.end_ms).unwrap_or_else(|error| panic!("{case}: {error}"));
    drop(store);
    let (store, _) = open(after);
    assert_eq!(dump(&read(&store, ALL)), dump(&model.series(ALL)), "{case}: after one more window");
}

/// Operations of a run without any fault.
fn operations() -> u64 {
    let backend = MemoryBackend::new();
    let (store, _) = open(&backend);
    let told = run(&store, World::new(3, 8));
    assert!(told.in_flight.is_none());
    assert!(store.stats().blocks >= 2);
    backend.operations()
}

#[test]
fn a_power_cut_at_any_moment_loses_nothing_acknowledged() {
    for at in 0..=operations() {
        for fault in Fault::ALL {
            for seed in 0..3 {
                let case = format!("power cut at {at}, {fault:?}, seed {seed}");
                let backend = MemoryBackend::new();
                backend.fail_at(at, fault, true);
                // At first it may not even open.
                let opened = TestStore::open(options(), backend.clone(), START_MS);
                let Ok((store, _)) = opened else { continue };
                let told = run(&store, World::new(3, 8));
                check(&backend.crashed(seed), &told, &case);
            }
        }
    }
}

#[test]
fn a_single_fault_at_any_moment_passes_with_a_retry() {
    for at in 0..=operations() {
        for fault in Fault::ALL {
            let case = format!("fault at {at}, {fault:?}");
            let backend = MemoryBackend::new();
            let (store, _) = open(&backend);
            backend.fail_at(at, fault, false);
            let told = run(&store, World::new(3, 8));
            assert!(told.in_flight.is_none(), "{case}: the retry failed too");
            assert_eq!(dump(&read(&store, ALL)), dump(&told.acknowledged.series(ALL)), "{case}");
            check(&backend.crashed(at), &told, &case);
        }
    }
}

#[test]
fn a_fault_while_opening_costs_nothing() {
    let backend = MemoryBackend::new();
    let operations = operations();
    backend.fail_at(operations - 2, Fault::Tear, true);
    let (store, _) = open(&backend);
    let told = run(&store, World::new(3, 8));
    for seed in 0..10 {
        for at in 0..6 {
            let crashed = backend.crashed(seed);
            crashed.fail_at(at, Fault::Fail, true);
            let _ = TestStore::open(options(), crashed.clone(), 0)
                .map(|(store, _)| run(&store, told.world.successor()));
            let again = crashed.crashed(seed + 1);
            let (store, recovered) = open(&again);
            assert!(recovered.last_end_ms >= told.acknowledged.last_end_ms, "seed {seed}, fault {at}");
            assert!(store.stats().frames_lost == 0);
        }
    }
}

/// Nothing says of a file that its sync failed once: a system forgets that it did.
#[test]
fn a_window_whose_sync_failed_and_that_a_start_found_survives_the_power() {
    let (backend, mut world) = (MemoryBackend::new(), World::new(3, 8));
    let (store, _) = open(&backend);
    store.append(&world.window(0)).unwrap();
    backend.fail_at(backend.operations() + 1, Fault::Forget, true);
    let window = world.window(0);
    store.append(&window).unwrap_err();
    drop(store);
    backend.heal();
    let (store, recovered) = open(&backend);
    assert_eq!(recovered.last_end_ms, Some(window.end_ms), "it could be read: now it counts");
    drop(store);
    for seed in 0..20 {
        let (_, again) = open(&backend.crashed(seed));
        assert_eq!(again.last_end_ms, recovered.last_end_ms, "seed {seed}");
    }
}
