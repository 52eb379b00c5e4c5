//! What stands in a segment of the log, one after the other: frames, what is
//! lost, and a write that was not finished.
//!
//! For those who look at damage and repair it; a start reads by
//! [`super::replay`]. Nothing is changed here.

use super::backend::File;
use super::error::Error;
use super::frame::{Frame, FrameReader};
use super::frame_header::{HEADER_BYTES as FRAME_HEADER_BYTES, Header};
use super::inspect::Damage;
use super::replay::{Found, Log};
use super::wal::{SEGMENT_HEADER_BYTES, VERSION, segment_header};
use crate::model::TimeRange;
use std::io;
use std::path::Path;

/// What may follow a segment's last whole frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogEnd {
    /// Nothing: it is not written to any more.
    Closed,
    /// A write that was not finished, or is still going on.
    Newest { is_running: bool },
}

/// What stands in a segment, one after the other.
pub(super) enum Piece {
    Frame(Box<Frame>),
    Lost(Damage),
    /// Bytes of a write that was not finished.
    Unfinished(u64),
}

/// What is wrong with the first bytes of a segment.
pub(super) fn header_damage(log: &Log<'_>, path: &Path, end: LogEnd) -> Result<Option<Damage>, Error> {
    log.refuse_newer(path)?;
    let header = log.read(0, SEGMENT_HEADER_BYTES).map_err(Error::io("read", path))?;
    let mut known = (1..=VERSION).map(segment_header);
    // The file may just have been made.
    let is_new = header.len() < SEGMENT_HEADER_BYTES && end != LogEnd::Closed;
    let sound = is_new || known.any(|known| known[..] == header[..]);
    let bytes = header.len() as u64;
    let what = "header; it costs nothing";
    Ok((!sound).then_some(Damage { offset: 0, bytes, what, range: None, series_id: None }))
}

/// Calls `each` with the place of every piece behind the header, and the piece.
///
/// # Errors
/// When the file cannot be read, and what `each` returns.
pub(super) fn pieces(
    log: &Log<'_>,
    end: LogEnd,
    mut each: impl FnMut(u64, Piece) -> io::Result<()>,
) -> io::Result<()> {
    let lost =
        |offset, bytes, what| Piece::Lost(Damage { offset, bytes, what, range: None, series_id: None });
    let mut at = log.size.min(SEGMENT_HEADER_BYTES as u64);
    while at < log.size {
        match log.look(at)? {
            Found::Frame(frame, size) => {
                let is_last = at + size == log.size;
                // A frame that is being written may be there in part.
                let may_be_partial = is_last && end == (LogEnd::Newest { is_running: true });
                if may_be_partial && !frame.is_whole(log.file, &mut FrameReader::default())? {
                    each(at, Piece::Unfinished(size))?;
                } else {
                    each(at, Piece::Frame(frame))?;
                }
                at += size;
            }
            Found::Bad(size) => {
                let is_last = at + size == log.size;
                let running = is_last && end == (LogEnd::Newest { is_running: true });
                let piece = lost(at, size, "directory of a window; the window is lost");
                each(at, if running { Piece::Unfinished(size) } else { piece })?;
                at += size;
            }
            Found::Nothing => {
                let next = log.next_header(at + 1)?;
                let rest = next.unwrap_or(log.size) - at;
                let is_unfinished = next.is_none()
                    && match end {
                        LogEnd::Closed => false,
                        LogEnd::Newest { is_running: true } => true,
                        // The front of a frame whose rest was never written.
                        LogEnd::Newest { is_running: false } => {
                            rest < FRAME_HEADER_BYTES as u64
                                || Header::read(&log.read(at, FRAME_HEADER_BYTES)?).is_some()
                        }
                    };
                let piece = lost(at, rest, "no window can be made out here; what was is lost");
                each(at, if is_unfinished { Piece::Unfinished(rest) } else { piece })?;
                at += rest;
            }
        }
    }
    Ok(())
}

/// What of a frame is damaged, its directory being sound.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn frame_damage(
    frame: &Frame,
    file: &dyn File,
    reader: &mut FrameReader,
) -> io::Result<Vec<Damage>> {
    let range = Some(TimeRange { start_ms: frame.start_ms, end_ms: frame.end_ms });
    let damage = |offset, bytes, what| Damage { offset, bytes, what, range, series_id: None };
    let mut all = Vec::new();
    if frame.definitions(file)?.is_none() {
        let definitions = frame.definitions;
        all.push(damage(definitions.at, u64::from(definitions.bytes), "names of series new in this window"));
    }
    for section in frame.sections.iter().chain(frame.late().iter().flat_map(|late| &late.sections)) {
        section.groups(file, |group| {
            if !group.is_sound {
                all.push(damage(group.at, group.bytes.len() as u64, "samples of some series of one window"));
            }
        })?;
    }
    if all.is_empty() && !frame.is_whole(file, reader)? {
        all.push(damage(frame.definitions.at, frame.data_bytes(), "samples that are not as they should be"));
    }
    Ok(all)
}
