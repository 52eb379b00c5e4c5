//! Lines that say when they were observed (`|T`): each counts in the window of
//! that time, whatever becomes of the store meanwhile.
//!
//! A plain model keeps each value by its true window; lines go through table,
//! windows and store, with flushes, stalls, restarts and blocks in between.

use proptest::prelude::*;
use statsdeck::aggregate::window::Known;
use statsdeck::aggregate::{Options, Registry, Table, Windows, table};
use statsdeck::catalogue::Catalogue;
use statsdeck::model::label::NAME;
use statsdeck::model::sample::is_stale;
use statsdeck::model::{Matcher, Points, Select, Series, TimeRange};
use statsdeck::protocol::Dialect;
use statsdeck::query::{self, Engine, Source};
use statsdeck::store::{self, MemoryBackend, Store};
use statsdeck::telemetry::{Telemetry, Transport};
use std::collections::BTreeMap;
use std::sync::Arc;

const WINDOW_MS: i64 = 10_000;
const LATENESS_MS: i64 = 60_000;
const SPAN_MS: i64 = 10 * WINDOW_MS;
const START_MS: i64 = 1_700_000_000_000;
const ALL: TimeRange = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };

const OPTIONS: Options = Options {
    interval_ms: WINDOW_MS,
    counter_expire_ms: 30_000,
    gauge_expire_ms: 30_000,
    timer_expire_ms: 30_000,
    set_expire_ms: 30_000,
};

const TABLE: table::Options = table::Options {
    line_bytes_max: 8192,
    labels_max: 32,
    label_bytes_max: 200,
    idle_windows_max: 3,
    spellings_max: 100,
};

/// A daemon without its threads.
struct Life {
    backend: MemoryBackend,
    telemetry: Arc<Telemetry>,
    now_ms: i64,
    parts: Option<Parts>,
}

struct Parts {
    registry: Arc<Registry>,
    tables: [Table; 2],
    windows: Windows,
    store: Arc<Store>,
}

impl Life {
    fn begin() -> Self {
        let (backend, telemetry) = (MemoryBackend::new(), Arc::default());
        let mut life = Life { backend, telemetry, now_ms: START_MS, parts: None };
        life.start();
        life
    }

    fn start(&mut self) {
        let catalogue = Arc::new(Catalogue::new(1000));
        let options = store::Options {
            retention_ms: 1000 * SPAN_MS,
            block_span_ms: SPAN_MS,
            lateness_ms: LATENESS_MS,
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
        let known = known.collect();
        let last_end_ms = recovered.last_end_ms.unwrap_or(self.now_ms).max(self.now_ms);
        let mut windows = Windows::new(OPTIONS, self.telemetry.clone(), known, last_end_ms);
        if recovered.last_end_ms.is_some_and(|end_ms| end_ms < last_end_ms) {
            windows = windows.after_gap();
        }
        let registry = Arc::new(Registry::new(catalogue));
        let table = || {
            Table::new(TABLE, registry.clone(), self.telemetry.clone(), Transport::Udp)
                .with_window(WINDOW_MS, LATENESS_MS)
        };
        let tables = [table(), table()];
        self.parts = Some(Parts { registry, tables, windows, store: Arc::new(store) });
    }

    fn parts(&mut self) -> &mut Parts {
        self.parts.as_mut().unwrap()
    }

    fn store(&mut self) -> Arc<Store> {
        self.parts().store.clone()
    }

    fn line(&mut self, table: usize, line: &str) {
        let now_ms = self.now_ms;
        let refused = |line: &[u8], refusal| panic!("{}: {refusal:?}", String::from_utf8_lossy(line));
        self.parts().tables[table].packet(now_ms, line.as_bytes(), Dialect::Statsd, refused);
    }

    fn flush(&mut self, end_ms: i64) {
        self.now_ms = self.now_ms.max(end_ms);
        let parts = self.parts();
        let partials = parts.tables.iter_mut().map(Table::take).collect();
        let batch = parts.windows.flush(end_ms, parts.registry.take_new(), partials);
        parts.store.append(&batch).unwrap();
    }

    /// Time goes on to the end of the open window, which is closed.
    fn close_window(&mut self) -> (i64, i64) {
        let now_ms = self.now_ms;
        let start_ms = self.parts().windows.last_end_ms();
        let end_ms = self.parts().windows.next_end_ms(now_ms);
        self.flush(end_ms);
        (start_ms, end_ms)
    }

    /// Stops as the daemon does, and starts after a while.
    fn restart(&mut self, down_ms: i64) -> (i64, i64) {
        let start_ms = self.parts().windows.last_end_ms();
        let end_ms = self.now_ms.max(start_ms + 1);
        self.flush(end_ms);
        self.parts = None;
        self.now_ms = end_ms + down_ms;
        self.start();
        (start_ms, end_ms)
    }

    fn maintain(&mut self) -> usize {
        let now_ms = self.now_ms;
        self.parts().store.maintain(now_ms).unwrap().blocks_written
    }

    fn read(&mut self, range: TimeRange) -> Vec<Series> {
        let request =
            Select { matchers: &[], range, step_ms: 0, max_series: usize::MAX, max_points: usize::MAX };
        self.store().select(&request).unwrap()
    }
}

/// What a value would be counted under: the end of the aligned window.
fn aligned(at_ms: i64) -> i64 {
    (at_ms.div_euclid(WINDOW_MS) + 1) * WINDOW_MS
}

/// Values by series and true window.
#[derive(Default)]
struct Model {
    /// Of lines since the last flush: series, value, and the window for late
    /// ones.
    open: Vec<(String, i64, Option<i64>)>,
    /// Windows that were closed.
    windows: Vec<(i64, i64)>,
    values: BTreeMap<(String, i64), Vec<i64>>,
}

impl Model {
    fn line(&mut self, now_ms: i64, name: &str, value: i64, at_ms: Option<i64>) {
        let open_ms = now_ms - now_ms.rem_euclid(WINDOW_MS);
        let late = at_ms.filter(|at_ms| *at_ms < open_ms && *at_ms >= now_ms - LATENESS_MS).map(aligned);
        self.open.push((name.into(), value, late));
    }

    fn close(&mut self, (start_ms, end_ms): (i64, i64)) {
        for (name, value, late) in std::mem::take(&mut self.open) {
            let true_end_ms = match late {
                Some(late_ms) if late_ms <= start_ms => {
                    let cover = self.windows.iter().find(|(start, end)| *start < late_ms && late_ms <= *end);
                    cover.map_or(late_ms, |(_, end_ms)| *end_ms)
                }
                _ => end_ms,
            };
            self.values.entry((name, true_end_ms)).or_default().push(value);
        }
        self.windows.push((start_ms, end_ms));
    }

    /// Values of a series in `(start_ms, end_ms]`, ascending.
    fn between(&self, name: &str, start_ms: i64, end_ms: i64) -> Vec<i64> {
        let of_series = self.values.iter().filter(|((other, _), _)| other == name);
        let mut values: Vec<i64> = of_series
            .filter(|((_, at_ms), _)| start_ms < *at_ms && *at_ms <= end_ms)
            .flat_map(|(_, values)| values.iter().copied())
            .collect();
        values.sort_unstable();
        values
    }

    /// All ends of windows, one of which is before all of them.
    fn boundaries(&self, now_ms: i64) -> Vec<i64> {
        let first_ms = aligned(START_MS) - 20 * WINDOW_MS;
        (0..)
            .map(|at| first_ms + at * WINDOW_MS)
            .take_while(|end_ms| *end_ms < now_ms + 2 * WINDOW_MS)
            .collect()
    }
}

fn check_totals(life: &mut Life, model: &Model, case: &str) {
    let engine = Engine::new(life.store() as Arc<dyn Source>, query::Options::default());
    let boundaries = model.boundaries(life.now_ms);
    for name in ["c0", "c1", "c2"] {
        let found = engine.totals(&[Matcher::equal(NAME, name)], &boundaries).unwrap();
        let found: Vec<f64> = found.into_iter().map(Option::unwrap_or_default).collect();
        let expected: Vec<f64> = boundaries
            .windows(2)
            .map(|ends| model.between(name, ends[0], ends[1]).iter().sum::<i64>() as f64)
            .collect();
        let differ = found.iter().zip(&expected).zip(&boundaries[1..]).find(|((f, e), _)| f != e);
        assert_eq!(differ, None, "{case}: {name}");
    }
    let (first, last) = (boundaries[0], boundaries[boundaries.len() - 1]);
    for name in ["t0", "t1"] {
        let spans = boundaries.len() - 1;
        let found = engine.distribution(&[Matcher::equal(NAME, name)], first, last, spans).unwrap();
        for (ends, found) in boundaries.windows(2).zip(found) {
            let values = model.between(name, ends[0], ends[1]);
            let values = values.iter().map(|value| (*value as f64, 1.0));
            let expected = statsdeck::model::Histogram::from_values(values);
            assert_eq!(found, expected, "{case}: {name} {ends:?}");
        }
    }
    for series in life.read(ALL).iter().filter(|series| series.labels.name().starts_with('s')) {
        let Points::Sketches(found) = &series.points else { panic!("sets are sketches") };
        let of_series = model.values.iter().filter(|((name, _), _)| name == series.labels.name());
        let expected = of_series.map(|((_, at_ms), members)| {
            let mut members = members.clone();
            members.sort_unstable();
            members.dedup();
            (*at_ms, members.len() as f64)
        });
        let found: Vec<(i64, f64)> = found.iter().map(|(at, sketch)| (*at, sketch.count())).collect();
        assert_eq!(found, expected.collect::<Vec<_>>(), "{case}: {}", series.labels);
    }
}

/// All points as text, one a line, bit for bit.
fn dump(series: &[Series], range: TimeRange) -> String {
    let mut text = String::new();
    for series in series {
        let mut points: Vec<(i64, String)> = match &series.points {
            Points::Floats(points) => points
                .iter()
                .map(|s| (s.timestamp_ms, if is_stale(s.value) { "end".into() } else { s.value.to_string() }))
                .collect(),
            Points::Histograms(points) => points.iter().map(|(at, h)| (*at, format!("{h:?}"))).collect(),
            Points::Natives(_) => unreachable!("the store holds none"),
            Points::Sketches(points) => points.iter().map(|(at, s)| (*at, format!("{s:?}"))).collect(),
        };
        points.retain(|(at, _)| range.contains(*at));
        if !points.is_empty() {
            text.push_str(&format!("{}\n", series.labels));
            points.iter().for_each(|(at, point)| text.push_str(&format!("  {} {point}\n", at - START_MS)));
        }
    }
    text
}

#[derive(Clone, Debug)]
enum Step {
    /// Table, series, value, seconds before now.
    Line(usize, u8, i64, Option<i64>),
    Wait(i64),
    Close,
    Silence(u8),
    Restart(i64),
    Kill,
    Maintain,
    Read(i64, i64),
}

fn step() -> impl Strategy<Value = Step> {
    let ago = prop_oneof![1 => Just(None), 4 => (-5i64..75).prop_map(Some)];
    prop_oneof![
        24 => (0usize..2, 0u8..10, 1i64..6, ago).prop_map(|(table, series, value, ago)| Step::Line(table, series, value, ago)),
        4 => (1i64..25_000).prop_map(Step::Wait),
        8 => Just(Step::Close),
        2 => (1u8..9).prop_map(Step::Silence),
        2 => prop_oneof![0i64..2_000, 0i64..70_000].prop_map(Step::Restart),
        1 => Just(Step::Kill),
        2 => Just(Step::Maintain),
        3 => (-20i64..60, 0i64..20).prop_map(|(from, length)| Step::Read(from, length)),
    ]
}

fn run(steps: &[Step]) {
    let (mut life, mut model) = (Life::begin(), Model::default());
    for (number, step) in steps.iter().enumerate() {
        let case = format!("step {number}, {step:?}");
        match step {
            Step::Line(table, series, value, ago) => {
                let at_ms = ago.map(|ago| (life.now_ms.div_euclid(1000) - ago) * 1000);
                let (name, kind) = match series {
                    0..3 => (format!("c{series}"), "c"),
                    3..5 => (format!("t{}", series - 3), "h"),
                    5..7 => (format!("s{}", series - 5), "s"),
                    _ => (format!("g{}", series - 7), "g"),
                };
                let time = at_ms.map(|at_ms| format!("|T{}", at_ms / 1000)).unwrap_or_default();
                life.line(*table, &format!("{name}:{value}|{kind}{time}"));
                model.line(life.now_ms, &name, *value, at_ms);
            }
            // The flush may be late itself.
            Step::Wait(ms) => life.now_ms += ms,
            Step::Close => model.close(life.close_window()),
            Step::Silence(windows) => (0..*windows).for_each(|_| model.close(life.close_window())),
            Step::Restart(down_ms) => {
                // What the stop closes can be read before and after.
                let closed = life.restart(*down_ms);
                model.close(closed);
                let before = dump(&life.read(ALL), ALL);
                life.parts = None;
                life.start();
                assert_eq!(dump(&life.read(ALL), ALL), before, "{case}");
            }
            // What was not flushed is lost.
            Step::Kill => {
                life.parts = None;
                life.backend = life.backend.crashed(number as u64);
                life.start();
                model.open.clear();
            }
            Step::Maintain => {
                let before = dump(&life.read(ALL), ALL);
                life.maintain();
                assert_eq!(dump(&life.read(ALL), ALL), before, "{case}");
                check_totals(&mut life, &model, &case);
            }
            Step::Read(from, length) => {
                let start_ms = aligned(START_MS) + from * WINDOW_MS / 2;
                let range = TimeRange { start_ms, end_ms: start_ms + length * WINDOW_MS / 2 };
                let expected = dump(&life.read(ALL), range);
                assert_eq!(dump(&life.read(range), range), expected, "{case}");
                let mut names: Vec<String> = life.read(range).iter().map(|s| s.labels.to_string()).collect();
                let keys = life.store().series(&[], range, 1000).unwrap();
                let mut found: Vec<String> = keys.iter().map(|key| key.labels.to_string()).collect();
                // A series may be named for a point just outside.
                names.sort();
                found.sort();
                assert!(names.iter().all(|name| found.contains(name)), "{case}: {names:?} {found:?}");
            }
        }
    }
    model.close(life.close_window());
    check_totals(&mut life, &model, "at last");
    let before = dump(&life.read(ALL), ALL);
    for _ in 0..20 {
        life.close_window();
    }
    assert!(life.maintain() > 0);
    let until = TimeRange { end_ms: model.windows.last().unwrap().1, ..ALL };
    assert_eq!(dump(&life.read(until), until), before, "in blocks");
    check_totals(&mut life, &model, "in blocks");
    let stats = life.store().stats();
    assert_eq!(stats.samples_refused + stats.frames_lost + stats.chunks_lost, 0);
}

/// Points of a series as seconds since the start and value.
fn told(life: &mut Life, name: &str) -> Vec<(i64, Option<f64>)> {
    let series = life.read(ALL).into_iter().find(|series| series.labels.name() == name);
    let Some(Points::Floats(points)) = series.map(|series| series.points) else {
        panic!("{name}: no floats")
    };
    let value = |value: f64| (!is_stale(value)).then_some(value);
    points.iter().map(|s| ((s.timestamp_ms - START_MS) / 1000, value(s.value))).collect()
}

#[test]
fn a_gauge_that_always_comes_late_is_drawn_at_its_times() {
    let mut life = Life::begin();
    for window in 0..8 {
        life.now_ms = START_MS + window * WINDOW_MS + 1_000;
        let observed = life.now_ms / 1000 - 30;
        life.line(0, &format!("g:{window}|g|T{observed}"));
        life.close_window();
    }
    let points = told(&mut life, "g");
    // What is not known yet is the value before.
    let expected = [0, 1, 2, 3, 4, 5, 6, 7, 7, 7, 7].into_iter().enumerate();
    let expected: Vec<_> =
        expected.map(|(at, value)| (at as i64 * 10 - 20, Some(f64::from(value)))).collect();
    assert_eq!(points, expected);
}

#[test]
fn a_late_value_of_a_gauge_does_not_undo_a_newer_one() {
    let mut life = Life::begin();
    let start = START_MS / 1000;
    life.line(0, "g:1|g");
    for _ in 0..2 {
        life.close_window();
    }
    life.now_ms += 1;
    life.line(0, "g:5|g");
    // Of the window before, observed in this order: 8, 7.
    life.line(0, &format!("g:7|g|T{}", start + 18));
    life.line(1, &format!("g:8|g|T{}", start + 11));
    life.close_window();
    life.close_window();
    assert_eq!(told(&mut life, "g"), [(10, Some(1.0)), (20, Some(7.0)), (30, Some(5.0)), (40, Some(5.0))]);
    // Not known to be newer: a change counts now.
    life.line(0, &format!("g:+2|g|T{}", start + 15));
    life.close_window();
    assert_eq!(told(&mut life, "g").last(), Some(&(50, Some(7.0))));
    assert_eq!((life.telemetry.lines_backdated.value(), life.telemetry.lines_too_late.value()), (2, 1));
}

#[test]
fn a_gauge_expires_by_the_time_that_it_was_observed() {
    let mut life = Life::begin();
    life.now_ms += 5 * WINDOW_MS + 1;
    life.line(0, &format!("g:3|g|T{}", START_MS / 1000 + 1));
    life.close_window();
    assert_eq!(told(&mut life, "g"), [(60, Some(3.0))], "in the window that was open since then");
    life.now_ms += 4 * WINDOW_MS;
    life.line(0, &format!("h:3|g|T{}", START_MS / 1000 + 55));
    life.close_window();
    assert_eq!(told(&mut life, "h"), [(60, Some(3.0)), (110, None)]);
}

#[test]
fn lines_kept_back_while_it_was_down_count_at_their_times() {
    let mut life = Life::begin();
    life.line(0, "c:1|c");
    life.close_window();
    life.restart(40_000);
    let start = START_MS / 1000;
    life.line(0, &format!("c:2|c|T{}\nc:4|c|T{}\nc:8|c", start + 15, start + 31));
    life.close_window();
    let expected = [(0, 0.0), (10, 1.0), (20, 3.0), (30, 3.0), (40, 7.0), (50, 7.0), (60, 15.0)];
    let mut points = told(&mut life, "c");
    // The stop closed a window of a millisecond.
    points.dedup();
    assert_eq!(points, expected.map(|(at, value)| (at, Some(value))));
}

#[test]
fn what_is_too_late_counts_in_the_open_window_and_apart() {
    let mut life = Life::begin();
    for _ in 0..10 {
        life.close_window();
    }
    let now = life.now_ms / 1000;
    // Too old, just in time, the open window, the future.
    for ago in [61, 60, 0, -100] {
        life.line(0, &format!("c:1|c|T{}", now - ago));
    }
    life.close_window();
    assert_eq!((life.telemetry.lines_backdated.value(), life.telemetry.lines_too_late.value()), (1, 1));
    let points = told(&mut life, "c");
    assert_eq!((points[1], points.last().copied()), ((50, Some(1.0)), Some((110, Some(4.0)))));
    assert_eq!(life.telemetry.lines_unaccounted(), 0);
}

#[test]
fn queries_see_late_values_once_while_blocks_come_and_go() {
    let mut life = Life::begin();
    let done = std::sync::atomic::AtomicBool::new(false);
    let store = life.store();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Acquire) {
                    let request =
                        Select { matchers: &[], range: ALL, step_ms: 0, max_series: 9, max_points: 99_999 };
                    for series in store.select(&request).unwrap() {
                        let Points::Floats(points) = &series.points else { panic!("counters are floats") };
                        // One a window comes in time, two come five windows later.
                        let falls = points.windows(2).find(|pair| pair[0].value > pair[1].value);
                        assert_eq!(falls, None);
                        let rises = points.windows(2).map(|pair| pair[1].value - pair[0].value);
                        assert!(rises.into_iter().all(|rise| rise <= 3.0), "{points:?}");
                    }
                }
            });
        }
        for window in 0..400 {
            life.now_ms = START_MS + window * WINDOW_MS + 1_000;
            life.line(0, "c:1|c");
            if window >= 5 {
                let then = life.now_ms / 1000 - 50;
                life.line(1, &format!("c:2|c|T{then}"));
            }
            life.close_window();
            if window % 3 == 0 {
                life.maintain();
            }
        }
        done.store(true, std::sync::atomic::Ordering::Release);
    });
    assert!(store.stats().blocks > 30);
    let points = told(&mut life, "c");
    // All but the last five windows have their late value.
    let expected = (0..=400).map(|at| (at * 10, Some((at + 2 * at.min(395)) as f64)));
    assert_eq!(points, expected.collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(std::env::var("STATSDECK_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(200)))]

    #[test]
    fn every_value_is_in_its_own_window(steps in prop::collection::vec(step(), 1..120)) {
        run(&steps);
    }
}
