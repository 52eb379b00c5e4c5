//! Who is over a limit: the names whose lines went into overflow series, with
//! how many. A bounded number of names is kept; when it is full the one with
//! the fewest lines makes room and its lines count under "others".
//!
//! What is told is of now: after an hour without such a line it starts anew.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Names kept.
pub const NAMES_MAX: usize = 64;
/// Silence after which the figures start anew.
const FORGET_MS: i64 = 3_600_000;

/// See the module's head. Shared by all tables, which tell once a window.
#[derive(Debug, Default)]
pub struct Offenders(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    lines: HashMap<Box<str>, u64>,
    others: u64,
    since_ms: i64,
    last_ms: i64,
}

/// What was over a limit, the worst first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offence {
    /// Names, or beginnings of names that end in `.*`, and lines of each.
    pub names: Vec<(String, u64)>,
    /// Lines of further names.
    pub others: u64,
    /// The first and the last of these lines came before, in ms since the epoch.
    pub since_ms: i64,
    pub last_ms: i64,
}

impl Offenders {
    /// Notes lines by name; `others` are of names that were not kept apart.
    pub fn note(&self, now_ms: i64, lines: impl IntoIterator<Item = (Box<str>, u64)>, others: u64) {
        let mut inner = self.lock();
        if inner.last_ms == 0 || now_ms - inner.last_ms > FORGET_MS {
            *inner = Inner { since_ms: now_ms, ..Inner::default() };
        }
        inner.last_ms = now_ms;
        inner.others += others;
        for (name, lines) in lines {
            inner.add(name, lines);
        }
    }

    /// What is known at `now_ms`; `None` when there was nothing for an hour.
    pub fn worst(&self, now_ms: i64) -> Option<Offence> {
        let inner = self.lock();
        if inner.last_ms == 0 || now_ms - inner.last_ms > FORGET_MS {
            return None;
        }
        let mut names: Vec<(String, u64)> =
            inner.lines.iter().map(|(name, lines)| (name.to_string(), *lines)).collect();
        names.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        Some(Offence { names, others: inner.others, since_ms: inner.since_ms, last_ms: inner.last_ms })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn add(&mut self, name: Box<str>, lines: u64) {
        if let Some(known) = self.lines.get_mut(&name) {
            *known += lines;
            return;
        }
        if self.lines.len() >= NAMES_MAX {
            let least = self.lines.iter().min_by_key(|(_, lines)| **lines);
            let Some((least, fewest)) = least.map(|(name, lines)| (name.clone(), *lines)) else { return };
            if lines <= fewest {
                self.others += lines;
                return;
            }
            self.lines.remove(&least);
            self.others += fewest;
        }
        self.lines.insert(name, lines);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_come_first_and_no_line_is_lost() {
        let offenders = Offenders::default();
        assert_eq!(offenders.worst(0), None);
        for at in 0..200_u64 {
            offenders.note(1_000, [(format!("n{at}").into(), 1 + at % 7), ("big".into(), 10)], 1);
        }
        let worst = offenders.worst(2_000).unwrap();
        assert_eq!(worst.names[0], ("big".to_owned(), 2_000));
        assert_eq!(worst.names.len(), NAMES_MAX);
        let sent: u64 = (0..200).map(|at| 1 + at % 7 + 10 + 1).sum();
        assert_eq!(worst.names.iter().map(|(_, lines)| lines).sum::<u64>() + worst.others, sent);
    }

    #[test]
    fn what_is_over_is_not_told_for_ever() {
        let offenders = Offenders::default();
        offenders.note(1_000, [("a".into(), 1)], 0);
        assert_eq!(offenders.worst(1_000 + FORGET_MS).unwrap().since_ms, 1_000);
        assert_eq!(offenders.worst(1_001 + FORGET_MS), None);
        offenders.note(2_000 + FORGET_MS, [("b".into(), 1)], 0);
        let worst = offenders.worst(2_000 + FORGET_MS).unwrap();
        assert_eq!((worst.since_ms, worst.names.len()), (2_000 + FORGET_MS, 1));
    }
}
