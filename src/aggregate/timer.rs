//! The values of one timer within a window.
//!
//! Up to 64 are kept as they are. Then they go into an HDR histogram (2
//! significant digits) borrowed from a pool, as a dense one per series would
//! cost tens of kilobytes each; when the pool is empty they are folded into
//! sparse buckets instead. All three give the same buckets at the flush, for
//! the HDR unit is a power of two, so that its buckets are ours
//! (`model::histogram`).

use crate::model::Histogram as Distribution;
use crate::model::histogram::BucketKey;
use hdrhistogram::Histogram;

/// Values kept as they are before they are put into buckets.
pub const PLAIN_MAX: usize = 64;
/// Dense histograms that one table may hold: about 35 kB each.
pub const POOL_MAX: usize = 256;

/// One HDR unit, 2⁻³⁰ (just under a nanosecond for a timer).
const UNITS_PER_ONE: f64 = (1u64 << 30) as f64;
/// Below 128 units HDR's buckets are wider than ours, above 2⁶² it ends:
/// values outside go into sparse buckets.
const DENSE_RANGE: std::ops::Range<f64> = 128.0 / UNITS_PER_ONE..(1u64 << 32) as f64;
/// HDR counts are whole: a weight of 1 is this many.
const COUNTS_PER_WEIGHT: f64 = 1024.0;
/// Largest weight that a dense histogram is given, far from saturation.
const DENSE_WEIGHT_MAX: f64 = 1e12;

/// Dense histograms for reuse; at most [`POOL_MAX`] are out at a time.
#[derive(Debug, Default)]
pub struct Pool {
    #[expect(clippy::vec_box, reason = "the same box goes to and fro between pool and timers")]
    idle: Vec<Box<Histogram<u64>>>,
    lent: usize,
}

impl Pool {
    fn lend(&mut self) -> Option<Box<Histogram<u64>>> {
        let histogram = match self.idle.pop() {
            Some(histogram) => histogram,
            None if self.lent < POOL_MAX => {
                let mut histogram = Histogram::new_with_bounds(1, 1 << 40, 2).ok()?;
                histogram.auto(true);
                Box::new(histogram)
            }
            None => return None,
        };
        self.lent += 1;
        Some(histogram)
    }

    fn give_back(&mut self, mut histogram: Box<Histogram<u64>>) {
        histogram.reset();
        self.lent -= 1;
        self.idle.push(histogram);
    }
}

/// See the module's head.
///
/// Values, sum and extremes are held in the unit they were sent in and divided
/// once, at the flush: sums of whole milliseconds stay exact.
#[derive(Debug, Default)]
pub struct Timer {
    /// What turns the unit as sent into the one that is kept.
    divisor: f64,
    count: f64,
    sum: f64,
    min: f64,
    max: f64,
    plain: Vec<f64>,
    /// Weights of `plain`; empty while all of them are 1.
    weights: Vec<f64>,
    dense: Option<Box<Histogram<u64>>>,
    /// What neither of the two holds.
    sparse: Distribution,
}

impl Timer {
    /// Takes a finite value that stands for `weight` events; divided by
    /// `divisor`, the same for all of a timer, it has the unit that is kept.
    /// False when it was left out, as the sum would be infinite.
    pub fn record(&mut self, value: f64, weight: f64, divisor: f64, pool: &mut Pool) -> bool {
        let sum = self.sum + value * weight;
        if !sum.is_finite() {
            return false;
        }
        self.put(value, weight, divisor, pool);
        self.sum = sum;
        true
    }

    fn put(&mut self, value: f64, weight: f64, divisor: f64, pool: &mut Pool) {
        self.divisor = divisor;
        if self.count == 0.0 {
            (self.min, self.max) = (value, value);
        }
        self.count += weight;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        if self.plain.len() < PLAIN_MAX && self.dense.is_none() {
            if weight != 1.0 && self.weights.is_empty() {
                self.weights.resize(self.plain.len(), 1.0);
            }
            if weight != 1.0 || !self.weights.is_empty() {
                self.weights.push(weight);
            }
            self.plain.push(value);
            return;
        }
        if self.dense.is_none() {
            self.dense = pool.lend();
            self.spill();
        }
        match &mut self.dense {
            Some(dense) => record_dense(dense, &mut self.sparse, value / divisor, weight),
            // Room was made by the spill.
            None => {
                if weight != 1.0 {
                    self.weights.push(weight);
                }
                self.plain.push(value);
            }
        }
    }

    /// The window's distribution; the timer is as new afterwards.
    pub fn take(&mut self, pool: &mut Pool) -> Distribution {
        let mut buckets = Vec::with_capacity(self.plain.len());
        self.drain_plain(|value, weight| buckets.push((BucketKey::of(value), weight)));
        if let Some(dense) = self.dense.take() {
            buckets.extend(dense.iter_recorded().map(|step| {
                // The middle, so that rounding cannot leave the bucket.
                let middle = dense.median_equivalent(step.value_iterated_to());
                let key = BucketKey::of(middle as f64 / UNITS_PER_ONE);
                (key, step.count_at_value() as f64 / COUNTS_PER_WEIGHT)
            }));
            pool.give_back(dense);
        }
        let mut distribution = std::mem::take(&mut self.sparse);
        distribution.add_buckets(buckets);
        (distribution.count, distribution.sum) = (self.count, self.sum / self.divisor);
        (distribution.min, distribution.max) = (self.min / self.divisor, self.max / self.divisor);
        (self.count, self.sum) = (0.0, 0.0);
        distribution
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0.0
    }

    /// Puts the plain values into the dense histogram, or else the sparse one.
    fn spill(&mut self) {
        let mut sparse = std::mem::take(&mut self.sparse);
        match self.dense.take() {
            Some(mut dense) => {
                self.drain_plain(|value, weight| record_dense(&mut dense, &mut sparse, value, weight));
                self.dense = Some(dense);
            }
            None => {
                let mut buckets = Vec::with_capacity(PLAIN_MAX);
                self.drain_plain(|value, weight| buckets.push((BucketKey::of(value), weight)));
                sparse.add_buckets(buckets);
            }
        }
        self.sparse = sparse;
    }

    /// Empties the plain values, in the unit that is kept.
    fn drain_plain(&mut self, mut each: impl FnMut(f64, f64)) {
        for (at, value) in self.plain.iter().enumerate() {
            each(*value / self.divisor, self.weights.get(at).copied().unwrap_or(1.0));
        }
        self.plain.clear();
        self.weights.clear();
    }
}

fn record_dense(dense: &mut Histogram<u64>, sparse: &mut Distribution, value: f64, weight: f64) {
    let fits = DENSE_RANGE.contains(&value) && weight <= DENSE_WEIGHT_MAX;
    let units = (value * UNITS_PER_ONE) as u64;
    if !fits || dense.record_n(units, (weight * COUNTS_PER_WEIGHT).round() as u64).is_err() {
        sparse.add_buckets(vec![(BucketKey::of(value), weight)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn window(values: &[(f64, f64)], pool: &mut Pool) -> Distribution {
        let mut timer = Timer::default();
        values.iter().for_each(|(value, weight)| assert!(timer.record(*value, *weight, 1.0, pool)));
        timer.take(pool)
    }

    fn empty_handed() -> Pool {
        Pool { idle: vec![], lent: POOL_MAX }
    }

    proptest! {
        #[test]
        fn plain_dense_and_sparse_windows_are_the_same(
            values in prop::collection::vec(
                (prop_oneof![0.0f64..2.0, -1.0f64..0.0, 1e-12f64..1e-6, 1e8f64..1e13], 1u32..5),
                1..300,
            ),
        ) {
            let values: Vec<(f64, f64)> = values.into_iter().map(|(v, w)| (v, f64::from(w))).collect();
            let expected = Distribution::from_values(values.clone());
            for mut pool in [Pool::default(), empty_handed()] {
                let got = window(&values, &mut pool);
                prop_assert_eq!(got.buckets(), expected.buckets());
                prop_assert_eq!((got.count, got.min, got.max), (expected.count, expected.min, expected.max));
                prop_assert!((got.sum - expected.sum).abs() <= expected.sum.abs() * 1e-12 + 1e-9);
            }
        }
    }

    #[test]
    fn sums_of_whole_milliseconds_are_exact() {
        for values in [3, 1000] {
            let (mut timer, mut pool) = (Timer::default(), Pool::default());
            (1..=values).for_each(|ms| assert!(timer.record(f64::from(ms), 1.0, 1000.0, &mut pool)));
            let window = timer.take(&mut pool);
            assert_eq!(window.sum, f64::from(values * (values + 1) / 2) / 1000.0);
            assert_eq!((window.min, window.max), (0.001, f64::from(values) / 1000.0));
            assert!(window.quantile(0.5) <= window.max);
        }
    }

    #[test]
    fn a_value_that_would_spoil_the_sum_is_left_out() {
        let (mut timer, mut pool) = (Timer::default(), Pool::default());
        assert!(timer.record(1.0, 1.0, 1.0, &mut pool));
        assert!(!timer.record(1e308, 1e9, 1.0, &mut pool));
        assert!(!timer.record(-1e308, 1e9, 1.0, &mut pool));
        let window = timer.take(&mut pool);
        assert_eq!((window.count, window.sum, window.max), (1.0, 1.0, 1.0));
    }

    #[test]
    fn fractional_weights_keep_count_and_sum_exact() {
        let weight = 1.0 / 0.3;
        let got = window(&[(5.0, weight); 200], &mut Pool::default());
        assert!((got.count - 200.0 * weight).abs() < 1e-9);
        assert!((got.sum - 1000.0 * weight).abs() < 1e-6);
    }

    #[test]
    fn a_timer_is_as_new_after_a_window_and_the_pool_is_whole() {
        let mut pool = Pool::default();
        let mut timer = Timer::default();
        for round in 1..4 {
            (0..100).for_each(|i| assert!(timer.record(f64::from(i * round), 1.0, 1.0, &mut pool)));
            let window = timer.take(&mut pool);
            assert_eq!((window.count, window.max), (100.0, f64::from(99 * round)));
            assert!(timer.is_empty());
            assert_eq!((pool.lent, pool.idle.len()), (0, 1));
        }
    }

    #[test]
    fn the_pool_is_bounded() {
        let mut pool = Pool::default();
        let mut timers: Vec<Timer> = (0..POOL_MAX + 10).map(|_| Timer::default()).collect();
        for timer in &mut timers {
            (0..200).for_each(|i| assert!(timer.record(f64::from(i), 1.0, 1.0, &mut pool)));
        }
        assert_eq!(pool.lent, POOL_MAX);
        for timer in &mut timers {
            let window = timer.take(&mut pool);
            assert_eq!((window.count, window.sum), (200.0, 19_900.0));
        }
        assert_eq!(pool.lent, 0);
    }
}
