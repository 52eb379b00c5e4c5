//! What was sampled elsewhere: each sample is kept as it is, at its own time,
//! whatever becomes of the store meanwhile, and nothing else is there.
//!
//! A plain model keeps samples by series and time; they go through table,
//! windows and store, with flushes, restarts, blocks and tiers in between.

use proptest::prelude::*;
use statsdeck::aggregate::window::Known;
use statsdeck::aggregate::{Options, Partial, Registry, SampleTable, Windows, sampled};
use statsdeck::catalogue::Catalogue;
use statsdeck::model::label::NAME;
use statsdeck::model::sample::{is_stale, stale_nan};
use statsdeck::model::{Labels, Matcher, MetricType, Points, Sample, Select, SeriesKey, TimeRange};
use statsdeck::query::{self, Engine, Source, Value};
use statsdeck::store::{self, MemoryBackend, Store, Tier};
use std::collections::BTreeMap;
use std::sync::Arc;

const WINDOW_MS: i64 = 10_000;
const LATENESS_MS: i64 = 60_000;
const SPAN_MS: i64 = 60 * WINDOW_MS;
const START_MS: i64 = 1_700_000_400_000;
const ALL: TimeRange = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };

const OPTIONS: Options = Options {
    interval_ms: WINDOW_MS,
    counter_expire_ms: 0,
    gauge_expire_ms: 0,
    timer_expire_ms: 0,
    set_expire_ms: 0,
};

/// A daemon without its threads.
struct Life {
    backend: MemoryBackend,
    tiers: Vec<Tier>,
    now_ms: i64,
    parts: Option<Parts>,
}

struct Parts {
    registry: Arc<Registry>,
    samples: SampleTable,
    windows: Windows,
    store: Arc<Store>,
}

impl Life {
    fn begin(tiers: &[Tier]) -> Self {
        let mut life =
            Life { backend: MemoryBackend::new(), tiers: tiers.into(), now_ms: START_MS, parts: None };
        life.start();
        life
    }

    fn start(&mut self) {
        let catalogue = Arc::new(Catalogue::new(100));
        let options = store::Options {
            retention_ms: 1000 * SPAN_MS,
            block_span_ms: SPAN_MS,
            lateness_ms: LATENESS_MS,
            tiers: self.tiers.clone(),
            ..store::Options::new("/data")
        };
        let opened = Store::open(options, self.backend.clone(), catalogue.clone(), self.now_ms);
        let (store, recovered) = opened.unwrap();
        let types: BTreeMap<_, _> = catalogue.types().into_iter().collect();
        let known = recovered.series.iter().map(|series| Known {
            id: series.id,
            metric_type: types[&series.id],
            last_ms: series.last_ms,
            last: series.last,
            ended: series.ended,
        });
        let last_end_ms = recovered.last_end_ms.unwrap_or(self.now_ms).max(self.now_ms);
        let windows = Windows::new(OPTIONS, Arc::default(), known.collect(), last_end_ms);
        let registry = Arc::new(Registry::new(catalogue));
        let samples = SampleTable::new(registry.clone());
        self.parts = Some(Parts { registry, samples, windows, store: Arc::new(store) });
    }

    fn parts(&mut self) -> &mut Parts {
        self.parts.as_mut().unwrap()
    }

    /// Not earlier than this is taken.
    fn floor_ms(&mut self) -> i64 {
        let until_ms = self.now_ms + 2 * WINDOW_MS;
        self.parts().store.late_floor_ms(until_ms)
    }

    fn push(&mut self, name: &str, timestamp_ms: i64, value: f64) {
        let series = sampled::key(Labels::of_name(name));
        self.parts().samples.push(series, &[Sample { timestamp_ms, value }]).unwrap();
    }

    fn flush(&mut self, end_ms: i64) -> i64 {
        self.now_ms = self.now_ms.max(end_ms);
        let parts = self.parts();
        let partial = Partial { samples: parts.samples.take(end_ms), ..Partial::default() };
        let batch = parts.windows.flush(end_ms, parts.registry.take_new(), vec![partial]);
        parts.store.append(&batch).unwrap();
        let ended = parts.windows.ended();
        parts.registry.note_ended(&ended);
        end_ms
    }

    fn close_window(&mut self) -> i64 {
        let now_ms = self.now_ms;
        let end_ms = self.parts().windows.next_end_ms(now_ms);
        self.flush(end_ms)
    }

    fn restart(&mut self, down_ms: i64) -> i64 {
        let end_ms = self.now_ms.max(self.parts().windows.last_end_ms() + 1);
        self.flush(end_ms);
        self.parts = None;
        self.now_ms = end_ms + down_ms;
        self.start();
        end_ms
    }

    fn maintain(&mut self) {
        let now_ms = self.now_ms;
        self.parts().store.maintain(now_ms).unwrap();
        let parts = self.parts.as_mut().unwrap();
        let present = parts.store.present();
        parts.windows.forget(now_ms - 1000 * SPAN_MS, |id| present.has(id), &parts.registry);
    }

    fn read(&mut self, range: TimeRange) -> BTreeMap<(String, i64), u64> {
        let request =
            Select { matchers: &[], range, step_ms: 0, max_series: usize::MAX, max_points: usize::MAX };
        let mut found = BTreeMap::new();
        for series in self.parts().store.select(&request).unwrap() {
            assert_eq!(series.metric_type, None, "it is as in Prometheus");
            let Points::Floats(samples) = series.points else { panic!("floats") };
            assert!(samples.is_sorted_by(|a, b| a.timestamp_ms < b.timestamp_ms));
            let name = series.labels.name().to_owned();
            found.extend(samples.iter().map(|s| ((name.clone(), s.timestamp_ms), s.value.to_bits())));
        }
        found
    }
}

#[derive(Default)]
struct Model {
    waiting: Vec<(String, i64, u64)>,
    samples: BTreeMap<(String, i64), u64>,
}

impl Model {
    fn close(&mut self, end_ms: i64) {
        for (name, at_ms, bits) in self.waiting.extract_if(.., |(_, at_ms, _)| *at_ms < end_ms) {
            self.samples.insert((name, at_ms), bits);
        }
    }

    fn within(&self, range: TimeRange) -> BTreeMap<(String, i64), u64> {
        let samples = self.samples.iter().filter(|((_, at_ms), _)| range.contains(*at_ms));
        samples.map(|(key, bits)| (key.clone(), *bits)).collect()
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Series, ms before now (or after), value.
    Sample(u8, i64, f64),
    Wait(i64),
    Close,
    Silence(u8),
    Restart(i64),
    Kill,
    Maintain,
    Read(i64, i64),
}

fn step() -> impl Strategy<Value = Step> {
    let ago = prop_oneof![6 => -15_000i64..30_000, 2 => 0i64..600_000, 1 => 0i64..4_000_000];
    let value = prop_oneof![
        8 => (0i64..100).prop_map(|value| value as f64),
        1 => any::<f64>(),
        1 => Just(stale_nan()),
        1 => Just(f64::INFINITY),
    ];
    prop_oneof![
        24 => (0u8..4, ago, value).prop_map(|(series, ago, value)| Step::Sample(series, ago, value)),
        4 => (1i64..25_000).prop_map(Step::Wait),
        8 => Just(Step::Close),
        2 => (1u8..90).prop_map(Step::Silence),
        2 => prop_oneof![0i64..2_000, 0i64..3_000_000].prop_map(Step::Restart),
        1 => Just(Step::Kill),
        2 => Just(Step::Maintain),
        3 => (-600i64..60, 0i64..300).prop_map(|(from, length)| Step::Read(from, length)),
    ]
}

fn run(steps: &[Step]) {
    let (mut life, mut model) = (Life::begin(&[]), Model::default());
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Sample(series, ago, value) => {
                let at_ms = life.now_ms - ago;
                if at_ms > life.floor_ms() {
                    let name = format!("s{series}");
                    life.push(&name, at_ms, *value);
                    model.waiting.push((name, at_ms, value.to_bits()));
                }
            }
            Step::Wait(ms) => life.now_ms += ms,
            Step::Close => model.close(life.close_window()),
            Step::Silence(windows) => (0..*windows).for_each(|_| model.close(life.close_window())),
            Step::Restart(down_ms) => {
                model.close(life.restart(*down_ms));
                model.waiting.clear();
            }
            // What was not flushed is lost.
            Step::Kill => {
                life.parts = None;
                life.start();
                model.waiting.clear();
            }
            Step::Maintain => life.maintain(),
            Step::Read(from, length) => {
                let start_ms = life.now_ms + from * 1000;
                let range = TimeRange { start_ms, end_ms: start_ms + length * 1000 };
                assert_eq!(life.read(range), model.within(range), "step {number}: {step:?}");
            }
        }
        if matches!(step, Step::Restart(_) | Step::Kill | Step::Maintain) || number + 1 == steps.len() {
            assert_eq!(life.read(ALL), model.within(ALL), "step {number}: {step:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn samples_are_kept_as_they_are(steps in prop::collection::vec(step(), 1..80)) {
        run(&steps);
    }
}

/// A counter that restarts at `restarts` (seconds since the start), sampled
/// each 15 s at odd moments; and how much it counted by each.
fn counter(seconds: i64, restarts: &[i64]) -> Vec<(i64, f64)> {
    let (mut value, mut samples) = (1000.0, Vec::new());
    for at in (7..seconds).step_by(15) {
        if restarts.iter().any(|restart| at - 15 < *restart && *restart <= at) {
            value = 0.0;
        }
        value += 1.0 + (at % 7) as f64;
        samples.push((START_MS + at * 1000 + 123, value));
    }
    samples
}

fn number(engine: &Engine, expr: &str, at_ms: i64) -> f64 {
    match engine.instant(expr, at_ms).unwrap().value {
        Value::Vector(vector) if vector.len() == 1 => vector[0].value.as_float().unwrap(),
        other => panic!("{expr}: {other:?}"),
    }
}

#[test]
fn new_beginnings_of_a_counter_are_seen_in_every_tier() {
    let tiers = [Tier { resolution_ms: 60_000, retention_ms: 10_000 * SPAN_MS }];
    let mut life = Life::begin(&tiers);
    let samples = counter(7_200, &[1_000, 1_040, 3_333]);
    for (at_ms, value) in &samples {
        while life.now_ms < *at_ms {
            life.close_window();
        }
        life.push("requests_total", *at_ms, *value);
        life.push("temperature", *at_ms, -value);
    }
    (0..100).for_each(|_| _ = life.close_window());
    (0..20).for_each(|_| life.maintain());
    let gained = |until_ms: i64| {
        let until = samples.iter().take_while(|(at_ms, _)| *at_ms <= until_ms);
        let values: Vec<f64> = until.map(|(_, value)| *value).collect();
        let pairs = values.windows(2);
        pairs.map(|pair| if pair[1] < pair[0] { pair[1] } else { pair[1] - pair[0] }).sum::<f64>()
    };
    // Of the steps of a minute: what each of them gained.
    let store = life.parts().store.clone();
    let request = Select {
        matchers: &[Matcher::equal(NAME, "requests_total")],
        range: ALL,
        step_ms: 60_000,
        max_series: 1,
        max_points: 10_000,
    };
    let series = store.select(&request).unwrap().remove(0);
    let Points::Floats(points) = series.points else { panic!("floats") };
    let is_in_blocks = |sample: &&Sample| sample.timestamp_ms <= START_MS + 6_000_000;
    let coarse: Vec<&Sample> = points.iter().filter(is_in_blocks).collect();
    assert!(coarse.len() < 6_000 / 15 / 3, "{} points are no steps", coarse.len());
    let mut total = 0.0;
    for pair in coarse.windows(2) {
        let (before, after) = (pair[0], pair[1]);
        total += if after.value < before.value { after.value } else { after.value - before.value };
        assert_eq!(total, gained(after.timestamp_ms) - gained(coarse[0].timestamp_ms));
    }
    let engine = Engine::new(store.clone() as Arc<dyn Source>, query::Options::default());
    for step_ms in [60_000, 600_000] {
        let edges_ms: Vec<i64> = (0..=6_000_000 / step_ms).map(|step| START_MS + step * step_ms).collect();
        let totals = engine.totals(&[Matcher::equal(NAME, "requests_total")], &edges_ms).unwrap();
        let expected = edges_ms.windows(2).map(|ends| Some(gained(ends[1]) - gained(ends[0])));
        assert_eq!(totals, expected.collect::<Vec<_>>(), "each {step_ms} ms");
        let gauges = engine.totals(&[Matcher::equal(NAME, "temperature")], &edges_ms).unwrap();
        assert!(gauges.iter().all(Option::is_none), "a gauge does not count");
    }
    // And gauges have their extremes.
    let engine = Engine::new(store as Arc<dyn Source>, query::Options::default());
    let hour_ms = START_MS + 3_600_000;
    let lowest = samples.iter().filter(|(at_ms, _)| *at_ms <= hour_ms && *at_ms > START_MS);
    let lowest = lowest.map(|(_, value)| -value).fold(f64::INFINITY, f64::min);
    assert_eq!(number(&engine, "min_over_time(temperature[1h])", hour_ms), lowest);
}

#[test]
fn a_series_ends_at_once_with_a_marker_and_for_readers_after_five_minutes_of_silence() {
    let mut life = Life::begin(&[]);
    life.push("marked", START_MS + 1_000, 1.0);
    life.push("silent", START_MS + 1_000, 1.0);
    life.close_window();
    life.push("marked", START_MS + 11_000, stale_nan());
    life.close_window();
    let at = |life: &mut Life, expr: &str, at_ms: i64| {
        let store = life.parts().store.clone();
        let engine = Engine::new(store as Arc<dyn Source>, query::Options::default());
        match engine.instant(expr, at_ms).unwrap().value {
            Value::Vector(vector) => vector.len(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(at(&mut life, "marked", START_MS + 10_999), 1);
    assert_eq!(at(&mut life, "marked", START_MS + 11_000), 0);
    assert_eq!(at(&mut life, "silent", START_MS + 1_000 + 299_999), 1);
    assert_eq!(at(&mut life, "silent", START_MS + 1_000 + 300_000), 0);
    assert_eq!(life.parts().windows.ended().len(), 1);
    (0..31).for_each(|_| _ = life.close_window());
    assert_eq!(life.parts().windows.ended().len(), 2);
    // Neither repeats, not even after a start.
    life.restart(0);
    life.close_window();
    assert_eq!(life.read(ALL).iter().filter(|(_, bits)| !is_stale(f64::from_bits(**bits))).count(), 2);
}

#[test]
fn names_are_shared_with_what_came_as_statsd_but_no_set_of_labels_is() {
    let catalogue = Catalogue::new(100);
    let key = |labels: &[(&str, &str)], metric_type| SeriesKey {
        labels: Labels::from_pairs(labels.iter().copied()),
        metric_type,
    };
    let (plain, job) = ([(NAME, "up")], [(NAME, "up"), ("job", "a")]);
    for (labels, metric_type, expected) in [
        (&job[..], MetricType::Sampled, r#"up{job="a"}"#),
        (&plain[..], MetricType::Counter, "up"),
        (&plain[..], MetricType::Gauge, r#"up{statsdeck_type="gauge"}"#),
        (&plain[..], MetricType::Sampled, r#"up{statsdeck_type="sampled"}"#),
        (&job[..], MetricType::Counter, r#"up{job="a", statsdeck_type="counter"}"#),
    ] {
        for _ in 0..2 {
            let id = catalogue.register(key(labels, metric_type)).unwrap();
            let series = catalogue.series(id).unwrap();
            assert_eq!(series.labels.to_string(), expected);
            assert_eq!(catalogue.register(key(labels, metric_type)), Ok(id), "{expected}");
        }
        catalogue.settle();
    }
    assert_eq!(catalogue.len(), 5);
}

#[test]
fn totals_of_days_add_up_whatever_is_read_at_once() {
    let source = Arc::new(query::MemorySource::new());
    let engine = Engine::new(source.clone(), query::Options::default());
    let labels = Labels::of_name("requests_total");
    let matchers = [Matcher::equal(NAME, "requests_total")];
    // Five days, each seven minutes; silent for thirty hours; begins anew now and then, also in the silence.
    let hours = |at: i64| START_MS + at * 3_600_000;
    let (mut value, mut samples) = (50.0, Vec::new());
    for number in 0..5 * 24 * 60 / 7 {
        let at_ms = START_MS + number * 420_000 + 17;
        value = if number % 211 == 210 { 2.0 } else { value + (number % 5) as f64 };
        if at_ms < hours(40) || at_ms > hours(70) {
            source.push(&labels, None, at_ms, value);
            samples.push((at_ms, value));
        }
    }
    let gained_within = |start_ms: i64, end_ms: i64| {
        let within = samples.windows(2).filter(|pair| start_ms < pair[1].0 && pair[1].0 <= end_ms);
        let gains = within.map(|pair| if pair[1].1 < pair[0].1 { pair[1].1 } else { pair[1].1 - pair[0].1 });
        gains.reduce(|a, b| a + b)
    };
    for (first, step, count) in [(1, 24, 4), (1, 1, 110), (0, 60, 2), (1, 7, 16)] {
        let edges_ms: Vec<i64> = (0..=count).map(|number| hours(first + number * step)).collect();
        let gains = engine.gains(&matchers, &edges_ms).unwrap();
        for (gain, ends) in gains.iter().zip(edges_ms.windows(2)) {
            assert_eq!(gain.counted, gained_within(ends[0], ends[1]), "{ends:?} of {step} hours");
        }
        // What is spread is all that was counted, but for the silence and both rims.
        let spread: f64 = gains.iter().filter_map(|gain| gain.spread).sum();
        let counted = gained_within(edges_ms[0], edges_ms[count as usize]).unwrap();
        let silence = samples.windows(2).find(|pair| pair[1].0 - pair[0].0 > 3_600_000).unwrap();
        let silence = if silence[1].1 < silence[0].1 { silence[1].1 } else { silence[1].1 - silence[0].1 };
        assert!((spread - (counted - silence)).abs() <= 4.0, "{step}: {spread} of {counted}, {silence}");
        assert!(gains.iter().all(|gain| step > 1 || gain.spread.is_none_or(|spread| spread <= 40.0)));
    }
}
