//! Who makes the series, for the API and for the pages: one pass over those
//! that are alive, off the threads that serve connections, one at a time.

use crate::aggregate::quota::PrefixUse;
use crate::aggregate::top::{Tally, Top};
use crate::aggregate::{Registry, Table, Windows};
use crate::clock::Clock;
use crate::lock::lock;
use crate::telemetry::{Offence, Telemetry};
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;

/// Most makers of a kind that can be asked for.
pub const LIMIT_MAX: usize = 1000;
/// How many without being asked.
pub const LIMIT: usize = 20;

/// What is asked about.
pub struct Makers {
    windows: Arc<Mutex<Windows>>,
    registry: Arc<Registry>,
    telemetry: Arc<Telemetry>,
    clock: Arc<dyn Clock>,
    /// Listeners and their tables.
    sources: Vec<(String, Arc<Mutex<Table>>)>,
    turn: Semaphore,
}

/// The answer.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub top: Top,
    /// Since when series count as new, in ms since the epoch.
    pub new_since_ms: i64,
    pub series_max: usize,
    pub prefixes: Vec<PrefixUse>,
    /// The listeners, greatest first.
    pub sources: Vec<Source>,
    /// What went into overflow series lately.
    pub offence: Option<Offence>,
}

/// What comes in by a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its address, or `http`.
    pub name: String,
    /// Spellings of series that it knows: a series that two listeners take
    /// counts for both, and one in two orders of tags twice.
    pub series: usize,
}

impl Makers {
    pub fn new(
        windows: Arc<Mutex<Windows>>,
        registry: Arc<Registry>,
        telemetry: Arc<Telemetry>,
        clock: Arc<dyn Clock>,
        sources: Vec<(String, Arc<Mutex<Table>>)>,
    ) -> Self {
        Makers { windows, registry, telemetry, clock, sources, turn: Semaphore::new(1) }
    }

    /// The `limit` greatest makers of each kind. None while the daemon stops.
    pub async fn report(self: &Arc<Self>, limit: usize) -> Option<Report> {
        let _turn = self.turn.acquire().await.ok()?;
        let makers = self.clone();
        tokio::task::spawn_blocking(move || makers.read(limit)).await.ok()
    }

    fn read(&self, limit: usize) -> Report {
        let (new_since_ms, new_from) = self.registry.hour();
        // Copied, so that a flush does not wait for the counting.
        let live = lock(&self.windows).live();
        let mut tally = Tally::new(new_from);
        self.registry.each_named(live, |series, live| tally.add(live.id, &series.labels));
        Report {
            top: tally.top(limit),
            new_since_ms,
            series_max: self.registry.catalogue().series_max(),
            prefixes: self.registry.prefix_uses(),
            sources: self.sources(limit),
            offence: self.telemetry.offenders.worst(self.clock.now_ms()),
        }
    }

    fn sources(&self, limit: usize) -> Vec<Source> {
        let mut sources: Vec<Source> = Vec::new();
        for (name, table) in &self.sources {
            let series = lock(table).len();
            match sources.iter_mut().find(|known| known.name == *name) {
                Some(known) => known.series += series,
                None => sources.push(Source { name: name.clone(), series }),
            }
        }
        sources.sort_by(|a, b| b.series.cmp(&a.series).then_with(|| a.name.cmp(&b.name)));
        sources.truncate(limit);
        sources
    }
}
