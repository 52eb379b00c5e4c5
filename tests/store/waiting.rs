//! Windows that the disk does not take are read as if it had, each once, while
//! they wait, as one after the other is written, and after that.

use crate::world::{ALL, Dice, Model, SPAN_MS, START_MS, TestStore, WINDOW_MS, Window, World};
use crate::world::{dump, open, read};
use statsdeck::model::{Labels, Matcher, Select, TimeRange};
use statsdeck::store::memory::Fault;
use statsdeck::store::{Error, MemoryBackend};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// All that can be asked answers as the model.
fn check(store: &TestStore, model: &Model, dice: &mut Dice, case: &str) {
    assert_eq!(dump(&read(store, ALL)), dump(&model.series(ALL)), "{case}");
    for _ in 0..4 {
        let end_ms =
            model.last_end_ms.unwrap_or(START_MS) + WINDOW_MS - dice.roll(8 * WINDOW_MS as u64) as i64;
        let range = TimeRange { start_ms: end_ms - dice.roll(2 * SPAN_MS as u64) as i64, end_ms };
        let expected = model.series(range);
        assert_eq!(dump(&read(store, range)), dump(&expected), "{case}: {range:?}");
        // A listing may name a series that has points beside the range, never less.
        let listed = store.series(&[], range, usize::MAX).unwrap();
        let listed: BTreeSet<Labels> = listed.into_iter().map(|key| key.labels).collect();
        assert!(expected.iter().all(|series| listed.contains(&series.labels)), "{case}: {range:?}");
    }
    let all = model.series(ALL);
    let (mut visited, mut times) = (BTreeSet::new(), 0);
    let visit = |key: statsdeck::model::SeriesKey| {
        visited.insert(key.labels);
        times += 1;
        true
    };
    store.each_series(&[], ALL, visit).unwrap();
    assert_eq!((visited.len(), times), (all.len(), all.len()), "{case}: each once");
    for id in model.present(i64::MIN) {
        assert!(store.present().has(id), "{case}: {id:?} may be forgotten");
    }
    if let Some(series) = all.get(dice.roll(all.len().max(1) as u64) as usize) {
        let host = Matcher::equal("host", series.labels.get("host").unwrap_or_default());
        let request = Select {
            matchers: &[host],
            range: ALL,
            step_ms: 0,
            max_series: 1,
            // A point at a seam counts on both sides.
            max_points: 2 * series.points.weight_from(0),
        };
        assert_eq!(dump(&store.select(&request).unwrap()), dump(std::slice::from_ref(series)), "{case}");
        let points = Select { max_points: request.max_points / 2 - 1, ..request };
        assert!(matches!(store.select(&points), Err(Error::Limit { what: "points", .. })), "{case}");
    }
    let request =
        Select { matchers: &[], range: ALL, step_ms: 0, max_series: all.len() - 1, max_points: usize::MAX };
    assert!(matches!(store.select(&request), Err(Error::Limit { what: "series", .. })), "{case}");
}

fn held(store: &TestStore, window: &Window) {
    assert!(store.append(window).is_err(), "the disk takes it");
    store.hold(Arc::new(window.batch.clone()));
    // Once more is once.
    store.hold(Arc::new(window.batch.clone()));
}

#[test]
fn what_waits_is_read_once_before_while_and_after_it_is_written() {
    for seed in 0..8 {
        let (disk, mut dice) = (MemoryBackend::new(), Dice::new(seed));
        let (store, _) = open(&disk);
        let (mut world, mut model) = (World::new(seed, 24), Model::default());
        for round in 0..4 {
            for _ in 0..dice.roll(14) {
                let window = world.window(0);
                store.append(&window).unwrap();
                model.apply(&window);
            }
            let _ = store.maintain(world.end_ms);
            disk.fail_at(0, Fault::ALL[dice.roll(4) as usize], true);
            let mut waiting = VecDeque::new();
            for at in 0..1 + dice.roll(14) {
                let window = world.window(0);
                held(&store, &window);
                model.apply(&window);
                check(&store, &model, &mut dice, &format!("seed {seed}, round {round}, {at} waits"));
                waiting.push_back(window);
            }
            disk.heal();
            while let Some(window) = waiting.pop_front() {
                store.append(&window).unwrap();
                let case = format!("seed {seed}, round {round}, {} wait", waiting.len());
                check(&store, &model, &mut dice, &case);
            }
        }
        drop(store);
        let (store, recovered) = open(&disk);
        assert_eq!(recovered.last_end_ms, model.last_end_ms);
        assert_eq!(dump(&read(&store, ALL)), dump(&model.series(ALL)), "seed {seed}: after a restart");
    }
}

#[test]
fn a_reader_beside_the_writer_finds_each_window_once() {
    let disk = MemoryBackend::new();
    let (store, _) = open(&disk);
    let mut world = World::new(5, 24);
    let first = world.window(0);
    store.append(&first).unwrap();
    let mut model = Model::default();
    model.apply(&first);
    for _ in 0..20 {
        disk.fail_at(0, Fault::Fail, true);
        let windows: Vec<Window> = (0..6).map(|_| world.window(0)).collect();
        windows.iter().for_each(|window| held(&store, window));
        windows.iter().for_each(|window| model.apply(window));
        let expected = dump(&model.series(ALL));
        disk.heal();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| windows.iter().for_each(|window| store.append(window).unwrap()));
            while !writer.is_finished() {
                assert_eq!(dump(&read(&store, ALL)), expected);
            }
        });
    }
}

#[test]
fn what_is_given_up_and_what_comes_too_late_is_not_read() {
    let disk = MemoryBackend::new();
    let (store, _) = open(&disk);
    let mut world = World::new(3, 24);
    let windows: Vec<Window> = (0..4).map(|_| world.window(0)).collect();
    store.append(&windows[1]).unwrap();
    let before = dump(&read(&store, ALL));
    store.hold(Arc::new(windows[0].batch.clone()));
    store.hold(Arc::new(windows[1].batch.clone()));
    assert_eq!(dump(&read(&store, ALL)), before, "neither is after what was written");
    disk.fail_at(0, Fault::Fail, true);
    windows[2..].iter().for_each(|window| held(&store, window));
    store.let_go(windows[2].end_ms);
    let after = TimeRange { start_ms: windows[1].end_ms + 1, end_ms: windows[2].end_ms };
    assert!(read(&store, after).iter().all(|series| {
        // Where a counter of the newest window begins anew is all that is there.
        series.points.len() == 1
    }));
    store.let_go(windows[3].end_ms);
    assert_eq!(dump(&read(&store, ALL)), before);
}
