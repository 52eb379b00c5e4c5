//! What a block is written of: the windows of the log, or finer blocks.

use super::backend::Backend;
use super::block::Block;
use super::block_index::Entry;
use super::block_writer::Stop;
use super::chunk::Chunk;
use super::error::Error;
use super::frame::FrameReader;
use super::gauge::Stats;
use super::head::Complete;
use super::id_set::IdSet;
use super::late::LateKind;
use super::section::Wanted;
use super::step::Steps;
use super::stream::Stream;
use super::tier::Build;
use super::transpose;
use crate::catalogue::Catalogue;
use crate::model::{MetricType, SeriesId};
use std::io;

/// Bytes of memory that a byte of a finer block may become, roughly: it holds
/// columns, in memory are streams.
const UNPACKED: u64 = 2;

/// See the module's head.
pub(super) enum Source<'a> {
    Windows(&'a Complete),
    Steps(&'a Build),
}

/// The points of a series; of a gauge's steps with the numbers beside them.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) stream: Stream,
    pub(super) stats: Vec<Stats>,
}

impl Source<'_> {
    /// The span, open at its start, in ms.
    pub(super) fn span(&self, block_span_ms: i64) -> (i64, i64) {
        match self {
            Source::Windows(complete) => (complete.span.end_ms - block_span_ms, complete.span.end_ms),
            Source::Steps(build) => (build.start_ms, build.end_ms),
        }
    }

    /// Where the span begins, when the first point is at `first_ms`: windows that
    /// came late are in the next block that was written.
    pub(super) fn start(&self, block_span_ms: i64, first_ms: i64) -> i64 {
        let (start_ms, _) = self.span(block_span_ms);
        match self {
            Source::Windows(complete) if first_ms < start_ms => {
                let first_start_ms = first_ms.div_euclid(block_span_ms).saturating_mul(block_span_ms);
                first_start_ms.max(complete.sealed_ms)
            }
            _ => start_ms,
        }
    }

    pub(super) fn resolution_ms(&self) -> i64 {
        match self {
            Source::Windows(_) => 0,
            Source::Steps(build) => build.resolution_ms,
        }
    }

    /// End of the last window in it.
    pub(super) fn last_end_ms(&self) -> i64 {
        match self {
            Source::Windows(complete) => complete.span.last_end_ms(),
            Source::Steps(build) => {
                let ends = build.parts.iter().map(|part| part.block.footer.last_end_ms.min(build.end_ms));
                ends.max().unwrap_or(build.end_ms)
            }
        }
    }

    /// Bytes of memory that all its points together may take, roughly.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Source::Windows(complete) => {
                let frames = complete.span.frames.iter().map(|frame| frame.data_bytes());
                // What was sampled elsewhere is brought into order first.
                let late = complete.late_frames().into_iter().map(|frame| frame.late_bytes() * UNPACKED);
                frames.chain(late).sum()
            }
            Source::Steps(build) => {
                build.parts.iter().map(|part| part.block.bytes().saturating_mul(UNPACKED)).sum()
            }
        }
    }

    /// The series that may have points.
    pub(super) fn series(&self, backend: &dyn Backend) -> Result<IdSet, Error> {
        match self {
            Source::Windows(complete) => series_of_windows(backend, complete),
            Source::Steps(build) => {
                let mut series = IdSet::default();
                build.parts.iter().for_each(|part| series.unite(part.block.series()));
                Ok(series)
            }
        }
    }

    /// The points of the series in `ids`, which ascend, in the order of `ids`.
    pub(super) fn gather(
        &self,
        backend: &dyn Backend,
        ids: &[u32],
        catalogue: &Catalogue,
        stop: Stop<'_>,
    ) -> Result<Vec<Gathered>, Error> {
        match self {
            Source::Windows(complete) => {
                let streams = transpose::gather(backend, complete, ids, stop)?;
                Ok(streams.into_iter().map(|stream| Gathered { stream, stats: Vec::new() }).collect())
            }
            Source::Steps(build) => steps(backend, build, ids, catalogue, stop),
        }
    }
}

fn series_of_windows(backend: &dyn Backend, complete: &Complete) -> Result<IdSet, Error> {
    let mut series = complete.span.series();
    let (mut files, mut reader) = (complete.files(), FrameReader::default());
    for frame in complete.late_frames() {
        let Some(file) = files.of(backend, frame.segment())? else { continue };
        for kind in LateKind::ALL {
            let each = |id| series.insert(id);
            let read = frame.read_late_ids(&*file, kind, Wanted::ALL, &mut reader, each);
            read.map_err(Error::io("read", frame.segment().path()))?;
        }
    }
    Ok(series)
}

fn steps(
    backend: &dyn Backend,
    build: &Build,
    ids: &[u32],
    catalogue: &Catalogue,
    stop: Stop<'_>,
) -> Result<Vec<Gathered>, Error> {
    // What nobody knows the name of is left out by who writes.
    let key = |id: &u32| catalogue.series(SeriesId(*id));
    let mut all: Vec<Option<Steps>> =
        ids.iter().map(|id| key(id).map(|key| Steps::new(build.resolution_ms, &key))).collect();
    for part in &build.parts {
        let Some(file) = part.block.file(backend)? else { continue };
        let mut entries: Vec<Entry> = Vec::new();
        part.block.entries(&*file, Wanted::Ids(ids), |entry| {
            if entry.overlaps(&part.range_of(entry.metric_type)) {
                entries.push(entry);
            }
        })?;
        // In the order of the file.
        entries.sort_unstable_by_key(|entry| entry.offset);
        for entry in &entries {
            stop.check()?;
            let place = ids.binary_search(&entry.id).ok();
            let Some(Some(steps)) = place.and_then(|place| all.get_mut(place)) else { continue };
            if let Some(chunk) = chunk(&part.block, &*file, entry)? {
                steps.take(chunk, &part.range_of(entry.metric_type));
            }
        }
    }
    let gathered = all.into_iter().map(|steps| {
        let (stream, stats) = steps.map(Steps::finish).unwrap_or_default();
        Gathered { stream, stats }
    });
    Ok(gathered.collect())
}

/// A chunk that is damaged is left out, and reported; one that cannot be read
/// now may be read later.
fn chunk(block: &Block, file: &dyn super::backend::File, entry: &Entry) -> Result<Option<Chunk>, Error> {
    match block.read(file, entry) {
        Ok(chunk) => Ok(Some(chunk)),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            block.report(entry.id, &error);
            Ok(None)
        }
        Err(error) => Err(Error::io("read", block.path())(error)),
    }
}

/// Whether a series is a gauge, or may be one: then its steps have numbers
/// beside them.
pub(super) fn has_stats(metric_type: MetricType, resolution_ms: i64) -> bool {
    matches!(metric_type, MetricType::Gauge | MetricType::Sampled) && resolution_ms > 0
}
