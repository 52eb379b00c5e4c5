//! Arithmetic of native histograms: sums and differences of whatever schemas
//! and bounds, scaling, and whether a counter was reset.
//!
//! Of two schemas the coarser is taken, of two zero buckets the wider, of two
//! lists of bounds what they share. Exponential and custom buckets do not mix.

use crate::model::{NativeHistogram, ResetHint};
use std::sync::Arc;

/// Exponential buckets met custom ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Incompatible;

/// What happened on the way of a sum, for whoever reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Notes {
    /// One was said to follow a reset, the other not.
    pub resets_collide: bool,
    /// Custom bounds differed and were brought down to what they share.
    pub bounds_differ: bool,
}

/// `left + factor · right`, where the factor is 1 or −1.
pub(crate) fn add(
    left: &NativeHistogram,
    right: &NativeHistogram,
    factor: f64,
) -> Result<(NativeHistogram, Notes), Incompatible> {
    let (mut left, mut right, bounds_differ) = aligned(left, right)?;
    let (hint, resets_collide) = joined_hint(left.hint, right.hint);
    if !left.is_custom() {
        align_zero(&mut left, &mut right);
    }
    left.hint = hint;
    left.count += factor * right.count;
    left.sum += factor * right.sum;
    left.zero_count += factor * right.zero_count;
    left.positive = added(&left.positive, &right.positive, factor);
    left.negative = added(&left.negative, &right.negative, factor);
    Ok((left, Notes { resets_collide, bounds_differ }))
}

/// All weights multiplied. Below zero it is no counter any more.
pub(crate) fn scaled(mut histogram: NativeHistogram, factor: f64) -> NativeHistogram {
    histogram.count *= factor;
    histogram.sum *= factor;
    histogram.zero_count *= factor;
    let buckets = histogram.positive.iter_mut().chain(&mut histogram.negative);
    buckets.for_each(|(_, count)| *count *= factor);
    histogram.compact();
    if factor < 0.0 {
        histogram.hint = ResetHint::Gauge;
    }
    histogram
}

/// All weights divided; by zero, no bucket but that of zero is left.
pub(crate) fn divided(mut histogram: NativeHistogram, divisor: f64) -> NativeHistogram {
    histogram.count /= divisor;
    histogram.sum /= divisor;
    histogram.zero_count /= divisor;
    if divisor == 0.0 {
        histogram.positive.clear();
        histogram.negative.clear();
        return histogram;
    }
    let buckets = histogram.positive.iter_mut().chain(&mut histogram.negative);
    buckets.for_each(|(_, count)| *count /= divisor);
    histogram.compact();
    if divisor < 0.0 {
        histogram.hint = ResetHint::Gauge;
    }
    histogram
}

/// Whether a counter was reset between `older` and `newer`.
pub(crate) fn is_reset(newer: &NativeHistogram, older: &NativeHistogram) -> bool {
    match newer.hint {
        ResetHint::Reset => return true,
        ResetHint::NotReset => return false,
        ResetHint::Unknown | ResetHint::Gauge => {}
    }
    if newer.count < older.count || newer.is_custom() != older.is_custom() {
        return true;
    }
    let fell = |newer: &[(i32, f64)], older: &[(i32, f64)]| {
        let mut newer = newer.iter().peekable();
        older.iter().any(|(index, count)| {
            while newer.next_if(|(other, _)| other < index).is_some() {}
            newer.peek().filter(|(other, _)| other == index).map_or(0.0, |(_, now)| *now) < *count
        })
    };
    if newer.is_custom() {
        let Ok((newer, older, _)) = aligned(newer, older) else { return true };
        return fell(&newer.positive, &older.positive);
    }
    if newer.schema > older.schema || newer.zero_threshold < older.zero_threshold {
        return true;
    }
    let mut older = with_schema(older, newer.schema);
    if widen_zero(&mut older, newer.zero_threshold) != newer.zero_threshold {
        return true;
    }
    newer.zero_count < older.zero_count
        || fell(&newer.positive, &older.positive)
        || fell(&newer.negative, &older.negative)
}

/// With the buckets of a coarser schema.
pub(crate) fn with_schema(histogram: &NativeHistogram, schema: i32) -> NativeHistogram {
    let mut coarser = histogram.clone();
    let by = histogram.schema - schema;
    if histogram.is_custom() || by <= 0 {
        return coarser;
    }
    for buckets in [&mut coarser.positive, &mut coarser.negative] {
        buckets.iter_mut().for_each(|(index, _)| *index = (index.saturating_sub(1) >> by.min(31)) + 1);
        join_equal(buckets);
    }
    coarser.schema = schema;
    coarser
}

/// Both with the same schema or bounds, and whether bounds had to give way.
fn aligned(
    left: &NativeHistogram,
    right: &NativeHistogram,
) -> Result<(NativeHistogram, NativeHistogram, bool), Incompatible> {
    match (left.is_custom(), right.is_custom()) {
        (false, false) => {
            let schema = left.schema.min(right.schema);
            Ok((with_schema(left, schema), with_schema(right, schema), false))
        }
        (true, true) if left.bounds == right.bounds => Ok((left.clone(), right.clone(), false)),
        (true, true) => {
            let shared: Arc<[f64]> =
                left.bounds.iter().copied().filter(|bound| has_bound(right, *bound)).collect();
            Ok((with_bounds(left, &shared), with_bounds(right, &shared), true))
        }
        _ => Err(Incompatible),
    }
}

/// Whether custom buckets end at `bound`.
pub(crate) fn has_bound(histogram: &NativeHistogram, bound: f64) -> bool {
    histogram.bounds.binary_search_by(|other| other.total_cmp(&bound)).is_ok()
}

/// With fewer bounds, all of them its own.
pub(crate) fn with_bounds(histogram: &NativeHistogram, bounds: &Arc<[f64]>) -> NativeHistogram {
    let mut fewer = histogram.clone();
    for (index, _) in &mut fewer.positive {
        let upper = histogram.upper_bound(*index);
        *index = i32::try_from(bounds.partition_point(|bound| *bound < upper)).unwrap_or(i32::MAX);
    }
    join_equal(&mut fewer.positive);
    fewer.bounds = Arc::clone(bounds);
    fewer
}

fn join_equal(buckets: &mut Vec<(i32, f64)>) {
    buckets.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 += next.1;
        }
        same
    });
}

/// Makes both zero buckets as wide as the wider one, or wider still where that
/// would cut a bucket.
fn align_zero(left: &mut NativeHistogram, right: &mut NativeHistogram) {
    // Each turn widens one of them to a bound of a bucket of the other's, of
    // which there are only so many.
    while left.zero_threshold != right.zero_threshold {
        if left.zero_threshold < right.zero_threshold {
            widen_zero(left, right.zero_threshold);
        } else {
            widen_zero(right, left.zero_threshold);
        }
    }
}

/// Widens the zero bucket to `threshold`, or further where that would cut a
/// bucket that holds something; tells how wide it became.
pub(crate) fn widen_zero(histogram: &mut NativeHistogram, threshold: f64) -> f64 {
    let mut threshold = threshold;
    if threshold <= histogram.zero_threshold {
        return histogram.zero_threshold;
    }
    loop {
        let cut =
            [&histogram.positive, &histogram.negative].into_iter().flatten().find_map(|(index, count)| {
                let (near, far) = histogram.bounds_of(*index);
                (*count != 0.0 && near < threshold && threshold < far).then_some(far)
            });
        match cut {
            Some(far) => threshold = far,
            None => break,
        }
    }
    let mut taken = 0.0;
    let uppers: Vec<bool> =
        histogram.positive.iter().map(|(index, _)| histogram.upper_bound(*index) <= threshold).collect();
    let lowers: Vec<bool> =
        histogram.negative.iter().map(|(index, _)| histogram.upper_bound(*index) <= threshold).collect();
    for (buckets, inside) in [(&mut histogram.positive, uppers), (&mut histogram.negative, lowers)] {
        let mut inside = inside.into_iter();
        buckets.retain(|(_, count)| {
            let is_inside = inside.next().unwrap_or(false);
            if is_inside {
                taken += count;
            }
            !is_inside
        });
    }
    histogram.zero_count += taken;
    histogram.zero_threshold = threshold;
    threshold
}

pub(crate) fn joined_hint(left: ResetHint, right: ResetHint) -> (ResetHint, bool) {
    use ResetHint::*;
    match (left, right) {
        (left, right) if left == right => (left, false),
        (Gauge, _) | (_, Gauge) => (Gauge, false),
        (Unknown, _) | (_, Unknown) => (Unknown, false),
        _ => (Unknown, true),
    }
}

/// Both ascending lists as one; what became empty is left out.
fn added(left: &[(i32, f64)], right: &[(i32, f64)], factor: f64) -> Vec<(i32, f64)> {
    let mut out = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
    loop {
        let next = match (left.peek(), right.peek()) {
            (None, None) => return out,
            (Some(l), Some(r)) if l.0 == r.0 => (l.0, l.1 + factor * r.1),
            (Some(l), Some(r)) if l.0 > r.0 => (r.0, factor * r.1),
            (Some(l), _) => (l.0, l.1),
            (None, Some(r)) => (r.0, factor * r.1),
        };
        left.next_if(|(index, _)| *index == next.0);
        right.next_if(|(index, _)| *index == next.0);
        if next.1 != 0.0 {
            out.push(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::native_histogram::CUSTOM;
    use proptest::prelude::*;

    fn of(schema: i32, zero: (f64, f64), positive: &[(i32, f64)]) -> NativeHistogram {
        let weights: f64 = positive.iter().map(|(_, weight)| weight).sum();
        NativeHistogram {
            schema,
            zero_threshold: zero.0,
            zero_count: zero.1,
            count: weights + zero.1,
            positive: positive.to_vec(),
            ..NativeHistogram::default()
        }
    }

    #[test]
    fn a_sum_takes_the_coarser_schema_and_the_wider_zero() {
        let fine = of(1, (0.0, 1.0), &[(0, 1.0), (1, 2.0), (2, 4.0)]);
        let coarse = of(0, (0.6, 8.0), &[(1, 16.0)]);
        let (sum, _) = add(&fine, &coarse, 1.0).unwrap();
        // 0.6 would cut the bucket up to 1, which goes to zero as a whole.
        assert_eq!((sum.schema, sum.zero_threshold, sum.zero_count), (0, 1.0, 10.0));
        assert_eq!(sum.positive, [(1, 22.0)]);
        assert_eq!(sum.count, 32.0);
    }

    #[test]
    fn custom_bounds_give_way_to_what_they_share() {
        let custom = |bounds: &[f64], positive: &[(i32, f64)]| NativeHistogram {
            bounds: bounds.into(),
            ..of(CUSTOM, (0.0, 0.0), positive)
        };
        let left = custom(&[1.0, 2.0, 5.0], &[(0, 1.0), (1, 2.0), (2, 4.0), (3, 8.0)]);
        let right = custom(&[2.0, 10.0], &[(0, 16.0), (1, 32.0), (2, 64.0)]);
        let (sum, notes) = add(&left, &right, 1.0).unwrap();
        assert!(notes.bounds_differ);
        assert_eq!((&*sum.bounds, &*sum.positive), (&[2.0][..], &[(0, 19.0), (1, 108.0)][..]));
        assert_eq!(add(&left, &of(0, (0.0, 0.0), &[]), 1.0), Err(Incompatible));
    }

    #[test]
    fn resets_show_in_any_bucket() {
        let older = of(1, (0.1, 2.0), &[(1, 1.0), (2, 3.0)]);
        let cases = [
            (of(1, (0.1, 2.0), &[(1, 1.0), (2, 4.0)]), false),
            (of(0, (0.1, 2.0), &[(1, 9.0)]), false),
            (of(1, (0.1, 2.0), &[(1, 9.0)]), true),
            (of(1, (0.1, 1.0), &[(1, 1.0), (2, 9.0)]), true),
            (of(2, (0.1, 2.0), &[(1, 9.0), (2, 3.0)]), true),
            (of(1, (0.05, 2.0), &[(1, 1.0), (2, 4.0)]), true),
            (of(1, (1.2, 2.0), &[(1, 1.0), (2, 4.0)]), true),
        ];
        for (newer, expected) in cases {
            assert_eq!(is_reset(&newer, &older), expected, "{newer}");
        }
    }

    proptest! {
        #[test]
        fn a_sum_less_one_part_is_the_other(
            left in prop::collection::btree_map(-40i32..40, 1u16..900, 0..20),
            right in prop::collection::btree_map(-40i32..40, 1u16..900, 0..20),
            coarser in 0i32..3,
        ) {
            let list = |map: &std::collections::BTreeMap<i32, u16>| -> Vec<(i32, f64)> {
                map.iter().map(|(at, weight)| (*at, f64::from(*weight))).collect()
            };
            let (left, right) = (of(3, (0.0, 0.0), &list(&left)), of(3 - coarser, (0.0, 0.0), &list(&right)));
            let (sum, _) = add(&left, &right, 1.0).unwrap();
            let (back, _) = add(&sum, &right, -1.0).unwrap();
            prop_assert_eq!(&back, &with_schema(&left, 3 - coarser));
            prop_assert!(!is_reset(&sum, &left) && !is_reset(&sum, &right));
        }
    }
}
