//! Rules, their states, and the notices: evaluated after each flush, replaced
//! at a reload.

use crate::alert::{Alert, Board, Counters, Rule, RuleView, Ruler, State};
use crate::clock::Clock;
use crate::dashboard::alerts::{AlertRow, AlertState};
use crate::http::api::alerts::AlertsState;
use crate::lock::lock;
use crate::notify::{self, Notifier, Target};
use crate::query::Engine;
use crate::store::state::{self, StateStore};
use crate::telemetry::{Family, FamilyKind, Telemetry};
use arc_swap::ArcSwap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Receivers have so long to be told what waits when the daemon stops.
const STOP_WAIT: Duration = Duration::from_secs(3);
/// Label that holds an alert's rule.
const ALERT_NAME: &str = "alertname";
/// Name of the file in the data directory.
const STATE_FILE: &str = "state.redb";

/// Why rules or notices cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("alert state: {0}")]
    State(#[from] state::Error),
    #[error("notices: {0}")]
    Notify(#[from] notify::Error),
    #[error("the rules could not be replaced; the log says more")]
    Replace,
}

/// See the module's head.
pub struct Alerting {
    /// Held while rules are evaluated.
    ruler: Arc<Mutex<Ruler>>,
    counters: Arc<Counters>,
    board: Arc<Board>,
    store: Arc<StateStore>,
    clock: Arc<dyn Clock>,
    options: notify::Options,
    /// `None` once stopped, and while it is exchanged.
    notifier: Mutex<Option<Notifier>>,
    /// Those that the notifier was started with.
    targets: Mutex<Vec<Target>>,
    /// What the API shows.
    pub state: Arc<AlertsState>,
}

impl Alerting {
    /// Takes up rules and states. Must be called within a tokio runtime.
    pub fn start(
        data_dir: &Path,
        rules: Vec<Rule>,
        targets: Vec<Target>,
        public_url: Option<String>,
        clock: Arc<dyn Clock>,
        telemetry: &Telemetry,
    ) -> Result<Arc<Alerting>, Error> {
        let store = Arc::new(StateStore::open(&data_dir.join(STATE_FILE))?);
        let ruler = Ruler::open(rules, store.clone(), clock.now_ms())?;
        let options = notify::Options { public_url, ..notify::Options::default() };
        let notifier = Notifier::start(targets.clone(), &options, &store, &clock)?;
        let board = ruler.board();
        let receivers = ArcSwap::from_pointee(notifier.statuses());
        let state = Arc::new(AlertsState { board: board.clone(), receivers });
        add_figures(telemetry, &ruler, &state);
        Ok(Arc::new(Alerting {
            counters: ruler.counters(),
            ruler: Arc::new(Mutex::new(ruler)),
            board,
            store,
            clock,
            options,
            notifier: Mutex::new(Some(notifier)),
            targets: Mutex::new(targets),
            state,
        }))
    }

    /// Evaluates all rules for `end_ms`, the end of a window that can be read,
    /// and has told what changed.
    pub fn evaluate(&self, end_ms: i64, engine: &Engine) {
        let transitions = lock(&self.ruler).evaluate(end_ms, engine);
        for transition in transitions {
            let (state, value) = (transition.to.as_str(), transition.value);
            tracing::info!(alert = %transition.labels, state, value, "alert");
        }
        if let Some(notifier) = &*lock(&self.notifier) {
            notifier.update(self.board.snapshot());
        }
    }

    /// The file of small tables; markers are kept in it as well.
    pub fn store(&self) -> Arc<StateStore> {
        self.store.clone()
    }

    /// What is counted of the evaluations.
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// The states of all rules and alerts, as pages show them.
    pub fn rows(&self) -> Vec<AlertRow> {
        self.board.snapshot().rules.iter().flat_map(rows).collect()
    }

    /// Takes over new rules and receivers. What receivers were told is known
    /// to the new ones of the same name. When the new ones cannot be started
    /// the old ones go on, and so do the old rules.
    pub async fn replace(&self, rules: Vec<Rule>, targets: Vec<Target>) -> Result<(), Error> {
        self.stop().await;
        let started = self.start_notifier(targets.clone());
        if started.is_err() {
            let targets = lock(&self.targets).clone();
            self.start_notifier(targets)?;
        } else {
            *lock(&self.targets) = targets;
            // An evaluation may be under way: waited for where that is no harm.
            let ruler = self.ruler.clone();
            let replaced = tokio::task::spawn_blocking(move || lock(&ruler).replace_rules(rules));
            replaced.await.map_err(|_| Error::Replace)?;
        }
        started
    }

    fn start_notifier(&self, targets: Vec<Target>) -> Result<(), Error> {
        let notifier = Notifier::start(targets, &self.options, &self.store, &self.clock)?;
        notifier.update(self.board.snapshot());
        self.state.receivers.store(Arc::new(notifier.statuses()));
        *lock(&self.notifier) = Some(notifier);
        Ok(())
    }

    /// Tells what can be told at once, and stops. What was not told is told
    /// after the next start.
    pub async fn stop(&self) {
        let notifier = lock(&self.notifier).take();
        if let Some(notifier) = notifier
            && !notifier.stop(STOP_WAIT).await
        {
            tracing::warn!("some notices could not be sent in time; they will be after the next start");
        }
    }
}

fn rows(view: &RuleView) -> Vec<AlertRow> {
    let row = |state, since_ms, value, summary: String, labels| AlertRow {
        rule: view.rule.name.to_string(),
        state,
        since_ms,
        value,
        summary,
        labels,
    };
    let evaluated_ms = view.evaluated_at_ms.unwrap_or_default();
    let mut rows = Vec::new();
    if let Some(error) = &view.last_error {
        // Beside the alerts, which stay as they were: what fires must not vanish with it.
        let summary = format!("cannot be evaluated: {error}");
        rows.push(row(AlertState::NoData, evaluated_ms, None, summary, vec![]));
    } else if view.selects_nothing {
        let summary = "nothing that it selects was received within 30 days; is a name misspelt?";
        rows.push(row(AlertState::NoData, evaluated_ms, None, summary.into(), vec![]));
    } else if view.alerts.is_empty() {
        rows.push(row(AlertState::Inactive, evaluated_ms, None, String::new(), vec![]));
    }
    let alert_row = |alert: &Alert| {
        let (state, since_ms) = match alert.state {
            State::Firing => (AlertState::Firing, alert.fired_at_ms.unwrap_or(alert.active_at_ms)),
            State::Pending => (AlertState::Pending, alert.active_at_ms),
            State::Resolved => (AlertState::Resolved, alert.resolved_at_ms.unwrap_or(alert.active_at_ms)),
            State::Inactive => (AlertState::Inactive, alert.active_at_ms),
        };
        let annotation = |name| alert.annotations.get(name).filter(|text| !text.is_empty());
        let summary = annotation("summary").or_else(|| annotation("description")).unwrap_or_default();
        let labels = alert.labels.iter().filter(|(name, _)| *name != ALERT_NAME);
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        row(state, since_ms, Some(alert.value), summary.to_owned(), labels)
    };
    rows.extend(view.alerts.iter().map(alert_row));
    rows
}

fn add_figures(telemetry: &Telemetry, ruler: &Ruler, state: &Arc<AlertsState>) {
    let (counters, state) = (ruler.counters(), state.clone());
    telemetry.add_figures(move || {
        let totals = counters.read();
        let plain = |name, help, value: u64| Family {
            name,
            kind: FamilyKind::Counter,
            help,
            samples: vec![(vec![], value as f64)],
        };
        let mut families = vec![
            plain("statsdeck_rule_evaluations_total", "Rules evaluated.", totals.evaluations),
            plain(
                "statsdeck_rule_evaluation_failures_total",
                "Rules that could not be evaluated.",
                totals.evaluation_failures,
            ),
            plain(
                "statsdeck_rule_evaluations_missed_total",
                "Windows for which no rule was evaluated: those before took too long.",
                totals.missed,
            ),
            plain(
                "statsdeck_alerts_over_limit_total",
                "Label sets that became no alert because their rule had its full number.",
                totals.alerts_over_limit,
            ),
            plain(
                "statsdeck_alert_save_failures_total",
                "Evaluations whose changes could not be stored at once.",
                totals.save_failures,
            ),
        ];
        let views: Vec<_> = state.receivers.load().iter().map(|status| status.view()).collect();
        if views.is_empty() {
            return families;
        }
        let mut by_receiver = |name, kind, help, value: &dyn Fn(&notify::ReceiverView) -> u64| {
            let samples =
                views.iter().map(|view| (vec![("receiver", view.name.clone())], value(view) as f64));
            families.push(Family { name, kind, help, samples: samples.collect() });
        };
        use FamilyKind::{Counter, Gauge};
        by_receiver(
            "statsdeck_notifications_sent_total",
            Counter,
            "Messages a receiver has taken.",
            &|view| view.sent,
        );
        by_receiver("statsdeck_notifications_failed_total", Counter, "Messages given up.", &|view| {
            view.failed
        });
        by_receiver(
            "statsdeck_notifications_retried_total",
            Counter,
            "Attempts that were made again.",
            &|view| view.retried,
        );
        by_receiver(
            "statsdeck_notifications_dropped_total",
            Counter,
            "Firing alerts that found no room; told once there is some.",
            &|view| view.dropped,
        );
        by_receiver(
            "statsdeck_notifications_folded_total",
            Counter,
            "Alerts that were over before they could be told.",
            &|view| view.folded,
        );
        by_receiver(
            "statsdeck_notification_save_failures_total",
            Counter,
            "Messages sent that could not be noted as sent at once.",
            &|view| view.save_failures,
        );
        by_receiver(
            "statsdeck_notifications_waiting",
            Gauge,
            "Rules that have something to tell.",
            &|view| view.waiting,
        );
        by_receiver(
            "statsdeck_receiver_broken",
            Gauge,
            "Whether a receiver refuses us until someone acts.",
            &|view| u64::from(view.broken),
        );
        families
    });
}
