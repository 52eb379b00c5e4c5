//! All rules, evaluated together at each flush; keeps their alerts, stores
//! what changed before anyone is told of it, and publishes the result.
//!
//! Restart and reload: a firing alert goes on firing with its times, a pending
//! one goes on waiting unless we were down for over an hour. Alerts whose rule
//! is gone end at the next evaluation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::board::{Board, RuleView, Snapshot};
use super::counters::Counters;
use super::record;
use super::rule::{Rule, RuleId};
use super::state::{Alert, Alerts, Changes, Fingerprint, State, Transition};
use super::watchdog::Watchdog;
use crate::model::{Labels, TimeRange};
use crate::query::{Engine, Number, SourceError, Value};
use crate::store::state::{AlertChanges, Error as StoreError, HISTORY_ENTRIES_MAX, StateStore};

/// After a longer outage a pending alert begins its `for` anew.
pub const OUTAGE_TOLERANCE_MS: i64 = 3_600_000;
/// A rule's query that takes longer is an evaluation error.
pub const QUERY_TIMEOUT: Duration = Duration::from_secs(10);
/// How far back a selector must have found something, not to be called empty.
const SELECTS_LOOKBACK_MS: i64 = 30 * 86_400_000;
/// How often an empty result is asked whether its selectors find anything.
const SELECTS_CHECK_MS: i64 = 60_000;
/// While an alert is pending, the time of evaluation is stored this often.
const HEARTBEAT_MS: i64 = 60_000;

/// What one rule's expression gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    pub vector: Vec<(Labels, f64)>,
    /// Whether its selectors find any series; `None` when that was not asked.
    pub selects_nothing: Option<bool>,
}

/// The rules and their alerts.
#[derive(Debug)]
pub struct Ruler {
    watched: Vec<Watched>,
    /// Alerts of rules that are gone; ended at the next evaluation.
    orphans: Vec<(RuleId, Alert)>,
    store: Arc<StateStore>,
    board: Arc<Board>,
    counters: Arc<Counters>,
    /// History that is not stored yet; bounded as the stored one is.
    unsaved: Vec<Transition>,
    /// The last write failed: the next one writes all alerts.
    save_all: bool,
    saved_at_ms: i64,
}

#[derive(Debug)]
struct Watched {
    rule: Arc<Rule>,
    alerts: Alerts,
    evaluated_at_ms: Option<i64>,
    took_ms: f64,
    last_error: Option<String>,
    selects_nothing: bool,
    selects_checked_at_ms: Option<i64>,
    over_limit: u64,
}

impl Ruler {
    /// Takes up the alerts and the history in `store`. `now_ms` is only used to
    /// see how long we were down.
    pub fn open(rules: Vec<Rule>, store: Arc<StateStore>, now_ms: i64) -> Result<Self, StoreError> {
        let saved = store.alerts()?;
        let history = store.history(HISTORY_ENTRIES_MAX as usize)?;
        let down_ms = saved.evaluated_at_ms.map_or(0, |at| now_ms.saturating_sub(at));
        let board = Arc::new(Board::default());
        board.remember(history.into_iter().map(record::to_transition));
        let mut ruler = Ruler {
            watched: Vec::new(),
            orphans: saved
                .alerts
                .into_iter()
                .map(|((rule, alert), record)| (RuleId(rule), record::to_alert(Fingerprint(alert), record)))
                // Absent from now on; its row goes when all alerts are written.
                .filter(|(_, alert)| alert.state != State::Pending || down_ms <= OUTAGE_TOLERANCE_MS)
                .collect(),
            store,
            board,
            counters: Arc::default(),
            unsaved: Vec::new(),
            save_all: true,
            saved_at_ms: i64::MIN,
        };
        ruler.replace_rules(rules);
        Ok(ruler)
    }

    pub fn board(&self) -> Arc<Board> {
        Arc::clone(&self.board)
    }

    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Changes the rules; those that stay the same ([`RuleId`]) keep their
    /// alerts.
    pub fn replace_rules(&mut self, rules: Vec<Rule>) {
        let mut alerts: BTreeMap<RuleId, Alerts> = BTreeMap::new();
        for (rule, alert) in self.orphans.drain(..) {
            alerts.entry(rule).or_default().restore(alert);
        }
        let mut before: BTreeMap<RuleId, Watched> = BTreeMap::new();
        for watched in self.watched.drain(..) {
            before.insert(watched.rule.id, watched);
        }
        for rule in rules {
            let rule = Arc::new(rule);
            let watched = match before.remove(&rule.id) {
                Some(watched) => Watched { selects_checked_at_ms: None, rule, ..watched },
                None => Watched::new(Arc::clone(&rule), alerts.remove(&rule.id).unwrap_or_default()),
            };
            self.watched.push(watched);
        }
        let gone = before.into_iter().map(|(id, watched)| (id, watched.alerts)).chain(alerts);
        self.orphans =
            gone.flat_map(|(id, alerts)| alerts.into_values().map(move |alert| (id, alert))).collect();
        let evaluated_at_ms = self.board.snapshot().evaluated_at_ms;
        self.publish(evaluated_at_ms, 0.0);
    }

    /// Evaluates all rules for the time `now_ms`, the end of the window that
    /// was just flushed. Blocks for as long as the queries take, each of them
    /// [`QUERY_TIMEOUT`] at most.
    pub fn evaluate(&mut self, now_ms: i64, engine: &Engine) -> Vec<Transition> {
        Watchdog::guard(|watchdog| {
            self.evaluate_with(now_ms, |rule, check_selectors| {
                let engine = engine.with_cancel(watchdog.limit(QUERY_TIMEOUT));
                ask(&engine, rule, now_ms, check_selectors)
            })
        })
    }

    /// As [`Ruler::evaluate`], with `ask` in place of the engine; its second
    /// argument says that an empty answer should tell whether anything is selected.
    pub fn evaluate_with(
        &mut self,
        now_ms: i64,
        mut ask: impl FnMut(&Rule, bool) -> Result<Answer, String>,
    ) -> Vec<Transition> {
        let started = Instant::now();
        let mut save = AlertChanges { evaluated_at_ms: now_ms, ..Default::default() };
        let mut transitions = self.end_orphans(now_ms, &mut save);
        for watched in &mut self.watched {
            let changes = watched.evaluate(now_ms, &mut ask);
            self.counters.evaluations.fetch_add(1, Relaxed);
            self.counters.evaluation_failures.fetch_add(u64::from(watched.last_error.is_some()), Relaxed);
            self.counters.alerts_over_limit.fetch_add(changes.over_limit, Relaxed);
            let rule = watched.rule.id.0;
            let changed = changes.changed.iter().filter_map(|fingerprint| watched.alerts.get(*fingerprint));
            save.put.extend(changed.map(|alert| ((rule, alert.fingerprint.0), record::of_alert(alert))));
            save.remove.extend(changes.removed.iter().map(|fingerprint| (rule, fingerprint.0)));
            transitions.extend(changes.transitions);
        }
        self.save(save, &transitions);
        self.board.remember(transitions.iter().filter(|transition| is_history(transition)).cloned());
        self.publish(Some(now_ms), started.elapsed().as_secs_f64() * 1_000.0);
        transitions
    }

    fn end_orphans(&mut self, now_ms: i64, save: &mut AlertChanges) -> Vec<Transition> {
        let orphans = std::mem::take(&mut self.orphans);
        save.remove.extend(orphans.iter().map(|(rule, alert)| (rule.0, alert.fingerprint.0)));
        orphans
            .into_iter()
            .filter(|(_, alert)| alert.is_active())
            .map(|(_, alert)| Transition {
                at_ms: now_ms,
                rule: super::board::alert_name(&alert.labels).into(),
                from: alert.state,
                to: if alert.state == State::Firing { State::Resolved } else { State::Inactive },
                value: alert.value,
                labels: alert.labels,
            })
            .collect()
    }

    fn save(&mut self, mut save: AlertChanges, transitions: &[Transition]) {
        self.unsaved.extend(transitions.iter().filter(|transition| is_history(transition)).cloned());
        let surplus = self.unsaved.len().saturating_sub(HISTORY_ENTRIES_MAX as usize);
        self.unsaved.drain(..surplus);
        let pending = self.watched.iter().flat_map(|watched| watched.alerts.iter());
        let pending = pending.into_iter().any(|alert| alert.state == State::Pending);
        let heartbeat = pending && now_is_past(save.evaluated_at_ms, self.saved_at_ms, HEARTBEAT_MS);
        let changed = !(save.put.is_empty() && save.remove.is_empty() && self.unsaved.is_empty());
        if !(changed || heartbeat || self.save_all) {
            return;
        }
        if self.save_all {
            save.replace_all = true;
            save.put = self
                .watched
                .iter()
                .flat_map(|watched| {
                    let rule = watched.rule.id.0;
                    watched
                        .alerts
                        .iter()
                        .map(move |alert| ((rule, alert.fingerprint.0), record::of_alert(alert)))
                })
                .collect();
        }
        save.history = self.unsaved.iter().map(record::of_transition).collect();
        match self.store.save_alerts(&save) {
            Ok(()) => {
                self.save_all = false;
                self.saved_at_ms = save.evaluated_at_ms;
                self.unsaved.clear();
            }
            Err(error) => {
                self.save_all = true;
                self.counters.save_failures.fetch_add(1, Relaxed);
                tracing::error!(%error, "alert states are not stored; they are kept in memory and written later");
            }
        }
    }

    fn publish(&self, evaluated_at_ms: Option<i64>, took_ms: f64) {
        let rules = self.watched.iter().map(Watched::view).collect();
        let before = self.board.snapshot();
        let interval_ms = match (before.evaluated_at_ms, evaluated_at_ms) {
            (Some(before), Some(now)) if before < now => now - before,
            _ => before.interval_ms,
        };
        self.board.publish(Snapshot { evaluated_at_ms, interval_ms, took_ms, rules });
    }
}

impl Watched {
    fn new(rule: Arc<Rule>, alerts: Alerts) -> Self {
        Watched {
            rule,
            alerts,
            evaluated_at_ms: None,
            took_ms: 0.0,
            last_error: None,
            selects_nothing: false,
            selects_checked_at_ms: None,
            over_limit: 0,
        }
    }

    /// On an error alerts stay as they were.
    fn evaluate(
        &mut self,
        now_ms: i64,
        ask: &mut impl FnMut(&Rule, bool) -> Result<Answer, String>,
    ) -> Changes {
        let started = Instant::now();
        let check_selectors =
            self.selects_checked_at_ms.is_none_or(|at| now_is_past(now_ms, at, SELECTS_CHECK_MS));
        let outcome = ask(&self.rule, check_selectors).and_then(|answer| {
            if !answer.vector.is_empty() {
                self.selects_nothing = false;
            } else if let Some(selects_nothing) = answer.selects_nothing {
                if selects_nothing && !self.selects_nothing {
                    tracing::warn!(rule = %self.rule.name, "the rule selects no series; is a name misspelt?");
                }
                self.selects_nothing = selects_nothing;
                self.selects_checked_at_ms = Some(now_ms);
            }
            self.alerts.apply(&self.rule, now_ms, &answer.vector).map_err(|error| error.to_string())
        });
        self.took_ms = started.elapsed().as_secs_f64() * 1_000.0;
        self.evaluated_at_ms = Some(now_ms);
        match outcome {
            Ok(changes) => {
                self.last_error = None;
                if changes.over_limit > 0 && self.over_limit == 0 {
                    tracing::warn!(
                        rule = %self.rule.name, limit = self.rule.alerts_max, over = changes.over_limit,
                        "the rule has more label sets than it may have alerts; aggregate its expression"
                    );
                }
                self.over_limit = changes.over_limit;
                changes
            }
            Err(error) => {
                if self.last_error.as_ref() != Some(&error) {
                    tracing::warn!(rule = %self.rule.name, error, "the rule could not be evaluated");
                }
                self.last_error = Some(error);
                Changes::default()
            }
        }
    }

    fn view(&self) -> RuleView {
        RuleView {
            rule: Arc::clone(&self.rule),
            alerts: self.alerts.iter().cloned().collect(),
            evaluated_at_ms: self.evaluated_at_ms,
            took_ms: self.took_ms,
            last_error: self.last_error.clone(),
            selects_nothing: self.selects_nothing,
            over_limit: self.over_limit,
        }
    }
}

fn ask(engine: &Engine, rule: &Rule, now_ms: i64, check_selectors: bool) -> Result<Answer, String> {
    let result = engine.instant_parsed(&rule.expr, now_ms).map_err(|error| error.to_string())?;
    let vector: Vec<(Labels, f64)> = match result.value {
        Value::Scalar(point) => vec![(Labels::default(), point.value)],
        Value::Vector(points) => {
            let samples = points.into_iter().map(|point| {
                let value = match point.value {
                    Number::Float(value) => value,
                    // A rule over a bare timer: the text says how many values there were.
                    Number::Histogram(histogram) => histogram.count(),
                };
                (point.labels, value)
            });
            samples.collect()
        }
        other => return Err(format!("the expression gave a {}, not a vector", other.type_name())),
    };
    let selects_nothing = match vector.is_empty() && check_selectors {
        true => selects_anything(engine, rule, now_ms).map(|found| !found),
        false => None,
    };
    Ok(Answer { vector, selects_nothing })
}

/// Whether any selector of `rule` finds a series; an expression without
/// selectors has none to be empty. `None` when that cannot be read: it is a
/// hint, for which no evaluation may fail.
fn selects_anything(engine: &Engine, rule: &Rule, now_ms: i64) -> Option<bool> {
    let range = TimeRange { start_ms: now_ms.saturating_sub(SELECTS_LOOKBACK_MS), end_ms: now_ms };
    let selectors = rule.expr.selectors();
    for matchers in selectors.iter().flat_map(|selector| &selector.alternatives) {
        match engine.source().series(matchers, range, 1) {
            Ok(found) if found.is_empty() => {}
            // More than were asked for are there.
            Ok(_) | Err(SourceError::Limit { .. }) => return Some(true),
            Err(SourceError::Storage(_)) => return None,
        }
    }
    Some(selectors.is_empty())
}

/// What began or ceased to fire. Alerts that only wait come and go too often:
/// they would crowd these out.
fn is_history(transition: &Transition) -> bool {
    transition.from == State::Firing || transition.to == State::Firing
}

/// Also true when the clock was set back.
fn now_is_past(now_ms: i64, since_ms: i64, span_ms: i64) -> bool {
    now_ms < since_ms || now_ms.saturating_sub(since_ms) >= span_ms
}

#[cfg(test)]
mod tests {
    use super::super::rule::Definition;
    use super::*;
    use crate::model::MetricType;
    use crate::query::MemorySource;

    fn rule(name: &str, for_s: u64) -> Rule {
        let definition = Definition {
            name: name.into(),
            expr: "x > 0".into(),
            for_ms: for_s * 1_000,
            annotations: vec![("summary".into(), "{{ $value }} on {{ $labels.host }}".into())],
            ..Default::default()
        };
        Rule::new(&definition).unwrap()
    }

    fn store() -> Arc<StateStore> {
        Arc::new(StateStore::in_memory().unwrap())
    }

    /// Evaluates at `at_s`; the expression holds for `hosts`.
    fn evaluate(ruler: &mut Ruler, at_s: i64, hosts: &[&str]) -> Vec<(String, State)> {
        let vector: Vec<_> = hosts.iter().map(|host| (Labels::from_pairs([("host", *host)]), 1.0)).collect();
        let transitions = ruler
            .evaluate_with(at_s * 1_000, |_, _| Ok(Answer { vector: vector.clone(), selects_nothing: None }));
        transitions.into_iter().map(|t| (t.labels.get("host").unwrap_or("").to_owned(), t.to)).collect()
    }

    fn states(ruler: &Ruler) -> Vec<(String, State, i64)> {
        let snapshot = ruler.board().snapshot();
        let alerts = snapshot.rules.iter().flat_map(|view| &view.alerts);
        let mut states: Vec<_> = alerts
            .map(|alert| {
                (alert.labels.get("host").unwrap().to_owned(), alert.state, alert.active_at_ms / 1_000)
            })
            .collect();
        states.sort();
        states
    }

    #[test]
    fn after_a_restart_alerts_go_on_where_they_were() {
        let store = store();
        let mut ruler = Ruler::open(vec![rule("R", 20)], store.clone(), 0).unwrap();
        evaluate(&mut ruler, 0, &["a", "b"]);
        evaluate(&mut ruler, 20, &["a", "b"]);
        evaluate(&mut ruler, 30, &["a", "b", "c"]);

        let mut ruler = Ruler::open(vec![rule("R", 20)], store, 35_000).unwrap();
        assert_eq!(ruler.board().snapshot().evaluated_at_ms, None);
        let expected = [("a", State::Firing, 0), ("b", State::Firing, 0), ("c", State::Pending, 30)];
        assert_eq!(states(&ruler), expected.map(|(host, state, at)| (host.to_owned(), state, at)));
        assert_eq!(ruler.board().history(0, 100).len(), 2);

        // a goes on and is no news; b ended meanwhile; c waits since 30 s.
        assert_eq!(evaluate(&mut ruler, 40, &["a", "c"]), [("b".into(), State::Resolved)]);
        assert_eq!(evaluate(&mut ruler, 50, &["a", "c"]), [("c".into(), State::Firing)]);
    }

    #[test]
    fn after_a_long_outage_for_begins_anew_but_firing_alerts_go_on() {
        let store = store();
        let mut ruler = Ruler::open(vec![rule("R", 20)], store.clone(), 0).unwrap();
        evaluate(&mut ruler, 0, &["a"]);
        evaluate(&mut ruler, 20, &["a", "b"]);
        let late_s = 30 + OUTAGE_TOLERANCE_MS / 1_000;
        let mut ruler = Ruler::open(vec![rule("R", 20)], store.clone(), late_s * 1_000).unwrap();
        assert_eq!(evaluate(&mut ruler, late_s, &["a", "b"]), [("b".into(), State::Pending)]);
        let ruler = Ruler::open(vec![rule("R", 20)], store, late_s * 1_000).unwrap();
        let expected = [("a", State::Firing, 0), ("b", State::Pending, late_s)];
        assert_eq!(states(&ruler), expected.map(|(host, state, at)| (host.to_owned(), state, at)));
    }

    #[test]
    fn a_long_wait_survives_a_short_outage() {
        let store = store();
        let mut ruler = Ruler::open(vec![rule("R", 7_200)], store.clone(), 0).unwrap();
        for at_s in (0..7_000).step_by(10) {
            evaluate(&mut ruler, at_s, &["a"]);
        }
        let mut ruler = Ruler::open(vec![rule("R", 7_200)], store, 7_100_000).unwrap();
        assert_eq!(evaluate(&mut ruler, 7_200, &["a"]), [("a".into(), State::Firing)]);
    }

    #[test]
    fn a_failed_evaluation_changes_nothing_and_is_shown() {
        let mut ruler = Ruler::open(vec![rule("R", 0)], store(), 0).unwrap();
        evaluate(&mut ruler, 0, &["a"]);
        assert_eq!(ruler.evaluate_with(10_000, |_, _| Err("too many series".into())), []);
        let snapshot = ruler.board().snapshot();
        let view = &snapshot.rules[0];
        assert_eq!(view.last_error.as_deref(), Some("too many series"));
        assert_eq!((view.state(), view.evaluated_at_ms), (State::Firing, Some(10_000)));
        evaluate(&mut ruler, 20, &["a"]);
        assert_eq!(ruler.board().snapshot().rules[0].last_error, None);
        let totals = ruler.counters().read();
        assert_eq!((totals.evaluations, totals.evaluation_failures), (3, 1));
    }

    #[test]
    fn a_reload_keeps_what_stays_and_ends_what_goes() {
        let store = store();
        let mut ruler = Ruler::open(vec![rule("R", 0), rule("S", 0)], store.clone(), 0).unwrap();
        evaluate(&mut ruler, 0, &["a"]);
        ruler.replace_rules(vec![rule("R", 60)]);
        assert_eq!(states(&ruler), [("a".into(), State::Firing, 0)]);
        let ended = ruler.evaluate_with(10_000, |_, _| {
            Ok(Answer { vector: vec![(Labels::from_pairs([("host", "a")]), 1.0)], selects_nothing: None })
        });
        assert_eq!(ended.len(), 1);
        assert_eq!((&*ended[0].rule, ended[0].from, ended[0].to), ("S", State::Firing, State::Resolved));
        assert_eq!(store.alerts().unwrap().alerts.len(), 1);

        // The same at a restart with fewer rules.
        let mut ruler = Ruler::open(vec![], store.clone(), 20_000).unwrap();
        assert_eq!(evaluate(&mut ruler, 20, &[]), [("a".into(), State::Resolved)]);
        assert_eq!(store.alerts().unwrap().alerts, []);
    }

    #[test]
    fn a_rule_that_selects_nothing_is_known() {
        let mut ruler = Ruler::open(vec![rule("R", 0)], store(), 0).unwrap();
        let mut asked = Vec::new();
        for (at_s, selects_nothing) in [(0, true), (10, true), (60, false), (70, true), (130, true)] {
            ruler.evaluate_with(at_s * 1_000, |_, check| {
                asked.push(check);
                Ok(Answer { vector: vec![], selects_nothing: check.then_some(selects_nothing) })
            });
            let shown = ruler.board().snapshot().rules[0].selects_nothing;
            assert_eq!(shown, matches!(at_s, 0 | 10 | 130), "{at_s}");
        }
        assert_eq!(asked, [true, false, true, false, true]);
    }

    #[test]
    fn the_engine_is_asked_and_a_misspelt_name_is_found_out() {
        let source = Arc::new(MemorySource::new());
        let engine = Engine::new(source.clone(), Default::default());
        let definitions = [
            ("Plain", "etl_failed > 1"),
            ("Quiet", "etl_failed > 100"),
            ("Misspelt", "etl_fialed > 1"),
            ("Absent", "absent(etl_fialed)"),
            ("Scalar", "1"),
            ("Several", "etl_fialed or etl_failed > 100"),
        ];
        let rules = definitions.map(|(name, expr)| {
            let definition = Definition { name: name.into(), expr: expr.into(), ..Default::default() };
            Rule::new(&definition).unwrap()
        });
        let mut ruler = Ruler::open(rules.into(), store(), 0).unwrap();
        for (host, value) in [("a", 1.0), ("b", 2.0), ("c", 3.0)] {
            let labels = Labels::from_pairs([("__name__", "etl.failed"), ("host", host)]);
            source.push(&labels, Some(MetricType::Gauge), 10_000, value);
        }
        ruler.evaluate(10_000, &engine);
        let snapshot = ruler.board().snapshot();
        let shown: Vec<_> = snapshot
            .rules
            .iter()
            .map(|view| (&*view.rule.name, view.alerts.len(), view.selects_nothing, view.last_error.clone()))
            .collect();
        assert_eq!(
            shown,
            [
                ("Plain", 2, false, None),
                ("Quiet", 0, false, None),
                ("Misspelt", 0, true, None),
                ("Absent", 1, false, None),
                ("Scalar", 1, false, None),
                ("Several", 0, false, None),
            ]
        );
        let plain: Vec<_> =
            snapshot.rules[0].alerts.iter().map(|a| (a.labels.to_string(), a.value)).collect();
        assert!(plain.contains(&(r#"{alertname="Plain", host="c"}"#.into(), 3.0)), "{plain:?}");
    }

    #[test]
    fn alerts_are_series_too() {
        let mut ruler = Ruler::open(vec![rule("R", 0)], store(), 0).unwrap();
        evaluate(&mut ruler, 5, &["a"]);
        let series = ruler.board().snapshot().series();
        let texts: Vec<_> = series.iter().map(|(labels, value)| format!("{labels} {value}")).collect();
        assert_eq!(
            texts,
            [
                r#"ALERTS{alertname="R", alertstate="firing", host="a"} 1"#,
                r#"ALERTS_FOR_STATE{alertname="R", host="a"} 5"#
            ]
        );
    }
}
