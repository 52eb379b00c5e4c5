//! Reads the log after a start: every whole frame, in order.
//!
//! What follows the last whole frame of the last segment was never
//! acknowledged and is cut away. A damaged frame anywhere else is lost, alone:
//! reading goes on with the next whole header.

use super::backend::{Backend, File};
use super::coding::Reader;
use super::error::Error;
use super::frame::{Found, HEADER_BYTES, frame_size, look, next_header};
use super::wal::{MAGIC, SEGMENT_HEADER_BYTES, Segment, VERSION, segment_number};
use crate::model::{FlushBatch, SeriesId, SeriesKey};
use std::io;
use std::path::Path;

/// Searched at a time for the next frame after a damaged one.
const SEARCH_BYTES: usize = 1 << 20;

/// What a store knew when it was opened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recovered {
    /// Every series that has points, ascending by id; of equal keys the one
    /// with the latest points.
    pub series: Vec<RecoveredSeries>,
    /// Greater than every id that was ever used.
    pub next_id: u32,
    /// End of the last window that was written. The next one must end later,
    /// also when the clock has been set back meanwhile.
    pub last_end_ms: Option<i64>,
}

/// A series and how far it had come.
#[derive(Clone, Debug, PartialEq)]
pub struct RecoveredSeries {
    pub id: SeriesId,
    pub key: SeriesKey,
    /// Time of its last point in ms.
    pub last_ms: i64,
    /// A counter's total, a gauge's value; `None` for other types.
    pub last: Option<f64>,
    /// Whether it had ended: its last point is a stale marker. Of counters and
    /// gauges alone.
    pub ended: bool,
}

/// What the log held.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    pub(super) segments: Vec<Segment>,
    pub(super) next_number: u64,
    /// Frames that had been acknowledged and cannot be read.
    pub(super) frames_lost: u64,
    /// Unfinished ends that were cut away.
    pub(super) tails_cut: u64,
}

/// Hands every whole frame among the segments in `names` to `apply`.
pub(super) fn replay(
    backend: &dyn Backend,
    dir: &Path,
    names: &[String],
    mut apply: impl FnMut(FlushBatch),
) -> Result<Replayed, Error> {
    let mut numbered: Vec<(u64, &String)> =
        names.iter().filter_map(|name| Some((segment_number(name)?, name))).collect();
    numbered.sort_unstable();
    let mut replayed = Replayed::default();
    let last = numbered.last().map(|(number, _)| *number);
    for (number, name) in numbered {
        let path = dir.join(name);
        let file = backend.open(&path).map_err(Error::io("open", &path))?;
        let size = file.size().map_err(Error::io("measure", &path))?;
        let log = Log { file: &*file, size };
        log.refuse_newer(&path)?;
        let mut end_ms = i64::MIN;
        let scanned = log.scan(|batch| {
            end_ms = end_ms.max(batch.end_ms);
            apply(batch);
        });
        let scanned = scanned.map_err(Error::io("read", &path))?;
        replayed.frames_lost += scanned.lost;
        let mut kept = size;
        if scanned.whole < size && Some(number) == last {
            tracing::warn!(
                path = %path.display(),
                bytes = size - scanned.whole,
                "an unfinished write at the end of the log was cut away"
            );
            kept = scanned.whole;
            file.truncate(kept).map_err(Error::io("cut back", &path))?;
            replayed.tails_cut += 1;
        } else {
            replayed.frames_lost += scanned.tail;
        }
        if scanned.lost + scanned.tail > 0 && Some(number) != last || scanned.lost > 0 {
            tracing::error!(path = %path.display(), "damaged frames in the log are lost");
        }
        if Some(number) == last {
            // A frame that was read may not have been synced when all stopped.
            file.sync().map_err(Error::io("sync", &path))?;
        }
        replayed.segments.push(Segment { path, bytes: kept, end_ms });
        replayed.next_number = number + 1;
    }
    Ok(replayed)
}

#[derive(Debug, Default, PartialEq)]
struct Scanned {
    /// Bytes up to the end of the last whole frame.
    whole: u64,
    /// Damaged frames before that, and after.
    lost: u64,
    tail: u64,
}

/// A segment that is read; never more of it in memory than a frame.
struct Log<'a> {
    file: &'a dyn File,
    size: u64,
}

impl Log<'_> {
    /// A damaged header says nothing: frames are known by their own.
    fn refuse_newer(&self, path: &Path) -> Result<(), Error> {
        let header = self.read(0, SEGMENT_HEADER_BYTES).map_err(Error::io("read", path))?;
        let mut reader = Reader::new(&header);
        let sound = reader.take(MAGIC.len()).is_some_and(|magic| magic == MAGIC);
        let found = reader.fixed_u32().unwrap_or_default();
        let crc = reader.fixed_u32().unwrap_or_default();
        let checked = header.get(..12).is_some_and(|bytes| crc32fast::hash(bytes) == crc);
        if sound && checked && found > VERSION {
            return Err(Error::Version { path: path.into(), found, known: VERSION });
        }
        Ok(())
    }

    fn scan(&self, mut found: impl FnMut(FlushBatch)) -> io::Result<Scanned> {
        let mut at = self.size.min(SEGMENT_HEADER_BYTES as u64);
        let mut scanned = Scanned { whole: at, ..Scanned::default() };
        while at < self.size {
            match self.look(at)? {
                Found::Frame(batch, size) => {
                    found(*batch);
                    at += size as u64;
                    scanned.whole = at;
                    scanned.lost += std::mem::take(&mut scanned.tail);
                }
                Found::Bad(size) => {
                    at += size as u64;
                    scanned.tail += 1;
                }
                Found::Nothing => {
                    scanned.tail += 1;
                    match self.next_header(at + 1)? {
                        Some(next) => at = next,
                        None => break,
                    }
                }
            }
        }
        Ok(scanned)
    }

    fn look(&self, at: u64) -> io::Result<Found> {
        let Some(size) = frame_size(&self.read(at, HEADER_BYTES)?) else { return Ok(Found::Nothing) };
        Ok(look(&self.read(at, size)?))
    }

    fn next_header(&self, mut from: u64) -> io::Result<Option<u64>> {
        while from < self.size {
            let part = self.read(from, SEARCH_BYTES)?;
            if let Some(found) = next_header(&part, 0) {
                return Ok(Some(from + found as u64));
            }
            // A header may lie across the parts.
            from += (part.len().saturating_sub(HEADER_BYTES - 1)).max(1) as u64;
        }
        Ok(None)
    }

    /// The bytes from `at` on, fewer where the file ends.
    fn read(&self, at: u64, length: usize) -> io::Result<Vec<u8>> {
        let rest = usize::try_from(self.size.saturating_sub(at)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length.min(rest)];
        self.file.read_at(&mut bytes, at)?;
        Ok(bytes)
    }
}
