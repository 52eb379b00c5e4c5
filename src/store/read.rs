//! Reading: head and blocks as one, without gap or double at the seams.
//!
//! What is in memory and which blocks there are is taken at one moment; all
//! points are read after that, without a lock. Limits hold while reading, not
//! after.

use super::backend::File;
use super::block::Block;
use super::error::Error;
use super::point::Class;
use super::store::{State, Store};
use super::stream::Stream;
use crate::model::{Matcher, Points, Select, Series, SeriesId, SeriesKey, TimeRange};
use std::sync::Arc;

impl Store {
    /// The series that `request` asks for and that have points in its range,
    /// ascending by labels.
    ///
    /// # Errors
    /// [`Error::Limit`] when there are more series or points than allowed,
    /// [`Error::Io`] when a block cannot be opened. A damaged chunk is no error: it is left out, logged and counted.
    pub fn select(&self, request: &Select<'_>) -> Result<Vec<Series>, Error> {
        let (found, blocks, range) = {
            let state = self.state();
            let Some(range) = state.readable(request.range) else { return Ok(Vec::new()) };
            let blocks = state.blocks_in(&range);
            (state.found(&Select { range, ..*request }, &blocks)?, blocks, range)
        };
        let range = &range;
        let mut budget = Budget { points: 0, limit: request.max_points };
        let class = |found: &Found| Class::of(found.key.metric_type);
        let mut gathered: Vec<Points> = found.iter().map(|found| empty(class(found))).collect();
        // Block by block, so that one file is open at a time.
        for block in &blocks {
            let Some(file) = block.file(self.backend())? else { continue };
            for (found, points) in found.iter().zip(&mut gathered) {
                if let Some(more) = block.read_or_report(&*file, found.id, range) {
                    append(points, more, range, &mut budget)?;
                }
            }
        }
        for (found, points) in found.iter().zip(&mut gathered) {
            for stream in &found.recent {
                let more = stream.read(class(found)).unwrap_or(empty(class(found)));
                append(points, more, range, &mut budget)?;
            }
        }
        let all = found.into_iter().zip(gathered).map(|(found, points)| (found.key, found.id, points));
        Ok(joined(all.collect()))
    }

    /// The series that fulfil all matchers and have points in or around
    /// `range`, at most `max_series`, ascending by labels.
    ///
    /// # Errors
    /// [`Error::Limit`] when there are more.
    pub fn series(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        max_series: usize,
    ) -> Result<Vec<SeriesKey>, Error> {
        let state = self.state();
        let Some(range) = state.readable(range) else { return Ok(Vec::new()) };
        let blocks = state.blocks_in(&range);
        let mut keys: Vec<SeriesKey> = state
            .index
            .matching(matchers)
            .into_iter()
            .filter(|(id, _)| state.has(*id, &range, &blocks))
            .map(|(_, key)| key.clone())
            .collect();
        keys.sort_unstable();
        keys.dedup();
        if keys.len() > max_series {
            return Err(Error::Limit { what: "series", limit: max_series });
        }
        Ok(keys)
    }
}

/// A series that a query asks for.
struct Found {
    id: SeriesId,
    key: SeriesKey,
    /// Its points in memory.
    recent: Vec<Arc<Stream>>,
}

impl State {
    fn blocks_in(&self, range: &TimeRange) -> Vec<Arc<Block>> {
        self.blocks.iter().filter(|block| block.overlaps(range)).cloned().collect()
    }

    fn has(&self, id: SeriesId, range: &TimeRange, blocks: &[Arc<Block>]) -> bool {
        let in_head = self.head.streams(id).any(|stream| stream.overlaps(range));
        in_head || blocks.iter().any(|block| block.has(id, range))
    }

    fn found(&self, request: &Select<'_>, blocks: &[Arc<Block>]) -> Result<Vec<Found>, Error> {
        let mut found = Vec::new();
        for (id, key) in self.index.matching(request.matchers) {
            let streams = self.head.streams(id).filter(|stream| stream.overlaps(&request.range));
            let recent: Vec<Arc<Stream>> = streams.cloned().collect();
            if recent.is_empty() && !blocks.iter().any(|block| block.has(id, &request.range)) {
                continue;
            }
            if found.len() >= request.max_series {
                return Err(Error::Limit { what: "series", limit: request.max_series });
            }
            found.push(Found { id, key: key.clone(), recent });
        }
        Ok(found)
    }
}

impl Block {
    fn read_or_report(&self, file: &dyn File, id: SeriesId, range: &TimeRange) -> Option<Points> {
        match self.read(file, id, range) {
            Ok(points) => points,
            Err(error) => {
                if self.report_damaged(id) {
                    tracing::error!(
                        path = %self.path().display(),
                        series = id.0,
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
    fn unlimited() -> Self {
        Budget { points: 0, limit: usize::MAX }
    }

    fn spend(&mut self, points: usize) -> Result<(), Error> {
        self.points += points;
        if self.points > self.limit {
            return Err(Error::Limit { what: "points", limit: self.limit });
        }
        Ok(())
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
        // One series is of one type, in the head and in every block.
        _ => {}
    }
    budget.spend(points.weight_from(before))
}

/// Series of equal keys as one, empty ones left out, ascending.
fn joined(mut gathered: Vec<(SeriesKey, SeriesId, Points)>) -> Vec<Series> {
    gathered.sort_unstable_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    let mut all: Vec<Series> = Vec::with_capacity(gathered.len());
    for (key, _, points) in gathered {
        match all.last_mut() {
            Some(last) if last.labels == key.labels && last.metric_type == Some(key.metric_type) => {
                // Both are of one class, and nothing is counted twice.
                let everything = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };
                let _ = append(&mut last.points, points, &everything, &mut Budget::unlimited());
            }
            _ => all.push(Series { labels: key.labels, metric_type: Some(key.metric_type), points }),
        }
    }
    for series in &mut all {
        match &mut series.points {
            Points::Floats(points) => in_order(points, |sample| sample.timestamp_ms),
            Points::Histograms(points) => in_order(points, |(at, _)| *at),
            Points::Sketches(points) => in_order(points, |(at, _)| *at),
        }
    }
    all.retain(|series| !series.points.is_empty());
    all
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
