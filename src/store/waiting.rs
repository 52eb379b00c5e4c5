//! Windows that the disk did not take yet, as reads see them: behind the log,
//! with the same points that they have once they are written.
//!
//! They change together with the head, so that a reader finds a window here or
//! there and never in both. What came late for windows before is left out until
//! it is written. Nothing here is durable.

use super::admission::ordered;
use super::id_set::IdSet;
use super::point::{sound_histogram, sound_sketch};
use super::sample::{Kind, Value};
use crate::catalogue::Catalogue;
use crate::model::{FlushBatch, SeriesId, TimeRange};
use std::borrow::Cow;
use std::sync::Arc;

/// See the module's head.
pub(super) struct Waiting {
    /// Ascends by id within each kind.
    batch: Arc<FlushBatch>,
    /// Counters and gauges that end with it, ascending.
    ended: Vec<u32>,
    series: IdSet,
}

impl Waiting {
    pub(super) fn new(mut batch: Arc<FlushBatch>, catalogue: &Catalogue) -> Self {
        if let (Cow::Owned(in_order), _) = ordered(&batch) {
            batch = Arc::new(in_order);
        }
        let is_float = |id: &SeriesId| {
            let kind = catalogue.metric_type(*id).map(Kind::of);
            matches!(kind, Some(Kind::Counters | Kind::Gauges))
        };
        let mut ended: Vec<u32> = batch.stale.iter().filter(|id| is_float(id)).map(|id| id.0).collect();
        ended.sort_unstable();
        ended.dedup();
        let mut series = IdSet::of_ascending(batch.counters.iter().map(|counter| counter.id.0));
        series.unite(&IdSet::of_ascending(batch.gauges.iter().map(|gauge| gauge.id.0)));
        series.unite(&IdSet::of_ascending(batch.timers.iter().map(|(id, _)| id.0)));
        series.unite(&IdSet::of_ascending(batch.sets.iter().map(|(id, _)| id.0)));
        series.unite(&IdSet::of_ascending(ended.iter().copied()));
        Waiting { batch, ended, series }
    }

    /// Its window.
    pub(super) fn range(&self) -> TimeRange {
        TimeRange { start_ms: self.batch.start_ms, end_ms: self.batch.end_ms }
    }

    /// The series that it has points of.
    pub(super) fn series(&self) -> &IdSet {
        &self.series
    }

    /// Calls `each` with the place in `ids`, which ascend, and the sample of
    /// every series that has one of this kind.
    pub(super) fn read(&self, kind: Kind, ids: &[u32], mut each: impl FnMut(usize, Value)) {
        let batch = &*self.batch;
        match kind {
            Kind::Counters => both(
                ids,
                &batch.counters,
                |counter| counter.id.0,
                |place, counter| {
                    each(place, Value::Counter(counter.total, counter.start_total));
                },
            ),
            Kind::Gauges => both(
                ids,
                &batch.gauges,
                |gauge| gauge.id.0,
                |place, gauge| {
                    each(place, Value::Gauge(gauge.last));
                },
            ),
            Kind::Distributions => both(
                ids,
                &batch.timers,
                |(id, _)| id.0,
                |place, (_, histogram)| {
                    if sound_histogram(histogram) {
                        each(place, Value::Distribution(histogram.clone()));
                    }
                },
            ),
            Kind::Sets => both(
                ids,
                &batch.sets,
                |(id, _)| id.0,
                |place, (_, sketch)| {
                    if sound_sketch(sketch) {
                        each(place, Value::Set(sketch.clone()));
                    }
                },
            ),
            Kind::Ends => both(ids, &self.ended, |id| *id, |place, _| each(place, Value::End(None))),
            Kind::Gone => {}
        }
    }
}

/// Calls `each` with the place in `ids` and the item of every id that has one.
/// Both ascend; few ids cost little beside many items.
fn both<T>(ids: &[u32], items: &[T], id_of: impl Fn(&T) -> u32, mut each: impl FnMut(usize, &T)) {
    let mut rest = items;
    for (place, id) in ids.iter().enumerate() {
        // Of neighbours the next one is it.
        let at = match rest.first() {
            Some(first) if id_of(first) >= *id => 0,
            _ => rest.partition_point(|item| id_of(item) < *id),
        };
        rest = rest.get(at..).unwrap_or_default();
        match rest.split_first() {
            None => return,
            Some((item, later)) if id_of(item) == *id => {
                each(place, item);
                rest = later;
            }
            Some(_) => {}
        }
    }
}
