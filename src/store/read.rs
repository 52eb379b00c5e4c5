//! Reading: log and blocks as one, without gap or double at the seams.
//!
//! Which frames and blocks there are is taken at one moment; all points are
//! read after that, without a lock, frame by frame and block by block, each of
//! them once for all series. Limits hold while reading, not after.

use super::backend::File;
use super::block::Block;
use super::block_index::Entry;
use super::error::Error;
use super::frame::{Frame, FrameReader};
use super::head;
use super::id_set::IdSet;
use super::point::Class;
use super::sample::{Kind, Value};
use super::section::Wanted;
use super::segment::Files;
use super::store::Store;
use crate::model::sample::stale_nan;
use crate::model::{Matcher, MetricType, Points, Sample, Select, Series, SeriesId, SeriesKey, TimeRange};
use std::sync::Arc;

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
        for attempt in 1..=TRIES {
            let Some(view) = self.view(request.range) else { break };
            let found = view.found(self, request.matchers, request.max_series, false)?;
            let budget = Budget { points: 0, limit: request.max_points };
            let mut gathered = Gathered::new(found, view.range, budget);
            gathered.read_blocks(self, &view.blocks)?;
            if gathered.read_frames(self, &view.frames, attempt == TRIES)? {
                return Ok(gathered.series());
            }
        }
        Ok(Vec::new())
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
        let Some(view) = self.view(range) else { return Ok(Vec::new()) };
        let found = view.found(self, matchers, max_series, true)?;
        let mut keys: Vec<SeriesKey> = found.into_iter().map(|(_, key)| key).collect();
        keys.sort_unstable();
        Ok(keys)
    }

    fn view(&self, range: TimeRange) -> Option<View> {
        let state = self.state();
        let range = state.readable(range)?;
        let blocks = state.blocks.iter().filter(|block| block.overlaps(&range)).cloned().collect();
        let frames = state.head.frames_in(&range);
        let all_frames = frames.len() == state.head.frames().count();
        Some(View { range, blocks, frames, all_frames })
    }
}

/// What there is in a range, at one moment.
struct View {
    range: TimeRange,
    blocks: Vec<Arc<Block>>,
    frames: Vec<Arc<Frame>>,
    /// Whether these are all frames there are.
    all_frames: bool,
}

impl View {
    /// The series that fulfil the matchers and have points here: exactly so
    /// when `exact` is set or there seem to be too many.
    fn found(
        &self,
        store: &Store,
        matchers: &[Matcher],
        max_series: usize,
        exact: bool,
    ) -> Result<Vec<(SeriesId, SeriesKey)>, Error> {
        let mut present = head::series(self.frames.iter());
        self.blocks.iter().for_each(|block| present.unite(block.series()));
        let mut found: Vec<(SeriesId, SeriesKey)> = Vec::new();
        // Of those beyond the limit, the numbers alone.
        let mut more: Vec<u32> = Vec::new();
        store.catalogue().matching(matchers, |id, key| {
            if present.contains(id.0) {
                if found.len() < max_series {
                    found.push((id, key));
                } else {
                    more.push(id.0);
                }
            }
            true
        });
        if more.is_empty() && !exact {
            return Ok(found);
        }
        let candidates: IdSet = found.iter().map(|(id, _)| id.0).chain(more.iter().copied()).collect();
        let with_points = self.with_points(store, &candidates, max_series)?;
        found.retain(|(id, _)| with_points.contains(id.0));
        for id in more.into_iter().filter(|id| with_points.contains(*id)) {
            found.extend(store.catalogue().series(SeriesId(id)).map(|key| (SeriesId(id), key)));
        }
        Ok(found)
    }

    /// Those of the candidates that have points here.
    fn with_points(&self, store: &Store, candidates: &IdSet, max_series: usize) -> Result<IdSet, Error> {
        let mut found = IdSet::default();
        let check = |found: &IdSet| {
            let fits = found.len() <= max_series;
            fits.then_some(()).ok_or(Error::Limit { what: "series", limit: max_series })
        };
        for block in &self.blocks {
            let missing: Vec<u32> =
                candidates.minus(&found).filter(|id| block.series().contains(*id)).collect();
            if self.covers(&block.footer.range) {
                missing.into_iter().for_each(|id| found.insert(id));
            } else if let Some(file) = block.file(store.backend())?.filter(|_| !missing.is_empty()) {
                block.entries(&*file, Wanted::Ids(&missing), |entry| {
                    if entry.overlaps(&self.range) {
                        found.insert(entry.id);
                    }
                })?;
            }
            check(&found)?;
        }
        let whole = self
            .frames
            .iter()
            .all(|frame| self.covers(&TimeRange { start_ms: frame.start_ms, end_ms: frame.end_ms }));
        if self.all_frames && whole {
            let series = head::series(self.frames.iter());
            candidates.iter().filter(|id| series.contains(*id)).for_each(|id| found.insert(id));
            check(&found)?;
            return Ok(found);
        }
        let (mut files, mut reader) = (Files::default(), FrameReader::default());
        for frame in self.frames.iter().rev() {
            let missing: Vec<u32> = candidates.minus(&found).collect();
            if missing.is_empty() {
                break;
            }
            let Some(file) = files.of(store.backend(), frame.segment())? else { continue };
            for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Gone) {
                let read =
                    frame.read_ids(&*file, kind, Wanted::Ids(&missing), &mut reader, |id| found.insert(id));
                read.map_err(Error::io("read", frame.segment().path()))?;
            }
            check(&found)?;
        }
        Ok(found)
    }

    fn covers(&self, range: &TimeRange) -> bool {
        self.range.start_ms <= range.start_ms && range.end_ms <= self.range.end_ms
    }
}

/// The points of the series that were found.
struct Gathered {
    range: TimeRange,
    budget: Budget,
    /// Ascending by id.
    found: Vec<(SeriesId, SeriesKey)>,
    points: Vec<Points>,
}

impl Gathered {
    fn new(mut found: Vec<(SeriesId, SeriesKey)>, range: TimeRange, budget: Budget) -> Self {
        found.sort_unstable_by_key(|(id, _)| *id);
        let points = found.iter().map(|(_, key)| empty(Class::of(key.metric_type))).collect();
        Gathered { range, budget, found, points }
    }

    fn ids(&self, is: impl Fn(MetricType) -> bool) -> Vec<u32> {
        let found = self.found.iter().filter(|(_, key)| is(key.metric_type));
        found.map(|(id, _)| id.0).collect()
    }

    /// Block by block, so that one file is open at a time.
    fn read_blocks(&mut self, store: &Store, blocks: &[Arc<Block>]) -> Result<(), Error> {
        let ids = self.ids(|_| true);
        for block in blocks.iter().filter(|_| !ids.is_empty()) {
            let Some(file) = block.file(store.backend())? else { continue };
            let mut entries = Vec::new();
            block.entries(&*file, Wanted::Ids(&ids), |entry| {
                if entry.overlaps(&self.range) {
                    entries.push(entry);
                }
            })?;
            // In the order of the file.
            entries.sort_unstable_by_key(|entry| entry.offset);
            for entry in &entries {
                let Some(points) = block.read_or_report(&*file, entry) else { continue };
                let place = ids.binary_search(&entry.id).ok().and_then(|place| self.points.get_mut(place));
                if let Some(gathered) = place {
                    append(gathered, points, &self.range, &mut self.budget)?;
                }
            }
        }
        Ok(())
    }

    /// Frame by frame. False when a file went away meanwhile; then what it held
    /// is in a block, unless this is the `last_try`: then it is left out.
    fn read_frames(&mut self, store: &Store, frames: &[Arc<Frame>], last_try: bool) -> Result<bool, Error> {
        let is_float = |kind| matches!(kind, Kind::Counters | Kind::Gauges);
        let wanted = Kind::ALL.map(|kind| {
            let fits = |of| if kind == Kind::Ends { is_float(of) } else { of == kind };
            (kind, self.ids(|metric_type| kind != Kind::Gone && fits(Kind::of(metric_type))))
        });
        let (mut files, mut reader) = (Files::default(), FrameReader::default());
        for frame in frames {
            let file = match files.of(store.backend(), frame.segment())? {
                Some(file) => file,
                None if last_try => {
                    frame.report_damaged();
                    continue;
                }
                None => return Ok(false),
            };
            for (kind, ids) in wanted.iter().filter(|(_, ids)| !ids.is_empty()) {
                let mut place = 0;
                let read = frame.read(&*file, *kind, Wanted::Ids(ids), &mut reader, |id, value| {
                    // Both ascend.
                    while self.found.get(place).is_some_and(|(found, _)| found.0 < id) {
                        place += 1;
                    }
                    if let Some(points) = self.points.get_mut(place) {
                        push(points, frame, value, &self.range, &mut self.budget);
                    }
                });
                read.map_err(Error::io("read", frame.segment().path()))?;
            }
            self.budget.check()?;
        }
        Ok(true)
    }

    /// Those that have points, ascending by labels.
    fn series(self) -> Vec<Series> {
        let mut all: Vec<(SeriesKey, Points)> =
            self.found.into_iter().map(|(_, key)| key).zip(self.points).collect();
        all.retain(|(_, points)| !points.is_empty());
        all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let series = all.into_iter().map(|(key, mut points)| {
            match &mut points {
                Points::Floats(points) => in_order(points, |sample| sample.timestamp_ms),
                Points::Histograms(points) => in_order(points, |(at, _)| *at),
                Points::Natives(points) => in_order(points, |(at, _)| *at),
                Points::Sketches(points) => in_order(points, |(at, _)| *at),
            }
            Series { labels: key.labels, metric_type: Some(key.metric_type), points }
        });
        series.collect()
    }
}

impl Block {
    fn read_or_report(&self, file: &dyn File, entry: &Entry) -> Option<Points> {
        match self.read(file, entry) {
            Ok(points) => Some(points),
            Err(error) => {
                if self.report_damaged(entry.id) {
                    tracing::error!(
                        path = %self.path().display(),
                        series = entry.id,
                        %error,
                        "points of a series cannot be read and are left out"
                    );
                }
                None
            }
        }
    }
}

/// Points that may still be read.
struct Budget {
    points: usize,
    limit: usize,
}

impl Budget {
    fn check(&self) -> Result<(), Error> {
        let fits = self.points <= self.limit;
        fits.then_some(()).ok_or(Error::Limit { what: "points", limit: self.limit })
    }
}

fn empty(class: Class) -> Points {
    match class {
        Class::Floats => Points::Floats(Vec::new()),
        Class::Histograms => Points::Histograms(Vec::new()),
        Class::Sketches => Points::Sketches(Vec::new()),
    }
}

/// Adds those of `more` that lie in the range.
fn append(points: &mut Points, more: Points, range: &TimeRange, budget: &mut Budget) -> Result<(), Error> {
    let before = points.len();
    match (&mut *points, more) {
        (Points::Floats(points), Points::Floats(more)) => {
            points.extend(more.into_iter().filter(|sample| range.contains(sample.timestamp_ms)));
        }
        (Points::Histograms(points), Points::Histograms(more)) => {
            points.extend(more.into_iter().filter(|(at, _)| range.contains(*at)));
        }
        (Points::Sketches(points), Points::Sketches(more)) => {
            points.extend(more.into_iter().filter(|(at, _)| range.contains(*at)));
        }
        // One series is of one type, in the log and in every block.
        _ => {}
    }
    budget.points += points.weight_from(before);
    budget.check()
}

/// Adds a sample of a frame, if it lies in the range. Beyond the budget it is
/// counted and not kept.
fn push(points: &mut Points, frame: &Frame, value: Value, range: &TimeRange, budget: &mut Budget) {
    let before = points.len();
    let in_range = range.contains(frame.end_ms) && budget.points <= budget.limit;
    match (&mut *points, value) {
        (Points::Floats(points), Value::Counter(total, start)) => {
            if let Some(start) = start.filter(|_| range.contains(frame.start_ms)) {
                push_float(points, frame.start_ms, start);
            }
            if in_range {
                push_float(points, frame.end_ms, total);
            }
        }
        (Points::Floats(points), Value::Gauge(last)) if in_range => push_float(points, frame.end_ms, last),
        (Points::Floats(points), Value::End(_)) if in_range => {
            push_float(points, frame.end_ms, stale_nan());
        }
        (Points::Histograms(points), Value::Distribution(histogram)) if in_range => {
            points.push((frame.end_ms, histogram));
        }
        (Points::Sketches(points), Value::Set(sketch)) if in_range => points.push((frame.end_ms, sketch)),
        _ => {}
    }
    budget.points += points.weight_from(before);
}

/// A float at the time of the one before takes its place (a series that begins
/// again in the very moment it had ended); an earlier one has no place.
fn push_float(points: &mut Vec<Sample>, timestamp_ms: i64, value: f64) {
    match points.last_mut() {
        Some(last) if last.timestamp_ms == timestamp_ms => last.value = value,
        Some(last) if last.timestamp_ms > timestamp_ms => {}
        _ => points.push(Sample { timestamp_ms, value }),
    }
}

/// Brings points into ascending time; of equal times the later one stays.
fn in_order<T>(points: &mut Vec<T>, time: impl Fn(&T) -> i64) {
    if points.is_sorted_by(|a, b| time(a) < time(b)) {
        return;
    }
    points.sort_by_key(&time);
    points.reverse();
    points.dedup_by(|next, kept| time(next) == time(kept));
    points.reverse();
}
