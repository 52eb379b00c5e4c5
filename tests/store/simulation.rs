//! Many short lives of one directory: random windows, upkeep, faults of the
//! disk, kills and power cuts, each life going on where the last one ended.
//!
//! `STATSDECK_SEEDS=10000 cargo test --test store simulation` for a long run.

use crate::world::{ALL, Dice, Model, START_MS, TestStore, World, dump, options, read};
use statsdeck::store::MemoryBackend;
use statsdeck::store::memory::Fault;

#[test]
fn nothing_acknowledged_is_lost_over_many_lives() {
    let seeds = std::env::var("STATSDECK_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(150);
    for seed in 1..=seeds {
        simulate(seed);
    }
}

fn simulate(seed: u64) {
    let mut dice = Dice::new(seed);
    let mut backend = MemoryBackend::new();
    let mut world = World::new(seed, 6);
    let mut possible = vec![Model::default()];
    for life in 0..6 {
        let case = format!("seed {seed}, life {life}");
        if dice.roll(3) > 0 {
            let fault = [Fault::Fail, Fault::Tear, Fault::Deny][dice.roll(3) as usize];
            backend.fail_at(backend.operations() + dice.roll(60), fault, dice.roll(2) == 0);
        }
        if let Ok((store, recovered)) = TestStore::open(options(), backend.clone(), START_MS) {
            let found = dump(&read(&store, ALL));
            let position = possible.iter().position(|model| dump(&model.series(ALL)) == found);
            let position = position.unwrap_or_else(|| {
                panic!("{case}: expected\n{}\nfound\n{found}", dump(&possible[0].series(ALL)))
            });
            let mut model = possible.swap_remove(position);
            assert_eq!(recovered.last_end_ms, model.last_end_ms, "{case}");
            let stats = store.stats();
            assert_eq!(stats.frames_lost + stats.blocks_lost + stats.chunks_lost, 0, "{case}");
            world = world.successor();
            possible = live(&store, &mut dice, &mut world, &mut model);
            let last = dump(&possible[0].series(ALL));
            assert_eq!(dump(&read(&store, ALL)), last, "{case}: while it lives");
        }
        backend.heal();
        // Killed, or without power.
        if dice.roll(2) == 0 {
            backend = backend.crashed(dice.roll(1 << 40));
        }
    }
}

/// Returns what the next life may find: all that was acknowledged, or the
/// window in flight besides.
fn live(store: &TestStore, dice: &mut Dice, world: &mut World, model: &mut Model) -> Vec<Model> {
    for _ in 0..dice.roll(30) {
        let batch = world.window(if dice.roll(12) == 0 { dice.roll(15) as i64 } else { 0 });
        if store.append(&batch).is_err() && store.append(&batch).is_err() {
            let mut more = model.clone();
            more.apply(&batch);
            return vec![model.clone(), more];
        }
        model.apply(&batch);
        if dice.roll(4) == 0 {
            let _ = store.maintain(batch.end_ms);
        }
    }
    vec![model.clone()]
}
