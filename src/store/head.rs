//! What is not in a block yet, in memory: a stream a series for each block
//! span, the open one and those that wait for their block.
//!
//! A window belongs to the span that its end lies in, `(k·span, (k+1)·span]`,
//! with all its samples, also with the starts of its counters. A span that was
//! closed never changes again, so that its block is built without a lock.

use super::index::Index;
use super::point::Class;
use super::stream::Stream;
use crate::model::sample::stale_nan;
use crate::model::{FlushBatch, MetricType, SeriesId};
use std::collections::HashMap;
use std::sync::Arc;

/// The points of one block span.
#[derive(Debug, Default)]
pub(super) struct Span {
    /// The span's last moment, in ms.
    pub(super) end_ms: i64,
    /// End of its last window.
    pub(super) last_end_ms: i64,
    pub(super) streams: HashMap<SeriesId, (MetricType, Arc<Stream>), foldhash::fast::RandomState>,
    samples: usize,
    memory: usize,
}

/// All spans that are in memory.
#[derive(Debug)]
pub(super) struct Head {
    span_ms: i64,
    closed: Vec<Arc<Span>>,
    open: Option<Span>,
}

/// Size of the head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) series: usize,
    pub(super) samples: usize,
    pub(super) bytes: usize,
}

/// Last moment of the span that a window ending at `end_ms` belongs to.
pub(super) fn span_end(end_ms: i64, span_ms: i64) -> i64 {
    let start = (end_ms - 1).div_euclid(span_ms) * span_ms;
    start.saturating_add(span_ms)
}

impl Head {
    pub(super) fn new(span_ms: i64) -> Self {
        Head { span_ms, closed: Vec::new(), open: None }
    }

    /// Takes in a window that is later than all before. Returns how many
    /// samples had no place: of a series that nobody named, or of another type.
    pub(super) fn apply(&mut self, batch: &FlushBatch, index: &mut Index) -> usize {
        let end_ms = span_end(batch.end_ms, self.span_ms);
        if self.open.as_ref().is_some_and(|open| open.end_ms != end_ms) {
            self.close();
        }
        let open = self.open.get_or_insert_with(|| Span { end_ms, ..Span::default() });
        open.last_end_ms = batch.end_ms;
        let mut refused = 0;
        for counter in &batch.counters {
            refused += open.put(
                index,
                counter.id,
                |t| t == MetricType::Counter,
                |stream| {
                    if let Some(start) = counter.start_total {
                        stream.push_float(batch.start_ms, start);
                    }
                    stream.push_float(batch.end_ms, counter.total)
                },
            );
        }
        for gauge in &batch.gauges {
            let push = |stream: &mut Stream| stream.push_float(batch.end_ms, gauge.last);
            refused += open.put(index, gauge.id, |t| t == MetricType::Gauge, push);
        }
        for (id, histogram) in &batch.timers {
            let push = |stream: &mut Stream| stream.push_histogram(batch.end_ms, histogram);
            refused += open.put(index, *id, MetricType::is_distribution, push);
        }
        for (id, sketch) in &batch.sets {
            let push = |stream: &mut Stream| stream.push_sketch(batch.end_ms, sketch);
            refused += open.put(index, *id, |t| t == MetricType::Set, push);
        }
        for id in &batch.stale {
            // The end of a distribution or a set needs no mark: each window
            // stands for itself.
            if index.key(*id).is_some_and(|key| Class::of(key.metric_type) == Class::Floats) {
                let push = |stream: &mut Stream| stream.push_float(batch.end_ms, stale_nan());
                refused += open.put(index, *id, |_| true, push);
            }
        }
        refused
    }

    fn close(&mut self) {
        self.closed.extend(self.open.take().map(Arc::new));
    }

    /// The oldest span that no window can come into any more.
    pub(super) fn oldest_complete(&mut self) -> Option<Arc<Span>> {
        if self.open.as_ref().is_some_and(|open| open.last_end_ms >= open.end_ms) {
            self.close();
        }
        self.closed.first().cloned()
    }

    /// Forgets a span whose block is in place.
    pub(super) fn drop_span(&mut self, end_ms: i64) {
        self.closed.retain(|span| span.end_ms != end_ms);
    }

    /// The streams of a series, oldest first. Whoever keeps one has it as it
    /// is now: the next append changes a copy.
    pub(super) fn streams(&self, id: SeriesId) -> impl Iterator<Item = &Arc<Stream>> {
        let closed = self.closed.iter().map(|span| &**span);
        closed.chain(&self.open).filter_map(move |span| span.streams.get(&id).map(|(_, stream)| stream))
    }

    /// Every stream with its series, oldest first.
    pub(super) fn all_streams(&self) -> impl Iterator<Item = (SeriesId, MetricType, &Stream)> {
        let closed = self.closed.iter().map(|span| &**span);
        let streams = closed.chain(&self.open).flat_map(|span| &span.streams);
        streams.map(|(id, (metric_type, stream))| (*id, *metric_type, &**stream))
    }

    pub(super) fn size(&self) -> Size {
        let mut size = Size::default();
        for span in self.closed.iter().map(|span| &**span).chain(&self.open) {
            size.series = size.series.max(span.streams.len());
            size.samples += span.samples;
            size.bytes += span.memory;
        }
        size
    }
}

impl Span {
    /// Returns 1 when the sample has no place.
    fn put(
        &mut self,
        index: &mut Index,
        id: SeriesId,
        fits: impl Fn(MetricType) -> bool,
        push: impl FnOnce(&mut Stream) -> bool,
    ) -> usize {
        let stream = match self.streams.get_mut(&id) {
            Some((metric_type, stream)) if fits(*metric_type) => stream,
            Some(_) => return 1,
            None => match index.key(id).map(|key| key.metric_type) {
                Some(metric_type) if fits(metric_type) => {
                    index.hold(id);
                    &mut self.streams.entry(id).or_insert((metric_type, Arc::default())).1
                }
                _ => return 1,
            },
        };
        let (memory, points) = (stream.memory(), stream.points());
        // What somebody reads is copied, and a copy may be smaller.
        let stream = Arc::make_mut(stream);
        let placed = push(stream);
        // A stream's own size counts from its first point on.
        let before = if points == 0 { 0 } else { memory };
        self.memory = (self.memory + stream.memory()).saturating_sub(before);
        self.samples += stream.points() - points;
        usize::from(!placed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::batch::GaugeValue;
    use crate::model::{Labels, SeriesKey};

    #[test]
    fn the_memory_told_is_what_the_streams_take_also_while_somebody_reads_them() {
        let (mut head, mut index) = (Head::new(7_200_000), Index::default());
        let id = SeriesId(1);
        index.define(id, &SeriesKey { labels: Labels::of_name("g"), metric_type: MetricType::Gauge });
        for window in 0..500 {
            // As a query does that is under way.
            let _reading: Vec<Arc<Stream>> = head.streams(id).cloned().collect();
            let last = f64::from(window).sqrt();
            head.apply(
                &FlushBatch {
                    start_ms: i64::from(window) * 10_000,
                    end_ms: i64::from(window + 1) * 10_000,
                    gauges: vec![GaugeValue { id, last, min: last, max: last }],
                    ..FlushBatch::default()
                },
                &mut index,
            );
        }
        let taken: usize = head.streams(id).map(|stream| stream.memory()).sum();
        assert_eq!(head.size().bytes, taken);
    }
}
