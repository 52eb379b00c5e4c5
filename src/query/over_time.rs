//! Functions over one window: `*_over_time`, `changes`, `deriv` and the like.

use super::column::Cell;
use super::distribution;
use super::function_table::Function;
use super::rate::{self, Kind};
use super::sum;
use super::track::Window;
use crate::model::{Sample, Sketch};
use std::sync::Arc;

/// Value of `function` over `window`. `params` are its scalar arguments at this
/// step, in their order.
pub(crate) fn apply(function: Function, window: &Window<'_>, params: [f64; 2]) -> Cell {
    use Function::*;
    if window.is_empty() {
        return Cell::None;
    }
    match function {
        Rate => return rate::extrapolated(window, Kind::Rate),
        Increase => return rate::extrapolated(window, Kind::Increase),
        Delta => return rate::extrapolated(window, Kind::Delta),
        Irate => return rate::instant(window, true),
        Idelta => return rate::instant(window, false),
        PresentOverTime => return Cell::Float(1.0),
        CountOverTime => return Cell::Float((window.floats.len() + window.histograms.len()) as f64),
        DistinctOverTime => return distinct(window),
        FirstOverTime => return edge(window.floats.first(), window.histograms.first(), |a, b| a <= b),
        LastOverTime => return edge(window.floats.last(), window.histograms.last(), |a, b| a >= b),
        _ => {}
    }
    match (window.floats, window.histograms) {
        ([], histograms) => over_histograms(function, histograms),
        (floats, []) => over_floats(function, window, floats, params).map_or(Cell::None, Cell::Float),
        // Sums of floats and histograms mean nothing; the rest goes by the floats.
        (floats, _) => match function {
            SumOverTime | AvgOverTime => Cell::None,
            _ => over_floats(function, window, floats, params).map_or(Cell::None, Cell::Float),
        },
    }
}

fn over_histograms(function: Function, histograms: &[(i64, Arc<crate::model::Histogram>)]) -> Cell {
    let merged = || distribution::merge_all(histograms.iter().map(|(_, h)| &**h));
    match function {
        Function::SumOverTime => Cell::histogram(merged()),
        Function::AvgOverTime => Cell::histogram(merged().scaled(1.0 / histograms.len() as f64)),
        Function::Changes => {
            Cell::Float(histograms.windows(2).filter(|pair| pair[0].1 != pair[1].1).count() as f64)
        }
        Function::Resets => {
            Cell::Float(histograms.windows(2).filter(|pair| pair[1].1.count < pair[0].1.count).count() as f64)
        }
        _ => Cell::None,
    }
}

fn over_floats(function: Function, window: &Window<'_>, floats: &[Sample], params: [f64; 2]) -> Option<f64> {
    let values = floats.iter().map(|sample| sample.value);
    let seconds = |sample: &Sample| sample.timestamp_ms as f64 / 1000.0;
    match function {
        Function::SumOverTime => Some(sum::sum(values)),
        Function::AvgOverTime => Some(sum::mean(values)),
        Function::MinOverTime => extreme(floats, |new, kept| new < kept).map(|s| s.value),
        Function::MaxOverTime => extreme(floats, |new, kept| new > kept).map(|s| s.value),
        Function::TsOfMinOverTime => extreme(floats, |new, kept| new <= kept).map(seconds),
        Function::TsOfMaxOverTime => extreme(floats, |new, kept| new >= kept).map(seconds),
        Function::TsOfFirstOverTime => floats.first().map(seconds),
        Function::TsOfLastOverTime => floats.last().map(seconds),
        Function::StddevOverTime => Some(sum::variance(values).sqrt()),
        Function::StdvarOverTime => Some(sum::variance(values)),
        Function::QuantileOverTime => Some(sum::quantile(params[0], &mut values.collect::<Vec<_>>())),
        Function::MadOverTime => {
            let median = sum::quantile(0.5, &mut values.clone().collect::<Vec<_>>());
            Some(sum::quantile(0.5, &mut values.map(|v| (v - median).abs()).collect::<Vec<_>>()))
        }
        Function::Changes => {
            let differ = |a: f64, b: f64| a != b && !(a.is_nan() && b.is_nan());
            Some(floats.windows(2).filter(|pair| differ(pair[0].value, pair[1].value)).count() as f64)
        }
        Function::Resets if window.never_resets => Some(0.0),
        Function::Resets => {
            Some(floats.windows(2).filter(|pair| pair[1].value < pair[0].value).count() as f64)
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
    histogram: Option<&(i64, Arc<crate::model::Histogram>)>,
    float_wins: fn(i64, i64) -> bool,
) -> Cell {
    match (float, histogram) {
        (Some(float), Some((at_ms, _))) if float_wins(float.timestamp_ms, *at_ms) => Cell::Float(float.value),
        (_, Some((_, histogram))) => Cell::Histogram(Arc::clone(histogram)),
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
