//! What the accepted lines amount to, kept in plain maps, held against what the
//! flushes hand on.

use statsdeck::aggregate::mapped_line::MappedLine;
use statsdeck::aggregate::table::{self, Refusal};
use statsdeck::aggregate::{Registry, Windows};
use statsdeck::mapping::Mapper;
use statsdeck::model::{FlushBatch, MetricType, Reject, SeriesId, Value};
use statsdeck::protocol::{Dialect, Line, Message, TagStyles};
use statsdeck::telemetry::Limited;
use std::collections::{BTreeMap, BTreeSet};

/// Values up to here are added without an error, as often as an input can.
const WHOLE_MAX: f64 = (1_u64 << 36) as f64;
const TYPE_LABEL: &str = "statsdeck_type";

/// A series by its labels and type.
type Key = (String, MetricType);

#[derive(Default)]
pub struct Model {
    /// No limit bites: each series can be compared.
    wide: bool,
    /// There is one table, so that it is known what came last.
    one_table: bool,
    /// A value came that does not add up exactly: sums are not compared any more.
    inexact: bool,
    sent: Sums,
    flushed: Sums,
    gauges: BTreeMap<Key, f64>,
    /// Gauges that the open window has values of.
    touched: BTreeSet<Key>,
    /// Those that were asked to end.
    ending: BTreeSet<Key>,
    ids: BTreeMap<SeriesId, Key>,
    alive: BTreeSet<SeriesId>,
    totals: BTreeMap<SeriesId, f64>,
    named: BTreeSet<SeriesId>,
}

/// Sums over all windows.
#[derive(Default)]
struct Sums {
    counters: f64,
    by_series: BTreeMap<String, f64>,
    timer_count: f64,
    timer_sum: f64,
    timer_magnitude: f64,
}

impl Model {
    pub fn new(wide: bool, one_table: bool) -> Self {
        Model { wide, one_table, ..Model::default() }
    }

    /// A line, and why it was not taken, if it was not.
    pub fn line(
        &mut self,
        line: &[u8],
        refusal: Option<Refusal>,
        dialect: Dialect,
        options: &table::Options,
        styles: TagStyles,
        mapper: Option<&Mapper>,
    ) {
        if line.len() > options.line_bytes_max {
            return assert_eq!(refusal, Some(Refusal::Rejected(Reject::LineTooLong)));
        }
        let message = match Message::parse(line, dialect) {
            Ok(message) => message,
            Err(reject) => return assert_eq!(refusal, Some(Refusal::Rejected(reject))),
        };
        let mapped = |line: &Line<'_>| {
            let types = line.observations.iter().map(|observation| observation.metric_type);
            let map = |of| MappedLine::new(line, of, styles, mapper, options.labels_max);
            types.map(map).collect::<Result<Vec<Option<MappedLine>>, Reject>>()
        };
        let judge = |model: &mut Model, line: &Line<'_>| match mapped(line) {
            Err(reject) => assert_eq!(refusal, Some(Refusal::Rejected(reject))),
            Ok(mapped) if mapped.iter().all(Option::is_none) => {
                assert_eq!(refusal, Some(Refusal::Limited(Limited::MappingDrop)));
            }
            Ok(mapped) => {
                assert_eq!(refusal, None);
                model.take(line, &mapped);
            }
        };
        match message {
            Message::Metric(line) => judge(self, &line),
            Message::Check(check) => {
                if let Err(reject) = check.as_line(|line| judge(self, line)) {
                    assert_eq!(refusal, Some(Refusal::Rejected(reject)));
                }
            }
            Message::Event(_) => assert!(matches!(
                refusal,
                None | Some(Refusal::Limited(Limited::Markers) | Refusal::Rejected(Reject::BadTimestamp))
            )),
        }
    }

    fn take(&mut self, line: &Line<'_>, mapped: &[Option<MappedLine>]) {
        for (observation, mapped) in line.observations.iter().zip(mapped) {
            let Some(mapped) = mapped else { continue };
            let (metric_type, weight) = (observation.metric_type, observation.weight);
            let key = (mapped.labels.to_string(), metric_type);
            let (Value::Number(number) | Value::Change(number)) = observation.value else { continue };
            let number = number * mapped.effect.scale;
            let whole = |number: f64| number.fract() == 0.0 && number.abs() <= WHOLE_MAX;
            self.inexact |= !(whole(number) && whole(weight) && whole(number * weight));
            match (metric_type, observation.value) {
                (MetricType::Counter, _) => {
                    self.sent.counters += number * weight;
                    *self.sent.by_series.entry(key.0).or_default() += number * weight;
                }
                (MetricType::Gauge, Value::Change(_)) => {
                    *self.gauges.entry(key.clone()).or_default() += number;
                    self.touched.insert(key);
                }
                (MetricType::Gauge, _) => {
                    self.gauges.insert(key.clone(), number);
                    self.touched.insert(key);
                }
                _ => {
                    let value = number / metric_type.unit_divisor() * weight;
                    self.sent.timer_count += weight;
                    self.sent.timer_sum += value;
                    self.sent.timer_magnitude += value.abs();
                }
            }
        }
    }

    /// The series of earlier batches, all of which are to end.
    pub fn end(&mut self) -> Vec<SeriesId> {
        self.ending.extend(self.ids.values().cloned());
        self.ids.keys().copied().collect()
    }

    pub fn flushed(&mut self, batch: &FlushBatch, registry: &Registry, windows: &Windows, overflows: u64) {
        self.inexact |= overflows > 0;
        self.named.extend(&batch.new_series);
        let counters = batch.counters.iter().map(|counter| counter.id);
        let gauges = batch.gauges.iter().map(|gauge| gauge.id);
        let timers = batch.timers.iter().map(|(id, _)| *id);
        let sets = batch.sets.iter().map(|(id, _)| *id);
        self.known(counters.clone(), &[MetricType::Counter], registry);
        self.known(gauges.clone(), &[MetricType::Gauge], registry);
        self.known(timers, &[MetricType::Timer, MetricType::Histogram], registry);
        self.known(sets, &[MetricType::Set], registry);
        assert!(batch.stale.is_sorted_by(|a, b| a < b));

        for counter in &batch.counters {
            let before = self.totals.insert(counter.id, counter.total);
            assert_eq!(counter.start_total.is_none(), self.alive.contains(&counter.id), "{counter:?}");
            let start = match (counter.start_total, before) {
                (Some(start), before) => {
                    assert_eq!(start, before.unwrap_or(0.0), "a total does not go on");
                    start
                }
                (None, before) => before.expect("alive, so there was a total"),
            };
            let increase = counter.total - start;
            self.flushed.counters += increase;
            let key = &self.ids[&counter.id].0;
            *self.flushed.by_series.entry(key.clone()).or_default() += increase;
        }
        for gauge in &batch.gauges {
            assert!(gauge.min <= gauge.last && gauge.last <= gauge.max, "{gauge:?}");
        }
        for (_, histogram) in &batch.timers {
            assert!(histogram.count > 0.0);
            self.flushed.timer_count += histogram.count;
            self.flushed.timer_sum += histogram.sum;
        }
        batch.sets.iter().for_each(|(_, set)| assert!(set.count() >= 1.0));
        for id in &batch.stale {
            assert!(self.alive.remove(id), "{id:?} ends and was not alive");
        }
        self.alive.extend(counters.chain(gauges));
        assert!(batch.stale.iter().all(|id| !self.alive.contains(id)), "alive and ended");
        self.compare(batch, windows);
        self.touched.clear();
    }

    /// Notes series of a batch: in order, each once, of such a type, and named.
    fn known(&mut self, ids: impl Iterator<Item = SeriesId>, types: &[MetricType], registry: &Registry) {
        let mut last = None;
        for id in ids {
            assert!(last < Some(id), "out of order");
            last = Some(id);
            assert!(self.named.contains(&id), "{id:?} was never named");
            let series = registry.catalogue().series(id).expect("a series with values is known");
            assert!(types.contains(&series.metric_type));
            let labels = series.labels.iter().filter(|(name, _)| *name != TYPE_LABEL);
            let labels = statsdeck::model::Labels::from_pairs(labels);
            self.ids.insert(id, (labels.to_string(), series.metric_type));
        }
    }

    fn compare(&mut self, batch: &FlushBatch, windows: &Windows) {
        let ending = std::mem::take(&mut self.ending);
        for key in ending.difference(&self.touched) {
            // Who ended a gauge does not go on from its value.
            self.gauges.entry(key.clone()).and_modify(|value| *value = 0.0);
        }
        if self.inexact {
            return;
        }
        let by_series = (&self.flushed.by_series, &self.sent.by_series);
        assert_eq!(self.flushed.counters, self.sent.counters, "counters: {by_series:?}");
        assert_eq!(self.flushed.timer_count, self.sent.timer_count, "timers' counts");
        let off = (self.flushed.timer_sum - self.sent.timer_sum).abs();
        assert!(off <= self.sent.timer_magnitude * 1e-9, "timers' sums are off by {off}");
        for live in windows.live() {
            let buckets = windows.treated().get(live.id).and_then(|treated| treated.buckets.as_ref());
            if let (Some(buckets), statsdeck::aggregate::window::LiveValue::Distribution { count, .. }) =
                (buckets, live.value)
            {
                assert!(buckets.counts.counts.iter().sum::<f64>() <= count, "more in buckets than in all");
            }
        }
        if !self.wide {
            return;
        }
        assert_eq!(self.flushed.by_series, self.sent.by_series, "counters by series");
        if !self.one_table {
            return;
        }
        let mut numbers: BTreeMap<&Key, usize> = BTreeMap::new();
        self.ids.values().for_each(|key| *numbers.entry(key).or_default() += 1);
        for gauge in &batch.gauges {
            let key = &self.ids[&gauge.id];
            // One that was forgotten begins anew.
            if numbers[key] == 1 {
                assert_eq!(gauge.last, self.gauges[key], "{key:?}");
            }
        }
    }
}
