//! Tiers: at which steps the past is kept, and for how long.
//!
//! The finest tier is the windows themselves. Blocks of a coarser one are built
//! of finer blocks, a span at a time, and never change; which block serves a
//! moment is decided here, so that each moment is served once.

use super::block::Block;
use super::head::span_end;
use crate::model::{Grains, MetricType, TimeRange};
use std::sync::Arc;

/// Steps of the longest span of a block.
const SPAN_STEPS: i64 = 720;

/// A tier that is coarser than the windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Step of its points, in ms: a multiple of that of the tier before.
    pub resolution_ms: i64,
    /// Age at which a block is dropped, in ms.
    pub retention_ms: i64,
}

/// How the windows themselves are kept: what a block spans, and until when.
pub(super) struct Windows {
    pub(super) span_ms: i64,
    pub(super) retention_ms: i64,
}

/// A block, and the time it serves.
#[derive(Clone)]
pub(super) struct Part {
    pub(super) block: Arc<Block>,
    pub(super) range: TimeRange,
}

impl Part {
    /// The time it serves for a series. A counter may begin in the very moment in
    /// which the part before ends.
    pub(super) fn range_of(&self, metric_type: MetricType) -> TimeRange {
        let opens = metric_type == MetricType::Counter && self.range.start_ms > self.block.footer.start_ms;
        TimeRange { start_ms: self.range.start_ms - i64::from(opens), ..self.range }
    }
}

/// A block that is to be built.
pub(super) struct Build {
    pub(super) resolution_ms: i64,
    /// It has what ends in `(start_ms, end_ms]`.
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
    /// Of what, ascending in time.
    pub(super) parts: Vec<Part>,
}

/// Which blocks serve which part of `range`; see [`cover`].
pub(super) fn serving(blocks: &[Arc<Block>], range: TimeRange, wanted_ms: i64) -> Vec<Part> {
    // A window of the next span, and a counter with it, may begin before that.
    let begun = blocks.iter().map(|block| &block.footer);
    let begun = begun.filter(|footer| footer.range.start_ms <= range.end_ms && footer.end_ms > range.end_ms);
    let begun_ms = begun.map(|footer| footer.start_ms.saturating_add(1));
    let until_ms = begun_ms.fold(range.end_ms, i64::max);
    let start_ms = range.start_ms.saturating_sub(1);
    cover(blocks, (start_ms, until_ms), wanted_ms, (start_ms, range.end_ms))
}

/// Which blocks serve which part of a time that is open at its start, ascending:
/// those of the step `wanted_ms` where there are any, else of the next finer
/// one, and what nothing finer has of the next coarser one. `blocks` ascend by
/// their ends.
///
/// Where [`Grains::WHOLE`] is wanted, of each step first what lies within `ends`.
///
/// Spans are multiples of every coarser step, so that no step is torn at a seam.
fn cover(blocks: &[Arc<Block>], whole: (i64, i64), wanted_ms: i64, ends: (i64, i64)) -> Vec<Part> {
    let mut steps: Vec<i64> = blocks.iter().map(|block| block.footer.resolution_ms).collect();
    steps.sort_unstable();
    steps.dedup();
    let is_whole = wanted_ms == Grains::WHOLE;
    let mut coarsest_ms = 0;
    // Steps that do not divide the coarser ones, of tiers that are configured no more, would be torn where those end.
    let divides = |step_ms: &i64| {
        let divides = !is_whole || *step_ms == 0 || coarsest_ms % step_ms == 0;
        coarsest_ms = if divides { *step_ms } else { coarsest_ms };
        divides
    };
    let finer = steps.iter().rev().copied().filter(|step_ms| *step_ms <= wanted_ms).filter(divides);
    let coarser = steps.iter().copied().filter(|step_ms| is_whole || *step_ms > wanted_ms);
    let finer = finer.map(|step_ms| (step_ms, if is_whole { steps_within(ends, step_ms) } else { whole }));
    let mut free = vec![whole];
    let mut parts = Vec::new();
    for (step_ms, within) in finer.chain(coarser.map(|step_ms| (step_ms, whole))) {
        let mut behind_ms = i64::MIN;
        for block in blocks.iter().filter(|block| block.footer.resolution_ms == step_ms && !block.is_gone()) {
            // Of version 1 the start is not known for sure.
            let start_ms = block.footer.start_ms.max(behind_ms);
            behind_ms = block.footer.end_ms;
            let span = (start_ms.max(within.0), block.footer.end_ms.min(within.1));
            take(&mut free, span, |(from_ms, until_ms)| {
                // What it has of before its span is of a window within.
                let is_whole = from_ms == start_ms;
                let start_ms = if is_whole { from_ms.min(block.footer.range.start_ms) } else { from_ms + 1 };
                let range = TimeRange { start_ms, end_ms: until_ms };
                parts.push(Part { block: block.clone(), range });
            });
        }
    }
    parts.sort_by_key(|part| part.range.end_ms);
    parts
}

/// From the start of the first whole step to the end of the last one.
fn steps_within((start_ms, end_ms): (i64, i64), step_ms: i64) -> (i64, i64) {
    if step_ms == 0 {
        return (start_ms, i64::MAX);
    }
    (span_end(start_ms.max(i64::MIN / 2), step_ms), end_ms.div_euclid(step_ms).saturating_mul(step_ms))
}

/// Takes what of `span` is free, and tells `each` of it.
fn take(free: &mut Vec<(i64, i64)>, span: (i64, i64), mut each: impl FnMut((i64, i64))) {
    let mut left = Vec::with_capacity(free.len() + 1);
    for (from_ms, until_ms) in free.drain(..) {
        let (start_ms, end_ms) = (from_ms.max(span.0), until_ms.min(span.1));
        if start_ms >= end_ms {
            left.push((from_ms, until_ms));
            continue;
        }
        each((start_ms, end_ms));
        left.extend(
            [(from_ms, start_ms), (end_ms, until_ms)].into_iter().filter(|(from, until)| from < until),
        );
    }
    *free = left;
}

/// The next block that can be built: of the finest tier that lacks one, so that
/// the tier above finds it. Up to `sealed_ms` all windows are in blocks. What
/// is too old for its tier at `newest_ms` is not built: it would leave at once,
/// and be built again for ever. `fate` tells of a block by its step and end
/// whether it may be built now.
pub(super) fn next_build(
    blocks: &[Arc<Block>],
    windows: Windows,
    tiers: &[Tier],
    sealed_ms: i64,
    newest_ms: i64,
    fate: impl Fn((i64, i64)) -> Fate,
) -> Option<Build> {
    // Where a finer tier has yet to get its part: what a coarser one has counts
    // for that one, too.
    let mut waiting: Vec<(i64, i64)> = Vec::new();
    let Windows { mut span_ms, mut retention_ms } = windows;
    let block_span_ms = span_ms;
    for tier in tiers {
        span_ms = span_of(tier, span_ms, retention_ms);
        retention_ms = tier.retention_ms;
        let resolution_ms = tier.resolution_ms;
        let mut built = Built::of(blocks, tier, block_span_ms, newest_ms);
        // What a tier that was taken out of the config had, too.
        let sources: Vec<Arc<Block>> = blocks
            .iter()
            .filter(|block| {
                let step_ms = block.footer.resolution_ms;
                step_ms < resolution_ms && (step_ms == 0 || resolution_ms % step_ms == 0)
            })
            .cloned()
            .collect();
        loop {
            let lacks = |block: &Arc<Block>| built.lacks(block.footer.start_ms, block.footer.end_ms);
            let Some(start_ms) = sources.iter().filter_map(lacks).min() else { break };
            let mut end_ms = span_end(start_ms.saturating_add(1), span_ms);
            if let Some(next_ms) = built.next(start_ms) {
                // The past was filled before what there is: no further than that, and
                // than what there is of it, so that more may come.
                end_ms = end_ms.min(next_ms).min(end_of_row(&sources, start_ms));
            }
            if end_ms > sealed_ms {
                break;
            }
            let waits = waiting.iter().any(|(from_ms, until_ms)| *from_ms < end_ms && *until_ms > start_ms);
            match fate((resolution_ms, end_ms)) {
                Fate::Now if !waits => {
                    let parts = cover(&sources, (start_ms, end_ms), resolution_ms, (start_ms, end_ms));
                    return Some(Build { resolution_ms, start_ms, end_ms, parts });
                }
                Fate::Never => {}
                Fate::Now | Fate::Later => waiting.push((start_ms, end_ms)),
            }
            built.add((start_ms, end_ms));
        }
    }
    None
}

/// Whether a block may be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Now,
    /// It could not be built, and is tried again later.
    Later,
    /// There is a damaged one that has its name.
    Never,
}

/// Times, open at their starts, for which a tier needs nothing finer any more.
/// What a coarser one has was in this one: it is not built again when it was
/// dropped, of files that a power cut brought back. Neither is what is too old
/// for the tier: it would leave at once, and be built for ever.
pub(super) struct Built {
    spans: Vec<(i64, i64)>,
    pub(super) too_old_ms: i64,
}

impl Built {
    pub(super) fn of(blocks: &[Arc<Block>], tier: &Tier, block_span_ms: i64, newest_ms: i64) -> Self {
        // No step is torn, of no tier.
        let too_old_ms =
            span_end(newest_ms.saturating_sub(tier.retention_ms).max(i64::MIN / 2), block_span_ms);
        let of_tier = blocks.iter().filter(|block| block.footer.resolution_ms >= tier.resolution_ms);
        let of_tier = of_tier.map(|block| (block.footer.start_ms, block.footer.end_ms));
        let spans = std::iter::once((i64::MIN, too_old_ms)).chain(of_tier).collect();
        let mut built = Built { spans, too_old_ms };
        built.join();
        built
    }

    fn add(&mut self, span: (i64, i64)) {
        self.spans.push(span);
        self.join();
    }

    fn join(&mut self) {
        self.spans.sort_unstable();
        self.spans.dedup_by(|next, kept| {
            let joins = next.0 <= kept.1;
            if joins {
                kept.1 = kept.1.max(next.1);
            }
            joins
        });
    }

    /// The first moment of a time, open at its start, that is lacking.
    pub(super) fn lacks(&self, start_ms: i64, end_ms: i64) -> Option<i64> {
        let at = self.spans.partition_point(|(_, built_ms)| *built_ms <= start_ms);
        match self.spans.get(at) {
            Some((from_ms, until_ms)) if *from_ms <= start_ms => (*until_ms < end_ms).then_some(*until_ms),
            _ => Some(start_ms),
        }
    }

    /// Where what is built begins again after `start_ms`, if it does.
    fn next(&self, start_ms: i64) -> Option<i64> {
        self.spans.iter().map(|(from_ms, _)| *from_ms).find(|from_ms| *from_ms >= start_ms)
    }
}

/// Where the blocks that follow each other from `start_ms` on come to an end.
fn end_of_row(blocks: &[Arc<Block>], start_ms: i64) -> i64 {
    let mut spans: Vec<(i64, i64)> =
        blocks.iter().map(|block| (block.footer.start_ms, block.footer.end_ms)).collect();
    spans.sort_unstable();
    let joined = |end_ms: i64, (from_ms, until_ms): (i64, i64)| {
        if from_ms <= end_ms { end_ms.max(until_ms) } else { end_ms }
    };
    spans.into_iter().filter(|(_, until_ms)| *until_ms > start_ms).fold(start_ms, joined)
}

/// Span of a tier's blocks: a multiple of that of the tier before, long enough
/// for columns to pay, and not beyond half the time for which the source stays.
fn span_of(tier: &Tier, before_ms: i64, source_retention_ms: i64) -> i64 {
    let longest_ms = tier.resolution_ms.saturating_mul(SPAN_STEPS).min(tier.retention_ms);
    let longest_ms = longest_ms.min(source_retention_ms / 2);
    (longest_ms / before_ms.max(1)).max(1).saturating_mul(before_ms)
}

/// The coarsest step that answers as well as the finest where all times that
/// are asked for are multiples of `grain_ms`; 0 when only windows do.
pub(super) fn wanted(tiers: &[Tier], grain_ms: i64) -> i64 {
    if grain_ms == Grains::WHOLE {
        return grain_ms;
    }
    let fits = |tier: &&Tier| grain_ms > 0 && grain_ms % tier.resolution_ms == 0;
    tiers.iter().filter(fits).map(|tier| tier.resolution_ms).max().unwrap_or_default()
}
