//! What was sampled elsewhere, until the flush takes it; and the series that it
//! is of.
//!
//! Such a value is no observation: it is kept as it is, at its own time, and
//! nothing stands for it where none came. So all of it goes into a batch as
//! late values do, whatever window it lies in. What lies beyond the window's end
//! waits for its own. Memory is bounded: what is full takes nothing.

use super::registry::Registry;
use super::series_list::{Entry, Heard, SeriesList};
use crate::model::late::{LateGauge, LateValue};
use crate::model::sample::is_stale;
use crate::model::{FlushBatch, MetricType, Sample, SeriesId, SeriesKey};
use crate::telemetry::Overflowed;
use std::collections::HashSet;
use std::sync::Arc;

/// Samples that may wait for a flush: 24 bytes each.
const WAITING_MAX: usize = 2_000_000;
/// Silence after which a series makes room for others. No mark is left of it:
/// for readers a value is not older than that anyway.
const EXPIRE_MS: i64 = 300_000;

/// Samples on their way into the next batch.
#[derive(Debug)]
pub struct SampleTable {
    registry: Arc<Registry>,
    waiting: Vec<(SeriesId, Sample)>,
    /// Series of samples since the last flush, and of those before: held until
    /// the flush after the one that takes their samples.
    held: HashSet<SeriesId>,
    taken: HashSet<SeriesId>,
    waiting_max: usize,
}

impl SampleTable {
    pub fn new(registry: Arc<Registry>) -> Self {
        let (waiting, held, taken) = (Vec::new(), HashSet::new(), HashSet::new());
        SampleTable { registry, waiting, held, taken, waiting_max: WAITING_MAX }
    }

    /// Whether so many samples more may wait.
    pub fn has_room(&self, samples: usize) -> bool {
        self.waiting.len().saturating_add(samples) <= self.waiting_max
    }

    /// Takes samples of a series, whose type is [`MetricType::Sampled`].
    ///
    /// # Errors
    /// The limit that keeps the series out.
    pub fn push(&mut self, series: SeriesKey, samples: &[Sample]) -> Result<(), Overflowed> {
        let id = self.registry.register(series)?;
        if !self.held.insert(id) {
            self.registry.release(&[id]);
        }
        self.waiting.extend(samples.iter().map(|sample| (id, *sample)));
        Ok(())
    }

    /// The samples from before `end_ms`, in the order they came.
    pub fn take(&mut self, end_ms: i64) -> Vec<(SeriesId, Sample)> {
        let due = |(_, sample): &mut (SeriesId, Sample)| sample.timestamp_ms < end_ms;
        let due: Vec<(SeriesId, Sample)> = self.waiting.extract_if(.., due).collect();
        let waiting: HashSet<SeriesId> = self.waiting.iter().map(|(id, _)| *id).collect();
        let mut released: Vec<SeriesId> = self.taken.extract_if(|id| !waiting.contains(id)).collect();
        // Held twice is once too often.
        released.extend(self.held.drain().filter(|id| !self.taken.insert(*id)));
        self.registry.release(&released);
        self.waiting.shrink_to(due.len());
        due
    }
}

/// The series that samples came of, and when.
#[derive(Debug, Default)]
pub(super) struct SampledSeries(SeriesList<()>);

impl SampledSeries {
    pub(super) fn add(&mut self, id: SeriesId, heard: Heard) {
        self.0.add(Entry { id, heard, value: () });
    }

    /// When a known series is heard of, as of a start at `now_ms`.
    pub(super) fn heard(last_ms: i64, ended: bool, now_ms: i64) -> Heard {
        Heard::at(last_ms, !ended && now_ms - last_ms <= EXPIRE_MS)
    }

    /// Puts samples into the batch of their flush; `hear` is told of each series.
    pub(super) fn put(
        &mut self,
        mut samples: Vec<(SeriesId, Sample)>,
        interval_ms: i64,
        batch: &mut FlushBatch,
        mut hear: impl FnMut(&mut Entry<()>, &mut FlushBatch),
    ) {
        if samples.is_empty() {
            return;
        }
        samples.sort_by_key(|(id, sample)| (*id, sample.timestamp_ms));
        let lasts = samples.chunk_by(|a, b| a.0 == b.0).filter_map(<[_]>::last);
        let lasts = lasts.map(|(id, sample)| (*id, sample.value)).collect();
        self.0.join(lasts, |entry, last| {
            hear(entry, batch);
            if is_stale(last) {
                entry.heard = entry.heard.dead();
            }
        });
        batch.late.interval_ms = interval_ms;
        batch.late.gauges.extend(samples.into_iter().map(|(id, sample)| {
            let Sample { timestamp_ms, value } = sample;
            let (last, min, max) = (value, value, value);
            let value = LateGauge { last, min, max, at_ms: timestamp_ms, holds: false, is_sample: true };
            LateValue { id, end_ms: timestamp_ms, value }
        }));
        batch.late.settle();
    }

    /// Ends those that were silent for long; returns how many are alive.
    pub(super) fn close(&mut self, end_ms: i64) -> usize {
        let mut alive = 0;
        for entry in self.0.iter_mut().filter(|entry| entry.heard.is_alive()) {
            let heard_ms = entry.heard.ms().unwrap_or_default();
            match end_ms - heard_ms > EXPIRE_MS {
                true => entry.heard = entry.heard.dead(),
                false => alive += 1,
            }
        }
        alive
    }

    pub(super) fn each(&self, mut each: impl FnMut(SeriesId, Heard)) {
        self.0.iter().for_each(|entry| each(entry.id, entry.heard));
    }

    pub(super) fn retain(&mut self, keep: impl Fn(SeriesId) -> bool) {
        self.0.retain(|entry| keep(entry.id));
    }
}

/// A series of labels that were sampled elsewhere.
pub fn key(labels: crate::model::Labels) -> SeriesKey {
    SeriesKey { labels, metric_type: MetricType::Sampled }
}
