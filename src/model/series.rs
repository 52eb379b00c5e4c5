//! A series: what names it, and what a query reads of it.

use super::label::is_counter_name;
use super::{Histogram, Labels, Matcher, MetricType, NativeHistogram, Sample, Sketch};

/// Number of a series within one data directory; never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesId(pub u32);

/// What a series is: its labels (with `__name__`) and its type.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesKey {
    pub labels: Labels,
    pub metric_type: MetricType,
}

impl SeriesKey {
    /// See [`MetricType::seen_as`].
    pub fn seen_as(&self) -> MetricType {
        self.metric_type.seen_as(self.labels.name())
    }
}

impl MetricType {
    /// What a series of this type and name is to those who draw it or sum it up.
    /// Of what was sampled elsewhere the name tells, and nothing else: what its
    /// sender says of it comes apart from the samples or not at all, and coarser
    /// steps, which must not change, are made when it may still be to come.
    #[must_use]
    pub fn seen_as(self, name: &str) -> MetricType {
        match self {
            MetricType::Sampled if is_counter_name(name) => MetricType::Counter,
            MetricType::Sampled => MetricType::Gauge,
            known => known,
        }
    }
}

/// A span of time, both ends included, in ms since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    pub start_ms: i64,
    pub end_ms: i64,
}

impl TimeRange {
    pub fn contains(&self, timestamp_ms: i64) -> bool {
        self.start_ms <= timestamp_ms && timestamp_ms <= self.end_ms
    }

    pub fn overlaps(&self, other: &TimeRange) -> bool {
        self.start_ms <= other.end_ms && other.start_ms <= self.end_ms
    }
}

/// A series as read: points in ascending time, at most one per time.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub labels: Labels,
    /// Where the points come from; `None` for what was not received as StatsD
    /// (then counters may reset, and histograms are cumulative, as in
    /// Prometheus).
    pub metric_type: Option<MetricType>,
    pub points: Points,
    /// Of each float, how many windows it stands for; empty where each is one.
    /// Told of the sums of gauges alone ([`GaugePart::Sum`]).
    pub counts: Vec<u64>,
}

impl Series {
    /// See [`MetricType::seen_as`].
    pub fn seen_as(&self) -> MetricType {
        self.metric_type.unwrap_or(MetricType::Sampled).seen_as(self.labels.name())
    }
}

/// The points of a series.
///
/// Of the types received as StatsD, a counter's `Floats` are its running total,
/// which never restarts (it may fall, when a client sent a negative count); a
/// set's `Sketches` and a timer's `Histograms` each hold one window alone, so
/// that any span is their merge.
#[derive(Clone, Debug, PartialEq)]
pub enum Points {
    /// Plain values; a stale marker ends a stretch.
    Floats(Vec<Sample>),
    /// Time in ms and distribution.
    Histograms(Vec<(i64, Histogram)>),
    /// Time in ms and a native histogram as Prometheus has them: cumulative,
    /// unless its hint says that it is a gauge.
    Natives(Vec<(i64, NativeHistogram)>),
    /// Time in ms and distinct members.
    Sketches(Vec<(i64, Sketch)>),
}

impl Points {
    pub fn len(&self) -> usize {
        match self {
            Points::Floats(points) => points.len(),
            Points::Histograms(points) => points.len(),
            Points::Natives(points) => points.len(),
            Points::Sketches(points) => points.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many plain samples would take the memory of the points from number
    /// `first` on.
    pub fn weight_from(&self, first: usize) -> usize {
        match self {
            Points::Floats(points) => points.len().saturating_sub(first),
            Points::Histograms(points) => points.iter().skip(first).map(|(_, h)| h.weight()).sum(),
            Points::Natives(points) => points.iter().skip(first).map(|(_, h)| h.weight()).sum(),
            Points::Sketches(points) => points.iter().skip(first).map(|(_, s)| s.weight()).sum(),
        }
    }
}

/// What is wanted of a gauge where only steps of several windows are left of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GaugePart {
    /// Value of the last window.
    #[default]
    Last,
    Min,
    Max,
    /// Sum of the windows' values; with how many they are ([`Series::counts`]).
    Sum,
}

/// How coarse the points of a read may be: any resolution that divides the
/// grain of a type, in ms, serves as well as the finest; 0 asks for the finest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grains {
    pub counters_ms: i64,
    pub gauges_ms: i64,
    /// Of timers, histograms and sets.
    pub windows_ms: i64,
    pub gauge: GaugePart,
}

impl Grains {
    /// Of what is asked of one range alone: any resolution serves of which no step
    /// reaches over an end of the range.
    pub const WHOLE: i64 = i64::MAX;

    /// The same for all types.
    pub fn all(step_ms: i64) -> Self {
        let gauge = GaugePart::Last;
        Grains { counters_ms: step_ms, gauges_ms: step_ms, windows_ms: step_ms, gauge }
    }

    pub fn of(&self, metric_type: MetricType) -> i64 {
        match metric_type {
            MetricType::Counter => self.counters_ms,
            MetricType::Gauge => self.gauges_ms,
            MetricType::Timer | MetricType::Histogram | MetricType::Set => self.windows_ms,
            // A gauge or a counter: what is asked of it is asked of one of both.
            MetricType::Sampled => self.counters_ms.max(self.gauges_ms),
        }
    }
}

/// What to read: the series that fulfil all `matchers`, their points within
/// `range`, and no more than the limits allow.
#[derive(Clone, Copy, Debug)]
pub struct Select<'a> {
    pub matchers: &'a [Matcher],
    pub range: TimeRange,
    /// A resolution that divides this, in ms, serves as well as the finest; 0
    /// asks for the finest.
    pub step_ms: i64,
    /// More series, or more points in all of them together, is an error.
    pub max_series: usize,
    /// A distribution or a sketch counts for as many points as would take its
    /// memory.
    pub max_points: usize,
}
