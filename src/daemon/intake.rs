//! What came in since the start, for the page of a fresh start: lines, rejects,
//! and what the kernel dropped. Reads the books; keeps none.

use super::kernel_drops::Watched;
use crate::http::page::{Dropped, Intake};
use crate::ingest::Address;
use crate::protocol::Reject;
use crate::telemetry::{Counter, Telemetry};
use std::sync::Arc;

/// What came in since the start.
pub fn intake(telemetry: &Telemetry, addresses: &[Address], watched: &[Arc<Watched>], now_ms: i64) -> Intake {
    let rejected =
        Reject::ALL.iter().map(|reject| (*reject, telemetry.lines_rejected[*reject as usize].value()));
    let udp = addresses.iter().filter_map(|address| match address {
        Address::Udp(address) => Some(address.to_string()),
        _ => None,
    });
    let dropped = watched.iter().map(|watched| Dropped {
        listener: watched.books.address.clone(),
        packets: watched.recent(now_ms),
        receive_buffer_bytes: watched.books.receive_buffer_bytes.value() as u64 / 2,
    });
    Intake {
        received: telemetry.lines_received.iter().map(Counter::value).sum(),
        rejected: rejected
            .filter(|(_, lines)| *lines > 0)
            .map(|(reject, lines)| (reject.explanation().to_owned(), lines))
            .collect(),
        udp: udp.collect(),
        dropped: dropped.filter(|dropped| dropped.packets > 0).collect(),
    }
}
