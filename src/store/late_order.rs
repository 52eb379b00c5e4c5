//! Which windows the late values of a batch go to: the ones that there are.
//!
//! A window may have been longer than others; what lies in it goes to its end.
//! What lies before the floor is in a block that does not change any more, and
//! counts in the batch's own window, as does what is not late at all.

use crate::model::late::{LateGauge, LateValue};
use crate::model::{FlushBatch, SeriesId, TimeRange};
use std::borrow::Cow;

/// Gives late values their windows. `windows` are those that there are, each
/// from its start to its end, ascending.
pub(super) fn placed<'a>(
    batch: &'a FlushBatch,
    floor_ms: i64,
    windows: impl Fn() -> Vec<TimeRange>,
) -> Cow<'a, FlushBatch> {
    if batch.late.is_empty() {
        return Cow::Borrowed(batch);
    }
    let windows = windows();
    let end_of = |end_ms: i64| {
        let at = windows.partition_point(|window| window.end_ms < end_ms);
        let end_ms =
            windows.get(at).filter(|window| window.start_ms < end_ms).map_or(end_ms, |window| window.end_ms);
        (end_ms > floor_ms && end_ms <= batch.start_ms).then_some(end_ms)
    };
    let mut batch = batch.clone();
    let late = &mut batch.late;
    // Their totals have it already.
    drop(without_place(&mut late.counters, &end_of));
    // What was sampled elsewhere keeps its own time, in a window or beside all.
    let is_sample = |late: &mut LateValue<LateGauge>| late.value.is_sample;
    let mut samples: Vec<LateValue<LateGauge>> = late.gauges.extract_if(.., is_sample).collect();
    samples.retain(|sample| sample.end_ms > floor_ms && sample.end_ms < batch.end_ms);
    drop(without_place(&mut late.gauges, &end_of));
    late.gauges.append(&mut samples);
    let timers = without_place(&mut late.timers, &end_of);
    add(&mut batch.timers, timers, |ours, late| ours.merge(late));
    let sets = without_place(&mut late.sets, &end_of);
    add(&mut batch.sets, sets, |ours, late| ours.merge(late));
    late.settle();
    Cow::Owned(batch)
}

/// Takes out those that have no window, and gives all others theirs.
fn without_place<T>(
    values: &mut Vec<LateValue<T>>,
    end_of: &impl Fn(i64) -> Option<i64>,
) -> Vec<LateValue<T>> {
    values
        .extract_if(.., |late| match end_of(late.end_ms) {
            Some(end_ms) => {
                late.end_ms = end_ms;
                false
            }
            None => true,
        })
        .collect()
}

fn add<T>(ours: &mut Vec<(SeriesId, T)>, late: Vec<LateValue<T>>, merge: impl Fn(&mut T, &T)) {
    if late.is_empty() {
        return;
    }
    ours.extend(late.into_iter().map(|late| (late.id, late.value)));
    ours.sort_by_key(|(id, _)| *id);
    ours.dedup_by(|(id, next), (kept_id, kept)| {
        let same = id == kept_id;
        if same {
            merge(kept, next);
        }
        same
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Histogram, Late};

    #[test]
    fn late_values_go_to_windows_that_there_are() {
        let value = |id, end_ms| LateValue { id: SeriesId(id), end_ms, value: 1.0 };
        let timer =
            |end_ms| LateValue { id: SeriesId(9), end_ms, value: Histogram::from_values([(1.0, 1.0)]) };
        let batch = FlushBatch {
            start_ms: 100,
            end_ms: 110,
            late: Late {
                interval_ms: 10,
                // In order: sealed; in a long window, twice; in a gap; the last one; not late.
                counters: [30, 50, 60, 80, 100, 110].map(|end_ms| value(1, end_ms)).into(),
                timers: vec![timer(30), timer(50), timer(110)],
                ..Late::default()
            },
            ..FlushBatch::default()
        };
        let windows =
            || [(40, 70), (90, 100)].map(|(start_ms, end_ms)| TimeRange { start_ms, end_ms }).into();
        let placed = placed(&batch, 40, windows);
        let found: Vec<_> = placed.late.counters.iter().map(|late| (late.end_ms, late.value)).collect();
        assert_eq!(found, [(70, 2.0), (80, 1.0), (100, 1.0)]);
        assert_eq!((placed.late.timers.len(), placed.timers[0].1.count, placed.timers.len()), (1, 2.0, 1));
    }
}
