//! A mergeable distribution: exact count, sum, min and max beside sparse
//! log-linear buckets.
//!
//! The buckets are those of an HDR histogram with 2 significant digits: 128 to
//! each power of two. Taken from a double's own exponent and first 7 mantissa
//! bits they cover all finite values, negative ones too, without a unit or a
//! range to choose. A bucket is at most 1/128 of its value wide, so that a
//! quantile is at most 0.79 % away from the value at its rank; the 0- and the
//! 1-quantile are exact.

use std::cmp::Ordering;

/// Mantissa bits that are left out of a bucket's key.
const SHIFT: u32 = 52 - 7;
/// A bucket that lacks so small a part of the total reaches a rank: less than one
/// value, but more than rounding takes from weights that a rate made.
pub(crate) const TIE: f64 = 1e-12;

/// Number of a bucket; ordered as the values in it. 0 holds zero alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BucketKey(pub i32);

impl BucketKey {
    /// Largest key of a finite value.
    pub const MAX: i32 = (f64::MAX.to_bits() >> SHIFT) as i32 + 1;

    /// The bucket of a finite value.
    pub fn of(value: f64) -> Self {
        if value == 0.0 {
            return BucketKey(0);
        }
        let key = (value.abs().to_bits() >> SHIFT) as i32 + 1;
        BucketKey(if value < 0.0 { -key } else { key })
    }

    /// The bucket's ends, lower first. The end nearer to zero belongs to it.
    pub fn bounds(self) -> (f64, f64) {
        let key = self.0.unsigned_abs() as u64;
        if key == 0 {
            return (0.0, 0.0);
        }
        let near = f64::from_bits((key - 1) << SHIFT);
        let far = f64::from_bits(key << SHIFT).min(f64::MAX);
        if self.0 > 0 { (near, far) } else { (-far, -near) }
    }

    /// The value below which this share of the bucket lies, evenly spread.
    pub fn value_at(self, share: f64) -> f64 {
        let (low, high) = self.bounds();
        low + (high - low) * share.min(1.0)
    }
}

/// A distribution of weighted values. See the module's head.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Sum of the weights, exact.
    pub count: f64,
    /// Weighted sum of the values, exact (to a double's precision).
    pub sum: f64,
    /// Smallest value; +∞ when empty.
    pub min: f64,
    /// Largest value; −∞ when empty.
    pub max: f64,
    /// Weight of each bucket that has any, in ascending order of keys.
    buckets: Vec<(BucketKey, f64)>,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { count: 0.0, sum: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY, buckets: Vec::new() }
    }
}

impl Histogram {
    /// A distribution of these (value, weight) pairs. Values are finite.
    pub fn from_values(values: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let mut histogram = Histogram::default();
        let mut buckets = Vec::new();
        for (value, weight) in values {
            histogram.count += weight;
            histogram.sum += value * weight;
            histogram.min = histogram.min.min(value);
            histogram.max = histogram.max.max(value);
            buckets.push((BucketKey::of(value), weight));
        }
        histogram.add_buckets(buckets);
        histogram
    }

    /// Puts a distribution together from its parts, as read from a file.
    /// `None` when the parts contradict each other.
    pub fn from_parts(
        (count, sum, min, max): (f64, f64, f64, f64),
        buckets: Vec<(BucketKey, f64)>,
    ) -> Option<Self> {
        let ascending = buckets.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let in_range = buckets.iter().all(|(key, weight)| {
            key.0.unsigned_abs() <= BucketKey::MAX as u32 && weight.is_finite() && *weight >= 0.0
        });
        let numbers = count.is_finite() && count >= 0.0 && !sum.is_nan() && !min.is_nan() && !max.is_nan();
        (ascending && in_range && numbers).then_some(Histogram { count, sum, min, max, buckets })
    }

    /// Buckets that hold anything, ascending, with their weights.
    pub fn buckets(&self) -> &[(BucketKey, f64)] {
        &self.buckets
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0.0
    }

    /// Bytes of memory that it takes.
    pub fn memory(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.buckets)
    }

    /// How many plain samples (16 bytes) would take its memory.
    pub fn weight(&self) -> usize {
        self.memory().div_ceil(16)
    }

    /// Adds all of `other`. Exact in counts: merging in any order, or in
    /// groups, gives the same buckets.
    pub fn merge(&mut self, other: &Histogram) {
        self.count += other.count;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.buckets = merged(&self.buckets, &other.buckets);
    }

    /// Adds bucket weights in any order of keys; count, sum, min and max are
    /// the caller's to keep.
    pub fn add_buckets(&mut self, mut buckets: Vec<(BucketKey, f64)>) {
        buckets.sort_unstable_by_key(|(key, _)| *key);
        buckets.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
        self.buckets = if self.buckets.is_empty() { buckets } else { merged(&self.buckets, &buckets) };
    }

    /// The same shape with all weights multiplied, as `rate` needs it.
    #[must_use]
    pub fn scaled(mut self, factor: f64) -> Self {
        self.count *= factor;
        self.sum *= factor;
        for (_, weight) in &mut self.buckets {
            *weight *= factor;
        }
        self
    }

    /// Mean of the values; NaN when empty.
    pub fn mean(&self) -> f64 {
        self.sum / self.count
    }

    /// Value at quantile `q`: the exact min at 0 and max at 1, in between
    /// within the module's stated error of the value at rank ⌈q·n⌉, of which
    /// rounding by a 1e-12th of the total is forgiven. NaN when empty; ∓∞ for `q`
    /// below 0 or above 1, as in Prometheus.
    pub fn quantile(&self, q: f64) -> f64 {
        if self.is_empty() || self.buckets.is_empty() || q.is_nan() {
            return f64::NAN;
        }
        if q < 0.0 {
            return f64::NEG_INFINITY;
        }
        if q > 1.0 {
            return f64::INFINITY;
        }
        if q == 0.0 {
            return self.min;
        }
        if q == 1.0 {
            return self.max;
        }
        let total: f64 = self.buckets.iter().map(|(_, weight)| weight).sum();
        let rank = q * total;
        let reached = rank - TIE * total;
        let mut below = 0.0;
        for (key, weight) in &self.buckets {
            if *weight > 0.0 && below + weight >= reached {
                return key.value_at((rank - below) / weight).max(self.min).min(self.max);
            }
            below += weight;
        }
        self.max
    }

    /// Share of the values in `(low, high]`, between 0 and 1; a bucket that a
    /// bound cuts is shared out evenly. NaN when empty.
    pub fn fraction(&self, low: f64, high: f64) -> f64 {
        let total: f64 = self.buckets.iter().map(|(_, weight)| weight).sum();
        if total == 0.0 || low.is_nan() || high.is_nan() {
            return f64::NAN;
        }
        if low >= high {
            return 0.0;
        }
        let mut inside = 0.0;
        for (key, weight) in &self.buckets {
            let (start, end) = key.bounds();
            inside += if start == end {
                if low < start && start <= high { *weight } else { 0.0 }
            } else {
                let share = (high.min(end) - low.max(start)) / (end - start);
                weight * share.clamp(0.0, 1.0)
            };
        }
        inside / total
    }
}

/// Both ascending lists as one, weights of equal keys added.
fn merged(left: &[(BucketKey, f64)], right: &[(BucketKey, f64)]) -> Vec<(BucketKey, f64)> {
    let mut out = Vec::with_capacity(left.len() + right.len());
    let (mut i, mut j) = (0, 0);
    while i < left.len() && j < right.len() {
        match left[i].0.cmp(&right[j].0) {
            Ordering::Less => {
                out.push(left[i]);
                i += 1;
            }
            Ordering::Greater => {
                out.push(right[j]);
                j += 1;
            }
            Ordering::Equal => {
                out.push((left[i].0, left[i].1 + right[j].1));
                i += 1;
                j += 1;
            }
        }
    }
    out.extend_from_slice(&left[i..]);
    out.extend_from_slice(&right[j..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_finite_value_lies_in_its_bucket() {
        for value in [1.0, 1.5, 0.1, 1e-300, 5e-324, f64::MAX, 123_456.789, 0.0, -2.0, -1e-5, -f64::MAX] {
            let (low, high) = BucketKey::of(value).bounds();
            assert!(low <= value && value <= high, "{value} not in {low}..{high}");
        }
    }

    #[test]
    fn parts_that_no_histogram_has_are_refused() {
        let of = |key| Histogram::from_parts((1.0, 1.0, 1.0, 1.0), vec![(BucketKey(key), 1.0)]);
        assert!(of(BucketKey::MAX).is_some() && of(-BucketKey::MAX).is_some());
        for key in [BucketKey::MAX + 1, -BucketKey::MAX - 1, i32::MAX, i32::MIN] {
            assert_eq!(of(key), None, "{key}");
        }
    }

    #[test]
    fn an_empty_histogram_has_no_quantile() {
        assert!(Histogram::default().quantile(0.5).is_nan());
        assert!(Histogram::default().mean().is_nan());
    }

    #[test]
    fn ends_are_exact_and_outside_is_infinite() {
        let histogram = Histogram::from_values([(3.3, 1.0), (7.7, 1.0), (5.0, 1.0)]);
        assert_eq!(histogram.quantile(0.0), 3.3);
        assert_eq!(histogram.quantile(1.0), 7.7);
        assert_eq!(histogram.quantile(-0.1), f64::NEG_INFINITY);
        assert_eq!(histogram.quantile(1.1), f64::INFINITY);
        assert_eq!((histogram.count, histogram.sum), (3.0, 16.0));
    }

    #[test]
    fn weights_count_as_repeats() {
        let weighted = Histogram::from_values([(1.0, 9.0), (100.0, 1.0)]);
        let repeated = Histogram::from_values((0..10).map(|i| (if i < 9 { 1.0 } else { 100.0 }, 1.0)));
        assert_eq!(weighted, repeated);
        assert!(weighted.quantile(0.5) < 1.01);
    }

    proptest! {
        #[test]
        fn quantiles_keep_the_stated_error(
            mut values in prop::collection::vec(-1e9f64..1e9, 1..300),
            q in 0.0f64..=1.0,
        ) {
            let histogram = Histogram::from_values(values.iter().map(|v| (*v, 1.0)));
            values.sort_by(f64::total_cmp);
            let rank = ((q * values.len() as f64).ceil() as usize).clamp(1, values.len());
            let exact = values[rank - 1];
            let error = (histogram.quantile(q) - exact).abs();
            prop_assert!(error <= exact.abs() / 127.0 + 1e-12, "{} against {exact}", histogram.quantile(q));
        }

        #[test]
        fn a_quantile_is_the_same_of_a_rate(
            values in prop::collection::vec((0.0f64..1e6, 1u8..9), 1..200),
            rank in 0.0f64..1.0,
            seconds in 1u32..100_000,
        ) {
            let of = |scale: f64| {
                Histogram::from_values(values.iter().map(|(v, w)| (*v, f64::from(*w)))).scaled(scale)
            };
            let total: u32 = values.iter().map(|(_, weight)| u32::from(*weight)).sum();
            // A whole rank, at which a bucket may end.
            let q = (rank * f64::from(total)).ceil() / f64::from(total);
            let (found, expected) = (of(1.0 / f64::from(seconds)).quantile(q), of(1.0).quantile(q));
            prop_assert!((found - expected).abs() <= 1e-9 * expected.abs(), "{} {} {}", q, found, expected);
        }

        #[test]
        fn merging_is_the_same_as_recording_together(
            left in prop::collection::vec((-1e6f64..1e6, 1.0f64..9.0), 0..100),
            right in prop::collection::vec((-1e6f64..1e6, 1.0f64..9.0), 0..100),
        ) {
            let mut merged = Histogram::from_values(left.clone());
            merged.merge(&Histogram::from_values(right.clone()));
            let together = Histogram::from_values(left.into_iter().chain(right));
            let keys = |h: &Histogram| h.buckets().iter().map(|(k, _)| *k).collect::<Vec<_>>();
            prop_assert_eq!(keys(&merged), keys(&together));
            prop_assert!((merged.count - together.count).abs() < 1e-6);
            prop_assert_eq!((merged.min, merged.max), (together.min, together.max));
        }
    }
}
