//! Windows of timers that are added up between the edges of ranges, in plain
//! arrays: as long as weights are whole numbers, none of them is rounded, and
//! the buckets are not far apart.

use super::distribution::Distribution;
use super::log_linear::DENSE_SPAN;
use super::summed::{Ends, Windows};
use crate::model::Histogram;
use crate::model::histogram::{BucketKey, TIE};
use crate::store::{Distributions, PackedWindow};

/// Arrays grow by so many buckets, or a quarter.
const GROWTH: i64 = 64;
/// Places for weights that are always worth it; beyond it no more than
/// [`MOST_EMPTY`] for each weight that was added.
const FEW_PLACES: usize = 1 << 20;
const MOST_EMPTY: usize = 16;
/// Weights that are added up at once when a quantile is looked for.
const BLOCK: usize = 32;
/// Weights of an array together, so that none of them is beyond its type.
const MOST_TOTAL: u64 = u32::MAX as u64;
/// As many arrays of weights up to 2^32 add up to no more than 2^53.
const MOST_EDGES: usize = 1 << 21;
/// Weights that take the memory of a plain sample.
const WEIGHTS_OF_SAMPLE: usize = 4;

/// See the module's head. A sum for each edge.
pub(super) struct Pile {
    sums: Vec<WindowSum>,
    /// Times of the first window that was added and of the last one.
    first_ms: i64,
    last_ms: i64,
    /// How many there were.
    count: usize,
    /// For weights there is so much room, and so many were added.
    places: usize,
    added: usize,
}

/// What lies between an edge and the one before.
#[derive(Clone)]
struct WindowSum {
    is_any: bool,
    whole: Numbers,
    /// Of all weights.
    total: u64,
    /// Weights by the number of their bucket, from `lowest` on.
    lowest: i32,
    weights: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Numbers {
    count: f64,
    sum: f64,
    min: f64,
    max: f64,
}

impl Numbers {
    const NONE: Numbers = Numbers { count: 0.0, sum: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY };

    fn add(&mut self, other: Numbers) {
        self.count += other.count;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }
}

impl Pile {
    /// Of nothing; `None` for too many edges.
    pub fn new(ends: &Ends) -> Option<Self> {
        let none =
            WindowSum { is_any: false, whole: Numbers::NONE, total: 0, lowest: 0, weights: Vec::new() };
        let edges = Some(ends.edges_ms().len()).filter(|edges| *edges <= MOST_EDGES)?;
        Some(Pile {
            sums: vec![none; edges],
            first_ms: i64::MAX,
            last_ms: i64::MIN,
            count: 0,
            places: 0,
            added: 0,
        })
    }

    /// Adds windows; false where they cannot be added here.
    pub fn add(&mut self, ends: &Ends, windows: &Distributions) -> bool {
        let edges_ms = ends.edges_ms();
        self.count += windows.len();
        if let Some((first_ms, last_ms)) = windows.ends_ms() {
            self.first_ms = self.first_ms.min(first_ms);
            self.last_ms = self.last_ms.max(last_ms);
        }
        let mut place = 0;
        for window in windows.windows() {
            let at_ms = window.numbers.at_ms;
            if place == 0 {
                place = edges_ms.partition_point(|edge_ms| *edge_ms < at_ms);
            }
            while edges_ms.get(place).is_some_and(|edge_ms| *edge_ms < at_ms) {
                place += 1;
            }
            // Behind the last edge nobody looks.
            let Some(sum) = self.sums.get_mut(place) else { break };
            let Some(places) = sum.add(&window, windows.keys()) else { return false };
            self.places += places;
            self.added += window.len();
        }
        self.is_worth_it()
    }

    /// Whether another one of the same edges can be added.
    pub fn fits(&self, other: &Pile) -> bool {
        self.sums.iter().zip(&other.sums).all(|(sum, other)| sum.fits(other))
    }

    /// Adds another one that fits.
    pub fn merge(&mut self, other: Pile) {
        for (sum, other) in self.sums.iter_mut().zip(other.sums) {
            self.places += sum.merge(other);
        }
        self.first_ms = self.first_ms.min(other.first_ms);
        self.last_ms = self.last_ms.max(other.last_ms);
        self.count += other.count;
        self.added += other.added;
    }

    /// Adds another one of the same series, where all of its windows are later and it fits.
    pub fn followed_by(mut self, later: Pile) -> Option<Pile> {
        let fits = self.last_ms < later.first_ms && self.fits(&later);
        fits.then(|| {
            self.merge(later);
            self
        })
    }

    fn is_worth_it(&self) -> bool {
        self.places <= FEW_PLACES.max(self.added.saturating_mul(MOST_EMPTY))
    }

    /// How many plain samples would take its memory.
    pub fn weight(&self) -> usize {
        self.places / WEIGHTS_OF_SAMPLE + self.sums.len() * size_of::<WindowSum>() / 16
    }

    /// How many windows were added.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The same, one by one.
    pub fn windows(&self, ends: &Ends) -> Windows {
        let any = ends.edges_ms().iter().zip(&self.sums).filter(|(_, sum)| sum.is_any);
        let of = |sum: &WindowSum| {
            let weights = sum.weights.iter().map(|weight| f64::from(*weight));
            histogram(sum.whole, sum.lowest, weights, 1.0)
        };
        any.map(|(edge_ms, sum)| (*edge_ms, of(sum).into())).collect()
    }

    /// Hands what the ranges come to to `each`, one after the other.
    pub fn each_range<E>(
        &self,
        ends: &Ends,
        mut each: impl FnMut(Option<&RangeSum>) -> Result<(), E>,
    ) -> Result<(), E> {
        let held = || self.sums.iter().filter(|sum| !sum.weights.is_empty());
        let lowest = held().map(|sum| sum.lowest).min().unwrap_or_default();
        let span = held().map(WindowSum::end).max().map_or(0, |end| end - i64::from(lowest));
        let weights = vec![0u64; usize::try_from(span).unwrap_or_default()];
        let mut range = RangeSum { whole: Numbers::NONE, total: 0, lowest, weights, factor: ends.factor() };
        let mut edges = ends.edges_ms().iter().zip(&self.sums);
        let (mut coming, mut going) = (edges.clone().peekable(), edges.clone().peekable());
        for end_ms in ends.ends_ms() {
            let start_ms = end_ms.saturating_sub(ends.range_ms());
            while let Some((_, sum)) = coming.next_if(|(edge_ms, _)| *edge_ms <= end_ms) {
                sum.each(&mut range.weights, lowest, |all, weight| *all += weight);
                range.total += sum.total;
            }
            while let Some((_, sum)) = going.next_if(|(edge_ms, _)| **edge_ms <= start_ms) {
                sum.each(&mut range.weights, lowest, |all, weight| *all -= weight);
                range.total -= sum.total;
                edges.next();
            }
            let within = edges.clone().take_while(|(edge_ms, _)| *edge_ms <= end_ms);
            let mut is_any = false;
            range.whole = Numbers::NONE;
            for (_, sum) in within.filter(|(_, sum)| sum.is_any) {
                is_any = true;
                range.whole.add(sum.whole);
            }
            each(Some(&range).filter(|_| is_any))?;
        }
        Ok(())
    }
}

/// What a range comes to.
pub(super) struct RangeSum {
    whole: Numbers,
    total: u64,
    /// Weights by the number of their bucket, from `lowest` on.
    lowest: i32,
    weights: Vec<u64>,
    factor: f64,
}

impl RangeSum {
    pub fn distribution(&self) -> Distribution {
        let weights = self.weights.iter().map(|weight| *weight as f64);
        histogram(self.whole, self.lowest, weights, self.factor).into()
    }

    /// That of the distribution, by ranks that are not rounded.
    pub fn quantile(&self, q: f64) -> f64 {
        if !(q > 0.0 && q < 1.0) || self.whole.count == 0.0 || self.total == 0 {
            return self.distribution().quantile(q);
        }
        let rank = q * self.total as f64;
        let reached = rank - TIE * self.total as f64;
        let mut below = 0;
        for (number, block) in self.weights.chunks(BLOCK).enumerate() {
            let within: u64 = block.iter().sum();
            if within == 0 || ((below + within) as f64) < reached {
                below += within;
                continue;
            }
            for (at, weight) in block.iter().enumerate().filter(|(_, weight)| **weight > 0) {
                if (below + weight) as f64 >= reached {
                    let key = self.lowest.wrapping_add((number * BLOCK + at) as i32);
                    let value = BucketKey(key).value_at((rank - below as f64) / *weight as f64);
                    return value.max(self.whole.min).min(self.whole.max);
                }
                below += weight;
            }
        }
        self.whole.max
    }
}

impl WindowSum {
    /// How many places were made for it; `None` where it cannot be added.
    fn add(&mut self, window: &PackedWindow<'_>, keys: &[i32]) -> Option<usize> {
        let numbers = window.numbers;
        self.is_any = true;
        let (count, sum, min, max) = (numbers.count, numbers.sum, numbers.min, numbers.max);
        self.whole.add(Numbers { count, sum, min, max });
        let Some((first, last)) = window.ends() else { return Some(0) };
        let (low, high) = (*keys.get(first)?, *keys.get(last)?);
        // Then none of them goes round.
        self.total = Some(self.total + numbers.total).filter(|total| *total <= MOST_TOTAL)?;
        let places = self.cover(i64::from(low), i64::from(high))?;
        let (lowest, weights) = (self.lowest, &mut self.weights[..]);
        window.each(|rank, weight| {
            let key = keys.get(rank).copied().unwrap_or(low);
            if let Some(sum) = weights.get_mut(key.wrapping_sub(lowest) as u32 as usize) {
                *sum = sum.wrapping_add(weight);
            }
        });
        Some(places)
    }

    fn fits(&self, other: &WindowSum) -> bool {
        let (lowest, end) = (self.lowest.min(other.lowest), self.end().max(other.end()));
        let is_empty = self.weights.is_empty() || other.weights.is_empty();
        self.total + other.total <= MOST_TOTAL && (is_empty || end - i64::from(lowest) <= DENSE_SPAN)
    }

    /// How many places were made for it.
    fn merge(&mut self, other: WindowSum) -> usize {
        self.is_any |= other.is_any;
        self.whole.add(other.whole);
        self.total += other.total;
        if self.weights.is_empty() {
            (self.lowest, self.weights) = (other.lowest, other.weights);
            return self.weights.len();
        }
        if other.weights.is_empty() {
            return 0;
        }
        let places = self.cover(i64::from(other.lowest), other.end() - 1).unwrap_or_default();
        other.each(&mut self.weights, self.lowest, |sum, weight| *sum += weight as u32);
        places
    }

    /// The number behind that of the last bucket that there is room for.
    fn end(&self) -> i64 {
        i64::from(self.lowest) + self.weights.len() as i64
    }

    /// Hands each of `sums`, which begin at `lowest` and go as far as the weights,
    /// to `fold`, with the weight of its bucket.
    fn each<T>(&self, sums: &mut [T], lowest: i32, fold: impl Fn(&mut T, u64)) {
        let from = usize::try_from(i64::from(self.lowest) - i64::from(lowest)).unwrap_or_default();
        let sums = sums.get_mut(from..).unwrap_or_default();
        sums.iter_mut().zip(&self.weights).for_each(|(sum, weight)| fold(sum, u64::from(*weight)));
    }

    /// Makes room for the buckets from `low` to `high`; how much more there is now.
    fn cover(&mut self, low: i64, high: i64) -> Option<usize> {
        let (lowest, end) = (i64::from(self.lowest), self.end());
        if lowest <= low && high < end {
            return Some(0);
        }
        let (mut from, mut until) = (low.div_euclid(GROWTH) * GROWTH, (high.div_euclid(GROWTH) + 1) * GROWTH);
        if !self.weights.is_empty() {
            let whole = until.max(end) - from.min(lowest);
            // Room for what comes next, as it is copied each time.
            let spare =
                Some((end - lowest) / 4 / GROWTH * GROWTH).filter(|spare| whole + 2 * spare <= DENSE_SPAN);
            let spare = spare.unwrap_or_default();
            from = if from < lowest { from.min(lowest - spare) } else { lowest };
            until = if until > end { until.max(end + spare) } else { end };
        }
        let span = usize::try_from(until - from).ok().filter(|_| until - from <= DENSE_SPAN)?;
        let mut weights = vec![0; span];
        let own = usize::try_from(lowest - from).unwrap_or_default();
        if let Some(slots) =
            weights.get_mut(own..own + self.weights.len()).filter(|_| !self.weights.is_empty())
        {
            slots.copy_from_slice(&self.weights);
        }
        let more = span - self.weights.len();
        (self.lowest, self.weights) = (i32::try_from(from).ok()?, weights);
        Some(more)
    }
}

/// Of the weights those that are there, from `lowest` on, all times `factor`.
fn histogram(
    whole: Numbers,
    lowest: i32,
    weights: impl ExactSizeIterator<Item = f64>,
    factor: f64,
) -> Histogram {
    let mut histogram = Histogram::default();
    histogram.count = whole.count * factor;
    histogram.sum = whole.sum * factor;
    (histogram.min, histogram.max) = (whole.min, whole.max);
    let mut buckets = vec![(BucketKey(0), 0.0); weights.len()];
    let mut held = 0;
    for (at, weight) in weights.enumerate() {
        // Each is written where the next one belongs, rather than asked for first.
        if let Some(slot) = buckets.get_mut(held) {
            *slot = (BucketKey(lowest.wrapping_add(at as i32)), weight * factor);
        }
        held += usize::from(weight != 0.0);
    }
    buckets.truncate(held);
    histogram.add_buckets(buckets);
    histogram
}
