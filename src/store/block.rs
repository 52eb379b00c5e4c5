//! A block: the points of one span in an immutable file, window by window or,
//! of a coarser tier, step by step.
//!
//! An index by number says where the chunk of each series is; names and index
//! are read from the file when they are asked for, so that in memory is little
//! more than which series there are. Every part has a checksum. The file is
//! open only while it is read: with a long retention there are more blocks than
//! a process may have files.

use super::backend::{Backend, File};
use super::block_index::{Entry, read_entries};
use super::chunk::{Chunk, read_chunk};
use super::coding::{Reader, put_signed, put_varint};
use super::error::Error;
use super::id_set::IdSet;
use super::point::Class;
use super::section::{Buffers, ENTRY_BYTES, Section, Wanted};
use crate::model::{SeriesId, TimeRange, duration};
use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

pub(super) const MAGIC: [u8; 8] = *b"SDblock\0";
pub(super) const TRAILER_MAGIC: [u8; 4] = *b"SDb3";
/// That of version 2, whose columns have other forms, and of version 1, whose
/// footer has no start and no resolution.
const TRAILER_MAGIC_2: [u8; 4] = *b"SDb2";
const TRAILER_MAGIC_1: [u8; 4] = *b"SDb1";
pub(super) const VERSION: u32 = 3;
pub(super) const HEADER_BYTES: usize = 12;
/// footer offset, footer length, footer checksum, magic.
const TRAILER_BYTES: usize = 20;
pub(super) const CRC_BYTES: usize = 4;
/// A span of version 1 begins with an hour.
const HOUR_MS: i64 = 3_600_000;
/// Longest part that is read.
const MAX_PART_BYTES: usize = 1 << 30;

/// A block whose footer was read.
pub(super) struct Block {
    path: PathBuf,
    bytes: u64,
    pub(super) footer: Footer,
    index: Section,
    index_damaged: AtomicBool,
    /// Whether its file was found to be gone.
    gone: AtomicBool,
    /// Series whose chunk could not be read.
    damaged: Mutex<BTreeSet<u32>>,
}

/// What a block's footer says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Footer {
    /// Last moment before its span. What is built of it is built of all that the
    /// finer tiers had of `(start_ms, end_ms]`.
    pub(super) start_ms: i64,
    /// Step of its points in ms; 0 when they are windows.
    pub(super) resolution_ms: i64,
    /// Last moment of its span, and the end of its last window.
    pub(super) end_ms: i64,
    pub(super) last_end_ms: i64,
    /// The next id that could be given when the block was written.
    pub(super) next_id: u32,
    /// First and last point.
    pub(super) range: TimeRange,
    pub(super) index_at: u64,
    pub(super) index_bytes: u32,
    pub(super) groups: u32,
    pub(super) table_crc: u32,
    pub(super) names_bytes: u32,
    pub(super) names_crc: u32,
    pub(super) series: IdSet,
}

/// Name of the block whose span ends at `end_ms`.
pub(super) fn block_name(resolution_ms: i64, end_ms: i64) -> String {
    match u64::try_from(resolution_ms) {
        Ok(step_ms @ 1..) => format!("block-{}-{end_ms:015}.sd", duration::format_ms(step_ms)),
        _ => format!("block-0-{end_ms:015}.sd"),
    }
}

pub(super) fn is_block_name(name: &str) -> bool {
    block_place(name).is_some()
}

/// Step and end in the name of a block.
pub(super) fn block_place(name: &str) -> Option<(i64, i64)> {
    let (step, end) = name.strip_prefix("block-")?.strip_suffix(".sd")?.split_once('-')?;
    let step_ms = if step == "0" { 0 } else { i64::try_from(duration::parse_ms(step).ok()?).ok()? };
    let is_end = !end.is_empty() && end.bytes().all(|byte| byte.is_ascii_digit());
    // What is no time is a name all the same.
    is_end.then(|| (step_ms, end.parse().unwrap_or(i64::MAX)))
}

/// Why a block could not be opened.
pub(super) enum Unreadable {
    /// Its bytes are not those that were written.
    Damaged(&'static str),
    Failed(Error),
}

impl Footer {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_signed(out, self.end_ms);
        put_varint(out, (self.end_ms - self.start_ms) as u64);
        put_varint(out, self.resolution_ms as u64);
        put_signed(out, self.last_end_ms);
        put_varint(out, u64::from(self.next_id));
        put_signed(out, self.end_ms - self.range.start_ms);
        put_signed(out, self.end_ms - self.range.end_ms);
        put_varint(out, self.index_at);
        put_varint(out, u64::from(self.index_bytes));
        put_varint(out, u64::from(self.groups));
        out.extend_from_slice(&self.table_crc.to_le_bytes());
        put_varint(out, u64::from(self.names_bytes));
        out.extend_from_slice(&self.names_crc.to_le_bytes());
        self.series.put(out);
    }

    fn read(bytes: &[u8], version: u32) -> Option<Footer> {
        let reader = &mut Reader::new(bytes);
        let number = |reader: &mut Reader<'_>| u32::try_from(reader.varint()?).ok();
        let time = |reader: &mut Reader<'_>| i64::try_from(reader.varint()?).ok();
        let end_ms = reader.signed()?;
        let told = if version > 1 { Some((time(reader)?, time(reader)?)) } else { None };
        let last_end_ms = reader.signed()?;
        let next_id = number(reader)?;
        let start_ms = end_ms.checked_sub(reader.signed()?)?;
        let range = TimeRange { start_ms, end_ms: end_ms.checked_sub(reader.signed()?)? };
        let (index_at, index_bytes) = (reader.varint()?, number(reader)?);
        let (groups, table_crc) = (number(reader)?, reader.fixed_u32()?);
        let (names_bytes, names_crc) = (number(reader)?, reader.fixed_u32()?);
        // An entry of the index takes more than a byte.
        let series = IdSet::read(reader, u64::from(index_bytes))?;
        let (start_ms, resolution_ms) = match told {
            Some((length_ms, resolution_ms)) => (end_ms.checked_sub(length_ms)?, resolution_ms),
            None => (range.start_ms.min(end_ms.checked_sub(1)?).div_euclid(HOUR_MS) * HOUR_MS, 0),
        };
        reader.is_empty().then_some(Footer {
            start_ms,
            resolution_ms,
            end_ms,
            last_end_ms,
            next_id,
            range,
            index_at,
            index_bytes,
            groups,
            table_crc,
            names_bytes,
            names_crc,
            series,
        })
    }

    fn table_at(&self) -> Option<u64> {
        self.index_at.checked_add(u64::from(self.index_bytes))
    }

    pub(super) fn names_at(&self) -> Option<u64> {
        self.table_at()?.checked_add(u64::from(self.groups) * ENTRY_BYTES as u64)
    }
}

impl Block {
    /// Opens a block and reads its footer.
    pub(super) fn open(backend: &dyn Backend, path: &Path) -> Result<Block, Unreadable> {
        let failed =
            |action| move |source| Unreadable::Failed(Error::Io { action, path: path.into(), source });
        let damaged = Unreadable::Damaged;
        let file = backend.open(path).map_err(failed("open"))?;
        let bytes = file.size().map_err(failed("measure"))?;
        let Some(trailer_offset) = bytes.checked_sub(TRAILER_BYTES as u64) else {
            return Err(damaged("it is too short"));
        };
        let mut trailer = [0; TRAILER_BYTES];
        file.read_at(&mut trailer, trailer_offset).map_err(failed("read"))?;
        let Some((offset, length, crc, version)) = read_trailer(&trailer) else {
            return Err(newer(&*file, path).unwrap_or(damaged("its trailer is damaged")));
        };
        let sound = offset >= HEADER_BYTES as u64
            && length as usize <= MAX_PART_BYTES
            && offset.checked_add(u64::from(length)) == Some(trailer_offset);
        if !sound {
            return Err(damaged("its trailer is damaged"));
        }
        let footer = part(&*file, offset, length, crc).map_err(failed("read"))?;
        let footer = footer.ok_or(damaged("its footer is damaged"))?;
        // Its checksum is right: nothing is damaged.
        let footer = Footer::read(&footer, version).ok_or_else(|| failed("read")(foreign()))?;
        let (table_at, names_at) = footer.table_at().zip(footer.names_at()).unwrap_or_default();
        if names_at.checked_add(u64::from(footer.names_bytes)) != Some(offset) {
            return Err(damaged("its footer is not one"));
        }
        let table_bytes = (names_at - table_at) as u32;
        let table = part(&*file, table_at, table_bytes, footer.table_crc).map_err(failed("read"))?;
        let index =
            table.and_then(|table| Section::new(footer.index_at, footer.index_bytes, table_at, &table));
        Ok(Block {
            path: path.into(),
            bytes,
            index: index.ok_or(damaged("the table of its index is damaged"))?,
            footer,
            index_damaged: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            damaged: Mutex::default(),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn index(&self) -> &Section {
        &self.index
    }

    /// Whether nothing can be read of it any more.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// The series that it has points of.
    pub(super) fn series(&self) -> &IdSet {
        &self.footer.series
    }

    /// Bytes of memory.
    pub(super) fn memory(&self) -> usize {
        size_of::<Self>() + self.index.memory() + self.footer.series.memory()
    }

    /// Notes that the chunk of a series cannot be read; whether that is news.
    fn report_damaged(&self, id: u32) -> bool {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).insert(id)
    }

    /// Notes and logs, once, that the chunk of a series cannot be read.
    pub(super) fn report(&self, id: u32, error: &io::Error) {
        if self.report_damaged(id) {
            tracing::error!(
                path = %self.path.display(),
                series = id,
                %error,
                "points of a series cannot be read and are left out"
            );
        }
    }

    /// Number of chunks that could not be read.
    pub(super) fn damaged(&self) -> usize {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether its index or its names turned out to be damaged.
    pub(super) fn index_damaged(&self) -> bool {
        self.index_damaged.load(Ordering::Relaxed)
    }

    /// Whether it has points of the time.
    pub(super) fn overlaps(&self, range: &TimeRange) -> bool {
        self.footer.range.overlaps(range)
    }

    /// Opens its file; `None` when the block was dropped meanwhile, with all
    /// that is in it.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Gone`] where another process drops blocks.
    pub(super) fn file(&self, backend: &dyn Backend) -> Result<Option<Box<dyn File>>, Error> {
        match backend.open(&self.path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if backend.is_read_only() {
                    return Err(Error::Gone { path: self.path.clone() });
                }
                self.gone.store(true, Ordering::Relaxed);
                Ok(None)
            }
            Err(error) => Err(Error::io("open", &self.path)(error)),
        }
    }

    /// Calls `each` with the index's entries of the series that are wanted,
    /// ascending by id. What is damaged is left out, and reported once.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub(super) fn entries(
        &self,
        file: &dyn File,
        wanted: Wanted<'_>,
        mut each: impl FnMut(Entry),
    ) -> Result<(), Error> {
        let read = |group: &[u8]| read_entries(group, wanted, self.footer.end_ms, &mut each).is_some();
        let sound = self.index.visit(file, wanted, &mut Buffers::default(), read);
        if !sound.map_err(Error::io("read", &self.path))? {
            self.report_index("the index of a block is damaged; some series are left out");
        }
        Ok(())
    }

    /// The names of its series; `None`, and reported, when they are damaged.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub(super) fn names(&self, file: &dyn File) -> Result<Option<Vec<u8>>, Error> {
        let at = self.footer.names_at().unwrap_or_default();
        let names = part(file, at, self.footer.names_bytes, self.footer.names_crc);
        let names = names.map_err(Error::io("read", &self.path))?;
        if names.is_none() {
            self.report_index("the names in a block are damaged; series that only it names are left out");
        }
        Ok(names)
    }

    /// The points of a series. An error of kind `InvalidData` says that the
    /// chunk is damaged.
    pub(super) fn read(&self, file: &dyn File, entry: &Entry) -> io::Result<Chunk> {
        let mut bytes = Vec::new();
        let end = entry.offset.checked_add(u64::from(entry.length)).ok_or_else(damaged)?;
        self.fill(file, entry.offset..end, &mut bytes)?;
        read_chunk(checked(&bytes)?, SeriesId(entry.id), Class::of(entry.metric_type)).ok_or_else(damaged)
    }

    /// Fills `bytes` with a part of the file that holds chunks.
    ///
    /// # Errors
    /// When it cannot be read; `InvalidData` when no chunks can be there.
    pub(super) fn fill(&self, file: &dyn File, place: Range<u64>, bytes: &mut Vec<u8>) -> io::Result<()> {
        let length = place.end.checked_sub(place.start).and_then(|length| usize::try_from(length).ok());
        let length = length.filter(|length| place.end <= self.footer.index_at && *length <= MAX_PART_BYTES);
        bytes.resize(length.ok_or_else(damaged)?, 0);
        file.read_at(bytes, place.start)
    }

    fn report_index(&self, what: &str) {
        if !self.index_damaged.swap(true, Ordering::Relaxed) {
            tracing::error!(path = %self.path.display(), "{what}");
        }
    }
}

/// The chunk in `bytes`, without its checksum, if that is right. An error of
/// kind `InvalidData` says that it is not.
pub(super) fn checked(bytes: &[u8]) -> io::Result<&[u8]> {
    let (chunk, crc) = bytes.split_last_chunk::<CRC_BYTES>().ok_or_else(damaged)?;
    (crc32fast::hash(chunk) == u32::from_le_bytes(*crc)).then_some(chunk).ok_or_else(damaged)
}

pub(super) fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "chunk is damaged")
}

/// A part of the file, if its checksum is right.
fn part(file: &dyn File, at: u64, length: u32, crc: u32) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; length as usize];
    file.read_at(&mut bytes, at)?;
    Ok((crc32fast::hash(&bytes) == crc).then_some(bytes))
}

/// Place, length and checksum of the footer, and the version.
fn read_trailer(trailer: &[u8]) -> Option<(u64, u32, u32, u32)> {
    let mut reader = Reader::new(trailer);
    let (offset, length, crc) = (reader.fixed_u64()?, reader.fixed_u32()?, reader.fixed_u32()?);
    let version = match reader.rest() {
        magic if magic == TRAILER_MAGIC => VERSION,
        magic if magic == TRAILER_MAGIC_2 => 2,
        magic if magic == TRAILER_MAGIC_1 => 1,
        _ => return None,
    };
    Some((offset, length, crc, version))
}

fn foreign() -> io::Error {
    let what = "its footer has a form that this statsdeck does not know; use the newer one that wrote it";
    io::Error::new(io::ErrorKind::Unsupported, what)
}

/// Whether the file is a block of a version that is not known yet.
fn newer(file: &dyn File, path: &Path) -> Option<Unreadable> {
    let mut header = [0; HEADER_BYTES];
    file.read_at(&mut header, 0).ok()?;
    let mut reader = Reader::new(&header);
    let magic = reader.take(MAGIC.len())?;
    let found = reader.fixed_u32()?;
    (magic == MAGIC && found > VERSION)
        .then(|| Unreadable::Failed(Error::Version { path: path.into(), found, known: VERSION }))
}
