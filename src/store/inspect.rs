//! What lies in a data directory, file by file, and what of it is damaged.
//!
//! Reads every byte that has a checksum and changes nothing; also while a
//! daemon runs: what goes away meanwhile is left out, and an unfinished end of
//! its log is no damage. [`super::repair`] takes away what is found here.

use super::backend::{Backend, File};
use super::block::{Block, HEADER_BYTES, MAGIC, Unreadable, VERSION, is_block_name};
use super::error::Error;
use super::frame::{Frame, FrameReader, HEADER_BYTES as FRAME_HEADER_BYTES, Header};
use super::replay::{Found, Log};
use super::section::Wanted;
use super::segment::Segment;
use super::store::LOCK_NAME;
use super::wal::{SEGMENT_HEADER_BYTES, segment_header, segment_number};
use crate::model::TimeRange;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Most damages that are told of one file; all are counted.
const DAMAGES_MAX: usize = 1000;
/// The head of a chunk is shorter.
const CHUNK_HEAD_BYTES: usize = 16;

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// What there is: headers, directories, indexes.
    Outline,
    /// All of it, against every checksum.
    Everything,
}

/// How far an inspection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub files_read: usize,
    pub files: usize,
    pub bytes_read: u64,
    pub bytes: u64,
}

/// What lies in a data directory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inspection {
    /// Blocks first, then the log; each ascending.
    pub files: Vec<FileReport>,
    /// Whether a daemon has the directory open.
    pub is_running: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    Block,
    Log,
}

/// One file.
#[derive(Clone, Debug, PartialEq)]
pub struct FileReport {
    pub name: String,
    pub kind: FileKind,
    pub bytes: u64,
    /// First and last point of a block, first and last window of the log;
    /// `None` when there is none or it cannot be known.
    pub range: Option<TimeRange>,
    /// Series that it has points of.
    pub series: u64,
    /// Points that can be read.
    pub samples: u64,
    /// Ascending by place; not more than a bound, see `damages`.
    pub damage: Vec<Damage>,
    pub damages: u64,
    /// Bytes of a write that was not finished when all stopped; no damage:
    /// nothing of it was acknowledged, and the next start cuts it away.
    pub unfinished_bytes: u64,
}

/// A place that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Place and length, in bytes from the front of the file.
    pub offset: u64,
    pub bytes: u64,
    pub what: &'static str,
    /// The time that it is about, where known.
    pub range: Option<TimeRange>,
    /// Whose points it held, where that is one series.
    pub series_id: Option<u32>,
}

impl Inspection {
    /// Number of damaged places.
    pub fn damages(&self) -> u64 {
        self.files.iter().map(|file| file.damages).sum()
    }
}

impl FileReport {
    fn new(name: &str, kind: FileKind, bytes: u64) -> Self {
        FileReport {
            name: name.into(),
            kind,
            bytes,
            range: None,
            series: 0,
            samples: 0,
            damage: Vec::new(),
            damages: 0,
            unfinished_bytes: 0,
        }
    }

    fn note(&mut self, damage: Damage) {
        self.damages += 1;
        if self.damage.len() < DAMAGES_MAX {
            self.damage.push(damage);
        }
    }

    fn widen(&mut self, range: TimeRange) {
        let known = self.range.get_or_insert(range);
        known.start_ms = known.start_ms.min(range.start_ms);
        known.end_ms = known.end_ms.max(range.end_ms);
    }
}

/// Says what is in `dir`. `progress` is told after every file.
///
/// # Errors
/// [`Error::Io`], [`Error::Version`] when a newer statsdeck wrote a file.
pub fn inspect(
    backend: &dyn Backend,
    dir: &Path,
    depth: Depth,
    progress: impl FnMut(Progress),
) -> Result<Inspection, Error> {
    let names = backend.list(dir).map_err(Error::io("list", dir))?;
    let lock_path = dir.join(LOCK_NAME);
    // Given back at once: a daemon may start while we read.
    let is_ours = |name: &String| name == LOCK_NAME || is_block_name(name) || segment_number(name).is_some();
    let is_running = names.iter().any(is_ours)
        && backend.lock(&lock_path).map_err(Error::io("lock", &lock_path))?.is_none();
    inspect_as(backend, dir, depth, is_running, progress)
}

/// The same for who knows whether a daemon runs.
pub(super) fn inspect_as(
    backend: &dyn Backend,
    dir: &Path,
    depth: Depth,
    is_running: bool,
    mut progress: impl FnMut(Progress),
) -> Result<Inspection, Error> {
    let mut names = backend.list(dir).map_err(Error::io("list", dir))?;
    names.sort_unstable();
    let blocks: Vec<&String> = names.iter().filter(|name| is_block_name(name)).collect();
    let mut segments: Vec<(u64, &String)> =
        names.iter().filter_map(|name| Some((segment_number(name)?, name))).collect();
    segments.sort_unstable();
    let read = blocks.iter().copied().chain(segments.iter().map(|(_, name)| *name));
    let sizes = read.map(|name| backend.open(&dir.join(name)).and_then(|file| file.size()));
    let mut told = Progress {
        files_read: 0,
        files: blocks.len() + segments.len(),
        bytes_read: 0,
        bytes: sizes.filter_map(Result::ok).sum(),
    };
    let mut inspection = Inspection { files: Vec::new(), is_running };
    let mut take = |report: Result<Option<FileReport>, Error>| -> Result<(), Error> {
        told.files_read += 1;
        if let Some(report) = report? {
            told.bytes_read += report.bytes;
            inspection.files.push(report);
        }
        progress(told);
        Ok(())
    };
    for name in blocks {
        take(unless_gone(block_report(backend, &dir.join(name), name, depth)))?;
    }
    let last = segments.last().map(|(number, _)| *number);
    for (number, name) in segments {
        let end = if last == Some(number) { LogEnd::Newest { is_running } } else { LogEnd::Closed };
        take(unless_gone(log_report(backend, &dir.join(name), name, depth, end)))?;
    }
    Ok(inspection)
}

/// What goes away while we look had its time, or is in a block by now.
fn unless_gone(report: Result<FileReport, Error>) -> Result<Option<FileReport>, Error> {
    match report {
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        report => report.map(Some),
    }
}

fn block_report(backend: &dyn Backend, path: &Path, name: &str, depth: Depth) -> Result<FileReport, Error> {
    let file = backend.open(path).map_err(Error::io("open", path))?;
    let bytes = file.size().map_err(Error::io("measure", path))?;
    let mut report = FileReport::new(name, FileKind::Block, bytes);
    let block = match Block::open(backend, path) {
        Ok(block) => block,
        Err(Unreadable::Failed(error)) => return Err(error),
        Err(Unreadable::Damaged(what)) => {
            report.note(Damage { offset: 0, bytes, what, range: None, series_id: None });
            return Ok(report);
        }
    };
    let has_points = !block.series().is_empty();
    report.range = has_points.then_some(block.footer.range);
    report.series = block.series().len() as u64;
    match depth {
        Depth::Outline => count_points(&block, &*file, &mut report)?,
        Depth::Everything => check_block(&block, &*file, path, &mut report)?,
    }
    Ok(report)
}

/// Counts what chunks say that they hold.
fn count_points(block: &Block, file: &dyn File, report: &mut FileReport) -> Result<(), Error> {
    let mut failed = None;
    block.entries(file, Wanted::ALL, |entry| {
        let mut head = [0; CHUNK_HEAD_BYTES];
        let head = head.get_mut(..CHUNK_HEAD_BYTES.min(entry.length as usize)).unwrap_or_default();
        match file.read_at(head, entry.offset) {
            Ok(()) => report.samples += super::chunk::points_in(head).unwrap_or_default(),
            Err(error) => failed = Some(error),
        }
    })?;
    failed.map_or(Ok(()), |error| Err(Error::io("read", block.path())(error)))
}

fn check_block(block: &Block, file: &dyn File, path: &Path, report: &mut FileReport) -> Result<(), Error> {
    let mut header = [0; HEADER_BYTES];
    file.read_at(&mut header, 0).map_err(Error::io("read", path))?;
    let (magic, version) = header.split_at(MAGIC.len());
    let version = version.try_into().map_or(0, u32::from_le_bytes);
    if magic != MAGIC || !(1..=VERSION).contains(&version) {
        let what = "header; it costs nothing";
        report.note(Damage { offset: 0, bytes: HEADER_BYTES as u64, what, range: None, series_id: None });
    }
    let (mut found, mut covered, mut failed) = (0, HEADER_BYTES as u64, None);
    block.entries(file, Wanted::ALL, |entry| {
        found += 1;
        covered += u64::from(entry.length);
        match block.read(file, &entry) {
            Ok(chunk) => report.samples += chunk.points.len() as u64,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => report.note(Damage {
                offset: entry.offset,
                bytes: u64::from(entry.length),
                what: "points of a series",
                range: Some(TimeRange { start_ms: entry.first_ms, end_ms: entry.last_ms }),
                series_id: Some(entry.id),
            }),
            Err(error) => failed = Some(error),
        }
    })?;
    if let Some(error) = failed {
        return Err(Error::io("read", path)(error));
    }
    let range = report.range;
    let mut part = |offset, bytes, what| report.note(Damage { offset, bytes, what, range, series_id: None });
    let index = block.index();
    let mut groups = 0;
    let read = index.groups(file, |group| {
        if !group.is_sound {
            groups += 1;
            part(
                group.at,
                group.bytes.len() as u64,
                "part of the index; the points of its series cannot be found",
            );
        }
    });
    read.map_err(Error::io("read", path))?;
    if groups == 0 && (found != block.series().len() || covered != block.footer.index_at) {
        part(block.footer.index_at, u64::from(block.footer.index_bytes), "index; it does not fit the rest");
    }
    if block.names(file)?.is_none() {
        let at = block.footer.names_at().unwrap_or_default();
        part(at, u64::from(block.footer.names_bytes), "names of series");
    }
    report.damage.sort_by_key(|damage| damage.offset);
    Ok(())
}

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

fn log_report(
    backend: &dyn Backend,
    path: &Path,
    name: &str,
    depth: Depth,
    end: LogEnd,
) -> Result<FileReport, Error> {
    let file = backend.open(path).map_err(Error::io("open", path))?;
    let bytes = file.size().map_err(Error::io("measure", path))?;
    let mut report = FileReport::new(name, FileKind::Log, bytes);
    let segment = Arc::new(Segment::new(path.into(), None, Arc::new(AtomicU64::new(0))));
    let log = Log { file: &*file, size: bytes, segment: &segment };
    report.damage.extend(header_damage(&log, path, end)?);
    report.damages = report.damage.len() as u64;
    let mut series = super::id_set::IdSet::default();
    let mut reader = FrameReader::default();
    pieces(&log, end, |_, piece| {
        match piece {
            Piece::Lost(damage) => report.note(damage),
            Piece::Unfinished(bytes) => report.unfinished_bytes = bytes,
            Piece::Frame(frame) => {
                report.widen(TimeRange { start_ms: frame.start_ms, end_ms: frame.end_ms });
                report.samples += frame.samples() as u64;
                for kind in super::sample::Kind::ALL {
                    if kind != super::sample::Kind::Gone {
                        frame.read_ids(&*file, kind, Wanted::ALL, &mut reader, |id| series.insert(id))?;
                    }
                }
                if depth == Depth::Everything {
                    for damage in frame_damage(&frame, &*file, &mut reader)? {
                        report.note(damage);
                    }
                }
            }
        }
        Ok(())
    })
    .map_err(Error::io("read", path))?;
    report.series = series.len() as u64;
    Ok(report)
}

/// What is wrong with the first bytes of a segment.
pub(super) fn header_damage(log: &Log<'_>, path: &Path, end: LogEnd) -> Result<Option<Damage>, Error> {
    log.refuse_newer(path)?;
    let header = log.read(0, SEGMENT_HEADER_BYTES).map_err(Error::io("read", path))?;
    let mut known = (1..=super::wal::VERSION).map(segment_header);
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
