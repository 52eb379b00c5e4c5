//! Which blocks there are, and whether those that left had a reason.

use crate::known::Model;
use crate::world::SPAN_MS;
use statsdeck::model::duration;
use statsdeck::store::{MemoryBackend, Options};
use std::collections::BTreeMap;
use std::path::Path;

/// Where files go that were damaged.
pub const DAMAGED: &str = "/data/damaged";

/// Files of a store: blocks by step and end, with their bytes, and all bytes,
/// without what was damaged.
#[derive(Clone, Debug, Default)]
pub struct Files {
    pub blocks: BTreeMap<(i64, i64), u64>,
    /// Step, start and end of each.
    spans: Vec<(i64, i64, i64)>,
    pub bytes: u64,
}

/// From where on a store has to know everything.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Every point as it was received.
    pub windows_ms: i64,
    /// What a coarse step says.
    pub steps_ms: i64,
}

impl Files {
    pub fn of(backend: &MemoryBackend) -> Files {
        let mut files = Files::default();
        let is_damaged = |path: &Path| path.starts_with(DAMAGED);
        for (path, content) in backend.files().into_iter().filter(|(path, _)| !is_damaged(path)) {
            files.bytes += content.len() as u64;
            let Some((step_ms, end_ms)) = block(&path) else { continue };
            files.blocks.insert((step_ms, end_ms), content.len() as u64);
            files.spans.extend(start(&content, end_ms).map(|start_ms| (step_ms, start_ms, end_ms)));
        }
        files
    }

    /// End of the last window that is in a block.
    pub fn sealed_ms(&self) -> i64 {
        self.blocks.keys().map(|(_, end_ms)| *end_ms).max().unwrap_or(i64::MIN)
    }

    /// The last moment of a time, open at its start, that no block of `step_ms` or
    /// more has; `None` when they have all of it.
    fn lacking(&self, step_ms: i64, start_ms: i64, end_ms: i64) -> Option<i64> {
        let mut lacking_ms = end_ms;
        let has_it = |lacking_ms: i64| {
            let mut of_step = self.spans.iter().filter(|(step, ..)| *step >= step_ms);
            of_step.find(|(_, start, end)| *start < lacking_ms && *end >= lacking_ms)
        };
        while let Some((_, start, _)) = has_it(lacking_ms) {
            lacking_ms = *start;
        }
        (lacking_ms > start_ms).then_some(lacking_ms)
    }
}

/// Where the span of a block begins, as its footer says: after the trailer's
/// offset of it come its end and the length of the span.
fn start(content: &[u8], end_ms: i64) -> Option<i64> {
    let trailer = content.get(content.len().checked_sub(20)?..)?;
    let offset = u64::from_le_bytes(trailer.get(..8)?.try_into().ok()?) as usize;
    let mut bytes = content.get(offset..)?.iter();
    let mut varint = || {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = *bytes.next()?;
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return Some(value);
            }
        }
    };
    varint()?;
    Some(end_ms - varint()? as i64)
}

/// Step and end of the block with this name.
fn block(path: &Path) -> Option<(i64, i64)> {
    let name = path.file_name()?.to_str()?;
    let (step, end) = name.strip_prefix("block-")?.strip_suffix(".sd")?.split_once('-')?;
    let step_ms = if step == "0" { 0 } else { duration::parse_ms(step).ok()? as i64 };
    Some((step_ms, end.parse().ok()?))
}

impl Known {
    /// Notes what was removed since the last time; panics where nothing allowed
    /// it. After a failure a coarser block may be there that the store does not
    /// have.
    pub fn note(
        &mut self,
        backend: &MemoryBackend,
        options: &Options,
        newest_ms: i64,
        is_ok: bool,
        case: &str,
    ) {
        let after = Files::of(backend);
        let mut bytes = after.bytes;
        // For want of room they leave at last.
        for (path, of_block) in backend.take_removed().into_iter().rev() {
            let Some((step_ms, end_ms)) = block(&path) else { continue };
            bytes += of_block.len() as u64;
            let is_too_much = options.max_bytes.is_some_and(|most| bytes > most);
            let is_old = is_old(options, (step_ms, end_ms), newest_ms);
            assert!(is_old || is_too_much, "{case}: {} left for no reason", path.display());
            if step_ms == 0 {
                self.windows_ms = self.windows_ms.max(end_ms);
            }
            let start_ms = start(&of_block, end_ms).filter(|_| is_ok);
            let lacking_ms = match start_ms {
                Some(start_ms) => after.lacking(step_ms + 1, start_ms, end_ms),
                None => Some(end_ms),
            };
            self.steps_ms = self.steps_ms.max(lacking_ms.unwrap_or(i64::MIN));
        }
        self.move_horizon(options, newest_ms);
    }

    /// What is older than every retention is not read.
    pub fn move_horizon(&mut self, options: &Options, newest_ms: i64) {
        let longest_ms =
            options.tiers.iter().map(|tier| tier.retention_ms).fold(options.retention_ms, i64::max);
        let horizon_ms = newest_ms.saturating_sub(longest_ms);
        self.steps_ms = self.steps_ms.max(horizon_ms.div_euclid(SPAN_MS).saturating_add(1) * SPAN_MS);
        self.windows_ms = self.windows_ms.max(self.steps_ms);
    }
}

/// Whether a block is older than its tier keeps it; one whose tier is not there
/// any more is kept as the next finer one.
pub fn is_old(options: &Options, (step_ms, end_ms): (i64, i64), newest_ms: i64) -> bool {
    let tiers = options.tiers.iter().filter(|tier| tier.resolution_ms <= step_ms);
    let retention_ms = tiers.map(|tier| tier.retention_ms).next_back().unwrap_or(options.retention_ms);
    end_ms <= newest_ms.saturating_sub(retention_ms)
}

/// After upkeep that had all it needed, nothing is left that should have gone: a
/// block that is too old stays as long as a coarser tier lacks a part of it that
/// is not too old for that one.
pub fn check_tidy(files: &Files, options: &Options, model: &Model, now_ms: i64, case: &str) {
    let newest_ms = model.last_end_ms.unwrap_or(now_ms).min(now_ms);
    for (step_ms, start_ms, end_ms) in &files.spans {
        if !is_old(options, (*step_ms, *end_ms), newest_ms) {
            continue;
        }
        let (mut waits, mut until_ms) = (false, *end_ms);
        for tier in options.tiers.iter().filter(|tier| tier.resolution_ms > *step_ms) {
            let horizon_ms = newest_ms.saturating_sub(tier.retention_ms);
            let too_old_ms = (horizon_ms - 1).div_euclid(SPAN_MS).saturating_add(1) * SPAN_MS;
            let lacking_ms = files.lacking(tier.resolution_ms, *start_ms, until_ms);
            waits |= lacking_ms.is_some_and(|lacking_ms| lacking_ms > too_old_ms);
            // What is too old for a tier the next one has to have.
            until_ms = until_ms.min(too_old_ms);
            if until_ms <= *start_ms {
                break;
            }
        }
        assert!(
            waits,
            "{case}: block of {step_ms} ms to {end_ms} is still there at {newest_ms}\n{files:?}\n{options:?}"
        );
    }
    if let Some(most) = options.max_bytes {
        assert!(files.bytes <= most || files.blocks.is_empty(), "{case}: {} bytes", files.bytes);
    }
}
