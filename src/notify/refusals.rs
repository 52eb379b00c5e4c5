//! Notices of one receiver that were given up. What the receiver refused alone
//! is not tried again in this run; what it could not take because it takes
//! nothing is, once it has taken another. Bound: two for each alert that the
//! outbox knows, since the others are forgotten at each update.

use super::message::{Message, Notice};
use std::collections::BTreeMap;

/// What a notice tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Firing,
    Resolved,
}

/// By alert, kind and the time at which the alert began to fire; whether the
/// receiver takes nothing at all.
#[derive(Debug, Default)]
pub struct Refusals(BTreeMap<(u64, Kind, i64), bool>);

impl Refusals {
    /// Notes all notices of `message`.
    pub fn add(&mut self, message: &Message, is_broken: bool) {
        for (kind, notices) in [(Kind::Firing, &message.firing), (Kind::Resolved, &message.resolved)] {
            self.0.extend(notices.iter().map(|notice| (key(kind, notice), is_broken)));
        }
    }

    pub fn contains(&self, kind: Kind, notice: &Notice) -> bool {
        self.0.contains_key(&key(kind, notice))
    }

    /// The receiver takes messages again; whether some are now to be told.
    pub fn forgive(&mut self) -> bool {
        let before = self.0.len();
        self.0.retain(|_, is_broken| !*is_broken);
        self.0.len() < before
    }

    /// Keeps those for which `is_known` of alert, kind and beginning holds.
    pub fn retain(&mut self, is_known: impl Fn(u64, Kind, i64) -> bool) {
        self.0.retain(|(fingerprint, kind, fired_at_ms), _| is_known(*fingerprint, *kind, *fired_at_ms));
    }
}

fn key(kind: Kind, notice: &Notice) -> (u64, Kind, i64) {
    (notice.fingerprint, kind, notice.fired_at_ms)
}
