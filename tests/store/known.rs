//! What a store must know after some windows, kept in plain maps: the naive
//! model that every test compares with.
//!
//! Of a counter for which something came late, what counts is its total at any
//! time, as the sum of all increments up to then; of everything else each point.

use crate::world::Window;
use statsdeck::model::late::LateGauge;
use statsdeck::model::sample::{is_stale, stale_nan};
use statsdeck::model::{
    Histogram, Labels, MetricType, Points, Sample, Series, SeriesId, SeriesKey, Sketch, TimeRange,
};
use std::collections::{BTreeMap, BTreeSet};

/// See the module's head.
#[derive(Clone)]
pub struct Model {
    pub keys: BTreeMap<SeriesId, SeriesKey>,
    points: BTreeMap<SeriesId, BTreeMap<i64, Value>>,
    /// What each counter got in each window, and its total.
    increments: BTreeMap<SeriesId, BTreeMap<i64, f64>>,
    totals: BTreeMap<SeriesId, f64>,
    /// Counters for which something came late.
    corrected: BTreeSet<SeriesId>,
    /// Windows by their ends.
    windows: BTreeMap<i64, i64>,
    pub last_end_ms: Option<i64>,
    /// Nothing that is late goes into windows up to it.
    pub sealed_ms: i64,
}

#[derive(Clone)]
enum Value {
    Float(f64),
    Histogram(Histogram),
    Sketch(Sketch),
}

impl Default for Model {
    fn default() -> Self {
        Model {
            keys: BTreeMap::new(),
            points: BTreeMap::new(),
            increments: BTreeMap::new(),
            totals: BTreeMap::new(),
            corrected: BTreeSet::new(),
            windows: BTreeMap::new(),
            last_end_ms: None,
            sealed_ms: i64::MIN,
        }
    }
}

impl Model {
    pub fn apply(&mut self, window: &Window) {
        for (id, key) in &window.named {
            self.forget(*id);
            self.keys.insert(*id, key.clone());
        }
        let (start_ms, end_ms) = (window.start_ms, window.end_ms);
        self.last_end_ms = Some(end_ms);
        self.counters(window);
        for gauge in &window.gauges {
            self.put(gauge.id, end_ms, Value::Float(gauge.last));
        }
        for id in &window.stale {
            if matches!(self.keys[id].metric_type, MetricType::Counter | MetricType::Gauge) {
                self.put(*id, end_ms, Value::Float(stale_nan()));
            }
        }
        for (id, histogram) in &window.timers {
            self.merge(*id, end_ms, Value::Histogram(histogram.clone()));
        }
        for (id, sketch) in &window.sets {
            self.merge(*id, end_ms, Value::Sketch(sketch.clone()));
        }
        for late in &window.late.timers {
            let at_ms = self.place(late.end_ms).unwrap_or(end_ms);
            self.merge(late.id, at_ms, Value::Histogram(late.value.clone()));
        }
        for late in &window.late.sets {
            let at_ms = self.place(late.end_ms).unwrap_or(end_ms);
            self.merge(late.id, at_ms, Value::Sketch(late.value.clone()));
        }
        for late in &window.late.gauges {
            if let Some(at_ms) = self.place(late.end_ms) {
                self.set(late.id, at_ms, end_ms, late.value);
            }
        }
        self.windows.insert(end_ms, start_ms);
    }

    fn counters(&mut self, window: &Window) {
        let mut in_time: BTreeMap<SeriesId, f64> = BTreeMap::new();
        for late in &window.late.counters {
            if let Some(at_ms) = self.place(late.end_ms) {
                *self.increments.entry(late.id).or_default().entry(at_ms).or_default() += late.value;
                *in_time.entry(late.id).or_default() -= late.value;
                self.corrected.insert(late.id);
            }
        }
        for counter in &window.counters {
            let before = self.totals.insert(counter.id, counter.total).unwrap_or_default();
            let own = counter.total - before + in_time.get(&counter.id).copied().unwrap_or_default();
            self.increments.entry(counter.id).or_default().insert(window.end_ms, own);
            if let Some(start) = counter.start_total {
                self.put(counter.id, window.start_ms, Value::Float(start));
            }
            self.put(counter.id, window.end_ms, Value::Float(counter.total));
        }
    }

    /// The window that a late value goes to; `None` when it is closed for good.
    fn place(&self, end_ms: i64) -> Option<i64> {
        let around = self.windows.range(end_ms..).next().filter(|(_, start_ms)| **start_ms < end_ms);
        let end_ms = around.map_or(end_ms, |(end_ms, _)| *end_ms);
        (end_ms > self.sealed_ms).then_some(end_ms)
    }

    fn forget(&mut self, id: SeriesId) {
        self.points.remove(&id);
        self.increments.remove(&id);
        self.totals.remove(&id);
        self.corrected.remove(&id);
    }

    fn put(&mut self, id: SeriesId, timestamp_ms: i64, value: Value) {
        self.points.entry(id).or_default().insert(timestamp_ms, value);
    }

    fn merge(&mut self, id: SeriesId, timestamp_ms: i64, more: Value) {
        match (self.points.entry(id).or_default().get_mut(&timestamp_ms), &more) {
            (Some(Value::Histogram(there)), Value::Histogram(more)) => there.merge(more),
            (Some(Value::Sketch(there)), Value::Sketch(more)) => there.merge(more),
            _ => self.put(id, timestamp_ms, more),
        }
    }

    /// A gauge in the window that ends at `at_ms`, told by the frame that ends at
    /// `until_ms`.
    fn set(&mut self, id: SeriesId, at_ms: i64, until_ms: i64, gauge: LateGauge) {
        self.put(id, at_ms, Value::Float(gauge.last));
        if gauge.holds {
            let points = self.points.entry(id).or_default();
            for (_, value) in points.range_mut(at_ms..until_ms) {
                if !matches!(value, Value::Float(value) if is_stale(*value)) {
                    *value = Value::Float(gauge.last);
                }
            }
        }
    }

    /// All points of the range, without those of counters that were corrected.
    pub fn series(&self, range: TimeRange) -> Vec<Series> {
        let mut all = Vec::new();
        for (id, points) in &self.points {
            let key = &self.keys[id];
            if self.corrected.contains(id) {
                continue;
            }
            let inside = points.iter().filter(|(at, _)| range.contains(**at));
            let (mut floats, mut histograms, mut sketches) = (Vec::new(), Vec::new(), Vec::new());
            for (at, value) in inside {
                match value {
                    Value::Float(value) => floats.push(Sample { timestamp_ms: *at, value: *value }),
                    Value::Histogram(histogram) => histograms.push((*at, histogram.clone())),
                    Value::Sketch(sketch) => sketches.push((*at, sketch.clone())),
                }
            }
            let points = match key.metric_type {
                MetricType::Counter | MetricType::Gauge | MetricType::Sampled => Points::Floats(floats),
                MetricType::Timer | MetricType::Histogram => Points::Histograms(histograms),
                MetricType::Set => Points::Sketches(sketches),
            };
            if !points.is_empty() {
                let (labels, counts) = (key.labels.clone(), Vec::new());
                all.push(Series { labels, metric_type: Some(key.metric_type), points, counts });
            }
        }
        all.sort_by(|a, b| a.labels.cmp(&b.labels));
        all
    }

    /// Labels of the counters for which something came late.
    pub fn corrected(&self) -> BTreeMap<&Labels, SeriesId> {
        self.corrected.iter().map(|id| (&self.keys[id].labels, *id)).collect()
    }

    /// What a counter has counted up to a time.
    pub fn total(&self, id: SeriesId, at_ms: i64) -> f64 {
        self.increments.get(&id).into_iter().flat_map(|of| of.range(..=at_ms)).map(|(_, value)| value).sum()
    }

    /// First window after a time in which a counter was there.
    pub fn first_after(&self, id: SeriesId, after_ms: i64) -> Option<i64> {
        self.increments.get(&id)?.range(after_ms + 1..).next().map(|(at_ms, _)| *at_ms)
    }

    /// Ends of the windows in a range.
    pub fn ends(&self, range: TimeRange) -> Vec<i64> {
        self.windows.keys().copied().filter(|end_ms| range.contains(*end_ms)).collect()
    }

    /// The series that have points after a time.
    pub fn present(&self, after_ms: i64) -> Vec<SeriesId> {
        let has = |points: &BTreeMap<i64, Value>| points.range(after_ms + 1..).next().is_some();
        self.points.iter().filter(|(_, points)| has(points)).map(|(id, _)| *id).collect()
    }

    /// The counters and gauges that have a value after a time, not their end alone.
    pub fn valued(&self, after_ms: i64) -> BTreeSet<SeriesId> {
        let is_value = |value: &Value| matches!(value, Value::Float(value) if !value.is_nan());
        let has =
            |points: &BTreeMap<i64, Value>| points.range(after_ms + 1..).any(|(_, value)| is_value(value));
        self.points.iter().filter(|(_, points)| has(points)).map(|(id, _)| *id).collect()
    }

    /// A counter goes on from the total that is known of it, as what it had since was
    /// lost with what ends at `lost_ms`.
    pub fn go_on_from(&mut self, id: SeriesId, total: f64, lost_ms: i64) {
        let Some(before) = self.totals.insert(id, total).filter(|before| *before != total) else { return };
        *self.increments.entry(id).or_default().entry(lost_ms).or_default() += total - before;
    }

    /// Last float of each counter and gauge that has one, and whether it ended.
    pub fn last(&self) -> BTreeMap<SeriesId, (f64, bool)> {
        let float = |value: &Value| match value {
            Value::Float(value) => Some(*value),
            _ => None,
        };
        let last = |points: &BTreeMap<i64, Value>| {
            let mut floats = points.values().rev().filter_map(float).peekable();
            let ended = floats.peek()?.is_nan();
            Some((floats.find(|value| !value.is_nan())?, ended))
        };
        self.points.iter().filter_map(|(id, points)| Some((*id, last(points)?))).collect()
    }
}
