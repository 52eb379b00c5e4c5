//! Arithmetic of histograms: merging many, differences, spread.

use crate::model::Histogram;
use crate::model::histogram::BucketKey;
use std::collections::BTreeMap;

/// Widest span of bucket numbers that is summed in a flat array.
const DENSE_SPAN: i64 = 1 << 16;

/// The merge of all; empty for none. Linear in the number of buckets, where
/// merging one by one is quadratic.
pub(crate) fn merge_all<'a>(histograms: impl IntoIterator<Item = &'a Histogram> + Clone) -> Histogram {
    let mut merged = Histogram::default();
    let (mut lowest, mut highest, mut many) = (i32::MAX, i32::MIN, 0usize);
    for histogram in histograms.clone() {
        merged.count += histogram.count;
        merged.sum += histogram.sum;
        merged.min = merged.min.min(histogram.min);
        merged.max = merged.max.max(histogram.max);
        if let (Some(first), Some(last)) = (histogram.buckets().first(), histogram.buckets().last()) {
            lowest = lowest.min(first.0.0);
            highest = highest.max(last.0.0);
        }
        many += histogram.buckets().len();
    }
    if many == 0 {
        return merged;
    }
    let span = i64::from(highest) - i64::from(lowest) + 1;
    let all = histograms.into_iter().flat_map(|histogram| histogram.buckets());
    let buckets = if span <= DENSE_SPAN {
        let mut weights = vec![0.0; span as usize];
        for (key, weight) in all {
            if let Some(slot) = weights.get_mut((i64::from(key.0) - i64::from(lowest)) as usize) {
                *slot += weight;
            }
        }
        let numbered = weights.into_iter().enumerate().filter(|(_, weight)| *weight != 0.0);
        numbered.map(|(at, weight)| (BucketKey(lowest + at as i32), weight)).collect()
    } else {
        let mut weights: BTreeMap<BucketKey, f64> = BTreeMap::new();
        for (key, weight) in all {
            *weights.entry(*key).or_default() += weight;
        }
        weights.into_iter().collect()
    };
    merged.add_buckets(buckets);
    merged
}
