//! Takes what is damaged out of a data directory, and keeps all the rest.
//!
//! A damaged file is kept whole in the folder `damaged`; what of it is sound is
//! written anew, made durable and put in its place in one step. Nothing is
//! deleted. Whatever happens in between, a file is there as it was or as it
//! shall be, and repairing again goes on. Only without a daemon.

use super::backend::{Backend, File};
use super::block::{Block, Unreadable};
use super::block_writer::{Contents, Stop, Writer, install, names};
use super::error::Error;
use super::frame::FrameReader;
use super::frame_rest::{DefinedNames, put_rest};
use super::inspect::{
    Damage, Depth, FileKind, FileReport, Inspection, LogEnd, Piece, Progress, frame_damage, inspect_as,
    pieces,
};
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

/// Folder in the data directory for what was damaged.
pub const DAMAGED_DIR: &str = "damaged";
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

/// Repairs the data directory `dir`.
///
/// # Errors
/// [`Error::Locked`] while a daemon has it open, [`Error::Version`],
/// [`Error::Io`].
pub fn repair(
    backend: &dyn Backend,
    dir: &Path,
    progress: impl FnMut(Progress),
) -> Result<Vec<Repaired>, Error> {
    let lock_path = dir.join(LOCK_NAME);
    let lock = backend.lock(&lock_path).map_err(Error::io("lock", &lock_path))?;
    let _lock = lock.ok_or_else(|| Error::Locked { dir: dir.into() })?;
    let found = inspect_as(backend, dir, Depth::Everything, false, progress)?;
    if found.damages() == 0 {
        return Ok(Vec::new());
    }
    let known = known_names(backend, dir, &found)?;
    let newest = found.files.iter().rfind(|file| file.kind == FileKind::Log);
    let mut repaired = Vec::new();
    for file in found.files.iter().filter(|file| file.damages > 0) {
        let end = match newest {
            Some(newest) if newest.name == file.name => LogEnd::Newest { is_running: false },
            _ => LogEnd::Closed,
        };
        repaired.push(repair_file(backend, dir, file, end, &known)?);
    }
    Ok(repaired)
}

fn repair_file(
    backend: &dyn Backend,
    dir: &Path,
    file: &FileReport,
    end: LogEnd,
    known: &Catalogue,
) -> Result<Repaired, Error> {
    let path = dir.join(&file.name);
    let aside = dir.join(DAMAGED_DIR);
    backend.create_dir(&aside).map_err(Error::io("create", &aside))?;
    backend.sync_dir(dir).map_err(Error::io("sync", dir))?;
    let kept_as = free_place(backend, &aside, &file.name)?;
    let has_rest = match file.kind {
        FileKind::Log => {
            copy(backend, &path, &kept_as)?;
            rewrite_log(backend, &path, end, known)?;
            true
        }
        FileKind::Block => match Block::open(backend, &path) {
            Ok(block) => {
                copy(backend, &path, &kept_as)?;
                let write = |unfinished: &Path| rewrite_block(backend, &block, unfinished, known);
                install(backend, &path, Stop::NEVER, write)?;
                true
            }
            Err(Unreadable::Damaged(_)) => {
                backend.rename(&path, &kept_as).map_err(Error::io("rename to", &kept_as))?;
                backend.sync_dir(&aside).map_err(Error::io("sync", &aside))?;
                backend.sync_dir(dir).map_err(Error::io("sync", dir))?;
                false
            }
            Err(Unreadable::Failed(error)) => return Err(error),
        },
    };
    let (name, damage) = (file.name.clone(), file.damage.clone());
    Ok(Repaired { name, kept_as, has_rest, damage, damages: file.damages })
}

/// A name in `aside` that nothing has.
fn free_place(backend: &dyn Backend, aside: &Path, name: &str) -> Result<PathBuf, Error> {
    let taken = match backend.list(aside) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(Error::io("list", aside)(error)),
    };
    let mut free = name.to_owned();
    for number in 1u32.. {
        if !taken.contains(&free) {
            break;
        }
        free = format!("{name}.{number}");
    }
    Ok(aside.join(free))
}

fn copy(backend: &dyn Backend, from: &Path, to: &Path) -> Result<(), Error> {
    let source = backend.open(from).map_err(Error::io("open", from))?;
    let target = backend.create(to).map_err(Error::io("create", to))?;
    let size = source.size().map_err(Error::io("measure", from))?;
    let mut at = 0;
    let mut bytes = Vec::new();
    while at < size {
        bytes.resize(COPY_BYTES.min(usize::try_from(size - at).unwrap_or(COPY_BYTES)), 0);
        source.read_at(&mut bytes, at).map_err(Error::io("read", from))?;
        target.write_at(&bytes, at).map_err(Error::io("write", to))?;
        at += bytes.len() as u64;
    }
    target.sync().map_err(Error::io("sync", to))?;
    let dir = to.parent().unwrap_or(Path::new("."));
    backend.sync_dir(dir).map_err(Error::io("sync", dir))
}

/// Every name that anything sound tells: what is damaged elsewhere may be told
/// here.
fn known_names(backend: &dyn Backend, dir: &Path, found: &Inspection) -> Result<Catalogue, Error> {
    let (mut keys, mut next_id) = (KeyList::default(), 0);
    for file in &found.files {
        let path = dir.join(&file.name);
        match file.kind {
            FileKind::Block => {
                let Ok(block) = Block::open(backend, &path) else { continue };
                next_id = next_id.max(block.footer.next_id);
                let Some(file) = block.file(backend)? else { continue };
                let Some(names) = block.names(&*file)? else { continue };
                let _ = read_names(&names, |id, key| keys.push(key, id));
            }
            FileKind::Log => {
                let file = backend.open(&path).map_err(Error::io("open", &path))?;
                let size = file.size().map_err(Error::io("measure", &path))?;
                let segment = Arc::new(Segment::new(path.clone(), None, Arc::new(AtomicU64::new(0))));
                let log = Log { file: &*file, size, segment: &segment };
                let read = pieces(&log, LogEnd::Closed, |_, piece| {
                    let Piece::Frame(frame) = piece else { return Ok(()) };
                    next_id = next_id.max(frame.next_id);
                    if let Some(names) = frame.definitions(&*file)? {
                        let _ = read_names(&names, |id, key| keys.push(key, id));
                    }
                    Ok(())
                });
                read.map_err(Error::io("read", &path))?;
            }
        }
    }
    let catalogue = Catalogue::new(usize::MAX);
    catalogue.restore_keys(keys, next_id);
    Ok(catalogue)
}

/// Writes the frames of a segment again, without what of them is damaged.
fn rewrite_log(backend: &dyn Backend, path: &Path, end: LogEnd, known: &Catalogue) -> Result<(), Error> {
    let unfinished = path.with_extension("tmp");
    let file = backend.open(path).map_err(Error::io("open", path))?;
    let size = file.size().map_err(Error::io("measure", path))?;
    let target = backend.create(&unfinished).map_err(Error::io("create", &unfinished))?;
    target.write_at(&segment_header(VERSION), 0).map_err(Error::io("write", &unfinished))?;
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
    target.sync().map_err(Error::io("sync", &unfinished))?;
    backend.rename(&unfinished, path).map_err(Error::io("rename to", path))?;
    let dir = path.parent().unwrap_or(Path::new("."));
    backend.sync_dir(dir).map_err(Error::io("sync", dir))
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
