//! Sums and means of many native histograms at once, rounding made up for as in
//! sums of floats ([`super::sum`]).

use super::native::{Incompatible, Notes, has_bound, joined_hint, widen_zero, with_bounds, with_schema};
use super::sum::Sum;
use crate::model::{NativeHistogram, ResetHint};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The sum of all, or their mean; `None` for none.
pub(crate) fn folded(
    all: &[&NativeHistogram],
    mean: bool,
) -> Result<Option<(NativeHistogram, Notes)>, Incompatible> {
    let Some(first) = all.first() else { return Ok(None) };
    if all.iter().any(|other| other.is_custom() != first.is_custom()) {
        return Err(Incompatible);
    }
    let has = |hint: ResetHint| all.iter().any(|histogram| histogram.hint == hint);
    let mut notes =
        Notes { resets_collide: has(ResetHint::Reset) && has(ResetHint::NotReset), ..Notes::default() };
    let (parts, bounds_differ) = aligned(all, first);
    notes.bounds_differ = bounds_differ;
    let hint = all.iter().skip(1).fold(first.hint, |hint, next| joined_hint(hint, next.hint).0);
    let count = parts.len() as f64;
    let mut sum = total(&parts, 1.0, if mean { count } else { 1.0 });
    if mean && !is_finite(&sum) {
        // Where the sum is out of range, the mean may not be.
        sum = total(&parts, count, 1.0);
    }
    sum.hint = hint;
    Ok(Some((sum, notes)))
}

/// All with the same schema and zero bucket, or the same bounds, and whether
/// bounds had to give way.
fn aligned(all: &[&NativeHistogram], first: &NativeHistogram) -> (Vec<NativeHistogram>, bool) {
    if first.is_custom() {
        if all.iter().all(|other| other.bounds == first.bounds) {
            return (all.iter().map(|histogram| (*histogram).clone()).collect(), false);
        }
        let everywhere = |bound: &f64| all.iter().all(|histogram| has_bound(histogram, *bound));
        let shared: Arc<[f64]> = first.bounds.iter().copied().filter(everywhere).collect();
        return (all.iter().map(|histogram| with_bounds(histogram, &shared)).collect(), true);
    }
    let schema = all.iter().map(|histogram| histogram.schema).min().unwrap_or(first.schema);
    let mut parts: Vec<NativeHistogram> =
        all.iter().map(|histogram| with_schema(histogram, schema)).collect();
    let mut threshold = parts.iter().map(|part| part.zero_threshold).fold(0.0, f64::max);
    loop {
        // A bucket that it cuts makes it wider, for the others as well.
        let wider = parts.iter_mut().map(|part| widen_zero(part, threshold)).fold(threshold, f64::max);
        if wider == threshold {
            return (parts, false);
        }
        threshold = wider;
    }
}

/// The sum, each part divided by `before` and the whole by `after`.
fn total(parts: &[NativeHistogram], before: f64, after: f64) -> NativeHistogram {
    let of = |read: fn(&NativeHistogram) -> f64| {
        let mut sum = Sum::default();
        parts.iter().for_each(|part| sum.add(read(part) / before));
        sum.value() / after
    };
    let buckets = |read: fn(&NativeHistogram) -> &[(i32, f64)]| {
        let mut sums: BTreeMap<i32, Sum> = BTreeMap::new();
        for (index, weight) in parts.iter().flat_map(read) {
            sums.entry(*index).or_default().add(weight / before);
        }
        sums.into_iter().map(|(index, sum)| (index, sum.value() / after)).collect()
    };
    let mut whole = parts.first().cloned().unwrap_or_default();
    whole.count = of(|part| part.count);
    whole.sum = of(|part| part.sum);
    whole.zero_count = of(|part| part.zero_count);
    whole.positive = buckets(|part| &part.positive);
    whole.negative = buckets(|part| &part.negative);
    whole.compact();
    whole
}

fn is_finite(histogram: &NativeHistogram) -> bool {
    let buckets = histogram.positive.iter().chain(&histogram.negative).map(|(_, weight)| *weight);
    let mut all = [histogram.count, histogram.sum, histogram.zero_count].into_iter().chain(buckets);
    all.all(|number| !number.is_infinite())
}
