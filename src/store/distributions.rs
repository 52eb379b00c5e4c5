//! Distributions of a series as they lie in its chunks: what a chunk has in
//! common once, then window by window. Who only adds them up needs no
//! histogram of each.
//!
//! Weights are whole numbers here. What has others, or is damaged, is not read
//! here but the usual way.

use super::chunk::{MAX_POINTS, read_times};
use super::coding::{Reader, power_of};
use super::column::{read_doubles, read_integers, read_whole, read_whole_doubles};
use super::ranks::{COUNTS_FOLLOW, COUNTS_TOLD, MAX_KEYS, NO_SCALE, edge, middle};
use crate::model::histogram::BucketKey;
use crate::model::{Histogram, TimeRange};

/// Up to it doubles are whole numbers without a gap, and sums of them the same in
/// any order.
const EXACT: u64 = 1 << 53;

/// Keys from the least to the greatest of windows that come as histograms.
const MOST_SPAN: i64 = 1 << 16;

/// Windows of a series, ascending in time.
#[derive(Default)]
pub struct Distributions {
    windows: Vec<WindowNumbers>,
    /// Those of all buckets, ascending.
    keys: Vec<i32>,
    /// Of each bucket the place of its key, window by window.
    ranks: Vec<u32>,
    /// Of each bucket the weight, behind `skipped` others.
    weights: Vec<u32>,
    skipped: usize,
    /// Room to work in.
    lengths: Vec<u32>,
    firsts: Vec<u32>,
    gaps: Vec<u32>,
    middles: Vec<i64>,
}

/// What is known of a window beside its buckets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WindowNumbers {
    /// Its end.
    pub at_ms: i64,
    pub count: f64,
    pub sum: f64,
    pub min: f64,
    pub max: f64,
    buckets: u32,
}

/// A window with its buckets, ascending: of each the place of its key, and the
/// weight.
pub struct PackedWindow<'a> {
    pub numbers: &'a WindowNumbers,
    pub ranks: &'a [u32],
    pub weights: &'a [u32],
}

impl Distributions {
    /// Keys of the buckets, ascending; a rank is a place in it.
    pub fn keys(&self) -> &[i32] {
        &self.keys
    }

    /// How many windows there are.
    pub fn len(&self) -> usize {
        self.windows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    /// Time of the first window and of the last one.
    pub(super) fn ends_ms(&self) -> Option<(i64, i64)> {
        Some((self.windows.first()?.at_ms, self.windows.last()?.at_ms))
    }

    pub fn windows(&self) -> impl Iterator<Item = PackedWindow<'_>> {
        let mut ranks = &*self.ranks;
        let mut weights = self.weights.get(self.skipped..).unwrap_or_default();
        self.windows.iter().map(move |numbers| {
            let many = (numbers.buckets as usize).min(ranks.len()).min(weights.len());
            let (own_ranks, other_ranks) = ranks.split_at(many);
            let (own_weights, other_weights) = weights.split_at(many);
            (ranks, weights) = (other_ranks, other_weights);
            PackedWindow { numbers, ranks: own_ranks, weights: own_weights }
        })
    }

    fn clear(&mut self) {
        self.windows.clear();
        self.keys.clear();
        self.ranks.clear();
        self.weights.clear();
        self.skipped = 0;
    }

    /// Takes in those within `range`; `None` where a weight is no whole number or
    /// too large, or buckets are too far apart.
    pub(super) fn fill(&mut self, points: &[(i64, Histogram)], range: &TimeRange) -> Option<()> {
        self.clear();
        let within = || points.iter().filter(|(at_ms, _)| range.contains(*at_ms));
        let all = || within().flat_map(|(_, histogram)| histogram.buckets());
        let (lowest, highest) = all().fold((i32::MAX, i32::MIN), |(lowest, highest), (key, _)| {
            (lowest.min(key.0), highest.max(key.0))
        });
        if i64::from(highest) - i64::from(lowest) >= MOST_SPAN {
            return None;
        }
        // Of each key between them the rank follows.
        self.keys.extend(lowest..=highest);
        for (key, weight) in all() {
            self.ranks.push(key.0.wrapping_sub(lowest) as u32);
            let whole = *weight as u32;
            self.weights.push(Some(whole).filter(|whole| f64::from(*whole) == *weight)?);
        }
        self.windows.extend(within().map(|(at_ms, histogram)| WindowNumbers {
            at_ms: *at_ms,
            count: histogram.count,
            sum: histogram.sum,
            min: histogram.min,
            max: histogram.max,
            buckets: histogram.buckets().len() as u32,
        }));
        Some(())
    }

    /// Reads those within `range` of `count` that [`put_ranks`] wrote; `None`
    /// where they are not that, or a weight is no whole number or too large.
    ///
    /// [`put_ranks`]: super::ranks::put_ranks
    pub(super) fn read(&mut self, reader: &mut Reader<'_>, count: usize, range: &TimeRange) -> Option<()> {
        self.clear();
        let times = read_times(reader, count)?;
        self.read_keys(reader)?;
        read_whole(reader, count, &mut self.lengths)?;
        let filled = self.lengths.iter().filter(|length| **length > 0).count();
        let total: u64 = self.lengths.iter().map(|length| u64::from(*length)).sum();
        let total = usize::try_from(total).ok().filter(|total| *total <= MAX_POINTS)?;
        read_whole(reader, filled, &mut self.firsts)?;
        read_whole(reader, total - filled, &mut self.gaps)?;
        read_whole_doubles(reader, total, &mut self.weights)?;
        let counts = match reader.byte()? {
            COUNTS_FOLLOW => None,
            COUNTS_TOLD => Some(read_doubles(reader, count)?),
            _ => return None,
        };
        let numbers = Numbers::read(reader, count)?;
        self.middles.clear();
        let mut farthest = 0;
        if let Numbers::Rests { power, .. } = numbers {
            // What is beyond an integer is beyond `EXACT` as well.
            self.middles.extend(self.keys.iter().map(|key| middle(BucketKey(*key), power) as i64));
            farthest = self.middles.iter().map(|middle| middle.unsigned_abs()).max().unwrap_or_default();
        }
        let from = times.partition_point(|at_ms| *at_ms < range.start_ms);
        let until = times.partition_point(|at_ms| *at_ms <= range.end_ms).max(from);
        let before = self.lengths.get(..from)?;
        self.skipped = before.iter().map(|length| *length as usize).sum();
        let filled_before = before.iter().filter(|length| **length > 0).count();
        let mut firsts = self.firsts.get(filled_before..)?.iter();
        let mut gaps = self.gaps.get(self.skipped - filled_before..)?;
        let mut weights = self.weights.get(self.skipped..)?;
        self.ranks.reserve(total - self.skipped);
        self.windows.reserve(until - from);
        for place in from..until {
            let buckets = *self.lengths.get(place)?;
            let (own_weights, other_weights) = weights.split_at_checked(buckets as usize)?;
            weights = other_weights;
            let mut ends = None;
            let (mut total, mut middles) = (0u64, 0i64);
            if let Some((weight, own_weights)) = own_weights.split_first() {
                let first = *firsts.next()? as usize;
                let (own_gaps, other_gaps) = gaps.split_at_checked(own_weights.len())?;
                gaps = other_gaps;
                self.ranks.push(first as u32);
                let mut rank = first;
                total = u64::from(*weight);
                let middle_of = |rank: usize| self.middles.get(rank).copied().unwrap_or_default();
                middles = middle_of(first).wrapping_mul(i64::from(*weight));
                self.ranks.extend(own_gaps.iter().zip(own_weights).map(|(gap, weight)| {
                    // At most `MAX_POINTS` times: it does not overflow.
                    rank += 1 + *gap as usize;
                    total += u64::from(*weight);
                    middles = middles.wrapping_add(middle_of(rank).wrapping_mul(i64::from(*weight)));
                    rank as u32
                }));
                // They ascend.
                ends = Some((first, rank)).filter(|_| rank < self.keys.len());
                ends?;
            }
            let exact = |number: u64| Some(number).filter(|number| *number < EXACT);
            exact(farthest.saturating_mul(total.max(1)))?;
            let count = match &counts {
                Some(counts) => *counts.get(place)?,
                None => exact(total)? as f64,
            };
            let of = Buckets { keys: &self.keys, middles: &self.middles, ends, total, sum: middles as f64 };
            let (sum, min, max) = numbers.of(place, &of)?;
            // As `Histogram::from_parts` has it.
            if !count.is_finite() || count < 0.0 || sum.is_nan() || min.is_nan() || max.is_nan() {
                return None;
            }
            self.windows.push(WindowNumbers { at_ms: *times.get(place)?, count, sum, min, max, buckets });
        }
        Some(())
    }

    fn read_keys(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        let distinct = usize::try_from(reader.varint()?).ok().filter(|distinct| *distinct <= MAX_KEYS)?;
        if distinct == 0 {
            return Some(());
        }
        let mut key = reader.signed()?;
        self.keys.push(i32::try_from(key).ok()?);
        for gap in read_integers(reader, distinct - 1)? {
            key = key.checked_add(Some(gap).filter(|gap| *gap > 0)?)?;
            self.keys.push(i32::try_from(key).ok()?);
        }
        let is_key = |key: &i32| key.unsigned_abs() <= BucketKey::MAX as u32;
        (self.keys.first().is_some_and(is_key) && self.keys.last().is_some_and(is_key)).then_some(())
    }
}

/// The buckets of a window: ranks of the first and the last one, the sum of the
/// weights, and of the middles times these.
struct Buckets<'a> {
    keys: &'a [i32],
    middles: &'a [i64],
    ends: Option<(usize, usize)>,
    total: u64,
    sum: f64,
}

/// Sums, least and greatest values, as they are written.
enum Numbers {
    Told { sums: Vec<f64>, least: Vec<f64>, most: Vec<f64> },
    Rests { power: f64, least: Vec<i64>, most: Vec<i64>, sums: Vec<i64>, roundings: Vec<i64> },
}

impl Numbers {
    fn read(reader: &mut Reader<'_>, count: usize) -> Option<Self> {
        let scale = reader.byte()?;
        if scale == NO_SCALE {
            let mut column = || read_doubles(reader, count);
            return Some(Numbers::Told { sums: column()?, least: column()?, most: column()? });
        }
        let power = power_of(scale)?;
        let mut column = || read_integers(reader, count);
        let (least, most, sums, roundings) = (column()?, column()?, column()?, column()?);
        Some(Numbers::Rests { power, least, most, sums, roundings })
    }

    /// Sum, least and greatest value of the window at `place`.
    fn of(&self, place: usize, buckets: &Buckets<'_>) -> Option<(f64, f64, f64)> {
        match self {
            Numbers::Told { sums, least, most } => {
                Some((*sums.get(place)?, *least.get(place)?, *most.get(place)?))
            }
            Numbers::Rests { power, least, most, sums, roundings } => {
                let ends = buckets.ends;
                let edge =
                    |rank: usize| buckets.keys.get(rank).map_or(0, |key| edge(BucketKey(*key), *power));
                let least = least.get(place)?.wrapping_add(ends.map_or(0, |(first, _)| edge(first)));
                let most = most.get(place)?.wrapping_add(ends.map_or(0, |(_, last)| edge(last)));
                let guess = match ends {
                    Some((first, last)) if first < last => {
                        let middle =
                            |rank: usize| buckets.middles.get(rank).map_or(0.0, |middle| *middle as f64);
                        let ends = (least as f64 - middle(first)) + (most as f64 - middle(last));
                        buckets.sum + ends
                    }
                    Some(_) => (least as f64 + most as f64) / 2.0 * buckets.total as f64,
                    None => 0.0,
                };
                let sum = sums.get(place)?.wrapping_add(guess.round() as i64) as f64 / power;
                let sum = f64::from_bits((sum.to_bits() as i64).wrapping_add(*roundings.get(place)?) as u64);
                Some((sum, least as f64 / power, most as f64 / power))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ranks::put_ranks;
    use proptest::prelude::*;

    fn unpacked(read: &Distributions) -> Vec<(i64, Histogram)> {
        let of = |window: PackedWindow<'_>| {
            let key = |rank: &u32| BucketKey(read.keys()[*rank as usize]);
            let weights = window.weights.iter().map(|weight| f64::from(*weight));
            let buckets = window.ranks.iter().map(key).zip(weights).collect();
            let WindowNumbers { at_ms, count, sum, min, max, .. } = *window.numbers;
            (at_ms, Histogram::from_parts((count, sum, min, max), buckets).unwrap())
        };
        read.windows().map(of).collect()
    }

    proptest! {
        #[test]
        fn they_are_the_histograms_that_were_written(
            windows in prop::collection::vec(
                prop::collection::vec((prop_oneof![-1e9f64..1e9, 0.0f64..1.0], 1u32..9), 0..30), 0..80),
            decimals in 0i32..8,
            (start, end) in (0i64..80, 0i64..100),
        ) {
            let power = 10f64.powi(decimals);
            let of = |values: Vec<(f64, u32)>| Histogram::from_values(values.into_iter().map(|(value, weight)| {
                let value = if decimals == 7 { value } else { (value * power).round() / power };
                (value, f64::from(weight))
            }));
            let points: Vec<(i64, Histogram)> =
                windows.into_iter().enumerate().map(|(at, values)| (at as i64 * 10_000, of(values))).collect();
            let range = TimeRange { start_ms: start * 10_000 - 1, end_ms: end * 10_000 };
            let expected: Vec<_> = points.iter().filter(|(at, _)| range.contains(*at)).cloned().collect();
            let mut out = Vec::new();
            put_ranks(&mut out, &points);
            let (mut reader, mut read) = (Reader::new(&out), Distributions::default());
            // Sums of large decimals are not exact.
            if read.read(&mut reader, points.len(), &range).is_some() {
                prop_assert!(reader.is_empty());
                prop_assert_eq!(unpacked(&read), expected.clone());
            } else {
                prop_assert!(decimals >= 5);
            }
            if read.fill(&points, &range).is_some() {
                prop_assert_eq!(unpacked(&read), expected);
            }
        }

        #[test]
        fn foreign_bytes_do_no_harm(bytes: Vec<u8>, count in 0usize..100) {
            let range = TimeRange { start_ms: 0, end_ms: i64::MAX };
            let _ = Distributions::default().read(&mut Reader::new(&bytes), count, &range);
        }
    }

    #[test]
    fn weights_that_are_no_whole_numbers_are_left_to_others() {
        let points = [(0, Histogram::from_values([(1.0, 0.5), (2.0, 1.0)]))];
        let (mut out, mut read) = (Vec::new(), Distributions::default());
        let range = TimeRange { start_ms: 0, end_ms: 9 };
        put_ranks(&mut out, &points);
        assert!(read.read(&mut Reader::new(&out), 1, &range).is_none());
        assert!(read.fill(&points, &range).is_none());
    }
}
