//! What one message tells: the alerts of one rule that began to fire or were
//! resolved since the receiver was told last. Plain data; how it looks is the
//! receiver's business.

use std::sync::Arc;

use crate::model::Labels;

/// One alert in a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    pub fingerprint: u64,
    pub labels: Labels,
    pub annotations: Labels,
    pub value: f64,
    pub fired_at_ms: i64,
    /// Set when the notice says that the alert is over.
    pub resolved_at_ms: Option<i64>,
}

/// The changed alerts of one rule; never empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub rule: Arc<str>,
    /// The rule's expression; `None` when the rule is gone.
    pub expr: Option<Arc<str>>,
    pub firing: Vec<Notice>,
    pub resolved: Vec<Notice>,
}

impl Message {
    /// Alertmanager's default title, without labels: `[FIRING:2] EtlErrors`.
    pub fn title(&self) -> String {
        let state = match (self.firing.len(), self.resolved.len()) {
            (0, 0 | 1) => "RESOLVED".to_owned(),
            (0, resolved) => format!("RESOLVED:{resolved}"),
            (firing, 0) => format!("FIRING:{firing}"),
            (firing, resolved) => format!("FIRING:{firing}, RESOLVED:{resolved}"),
        };
        format!("[{state}] {}", self.rule)
    }

    /// All notices, firing ones first.
    pub fn notices(&self) -> impl Iterator<Item = &Notice> {
        self.firing.iter().chain(&self.resolved)
    }

    pub fn is_firing(&self) -> bool {
        !self.firing.is_empty()
    }

    pub fn is_empty(&self) -> bool {
        self.firing.is_empty() && self.resolved.is_empty()
    }
}
