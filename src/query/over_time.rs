//! Functions over one window: `*_over_time`, `changes`, `deriv` and the like.

use super::column::Cell;
use super::distribution::{Distribution, folded};
use super::function_table::Function;
use super::rate::{self, Kind};
use super::sum;
use super::told::Told;
use super::track::Window;
use crate::model::{Sample, Sketch};

/// Value of `function` over `window`. `params` are its scalar arguments at this
/// step, in their order.
pub(crate) fn apply(told: &Told<'_>, function: Function, window: &Window<'_>, params: [f64; 2]) -> Cell {
    use Function::*;
    if window.is_empty() {
        return Cell::None;
    }
    if let Some(kind) = Kind::of(function) {
        return rate::extrapolated(told, window, kind);
    }
    match function {
        Irate => return rate::instant(told, window, true),
        Idelta => return rate::instant(told, window, false),
        PresentOverTime => return Cell::Float(1.0),
        CountOverTime => return Cell::Float(windows(window) + window.histograms.len() as f64),
        DistinctOverTime => return distinct(window),
        FirstOverTime => return edge(window.floats.first(), window.histograms.first(), |a, b| a <= b),
        LastOverTime => return edge(window.floats.last(), window.histograms.last(), |a, b| a >= b),
        TsOfFirstOverTime => return edge_time(window, i64::min),
        TsOfLastOverTime => return edge_time(window, i64::max),
        Changes => return Cell::Float(changes(window)),
        Resets => return Cell::Float(resets(window)),
        _ => {}
    }
    match (window.floats, window.histograms) {
        ([], histograms) => over_histograms(told, function, histograms),
        (floats, []) => over_floats(function, window, floats, params).map_or(Cell::None, Cell::Float),
        // Sums of floats and histograms mean nothing; the rest goes by the floats.
        (floats, _) => match function {
            SumOverTime | AvgOverTime => {
                told.mixed_floats_and_histograms();
                Cell::None
            }
            _ => {
                told.ignored_histograms();
                over_floats(function, window, floats, params).map_or(Cell::None, Cell::Float)
            }
        },
    }
}

fn over_histograms(told: &Told<'_>, function: Function, histograms: &[(i64, Distribution)]) -> Cell {
    if !matches!(function, Function::SumOverTime | Function::AvgOverTime) {
        return Cell::None;
    }
    let mean = function == Function::AvgOverTime;
    match folded(histograms.iter().map(|(_, histogram)| histogram), mean) {
        Ok(Some((sum, notes))) => {
            told.notes(notes, "aggregation");
            Cell::Histogram(sum)
        }
        Ok(None) => Cell::None,
        Err(_) => {
            told.mixed_schemas();
            Cell::None
        }
    }
}

/// A float or a histogram of a window.
#[derive(Clone, Copy)]
enum Either<'a> {
    Float(f64),
    Histogram(&'a Distribution),
}

/// All values of a window in the order of their times.
fn in_order<'a>(window: &Window<'a>) -> Vec<Either<'a>> {
    let floats = window.floats.iter().map(|s| (s.timestamp_ms, Either::Float(s.value)));
    let histograms = window.histograms.iter().map(|(at, h)| (*at, Either::Histogram(h)));
    let mut all: Vec<(i64, Either<'_>)> = floats.chain(histograms).collect();
    if !window.histograms.is_empty() && !window.floats.is_empty() {
        all.sort_by_key(|(at, _)| *at);
    }
    all.into_iter().map(|(_, value)| value).collect()
}

fn changes(window: &Window<'_>) -> f64 {
    let differ = |pair: &&[Either<'_>]| match **pair {
        [Either::Float(a), Either::Float(b)] => a != b && !(a.is_nan() && b.is_nan()),
        [Either::Histogram(a), Either::Histogram(b)] => a != b,
        _ => true,
    };
    in_order(window).windows(2).filter(differ).count() as f64
}

fn resets(window: &Window<'_>) -> f64 {
    let is_reset = |pair: &&[Either<'_>]| match **pair {
        [Either::Float(older), Either::Float(newer)] => newer < older && !window.never_resets,
        [Either::Histogram(older), Either::Histogram(newer)] => {
            !window.windowed && newer.is_reset_after(older)
        }
        _ => true,
    };
    in_order(window).windows(2).filter(is_reset).count() as f64
}

fn edge_time(window: &Window<'_>, better: fn(i64, i64) -> i64) -> Cell {
    let floats = [window.floats.first(), window.floats.last()].into_iter().flatten().map(|s| s.timestamp_ms);
    let histograms =
        [window.histograms.first(), window.histograms.last()].into_iter().flatten().map(|(at, _)| *at);
    floats.chain(histograms).reduce(better).map_or(Cell::None, |at| Cell::Float(at as f64 / 1000.0))
}

fn over_floats(function: Function, window: &Window<'_>, floats: &[Sample], params: [f64; 2]) -> Option<f64> {
    let values = floats.iter().map(|sample| sample.value);
    let seconds = |sample: &Sample| sample.timestamp_ms as f64 / 1000.0;
    match function {
        Function::SumOverTime => Some(sum::sum(values)),
        Function::AvgOverTime if !window.counts.is_empty() => Some(sum::sum(values) / windows(window)),
        Function::AvgOverTime => Some(sum::mean(values)),
        Function::MinOverTime => extreme(floats, |new, kept| new < kept).map(|s| s.value),
        Function::MaxOverTime => extreme(floats, |new, kept| new > kept).map(|s| s.value),
        Function::TsOfMinOverTime => extreme(floats, |new, kept| new <= kept).map(seconds),
        Function::TsOfMaxOverTime => extreme(floats, |new, kept| new >= kept).map(seconds),
        Function::StddevOverTime => Some(sum::variance(values).sqrt()),
        Function::StdvarOverTime => Some(sum::variance(values)),
        Function::QuantileOverTime => Some(sum::quantile(params[0], &mut values.collect::<Vec<_>>())),
        Function::MadOverTime if values.clone().any(f64::is_nan) => Some(f64::NAN),
        Function::MadOverTime => {
            let median = sum::quantile(0.5, &mut values.clone().collect::<Vec<_>>());
            Some(sum::quantile(0.5, &mut values.map(|v| (v - median).abs()).collect::<Vec<_>>()))
        }
        Function::Deriv => {
            let first = floats.first().filter(|_| floats.len() >= 2)?;
            Some(sum::regression(floats, first.timestamp_ms).0)
        }
        Function::PredictLinear if floats.len() >= 2 => {
            let (slope, now) = sum::regression(floats, window.at_ms);
            Some(slope * params[0] + now)
        }
        Function::DoubleExponentialSmoothing => smoothed(floats, params),
        _ => None,
    }
}

/// How many windows the floats stand for.
fn windows(window: &Window<'_>) -> f64 {
    match window.counts {
        [] => window.floats.len() as f64,
        counts => counts.iter().sum::<u64>() as f64,
    }
}

/// The sample that none beats; any beats NaN.
fn extreme(floats: &[Sample], beats: fn(f64, f64) -> bool) -> Option<&Sample> {
    floats.iter().reduce(
        |kept, new| {
            if kept.value.is_nan() || beats(new.value, kept.value) { new } else { kept }
        },
    )
}

fn edge(
    float: Option<&Sample>,
    histogram: Option<&(i64, Distribution)>,
    float_wins: fn(i64, i64) -> bool,
) -> Cell {
    match (float, histogram) {
        (Some(float), Some((at_ms, _))) if float_wins(float.timestamp_ms, *at_ms) => Cell::Float(float.value),
        (_, Some((_, histogram))) => Cell::Histogram(histogram.clone()),
        (Some(float), None) => Cell::Float(float.value),
        (None, None) => Cell::None,
    }
}

/// Distinct members of all windows together; nothing for what is not a set.
fn distinct(window: &Window<'_>) -> Cell {
    if window.sketches.is_empty() {
        return Cell::None;
    }
    let mut merged = Sketch::default();
    window.sketches.iter().for_each(|(_, sketch)| merged.merge(sketch));
    Cell::Float(merged.count())
}

/// Holt's linear method: `params` are the weights of new values and of new
/// trends.
fn smoothed(floats: &[Sample], [value_weight, trend_weight]: [f64; 2]) -> Option<f64> {
    let [first, second, ..] = floats else { return None };
    let mut trend = second.value - first.value;
    let mut level = first.value;
    let mut level_before = None;
    for sample in &floats[1..] {
        if let Some(before) = level_before {
            trend = trend_weight * (level - before) + (1.0 - trend_weight) * trend;
        }
        level_before = Some(level);
        level = value_weight * sample.value + (1.0 - value_weight) * (level + trend);
    }
    Some(level)
}
