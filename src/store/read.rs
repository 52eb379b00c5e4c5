//! Reading: log and blocks as one, without gap or double at the seams.
//!
//! Which frames and blocks there are is taken at one moment; all points are
//! read after that, without a lock: the log frame by frame, each of them once
//! for all series, and what waits to be written, here; blocks in `reading.rs`. Limits hold while reading, not
//! after.

use super::correction::{self, Corrections, Starts};
use super::error::Error;
use super::frame::{Frame, FrameReader};
use super::gathering::{Budget, append_later, empty, push};
use super::id_set::IdSet;
use super::point::Class;
use super::reading::{Asked, Reading};
use super::sample::{Kind, Value};
use super::section::Wanted;
use super::segment::{Files, FrameFile};
use super::store::Store;
use super::tier;
use super::view::View;
use crate::model::{
    Grains, Matcher, MetricType, Points, Sample, Select, Series, SeriesId, SeriesKey, TimeRange,
};
use crate::workers;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Samples of the log for which another thread is worth it, and most parts that
/// are made of it.
const PART_SAMPLES: usize = 1 << 15;
const PARTS: usize = 8;
/// A file that goes away while it is about to be read is in a block by then:
/// the query looks again, so many times.
const TRIES: usize = 3;

impl Store {
    /// The series that `request` asks for and that have points in its range,
    /// ascending by labels.
    ///
    /// # Errors
    /// [`Error::Limit`] when there are more series or points than allowed,
    /// [`Error::Io`] when a file cannot be read. What is damaged is no error: it is left out, logged and counted.
    pub fn select(&self, request: &Select<'_>) -> Result<Vec<Series>, Error> {
        self.select_at(request, &Grains::all(request.step_ms))
    }

    /// As [`Store::select`], with a resolution for each type.
    ///
    /// # Errors
    /// As [`Store::select`].
    pub fn select_at(&self, request: &Select<'_>, grains: &Grains) -> Result<Vec<Series>, Error> {
        let reading = self.reading(request, grains)?;
        reading.read(0..reading.keys().len(), request.max_points)
    }

    /// The series that `request` asks for, whose points are then read some at a
    /// time. What is in the log is read at once and counts as points.
    ///
    /// # Errors
    /// As [`Store::select`].
    pub fn reading(&self, request: &Select<'_>, grains: &Grains) -> Result<Reading, Error> {
        for attempt in 1..=TRIES {
            let Some(view) = self.view(request.range, grains) else { break };
            let is_last = attempt == TRIES;
            let found = view.found(self, request.matchers, request.max_series, false, is_last)?;
            let Some(found) = found else { continue };
            let budget = Budget { points: 0, limit: request.max_points };
            let mut log = LogPoints::new(found, view.range, budget);
            if log.read_frames(self, &view, is_last)? && log.correct(self, &view, is_last)? {
                let asked = Asked { range: view.range, grains, parts: &view.parts };
                log.add_waiting(&view)?;
                if let Some(reading) = Reading::new(self, &asked, log.series(), is_last)? {
                    return Ok(reading);
                }
            }
        }
        Ok(Reading::empty(self, request.range))
    }

    /// The series that fulfil all matchers and have points in or around
    /// `range`, at most `max_series`, ascending by labels.
    ///
    /// # Errors
    /// [`Error::Limit`] when there are more, [`Error::Io`].
    pub fn series(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        max_series: usize,
    ) -> Result<Vec<SeriesKey>, Error> {
        for attempt in 1..=TRIES {
            let Some(view) = self.view(range, &Grains::default()) else { break };
            let found = view.found(self, matchers, max_series, true, attempt == TRIES)?;
            let Some(found) = found else { continue };
            let mut keys: Vec<SeriesKey> = found.into_iter().map(|(_, key)| key).collect();
            keys.sort_unstable();
            return Ok(keys);
        }
        Ok(Vec::new())
    }

    /// Calls `visit` with each series that fulfils all matchers and has points in
    /// or around `range`, in the order of their escaped names, until it returns
    /// false. Holds their numbers, not their names.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn each_series(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        mut visit: impl FnMut(SeriesKey) -> bool,
    ) -> Result<(), Error> {
        let mut candidates = IdSet::default();
        self.catalogue().matching(matchers, |id, _| {
            candidates.insert(id.0);
            true
        });
        for attempt in 1..=TRIES {
            let Some(view) = self.view(range, &Grains::default()) else { break };
            let found = view.with_points(self, &candidates, usize::MAX, attempt == TRIES)?;
            if let Some(found) = found {
                self.catalogue().matching(matchers, |id, key| !found.contains(id.0) || visit(key));
                break;
            }
        }
        Ok(())
    }

    /// The coarsest step, in ms, of the finest that there is in `range`; 0 when
    /// all of that is windows.
    pub fn resolution_ms(&self, range: TimeRange) -> i64 {
        let view = self.view(range, &Grains::default());
        let parts = view.iter().flat_map(|view| view.parts());
        parts.map(|part| part.block.footer.resolution_ms).max().unwrap_or_default()
    }

    /// Until when, in `range`, only steps longer than `longer_ms` are left; the
    /// beginning of time when that is nowhere so.
    pub fn coarse_until_ms(&self, range: TimeRange, longer_ms: i64) -> i64 {
        let view = self.view(range, &Grains::default());
        let parts = view.iter().flat_map(|view| view.parts());
        let coarse = parts.filter(|part| part.block.footer.resolution_ms > longer_ms);
        coarse.map(|part| part.range.end_ms).max().unwrap_or(i64::MIN)
    }

    pub(super) fn wanted_ms(&self, grain_ms: i64) -> i64 {
        tier::wanted(&self.options.tiers, grain_ms)
    }
}

/// What is read of frames.
struct FramesAsked<'a> {
    store: &'a Store,
    view: &'a View,
    /// Ids of each kind, ascending.
    wanted: &'a [(Kind, Vec<u32>)],
    last_try: bool,
    /// Those that all threads have read.
    points: AtomicUsize,
}

/// The points that the log has of the series that were found.
struct LogPoints {
    range: TimeRange,
    budget: Budget,
    /// Ascending by id.
    found: Vec<(SeriesId, SeriesKey)>,
    log: Vec<Points>,
    starts: Starts,
}

impl LogPoints {
    fn new(mut found: Vec<(SeriesId, SeriesKey)>, range: TimeRange, budget: Budget) -> Self {
        found.sort_unstable_by_key(|(id, _)| *id);
        let log = found.iter().map(|(_, key)| empty(Class::of(key.metric_type))).collect();
        LogPoints { range, budget, found, log, starts: Starts::default() }
    }

    fn ids(&self, is: impl Fn(MetricType) -> bool) -> Vec<u32> {
        let found = self.found.iter().filter(|(_, key)| is(key.metric_type));
        found.map(|(id, _)| id.0).collect()
    }

    /// The ids of each kind, ascending.
    fn wanted(&self) -> [(Kind, Vec<u32>); Kind::ALL.len()] {
        let is_float = |kind| matches!(kind, Kind::Counters | Kind::Gauges);
        Kind::ALL.map(|kind| {
            let fits = |of| if kind == Kind::Ends { is_float(of) } else { of == kind };
            (kind, self.ids(|metric_type| kind != Kind::Gone && fits(Kind::of(metric_type))))
        })
    }

    /// Frame by frame, some of them by each thread. False when a file went away
    /// meanwhile; then what it held is in a block, unless this is the `last_try`:
    /// then it is left out.
    fn read_frames(&mut self, store: &Store, view: &View, last_try: bool) -> Result<bool, Error> {
        let wanted = self.wanted();
        let asked = FramesAsked { store, view, wanted: &wanted, last_try, points: AtomicUsize::new(0) };
        let samples = view.frames.len() * self.found.len();
        let part = view.frames.len().div_ceil((samples / PART_SAMPLES).clamp(1, PARTS)).max(1);
        let parts: Vec<&[Arc<Frame>]> = view.frames.chunks(part).collect();
        let read = workers::all(parts.len(), |at| match parts.get(at) {
            Some(frames) => self.read_some(&asked, frames),
            None => Ok(None),
        })?;
        for some in read {
            let Some((log, starts)) = some else { return Ok(false) };
            for (points, later) in self.log.iter_mut().zip(log) {
                append_later(points, later);
            }
            self.starts.append(starts);
        }
        self.budget.points = asked.points.into_inner();
        Ok(true)
    }

    /// The points in some frames, and which of them are starts of counters.
    fn read_some(
        &self,
        asked: &FramesAsked<'_>,
        frames: &[Arc<Frame>],
    ) -> Result<Option<(Vec<Points>, Starts)>, Error> {
        let FramesAsked { store, view, wanted, last_try, points } = asked;
        let mut log: Vec<Points> =
            self.found.iter().map(|(_, key)| empty(Class::of(key.metric_type))).collect();
        let (mut starts, limit) = (Starts::default(), self.budget.limit);
        let (mut files, mut reader) = (Files::default(), FrameReader::default());
        for frame in frames {
            let file = match files.of_frame(store.backend(), frame, *last_try)? {
                FrameFile::There(file) => file,
                FrameFile::Reported => continue,
                FrameFile::Gone => return Ok(None),
            };
            let mut budget = Budget { points: 0, limit };
            let window = TimeRange { start_ms: frame.start_ms, end_ms: frame.end_ms };
            for (kind, ids) in wanted.iter().filter(|(_, ids)| !ids.is_empty()) {
                let mut place = 0;
                let read = frame.read(&*file, *kind, Wanted::Ids(ids), &mut reader, |id, value| {
                    // Both ascend.
                    while self.found.get(place).is_some_and(|(found, _)| found.0 < id) {
                        place += 1;
                    }
                    if let Value::Counter(_, start) = &value
                        && !view.late.is_empty()
                    {
                        starts.note(id, frame, start.is_some());
                    }
                    if let Some(points) = log.get_mut(place) {
                        push(points, window, value, &self.range, &mut budget);
                    }
                });
                read.map_err(Error::io("read", frame.segment().path()))?;
            }
            // What all threads have, together.
            budget.points += points.fetch_add(budget.points, Ordering::Relaxed);
            budget.check()?;
        }
        Ok(Some((log, starts)))
    }

    /// Applies what came late to what was read of the log. False when a file
    /// went away meanwhile.
    fn correct(&mut self, store: &Store, view: &View, last_try: bool) -> Result<bool, Error> {
        if view.late.is_empty() {
            return Ok(true);
        }
        let (ids, backend) = (self.ids(|_| true), store.backend());
        let (log, budget, range) = (&mut self.log, &mut self.budget, self.range);
        let sample = |id: u32, sample: Sample| {
            let place = ids.binary_search(&id).ok().and_then(|place| log.get_mut(place));
            let is_here = sample.timestamp_ms > view.sealed_ms && range.contains(sample.timestamp_ms);
            if let (true, Some(Points::Floats(samples))) = (is_here, place) {
                budget.points += 1;
                if budget.points <= budget.limit {
                    samples.push(sample);
                }
            }
        };
        let read = correction::read(
            backend,
            Files::default(),
            &view.late,
            &ids,
            view.range.end_ms,
            last_try,
            sample,
        )?;
        let Some(corrections) = read else { return Ok(false) };
        self.budget.check()?;
        let points = |id: &u32| ids.binary_search(id).ok().and_then(|place| self.log.get(place));
        let unknown = corrections
            .iter()
            .filter(|(id, late)| points(id).is_some_and(|points| correction::needs_ahead(points, late)))
            .map(|(id, _)| *id)
            .collect();
        let ahead = correction::read_ahead(backend, Files::default(), &view.later, unknown, last_try)?;
        let Some(ahead) = ahead else { return Ok(false) };
        self.apply(&ids, &corrections, &ahead, view.sealed_ms)?;
        Ok(true)
    }

    /// Adds what could not be written yet, which is later than all frames.
    fn add_waiting(&mut self, view: &View) -> Result<(), Error> {
        if view.waiting.is_empty() {
            return Ok(());
        }
        let (all, mut wanted) = (self.ids(|_| true), Vec::new());
        for (kind, ids) in self.wanted() {
            let places: Vec<usize> = ids.iter().filter_map(|id| all.binary_search(id).ok()).collect();
            wanted.push((kind, ids, places));
        }
        for waiting in &view.waiting {
            for (kind, ids, places) in &wanted {
                waiting.read(*kind, ids, |at, value| {
                    let points = places.get(at).and_then(|place| self.log.get_mut(*place));
                    if let Some(points) = points {
                        push(points, waiting.range(), value, &self.range, &mut self.budget);
                    }
                });
            }
            self.budget.check()?;
        }
        Ok(())
    }

    fn apply(
        &mut self,
        ids: &[u32],
        corrections: &Corrections,
        ahead: &BTreeMap<u32, correction::Total>,
        sealed_ms: i64,
    ) -> Result<(), Error> {
        for (id, late) in corrections {
            let place = ids.binary_search(id).ok().and_then(|place| self.log.get_mut(place));
            let Some(points) = place else { continue };
            let before = points.weight_from(0);
            let is_start = |at_ms| self.starts.has(*id, at_ms);
            let keep = |window_ms, at_ms| window_ms > sealed_ms && self.range.contains(at_ms);
            correction::apply(points, late, ahead.get(id).copied(), is_start, keep);
            self.budget.points += points.weight_from(0).saturating_sub(before);
            self.budget.check()?;
        }
        Ok(())
    }

    /// All of them, ascending by id.
    fn series(self) -> Vec<(u32, SeriesKey, Points)> {
        self.found.into_iter().zip(self.log).map(|((id, key), log)| (id.0, key, log)).collect()
    }
}
