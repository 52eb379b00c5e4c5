//! Random windows, upkeep and restarts: the store and a plain map agree.

use crate::world::{ALL, Model, SPAN_MS, START_MS, TestStore, WINDOW_MS, Window, World, dump, open, read};
use proptest::prelude::*;
use statsdeck::model::label::NAME;
use statsdeck::model::{
    FlushBatch, Histogram, Labels, Matcher, MetricType, Select, Series, SeriesId, SeriesKey, Sketch,
    TimeRange,
};
use statsdeck::query::{Source, SourceError};
use statsdeck::store::MemoryBackend;

#[derive(Clone, Debug)]
enum Step {
    Windows(u8),
    Gap(u8),
    Maintain,
    Restart,
    Read(u8, u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1u8..8).prop_map(Step::Windows),
        1 => (1u8..30).prop_map(Step::Gap),
        2 => Just(Step::Maintain),
        2 => Just(Step::Restart),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(from, length)| Step::Read(from, length)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn what_was_appended_is_read_back(seed: u64, steps in prop::collection::vec(step(), 1..30)) {
        let backend = MemoryBackend::new();
        let (mut world, mut model) = (World::new(seed, 12), Model::default());
        let (mut store, _) = open(&backend);
        for step in steps {
            match step {
                Step::Windows(count) => for _ in 0..count {
                    let batch = world.window(0);
                    store.append(&batch).unwrap();
                    model.apply(&batch);
                },
                Step::Gap(windows) => {
                    let batch = world.window(i64::from(windows));
                    store.append(&batch).unwrap();
                    model.apply(&batch);
                }
                Step::Maintain => { store.maintain(world.end_ms).unwrap(); }
                Step::Restart => {
                    drop(store);
                    let (again, recovered) = open(&backend);
                    store = again;
                    prop_assert_eq!(recovered.last_end_ms, model.last_end_ms);
                    let last: Vec<_> =
                        recovered.series.iter().filter_map(|s| Some((s.id, (s.last?, s.ended)))).collect();
                    prop_assert_eq!(last, model.last().into_iter().collect::<Vec<_>>());
                }
                Step::Read(from, length) => {
                    let start_ms = START_MS + i64::from(from) * WINDOW_MS;
                    let range = TimeRange { start_ms, end_ms: start_ms + i64::from(length) * 5_000 };
                    prop_assert_eq!(dump(&read(&store, range)), dump(&model.series(range)));
                }
            }
        }
        prop_assert_eq!(dump(&read(&store, ALL)), dump(&model.series(ALL)));
        let stats = store.stats();
        prop_assert_eq!(stats.frames_lost + stats.chunks_lost + stats.blocks_lost + stats.tails_cut, 0);
        prop_assert_eq!(stats.samples_refused, 0);
    }
}

/// 35 windows of which the first are in blocks.
fn filled() -> (TestStore, Model) {
    let (mut world, mut model) = (World::new(7, 40), Model::default());
    let (store, _) = open(&MemoryBackend::new());
    for _ in 0..35 {
        let batch = world.window(0);
        store.append(&batch).unwrap();
        model.apply(&batch);
    }
    let done = store.maintain(world.end_ms).unwrap();
    assert!(done.blocks_written >= 3, "{done:?}");
    (store, model)
}

fn check(matchers: &[Matcher]) {
    let (store, model) = filled();
    let request = Select { matchers, range: ALL, step_ms: 0, max_series: 99, max_points: 99_999 };
    let expected: Vec<Series> = model
        .series(ALL)
        .into_iter()
        .filter(|series| matchers.iter().all(|matcher| matcher.matches(&series.labels)))
        .collect();
    assert!(!expected.is_empty(), "{matchers:?} selects nothing: a test of nothing");
    assert_eq!(dump(&store.select(&request).unwrap()), dump(&expected), "{matchers:?}");
    let keys = store.series(matchers, ALL, 99).unwrap();
    assert!(keys.iter().map(|key| &key.labels).eq(expected.iter().map(|series| &series.labels)));
    for windows in [0, 3, 20, 40] {
        let range = TimeRange { start_ms: START_MS, end_ms: START_MS + windows * WINDOW_MS };
        let mut visited = Vec::new();
        store
            .each_series(matchers, range, |key| {
                visited.push(key);
                true
            })
            .unwrap();
        visited.sort();
        assert_eq!(visited, store.series(matchers, range, 99).unwrap(), "{windows} windows");
    }
}

#[test]
fn selectors_mean_the_same_in_head_and_blocks() {
    check(&[Matcher::equal(NAME, "etl.counter.0")]);
    check(&[Matcher::equal(NAME, "etl_counter_0")]);
    check(&[Matcher::regex(NAME, "etl_(set|gauge).*").unwrap(), Matcher::not_equal("host", "web-1")]);
    check(&[Matcher::regex("host", "web-[1-5]").unwrap()]);
    check(&[Matcher::equal("host", "web-2")]);
}

#[test]
fn limits_hold() {
    let (store, model) = filled();
    let everything = model.series(ALL);
    let points: usize = everything.iter().map(|series| series.points.weight_from(0)).sum();
    let request = |max_series, max_points| {
        store.select(&Select { matchers: &[], range: ALL, step_ms: 0, max_series, max_points })
    };
    // A point that another one replaced at a seam counts, too: there are few.
    let seams = everything.len() * 3;
    assert_eq!(request(everything.len(), points + seams).unwrap().len(), everything.len());
    let error = request(everything.len() - 1, points + seams).unwrap_err().to_string();
    assert!(error.contains("more than") && error.contains("series"), "{error}");
    let error = request(everything.len(), points - 1).unwrap_err().to_string();
    assert!(error.contains("points"), "{error}");
    assert!(store.series(&[], ALL, everything.len() - 1).is_err());
}

#[test]
fn a_distribution_counts_by_its_size() {
    let (store, _) = open(&MemoryBackend::new());
    let key = |name, metric_type| SeriesKey { labels: Labels::of_name(name), metric_type };
    let mut sketch = Sketch::default();
    (0..1000u32).for_each(|member| sketch.insert(&member.to_le_bytes()));
    let values = (0..1000).map(|value| (f64::from(value * value), 1.0));
    store
        .append(&Window {
            named: vec![
                (SeriesId(0), key("timer", MetricType::Timer)),
                (SeriesId(1), key("set", MetricType::Set)),
            ],
            batch: FlushBatch {
                start_ms: START_MS,
                end_ms: START_MS + WINDOW_MS,
                timers: vec![(SeriesId(0), Histogram::from_values(values))],
                sets: vec![(SeriesId(1), sketch)],
                ..FlushBatch::default()
            },
        })
        .unwrap();
    for name in ["timer", "set"] {
        let matchers = [Matcher::equal(NAME, name)];
        let read = |max_points| {
            store.select(&Select { matchers: &matchers, range: ALL, step_ms: 0, max_series: 9, max_points })
        };
        assert!(read(100).is_err(), "{name}: one point, but more than 1.6 kB");
        assert_eq!(read(2_000).unwrap().len(), 1, "{name}");
    }
}

#[test]
fn the_engine_reads_it_as_any_source() {
    let (store, model) = filled();
    let source: &dyn Source = &store.store;
    let request = Select { matchers: &[], range: ALL, step_ms: 0, max_series: 99, max_points: 99_999 };
    assert_eq!(dump(&source.select(&request).unwrap()), dump(&model.series(ALL)));
    let error = source.select(&Select { max_series: 1, ..request }).unwrap_err();
    assert!(matches!(error, SourceError::Limit { what: "series", limit: 1 }), "{error}");
    assert_eq!(source.series(&[], ALL, 99).unwrap().len(), model.series(ALL).len());
}

#[test]
fn a_time_without_points_has_no_series() {
    let (store, model) = filled();
    let end_ms = model.last_end_ms.unwrap();
    let after = TimeRange { start_ms: end_ms + 1, end_ms: end_ms + SPAN_MS };
    assert!(read(&store, after).is_empty());
    assert!(store.series(&[], after, 99).unwrap().is_empty());
}
