//! Which metrics there are: found in the store, not configured.

use super::number::Unit;
use crate::model::label::OWN_PREFIX;
use crate::model::{MetricType, TimeRange};
use crate::query::{Source, SourceError};
use std::collections::BTreeMap;

/// Most series that are looked through for names and types; a store with more
/// says so instead of answering.
pub const MAX_SERIES: usize = 1_000_000;
/// Charts on one page of the list.
pub const PAGE_SIZE: usize = 24;

/// A name with a type, which is never [`MetricType::Sampled`]: what that is, its
/// name tells. The same name may be sent with two types.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Metric {
    pub name: String,
    pub metric_type: MetricType,
    /// How many label sets it has.
    pub series: usize,
}

impl Metric {
    /// The unit of its values, guessed by its name where the type leaves it open.
    pub fn unit(&self) -> Unit {
        let ends = |words: &[&str]| {
            words.iter().any(|word| {
                self.name
                    .strip_suffix(word)
                    .is_some_and(|rest| rest.is_empty() || rest.ends_with(['.', '_', '-']))
            })
        };
        match self.metric_type {
            MetricType::Timer => Unit::Seconds,
            MetricType::Counter | MetricType::Set => Unit::Count,
            _ if ends(&["bytes"]) => Unit::Bytes,
            _ if ends(&["seconds"]) => Unit::Seconds,
            _ if ends(&["percent"]) => Unit::Percent,
            _ if ends(&["ratio"]) => Unit::Ratio,
            _ => Unit::Plain,
        }
    }
}

/// All metrics with points within `range`, by name.
pub fn metrics(source: &dyn Source, range: TimeRange) -> Result<Vec<Metric>, SourceError> {
    let mut found: BTreeMap<(String, MetricType), usize> = BTreeMap::new();
    for key in source.series(&[], range, MAX_SERIES)? {
        *found.entry((key.labels.name().to_owned(), key.seen_as())).or_default() += 1;
    }
    let metrics = found.into_iter().map(|((name, metric_type), series)| Metric { name, metric_type, series });
    Ok(metrics.collect())
}

/// The metrics whose name holds every word of `search`, in any case. Without a
/// search all but our own.
pub fn matching(metrics: Vec<Metric>, search: &str) -> Vec<Metric> {
    let words: Vec<String> = search.split_whitespace().map(str::to_lowercase).collect();
    let asks_own = words.iter().any(|word| word.starts_with(OWN_PREFIX.trim_end_matches('_')));
    metrics
        .into_iter()
        .filter(|metric| asks_own || !metric.name.starts_with(OWN_PREFIX))
        .filter(|metric| {
            let name = metric.name.to_lowercase();
            words.iter().all(|word| name.contains(word.as_str()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(name: &str, metric_type: MetricType) -> Metric {
        Metric { name: name.into(), metric_type, series: 1 }
    }

    #[test]
    fn a_search_finds_all_words_and_hides_our_own() {
        let all: Vec<Metric> = ["etl.errors", "etl.Rows", "statsdeck_series", "web.errors"]
            .map(|name| metric(name, MetricType::Counter))
            .to_vec();
        let cases: [(&str, &[&str]); 5] = [
            ("", &["etl.errors", "etl.Rows", "web.errors"]),
            ("errors ETL", &["etl.errors"]),
            ("rows", &["etl.Rows"]),
            ("statsdeck", &["statsdeck_series"]),
            ("nothing", &[]),
        ];
        for (search, expected) in cases {
            let found: Vec<String> = matching(all.clone(), search).into_iter().map(|m| m.name).collect();
            assert_eq!(found, expected, "{search}");
        }
    }

    #[test]
    fn units_follow_type_and_name() {
        let cases = [
            ("import", MetricType::Timer, Unit::Seconds),
            ("rows", MetricType::Counter, Unit::Count),
            ("heap_bytes", MetricType::Gauge, Unit::Bytes),
            ("terabytes", MetricType::Gauge, Unit::Plain),
            ("body.bytes", MetricType::Histogram, Unit::Bytes),
            ("disk.used_ratio", MetricType::Gauge, Unit::Ratio),
        ];
        for (name, metric_type, unit) in cases {
            assert_eq!(metric(name, metric_type).unit(), unit, "{name}");
        }
    }
}
