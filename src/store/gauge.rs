//! What a step of a coarser tier keeps of a gauge beside its last value: least,
//! greatest and sum of the values of its windows, and how many they are.
//!
//! A window's value is its last one. Zero windows are no step: there is always
//! a value that the numbers stand beside.

use super::coding::Reader;
use super::column::{put_doubles, put_integers, read_doubles, read_integers};
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

    fn part(&self, last: f64, part: GaugePart) -> f64 {
        match part {
            GaugePart::Last => last,
            GaugePart::Min => self.min,
            GaugePart::Max => self.max,
            GaugePart::Mean => self.sum / self.count.max(1) as f64,
        }
    }
}

/// Puts into `samples` the part that is wanted; `stats` has an entry for each
/// of them that is no stale marker, or none at all.
pub(super) fn take_part(samples: &mut [Sample], stats: &[Stats], part: GaugePart) {
    let values = samples.iter_mut().filter(|sample| !is_stale(sample.value));
    for (sample, stats) in values.zip(stats) {
        sample.value = stats.part(sample.value, part);
    }
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
