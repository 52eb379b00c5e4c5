//! Blocks of the past, of points that were not received here.
//!
//! The log takes windows in the order of time alone, so that what is older goes
//! into blocks of its own: one for each span that nothing was written for. What
//! is there is never changed.

use super::block::{Block, block_name};
use super::block_source::Gathered;
use super::block_writer::{Contents, Stop, Writer, install, names};
use super::error::Error;
use super::head::span_end;
use super::point::Class;
use super::store::Store;
use crate::catalogue::key;
use crate::model::{MetricType, Sample, SeriesId, TimeRange};

/// Points of some series, ascending by id; those of each ascending by time.
pub type Part = Vec<(SeriesId, Vec<Sample>)>;

/// Whether a span takes points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Free,
    /// There is a block of its time, of windows or of steps, be it a damaged one.
    Taken,
    /// It is not over yet, or the log has windows of its time.
    Open,
    /// It is older than the retention of all tiers.
    TooOld,
}

impl Store {
    /// Last moment of the span that a point of this time belongs to.
    pub fn span_end(&self, at_ms: i64) -> i64 {
        span_end(at_ms, self.block_span_ms())
    }

    /// Whether the span that ends at `span_end_ms` takes points.
    pub fn place(&self, span_end_ms: i64, now_ms: i64) -> Place {
        let start_ms = span_end_ms - self.block_span_ms();
        let span = TimeRange { start_ms: start_ms + 1, end_ms: span_end_ms };
        let state = self.state();
        let log_ms = state.head.frames().next().map_or(i64::MAX, |frame| frame.start_ms);
        // Of windows a first point may be a start, at the last moment of the span
        // before. What is built into steps is not built again.
        let taken = |block: &Block| block.footer.start_ms < span_end_ms && block.footer.end_ms > start_ms;
        if state.readable(span).is_none() {
            Place::TooOld
        } else if span_end_ms > now_ms || span_end_ms > log_ms {
            Place::Open
        } else if state.blocks.iter().any(|block| taken(block)) || state.damaged.contains(&(0, span_end_ms)) {
            Place::Taken
        } else {
            Place::Free
        }
    }

    /// Writes the block of the span that ends at `span_end_ms`, of the parts
    /// that `next` gives until there is none; ids ascend from one to the next.
    /// Series are counters, gauges and sampled ones that the catalogue knows. Returns how
    /// many points there are in it. Who calls has seen that the place is free.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Verify`] and those of `next`: then there is no
    /// block.
    pub fn backfill<E: From<Error>>(
        &self,
        span_end_ms: i64,
        mut next: impl FnMut() -> Result<Option<Part>, E>,
    ) -> Result<u64, E> {
        let path = self.dir().join(block_name(0, span_end_ms));
        let (block, points) = install(self.backend(), &path, Stop::NEVER, |unfinished| {
            let file = self.backend().create(unfinished).map_err(Error::io("create", unfinished))?;
            let mut writer = Writer::new(&*file, unfinished, 0);
            let mut contents = Contents::new(span_end_ms);
            let (mut points, mut last_ms) = (0, i64::MIN);
            while let Some(part) = next()? {
                let mut entries = Vec::with_capacity(part.len());
                for (id, metric_type, samples) in self.in_name_order(&part) {
                    let mut gathered = Gathered::default();
                    let stream = &mut gathered.stream;
                    for sample in
                        samples.iter().filter(|sample| self.span_end(sample.timestamp_ms) == span_end_ms)
                    {
                        stream.push_float(sample.timestamp_ms, sample.value);
                    }
                    if stream.points() == 0 {
                        continue;
                    }
                    points += stream.points() as u64;
                    last_ms = last_ms.max(stream.last_ms().unwrap_or(i64::MIN));
                    entries.extend(writer.put(id.0, metric_type, &gathered));
                    writer.flush_if_large()?;
                }
                contents.add(entries);
            }
            let names = names(self.catalogue(), &contents.series);
            let times = (span_end_ms - self.block_span_ms(), last_ms.min(span_end_ms));
            writer.finish(times, self.catalogue().next_id(), &names, contents)?;
            file.sync().map_err(Error::io("sync", unfinished))?;
            Ok::<u64, E>(points)
        })?;
        let mut state = self.state_mut();
        state.add_block(block);
        // As the next start would have it.
        state.sealed_ms = state.sealed_ms.max(span_end_ms);
        state.floor_ms = state.floor_ms.max(span_end_ms);
        Ok(points)
    }

    /// Siblings are read together, so that they lie together.
    fn in_name_order<'a>(&self, part: &'a Part) -> Vec<(SeriesId, MetricType, &'a [Sample])> {
        let known = part.iter().filter_map(|(id, samples)| {
            let key = self.catalogue().key(*id)?;
            let metric_type = key::metric_type(&key)?;
            let is_float = Class::of(metric_type) == Class::Floats;
            is_float.then_some((key, *id, metric_type, &**samples))
        });
        let mut known: Vec<_> = known.collect();
        known.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        known.into_iter().map(|(_, id, metric_type, samples)| (id, metric_type, samples)).collect()
    }
}
