//! `rate`, `increase`, `delta` and their instant kin over one window.
//!
//! Floats are extrapolated to the window's ends as Prometheus does it. Where
//! the series never resets, a fall is a negative count. Histograms of one
//! window each are merged, and nothing is extrapolated: each window is there
//! or had no values.

use super::column::Cell;
use super::distribution::{self, Distribution, Incompatible};
use super::function_table::Function;
use super::log_linear;
use super::told::Told;
use super::track::{Passed, Track, Window};
use crate::model::{ResetHint, Sample};

/// Added to any number, it is that number, to the last bit.
const NOTHING: f64 = -0.0;

/// Which of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Rate,
    Increase,
    Delta,
}

impl Kind {
    pub fn of(function: Function) -> Option<Kind> {
        match function {
            Function::Rate => Some(Kind::Rate),
            Function::Increase => Some(Kind::Increase),
            Function::Delta => Some(Kind::Delta),
            _ => None,
        }
    }
}

/// What the window's samples gained.
pub(crate) fn extrapolated(told: &Told<'_>, window: &Window<'_>, kind: Kind) -> Cell {
    let unit = unit(kind, window.end_ms - window.start_ms);
    let times = (window.start_ms, window.end_ms);
    match (window.floats, window.histograms) {
        (floats, []) => {
            let resets = kind != Kind::Delta && !window.never_resets;
            let lost = || if resets { lost_by_resets(floats) } else { NOTHING };
            let factor =
                |ends, samples, first_value, gain| Reach::of(ends, samples, unit).factor(first_value, gain);
            floats_gain(times, floats, kind, lost, factor).map_or(Cell::None, Cell::Float)
        }
        ([], histograms) if window.windowed => {
            if kind == Kind::Delta {
                return Cell::None;
            }
            let windows = histograms.iter().filter_map(|(_, h)| h.as_log_linear());
            let merged = log_linear::merge_all(windows);
            Cell::histogram(merged.scaled(1.0 / unit))
        }
        ([], histograms) => {
            histograms_gain(told, window, histograms, kind, unit).map_or(Cell::None, Cell::histogram)
        }
        // A series that changed from one to the other within the window.
        _ => {
            told.mixed_floats_and_histograms();
            Cell::None
        }
    }
}

/// What a series of floats alone gained in each of many windows of one length, whose
/// ends never decrease: what is looked for is looked for once, and not once a window.
pub(crate) struct Gains<'a> {
    floats: &'a [Sample],
    /// Places of the samples before resets.
    falls: Vec<usize>,
    kind: Kind,
    range_ms: i64,
    unit: f64,
    from: Passed,
    to: Passed,
    /// Of the window before, as most are alike.
    reach: (Ends, usize, Reach),
}

impl<'a> Gains<'a> {
    /// `None` where the series has more than floats.
    pub fn of(track: &'a Track, kind: Kind, range_ms: i64) -> Option<Self> {
        if !track.histograms.is_empty() {
            return None;
        }
        let floats = &track.floats[..];
        let falls = match kind == Kind::Delta || track.never_resets {
            true => Vec::new(),
            false => falls(floats).map(|(place, _)| place).collect(),
        };
        let (from, to) = (Passed::default(), Passed::default());
        // Of no window, as none has no sample.
        let unit = unit(kind, range_ms);
        let reach = (Ends::default(), 0, Reach::of(Ends::default(), 2, unit));
        Some(Gains { floats, falls, kind, range_ms, unit, from, to, reach })
    }

    /// As [`extrapolated`] of the window that ends at `end_ms`.
    #[inline]
    pub fn until(&mut self, end_ms: i64) -> Cell {
        let start_ms = end_ms - self.range_ms;
        let to = self.to.until(self.floats, end_ms);
        let from = self.from.until(self.floats, start_ms).min(to);
        let floats = self.floats.get(from..to).unwrap_or_default();
        let lost = || match &self.falls[..] {
            [] => NOTHING,
            falls => {
                let within = falls.iter().skip(falls.partition_point(|place| *place < from));
                let within = within.take_while(|place| **place + 1 < to);
                within.filter_map(|place| self.floats.get(*place)).map(|before| before.value).sum()
            }
        };
        let factor = |ends, samples, first_value, gain| {
            if (self.reach.0, self.reach.1) != (ends, samples) {
                self.reach = (ends, samples, Reach::of(ends, samples, self.unit));
            }
            self.reach.2.factor(first_value, gain)
        };
        floats_gain((start_ms, end_ms), floats, self.kind, lost, factor).map_or(Cell::None, Cell::Float)
    }
}

/// Change between the last two samples: a rate a second, or the difference.
pub(crate) fn instant(told: &Told<'_>, window: &Window<'_>, is_rate: bool) -> Cell {
    let counts_down = !window.never_resets;
    let float_times = window.floats.iter().map(|s| s.timestamp_ms);
    let histogram_times = window.histograms.iter().map(|(at, _)| *at);
    let mut times: Vec<i64> = float_times.rev().take(2).chain(histogram_times.rev().take(2)).collect();
    times.sort_unstable_by(|a, b| b.cmp(a));
    let Some(before_ms) = times.get(1) else { return Cell::None };
    let floats = window.floats.iter().filter(|s| s.timestamp_ms >= *before_ms).count();
    match (floats, window.floats, window.histograms) {
        (2, [.., before, last], _) => {
            let seconds = (last.timestamp_ms - before.timestamp_ms) as f64 / 1000.0;
            let reset = is_rate && counts_down && last.value < before.value;
            let change = if reset { last.value } else { last.value - before.value };
            Cell::Float(if is_rate { change / seconds } else { change })
        }
        (0, _, [.., (before_ms, before), (last_ms, last)]) => {
            let seconds = (last_ms - before_ms) as f64 / 1000.0;
            if !is_rate && before.is_custom() != last.is_custom() {
                told.mixed_schemas();
                return Cell::None;
            }
            if !window.windowed {
                check_flavor(told, is_rate, [before, last]);
            }
            let change = match window.windowed || (is_rate && last.is_reset_after(before)) {
                true => last.clone(),
                false => match last.minus(before) {
                    Ok((change, notes)) => {
                        told.notes(notes, "subtraction");
                        change
                    }
                    Err(Incompatible) => return Cell::None,
                },
            };
            let change = change.into_gauge();
            Cell::Histogram(if is_rate { change.divided(seconds) } else { change })
        }
        _ => {
            told.mixed_floats_and_histograms();
            Cell::None
        }
    }
}

/// Warns where a gauge is taken for a counter, or the other way round.
fn check_flavor<'a>(
    told: &Told<'_>,
    is_counter: bool,
    histograms: impl IntoIterator<Item = &'a Distribution>,
) {
    let natives = histograms.into_iter().filter(|h| h.as_native().is_some());
    if natives.into_iter().any(|h| (h.hint() == ResetHint::Gauge) == is_counter) {
        told.wrong_flavor(is_counter);
    }
}

/// What a counter had before each of its falls.
fn lost_by_resets(floats: &[Sample]) -> f64 {
    falls(floats).map(|(_, before)| before).sum()
}

/// Place and value of each sample that is followed by a lesser one.
fn falls(floats: &[Sample]) -> impl Iterator<Item = (usize, f64)> {
    let falls = floats.windows(2).enumerate().filter(|(_, pair)| pair[1].value < pair[0].value);
    falls.map(|(place, pair)| (place, pair[0].value))
}

/// What floats gained within `(start_ms, end_ms]`; `lost` is the sum of what there
/// was before each of their resets.
#[inline]
fn floats_gain(
    (start_ms, end_ms): (i64, i64),
    floats: &[Sample],
    kind: Kind,
    lost: impl FnOnce() -> f64,
    factor: impl FnOnce(Ends, usize, Option<f64>, f64) -> f64,
) -> Option<f64> {
    let (first, last) = (floats.first()?, floats.last()?);
    if floats.len() < 2 {
        return None;
    }
    let gain = last.value - first.value + lost();
    let zero_at = (kind != Kind::Delta && first.value >= 0.0).then_some(first.value);
    let ends = Ends::of((start_ms, end_ms), first.timestamp_ms, last.timestamp_ms);
    Some(gain * factor(ends, floats.len(), zero_at, gain))
}

/// What a gain is divided by: the seconds of its range, or nothing.
fn unit(kind: Kind, range_ms: i64) -> f64 {
    if kind == Kind::Rate { range_ms as f64 / 1000.0 } else { 1.0 }
}

fn histograms_gain(
    told: &Told<'_>,
    window: &Window<'_>,
    histograms: &[(i64, Distribution)],
    kind: Kind,
    unit: f64,
) -> Option<Distribution> {
    let ((first_ms, first), (last_ms, last)) = (histograms.first()?, histograms.last()?);
    let is_counter = kind != Kind::Delta;
    if histograms.len() < 2 {
        return None;
    }
    let all = || histograms.iter().map(|(_, histogram)| histogram);
    // Of a gauge only the ends are used.
    match is_counter {
        true => check_flavor(told, true, all()),
        false => check_flavor(told, false, [first, last]),
    }
    let followed_by_reset = |at: usize| {
        let (older, newer) = (histograms.get(at), histograms.get(at + 1));
        older.zip(newer).is_some_and(|(older, newer)| newer.1.is_reset_after(&older.1))
    };
    // What comes before a reset at once counts for nothing, whatever its buckets.
    let first_is_lost = is_counter && followed_by_reset(0);
    let relevant = histograms.get(usize::from(first_is_lost)..).unwrap_or_default();
    let custom = relevant.iter().filter(|(_, h)| h.is_custom()).count();
    if custom != 0 && custom != relevant.len() {
        told.mixed_schemas();
        return None;
    }
    let mut gain = last.clone();
    let add = |result: Result<(Distribution, distribution::Notes), Incompatible>, place: &str| {
        let (sum, mut notes) = result.ok()?;
        // A hint tells of its own sample; across a range they may differ.
        notes.resets_collide = false;
        told.notes(notes, place);
        Some(sum)
    };
    if !first_is_lost {
        gain = add(gain.minus(first), "subtraction")?;
    }
    if is_counter {
        for at in usize::from(first_is_lost)..histograms.len() - 1 {
            if followed_by_reset(at) {
                gain = add(gain.plus(&histograms.get(at)?.1), "addition")?;
            }
        }
    }
    let zero_at = is_counter.then_some(first.count());
    let ends = Ends::of((window.start_ms, window.end_ms), *first_ms, *last_ms);
    let factor = Reach::of(ends, histograms.len(), unit).factor(zero_at, gain.count());
    Some(gain.scaled(factor).into_gauge())
}

/// How far the samples of a window are from its ends, and how far apart.
#[derive(Clone, Copy, Default, PartialEq)]
struct Ends {
    start_ms: i64,
    covered_ms: i64,
    end_ms: i64,
}

impl Ends {
    fn of((start_ms, end_ms): (i64, i64), first_ms: i64, last_ms: i64) -> Self {
        Ends { start_ms: first_ms - start_ms, covered_ms: last_ms - first_ms, end_ms: end_ms - last_ms }
    }
}

/// To where a gain between the first and the last of some samples is stretched to
/// stand for the whole window: up to its ends when they are near, by half a
/// usual gap when not, and never before the time at which a counter that had
/// its first value must have been 0.
struct Reach {
    /// What the stretched gain is divided by.
    unit: f64,
    covered_s: f64,
    to_start_s: f64,
    to_end_s: f64,
    /// The factor where the counter was not 0 within reach.
    whole: f64,
}

impl Reach {
    fn of(ends: Ends, samples: usize, unit: f64) -> Self {
        let covered_s = ends.covered_ms as f64 / 1000.0;
        let gap_s = covered_s / (samples - 1) as f64;
        let threshold_s = gap_s * 1.1;
        let within = |ms: i64| {
            let away_s = ms as f64 / 1000.0;
            if away_s >= threshold_s { gap_s / 2.0 } else { away_s }
        };
        let (to_start_s, to_end_s) = (within(ends.start_ms), within(ends.end_ms));
        let whole = (covered_s + to_start_s + to_end_s) / covered_s / unit;
        Reach { unit, covered_s, to_start_s, to_end_s, whole }
    }

    #[inline]
    fn factor(&self, first_value: Option<f64>, gain: f64) -> f64 {
        let Some(first_value) = first_value.filter(|_| gain > 0.0) else { return self.whole };
        // Mostly plain to see, without a division.
        if first_value >= gain && self.covered_s >= self.to_start_s {
            return self.whole;
        }
        let zero_s = self.covered_s * (first_value / gain);
        if zero_s < self.to_start_s {
            return (self.covered_s + zero_s + self.to_end_s) / self.covered_s / self.unit;
        }
        self.whole
    }
}

#[cfg(test)]
mod tests {
    use super::super::annotation::Annotations;
    use super::super::track::Slider;
    use super::*;
    use crate::model::Labels;
    use proptest::prelude::*;

    proptest! {
        /// Windows that slide and windows on their own, to the last bit.
        #[test]
        fn a_series_gains_what_each_of_its_windows_does(
            samples in prop::collection::vec((1i64..40, -3i64..20, any::<bool>()), 0..200),
            never_resets: bool,
            (start_ms, step_ms, range_ms) in (0i64..2_000, 1i64..3_000, 1i64..20_000),
        ) {
            let (mut at_ms, mut total) = (0, 0.0);
            let floats = samples.into_iter().map(|(gap, gain, is_regular)| {
                at_ms += if is_regular { 100 } else { gap * gap };
                total = if gain == -3 { 0.3 } else { total + gain as f64 * 0.1 };
                Sample { timestamp_ms: at_ms, value: total }
            });
            let track = Track { floats: floats.collect(), never_resets, ..Track::default() };
            let (annotations, labels) = (Annotations::new("", &[], &[]), Labels::default());
            let told = Told { annotations: &annotations, at: 0, labels: &labels };
            for kind in [Kind::Rate, Kind::Increase, Kind::Delta] {
                let mut gains = Gains::of(&track, kind, range_ms).unwrap();
                let mut slider = Slider::new(&track);
                for end_ms in (0..60).map(|step| start_ms + step * step_ms) {
                    let alone = match slider.window(end_ms, range_ms, end_ms) {
                        window if window.is_empty() => Cell::None,
                        window => extrapolated(&told, &window, kind),
                    };
                    let bits = |cell: Cell| match cell {
                        Cell::Float(value) => Some(value.to_bits()),
                        _ => None,
                    };
                    prop_assert_eq!(bits(gains.until(end_ms)), bits(alone));
                }
            }
        }
    }
}
