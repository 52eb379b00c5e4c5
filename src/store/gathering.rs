//! Points of a series as a read gathers them: block after block, then the log,
//! within a budget; one at a time, ascending.

use super::chunk::{points_in, read_chunk, read_part};
use super::error::Error;
use super::point::Class;
use super::sample::Value;
use crate::model::sample::{is_stale, stale_nan};
use crate::model::{GaugePart, Points, Sample, SeriesId, TimeRange};

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

/// What blocks have of a series, one after the other.
pub(super) struct Gathering {
    points: Points,
    /// Of each float how many windows it stands for; empty as long as each is
    /// one.
    counts: Vec<u64>,
    /// Each chunk began behind the end of the one before.
    ascends: bool,
    /// How many chunks are to come.
    chunks: usize,
}

/// A chunk, and what of it is wanted.
pub(super) struct Chunk<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) id: SeriesId,
    pub(super) gauge: GaugePart,
    pub(super) range: TimeRange,
}

impl Gathering {
    pub(super) fn new(class: Class, chunks: usize) -> Self {
        Gathering { points: empty(class), counts: Vec::new(), ascends: true, chunks }
    }

    /// Adds what the chunk has in its range; `scratch` is room to work in. False,
    /// and nothing added, when the bytes are no chunk of the series.
    ///
    /// # Errors
    /// [`Error::Limit`]
    pub(super) fn append(
        &mut self,
        chunk: &Chunk<'_>,
        scratch: &mut Vec<Sample>,
        budget: &mut Budget,
    ) -> Result<bool, Error> {
        let before = self.points.len();
        let is_read = match &mut self.points {
            Points::Floats(points) => {
                // Where there is room for all of it, it is read where it belongs.
                let room = points.capacity() - before;
                let fits = points_in(chunk.bytes).is_some_and(|count| count <= room as u64);
                scratch.clear();
                let read = if fits { &mut *points } else { &mut *scratch };
                let start = read.len();
                let counts = read_part(chunk.bytes, chunk.id, chunk.gauge, read);
                let all = read.get(start..).filter(|_| counts.is_some()).unwrap_or_default();
                let within = part_of(all, &chunk.range, |sample| sample.timestamp_ms);
                let is_whole = within.len() == all.len();
                read.truncate(start + within.end);
                read.drain(start..start + within.start);
                if !fits {
                    if is_whole {
                        // Most have as many.
                        points.reserve_exact(scratch.len().saturating_mul(self.chunks));
                    }
                    points.append(scratch);
                }
                self.chunks = self.chunks.saturating_sub(1);
                self.ascends &= ascend(points.get(before.saturating_sub(1)..before + 1).unwrap_or_default());
                if let Some(counts) = counts.as_ref().filter(|counts| !counts.is_empty()) {
                    let ones = points.get(self.counts.len()..before).unwrap_or_default().iter().map(one);
                    self.counts.extend(ones);
                    self.counts.extend(counts.get(within).unwrap_or_default());
                }
                counts.is_some()
            }
            Points::Histograms(points) => match points_of(chunk, Class::Histograms) {
                Some(Points::Histograms(more)) => {
                    let within = part_of(&more, &chunk.range, |(at, _)| *at);
                    take_in(points, more, within);
                    true
                }
                _ => false,
            },
            Points::Sketches(points) => match points_of(chunk, Class::Sketches) {
                Some(Points::Sketches(more)) => {
                    let within = part_of(&more, &chunk.range, |(at, _)| *at);
                    take_in(points, more, within);
                    true
                }
                _ => false,
            },
            // The store keeps none.
            Points::Natives(_) => false,
        };
        budget.points += self.points.weight_from(before);
        budget.check()?;
        Ok(is_read)
    }

    /// All points with those of the log behind them, ascending, and what each
    /// float stands for. Of floats at the seam the later one counts: a series
    /// that begins again in the very moment it had ended.
    pub(super) fn finish(self, log: Points) -> (Points, Vec<u64>) {
        let Gathering { mut points, mut counts, ascends, .. } = self;
        match (&mut points, log) {
            (Points::Floats(points), Points::Floats(mut log)) => {
                let of_blocks = points.len();
                append_all(points, &mut log);
                if !counts.is_empty() {
                    counts.extend(points.get(counts.len()..).unwrap_or_default().iter().map(one));
                    let mut both: Vec<(Sample, u64)> = points.drain(..).zip(counts.drain(..)).collect();
                    in_order(&mut both, |(sample, _)| sample.timestamp_ms);
                    (*points, counts) = both.into_iter().unzip();
                } else if !ascends || !ascend(points.get(of_blocks.saturating_sub(1)..).unwrap_or_default()) {
                    in_order(points, |sample| sample.timestamp_ms);
                }
            }
            (Points::Histograms(points), Points::Histograms(mut log)) => {
                append_all(points, &mut log);
                in_order(points, |(at, _)| *at);
            }
            (Points::Sketches(points), Points::Sketches(mut log)) => {
                append_all(points, &mut log);
                in_order(points, |(at, _)| *at);
            }
            _ => {}
        }
        (points, counts)
    }
}

fn ascend(samples: &[Sample]) -> bool {
    samples.is_sorted_by(|one, next| one.timestamp_ms < next.timestamp_ms)
}

fn points_of(chunk: &Chunk<'_>, class: Class) -> Option<Points> {
    read_chunk(chunk.bytes, chunk.id, class).map(|chunk| chunk.points)
}

/// How many windows a float of the finest tier stands for.
fn one(sample: &Sample) -> u64 {
    u64::from(!is_stale(sample.value))
}

/// Which of the points, which ascend, lie in the range.
fn part_of<T>(points: &[T], range: &TimeRange, time: impl Fn(&T) -> i64) -> std::ops::Range<usize> {
    let from = points.partition_point(|point| time(point) < range.start_ms);
    from..points.partition_point(|point| time(point) <= range.end_ms).max(from)
}

fn take_in<T>(points: &mut Vec<T>, mut more: Vec<T>, within: std::ops::Range<usize>) {
    more.truncate(within.end);
    if points.is_empty() && within.start == 0 {
        *points = more;
    } else {
        points.extend(more.drain(within.start..));
    }
}

fn append_all<T>(points: &mut Vec<T>, log: &mut Vec<T>) {
    match points.is_empty() {
        true => std::mem::swap(points, log),
        false => points.append(log),
    }
}

/// Adds a sample of a window, if it lies in the range. Beyond the budget it is
/// counted and not kept.
pub(super) fn push(
    points: &mut Points,
    window: TimeRange,
    value: Value,
    range: &TimeRange,
    budget: &mut Budget,
) {
    let before = points.len();
    let in_range = range.contains(window.end_ms) && budget.points <= budget.limit;
    match (&mut *points, value) {
        (Points::Floats(points), Value::Counter(total, start)) => {
            if let Some(start) = start.filter(|_| range.contains(window.start_ms)) {
                push_float(points, window.start_ms, start);
            }
            if in_range {
                push_float(points, window.end_ms, total);
            }
        }
        (Points::Floats(points), Value::Gauge(last)) if in_range => push_float(points, window.end_ms, last),
        (Points::Floats(points), Value::End(_)) if in_range => {
            push_float(points, window.end_ms, stale_nan());
        }
        (Points::Histograms(points), Value::Distribution(histogram)) if in_range => {
            points.push((window.end_ms, histogram));
        }
        (Points::Sketches(points), Value::Set(sketch)) if in_range => points.push((window.end_ms, sketch)),
        _ => {}
    }
    budget.points += points.weight_from(before);
}

/// Adds the points of later frames, as if they had been pushed one by one.
pub(super) fn append_later(points: &mut Points, later: Points) {
    match (points, later) {
        (Points::Floats(points), Points::Floats(mut later)) => {
            let last_ms = points.last().map_or(i64::MIN, |last| last.timestamp_ms);
            let seam = later.partition_point(|sample| sample.timestamp_ms <= last_ms);
            later.drain(..seam).for_each(|sample| push_float(points, sample.timestamp_ms, sample.value));
            append_all(points, &mut later);
        }
        (Points::Histograms(points), Points::Histograms(mut later)) => append_all(points, &mut later),
        (Points::Sketches(points), Points::Sketches(mut later)) => append_all(points, &mut later),
        // One series is of one type.
        _ => {}
    }
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

/// Brings points into ascending time; of equal times the later one stays.
pub(super) fn in_order<T>(points: &mut Vec<T>, time: impl Fn(&T) -> i64) {
    // They nearly always are, so that all are compared: several at once.
    if points.windows(2).fold(true, |ascend, pair| ascend & (time(&pair[0]) < time(&pair[1]))) {
        return;
    }
    points.sort_by_key(&time);
    points.reverse();
    points.dedup_by(|next, kept| time(next) == time(kept));
    points.reverse();
}

#[cfg(test)]
mod tests {
    use super::super::chunk::put_chunk;
    use super::super::stream::Stream;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Seconds to the next sample, and its value.
    type Drawn = Vec<(i64, f64)>;

    fn samples(start_s: i64, drawn: &Drawn) -> Vec<Sample> {
        let mut at_s = start_s;
        let sample = |(gap_s, value): &(i64, f64)| {
            at_s += gap_s;
            Sample { timestamp_ms: at_s * 1000, value: *value }
        };
        drawn.iter().map(sample).collect()
    }

    proptest! {
        /// Chunks one behind the other, at times at the very time of the one before
        /// or earlier, and any part of them.
        #[test]
        fn of_samples_of_one_time_the_later_counts(
            chunks in prop::collection::vec((-9i64..9, prop::collection::vec((1i64..4, -9.0f64..9.0), 1..90)), 0..5),
            (from_s, until_s) in (-20i64..400, 0i64..800),
        ) {
            let range = TimeRange { start_ms: from_s * 1000, end_ms: until_s * 1000 };
            let id = SeriesId(7);
            let mut budget = Budget { points: 0, limit: usize::MAX };
            let mut model = BTreeMap::new();
            let (blocks, log) = chunks.split_at(chunks.len().saturating_sub(1));
            let mut gathering = Gathering::new(Class::Floats, blocks.len());
            let mut end_s = 0;
            let mut all = chunks.iter().map(|(gap_s, drawn)| {
                let some = samples(end_s + gap_s, drawn);
                end_s = some.last().map_or(end_s, |last| last.timestamp_ms / 1000);
                let within: Vec<Sample> =
                    some.iter().filter(|sample| range.contains(sample.timestamp_ms)).copied().collect();
                model.extend(within.iter().map(|sample| (sample.timestamp_ms, sample.value)));
                (some, within)
            });
            for (some, _) in all.by_ref().take(blocks.len()) {
                let (mut stream, mut bytes) = (Stream::default(), Vec::new());
                for sample in &some {
                    stream.push_float(sample.timestamp_ms, sample.value);
                }
                put_chunk(&mut bytes, id, Class::Floats, &stream).unwrap();
                let chunk = Chunk { bytes: &bytes, id, gauge: GaugePart::Last, range };
                prop_assert!(gathering.append(&chunk, &mut Vec::new(), &mut budget).unwrap());
            }
            let foreign = Chunk { bytes: &[1, 2, 3], id, gauge: GaugePart::Last, range };
            prop_assert!(!gathering.append(&foreign, &mut Vec::new(), &mut budget).unwrap());
            let log = all.next().filter(|_| !log.is_empty()).map_or_else(Vec::new, |(_, within)| within);
            drop(all);
            let (points, counts) = gathering.finish(Points::Floats(log));
            let expected = model.into_iter().map(|(timestamp_ms, value)| Sample { timestamp_ms, value });
            prop_assert_eq!(points, Points::Floats(expected.collect()));
            prop_assert!(counts.is_empty());
        }
    }
}
