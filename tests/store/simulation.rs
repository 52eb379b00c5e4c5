//! Many short lives of one directory, one after the other: random windows of
//! all types, late values, a clock that jumps, every fault of a disk, upkeep
//! with tiers, retention and room that change from life to life, kills and power
//! cuts. After each step the store knows what a plain model knows.
//!
//! `STATSDECK_SEEDS=10000 cargo test --release --test store simulation` for a
//! long run, `STATSDECK_SEED=17` for one seed.

use crate::life::Run;
use crate::world::{Dice, SPAN_MS, WINDOW_MS, options};
use statsdeck::store::memory::Fault;
use statsdeck::store::{Options, Tier};
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};

/// So many failing seeds are told, and end a run.
const FAILED_MAX: usize = 20;

thread_local! {
    /// Whether a seed has failed: what others meet is long, too.
    static IS_TOLD: Cell<bool> = const { Cell::new(false) };
}

#[test]
fn nothing_acknowledged_is_lost_over_many_lives() {
    let seeds = match (number("STATSDECK_SEED"), number("STATSDECK_SEEDS")) {
        (Some(seed), _) => seed..=seed,
        (None, seeds) => 1..=seeds.unwrap_or(300),
    };
    let told = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if !IS_TOLD.get() {
            told(panic)
        }
    }));
    let mut failed = Vec::new();
    for seed in seeds {
        if catch_unwind(AssertUnwindSafe(|| Run::new(seed).run())).is_err() {
            failed.push(seed);
            IS_TOLD.set(true);
        }
        if failed.len() == FAILED_MAX {
            break;
        }
    }
    IS_TOLD.set(false);
    if let Some(first) = failed.first() {
        panic!(
            "seeds {failed:?} fail; what the first meets is above\n\
             again: STATSDECK_SEED={first} cargo test --test store simulation"
        );
    }
}

/// Every write, sync, new name and read of a run with tiers fails once, or is the
/// last one before the power goes. Without `STATSDECK_SEEDS` each meets one of the
/// faults, with it all of them.
#[test]
fn a_fault_at_any_place_of_a_run_with_tiers_loses_nothing() {
    let tier = |steps, spans| Tier { resolution_ms: steps * WINDOW_MS, retention_ms: spans * SPAN_MS };
    let windows = Options { retention_ms: 2 * SPAN_MS, ..options() };
    let options = windows.with_tiers(vec![tier(2, 3), tier(10, 1000)]).with_lateness(WINDOW_MS);
    let (operations, reads) = Run::new(3).scripted(&options, |_| {});
    assert!(operations > 150 && reads > 500, "{operations} {reads}");
    let all = number("STATSDECK_SEEDS").is_some();
    for at in 0..operations {
        for (number, fault) in Fault::ALL.into_iter().enumerate() {
            for for_good in [false, true] {
                let turn = (number * 2 + usize::from(for_good)) as u64;
                if all || at % 8 == turn {
                    Run::new(3).scripted(&options, |backend| backend.fail_at(at, fault, for_good));
                }
            }
        }
    }
    for at in (0..reads).step_by(if all { 1 } else { 7 }) {
        Run::new(3).scripted(&options, |backend| backend.fail_read_at(at, false));
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Tiers, retentions and room as a user might set them. Steps that are no
/// multiples of others do not come together: of those nothing is built.
pub fn random_options(seed: u64, dice: &mut Dice) -> Options {
    let both = [[2, 5][seed as usize % 2], 10];
    let steps = [&both[..0], &both, &both[1..], &both, &both[..1]][dice.roll(5) as usize];
    let mut retention_ms = (3 + dice.roll(8) as i64) * SPAN_MS;
    let windows = Options { retention_ms, ..options() };
    let mut tiers = Vec::new();
    for step in steps {
        retention_ms *= [1, 3, 1000][dice.roll(3) as usize];
        tiers.push(Tier { resolution_ms: step * WINDOW_MS, retention_ms });
    }
    let max_bytes = (dice.roll(4) == 0).then(|| 20_000 + dice.roll(40_000));
    windows.with_tiers(tiers).with_max_bytes(max_bytes)
}
