//! What a store knew when all stopped: the names of its series, and how far
//! each had come.
//!
//! The newest source of a series counts, so that a look at the last frame of
//! each segment and at the ends in the others is enough; older blocks are only
//! asked for series that nothing newer knows.

use super::backend::{Backend, File};
use super::block::Block;
use super::error::Error;
use super::frame::{Frame, FrameReader};
use super::head::segments;
use super::id_set::IdSet;
use super::late::LateKind;
use super::names::read_names;
use super::sample::{Kind, Value};
use super::section::Wanted;
use super::segment::{Files, Segment};
use crate::catalogue::{Catalogue, KeyList, key};
use crate::model::{MetricType, SeriesId};
use std::collections::HashMap;
use std::io;
use std::sync::Arc;

/// What a store knew when it was opened. What its series are, the catalogue
/// says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recovered {
    /// Every series that has points, ascending by id.
    pub series: Vec<RecoveredSeries>,
    /// End of the last window that was written. The next one must end later,
    /// also when the clock has been set back meanwhile.
    pub last_end_ms: Option<i64>,
}

/// A series and how far it had come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecoveredSeries {
    pub id: SeriesId,
    /// Time of its last point in ms; of other types than counters and gauges
    /// it may be told too late, by less than the span of a block.
    pub last_ms: i64,
    /// A counter's total, a gauge's value; `None` for other types.
    pub last: Option<f64>,
    /// Whether it had ended: its last point is a stale marker. Of counters and
    /// gauges alone.
    pub ended: bool,
}

/// Gathers names and last values.
#[derive(Default)]
pub(super) struct Recovery {
    keys: KeyList,
    named: IdSet,
    next_id: u32,
    /// Those that began anew under another id.
    left_out: IdSet,
    /// Counters and gauges among the named.
    floats: IdSet,
    lasts: HashMap<u32, Last, foldhash::fast::RandomState>,
    /// Of the segment that is read: those that ended with a value that is not
    /// told. An end before that tells nothing of it.
    untold: IdSet,
    /// Segments of which some names are damaged.
    unclear: Vec<Arc<Segment>>,
    reader: FrameReader,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    at_ms: i64,
    value: Option<f64>,
    ended: bool,
}

impl Recovery {
    /// Takes in what a frame of the log says of series.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn take_names(&mut self, frame: &Frame, file: &dyn File) -> io::Result<()> {
        self.next_id = self.next_id.max(frame.next_id);
        let mut defined = IdSet::default();
        let names = frame.definitions(file)?;
        let Recovery { keys, named, floats, .. } = self;
        let read = names.and_then(|names| {
            read_names(&names, |id, key| {
                defined.insert(id);
                take_name(keys, named, floats, id, key);
            })
        });
        if read.is_none() {
            frame.report_damaged();
            self.unclear.push(frame.segment().clone());
        }
        frame.segment().add(&defined);
        Ok(())
    }

    /// Where names are damaged, takes in which series the segment's frames have
    /// samples of.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub(super) fn take_unclear(&mut self, backend: &dyn Backend, frames: &[Arc<Frame>]) -> Result<(), Error> {
        let mut files = Files::default();
        for frame in frames {
            let unclear = self.unclear.iter().any(|segment| Arc::ptr_eq(segment, frame.segment()));
            let file = if unclear { files.of(backend, frame.segment())? } else { None };
            let Some(file) = file else { continue };
            let mut series = IdSet::default();
            for kind in Kind::ALL {
                let read =
                    frame.read_ids(&*file, kind, Wanted::ALL, &mut self.reader, |id| series.insert(id));
                read.map_err(Error::io("read", frame.segment().path()))?;
            }
            for kind in LateKind::ALL {
                let each = |id| series.insert(id);
                let read = frame.read_late_ids(&*file, kind, Wanted::ALL, &mut self.reader, each);
                read.map_err(Error::io("read", frame.segment().path()))?;
            }
            frame.segment().add(&series);
        }
        Ok(())
    }

    /// Fills the catalogue with what the log and `blocks` name.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub(super) fn name(
        &mut self,
        backend: &dyn Backend,
        blocks: &[Arc<Block>],
        catalogue: &Catalogue,
    ) -> Result<(), Error> {
        for block in blocks.iter().rev() {
            self.next_id = self.next_id.max(block.footer.next_id);
            if block.series().is_within(&self.named) {
                continue;
            }
            let Some(file) = block.file(backend)? else { continue };
            let Some(names) = block.names(&*file)? else { continue };
            let Recovery { keys, named, floats, .. } = self;
            let _ = read_names(&names, |id, key| take_name(keys, named, floats, id, key));
        }
        let left_out = catalogue.restore_keys(std::mem::take(&mut self.keys), self.next_id);
        self.left_out = left_out.into_iter().collect();
        Ok(())
    }

    /// How far every series had come that has points in `frames` or `blocks`,
    /// both ascending.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub(super) fn lasts(
        mut self,
        backend: &dyn Backend,
        frames: &[Arc<Frame>],
        blocks: &[Arc<Block>],
    ) -> Result<Vec<RecoveredSeries>, Error> {
        for segment in segments(frames.iter()).iter().rev() {
            let frames: Vec<&Arc<Frame>> =
                frames.iter().filter(|frame| Arc::ptr_eq(frame.segment(), segment)).collect();
            let read = self.take_segment(backend, segment, &frames)?;
            read.map_err(Error::io("read", segment.path()))?;
        }
        for block in blocks.iter().rev() {
            let missing: Vec<u32> = block.series().iter().filter(|id| !self.is_complete(*id)).collect();
            if missing.is_empty() {
                continue;
            }
            let Some(file) = block.file(backend)? else { continue };
            block.entries(&*file, Wanted::Ids(&missing), |entry| {
                self.note(entry.id, entry.last_ms, entry.last, entry.ended);
            })?;
        }
        let Recovery { lasts, named, left_out, .. } = self;
        let lasts = lasts.into_iter().filter(|(id, _)| named.contains(*id) && !left_out.contains(*id));
        let mut series: Vec<RecoveredSeries> = lasts
            .map(|(id, last)| RecoveredSeries {
                id: SeriesId(id),
                last_ms: last.at_ms,
                last: last.value,
                ended: last.ended,
            })
            .collect();
        series.sort_unstable_by_key(|series| series.id);
        Ok(series)
    }

    /// Notes the newest of each series in a segment, whose frames ascend.
    fn take_segment(
        &mut self,
        backend: &dyn Backend,
        segment: &Arc<Segment>,
        frames: &[&Arc<Frame>],
    ) -> Result<io::Result<()>, Error> {
        let Some(file) = Files::default().of(backend, segment)? else { return Ok(Ok(())) };
        Ok(self.take_frames(&*file, segment, frames))
    }

    fn take_frames(&mut self, file: &dyn File, segment: &Segment, frames: &[&Arc<Frame>]) -> io::Result<()> {
        let Some(newest) = frames.last() else { return Ok(()) };
        self.untold = IdSet::default();
        for (at, frame) in frames.iter().enumerate().rev() {
            self.take(file, frame, Kind::Ends, frame.end_ms, Wanted::ALL)?;
            if let Some(before) = at.checked_sub(1).and_then(|before| frames.get(before)) {
                self.take(file, frame, Kind::Gone, before.end_ms, Wanted::ALL)?;
            }
            if at + 1 == frames.len() {
                self.take(file, frame, Kind::Counters, frame.end_ms, Wanted::ALL)?;
                self.take(file, frame, Kind::Gauges, frame.end_ms, Wanted::ALL)?;
            }
        }
        // Only what damage hides is still missing.
        let series = segment.series();
        let missing = |recovery: &Recovery| -> Vec<u32> {
            let floats = series.iter().filter(|id| recovery.floats.contains(*id));
            floats.filter(|id| !recovery.is_complete(*id)).collect()
        };
        for frame in frames.iter().rev().skip(1) {
            let missing = missing(self);
            if missing.is_empty() {
                break;
            }
            self.take(file, frame, Kind::Counters, frame.end_ms, Wanted::Ids(&missing))?;
            self.take(file, frame, Kind::Gauges, frame.end_ms, Wanted::Ids(&missing))?;
        }
        for id in series.minus(&self.floats.clone()) {
            self.note(id, newest.end_ms, None, false);
        }
        Ok(())
    }

    fn take(
        &mut self,
        file: &dyn File,
        frame: &Frame,
        kind: Kind,
        at_ms: i64,
        wanted: Wanted<'_>,
    ) -> io::Result<()> {
        let mut reader = std::mem::take(&mut self.reader);
        let read = frame.read(file, kind, wanted, &mut reader, |id, value| match value {
            Value::Counter(value, _) | Value::Gauge(value) => self.note(id, at_ms, Some(value), false),
            Value::End(value) => {
                let value = value.filter(|_| !self.untold.contains(id));
                if value.is_none() {
                    self.untold.insert(id);
                }
                self.note(id, at_ms, value, kind == Kind::Ends);
            }
            Value::Distribution(_) | Value::Set(_) => {}
        });
        self.reader = reader;
        read
    }

    /// Notes how far a series came, unless something newer is known: then its
    /// value alone, where that is not.
    fn note(&mut self, id: u32, at_ms: i64, value: Option<f64>, ended: bool) {
        let last = self.lasts.entry(id).or_insert(Last { at_ms, value, ended });
        last.value = last.value.or(value);
    }

    fn is_complete(&self, id: u32) -> bool {
        self.lasts.get(&id).is_some_and(|last| last.value.is_some() || !self.floats.contains(id))
    }
}

fn take_name(keys: &mut KeyList, named: &mut IdSet, floats: &mut IdSet, id: u32, key: &[u8]) {
    if named.contains(id) {
        return;
    }
    let Some(metric_type) = key::metric_type(key) else { return };
    named.insert(id);
    keys.push(key, id);
    if matches!(metric_type, MetricType::Counter | MetricType::Gauge) {
        floats.insert(id);
    }
}
