//! `</` and `>/`: a histogram without what is above or below a value.
//!
//! A bucket that the value cuts keeps the share that is on the right side of it.
//! Where anything was cut off, the sum is worked out anew from the middles of
//! what is left.

use super::distribution::Distribution;
use super::native_reading::{is_linear, middle_of, readable, share_below};
use crate::model::native_histogram::Bucket;
use crate::model::{Histogram, NativeHistogram};

/// The histogram without what is above `value`, or below it; `None` where that
/// is no number.
pub(crate) fn trimmed(histogram: &Distribution, value: f64, above: bool) -> Option<Distribution> {
    match histogram {
        _ if value.is_nan() => None,
        Distribution::Native(histogram) => Some(native(histogram, value, above).into()),
        Distribution::LogLinear(histogram) => Some(log_linear(histogram, value, above).into()),
    }
}

fn native(histogram: &NativeHistogram, value: f64, above: bool) -> NativeHistogram {
    let mut left = histogram.clone();
    let (mut count, mut sum, mut is_cut) = (0.0, 0.0, false);
    let mut keep = |lower: f64, upper: f64, weight: f64| {
        let bucket = Bucket { lower, upper, lower_included: false, upper_included: true, count: weight };
        let (kept, middle) = kept(histogram, readable(histogram, bucket), lower, value, above);
        is_cut |= kept != weight;
        count += kept;
        if kept != 0.0 {
            sum += kept * middle;
        }
        kept
    };
    for (index, weight) in &mut left.positive {
        let (lower, upper) = histogram.bounds_of(*index);
        *weight = keep(lower, upper, *weight);
    }
    for (index, weight) in &mut left.negative {
        let (near, far) = histogram.bounds_of(*index);
        *weight = keep(-far, -near, *weight);
    }
    if left.zero_count != 0.0 {
        left.zero_count = keep(-histogram.zero_threshold, histogram.zero_threshold, left.zero_count);
    }
    if !is_cut {
        return histogram.clone();
    }
    left.count = count;
    left.sum = sum;
    left.compact();
    left
}

/// How much of a bucket is left, and where its values are in the middle.
/// `begin` is its lower bound as it is written.
fn kept(histogram: &NativeHistogram, bucket: Bucket, begin: f64, value: f64, above: bool) -> (f64, f64) {
    let Bucket { lower, upper, count, .. } = bucket;
    let all = (count, f64::NAN);
    let nothing = (0.0, 0.0);
    // Without an end nothing can be shared out: such a bucket stays or goes.
    match (begin == f64::NEG_INFINITY, upper == f64::INFINITY) {
        (true, true) => {
            let stays = value == if above { f64::INFINITY } else { f64::NEG_INFINITY };
            return if stays { all } else { nothing };
        }
        (false, true) if above => return if value == upper { (count, lower) } else { nothing },
        (false, true) if value == upper => return nothing,
        (false, true) => return (count, value.max(lower)),
        (true, false) if !above && begin < value && value < lower.max(f64::MIN) => return nothing,
        (true, false) if lower == f64::NEG_INFINITY => {
            return match (above, value == f64::NEG_INFINITY) {
                (true, true) => nothing,
                (true, false) => (count, value.min(upper)),
                (false, true) => (count, upper),
                (false, false) => nothing,
            };
        }
        _ => {}
    }
    let linear = is_linear(histogram, lower, upper);
    let whole = middle_of(linear, lower, upper);
    match (above, value <= lower, value >= upper) {
        (true, true, _) | (false, _, true) => nothing,
        (true, _, true) | (false, true, _) => (count, whole),
        (true, false, false) => {
            let share = share_below(histogram, lower, upper, value);
            (count * share, middle_of(linear, lower, value))
        }
        (false, false, false) => {
            let share = 1.0 - share_below(histogram, lower, upper, value);
            (count * share, middle_of(linear, value, upper))
        }
    }
}

fn log_linear(histogram: &Histogram, value: f64, above: bool) -> Histogram {
    let outside = |low: f64, high: f64| if above { high > value } else { low < value };
    if histogram.is_empty() || !outside(histogram.min, histogram.max) {
        return histogram.clone();
    }
    let mut left = Histogram::default();
    let mut buckets = Vec::new();
    for (key, weight) in histogram.buckets() {
        let (low, high) = key.bounds();
        let below = if low < high {
            ((value - low) / (high - low)).clamp(0.0, 1.0)
        } else {
            f64::from(u8::from(low <= value))
        };
        let share = if above { below } else { 1.0 - below };
        if share > 0.0 {
            let (low, high) = if above { (low, high.min(value)) } else { (low.max(value), high) };
            left.count += weight * share;
            left.sum += weight * share * (low + high) / 2.0;
            buckets.push((*key, weight * share));
        }
    }
    if let (Some((first, _)), Some((last, _))) = (buckets.first(), buckets.last()) {
        left.min = first.bounds().0.max(histogram.min);
        left.max = last.bounds().1.min(histogram.max);
        if above {
            left.max = left.max.min(value);
        } else {
            left.min = left.min.max(value);
        }
    }
    left.add_buckets(buckets);
    left
}
