//! Series of which a mapping says something: how they are shown, when they
//! expire, and the values of those that are shown as histograms.

use super::effect::BucketCounts;
use super::table::Partial;
use crate::mapping::{Observer, Treatment};
use crate::model::SeriesId;
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::sync::Arc;

/// A series of which a mapping says something.
#[derive(Clone, Debug, PartialEq)]
pub struct Treated {
    pub treatment: Arc<Treatment>,
    /// Of a histogram, since the mapping said so.
    pub buckets: Option<Box<Buckets>>,
}

/// Values of a histogram as the scrape page shows them.
#[derive(Clone, Debug, PartialEq)]
pub struct Buckets {
    pub counts: BucketCounts,
    pub sum: f64,
}

/// See the module's head.
#[derive(Clone, Debug, Default)]
pub struct TreatedSeries(HashMap<SeriesId, Treated, RandomState>);

impl TreatedSeries {
    /// What is said of a series.
    pub fn get(&self, id: SeriesId) -> Option<&Treated> {
        self.0.get(&id)
    }

    /// The silence after which a mapping wants it to end, in ms; 0: never.
    pub fn expire_ms(&self, id: SeriesId) -> Option<i64> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&id)?.treatment.expire_ms
    }

    /// Takes over what mappings say of the series of new spellings.
    pub fn take_over(&mut self, partials: &[Partial], is_distribution: impl Fn(SeriesId) -> bool) {
        for (id, treatment) in partials.iter().flat_map(|partial| &partial.treatments) {
            let Some(treatment) = treatment else {
                self.0.remove(id);
                continue;
            };
            let known = self.0.get(id).map(|treated| &treated.treatment);
            if known.is_some_and(|known| Arc::ptr_eq(known, treatment) || known == treatment) {
                continue;
            }
            let buckets = match &treatment.observer {
                // What it has counted stands.
                observer if known.is_some_and(|known| known.observer == *observer) => {
                    self.0.get(id).and_then(|treated| treated.buckets.clone())
                }
                Observer::Histogram { buckets } if is_distribution(*id) => {
                    Some(Box::new(Buckets { counts: BucketCounts::new(buckets.clone()), sum: 0.0 }))
                }
                _ => None,
            };
            self.0.insert(*id, Treated { treatment: treatment.clone(), buckets });
        }
        for (id, counts) in partials.iter().flat_map(|partial| &partial.buckets) {
            if let Some(buckets) = self.0.get_mut(id).and_then(|treated| treated.buckets.as_mut()) {
                buckets.counts.merge(counts);
            }
        }
    }

    /// Adds what a window's values sum up to.
    pub fn add_to_sum(&mut self, id: SeriesId, sum: f64) {
        if self.0.is_empty() {
            return;
        }
        if let Some(buckets) = self.0.get_mut(&id).and_then(|treated| treated.buckets.as_mut())
            && (buckets.sum + sum).is_finite()
        {
            buckets.sum += sum;
        }
    }

    /// Drops the others.
    pub fn retain(&mut self, keep: impl Fn(SeriesId) -> bool) {
        self.0.retain(|id, _| keep(*id));
    }
}
