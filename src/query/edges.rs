//! Ranges and instants whose ends are looked at closely: `anchored` takes what
//! was known there, `smoothed` interpolates. The same for floats and histograms.

use super::column::Cell;
use super::distribution::Distribution;
use super::expr::Edges;
use super::rate::Kind;
use super::told::Told;
use super::track::{Track, Window};
use crate::model::{ResetHint, sample};

/// What a value must be able to do to be interpolated.
pub(crate) trait Point: Clone {
    fn plus(&self, other: &Self) -> Option<Self>;
    fn minus(&self, other: &Self) -> Option<Self>;
    fn times(&self, factor: f64) -> Self;
    fn is_reset_after(&self, older: &Self) -> bool;
    fn into_cell(self) -> Cell;
}

impl Point for f64 {
    fn plus(&self, other: &Self) -> Option<Self> {
        Some(self + other)
    }

    fn minus(&self, other: &Self) -> Option<Self> {
        Some(self - other)
    }

    fn times(&self, factor: f64) -> Self {
        self * factor
    }

    fn is_reset_after(&self, older: &Self) -> bool {
        self < older
    }

    fn into_cell(self) -> Cell {
        Cell::Float(self)
    }
}

impl Point for Distribution {
    fn plus(&self, other: &Self) -> Option<Self> {
        Distribution::plus(self, other).ok().map(|(sum, _)| sum)
    }

    fn minus(&self, other: &Self) -> Option<Self> {
        Distribution::minus(self, other).ok().map(|(difference, _)| difference)
    }

    fn times(&self, factor: f64) -> Self {
        self.clone().scaled(factor)
    }

    fn is_reset_after(&self, older: &Self) -> bool {
        Distribution::is_reset_after(self, older)
    }

    fn into_cell(self) -> Cell {
        Cell::Histogram(self)
    }
}

/// The ends of a range, `(start_ms, end_ms]`, and how they are looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    pub edges: Edges,
    pub start_ms: i64,
    pub end_ms: i64,
    /// A fall between two values is a reset.
    pub resets: bool,
}

/// Values of a range, the first of them at its start and the last at its end.
struct Points<V> {
    values: Vec<V>,
    /// The pair of values from which on resets must be looked for, and that
    /// before which to stop: none is where a value was made between two.
    reset_pairs: std::ops::Range<usize>,
}

impl Range {
    /// The window of an `anchored` range: what was known at its start, and the
    /// samples within.
    pub fn anchored_track(&self, around: &Window<'_>, track: &Track) -> Track {
        let (floats, histograms) = (around.floats, around.histograms);
        let inside = (within(floats, self, |s| s.timestamp_ms), within(histograms, self, |(at, _)| *at));
        let before = |from: usize| from.checked_sub(1);
        let float = before(inside.0.start).and_then(|at| Some((at, floats.get(at)?.timestamp_ms)));
        let histogram = before(inside.1.start).and_then(|at| Some((at, histograms.get(at)?.0)));
        let (mut from_float, mut from_histogram) = (inside.0.start, inside.1.start);
        // Of what was known at the start, the later counts.
        if inside.0.is_empty() && inside.1.is_empty() {
            return Track::default();
        } else if float.map(|(_, at)| at) >= histogram.map(|(_, at)| at) {
            from_float = float.map_or(from_float, |(at, _)| at);
        } else {
            from_histogram = histogram.map_or(from_histogram, |(at, _)| at);
        }
        let floats = floats.get(from_float..inside.0.end).unwrap_or_default().to_vec();
        let histograms = histograms.get(from_histogram..inside.1.end).unwrap_or_default().to_vec();
        Track {
            labels: track.labels.clone(),
            floats,
            histograms,
            never_resets: track.never_resets,
            windowed: track.windowed,
            metric_type: track.metric_type,
            ..Track::default()
        }
    }

    /// `rate`, `increase` or `delta` between the range's ends.
    pub fn gain(&self, told: &Told<'_>, around: &Window<'_>, kind: Kind) -> Cell {
        let floats: Vec<(i64, f64)> = around.floats.iter().map(|s| (s.timestamp_ms, s.value)).collect();
        let floats = self.points(&floats);
        let has_floats = matches!(&floats, Some(Some(_)));
        let histograms = self.points(around.histograms);
        match (floats, histograms) {
            (_, Some(Some(_))) if has_floats => {
                told.mixed_floats_and_histograms();
                Cell::None
            }
            (Some(Some(points)), _) => self.gain_of(points, kind).unwrap_or(Cell::None),
            (_, Some(Some(points))) => {
                let natives = points.values.iter().filter(|h| h.as_native().is_some());
                let is_gauge = |h: &Distribution| h.hint() == ResetHint::Gauge;
                let wrong = match kind {
                    Kind::Delta => {
                        let mut ends = points.values.first().into_iter().chain(points.values.last());
                        ends.any(|h| h.as_native().is_some() && !is_gauge(h))
                    }
                    _ => natives.into_iter().any(is_gauge),
                };
                if wrong {
                    told.wrong_flavor(kind != Kind::Delta);
                }
                let mixed = points.values.windows(2).any(|pair| pair[0].is_custom() != pair[1].is_custom());
                let gain = if mixed { None } else { self.gain_of(points, kind) };
                gain.map_or_else(
                    || {
                        told.mixed_schemas();
                        Cell::None
                    },
                    |gain| match gain {
                        Cell::Histogram(gain) => Cell::Histogram(gain.into_gauge()),
                        other => other,
                    },
                )
            }
            (_, None) => {
                told.mixed_schemas();
                Cell::None
            }
            _ => Cell::None,
        }
    }

    fn gain_of<V: Point>(&self, points: Points<V>, kind: Kind) -> Option<Cell> {
        let (first, last) = (points.values.first()?, points.values.last()?);
        let mut gain = last.minus(first)?;
        if self.resets {
            for at in points.reset_pairs {
                let (older, newer) = (points.values.get(at)?, points.values.get(at + 1)?);
                if newer.is_reset_after(older) {
                    gain = gain.plus(older)?;
                }
            }
        }
        let range_s = (self.end_ms - self.start_ms) as f64 / 1000.0;
        Some(if kind == Kind::Rate { gain.times(1.0 / range_s) } else { gain }.into_cell())
    }

    /// `Some(None)` when nothing is known of the range, `None` when values of
    /// different kinds would have to be interpolated.
    fn points<V: Point>(&self, around: &[(i64, V)]) -> Option<Option<Points<V>>> {
        match self.edges {
            Edges::Smoothed => self.smoothed(around),
            _ => {
                let values: Vec<V> =
                    anchored(around, self, |(at, _)| *at).iter().map(|(_, value)| value.clone()).collect();
                let pairs = values.len().saturating_sub(1);
                Some((!values.is_empty()).then_some(Points { values, reset_pairs: 0..pairs }))
            }
        }
    }

    fn smoothed<V: Point>(&self, around: &[(i64, V)]) -> Option<Option<Points<V>>> {
        let from = around.partition_point(|(at, _)| *at <= self.start_ms).saturating_sub(1);
        let until = around.partition_point(|(at, _)| *at < self.end_ms);
        // One at or beyond the end, if there is one.
        let near = around.get(from..(until + 1).min(around.len())).unwrap_or_default();
        let (Some(first), Some(last)) = (near.first(), near.last()) else { return Some(None) };
        if last.0 <= self.start_ms || first.0 > self.end_ms {
            return Some(None);
        }
        let inside = near.iter().filter(|(at, _)| self.start_ms < *at && *at < self.end_ms);
        let inside: Vec<V> = inside.map(|(_, value)| value.clone()).collect();
        let start = match near {
            [before, after, ..] if before.0 <= self.start_ms => {
                match self.resets && after.1.is_reset_after(&before.1) {
                    true => from_zero(self.start_ms, before.0, after),
                    false => between(self.start_ms, before, after)?,
                }
            }
            _ => first.1.clone(),
        };
        let end = match near {
            [.., before, after] if after.0 >= self.end_ms => {
                let reset = self.resets && after.1.is_reset_after(&before.1);
                match (reset, inside.is_empty() && before.0 <= self.start_ms) {
                    (false, _) => between(self.end_ms, before, after)?,
                    // Both ends lie behind the same reset.
                    (true, true) => from_zero(self.end_ms, before.0, after),
                    (true, false) => before.1.plus(&from_zero(self.end_ms, before.0, after))?,
                }
            }
            _ => last.1.clone(),
        };
        let pairs = 1..inside.len();
        let values = std::iter::once(start).chain(inside).chain([end]).collect();
        Some(Some(Points { values, reset_pairs: pairs }))
    }
}

/// The last sample at or before the start and those within the range, or those
/// alone; empty when there are none within.
fn anchored<'a, T>(around: &'a [T], range: &Range, time_of: impl Fn(&T) -> i64) -> &'a [T] {
    let inside = within(around, range, time_of);
    if inside.is_empty() {
        return &[];
    }
    around.get(inside.start.saturating_sub(1)..inside.end).unwrap_or_default()
}

/// The places of the samples within the range.
fn within<T>(around: &[T], range: &Range, time_of: impl Fn(&T) -> i64) -> std::ops::Range<usize> {
    let from = around.partition_point(|point| time_of(point) <= range.start_ms);
    from..around.partition_point(|point| time_of(point) <= range.end_ms)
}

fn share_of(at_ms: i64, before_ms: i64, after_ms: i64) -> f64 {
    match after_ms - before_ms {
        0 => 0.0,
        span => (at_ms - before_ms) as f64 / span as f64,
    }
}

/// The value at a time between two.
fn between<V: Point>(at_ms: i64, before: &(i64, V), after: &(i64, V)) -> Option<V> {
    let share = share_of(at_ms, before.0, after.0);
    before.1.plus(&after.1.minus(&before.1)?.times(share))
}

/// The value at a time on the way from zero to `after`.
fn from_zero<V: Point>(at_ms: i64, before_ms: i64, after: &(i64, V)) -> V {
    after.1.times(share_of(at_ms, before_ms, after.0))
}

/// The value at a time, interpolated between the samples around it.
pub(crate) fn smoothed_at(track: &Track, at_ms: i64, lookback_ms: i64, told: &Told<'_>) -> Cell {
    let float = |at: usize| track.floats.get(at).map(|s| (s.timestamp_ms, s.value));
    let floats = around(track.floats.partition_point(|s| s.timestamp_ms <= at_ms), float);
    let histogram = |at: usize| track.histograms.get(at).cloned();
    let histograms = around(track.histograms.partition_point(|(at, _)| *at <= at_ms), histogram);
    let in_time = |at: i64| at > at_ms - lookback_ms && at <= at_ms + lookback_ms;
    let float_ms = floats.0.map(|(at, _)| at).filter(|at| in_time(*at));
    let histogram_ms = histograms.0.as_ref().map(|(at, _)| *at).filter(|at| in_time(*at));
    let next_is = |at: Option<i64>| at.is_some_and(in_time);
    let other_is_next = match float_ms >= histogram_ms {
        true => next_is(histograms.1.as_ref().map(|(at, _)| *at)) && floats.1.is_none(),
        false => next_is(floats.1.map(|(at, _)| at)) && histograms.1.is_none(),
    };
    if other_is_next && float_ms.max(histogram_ms).is_some_and(|at| at < at_ms) {
        told.mixed_floats_and_histograms();
        return Cell::None;
    }
    let cell = if float_ms >= histogram_ms && float_ms.is_some() {
        let known = |point: &(i64, f64)| in_time(point.0) && !sample::is_stale(point.1);
        interpolated(at_ms, floats.0.filter(known), floats.1.filter(known), false)
    } else {
        let known = |point: &(i64, Distribution)| in_time(point.0) && !sample::is_stale(point.1.sum());
        let resets = histograms.1.as_ref().is_some_and(|(_, h)| h.hint() != ResetHint::Gauge);
        interpolated(at_ms, histograms.0.filter(known), histograms.1.filter(known), resets)
    };
    cell.unwrap_or_else(|| {
        told.mixed_schemas();
        Cell::None
    })
}

/// Samples before and after a time.
type Neighbours<V> = (Option<(i64, V)>, Option<(i64, V)>);

/// What comes before number `next`, and that itself.
fn around<V>(next: usize, get: impl Fn(usize) -> Option<(i64, V)>) -> Neighbours<V> {
    (next.checked_sub(1).and_then(&get), get(next))
}

fn interpolated<V: Point>(
    at_ms: i64,
    before: Option<(i64, V)>,
    after: Option<(i64, V)>,
    resets: bool,
) -> Option<Cell> {
    Some(match (before, after) {
        (None, _) => Cell::None,
        (Some(before), Some(after)) if before.0 < at_ms => {
            let straight = between(at_ms, &before, &after)?;
            match resets && after.1.is_reset_after(&before.1) {
                true => from_zero(at_ms, before.0, &after).into_cell(),
                false => straight.into_cell(),
            }
        }
        (Some(before), _) => before.1.into_cell(),
    })
}
