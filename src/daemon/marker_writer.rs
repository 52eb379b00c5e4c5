//! The thread that makes events durable: what came in is written once a second,
//! in one commit. When the disk fails, it is tried again with the next.

use crate::clock::Clock;
use crate::model::Marker;
use crate::store::state::StateStore;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// Markers that may wait to be written; further events are limited.
pub const WAITING_MAX: usize = 1024;
const INTERVAL: Duration = Duration::from_secs(1);

/// See the module's head.
pub struct MarkerWriter {
    pub store: Arc<StateStore>,
    pub clock: Arc<dyn Clock>,
    pub waiting: mpsc::Receiver<Marker>,
    /// Older markers go.
    pub retention_ms: i64,
}

impl MarkerWriter {
    /// Runs until the other end of `stop` is dropped; what waits then is written.
    pub fn run(self, stop: &mpsc::Receiver<()>) {
        let mut unwritten: Vec<Marker> = Vec::new();
        loop {
            let stopped = !matches!(stop.recv_timeout(INTERVAL), Err(RecvTimeoutError::Timeout));
            // While none can be written the channel fills, and says so to its senders.
            let room = WAITING_MAX - unwritten.len();
            unwritten.extend(self.waiting.try_iter().take(room));
            if !unwritten.is_empty() {
                match self.store.save_markers(&unwritten, self.clock.now_ms() - self.retention_ms) {
                    Ok(()) => unwritten.clear(),
                    Err(error) => {
                        tracing::error!(%error, markers = unwritten.len(), "events are not written yet");
                    }
                }
            }
            if stopped {
                return;
            }
        }
    }
}
