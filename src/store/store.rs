//! The store: appends windows, keeps them, gives them back.
//!
//! A window is durable when [`Store::append`] returns: it is in the log, and
//! in the head. [`Store::maintain`] turns complete spans of the head into
//! blocks and drops what is older than the retention. Readers never wait for
//! the disk of a writer, nor a writer for that of a reader.

use super::backend::{Backend, remove_if_there};
use super::block::{self, Block, Listed, Unreadable, block_name, is_block_name};
use super::error::Error;
use super::frame;
use super::head::{Head, span_end};
use super::index::Index;
use super::point::{Class, last_float, sound_histogram, sound_sketch};
use super::replay::{Recovered, RecoveredSeries, replay};
use super::wal::Wal;
use crate::model::{FlushBatch, SeriesId, SeriesKey, TimeRange};
use std::any::Any;
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Name of the file whose lock keeps a second daemon away.
const LOCK_NAME: &str = "lock";
/// Two hours.
const BLOCK_SPAN_MS: i64 = 2 * 3_600_000;
const DAY_MS: i64 = 86_400_000;
/// Latest time of a window: sums of a few times and durations do not overflow.
const MAX_MS: i64 = i64::MAX / 4;

/// How a store is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Directory of the files; made when it is not there.
    pub dir: PathBuf,
    /// Points older than this are not read any more, and are dropped a block at
    /// a time, in ms.
    pub retention_ms: i64,
    /// Time that one block covers, in ms: at most so much is in memory besides
    /// what waits for its block.
    pub block_span_ms: i64,
}

impl Options {
    /// The defaults, in `dir`: two days, in blocks of two hours.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Options { dir: dir.into(), retention_ms: 2 * DAY_MS, block_span_ms: BLOCK_SPAN_MS }
    }

    /// The same with another retention; blocks cover no more than that. It may
    /// change from one start to the next.
    #[must_use]
    pub fn with_retention(self, retention_ms: i64) -> Self {
        Options { retention_ms, block_span_ms: self.block_span_ms.min(retention_ms), ..self }
    }
}

/// What [`Store::maintain`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    pub blocks_written: usize,
    pub blocks_dropped: usize,
}

/// Size and state of a store. Losses are counted since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub wal_bytes: u64,
    pub wal_segments: u64,
    pub block_bytes: u64,
    pub blocks: u64,
    /// Series that have points anywhere.
    pub series: u64,
    /// Series, samples and memory of what is not in a block yet.
    pub head_series: u64,
    pub head_samples: u64,
    pub head_bytes: u64,
    /// Frames of the log that were acknowledged and could not be read.
    pub frames_lost: u64,
    /// Unfinished writes at the end of the log that were cut away.
    pub tails_cut: u64,
    /// Blocks that could not be opened; their files are left alone.
    pub blocks_lost: u64,
    /// Series of a block whose points could not be read or written.
    pub chunks_lost: u64,
    /// Samples that had no place: their series was never named, or is of
    /// another type, or a distribution's sums are no numbers any more.
    pub samples_refused: u64,
    /// End of the last window, in ms.
    pub last_end_ms: Option<i64>,
}

/// Everything that was received, on disk.
pub struct Store {
    options: Options,
    backend: Arc<dyn Backend>,
    /// Held as long as the store is.
    _lock: Box<dyn Any + Send + Sync>,
    /// Taken before `state`, never while holding it.
    writer: Mutex<Writer>,
    state: RwLock<State>,
    /// Held by the one who builds blocks and drops them; taken first.
    maintenance: Mutex<()>,
    wal_bytes: AtomicU64,
    wal_segments: AtomicU64,
    frames_lost: u64,
    tails_cut: u64,
    blocks_lost: u64,
    samples_refused: AtomicU64,
    /// Series that a block had to leave out.
    unwritten: AtomicU64,
}

struct Writer {
    wal: Wal,
    last_end_ms: Option<i64>,
}

/// What can be read, and changes in one step.
pub(super) struct State {
    pub(super) index: Index,
    pub(super) head: Head,
    /// Ascending by time.
    pub(super) blocks: Vec<Arc<Block>>,
    /// Every window up to it is in a block, or was.
    sealed_ms: i64,
    /// What is not later is too old. The block that it is in may have to stay
    /// for others; it is not read, because its series may have been forgotten
    /// and begun anew since.
    horizon_ms: i64,
    last_end_ms: Option<i64>,
    next_id: u32,
}

impl Store {
    /// Opens the store in `options.dir`, and says what was in it.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process has it open, [`Error::Version`]
    /// when a newer statsdeck wrote it, [`Error::Io`].
    pub fn open(
        options: Options,
        backend: impl Backend + 'static,
        now_ms: i64,
    ) -> Result<(Store, Recovered), Error> {
        check(&options)?;
        let backend: Arc<dyn Backend> = Arc::new(backend);
        let dir = options.dir.clone();
        backend.create_dir(&dir).map_err(Error::io("create", &dir))?;
        if let Some(parent) = dir.parent() {
            // Makes a new directory durable; where that is not allowed it is
            // not ours and not new.
            let _ = backend.sync_dir(parent);
        }
        let lock_path = dir.join(LOCK_NAME);
        let lock = backend.lock(&lock_path).map_err(Error::io("lock", &lock_path))?;
        let lock = lock.ok_or(Error::Locked { dir: dir.clone() })?;
        let names = backend.list(&dir).map_err(Error::io("list", &dir))?;
        for name in names.iter().filter(|name| name.starts_with("block-") && name.ends_with(".tmp")) {
            let path = dir.join(name);
            backend.remove(&path).map_err(Error::io("remove", &path))?;
        }

        let mut state = State::new(options.block_span_ms);
        let mut last = LastValues::default();
        let blocks_lost = state.open_blocks(&*backend, &options, &names, &mut last)?;
        let mut refused = 0;
        let replayed = replay(&*backend, &dir, &names, |batch| {
            refused += state.replay(&batch);
        })?;
        state.index.forget_unheld();
        state.move_horizon(now_ms, options.retention_ms);
        let recovered = state.recovered(last);
        if let Some(ahead_ms) = recovered.last_end_ms.map(|end| end - now_ms).filter(|ahead| *ahead > 0) {
            tracing::warn!(ahead_ms, "the last window ends in the future; has the clock been set back?");
        }

        let wal = Wal::new(Arc::clone(&backend), &dir, replayed.segments, replayed.next_number);
        let store = Store {
            options,
            backend,
            _lock: lock,
            wal_bytes: AtomicU64::new(wal.bytes()),
            wal_segments: AtomicU64::new(wal.segments() as u64),
            writer: Mutex::new(Writer { wal, last_end_ms: state.last_end_ms }),
            state: RwLock::new(state),
            maintenance: Mutex::new(()),
            frames_lost: replayed.frames_lost,
            tails_cut: replayed.tails_cut,
            blocks_lost,
            samples_refused: AtomicU64::new(refused),
            unwritten: AtomicU64::new(0),
        };
        Ok((store, recovered))
    }

    /// Writes a window; it is durable when this returns `Ok`.
    ///
    /// A series is named ([`FlushBatch::new_series`]) in the batch of its first
    /// sample, and again once it had none for the whole retention. A sample
    /// without a place is left out and counted ([`Stats::samples_refused`]).
    ///
    /// # Errors
    /// After [`Error::Io`] nothing of the batch counts; the same or a later
    /// one may be written when the disk is well again. [`Error::OutOfOrder`]
    /// when the window does not end later than all before: written already,
    /// or the clock was set back; writing it again cannot succeed.
    pub fn append(&self, batch: &FlushBatch) -> Result<(), Error> {
        let mut writer = lock(&self.writer);
        let end_ms = batch.end_ms;
        if batch.start_ms >= end_ms {
            return Err(Error::Batch { end_ms, reason: "its window is empty" });
        }
        if batch.start_ms < 0 || end_ms > MAX_MS {
            return Err(Error::Batch { end_ms, reason: "its time is out of range" });
        }
        if let Some(last_end_ms) = writer.last_end_ms.filter(|last| end_ms <= *last) {
            return Err(Error::OutOfOrder { end_ms, last_end_ms });
        }
        let (batch, unsound) = sound(batch);
        let span_end_ms = span_end(end_ms, self.options.block_span_ms);
        let written = {
            // Only `append` and `maintain` change the index, and of these two
            // only `append` adds to it: a short look for each series is safe.
            let key = |id: SeriesId| self.state().index.key(id).cloned();
            writer.wal.append(&batch, span_end_ms, key)
        };
        self.count_log(&writer.wal);
        written?;
        writer.last_end_ms = Some(end_ms);
        let refused = self.state_mut().apply(&batch) + unsound;
        if refused > 0 {
            tracing::error!(
                refused,
                "samples of series that were not named or are of another type, or no numbers"
            );
            self.samples_refused.fetch_add(refused as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Turns complete spans into blocks and drops what is too old. To be called
    /// every minute or so, from any thread; it blocks neither writers nor
    /// readers for longer than a change of a list takes.
    ///
    /// # Errors
    /// After [`Error::Io`] or [`Error::Verify`] what could not be done is left
    /// as it was; the next call tries again. Neither half waits for the other:
    /// a file that cannot be removed must not fill the memory.
    pub fn maintain(&self, now_ms: i64) -> Result<Maintained, Error> {
        let _alone = lock(&self.maintenance);
        let dropped = self.drop_old(now_ms);
        let written = self.write_blocks();
        Ok(Maintained { blocks_written: written?, blocks_dropped: dropped? })
    }

    /// Returns how many blocks were written.
    fn write_blocks(&self) -> Result<usize, Error> {
        let mut written = 0;
        while let Some(span) = { self.state_mut().head.oldest_complete() } {
            let (mut series, next_id) = self.state().series_of(span.streams.keys().copied());
            series.sort_unstable_by(|a, b| (&a.1, a.0).cmp(&(&b.1, b.0)));
            let path = self.options.dir.join(block_name(span.end_ms));
            let (block, unwritten) = block::write(&*self.backend, &path, &span, &series, next_id)?;
            self.unwritten.fetch_add(unwritten.len() as u64, Ordering::Relaxed);
            let mut state = self.state_mut();
            state.blocks.push(Arc::new(block));
            state.sealed_ms = span.end_ms;
            state.head.drop_span(span.end_ms);
            state.index.release(unwritten);
            written += 1;
        }
        let sealed_ms = self.state().sealed_ms;
        let mut writer = lock(&self.writer);
        let removed = writer.wal.remove_through(sealed_ms);
        self.count_log(&writer.wal);
        removed.map(|()| written)
    }

    /// Returns how many blocks were dropped.
    fn drop_old(&self, now_ms: i64) -> Result<usize, Error> {
        let old: Vec<Arc<Block>> = {
            let mut state = self.state_mut();
            state.move_horizon(now_ms, self.options.retention_ms);
            state.blocks.iter().filter(|block| block.end_ms <= state.horizon_ms).cloned().collect()
        };
        for block in &old {
            remove_if_there(&*self.backend, block.path()).map_err(Error::io("remove", block.path()))?;
            let mut state = self.state_mut();
            state.blocks.retain(|other| !Arc::ptr_eq(other, block));
            state.index.release(block.ids());
        }
        Ok(old.len())
    }

    /// Size and state, cheap enough for every scrape.
    pub fn stats(&self) -> Stats {
        let state = self.state();
        let head = state.head.size();
        Stats {
            wal_bytes: self.wal_bytes.load(Ordering::Relaxed),
            wal_segments: self.wal_segments.load(Ordering::Relaxed),
            block_bytes: state.blocks.iter().map(|block| block.bytes()).sum(),
            blocks: state.blocks.len() as u64,
            series: state.index.len() as u64,
            head_series: head.series as u64,
            head_samples: head.samples as u64,
            head_bytes: head.bytes as u64,
            frames_lost: self.frames_lost,
            tails_cut: self.tails_cut,
            blocks_lost: self.blocks_lost,
            chunks_lost: state.blocks.iter().map(|block| block.damaged() as u64).sum::<u64>()
                + self.unwritten.load(Ordering::Relaxed),
            samples_refused: self.samples_refused.load(Ordering::Relaxed),
            last_end_ms: state.last_end_ms,
        }
    }

    fn count_log(&self, wal: &Wal) {
        self.wal_bytes.store(wal.bytes(), Ordering::Relaxed);
        self.wal_segments.store(wal.segments() as u64, Ordering::Relaxed);
    }

    pub(super) fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    pub(super) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far each series has come.
type LastValues = HashMap<SeriesId, Last, foldhash::fast::RandomState>;

#[derive(Clone, Copy, Default)]
struct Last {
    at_ms: i64,
    value: Option<f64>,
    ended: bool,
}

impl State {
    fn new(span_ms: i64) -> Self {
        State {
            index: Index::default(),
            head: Head::new(span_ms),
            blocks: Vec::new(),
            sealed_ms: i64::MIN,
            horizon_ms: i64::MIN,
            last_end_ms: None,
            next_id: 0,
        }
    }

    fn move_horizon(&mut self, now_ms: i64, retention_ms: i64) {
        // A clock that ran ahead must not cost the history: only what is old
        // beside the newest window goes.
        let newest_ms = self.last_end_ms.unwrap_or(now_ms).min(now_ms);
        self.horizon_ms = newest_ms.saturating_sub(retention_ms);
    }

    /// The part of `range` that is not too old, if any.
    pub(super) fn readable(&self, range: TimeRange) -> Option<TimeRange> {
        let start_ms = range.start_ms.max(self.horizon_ms.saturating_add(1));
        (start_ms <= range.end_ms).then_some(TimeRange { start_ms, ..range })
    }

    /// Opens all blocks and returns how many could not be read.
    fn open_blocks(
        &mut self,
        backend: &dyn Backend,
        options: &Options,
        names: &[String],
        last: &mut LastValues,
    ) -> Result<u64, Error> {
        let mut lost = 0;
        let mut names: Vec<&String> = names.iter().filter(|name| is_block_name(name)).collect();
        names.sort_unstable();
        for name in names {
            let path = options.dir.join(name);
            match Block::open(backend, &path) {
                Ok((block, listed)) => {
                    self.sealed_ms = self.sealed_ms.max(block.end_ms);
                    self.last_end_ms = self.last_end_ms.max(Some(block.last_end_ms));
                    self.next_id = self.next_id.max(block.next_id);
                    self.blocks.push(Arc::new(block));
                    listed.into_iter().for_each(|listed| self.list(listed, last));
                }
                Err(Unreadable::Damaged(reason)) => {
                    tracing::error!(path = %path.display(), reason, "a block cannot be read; it is left out");
                    lost += 1;
                }
                Err(Unreadable::Failed(error)) => return Err(error),
            }
        }
        self.blocks.sort_by_key(|block| block.end_ms);
        Ok(lost)
    }

    fn list(&mut self, listed: Listed, last: &mut LastValues) {
        self.define(listed.id, &listed.key);
        self.index.hold(listed.id);
        note_last(last, listed.id, Last { at_ms: listed.last_ms, value: listed.last, ended: listed.ended });
    }

    fn define(&mut self, id: SeriesId, key: &SeriesKey) {
        self.index.define(id, key);
        self.next_id = self.next_id.max(id.0.saturating_add(1));
    }

    /// Takes in a frame of the log; returns how many samples had no place.
    fn replay(&mut self, batch: &FlushBatch) -> u64 {
        if self.last_end_ms.is_some_and(|end_ms| batch.end_ms <= end_ms) {
            // In a block already. What it names may be used by later frames.
            batch.new_series.iter().for_each(|(id, key)| self.define(*id, key));
            return 0;
        }
        // Also an id whose definition was lost is not given again.
        let greatest = frame::ids(batch).map(|id| id.0).max();
        self.next_id = self.next_id.max(greatest.map_or(0, |id| id.saturating_add(1)));
        self.apply(batch) as u64
    }

    fn apply(&mut self, batch: &FlushBatch) -> usize {
        batch.new_series.iter().for_each(|(id, key)| self.define(*id, key));
        self.last_end_ms = Some(batch.end_ms);
        self.head.apply(batch, &mut self.index)
    }

    fn recovered(&self, mut last: LastValues) -> Recovered {
        for (id, metric_type, stream) in self.head.all_streams() {
            let class = Class::of(metric_type);
            let floats = (class == Class::Floats).then(|| stream.read(class)).flatten();
            let (value, ended) = floats.as_ref().map_or((None, false), last_float);
            let at_ms = stream.last_ms().unwrap_or_default();
            note_last(&mut last, id, Last { at_ms, value, ended });
        }
        let mut latest: HashMap<&SeriesKey, RecoveredSeries> = HashMap::new();
        for (id, key) in self.index.iter() {
            let Last { at_ms, value, ended } = last.get(&id).copied().unwrap_or_default();
            let series = RecoveredSeries { id, key: key.clone(), last_ms: at_ms, last: value, ended };
            let known = latest.entry(key).or_insert_with(|| series.clone());
            if (known.last_ms, known.id) < (at_ms, id) {
                *known = series;
            }
        }
        let mut series: Vec<RecoveredSeries> = latest.into_values().collect();
        series.sort_unstable_by_key(|series| series.id);
        Recovered { series, next_id: self.next_id, last_end_ms: self.last_end_ms }
    }

    /// What these series are, and the next id.
    fn series_of(&self, ids: impl Iterator<Item = SeriesId>) -> (Vec<(SeriesId, SeriesKey)>, u32) {
        (ids.filter_map(|id| Some((id, self.index.key(id)?.clone()))).collect(), self.next_id)
    }
}

/// The batch without what could not be read back, and how many that are.
fn sound(batch: &FlushBatch) -> (Cow<'_, FlushBatch>, usize) {
    let timers = batch.timers.iter().filter(|(_, histogram)| !sound_histogram(histogram)).count();
    let sets = batch.sets.iter().filter(|(_, sketch)| !sound_sketch(sketch)).count();
    if timers + sets == 0 {
        return (Cow::Borrowed(batch), 0);
    }
    let mut batch = batch.clone();
    batch.timers.retain(|(_, histogram)| sound_histogram(histogram));
    batch.sets.retain(|(_, sketch)| sound_sketch(sketch));
    (Cow::Owned(batch), timers + sets)
}

/// A stale marker moves the time and leaves the value.
fn note_last(last: &mut LastValues, id: SeriesId, now: Last) {
    let known = last.entry(id).or_default();
    *known = Last { value: now.value.or(known.value), ..now };
}

fn check(options: &Options) -> Result<(), Error> {
    let error = |key, reason| Err(Error::Options { key, reason });
    if options.block_span_ms < 1_000 {
        return error("block_span_ms", "must be 1 s or more");
    }
    if options.retention_ms < options.block_span_ms {
        return error("retention_ms", "must not be shorter than the span of a block");
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
