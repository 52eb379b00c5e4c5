//! What lies in a data directory, file by file, and what of it is damaged.
//!
//! Reads every byte that has a checksum and changes nothing; also while a
//! daemon runs: what goes away meanwhile is left out, and an unfinished end of
//! its log is no damage. A file that the disk does not give back is named, and
//! does not keep from the others. [`super::repair`] takes away what is found
//! here.

use super::backend::{Backend, File};
use super::block::{Block, HEADER_BYTES, MAGIC, Unreadable, VERSION, is_block_name};
use super::damaged_dir;
pub use super::damaged_dir::Aside;
use super::error::Error;
use super::frame::FrameReader;
use super::log_pieces::{LogEnd, Piece, frame_damage, header_damage, pieces};
use super::replay::Log;
use super::section::Wanted;
use super::segment::Segment;
use super::store::LOCK_NAME;
use super::wal::segment_number;
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

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Reading,
    /// What is damaged is written anew.
    Repairing,
}

/// How far a stage has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub stage: Stage,
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
    /// What was damaged and is kept as it was; nothing of it is read.
    pub aside: Aside,
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
    /// Why it could not be read to its end, or at all: the disk fails, it is no
    /// file, or a newer statsdeck wrote it. The rest tells of what came before.
    pub unread: Option<String>,
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

    /// Number of files that could not be read to their end.
    pub fn unread(&self) -> u64 {
        self.files.iter().filter(|file| file.unread.is_some()).count() as u64
    }
}

impl FileReport {
    fn new(name: &str, kind: FileKind) -> Self {
        FileReport {
            name: name.into(),
            kind,
            bytes: 0,
            range: None,
            series: 0,
            samples: 0,
            damage: Vec::new(),
            damages: 0,
            unfinished_bytes: 0,
            unread: None,
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

/// Whether `dir` is a data directory: a daemon was there, or what it wrote is.
///
/// # Errors
/// [`Error::Io`] when it cannot be listed.
pub fn is_data_dir(backend: &dyn Backend, dir: &Path) -> Result<bool, Error> {
    Ok(backend.list(dir).map_err(Error::io("list", dir))?.iter().any(|name| is_ours(name)))
}

fn is_ours(name: &str) -> bool {
    name == LOCK_NAME || is_block_name(name) || segment_number(name).is_some()
}

/// Says what is in `dir`. `progress` is told after every file, and within.
///
/// # Errors
/// [`Error::Io`] when the directory cannot be listed. What fails in a file is
/// told of the file.
pub fn inspect(
    backend: &dyn Backend,
    dir: &Path,
    depth: Depth,
    progress: impl FnMut(Progress),
) -> Result<Inspection, Error> {
    let is_running = is_running(backend, dir)?;
    let aside = damaged_dir::measured(backend, dir)?;
    Ok(Inspection { aside, ..inspect_as(backend, dir, depth, is_running, progress)? })
}

/// Whether a daemon has `dir` open, as of now.
///
/// # Errors
/// [`Error::Io`] when it cannot be listed or the lock cannot be asked.
pub fn is_running(backend: &dyn Backend, dir: &Path) -> Result<bool, Error> {
    let lock_path = dir.join(LOCK_NAME);
    // Given back at once: a daemon may start while we read.
    Ok(is_data_dir(backend, dir)?
        && backend.lock(&lock_path).map_err(Error::io("lock", &lock_path))?.is_none())
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
    let blocks = names.iter().filter(|name| is_block_name(name)).map(|name| (name, FileKind::Block));
    let mut segments: Vec<(u64, &String)> =
        names.iter().filter_map(|name| Some((segment_number(name)?, name))).collect();
    segments.sort_unstable();
    let segments = segments.into_iter().map(|(_, name)| (name, FileKind::Log));
    let files: Vec<(&String, FileKind)> = blocks.chain(segments).collect();
    let (mut bytes, mut newest) = (0, None);
    for (name, kind) in &files {
        let size = backend.open(&dir.join(name)).and_then(|file| file.size());
        bytes += size.as_ref().copied().unwrap_or_default();
        // A folder of that name is no segment.
        let is_folder = size.is_err_and(|error| error.kind() == io::ErrorKind::IsADirectory);
        if *kind == FileKind::Log && !is_folder {
            newest = Some(*name);
        }
    }
    let mut told =
        Progress { stage: Stage::Reading, files_read: 0, files: files.len(), bytes_read: 0, bytes };
    let mut inspection = Inspection { is_running, ..Inspection::default() };
    for (name, kind) in files {
        let mut report = FileReport::new(name, kind);
        let before = told.bytes_read;
        let mut tell = |bytes: u64| {
            told.bytes_read = before.saturating_add(bytes);
            progress(told);
        };
        let path = dir.join(name);
        let read = match kind {
            FileKind::Block => read_block(backend, &path, depth, &mut report, &mut tell),
            FileKind::Log => {
                let end = if newest == Some(name) { LogEnd::Newest { is_running } } else { LogEnd::Closed };
                read_log(backend, &path, depth, end, &mut report, &mut tell)
            }
        };
        told.files_read += 1;
        told.bytes_read = before.saturating_add(report.bytes);
        progress(told);
        match read {
            Ok(()) => {}
            // What goes away while we look had its time, or is in a block by now;
            // a link that leads nowhere stays.
            Err(Error::Io { source, .. })
                if source.kind() == io::ErrorKind::NotFound
                    && !backend.list(dir).map_err(Error::io("list", dir))?.contains(name) =>
            {
                continue;
            }
            Err(error) => report.unread = Some(error.to_string()),
        }
        inspection.files.push(report);
    }
    Ok(inspection)
}

fn read_block(
    backend: &dyn Backend,
    path: &Path,
    depth: Depth,
    report: &mut FileReport,
    tell: &mut dyn FnMut(u64),
) -> Result<(), Error> {
    let file = backend.open(path).map_err(Error::io("open", path))?;
    let bytes = file.size().map_err(Error::io("measure", path))?;
    report.bytes = bytes;
    let block = match Block::open(backend, path) {
        Ok(block) => block,
        Err(Unreadable::Failed(error)) => return Err(error),
        Err(Unreadable::Damaged(what)) => {
            report.note(Damage { offset: 0, bytes, what, range: None, series_id: None });
            return Ok(());
        }
    };
    let has_points = !block.series().is_empty();
    report.range = has_points.then_some(block.footer.range);
    report.series = block.series().len() as u64;
    match depth {
        Depth::Outline => count_points(&block, &*file, report),
        Depth::Everything => check_block(&block, &*file, path, report, tell),
    }
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

fn check_block(
    block: &Block,
    file: &dyn File,
    path: &Path,
    report: &mut FileReport,
    tell: &mut dyn FnMut(u64),
) -> Result<(), Error> {
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
        tell(covered);
        if failed.is_some() {
            return;
        }
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

fn read_log(
    backend: &dyn Backend,
    path: &Path,
    depth: Depth,
    end: LogEnd,
    report: &mut FileReport,
    tell: &mut dyn FnMut(u64),
) -> Result<(), Error> {
    let file = backend.open(path).map_err(Error::io("open", path))?;
    let bytes = file.size().map_err(Error::io("measure", path))?;
    report.bytes = bytes;
    let segment = Arc::new(Segment::new(path.into(), None, Arc::new(AtomicU64::new(0))));
    let log = Log { file: &*file, size: bytes, segment: &segment };
    if let Some(damage) = header_damage(&log, path, end)? {
        report.note(damage);
    }
    let mut series = super::id_set::IdSet::default();
    let mut reader = FrameReader::default();
    let read = pieces(&log, end, |at, piece| {
        tell(at);
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
    });
    report.series = series.len() as u64;
    read.map_err(Error::io("read", path))
}
