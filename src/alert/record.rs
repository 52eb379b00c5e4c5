//! Alerts and transitions in the form in which they are stored, and back.

use super::state::{Alert, Fingerprint, State, Transition};
use crate::model::Labels;
use crate::store::state::{AlertRecord, HistoryRecord, Pairs, RecordState};

pub fn pairs(labels: &Labels) -> Pairs {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

pub fn labels(pairs: Pairs) -> Labels {
    Labels::from_pairs(pairs)
}

pub fn of_alert(alert: &Alert) -> AlertRecord {
    AlertRecord {
        state: of_state(alert.state),
        labels: pairs(&alert.labels),
        annotations: pairs(&alert.annotations),
        value: alert.value,
        active_at_ms: alert.active_at_ms,
        fired_at_ms: alert.fired_at_ms,
        keep_firing_since_ms: alert.keep_firing_since_ms,
        resolved_at_ms: alert.resolved_at_ms,
    }
}

pub fn to_alert(fingerprint: Fingerprint, record: AlertRecord) -> Alert {
    Alert {
        fingerprint,
        labels: labels(record.labels),
        annotations: labels(record.annotations),
        value: record.value,
        state: to_state(record.state),
        active_at_ms: record.active_at_ms,
        fired_at_ms: record.fired_at_ms,
        keep_firing_since_ms: record.keep_firing_since_ms,
        resolved_at_ms: record.resolved_at_ms,
    }
}

pub fn of_transition(transition: &Transition) -> HistoryRecord {
    HistoryRecord {
        at_ms: transition.at_ms,
        rule: transition.rule.to_string(),
        labels: pairs(&transition.labels),
        from: of_state(transition.from),
        to: of_state(transition.to),
        value: transition.value,
    }
}

pub fn to_transition(record: HistoryRecord) -> Transition {
    Transition {
        at_ms: record.at_ms,
        rule: record.rule.into(),
        labels: labels(record.labels),
        from: to_state(record.from),
        to: to_state(record.to),
        value: record.value,
    }
}

fn of_state(state: State) -> RecordState {
    match state {
        State::Inactive => RecordState::Inactive,
        State::Pending => RecordState::Pending,
        State::Firing => RecordState::Firing,
        State::Resolved => RecordState::Resolved,
    }
}

fn to_state(state: RecordState) -> State {
    match state {
        RecordState::Inactive => State::Inactive,
        RecordState::Pending => State::Pending,
        RecordState::Firing => State::Firing,
        RecordState::Resolved => State::Resolved,
    }
}
