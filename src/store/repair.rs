//! Takes what is damaged out of a data directory, and keeps all the rest.
//!
//! A damaged file is kept whole in the folder `damaged`; what of it is sound is
//! written anew, made durable and put in its place in one step. Nothing is
//! deleted. Whatever happens in between, a file is there as it was or as it
//! shall be, and repairing again goes on. What cannot be read or written is
//! left, and named; the others are repaired. Only without a daemon.

use super::backend::{Backend, File};
use super::block::{Block, Unreadable};
use super::block_writer::{Contents, Stop, Writer, install, names};
use super::damaged_dir::{self, free_place, set_aside};
use super::error::Error;
use super::frame::FrameReader;
use super::frame_rest::{DefinedNames, put_rest};
use super::inspect::{Damage, Depth, FileKind, FileReport, Inspection, Progress, Stage, inspect_as};
use super::log_pieces::{LogEnd, Piece, frame_damage, pieces};
use super::names::read_names;
use super::replay::Log;
use super::section::Wanted;
use super::segment::Segment;
use super::store::LOCK_NAME;
use super::wal::{SEGMENT_HEADER_BYTES, VERSION, segment_header};
use crate::catalogue::{Catalogue, KeyList};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

pub use super::damaged_dir::DAMAGED_DIR;

/// Copied at a time.
const COPY_BYTES: usize = 1 << 20;

/// A file that was damaged.
#[derive(Clone, Debug, PartialEq)]
pub struct Repaired {
    pub name: String,
    /// Where it is now, as it was.
    pub kept_as: PathBuf,
    /// Whether the rest of it is in its place; of a block whose footer is
    /// damaged there is none.
    pub has_rest: bool,
    /// What is lost of it.
    pub damage: Vec<Damage>,
    pub damages: u64,
}

/// A file that was left: it is as it was, or as it shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    pub name: String,
    /// What could not be done.
    pub reason: String,
    /// Whether it could not even be read: nothing was tried.
    pub is_unread: bool,
}

/// What was done, in the order of the files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    pub repaired: Vec<Repaired>,
    pub left: Vec<Left>,
}

/// Repairs the data directory `dir`.
///
/// # Errors
/// [`Error::Locked`] while a daemon has it open, [`Error::Io`] when it cannot be
/// listed: nothing was done then. What fails in a file is told of the file.
pub fn repair(
    backend: &dyn Backend,
    dir: &Path,
    mut progress: impl FnMut(Progress),
) -> Result<Outcome, Error> {
    let lock_path = dir.join(LOCK_NAME);
    let lock = backend.lock(&lock_path).map_err(Error::io("lock", &lock_path))?;
    let _lock = lock.ok_or_else(|| Error::Locked { dir: dir.into() })?;
    let found = inspect_as(backend, dir, Depth::Everything, false, &mut progress)?;
    let mut outcome = Outcome::default();
    for file in &found.files {
        if let Some(reason) = &file.unread {
            outcome.left.push(Left { name: file.name.clone(), reason: reason.clone(), is_unread: true });
        }
    }
    let is_damaged = |file: &&FileReport| file.damages > 0 && file.unread.is_none();
    let damaged: Vec<&FileReport> = found.files.iter().filter(is_damaged).collect();
    if damaged.is_empty() {
        return Ok(outcome);
    }
    let known = match known_names(backend, dir, &found) {
        Ok(known) => known,
        Err(error) => {
            // Without its names a rest would be without them for good.
            let left = |file: &&FileReport| {
                let (name, reason) = (file.name.clone(), error.to_string());
                Left { name, reason, is_unread: false }
            };
            outcome.left.extend(damaged.iter().map(left));
            return Ok(outcome);
        }
    };
    let newest = found.files.iter().rfind(|file| file.kind == FileKind::Log);
    let bytes = damaged.iter().map(|file| file.bytes).sum();
    let mut told =
        Progress { stage: Stage::Repairing, files_read: 0, files: damaged.len(), bytes_read: 0, bytes };
    progress(told);
    for file in damaged {
        let end = match newest {
            Some(newest) if newest.name == file.name => LogEnd::Newest { is_running: false },
            _ => LogEnd::Closed,
        };
        match repair_file(backend, dir, file, end, &known) {
            Ok(repaired) => outcome.repaired.push(repaired),
            Err(error) => {
                let (name, reason) = (file.name.clone(), error.to_string());
                outcome.left.push(Left { name, reason, is_unread: false });
            }
        }
        told.files_read += 1;
        told.bytes_read += file.bytes;
        progress(told);
    }
    Ok(outcome)
}

fn repair_file(
    backend: &dyn Backend,
    dir: &Path,
    file: &FileReport,
    end: LogEnd,
    known: &Catalogue,
) -> Result<Repaired, Error> {
    let path = dir.join(&file.name);
    let block = match file.kind {
        FileKind::Log => None,
        FileKind::Block => match Block::open(backend, &path) {
            Ok(block) => Some(block),
            Err(Unreadable::Damaged(_)) => {
                return Ok(repaired(file, set_aside(backend, dir, &file.name)?, false));
            }
            Err(Unreadable::Failed(error)) => return Err(error),
        },
    };
    let kept_as = keep(backend, &path, &damaged_dir::made(backend, dir)?, &file.name)?;
    match block {
        None => rewrite_log(backend, &path, end, known)?,
        Some(block) => {
            let write = |unfinished: &Path| rewrite_block(backend, &block, unfinished, known);
            install(backend, &path, Stop::NEVER, write)?;
        }
    }
    Ok(repaired(file, kept_as, true))
}

fn repaired(file: &FileReport, kept_as: PathBuf, has_rest: bool) -> Repaired {
    let (name, damage) = (file.name.clone(), file.damage.clone());
    Repaired { name, kept_as, has_rest, damage, damages: file.damages }
}

/// Makes a durable copy of the file in `aside`, unless a repair that did not
/// come to its end made it, and says where it is.
fn keep(backend: &dyn Backend, path: &Path, aside: &Path, name: &str) -> Result<PathBuf, Error> {
    let (kept_as, is_there) =
        free_place(backend, aside, name, |place| is_copy(backend, path, &aside.join(place)))?;
    if is_there {
        let kept = backend.open(&kept_as).map_err(Error::io("open", &kept_as))?;
        kept.sync().map_err(Error::io("sync", &kept_as))?;
    } else {
        // Under that name is a whole copy or none.
        let unfinished = aside.join(format!("{name}.tmp"));
        let copied = copy(backend, path, &unfinished)
            .and_then(|()| backend.rename(&unfinished, &kept_as).map_err(Error::io("rename to", &kept_as)));
        if let Err(error) = copied {
            let _ = backend.remove(&unfinished);
            return Err(error);
        }
    }
    backend.sync_dir(aside).map_err(Error::io("sync", aside))?;
    Ok(kept_as)
}

/// Whether both files hold the same.
fn is_copy(backend: &dyn Backend, path: &Path, other: &Path) -> Result<bool, Error> {
    let source = backend.open(path).map_err(Error::io("open", path))?;
    let copy = backend.open(other).map_err(Error::io("open", other))?;
    let size = source.size().map_err(Error::io("measure", path))?;
    if copy.size().map_err(Error::io("measure", other))? != size {
        return Ok(false);
    }
    let mut is_same = true;
    let mut of_copy = Vec::new();
    each_part(&*source, path, size, |bytes, at| {
        if is_same {
            of_copy.resize(bytes.len(), 0);
            copy.read_at(&mut of_copy, at).map_err(Error::io("read", other))?;
            is_same = bytes == of_copy;
        }
        Ok(())
    })?;
    Ok(is_same)
}

fn copy(backend: &dyn Backend, from: &Path, to: &Path) -> Result<(), Error> {
    let source = backend.open(from).map_err(Error::io("open", from))?;
    let target = backend.create(to).map_err(Error::io("create", to))?;
    let size = source.size().map_err(Error::io("measure", from))?;
    each_part(&*source, from, size, |bytes, at| target.write_at(bytes, at).map_err(Error::io("write", to)))?;
    target.sync().map_err(Error::io("sync", to))
}

fn each_part(
    source: &dyn File,
    path: &Path,
    size: u64,
    mut each: impl FnMut(&[u8], u64) -> Result<(), Error>,
) -> Result<(), Error> {
    let (mut at, mut bytes) = (0, Vec::new());
    while at < size {
        bytes.resize(COPY_BYTES.min(usize::try_from(size - at).unwrap_or(COPY_BYTES)), 0);
        source.read_at(&mut bytes, at).map_err(Error::io("read", path))?;
        each(&bytes, at)?;
        at += bytes.len() as u64;
    }
    Ok(())
}

/// Every name that anything sound tells: what is damaged elsewhere may be told
/// here.
fn known_names(backend: &dyn Backend, dir: &Path, found: &Inspection) -> Result<Catalogue, Error> {
    let (mut keys, mut next_id) = (KeyList::default(), 0);
    for file in found.files.iter().filter(|file| file.unread.is_none()) {
        let path = dir.join(&file.name);
        match file.kind {
            FileKind::Block => take_block_names(backend, &path, &mut keys, &mut next_id)?,
            FileKind::Log => take_log_names(backend, &path, &mut keys, &mut next_id)?,
        }
    }
    let catalogue = Catalogue::new(usize::MAX);
    catalogue.restore_keys(keys, next_id);
    Ok(catalogue)
}

fn take_block_names(
    backend: &dyn Backend,
    path: &Path,
    keys: &mut KeyList,
    next_id: &mut u32,
) -> Result<(), Error> {
    let block = match Block::open(backend, path) {
        Ok(block) => block,
        Err(Unreadable::Damaged(_)) => return Ok(()),
        Err(Unreadable::Failed(error)) => return Err(error),
    };
    *next_id = block.footer.next_id.max(*next_id);
    let Some(file) = block.file(backend)? else { return Ok(()) };
    let names = block.names(&*file)?;
    let _ = read_names(names.as_deref().unwrap_or_default(), |id, key| keys.push(key, id));
    Ok(())
}

fn take_log_names(
    backend: &dyn Backend,
    path: &Path,
    keys: &mut KeyList,
    next_id: &mut u32,
) -> Result<(), Error> {
    let file = backend.open(path).map_err(Error::io("open", path))?;
    let size = file.size().map_err(Error::io("measure", path))?;
    let segment = Arc::new(Segment::new(path.into(), None, Arc::new(AtomicU64::new(0))));
    let log = Log { file: &*file, size, segment: &segment };
    let read = pieces(&log, LogEnd::Closed, |_, piece| {
        let Piece::Frame(frame) = piece else { return Ok(()) };
        *next_id = frame.next_id.max(*next_id);
        if let Some(names) = frame.definitions(&*file)? {
            let _ = read_names(&names, |id, key| keys.push(key, id));
        }
        Ok(())
    });
    read.map_err(Error::io("read", path))
}

/// Puts the frames of a segment in its place, without what of them is damaged.
fn rewrite_log(backend: &dyn Backend, path: &Path, end: LogEnd, known: &Catalogue) -> Result<(), Error> {
    let unfinished = path.with_extension("tmp");
    let written = write_log(backend, path, &unfinished, end, known)
        .and_then(|()| backend.rename(&unfinished, path).map_err(Error::io("rename to", path)));
    if let Err(error) = written {
        let _ = backend.remove(&unfinished);
        return Err(error);
    }
    let dir = path.parent().unwrap_or(Path::new("."));
    backend.sync_dir(dir).map_err(Error::io("sync", dir))
}

fn write_log(
    backend: &dyn Backend,
    path: &Path,
    unfinished: &Path,
    end: LogEnd,
    known: &Catalogue,
) -> Result<(), Error> {
    let file = backend.open(path).map_err(Error::io("open", path))?;
    let size = file.size().map_err(Error::io("measure", path))?;
    let target = backend.create(unfinished).map_err(Error::io("create", unfinished))?;
    target.write_at(&segment_header(VERSION), 0).map_err(Error::io("write", unfinished))?;
    let segment = Arc::new(Segment::new(path.into(), None, Arc::new(AtomicU64::new(0))));
    let log = Log { file: &*file, size, segment: &segment };
    let mut written = SEGMENT_HEADER_BYTES as u64;
    let (mut defined, mut reader, mut out) = (DefinedNames::default(), FrameReader::default(), Vec::new());
    let rewritten = pieces(&log, end, |at, piece| {
        let Piece::Frame(frame) = piece else {
            defined.note_loss();
            return Ok(());
        };
        let is_damaged = !frame_damage(&frame, &*file, &mut reader)?.is_empty();
        let is_last = end != LogEnd::Closed && at + frame.bytes() == size;
        if is_damaged && is_last {
            // As the next start would: whether it was acknowledged is unknown.
            return Ok(());
        }
        out.clear();
        let definitions = defined.definitions(&frame, &*file, known, &mut reader)?;
        if is_damaged || definitions.is_some() {
            put_rest(&mut out, &frame, &*file, definitions)?;
        } else {
            out.resize(usize::try_from(frame.bytes()).unwrap_or_default(), 0);
            file.read_at(&mut out, at)?;
        }
        target.write_at(&out, written)?;
        written += out.len() as u64;
        Ok(())
    });
    rewritten.map_err(Error::io("write the rest of", path))?;
    target.sync().map_err(Error::io("sync", unfinished))
}

/// Writes a block again, without the series whose points are damaged.
fn rewrite_block(
    backend: &dyn Backend,
    block: &Block,
    unfinished: &Path,
    known: &Catalogue,
) -> Result<(), Error> {
    let gone = || Error::Verify { path: block.path().into(), reason: "it went away".into() };
    let source = block.file(backend)?.ok_or_else(gone)?;
    let target = backend.create(unfinished).map_err(Error::io("create", unfinished))?;
    let mut writer = Writer::new(&*target, unfinished, block.footer.resolution_ms);
    let (mut entries, mut bytes, mut failed) = (Vec::new(), Vec::new(), None);
    block.entries(&*source, Wanted::ALL, |mut entry| {
        if failed.is_none()
            && let Err(error) = copy_chunk(block, &*source, &mut writer, &mut entry, &mut bytes)
        {
            if let Some(error) = error {
                failed = Some(error);
            }
        } else {
            entries.push(entry);
        }
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    let mut contents = Contents::new(block.footer.end_ms);
    contents.add(entries);
    let names = match block.names(&*source)? {
        Some(names) => names,
        None => names(known, &contents.series),
    };
    let next_id = block.footer.next_id.max(known.next_id());
    let times = (block.footer.start_ms, block.footer.last_end_ms);
    writer.finish(times, next_id, &names, contents)?;
    target.sync().map_err(Error::io("sync", unfinished))
}

/// Copies a chunk that is sound; `Err(None)` when it is not.
fn copy_chunk(
    block: &Block,
    source: &dyn File,
    writer: &mut Writer<'_>,
    entry: &mut super::block_index::Entry,
    bytes: &mut Vec<u8>,
) -> Result<(), Option<Error>> {
    let failed = |error| Some(Error::io("read", block.path())(error));
    match block.read(source, entry) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(None),
        Err(error) => return Err(failed(error)),
    }
    bytes.resize(entry.length as usize, 0);
    source.read_at(bytes, entry.offset).map_err(failed)?;
    entry.offset = writer.copy(bytes)?;
    Ok(())
}
