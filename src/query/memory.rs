//! A [`Source`] in memory: for tests, for `test-rules`, and for programs that
//! want PromQL over samples of their own.
//!
//! Samples of a series may be pushed in any order; of two at the same time the
//! later push wins. Nothing is evicted: the caller bounds what it pushes.

use super::native;
use super::source::{Reading, Source, SourceError};
use crate::model::{
    Grains, Histogram, Labels, Matcher, MetricType, NativeHistogram, Points, ResetHint, Sample, Select,
    Series, SeriesKey, Sketch, TimeRange, sample,
};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

/// Series in memory. Filled through a shared reference, so that an engine can
/// already hold it.
#[derive(Debug, Default)]
pub struct MemorySource {
    series: RwLock<BTreeMap<Key, Track>>,
}

type Key = (Labels, Option<MetricType>);

/// Floats (stale markers among them), histograms and sketches of one series.
#[derive(Debug, Default)]
struct Track {
    floats: BTreeMap<i64, f64>,
    histograms: BTreeMap<i64, Histogram>,
    natives: BTreeMap<i64, NativeHistogram>,
    sketches: BTreeMap<i64, Sketch>,
}

impl MemorySource {
    pub fn new() -> Self {
        MemorySource::default()
    }

    /// Adds a float. `metric_type` is `None` for a series as Prometheus would
    /// scrape it, whose counters may reset.
    pub fn push(&self, labels: &Labels, metric_type: Option<MetricType>, timestamp_ms: i64, value: f64) {
        self.track(labels, metric_type, |track| track.floats.insert(timestamp_ms, value));
    }

    /// Ends the series at this time.
    pub fn push_stale(&self, labels: &Labels, metric_type: Option<MetricType>, timestamp_ms: i64) {
        self.push(labels, metric_type, timestamp_ms, sample::stale_nan());
    }

    /// Adds a distribution: of one window when `metric_type` is a timer or a
    /// histogram, of everything so far when it is `None`.
    pub fn push_histogram(
        &self,
        labels: &Labels,
        metric_type: Option<MetricType>,
        timestamp_ms: i64,
        value: Histogram,
    ) {
        self.track(labels, metric_type, |track| track.histograms.insert(timestamp_ms, value));
    }

    /// Adds a native histogram, as Prometheus would scrape it; of one that
    /// contradicts itself ([`NativeHistogram::checked`]) nothing sensible follows. One whose sum is
    /// the stale marker ends the series, as [`MemorySource::push_stale`] does.
    pub fn push_native(&self, labels: &Labels, timestamp_ms: i64, mut value: NativeHistogram) {
        value.compact();
        self.track(labels, None, |track| track.natives.insert(timestamp_ms, value));
    }

    /// Adds the distinct members of one window of a set.
    pub fn push_sketch(&self, labels: &Labels, timestamp_ms: i64, value: Sketch) {
        self.track(labels, Some(MetricType::Set), |track| track.sketches.insert(timestamp_ms, value));
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.series.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn track<T>(&self, labels: &Labels, metric_type: Option<MetricType>, push: impl FnOnce(&mut Track) -> T) {
        let mut series = self.series.write().unwrap_or_else(PoisonError::into_inner);
        push(series.entry((labels.clone(), metric_type)).or_default());
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<Key, Track>> {
        self.series.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Track {
    /// One list of points for each kind that has any within `range`.
    fn points(&self, range: TimeRange) -> Vec<Points> {
        let span = range.start_ms..=range.end_ms;
        if range.start_ms > range.end_ms {
            return Vec::new();
        }
        let floats =
            self.floats.range(span.clone()).map(|(at, value)| Sample { timestamp_ms: *at, value: *value });
        let histograms = self.histograms.range(span.clone()).map(|(at, value)| (*at, value.clone()));
        let natives = self.natives.range(span.clone()).map(|(at, value)| (*at, self.hinted(*at, value)));
        let sketches = self.sketches.range(span).map(|(at, value)| (*at, value.clone()));
        let lists = [
            Points::Floats(floats.collect()),
            Points::Histograms(histograms.collect()),
            Points::Natives(natives.collect()),
            Points::Sketches(sketches.collect()),
        ];
        lists.into_iter().filter(|points| !points.is_empty()).collect()
    }

    /// A native histogram of which it is told whether a counter was reset before
    /// it, as Prometheus' storage does it: not of the first of a stretch.
    fn hinted(&self, at_ms: i64, value: &NativeHistogram) -> NativeHistogram {
        let mut value = value.clone();
        let before = self.natives.range(..at_ms).next_back();
        let (Some((before_ms, before)), ResetHint::Unknown) = (before, value.hint) else { return value };
        let in_between = self.floats.range(before_ms..&at_ms).next().is_some();
        if !in_between && before.hint != ResetHint::Gauge && !native::is_reset(&value, before) {
            value.hint = ResetHint::NotReset;
        }
        value
    }

    /// What a series without a declared type most looks like.
    fn apparent_type(&self) -> MetricType {
        if !self.histograms.is_empty() || !self.natives.is_empty() {
            MetricType::Histogram
        } else if !self.sketches.is_empty() {
            MetricType::Set
        } else {
            MetricType::Gauge
        }
    }
}

/// Series of the source, which are read under its lock.
struct MemoryReading<'a> {
    source: &'a MemorySource,
    keys: Vec<Key>,
    range: TimeRange,
}

impl Reading for MemoryReading<'_> {
    fn len(&self) -> usize {
        self.keys.len()
    }

    fn labels(&self, place: usize) -> &Labels {
        self.keys.get(place).map_or(Labels::none(), |(labels, _)| labels)
    }

    fn metric_type(&self, place: usize) -> Option<MetricType> {
        self.keys.get(place).and_then(|(_, metric_type)| *metric_type)
    }

    fn read(&self, places: Range<usize>, max_points: usize) -> Result<Vec<Series>, SourceError> {
        let all = self.source.read();
        let (mut found, mut points_read) = (Vec::new(), 0usize);
        for key in self.keys.get(places).unwrap_or_default() {
            for points in all.get(key).map_or_else(Vec::new, |track| track.points(self.range)) {
                points_read += points.weight_from(0);
                if points_read > max_points {
                    return Err(SourceError::Limit { what: "samples", limit: max_points });
                }
                let (labels, metric_type) = key.clone();
                found.push(Series { labels, metric_type, points, counts: Vec::new() });
            }
        }
        Ok(found)
    }
}

impl Source for MemorySource {
    fn select(&self, request: &Select<'_>) -> Result<Vec<Series>, SourceError> {
        let all = self.read();
        let (mut found, mut points_read) = (Vec::new(), 0usize);
        for ((labels, metric_type), track) in all.iter() {
            if !request.matchers.iter().all(|matcher| matcher.matches(labels)) {
                continue;
            }
            for points in track.points(request.range) {
                points_read += points.weight_from(0);
                if points_read > request.max_points {
                    return Err(SourceError::Limit { what: "samples", limit: request.max_points });
                }
                if found.len() >= request.max_series {
                    return Err(SourceError::Limit { what: "series", limit: request.max_series });
                }
                let (labels, counts) = (labels.clone(), Vec::new());
                found.push(Series { labels, metric_type: *metric_type, points, counts });
            }
        }
        Ok(found)
    }

    fn reading<'a>(
        &'a self,
        request: &Select<'_>,
        _grains: &Grains,
    ) -> Result<Box<dyn Reading + 'a>, SourceError> {
        let is_meant = |(labels, _): &&Key| request.matchers.iter().all(|matcher| matcher.matches(labels));
        let keys: Vec<Key> = self.read().keys().filter(is_meant).cloned().collect();
        match keys.len() > request.max_series {
            true => Err(SourceError::Limit { what: "series", limit: request.max_series }),
            false => Ok(Box::new(MemoryReading { source: self, keys, range: request.range })),
        }
    }

    fn series(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        max_series: usize,
    ) -> Result<Vec<SeriesKey>, SourceError> {
        let mut keys: Vec<SeriesKey> = self
            .read()
            .iter()
            .filter(|((labels, _), _)| matchers.iter().all(|matcher| matcher.matches(labels)))
            .filter(|(_, track)| !track.points(range).is_empty())
            .map(|((labels, metric_type), track)| SeriesKey {
                labels: labels.clone(),
                metric_type: metric_type.unwrap_or_else(|| track.apparent_type()),
            })
            .collect();
        keys.sort();
        keys.dedup();
        keys.truncate(max_series);
        Ok(keys)
    }
}
