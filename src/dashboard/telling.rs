//! How the lines of one chart are told apart: by the labels in which their
//! series differ, and by no others. Of more series than a chart has lines it is
//! said how many there are.

use super::chart::MAX_LINES;
use crate::model::Labels;
use crate::model::label::NAME;
use std::collections::BTreeSet;

/// The labels by which some series differ: only those need to be said.
pub(super) struct Telling(Vec<String>);

impl Telling {
    pub(super) fn apart<'a>(all: impl Iterator<Item = &'a Labels> + Clone) -> Self {
        let names: BTreeSet<&str> =
            all.clone().flat_map(|labels| labels.iter().map(|(name, _)| name)).collect();
        let differs = |name: &&str| {
            let mut values = all.clone().map(|labels| labels.get(name));
            let first = values.next();
            values.any(|value| Some(value) != first)
        };
        Telling(names.into_iter().filter(|name| *name != NAME).filter(differs).map(str::to_owned).collect())
    }

    pub(super) fn label(&self, labels: &Labels) -> String {
        let values: Vec<&str> = self.0.iter().map(|name| labels.get(name).unwrap_or("–")).collect();
        if values.is_empty() { labels.to_string() } else { values.join(", ") }
    }

    pub(super) fn note(&self, found: usize) -> Option<String> {
        let by = self.0.join(", ");
        let left_out = (found > MAX_LINES).then(|| format!("first {MAX_LINES} of {found}"));
        match (by.is_empty(), left_out) {
            (true, left_out) => left_out,
            (false, None) => Some(format!("by {by}")),
            (false, Some(left_out)) => Some(format!("by {by}, {left_out}")),
        }
    }
}
