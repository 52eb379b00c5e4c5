//! A small world that makes windows as the aggregator would, and a plain model
//! of what a store must know after them.

use statsdeck::catalogue::Catalogue;
use statsdeck::model::batch::{CounterValue, GaugeValue};
use statsdeck::model::label::NAME;
use statsdeck::model::sample::stale_nan;
use statsdeck::model::{
    FlushBatch, Histogram, Labels, MetricType, Points, Sample, Select, Series, SeriesId, SeriesKey, Sketch,
    TimeRange,
};
use statsdeck::store::{Backend, Error, MemoryBackend, Options, Recovered, Store};
use std::collections::BTreeMap;
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
        World { dice: Dice::new(seed), end_ms: START_MS, series: Vec::new(), next_id: 1, most_series }
    }

    /// The next window, after `gap` windows without any.
    pub fn window(&mut self, gap: i64) -> Window {
        let start_ms = self.end_ms + gap * WINDOW_MS;
        self.end_ms = start_ms + WINDOW_MS;
        let mut batch = Window::default();
        (batch.batch.start_ms, batch.batch.end_ms) = (start_ms, self.end_ms);
        if self.series.len() < self.most_series {
            for _ in 0..=self.dice.roll(3) {
                self.begin(&mut batch);
            }
        }
        for at in 0..self.series.len() {
            self.sample(at, &mut batch);
        }
        batch
    }

    /// A world after this one, with series of its own.
    pub fn successor(&self) -> World {
        World { series: Vec::new(), next_id: self.next_id + 100, ..self.clone() }
    }

    fn begin(&mut self, batch: &mut Window) {
        let id = SeriesId(self.next_id);
        self.next_id += 1;
        let metric_type = MetricType::ALL[id.0 as usize % 5];
        let name = format!("etl.{metric_type}.{}", id.0 % 3);
        let labels = Labels::from_pairs([(NAME, name), ("host", format!("web-{}", id.0))]);
        let key = SeriesKey { labels, metric_type };
        batch.named.push((id, key.clone()));
        self.series.push(Live { id, key, total: 0.0, living: false, fresh: true });
    }

    fn number(&mut self) -> f64 {
        match self.dice.roll(4) {
            0 => 0.0,
            1 => self.dice.roll(1000) as f64,
            2 => self.dice.roll(100_000) as f64 / 1000.0,
            _ => (self.dice.roll(100_000) as f64).sqrt() - 100.0,
        }
    }

    fn sample(&mut self, at: usize, window: &mut Window) {
        let batch = &mut window.batch;
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
                let start_total = (!live.living).then_some(live.total);
                live.total += number;
                batch.counters.push(CounterValue { id, total: live.total, start_total });
            }
            MetricType::Gauge | MetricType::Sampled => {
                live.total = number;
                let wide = f64::from(many.is_multiple_of(2) as u8);
                let gauge = GaugeValue { id, last: number, min: number - wide, max: number + wide };
                batch.gauges.push(gauge);
            }
            MetricType::Timer | MetricType::Histogram => {
                let values = (0..=many).map(|_| (dice.roll(5000) as f64 / 1000.0, 1.0 + many as f64 / 3.0));
                batch.timers.push((id, Histogram::from_values(values)));
            }
            MetricType::Set => {
                let mut sketch = Sketch::default();
                let members = if dice.roll(80) == 0 { 300 } else { many };
                (0..members).for_each(|_| sketch.insert(&dice.roll(1 << 40).to_le_bytes()));
                batch.sets.push((id, sketch));
            }
        }
        live.living = true;
        live.fresh = false;
    }
}

/// What a store must know.
#[derive(Clone, Default)]
pub struct Model {
    keys: BTreeMap<SeriesId, SeriesKey>,
    points: BTreeMap<SeriesId, BTreeMap<i64, Value>>,
    pub last_end_ms: Option<i64>,
}

#[derive(Clone)]
enum Value {
    Float(f64),
    Histogram(Histogram),
    Sketch(Sketch),
}

impl Model {
    pub fn apply(&mut self, batch: &Window) {
        self.keys.extend(batch.named.iter().cloned());
        self.last_end_ms = Some(batch.end_ms);
        for counter in &batch.counters {
            if let Some(start) = counter.start_total {
                self.put(counter.id, batch.start_ms, Value::Float(start));
            }
            self.put(counter.id, batch.end_ms, Value::Float(counter.total));
        }
        for gauge in &batch.gauges {
            self.put(gauge.id, batch.end_ms, Value::Float(gauge.last));
        }
        for (id, histogram) in &batch.timers {
            self.put(*id, batch.end_ms, Value::Histogram(histogram.clone()));
        }
        for (id, sketch) in &batch.sets {
            self.put(*id, batch.end_ms, Value::Sketch(sketch.clone()));
        }
        for id in &batch.stale {
            if matches!(self.keys[id].metric_type, MetricType::Counter | MetricType::Gauge) {
                self.put(*id, batch.end_ms, Value::Float(stale_nan()));
            }
        }
    }

    /// The series that there are.
    pub fn named(&self) -> Vec<(SeriesId, SeriesKey)> {
        self.keys.iter().map(|(id, key)| (*id, key.clone())).collect()
    }

    fn put(&mut self, id: SeriesId, timestamp_ms: i64, value: Value) {
        self.points.entry(id).or_default().insert(timestamp_ms, value);
    }

    pub fn series(&self, range: TimeRange) -> Vec<Series> {
        let mut all = Vec::new();
        for (id, points) in &self.points {
            let key = &self.keys[id];
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

pub fn options() -> Options {
    Options { retention_ms: 1000 * SPAN_MS, block_span_ms: SPAN_MS, ..Options::new("/data") }
}

pub fn open(backend: &MemoryBackend) -> (TestStore, Recovered) {
    TestStore::open(options(), backend.clone(), START_MS).expect("the store opens")
}

pub fn read(store: &Store, range: TimeRange) -> Vec<Series> {
    let request = Select { matchers: &[], range, step_ms: 0, max_series: usize::MAX, max_points: usize::MAX };
    store.select(&request).expect("the store can be read")
}

/// All points as text, one a line, bit for bit.
pub fn dump(series: &[Series]) -> String {
    let mut text = String::new();
    for series in series {
        text.push_str(&format!("{} {:?}\n", series.labels, series.metric_type));
        match &series.points {
            Points::Floats(points) => points.iter().for_each(|sample| {
                let bits = sample.value.to_bits();
                text.push_str(&format!("  {} {} {bits:016x}\n", sample.timestamp_ms, sample.value));
            }),
            Points::Histograms(points) => {
                points.iter().for_each(|(at, h)| {
                    let buckets = h.buckets().iter().flat_map(|(key, weight)| {
                        key.0.to_le_bytes().into_iter().chain(weight.to_bits().to_le_bytes())
                    });
                    let crc = crc32fast::hash(&buckets.collect::<Vec<u8>>());
                    text.push_str(&format!("  {at} {} {} {} {} {crc:08x}\n", h.count, h.sum, h.min, h.max));
                });
            }
            Points::Natives(_) => unreachable!("the store holds none"),
            Points::Sketches(points) => points.iter().for_each(|(at, sketch)| {
                text.push_str(&format!("  {at} {} {:08x}\n", sketch.count(), checksum(sketch)));
            }),
        }
    }
    text
}

fn checksum(sketch: &Sketch) -> u32 {
    let bytes: Vec<u8> = match sketch {
        Sketch::Exact(hashes) => hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect(),
        Sketch::Registers(registers) => registers.to_vec(),
    };
    crc32fast::hash(&bytes)
}
