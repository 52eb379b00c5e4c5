//! What a step of a coarser tier keeps of a gauge beside its last value: least,
//! greatest and sum of the values of its windows, and how many they are.
//!
//! A window's value is its last one. Zero windows are no step: there is always
//! a value that the numbers stand beside.

use super::coding::Reader;
use super::column::{put_doubles, put_integers, read_doubles, read_integers, skip_doubles};
use crate::model::sample::is_stale;
use crate::model::{GaugePart, Sample};

/// Numbers of the windows in a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stats {
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) sum: f64,
    pub(super) count: u64,
}

impl Stats {
    /// Of one window.
    pub(super) fn of(value: f64) -> Self {
        Stats { min: value, max: value, sum: value, count: 1 }
    }

    pub(super) fn add(&mut self, other: Stats) {
        // As comparison goes, not f64::min: a NaN is only left for a number.
        if other.min < self.min || self.min.is_nan() {
            self.min = other.min;
        }
        if other.max > self.max || self.max.is_nan() {
            self.max = other.max;
        }
        self.sum += other.sum;
        self.count = self.count.saturating_add(other.count);
    }
}

/// Puts into `samples`, of which `count` are no stale markers, the part that is
/// wanted, and tells of sums how many windows each stands for. The reader is
/// where the numbers of the steps begin; no more of them is read than it takes.
pub(super) fn take_part(
    reader: &mut Reader<'_>,
    samples: &mut [Sample],
    count: usize,
    part: GaugePart,
) -> Option<Vec<u64>> {
    let columns_before = match part {
        GaugePart::Last => return Some(Vec::new()),
        GaugePart::Min => 0,
        GaugePart::Max => 1,
        GaugePart::Sum => 2,
    };
    for _ in 0..columns_before {
        skip_doubles(reader, count)?;
    }
    let values = read_doubles(reader, count)?;
    let mut counts = Vec::new();
    if part == GaugePart::Sum {
        let mut windows = read_integers(reader, count)?.into_iter();
        for sample in samples.iter() {
            counts.push(if is_stale(sample.value) { 0 } else { u64::try_from(windows.next()?).ok()? });
        }
    }
    let places = samples.iter_mut().filter(|sample| !is_stale(sample.value));
    places.zip(values).for_each(|(sample, value)| sample.value = value);
    Some(counts)
}

pub(super) fn put_stats(out: &mut Vec<u8>, stats: &[Stats]) {
    for number in NUMBERS {
        put_doubles(out, &stats.iter().map(number).collect::<Vec<_>>());
    }
    put_integers(out, &stats.iter().map(|stats| stats.count as i64).collect::<Vec<_>>());
}

/// Reads `count` entries; `None` when the bytes are not that.
pub(super) fn read_stats(reader: &mut Reader<'_>, count: usize) -> Option<Vec<Stats>> {
    let (min, max) = (read_doubles(reader, count)?, read_doubles(reader, count)?);
    let (sum, counts) = (read_doubles(reader, count)?, read_integers(reader, count)?);
    let numbers = min.into_iter().zip(max).zip(sum).zip(counts);
    numbers
        .map(|(((min, max), sum), count)| Some(Stats { min, max, sum, count: u64::try_from(count).ok()? }))
        .collect()
}

/// Whether both are the same, bit for bit.
pub(super) fn same_stats(left: &[Stats], right: &[Stats]) -> bool {
    let bits = |stats: &Stats| (NUMBERS.map(|number| number(stats).to_bits()), stats.count);
    left.iter().map(bits).eq(right.iter().map(bits))
}

/// The columns of doubles.
const NUMBERS: [fn(&Stats) -> f64; 3] = [|stats| stats.min, |stats| stats.max, |stats| stats.sum];
