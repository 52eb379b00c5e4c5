//! Upkeep of a store: complete spans become blocks, those become coarser ones,
//! and what is too old or too much goes.
//!
//! One at a time, and never with a lock over I/O, so that neither writers nor
//! readers wait longer than a change of a list takes. What is done is what there
//! is a block of: an upkeep that was cut short is begun anew, and the sources of
//! a block stay until their own time is over.

use super::backend::remove_if_there;
use super::block::{Block, block_name};
use super::block_source::Source;
use super::block_writer::{self, Stop};
use super::damaged_dir::set_aside_if_there;
use super::error::Error;
use super::head::Complete;
use super::retry::Retries;
use super::segment::Segment;
use super::store::{State, Store};
use super::tier::{self, Build, Built, Fate, Tier, Windows};
use crate::lock::lock;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Most coarser blocks that are built at a time: who calls has other work, too.
const BUILDS: usize = 4;

/// A gap longer than this may be a clock that was set wrong; so much data after it
/// says that it was not.
const SETTLED_MS: i64 = 86_400_000;

/// What [`Store::maintain`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// Blocks of windows, and those of coarser tiers built of others.
    pub blocks_written: usize,
    pub blocks_built: usize,
    /// Blocks of coarser tiers that could not be built, and those of windows whose
    /// log cannot be read. Each is tried again, less and less often, and told in
    /// the log once.
    pub builds_failed: usize,
    /// Blocks that were too old, or too much.
    pub blocks_dropped: usize,
}

impl Store {
    /// Turns complete spans into blocks, builds those of coarser tiers, and drops
    /// what is too old. To be called every minute or so, from any thread.
    ///
    /// # Errors
    /// After [`Error::Io`] or [`Error::Verify`] what could not be done is left
    /// as it was; the next call tries again. No part waits for another: a file
    /// that cannot be removed must not fill the memory.
    pub fn maintain(&self, now_ms: i64) -> Result<Maintained, Error> {
        let (done, whole) = self.maintain_until(now_ms, &|| false);
        whole.map(|()| done)
    }

    /// The same, but soon done once `stop` says so: it is asked between the parts
    /// of a block, and what is unfinished then is removed and begun anew by the
    /// next upkeep. What was done is told beside an error, too.
    ///
    /// # Errors
    /// As [`Store::maintain`].
    pub fn maintain_until(&self, now_ms: i64, stop: &dyn Fn() -> bool) -> (Maintained, Result<(), Error>) {
        let (mut retries, mut done) = (lock(&self.maintenance), Maintained::default());
        retries.begin();
        let dropped = self.drop_old(now_ms, &mut done);
        let written = self.write_blocks(&mut retries, &mut done, Stop(stop));
        self.build_blocks(now_ms, &mut retries, &mut done, Stop(stop));
        let too_much = self.drop_too_much(&mut done);
        (done, written.and(dropped).and(too_much))
    }

    /// The log that blocks have goes before the next one is written: on a full disk
    /// that is the room for it. Behind a block that cannot be written, because the
    /// log cannot be read, the others wait, for 62 upkeeps at most: it stands for all
    /// that is before its end.
    fn write_blocks(
        &self,
        retries: &mut Retries,
        done: &mut Maintained,
        stop: Stop<'_>,
    ) -> Result<(), Error> {
        let mut removed = self.remove_log();
        while let Some(mut complete) = self.oldest_complete() {
            let end_ms = complete.span.end_ms;
            let block = (0, end_ms);
            if retries.waits(block) {
                break;
            }
            if retries.is_hopeless(block) {
                complete.salvage = Some(Arc::default());
            }
            let then = |state: &mut State| {
                state.sealed_ms = end_ms;
                state.head.drop_span(end_ms);
            };
            self.keep_damaged(block)?;
            match self.write_block(&Source::Windows(&complete), stop, then) {
                Ok(()) => {
                    retries.note_built(block);
                    done.blocks_written += 1;
                }
                Err(Error::Stopped) => return Ok(()),
                Err(error) if complete.is_unread(&error) => {
                    note_failed(retries, done, block, &error);
                    break;
                }
                Err(error) => return Err(error),
            }
            complete.salvage.iter().for_each(|salvage| salvage.report());
            removed = self.remove_log();
        }
        removed
    }

    /// Puts a damaged block aside whose windows the log still has: the one that is
    /// written of them is to have its name.
    fn keep_damaged(&self, block: (i64, i64)) -> Result<(), Error> {
        if self.state().damaged.contains(&block) {
            set_aside_if_there(&*self.backend, &self.options.dir, &block_name(block.0, block.1))?;
            self.state_mut().damaged.retain(|damaged| *damaged != block);
        }
        Ok(())
    }

    /// Removes the segments of the log that blocks have. Without the lock of
    /// writers: large files take the system a while. One that stays keeps no other.
    fn remove_log(&self) -> Result<(), Error> {
        let sealed_ms = self.state().sealed_ms;
        let mut over = lock(&self.writer).wal.take_through(sealed_ms);
        if over.is_empty() {
            return Ok(());
        }
        let mut removed = Ok(());
        over.retain(|closed| {
            let gone = self.remove_segment(&closed.segment);
            let stays = gone.is_err();
            removed = std::mem::replace(&mut removed, Ok(())).and(gone);
            stays
        });
        let mut writer = lock(&self.writer);
        writer.wal.put_back(over);
        self.count_log(&writer.wal);
        removed
    }

    /// One that could not be read as a whole is put aside: somebody may get more
    /// out of it. A start after a crash in between knows nothing of that.
    fn remove_segment(&self, segment: &Segment) -> Result<(), Error> {
        let path = segment.path();
        match path.file_name().and_then(|name| name.to_str()).filter(|_| segment.is_unreadable()) {
            Some(name) => set_aside_if_there(&*self.backend, &self.options.dir, name),
            None => remove_if_there(&*self.backend, path).map_err(Error::io("remove", path)),
        }
    }

    /// The next span for a block. From now on nothing comes late for it.
    fn oldest_complete(&self) -> Option<Complete> {
        let _writer = lock(&self.writer);
        let mut state = self.state_mut();
        let sealed_ms = state.sealed_ms;
        let complete = state.head.oldest_complete(self.options.lateness_ms, sealed_ms)?;
        state.floor_ms = state.floor_ms.max(complete.span.end_ms);
        Some(complete)
    }

    /// Builds blocks of coarser tiers, some at a time.
    fn build_blocks(&self, now_ms: i64, retries: &mut Retries, done: &mut Maintained, stop: Stop<'_>) {
        for _ in 0..BUILDS {
            let Some(build) = self.next_build(now_ms, retries) else { break };
            let block = (build.resolution_ms, build.end_ms);
            match self.write_block(&Source::Steps(&build), stop, |_| {}) {
                Ok(()) => {
                    retries.note_built(block);
                    done.blocks_built += 1;
                }
                Err(Error::Stopped) => break,
                Err(error) => note_failed(retries, done, block, &error),
            }
        }
    }

    fn next_build(&self, now_ms: i64, retries: &Retries) -> Option<Build> {
        let state = self.state();
        let Self { options, .. } = self;
        let windows = Windows { span_ms: options.block_span_ms, retention_ms: options.retention_ms };
        let fate = |block| match block {
            _ if state.damaged.contains(&block) => Fate::Never,
            _ if retries.waits(block) => Fate::Later,
            _ => Fate::Now,
        };
        let newest_ms = settled_ms(&state, now_ms);
        tier::next_build(&state.blocks, windows, &options.tiers, state.sealed_ms, newest_ms, fate)
    }

    /// Writes a block; readers have it, and what `then` does, in one moment.
    fn write_block(
        &self,
        source: &Source<'_>,
        stop: Stop<'_>,
        then: impl FnOnce(&mut State),
    ) -> Result<(), Error> {
        let span_ms = self.options.block_span_ms;
        let (_, end_ms) = source.span(span_ms);
        let path = self.options.dir.join(block_name(source.resolution_ms(), end_ms));
        let written = block_writer::write(&*self.backend, &path, source, span_ms, &self.catalogue, stop)?;
        let (block, unwritten) = written;
        self.unwritten.fetch_add(unwritten, Ordering::Relaxed);
        let mut state = self.state_mut();
        // A file that was damaged may have had the name.
        state.blocks.retain(|other| other.path() != path);
        state.add_block(block);
        then(&mut state);
        Ok(())
    }

    fn drop_old(&self, now_ms: i64, done: &mut Maintained) -> Result<(), Error> {
        let old: Vec<Arc<Block>> = {
            let mut state = self.state_mut();
            state.move_horizon(now_ms, &self.options);
            self.leaving_and_staying(&state.blocks, settled_ms(&state, now_ms)).0
        };
        self.drop_blocks(&old, done)
    }

    /// The blocks that are too old at `newest_ms`, and the others.
    pub(super) fn leaving_and_staying(
        &self,
        blocks: &[Arc<Block>],
        newest_ms: i64,
    ) -> (Vec<Arc<Block>>, Vec<Arc<Block>>) {
        let span_ms = self.options.block_span_ms;
        let built = |tier: &Tier| (*tier, Built::of(blocks, tier, span_ms, newest_ms));
        let tiers: Vec<(Tier, Built)> = self.options.tiers.iter().map(built).collect();
        blocks.iter().cloned().partition(|block| self.is_over(&tiers, block, newest_ms))
    }

    /// Whether a block is too old: for its own tier, and for those that it would
    /// still have to be built into.
    fn is_over(&self, tiers: &[(Tier, Built)], block: &Block, newest_ms: i64) -> bool {
        let is_older = |age_ms: i64| block.footer.end_ms <= newest_ms.saturating_sub(age_ms);
        if !is_older(self.options.retention_of(block)) {
            return false;
        }
        let start_ms = block.footer.start_ms;
        let mut end_ms = block.footer.end_ms;
        for (_, built) in tiers.iter().filter(|(tier, _)| tier.resolution_ms > block.footer.resolution_ms) {
            if built.lacks(start_ms, end_ms).is_some() {
                return false;
            }
            // What is too old for a tier the next one has to have.
            end_ms = end_ms.min(built.too_old_ms);
            if end_ms <= start_ms {
                return true;
            }
        }
        true
    }

    /// Drops blocks until the directory is as small as it should be: first those
    /// whose time a coarser tier has, of the finest tier the oldest; then the
    /// oldest of all, or what is new would leave before it is in any tier.
    fn drop_too_much(&self, done: &mut Maintained) -> Result<(), Error> {
        let Some(max_bytes) = self.options.max_bytes else { return Ok(()) };
        let mut blocks = self.state().blocks.clone();
        let of_blocks: u64 = blocks.iter().map(|block| block.bytes()).sum();
        let mut bytes = of_blocks.saturating_add(self.wal_bytes.load(Ordering::Relaxed));
        if bytes <= max_bytes {
            return Ok(());
        }
        let key = |block: &Block| (block.footer.resolution_ms, block.footer.start_ms, block.footer.end_ms);
        // Ascending by their ends, as the blocks do.
        let keys: Vec<(i64, i64, i64)> = blocks.iter().map(|block| key(block)).collect();
        blocks.sort_by_cached_key(|block| {
            let (step_ms, start_ms, end_ms) = key(block);
            let coarser = keys.iter().filter(|(other_ms, ..)| *other_ms > step_ms);
            let reach_ms = coarser.rev().fold(end_ms, |lacking_ms, (_, from_ms, until_ms)| {
                if *until_ms >= lacking_ms { lacking_ms.min(*from_ms) } else { lacking_ms }
            });
            // By where they begin: a coarse block that leaves before what it was
            // built of would be built again. What they have a part of only, as when
            // one of them could not be built, is in no tier yet.
            let is_last = reach_ms > start_ms;
            if is_last { (true, 0, start_ms) } else { (false, step_ms, end_ms) }
        });
        let too_much = blocks.iter().take_while(|block| {
            let is_over = bytes > max_bytes;
            bytes = bytes.saturating_sub(block.bytes());
            is_over
        });
        let too_much: Vec<Arc<Block>> = too_much.cloned().collect();
        if !too_much.is_empty() {
            tracing::warn!(
                blocks = too_much.len(),
                max_bytes,
                "the data takes more room than it may; blocks are dropped before their time"
            );
        }
        self.drop_blocks(&too_much, done)
    }

    /// One that stays keeps no other.
    ///
    /// # Errors
    /// The first one, when all were tried.
    fn drop_blocks(&self, blocks: &[Arc<Block>], done: &mut Maintained) -> Result<(), Error> {
        let mut dropped = Ok(());
        for block in blocks {
            // Out of the list first would let it come back with the next start.
            match remove_if_there(&*self.backend, block.path()) {
                Ok(()) => {
                    self.state_mut().blocks.retain(|other| !Arc::ptr_eq(other, block));
                    done.blocks_dropped += 1;
                }
                Err(error) => dropped = dropped.and(Err(Error::io("remove", block.path())(error))),
            }
        }
        dropped
    }
}

/// Notes that a block failed, and tells it the first time.
fn note_failed(retries: &mut Retries, done: &mut Maintained, block: (i64, i64), error: &Error) {
    done.builds_failed += 1;
    if retries.note_failed(block) {
        let name = block_name(block.0, block.1);
        tracing::error!(
            block = name,
            %error,
            "a block cannot be built; it will be tried again, less and less often"
        );
    }
}

/// The time that ages are told from when blocks leave. A clock that is years
/// ahead for some hours makes all there is look old: what stands behind a long
/// gap counts when there is a day of it.
pub(super) fn settled_ms(state: &State, now_ms: i64) -> i64 {
    let blocks = state.blocks.iter().map(|block| (block.footer.start_ms, block.footer.last_end_ms));
    let frames = state.head.frames().map(|frame| (frame.start_ms, frame.end_ms));
    let mut runs: Vec<(i64, i64)> = Vec::new();
    for (start_ms, end_ms) in blocks.chain(frames) {
        match runs.last_mut() {
            Some(run) if start_ms.saturating_sub(run.1) <= SETTLED_MS => {
                *run = (run.0.min(start_ms), run.1.max(end_ms));
            }
            _ => runs.push((start_ms, end_ms)),
        }
    }
    let (mut data_ms, mut settled_ms) = (0i64, i64::MAX);
    for (start_ms, end_ms) in runs.into_iter().rev() {
        data_ms = data_ms.saturating_add(end_ms.saturating_sub(start_ms));
        settled_ms = end_ms;
        if data_ms >= SETTLED_MS {
            break;
        }
    }
    state.newest_ms(now_ms).min(settled_ms)
}
