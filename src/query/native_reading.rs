//! What a native histogram tells of its values: quantiles, shares, spread.
//!
//! Within an exponential bucket values are taken to be spread so that they would
//! fill finer buckets evenly; within the zero bucket and custom ones evenly.

use super::sum;
use crate::model::NativeHistogram;
use crate::model::native_histogram::Bucket;

/// What values of NaN, which are in no exponential bucket, did to an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NanEffect {
    /// The answer is NaN.
    IsNan,
    /// The quantile lies too high.
    SkewedHigher,
    /// They are in no share.
    LeftOut,
}

/// The `q`-quantile; NaN when empty, ∓∞ for `q` outside of 0 to 1.
pub(crate) fn quantile(histogram: &NativeHistogram, q: f64) -> (f64, Option<NanEffect>) {
    if q.is_nan() || histogram.count == 0.0 {
        return (f64::NAN, None);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if q > 1.0 {
        return (f64::INFINITY, None);
    }
    // With values of NaN, which count as the highest, only upwards is sure.
    let has_nan = histogram.sum.is_nan() && !histogram.is_custom();
    let upwards = histogram.sum.is_nan() || q < 0.5;
    let rank = if upwards { q * histogram.count } else { (1.0 - q) * histogram.count };
    let (mut seen, mut found) = (0.0, None);
    let mut visit = |bucket: Bucket| {
        seen += bucket.count;
        found = Some(bucket);
        seen >= rank
    };
    let reached = match upwards {
        true => histogram.buckets().any(&mut visit),
        false => histogram.buckets().rev().any(&mut visit),
    };
    let Some(bucket) = found else { return (f64::NAN, has_nan.then_some(NanEffect::IsNan)) };
    if !reached && has_nan {
        return (f64::NAN, Some(NanEffect::IsNan));
    }
    let effect = has_nan.then_some(NanEffect::SkewedHigher);
    let Bucket { lower, upper, count, .. } = readable(histogram, bucket);
    if lower == f64::NEG_INFINITY {
        return (upper, effect);
    }
    if upper == f64::INFINITY && histogram.is_custom() {
        return (lower, effect);
    }
    let seen = seen.min(histogram.count);
    let within = if upwards { rank - (seen - count) } else { seen - rank };
    let share = (within / count).clamp(0.0, 1.0);
    (interpolated(histogram, lower, upper, share), effect)
}

/// Share of the values in `(low, high]`; NaN when empty.
pub(crate) fn fraction(histogram: &NativeHistogram, low: f64, high: f64) -> (f64, Option<NanEffect>) {
    if histogram.count == 0.0 || low.is_nan() || high.is_nan() {
        return (f64::NAN, None);
    }
    let has_nan = histogram.sum.is_nan() && !histogram.is_custom();
    let effect = has_nan.then_some(NanEffect::LeftOut);
    if low >= high {
        return (0.0, effect);
    }
    let below = |value: f64| {
        let mut rank = 0.0;
        for bucket in histogram.buckets() {
            let Bucket { lower, upper, count, .. } = readable(histogram, bucket);
            if value >= upper {
                rank += count;
            } else if value <= lower || upper == f64::INFINITY {
                return rank;
            } else if lower == f64::NEG_INFINITY {
                return rank + count;
            } else {
                return rank + count * share_below(histogram, lower, upper, value);
            }
        }
        rank
    };
    ((below(high) - below(low)) / histogram.count, effect)
}

/// Variance of the values, each taken for the middle of its bucket.
pub(crate) fn variance(histogram: &NativeHistogram) -> f64 {
    let mean = histogram.sum / histogram.count;
    let squares = histogram.buckets().map(|bucket| {
        let middle = middle_of(is_linear(histogram, bucket.lower, bucket.upper), bucket.lower, bucket.upper);
        bucket.count * (middle - mean) * (middle - mean)
    });
    sum::sum(squares) / histogram.count
}

/// What a value between these bounds is taken for.
pub(crate) fn middle_of(linear: bool, lower: f64, upper: f64) -> f64 {
    match linear {
        true => (lower + upper) / 2.0,
        false => (lower * upper).sqrt().copysign(upper),
    }
}

/// The bucket with the bounds that its values surely have: a zero bucket beside
/// positive ones alone holds nothing below zero, and a lowest custom bucket
/// begins at zero when its end is above.
pub(crate) fn readable(histogram: &NativeHistogram, mut bucket: Bucket) -> Bucket {
    if histogram.is_custom() {
        if bucket.lower == f64::NEG_INFINITY && bucket.upper > 0.0 {
            bucket.lower = 0.0;
        }
    } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
        match (histogram.negative.is_empty(), histogram.positive.is_empty()) {
            (true, false) => bucket.lower = 0.0,
            (false, true) => bucket.upper = 0.0,
            _ => {}
        }
    }
    bucket
}

/// Whether values are spread evenly between these bounds.
pub(crate) fn is_linear(histogram: &NativeHistogram, lower: f64, upper: f64) -> bool {
    histogram.is_custom() || (lower <= 0.0 && upper >= 0.0)
}

/// The value below which `share` of the bucket's values are.
fn interpolated(histogram: &NativeHistogram, lower: f64, upper: f64, share: f64) -> f64 {
    if is_linear(histogram, lower, upper) {
        return lower + (upper - lower) * share;
    }
    let (near, far) = (lower.abs().log2(), upper.abs().log2());
    (near + (far - near) * share).exp2().copysign(upper)
}

/// The share of the bucket's values that are below `value`.
pub(crate) fn share_below(histogram: &NativeHistogram, lower: f64, upper: f64, value: f64) -> f64 {
    if is_linear(histogram, lower, upper) {
        return (value - lower) / (upper - lower);
    }
    let (low, high, at) = (lower.abs().log2(), upper.abs().log2(), value.abs().log2());
    (at - low) / (high - low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::native_histogram::CUSTOM;

    fn of(schema: i32, positive: &[(i32, f64)], negative: &[(i32, f64)], zero: f64) -> NativeHistogram {
        let weight = |list: &[(i32, f64)]| list.iter().map(|(_, weight)| weight).sum::<f64>();
        NativeHistogram {
            schema,
            count: weight(positive) + weight(negative) + zero,
            zero_threshold: 0.5,
            zero_count: zero,
            positive: positive.to_vec(),
            negative: negative.to_vec(),
            ..NativeHistogram::default()
        }
    }

    #[test]
    fn quantiles_are_geometric_in_exponential_buckets_and_even_in_the_zero_bucket() {
        let one = of(0, &[(3, 4.0)], &[], 0.0);
        assert_eq!(quantile(&one, 0.5).0, 32f64.sqrt());
        assert_eq!(quantile(&one, 1.0).0, 8.0);
        assert_eq!(quantile(&one, 0.0).0, 4.0);
        let zero = of(0, &[], &[], 4.0);
        assert_eq!(quantile(&zero, 0.25).0, -0.25);
        let beside_positive = of(0, &[(3, 4.0)], &[], 4.0);
        assert_eq!(quantile(&beside_positive, 0.25).0, 0.25);
        let negative = of(0, &[], &[(3, 4.0)], 0.0);
        assert_eq!(quantile(&negative, 0.25).0, -(2f64.powf(2.75)));
        assert!(quantile(&of(0, &[], &[], 0.0), 0.5).0.is_nan());
    }

    #[test]
    fn a_share_and_the_quantile_are_inverse() {
        let histogram = of(1, &[(1, 4.0), (4, 8.0)], &[(2, 3.0)], 5.0);
        for q in [0.05, 0.2, 0.45, 0.6, 0.9] {
            let value = quantile(&histogram, q).0;
            let found = fraction(&histogram, f64::NEG_INFINITY, value).0;
            assert!((found - q).abs() < 1e-12, "{q}: {found}");
        }
    }

    #[test]
    fn custom_buckets_without_an_end_give_their_other_bound() {
        let histogram =
            NativeHistogram { bounds: [1.0, 2.0].into(), ..of(CUSTOM, &[(0, 2.0), (2, 2.0)], &[], 0.0) };
        assert_eq!(quantile(&histogram, 0.25).0, 0.5);
        assert_eq!(quantile(&histogram, 0.9).0, 2.0);
        assert_eq!(fraction(&histogram, 0.0, 2.0).0, 0.5);
        assert_eq!(fraction(&histogram, 0.0, f64::INFINITY).0, 1.0);
    }
}
