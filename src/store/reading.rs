//! Series that were found, whose points are read some at a time, by several
//! threads at once.
//!
//! What there is was settled when the reading began: the files of its blocks are
//! open, its windows of the log are read. A series is read from each block once;
//! chunks that lie together in a file, as those of siblings do, are read as one.

use super::backend::{Backend, File};
use super::block;
use super::block_index::Entry;
use super::error::Error;
use super::gathering::{Budget, Chunk, Gathering};
use super::point::Class;
use super::section::Wanted;
use super::store::Store;
use super::tier::Part;
use crate::lock::lock;
use crate::model::{GaugePart, Grains, MetricType, Points, Series, SeriesId, SeriesKey, TimeRange};
use crate::workers;
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// Chunks that lie together are read at once, up to about so many bytes.
const READ_BYTES: u64 = 1 << 20;
/// A few bytes that nobody asked for are cheaper than another read.
const GAP_BYTES: u64 = 4096;
/// Blocks whose files stay open as long as a reading lasts: those of a few weeks.
/// The others are opened each time.
const FILES_MAX: usize = 64;
/// Series whose index entries are looked up at once.
const LOOKUP_SERIES: usize = 4096;
/// Below so many lookups in all blocks another thread is not worth its start.
const FEW_LOOKUPS: usize = 512;

/// See the module's head.
pub struct Reading {
    backend: Arc<dyn Backend>,
    pub(super) range: TimeRange,
    gauge: GaugePart,
    /// Ascending; `log` has the points of each that are not in a block.
    pub(super) keys: Vec<SeriesKey>,
    pub(super) log: Mutex<Vec<Points>>,
    pub(super) blocks: Vec<OpenBlock>,
}

/// A block, and where in it the points of series are.
pub(super) struct OpenBlock {
    pub(super) part: Part,
    /// `None` when it is opened each time.
    file: Option<Box<dyn File>>,
    /// Ascending by place.
    pub(super) chunks: Vec<ChunkAt>,
}

/// A chunk of the series at a place in [`Reading::keys`].
#[derive(Clone, Copy)]
pub(super) struct ChunkAt {
    pub(super) place: u32,
    pub(super) id: u32,
    length: u32,
    offset: u64,
}

impl ChunkAt {
    pub(super) fn bytes(&self) -> u64 {
        u64::from(self.length)
    }

    fn end(&self) -> u64 {
        self.offset + u64::from(self.length)
    }
}

/// What is to be read of which blocks.
pub(super) struct Asked<'a> {
    pub(super) range: TimeRange,
    pub(super) grains: &'a Grains,
    /// Blocks of each resolution.
    pub(super) parts: &'a [(i64, Vec<Part>)],
}

impl Reading {
    /// Of no series.
    pub(super) fn empty(store: &Store, range: TimeRange) -> Self {
        let (keys, log, blocks) = (Vec::new(), Mutex::default(), Vec::new());
        Reading { backend: store.backend.clone(), range, gauge: GaugePart::Last, keys, log, blocks }
    }

    /// Of series by number, each with its points of the log. `None` when a file
    /// went away, unless that is the `last_try`; then it is left out.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub(super) fn new(
        store: &Store,
        asked: &Asked<'_>,
        mut found: Vec<(u32, SeriesKey, Points)>,
        last_try: bool,
    ) -> Result<Option<Reading>, Error> {
        // Mostly in order already: found in that of encoded keys.
        found.sort_by(|a, b| a.1.cmp(&b.1));
        let types: Vec<MetricType> = found.iter().map(|(_, key, _)| key.metric_type).collect();
        let mut places: Vec<(u32, u32)> =
            found.iter().enumerate().map(|(place, (id, ..))| (*id, place as u32)).collect();
        places.sort_unstable();
        let mut wanted: Vec<(&Part, Vec<(u32, u32)>)> = Vec::new();
        for (step_ms, parts) in asked.parts {
            let is_of_step = |(_, place): &&(u32, u32)| {
                let metric_type = types.get(*place as usize);
                metric_type.is_some_and(|of| store.wanted_ms(asked.grains.of(*of)) == *step_ms)
            };
            let ids: Vec<(u32, u32)> = places.iter().filter(is_of_step).copied().collect();
            if !ids.is_empty() {
                wanted.extend(parts.iter().map(|part| (part, ids.clone())));
            }
        }
        let open = |number: usize| match wanted.get(number) {
            Some((part, ids)) => OpenBlock::open(store, part, ids, &asked.range, number < FILES_MAX),
            None => Ok(None),
        };
        let lookups: usize = wanted.iter().map(|(_, ids)| ids.len()).sum();
        let opened: Vec<Option<OpenBlock>> = match lookups < FEW_LOOKUPS {
            true => (0..wanted.len()).map(open).collect::<Result<_, _>>()?,
            false => workers::all(wanted.len(), open)?,
        };
        if opened.iter().any(Option::is_none) && !last_try {
            return Ok(None);
        }
        let blocks: Vec<OpenBlock> =
            opened.into_iter().flatten().filter(|block| !block.chunks.is_empty()).collect();
        let (mut keys, mut log) = (Vec::with_capacity(found.len()), Vec::with_capacity(found.len()));
        for (_, key, points) in found {
            keys.push(key);
            log.push(points);
        }
        let log = Mutex::new(log);
        let (backend, gauge) = (store.backend.clone(), asked.grains.gauge);
        Ok(Some(Reading { backend, range: asked.range, gauge, keys, log, blocks }))
    }

    /// The series, ascending. Some may turn out to have no points.
    pub fn keys(&self) -> &[SeriesKey] {
        &self.keys
    }

    /// The series at these places that have points, ascending. Each place is read
    /// once.
    ///
    /// # Errors
    /// [`Error::Limit`] when there are more points than `max_points`,
    /// [`Error::Io`]. What is damaged is left out, logged and counted.
    pub fn read(&self, places: Range<usize>, max_points: usize) -> Result<Vec<Series>, Error> {
        let Some(keys) = self.keys.get(places.clone()) else { return Ok(Vec::new()) };
        let mut budget = Budget { points: 0, limit: max_points };
        let mut chunks = vec![0; keys.len()];
        for chunk in self.blocks.iter().flat_map(|block| block.chunks_of(&places)) {
            let slot = (chunk.place as usize).checked_sub(places.start);
            slot.and_then(|slot| chunks.get_mut(slot)).into_iter().for_each(|chunks| *chunks += 1);
        }
        let of = |(key, chunks): (&SeriesKey, usize)| Gathering::new(Class::of(key.metric_type), chunks);
        let mut gathered: Vec<Gathering> = keys.iter().zip(chunks).map(of).collect();
        for block in &self.blocks {
            block.read(self, &places, &mut gathered, &mut budget)?;
        }
        let log: Vec<Points> = match lock(&self.log).get_mut(places) {
            Some(log) => {
                log.iter_mut().map(|points| std::mem::replace(points, Points::Floats(Vec::new()))).collect()
            }
            None => Vec::new(),
        };
        budget.points += log.iter().map(|points| points.weight_from(0)).sum::<usize>();
        budget.check()?;
        let series = keys.iter().zip(gathered).zip(log).map(|((key, gathered), log)| {
            let (points, counts) = gathered.finish(log);
            // What was sampled elsewhere is as in Prometheus.
            let metric_type = Some(key.metric_type).filter(|of| *of != MetricType::Sampled);
            Series { labels: key.labels.clone(), metric_type, points, counts }
        });
        Ok(series.filter(|series| !series.points.is_empty()).collect())
    }
}

impl OpenBlock {
    /// `None` when the block's file is gone. `ids` ascend, each with its place.
    fn open(
        store: &Store,
        part: &Part,
        ids: &[(u32, u32)],
        asked: &TimeRange,
        stays_open: bool,
    ) -> Result<Option<OpenBlock>, Error> {
        let Some(file) = part.block.file(store.backend())? else { return Ok(None) };
        let mut chunks = Vec::with_capacity(ids.len());
        for some in ids.chunks(LOOKUP_SERIES) {
            let wanted: Vec<u32> = some.iter().map(|(id, _)| *id).collect();
            // Both ascend.
            let mut places = some.iter().peekable();
            part.block.entries(&*file, Wanted::Ids(&wanted), |entry| {
                while places.next_if(|(id, _)| *id < entry.id).is_some() {}
                let place = places.peek().filter(|(id, _)| *id == entry.id).map(|(_, place)| *place);
                if let Some(place) = place.filter(|_| entry.overlaps(&within(part, &entry, asked))) {
                    let Entry { id, length, offset, .. } = entry;
                    chunks.push(ChunkAt { place, id, length, offset });
                }
            })?;
        }
        chunks.sort_unstable_by_key(|chunk| chunk.place);
        Ok(Some(OpenBlock { part: part.clone(), file: Some(file).filter(|_| stays_open), chunks }))
    }

    pub(super) fn chunks_of(&self, places: &Range<usize>) -> &[ChunkAt] {
        let from = self.chunks.partition_point(|chunk| (chunk.place as usize) < places.start);
        let until = self.chunks.partition_point(|chunk| (chunk.place as usize) < places.end);
        self.chunks.get(from..until).unwrap_or_default()
    }

    /// Adds the points of the series at `places` to what was gathered of them.
    fn read(
        &self,
        reading: &Reading,
        places: &Range<usize>,
        gathered: &mut [Gathering],
        budget: &mut Budget,
    ) -> Result<(), Error> {
        let mut scratch = Vec::new();
        let mut bytes = Vec::new();
        self.each_chunk(reading, self.chunks_of(places).to_vec(), &mut bytes, |chunk, key, bytes| {
            let slot = (chunk.place as usize).checked_sub(places.start);
            let Some(slot) = slot.and_then(|slot| gathered.get_mut(slot)) else { return Ok(true) };
            let range = within_type(&self.part, key.metric_type, &reading.range);
            let chunk = Chunk { bytes, id: SeriesId(chunk.id), gauge: reading.gauge, range };
            slot.append(&chunk, &mut scratch, budget)
        })
    }

    /// Hands the bytes of chunks to `each`, in the order in which they lie in the
    /// file; it says whether they are what they should be. `bytes` is room to
    /// read into.
    pub(super) fn each_chunk(
        &self,
        reading: &Reading,
        mut chunks: Vec<ChunkAt>,
        bytes: &mut Vec<u8>,
        mut each: impl FnMut(&ChunkAt, &SeriesKey, &[u8]) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        chunks.sort_unstable_by_key(|chunk| chunk.offset);
        let opened = match &self.file {
            Some(_) => None,
            None if chunks.is_empty() => return Ok(()),
            None => self.part.block.file(&*reading.backend)?,
        };
        // Gone meanwhile with all that is in it: it was the oldest there was.
        let Some(file) = self.file.as_deref().or(opened.as_deref()) else { return Ok(()) };
        let mut rest = &chunks[..];
        while let Some(first) = rest.first() {
            let joins = |pair: &&[ChunkAt]| {
                let (before, next) = (pair[0], pair[1]);
                next.offset <= before.end() + GAP_BYTES && next.end() - first.offset <= READ_BYTES
            };
            let together = 1 + rest.windows(2).take_while(joins).count();
            let (run, behind) = rest.split_at(together);
            rest = behind;
            let end = run.last().map_or(first.end(), ChunkAt::end);
            let is_read = self.part.block.fill(file, first.offset..end, bytes);
            for chunk in run {
                let Some(key) = reading.keys.get(chunk.place as usize) else { continue };
                let start = (chunk.offset - first.offset) as usize;
                let own = bytes.get(start..start + chunk.length as usize).filter(|_| is_read.is_ok());
                let is_sound = match block::checked(own.unwrap_or_default()) {
                    Ok(bytes) => each(chunk, key, bytes)?,
                    Err(_) => false,
                };
                if !is_sound {
                    self.part.block.report(chunk.id, is_read.as_ref().err().unwrap_or(&block::damaged()));
                }
            }
        }
        Ok(())
    }
}

/// What a part serves of the time that is asked for.
fn within(part: &Part, entry: &Entry, asked: &TimeRange) -> TimeRange {
    within_type(part, entry.metric_type, asked)
}

pub(super) fn within_type(part: &Part, metric_type: MetricType, asked: &TimeRange) -> TimeRange {
    let range = part.range_of(metric_type);
    TimeRange { start_ms: range.start_ms.max(asked.start_ms), end_ms: range.end_ms.min(asked.end_ms) }
}
