//! The points of one series in the order they came, as one string of bytes:
//! what a block is built of, and what a small chunk holds on disk.
//!
//! A float at the usual step costs one to three bytes, at most 24. Appending is
//! cheap, reading starts at the front. Times never descend; a float at the time
//! of the one before takes its place (a series that begins again in the very
//! moment it had ended).

use super::coding::{RAW, Reader, put_signed, put_varint, scaled, unscaled, unzigzag, zigzag};
use super::point::{Class, put_histogram, put_sketch, read_histogram, read_sketch};
use crate::model::{Histogram, Points, Sample, Sketch};

/// Bit of a float's head that says "the step is that of the point before".
const SAME_STEP: u64 = 1 << 3;
/// Bytes, roughly, of a distribution or a sketch without its buckets or
/// hashes, and of a bucket: room is made for so many at once.
const HEAD_BYTES: usize = 40;
const BUCKET_BYTES: usize = 3;
/// Bits of a float's head below its integer.
const HEAD_BITS: u32 = 4;

/// Points of one series, compact.
#[derive(Clone, Debug, Default)]
pub(super) struct Stream {
    bytes: Vec<u8>,
    points: u32,
    first_ms: i64,
    last_ms: i64,
    step_ms: i64,
    /// Scale and integer of the last float that had one.
    scale: u8,
    integer: i64,
}

impl Stream {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn points(&self) -> usize {
        self.points as usize
    }

    /// Time of the first point; 0 when there is none.
    pub(super) fn first_ms(&self) -> i64 {
        self.first_ms
    }

    /// Time of the last point; `None` when there is none.
    pub(super) fn last_ms(&self) -> Option<i64> {
        (self.points > 0).then_some(self.last_ms)
    }

    /// Appends a float unless it lies before the last point.
    pub(super) fn push_float(&mut self, timestamp_ms: i64, value: f64) -> bool {
        if self.last_ms().is_some_and(|last| timestamp_ms < last) {
            return false;
        }
        self.make_room(24);
        let step_ms = timestamp_ms - self.last_ms;
        let same_step = if step_ms == self.step_ms { SAME_STEP } else { 0 };
        let coded = scaled(value);
        let head = match coded {
            Some((scale, integer)) => {
                let base = if scale == self.scale { self.integer } else { 0 };
                (self.scale, self.integer) = (scale, integer);
                zigzag(integer - base) << HEAD_BITS | u64::from(scale)
            }
            None => u64::from(RAW),
        };
        put_varint(&mut self.bytes, head | same_step);
        if same_step == 0 {
            put_signed(&mut self.bytes, step_ms);
        }
        if coded.is_none() {
            self.bytes.extend_from_slice(&value.to_le_bytes());
        }
        self.count(timestamp_ms, step_ms);
        true
    }

    /// Appends a distribution unless it does not lie after the last point.
    pub(super) fn push_histogram(&mut self, timestamp_ms: i64, histogram: &Histogram) -> bool {
        let most_bytes = HEAD_BYTES + histogram.buckets().len() * BUCKET_BYTES;
        self.push_body(timestamp_ms, most_bytes, |out| put_histogram(out, histogram))
    }

    /// Appends a sketch unless it does not lie after the last point.
    pub(super) fn push_sketch(&mut self, timestamp_ms: i64, sketch: &Sketch) -> bool {
        let most_bytes = match sketch {
            Sketch::Exact(hashes) => HEAD_BYTES + hashes.len() * size_of::<u64>(),
            Sketch::Registers(registers) => registers.len(),
        };
        self.push_body(timestamp_ms, most_bytes, |out| put_sketch(out, sketch))
    }

    fn push_body(&mut self, timestamp_ms: i64, most_bytes: usize, put: impl FnOnce(&mut Vec<u8>)) -> bool {
        if self.last_ms().is_some_and(|last| timestamp_ms <= last) {
            return false;
        }
        let step_ms = timestamp_ms - self.last_ms;
        self.make_room(most_bytes);
        put_signed(&mut self.bytes, step_ms - self.step_ms);
        put(&mut self.bytes);
        self.count(timestamp_ms, step_ms);
        true
    }

    fn count(&mut self, timestamp_ms: i64, step_ms: i64) {
        if self.points == 0 {
            self.first_ms = timestamp_ms;
        }
        self.points += 1;
        self.last_ms = timestamp_ms;
        self.step_ms = step_ms;
    }

    /// Grows by a quarter, not to the double: a block is built of many of them.
    fn make_room(&mut self, bytes: usize) {
        if self.bytes.capacity() - self.bytes.len() < bytes {
            self.bytes.reserve_exact(bytes.max(self.bytes.len() / 4));
        }
    }

    /// All points.
    pub(super) fn read(&self, class: Class) -> Option<Points> {
        read(&self.bytes, class, self.points())
    }
}

/// Reads `count` points of a stream's bytes; `None` when they are not that.
pub(super) fn read(bytes: &[u8], class: Class, count: usize) -> Option<Points> {
    // A point takes a byte at least, so that a wrong count asks for no memory.
    if count > bytes.len() {
        return None;
    }
    let mut reader = Reader::new(bytes);
    let points = match class {
        Class::Floats => Points::Floats(read_floats(&mut reader, count)?),
        Class::Histograms => Points::Histograms(read_bodies(&mut reader, count, read_histogram)?),
        Class::Sketches => Points::Sketches(read_bodies(&mut reader, count, read_sketch)?),
    };
    reader.is_empty().then_some(points)
}

fn read_floats(reader: &mut Reader<'_>, count: usize) -> Option<Vec<Sample>> {
    let mut samples: Vec<Sample> = Vec::with_capacity(count);
    let (mut timestamp_ms, mut step_ms) = (0i64, 0i64);
    let (mut last_scale, mut last_integer) = (0u8, 0i64);
    for _ in 0..count {
        let head = reader.varint()?;
        if head & SAME_STEP == 0 {
            step_ms = reader.signed()?;
        }
        timestamp_ms = timestamp_ms.checked_add(step_ms)?;
        let value = match (head & 7) as u8 {
            RAW => reader.fixed_f64()?,
            scale => {
                let base = if scale == last_scale { last_integer } else { 0 };
                (last_scale, last_integer) = (scale, base.checked_add(unzigzag(head >> HEAD_BITS))?);
                unscaled(scale, last_integer)?
            }
        };
        match samples.last_mut() {
            Some(last) if last.timestamp_ms == timestamp_ms => last.value = value,
            Some(last) if last.timestamp_ms > timestamp_ms => return None,
            _ => samples.push(Sample { timestamp_ms, value }),
        }
    }
    Some(samples)
}

fn read_bodies<T>(
    reader: &mut Reader<'_>,
    count: usize,
    read: impl Fn(&mut Reader<'_>) -> Option<T>,
) -> Option<Vec<(i64, T)>> {
    let mut points: Vec<(i64, T)> = Vec::with_capacity(count);
    let (mut timestamp_ms, mut step_ms) = (0i64, 0i64);
    for _ in 0..count {
        step_ms = step_ms.checked_add(reader.signed()?)?;
        timestamp_ms = timestamp_ms.checked_add(step_ms)?;
        if points.last().is_some_and(|(last, _)| *last >= timestamp_ms) {
            return None;
        }
        points.push((timestamp_ms, read(reader)?));
    }
    Some(points)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample::stale_nan;
    use proptest::prelude::*;

    fn floats(stream: &Stream) -> Vec<(i64, u64)> {
        match stream.read(Class::Floats) {
            Some(Points::Floats(samples)) => {
                samples.iter().map(|s| (s.timestamp_ms, s.value.to_bits())).collect()
            }
            other => panic!("not floats: {other:?}"),
        }
    }

    #[test]
    fn a_series_of_two_hours_takes_little_memory() {
        type Case = (&'static str, fn(i64) -> f64, usize);
        let values: [Case; 4] = [
            ("idle counter", |_| 1_234_567.0, 2),
            ("busy counter", |i| (i * 1_357) as f64, 5),
            ("gauge with two decimals", |i| ((i * 7_919) % 10_000) as f64 / 100.0, 6),
            ("random doubles", |i| (i as f64).sqrt(), 14),
        ];
        for (what, value, most_bytes) in values {
            let mut stream = Stream::default();
            for i in 1..=720 {
                stream.push_float(1_700_000_000_000 + i * 10_000, value(i));
            }
            let bytes = (stream.bytes.capacity() + size_of::<Stream>()) / 720;
            assert!(bytes <= most_bytes, "{what}: {bytes} bytes a point");
        }
    }

    #[test]
    fn a_start_in_the_moment_of_the_end_takes_its_place() {
        let mut stream = Stream::default();
        assert!(stream.push_float(10, 1.0));
        assert!(stream.push_float(20, stale_nan()));
        assert!(stream.push_float(20, 1.0));
        assert!(!stream.push_float(15, 3.0));
        assert!(stream.push_float(30, 2.0));
        assert_eq!(floats(&stream), [(10, 1f64.to_bits()), (20, 1f64.to_bits()), (30, 2f64.to_bits())]);
    }

    proptest! {
        #[test]
        fn every_float_comes_back(
            points in prop::collection::vec((1i64..100_000, any::<u64>(), any::<bool>()), 0..50),
        ) {
            let mut stream = Stream::default();
            let mut expected = Vec::new();
            let mut at = 0;
            for (step, bits, whole) in points {
                at += step;
                let value = if whole { (bits >> 40) as f64 } else { f64::from_bits(bits) };
                stream.push_float(at, value);
                expected.push((at, value.to_bits()));
            }
            prop_assert_eq!(floats(&stream), expected);
        }

        #[test]
        fn foreign_bytes_do_no_harm(bytes: Vec<u8>, count in 0usize..100) {
            for class in [Class::Floats, Class::Histograms, Class::Sketches] {
                let _ = read(&bytes, class, count);
            }
        }
    }
}
