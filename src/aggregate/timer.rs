//! The values of one timer within a window.
//!
//! Up to 64 are kept as they are, in blocks that all timers of a table share.
//! Then they go into an HDR histogram (2 significant digits) borrowed from a
//! pool, as a dense one per series would cost tens of kilobytes each; when the
//! pool is empty they are folded into sparse buckets instead. All three give
//! the same buckets at the flush, for the HDR unit is a power of two, so that
//! its buckets are ours (`model::histogram`).

use super::blocks::{Blocks, NONE};
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
/// Values and weights of which any 64 have a finite sum; greater ones are added
/// up as they come.
const PLAIN_VALUE_MAX: f64 = 1e150;

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

/// A timer's place among the values of its table.
#[derive(Clone, Copy, Debug)]
pub enum Timer {
    /// Values as they came, or pairs of value and weight when `weighted`.
    Plain { last: u32, len: u8, weighted: bool },
    /// Values in buckets, by number.
    Bucketed(u32),
}

impl Default for Timer {
    fn default() -> Self {
        Timer::Plain { last: NONE, len: 0, weighted: false }
    }
}

impl Timer {
    pub fn is_empty(&self) -> bool {
        matches!(self, Timer::Plain { len: 0, .. })
    }
}

/// What all timers of a table hold in the open window.
///
/// Values, sums and extremes are held in the unit they were sent in and divided
/// once, at the flush: sums of whole milliseconds stay exact.
#[derive(Debug, Default)]
pub struct TimerValues {
    blocks: Blocks,
    bucketed: Vec<Bucketed>,
    free: Vec<u32>,
    pool: Pool,
}

/// Values of one timer in buckets: numbers as they were sent, buckets in the
/// unit that is kept.
#[derive(Debug, Default)]
pub(super) struct Bucketed {
    count: f64,
    sum: f64,
    min: f64,
    max: f64,
    /// Values that wait to be put into `sparse`, where there is no dense one.
    recent: Vec<(BucketKey, f64)>,
    dense: Option<Box<Histogram<u64>>>,
    /// What the dense one does not hold.
    sparse: Distribution,
}

impl TimerValues {
    /// Takes a finite value that stands for `weight` events; divided by
    /// `divisor`, the same for all of a timer, it has the unit that is kept.
    /// False when it was left out, as the sum would be infinite.
    #[inline]
    pub fn record(&mut self, timer: &mut Timer, value: f64, weight: f64, divisor: f64) -> bool {
        if let Timer::Plain { last, len, weighted: false } = timer
            && weight == 1.0
            && usize::from(*len) < PLAIN_MAX
            && value.abs() < PLAIN_VALUE_MAX
        {
            *last = self.blocks.push(*last, usize::from(*len), value);
            *len += 1;
            return true;
        }
        self.record_else(timer, value, weight, divisor)
    }

    #[inline(never)]
    fn record_else(&mut self, timer: &mut Timer, value: f64, weight: f64, divisor: f64) -> bool {
        let plain = value.abs() < PLAIN_VALUE_MAX && weight < PLAIN_VALUE_MAX;
        if let Timer::Plain { last, len, weighted: weighted @ false } = timer
            && plain
            && usize::from(*len) <= PLAIN_MAX / 2
        {
            let values = self.blocks.take(*last, usize::from(*len));
            (*last, *len, *weighted) = (NONE, 0, true);
            for value in values {
                (*last, *len) = self.push_pair(*last, *len, value, 1.0);
            }
        }
        if let Timer::Plain { last, len, weighted: true } = timer
            && plain
            && usize::from(*len) + 2 <= PLAIN_MAX
        {
            (*last, *len) = self.push_pair(*last, *len, value, weight);
            return true;
        }
        let at = match *timer {
            Timer::Bucketed(at) => at,
            Timer::Plain { .. } => {
                let values = self.take_plain(timer);
                let at = self.bucket(values.into_iter(), divisor);
                *timer = Timer::Bucketed(at);
                at
            }
        };
        self.bucketed[at as usize].record(value, weight, divisor)
    }

    /// The window's distribution; the timer is as new afterwards.
    pub fn take(&mut self, timer: &mut Timer, divisor: f64) -> Distribution {
        let Timer::Bucketed(at) = *timer else {
            let values = self.take_plain(timer);
            let mut buckets = Vec::with_capacity(values.len());
            let mut whole = Bucketed::default();
            for (value, weight) in values {
                whole.note(value, weight);
                buckets.push((BucketKey::of(value / divisor), weight));
            }
            whole.sparse.add_buckets(buckets);
            return whole.finish(divisor);
        };
        *timer = Timer::default();
        self.free.push(at);
        let mut whole = std::mem::take(&mut self.bucketed[at as usize]);
        if let Some(dense) = whole.dense.take() {
            let buckets = dense.iter_recorded().map(|step| {
                // The middle, so that rounding cannot leave the bucket.
                let middle = dense.median_equivalent(step.value_iterated_to());
                let key = BucketKey::of(middle as f64 / UNITS_PER_ONE);
                (key, step.count_at_value() as f64 / COUNTS_PER_WEIGHT)
            });
            whole.sparse.add_buckets(buckets.collect());
            self.pool.give_back(dense);
        }
        whole.finish(divisor)
    }

    fn push_pair(&mut self, last: u32, len: u8, value: f64, weight: f64) -> (u32, u8) {
        let last = self.blocks.push(last, usize::from(len), value);
        (self.blocks.push(last, usize::from(len) + 1, weight), len + 2)
    }

    /// The plain values with their weights, in the order they came.
    fn take_plain(&mut self, timer: &mut Timer) -> Vec<(f64, f64)> {
        let Timer::Plain { last, len, weighted } = *timer else { return Vec::new() };
        *timer = Timer::default();
        let values = self.blocks.take(last, usize::from(len));
        if weighted {
            values.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()
        } else {
            values.into_iter().map(|value| (value, 1.0)).collect()
        }
    }

    /// A new timer in buckets, with these values.
    fn bucket(&mut self, values: impl Iterator<Item = (f64, f64)>, divisor: f64) -> u32 {
        let mut new = Bucketed { dense: self.pool.lend(), ..Bucketed::default() };
        for (value, weight) in values {
            new.record(value, weight, divisor);
        }
        match self.free.pop() {
            Some(at) => {
                self.bucketed[at as usize] = new;
                at
            }
            None => {
                self.bucketed.push(new);
                (self.bucketed.len() - 1) as u32
            }
        }
    }
}

impl Bucketed {
    /// False when the value was left out, as the sum would be infinite.
    pub(super) fn record(&mut self, value: f64, weight: f64, divisor: f64) -> bool {
        if !(self.sum + value * weight).is_finite() {
            return false;
        }
        self.note(value, weight);
        match &mut self.dense {
            Some(dense) => record_dense(dense, &mut self.sparse, value / divisor, weight),
            None => {
                self.recent.push((BucketKey::of(value / divisor), weight));
                if self.recent.len() >= PLAIN_MAX {
                    self.sparse.add_buckets(std::mem::take(&mut self.recent));
                }
            }
        }
        true
    }

    /// Keeps what needs no bucket.
    fn note(&mut self, value: f64, weight: f64) {
        if self.count == 0.0 {
            (self.min, self.max) = (value, value);
        }
        self.count += weight;
        self.sum += value * weight;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0.0
    }

    /// Bytes of memory, without a dense histogram.
    pub(super) fn memory(&self) -> usize {
        size_of::<Self>() + self.sparse.memory() + size_of_val(&*self.recent)
    }

    /// All of it, when what the dense histogram held is in the sparse one.
    pub(super) fn finish(mut self, divisor: f64) -> Distribution {
        self.sparse.add_buckets(self.recent);
        let mut distribution = self.sparse;
        (distribution.count, distribution.sum) = (self.count, self.sum / divisor);
        (distribution.min, distribution.max) = (self.min / divisor, self.max / divisor);
        distribution
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

    fn window(values: &[(f64, f64)], into: &mut TimerValues) -> Distribution {
        let mut timer = Timer::default();
        values.iter().for_each(|(value, weight)| assert!(into.record(&mut timer, *value, *weight, 1.0)));
        into.take(&mut timer, 1.0)
    }

    fn empty_handed() -> TimerValues {
        TimerValues { pool: Pool { idle: vec![], lent: POOL_MAX }, ..TimerValues::default() }
    }

    proptest! {
        #[test]
        fn plain_dense_and_sparse_windows_are_the_same(
            values in prop::collection::vec(
                (prop_oneof![0.0f64..2.0, -1.0f64..0.0, 1e-12f64..1e-6, 1e8f64..1e13], 1u32..5),
                1..300,
            ),
            weighted_from in 0usize..100,
        ) {
            let weight = |at, w| if at < weighted_from { 1.0 } else { f64::from(w) };
            let values: Vec<(f64, f64)> =
                values.into_iter().enumerate().map(|(at, (v, w))| (v, weight(at, w))).collect();
            let expected = Distribution::from_values(values.clone());
            for mut into in [TimerValues::default(), empty_handed()] {
                let got = window(&values, &mut into);
                prop_assert_eq!(got.buckets(), expected.buckets());
                prop_assert_eq!((got.count, got.min, got.max), (expected.count, expected.min, expected.max));
                prop_assert!((got.sum - expected.sum).abs() <= expected.sum.abs() * 1e-12 + 1e-9);
            }
        }
    }

    #[test]
    fn sums_of_whole_milliseconds_are_exact() {
        for values in [3, 1000] {
            let (mut timer, mut into) = (Timer::default(), TimerValues::default());
            (1..=values).for_each(|ms| assert!(into.record(&mut timer, f64::from(ms), 1.0, 1000.0)));
            let window = into.take(&mut timer, 1000.0);
            assert_eq!(window.sum, f64::from(values * (values + 1) / 2) / 1000.0);
            assert_eq!((window.min, window.max), (0.001, f64::from(values) / 1000.0));
            assert!(window.quantile(0.5) <= window.max);
        }
    }

    #[test]
    fn a_value_that_would_spoil_the_sum_is_left_out() {
        let (mut timer, mut into) = (Timer::default(), TimerValues::default());
        assert!(into.record(&mut timer, 1.0, 1.0, 1.0));
        assert!(!into.record(&mut timer, 1e308, 1e9, 1.0));
        assert!(!into.record(&mut timer, -1e308, 1e9, 1.0));
        let window = into.take(&mut timer, 1.0);
        assert_eq!((window.count, window.sum, window.max), (1.0, 1.0, 1.0));
        assert!(!into.record(&mut timer, 1e308, 1e9, 1.0));
        assert!(into.take(&mut timer, 1.0).is_empty(), "nothing else came");
    }

    #[test]
    fn ten_values_take_two_blocks_and_no_more_in_the_next_window() {
        let mut into = TimerValues::default();
        let mut timers = vec![Timer::default(); 500];
        for _ in 0..3 {
            for timer in &mut timers {
                (0..10).for_each(|ms| assert!(into.record(timer, f64::from(ms), 1.0, 1000.0)));
            }
            timers.iter_mut().for_each(|timer| assert_eq!(into.take(timer, 1000.0).count, 10.0));
        }
        assert!(into.blocks.len() <= 1024);
        assert_eq!(size_of::<Timer>(), 8);
    }

    #[test]
    fn fractional_weights_keep_count_and_sum_exact() {
        let weight = 1.0 / 0.3;
        let got = window(&[(5.0, weight); 200], &mut TimerValues::default());
        assert!((got.count - 200.0 * weight).abs() < 1e-9);
        assert!((got.sum - 1000.0 * weight).abs() < 1e-6);
    }

    #[test]
    fn a_timer_is_as_new_after_a_window_and_the_pool_is_whole() {
        let mut into = TimerValues::default();
        let mut timer = Timer::default();
        for round in 1..4 {
            (0..100).for_each(|i| assert!(into.record(&mut timer, f64::from(i * round), 1.0, 1.0)));
            let window = into.take(&mut timer, 1.0);
            assert_eq!((window.count, window.max), (100.0, f64::from(99 * round)));
            assert!(timer.is_empty());
            assert_eq!((into.pool.lent, into.pool.idle.len()), (0, 1));
        }
    }

    #[test]
    fn the_pool_is_bounded() {
        let mut into = TimerValues::default();
        let mut timers: Vec<Timer> = (0..POOL_MAX + 10).map(|_| Timer::default()).collect();
        for timer in &mut timers {
            (0..200).for_each(|i| assert!(into.record(timer, f64::from(i), 1.0, 1.0)));
        }
        assert_eq!(into.pool.lent, POOL_MAX);
        for timer in &mut timers {
            let window = into.take(timer, 1.0);
            assert_eq!((window.count, window.sum), (200.0, 19_900.0));
        }
        assert_eq!(into.pool.lent, 0);
    }
}
