//! What a query has to say beside its answer, in Prometheus' words: warnings,
//! where something was left out or is wrong, and infos, where something may be.

use super::error::Position;
use crate::lock::lock;
use std::collections::BTreeSet;
use std::sync::Mutex;

/// Most warnings, and most infos, that one query gives.
pub const MAX_ANNOTATIONS: usize = 10;

/// Collects both while a query is evaluated.
#[derive(Debug, Default)]
pub(crate) struct Annotations {
    warnings: Mutex<BTreeSet<String>>,
    infos: Mutex<BTreeSet<String>>,
    /// The query, of which positions are told.
    text: String,
    /// What was told last: the same is often told for one step after the other.
    last: Mutex<(usize, String)>,
}

impl Annotations {
    pub fn new(text: &str, warnings: &[String], infos: &[String]) -> Self {
        let some = |texts: &[String]| Mutex::new(texts.iter().take(MAX_ANNOTATIONS).cloned().collect());
        Annotations {
            warnings: some(warnings),
            infos: some(infos),
            text: text.into(),
            last: Mutex::default(),
        }
    }

    /// A warning of ours, about no place in particular.
    pub fn note(&self, message: impl Into<String>) {
        insert(&self.warnings, message.into());
    }

    /// A warning about what begins at byte `at` of the query.
    pub fn warn(&self, at: usize, message: &str) {
        self.tell(&self.warnings, "warning", at, message);
    }

    /// An info about what begins at byte `at` of the query.
    pub fn info(&self, at: usize, message: &str) {
        self.tell(&self.infos, "info", at, message);
    }

    fn tell(&self, set: &Mutex<BTreeSet<String>>, kind: &str, at: usize, message: &str) {
        let mut last = lock(&self.last);
        if last.0 == at && last.1 == message {
            return;
        }
        *last = (at, message.to_owned());
        insert(set, format!("PromQL {kind}: {message} ({})", Position::of(&self.text, at)));
    }

    /// Warnings and infos, each message once.
    pub fn into_lists(self) -> (Vec<String>, Vec<String>) {
        let list = |set: Mutex<BTreeSet<String>>| std::mem::take(&mut *lock(&set)).into_iter().collect();
        (list(self.warnings), list(self.infos))
    }
}

fn insert(set: &Mutex<BTreeSet<String>>, message: String) {
    let mut set = lock(set);
    set.insert(message);
    // The same ones stay, whichever of several threads was first.
    if set.len() > MAX_ANNOTATIONS {
        set.pop_last();
    }
}
