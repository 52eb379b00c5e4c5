//! How many series a prefix of names may have.
//!
//! Of several prefixes that a name begins with the longest counts, alone. As
//! with the limit of all series, those that ended make room for others though
//! they are still known. Our own series and overflow series are nobody's.

use crate::model::{SeriesId, SeriesKey};
use std::collections::HashMap;

/// Ended series that are still known, for each one that may be alive.
pub const ENDED_SHARE_MAX: usize = 4;

/// A limit as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// Beginning of names, as they are sent; not empty.
    pub prefix: String,
    pub series_max: usize,
}

/// A limit and what is there of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixUse {
    pub prefix: String,
    pub series_max: usize,
    /// Series that are alive, as of the last flush, and those that came since.
    pub series: usize,
}

/// All of them, with the series that count.
#[derive(Debug, Default)]
pub struct Quotas {
    /// The longest first.
    quotas: Vec<Quota>,
    /// Series under a quota; no others are here.
    of: HashMap<SeriesId, u16, foldhash::fast::RandomState>,
}

#[derive(Debug)]
struct Quota {
    prefix: String,
    series_max: usize,
    known: usize,
    ended: usize,
}

impl Quotas {
    pub fn new(prefixes: &[Prefix]) -> Self {
        let quota =
            |of: &Prefix| Quota { prefix: of.prefix.clone(), series_max: of.series_max, known: 0, ended: 0 };
        let mut quotas: Vec<Quota> = prefixes.iter().map(quota).collect();
        quotas.sort_by_key(|quota| std::cmp::Reverse(quota.prefix.len()));
        quotas.truncate(usize::from(u16::MAX));
        Quotas { quotas, of: HashMap::default() }
    }

    /// Whether there are no limits of prefixes.
    pub fn is_empty(&self) -> bool {
        self.quotas.is_empty()
    }

    /// The prefix whose limit keeps one more series of this name out.
    pub fn full(&self, name: &str) -> Option<&str> {
        let quota = self.quotas.get(self.find(name)?)?;
        let ended = quota.ended.min(quota.series_max.saturating_mul(ENDED_SHARE_MAX));
        (quota.known >= quota.series_max.saturating_add(ended)).then_some(&quota.prefix)
    }

    /// A series is known from now on.
    pub fn remember(&mut self, id: SeriesId, series: &SeriesKey) {
        let Some(at) = self.find(series.labels.name()) else { return };
        if let Some(quota) = self.quotas.get_mut(at)
            && self.of.insert(id, at as u16).is_none()
        {
            quota.known += 1;
        }
    }

    /// A series is not known any more.
    pub fn forget(&mut self, id: SeriesId) {
        if let Some(at) = self.of.remove(&id)
            && let Some(quota) = self.quotas.get_mut(usize::from(at))
        {
            quota.known -= 1;
        }
    }

    /// Tells which of the series have ended.
    pub fn note_ended(&mut self, ended: &[SeriesId]) {
        if self.quotas.is_empty() {
            return;
        }
        self.quotas.iter_mut().for_each(|quota| quota.ended = 0);
        for id in ended {
            if let Some(quota) = self.of.get(id).and_then(|at| self.quotas.get_mut(usize::from(*at))) {
                quota.ended += 1;
            }
        }
    }

    /// What is there of each, in the order of their prefixes.
    pub fn uses(&self) -> Vec<PrefixUse> {
        let mut uses: Vec<PrefixUse> = self
            .quotas
            .iter()
            .map(|quota| PrefixUse {
                prefix: quota.prefix.clone(),
                series_max: quota.series_max,
                series: quota.known.saturating_sub(quota.ended),
            })
            .collect();
        uses.sort_by(|a, b| a.prefix.cmp(&b.prefix));
        uses
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.quotas.iter().position(|quota| name.starts_with(quota.prefix.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Labels, MetricType};

    fn key(name: &str) -> SeriesKey {
        SeriesKey { labels: Labels::of_name(name), metric_type: MetricType::Counter }
    }

    fn quotas(prefixes: &[(&str, usize)]) -> Quotas {
        let prefix = |(prefix, series_max): &(&str, usize)| Prefix {
            prefix: (*prefix).into(),
            series_max: *series_max,
        };
        Quotas::new(&prefixes.iter().map(prefix).collect::<Vec<_>>())
    }

    #[test]
    fn the_longest_prefix_of_a_name_counts_alone() {
        let mut quotas = quotas(&[("shop.", 1), ("shop.cart.", 2)]);
        for (id, name, full) in [
            (0, "shop.a", None),
            (1, "shop.b", Some("shop.")),
            (2, "shop.cart.a", None),
            (3, "shop.cart.b", None),
            (4, "shop.cart.c", Some("shop.cart.")),
            (5, "shopping", None),
        ] {
            assert_eq!(quotas.full(name), full, "{name}");
            if full.is_none() {
                quotas.remember(SeriesId(id), &key(name));
            }
        }
        let uses: Vec<_> = quotas.uses().into_iter().map(|u| (u.prefix, u.series)).collect();
        assert_eq!(uses, [("shop.".to_owned(), 1), ("shop.cart.".to_owned(), 2)]);
    }

    #[test]
    fn what_ended_or_is_forgotten_makes_room() {
        let mut quotas = quotas(&[("a", 1)]);
        quotas.remember(SeriesId(0), &key("a0"));
        assert!(quotas.full("a1").is_some());
        quotas.note_ended(&[SeriesId(0), SeriesId(7)]);
        assert!(quotas.full("a1").is_none());
        quotas.remember(SeriesId(1), &key("a1"));
        assert!(quotas.full("a2").is_some());
        quotas.forget(SeriesId(0));
        quotas.note_ended(&[]);
        assert_eq!(quotas.uses()[0].series, 1);
        quotas.forget(SeriesId(1));
        quotas.forget(SeriesId(1));
        assert!(quotas.full("a2").is_none());
    }
}
