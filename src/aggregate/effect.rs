//! What a mapping does to the values of a spelling: a scale, and buckets that
//! count them for the scrape page.
//!
//! A spelling names its effect by a number; most have none. There is one entry
//! for all spellings of which the same is asked.

use crate::mapping::{Observer, Treatment};
use crate::model::MetricType;
use std::sync::Arc;

/// What is done to a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    /// It is multiplied by this.
    pub scale: f64,
    /// It is counted by these upper bounds.
    pub bounds: Option<Arc<[f64]>>,
}

/// The effects in use, by number.
#[derive(Debug, Default)]
pub struct Effects(Vec<Effect>);

/// Weights of values by bucket; the last one has those above all bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct BucketCounts {
    pub bounds: Arc<[f64]>,
    pub counts: Vec<f64>,
}

impl Default for Effect {
    fn default() -> Self {
        Effect { scale: 1.0, bounds: None }
    }
}

impl Effect {
    /// That of a rule on values of a type.
    pub fn of(scale: Option<f64>, metric_type: MetricType, treatment: Option<&Treatment>) -> Self {
        let bounds = match treatment.map(|treatment| &treatment.observer) {
            Some(Observer::Histogram { buckets }) if metric_type.is_distribution() => Some(buckets.clone()),
            _ => None,
        };
        Effect { scale: scale.unwrap_or(1.0), bounds }
    }
}

impl Effects {
    /// Nothing is done.
    pub const NONE: u16 = 0;
    /// The value is dropped.
    pub const DROP: u16 = u16::MAX;

    /// The number of an effect; `None` when there are too many different ones.
    pub fn number(&mut self, effect: Effect) -> Option<u16> {
        if effect == Effect::default() {
            return Some(Effects::NONE);
        }
        let at = self.0.iter().position(|known| *known == effect).unwrap_or_else(|| {
            self.0.push(effect);
            self.0.len() - 1
        });
        u16::try_from(at + 1).ok().filter(|number| *number != Effects::DROP)
    }

    /// What has this number.
    pub fn get(&self, number: u16) -> Effect {
        (number as usize).checked_sub(1).and_then(|at| self.0.get(at)).cloned().unwrap_or_default()
    }
}

impl BucketCounts {
    pub fn new(bounds: Arc<[f64]>) -> Self {
        BucketCounts { counts: vec![0.0; bounds.len() + 1], bounds }
    }

    /// Counts a value that stands for `weight` events; a bound is included.
    pub fn add(&mut self, value: f64, weight: f64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get_mut(at) {
            *count += weight;
        }
    }

    /// Adds counts of the same bounds; of others, nothing.
    pub fn merge(&mut self, other: &BucketCounts) {
        if self.bounds == other.bounds {
            self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
        }
    }

    /// The counts, if there are any, which begin anew.
    pub fn take(&mut self) -> Option<BucketCounts> {
        let any = self.counts.iter().any(|count| *count > 0.0);
        any.then(|| std::mem::replace(self, BucketCounts::new(self.bounds.clone())))
    }
}
