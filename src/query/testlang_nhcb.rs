//! `load_with_nhcb`: classic histograms (`_bucket`, `_count`, `_sum`) once more,
//! as native ones with custom bounds.

use super::notation::{Given, SeriesLine};
use super::number::parse_float;
use crate::model::label::NAME;
use crate::model::native_histogram::CUSTOM;
use crate::model::{Labels, NativeHistogram};
use std::collections::BTreeMap;

/// The series of one classic histogram.
#[derive(Default)]
struct Family<'a> {
    buckets: Vec<(f64, &'a [Given])>,
    count: Option<&'a [Given]>,
    sum: Option<&'a [Given]>,
}

/// A native series for each classic histogram among `series`.
pub(crate) fn converted(series: &[SeriesLine]) -> Vec<SeriesLine> {
    let mut families: BTreeMap<Labels, Family<'_>> = BTreeMap::new();
    for line in series {
        let named = |name: &str| line.labels.filtered(|label| label != "le").with(NAME, name);
        let name = line.labels.name();
        if let Some(base) = name.strip_suffix("_bucket") {
            if let Some(bound) = line.labels.get("le").and_then(parse_float) {
                families.entry(named(base)).or_default().buckets.push((bound, &line.values));
            }
        } else if let Some(base) = name.strip_suffix("_count") {
            families.entry(named(base)).or_default().count = Some(&line.values);
        } else if let Some(base) = name.strip_suffix("_sum") {
            families.entry(named(base)).or_default().sum = Some(&line.values);
        }
    }
    let has_buckets = families.into_iter().filter(|(_, family)| !family.buckets.is_empty());
    has_buckets.map(|(labels, family)| SeriesLine { labels, values: family.histograms() }).collect()
}

impl Family<'_> {
    fn histograms(mut self) -> Vec<Given> {
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let length = self.buckets.iter().map(|(_, values)| values.len()).max().unwrap_or(0);
        (0..length).map(|at| self.histogram(at)).collect()
    }

    fn histogram(&self, at: usize) -> Given {
        let float = |values: &[Given]| match values.get(at) {
            Some(Given::Float(value)) => Some(*value),
            _ => None,
        };
        let (mut bounds, mut positive, mut below) = (Vec::new(), Vec::new(), 0.0);
        for (bound, values) in &self.buckets {
            let Some(cumulative) = float(values) else { continue };
            positive.push((i32::try_from(positive.len()).unwrap_or(i32::MAX), cumulative - below));
            below = cumulative;
            if bound.is_finite() {
                bounds.push(*bound);
            }
        }
        if positive.is_empty() {
            return Given::Nothing;
        }
        let count = self.count.and_then(float).unwrap_or(below);
        // What is above the highest bound, where no bucket says so.
        if positive.len() == bounds.len() && count > below {
            positive.push((i32::try_from(positive.len()).unwrap_or(i32::MAX), count - below));
        }
        let mut histogram = NativeHistogram {
            schema: CUSTOM,
            count,
            sum: self.sum.and_then(float).unwrap_or(0.0),
            positive,
            bounds: bounds.into(),
            ..NativeHistogram::default()
        };
        histogram.compact();
        Given::Native(histogram, false)
    }
}
