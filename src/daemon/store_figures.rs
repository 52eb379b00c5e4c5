//! The store's figures among our own series.

use crate::store::Store;
use crate::telemetry::{Family, FamilyKind, Telemetry};
use std::sync::Arc;

/// Adds them.
pub fn add(telemetry: &Telemetry, store: &Arc<Store>) {
    let store = store.clone();
    telemetry.add_figures(move || {
        let stats = store.stats();
        let family =
            |name, kind, help, value: u64| Family { name, kind, help, samples: vec![(vec![], value as f64)] };
        use FamilyKind::{Counter, Gauge};
        vec![
            family("statsdeck_store_wal_bytes", Gauge, "Size of the write-ahead log.", stats.wal_bytes),
            family("statsdeck_store_block_bytes", Gauge, "Size of the blocks.", stats.block_bytes),
            family("statsdeck_store_blocks", Gauge, "Blocks on disk.", stats.blocks),
            family("statsdeck_store_series", Gauge, "Series that have points anywhere.", stats.series),
            family(
                "statsdeck_store_head_bytes",
                Gauge,
                "Memory of the points that are not in a block yet.",
                stats.head_bytes,
            ),
            family(
                "statsdeck_store_frames_lost_total",
                Counter,
                "Acknowledged windows that could not be read at the start.",
                stats.frames_lost,
            ),
            family(
                "statsdeck_store_tails_cut_total",
                Counter,
                "Unfinished writes cut away at the start.",
                stats.tails_cut,
            ),
            family(
                "statsdeck_store_blocks_lost_total",
                Counter,
                "Blocks that could not be opened; their files are left alone.",
                stats.blocks_lost,
            ),
            family(
                "statsdeck_store_chunks_lost_total",
                Counter,
                "Chunks that could not be read.",
                stats.chunks_lost,
            ),
            family(
                "statsdeck_store_samples_refused_total",
                Counter,
                "Samples that had no place in the store.",
                stats.samples_refused,
            ),
        ]
    });
}
