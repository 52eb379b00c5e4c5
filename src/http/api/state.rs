//! What the API's handlers share: the engine, how many queries run and wait, and
//! what became of them.

use super::sending::Sending;
use super::settings::Settings;
use crate::clock::Clock;
use crate::query::Engine;
use crate::telemetry::{Counter, Family, FamilyKind, Telemetry};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Memory of a point of an answer.
const POINT_BYTES: usize = 16;

/// How many queries there may be at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Those that run; they share the points that one query may hold.
    pub running: usize,
    /// Those that wait for their turn; further ones are refused.
    pub waiting: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { running: 8, waiting: 64 }
    }
}

/// What became of queries.
#[derive(Debug, Default)]
pub struct Outcomes {
    pub answered: Counter,
    /// For what they ask, or for what the data or the limits do not allow.
    pub failed: Counter,
    pub timed_out: Counter,
    /// The client went away.
    pub given_up: Counter,
    /// Too many were waiting.
    pub refused: Counter,
}

/// Shared by the handlers of the query API.
pub struct ApiState {
    pub engine: Engine,
    pub clock: Arc<dyn Clock>,
    pub bounds: Bounds,
    /// One permit for each query that may run at the same time.
    pub permits: Arc<Semaphore>,
    /// The permit of a query that needs more than its share: it has all of the
    /// points for itself, once more.
    pub heavy: Arc<Semaphore>,
    /// One for each query that may run or wait.
    pub places: Semaphore,
    pub outcomes: Outcomes,
    /// As much as the points take that one query may hold.
    pub sending: Arc<Sending>,
    pub settings: Settings,
}

impl ApiState {
    pub fn new(engine: Engine, clock: Arc<dyn Clock>, bounds: Bounds) -> Self {
        let room = engine.options().max_points.saturating_mul(POINT_BYTES);
        ApiState {
            engine,
            clock,
            bounds,
            permits: Arc::new(Semaphore::new(bounds.running)),
            heavy: Arc::new(Semaphore::new(1)),
            places: Semaphore::new(bounds.running + bounds.waiting),
            outcomes: Outcomes::default(),
            sending: Arc::new(Sending::new(room)),
            settings: Settings::default(),
        }
    }

    /// The same, which tells these of the daemon.
    #[must_use]
    pub fn with_settings(self, settings: Settings) -> Self {
        ApiState { settings, ..self }
    }

    /// Has `telemetry` tell how queries fare.
    pub fn expose(self: &Arc<Self>, telemetry: &Telemetry) {
        let state = self.clone();
        telemetry.add_figures(move || state.families());
    }

    fn families(&self) -> Vec<Family> {
        let outcomes = [
            ("answered", &self.outcomes.answered),
            ("failed", &self.outcomes.failed),
            ("timed_out", &self.outcomes.timed_out),
            ("given_up", &self.outcomes.given_up),
            ("refused", &self.outcomes.refused),
        ];
        let samples = outcomes
            .map(|(outcome, counter)| (vec![("outcome", outcome.to_owned())], counter.value() as f64))
            .to_vec();
        let running = self.bounds.running.saturating_sub(self.permits.available_permits());
        let places = self.bounds.running + self.bounds.waiting;
        let waiting = places.saturating_sub(self.places.available_permits()).saturating_sub(running);
        let level = |value: usize| vec![(vec![], value as f64)];
        let mut families = vec![
            Family {
                name: "statsdeck_queries_total",
                kind: FamilyKind::Counter,
                help: "Calls of the query API that read series, by what became of them.",
                samples,
            },
            Family {
                name: "statsdeck_queries_running",
                kind: FamilyKind::Gauge,
                help: "Queries of the API that run.",
                samples: level(running),
            },
            Family {
                name: "statsdeck_queries_waiting",
                kind: FamilyKind::Gauge,
                help: "Queries of the API that wait for their turn.",
                samples: level(waiting),
            },
        ];
        families.extend(self.sending.families());
        families
    }
}
