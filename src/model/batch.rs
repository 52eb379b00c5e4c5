//! What one flush hands on: the values of a closed window, of all receivers
//! merged, one entry a series.

use super::{Histogram, Late, SeriesId, Sketch};

/// A closed window. Its samples carry the time of its end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FlushBatch {
    /// Start and end of the window in ms since the Unix epoch.
    pub start_ms: i64,
    pub end_ms: i64,
    /// Series that no earlier batch had, or that were silent for long; what they
    /// are, the catalogue says.
    pub new_series: Vec<SeriesId>,
    pub counters: Vec<CounterValue>,
    pub gauges: Vec<GaugeValue>,
    /// Timers and histograms that had values, each with this window alone.
    pub timers: Vec<(SeriesId, Histogram)>,
    /// Sets that had members, each with this window alone.
    pub sets: Vec<(SeriesId, Sketch)>,
    /// Series that ended: silent for longer than their type's expiry.
    pub stale: Vec<SeriesId>,
    /// What came for windows before this one.
    pub late: Late,
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
    /// Number of samples in it, stale markers and late values included.
    pub fn samples(&self) -> usize {
        self.counters.len()
            + self.gauges.len()
            + self.timers.len()
            + self.sets.len()
            + self.stale.len()
            + self.late.len()
    }

    /// Bytes of memory that its samples take, as a bound on many of them needs
    /// it: names and allocators' overheads are not counted.
    pub fn memory(&self) -> usize {
        let timers = self.timers.iter().map(|(_, histogram)| histogram.memory());
        let sets = self.sets.iter().map(|(_, sketch)| sketch.memory());
        size_of_val(&*self.counters)
            + size_of_val(&*self.gauges)
            + size_of_val(&*self.stale)
            + timers.sum::<usize>()
            + sets.sum::<usize>()
            + self.late.memory()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_of_distributions_weighs_what_its_buckets_do() {
        let values = |n: u32| Histogram::from_values((0..n).map(|i| (f64::from(i), 1.0)));
        let batch = |n| FlushBatch { timers: vec![(SeriesId(0), values(n))], ..FlushBatch::default() };
        assert_eq!((batch(1).samples(), batch(100).samples()), (1, 1));
        assert!(batch(100).memory() >= batch(1).memory() + 99 * 12);
        let counter = CounterValue { id: SeriesId(0), total: 0.0, start_total: None };
        let counters = FlushBatch { counters: vec![counter; 10], ..FlushBatch::default() };
        assert!((200..500).contains(&counters.memory()));
    }
}
