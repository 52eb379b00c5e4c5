//! Which series there are, and which of them a selector means.
//!
//! Found by name, as it was sent and escaped; the other matchers filter what
//! the name leaves over. A series is known for as long as the head or a block
//! holds points of it.

use crate::model::label::{NAME, escape_name};
use crate::model::{MatchOp, Matcher, SeriesId, SeriesKey};
use std::collections::{HashMap, HashSet};

/// The series of a store.
#[derive(Debug, Default)]
pub(super) struct Index {
    series: HashMap<SeriesId, Entry, foldhash::fast::RandomState>,
    /// Ids by the name that was sent; ascending.
    by_name: HashMap<Box<str>, Vec<SeriesId>>,
    /// Names as sent by their escaped form, where that differs.
    by_escaped: HashMap<Box<str>, Vec<Box<str>>>,
}

#[derive(Debug)]
struct Entry {
    key: SeriesKey,
    /// Parts of the head and blocks that hold points of it.
    holders: u32,
}

impl Index {
    pub(super) fn len(&self) -> usize {
        self.series.len()
    }

    pub(super) fn key(&self, id: SeriesId) -> Option<&SeriesKey> {
        self.series.get(&id).map(|entry| &entry.key)
    }

    /// Makes a series known, unless its id is.
    pub(super) fn define(&mut self, id: SeriesId, key: &SeriesKey) {
        if self.series.contains_key(&id) {
            return;
        }
        let name = key.labels.name();
        if !self.by_name.contains_key(name) {
            self.by_name.insert(name.into(), Vec::new());
            let escaped = escape_name(name);
            if escaped != name {
                self.by_escaped.entry(escaped.into()).or_default().push(name.into());
            }
        }
        if let Some(ids) = self.by_name.get_mut(name)
            && let Err(at) = ids.binary_search(&id)
        {
            ids.insert(at, id);
        }
        self.series.insert(id, Entry { key: key.clone(), holders: 0 });
    }

    /// One more part holds points of the series.
    pub(super) fn hold(&mut self, id: SeriesId) {
        if let Some(entry) = self.series.get_mut(&id) {
            entry.holders += 1;
        }
    }

    /// One part less for each of `ids`; a series goes with its last part.
    pub(super) fn release(&mut self, ids: impl IntoIterator<Item = SeriesId>) {
        // Names are swept once, however many of their series go.
        let mut touched: HashSet<Box<str>> = HashSet::new();
        for id in ids {
            let Some(entry) = self.series.get_mut(&id) else { continue };
            entry.holders = entry.holders.saturating_sub(1);
            if entry.holders == 0 {
                touched.insert(entry.key.labels.name().into());
                self.series.remove(&id);
            }
        }
        self.sweep(touched);
    }

    /// Forgets the series that no part holds points of.
    pub(super) fn forget_unheld(&mut self) {
        let unheld: Vec<SeriesId> =
            self.series.iter().filter(|(_, entry)| entry.holders == 0).map(|(id, _)| *id).collect();
        self.release(unheld);
    }

    fn sweep(&mut self, names: HashSet<Box<str>>) {
        for name in names {
            let Some(ids) = self.by_name.get_mut(&name) else { continue };
            ids.retain(|id| self.series.contains_key(id));
            if !ids.is_empty() {
                continue;
            }
            self.by_name.remove(&name);
            let escaped = escape_name(&name);
            if let Some(names) = self.by_escaped.get_mut(&*escaped) {
                names.retain(|other| *other != name);
                if names.is_empty() {
                    self.by_escaped.remove(&*escaped);
                }
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (SeriesId, &SeriesKey)> {
        self.series.iter().map(|(id, entry)| (*id, &entry.key))
    }

    /// The series that fulfil all matchers, in no order.
    pub(super) fn matching<'a>(&'a self, matchers: &[Matcher]) -> Vec<(SeriesId, &'a SeriesKey)> {
        let on_name: Vec<&Matcher> = matchers.iter().filter(|matcher| matcher.name == NAME).collect();
        let others: Vec<&Matcher> = matchers.iter().filter(|matcher| matcher.name != NAME).collect();
        let mut found = Vec::new();
        let mut take = |ids: &[SeriesId]| {
            for id in ids {
                let Some(key) = self.key(*id) else { continue };
                if others.iter().all(|matcher| matcher.matches(&key.labels)) {
                    found.push((*id, key));
                }
            }
        };
        let named = |name: &str| on_name.iter().all(|matcher| matcher.matches_value(name));
        let wanted = on_name.iter().find(|m| matches!(m.op, MatchOp::Equal));
        match wanted {
            Some(wanted) => {
                let as_sent = std::iter::once(wanted.value.as_str());
                let escaped = self.by_escaped.get(wanted.value.as_str()).into_iter().flatten();
                for name in as_sent.chain(escaped.map(|name| &**name)) {
                    if let Some(ids) = self.by_name.get(name).filter(|_| named(name)) {
                        take(ids);
                    }
                }
            }
            None => {
                self.by_name.iter().filter(|(name, _)| named(name)).for_each(|(_, ids)| take(ids));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Labels, MetricType};

    fn index() -> Index {
        let mut index = Index::default();
        let series = [
            (1, "etl.errors", "a"),
            (2, "etl.errors", "b"),
            (3, "etl_errors", "a"),
            (4, "etl-errors", "c"),
            (5, "up", "a"),
        ];
        for (id, name, job) in series {
            let labels = Labels::from_pairs([(NAME, name), ("job", job)]);
            index.define(SeriesId(id), &SeriesKey { labels, metric_type: MetricType::Counter });
            index.hold(SeriesId(id));
        }
        index
    }

    fn check(index: &Index, matchers: &[Matcher], expected: &[u32]) {
        let mut ids: Vec<u32> = index.matching(matchers).iter().map(|(id, _)| id.0).collect();
        ids.sort_unstable();
        assert_eq!(ids, expected, "{matchers:?}");
        // The same as asking every series.
        let mut slow: Vec<u32> = index
            .iter()
            .filter(|(_, key)| matchers.iter().all(|m| m.matches(&key.labels)))
            .map(|(id, _)| id.0)
            .collect();
        slow.sort_unstable();
        assert_eq!(slow, expected, "{matchers:?}");
    }

    #[test]
    fn selectors_find_what_they_mean() {
        let index = index();
        check(&index, &[], &[1, 2, 3, 4, 5]);
        check(&index, &[Matcher::equal(NAME, "etl.errors")], &[1, 2]);
        check(&index, &[Matcher::equal(NAME, "etl_errors")], &[1, 2, 3, 4]);
        check(&index, &[Matcher::equal(NAME, "etl_errors"), Matcher::equal("job", "a")], &[1, 3]);
        check(&index, &[Matcher::regex(NAME, "etl.*").unwrap(), Matcher::not_equal("job", "a")], &[2, 4]);
        check(&index, &[Matcher::not_regex(NAME, "etl.*").unwrap()], &[5]);
        check(&index, &[Matcher::equal("job", "c")], &[4]);
        check(&index, &[Matcher::equal("missing", "")], &[1, 2, 3, 4, 5]);
        check(&index, &[Matcher::equal(NAME, "etl_errors"), Matcher::not_equal(NAME, "etl.errors")], &[3, 4]);
        check(&index, &[Matcher::equal(NAME, "")], &[]);
    }

    #[test]
    fn a_series_goes_with_its_last_points() {
        let mut index = index();
        index.hold(SeriesId(4));
        index.release([SeriesId(4)]);
        check(&index, &[Matcher::equal(NAME, "etl-errors")], &[4]);
        index.release([SeriesId(4)]);
        check(&index, &[Matcher::equal(NAME, "etl_errors")], &[1, 2, 3]);
        index.release([1, 2, 3, 5].map(SeriesId));
        assert_eq!((index.len(), index.by_name.len(), index.by_escaped.len()), (0, 0, 0));
    }
}
