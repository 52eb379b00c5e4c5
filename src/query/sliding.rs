//! `rate` and `increase` of our own histograms of one window each, for all
//! steps: a range that moves on is what it was, with the windows that came and
//! without those that went.
//!
//! The outcome is that of merging each range anew. Weights are taken away again
//! only where they are whole numbers, which doubles add without rounding; the
//! sum of the values, its least and its greatest are always those of the
//! windows that are there.

use super::distribution::Distribution;
use super::eval::Ranged;
use super::expr::Edges;
use super::function_table::Function;
use super::log_linear::{self, DENSE_SPAN};
use super::rate::Kind;
use super::track::Track;
use crate::model::Histogram;
use crate::model::histogram::BucketKey;

/// Up to it doubles are whole numbers without a gap.
const EXACT: f64 = (1u64 << 53) as f64;

/// Whether the series holds nothing but such windows.
pub(super) fn is_windowed(track: &Track) -> bool {
    let are_ours = || track.histograms.iter().all(|(_, histogram)| histogram.as_log_linear().is_some());
    track.windowed && track.floats.is_empty() && !track.histograms.is_empty() && are_ours()
}

/// Of the two functions that add windows up.
pub(super) fn kind_of(function: Function) -> Option<Kind> {
    Kind::of(function).filter(|kind| *kind != Kind::Delta)
}

/// What the sum of the windows in a range is multiplied by.
pub(super) fn factor(kind: Kind, range_ms: i64) -> f64 {
    if kind == Kind::Rate { 1.0 / (range_ms as f64 / 1000.0) } else { 1.0 }
}

/// The series' `rate` or `increase`, where it is worked out here.
pub(super) fn of_track<'a>(function: Function, ranged: &Ranged<'_>, track: &'a Track) -> Option<Sliding<'a>> {
    let kind = kind_of(function).filter(|_| ranged.edges == Edges::Plain && is_windowed(track))?;
    Some(Sliding::new(&track.histograms, ranged.range_ms, &ranged.ends_ms, kind))
}

/// See the module's head. The ends that it is asked for must not decrease.
pub(super) struct Sliding<'a> {
    windows: &'a [(i64, Distribution)],
    range_ms: i64,
    factor: f64,
    /// Places of the windows that are in the range.
    from: usize,
    to: usize,
    /// Of these; `None` where ranges are merged anew.
    weights: Option<Weights>,
}

impl<'a> Sliding<'a> {
    /// Over `windows` in ascending order of time; `ends_ms` are those that it will be
    /// asked for.
    pub fn new(windows: &'a [(i64, Distribution)], range_ms: i64, ends_ms: &[i64], kind: Kind) -> Self {
        let overlap = ends_ms.windows(2).any(|pair| matches!(pair, [a, b] if a < b && b - a < range_ms));
        let weights = if overlap { Weights::of(windows) } else { None };
        let factor = factor(kind, range_ms);
        Sliding { windows, range_ms, factor, from: 0, to: 0, weights }
    }

    /// Of the windows in `(end_ms - range_ms, end_ms]`; `None` where there is none.
    pub fn at(&mut self, end_ms: i64) -> Option<Distribution> {
        let start_ms = end_ms.saturating_sub(self.range_ms);
        let (was_from, was_to) = (self.from, self.to);
        let ended = |place: usize, by_ms: i64| self.windows.get(place).is_some_and(|(at, _)| *at <= by_ms);
        while ended(self.to, end_ms) {
            self.to += 1;
        }
        while self.from < self.to && ended(self.from, start_ms) {
            self.from += 1;
        }
        if let Some(weights) = &mut self.weights {
            let of = |from: usize, to: usize| of_all(self.windows.get(from..to).unwrap_or_default());
            of(was_from, was_to.min(self.from)).for_each(|gone| weights.take(gone));
            of(was_to.max(self.from), self.to).for_each(|come| weights.add(come));
        }
        let windows = self.windows.get(self.from..self.to).filter(|windows| !windows.is_empty());
        windows.map(|windows| match &self.weights {
            Some(weights) => weights.histogram(windows, self.factor).into(),
            None => log_linear::merge_all(of_all(windows)).scaled(self.factor).into(),
        })
    }
}

fn of_all(windows: &[(i64, Distribution)]) -> impl Iterator<Item = &Histogram> + Clone {
    windows.iter().filter_map(|(_, histogram)| histogram.as_log_linear())
}

/// Weights by the number of their bucket, and a bit for each that has any.
struct Weights {
    lowest: i32,
    weights: Vec<f64>,
    held: Vec<u64>,
}

impl Weights {
    /// None yet, with room for those of `windows`; `None` where they are no whole
    /// numbers, too large or too far apart.
    fn of(windows: &[(i64, Distribution)]) -> Option<Self> {
        let (mut lowest, mut highest, mut total) = (i32::MAX, i32::MIN, 0.0);
        for histogram in of_all(windows) {
            for (key, weight) in histogram.buckets() {
                if weight.fract() != 0.0 || *weight < 0.0 {
                    return None;
                }
                lowest = lowest.min(key.0);
                highest = highest.max(key.0);
                total += weight;
            }
        }
        let span = (i64::from(highest) - i64::from(lowest) + 1).max(0);
        let span = usize::try_from(span).ok().filter(|_| span <= DENSE_SPAN && total < EXACT)?;
        Some(Weights { lowest, weights: vec![0.0; span], held: vec![0; span.div_ceil(64)] })
    }

    fn add(&mut self, histogram: &Histogram) {
        for (key, weight) in histogram.buckets() {
            let at = key.0.wrapping_sub(self.lowest) as usize;
            if let (Some(slot), Some(word)) = (self.weights.get_mut(at), self.held.get_mut(at / 64)) {
                *slot += weight;
                *word |= u64::from(*slot != 0.0) << (at % 64);
            }
        }
    }

    fn take(&mut self, histogram: &Histogram) {
        for (key, weight) in histogram.buckets() {
            let at = key.0.wrapping_sub(self.lowest) as usize;
            if let (Some(slot), Some(word)) = (self.weights.get_mut(at), self.held.get_mut(at / 64)) {
                *slot -= weight;
                *word &= !(u64::from(*slot == 0.0) << (at % 64));
            }
        }
    }

    /// The weights as they are, times `factor`; the rest is of `windows`.
    fn histogram(&self, windows: &[(i64, Distribution)], factor: f64) -> Histogram {
        let mut whole = Histogram::default();
        for histogram in of_all(windows) {
            whole.count += histogram.count;
            whole.sum += histogram.sum;
            whole.min = whole.min.min(histogram.min);
            whole.max = whole.max.max(histogram.max);
        }
        whole.count *= factor;
        whole.sum *= factor;
        let many: u32 = self.held.iter().map(|word| word.count_ones()).sum();
        let mut buckets = Vec::with_capacity(many as usize);
        for (place, word) in self.held.iter().enumerate() {
            let mut word = *word;
            while word != 0 {
                let at = place * 64 + word.trailing_zeros() as usize;
                word &= word - 1;
                let weight = self.weights.get(at).copied().unwrap_or_default();
                buckets.push((BucketKey(self.lowest.wrapping_add(at as i32)), weight * factor));
            }
        }
        whole.add_buckets(buckets);
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_range_that_moves_on_is_the_same_as_one_that_is_merged_anew(
            gaps in prop::collection::vec((1i64..90, prop::collection::vec((-9.0f64..9.0, 0u8..4), 0..9)), 0..60),
            whole in any::<bool>(),
            wide in any::<bool>(),
            (range_s, step_s, offset_s) in (1i64..400, 0i64..300, -500i64..500),
        ) {
            let mut at_ms = 0;
            let windows: Vec<(i64, Distribution)> = gaps.into_iter().map(|(gap_s, values)| {
                at_ms += gap_s * 1000;
                let weight = |w: u8| f64::from(w) / if whole { 1.0 } else { 3.0 };
                let value = |v: f64| if wide { v * 10f64.powf(v * 30.0) } else { v };
                (at_ms, Histogram::from_values(values.into_iter().map(|(v, w)| (value(v), weight(w)))).into())
            }).collect();
            let ends_ms: Vec<i64> = (0..40).map(|step| (offset_s + step * step_s) * 1000).collect();
            for kind in [Kind::Rate, Kind::Increase] {
                let factor = if kind == Kind::Rate { 1.0 / range_s as f64 } else { 1.0 };
                let mut sliding = Sliding::new(&windows, range_s * 1000, &ends_ms, kind);
                for end_ms in &ends_ms {
                    let inside = |at: i64| end_ms - range_s * 1000 < at && at <= *end_ms;
                    let inside: Vec<_> = windows.iter().filter(|(at, _)| inside(*at)).cloned().collect();
                    let expected = log_linear::merge_all(of_all(&inside)).scaled(factor);
                    let expected = (!inside.is_empty()).then(|| Distribution::from(expected));
                    prop_assert_eq!(sliding.at(*end_ms), expected);
                }
            }
        }
    }
}
