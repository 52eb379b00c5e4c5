//! `rate`, `increase`, `delta` and their instant kin over one window.
//!
//! Floats are extrapolated to the window's ends as Prometheus does it. Where
//! the series never resets, a fall is a negative count. Histograms of one
//! window each are merged, and nothing is extrapolated: each window is there
//! or had no values.

use super::column::Cell;
use super::distribution;
use super::track::Window;
use crate::model::{Histogram, Sample};
use std::sync::Arc;

/// Which of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Rate,
    Increase,
    Delta,
}

/// What the window's samples gained.
pub(crate) fn extrapolated(window: &Window<'_>, kind: Kind) -> Cell {
    let range_s = (window.end_ms - window.start_ms) as f64 / 1000.0;
    match (window.floats, window.histograms) {
        (floats, []) => floats_gain(window, floats, kind, range_s).map_or(Cell::None, Cell::Float),
        ([], histograms) if window.windowed => {
            if kind == Kind::Delta {
                return Cell::None;
            }
            let merged = distribution::merge_all(histograms.iter().map(|(_, h)| &**h));
            let factor = if kind == Kind::Rate { 1.0 / range_s } else { 1.0 };
            Cell::histogram(merged.scaled(factor))
        }
        ([], histograms) => {
            histograms_gain(window, histograms, kind, range_s).map_or(Cell::None, Cell::histogram)
        }
        // A series that changed from one to the other within the window.
        _ => Cell::None,
    }
}

/// Change between the last two samples: a rate a second, or the difference.
pub(crate) fn instant(window: &Window<'_>, is_rate: bool) -> Cell {
    let counts_down = !window.never_resets;
    match (window.floats, window.histograms) {
        ([.., before, last], []) => {
            let seconds = (last.timestamp_ms - before.timestamp_ms) as f64 / 1000.0;
            let reset = is_rate && counts_down && last.value < before.value;
            let change = if reset { last.value } else { last.value - before.value };
            Cell::Float(if is_rate { change / seconds } else { change })
        }
        ([], [.., (before_ms, before), (last_ms, last)]) => {
            let seconds = (last_ms - before_ms) as f64 / 1000.0;
            let reset = last.count < before.count;
            let change = match window.windowed || reset {
                true => (**last).clone(),
                false => distribution::difference(last, before),
            };
            Cell::histogram(if is_rate { change.scaled(1.0 / seconds) } else { change })
        }
        _ => Cell::None,
    }
}

fn floats_gain(window: &Window<'_>, floats: &[Sample], kind: Kind, range_s: f64) -> Option<f64> {
    let (first, last) = (floats.first()?, floats.last()?);
    if floats.len() < 2 {
        return None;
    }
    let mut gain = last.value - first.value;
    let is_counter = kind != Kind::Delta;
    if is_counter && !window.never_resets {
        for pair in floats.windows(2) {
            if pair[1].value < pair[0].value {
                gain += pair[0].value;
            }
        }
    }
    let zero_at = (is_counter && first.value >= 0.0).then_some(first.value);
    let times = (first.timestamp_ms, last.timestamp_ms);
    let factor = extrapolation(window, times, floats.len(), zero_at, gain);
    Some(gain * if kind == Kind::Rate { factor / range_s } else { factor })
}

fn histograms_gain(
    window: &Window<'_>,
    histograms: &[(i64, Arc<Histogram>)],
    kind: Kind,
    range_s: f64,
) -> Option<Histogram> {
    let ((first_ms, first), (last_ms, last)) = (histograms.first()?, histograms.last()?);
    if histograms.len() < 2 {
        return None;
    }
    let is_counter = kind != Kind::Delta;
    let reset_at = |pair: &[(i64, Arc<Histogram>)]| pair[1].1.count < pair[0].1.count;
    let resets = histograms.windows(2).filter(|pair| is_counter && reset_at(pair));
    let before_resets = distribution::merge_all(resets.map(|pair| &*pair[0].1));
    let mut end = (**last).clone();
    end.merge(&before_resets);
    let gain = distribution::difference(&end, first);
    let zero_at = is_counter.then_some(first.count);
    let factor = extrapolation(window, (*first_ms, *last_ms), histograms.len(), zero_at, gain.count);
    Some(gain.scaled(if kind == Kind::Rate { factor / range_s } else { factor }))
}

/// By how much a gain between the first and the last of `samples` is stretched
/// to stand for the whole window: up to its ends when they are near, by half a
/// usual gap when not, and never before the time at which a counter that had
/// `first_value` must have been 0.
fn extrapolation(
    window: &Window<'_>,
    (first_ms, last_ms): (i64, i64),
    samples: usize,
    first_value: Option<f64>,
    gain: f64,
) -> f64 {
    let covered_s = (last_ms - first_ms) as f64 / 1000.0;
    let gap_s = covered_s / (samples - 1) as f64;
    let threshold_s = gap_s * 1.1;
    let mut to_start_s = (first_ms - window.start_ms) as f64 / 1000.0;
    let mut to_end_s = (window.end_ms - last_ms) as f64 / 1000.0;
    if to_start_s >= threshold_s {
        to_start_s = gap_s / 2.0;
    }
    if let Some(first_value) = first_value.filter(|_| gain > 0.0) {
        to_start_s = to_start_s.min(covered_s * (first_value / gain));
    }
    if to_end_s >= threshold_s {
        to_end_s = gap_s / 2.0;
    }
    (covered_s + to_start_s + to_end_s) / covered_s
}
