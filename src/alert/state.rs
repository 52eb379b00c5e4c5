//! The alerts of one rule, and how an evaluation changes them: inactive →
//! pending → firing → resolved, as in Prometheus. Pure: time and result are
//! passed in.
//!
//! A failed evaluation never reaches this file, so that it changes nothing.
//! Resolved alerts stay for 15 minutes; pending ones that end are gone at once.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::Arc;

use super::rule::{Rule, RuleId};
use crate::model::Labels;
use xxhash_rust::xxh3::Xxh3;

/// How long a resolved alert is remembered.
pub const RESOLVED_KEPT_MS: i64 = 15 * 60_000;

/// What an alert is across evaluations and restarts: its rule and its labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub u64);

/// Where an alert stands. An inactive alert is not kept: it is only ever the
/// start or the end of a transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    Inactive,
    Pending,
    Firing,
    Resolved,
}

/// One label set for which a rule's expression holds, or did a while ago.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    pub fingerprint: Fingerprint,
    pub labels: Labels,
    pub annotations: Labels,
    /// Of the last evaluation at which the expression held.
    pub value: f64,
    pub state: State,
    /// When the expression began to hold.
    pub active_at_ms: i64,
    pub fired_at_ms: Option<i64>,
    /// Set while the expression no longer holds and `keep_firing_for` runs.
    pub keep_firing_since_ms: Option<i64>,
    pub resolved_at_ms: Option<i64>,
}

/// A change of an alert's state.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    pub at_ms: i64,
    pub rule: Arc<str>,
    pub labels: Labels,
    pub from: State,
    pub to: State,
    pub value: f64,
}

/// What an evaluation changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    pub transitions: Vec<Transition>,
    /// Alerts to be stored anew.
    pub changed: Vec<Fingerprint>,
    pub removed: Vec<Fingerprint>,
    /// Label sets over the rule's limit.
    pub over_limit: u64,
}

/// Why a result makes no alerts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "two results have the labels {0} once the rule's labels are set; \
         aggregate them or give the rule fewer labels"
    )]
    SameLabels(String),
}

/// The alerts of one rule.
#[derive(Clone, Debug, Default)]
pub struct Alerts {
    by_fingerprint: BTreeMap<Fingerprint, Alert>,
}

impl Alerts {
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Alert> {
        self.by_fingerprint.values()
    }

    pub fn get(&self, fingerprint: Fingerprint) -> Option<&Alert> {
        self.by_fingerprint.get(&fingerprint)
    }

    pub fn into_values(self) -> impl Iterator<Item = Alert> {
        self.by_fingerprint.into_values()
    }

    /// Puts back an alert that was stored.
    pub fn restore(&mut self, alert: Alert) {
        self.by_fingerprint.insert(alert.fingerprint, alert);
    }

    /// Takes over the result of one evaluation of `rule`. On an error nothing
    /// is changed.
    pub fn apply(&mut self, rule: &Rule, now_ms: i64, result: &[(Labels, f64)]) -> Result<Changes, Error> {
        let mut found: BTreeMap<Fingerprint, (Labels, &Labels, f64)> = BTreeMap::new();
        for (sample, value) in result {
            let labels = rule.alert_labels(sample, *value);
            match found.entry(fingerprint(rule.id, &labels)) {
                Entry::Occupied(_) => return Err(Error::SameLabels(labels.to_string())),
                Entry::Vacant(entry) => entry.insert((labels, sample, *value)),
            };
        }
        let mut changes = Changes::default();
        self.end_absent(rule, now_ms, |fingerprint| found.contains_key(&fingerprint), &mut changes);
        let mut active = self.by_fingerprint.values().filter(|alert| alert.is_active()).count();
        for (fingerprint, (labels, sample, value)) in found {
            let known = self.by_fingerprint.get(&fingerprint);
            let is_new = !known.is_some_and(Alert::is_active);
            // Alerts that are already there stay, whatever else appears.
            if is_new && active >= rule.alerts_max {
                changes.over_limit += 1;
                continue;
            }
            active += usize::from(is_new);
            let alert = match known {
                Some(alert) if !is_new => Alert { value, ..alert.clone() },
                _ => Alert::begun(fingerprint, labels, value, now_ms),
            };
            let from = known.map_or(State::Inactive, |alert| alert.state);
            self.hold(rule, now_ms, alert, from, sample, &mut changes);
        }
        self.forget_surplus(rule, &mut changes);
        Ok(changes)
    }

    /// The expression holds for the labels of `alert`, which was `from` before.
    fn hold(
        &mut self,
        rule: &Rule,
        now_ms: i64,
        mut alert: Alert,
        from: State,
        sample: &Labels,
        changes: &mut Changes,
    ) {
        alert.annotations = rule.alert_annotations(sample, alert.value);
        // A clock that was set back must not make `for` last longer.
        alert.active_at_ms = alert.active_at_ms.min(now_ms);
        let kept_on = alert.keep_firing_since_ms.take().is_some();
        if alert.state == State::Pending && now_ms - alert.active_at_ms >= rule.for_ms as i64 {
            alert.state = State::Firing;
            alert.fired_at_ms = Some(now_ms);
        }
        if alert.state != from {
            changes.transitions.push(alert.transition(rule, now_ms, from));
        }
        if alert.state != from || kept_on {
            changes.changed.push(alert.fingerprint);
        }
        self.by_fingerprint.insert(alert.fingerprint, alert);
    }

    /// Ends the alerts for which the expression no longer holds.
    fn end_absent(
        &mut self,
        rule: &Rule,
        now_ms: i64,
        holds: impl Fn(Fingerprint) -> bool,
        changes: &mut Changes,
    ) {
        self.by_fingerprint.retain(|fingerprint, alert| {
            if holds(*fingerprint) {
                return true;
            }
            match alert.state {
                State::Inactive => false,
                State::Pending => {
                    alert.state = State::Inactive;
                    changes.transitions.push(alert.transition(rule, now_ms, State::Pending));
                    changes.removed.push(*fingerprint);
                    false
                }
                State::Firing => {
                    let waiting = alert.keep_firing_since_ms.is_some();
                    let since_ms = alert.keep_firing_since_ms.map_or(now_ms, |since| since.min(now_ms));
                    if now_ms - since_ms < rule.keep_firing_for_ms as i64 {
                        alert.keep_firing_since_ms = Some(since_ms);
                        if !waiting {
                            changes.changed.push(*fingerprint);
                        }
                        return true;
                    }
                    alert.state = State::Resolved;
                    alert.keep_firing_since_ms = None;
                    alert.resolved_at_ms = Some(now_ms);
                    changes.transitions.push(alert.transition(rule, now_ms, State::Firing));
                    changes.changed.push(*fingerprint);
                    true
                }
                State::Resolved => {
                    let kept = alert.resolved_at_ms.is_some_and(|at| now_ms - at <= RESOLVED_KEPT_MS);
                    if !kept {
                        changes.removed.push(*fingerprint);
                    }
                    kept
                }
            }
        });
    }

    /// Keeps no more resolved alerts than a rule may have active ones.
    fn forget_surplus(&mut self, rule: &Rule, changes: &mut Changes) {
        let mut resolved: Vec<(i64, Fingerprint)> = self
            .iter()
            .filter(|alert| alert.state == State::Resolved)
            .map(|alert| (alert.resolved_at_ms.unwrap_or(i64::MIN), alert.fingerprint))
            .collect();
        let surplus = resolved.len().saturating_sub(rule.alerts_max);
        if surplus == 0 {
            return;
        }
        resolved.sort_unstable();
        for (_, fingerprint) in resolved.into_iter().take(surplus) {
            self.by_fingerprint.remove(&fingerprint);
            changes.changed.retain(|changed| *changed != fingerprint);
            changes.removed.push(fingerprint);
        }
    }
}

impl Alert {
    fn begun(fingerprint: Fingerprint, labels: Labels, value: f64, now_ms: i64) -> Self {
        Alert {
            fingerprint,
            labels,
            annotations: Labels::default(),
            value,
            state: State::Pending,
            active_at_ms: now_ms,
            fired_at_ms: None,
            keep_firing_since_ms: None,
            resolved_at_ms: None,
        }
    }

    /// Pending or firing.
    pub fn is_active(&self) -> bool {
        matches!(self.state, State::Pending | State::Firing)
    }

    fn transition(&self, rule: &Rule, at_ms: i64, from: State) -> Transition {
        Transition {
            at_ms,
            rule: (*rule.name).into(),
            labels: self.labels.clone(),
            from,
            to: self.state,
            value: self.value,
        }
    }
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            State::Inactive => "inactive",
            State::Pending => "pending",
            State::Firing => "firing",
            State::Resolved => "resolved",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// As in URLs and bodies: 16 hexadecimal digits.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The fingerprint of the alert of rule `rule` with `labels`.
pub fn fingerprint(rule: RuleId, labels: &Labels) -> Fingerprint {
    let mut hash = Xxh3::with_seed(rule.0);
    for text in labels.iter().flat_map(|(name, value)| [name, value]) {
        hash.update(&(text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    Fingerprint(hash.digest())
}

#[cfg(test)]
mod tests {
    use super::super::rule::Definition;
    use super::*;
    use proptest::prelude::*;

    const STEP_MS: i64 = 10_000;

    fn rule(for_s: u64, keep_firing_for_s: u64) -> Rule {
        let definition = Definition {
            name: "R".into(),
            expr: "x > 0".into(),
            for_ms: for_s * 1_000,
            keep_firing_for_ms: keep_firing_for_s * 1_000,
            annotations: vec![("summary".into(), "is {{ $value }}".into())],
            ..Default::default()
        };
        Rule::new(&definition).unwrap()
    }

    fn sample(host: &str, value: f64) -> (Labels, f64) {
        (Labels::from_pairs([("host", host)]), value)
    }

    /// One evaluation every 10 s: `x` the expression holds, `.` it does not,
    /// `e` it fails. Expected after each: inactive, pending, firing, resolved.
    fn check(for_s: u64, keep_firing_for_s: u64, evaluations: &str, expected: &str) {
        let rule = rule(for_s, keep_firing_for_s);
        let mut alerts = Alerts::default();
        let mut transitions = Vec::new();
        let mut states = String::new();
        for (n, evaluation) in evaluations.chars().enumerate() {
            let result = match evaluation {
                'x' => vec![sample("a", n as f64)],
                _ => vec![],
            };
            // A failed evaluation is never applied.
            if evaluation != 'e' {
                let changes = alerts.apply(&rule, n as i64 * STEP_MS, &result).unwrap();
                transitions.extend(changes.transitions);
            }
            states.push(alerts.iter().next().map_or('i', |alert| match alert.state {
                State::Inactive => 'i',
                State::Pending => 'p',
                State::Firing => 'f',
                State::Resolved => 'r',
            }));
        }
        assert_eq!(states, expected, "for {for_s}s, keep_firing_for {keep_firing_for_s}s, {evaluations}");
        // Each transition starts where the one before ended.
        let mut at = State::Inactive;
        for transition in transitions {
            assert_eq!(transition.from, at, "{evaluations}");
            assert_ne!(transition.to, at, "{evaluations}");
            at = transition.to;
        }
    }

    #[test]
    fn states_follow_the_evaluations() {
        check(0, 0, "..x..", "iifrr");
        check(0, 0, "xx.x", "ffrf");
        check(20, 0, "xxxx..", "ppffrr");
        check(20, 0, "xx.xxx", "ppippf");
        check(20, 0, "xxxx.xx.", "ppffrppi");
        check(0, 20, "x...x", "fffrf");
        check(0, 20, "x....", "fffrr");
        check(0, 20, "x..x...", "ffffffr");
        check(10, 20, "x.x", "pip");
        check(20, 0, "xeex", "pppf");
        check(0, 0, "xeee.", "ffffr");
        check(0, 10, "xe.e.", "ffffr");
    }

    #[test]
    fn value_and_texts_are_those_of_the_last_evaluation_at_which_it_held() {
        let rule = rule(0, 0);
        let mut alerts = Alerts::default();
        for (at, result) in [(0, vec![sample("a", 1.0)]), (10, vec![sample("a", 7.0)]), (20, vec![])] {
            alerts.apply(&rule, at, &result).unwrap();
        }
        let alert = alerts.iter().next().unwrap();
        assert_eq!((alert.value, alert.annotations.get("summary")), (7.0, Some("is 7")));
        assert_eq!((alert.active_at_ms, alert.fired_at_ms, alert.resolved_at_ms), (0, Some(0), Some(20)));
    }

    #[test]
    fn a_resolved_alert_is_forgotten_after_a_quarter_of_an_hour() {
        let rule = rule(0, 0);
        let mut alerts = Alerts::default();
        alerts.apply(&rule, 0, &[sample("a", 1.0)]).unwrap();
        alerts.apply(&rule, 10, &[]).unwrap();
        assert_eq!(alerts.apply(&rule, 10 + RESOLVED_KEPT_MS, &[]).unwrap(), Changes::default());
        assert_eq!(alerts.apply(&rule, 11 + RESOLVED_KEPT_MS, &[]).unwrap().removed.len(), 1);
        assert_eq!(alerts.iter().len(), 0);
    }

    #[test]
    fn each_label_set_has_its_own_state() {
        let rule = rule(10, 0);
        let mut alerts = Alerts::default();
        alerts.apply(&rule, 0, &[sample("a", 1.0)]).unwrap();
        let changes = alerts.apply(&rule, 10_000, &[sample("b", 1.0), sample("a", 1.0)]).unwrap();
        assert_eq!(changes.transitions.len(), 2);
        let states: BTreeMap<&str, State> =
            alerts.iter().map(|alert| (alert.labels.get("host").unwrap(), alert.state)).collect();
        assert_eq!(states, BTreeMap::from([("a", State::Firing), ("b", State::Pending)]));
    }

    #[test]
    fn the_same_labels_twice_are_an_error_that_changes_nothing() {
        let rule = rule(0, 0);
        let mut alerts = Alerts::default();
        alerts.apply(&rule, 0, &[sample("a", 1.0)]).unwrap();
        let named = |name| (Labels::from_pairs([("__name__", name), ("host", "b")]), 1.0);
        let error = alerts.apply(&rule, 10, &[named("m1"), named("m2")]).unwrap_err();
        assert!(error.to_string().contains(r#"{alertname="R", host="b"}"#), "{error}");
        assert_eq!(alerts.iter().next().unwrap().state, State::Firing);
    }

    #[test]
    fn over_the_limit_known_alerts_stay_and_new_ones_are_counted() {
        let rule = Rule { alerts_max: 2, ..rule(0, 0) };
        let mut alerts = Alerts::default();
        alerts.apply(&rule, 0, &[sample("z", 1.0)]).unwrap();
        let many: Vec<_> = ["a", "b", "c", "z"].map(|host| sample(host, 1.0)).into();
        let changes = alerts.apply(&rule, 10, &many).unwrap();
        assert_eq!((alerts.iter().len(), changes.over_limit), (2, 2));
        assert!(alerts.iter().any(|alert| alert.labels.get("host") == Some("z")));

        // Resolved ones are bounded too, the newest are kept.
        alerts.apply(&rule, 20, &[sample("d", 1.0), sample("e", 1.0)]).unwrap();
        let changes = alerts.apply(&rule, 30, &[]).unwrap();
        assert_eq!(changes.removed.len(), 2);
        let hosts: Vec<_> = alerts.iter().filter_map(|alert| alert.labels.get("host")).collect();
        assert_eq!((hosts.len(), hosts.contains(&"d"), hosts.contains(&"e")), (2, true, true));
    }

    #[test]
    fn a_clock_set_back_does_not_stretch_for() {
        let rule = rule(20, 0);
        let mut alerts = Alerts::default();
        for (at_s, expected) in
            [(100, State::Pending), (40, State::Pending), (50, State::Pending), (60, State::Firing)]
        {
            alerts.apply(&rule, at_s * 1_000, &[sample("a", 1.0)]).unwrap();
            assert_eq!(alerts.iter().next().unwrap().state, expected, "{at_s}");
        }
    }

    /// The same rules said in another way: episodes within the whole history,
    /// instead of one step after another.
    fn episodes(for_ms: i64, keep_ms: i64, holds: &[bool]) -> Vec<State> {
        let mut states = vec![State::Inactive; holds.len()];
        let mut at = 0;
        let mut ended = State::Inactive;
        while let Some(begin) = (at..holds.len()).find(|n| holds[*n]) {
            states[at..begin].fill(ended);
            let run_end = (begin..holds.len()).find(|n| !holds[*n]).unwrap_or(holds.len());
            let fires = (begin..run_end).find(|n| (n - begin) as i64 * STEP_MS >= for_ms);
            let Some(fires) = fires else {
                states[begin..run_end].fill(State::Pending);
                ended = State::Inactive;
                at = run_end;
                continue;
            };
            // Over once it has not held for `keep_ms`, counted from the first absence.
            let over = (fires..holds.len()).find(|end| {
                let first_absent = (0..=*end).rev().take_while(|n| !holds[*n]).last();
                first_absent.is_some_and(|first| (end - first) as i64 * STEP_MS >= keep_ms)
            });
            states[begin..fires].fill(State::Pending);
            at = over.unwrap_or(holds.len());
            states[fires..at].fill(State::Firing);
            ended = State::Resolved;
        }
        states[at..].fill(ended);
        states
    }

    proptest! {
        #[test]
        fn states_are_those_of_the_episodes(
            for_steps in 0u64..4,
            keep_steps in 0u64..4,
            holds in prop::collection::vec(any::<bool>(), 0..60),
        ) {
            let rule = rule(for_steps * 10, keep_steps * 10);
            let mut alerts = Alerts::default();
            let expected = episodes(rule.for_ms as i64, rule.keep_firing_for_ms as i64, &holds);
            for (n, holds) in holds.iter().enumerate() {
                let result: Vec<_> = holds.then(|| sample("a", 1.0)).into_iter().collect();
                alerts.apply(&rule, n as i64 * STEP_MS, &result).unwrap();
                let found = alerts.iter().next().map_or(State::Inactive, |alert| alert.state);
                prop_assert_eq!(found, expected[n], "at {}", n);
            }
        }
    }
}
