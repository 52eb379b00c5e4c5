//! The store: appends windows, keeps them, gives them back.
//!
//! A window is durable when [`Store::append`] returns: it is in the log, and
//! in the head. `upkeep.rs` turns complete spans of the head into blocks, those
//! into coarser ones, and drops what is too old. Readers never wait for
//! the disk of a writer, nor a writer for that of a reader.

use super::backend::Backend;
use super::block::{Block, Unreadable, block_place};
use super::error::Error;
use super::frame::{Frame, FrameReader};
use super::head::{Head, span_end};
use super::id_set::IdSet;
use super::late_order;
use super::options::Options;
use super::recovery::{Recovered, Recovery};
use super::replay::replay;
use super::retry::Retries;
use super::sample::{End, Kind, Value};
use super::section::Wanted;
use super::waiting::Waiting;
use super::wal::Wal;
use crate::catalogue::Catalogue;
use crate::lock::lock;
use crate::model::{FlushBatch, SeriesId, TimeRange};
use std::any::Any;
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Name of the file whose lock keeps a second daemon away.
pub(super) const LOCK_NAME: &str = "lock";
/// The value before an end is looked for in so many windows.
const LOOK_BACK_FRAMES: usize = 3;
/// Latest time of a window: sums of a few times and durations do not overflow.
const MAX_MS: i64 = i64::MAX / 4;

/// Size and state of a store. Losses are counted since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub wal_bytes: u64,
    pub wal_segments: u64,
    pub block_bytes: u64,
    pub blocks: u64,
    /// Series that have points anywhere.
    pub series: u64,
    /// Series, samples and bytes of memory of what is not in a block yet.
    pub head_series: u64,
    pub head_samples: u64,
    pub head_bytes: u64,
    /// Frames of the log that were acknowledged and could not be read.
    pub frames_lost: u64,
    /// Unfinished writes at the end of the log that were cut away.
    pub tails_cut: u64,
    /// Blocks that could not be opened, or whose index is damaged; their files
    /// are left alone.
    pub blocks_lost: u64,
    /// Series of a block whose points could not be read or written.
    pub chunks_lost: u64,
    /// Samples that had no place: their series was never named, or is of
    /// another type, or a distribution's sums are no numbers any more.
    pub samples_refused: u64,
    /// End of the last window, in ms.
    pub last_end_ms: Option<i64>,
}

/// The series that a store has points of, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Present(IdSet);

impl Present {
    pub fn has(&self, id: SeriesId) -> bool {
        self.0.contains(id.0)
    }
}

/// Everything that was received, on disk.
pub struct Store {
    pub(super) options: Options,
    pub(super) backend: Arc<dyn Backend>,
    pub(super) catalogue: Arc<Catalogue>,
    /// Held as long as the store is.
    _lock: Box<dyn Any + Send + Sync>,
    /// Taken before `state`, never while holding it.
    pub(super) writer: Mutex<Writer>,
    state: RwLock<State>,
    /// Held by the one who builds blocks and drops them; taken first.
    pub(super) maintenance: Mutex<Retries>,
    pub(super) wal_bytes: AtomicU64,
    wal_segments: AtomicU64,
    wal_memory: AtomicU64,
    frames_lost: u64,
    /// Frames that turned out to be damaged while they were read.
    losses: Arc<AtomicU64>,
    tails_cut: u64,
    blocks_lost: u64,
    samples_refused: AtomicU64,
    /// Series that a block had to leave out.
    pub(super) unwritten: AtomicU64,
}

pub(super) struct Writer {
    pub(super) wal: Wal,
    last_end_ms: Option<i64>,
}

/// What can be read, and changes in one step.
pub(super) struct State {
    pub(super) head: Head,
    /// Of all tiers, ascending by their ends, of equal ones the coarser first:
    /// what a series was last is in the last one that has it.
    pub(super) blocks: Vec<Arc<Block>>,
    /// Step and end of those that are damaged as a whole: their files are left
    /// alone, and nothing else is given their names, until they are repaired.
    pub(super) damaged: Vec<(i64, i64)>,
    /// Windows after those of the head that could not be written yet, ascending.
    pub(super) waiting: Vec<Arc<Waiting>>,
    /// Every window up to it is in a block, or was.
    pub(super) sealed_ms: i64,
    /// The same of blocks that are being written: nothing that is late comes
    /// into windows up to it any more. Changes only while the writer is held.
    pub(super) floor_ms: i64,
    /// What is not later is too old. The block that it is in may have to stay
    /// for others; it is not read, because its series may have been forgotten
    /// and begun anew since.
    horizon_ms: i64,
    last_end_ms: Option<i64>,
}

impl Store {
    /// Opens the store in `options.dir`, fills `catalogue` with the series that
    /// are in it, and says how far they had come.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process has it open, [`Error::Version`]
    /// when a newer statsdeck wrote it, [`Error::Unread`] when the disk does not
    /// give back what is needed, [`Error::Io`].
    pub fn open(
        options: Options,
        backend: impl Backend + 'static,
        catalogue: Arc<Catalogue>,
        now_ms: i64,
    ) -> Result<(Store, Recovered), Error> {
        Store::open_on(options, Arc::new(backend), catalogue, now_ms).map_err(Error::at_start)
    }

    fn open_on(
        options: Options,
        backend: Arc<dyn Backend>,
        catalogue: Arc<Catalogue>,
        now_ms: i64,
    ) -> Result<(Store, Recovered), Error> {
        options.check()?;
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
        // What is seen here may be what a life before had not made durable; the
        // log is given up for a block that is.
        backend.sync_dir(&dir).map_err(Error::io("sync", &dir))?;
        let is_ours = |name: &str| name.starts_with("block-") || name.starts_with("wal-");
        for name in names.iter().filter(|name| is_ours(name) && name.ends_with(".tmp")) {
            let path = dir.join(name);
            backend.remove(&path).map_err(Error::io("remove", &path))?;
        }

        let mut state = State::new(&options);
        let blocks_lost = state.open_blocks(&*backend, &options, &names)?;
        let losses: Arc<AtomicU64> = Arc::default();
        let mut recovery = Recovery::default();
        let replayed = replay(&*backend, &dir, &names, &losses, |frame, file| {
            recovery.take_names(&frame, file)?;
            state.replay(frame);
            Ok(())
        })?;
        let frames: Vec<Arc<Frame>> = state.head.frames().cloned().collect();
        recovery.take_unclear(&*backend, &frames)?;
        recovery.name(&*backend, &state.blocks, &catalogue)?;
        state.move_horizon(now_ms, &options);
        state.floor_ms = state.sealed_ms;
        let series = recovery.lasts(&*backend, &frames, &state.blocks)?;
        let recovered = Recovered { series, last_end_ms: state.last_end_ms };
        if let Some(ahead_ms) = recovered.last_end_ms.map(|end| end - now_ms).filter(|ahead| *ahead > 0) {
            tracing::warn!(ahead_ms, "the last window ends in the future; has the clock been set back?");
        }

        let wal =
            Wal::new(Arc::clone(&backend), &dir, replayed.segments, replayed.next_number, losses.clone());
        let store = Store {
            options,
            backend,
            catalogue,
            _lock: lock,
            wal_bytes: AtomicU64::new(wal.bytes()),
            wal_segments: AtomicU64::new(wal.segments() as u64),
            wal_memory: AtomicU64::new(0),
            writer: Mutex::new(Writer { wal, last_end_ms: state.last_end_ms }),
            state: RwLock::new(state),
            maintenance: Mutex::default(),
            frames_lost: replayed.frames_lost,
            losses,
            tails_cut: replayed.tails_cut,
            blocks_lost,
            samples_refused: AtomicU64::new(0),
            unwritten: AtomicU64::new(0),
        };
        Ok((store, recovered))
    }

    /// Writes a window; it is durable when this returns `Ok`.
    ///
    /// The catalogue knows every series that has samples. A sample without a
    /// place is left out and counted ([`Stats::samples_refused`]).
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
        let span_end_ms = span_end(end_ms, self.options.block_span_ms);
        let recent: Vec<Arc<Frame>> =
            self.state().head.frames().rev().take(LOOK_BACK_FRAMES).cloned().collect();
        let batch = {
            let state = self.state();
            late_order::placed(batch, state.floor_ms, || state.head.windows())
        };
        let written = writer.wal.append(&batch, span_end_ms, &self.catalogue, |ids| self.lasts(&recent, ids));
        self.count_log(&writer.wal);
        let (frame, refused) = written?;
        writer.last_end_ms = Some(end_ms);
        self.state_mut().apply(Arc::new(frame));
        if refused > 0 {
            tracing::error!(
                refused,
                "samples of series that nobody named or of another type, twice in a window, or no numbers"
            );
            self.samples_refused.fetch_add(refused as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Has a window that [`Store::append`] could not write read all the same, as
    /// if it were, until it is written or let go of. Nothing of it is durable.
    /// What it has that is late is left out. One that does not end later than
    /// all before can never be written, and is not taken.
    pub fn hold(&self, batch: Arc<FlushBatch>) {
        let waiting = Waiting::new(batch, &self.catalogue);
        let end_ms = waiting.range().end_ms;
        let mut state = self.state_mut();
        let newest_ms = state.waiting.last().map(|waiting| waiting.range().end_ms).max(state.last_end_ms);
        if newest_ms.is_none_or(|newest_ms| end_ms > newest_ms) {
            state.waiting.push(Arc::new(waiting));
        }
    }

    /// Lets go of the windows held that end by `end_ms`: they are given up.
    pub fn let_go(&self, end_ms: i64) {
        self.state_mut().waiting.retain(|waiting| waiting.range().end_ms > end_ms);
    }

    /// The last values of counters and gauges, from the newest windows on.
    fn lasts(&self, recent: &[Arc<Frame>], ids: &[u32]) -> Vec<End> {
        let mut found: HashMap<u32, f64> = HashMap::new();
        let mut reader = FrameReader::default();
        for frame in recent.iter().take_while(|_| !ids.is_empty()) {
            let missing: Vec<u32> = ids.iter().filter(|id| !found.contains_key(id)).copied().collect();
            // What is not found costs a longer look after a restart.
            let Ok(file) = frame.segment().file(&*self.backend) else { break };
            let mut whole = true;
            for kind in [Kind::Counters, Kind::Gauges] {
                let read = frame.read(&*file, kind, Wanted::Ids(&missing), &mut reader, |id, value| {
                    if let Value::Counter(value, _) | Value::Gauge(value) = value {
                        found.insert(id, value);
                    }
                });
                whole &= read.is_ok() && !frame.is_damaged();
            }
            // What an older window has is not the last value of what this one hides.
            if !whole {
                break;
            }
        }
        ids.iter().map(|id| (SeriesId(*id), found.get(id).copied())).collect()
    }

    /// What is not later is in blocks that do not change any more, now or until
    /// the windows come to `until_ms`: what was sampled elsewhere has no place
    /// there.
    pub fn late_floor_ms(&self, until_ms: i64) -> i64 {
        let state = self.state();
        let ends = state.head.span_ends().filter(|end_ms| {
            let sealed_ms = end_ms.saturating_add(self.options.lateness_ms);
            sealed_ms <= until_ms
        });
        ends.fold(state.floor_ms, i64::max)
    }

    /// Which series have points now. What the store has no points of may be
    /// forgotten by the catalogue.
    pub fn present(&self) -> Present {
        Present(self.state().series())
    }

    /// Bytes of memory that it takes, without the catalogue.
    pub fn memory(&self) -> usize {
        let state = self.state();
        let blocks: usize = state.blocks.iter().map(|block| block.memory()).sum();
        state.head.size().bytes + blocks + self.wal_memory.load(Ordering::Relaxed) as usize
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
            series: state.series().len() as u64,
            head_series: head.series as u64,
            head_samples: head.samples as u64,
            head_bytes: head.bytes as u64,
            frames_lost: self.frames_lost + self.losses.load(Ordering::Relaxed),
            tails_cut: self.tails_cut,
            blocks_lost: self.blocks_lost
                + state.blocks.iter().filter(|block| block.index_damaged()).count() as u64,
            chunks_lost: state.blocks.iter().map(|block| block.damaged() as u64).sum::<u64>()
                + self.unwritten.load(Ordering::Relaxed),
            samples_refused: self.samples_refused.load(Ordering::Relaxed),
            last_end_ms: state.last_end_ms,
        }
    }

    pub(super) fn count_log(&self, wal: &Wal) {
        self.wal_bytes.store(wal.bytes(), Ordering::Relaxed);
        self.wal_segments.store(wal.segments() as u64, Ordering::Relaxed);
        self.wal_memory.store(wal.memory() as u64, Ordering::Relaxed);
    }

    pub(super) fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    pub(super) fn dir(&self) -> &Path {
        &self.options.dir
    }

    pub(super) fn block_span_ms(&self) -> i64 {
        self.options.block_span_ms
    }

    pub(super) fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    pub(super) fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new(options: &Options) -> Self {
        State {
            head: Head::new(options.block_span_ms),
            blocks: Vec::new(),
            damaged: Vec::new(),
            waiting: Vec::new(),
            sealed_ms: i64::MIN,
            floor_ms: i64::MIN,
            horizon_ms: i64::MIN,
            last_end_ms: None,
        }
    }

    /// The time that ages are told from. A clock that ran ahead must not cost
    /// the history: only what is old beside the newest window goes.
    pub(super) fn newest_ms(&self, now_ms: i64) -> i64 {
        self.last_end_ms.unwrap_or(now_ms).min(now_ms)
    }

    pub(super) fn move_horizon(&mut self, now_ms: i64, options: &Options) {
        self.horizon_ms = self.newest_ms(now_ms).saturating_sub(options.longest_retention_ms());
    }

    /// Puts a block in its place: ascending by their ends, of equal ones the
    /// coarser first.
    pub(super) fn add_block(&mut self, mut block: Block) {
        if let Some(before) = self.blocks.last() {
            block.footer.series.share(before.series());
        }
        let order = |block: &Block| (block.footer.end_ms, -block.footer.resolution_ms);
        let at = self.blocks.partition_point(|other| order(other) <= order(&block));
        self.blocks.insert(at, Arc::new(block));
    }

    /// The part of `range` that is not too old, if any.
    pub(super) fn readable(&self, range: TimeRange) -> Option<TimeRange> {
        let start_ms = range.start_ms.max(self.horizon_ms.saturating_add(1));
        (start_ms <= range.end_ms).then_some(TimeRange { start_ms, ..range })
    }

    /// Every series that has points.
    fn series(&self) -> IdSet {
        let mut series = self.head.series();
        self.blocks.iter().for_each(|block| series.unite(block.series()));
        self.waiting.iter().for_each(|waiting| series.unite(waiting.series()));
        series
    }

    /// Opens all blocks and returns how many could not be read.
    fn open_blocks(
        &mut self,
        backend: &dyn Backend,
        options: &Options,
        names: &[String],
    ) -> Result<u64, Error> {
        let mut lost = 0;
        let mut names: Vec<(&String, (i64, i64))> =
            names.iter().filter_map(|name| Some((name, block_place(name)?))).collect();
        names.sort_unstable();
        for (name, place) in names {
            let path = options.dir.join(name);
            match Block::open(backend, &path) {
                Ok(block) => {
                    self.sealed_ms = self.sealed_ms.max(block.footer.end_ms);
                    self.last_end_ms = self.last_end_ms.max(Some(block.footer.last_end_ms));
                    self.add_block(block);
                }
                Err(Unreadable::Damaged(reason)) => {
                    tracing::error!(path = %path.display(), reason, "a block cannot be read; it is left out");
                    self.damaged.push(place);
                    lost += 1;
                }
                Err(Unreadable::Failed(error)) => return Err(error),
            }
        }
        Ok(lost)
    }

    /// Takes in a frame of the log, unless it is in a block already.
    fn replay(&mut self, frame: Arc<Frame>) {
        if self.last_end_ms.is_none_or(|end_ms| frame.end_ms > end_ms) {
            self.apply(frame);
        }
    }

    /// In one step with its coming it waits no more.
    fn apply(&mut self, frame: Arc<Frame>) {
        self.last_end_ms = Some(frame.end_ms);
        self.waiting.retain(|waiting| waiting.range().end_ms > frame.end_ms);
        self.head.push(frame);
    }
}
