//! Which tables know which series, and which new ones the limits admit.
//!
//! The numbers are the catalogue's. A series is held by the tables that know
//! its number; what is held is not forgotten, so that no number in a table is
//! without its series.

use super::holders::Holders;
use super::overflow::{is_overflow, overflow_series};
use super::quota::{PrefixUse, Quotas};
use super::window::Live;
use crate::catalogue::{Catalogue, Refused, key};
use crate::model::label::OWN_PREFIX;
use crate::model::{MetricType, SeriesId, SeriesKey};
use crate::telemetry::Overflowed;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard};

const HOUR_MS: i64 = 3_600_000;

/// Series are numbered and held here; shared by all tables.
#[derive(Debug)]
pub struct Registry {
    catalogue: Arc<Catalogue>,
    /// Taken before the catalogue's lock.
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    holders: Holders,
    quotas: Quotas,
    /// When the hour began, in ms since the epoch, and the first number that
    /// was given in it.
    hour: (i64, u32),
}

impl Registry {
    /// A registry of the catalogue's series, of which none is held.
    pub fn new(catalogue: Arc<Catalogue>) -> Self {
        Registry { catalogue, inner: Mutex::default() }
    }

    /// The same with limits for prefixes of names.
    pub fn with_quotas(self, mut quotas: Quotas) -> Self {
        if !quotas.is_empty() {
            self.catalogue.in_key_order(|id, key| {
                let series = key::decode(key).filter(|series| !is_own(series));
                series.iter().for_each(|series| quotas.remember(id, series));
            });
        }
        self.lock().quotas = quotas;
        self
    }

    pub fn catalogue(&self) -> &Arc<Catalogue> {
        &self.catalogue
    }

    /// The number of the series, new or known, held until it is released; or
    /// the limit that is reached. Our own series have no part in limits.
    pub fn register(&self, series: SeriesKey) -> Result<SeriesId, Overflowed> {
        self.admit(&mut self.lock(), series)
    }

    /// Registers the overflow series for values of `series`, which was refused;
    /// none when there are no more numbers. Says whether the name was known.
    pub fn register_overflow(&self, series: &SeriesKey) -> Option<(SeriesId, SeriesKey, bool)> {
        let mut inner = self.lock();
        let name = series.labels.name();
        let known = self.catalogue.type_of(name);
        let overflow = overflow_series(series, known, inner.quotas.full(name));
        let id = self.admit(&mut inner, overflow.clone()).ok()?;
        Some((id, overflow, known.is_some()))
    }

    fn admit(&self, inner: &mut Inner, series: SeriesKey) -> Result<SeriesId, Overflowed> {
        let Inner { holders, quotas, .. } = inner;
        let mut new = None;
        let admitted = |series: &SeriesKey| {
            let admitted = quotas.full(series.labels.name()).is_none();
            if admitted && !quotas.is_empty() {
                new = Some(series.clone());
            }
            admitted
        };
        let id = match self.catalogue.register_if(series, admitted) {
            Ok(id) => id,
            Err(Refused::Full) => return Err(Overflowed::Series),
            Err(Refused::NotAdmitted) => return Err(Overflowed::Prefix),
        };
        if let Some(series) = new {
            quotas.remember(id, &series);
        }
        holders.hold(id);
        Ok(id)
    }

    /// Calls `each` with the series of `live` by their names, in the order of
    /// their escaped names.
    pub fn each_named(&self, mut live: Vec<Live>, mut each: impl FnMut(SeriesKey, Live)) {
        live.sort_unstable_by_key(|live| live.id);
        self.catalogue.in_key_order(|id, key| {
            let found = live.binary_search_by_key(&id, |live| live.id).ok().and_then(|at| live.get(at));
            if let Some((live, series)) = found.zip(key::decode(key)) {
                each(series, *live);
            }
        });
    }

    /// The series registered since the last call.
    pub fn take_new(&self) -> Vec<(SeriesId, MetricType)> {
        self.catalogue.take_new()
    }

    /// One holder less for each of `ids`.
    pub fn release(&self, ids: &[SeriesId]) {
        let mut inner = self.lock();
        ids.iter().for_each(|id| inner.holders.release(*id));
    }

    /// Forgets series unless they are held: their numbers are not given again.
    /// Says which are forgotten.
    pub fn forget(&self, mut ids: HashSet<SeriesId>) -> HashSet<SeriesId> {
        let mut inner = self.lock();
        ids.retain(|id| !inner.holders.is_held(*id));
        ids.iter().for_each(|id| inner.quotas.forget(*id));
        self.catalogue.forget(ids.iter().copied());
        ids
    }

    /// Tells which of the series have ended: they make room for others.
    pub fn note_ended(&self, ended: &[SeriesId]) {
        self.catalogue.note_ended(ended.len());
        self.lock().quotas.note_ended(ended);
    }

    /// Tells the time, so that it is known what is new in an hour.
    pub fn note_time(&self, now_ms: i64) {
        let mut inner = self.lock();
        let hour_ms = now_ms - now_ms.rem_euclid(HOUR_MS);
        // The first hour begins with the daemon.
        if inner.hour.0 == 0 || inner.hour.0 - inner.hour.0.rem_euclid(HOUR_MS) < hour_ms {
            let began_ms = if inner.hour.0 == 0 { now_ms } else { hour_ms };
            inner.hour = (began_ms, self.catalogue.next_id());
        }
    }

    /// When the hour began (or the daemon, if later), in ms since the epoch;
    /// and the number from which on series are new in it.
    pub fn hour(&self) -> (i64, SeriesId) {
        let (began_ms, first) = self.lock().hour;
        (began_ms, SeriesId(first))
    }

    /// The limits of prefixes, and what is there of each.
    pub fn prefix_uses(&self) -> Vec<PrefixUse> {
        self.lock().quotas.uses()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // All is consistent between statements: a panic elsewhere does not spoil it.
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Our own series are in no limit.
fn is_own(series: &SeriesKey) -> bool {
    series.labels.name().starts_with(OWN_PREFIX) || is_overflow(series)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::Prefix;
    use crate::model::Labels;

    fn key(name: &str, metric_type: MetricType) -> SeriesKey {
        SeriesKey { labels: Labels::of_name(name), metric_type }
    }

    fn registry(series_max: usize) -> Registry {
        Registry::new(Arc::new(Catalogue::new(series_max)))
    }

    #[test]
    fn what_a_table_knows_is_not_forgotten() {
        let registry = registry(1);
        let key = key("a", MetricType::Counter);
        let id = registry.register(key.clone()).unwrap();
        assert_eq!(registry.register(key.clone()), Ok(id));
        assert_eq!(registry.take_new(), [(id, MetricType::Counter)]);
        registry.release(&[id]);
        assert!(registry.forget(HashSet::from([id])).is_empty(), "it is held");
        registry.release(&[id]);
        assert_eq!(registry.forget(HashSet::from([id])), HashSet::from([id]));
        assert!(registry.catalogue().is_empty());
        assert!(registry.register(key).unwrap() > id);
    }

    #[test]
    fn a_limit_of_a_prefix_counts_what_was_there_before() {
        let catalogue = Arc::new(Catalogue::new(10));
        catalogue.restore([(SeriesId(4), key("a.1", MetricType::Counter))], 9);
        let quotas = Quotas::new(&[Prefix { prefix: "a.".into(), series_max: 2 }]);
        let registry = Registry::new(catalogue).with_quotas(quotas);
        assert_eq!(registry.register(key("a.2", MetricType::Counter)), Ok(SeriesId(9)));
        assert_eq!(registry.register(key("a.3", MetricType::Counter)), Err(Overflowed::Prefix));
        assert_eq!(registry.register(key("a.1", MetricType::Counter)), Ok(SeriesId(4)));
        registry.release(&[SeriesId(9)]);
        registry.forget(HashSet::from([SeriesId(9)]));
        assert!(registry.register(key("a.3", MetricType::Counter)).is_ok());
    }

    #[test]
    fn overflow_series_are_as_many_as_names_and_no_limits() {
        let registry = registry(2);
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
        assert_eq!(registry.catalogue().len(), 2 + 2 + MetricType::ALL.len());
    }

    #[test]
    fn what_is_new_in_an_hour_has_the_hours_numbers() {
        let registry = registry(100);
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
