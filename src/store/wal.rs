//! The write-ahead log: segments of frames, one write and one sync a flush.
//!
//! A segment holds windows of one block span and, before they are used, the
//! definitions of all series that its frames speak of: it can be read alone.
//! After a failed write the file is cut back to its last whole frame before
//! anything else is written, so that a batch is there once or not at all.

use super::backend::{Backend, File, remove_if_there};
use super::error::Error;
use super::frame::{HEADER_BYTES, MAX_BODY_BYTES, ids, put_frame};
use crate::model::{FlushBatch, SeriesId, SeriesKey};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// First bytes of a segment, then the version and a checksum of both.
pub(super) const MAGIC: [u8; 8] = *b"SDwal\0\0\0";
pub(super) const VERSION: u32 = 1;
pub(super) const SEGMENT_HEADER_BYTES: usize = 16;
/// A segment is followed by another once it is longer. Rarely before its span
/// is over: the first frame of a segment defines all series again.
const MAX_SEGMENT_BYTES: u64 = 1 << 30;

/// The log of a store.
pub(super) struct Wal {
    backend: Arc<dyn Backend>,
    dir: PathBuf,
    active: Option<Active>,
    closed: Vec<Segment>,
    next_number: u64,
    /// Kept from flush to flush for its memory.
    buffer: Vec<u8>,
}

/// A segment that is not written to any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    /// End of its last window; `i64::MIN` when it has none.
    pub(super) end_ms: i64,
}

struct Active {
    file: Box<dyn File>,
    segment: Segment,
    span_end_ms: i64,
    defined: HashSet<SeriesId, foldhash::fast::RandomState>,
    /// Bytes behind the last whole frame may be there.
    torn: bool,
}

/// Name of a segment.
pub(super) fn segment_name(number: u64) -> String {
    format!("wal-{number:010}.log")
}

/// Number of the segment with this name.
pub(super) fn segment_number(name: &str) -> Option<u64> {
    name.strip_prefix("wal-")?.strip_suffix(".log")?.parse().ok()
}

/// First bytes of a new segment.
pub(super) fn segment_header() -> [u8; SEGMENT_HEADER_BYTES] {
    let mut header = [0; SEGMENT_HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    let crc = crc32fast::hash(&header[..12]);
    header[12..].copy_from_slice(&crc.to_le_bytes());
    header
}

impl Wal {
    /// A log that goes on behind the segments that are there.
    pub(super) fn new(backend: Arc<dyn Backend>, dir: &Path, closed: Vec<Segment>, next_number: u64) -> Self {
        Wal { backend, dir: dir.into(), active: None, closed, next_number, buffer: Vec::new() }
    }

    /// Writes the window and makes it durable. After an error nothing of it
    /// counts, and it may be written again. `key` tells what a series is.
    pub(super) fn append(
        &mut self,
        batch: &FlushBatch,
        span_end_ms: i64,
        key: impl Fn(SeriesId) -> Option<SeriesKey>,
    ) -> Result<(), Error> {
        if let Some(active) = &mut self.active {
            active.cut_back()?;
            if active.span_end_ms != span_end_ms || active.segment.bytes > MAX_SEGMENT_BYTES {
                self.closed.extend(self.active.take().map(|active| active.segment));
            }
        }
        let active = match &mut self.active {
            Some(active) => active,
            None => {
                let created = create(&*self.backend, &self.dir, self.next_number, span_end_ms)?;
                self.next_number += 1;
                self.active.insert(created)
            }
        };
        let mut definitions: Vec<(SeriesId, SeriesKey)> = batch.new_series.clone();
        let mut named: HashSet<SeriesId, foldhash::fast::RandomState> =
            batch.new_series.iter().map(|(id, _)| *id).collect();
        for id in ids(batch) {
            if !active.defined.contains(&id) && named.insert(id) {
                definitions.extend(key(id).map(|key| (id, key)));
            }
        }
        self.buffer.clear();
        put_frame(&mut self.buffer, batch, &definitions);
        if self.buffer.len() > HEADER_BYTES + MAX_BODY_BYTES {
            return Err(Error::Batch { end_ms: batch.end_ms, reason: "it takes more than 1 GiB" });
        }
        active.write(&self.buffer)?;
        active.segment.end_ms = batch.end_ms;
        active.defined.extend(definitions.iter().map(|(id, _)| *id));
        // One large flush must not keep its memory for ever.
        self.buffer.shrink_to(8 << 20);
        Ok(())
    }

    /// Removes the segments whose windows all end at or before `end_ms`: they
    /// are in blocks.
    pub(super) fn remove_through(&mut self, end_ms: i64) -> Result<(), Error> {
        if self.active.as_ref().is_some_and(|active| active.span_end_ms <= end_ms) {
            self.closed.extend(self.active.take().map(|active| active.segment));
        }
        while let Some(at) = self.closed.iter().position(|segment| segment.end_ms <= end_ms) {
            let Some(segment) = self.closed.get(at) else { break };
            remove_if_there(&*self.backend, &segment.path).map_err(Error::io("remove", &segment.path))?;
            self.closed.remove(at);
        }
        Ok(())
    }

    /// Bytes of all segments.
    pub(super) fn bytes(&self) -> u64 {
        let active = self.active.as_ref().map(|active| &active.segment);
        self.closed.iter().chain(active).map(|segment| segment.bytes).sum()
    }

    /// Number of segments.
    pub(super) fn segments(&self) -> usize {
        self.closed.len() + usize::from(self.active.is_some())
    }
}

fn create(backend: &dyn Backend, dir: &Path, number: u64, span_end_ms: i64) -> Result<Active, Error> {
    let path = dir.join(segment_name(number));
    let file = backend.create(&path).map_err(Error::io("create", &path))?;
    file.write_at(&segment_header(), 0).map_err(Error::io("write", &path))?;
    file.sync().map_err(Error::io("sync", &path))?;
    backend.sync_dir(dir).map_err(Error::io("sync", dir))?;
    Ok(Active {
        file,
        segment: Segment { path, bytes: SEGMENT_HEADER_BYTES as u64, end_ms: i64::MIN },
        span_end_ms,
        defined: HashSet::default(),
        torn: false,
    })
}

impl Active {
    fn write(&mut self, frame: &[u8]) -> Result<(), Error> {
        let path = &self.segment.path;
        let written = self.file.write_at(frame, self.segment.bytes).map_err(Error::io("write", path));
        let durable = written.and_then(|()| self.file.sync().map_err(Error::io("sync", path)));
        match durable {
            Ok(()) => {
                self.segment.bytes += frame.len() as u64;
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
            let path = &self.segment.path;
            self.file.truncate(self.segment.bytes).map_err(Error::io("cut back", path))?;
            self.file.sync().map_err(Error::io("sync", path))?;
            self.torn = false;
        }
        Ok(())
    }
}
