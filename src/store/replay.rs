//! Reads the log after a start: what every whole frame is, in order.
//!
//! What follows the last whole frame of the last segment was never
//! acknowledged and is cut away, unless its checksums are right: then somebody
//! wrote it who knows more. A damaged frame anywhere else is lost, alone:
//! reading goes on with the next whole header. The samples themselves are read
//! of the last frame only, which may be unfinished; every other one was synced
//! before the next was written.

use super::backend::{Backend, File};
use super::coding::Reader;
use super::error::Error;
use super::frame::{Frame, FrameReader};
use super::frame_header::{HEADER_BYTES, Header};
use super::segment::Segment;
use super::wal::{Closed, MAGIC, SEGMENT_HEADER_BYTES, VERSION, segment_number};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Read at a time: searched for the next frame after a damaged one, or written again.
const PART_BYTES: usize = 1 << 20;
/// Of so many segments the files are kept open: a daemon that starts again and
/// again must not run out of files.
const OPEN_SEGMENTS_MAX: usize = 64;

/// What the log held.
#[derive(Default)]
pub(super) struct Replayed {
    pub(super) segments: Vec<Closed>,
    pub(super) next_number: u64,
    /// Frames that had been acknowledged and cannot be read.
    pub(super) frames_lost: u64,
    /// Unfinished ends that were cut away.
    pub(super) tails_cut: u64,
}

/// Hands every whole frame among the segments in `names` to `apply`, with its
/// file.
pub(super) fn replay(
    backend: &dyn Backend,
    dir: &Path,
    names: &[String],
    losses: &Arc<AtomicU64>,
    mut apply: impl FnMut(Arc<Frame>, &dyn File) -> io::Result<()>,
) -> Result<Replayed, Error> {
    let mut numbered: Vec<(u64, &String)> =
        names.iter().filter_map(|name| Some((segment_number(name)?, name))).collect();
    numbered.sort_unstable();
    let mut replayed = Replayed::default();
    let count = numbered.len();
    for (at, (number, name)) in numbered.into_iter().enumerate() {
        let is_last = at + 1 == count;
        let path = dir.join(name);
        let file: Arc<dyn File> = backend.open(&path).map_err(Error::io("open", &path))?.into();
        let size = file.size().map_err(Error::io("measure", &path))?;
        let kept = (at + OPEN_SEGMENTS_MAX >= count).then(|| file.clone());
        let segment = Arc::new(Segment::new(path.clone(), kept, losses.clone()));
        let log = Log { file: &*file, size, segment: &segment };
        log.refuse_newer(&path)?;
        let mut end_ms = i64::MIN;
        let mut take = |frame: Frame| {
            end_ms = end_ms.max(frame.end_ms);
            apply(Arc::new(frame), &*file)
        };
        let scanned = log.scan(is_last, &mut take).map_err(Error::io("read", &path))?;
        replayed.frames_lost += scanned.lost;
        let mut kept_bytes = size;
        if scanned.whole < size && is_last {
            kept_bytes = scanned.whole;
            if !backend.is_read_only() {
                tracing::warn!(
                    path = %path.display(),
                    bytes = size - scanned.whole,
                    "an unfinished write at the end of the log is cut away"
                );
                file.truncate(kept_bytes).map_err(Error::io("cut back", &path))?;
                replayed.tails_cut += 1;
            }
        } else {
            replayed.frames_lost += scanned.tail;
        }
        if scanned.lost > 0 || scanned.tail > 0 && !is_last {
            tracing::error!(path = %path.display(), "damaged frames in the log are lost");
        }
        if is_last && !backend.is_read_only() {
            // The last frame may be one whose sync failed before all stopped: a
            // system that took it for written by then does not write it again.
            log.write_again(scanned.newest).map_err(Error::io("write the last window again in", &path))?;
            file.sync().map_err(Error::io("sync", &path))?;
        }
        replayed.segments.push(Closed { segment, bytes: kept_bytes, end_ms });
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
    /// Place of the last whole frame, from its first byte to behind its last.
    newest: (u64, u64),
}

/// What stands at some place of a segment.
pub(super) enum Found {
    /// A frame, and its bytes.
    Frame(Box<Frame>, u64),
    /// A frame that is not as it was written, with so many bytes.
    Bad(u64),
    /// No header of a frame, or one whose body is cut off.
    Nothing,
}

/// A segment that is read.
pub(super) struct Log<'a> {
    pub(super) file: &'a dyn File,
    pub(super) size: u64,
    pub(super) segment: &'a Arc<Segment>,
}

impl Log<'_> {
    /// A damaged header says nothing: frames are known by their own.
    pub(super) fn refuse_newer(&self, path: &Path) -> Result<(), Error> {
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

    /// Finds the frames. With `is_last`, the last one has to be whole to the
    /// last byte.
    fn scan(&self, is_last: bool, found: &mut impl FnMut(Frame) -> io::Result<()>) -> io::Result<Scanned> {
        let mut at = self.size.min(SEGMENT_HEADER_BYTES as u64);
        let mut scanned = Scanned { whole: at, ..Scanned::default() };
        // The last frame found so far, and where it ends: it waits until it is
        // known whether another one follows.
        let mut waiting: Option<(Box<Frame>, u64)> = None;
        while at < self.size {
            match self.look(at)? {
                Found::Frame(frame, size) => {
                    at += size;
                    scanned.lost += std::mem::take(&mut scanned.tail);
                    if let Some((frame, end)) = waiting.replace((frame, at)) {
                        scanned.whole = end;
                        scanned.newest = (end - frame.bytes(), end);
                        found(*frame)?;
                    }
                }
                Found::Bad(size) => {
                    at += size;
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
        if let Some((frame, end)) = waiting {
            if !is_last || frame.is_whole(self.file, &mut FrameReader::default())? {
                scanned.whole = end;
                scanned.newest = (end - frame.bytes(), end);
                found(*frame)?;
            } else if frame.is_sound(self.file)? {
                return Err(foreign(end - frame.bytes()));
            } else {
                // With what follows it: nothing behind it was acknowledged.
                scanned.tail = 1;
            }
        }
        Ok(scanned)
    }

    /// Writes what stands in a place to that place.
    fn write_again(&self, (mut at, end): (u64, u64)) -> io::Result<()> {
        while at < end {
            let part = self.read(at, PART_BYTES.min(usize::try_from(end - at).unwrap_or(PART_BYTES)))?;
            if part.is_empty() {
                break;
            }
            self.file.write_at(&part, at)?;
            at += part.len() as u64;
        }
        Ok(())
    }

    pub(super) fn look(&self, at: u64) -> io::Result<Found> {
        let header = self.read(at, HEADER_BYTES)?;
        if Header::is_foreign(&header) {
            return Err(foreign(at));
        }
        let Some(header) = Header::read(&header) else { return Ok(Found::Nothing) };
        let size = header.frame_bytes();
        if size > self.size - at {
            return Ok(Found::Nothing);
        }
        let (start, length) = header.directory();
        let directory = self.read(at + start, length)?;
        let frame = Frame::new(self.segment.clone(), at, &header, &directory);
        match frame {
            Some(frame) => Ok(Found::Frame(Box::new(frame), size)),
            None if header.is_of(&directory) => Err(foreign(at)),
            None => Ok(Found::Bad(size)),
        }
    }

    pub(super) fn next_header(&self, mut from: u64) -> io::Result<Option<u64>> {
        while from < self.size {
            let part = self.read(from, PART_BYTES)?;
            if let Some(found) = Header::find(&part) {
                return Ok(Some(from + found as u64));
            }
            // A header may lie across the parts.
            from += (part.len().saturating_sub(HEADER_BYTES - 1)).max(1) as u64;
        }
        Ok(None)
    }

    /// The bytes from `at` on, fewer where the file ends.
    pub(super) fn read(&self, at: u64, length: usize) -> io::Result<Vec<u8>> {
        let rest = usize::try_from(self.size.saturating_sub(at)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length.min(rest)];
        self.file.read_at(&mut bytes, at)?;
        Ok(bytes)
    }
}

/// What has right checksums and is not understood was not damaged: it must
/// neither be cut away nor skipped.
fn foreign(at: u64) -> io::Error {
    let what = format!(
        "at byte {at} is a window in a form that this statsdeck does not know; use the newer one that wrote it"
    );
    io::Error::new(io::ErrorKind::Unsupported, what)
}
