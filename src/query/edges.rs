//! Ranges and instants whose ends are looked at closely: `anchored` takes what
//! was known there, `smoothed` interpolates. Floats only, as in Prometheus.

use super::column::Cell;
use super::expr::Edges;
use super::track::{Track, Window};
use crate::model::{Sample, sample};

/// What a range with such edges holds at one step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    pub edges: Edges,
    /// The range is `(start_ms, end_ms]`.
    pub start_ms: i64,
    pub end_ms: i64,
    /// How far around it samples may be looked for.
    pub lookback_ms: i64,
    /// A fall between two samples is a reset.
    pub resets: bool,
}

impl Range {
    /// Its samples, the first and the last of them moved to its ends. Empty when
    /// nothing is known of it.
    pub fn samples(&self, around: &Window<'_>) -> Vec<Sample> {
        let floats = around.floats;
        let first_after = floats.partition_point(|s| s.timestamp_ms <= self.start_ms);
        let from = first_after.saturating_sub(1);
        let up_to = floats.partition_point(|s| s.timestamp_ms <= self.end_ms);
        match self.edges {
            Edges::Smoothed => self.smoothed(floats, from, up_to),
            _ => self.anchored(floats.get(from..up_to).unwrap_or_default()),
        }
    }

    fn anchored(&self, floats: &[Sample]) -> Vec<Sample> {
        if floats.last().is_none_or(|last| last.timestamp_ms <= self.start_ms) {
            return Vec::new();
        }
        let mut samples = floats.to_vec();
        if let Some(first) = samples.first_mut() {
            first.timestamp_ms = self.start_ms;
        }
        // What was the last stays so to the end.
        if let Some(last) = samples.last().copied() {
            samples.push(Sample { timestamp_ms: self.end_ms, ..last });
        }
        samples
    }

    fn smoothed(&self, floats: &[Sample], from: usize, up_to: usize) -> Vec<Sample> {
        // One sample at or beyond the end, if there is one.
        let ends_on_sample = up_to > 0 && floats.get(up_to - 1).is_some_and(|s| s.timestamp_ms == self.end_ms);
        let stop = if ends_on_sample { up_to } else { (up_to + 1).min(floats.len()) };
        let Some(near @ [first, ..]) = floats.get(from..stop) else { return Vec::new() };
        let last = near.last().unwrap_or(first);
        if last.timestamp_ms <= self.start_ms || first.timestamp_ms >= self.end_ms {
            return Vec::new();
        }
        let inside = near.iter().filter(|s| self.start_ms < s.timestamp_ms && s.timestamp_ms < self.end_ms);
        let inside: Vec<Sample> = inside.copied().collect();
        let at_start = match near.get(..2) {
            Some([before, after]) if before.timestamp_ms <= self.start_ms => {
                let reset = self.resets && after.value < before.value;
                let from = if reset { 0.0 } else { before.value };
                between(self.start_ms, Sample { value: from, ..*before }, *after)
            }
            _ => first.value,
        };
        let at_end = match near.get(near.len().saturating_sub(2)..) {
            Some([before, after]) if after.timestamp_ms >= self.end_ms => {
                let reset = self.resets && after.value < before.value;
                match (reset, inside.is_empty() && before.timestamp_ms <= self.start_ms) {
                    (false, _) => between(self.end_ms, *before, *after),
                    // Both ends lie behind the same reset.
                    (true, true) => between(self.end_ms, Sample { value: 0.0, ..*before }, *after),
                    (true, false) => {
                        let after = Sample { value: before.value + after.value, ..*after };
                        between(self.end_ms, *before, after)
                    }
                }
            }
            _ => last.value,
        };
        let mut samples = vec![Sample { timestamp_ms: self.start_ms, value: at_start }];
        samples.extend(inside);
        samples.push(Sample { timestamp_ms: self.end_ms, value: at_end });
        samples
    }
}

/// The value at a time between two samples.
fn between(at_ms: i64, before: Sample, after: Sample) -> f64 {
    if before.timestamp_ms == after.timestamp_ms {
        return before.value;
    }
    let share = (at_ms - before.timestamp_ms) as f64 / (after.timestamp_ms - before.timestamp_ms) as f64;
    before.value + (after.value - before.value) * share
}

/// The value at a time, interpolated between the samples around it.
pub(crate) fn smoothed_at(track: &Track, at_ms: i64, lookback_ms: i64) -> Cell {
    let next = track.floats.partition_point(|s| s.timestamp_ms <= at_ms);
    let before = next.checked_sub(1).and_then(|at| track.floats.get(at));
    let before = before.filter(|s| s.timestamp_ms > at_ms - lookback_ms && !sample::is_stale(s.value));
    let after = track.floats.get(next);
    let after = after.filter(|s| s.timestamp_ms <= at_ms + lookback_ms && !sample::is_stale(s.value));
    match (before, after) {
        (Some(before), _) if before.timestamp_ms == at_ms => Cell::Float(before.value),
        (Some(before), Some(after)) => Cell::Float(between(at_ms, *before, *after)),
        (Some(before), None) => Cell::Float(before.value),
        (None, _) => Cell::None,
    }
}
