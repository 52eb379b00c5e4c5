//! The write-ahead log: segments of frames, one write and one sync a flush.
//!
//! A segment holds windows of one block span and, before they are used, the
//! definitions of all series that its frames speak of: it can be read alone.
//! After a failed write the file is cut back to its last whole frame before
//! anything else is written, so that a batch is there once or not at all.

use super::admission::{Admitted, Known, admit};
use super::backend::{Backend, File};
use super::error::Error;
use super::frame::{Contents, Frame, put_frame};
use super::frame_header::Header;
use super::id_set::IdSet;
use super::sample::End;
use super::segment::Segment;
use crate::catalogue::Catalogue;
use crate::model::FlushBatch;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// First bytes of a segment, then the version and a checksum of both.
pub(super) const MAGIC: [u8; 8] = *b"SDwal\0\0\0";
pub(super) const VERSION: u32 = 3;
pub(super) const SEGMENT_HEADER_BYTES: usize = 16;
/// Kept of the memory that a flush used.
const BUFFER_BYTES: usize = 1 << 20;

/// The log of a store.
pub(super) struct Wal {
    backend: Arc<dyn Backend>,
    dir: PathBuf,
    active: Option<Active>,
    closed: Vec<Closed>,
    next_number: u64,
    losses: Arc<AtomicU64>,
    /// Kept from flush to flush for its memory.
    buffer: Vec<u8>,
}

/// A segment that is not written to any more.
pub(super) struct Closed {
    pub(super) segment: Arc<Segment>,
    pub(super) bytes: u64,
    /// End of its last window; `i64::MIN` when it has none.
    pub(super) end_ms: i64,
}

struct Active {
    file: Arc<dyn File>,
    segment: Arc<Segment>,
    bytes: u64,
    end_ms: i64,
    span_end_ms: i64,
    known: Known,
    /// Counters and gauges of the last frame.
    floats: IdSet,
    /// Bytes behind the last whole frame may be there.
    torn: bool,
}

/// Name of a segment.
pub(super) fn segment_name(number: u64) -> String {
    format!("wal-{number:010}.log")
}

/// Number of the segment with this name.
pub(super) fn segment_number(name: &str) -> Option<u64> {
    let number = name.strip_prefix("wal-")?.strip_suffix(".log")?.parse().ok()?;
    // Behind every segment there is room for a further one.
    (number < u64::MAX).then_some(number)
}

/// First bytes of a new segment.
pub(super) fn segment_header(version: u32) -> [u8; SEGMENT_HEADER_BYTES] {
    let mut header = [0; SEGMENT_HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&version.to_le_bytes());
    let crc = crc32fast::hash(&header[..12]);
    header[12..].copy_from_slice(&crc.to_le_bytes());
    header
}

impl Wal {
    /// A log that goes on behind the segments that are there. `losses` counts
    /// frames that turn out to be damaged.
    pub(super) fn new(
        backend: Arc<dyn Backend>,
        dir: &Path,
        closed: Vec<Closed>,
        next_number: u64,
        losses: Arc<AtomicU64>,
    ) -> Self {
        Wal { backend, dir: dir.into(), active: None, closed, next_number, losses, buffer: Vec::new() }
    }

    /// Writes the window and makes it durable; returns it as it can be read,
    /// and how many samples had no place. After an error nothing of it counts,
    /// and it may be written again. `last` tells the values that counters and
    /// gauges had in the window before.
    pub(super) fn append(
        &mut self,
        batch: &FlushBatch,
        span_end_ms: i64,
        catalogue: &Catalogue,
        last: impl Fn(&[u32]) -> Vec<End>,
    ) -> Result<(Frame, usize), Error> {
        let error = |reason| Error::Batch { end_ms: batch.end_ms, reason };
        let active = self.active(span_end_ms)?;
        let admitted = admit(batch, &active.known, catalogue);
        let floats = floats(&admitted);
        let gone: Vec<u32> =
            active.floats.minus(&floats).filter(|id| admitted.ended.binary_search(id).is_err()).collect();
        let contents = Contents {
            batch: &admitted.batch,
            ends: &ends(&admitted, &last),
            gone: &last(&gone),
            definitions: &admitted.definitions,
            next_id: catalogue.next_id(),
        };
        self.buffer.clear();
        let written = put_frame(&mut self.buffer, &contents);
        written.ok_or_else(|| error("it takes more than 1 GiB"))?;
        let Some(active) = &mut self.active else { return Err(error("the log has no segment")) };
        let at = active.bytes;
        active.write(&self.buffer)?;
        active.end_ms = batch.end_ms;
        active.known.unite(&admitted.new);
        active.floats = floats;
        active.segment.add(&admitted.new.all());
        let frame = frame(&self.buffer, active.segment.clone(), at);
        self.buffer.clear();
        // One large flush must not keep its memory for ever.
        self.buffer.shrink_to(BUFFER_BYTES);
        Ok((frame.ok_or_else(|| error("its frame does not read back"))?, admitted.refused))
    }

    /// The segment that windows of the span go to, made when there is none.
    fn active(&mut self, span_end_ms: i64) -> Result<&mut Active, Error> {
        if let Some(active) = &mut self.active {
            active.cut_back()?;
        }
        match self.active.take() {
            Some(active) if active.span_end_ms == span_end_ms => Ok(self.active.insert(active)),
            other => {
                self.closed.extend(other.map(Active::closed));
                let created = self.create(span_end_ms)?;
                self.next_number += 1;
                Ok(self.active.insert(created))
            }
        }
    }

    fn create(&self, span_end_ms: i64) -> Result<Active, Error> {
        let path = self.dir.join(segment_name(self.next_number));
        let file: Arc<dyn File> = self.backend.create(&path).map_err(Error::io("create", &path))?.into();
        file.write_at(&segment_header(VERSION), 0).map_err(Error::io("write", &path))?;
        file.sync().map_err(Error::io("sync", &path))?;
        self.backend.sync_dir(&self.dir).map_err(Error::io("sync", &self.dir))?;
        let segment = Segment::new(path, Some(file.clone()), self.losses.clone());
        Ok(Active {
            file,
            segment: Arc::new(segment),
            bytes: SEGMENT_HEADER_BYTES as u64,
            end_ms: i64::MIN,
            span_end_ms,
            known: Known::default(),
            floats: IdSet::default(),
            torn: false,
        })
    }

    /// Takes out the segments whose windows all end at or before `end_ms`: they
    /// are in blocks. Their files are the caller's to remove, and those
    /// that cannot be removed come back by [`Wal::put_back`].
    pub(super) fn take_through(&mut self, end_ms: i64) -> Vec<Closed> {
        if self.active.as_ref().is_some_and(|active| active.span_end_ms <= end_ms) {
            self.closed.extend(self.active.take().map(Active::closed));
        }
        self.closed.extract_if(.., |closed| closed.end_ms <= end_ms).collect()
    }

    pub(super) fn put_back(&mut self, closed: Vec<Closed>) {
        self.closed.extend(closed);
    }

    /// Bytes of all segments.
    pub(super) fn bytes(&self) -> u64 {
        let active = self.active.as_ref().map(|active| active.bytes);
        self.closed.iter().map(|closed| closed.bytes).chain(active).sum()
    }

    /// Number of segments.
    pub(super) fn segments(&self) -> usize {
        self.closed.len() + usize::from(self.active.is_some())
    }

    /// Bytes of memory.
    pub(super) fn memory(&self) -> usize {
        let active = self.active.as_ref().map(|active| active.known.memory() + active.floats.memory());
        self.buffer.capacity() + active.unwrap_or_default()
    }
}

impl Active {
    fn closed(self) -> Closed {
        Closed { segment: self.segment, bytes: self.bytes, end_ms: self.end_ms }
    }

    fn write(&mut self, frame: &[u8]) -> Result<(), Error> {
        let path = self.segment.path();
        let written = self.file.write_at(frame, self.bytes).map_err(Error::io("write", path));
        let durable = written.and_then(|()| self.file.sync().map_err(Error::io("sync", path)));
        match durable {
            Ok(()) => {
                self.bytes += frame.len() as u64;
                Ok(())
            }
            Err(error) => {
                self.torn = true;
                if let Err(again) = self.cut_back() {
                    tracing::warn!(error = %again, "the log will be cut back before the next write");
                }
                Err(error)
            }
        }
    }

    /// Takes away what a failed write left behind the last whole frame.
    fn cut_back(&mut self) -> Result<(), Error> {
        if self.torn {
            let path = self.segment.path();
            self.file.truncate(self.bytes).map_err(Error::io("cut back", path))?;
            self.file.sync().map_err(Error::io("sync", path))?;
            self.torn = false;
        }
        Ok(())
    }
}

fn floats(admitted: &Admitted<'_>) -> IdSet {
    let mut floats = IdSet::of_ascending(admitted.batch.counters.iter().map(|counter| counter.id.0));
    floats.unite(&IdSet::of_ascending(admitted.batch.gauges.iter().map(|gauge| gauge.id.0)));
    floats
}

/// The series that ended, with their last values: those of this window, if
/// they have one in it.
fn ends(admitted: &Admitted<'_>, last: &impl Fn(&[u32]) -> Vec<End>) -> Vec<End> {
    let mut ends = last(&admitted.ended);
    let (counters, gauges) = (&admitted.batch.counters, &admitted.batch.gauges);
    for (id, value) in &mut ends {
        let counter = counters.binary_search_by_key(id, |counter| counter.id).ok();
        let gauge = gauges.binary_search_by_key(id, |gauge| gauge.id).ok();
        let counter = counter.and_then(|at| counters.get(at)).map(|counter| counter.total);
        *value = counter.or(gauge.and_then(|at| gauges.get(at)).map(|gauge| gauge.last)).or(*value);
    }
    ends
}

/// The frame that was written to byte `at`.
fn frame(bytes: &[u8], segment: Arc<Segment>, at: u64) -> Option<Frame> {
    let header = Header::read(bytes)?;
    let (start, length) = header.directory();
    let directory = bytes.get(start as usize..start as usize + length)?;
    Frame::new(segment, at, &header, directory)
}
