//! A small world that makes windows as the aggregator would, with what comes
//! late, and goes on after a restart with what the store knew.

pub use crate::answers::{dump, read};
pub use crate::known::Model;
use statsdeck::catalogue::Catalogue;
use statsdeck::model::batch::{CounterValue, GaugeValue};
use statsdeck::model::label::NAME;
use statsdeck::model::late::{LateGauge, LateValue};
use statsdeck::model::{
    FlushBatch, Histogram, Labels, Late, MetricType, SeriesId, SeriesKey, Sketch, TimeRange,
};
use statsdeck::store::{Backend, Error, MemoryBackend, Options, Recovered, Store};
use std::ops::Deref;
use std::sync::Arc;

pub const WINDOW_MS: i64 = 10_000;
pub const SPAN_MS: i64 = 10 * WINDOW_MS;
pub const START_MS: i64 = 1_700_000_000_000;
pub const ALL: TimeRange = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };

/// Small numbers from a seed (xorshift).
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }
}

/// A window, and what its series are that are new.
#[derive(Clone, Debug, Default)]
pub struct Window {
    pub named: Vec<(SeriesId, SeriesKey)>,
    pub batch: FlushBatch,
}

impl Deref for Window {
    type Target = FlushBatch;

    fn deref(&self) -> &FlushBatch {
        &self.batch
    }
}

/// A store and its catalogue.
pub struct TestStore {
    pub store: Store,
    pub catalogue: Arc<Catalogue>,
}

impl TestStore {
    pub fn open(
        options: Options,
        backend: impl Backend + 'static,
        now_ms: i64,
    ) -> Result<(TestStore, Recovered), Error> {
        let catalogue = Arc::new(Catalogue::new(usize::MAX));
        let (store, recovered) = Store::open(options, backend, catalogue.clone(), now_ms)?;
        Ok((TestStore { store, catalogue }, recovered))
    }

    /// Names the window's new series, then appends it.
    pub fn append(&self, window: &Window) -> Result<(), Error> {
        let new = window.named.iter().filter(|(id, _)| self.catalogue.series(*id).is_none());
        let new: Vec<(SeriesId, SeriesKey)> = new.cloned().collect();
        if !new.is_empty() {
            self.catalogue.restore(new, 0);
        }
        self.store.append(&window.batch)
    }
}

impl Deref for TestStore {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

/// Makes windows.
#[derive(Clone)]
pub struct World {
    dice: Dice,
    pub end_ms: i64,
    series: Vec<Live>,
    next_id: u32,
    most_series: usize,
    /// How late values come, in ms, if they do.
    late_ms: Option<i64>,
    /// A window follows one that is not directly before it: counters begin anew,
    /// so that what is late for the gap can be told apart.
    after_gap: bool,
    /// Up to there all windows are in blocks.
    pub sealed_ms: i64,
}

#[derive(Clone)]
struct Live {
    id: SeriesId,
    key: SeriesKey,
    total: f64,
    living: bool,
    /// A series is named in the window of its first sample.
    fresh: bool,
}

impl World {
    pub fn new(seed: u64, most_series: usize) -> Self {
        World {
            dice: Dice::new(seed),
            end_ms: START_MS,
            series: Vec::new(),
            next_id: 1,
            most_series,
            late_ms: None,
            after_gap: false,
            sealed_ms: i64::MIN,
        }
    }

    /// The same, with values that come late by up to `late_ms` and now and then
    /// far too late, windows of odd lengths, and numbers whose sums are exact.
    pub fn with_late(self, late_ms: i64) -> Self {
        World { late_ms: Some(late_ms), ..self }
    }

    /// Goes on with what a store knew when it was opened.
    pub fn resume(&mut self, recovered: &Recovered, catalogue: &Catalogue) {
        self.next_id = catalogue.next_id();
        self.end_ms = recovered.last_end_ms.unwrap_or(self.end_ms);
        let known = recovered.series.iter().filter_map(|series| {
            Some(Live {
                id: series.id,
                key: catalogue.series(series.id)?,
                total: series.last.unwrap_or_default(),
                // As the daemon, which has what lives in each window.
                living: !series.ended && Some(series.last_ms) == recovered.last_end_ms,
                fresh: false,
            })
        });
        self.series = known.collect();
        for live in &mut self.series {
            live.living &= self.dice.roll(2) == 0;
        }
    }

    /// The next window, after `gap` windows without any.
    pub fn window(&mut self, gap: i64) -> Window {
        let newest_ms = self.end_ms;
        let start_ms = newest_ms + gap * WINDOW_MS;
        self.end_ms = start_ms + self.length(start_ms);
        self.after_gap = start_ms > newest_ms && self.late_ms.is_some();
        let mut batch = Window::default();
        (batch.batch.start_ms, batch.batch.end_ms) = (start_ms, self.end_ms);
        if self.series.len() < self.most_series {
            for _ in 0..=self.dice.roll(3) {
                self.begin(&mut batch);
            }
        }
        for at in 0..self.series.len() {
            let late_at = self.late_window(newest_ms, start_ms);
            self.sample(at, &mut batch, late_at);
        }
        batch.batch.late.settle();
        batch
    }

    /// Windows end at multiples of their length, but for those of a stop.
    fn length(&mut self, start_ms: i64) -> i64 {
        let whole = WINDOW_MS - start_ms.rem_euclid(WINDOW_MS);
        let is_cut = self.late_ms.is_some() && whole > 1 && self.dice.roll(15) == 0;
        if is_cut { 1 + self.dice.roll(whole as u64 - 1) as i64 } else { whole }
    }

    /// A window that something comes late for: one that is open for it, or is
    /// closed for good.
    fn late_window(&mut self, newest_ms: i64, start_ms: i64) -> Option<i64> {
        let late_ms = self.late_ms?;
        if self.dice.roll(5) > 0 {
            return None;
        }
        let is_lost = self.dice.roll(8) == 0;
        let from_ms = (newest_ms - late_ms).div_euclid(WINDOW_MS) + 1;
        let steps = start_ms.div_euclid(WINDOW_MS) - from_ms + 1;
        let end_ms = (from_ms + self.dice.roll(steps.clamp(1, 30) as u64) as i64) * WINDOW_MS;
        let sealed_ms = self.sealed_ms.max(0).div_euclid(WINDOW_MS) * WINDOW_MS;
        match is_lost {
            true if sealed_ms > 0 => Some(sealed_ms - self.dice.roll(20) as i64 * WINDOW_MS),
            _ => (steps > 0).then_some(end_ms),
        }
    }

    /// A world after this one, with series of its own.
    pub fn successor(&self) -> World {
        World { series: Vec::new(), next_id: self.next_id + 100, ..self.clone() }
    }

    fn begin(&mut self, batch: &mut Window) {
        let id = SeriesId(self.next_id);
        self.next_id += 1;
        let metric_type = MetricType::ALL[id.0 as usize % 5];
        let mut host = format!("web-{}", id.0);
        if self.late_ms.is_some() {
            // What was never written may leave its number to another one.
            host = format!("{host}-{}", self.dice.roll(1000));
        }
        let name = format!("etl.{metric_type}.{}", id.0 % 3);
        let labels = Labels::from_pairs([(NAME, name), ("host", host)]);
        let key = SeriesKey { labels, metric_type };
        batch.named.push((id, key.clone()));
        self.series.push(Live { id, key, total: 0.0, living: false, fresh: true });
    }

    fn number(&mut self) -> f64 {
        if self.late_ms.is_some() {
            return self.dice.roll(1 << 16) as f64 / 8.0 - 500.0;
        }
        match self.dice.roll(4) {
            0 => 0.0,
            1 => self.dice.roll(1000) as f64,
            2 => self.dice.roll(100_000) as f64 / 1000.0,
            _ => (self.dice.roll(100_000) as f64).sqrt() - 100.0,
        }
    }

    fn sample(&mut self, at: usize, window: &mut Window, late_at: Option<i64>) {
        let is_exact = self.late_ms.is_some();
        let batch = &mut window.batch;
        let Late { counters, gauges, timers, sets, interval_ms } = &mut batch.late;
        *interval_ms = WINDOW_MS;
        let fate = self.dice.roll(10);
        let number = self.number();
        let many = self.dice.roll(12);
        let dice = &mut self.dice;
        let live = &mut self.series[at];
        let id = live.id;
        if fate == 0 && !live.fresh {
            if live.living {
                batch.stale.push(id);
            }
            live.living = false;
            return;
        }
        if fate == 1 && !live.living && !live.fresh {
            return;
        }
        match live.key.metric_type {
            MetricType::Counter => {
                let start_total = (!live.living || self.after_gap).then_some(live.total);
                live.total += number;
                if let Some(end_ms) = late_at {
                    let value = many as f64 - 3.0;
                    live.total += value;
                    counters.push(LateValue { id, end_ms, value });
                }
                batch.counters.push(CounterValue { id, total: live.total, start_total });
            }
            MetricType::Gauge | MetricType::Sampled => {
                live.total = number;
                let wide = f64::from(many.is_multiple_of(2) as u8);
                let gauge = GaugeValue { id, last: number, min: number - wide, max: number + wide };
                batch.gauges.push(gauge);
                if let Some(end_ms) = late_at {
                    let (last, holds) = (many as f64, dice.roll(2) == 0);
                    let value =
                        LateGauge { last, min: last, max: last, at_ms: end_ms - 1, holds, is_sample: false };
                    gauges.push(LateValue { id, end_ms, value });
                }
            }
            MetricType::Timer | MetricType::Histogram => {
                let (unit, more) = if is_exact { (64.0, 0.0) } else { (1000.0, many as f64 / 3.0) };
                let mut histogram = || {
                    let values = (0..=many).map(|_| (dice.roll(5000) as f64 / unit, 1.0 + more));
                    Histogram::from_values(values)
                };
                batch.timers.push((id, histogram()));
                if let Some(end_ms) = late_at {
                    timers.push(LateValue { id, end_ms, value: histogram() });
                }
            }
            MetricType::Set => {
                let mut sketch = Sketch::default();
                let members = if dice.roll(80) == 0 { 300 } else { many };
                (0..members).for_each(|_| sketch.insert(&dice.roll(1 << 40).to_le_bytes()));
                if let Some(end_ms) = late_at {
                    let mut value = Sketch::default();
                    value.insert(&dice.roll(1 << 40).to_le_bytes());
                    sets.push(LateValue { id, end_ms, value });
                }
                batch.sets.push((id, sketch));
            }
        }
        live.living = true;
        live.fresh = false;
    }
}

pub fn options() -> Options {
    Options { retention_ms: 1000 * SPAN_MS, block_span_ms: SPAN_MS, ..Options::new("/data") }
}

pub fn open(backend: &MemoryBackend) -> (TestStore, Recovered) {
    TestStore::open(options(), backend.clone(), START_MS).expect("the store opens")
}
