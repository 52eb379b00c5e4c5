//! From what is on disk to a daemon that goes on where the last one ended.

use super::error::Error;
use super::retention_change;
use crate::aggregate::window::Known;
use crate::aggregate::{Registry, Windows};
use crate::catalogue::Catalogue;
use crate::config::Config;
use crate::exchange::import::SPOOL_DIR;
use crate::exchange::spool;
use crate::store::inspect::is_running;
use crate::store::{self, FsBackend, Recovered, RecoveredSeries, Store};
use crate::telemetry::Telemetry;
use std::sync::Arc;

/// How the store is kept.
pub fn store_options(config: &Config) -> store::Options {
    store::Options::new(&config.data_dir)
        .with_block_span(config.block_span_ms)
        .with_retention(config.tiers.windows_retention_ms)
        .with_tiers(config.tiers.coarser.clone())
        .with_max_bytes(config.max_bytes)
        .with_lateness(config.lateness_ms)
}

/// What is wrong when a daemon has the directory already. Asked where the ports
/// are taken, which is most likely by the same daemon: this says more.
pub(super) fn second_daemon(config: &Config) -> Option<Error> {
    let is_running = is_running(&FsBackend, &config.data_dir).is_ok_and(|is_running| is_running);
    is_running.then(|| store::Error::Locked { dir: config.data_dir.clone() }.into())
}

/// The store as the config wants it, and what it remembers.
///
/// # Errors
///
/// [`Error::Loss`] when tiers or retention were changed such that points would
/// be lost, and nobody said that they may.
pub(super) fn open_store(
    config: &Config,
    catalogue: Arc<Catalogue>,
    now_ms: i64,
) -> Result<(Arc<Store>, Recovered), Error> {
    if config.data_dir.is_file() {
        return Err(Error::DataDir(config.data_dir.clone()));
    }
    let (store, recovered) = Store::open(store_options(config), FsBackend, catalogue, now_ms)?;
    let losses = store.losses(now_ms)?;
    for loss in &losses {
        tracing::warn!("{}", retention_change::describe(loss));
    }
    if !losses.is_empty() && !config.accepts_loss {
        return Err(Error::Loss(retention_change::refusal(&losses)));
    }
    store.note_tiers()?;
    // Nobody imports while the store is ours.
    if let Err(error) = spool::remove(&config.data_dir.join(SPOOL_DIR)) {
        tracing::warn!(%error, "what an import left cannot be removed");
    }
    let stats = store.stats();
    tracing::info!(
        data_dir = %config.data_dir.display(),
        series = recovered.series.len(),
        frames_lost = stats.frames_lost,
        blocks_lost = stats.blocks_lost,
        "store open"
    );
    Ok((Arc::new(store), recovered))
}

/// Windows and registry as the store remembers them.
pub(super) fn resume(
    config: &Config,
    telemetry: &Arc<Telemetry>,
    registry: &Registry,
    recovered: Recovered,
    now_ms: i64,
) -> Windows {
    // What comes from now on is new.
    registry.note_time(now_ms);
    let mut types = registry.catalogue().types().into_iter().peekable();
    // Both ascend by number.
    let known = recovered.series.into_iter().filter_map(|series| {
        while types.next_if(|(id, _)| *id < series.id).is_some() {}
        let (_, metric_type) = types.next_if(|(id, _)| *id == series.id)?;
        let RecoveredSeries { id, last_ms, last, ended } = series;
        Some(Known { id, metric_type, last_ms, last, ended })
    });
    let last_end_ms = recovered.last_end_ms.unwrap_or(now_ms).max(now_ms);
    let has_gap = recovered.last_end_ms.is_some_and(|end_ms| end_ms < last_end_ms);
    let mut windows = Windows::new(config.windows, telemetry.clone(), known.collect(), last_end_ms);
    if has_gap {
        windows = windows.after_gap();
    }
    // Those that ended make room from the first window on.
    registry.note_ended(&windows.ended());
    windows
}
