//! Arithmetic of our own histograms: merging many, differences, spread.

use crate::model::Histogram;
use crate::model::histogram::BucketKey;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Widest span of bucket numbers that is summed in a flat array.
pub(super) const DENSE_SPAN: i64 = 1 << 16;

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
        DENSE.with_borrow_mut(|dense| dense.sums(lowest, span as usize, all))
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

thread_local! {
    static DENSE: RefCell<Dense> = RefCell::default();
}

/// Weights by the number of their bucket, and a bit for each that was touched.
/// Between uses all is zero; at most [`DENSE_SPAN`] of both are kept.
#[derive(Default)]
struct Dense {
    weights: Vec<f64>,
    touched: Vec<u64>,
}

impl Dense {
    /// Sums of the weights of each bucket that are not zero, ascending; keys are
    /// `span` numbers from `lowest` on.
    fn sums<'a>(
        &mut self,
        lowest: i32,
        span: usize,
        buckets: impl Iterator<Item = &'a (BucketKey, f64)>,
    ) -> Vec<(BucketKey, f64)> {
        if self.weights.len() < span {
            self.weights.resize(span, 0.0);
            self.touched.resize(span.div_ceil(64), 0);
        }
        for (key, weight) in buckets {
            let at = key.0.wrapping_sub(lowest) as usize;
            if let (Some(slot), Some(word)) = (self.weights.get_mut(at), self.touched.get_mut(at / 64)) {
                *slot += weight;
                *word |= 1 << (at % 64);
            }
        }
        let words = self.touched.get_mut(..span.div_ceil(64)).unwrap_or_default();
        let many: u32 = words.iter().map(|word| word.count_ones()).sum();
        let mut sums = Vec::with_capacity(many as usize);
        for (place, word) in words.iter_mut().enumerate() {
            while *word != 0 {
                let at = place * 64 + word.trailing_zeros() as usize;
                *word &= *word - 1;
                let weight = self.weights.get_mut(at).map(std::mem::take).unwrap_or_default();
                if weight != 0.0 {
                    sums.push((BucketKey(lowest + at as i32), weight));
                }
            }
        }
        sums
    }
}

/// `left` less `right`, bucket by bucket; what is below zero stays so. Its
/// extremes are known only to a bucket's width.
pub(crate) fn minus(left: &Histogram, right: &Histogram) -> Histogram {
    let mut buckets: BTreeMap<BucketKey, f64> = left.buckets().iter().copied().collect();
    for (key, weight) in right.buckets() {
        *buckets.entry(*key).or_default() -= weight;
    }
    buckets.retain(|_, weight| *weight != 0.0);
    let mut difference = Histogram::default();
    difference.count = left.count - right.count;
    difference.sum = left.sum - right.sum;
    if let (Some((first, _)), Some((last, _))) = (buckets.first_key_value(), buckets.last_key_value()) {
        let (low, high) = (left.min.min(right.min), left.max.max(right.max));
        difference.min = first.bounds().0.max(low);
        difference.max = last.bounds().1.min(high);
    }
    difference.add_buckets(buckets.into_iter().collect());
    difference
}

/// Variance, each bucket's weight taken at its geometric middle, as Prometheus
/// does for exponential buckets. NaN when empty.
pub(crate) fn variance(histogram: &Histogram) -> f64 {
    let mean = histogram.mean();
    let squares = histogram.buckets().iter().map(|(key, weight)| {
        let (low, high) = key.bounds();
        let middle = if low <= 0.0 && high >= 0.0 { 0.0 } else { (low * high).sqrt().copysign(low) };
        weight * (middle - mean) * (middle - mean)
    });
    super::sum::sum(squares) / histogram.count
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn merging_all_is_the_same_as_merging_one_by_one(
            parts in prop::collection::vec(prop::collection::vec((-1e300f64..1e300, 1u8..9), 0..20), 0..20),
        ) {
            let parts: Vec<Histogram> = parts
                .into_iter()
                .map(|part| Histogram::from_values(part.into_iter().map(|(v, w)| (v, f64::from(w)))))
                .collect();
            let mut expected = Histogram::default();
            parts.iter().for_each(|part| expected.merge(part));
            prop_assert_eq!(merge_all(&parts), expected);
        }

        #[test]
        fn a_difference_and_the_older_make_the_newer(
            older in prop::collection::vec(0.0f64..1e6, 0..30),
            more in prop::collection::vec(0.0f64..1e6, 0..30),
        ) {
            let of = |values: &[f64]| Histogram::from_values(values.iter().map(|v| (*v, 1.0)));
            let newer = of(&[older.clone(), more.clone()].concat());
            let found = minus(&newer, &of(&older));
            let expected = of(&more);
            prop_assert_eq!(found.buckets(), expected.buckets());
            prop_assert_eq!(found.count, more.len() as f64);
        }
    }
}
