//! A block: the points of one span in an immutable file.
//!
//! Chunks lie in the order of their series' labels, so that siblings are read
//! together; the footer says what each is and where. Every chunk and the
//! footer have a checksum. A block gets its name only when it is whole and
//! durable. Its file is open only while it is read: with a long retention
//! there are more blocks than a process may have files.

use super::backend::{Backend, File};
use super::chunk::{put_chunk, read_chunk};
use super::coding::{Reader, put_bytes, put_number, put_signed, put_varint};
use super::error::Error;
use super::head::Span;
use super::point::{Class, last_float};
use crate::model::{Labels, MetricType, Points, SeriesId, SeriesKey, TimeRange};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const MAGIC: [u8; 8] = *b"SDblock\0";
const TRAILER_MAGIC: [u8; 4] = *b"SDb1";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 12;
/// footer offset, footer length, footer checksum, magic.
const TRAILER_BYTES: usize = 20;
const CRC_BYTES: usize = 4;
/// Flags of a series in the footer.
const HAS_LAST: u8 = 1;
const HAS_ENDED: u8 = 2;
/// Chunks are gathered to writes of this size.
const WRITE_BYTES: usize = 1 << 20;
/// Longest chunk or footer that is read.
const MAX_PART_BYTES: usize = 1 << 30;

/// A block whose footer was read.
pub(super) struct Block {
    path: PathBuf,
    bytes: u64,
    /// Last moment of its span, and the end of its last window.
    pub(super) end_ms: i64,
    pub(super) last_end_ms: i64,
    /// The next id that could be given when the block was written.
    pub(super) next_id: u32,
    /// Ascending by id.
    entries: Vec<Entry>,
    range: TimeRange,
    /// Series whose chunk could not be read.
    damaged: Mutex<BTreeSet<SeriesId>>,
}

/// Where the points of a series are.
#[derive(Clone, Copy, Debug)]
struct Entry {
    id: SeriesId,
    class: Class,
    length: u32,
    offset: u64,
    first_ms: i64,
    last_ms: i64,
}

/// A series as a block's footer names it.
pub(super) struct Listed {
    pub(super) id: SeriesId,
    pub(super) key: SeriesKey,
    pub(super) last_ms: i64,
    /// Last float that is no stale marker.
    pub(super) last: Option<f64>,
    /// Whether its last float is one.
    pub(super) ended: bool,
}

/// Name of the block whose span ends at `end_ms`. The 0 is its tier.
pub(super) fn block_name(end_ms: i64) -> String {
    format!("block-0-{end_ms:015}.sd")
}

pub(super) fn is_block_name(name: &str) -> bool {
    name.starts_with("block-0-") && name.ends_with(".sd")
}

/// Why a block could not be opened.
pub(super) enum Unreadable {
    /// Its bytes are not those that were written.
    Damaged(&'static str),
    Failed(Error),
}

/// Writes the block of `span` to `path`: whole, durable and read back, or not
/// at all. `series` are those of the span, ascending by labels. Also returns
/// those that had to be left out, because their stream does not read back: one
/// series must not stop all others.
pub(super) fn write(
    backend: &dyn Backend,
    path: &Path,
    span: &Span,
    series: &[(SeriesId, SeriesKey)],
    next_id: u32,
) -> Result<(Block, Vec<SeriesId>), Error> {
    let unfinished = path.with_extension("tmp");
    let written = write_file(backend, &unfinished, span, series, next_id);
    let named = written.and_then(|unwritten| {
        let dir = path.parent().unwrap_or(Path::new("."));
        verify(backend, &unfinished)?;
        backend.rename(&unfinished, path).map_err(Error::io("rename to", path))?;
        backend.sync_dir(dir).map_err(Error::io("sync", dir))?;
        Ok(unwritten)
    });
    match named {
        Ok(unwritten) => Ok((reopen(backend, path)?, unwritten)),
        Err(error) => {
            // What is left of it goes at the next start, if not now.
            let _ = backend.remove(&unfinished);
            Err(error)
        }
    }
}

fn reopen(backend: &dyn Backend, path: &Path) -> Result<Block, Error> {
    match Block::open(backend, path) {
        Ok((block, _)) => Ok(block),
        Err(Unreadable::Damaged(reason)) => Err(Error::Verify { path: path.into(), reason: reason.into() }),
        Err(Unreadable::Failed(error)) => Err(error),
    }
}

fn verify(backend: &dyn Backend, path: &Path) -> Result<(), Error> {
    let error = |reason: String| Error::Verify { path: path.into(), reason };
    let block = reopen(backend, path)?;
    let file = backend.open(path).map_err(Error::io("open", path))?;
    match block.entries.iter().find(|entry| read_entry(&*file, entry).is_err()) {
        Some(entry) => Err(error(format!("chunk of series {} at byte {}", entry.id.0, entry.offset))),
        None => Ok(()),
    }
}

fn write_file(
    backend: &dyn Backend,
    path: &Path,
    span: &Span,
    series: &[(SeriesId, SeriesKey)],
    next_id: u32,
) -> Result<Vec<SeriesId>, Error> {
    let file = backend.create(path).map_err(Error::io("create", path))?;
    let mut out = Vec::with_capacity(WRITE_BYTES);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    let mut written = 0u64;
    let mut flush = |out: &mut Vec<u8>| {
        file.write_at(out, written).map_err(Error::io("write", path))?;
        written += out.len() as u64;
        out.clear();
        Ok(written)
    };

    let symbols = symbols(series);
    let mut entries = Vec::new();
    let mut count = 0u64;
    let mut unwritten = Vec::new();
    for (id, key) in series {
        let Some((_, stream)) = span.streams.get(id).filter(|(_, stream)| stream.points() > 0) else {
            continue;
        };
        let start = out.len();
        let points = put_chunk(&mut out, *id, Class::of(key.metric_type), stream);
        let Some(points) = points else {
            tracing::error!(series = id.0, "points of a series do not read back from memory and are lost");
            out.truncate(start);
            unwritten.push(*id);
            continue;
        };
        let crc = crc32fast::hash(out.get(start..).unwrap_or_default());
        out.extend_from_slice(&crc.to_le_bytes());
        let last_ms = stream.last_ms().unwrap_or_default();
        put_varint(&mut entries, u64::from(id.0));
        entries.push(key.metric_type as u8);
        put_varint(&mut entries, (out.len() - start) as u64);
        put_signed(&mut entries, span.end_ms - stream.first_ms());
        put_signed(&mut entries, span.end_ms - last_ms);
        let (last, ended) = last_float(&points);
        let flags = [(last.is_some(), HAS_LAST), (ended, HAS_ENDED)];
        entries.push(flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum());
        last.into_iter().for_each(|last| put_number(&mut entries, last));
        put_varint(&mut entries, key.labels.len() as u64);
        for (name, value) in key.labels.iter() {
            for text in [name, value] {
                put_varint(&mut entries, symbols.get(text).copied().unwrap_or_default());
            }
        }
        count += 1;
        if out.len() >= WRITE_BYTES {
            flush(&mut out)?;
        }
    }
    let footer_offset = flush(&mut out)?;

    put_signed(&mut out, span.end_ms);
    put_signed(&mut out, span.last_end_ms);
    put_varint(&mut out, u64::from(next_id));
    put_varint(&mut out, symbols.len() as u64);
    symbols.keys().for_each(|text| put_bytes(&mut out, text.as_bytes()));
    put_varint(&mut out, count);
    out.extend_from_slice(&entries);
    let crc = crc32fast::hash(&out);
    let length = out.len() as u32;
    out.extend_from_slice(&footer_offset.to_le_bytes());
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&TRAILER_MAGIC);
    flush(&mut out)?;
    file.sync().map_err(Error::io("sync", path))?;
    Ok(unwritten)
}

/// Every text of the labels with its number, ascending.
fn symbols(series: &[(SeriesId, SeriesKey)]) -> BTreeMap<&str, u64> {
    let texts = series.iter().flat_map(|(_, key)| key.labels.iter().flat_map(|(name, value)| [name, value]));
    let mut symbols: BTreeMap<&str, u64> = texts.map(|text| (text, 0)).collect();
    symbols.values_mut().zip(0..).for_each(|(number, at)| *number = at);
    symbols
}

impl Block {
    /// Opens a block and reads its footer.
    pub(super) fn open(backend: &dyn Backend, path: &Path) -> Result<(Block, Vec<Listed>), Unreadable> {
        let failed =
            |action| move |source| Unreadable::Failed(Error::Io { action, path: path.into(), source });
        let file = backend.open(path).map_err(failed("open"))?;
        let bytes = file.size().map_err(failed("measure"))?;
        let Some(trailer_offset) = bytes.checked_sub(TRAILER_BYTES as u64) else {
            return Err(Unreadable::Damaged("it is too short"));
        };
        let mut trailer = [0; TRAILER_BYTES];
        file.read_at(&mut trailer, trailer_offset).map_err(failed("read"))?;
        let Some((offset, length, crc)) = read_trailer(&trailer) else {
            return Err(newer(&*file, path).unwrap_or(Unreadable::Damaged("its trailer is damaged")));
        };
        let sound = offset >= HEADER_BYTES as u64
            && length as usize <= MAX_PART_BYTES
            && offset.checked_add(u64::from(length)) == Some(trailer_offset);
        if !sound {
            return Err(Unreadable::Damaged("its trailer is damaged"));
        }
        let mut footer = vec![0; length as usize];
        file.read_at(&mut footer, offset).map_err(failed("read"))?;
        if crc32fast::hash(&footer) != crc {
            return Err(Unreadable::Damaged("its footer is damaged"));
        }
        let mut block = Block {
            path: path.into(),
            bytes,
            end_ms: 0,
            last_end_ms: 0,
            next_id: 0,
            entries: Vec::new(),
            range: TimeRange { start_ms: i64::MAX, end_ms: i64::MIN },
            damaged: Mutex::default(),
        };
        let listed =
            block.read_footer(&footer, offset).ok_or(Unreadable::Damaged("its footer is not one"))?;
        Ok((block, listed))
    }

    fn read_footer(&mut self, footer: &[u8], footer_offset: u64) -> Option<Vec<Listed>> {
        let reader = &mut Reader::new(footer);
        self.end_ms = reader.signed()?;
        self.last_end_ms = reader.signed()?;
        self.next_id = u32::try_from(reader.varint()?).ok()?;
        let symbol_count = reader.count()?;
        let symbols = (0..symbol_count).map(|_| reader.text()).collect::<Option<Vec<_>>>()?;
        let count = reader.count()?;
        let mut listed = Vec::with_capacity(count);
        let mut offset = HEADER_BYTES as u64;
        for _ in 0..count {
            let id = SeriesId(u32::try_from(reader.varint()?).ok()?);
            let metric_type = MetricType::from_u8(reader.byte()?)?;
            let length = u32::try_from(reader.varint()?).ok()?;
            let first_ms = self.end_ms.checked_sub(reader.signed()?)?;
            let last_ms = self.end_ms.checked_sub(reader.signed()?)?;
            let flags = reader.byte()?;
            let last = if flags & HAS_LAST != 0 { Some(reader.number()?) } else { None };
            let ended = flags & HAS_ENDED != 0;
            let label_count = reader.count()?;
            let mut text = || symbols.get(usize::try_from(reader.varint()?).ok()?).copied();
            let pairs = (0..label_count).map(|_| Some((text()?, text()?))).collect::<Option<Vec<_>>>()?;
            let key = SeriesKey { labels: Labels::from_pairs(pairs), metric_type };
            let class = Class::of(metric_type);
            self.entries.push(Entry { id, class, length, offset, first_ms, last_ms });
            self.range.start_ms = self.range.start_ms.min(first_ms);
            self.range.end_ms = self.range.end_ms.max(last_ms);
            listed.push(Listed { id, key, last_ms, last, ended });
            offset = offset.checked_add(u64::from(length))?;
        }
        self.entries.sort_unstable_by_key(|entry| entry.id);
        (reader.is_empty() && offset == footer_offset).then_some(listed)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = SeriesId> + '_ {
        self.entries.iter().map(|entry| entry.id)
    }

    /// Notes that the chunk of a series cannot be read; whether that is news.
    pub(super) fn report_damaged(&self, id: SeriesId) -> bool {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).insert(id)
    }

    /// Number of chunks that could not be read.
    pub(super) fn damaged(&self) -> usize {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether it has points of the time.
    pub(super) fn overlaps(&self, range: &TimeRange) -> bool {
        self.range.overlaps(range)
    }

    fn entry(&self, id: SeriesId, range: &TimeRange) -> Option<&Entry> {
        let at = self.entries.binary_search_by_key(&id, |entry| entry.id).ok()?;
        let entry = self.entries.get(at)?;
        TimeRange { start_ms: entry.first_ms, end_ms: entry.last_ms }.overlaps(range).then_some(entry)
    }

    /// Whether the series has points around the time.
    pub(super) fn has(&self, id: SeriesId, range: &TimeRange) -> bool {
        self.entry(id, range).is_some()
    }

    /// Opens its file for [`Block::read`]; `None` when the block was dropped
    /// meanwhile, with all that is in it.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub(super) fn file(&self, backend: &dyn Backend) -> Result<Option<Box<dyn File>>, Error> {
        match backend.open(&self.path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("open", &self.path)(error)),
        }
    }

    /// The points of a series, if there are any around the time. An error of
    /// kind `InvalidData` says that the chunk is damaged.
    pub(super) fn read(
        &self,
        file: &dyn File,
        id: SeriesId,
        range: &TimeRange,
    ) -> io::Result<Option<Points>> {
        self.entry(id, range).map(|entry| read_entry(file, entry)).transpose()
    }
}

fn read_entry(file: &dyn File, entry: &Entry) -> io::Result<Points> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "chunk is damaged");
    let length = entry.length as usize;
    if !(CRC_BYTES..=MAX_PART_BYTES).contains(&length) {
        return Err(damaged());
    }
    let mut bytes = vec![0; length];
    file.read_at(&mut bytes, entry.offset)?;
    let (chunk, crc) = bytes.split_last_chunk::<CRC_BYTES>().ok_or_else(damaged)?;
    if crc32fast::hash(chunk) != u32::from_le_bytes(*crc) {
        return Err(damaged());
    }
    read_chunk(chunk, entry.id, entry.class).ok_or_else(damaged)
}

fn read_trailer(trailer: &[u8]) -> Option<(u64, u32, u32)> {
    let mut reader = Reader::new(trailer);
    let fields = (reader.fixed_u64()?, reader.fixed_u32()?, reader.fixed_u32()?);
    (reader.rest() == TRAILER_MAGIC).then_some(fields)
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
