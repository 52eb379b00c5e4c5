//! What outlives a window: counters' totals, gauges' last values, when each
//! series was heard last; and the merge of all tables into one batch.

use super::gauge::Gauge;
use super::late::take_late;
use super::registry::Registry;
use super::sampled::SampledSeries;
use super::series_list::{Entry, Heard, SeriesList};
use super::table::Partial;
use super::treated::TreatedSeries;
use crate::model::batch::{CounterValue, GaugeValue};
use crate::model::{FlushBatch, Late, MetricType, SeriesId};
use crate::telemetry::Telemetry;
use std::collections::HashSet;
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
            // Not ours to set.
            MetricType::Sampled => 0,
        }
    }
}

/// A series as it is known when the daemon starts.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    pub id: SeriesId,
    pub metric_type: MetricType,
    /// Time of its last sample.
    pub last_ms: i64,
    /// A counter's total, a gauge's last value.
    pub last: Option<f64>,
    /// Whether its last sample says that it ended.
    pub ended: bool,
}

/// A series that is alive, as the scrape page shows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Live {
    pub id: SeriesId,
    pub value: LiveValue,
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
    /// Running totals.
    counters: SeriesList<f64>,
    /// Last values.
    gauges: SeriesList<f64>,
    /// Of timers and histograms, since the daemon started.
    distributions: SeriesList<Distribution>,
    /// Distinct members of the last window that had any.
    sets: SeriesList<f64>,
    sampled: SampledSeries,
    /// Those of which a mapping says something.
    treated: TreatedSeries,
    /// Those that were asked to end at the next flush.
    ending: HashSet<SeriesId>,
    last_end_ms: i64,
    /// No window was closed yet, and there is a gap before the first one.
    after_gap: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Distribution {
    count: f64,
    sum: f64,
}

/// What a flush asks of every series.
struct Closing<'a> {
    end_ms: i64,
    options: &'a Options,
    treated: &'a TreatedSeries,
    ending: &'a HashSet<SeriesId>,
    alive: i64,
}

impl Windows {
    /// Goes on from what is known; the first window starts at `last_end_ms`.
    pub fn new(options: Options, telemetry: Arc<Telemetry>, known: Vec<Known>, last_end_ms: i64) -> Self {
        let mut windows = Windows {
            options,
            telemetry,
            counters: SeriesList::default(),
            gauges: SeriesList::default(),
            distributions: SeriesList::default(),
            sets: SeriesList::default(),
            sampled: SampledSeries::default(),
            treated: TreatedSeries::default(),
            ending: HashSet::new(),
            last_end_ms,
            after_gap: false,
        };
        for series in known {
            if series.metric_type == MetricType::Sampled {
                let heard = SampledSeries::heard(series.last_ms, series.ended, last_end_ms);
                windows.sampled.add(series.id, heard);
                continue;
            }
            let expire_ms = options.expire_ms(series.metric_type);
            let silent_ms = last_end_ms - series.last_ms;
            let fresh = expire_ms == 0 || silent_ms <= expire_ms;
            // A timer's or set's gap speaks for itself.
            let alive = fresh
                && !series.ended
                && series.last.is_some()
                && matches!(series.metric_type, MetricType::Counter | MetricType::Gauge);
            let heard = Heard::at(series.last_ms, alive);
            windows.add(series.id, series.metric_type, heard, series.last.unwrap_or_default());
        }
        windows
    }

    /// There is a gap between what is known and the first window: that one
    /// tells the total at its start of every counter, so that what is late for
    /// the gap and what the window counts are told apart.
    #[must_use]
    pub fn after_gap(self) -> Self {
        Windows { after_gap: true, ..self }
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
        new_series: Vec<(SeriesId, MetricType)>,
        mut partials: Vec<Partial>,
    ) -> FlushBatch {
        let mut batch = FlushBatch { start_ms: self.last_end_ms, end_ms, ..FlushBatch::default() };
        for (id, metric_type) in &new_series {
            self.add(*id, *metric_type, Heard::default(), 0.0);
        }
        batch.new_series = new_series.into_iter().map(|(id, _)| id).collect();
        self.treated.take_over(&partials, |id| self.distributions.get(id).is_some());
        let late = take_late(&mut partials, batch.start_ms);
        let (mut gauges, mut timers, mut sets) = (Vec::new(), Vec::new(), Vec::new());
        let (mut begun, mut samples) = (Vec::new(), Vec::new());
        for partial in partials {
            join(&mut samples, partial.samples);
            self.add_counters(partial.counters, &mut begun, &mut batch);
            join(&mut gauges, partial.gauges);
            join(&mut timers, partial.timers);
            join(&mut sets, partial.sets);
        }
        let extremes = self.apply_gauges(gauges, &mut batch);
        self.add_timers(timers, &mut batch);
        self.add_sets(sets, &mut batch);
        self.add_late(late, &mut begun, &mut batch);
        let (interval_ms, ending) = (self.options.interval_ms, &mut self.ending);
        self.sampled.put(samples, interval_ms, &mut batch, |entry, batch| hear(entry, batch, ending));
        batch.new_series.sort_unstable();

        let ending = std::mem::take(&mut self.ending);
        let mut closing =
            Closing { end_ms, options: &self.options, treated: &self.treated, ending: &ending, alive: 0 };
        // The total before all others is that of the start.
        begun.sort_by_key(|(id, _)| *id);
        begun.dedup_by_key(|(id, _)| *id);
        let after_gap = std::mem::take(&mut self.after_gap);
        let mut begun = begun.into_iter().peekable();
        batch.counters.reserve_exact(self.counters.len());
        for entry in self.counters.iter_mut() {
            let begun = begun.next_if(|(id, _)| *id == entry.id).map(|(_, total)| total);
            let start_total = begun.or(after_gap.then_some(entry.value));
            if closing.lives(entry, MetricType::Counter, &mut batch.stale) {
                batch.counters.push(CounterValue { id: entry.id, total: entry.value, start_total });
            }
        }
        let mut extremes = extremes.into_iter().peekable();
        for entry in self.gauges.iter_mut() {
            let last = entry.value;
            let within = extremes.next_if(|(id, _)| *id == entry.id);
            let (min, max) = within.map_or((last, last), |(_, extremes)| extremes);
            if closing.lives(entry, MetricType::Gauge, &mut batch.stale) {
                batch.gauges.push(GaugeValue { id: entry.id, last, min, max });
            } else if ending.contains(&entry.id) {
                // Who is told to forget a gauge does not go on from its value.
                entry.value = 0.0;
            }
        }
        // A gap of these speaks for itself.
        let mut unmarked = Vec::new();
        for entry in self.distributions.iter_mut() {
            closing.lives(entry, MetricType::Timer, &mut unmarked);
        }
        for entry in self.sets.iter_mut() {
            closing.lives(entry, MetricType::Set, &mut unmarked);
        }
        batch.stale.sort_unstable();
        let alive = closing.alive + self.sampled.close(end_ms) as i64;
        self.telemetry.series_active.set(alive);
        self.last_end_ms = end_ms;
        batch
    }

    /// Series that have ended and are still known.
    pub fn ended(&self) -> Vec<SeriesId> {
        let mut ended = Vec::new();
        self.each(|id, heard, _| ended.extend((!heard.is_alive()).then_some(id)));
        self.sampled.each(|id, heard| ended.extend((!heard.is_alive()).then_some(id)));
        ended
    }

    /// Ends series at the next flush, as if they had been silent for long; one
    /// that the open window has values of lives on. A gauge that returns
    /// begins at 0; a counter's total goes on.
    pub fn end(&mut self, ids: &[SeriesId]) {
        self.ending.extend(ids);
    }

    /// All series alive: kind by kind, ascending.
    pub fn live(&self) -> Vec<Live> {
        let mut live = Vec::new();
        self.each(|id, heard, value| {
            if heard.is_alive() && !self.ending.contains(&id) {
                live.push(Live { id, value });
            }
        });
        live
    }

    /// The series of which a mapping says something.
    pub fn treated(&self) -> &TreatedSeries {
        &self.treated
    }

    /// Drops series, here and from `registry`, that no table knows and that the
    /// store `has` nothing of any more. Those alive whose values repeat have
    /// points in every window.
    pub fn forget(&mut self, silent_since_ms: i64, has: impl Fn(SeriesId) -> bool, registry: &Registry) {
        let mut silent = HashSet::new();
        self.each(|id, heard, value| {
            let repeats = matches!(value, LiveValue::Counter(_) | LiveValue::Gauge(_));
            let was_silent = heard.ms().is_none_or(|heard_ms| heard_ms < silent_since_ms);
            if !(heard.is_alive() && repeats) && was_silent && !has(id) {
                silent.insert(id);
            }
        });
        self.sampled.each(|id, heard| {
            let was_silent = heard.ms().is_none_or(|heard_ms| heard_ms < silent_since_ms);
            if was_silent && !has(id) {
                silent.insert(id);
            }
        });
        let gone = registry.forget(silent);
        if gone.is_empty() {
            return;
        }
        self.counters.retain(|entry| !gone.contains(&entry.id));
        self.gauges.retain(|entry| !gone.contains(&entry.id));
        self.distributions.retain(|entry| !gone.contains(&entry.id));
        self.sets.retain(|entry| !gone.contains(&entry.id));
        self.sampled.retain(|id| !gone.contains(&id));
        self.treated.retain(|id| !gone.contains(&id));
    }

    fn add(&mut self, id: SeriesId, metric_type: MetricType, heard: Heard, value: f64) {
        match metric_type {
            MetricType::Counter => self.counters.add(Entry { id, heard, value }),
            MetricType::Gauge => self.gauges.add(Entry { id, heard, value }),
            MetricType::Timer | MetricType::Histogram => {
                self.distributions.add(Entry { id, heard, value: Distribution::default() });
            }
            MetricType::Set => self.sets.add(Entry { id, heard, value }),
            MetricType::Sampled => self.sampled.add(id, heard),
        }
    }

    fn each(&self, mut each: impl FnMut(SeriesId, Heard, LiveValue)) {
        self.counters.iter().for_each(|entry| each(entry.id, entry.heard, LiveValue::Counter(entry.value)));
        self.gauges.iter().for_each(|entry| each(entry.id, entry.heard, LiveValue::Gauge(entry.value)));
        self.distributions.iter().for_each(|entry| {
            let Distribution { count, sum } = entry.value;
            each(entry.id, entry.heard, LiveValue::Distribution { count, sum });
        });
        self.sets.iter().for_each(|entry| each(entry.id, entry.heard, LiveValue::Set(entry.value)));
    }

    /// Adds increments to the totals. Tells in `begun` what the totals were of
    /// series that begin.
    fn add_counters(
        &mut self,
        mut sums: Vec<(SeriesId, f64)>,
        begun: &mut Vec<(SeriesId, f64)>,
        batch: &mut FlushBatch,
    ) {
        sort(&mut sums);
        let (telemetry, ending, after_gap) = (&self.telemetry, &mut self.ending, self.after_gap);
        self.counters.join(sums, |entry, sum| {
            if !entry.heard.is_alive() || after_gap {
                begun.push((entry.id, entry.value));
            }
            if (entry.value + sum).is_finite() {
                entry.value += sum;
            } else {
                telemetry.overflows.add(1);
            }
            hear(entry, batch, ending);
        });
    }

    /// Sets and changes gauges; returns their extremes within the window,
    /// ascending.
    fn apply_gauges(
        &mut self,
        mut changes: Vec<(SeriesId, Gauge)>,
        batch: &mut FlushBatch,
    ) -> Vec<(SeriesId, (f64, f64))> {
        // What was set last among the tables wins; changes of tables that set
        // nothing come on top, as their order to the others is not known.
        changes.sort_by_key(|(id, gauge)| (*id, gauge.set.is_none(), gauge.set.map(|(_, at_ms)| at_ms)));
        let mut extremes: Vec<(SeriesId, (f64, f64))> = Vec::new();
        let (telemetry, ending) = (&self.telemetry, &mut self.ending);
        self.gauges.join(changes, |entry, gauge| {
            let before = extremes.pop_if(|(id, _)| *id == entry.id).map(|(_, extremes)| extremes);
            let (after, fits) = apply(entry, &gauge, before);
            if !fits {
                telemetry.overflows.add(1);
            }
            extremes.push((entry.id, after));
            hear(entry, batch, ending);
        });
        extremes
    }

    fn add_timers(&mut self, mut timers: Vec<(SeriesId, crate::model::Histogram)>, batch: &mut FlushBatch) {
        sort(&mut timers);
        timers.dedup_by(|(id, later), (kept_id, kept)| {
            let same = id == kept_id;
            if same {
                kept.merge(later);
            }
            same
        });
        let (telemetry, treated, ending) = (&self.telemetry, &mut self.treated, &mut self.ending);
        let mut kept = Vec::with_capacity(timers.len());
        self.distributions.join(timers, |entry, window| {
            entry.value.count += window.count;
            if (entry.value.sum + window.sum).is_finite() {
                entry.value.sum += window.sum;
            } else {
                telemetry.overflows.add(1);
            }
            treated.add_to_sum(entry.id, window.sum);
            hear(entry, batch, ending);
            kept.push((entry.id, window));
        });
        batch.timers = kept;
    }

    fn add_sets(&mut self, mut sets: Vec<(SeriesId, crate::model::Sketch)>, batch: &mut FlushBatch) {
        sort(&mut sets);
        sets.dedup_by(|(id, later), (kept_id, kept)| {
            let same = id == kept_id;
            if same {
                kept.merge(later);
            }
            same
        });
        let mut kept = Vec::with_capacity(sets.len());
        let ending = &mut self.ending;
        self.sets.join(sets, |entry, sketch| {
            entry.value = sketch.count();
            hear(entry, batch, ending);
            kept.push((entry.id, sketch));
        });
        batch.sets = kept;
    }

    /// Takes in what came late, after what came in time. A counter's total has
    /// it from now on; a gauge, when nothing newer was heard of it.
    fn add_late(&mut self, mut late: Late, begun: &mut Vec<(SeriesId, f64)>, batch: &mut FlushBatch) {
        if late.is_empty() {
            return;
        }
        let (telemetry, ending, after_gap) = (&self.telemetry, &mut self.ending, self.after_gap);
        late.counters.retain(|late| {
            let mut fits = false;
            self.counters.join(vec![(late.id, late.value)], |entry, sum| {
                if !entry.heard.is_alive() || after_gap {
                    begun.push((entry.id, entry.value));
                }
                fits = (entry.value + sum).is_finite();
                if fits {
                    entry.value += sum;
                } else {
                    telemetry.overflows.add(1);
                }
                hear(entry, batch, ending);
            });
            fits
        });
        for late in &mut late.gauges {
            self.gauges.join(vec![(late.id, ())], |entry, ()| {
                late.value.holds = entry.heard.ms().is_none_or(|heard_ms| heard_ms <= late.end_ms);
                if late.value.holds {
                    entry.value = late.value.last;
                    hear(entry, batch, ending);
                    // So old is the value; by that it expires.
                    entry.heard = Heard::at(late.end_ms, true);
                }
            });
        }
        for late in &late.timers {
            self.distributions.join(vec![(late.id, &late.value)], |entry, window| {
                entry.value.count += window.count;
                if (entry.value.sum + window.sum).is_finite() {
                    entry.value.sum += window.sum;
                }
                self.treated.add_to_sum(entry.id, window.sum);
                hear(entry, batch, ending);
            });
        }
        for late in &late.sets {
            self.sets.join(vec![(late.id, &late.value)], |entry, sketch| {
                if !entry.heard.is_alive() {
                    entry.value = sketch.count();
                }
                hear(entry, batch, ending);
            });
        }
        batch.late = late;
    }
}

impl Closing<'_> {
    /// Whether the series lives on; one that ends now is told of.
    fn lives<T>(&mut self, entry: &mut Entry<T>, metric_type: MetricType, ends: &mut Vec<SeriesId>) -> bool {
        let heard = entry.heard;
        if !heard.is_alive() {
            return false;
        }
        let expire_ms =
            self.treated.expire_ms(entry.id).unwrap_or_else(|| self.options.expire_ms(metric_type));
        let silent = expire_ms > 0 && heard.ms().is_some_and(|heard_ms| self.end_ms - heard_ms > expire_ms);
        if silent || self.ending.contains(&entry.id) {
            entry.heard = heard.dead();
            ends.push(entry.id);
            return false;
        }
        self.alive += 1;
        true
    }
}

/// The series had values in the window of `batch`.
fn hear<T>(entry: &mut Entry<T>, batch: &mut FlushBatch, ending: &mut HashSet<SeriesId>) {
    if !ending.is_empty() {
        ending.remove(&entry.id);
    }
    if entry.heard.ms().is_some_and(|heard_ms| batch.end_ms - heard_ms > NAME_AGAIN_MS) {
        batch.new_series.push(entry.id);
    }
    entry.heard = Heard::at(batch.end_ms, true);
}

/// Applies what a table did to a gauge. Returns the extremes within the window
/// and false when a change was left out, as the value would be infinite.
fn apply(entry: &mut Entry<f64>, gauge: &Gauge, extremes: Option<(f64, f64)>) -> ((f64, f64), bool) {
    let before = entry.value;
    let after = gauge.set.map_or(before, |(value, _)| value) + gauge.change;
    let fits = after.is_finite();
    if fits {
        entry.value = after;
    }
    let last = entry.value;
    // A change from a value that was known shows that value as well.
    let (mut min, mut max) = extremes.unwrap_or((last, last));
    if let Some((low, high)) = gauge.extremes {
        (min, max) = (min.min(low), max.max(high));
    } else if entry.heard.is_alive() {
        (min, max) = (min.min(before), max.max(before));
    }
    ((min.min(last), max.max(last)), fits)
}

/// By number; what comes from one table is nearly in order.
fn sort<I>(items: &mut [(SeriesId, I)]) {
    if !items.is_sorted_by_key(|(id, _)| *id) {
        items.sort_by_key(|(id, _)| *id);
    }
}

fn join<I>(all: &mut Vec<I>, more: Vec<I>) {
    if all.is_empty() {
        *all = more;
    } else {
        all.extend(more);
    }
}
