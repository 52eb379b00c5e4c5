//! Which series there are, and their numbers.
//!
//! A series is held by the tables that know its number; what is held is not
//! forgotten, so that no number in a table is without its series.
//!
//! One name has one type: the first that came. A series of another type is
//! kept under the same name with the label `statsdeck_type`, so that nothing is
//! lost and a query never meets two series with the same labels.

use crate::model::{MetricType, SeriesId, SeriesKey};
use crate::protocol::tag::OWN_PREFIX;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

/// Label that tells a series apart whose name is another type's.
pub const TYPE_LABEL: &str = "statsdeck_type";

/// Ended series that are still known, for each one that may be alive: what the
/// store has points of keeps its number, so that its total goes on.
const ENDED_SHARE_MAX: usize = 4;

/// Series are numbered here; shared by all tables.
#[derive(Debug)]
pub struct Registry {
    inner: Mutex<Inner>,
    series_max: usize,
    /// How many of them have ended, as of the last flush.
    ended: AtomicUsize,
}

#[derive(Debug, Default)]
struct Inner {
    ids: HashMap<SeriesKey, SeriesId, foldhash::fast::RandomState>,
    types: HashMap<Box<str>, (MetricType, usize), foldhash::fast::RandomState>,
    /// How many hold a series; absent: nobody.
    holders: HashMap<SeriesId, u32, foldhash::fast::RandomState>,
    /// Our own series among `ids`; their number is fixed, and no limit's.
    own: usize,
    next_id: u32,
    /// Registered since [`Registry::take_new`] was called last.
    new: Vec<(SeriesId, SeriesKey)>,
}

impl Registry {
    /// An empty registry that takes `series_max` series that are alive.
    pub fn new(series_max: usize) -> Self {
        Registry { inner: Mutex::default(), series_max, ended: AtomicUsize::new(0) }
    }

    /// Tells how many of the series have ended: they make room for others.
    pub fn note_ended(&self, ended: usize) {
        self.ended.store(ended, Ordering::Relaxed);
    }

    /// Takes over what the store knows: series, and the first number never used.
    pub fn restore(&self, series: impl IntoIterator<Item = (SeriesId, SeriesKey)>, next_id: u32) {
        let mut inner = self.lock();
        for (id, key) in series {
            inner.remember(id, key);
        }
        inner.next_id = inner.next_id.max(next_id);
    }

    /// The number of the series, new or known, held until it is released;
    /// `None` when the limit is reached. Our own series have no part in the
    /// limit.
    pub fn register(&self, mut key: SeriesKey) -> Option<SeriesId> {
        let mut inner = self.lock();
        let own = is_own(&key);
        if let Some((first, _)) = inner.types.get(key.labels.name())
            && *first != key.metric_type
        {
            key.labels = key.labels.with(TYPE_LABEL, key.metric_type.as_str());
        }
        if let Some(id) = inner.ids.get(&key).copied() {
            inner.hold(id);
            return Some(id);
        }
        let ended = self.ended.load(Ordering::Relaxed).min(self.series_max.saturating_mul(ENDED_SHARE_MAX));
        let full = !own && inner.ids.len() - inner.own >= self.series_max.saturating_add(ended);
        if full || inner.next_id == u32::MAX {
            return None;
        }
        let id = SeriesId(inner.next_id);
        inner.remember(id, key.clone());
        inner.hold(id);
        inner.new.push((id, key));
        Some(id)
    }

    /// The series registered since the last call.
    pub fn take_new(&self) -> Vec<(SeriesId, SeriesKey)> {
        std::mem::take(&mut self.lock().new)
    }

    /// One holder less for each of `ids`.
    pub fn release(&self, ids: &[SeriesId]) {
        let mut inner = self.lock();
        for id in ids {
            if let Some(holders) = inner.holders.get_mut(id) {
                *holders -= 1;
                if *holders == 0 {
                    inner.holders.remove(id);
                }
            }
        }
    }

    /// Forgets a series unless it is held: its number is not given again.
    /// Says whether it is forgotten.
    pub fn forget(&self, id: SeriesId, key: &SeriesKey) -> bool {
        let mut inner = self.lock();
        if inner.holders.contains_key(&id) {
            return false;
        }
        if inner.ids.get(key) == Some(&id) {
            inner.ids.remove(key);
            inner.own -= usize::from(is_own(key));
            let name = key.labels.name();
            if let Some((_, users)) = inner.types.get_mut(name) {
                *users -= 1;
                if *users == 0 {
                    inner.types.remove(name);
                }
            }
        }
        true
    }

    pub fn len(&self) -> usize {
        self.lock().ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // The map is consistent between statements: a panic elsewhere does not spoil it.
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Inner {
    fn hold(&mut self, id: SeriesId) {
        *self.holders.entry(id).or_default() += 1;
    }

    fn remember(&mut self, id: SeriesId, key: SeriesKey) {
        let name = key.labels.name();
        match self.types.get_mut(name) {
            Some((_, users)) => *users += 1,
            None => {
                self.types.insert(name.into(), (key.metric_type, 1));
            }
        }
        self.next_id = self.next_id.max(id.0.saturating_add(1));
        self.own += usize::from(is_own(&key));
        self.ids.insert(key, id);
    }
}

/// Names in our name space come from ourselves alone: the parser sees to it.
fn is_own(key: &SeriesKey) -> bool {
    key.labels.name().starts_with(OWN_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;

    fn key(name: &str, metric_type: MetricType) -> SeriesKey {
        SeriesKey { labels: Labels::of_name(name), metric_type }
    }

    #[test]
    fn a_second_type_of_a_name_is_kept_apart() {
        let registry = Registry::new(10);
        let counter = registry.register(key("a", MetricType::Counter));
        let gauge = registry.register(key("a", MetricType::Gauge));
        assert_ne!(counter, gauge);
        assert_eq!(registry.register(key("a", MetricType::Gauge)), gauge);
        let new: Vec<String> = registry.take_new().iter().map(|(_, k)| k.labels.to_string()).collect();
        assert_eq!(new, ["a", r#"a{statsdeck_type="gauge"}"#]);
        assert!(registry.take_new().is_empty());
    }

    #[test]
    fn the_limit_holds_and_forgetting_makes_room() {
        let registry = Registry::new(1);
        assert_eq!(registry.register(key("a", MetricType::Counter)), Some(SeriesId(0)));
        assert_eq!(registry.register(key("b", MetricType::Counter)), None);
        assert!(registry.register(key("statsdeck_series", MetricType::Gauge)).is_some());
        assert!(!registry.forget(SeriesId(0), &key("a", MetricType::Counter)), "it is held");
        registry.release(&[SeriesId(0)]);
        assert!(registry.forget(SeriesId(0), &key("a", MetricType::Counter)));
        assert_eq!(registry.register(key("a", MetricType::Gauge)), Some(SeriesId(2)));
    }

    #[test]
    fn series_that_ended_make_room() {
        let registry = Registry::new(1);
        assert!(registry.register(key("a", MetricType::Counter)).is_some());
        registry.note_ended(1);
        assert!(registry.register(key("b", MetricType::Counter)).is_some());
        assert!(registry.register(key("c", MetricType::Counter)).is_none());
        registry.note_ended(1000);
        let more =
            (0..1000).filter(|at| registry.register(key(&format!("d{at}"), MetricType::Counter)).is_some());
        assert_eq!(more.count(), ENDED_SHARE_MAX - 1);
    }

    #[test]
    fn numbers_go_on_after_a_restart() {
        let registry = Registry::new(10);
        registry.restore([(SeriesId(4), key("a", MetricType::Counter))], 9);
        assert_eq!(registry.register(key("a", MetricType::Counter)), Some(SeriesId(4)));
        assert_eq!(registry.register(key("b", MetricType::Counter)), Some(SeriesId(9)));
        assert_eq!(registry.take_new().len(), 1);
    }
}
