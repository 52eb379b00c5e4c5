//! Writes the block of a span, of windows or of steps: whole, durable and read back, or not at all.
//!
//! Series are taken in passes by their numbers, so that never more than a part
//! of the span is in memory. Within a pass their chunks lie in the order of
//! their names: siblings are read together.

use super::backend::{Backend, File};
use super::block::{Block, CRC_BYTES, Footer, HEADER_BYTES, MAGIC, TRAILER_MAGIC, Unreadable, VERSION};
use super::block_index::{Entry, put_entries};
use super::block_source::{Gathered, Source, has_stats};
use super::chunk::{put_chunk, put_steps};
use super::error::Error;
use super::id_set::IdSet;
use super::names::NameWriter;
use super::point::{Class, last_float};
use super::section::{Table, Wanted};
use crate::catalogue::{Catalogue, key};
use crate::model::{MetricType, SeriesId, TimeRange};
use std::path::Path;

/// Chunks are gathered to writes of this size.
const WRITE_BYTES: usize = 1 << 20;
/// Points of so many bytes are in memory at a time, roughly.
const PASS_BYTES: u64 = 128 << 20;
/// Memory of a series in a pass besides its points, in bytes.
const SERIES_BYTES: u64 = 128;

/// Writes the block of a span to `path`. Also returns how many series had to be
/// left out, because nobody knows their name or their points do not read back:
/// one series must not stop all others.
pub(super) fn write(
    backend: &dyn Backend,
    path: &Path,
    source: &Source<'_>,
    block_span_ms: i64,
    catalogue: &Catalogue,
    stop: Stop<'_>,
) -> Result<(Block, u64), Error> {
    let write = |unfinished: &Path| write_file(backend, unfinished, source, block_span_ms, catalogue, stop);
    install(backend, path, stop, write)
}

/// Whether who asked for a block wants no more of it: looked at between chunks,
/// so that a stop does not wait for a block of a million series.
#[derive(Clone, Copy)]
pub(super) struct Stop<'a>(pub(super) &'a dyn Fn() -> bool);

impl Stop<'_> {
    pub(super) const NEVER: Stop<'static> = Stop(&|| false);

    /// # Errors
    /// [`Error::Stopped`]
    pub(super) fn check(self) -> Result<(), Error> {
        if (self.0)() { Err(Error::Stopped) } else { Ok(()) }
    }
}

/// Puts the block that `write` makes of a new file in its place, once it is
/// durable and was read back; what `write` returns besides.
pub(super) fn install<T, E: From<Error>>(
    backend: &dyn Backend,
    path: &Path,
    stop: Stop<'_>,
    write: impl FnOnce(&Path) -> Result<T, E>,
) -> Result<(Block, T), E> {
    let unfinished = path.with_extension("tmp");
    let named = write(&unfinished).and_then(|written| {
        let dir = path.parent().unwrap_or(Path::new("."));
        verify(backend, &unfinished, stop)?;
        backend.rename(&unfinished, path).map_err(Error::io("rename to", path))?;
        backend.sync_dir(dir).map_err(Error::io("sync", dir))?;
        Ok(written)
    });
    match named {
        Ok(written) => Ok((reopen(backend, path)?, written)),
        Err(error) => {
            // What is left of it goes at the next start, if not now.
            let _ = backend.remove(&unfinished);
            Err(error)
        }
    }
}

fn reopen(backend: &dyn Backend, path: &Path) -> Result<Block, Error> {
    match Block::open(backend, path) {
        Ok(block) => Ok(block),
        Err(Unreadable::Damaged(reason)) => Err(Error::Verify { path: path.into(), reason: reason.into() }),
        Err(Unreadable::Failed(error)) => Err(error),
    }
}

fn verify(backend: &dyn Backend, path: &Path, stop: Stop<'_>) -> Result<(), Error> {
    let error = |reason: String| Err(Error::Verify { path: path.into(), reason });
    let block = reopen(backend, path)?;
    let file = backend.open(path).map_err(Error::io("open", path))?;
    let (mut count, mut bad, mut go_on) = (0, None, Ok(()));
    block.entries(&*file, Wanted::ALL, |entry| {
        count += 1;
        if go_on.is_ok() {
            go_on = stop.check();
        }
        if go_on.is_ok() && bad.is_none() && block.read(&*file, &entry).is_err() {
            bad = Some(entry);
        }
    })?;
    go_on?;
    if let Some(entry) = bad {
        return error(format!("chunk of series {} at byte {}", entry.id, entry.offset));
    }
    if block.names(&*file)?.is_none() || block.index_damaged() || count != block.series().len() {
        return error("its index or its names".into());
    }
    Ok(())
}

fn write_file(
    backend: &dyn Backend,
    path: &Path,
    source: &Source<'_>,
    block_span_ms: i64,
    catalogue: &Catalogue,
    stop: Stop<'_>,
) -> Result<u64, Error> {
    let file = backend.create(path).map_err(Error::io("create", path))?;
    let mut writer = Writer::new(&*file, path, source.resolution_ms());
    let series = source.series(backend)?;
    let ids: Vec<u32> = series.iter().collect();
    let order = by_name(catalogue, &series);
    let mut unwritten = (ids.len() - order.len()) as u64;
    let mut contents = Contents::new(source.span(block_span_ms).1);
    for pass in passes(source.bytes(), &ids) {
        let gathered = source.gather(backend, pass, catalogue, stop)?;
        let place = |id: &u32| pass.binary_search(id).ok();
        let in_pass = order.iter().filter_map(|(id, metric_type)| Some((place(id)?, *id, *metric_type)));
        let mut entries = Vec::with_capacity(pass.len());
        for (place, id, metric_type) in in_pass {
            stop.check()?;
            let Some(points) = gathered.get(place).filter(|points| points.stream.points() > 0) else {
                continue;
            };
            match writer.put(id, metric_type, points) {
                Some(entry) => entries.push(entry),
                None => unwritten += 1,
            }
            writer.flush_if_large()?;
        }
        contents.add(entries);
    }
    let names = names(catalogue, &contents.series);
    let start_ms = source.start(block_span_ms, contents.range.start_ms);
    let times = (start_ms, source.last_end_ms());
    writer.finish(times, catalogue.next_id(), &names, contents)?;
    file.sync().map_err(Error::io("sync", path))?;
    Ok(unwritten)
}

/// The series of which somebody knows the name, in the order of names.
fn by_name(catalogue: &Catalogue, series: &IdSet) -> Vec<(u32, MetricType)> {
    let mut order = Vec::with_capacity(series.len());
    catalogue.in_key_order(|id, key| {
        if series.contains(id.0) {
            order.extend(key::metric_type(key).map(|metric_type| (id.0, metric_type)));
        }
    });
    order
}

/// The series in parts whose points fit into memory.
fn passes(bytes: u64, ids: &[u32]) -> impl Iterator<Item = &[u32]> {
    let passes = (bytes + ids.len() as u64 * SERIES_BYTES).div_ceil(PASS_BYTES).max(1);
    ids.chunks(ids.len().div_ceil(passes as usize).max(1))
}

/// The names of some series, as a block has them.
pub(super) fn names(catalogue: &Catalogue, series: &IdSet) -> Vec<u8> {
    let mut names = NameWriter::default();
    catalogue.in_key_order(|id, key| {
        if series.contains(id.0) {
            names.push(id.0, key);
        }
    });
    names.into_bytes()
}

/// What the index will say.
pub(super) struct Contents {
    end_ms: i64,
    index: Vec<u8>,
    table: Table,
    range: TimeRange,
    pub(super) series: IdSet,
}

impl Contents {
    pub(super) fn new(end_ms: i64) -> Self {
        let range = TimeRange { start_ms: i64::MAX, end_ms: i64::MIN };
        let (table, series) = (Table::default(), IdSet::default());
        Contents { end_ms, index: Vec::new(), table, range, series }
    }

    pub(super) fn add(&mut self, mut entries: Vec<Entry>) {
        entries.sort_unstable_by_key(|entry| entry.id);
        put_entries(&mut self.index, &mut self.table, &entries, self.end_ms);
        for entry in &entries {
            self.range.start_ms = self.range.start_ms.min(entry.first_ms);
            self.range.end_ms = self.range.end_ms.max(entry.last_ms);
        }
        self.series.unite(&IdSet::of_ascending(entries.iter().map(|entry| entry.id)));
    }
}

/// Writes the parts of a block's file one behind the other.
pub(super) struct Writer<'a> {
    file: &'a dyn File,
    path: &'a Path,
    resolution_ms: i64,
    out: Vec<u8>,
    written: u64,
}

impl<'a> Writer<'a> {
    pub(super) fn new(file: &'a dyn File, path: &'a Path, resolution_ms: i64) -> Self {
        let mut out = Vec::with_capacity(WRITE_BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        debug_assert_eq!(out.len(), HEADER_BYTES);
        Writer { file, path, resolution_ms, out, written: 0 }
    }

    /// Writes the chunk of a series; `None` when its points do not read back.
    pub(super) fn put(&mut self, id: u32, metric_type: MetricType, gathered: &Gathered) -> Option<Entry> {
        let start = self.out.len();
        let stream = &gathered.stream;
        let points = if has_stats(metric_type, self.resolution_ms) {
            put_steps(&mut self.out, SeriesId(id), stream, &gathered.stats)
        } else {
            put_chunk(&mut self.out, SeriesId(id), Class::of(metric_type), stream)
        };
        let Some(points) = points else {
            tracing::error!(series = id, "points of a series do not read back from memory and are lost");
            self.out.truncate(start);
            return None;
        };
        let crc = crc32fast::hash(self.out.get(start..).unwrap_or_default());
        self.out.extend_from_slice(&crc.to_le_bytes());
        debug_assert_eq!(size_of_val(&crc), CRC_BYTES);
        let (last, ended) = last_float(&points);
        Some(Entry {
            id,
            metric_type,
            offset: self.written + start as u64,
            length: (self.out.len() - start) as u32,
            first_ms: stream.first_ms(),
            last_ms: stream.last_ms().unwrap_or_default(),
            last,
            ended,
        })
    }

    /// Writes a chunk as it is, checksum included; returns where it is.
    pub(super) fn copy(&mut self, chunk: &[u8]) -> Result<u64, Error> {
        let at = self.written + self.out.len() as u64;
        self.put_part(chunk)?;
        Ok(at)
    }

    /// Index, names, footer, trailer.
    pub(super) fn finish(
        &mut self,
        (start_ms, last_end_ms): (i64, i64),
        next_id: u32,
        names: &[u8],
        contents: Contents,
    ) -> Result<(), Error> {
        let index_at = self.flush()?;
        let Contents { end_ms, index, table, range, series } = contents;
        self.put_part(&index)?;
        self.put_part(table.bytes())?;
        self.put_part(names)?;
        let footer = Footer {
            start_ms,
            resolution_ms: self.resolution_ms,
            end_ms,
            last_end_ms,
            next_id,
            // Of a block without points: none.
            range: if series.is_empty() { TimeRange { start_ms: end_ms, end_ms: end_ms - 1 } } else { range },
            index_at,
            index_bytes: self.length(index.len())?,
            groups: table.groups() as u32,
            table_crc: crc32fast::hash(table.bytes()),
            names_bytes: self.length(names.len())?,
            names_crc: crc32fast::hash(names),
            series,
        };
        let footer_at = self.flush()?;
        footer.put(&mut self.out);
        let (length, crc) = (self.length(self.out.len())?, crc32fast::hash(&self.out));
        self.out.extend_from_slice(&footer_at.to_le_bytes());
        self.out.extend_from_slice(&length.to_le_bytes());
        self.out.extend_from_slice(&crc.to_le_bytes());
        self.out.extend_from_slice(&TRAILER_MAGIC);
        self.flush().map(drop)
    }

    fn length(&self, bytes: usize) -> Result<u32, Error> {
        let too_long =
            || Error::Verify { path: self.path.into(), reason: "a part takes more than 4 GiB".into() };
        u32::try_from(bytes).map_err(|_| too_long())
    }

    fn put_part(&mut self, part: &[u8]) -> Result<(), Error> {
        for piece in part.chunks(WRITE_BYTES) {
            self.out.extend_from_slice(piece);
            self.flush_if_large()?;
        }
        Ok(())
    }

    pub(super) fn flush_if_large(&mut self) -> Result<(), Error> {
        if self.out.len() >= WRITE_BYTES { self.flush().map(drop) } else { Ok(()) }
    }

    /// Returns how many bytes are written.
    fn flush(&mut self) -> Result<u64, Error> {
        self.file.write_at(&self.out, self.written).map_err(Error::io("write", self.path))?;
        self.written += self.out.len() as u64;
        self.out.clear();
        Ok(self.written)
    }
}
