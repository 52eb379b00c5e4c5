//! Which time there is data of, and in which windows, as far as headers tell: no
//! file is read for it.

use super::store::Store;
use crate::model::TimeRange;
use std::cmp::Reverse;
use std::collections::BTreeMap;

impl Store {
    /// The time that there are points of, as far as headers tell; `None` when
    /// there are none.
    pub fn range(&self) -> Option<TimeRange> {
        let state = self.state();
        let blocks = state.blocks.iter().filter(|block| !block.series().is_empty());
        let blocks = blocks.map(|block| block.footer.range);
        let frames = state.head.frames().map(|frame| {
            let late_ms = frame.late().map_or(i64::MAX, |late| late.range(frame.end_ms).start_ms);
            TimeRange { start_ms: frame.start_ms.min(late_ms), end_ms: frame.end_ms }
        });
        let all = |a: TimeRange, b: TimeRange| TimeRange {
            start_ms: a.start_ms.min(b.start_ms),
            end_ms: a.end_ms.max(b.end_ms),
        };
        blocks.chain(frames).reduce(all)
    }

    /// The length of the windows in the log, in ms: of several the most frequent,
    /// the shorter one of two. One may have been longer, as when the machine slept.
    pub fn window_ms(&self) -> Option<i64> {
        let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
        for frame in self.state().head.frames() {
            *counts.entry(frame.end_ms - frame.start_ms).or_default() += 1;
        }
        let most = counts.into_iter().max_by_key(|(length_ms, count)| (*count, Reverse(*length_ms)));
        most.map(|(length_ms, _)| length_ms)
    }

    /// Last moment before the first span that there are points of, as far as
    /// headers tell.
    pub fn starts_after_ms(&self) -> Option<i64> {
        let state = self.state();
        let blocks = state.blocks.iter().map(|block| block.footer.start_ms);
        blocks.chain(state.head.frames().next().map(|frame| frame.start_ms)).min()
    }
}
