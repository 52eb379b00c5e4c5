//! Tiers: what coarser blocks answer is what the windows answered, while blocks
//! are built, builds are cut short, and the fine ones leave.

use crate::world::{ALL, Dice, Model, SPAN_MS, START_MS, TestStore, WINDOW_MS, World, options};
use statsdeck::model::sample::is_stale;
use statsdeck::model::{
    GaugePart, Grains, Histogram, Labels, MetricType, Points, Sample, Select, Series, SeriesKey, Sketch,
    TimeRange,
};
use statsdeck::query;
use statsdeck::store::backfill::Place;
use statsdeck::store::memory::Fault;
use statsdeck::store::{Maintained, MemoryBackend, Options, Store, Tier};

/// Steps of the tiers; the coarsest is what all of them can be asked at.
const STEPS_MS: [i64; 2] = [2 * WINDOW_MS, 10 * WINDOW_MS];
const STEP_MS: i64 = STEPS_MS[1];

fn tiered() -> Options {
    let tier = |resolution_ms, spans| Tier { resolution_ms, retention_ms: spans * SPAN_MS };
    let tiers = vec![tier(STEPS_MS[0], 24), tier(STEPS_MS[1], 1_000_000)];
    Options { retention_ms: 8 * SPAN_MS, ..options() }.with_tiers(tiers)
}

fn open(backend: &MemoryBackend, options: Options) -> TestStore {
    TestStore::open(options, backend.clone(), START_MS).expect("the store opens").0
}

fn select(store: &Store, range: TimeRange, step_ms: i64, part: GaugePart) -> Vec<Series> {
    let request = Select { matchers: &[], range, step_ms, max_series: usize::MAX, max_points: usize::MAX };
    store.select_at(&request, &Grains { gauge: part, ..Grains::all(step_ms) }).expect("the store can be read")
}

fn in_step<T>(points: &[(i64, T)], end_ms: i64) -> impl Iterator<Item = &T> {
    let within = move |at_ms: i64| end_ms - STEP_MS < at_ms && at_ms <= end_ms;
    points.iter().filter(move |(at_ms, _)| within(*at_ms)).map(|(_, point)| point)
}

fn values(samples: &[Sample]) -> Vec<(i64, f64)> {
    let values = samples.iter().filter(|sample| !is_stale(sample.value));
    values.map(|sample| (sample.timestamp_ms, sample.value)).collect()
}

/// What each series answers for each step that ends in `ends`, as text.
fn answers(series: &[Series], ends: &[i64], part: GaugePart) -> String {
    let mut text = String::new();
    for series in series {
        text.push_str(&format!("{} {:?}\n", series.labels, series.metric_type));
        for end_ms in ends {
            let answer = match &series.points {
                Points::Natives(_) => panic!("a store has none"),
                Points::Floats(samples) if part == GaugePart::Last => {
                    // With its time: a value, or an end.
                    let up_to = samples.iter().rfind(|sample| sample.timestamp_ms <= *end_ms);
                    format!("{:?}", up_to.map(|sample| (sample.timestamp_ms, sample.value.to_bits())))
                }
                Points::Floats(samples) => {
                    let values = values(samples);
                    let of_step = in_step(&values, *end_ms).copied();
                    match part {
                        GaugePart::Min => format!("{:?}", of_step.reduce(f64::min)),
                        _ => format!("{:?}", of_step.reduce(f64::max)),
                    }
                }
                Points::Histograms(points) => {
                    let mut all = Histogram::default();
                    in_step(points, *end_ms).for_each(|histogram| all.merge(histogram));
                    let quantiles = [0.0, 0.5, 0.9, 0.99, 1.0].map(|q| all.quantile(q));
                    format!("{:.3} {:.6} {:.6?} {:?}", all.count, all.sum, quantiles, keys(&all))
                }
                Points::Sketches(points) => {
                    let mut all = Sketch::default();
                    in_step(points, *end_ms).for_each(|sketch| all.merge(sketch));
                    format!("{}", all.count())
                }
            };
            text.push_str(&format!("  {end_ms} {answer}\n"));
        }
    }
    text
}

fn keys(histogram: &Histogram) -> Vec<(i32, i64)> {
    let weight = |weight: f64| (weight * 1e6).round() as i64;
    histogram.buckets().iter().map(|(key, w)| (key.0, weight(*w))).collect()
}

/// All that was received is answered at every step, in every part of the time.
fn check(store: &Store, model: &Model, range: TimeRange, case: &str) {
    let ends: Vec<i64> =
        (range.start_ms / STEP_MS + 1..=range.end_ms / STEP_MS).map(|k| k * STEP_MS).collect();
    let expected = model.series(range);
    for step_ms in [0, WINDOW_MS, STEPS_MS[0], STEPS_MS[1], 3 * STEPS_MS[1]] {
        for part in [GaugePart::Last, GaugePart::Min, GaugePart::Max] {
            let is_asked =
                |series: &&Series| part == GaugePart::Last || series.metric_type == Some(MetricType::Gauge);
            let found = select(store, range, step_ms, part);
            let found: Vec<Series> = found.iter().filter(is_asked).cloned().collect();
            let expected: Vec<Series> = expected.iter().filter(is_asked).cloned().collect();
            let (found, expected) = (answers(&found, &ends, part), answers(&expected, &ends, part));
            if found != expected {
                let differs = found.lines().zip(expected.lines()).find(|(a, b)| a != b);
                panic!("{case}, {range:?} at {step_ms} ms, {part:?}: found and expected {differs:?}");
            }
        }
    }
}

/// Where counters begin, and what they had counted at the end.
fn check_totals(store: &Store, model: &Model, case: &str) {
    let totals = |series: Vec<Series>| -> Vec<String> {
        let of_counter = |series: &Series| {
            let Points::Floats(samples) = &series.points else { return None };
            let values = values(samples);
            let (first, last) = (values.first()?, values.last()?);
            Some(format!("{} from {first:?} to {last:?}", series.labels))
        };
        let counters = series.iter().filter(|series| series.metric_type == Some(MetricType::Counter));
        counters.filter_map(of_counter).collect()
    };
    let expected = totals(model.series(ALL));
    for step_ms in [0, STEP_MS] {
        assert_eq!(totals(select(store, ALL, step_ms, GaugePart::Last)), expected, "{case}");
    }
}

fn steps_of(dice: &mut Dice, end_ms: i64) -> TimeRange {
    let steps = ((end_ms - START_MS) / STEP_MS).max(1) as u64;
    let first = START_MS / STEP_MS + dice.roll(steps) as i64;
    let last = (first + 1 + dice.roll(40) as i64).min(end_ms / STEP_MS).max(first + 1);
    TimeRange { start_ms: first * STEP_MS + 1, end_ms: last * STEP_MS }
}

fn simulate(seed: u64) {
    let mut dice = Dice::new(seed);
    let mut backend = MemoryBackend::new();
    let (mut world, mut model) = (World::new(seed, 10), Model::default());
    let mut store = open(&backend, tiered());
    for round in 0..60 {
        let case = format!("seed {seed}, round {round}");
        for _ in 0..dice.roll(60) {
            let gap = if dice.roll(40) == 0 { dice.roll(150) as i64 } else { 0 };
            let window = world.window(gap);
            store.append(&window).unwrap();
            model.apply(&window);
        }
        let is_hit = dice.roll(3) == 0;
        if is_hit {
            let fault = [Fault::Fail, Fault::Tear, Fault::Deny][dice.roll(3) as usize];
            backend.fail_at(backend.operations() + dice.roll(40), fault, dice.roll(2) == 0);
        }
        for _ in 0..dice.roll(4) {
            let done = store.maintain(world.end_ms);
            assert!(is_hit || done.is_ok(), "{case}: {done:?}");
        }
        if dice.roll(4) == 0 {
            drop(store);
            backend.heal();
            // Killed, or without power.
            backend = if dice.roll(2) == 0 { backend.crashed(dice.roll(1 << 40)) } else { backend };
            store = open(&backend, tiered());
        }
        backend.heal();
        check(&store, &model, steps_of(&mut dice, world.end_ms), &case);
    }
    while store.maintain(world.end_ms).unwrap().blocks_built > 0 {}
    let case = format!("seed {seed}, at the end");
    let end_ms = world.end_ms / STEP_MS * STEP_MS;
    check(&store, &model, TimeRange { start_ms: START_MS / STEP_MS * STEP_MS - STEP_MS + 1, end_ms }, &case);
    check_totals(&store, &model, &case);
    let stats = store.stats();
    assert_eq!(stats.frames_lost + stats.blocks_lost + stats.chunks_lost, 0, "{case}");
}

#[test]
fn every_tier_answers_what_the_windows_did_through_builds_that_are_cut_short() {
    let seeds = std::env::var("STATSDECK_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    for seed in 1..=seeds {
        simulate(seed);
    }
}

/// `spans` full spans in blocks, of which the tiers are built.
fn filled(backend: &MemoryBackend, options: Options, spans: i64) -> (TestStore, World, Model) {
    let (store, mut world, mut model) = (open(backend, options), World::new(3, 8), Model::default());
    for _ in 0..spans * SPAN_MS / WINDOW_MS {
        let window = world.window(0);
        store.append(&window).unwrap();
        model.apply(&window);
    }
    while store.maintain(world.end_ms).unwrap() != Maintained::default() {}
    (store, world, model)
}

#[test]
fn fine_blocks_leave_by_age_and_the_oldest_of_the_finest_for_want_of_room() {
    let backend = MemoryBackend::new();
    let (store, world, _) = filled(&backend, tiered(), 60);
    let count = |of: &str| {
        let files = backend.files().into_iter().map(|(path, _)| path.display().to_string());
        files.filter(|path| path.contains(&format!("block-{of}-"))).count()
    };
    // 8 spans of windows, 24 of steps of 20 s; 4 of windows make a block of those, 12 one of the coarsest.
    let found = (count("0"), count("20s"), count("1m40s"));
    assert!((8..=12).contains(&found.0) && (6..=9).contains(&found.1) && found.2 >= 4, "{found:?}");
    let bytes = store.stats().block_bytes + store.stats().wal_bytes;
    drop(store);

    let small = Options { max_bytes: Some(bytes * 3 / 4), ..tiered() };
    let store = open(&backend, small);
    store.maintain(world.end_ms).unwrap();
    let stats = store.stats();
    assert!(stats.block_bytes + stats.wal_bytes <= bytes * 3 / 4);
    assert!(count("0") < found.0 && count("1m40s") == found.2, "the finest go first");
}

#[test]
fn with_little_room_coarse_steps_of_new_time_take_the_place_of_the_oldest() {
    let backend = MemoryBackend::new();
    let (store, mut world, mut model) = filled(&backend, tiered(), 120);
    let bytes = |of: &str| -> u64 {
        let files = backend.files().into_iter().filter(|(path, _)| path.display().to_string().contains(of));
        files.map(|(_, bytes)| bytes.len() as u64).sum()
    };
    // For what is coarse, the log, and one or two blocks of windows.
    let max_bytes = bytes("block-1m40s-") + bytes("wal-") + bytes("block-0-") / 6;
    drop(store);
    let store = open(&backend, Options { max_bytes: Some(max_bytes), ..tiered() });
    store.catalogue.restore(model.named(), 0);
    let bounded_ms = world.end_ms;
    for at in 0..120 * SPAN_MS / WINDOW_MS {
        let window = world.window(0);
        store.append(&window).unwrap();
        model.apply(&window);
        if at % 5 == 0 {
            store.maintain(world.end_ms).unwrap();
            assert!(store.stats().block_bytes + store.stats().wal_bytes <= max_bytes);
        }
    }
    let range =
        TimeRange { start_ms: bounded_ms + 30 * SPAN_MS + 1, end_ms: world.end_ms / STEP_MS * STEP_MS };
    check(&store, &model, range, "new");
    let oldest = TimeRange { start_ms: START_MS, end_ms: START_MS + 12 * SPAN_MS };
    assert!(select(&store, oldest, STEP_MS, GaugePart::Last).is_empty(), "the oldest makes room");
}

#[test]
fn the_past_is_not_filled_where_a_coarser_tier_would_hide_it() {
    let backend = MemoryBackend::new();
    let (store, mut world, _) = filled(&backend, Options { retention_ms: 1000 * SPAN_MS, ..tiered() }, 4);
    // Nothing for twenty spans; coarser blocks reach into that time.
    for at in 0..60 * SPAN_MS / WINDOW_MS {
        store.append(&world.window(if at == 0 { 20 * SPAN_MS / WINDOW_MS } else { 0 })).unwrap();
    }
    while store.maintain(world.end_ms).unwrap() != Maintained::default() {}
    let mut hidden = 0;
    for span in 6..22 {
        let end_ms = store.span_end(START_MS + span * SPAN_MS);
        if store.place(end_ms, world.end_ms) != Place::Free {
            hidden += 1;
            continue;
        }
        let samples = vec![Sample { timestamp_ms: end_ms, value: 7.0 }];
        let key = SeriesKey { labels: Labels::of_name("past"), metric_type: MetricType::Gauge };
        let id = store.catalogue.register(key).unwrap();
        let mut part = Some(vec![(id, samples)]);
        store.backfill::<statsdeck::store::Error>(end_ms, || Ok(part.take())).unwrap();
        let range = TimeRange { start_ms: end_ms - STEP_MS + 1, end_ms };
        assert!(!select(&store, range, STEP_MS, GaugePart::Last).is_empty(), "span {span}");
    }
    assert!(hidden > 0, "no coarser tier reaches there");
}

#[test]
fn a_tier_that_is_taken_out_or_added_costs_nothing_that_was_there() {
    let backend = MemoryBackend::new();
    let (store, world, model) = filled(&backend, tiered(), 60);
    let range = TimeRange { start_ms: START_MS + 1, end_ms: world.end_ms / STEP_MS * STEP_MS };
    drop(store);
    // The coarse ones out.
    let store = open(&backend, Options { tiers: Vec::new(), ..tiered() });
    store.maintain(world.end_ms).unwrap();
    check(&store, &model, range, "taken out");
    drop(store);
    // Others in.
    let tiers = vec![Tier { resolution_ms: 5 * WINDOW_MS, retention_ms: 1_000_000 * SPAN_MS }];
    let store = open(&backend, Options { tiers, ..tiered() });
    while store.maintain(world.end_ms).unwrap() != Maintained::default() {}
    check(&store, &model, range, "others");
}

#[test]
fn a_value_is_found_at_any_time_where_only_coarse_steps_are_left() {
    let backend = MemoryBackend::new();
    let (store, ..) = filled(&backend, tiered(), 60);
    let options = query::Options { lookback_ms: WINDOW_MS, ..query::Options::default() };
    let engine = query::Engine::new(std::sync::Arc::new(store.store), options);
    let count =
        |at_ms| match engine.instant("count(count_over_time({host=~\".+\"}[200s]))", at_ms).unwrap().value {
            query::Value::Vector(points) => points.len(),
            other => panic!("{other:?}"),
        };
    let at_ms = START_MS + 5 * STEP_MS + 3 * WINDOW_MS;
    assert_eq!(count(at_ms), 1);
    let value = engine.instant("{host=~\".+\"}", at_ms).unwrap().value;
    assert!(matches!(value, query::Value::Vector(points) if !points.is_empty()));
}

/// `cargo test --test store -- --ignored --nocapture bytes_of_each_tier`
#[test]
#[ignore = "prints figures"]
fn bytes_of_each_tier() {
    let backend = MemoryBackend::new();
    let tier = |resolution_ms, days: i64| Tier { resolution_ms, retention_ms: days * 86_400_000 };
    let options = Options::new("/data").with_tiers(vec![tier(60_000, 30), tier(900_000, 730)]);
    filled(&backend, options, 8 * 86_400_000 / SPAN_MS);
    for (name, points_a_day) in [("0", 8_640.0), ("1m", 1_440.0), ("15m", 96.0)] {
        let files = backend.files();
        let blocks =
            files.iter().filter(|(path, _)| path.display().to_string().contains(&format!("block-{name}-")));
        let (blocks, bytes) = blocks.fold((0, 0), |(n, bytes), (_, file)| (n + 1, bytes + file.len()));
        println!("{name}: {blocks} blocks, {bytes} bytes; a series of a day has {points_a_day} points");
    }
}
