//! What one window holds of a distribution or a set, as bytes; and the class
//! of points that a metric type has.
//!
//! The same bytes serve the log, the head and small chunks.

use super::coding::{Reader, put_number, put_signed, put_varint, put_weight};
use crate::model::histogram::BucketKey;
use crate::model::sample::is_stale;
use crate::model::sketch::{EXACT_MAX, REGISTER_MAX, REGISTERS};
use crate::model::{Histogram, MetricType, Points, Sketch};

/// What the points of a series are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Floats,
    Histograms,
    Sketches,
}

impl Class {
    pub(super) fn of(metric_type: MetricType) -> Self {
        match metric_type {
            MetricType::Counter | MetricType::Gauge | MetricType::Sampled => Class::Floats,
            MetricType::Timer | MetricType::Histogram => Class::Histograms,
            MetricType::Set => Class::Sketches,
        }
    }
}

/// The last value that is no stale marker, and whether one follows it.
pub(super) fn last_float(points: &Points) -> (Option<f64>, bool) {
    let Points::Floats(samples) = points else { return (None, false) };
    let mut values = samples.iter().rev().map(|sample| sample.value);
    let ended = values.clone().next().is_some_and(is_stale);
    (values.find(|value| !is_stale(*value)), ended)
}

/// count, sum, min, max, number of buckets, then key gap and weight of each.
pub(super) fn put_histogram(out: &mut Vec<u8>, histogram: &Histogram) {
    put_weight(out, histogram.count);
    put_number(out, histogram.sum);
    put_number(out, histogram.min);
    put_number(out, histogram.max);
    put_varint(out, histogram.buckets().len() as u64);
    let mut before = 0;
    for (key, weight) in histogram.buckets() {
        put_signed(out, i64::from(key.0) - before);
        put_weight(out, *weight);
        before = i64::from(key.0);
    }
}

pub(super) fn read_histogram(reader: &mut Reader<'_>) -> Option<Histogram> {
    let numbers = (reader.weight()?, reader.number()?, reader.number()?, reader.number()?);
    let count = reader.count()?;
    let mut buckets = Vec::with_capacity(count);
    let mut key = 0i64;
    for _ in 0..count {
        key = key.checked_add(reader.signed()?)?;
        buckets.push((BucketKey(i32::try_from(key).ok()?), reader.weight()?));
    }
    Histogram::from_parts(numbers, buckets)
}

/// Whether [`read_histogram`] will take what [`put_histogram`] writes: sums of
/// huge values and weights may have left the numbers.
pub(super) fn sound_histogram(histogram: &Histogram) -> bool {
    let numbers = (histogram.count, histogram.sum, histogram.min, histogram.max);
    // Ascending keys of sound values are the histogram's own doing.
    let weights = histogram.buckets().iter().all(|(_, weight)| weight.is_finite() && *weight >= 0.0);
    weights && Histogram::from_parts(numbers, Vec::new()).is_some()
}

/// Whether [`read_sketch`] will take what [`put_sketch`] writes.
pub(super) fn sound_sketch(sketch: &Sketch) -> bool {
    match sketch {
        Sketch::Exact(hashes) => hashes.len() <= EXACT_MAX && hashes.is_sorted_by(|a, b| a < b),
        Sketch::Registers(registers) => {
            registers.len() == REGISTERS && registers.iter().all(|register| *register <= REGISTER_MAX)
        }
    }
}

/// How a sketch is written.
const HASHES: u8 = 0;
/// Only the registers that are not zero: gap and value of each.
const SPARSE: u8 = 1;
/// Four bits a register above the smallest one; 15 stands for "listed behind".
const NIBBLES: u8 = 2;
/// With fewer registers in use the sparse form is the shorter one.
const SPARSE_MAX: usize = REGISTERS / 4;
const NIBBLE_MAX: u8 = 15;

pub(super) fn put_sketch(out: &mut Vec<u8>, sketch: &Sketch) {
    let registers = match sketch {
        Sketch::Exact(hashes) => {
            out.push(HASHES);
            put_varint(out, hashes.len() as u64);
            hashes.iter().for_each(|hash| out.extend_from_slice(&hash.to_le_bytes()));
            return;
        }
        Sketch::Registers(registers) => registers,
    };
    if registers.iter().filter(|r| **r != 0).count() < SPARSE_MAX {
        out.push(SPARSE);
        put_listed(out, registers.iter().map(|r| *r != 0), registers);
        return;
    }
    let base = registers.iter().min().copied().unwrap_or_default();
    out.push(NIBBLES);
    out.push(base);
    for pair in registers.chunks(2) {
        let nibble = |at: usize| pair.get(at).map_or(0, |r| (r - base).min(NIBBLE_MAX));
        out.push(nibble(0) | nibble(1) << 4);
    }
    put_listed(out, registers.iter().map(|r| r - base >= NIBBLE_MAX), registers);
}

pub(super) fn read_sketch(reader: &mut Reader<'_>) -> Option<Sketch> {
    match reader.byte()? {
        HASHES => {
            let count = reader.count()?;
            let hashes = (0..count).map(|_| reader.fixed_u64()).collect::<Option<_>>()?;
            Sketch::from_hashes(hashes)
        }
        SPARSE => {
            let mut registers = vec![0; REGISTERS];
            read_listed(reader, &mut registers)?;
            Sketch::from_registers(registers)
        }
        NIBBLES => {
            let base = reader.byte()?;
            let packed = reader.take(REGISTERS / 2)?;
            let mut registers = Vec::with_capacity(REGISTERS);
            for pair in packed {
                registers.push(base.checked_add(pair & NIBBLE_MAX)?);
                registers.push(base.checked_add(pair >> 4)?);
            }
            read_listed(reader, &mut registers)?;
            Sketch::from_registers(registers)
        }
        _ => None,
    }
}

fn put_listed(out: &mut Vec<u8>, listed: impl Iterator<Item = bool> + Clone, registers: &[u8]) {
    put_varint(out, listed.clone().filter(|is| *is).count() as u64);
    let mut before = 0;
    for (at, (_, register)) in listed.zip(registers).enumerate().filter(|(_, (is, _))| *is) {
        put_varint(out, (at - before) as u64);
        out.push(*register);
        before = at;
    }
}

fn read_listed(reader: &mut Reader<'_>, registers: &mut [u8]) -> Option<()> {
    let mut at = 0usize;
    for _ in 0..reader.count()? {
        at = at.checked_add(usize::try_from(reader.varint()?).ok()?)?;
        *registers.get_mut(at)? = reader.byte()?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sketches_of_every_size_come_back_in_few_bytes() {
        for (members, most_bytes) in
            [(0u64, 2), (1, 10), (128, 1027), (129, 400), (1_000, 2_300), (5_000, 2_300), (1_000_000, 2_300)]
        {
            let mut sketch = Sketch::default();
            (0..members).for_each(|m| sketch.insert(&m.to_le_bytes()));
            let mut out = Vec::new();
            put_sketch(&mut out, &sketch);
            assert!(out.len() <= most_bytes, "{members} members take {} bytes", out.len());
            let mut reader = Reader::new(&out);
            assert_eq!(read_sketch(&mut reader), Some(sketch));
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn histograms_come_back_also_with_uneven_weights_and_signs() {
        for values in [
            vec![],
            vec![(0.0, 1.0)],
            vec![(-3.5, 1.0), (0.25, 10.0), (1e9, 2.5)],
            (0..100).map(|i| (f64::from(i) * 0.001, 1.0)).collect(),
        ] {
            let histogram = Histogram::from_values(values);
            let mut out = Vec::new();
            put_histogram(&mut out, &histogram);
            assert_eq!(read_histogram(&mut Reader::new(&out)), Some(histogram));
        }
    }
}
