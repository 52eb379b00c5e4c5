//! The thread that keeps the house: complete spans become blocks, blocks become
//! coarser ones, old blocks and forgotten series go.

use crate::aggregate::{Registry, Windows};
use crate::clock::Clock;
use crate::lock::lock;
use crate::store::{self, Store};
use crate::telemetry::Telemetry;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

/// How often the store tidies up. A build may take longer: the next one waits.
const INTERVAL: Duration = Duration::from_secs(60);
/// But this often within the span of a block, where that is short.
const PER_SPAN: u32 = 4;

/// See the module's head.
pub struct Keeper {
    pub clock: Arc<dyn Clock>,
    pub store: Arc<Store>,
    pub windows: Arc<Mutex<Windows>>,
    pub registry: Arc<Registry>,
    pub telemetry: Arc<Telemetry>,
    pub retention_ms: i64,
    pub block_span: Duration,
}

impl Keeper {
    /// Runs until the other end of `stop` is dropped.
    pub fn run(self, stop: &mpsc::Receiver<()>) {
        loop {
            self.maintain(&|| !matches!(stop.try_recv(), Err(mpsc::TryRecvError::Empty)));
            match stop.recv_timeout(INTERVAL.min(self.block_span / PER_SPAN)) {
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn maintain(&self, stop: &dyn Fn() -> bool) {
        let now_ms = self.clock.now_ms();
        let (done, whole) = self.store.maintain_until(now_ms, stop);
        if done != store::Maintained::default() {
            self.telemetry.store_errors.add(done.builds_failed as u64);
            tracing::info!(
                written = done.blocks_written,
                built = done.blocks_built,
                failed = done.builds_failed,
                dropped = done.blocks_dropped,
                "blocks"
            );
        }
        if let Err(error) = whole {
            self.telemetry.store_errors.add(1);
            tracing::error!(%error, "the store could not tidy up; will be tried again");
        }
        let present = self.store.present();
        let silent_since_ms = now_ms - self.retention_ms;
        lock(&self.windows).forget(silent_since_ms, |id| present.has(id), &self.registry);
        self.registry.catalogue().settle();
    }
}
