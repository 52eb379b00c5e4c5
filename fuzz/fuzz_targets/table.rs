//! Packets, flushes, mappings that come and go, series that are ended and
//! forgotten, within tiny limits or wide ones: the ledger balances, and counters,
//! gauges and timers are what a plain model of the accepted lines says.
//!
//! Input: a byte of switches, then steps, each ended by a NUL byte. The first
//! byte of a step says what it is (see `Step`); most are packets.

#![no_main]

#[path = "table/fixture.rs"]
mod fixture;
#[path = "table/model.rs"]
mod model;

use fixture::{Fixture, Switches};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((switches, steps)) = input.split_first() else { return };
    let mut fixture = Fixture::new(Switches(*switches));
    for step in steps.split(|byte| *byte == 0).take(64) {
        match step {
            // Windows that pass, the first with what has come.
            [b'F', windows @ ..] => (0..1 + windows.len() % 8).for_each(|_| fixture.flush()),
            [b'M', which @ ..] => fixture.set_mapper(which.len()),
            [b'X', ..] => fixture.forget(),
            [b'E', ..] => fixture.end(),
            [b'B', ..] => fixture.set_clock_back(),
            [b'2', packet @ ..] => fixture.packet(1, packet),
            packet => fixture.packet(0, packet),
        }
    }
    fixture.flush();
});
