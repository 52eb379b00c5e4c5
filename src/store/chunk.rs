//! The points of one series within one block, as bytes.
//!
//! A chunk says whose it is, so that a wrong offset cannot pass for data, and
//! is read back when it is written. Large chunks are columns (a timestamp
//! column of runs, then a column for each number); small ones are the stream's
//! bytes as they were in memory.

use super::coding::{Reader, put_signed, put_varint};
use super::column::{put_doubles, read_doubles, read_doubles_each, read_integers};
use super::distributions::Distributions;
use super::gathering::in_order;
use super::gauge::{Stats, put_stats, read_stats, same_stats, take_part};
use super::point::Class;
use super::ranks::{put_ranks, read_ranks};
use super::stream::{self, Stream};
use crate::model::histogram::BucketKey;
use crate::model::sample::{is_stale, stale_nan};
use crate::model::{GaugePart, Histogram, Points, Sample, SeriesId, TimeRange};

const STREAM: u8 = 0;
const COLUMNS: u8 = 1;
/// Columns of a gauge's steps.
const STEPS: u8 = 2;
/// Columns of distributions.
const RANKS: u8 = 3;
/// Most points that a chunk may claim to hold.
pub(super) const MAX_POINTS: usize = 1 << 26;

/// What a chunk holds.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) points: Points,
    /// Of a gauge's steps, one for each value; else none.
    pub(super) stats: Vec<Stats>,
}

/// Reads what a query wants of a chunk of floats: the samples, which ascend, with that `part` of
/// a gauge's steps, behind `samples`, and of sums how many windows each stands for,
/// else none. `None` when the bytes are not that; then anything may be there.
pub(super) fn read_part(
    bytes: &[u8],
    id: SeriesId,
    part: GaugePart,
    samples: &mut Vec<Sample>,
) -> Option<Vec<u64>> {
    let reader = &mut Reader::new(bytes);
    match read_head(reader, id, Class::Floats)? {
        (COLUMNS, count) => {
            read_floats(reader, count, samples)?;
            reader.is_empty().then(Vec::new)
        }
        (STEPS, count) => {
            let before = samples.len();
            read_floats(reader, count, samples)?;
            let samples = samples.get_mut(before..)?;
            let values = samples.iter().filter(|sample| !is_stale(sample.value)).count();
            take_part(reader, samples, values, part)
        }
        _ => match read_chunk(bytes, id, Class::Floats)?.points {
            Points::Floats(mut read) => {
                in_order(&mut read, |sample| sample.timestamp_ms);
                samples.append(&mut read);
                Some(Vec::new())
            }
            _ => None,
        },
    }
}

/// Writes the chunk of a gauge's steps, of which `last` has the values, and
/// returns these; `None` when they do not read back.
pub(super) fn put_steps(out: &mut Vec<u8>, id: SeriesId, last: &Stream, stats: &[Stats]) -> Option<Points> {
    let points = last.read(Class::Floats)?;
    let Points::Floats(samples) = &points else { return None };
    let start = out.len();
    put_varint(out, u64::from(id.0));
    out.push(Class::Floats as u8);
    out.push(STEPS);
    put_varint(out, samples.len() as u64);
    put_floats(out, samples);
    put_stats(out, stats);
    let back = read_chunk(out.get(start..)?, id, Class::Floats)?;
    (same(&back.points, &points) && same_stats(&back.stats, stats)).then_some(points)
}

/// Writes the chunk of a series and returns what it holds.
pub(super) fn put_chunk(out: &mut Vec<u8>, id: SeriesId, class: Class, stream: &Stream) -> Option<Points> {
    let points = stream.read(class)?;
    let start = out.len();
    put_varint(out, u64::from(id.0));
    out.push(class as u8);
    let mut columns = Vec::new();
    match &points {
        Points::Floats(samples) => put_floats(&mut columns, samples),
        Points::Histograms(histograms) => put_ranks(&mut columns, histograms),
        // Sketches are hashes: nothing to gain from columns. Native histograms are not what the store is given.
        Points::Sketches(_) | Points::Natives(_) => {}
    }
    if matches!(points, Points::Sketches(_)) || stream.bytes().len() <= columns.len() {
        put_stream(out, stream);
    } else {
        let head = out.len();
        out.push(if class == Class::Histograms { RANKS } else { COLUMNS });
        put_varint(out, points.len() as u64);
        out.extend_from_slice(&columns);
        let back = read_chunk(out.get(start..)?, id, class);
        if !back.is_some_and(|back| same(&back.points, &points)) {
            tracing::warn!(series = id.0, "columns do not read back; points are kept as they came");
            out.truncate(head);
            put_stream(out, stream);
        }
    }
    Some(points)
}

fn put_stream(out: &mut Vec<u8>, stream: &Stream) {
    out.push(STREAM);
    put_varint(out, stream.points() as u64);
    out.extend_from_slice(stream.bytes());
}

/// Reads the chunk of the series `id`; `None` when the bytes are not that.
pub(super) fn read_chunk(bytes: &[u8], id: SeriesId, class: Class) -> Option<Chunk> {
    let reader = &mut Reader::new(bytes);
    let (form, count) = read_head(reader, id, class)?;
    let mut stats = Vec::new();
    let points = match (form, class) {
        (STREAM, _) => {
            let rest = reader.rest();
            stream::read(rest, class, count)?
        }
        (COLUMNS, Class::Floats) => {
            let mut samples = Vec::new();
            read_floats(reader, count, &mut samples)?;
            Points::Floats(samples)
        }
        (COLUMNS, Class::Histograms) => Points::Histograms(read_histograms(reader, count)?),
        (RANKS, Class::Histograms) => Points::Histograms(read_ranks(reader, count)?),
        (STEPS, Class::Floats) => {
            let mut samples = Vec::new();
            read_floats(reader, count, &mut samples)?;
            let values = samples.iter().filter(|sample| !is_stale(sample.value)).count();
            stats = read_stats(reader, values)?;
            Points::Floats(samples)
        }
        _ => return None,
    };
    reader.is_empty().then_some(Chunk { points, stats })
}

/// Reads the distributions within `range` of the chunk of the series `id` into
/// `out`; `None` where that is not what the bytes are, or they are none that
/// [`Distributions`] takes.
pub(super) fn read_distributions(
    bytes: &[u8],
    id: SeriesId,
    range: &TimeRange,
    out: &mut Distributions,
) -> Option<()> {
    let reader = &mut Reader::new(bytes);
    match read_head(reader, id, Class::Histograms)? {
        (RANKS, count) => {
            out.read(reader, count, range)?;
            reader.is_empty().then_some(())
        }
        _ => match read_chunk(bytes, id, Class::Histograms)?.points {
            Points::Histograms(points) => out.fill(&points, range),
            _ => None,
        },
    }
}

/// Form and number of points.
fn read_head(reader: &mut Reader<'_>, id: SeriesId, class: Class) -> Option<(u8, usize)> {
    if reader.varint()? != u64::from(id.0) || reader.byte()? != class as u8 {
        return None;
    }
    let form = reader.byte()?;
    let count = usize::try_from(reader.varint()?).ok().filter(|count| *count <= MAX_POINTS)?;
    Some((form, count))
}

/// How many points a chunk that begins with these bytes says it has.
pub(super) fn points_in(head: &[u8]) -> Option<u64> {
    let reader = &mut Reader::new(head);
    reader.varint()?;
    reader.take(2)?;
    reader.varint()
}

/// Whether both hold the same points, bit for bit.
pub(super) fn same(left: &Points, right: &Points) -> bool {
    match (left, right) {
        (Points::Floats(left), Points::Floats(right)) => {
            let bits = |samples: &[Sample]| -> Vec<(i64, u64)> {
                samples.iter().map(|s| (s.timestamp_ms, s.value.to_bits())).collect()
            };
            bits(left) == bits(right)
        }
        _ => left == right,
    }
}

fn put_floats(out: &mut Vec<u8>, samples: &[Sample]) {
    let times: Vec<i64> = samples.iter().map(|sample| sample.timestamp_ms).collect();
    put_times(out, &times);
    let stale: Vec<usize> =
        samples.iter().enumerate().filter(|(_, s)| is_stale(s.value)).map(|(at, _)| at).collect();
    put_varint(out, stale.len() as u64);
    let mut before = 0;
    for at in stale {
        put_varint(out, (at - before) as u64);
        before = at;
    }
    let values: Vec<f64> = samples.iter().map(|sample| sample.value).filter(|v| !is_stale(*v)).collect();
    put_doubles(out, &values);
}

/// Reads samples behind `samples`.
fn read_floats(reader: &mut Reader<'_>, count: usize, samples: &mut Vec<Sample>) -> Option<()> {
    let before = samples.len();
    read_times_each(reader, count, |run| {
        samples.extend(run.times().map(|timestamp_ms| Sample { timestamp_ms, value: stale_nan() }));
    })?;
    let stale_count = reader.count()?;
    let mut stale = Vec::with_capacity(stale_count);
    let mut at = 0usize;
    for _ in 0..stale_count {
        at = at.checked_add(usize::try_from(reader.varint()?).ok()?)?;
        stale.push(at);
    }
    let values = count.checked_sub(stale_count)?;
    let mut slots = samples.get_mut(before..)?.iter_mut();
    if stale.is_empty() {
        return read_doubles_each(reader, values, |value| {
            if let Some(slot) = slots.next() {
                slot.value = value;
            }
        });
    }
    let mut slots = slots.enumerate();
    let mut stale = stale.into_iter().peekable();
    let mut missing = 0usize;
    read_doubles_each(reader, values, |value| {
        match slots.by_ref().find(|(at, _)| stale.next_if_eq(at).is_none()) {
            Some((_, slot)) => slot.value = value,
            None => missing += 1,
        }
    })?;
    (missing == 0).then_some(())
}

/// Columns of distributions as blocks before version 3 have them.
fn read_histograms(reader: &mut Reader<'_>, count: usize) -> Option<Vec<(i64, Histogram)>> {
    let times = read_times(reader, count)?;
    let mut columns = (0..4).map(|_| read_doubles(reader, count)).collect::<Option<Vec<_>>>()?;
    let lengths = read_integers(reader, count)?;
    let total = lengths.iter().try_fold(0usize, |sum, length| {
        sum.checked_add(usize::try_from(*length).ok()?).filter(|sum| *sum <= MAX_POINTS)
    })?;
    let mut keys = read_integers(reader, total)?.into_iter();
    let mut weights = read_doubles(reader, total)?.into_iter();
    let (max, min, sum, counts) = (columns.pop()?, columns.pop()?, columns.pop()?, columns.pop()?);
    let mut points = Vec::with_capacity(count);
    for (at, timestamp_ms) in times.into_iter().enumerate() {
        let mut key = 0i64;
        let mut buckets = Vec::with_capacity(usize::try_from(*lengths.get(at)?).ok()?);
        for _ in 0..*lengths.get(at)? {
            key = key.checked_add(keys.next()?)?;
            buckets.push((BucketKey(i32::try_from(key).ok()?), weights.next()?));
        }
        let numbers = (*counts.get(at)?, *sum.get(at)?, *min.get(at)?, *max.get(at)?);
        points.push((timestamp_ms, Histogram::from_parts(numbers, buckets)?));
    }
    Some(points)
}

/// Runs of equal steps: first time against the run before, step, length.
pub(super) fn put_times(out: &mut Vec<u8>, times: &[i64]) {
    let mut runs: Vec<(i64, i64, u64)> = Vec::new();
    for time in times {
        match runs.last_mut() {
            Some((first, step, length)) if *length == 1 && time > first => {
                (*step, *length) = (time - *first, 2);
            }
            Some((first, step, length)) if *time == *first + *step * *length as i64 => *length += 1,
            _ => runs.push((*time, 0, 1)),
        }
    }
    put_varint(out, runs.len() as u64);
    let mut before = 0;
    for (first, step, length) in runs {
        put_signed(out, first - before);
        put_varint(out, step as u64);
        put_varint(out, length);
        before = first;
    }
}

pub(super) fn read_times(reader: &mut Reader<'_>, count: usize) -> Option<Vec<i64>> {
    let mut times = Vec::with_capacity(count.min(1 << 16));
    read_times_each(reader, count, |run| times.extend(run.times()))?;
    Some(times)
}

/// Times of one distance.
struct Run {
    first: i64,
    step: i64,
    length: i64,
}

impl Run {
    /// Its last one was seen not to overflow.
    fn times(self) -> impl Iterator<Item = i64> {
        (0..self.length).map(move |at| self.first + at * self.step)
    }
}

/// Hands `count` times to `each`, run by run.
fn read_times_each(reader: &mut Reader<'_>, count: usize, mut each: impl FnMut(Run)) -> Option<()> {
    let (mut first, mut left, mut latest) = (0i64, count, None);
    for _ in 0..reader.count()? {
        first = first.checked_add(reader.signed()?)?;
        let step = i64::try_from(reader.varint()?).ok()?;
        let length = usize::try_from(reader.varint()?).ok()?;
        left = left.checked_sub(length)?;
        if length == 0 {
            continue;
        }
        // Ascending, and no overflow on the way to the last one.
        let ascends = (step > 0 || length == 1) && latest.is_none_or(|latest| latest < first);
        let last = i64::try_from(length - 1).ok()?.checked_mul(step)?.checked_add(first);
        latest = Some(last.filter(|_| ascends)?);
        each(Run { first, step, length: length as i64 });
    }
    (left == 0).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(class: Class, stream: &Stream) -> usize {
        let mut out = Vec::new();
        let points = put_chunk(&mut out, SeriesId(300), class, stream).unwrap();
        let back = read_chunk(&out, SeriesId(300), class).unwrap().points;
        assert!(same(&back, &points));
        assert!(same(&back, &stream.read(class).unwrap()));
        assert!(read_chunk(&out, SeriesId(301), class).is_none());
        out.len()
    }

    #[test]
    fn floats_with_gaps_and_ends_come_back() {
        let mut stream = Stream::default();
        for i in 0..720i64 {
            let value = if i % 100 == 99 { stale_nan() } else { (i * 17) as f64 / 10.0 };
            if i % 7 != 3 {
                stream.push_float(1_700_000_000_000 + i * 10_000, value);
            }
        }
        check(Class::Floats, &stream);
    }

    #[test]
    fn a_counter_of_two_hours_takes_less_than_a_byte_a_point() {
        let mut stream = Stream::default();
        let mut total = 1e6;
        for i in 0..720i64 {
            total += f64::from((i * 7919 % 13) as i32);
            stream.push_float(1_700_000_000_000 + i * 10_000, total);
        }
        assert!(check(Class::Floats, &stream) < 720);
    }

    #[test]
    fn timers_take_few_bytes_a_point() {
        let mut stream = Stream::default();
        for i in 0..720i64 {
            let values = (0..20).map(|j| {
                let u = ((i * 20 + j) * 7919 % 10_007) as f64 / 10_007.0;
                (((0.012 * (1.0 + 3.0 * u * u)) * 1e6).round() / 1e6, 1.0)
            });
            stream.push_histogram(i * 10_000, &Histogram::from_values(values));
        }
        let bytes = check(Class::Histograms, &stream) as f64 / 720.0;
        assert!(bytes < 30.0, "{bytes} bytes a point");
    }

    proptest! {
        #[test]
        fn any_points_come_back(points in prop::collection::vec((1i64..5, any::<f64>(), 1u32..9), 1..200)) {
            let (mut floats, mut histograms) = (Stream::default(), Stream::default());
            let mut at = 0;
            for (step, value, weight) in points {
                at += step * 1000;
                floats.push_float(at, value);
                let finite = if value.is_finite() { value } else { 0.0 };
                histograms.push_histogram(at, &Histogram::from_values([(finite / 1e9, f64::from(weight)), (1.5, 1.0)]));
            }
            check(Class::Floats, &floats);
            check(Class::Histograms, &histograms);
        }
    }
}
