//! What the dashboard's handlers share, and how they read: off the async
//! threads, a bounded number at a time, each with a limit of time.

use super::makers::Makers;
use crate::clock::Clock;
use crate::dashboard::alerts::AlertRow;
use crate::dashboard::calendar::Calendar;
use crate::dashboard::day_totals::DayTotals;
use crate::dashboard::number;
use crate::dashboard::range::Span;
use crate::dashboard::reading::Reader;
use crate::dashboard::view::View;
use crate::model::Marker;
use crate::query::{Cancel, Engine};
use crate::workers;
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

/// Panels that are read at the same time, of all pages together.
const MAX_READS: usize = 4;
/// Pages that follow the flushes at the same time.
pub const MAX_LISTENERS: usize = 128;
/// How long one panel may take, and how long all of a page together.
const PANEL_LIMIT: Duration = Duration::from_secs(5);
const PAGE_LIMIT: Duration = Duration::from_secs(20);
/// How long a cancelled read gets to say so itself.
const GRACE: Duration = Duration::from_millis(300);

/// What came in since the start, for the page of a fresh start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intake {
    /// Lines received, good and bad.
    pub received: u64,
    /// Lines rejected, by reason.
    pub rejected: Vec<(String, u64)>,
    /// UDP addresses listened on, `host:port`.
    pub udp: Vec<String>,
    /// Sockets of which the kernel dropped packets within the last hour.
    pub dropped: Vec<Dropped>,
}

/// Packets that the kernel dropped within the last hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Such as `udp://127.0.0.1:8125`.
    pub listener: String,
    pub packets: u64,
    /// The receive buffer in force, as one would ask for it.
    pub receive_buffer_bytes: u64,
}

impl Dropped {
    /// What happened, and what to do.
    pub fn words(&self) -> String {
        let packets = if self.packets == 1 { "packet" } else { "packets" };
        let bytes = (self.receive_buffer_bytes * 4).clamp(8 << 20, 1 << 30).next_multiple_of(1 << 20);
        format!(
            "The kernel dropped {} {packets} on {} in the last hour, as the receive buffer was full: they are \
             missing here. For bursts allow a larger one: sysctl -w net.core.rmem_max={bytes}, and \
             receive_buffer = \"{}MiB\" in its [[listen]]; for a steady load set threads there.",
            number::exact(self.packets as f64),
            self.listener,
            bytes >> 20,
        )
    }
}

/// Gives the states of all alerts.
pub type AlertFeed = Arc<dyn Fn() -> Vec<AlertRow> + Send + Sync>;
/// Gives sentences that every page shows at its top.
pub type NoticeFeed = Arc<dyn Fn() -> Vec<String> + Send + Sync>;
/// Gives the newest markers between two times in ms, both included: at most as
/// many as asked for, in the order of time.
pub type MarkerFeed = Arc<dyn Fn(i64, i64, usize) -> Result<Vec<Marker>, String> + Send + Sync>;
/// Tells what came in.
pub type IntakeFeed = Arc<dyn Fn() -> Intake + Send + Sync>;

/// What the daemon gives the dashboard.
pub struct PageParts {
    pub engine: Engine,
    pub clock: Arc<dyn Clock>,
    /// The zone of pages that no view's own zone governs.
    pub calendar: Calendar,
    /// Length of a window, in ms.
    pub window_ms: i64,
    pub alerts: AlertFeed,
    pub markers: MarkerFeed,
    pub intake: IntakeFeed,
    pub notices: NoticeFeed,
    /// Who makes the series; where nothing is received nobody does.
    pub makers: Option<Arc<Makers>>,
    /// End of the newest flush in ms since the Unix epoch; 0 before the first.
    pub flushed: watch::Receiver<i64>,
}

/// Shared by the dashboard's handlers.
pub struct PageState {
    pub parts: PageParts,
    /// Replaced as a whole when the config is read again.
    pub views: ArcSwap<Vec<View>>,
    pub panel_limit: Duration,
    day_totals: Arc<DayTotals>,
    reads: Arc<Semaphore>,
    pub(super) listeners: Arc<Semaphore>,
}

impl PageState {
    pub fn new(parts: PageParts, views: Vec<View>) -> Self {
        PageState {
            parts,
            views: ArcSwap::from_pointee(views),
            panel_limit: PANEL_LIMIT,
            day_totals: Arc::default(),
            reads: Arc::new(Semaphore::new(MAX_READS)),
            listeners: Arc::new(Semaphore::new(MAX_LISTENERS)),
        }
    }

    /// Up to when there is data.
    pub fn newest_ms(&self) -> i64 {
        match *self.parts.flushed.borrow() {
            0 => self.parts.clock.now_ms(),
            flushed => flushed,
        }
    }

    /// What "now" means in a range: the end of the newest flush, so that the
    /// right edge of a chart has data; the clock's time when flushes stay out.
    pub(super) fn anchor_ms(&self) -> i64 {
        let (now_ms, newest_ms) = (self.parts.clock.now_ms(), self.newest_ms());
        let is_fresh = (0..=2 * self.parts.window_ms).contains(&(now_ms - newest_ms));
        if is_fresh { newest_ms } else { now_ms }
    }

    pub(super) fn reader(&self, calendar: &Calendar, span: Span, points: usize) -> Reader {
        Reader {
            engine: self.parts.engine.clone(),
            calendar: calendar.clone(),
            span,
            newest_ms: self.newest_ms(),
            window_ms: self.parts.window_ms.max(1),
            points,
            day_totals: self.day_totals.clone(),
            markers: Arc::new([]),
        }
    }

    /// When a page that begins now must be done.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + PAGE_LIMIT
    }

    /// Runs `read` apart from the async threads with a copy of `reader` that
    /// stops when the time is up, or when nobody waits any more.
    ///
    /// # Errors
    /// A sentence for the page when there was no answer in time.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        reader: Reader,
        deadline: Instant,
        read: impl FnOnce(&Reader) -> T + Send + 'static,
    ) -> Result<T, String> {
        let turn = tokio::time::timeout_at(deadline, self.reads.clone().acquire_owned()).await;
        let Ok(Ok(permit)) = turn else {
            return Err("The page took too long before its turn came; open it alone.".into());
        };
        let cancel = Cancel::new();
        let guard = CancelOnDrop(cancel.clone());
        let reader = Reader { engine: reader.engine.with_cancel(cancel.clone()), ..reader };
        let mut running = workers::in_background(move || {
            let _permit = permit;
            read(&reader)
        });
        let limit = deadline.min(Instant::now() + self.panel_limit);
        let answer = match tokio::time::timeout_at(limit, &mut running).await {
            Ok(answer) => Some(answer),
            Err(_) => {
                cancel.time_out();
                tokio::time::timeout(GRACE, &mut running).await.ok()
            }
        };
        drop(guard);
        match answer {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(_)) => Err("The reading failed; the log says more.".into()),
            None => Err("The reading took too long; choose a shorter range.".into()),
        }
    }
}

/// Stops a read that nobody waits for.
struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
