//! Values for windows that are closed: what lines with a `|T` of the past
//! bring, beside the open window, until the flush takes them.
//!
//! Times of the open window, of the future and from before the lateness that
//! is allowed have no place here; neither have changes of a gauge, as what they
//! change is not known. Memory is bounded: what is beyond it counts in the open
//! window.

use super::gauge::Gauge;
use super::table::Partial;
use super::timer::Bucketed;
use crate::model::late::{LateGauge, LateValue};
use crate::model::{Late, MetricType, Observation, SeriesId, Sketch, Value};
use crate::telemetry::Telemetry;
use foldhash::fast::RandomState;
use std::collections::HashMap;

/// Memory that the late values of one table may take.
const BYTES_MAX: usize = 32 << 20;
/// What a value takes beside its buckets or members, roughly.
const ENTRY_BYTES: usize = 128;

/// When a late value was observed, and the end of the window that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LateTime {
    pub at_ms: i64,
    pub end_ms: i64,
}

/// What became of a late value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Taken,
    /// Left out, as a sum would be infinite.
    Overflow,
    /// It has no place here.
    NotHere,
}

/// See the module's head.
#[derive(Debug, Default)]
pub struct LateTable {
    window_ms: i64,
    lateness_ms: i64,
    cells: HashMap<(SeriesId, i64), Cell, RandomState>,
    bytes: usize,
    /// A value of the line asked about last had no place.
    missed: bool,
}

#[derive(Debug)]
enum Cell {
    Counter(f64),
    Gauge(LateGauge),
    Distribution(Box<Bucketed>, f64),
    Set(Sketch),
}

impl LateTable {
    /// For windows of `window_ms`, aligned to the clock; late by at most
    /// `lateness_ms`.
    pub fn new(window_ms: i64, lateness_ms: i64) -> Self {
        LateTable { window_ms, lateness_ms, ..LateTable::default() }
    }

    /// The closed window that `at_ms` is in, if it is one that values may
    /// still come for.
    #[cold]
    pub fn time(&mut self, now_ms: i64, at_ms: i64) -> Option<LateTime> {
        self.missed = false;
        let in_time = self.is_closed(now_ms, at_ms) && at_ms >= now_ms - self.lateness_ms;
        in_time.then(|| LateTime { at_ms, end_ms: (at_ms.div_euclid(self.window_ms) + 1) * self.window_ms })
    }

    /// Takes a value of a series.
    pub fn observe(&mut self, time: LateTime, id: SeriesId, observation: &Observation<'_>) -> Outcome {
        let is_change =
            observation.metric_type == MetricType::Gauge && matches!(observation.value, Value::Change(_));
        if is_change || self.bytes >= BYTES_MAX {
            self.missed = true;
            return Outcome::NotHere;
        }
        let (cells, bytes) = (&mut self.cells, &mut self.bytes);
        let cell = cells.entry((id, time.end_ms)).or_insert_with(|| {
            *bytes += ENTRY_BYTES;
            Cell::new(observation)
        });
        let before = cell.memory();
        let taken = cell.observe(time, observation);
        *bytes += cell.memory().saturating_sub(before);
        if taken { Outcome::Taken } else { Outcome::Overflow }
    }

    /// Counts the line asked about last, if its window is closed: whether it
    /// counts there or, for all that, in the open one.
    #[cold]
    pub fn count(&self, now_ms: i64, at_ms: i64, time: Option<LateTime>, telemetry: &Telemetry) {
        if time.is_some() && !self.missed {
            telemetry.lines_backdated.add(1);
        } else if self.is_closed(now_ms, at_ms) {
            telemetry.lines_too_late.add(1);
        }
    }

    fn is_closed(&self, now_ms: i64, at_ms: i64) -> bool {
        self.window_ms > 0 && at_ms < now_ms - now_ms.rem_euclid(self.window_ms)
    }

    /// What there is, in any order; what follows is for the next batch.
    pub fn take(&mut self) -> Late {
        if self.cells.is_empty() {
            return Late::default();
        }
        let mut late = Late { interval_ms: self.window_ms, ..Late::default() };
        for ((id, end_ms), cell) in std::mem::take(&mut self.cells) {
            match cell {
                Cell::Counter(value) => late.counters.push(LateValue { id, end_ms, value }),
                Cell::Gauge(value) => late.gauges.push(LateValue { id, end_ms, value }),
                Cell::Distribution(values, divisor) if !values.is_empty() => {
                    late.timers.push(LateValue { id, end_ms, value: values.finish(divisor) });
                }
                // All its values were left out.
                Cell::Distribution(..) => {}
                Cell::Set(value) => late.sets.push(LateValue { id, end_ms, value }),
            }
        }
        self.bytes = 0;
        late
    }
}

/// Takes the late values out of `partials`, in order. Those that are not late
/// for the window that begins at `start_ms` become plain values of it.
pub fn take_late(partials: &mut [Partial], start_ms: i64) -> Late {
    let mut all = Late::default();
    for partial in partials {
        let late = std::mem::take(&mut partial.late);
        if late.is_empty() {
            continue;
        }
        all.interval_ms = late.interval_ms;
        divide(late.counters, start_ms, &mut all.counters, |id, sum| partial.counters.push((id, sum)));
        divide(late.gauges, start_ms, &mut all.gauges, |id, gauge| {
            let LateGauge { last, min, max, at_ms, .. } = gauge;
            let gauge = Gauge { set: Some((last, at_ms)), change: 0.0, extremes: Some((min, max)) };
            partial.gauges.push((id, gauge));
        });
        divide(late.timers, start_ms, &mut all.timers, |id, window| partial.timers.push((id, window)));
        divide(late.sets, start_ms, &mut all.sets, |id, set| partial.sets.push((id, set)));
    }
    all.settle();
    all
}

fn divide<T>(
    values: Vec<LateValue<T>>,
    start_ms: i64,
    late: &mut Vec<LateValue<T>>,
    mut in_time: impl FnMut(SeriesId, T),
) {
    for value in values {
        if value.end_ms > start_ms {
            in_time(value.id, value.value);
        } else {
            late.push(value);
        }
    }
}

impl Cell {
    fn new(observation: &Observation<'_>) -> Self {
        match observation.metric_type {
            MetricType::Counter => Cell::Counter(0.0),
            // No line brings what is sampled.
            MetricType::Gauge | MetricType::Sampled => Cell::Gauge(LateGauge {
                last: 0.0,
                min: f64::INFINITY,
                max: f64::NEG_INFINITY,
                at_ms: i64::MIN,
                holds: false,
                is_sample: false,
            }),
            MetricType::Timer | MetricType::Histogram => {
                Cell::Distribution(Box::default(), observation.metric_type.unit_divisor())
            }
            MetricType::Set => Cell::Set(Sketch::default()),
        }
    }

    /// False when the value was left out.
    fn observe(&mut self, time: LateTime, observation: &Observation<'_>) -> bool {
        let weight = observation.weight;
        match (self, observation.value) {
            (Cell::Counter(sum), Value::Number(number) | Value::Change(number)) => {
                let after = *sum + number * weight;
                let fits = after.is_finite();
                if fits {
                    *sum = after;
                }
                fits
            }
            (Cell::Gauge(gauge), Value::Number(number)) => {
                (gauge.min, gauge.max) = (gauge.min.min(number), gauge.max.max(number));
                if time.at_ms >= gauge.at_ms {
                    (gauge.last, gauge.at_ms) = (number, time.at_ms);
                }
                true
            }
            (Cell::Distribution(values, divisor), Value::Number(number)) => {
                values.record(number, weight, *divisor)
            }
            (Cell::Set(set), Value::Member(member)) => {
                set.insert(member);
                true
            }
            // The parser pairs types and values; nothing else can be built.
            (_, Value::Number(_) | Value::Change(_) | Value::Member(_)) => true,
        }
    }

    fn memory(&self) -> usize {
        match self {
            Cell::Counter(_) | Cell::Gauge(_) => 0,
            Cell::Distribution(values, _) => values.memory(),
            Cell::Set(set) => set.memory(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Histogram;

    fn number(metric_type: MetricType, value: f64) -> Observation<'static> {
        Observation { value: Value::Number(value), metric_type, weight: 1.0 }
    }

    #[test]
    fn a_time_belongs_to_the_closed_window_that_it_lies_in() {
        let mut table = LateTable::new(10_000, 60_000);
        for (at_ms, expected) in [
            (99_999, Some(100_000)),
            (90_000, Some(100_000)),
            (89_999, Some(90_000)),
            (45_000, Some(50_000)),
            (44_999, None),
            (100_000, None),
            (105_000, None),
            (999_999, None),
            (0, None),
        ] {
            assert_eq!(table.time(105_000, at_ms).map(|time| time.end_ms), expected, "{at_ms}");
        }
        for mut table in [LateTable::default(), LateTable::new(10_000, 0)] {
            assert_eq!(table.time(105_000, 99_999), None);
        }
    }

    #[test]
    fn a_distribution_is_what_its_values_make() {
        let mut table = LateTable::new(10_000, 60_000);
        let time = LateTime { at_ms: 5_000, end_ms: 10_000 };
        for ms in 1..=200 {
            let taken = table.observe(time, SeriesId(1), &number(MetricType::Timer, f64::from(ms)));
            assert_eq!(taken, Outcome::Taken);
        }
        assert_eq!(
            table.observe(time, SeriesId(2), &number(MetricType::Histogram, f64::MAX)),
            Outcome::Taken
        );
        assert_eq!(
            table.observe(time, SeriesId(2), &number(MetricType::Histogram, f64::MAX)),
            Outcome::Overflow
        );
        let mut late = table.take();
        late.settle();
        let expected = Histogram::from_values((1..=200).map(|ms| (f64::from(ms) / 1000.0, 1.0)));
        let found = &late.timers[0].value;
        assert_eq!(found.buckets(), expected.buckets());
        assert_eq!((found.count, found.sum, found.min, found.max), (200.0, 20.1, 0.001, 0.2));
        assert_eq!(late.timers[1].value.count, 1.0);
        assert!(table.take().is_empty());
    }

    #[test]
    fn what_is_beyond_the_memory_and_changes_of_gauges_have_no_place() {
        let mut table = LateTable::new(10_000, 60_000);
        let time = LateTime { at_ms: 5_000, end_ms: 10_000 };
        let change = Observation { value: Value::Change(1.0), ..number(MetricType::Gauge, 0.0) };
        assert_eq!(table.observe(time, SeriesId(0), &change), Outcome::NotHere);
        assert!(table.missed);
        let mut taken = 0;
        while table.observe(time, SeriesId(taken), &number(MetricType::Counter, 1.0)) == Outcome::Taken {
            taken += 1;
        }
        assert_eq!(taken as usize, BYTES_MAX / ENTRY_BYTES);
        assert_eq!(table.take().len(), taken as usize);
        assert_eq!(table.observe(time, SeriesId(0), &number(MetricType::Counter, 1.0)), Outcome::Taken);
    }
}
