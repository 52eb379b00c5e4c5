//! What one flush hands on: the values of a closed window, of all receivers
//! merged, one entry a series.

use super::{Histogram, SeriesId, SeriesKey, Sketch};

/// A closed window. Its samples carry the time of its end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FlushBatch {
    /// Start and end of the window in ms since the Unix epoch.
    pub start_ms: i64,
    pub end_ms: i64,
    /// Series that no earlier batch named, or that were silent for long.
    pub new_series: Vec<(SeriesId, SeriesKey)>,
    pub counters: Vec<CounterValue>,
    pub gauges: Vec<GaugeValue>,
    /// Timers and histograms that had values, each with this window alone.
    pub timers: Vec<(SeriesId, Histogram)>,
    /// Sets that had members, each with this window alone.
    pub sets: Vec<(SeriesId, Sketch)>,
    /// Series that ended: silent for longer than their type's expiry.
    pub stale: Vec<SeriesId>,
}

/// A counter at the end of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CounterValue {
    pub id: SeriesId,
    /// The running total, this window included.
    pub total: f64,
    /// Set when the series begins, or begins again after it was stale: the
    /// total at the window's start, so that the first increase is not lost.
    pub start_total: Option<f64>,
}

/// A gauge at the end of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GaugeValue {
    pub id: SeriesId,
    pub last: f64,
    /// Extremes within the window; both `last` when nothing was received.
    pub min: f64,
    pub max: f64,
}

impl FlushBatch {
    /// Number of samples in it, stale markers included.
    pub fn samples(&self) -> usize {
        self.counters.len() + self.gauges.len() + self.timers.len() + self.sets.len() + self.stale.len()
    }
}
