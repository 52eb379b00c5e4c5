//! What the ruler shows to dashboard, API and notifier: a snapshot after each
//! evaluation, and the history of transitions. Readers never wait for an
//! evaluation.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

use super::rule::{ALERT_NAME, Rule};
use super::state::{Alert, State, Transition};
use crate::model::Labels;
use crate::model::label::NAME;
use crate::store::state::HISTORY_ENTRIES_MAX;
use arc_swap::ArcSwap;

/// Rules and alerts after one evaluation.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// `None` before the first evaluation since the start: then the alerts are
    /// those that were stored, and say nothing about now.
    pub evaluated_at_ms: Option<i64>,
    /// Time between the last two evaluations, in ms; 0 before the second.
    pub interval_ms: i64,
    /// How long all rules together took, in ms.
    pub took_ms: f64,
    /// In the order of the config.
    pub rules: Vec<RuleView>,
}

/// One rule and its alerts.
#[derive(Clone, Debug)]
pub struct RuleView {
    pub rule: Arc<Rule>,
    /// Pending, firing and recently resolved ones.
    pub alerts: Vec<Alert>,
    /// `None` before its first evaluation.
    pub evaluated_at_ms: Option<i64>,
    pub took_ms: f64,
    /// Why the last evaluation failed; its alerts are then those of the one before.
    pub last_error: Option<String>,
    /// Nothing that the rule selects was received within 30 days: most
    /// likely a name is misspelt.
    pub selects_nothing: bool,
    /// Label sets beyond the rule's limit, at the last evaluation.
    pub over_limit: u64,
}

impl RuleView {
    /// The worst state of its alerts: firing, pending or inactive.
    pub fn state(&self) -> State {
        let active = self.alerts.iter().filter(|alert| alert.is_active());
        active.map(|alert| alert.state).max().unwrap_or(State::Inactive)
    }
}

impl Snapshot {
    /// Alerts that fire, with their rules.
    pub fn firing(&self) -> impl Iterator<Item = (&RuleView, &Alert)> {
        self.rules
            .iter()
            .flat_map(|view| view.alerts.iter().map(move |alert| (view, alert)))
            .filter(|(_, alert)| alert.state == State::Firing)
    }

    /// The series that Prometheus writes for alerts, for the time of the
    /// evaluation: `ALERTS{alertname, alertstate, …}` is 1, and
    /// `ALERTS_FOR_STATE{alertname, …}` the time in s at which it became active.
    pub fn series(&self) -> Vec<(Labels, f64)> {
        let active = self.rules.iter().flat_map(|view| &view.alerts).filter(|alert| alert.is_active());
        active
            .flat_map(|alert| {
                let state = alert.labels.with("alertstate", alert.state.as_str());
                let since = alert.active_at_ms as f64 / 1_000.0;
                [(state.with(NAME, "ALERTS"), 1.0), (alert.labels.with(NAME, "ALERTS_FOR_STATE"), since)]
            })
            .collect()
    }
}

/// The published state; shared by all readers.
#[derive(Debug, Default)]
pub struct Board {
    current: ArcSwap<Snapshot>,
    /// Oldest first; written once an evaluation, read for a page: a lock does.
    history: RwLock<VecDeque<Transition>>,
}

impl Board {
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Transitions since `since_ms`, newest first, at most `limit`.
    pub fn history(&self, since_ms: i64, limit: usize) -> Vec<Transition> {
        let history = self.history.read().unwrap_or_else(PoisonError::into_inner);
        history.iter().rev().take_while(|entry| entry.at_ms >= since_ms).take(limit).cloned().collect()
    }

    pub(super) fn publish(&self, snapshot: Snapshot) {
        self.current.store(Arc::new(snapshot));
    }

    pub(super) fn remember(&self, transitions: impl IntoIterator<Item = Transition>) {
        let mut history = self.history.write().unwrap_or_else(PoisonError::into_inner);
        history.extend(transitions);
        let surplus = history.len().saturating_sub(HISTORY_ENTRIES_MAX as usize);
        history.drain(..surplus);
    }
}

/// The rule's name among an alert's labels.
pub fn alert_name(labels: &Labels) -> &str {
    labels.get(ALERT_NAME).unwrap_or_default()
}
