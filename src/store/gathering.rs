//! Points as a read gathers them: block after block, then the log, within a
//! budget; one at a time, ascending.

use super::error::Error;
use super::frame::Frame;
use super::point::Class;
use super::sample::Value;
use crate::model::sample::stale_nan;
use crate::model::{Points, Sample, TimeRange};

/// Points that may still be read.
pub(super) struct Budget {
    pub(super) points: usize,
    pub(super) limit: usize,
}

impl Budget {
    pub(super) fn check(&self) -> Result<(), Error> {
        let fits = self.points <= self.limit;
        fits.then_some(()).ok_or(Error::Limit { what: "points", limit: self.limit })
    }
}

pub(super) fn empty(class: Class) -> Points {
    match class {
        Class::Floats => Points::Floats(Vec::new()),
        Class::Histograms => Points::Histograms(Vec::new()),
        Class::Sketches => Points::Sketches(Vec::new()),
    }
}

/// Adds those of `more` that lie in the range.
pub(super) fn append(
    points: &mut Points,
    more: Points,
    range: &TimeRange,
    budget: &mut Budget,
) -> Result<(), Error> {
    let before = points.len();
    match (&mut *points, more) {
        (Points::Floats(points), Points::Floats(more)) => {
            points.extend(more.into_iter().filter(|sample| range.contains(sample.timestamp_ms)));
        }
        (Points::Histograms(points), Points::Histograms(more)) => {
            points.extend(more.into_iter().filter(|(at, _)| range.contains(*at)));
        }
        (Points::Sketches(points), Points::Sketches(more)) => {
            points.extend(more.into_iter().filter(|(at, _)| range.contains(*at)));
        }
        // One series is of one type, in the log and in every block.
        _ => {}
    }
    budget.points += points.weight_from(before);
    budget.check()
}

/// Adds a sample of a frame, if it lies in the range. Beyond the budget it is
/// counted and not kept.
pub(super) fn push(points: &mut Points, frame: &Frame, value: Value, range: &TimeRange, budget: &mut Budget) {
    let before = points.len();
    let in_range = range.contains(frame.end_ms) && budget.points <= budget.limit;
    match (&mut *points, value) {
        (Points::Floats(points), Value::Counter(total, start)) => {
            if let Some(start) = start.filter(|_| range.contains(frame.start_ms)) {
                push_float(points, frame.start_ms, start);
            }
            if in_range {
                push_float(points, frame.end_ms, total);
            }
        }
        (Points::Floats(points), Value::Gauge(last)) if in_range => push_float(points, frame.end_ms, last),
        (Points::Floats(points), Value::End(_)) if in_range => {
            push_float(points, frame.end_ms, stale_nan());
        }
        (Points::Histograms(points), Value::Distribution(histogram)) if in_range => {
            points.push((frame.end_ms, histogram));
        }
        (Points::Sketches(points), Value::Set(sketch)) if in_range => points.push((frame.end_ms, sketch)),
        _ => {}
    }
    budget.points += points.weight_from(before);
}

/// A float at the time of the one before takes its place (a series that begins
/// again in the very moment it had ended); an earlier one has no place.
fn push_float(points: &mut Vec<Sample>, timestamp_ms: i64, value: f64) {
    match points.last_mut() {
        Some(last) if last.timestamp_ms == timestamp_ms => last.value = value,
        Some(last) if last.timestamp_ms > timestamp_ms => {}
        _ => points.push(Sample { timestamp_ms, value }),
    }
}

/// The points of blocks, then those of the log. Of floats at the seam the later
/// one counts: a series that begins again in the very moment it had ended.
pub(super) fn joined(points: Points, log: Points) -> Points {
    match (points, log) {
        (Points::Floats(mut points), Points::Floats(mut log)) if !points.is_empty() => {
            points.append(&mut log);
            Points::Floats(points)
        }
        (Points::Histograms(mut points), Points::Histograms(mut log)) if !points.is_empty() => {
            points.append(&mut log);
            Points::Histograms(points)
        }
        (Points::Sketches(mut points), Points::Sketches(mut log)) if !points.is_empty() => {
            points.append(&mut log);
            Points::Sketches(points)
        }
        (_, log) => log,
    }
}

/// Brings points into ascending time; of equal times the later one stays.
pub(super) fn in_order<T>(points: &mut Vec<T>, time: impl Fn(&T) -> i64) {
    if points.is_sorted_by(|a, b| time(a) < time(b)) {
        return;
    }
    points.sort_by_key(&time);
    points.reverse();
    points.dedup_by(|next, kept| time(next) == time(kept));
    points.reverse();
}
