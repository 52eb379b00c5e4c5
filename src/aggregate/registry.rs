//! Which tables know which series.
//!
//! The numbers are the catalogue's. A series is held by the tables that know
//! its number; what is held is not forgotten, so that no number in a table is
//! without its series.

use crate::catalogue::Catalogue;
use crate::model::{SeriesId, SeriesKey};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

/// Series are numbered and held here; shared by all tables.
#[derive(Debug)]
pub struct Registry {
    catalogue: Arc<Catalogue>,
    /// How many hold a series; absent: nobody. Taken before the catalogue's
    /// lock.
    holders: Mutex<HashMap<SeriesId, u32, foldhash::fast::RandomState>>,
}

impl Registry {
    /// A registry of the catalogue's series, of which none is held.
    pub fn new(catalogue: Arc<Catalogue>) -> Self {
        Registry { catalogue, holders: Mutex::default() }
    }

    pub fn catalogue(&self) -> &Arc<Catalogue> {
        &self.catalogue
    }

    /// The number of the series, new or known, held until it is released;
    /// `None` when the limit is reached.
    pub fn register(&self, key: SeriesKey) -> Option<SeriesId> {
        let mut holders = self.lock();
        let id = self.catalogue.register(key)?;
        *holders.entry(id).or_default() += 1;
        Some(id)
    }

    /// The series registered since the last call.
    pub fn take_new(&self) -> Vec<(SeriesId, SeriesKey)> {
        let named = |id| Some((id, self.catalogue.series(id)?));
        self.catalogue.take_new().into_iter().filter_map(named).collect()
    }

    /// One holder less for each of `ids`.
    pub fn release(&self, ids: &[SeriesId]) {
        let mut holders = self.lock();
        for id in ids {
            if let Some(count) = holders.get_mut(id) {
                *count -= 1;
                if *count == 0 {
                    holders.remove(id);
                }
            }
        }
    }

    /// Forgets series unless they are held: their numbers are not given again.
    /// Says which are forgotten.
    pub fn forget(&self, mut ids: HashSet<SeriesId>) -> HashSet<SeriesId> {
        let holders = self.lock();
        ids.retain(|id| !holders.contains_key(id));
        self.catalogue.forget(ids.iter().copied());
        ids
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SeriesId, u32, foldhash::fast::RandomState>> {
        // The map is consistent between statements: a panic elsewhere does not spoil it.
        self.holders.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Labels, MetricType};

    #[test]
    fn what_a_table_knows_is_not_forgotten() {
        let registry = Registry::new(Arc::new(Catalogue::new(1)));
        let key = SeriesKey { labels: Labels::of_name("a"), metric_type: MetricType::Counter };
        let id = registry.register(key.clone()).unwrap();
        assert_eq!(registry.register(key.clone()), Some(id));
        assert_eq!(registry.take_new(), [(id, key.clone())]);
        registry.release(&[id]);
        assert!(registry.forget(HashSet::from([id])).is_empty(), "it is held");
        registry.release(&[id]);
        assert_eq!(registry.forget(HashSet::from([id])), HashSet::from([id]));
        assert!(registry.catalogue().is_empty());
        assert!(registry.register(key).unwrap() > id);
    }
}
