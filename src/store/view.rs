//! What there is in a range at one moment, and which series have points of it.
//!
//! Taken in one step; files are opened afterwards, so that one may have gone away:
//! what was in it is in a block by then, and who reads looks again.

use super::error::Error;
use super::frame::{Frame, FrameReader};
use super::head;
use super::id_set::IdSet;
use super::late::LateKind;
use super::sample::Kind;
use super::section::Wanted;
use super::segment::{Files, FrameFile};
use super::store::Store;
use super::tier::{self, Part};
use super::waiting::Waiting;
use crate::model::{Grains, Matcher, MetricType, SeriesId, SeriesKey, TimeRange};
use std::sync::Arc;

/// What there is in a range, at one moment.
pub(super) struct View {
    pub(super) range: TimeRange,
    /// For each resolution that is wanted, ascending in time.
    pub(super) parts: Vec<(i64, Vec<Part>)>,
    pub(super) frames: Vec<Arc<Frame>>,
    /// Whether these are all frames there are.
    all_frames: bool,
    /// Frames whose late values may change something here, and, where there are
    /// some, the frames that end after the range.
    pub(super) late: Vec<Arc<Frame>>,
    pub(super) later: Vec<Arc<Frame>>,
    /// Windows that could not be written yet, ascending; later than all frames.
    pub(super) waiting: Vec<Arc<Waiting>>,
    /// What is not later is in blocks, with what came late for it.
    pub(super) sealed_ms: i64,
}

impl Store {
    /// `None` when all of the range is too old.
    pub(super) fn view(&self, range: TimeRange, grains: &Grains) -> Option<View> {
        let state = self.state();
        let range = state.readable(range)?;
        let mut parts: Vec<(i64, Vec<Part>)> = Vec::new();
        for metric_type in MetricType::ALL {
            let wanted_ms = self.wanted_ms(grains.of(metric_type));
            if parts.iter().all(|(step_ms, _)| *step_ms != wanted_ms) {
                let mut serving = tier::serving(&state.blocks, range, wanted_ms);
                serving.retain(|part| part.block.overlaps(&range) && part.block.overlaps(&part.range));
                parts.push((wanted_ms, serving));
            }
        }
        let frames = state.head.frames_in(&range);
        let all_frames = frames.len() == state.head.frames().count();
        let late = state.head.late_frames_in(&range);
        let later = if late.is_empty() { Vec::new() } else { state.head.frames_after(range.end_ms) };
        let waiting =
            state.waiting.iter().filter(|waiting| waiting.range().overlaps(&range)).cloned().collect();
        let sealed_ms = state.sealed_ms;
        Some(View { range, parts, frames, all_frames, late, later, waiting, sealed_ms })
    }
}

impl View {
    /// The series that fulfil the matchers and have points here: exactly so
    /// when `exact` is set or there seem to be too many. `None` as with
    /// [`View::with_points`].
    pub(super) fn found(
        &self,
        store: &Store,
        matchers: &[Matcher],
        max_series: usize,
        exact: bool,
        last_try: bool,
    ) -> Result<Option<Vec<(SeriesId, SeriesKey)>>, Error> {
        let mut present = head::series(self.frames.iter().chain(&self.late));
        self.parts().for_each(|part| present.unite(part.block.series()));
        self.waiting.iter().for_each(|waiting| present.unite(waiting.series()));
        let mut found: Vec<(SeriesId, SeriesKey)> = Vec::new();
        // Of those beyond the limit, the numbers alone.
        let mut more: Vec<u32> = Vec::new();
        store.catalogue().matches(matchers, |id, series| {
            if present.contains(id.0) {
                if found.len() < max_series {
                    found.extend(series.series().map(|key| (id, key)));
                } else {
                    more.push(id.0);
                }
            }
            true
        });
        if more.is_empty() && !exact {
            return Ok(Some(found));
        }
        let candidates: IdSet = found.iter().map(|(id, _)| id.0).chain(more.iter().copied()).collect();
        let with_points = self.with_points(store, &candidates, max_series, last_try)?;
        let Some(with_points) = with_points else { return Ok(None) };
        found.retain(|(id, _)| with_points.contains(id.0));
        for id in more.into_iter().filter(|id| with_points.contains(*id)) {
            found.extend(store.catalogue().series(SeriesId(id)).map(|key| (SeriesId(id), key)));
        }
        Ok(Some(found))
    }

    /// Those of the candidates that have points here. `None` when a file went away
    /// meanwhile, unless this is the `last_try`: then it is left out.
    pub(super) fn with_points(
        &self,
        store: &Store,
        candidates: &IdSet,
        max_series: usize,
        last_try: bool,
    ) -> Result<Option<IdSet>, Error> {
        let mut found = IdSet::default();
        let check = |found: &IdSet| {
            let fits = found.len() <= max_series;
            fits.then_some(()).ok_or(Error::Limit { what: "series", limit: max_series })
        };
        for waiting in &self.waiting {
            waiting.series().iter().filter(|id| candidates.contains(*id)).for_each(|id| found.insert(id));
        }
        check(&found)?;
        for Part { block, range } in self.parts() {
            let missing: Vec<u32> =
                candidates.minus(&found).filter(|id| block.series().contains(*id)).collect();
            let is_whole = covers(range, &block.footer.range) && self.covers(&block.footer.range);
            if is_whole {
                missing.into_iter().for_each(|id| found.insert(id));
            } else if !missing.is_empty() {
                match block.file(store.backend())? {
                    Some(file) => block.entries(&*file, Wanted::Ids(&missing), |entry| {
                        if entry.overlaps(&self.range) && entry.overlaps(range) {
                            found.insert(entry.id);
                        }
                    })?,
                    None if last_try => {}
                    None => return Ok(None),
                }
            }
            check(&found)?;
        }
        let (mut files, mut reader) = (Files::default(), FrameReader::default());
        for frame in &self.late {
            let file = match files.of_frame(store.backend(), frame, last_try)? {
                FrameFile::There(file) => file,
                FrameFile::Reported => continue,
                FrameFile::Gone => return Ok(None),
            };
            let missing: Vec<u32> = candidates.minus(&found).collect();
            let interval_ms = frame.late().map_or(0, |late| late.interval_ms);
            for kind in LateKind::ALL {
                let each = |id, window_ms, _| {
                    let window = TimeRange { start_ms: window_ms - interval_ms, end_ms: window_ms };
                    if window_ms > self.sealed_ms && self.range.overlaps(&window) {
                        found.insert(id);
                    }
                };
                let read = frame.read_late(&*file, kind, Wanted::Ids(&missing), &mut reader, each);
                read.map_err(Error::io("read", frame.segment().path()))?;
            }
            check(&found)?;
        }
        let whole = self
            .frames
            .iter()
            .all(|frame| self.covers(&TimeRange { start_ms: frame.start_ms, end_ms: frame.end_ms }));
        if self.all_frames && whole && self.late.is_empty() {
            let series = head::series(self.frames.iter());
            candidates.iter().filter(|id| series.contains(*id)).for_each(|id| found.insert(id));
            check(&found)?;
            return Ok(Some(found));
        }
        for frame in self.frames.iter().rev() {
            let missing: Vec<u32> = candidates.minus(&found).collect();
            if missing.is_empty() {
                break;
            }
            let file = match files.of_frame(store.backend(), frame, last_try)? {
                FrameFile::There(file) => file,
                FrameFile::Reported => continue,
                FrameFile::Gone => return Ok(None),
            };
            for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Gone) {
                let read =
                    frame.read_ids(&*file, kind, Wanted::Ids(&missing), &mut reader, |id| found.insert(id));
                read.map_err(Error::io("read", frame.segment().path()))?;
            }
            check(&found)?;
        }
        Ok(Some(found))
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().flat_map(|(_, parts)| parts)
    }

    fn covers(&self, range: &TimeRange) -> bool {
        covers(&self.range, range)
    }
}

fn covers(whole: &TimeRange, range: &TimeRange) -> bool {
    whole.start_ms <= range.start_ms && range.end_ms <= whole.end_ms
}
