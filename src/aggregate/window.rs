//! What outlives a window: counters' totals, gauges' last values, when each
//! series was heard last; and the merge of all tables into one batch.

use super::effect::BucketCounts;
use super::registry::Registry;
use super::table::{Gauge, Partial};
use crate::mapping::{Observer, Treatment};
use crate::model::batch::{CounterValue, GaugeValue};
use crate::model::{FlushBatch, Histogram, MetricType, SeriesId, SeriesKey};
use crate::telemetry::Telemetry;
use std::collections::HashMap;
use std::sync::Arc;

/// A series that was silent for longer is named again when it returns: the
/// store may have forgotten it. Less than the shortest retention, an hour.
const NAME_AGAIN_MS: i64 = 1_800_000;

/// How long a silent series lives.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Length of a window in ms.
    pub interval_ms: i64,
    /// Silence after which a series ends, in ms, by type; 0: never.
    pub counter_expire_ms: i64,
    pub gauge_expire_ms: i64,
    pub timer_expire_ms: i64,
    pub set_expire_ms: i64,
}

impl Options {
    fn expire_ms(&self, metric_type: MetricType) -> i64 {
        match metric_type {
            MetricType::Counter => self.counter_expire_ms,
            MetricType::Gauge => self.gauge_expire_ms,
            MetricType::Timer | MetricType::Histogram => self.timer_expire_ms,
            MetricType::Set => self.set_expire_ms,
        }
    }
}

/// A series as it is known when the daemon starts.
#[derive(Clone, Debug)]
pub struct Known {
    pub id: SeriesId,
    pub key: SeriesKey,
    /// Time of its last sample.
    pub last_ms: i64,
    /// A counter's total, a gauge's last value.
    pub last: Option<f64>,
    /// Whether its last sample says that it ended.
    pub ended: bool,
}

/// A series that is alive, as the scrape page shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Live {
    pub id: SeriesId,
    pub key: SeriesKey,
    pub value: LiveValue,
    /// What a mapping says of it.
    pub treated: Option<Treated>,
}

/// A series of which a mapping says something.
#[derive(Clone, Debug, PartialEq)]
pub struct Treated {
    pub treatment: Arc<Treatment>,
    /// Of a histogram, since the mapping said so.
    pub buckets: Option<Box<Buckets>>,
}

/// Values of a histogram as the scrape page shows them.
#[derive(Clone, Debug, PartialEq)]
pub struct Buckets {
    pub counts: BucketCounts,
    pub sum: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LiveValue {
    /// The running total.
    Counter(f64),
    Gauge(f64),
    /// Count and sum since the daemon started.
    Distribution {
        count: f64,
        sum: f64,
    },
    /// Distinct members of the last window that had any.
    Set(f64),
}

/// See the module's head.
#[derive(Debug)]
pub struct Windows {
    options: Options,
    telemetry: Arc<Telemetry>,
    states: HashMap<SeriesId, State, foldhash::fast::RandomState>,
    /// Those of which a mapping says something.
    treated: HashMap<SeriesId, Treated, foldhash::fast::RandomState>,
    last_end_ms: i64,
}

#[derive(Debug)]
struct State {
    key: SeriesKey,
    /// End of the last window that had values.
    heard_ms: i64,
    alive: bool,
    value: LiveValue,
    /// Of a gauge, within the window being closed.
    extremes: Option<(f64, f64)>,
}

impl Windows {
    /// Goes on from what is known; the first window starts at `last_end_ms`.
    pub fn new(options: Options, telemetry: Arc<Telemetry>, known: Vec<Known>, last_end_ms: i64) -> Self {
        let mut windows = Windows {
            options,
            telemetry,
            states: HashMap::default(),
            treated: HashMap::default(),
            last_end_ms,
        };
        for series in known {
            let metric_type = series.key.metric_type;
            let mut state = State::new(series.key);
            if let (LiveValue::Counter(value) | LiveValue::Gauge(value) | LiveValue::Set(value), Some(last)) =
                (&mut state.value, series.last)
            {
                *value = last;
            }
            state.heard_ms = series.last_ms;
            let expire_ms = options.expire_ms(metric_type);
            let silent_ms = last_end_ms - series.last_ms;
            let fresh = expire_ms == 0 || silent_ms <= expire_ms;
            // A timer's or set's gap speaks for itself.
            state.alive = fresh
                && !series.ended
                && series.last.is_some()
                && matches!(metric_type, MetricType::Counter | MetricType::Gauge);
            windows.states.insert(series.id, state);
        }
        windows
    }

    /// End of the last window closed.
    pub fn last_end_ms(&self) -> i64 {
        self.last_end_ms
    }

    /// The end of the window that is open at `now_ms`: aligned to the clock,
    /// and after the last one even when the clock was set back.
    pub fn next_end_ms(&self, now_ms: i64) -> i64 {
        let interval = self.options.interval_ms;
        let aligned = (now_ms.div_euclid(interval) + 1) * interval;
        let follows = (self.last_end_ms.div_euclid(interval) + 1) * interval;
        aligned.max(follows)
    }

    /// Closes the window that ends at `end_ms` with what the tables held.
    /// `new_series` are those registered since the last flush.
    pub fn flush(
        &mut self,
        end_ms: i64,
        new_series: Vec<(SeriesId, SeriesKey)>,
        partials: Vec<Partial>,
    ) -> FlushBatch {
        let mut batch = FlushBatch { start_ms: self.last_end_ms, end_ms, ..FlushBatch::default() };
        for (id, key) in &new_series {
            self.states.entry(*id).or_insert_with(|| State::new(key.clone()));
        }
        batch.new_series = new_series.into_iter().map(|(id, _)| id).collect();
        self.treat(&partials);
        self.merge(partials, &mut batch);
        let mut alive = 0;
        for (id, state) in &mut self.states {
            if !state.alive {
                continue;
            }
            let expire_ms = (!self.treated.is_empty())
                .then(|| self.treated.get(id)?.treatment.expire_ms)
                .flatten()
                .unwrap_or_else(|| self.options.expire_ms(state.key.metric_type));
            if expire_ms > 0 && end_ms - state.heard_ms > expire_ms {
                state.alive = false;
                // A timer's or set's gap speaks for itself.
                if matches!(state.value, LiveValue::Counter(_) | LiveValue::Gauge(_)) {
                    batch.stale.push(*id);
                }
                continue;
            }
            alive += 1;
            match state.value {
                // Those that have just begun are in the batch already.
                LiveValue::Counter(total) => {
                    batch.counters.push(CounterValue { id: *id, total, start_total: None })
                }
                LiveValue::Gauge(last) => {
                    let (min, max) = state.extremes.take().unwrap_or((last, last));
                    batch.gauges.push(GaugeValue { id: *id, last, min, max });
                }
                LiveValue::Distribution { .. } | LiveValue::Set(_) => {}
            }
        }
        self.add_starts(&mut batch);
        self.telemetry.series_active.set(alive);
        self.last_end_ms = end_ms;
        batch
    }

    /// How many series have ended and are still known.
    pub fn ended(&self) -> usize {
        self.states.values().filter(|state| !state.alive).count()
    }

    /// All series alive, in no order.
    pub fn live(&self) -> Vec<Live> {
        let alive = self.states.iter().filter(|(_, state)| state.alive);
        alive
            .map(|(id, state)| Live {
                id: *id,
                key: state.key.clone(),
                value: state.value,
                treated: self.treated.get(id).cloned(),
            })
            .collect()
    }

    /// Drops series, here and from `registry`, that no table knows and that the
    /// store `has` nothing of any more. Those alive whose values repeat have
    /// points in every window.
    pub fn forget(&mut self, silent_since_ms: i64, has: impl Fn(SeriesId) -> bool, registry: &Registry) {
        let silent = self.states.iter().filter(|(id, state)| {
            let repeats = matches!(state.value, LiveValue::Counter(_) | LiveValue::Gauge(_));
            !(state.alive && repeats) && state.heard_ms < silent_since_ms && !has(**id)
        });
        let gone = registry.forget(silent.map(|(id, _)| *id).collect());
        self.states.retain(|id, _| !gone.contains(id));
        self.treated.retain(|id, _| !gone.contains(id));
    }

    /// Takes over what mappings say of the series of new spellings.
    fn treat(&mut self, partials: &[Partial]) {
        for (id, treatment) in partials.iter().flat_map(|partial| &partial.treatments) {
            let Some(treatment) = treatment else {
                self.treated.remove(id);
                continue;
            };
            let known = self.treated.get(id).map(|treated| &treated.treatment);
            if known.is_some_and(|known| Arc::ptr_eq(known, treatment) || known == treatment) {
                continue;
            }
            let is_distribution =
                self.states.get(id).is_some_and(|state| state.key.metric_type.is_distribution());
            let buckets = match &treatment.observer {
                // What it has counted stands.
                observer if known.is_some_and(|known| known.observer == *observer) => {
                    self.treated.get(id).and_then(|treated| treated.buckets.clone())
                }
                Observer::Histogram { buckets } if is_distribution => {
                    Some(Box::new(Buckets { counts: BucketCounts::new(buckets.clone()), sum: 0.0 }))
                }
                _ => None,
            };
            self.treated.insert(*id, Treated { treatment: treatment.clone(), buckets });
        }
        for (id, counts) in partials.iter().flat_map(|partial| &partial.buckets) {
            if let Some(buckets) = self.treated.get_mut(id).and_then(|treated| treated.buckets.as_mut()) {
                buckets.counts.merge(counts);
            }
        }
    }

    fn merge(&mut self, partials: Vec<Partial>, batch: &mut FlushBatch) {
        let mut timers: HashMap<SeriesId, Histogram, foldhash::fast::RandomState> = HashMap::default();
        let mut sets: HashMap<SeriesId, crate::model::Sketch, foldhash::fast::RandomState> =
            HashMap::default();
        let mut gauges: Vec<(SeriesId, Gauge)> = Vec::new();
        for partial in partials {
            for (id, sum) in partial.counters {
                let Some(state) = self.states.get_mut(&id) else { continue };
                let LiveValue::Counter(total) = &mut state.value else { continue };
                let begins = (!state.alive).then_some(*total);
                if (*total + sum).is_finite() {
                    *total += sum;
                } else {
                    self.telemetry.overflows.add(1);
                }
                if let Some(start_total) = begins {
                    batch.counters.push(CounterValue { id, total: *total, start_total: Some(start_total) });
                }
                state.hear(id, batch);
            }
            for (id, distribution) in partial.timers {
                match timers.get_mut(&id) {
                    Some(merged) => merged.merge(&distribution),
                    None => {
                        timers.insert(id, distribution);
                    }
                }
            }
            for (id, sketch) in partial.sets {
                match sets.get_mut(&id) {
                    Some(merged) => merged.merge(&sketch),
                    None => {
                        sets.insert(id, sketch);
                    }
                }
            }
            gauges.extend(partial.gauges);
        }
        // What was set last among the tables wins; changes of tables that set
        // nothing come on top, as their order to the others is not known.
        gauges.sort_by_key(|(id, gauge)| (*id, gauge.set.is_none(), gauge.set.map(|(_, at_ms)| at_ms)));
        for (id, gauge) in gauges {
            let Some(state) = self.states.get_mut(&id) else { continue };
            if !state.apply(&gauge) {
                self.telemetry.overflows.add(1);
            }
            state.hear(id, batch);
        }
        for (id, window) in timers {
            let Some(state) = self.states.get_mut(&id) else { continue };
            if let LiveValue::Distribution { count, sum } = &mut state.value {
                *count += window.count;
                if (*sum + window.sum).is_finite() {
                    *sum += window.sum;
                } else {
                    self.telemetry.overflows.add(1);
                }
            }
            if let Some(buckets) = self.treated.get_mut(&id).and_then(|treated| treated.buckets.as_mut())
                && (buckets.sum + window.sum).is_finite()
            {
                buckets.sum += window.sum;
            }
            state.hear(id, batch);
            batch.timers.push((id, window));
        }
        for (id, sketch) in sets {
            let Some(state) = self.states.get_mut(&id) else { continue };
            state.value = LiveValue::Set(sketch.count());
            state.hear(id, batch);
            batch.sets.push((id, sketch));
        }
    }

    /// Joins the entries of counters that have begun with their final totals:
    /// one entry a series, in ascending order.
    fn add_starts(&self, batch: &mut FlushBatch) {
        batch.counters.sort_by_key(|counter| (counter.id, counter.start_total.is_none()));
        batch.counters.dedup_by(|later, kept| {
            let same = later.id == kept.id;
            if same {
                kept.total = later.total;
            }
            same
        });
        batch.gauges.sort_by_key(|gauge| gauge.id);
        batch.timers.sort_by_key(|(id, _)| *id);
        batch.sets.sort_by_key(|(id, _)| *id);
        batch.stale.sort();
    }
}

impl State {
    fn new(key: SeriesKey) -> Self {
        let value = match key.metric_type {
            MetricType::Counter => LiveValue::Counter(0.0),
            MetricType::Gauge => LiveValue::Gauge(0.0),
            MetricType::Timer | MetricType::Histogram => LiveValue::Distribution { count: 0.0, sum: 0.0 },
            MetricType::Set => LiveValue::Set(0.0),
        };
        State { key, heard_ms: i64::MIN, alive: false, value, extremes: None }
    }

    fn hear(&mut self, id: SeriesId, batch: &mut FlushBatch) {
        if self.heard_ms != i64::MIN && batch.end_ms - self.heard_ms > NAME_AGAIN_MS {
            batch.new_series.push(id);
        }
        self.heard_ms = batch.end_ms;
        self.alive = true;
    }

    /// False when a change was left out, as the value would be infinite.
    fn apply(&mut self, gauge: &Gauge) -> bool {
        let LiveValue::Gauge(last) = &mut self.value else { return true };
        let before = *last;
        let after = gauge.set.map_or(before, |(value, _)| value) + gauge.change;
        let fits = after.is_finite();
        if fits {
            *last = after;
        }
        let last = *last;
        // A change from a value that was known shows that value as well.
        let (mut min, mut max) = self.extremes.unwrap_or((last, last));
        if let Some((low, high)) = gauge.extremes {
            (min, max) = (min.min(low), max.max(high));
        } else if self.alive {
            (min, max) = (min.min(before), max.max(before));
        }
        self.extremes = Some((min.min(last), max.max(last)));
        fits
    }
}
