//! Which series there are, and their numbers.
//!
//! A series is held by the tables that know its number; what is held is not
//! forgotten, so that no number in a table is without its series.
//!
//! One name has one type: the first that came. A series of another type is
//! kept under the same name with the label `statsdeck_type`, so that nothing is
//! lost and a query never meets two series with the same labels.

use super::overflow::{is_overflow, overflow_series};
use super::quota::{ENDED_SHARE_MAX, PrefixUse, Quotas};
use crate::model::{MetricType, SeriesId, SeriesKey};
use crate::protocol::tag::OWN_PREFIX;
use crate::telemetry::Overflowed;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

/// Label that tells a series apart whose name is another type's.
pub const TYPE_LABEL: &str = "statsdeck_type";

const HOUR_MS: i64 = 3_600_000;

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
    quotas: Quotas,
    /// When the hour began, in ms since the epoch, and the first number that
    /// was given in it.
    hour: (i64, u32),
    /// Registered since [`Registry::take_new`] was called last.
    new: Vec<(SeriesId, SeriesKey)>,
}

impl Registry {
    /// An empty registry that takes `series_max` series that are alive.
    pub fn new(series_max: usize) -> Self {
        Registry { inner: Mutex::default(), series_max, ended: AtomicUsize::new(0) }
    }

    /// The same with limits for prefixes of names.
    pub fn with_quotas(self, quotas: Quotas) -> Self {
        self.lock().quotas = quotas;
        self
    }

    /// Tells which of the series have ended: they make room for others.
    pub fn note_ended(&self, ended: &[SeriesId]) {
        self.ended.store(ended.len(), Ordering::Relaxed);
        self.lock().quotas.note_ended(ended);
    }

    /// Tells the time, so that it is known what is new in an hour.
    pub fn note_time(&self, now_ms: i64) {
        let mut inner = self.lock();
        let hour_ms = now_ms - now_ms.rem_euclid(HOUR_MS);
        // The first hour begins with the daemon.
        if inner.hour.0 == 0 || inner.hour.0 - inner.hour.0.rem_euclid(HOUR_MS) < hour_ms {
            let began_ms = if inner.hour.0 == 0 { now_ms } else { hour_ms };
            inner.hour = (began_ms, inner.next_id);
        }
    }

    /// When the hour began (or the daemon, if later), in ms since the epoch;
    /// and the number from which on series are new in it.
    pub fn hour(&self) -> (i64, SeriesId) {
        let (began_ms, first) = self.lock().hour;
        (began_ms, SeriesId(first))
    }

    /// The limit of all series that are alive.
    pub fn series_max(&self) -> usize {
        self.series_max
    }

    /// The limits of prefixes, and what is there of each.
    pub fn prefix_uses(&self) -> Vec<PrefixUse> {
        self.lock().quotas.uses()
    }

    /// Takes over what the store knows: series, and the first number never used.
    pub fn restore(&self, series: impl IntoIterator<Item = (SeriesId, SeriesKey)>, next_id: u32) {
        let mut inner = self.lock();
        for (id, key) in series {
            inner.remember(id, key);
        }
        inner.next_id = inner.next_id.max(next_id);
    }

    /// The number of the series, new or known, held until it is released; or
    /// the limit that is reached. Our own series have no part in limits.
    pub fn register(&self, key: SeriesKey) -> Result<SeriesId, Overflowed> {
        self.admit(&mut self.lock(), key)
    }

    /// Registers the overflow series for values of `key`, which was refused;
    /// none when there are no more numbers. Says whether the name was known.
    pub fn register_overflow(&self, key: &SeriesKey) -> Option<(SeriesId, SeriesKey, bool)> {
        let mut inner = self.lock();
        let known = inner.types.get(key.labels.name()).map(|(first, _)| *first);
        let overflow = overflow_series(key, known, inner.quotas.full(key.labels.name()));
        let id = self.admit(&mut inner, overflow.clone()).ok()?;
        Some((id, overflow, known.is_some()))
    }

    fn admit(&self, inner: &mut Inner, mut key: SeriesKey) -> Result<SeriesId, Overflowed> {
        let own = is_own(&key);
        if let Some((first, _)) = inner.types.get(key.labels.name())
            && *first != key.metric_type
        {
            key.labels = key.labels.with(TYPE_LABEL, key.metric_type.as_str());
        }
        if let Some(id) = inner.ids.get(&key).copied() {
            inner.hold(id);
            return Ok(id);
        }
        let ended = self.ended.load(Ordering::Relaxed).min(self.series_max.saturating_mul(ENDED_SHARE_MAX));
        let full = !own && inner.ids.len() - inner.own >= self.series_max.saturating_add(ended);
        if full || inner.next_id == u32::MAX {
            return Err(Overflowed::Series);
        }
        if !own && inner.quotas.full(key.labels.name()).is_some() {
            return Err(Overflowed::Prefix);
        }
        let id = SeriesId(inner.next_id);
        inner.remember(id, key.clone());
        inner.hold(id);
        inner.new.push((id, key));
        Ok(id)
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
            inner.quotas.forget(id);
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
        let own = is_own(&key);
        self.own += usize::from(own);
        if !own {
            self.quotas.remember(id, &key);
        }
        self.ids.insert(key, id);
    }
}

/// Names in our name space, of metrics and labels, come from ourselves alone:
/// the parser sees to it.
fn is_own(key: &SeriesKey) -> bool {
    key.labels.name().starts_with(OWN_PREFIX) || is_overflow(key)
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
        assert_eq!(registry.register(key("a", MetricType::Counter)), Ok(SeriesId(0)));
        assert_eq!(registry.register(key("b", MetricType::Counter)), Err(Overflowed::Series));
        assert!(registry.register(key("statsdeck_series", MetricType::Gauge)).is_ok());
        assert!(!registry.forget(SeriesId(0), &key("a", MetricType::Counter)), "it is held");
        registry.release(&[SeriesId(0)]);
        assert!(registry.forget(SeriesId(0), &key("a", MetricType::Counter)));
        assert_eq!(registry.register(key("a", MetricType::Gauge)), Ok(SeriesId(2)));
    }

    #[test]
    fn series_that_ended_make_room() {
        let registry = Registry::new(1);
        assert!(registry.register(key("a", MetricType::Counter)).is_ok());
        registry.note_ended(&[SeriesId(0)]);
        assert!(registry.register(key("b", MetricType::Counter)).is_ok());
        assert!(registry.register(key("c", MetricType::Counter)).is_err());
        registry.note_ended(&[SeriesId(0); 1000]);
        let more =
            (0..1000).filter(|at| registry.register(key(&format!("d{at}"), MetricType::Counter)).is_ok());
        assert_eq!(more.count(), ENDED_SHARE_MAX - 1);
    }

    #[test]
    fn numbers_go_on_after_a_restart() {
        let registry = Registry::new(10);
        registry.restore([(SeriesId(4), key("a", MetricType::Counter))], 9);
        assert_eq!(registry.register(key("a", MetricType::Counter)), Ok(SeriesId(4)));
        assert_eq!(registry.register(key("b", MetricType::Counter)), Ok(SeriesId(9)));
        assert_eq!(registry.take_new().len(), 1);
    }

    #[test]
    fn overflow_series_are_as_many_as_names_and_no_limits() {
        let registry = Registry::new(2);
        registry.register(key("a", MetricType::Counter)).unwrap();
        registry.register(key("b", MetricType::Timer)).unwrap();
        for at in 0..100 {
            for name in ["a", "b", &format!("x{at}")] {
                for metric_type in MetricType::ALL {
                    let labels = key(name, metric_type).labels.with("user", &at.to_string());
                    let series = SeriesKey { labels, metric_type };
                    assert_eq!(registry.register(series.clone()), Err(Overflowed::Series));
                    let (_, _, known) = registry.register_overflow(&series).unwrap();
                    assert_eq!(known, name.len() == 1);
                }
            }
        }
        // Two, one for each of their names, and one for each type.
        assert_eq!(registry.len(), 2 + 2 + MetricType::ALL.len());
        assert!(!registry.forget(SeriesId(0), &key("a", MetricType::Counter)));
    }

    #[test]
    fn what_is_new_in_an_hour_has_the_hours_numbers() {
        let registry = Registry::new(100);
        let mut steps = Vec::new();
        for (at, now_ms) in
            [5_000, HOUR_MS - 1, HOUR_MS, HOUR_MS + 10_000, 3 * HOUR_MS + 7].iter().enumerate()
        {
            registry.note_time(*now_ms);
            registry.register(key(&format!("a{at}"), MetricType::Counter)).unwrap();
            steps.push((registry.hour().0, registry.hour().1.0));
        }
        assert_eq!(steps, [(5_000, 0), (5_000, 0), (HOUR_MS, 2), (HOUR_MS, 2), (3 * HOUR_MS, 4)]);
    }
}
