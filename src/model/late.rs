//! What came late: values whose sender says that they belong to a window that
//! is closed by now.
//!
//! A batch carries them beside its own window. A counter's running total has
//! them already from the batch's end on; what is told here is since when it
//! should have had them.

use super::{Histogram, SeriesId, Sketch};
use std::mem::size_of_val;

/// Values for windows before that of their batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Late {
    /// Length of the windows in ms.
    pub interval_ms: i64,
    /// Sums of increments.
    pub counters: Vec<LateValue<f64>>,
    pub gauges: Vec<LateValue<LateGauge>>,
    /// Timers and histograms.
    pub timers: Vec<LateValue<Histogram>>,
    pub sets: Vec<LateValue<Sketch>>,
}

/// What a series got for a window.
#[derive(Clone, Debug, PartialEq)]
pub struct LateValue<T> {
    pub id: SeriesId,
    /// End of the window in ms since the epoch.
    pub end_ms: i64,
    pub value: T,
}

/// What a gauge was set to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LateGauge {
    pub last: f64,
    pub min: f64,
    pub max: f64,
    /// When `last` was observed, in ms since the epoch.
    pub at_ms: i64,
    /// Nothing newer was known when it came: it is the gauge's value from its
    /// window on, not in it alone.
    pub holds: bool,
    /// It was sampled elsewhere, at the very moment that stands for the window's
    /// end; which need not lie before the batch's own window, only before its end.
    pub is_sample: bool,
}

impl Late {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.counters.len() + self.gauges.len() + self.timers.len() + self.sets.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory, roughly.
    pub fn memory(&self) -> usize {
        let timers = self.timers.iter().map(|late| late.value.memory());
        let sets = self.sets.iter().map(|late| late.value.memory());
        size_of_val(&*self.counters)
            + size_of_val(&*self.gauges)
            + timers.sum::<usize>()
            + sets.sum::<usize>()
            + (self.timers.len() + self.sets.len()) * size_of::<LateValue<()>>()
    }

    /// End of the earliest window; `None` when there is nothing.
    pub fn first_ms(&self) -> Option<i64> {
        let (counters, gauges) = (self.counters.iter(), self.gauges.iter());
        let (timers, sets) = (self.timers.iter(), self.sets.iter());
        counters
            .map(|late| late.end_ms)
            .chain(gauges.map(|late| late.end_ms))
            .chain(timers.map(|late| late.end_ms))
            .chain(sets.map(|late| late.end_ms))
            .min()
    }

    /// Takes in what another one has.
    pub fn append(&mut self, mut other: Late) {
        self.interval_ms = self.interval_ms.max(other.interval_ms);
        self.counters.append(&mut other.counters);
        self.gauges.append(&mut other.gauges);
        self.timers.append(&mut other.timers);
        self.sets.append(&mut other.sets);
    }

    /// Brings it into order, by series and then by window, with one value for
    /// each. Of a gauge's values the one observed last counts; of two of the
    /// same moment the latter.
    pub fn settle(&mut self) {
        settle(&mut self.counters, |kept, more| *kept += more);
        self.gauges.sort_by_key(|late| late.value.at_ms);
        settle(&mut self.gauges, |kept, more| {
            *kept = LateGauge {
                min: kept.min.min(more.min),
                max: kept.max.max(more.max),
                holds: kept.holds || more.holds,
                ..*more
            };
        });
        settle(&mut self.timers, |kept, more| kept.merge(more));
        settle(&mut self.sets, |kept, more| kept.merge(more));
    }
}

fn settle<T>(values: &mut Vec<LateValue<T>>, merge: impl Fn(&mut T, &T)) {
    values.sort_by_key(|late| (late.id, late.end_ms));
    values.dedup_by(|next, kept| {
        let same = (next.id, next.end_ms) == (kept.id, kept.end_ms);
        if same {
            merge(&mut kept.value, &next.value);
        }
        same
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_is_left_for_each_series_and_window() {
        let late = |id, end_ms, value| LateValue { id: SeriesId(id), end_ms, value };
        let gauge =
            |last, at_ms| LateGauge { last, min: last, max: last, at_ms, holds: false, is_sample: false };
        let mut all = Late {
            interval_ms: 10,
            counters: vec![late(2, 10, 1.0), late(1, 20, 2.0), late(2, 10, 3.0), late(1, 10, 4.0)],
            ..Late::default()
        };
        all.append(Late {
            gauges: vec![
                LateValue { id: SeriesId(5), end_ms: 10, value: gauge(7.0, 9) },
                LateValue { id: SeriesId(5), end_ms: 10, value: gauge(1.0, 4) },
            ],
            ..Late::default()
        });
        all.settle();
        assert_eq!(all.counters, [late(1, 10, 4.0), late(1, 20, 2.0), late(2, 10, 4.0)]);
        assert_eq!(all.gauges[0].value, LateGauge { min: 1.0, ..gauge(7.0, 9) });
        assert_eq!((all.len(), all.first_ms()), (4, Some(10)));
        assert_eq!(Late::default().first_ms(), None);
    }
}
