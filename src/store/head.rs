//! What is not in a block yet: the frames of the log, by block span, the open
//! one and those that wait for their block.
//!
//! A window belongs to the span that its end lies in, `(k·span, (k+1)·span]`,
//! with all its samples, also with the starts of its counters. A span that was
//! closed never changes again, so that its block is built without a lock. In
//! memory is little more than where each frame is: no more for more series.

use super::error::Error;
use super::frame::Frame;
use super::id_set::IdSet;
use super::salvage::Salvage;
use super::segment::{Files, Segment};
use crate::model::TimeRange;
use std::sync::Arc;

/// The windows of one block span, ascending.
#[derive(Clone, Default)]
pub(super) struct Span {
    /// The span's last moment, in ms.
    pub(super) end_ms: i64,
    pub(super) frames: Vec<Arc<Frame>>,
}

/// All spans that wait for their block, and the open one.
pub(super) struct Head {
    span_ms: i64,
    closed: Vec<Arc<Span>>,
    open: Option<Span>,
}

/// A span that nothing can come for any more, and what came after it.
pub(super) struct Complete {
    pub(super) span: Arc<Span>,
    pub(super) later: Vec<Arc<Frame>>,
    /// What is not later is in a block before.
    pub(super) sealed_ms: i64,
    /// Set when it is to be written without what cannot be read.
    pub(super) salvage: Option<Arc<Salvage>>,
}

/// Size of the head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) series: usize,
    pub(super) samples: usize,
    pub(super) bytes: usize,
}

/// Last moment of the span that a window ending at `end_ms` belongs to.
pub(super) fn span_end(end_ms: i64, span_ms: i64) -> i64 {
    let start = (end_ms - 1).div_euclid(span_ms) * span_ms;
    start.saturating_add(span_ms)
}

impl Head {
    pub(super) fn new(span_ms: i64) -> Self {
        Head { span_ms, closed: Vec::new(), open: None }
    }

    /// Takes in a window that is later than all before.
    pub(super) fn push(&mut self, frame: Arc<Frame>) {
        let end_ms = span_end(frame.end_ms, self.span_ms);
        if self.open.as_ref().is_some_and(|open| open.end_ms != end_ms) {
            self.close();
        }
        self.open.get_or_insert_with(|| Span { end_ms, frames: Vec::new() }).frames.push(frame);
    }

    fn close(&mut self) {
        self.closed.extend(self.open.take().map(Arc::new));
    }

    /// The oldest span that no window can come into any more, nor a value that
    /// is late by no more than `lateness_ms`.
    pub(super) fn oldest_complete(&mut self, lateness_ms: i64, sealed_ms: i64) -> Option<Complete> {
        if self.open.as_ref().is_some_and(|open| open.last_end_ms() >= open.end_ms) {
            self.close();
        }
        let newest_ms = self.frames().next_back().map_or(i64::MIN, |frame| frame.end_ms);
        let span = self.closed.first().filter(|span| newest_ms >= span.end_ms.saturating_add(lateness_ms))?;
        let later = self.frames().filter(|frame| frame.end_ms > span.end_ms).cloned().collect();
        Some(Complete { span: span.clone(), later, sealed_ms, salvage: None })
    }

    /// Forgets a span whose block is in place.
    pub(super) fn drop_span(&mut self, end_ms: i64) {
        self.closed.retain(|span| span.end_ms != end_ms);
    }

    /// The last moments of its spans, ascending.
    pub(super) fn span_ends(&self) -> impl Iterator<Item = i64> {
        let closed = self.closed.iter().map(|span| &**span);
        closed.chain(&self.open).map(|span| span.end_ms)
    }

    /// All frames, oldest first.
    pub(super) fn frames(&self) -> impl DoubleEndedIterator<Item = &Arc<Frame>> {
        let closed = self.closed.iter().map(|span| &**span);
        closed.chain(&self.open).flat_map(|span| &span.frames)
    }

    /// The frames that may have samples of the time, oldest first.
    pub(super) fn frames_in(&self, range: &TimeRange) -> Vec<Arc<Frame>> {
        self.frames().filter(|frame| frame.overlaps(range)).cloned().collect()
    }

    /// The frames whose late values may change points of the time, oldest first.
    pub(super) fn late_frames_in(&self, range: &TimeRange) -> Vec<Arc<Frame>> {
        late_in(self.frames(), range)
    }

    /// The frames that end after `end_ms`, oldest first.
    pub(super) fn frames_after(&self, end_ms: i64) -> Vec<Arc<Frame>> {
        self.frames().filter(|frame| frame.end_ms > end_ms).cloned().collect()
    }

    /// The windows of its frames, ascending.
    pub(super) fn windows(&self) -> Vec<TimeRange> {
        self.frames().map(|frame| TimeRange { start_ms: frame.start_ms, end_ms: frame.end_ms }).collect()
    }

    /// The series that its segments speak of.
    pub(super) fn series(&self) -> IdSet {
        series(self.frames())
    }

    pub(super) fn size(&self) -> Size {
        let segments = segments(self.frames());
        let series = self.series();
        let frames = self.frames().map(|frame| frame.memory() + size_of::<Arc<Frame>>());
        Size {
            series: series.len(),
            samples: self.frames().map(|frame| frame.samples()).sum(),
            bytes: frames.sum::<usize>() + segments.iter().map(|segment| segment.memory()).sum::<usize>(),
        }
    }
}

/// Those of the frames whose late values may change points of the time.
fn late_in<'a>(frames: impl Iterator<Item = &'a Arc<Frame>>, range: &TimeRange) -> Vec<Arc<Frame>> {
    let is_in =
        |frame: &&Arc<Frame>| frame.late().is_some_and(|late| late.range(frame.end_ms).overlaps(range));
    frames.filter(is_in).cloned().collect()
}

impl Complete {
    /// The frames whose late values change points of the span, oldest first.
    pub(super) fn late_frames(&self) -> Vec<Arc<Frame>> {
        let range = TimeRange { start_ms: i64::MIN, end_ms: self.span.end_ms };
        late_in(self.span.frames.iter().chain(&self.later), &range)
    }

    /// To read its frames with.
    pub(super) fn files(&self) -> Files {
        Files::new(self.salvage.clone())
    }

    /// Whether an error is one of reading its frames.
    pub(super) fn is_unread(&self, error: &Error) -> bool {
        let Error::Io { path, .. } = error else { return false };
        let mut frames = self.span.frames.iter().chain(&self.later);
        frames.any(|frame| frame.segment().path() == path)
    }
}

impl Span {
    /// End of its last window.
    pub(super) fn last_end_ms(&self) -> i64 {
        self.frames.last().map_or(i64::MIN, |frame| frame.end_ms)
    }

    /// The series that its segments speak of.
    pub(super) fn series(&self) -> IdSet {
        series(self.frames.iter())
    }
}

/// The series that the segments of frames speak of.
pub(super) fn series<'a>(frames: impl Iterator<Item = &'a Arc<Frame>>) -> IdSet {
    let mut series = IdSet::default();
    segments(frames).iter().for_each(|segment| series.unite(&segment.series()));
    series
}

/// The segments that frames are in, each once.
pub(super) fn segments<'a>(frames: impl Iterator<Item = &'a Arc<Frame>>) -> Vec<Arc<Segment>> {
    let mut segments: Vec<Arc<Segment>> = Vec::new();
    for frame in frames {
        if segments.last().is_none_or(|last| !Arc::ptr_eq(last, frame.segment())) {
            segments.push(frame.segment().clone());
        }
    }
    segments
}
