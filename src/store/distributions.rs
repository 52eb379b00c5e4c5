//! Distributions of a series as they lie in its chunks: what a chunk has in
//! common once, then window by window. Who only adds them up needs no
//! histogram of each.
//!
//! Weights are whole numbers here. What has others, or is damaged, is not read
//! here but the usual way.

use super::chunk::{MAX_POINTS, read_times};
use super::coding::{Reader, power_of};
use super::column::{
    read_doubles, read_integers, read_whole, read_whole_doubles, skip_doubles, skip_integers,
};
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
    /// Those of all buckets, ascending; a rank is a place in it.
    keys: Vec<i32>,
    /// Of each bucket but a window's first how many ranks lie between it and the
    /// one before, window by window, behind `skipped_gaps` others.
    gaps: Vec<u32>,
    skipped_gaps: usize,
    /// Of each bucket the weight, behind `skipped` others.
    weights: Vec<u32>,
    skipped: usize,
    /// Sums of the values are left out: they cost as much as all buckets.
    leaves_sums: bool,
    /// Room to work in.
    lengths: Vec<u32>,
    firsts: Vec<u32>,
    middles: Vec<i64>,
}

/// What is known of a window beside its buckets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WindowNumbers {
    /// Its end.
    pub at_ms: i64,
    pub count: f64,
    /// 0 where sums are left out.
    pub sum: f64,
    pub min: f64,
    pub max: f64,
    /// Of all weights.
    pub total: u64,
    buckets: u32,
    /// Ranks of the first bucket and of the last one.
    first: u32,
    last: u32,
}

/// A window with its buckets, ascending.
pub struct PackedWindow<'a> {
    pub numbers: &'a WindowNumbers,
    gaps: &'a [u32],
    weights: &'a [u32],
}

impl PackedWindow<'_> {
    /// How many buckets there are.
    pub fn len(&self) -> usize {
        self.weights.len()
    }

    pub fn is_empty(&self) -> bool {
        self.weights.is_empty()
    }

    /// Ranks of the first bucket and of the last one.
    pub fn ends(&self) -> Option<(usize, usize)> {
        self.numbers.ends()
    }

    /// Hands rank and weight of each bucket to `each`.
    #[inline]
    pub fn each(&self, mut each: impl FnMut(usize, u32)) {
        let Some((weight, weights)) = self.weights.split_first() else { return };
        let mut rank = self.numbers.first as usize;
        each(rank, *weight);
        for (gap, weight) in self.gaps.iter().zip(weights) {
            rank += 1 + *gap as usize;
            each(rank, *weight);
        }
    }
}

impl WindowNumbers {
    fn ends(&self) -> Option<(usize, usize)> {
        (self.buckets > 0).then_some((self.first as usize, self.last as usize))
    }
}

impl Distributions {
    /// Room for some whose sums nobody looks at.
    pub(super) fn without_sums() -> Self {
        Distributions { leaves_sums: true, ..Distributions::default() }
    }

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
    pub fn ends_ms(&self) -> Option<(i64, i64)> {
        Some((self.windows.first()?.at_ms, self.windows.last()?.at_ms))
    }

    pub fn windows(&self) -> impl Iterator<Item = PackedWindow<'_>> {
        let mut gaps = self.gaps.get(self.skipped_gaps..).unwrap_or_default();
        let mut weights = self.weights.get(self.skipped..).unwrap_or_default();
        self.windows.iter().map(move |numbers| {
            let many = (numbers.buckets as usize).min(weights.len());
            let (own_gaps, other_gaps) = gaps.split_at(many.saturating_sub(1).min(gaps.len()));
            let (own_weights, other_weights) = weights.split_at(many);
            (gaps, weights) = (other_gaps, other_weights);
            PackedWindow { numbers, gaps: own_gaps, weights: own_weights }
        })
    }

    fn clear(&mut self) {
        self.windows.clear();
        self.keys.clear();
        self.gaps.clear();
        self.weights.clear();
        (self.skipped_gaps, self.skipped) = (0, 0);
    }

    /// Takes in those within `range`; `None` where a weight is no whole number or
    /// too large, or buckets are too far apart.
    pub(super) fn fill(&mut self, points: &[(i64, Histogram)], range: &TimeRange) -> Option<()> {
        self.clear();
        let within = || points.iter().filter(|(at_ms, _)| range.contains(*at_ms));
        let all = within().flat_map(|(_, histogram)| histogram.buckets());
        let (lowest, highest) = all.fold((i32::MAX, i32::MIN), |(lowest, highest), (key, _)| {
            (lowest.min(key.0), highest.max(key.0))
        });
        if i64::from(highest) - i64::from(lowest) >= MOST_SPAN {
            return None;
        }
        // Of each key between them the rank follows.
        self.keys.extend(lowest..=highest);
        let rank = |key: BucketKey| key.0.wrapping_sub(lowest) as u32;
        for (at_ms, histogram) in within() {
            let buckets = histogram.buckets();
            let mut total = 0;
            for (_, weight) in buckets {
                let whole = Some(*weight as u32).filter(|whole| f64::from(*whole) == *weight)?;
                self.weights.push(whole);
                total += u64::from(whole);
            }
            self.gaps.extend(buckets.windows(2).map(|pair| rank(pair[1].0) - rank(pair[0].0) - 1));
            let rank_of = |bucket: Option<&(BucketKey, f64)>| bucket.map_or(0, |(key, _)| rank(*key));
            self.windows.push(WindowNumbers {
                at_ms: *at_ms,
                count: histogram.count,
                sum: histogram.sum,
                min: histogram.min,
                max: histogram.max,
                total,
                buckets: buckets.len() as u32,
                first: rank_of(buckets.first()),
                last: rank_of(buckets.last()),
            });
        }
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
        let numbers = Numbers::read(reader, count, self.leaves_sums)?;
        self.middles.clear();
        let mut farthest = 0;
        if let Numbers::Rests { power, sums: Some(_), .. } = numbers {
            // What is beyond an integer is beyond `EXACT` as well.
            self.middles.extend(self.keys.iter().map(|key| middle(BucketKey(*key), power) as i64));
            farthest = self.middles.iter().map(|middle| middle.unsigned_abs()).max().unwrap_or_default();
        }
        let from = times.partition_point(|at_ms| *at_ms < range.start_ms);
        let until = times.partition_point(|at_ms| *at_ms <= range.end_ms).max(from);
        let before = self.lengths.get(..from)?;
        let filled_before = before.iter().filter(|length| **length > 0).count();
        self.skipped = before.iter().map(|length| *length as usize).sum();
        self.skipped_gaps = self.skipped - filled_before;
        let mut firsts = self.firsts.get(filled_before..)?.iter();
        let mut gaps = self.gaps.get(self.skipped_gaps..)?;
        let mut weights = self.weights.get(self.skipped..)?;
        self.windows.reserve(until - from);
        for place in from..until {
            let buckets = *self.lengths.get(place)?;
            let (own_weights, other_weights) = weights.split_at_checked(buckets as usize)?;
            let (own_gaps, other_gaps) = gaps.split_at_checked(own_weights.len().saturating_sub(1))?;
            (gaps, weights) = (other_gaps, other_weights);
            let first = if own_weights.is_empty() { 0 } else { *firsts.next()? };
            // They ascend, so that the last one tells of all whether there are such keys.
            let more: u64 = own_gaps.iter().map(|gap| 1 + u64::from(*gap)).sum();
            let last = u64::from(first) + more;
            if buckets > 0 && last >= self.keys.len() as u64 {
                return None;
            }
            let total: u64 = own_weights.iter().map(|weight| u64::from(*weight)).sum();
            let exact = |number: u64| Some(number).filter(|number| *number < EXACT);
            exact(farthest.saturating_mul(total.max(1)))?;
            let count = match &counts {
                Some(counts) => *counts.get(place)?,
                None => exact(total)? as f64,
            };
            let at_ms = *times.get(place)?;
            let (sum, min, max, last) = (0.0, 0.0, 0.0, last as u32);
            let mut window = WindowNumbers { at_ms, count, sum, min, max, total, buckets, first, last };
            let packed = PackedWindow { numbers: &window, gaps: own_gaps, weights: own_weights };
            (window.sum, window.min, window.max) = numbers.of(place, &packed, &self.keys, &self.middles)?;
            let WindowNumbers { sum, min, max, .. } = window;
            // As `Histogram::from_parts` has it.
            if !count.is_finite() || count < 0.0 || sum.is_nan() || min.is_nan() || max.is_nan() {
                return None;
            }
            self.windows.push(window);
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

/// Sums, least and greatest values, as they are written; sums may be left out.
enum Numbers {
    Told { sums: Option<Vec<f64>>, least: Vec<f64>, most: Vec<f64> },
    Rests { power: f64, least: Vec<i64>, most: Vec<i64>, sums: Option<Sums> },
}

/// What sums differ by from what the buckets tell, and what they were rounded by.
struct Sums {
    rests: Vec<i64>,
    roundings: Vec<i64>,
}

impl Numbers {
    fn read(reader: &mut Reader<'_>, count: usize, leaves_sums: bool) -> Option<Self> {
        let scale = reader.byte()?;
        if scale == NO_SCALE {
            let sums = match leaves_sums {
                true => skip_doubles(reader, count).map(|()| None)?,
                false => Some(read_doubles(reader, count)?),
            };
            let mut column = || read_doubles(reader, count);
            return Some(Numbers::Told { sums, least: column()?, most: column()? });
        }
        let power = power_of(scale)?;
        let (least, most) = (read_integers(reader, count)?, read_integers(reader, count)?);
        let sums = match leaves_sums {
            true => (0..2).try_for_each(|_| skip_integers(reader, count)).map(|()| None)?,
            false => {
                Some(Sums { rests: read_integers(reader, count)?, roundings: read_integers(reader, count)? })
            }
        };
        Some(Numbers::Rests { power, least, most, sums })
    }

    /// Sum, least and greatest value of the window at `place`; `middles` are those of
    /// the buckets that `keys` tell.
    fn of(
        &self,
        place: usize,
        window: &PackedWindow<'_>,
        keys: &[i32],
        middles: &[i64],
    ) -> Option<(f64, f64, f64)> {
        match self {
            Numbers::Told { sums, least, most } => {
                let sum = sums.as_ref().map_or(Some(&0.0), |sums| sums.get(place));
                Some((*sum?, *least.get(place)?, *most.get(place)?))
            }
            Numbers::Rests { power, least, most, sums } => {
                let edge = |rank: usize| keys.get(rank).map_or(0, |key| edge(BucketKey(*key), *power));
                let least = least.get(place)?.wrapping_add(window.ends().map_or(0, |(first, _)| edge(first)));
                let most = most.get(place)?.wrapping_add(window.ends().map_or(0, |(_, last)| edge(last)));
                let sum = match sums {
                    Some(sums) => sums.of(place, *power, guessed_sum(window, middles, least, most))?,
                    None => 0.0,
                };
                Some((sum, least as f64 / power, most as f64 / power))
            }
        }
    }
}

impl Sums {
    fn of(&self, place: usize, power: f64, guess: f64) -> Option<f64> {
        let sum = self.rests.get(place)?.wrapping_add(guess.round() as i64) as f64 / power;
        Some(f64::from_bits((sum.to_bits() as i64).wrapping_add(*self.roundings.get(place)?) as u64))
    }
}

/// What the buckets tell of a sum: see `ranks.rs`.
fn guessed_sum(window: &PackedWindow<'_>, middles: &[i64], least: i64, most: i64) -> f64 {
    let middle = |rank: usize| middles.get(rank).copied().unwrap_or_default();
    match window.ends() {
        Some((first, last)) if first < last => {
            let mut sum = 0i64;
            window.each(|rank, weight| {
                sum = sum.wrapping_add(middle(rank).wrapping_mul(i64::from(weight)));
            });
            let ends = (least as f64 - middle(first) as f64) + (most as f64 - middle(last) as f64);
            sum as f64 + ends
        }
        Some(_) => (least as f64 + most as f64) / 2.0 * window.numbers.total as f64,
        None => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ranks::put_ranks;
    use proptest::prelude::*;

    fn unpacked(read: &Distributions) -> Vec<(i64, Histogram)> {
        let of = |window: PackedWindow<'_>| {
            let mut buckets = Vec::new();
            window.each(|rank, weight| buckets.push((BucketKey(read.keys()[rank]), f64::from(weight))));
            let WindowNumbers { at_ms, count, sum, min, max, total, .. } = *window.numbers;
            assert_eq!(total, buckets.iter().map(|(_, weight)| *weight as u64).sum::<u64>());
            assert_eq!(
                window.ends().map(|(_, last)| BucketKey(read.keys()[last])),
                buckets.last().map(|(key, _)| *key)
            );
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
                prop_assert_eq!(unpacked(&read), expected.clone());
            }
            let mut read = Distributions::without_sums();
            let mut reader = Reader::new(&out);
            prop_assert!(read.read(&mut reader, points.len(), &range).is_some() && reader.is_empty());
            let mut expected = expected;
            expected.iter_mut().for_each(|(_, histogram)| histogram.sum = 0.0);
            prop_assert_eq!(unpacked(&read), expected);
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
