//! One directory through many lives: opened, written to, kept, queried and shot,
//! and after each step compared with the plain model.

use crate::answers::{STEP_MS, answers, extents, select, values};
use crate::files::{DAMAGED, Files, Known, check_tidy};
use crate::known::Model;
use crate::simulation::random_options;
use crate::unread::{GIVEN_UP_AT, damaged};
use crate::world::{ALL, Dice, SPAN_MS, START_MS, TestStore, WINDOW_MS, Window, World, dump};
use statsdeck::model::{GaugePart, MetricType, Points, Series, TimeRange};
use statsdeck::store::memory::Fault;
use statsdeck::store::{Error, Maintained, MemoryBackend, Options, Recovered};
use std::collections::VecDeque;

const LIVES: usize = 6;
const SERIES: usize = 8;
/// Steps that are asked at.
const ASKED_MS: [i64; 6] = [0, WINDOW_MS, 2 * WINDOW_MS, 5 * WINDOW_MS, STEP_MS, 3 * STEP_MS];

/// See the module's head.
pub struct Run {
    seed: u64,
    case: String,
    dice: Dice,
    backend: MemoryBackend,
    world: World,
    options: Options,
    options_change: bool,
    clock_ms: i64,
    /// What the store may know: all that was acknowledged, or the window in
    /// flight besides.
    possible: Vec<Model>,
    known: Known,
    /// Places of the log were lost: how far a series had come may be told from
    /// before.
    has_lost: bool,
    /// The power was cut, which may bring dropped blocks back, and not the last.
    was_cut: bool,
}

impl Run {
    pub fn new(seed: u64) -> Run {
        let mut dice = Dice::new(seed);
        let lateness_ms = [0, 3 * WINDOW_MS, SPAN_MS, 2 * SPAN_MS][dice.roll(4) as usize];
        let options = random_options(seed, &mut dice).with_lateness(lateness_ms);
        Run {
            seed,
            case: format!("seed {seed}"),
            backend: MemoryBackend::new(),
            world: World::new(seed, SERIES).with_late(lateness_ms),
            options,
            options_change: dice.roll(2) == 0,
            clock_ms: START_MS,
            possible: vec![Model::default()],
            known: Known { windows_ms: i64::MIN, steps_ms: i64::MIN },
            has_lost: false,
            was_cut: false,
            dice,
        }
    }

    /// Random lives.
    pub fn run(mut self) {
        for life in 0..LIVES {
            self.case = format!("seed {}, life {life}", self.seed);
            if self.options_change && self.dice.roll(2) == 0 {
                let lateness_ms = self.options.lateness_ms;
                self.options = random_options(self.seed, &mut self.dice).with_lateness(lateness_ms);
            }
            self.life();
            self.backend.heal();
            // Killed, or without power.
            if self.dice.roll(2) == 0 {
                self.was_cut = true;
                self.backend = self.backend.crashed(self.dice.roll(1 << 40));
            }
        }
    }

    fn life(&mut self) {
        let is_hit = self.dice.roll(3) == 0;
        if is_hit {
            self.begin_fault(20);
        }
        let opened = TestStore::open(self.options.clone(), self.backend.clone(), self.clock_ms);
        self.backend.heal();
        let (store, recovered) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                assert!(is_hit, "{}: {error}", self.case);
                return;
            }
        };
        let mut model = self.begin(&store, &recovered, is_hit);
        self.live(&store, &mut model);
    }

    /// The model that the store agrees with when it is opened.
    fn begin(&mut self, store: &TestStore, recovered: &Recovered, is_hit: bool) -> Model {
        let newest_ms = recovered.last_end_ms.unwrap_or(self.clock_ms).min(self.clock_ms);
        self.known.move_horizon(&self.options, newest_ms);
        let mut model = self.found(store, is_hit);
        model.sealed_ms = Files::of(&self.backend).sealed_ms();
        self.world.sealed_ms = model.sealed_ms;
        self.check_recovered(store, recovered, &model);
        if self.has_lost {
            let counters = recovered.series.iter().filter_map(|series| Some((series.id, series.last?)));
            counters.for_each(|(id, total)| model.go_on_from(id, total, self.known.windows_ms));
        }
        self.world.resume(recovered, &store.catalogue);
        model
    }

    /// The model that the store agrees with.
    fn found(&mut self, store: &TestStore, is_hit: bool) -> Model {
        let losses = losses(store);
        assert!(is_hit || losses == 0, "{}: {losses} losses", self.case);
        let mut differs = String::new();
        for model in std::mem::take(&mut self.possible) {
            match self.check_windows(store, &model) {
                Ok(()) => return model,
                Err(text) => differs.push_str(&text),
            }
        }
        panic!("{}: {differs}", self.case);
    }

    fn check_recovered(&self, store: &TestStore, recovered: &Recovered, model: &Model) {
        let case = &self.case;
        assert_eq!(recovered.last_end_ms, model.last_end_ms, "{case}");
        let last = model.last();
        let (present, valued) = (model.present(self.known.steps_ms), model.valued(self.known.steps_ms));
        for series in &recovered.series {
            let key = store.catalogue.series(series.id);
            assert_eq!(key.as_ref(), model.keys.get(&series.id), "{case}: {:?}", series.id);
            let Some(value) = series.last else { continue };
            // Of what is over or was lost an older value may be known.
            if (self.has_lost || self.was_cut) && !valued.contains(&series.id) {
                continue;
            }
            let (expected, ended) = last[&series.id];
            assert_eq!((value, series.ended), (expected, ended), "{case}: last of {key:?}");
        }
        for id in present {
            let series = recovered.series.iter().find(|series| series.id == id);
            let is_float = matches!(model.keys[&id].metric_type, MetricType::Counter | MetricType::Gauge);
            let is_there = series.is_some_and(|series| !is_float || series.last.is_some());
            assert!(is_there, "{case}: {:?} is forgotten: {series:?}", model.keys[&id]);
        }
    }

    /// Two lives with a script: the first meets `fault` and ends without power,
    /// the second goes on. Answers how many operations and reads the first had.
    pub fn scripted(mut self, options: &Options, fault: impl Fn(&MemoryBackend)) -> (u64, u64) {
        self.options = options.clone();
        fault(&self.backend);
        let mut counts = (0, 0);
        for life in 0..2 {
            let opened = TestStore::open(self.options.clone(), self.backend.clone(), self.clock_ms);
            let may_fail = life == 0;
            if let Ok((store, recovered)) = opened {
                let mut model = self.begin(&store, &recovered, may_fail);
                self.write_and_keep(&store, &mut model, may_fail);
            }
            counts = if may_fail { (self.backend.operations(), self.backend.reads()) } else { counts };
            self.backend.heal();
            if may_fail {
                self.was_cut = true;
                self.backend = self.backend.crashed(self.seed);
            }
        }
        counts
    }

    fn write_and_keep(&mut self, store: &TestStore, model: &mut Model, may_fail: bool) {
        let mut waiting: VecDeque<Window> = VecDeque::new();
        let mut tried = false;
        for at in 0..44 {
            let gap = i64::from(at == 17) * 4;
            waiting.push_back(self.world.window(gap));
            self.clock_ms = self.world.end_ms;
            tried = !self.write(store, model, &mut waiting, may_fail);
            if at % 6 == 5 {
                self.maintain(store, model, may_fail);
            }
        }
        self.end(store, model, &waiting, tried, may_fail);
    }

    fn live(&mut self, store: &TestStore, model: &mut Model) {
        let mut waiting: VecDeque<Window> = VecDeque::new();
        let mut tried = false;
        let (mut may_fail, mut may_miss, mut was_hit) = (false, false, false);
        for _ in 0..self.dice.roll(40) {
            match self.dice.roll(20) {
                0 => {
                    may_miss |= self.begin_fault(40);
                    (may_fail, was_hit) = (true, true);
                }
                1 => {
                    let room = self.backend.used_bytes() + self.dice.roll(4_000) as usize;
                    self.backend.set_room(room);
                    (may_fail, was_hit) = (true, true);
                }
                2 => {
                    self.backend.heal();
                    may_fail = false;
                }
                3 => self.jump(),
                10 if self.dice.roll(4) == 0 => {
                    may_miss |= self.lose_place(store, model);
                    (may_fail, was_hit) = (false, true);
                }
                4..=7 => self.maintain(store, model, may_fail),
                8 | 9 => {
                    let found = self.check_some(store, model);
                    if let Err(error) = found.map_err(|error| self.told(&error))
                        && !may_miss
                    {
                        panic!("{error}");
                    }
                }
                _ => {
                    for _ in 0..=self.dice.roll(8) {
                        let ahead_ms = self.clock_ms - self.world.end_ms;
                        waiting.push_back(self.world.window((ahead_ms / WINDOW_MS).max(0)));
                        self.clock_ms += WINDOW_MS;
                        tried = !self.write(store, model, &mut waiting, may_fail);
                    }
                }
            }
        }
        self.backend.heal();
        if self.dice.roll(2) == 0 {
            tried = !self.write(store, model, &mut waiting, false);
            let mut rounds = 0;
            while self.maintain_once(store, model).expect("no fault") != Maintained::default() {
                rounds += 1;
                let (files, options) = (Files::of(&self.backend), &self.options);
                assert!(
                    rounds < 1000,
                    "{}: upkeep has no end\n{files:?}\n{options:?} at {} ms of {:?}",
                    self.case,
                    self.clock_ms,
                    model.last_end_ms
                );
            }
            // A block whose name could not be made durable may stay until the next start.
            if !was_hit {
                check_tidy(&Files::of(&self.backend), &self.options, model, self.clock_ms, &self.case);
            }
        }
        self.end(store, model, &waiting, tried, may_miss);
    }

    /// All is there; what the next life may find.
    fn end(
        &mut self,
        store: &TestStore,
        model: &Model,
        waiting: &VecDeque<Window>,
        tried: bool,
        may_miss: bool,
    ) {
        self.backend.heal();
        self.check_all(store, model);
        assert!(may_miss || losses(store) == 0, "{}: {:?}", self.case, store.stats());
        self.possible = vec![model.clone()];
        if let Some(window) = waiting.front().filter(|_| tried) {
            let mut more = model.clone();
            more.apply(window);
            self.possible.push(more);
        }
    }

    /// Writes what waits, as the daemon does; whether all of it was taken.
    fn write(
        &mut self,
        store: &TestStore,
        model: &mut Model,
        waiting: &mut VecDeque<Window>,
        may_fail: bool,
    ) -> bool {
        while let Some(window) = waiting.front() {
            match store.append(window) {
                Ok(()) => model.apply(window),
                Err(Error::Io { .. }) if may_fail => {
                    return false;
                }
                Err(error) => panic!("{}: {error}", self.case),
            }
            waiting.pop_front();
        }
        true
    }

    fn maintain(&mut self, store: &TestStore, model: &mut Model, may_fail: bool) {
        let done = self.maintain_once(store, model);
        assert!(may_fail || is_whole(&done), "{}: {done:?}", self.case);
    }

    fn maintain_once(&mut self, store: &TestStore, model: &mut Model) -> Result<Maintained, Error> {
        let done = store.maintain(self.clock_ms);
        let after = Files::of(&self.backend);
        let newest_ms = model.last_end_ms.unwrap_or(self.clock_ms).min(self.clock_ms);
        self.known.note(&self.backend, &self.options, newest_ms, is_whole(&done), &self.case);
        if is_whole(&done) {
            model.sealed_ms = model.sealed_ms.max(after.sealed_ms());
            self.world.sealed_ms = model.sealed_ms;
        }
        done
    }

    /// A place of the log cannot be read for as long as it takes to give it up, and
    /// no other fault. Of what is in blocks by then any may be missing, of what
    /// comes later nothing. Whether there is something that was given up.
    fn lose_place(&mut self, store: &TestStore, model: &mut Model) -> bool {
        self.backend.heal();
        let mut logs = self.backend.files();
        logs.retain(|(path, _)| path.extension() == Some("log".as_ref()) && !path.starts_with(DAMAGED));
        let Some((path, log)) = logs.get(self.dice.roll(logs.len().max(1) as u64) as usize) else {
            return false;
        };
        let at = self.dice.roll(log.len() as u64 + 1) as usize;
        let lost = (store.stats().frames_lost, damaged(&self.backend).len());
        self.backend.fail_reads_within(path, at..at + 1 + self.dice.roll(5_000) as usize);
        (0..GIVEN_UP_AT).for_each(|_| self.maintain(store, model, true));
        self.backend.heal();
        if (store.stats().frames_lost, damaged(&self.backend).len()) == lost {
            return false;
        }
        let sealed_ms = Files::of(&self.backend).sealed_ms();
        self.known.steps_ms = self.known.steps_ms.max(sealed_ms);
        self.known.windows_ms = self.known.windows_ms.max(sealed_ms);
        self.has_lost = true;
        true
    }

    /// The clock is set, forward or back, by windows, spans or far.
    fn jump(&mut self) {
        let far = [WINDOW_MS, SPAN_MS, 40 * SPAN_MS][self.dice.roll(3) as usize];
        let by = self.dice.roll(far as u64 * 5) as i64;
        self.clock_ms += if self.dice.roll(2) == 0 { by } else { -by };
    }

    /// Arms a fault of some operation to come; whether it is one of reading.
    fn begin_fault(&mut self, within: u64) -> bool {
        let for_good = self.dice.roll(2) == 0;
        let fault = self.dice.roll(5) as usize;
        match Fault::ALL.get(fault) {
            Some(fault) => {
                let at = self.backend.operations() + self.dice.roll(within);
                self.backend.fail_at(at, *fault, for_good);
                false
            }
            None => {
                let at = self.backend.reads() + self.dice.roll(within * 4);
                self.backend.fail_read_at(at, for_good);
                true
            }
        }
    }

    /// Every point that is still kept as it was received.
    fn check_windows(&self, store: &TestStore, model: &Model) -> Result<(), String> {
        let range = TimeRange { start_ms: self.known.windows_ms.saturating_add(1), end_ms: i64::MAX };
        self.check_range(store, model, range)
    }

    fn check_range(&self, store: &TestStore, model: &Model, range: TimeRange) -> Result<(), String> {
        let found = select(store, range, 0, GaugePart::Last).map_err(|error| error.to_string())?;
        let (plain, corrected) = split(found, model);
        same(&dump(&plain), &dump(&model.series(range)))?;
        let mut ends = model.ends(range);
        ends.extend(ends.clone().iter().map(|end_ms| end_ms - 1));
        totals(&corrected, model, range, &ends)
    }

    /// What each coarse step says.
    fn check_steps(
        &self,
        store: &TestStore,
        model: &Model,
        range: TimeRange,
        step_ms: i64,
        part: GaugePart,
    ) -> Result<(), String> {
        let mut ends: Vec<i64> = model
            .ends(range)
            .iter()
            .map(|end_ms| (end_ms + STEP_MS - 1).div_euclid(STEP_MS) * STEP_MS)
            .collect();
        ends.dedup();
        let found = select(store, range, step_ms, part).map_err(|error| error.to_string())?;
        let (mut plain, corrected) = split(found, model);
        let mut expected = model.series(range);
        if part != GaugePart::Last {
            plain.retain(|series| series.metric_type == Some(MetricType::Gauge));
            expected.retain(|series| series.metric_type == Some(MetricType::Gauge));
        }
        let told = |error| format!("{range:?} at {step_ms} ms, {part:?}: {error}");
        same(&answers(&plain, &ends, part), &answers(&expected, &ends, part)).map_err(told)?;
        totals(&corrected, model, range, &ends).map_err(told)
    }

    /// A part of the time, at some step.
    fn check_some(&mut self, store: &TestStore, model: &Model) -> Result<(), String> {
        let Some((first, last)) = self.whole_steps(model) else { return Ok(()) };
        let from = first + self.dice.roll((last - first) as u64) as i64;
        let until = from + 1 + self.dice.roll((last - from) as u64) as i64;
        let range = TimeRange { start_ms: from * STEP_MS + 1, end_ms: until * STEP_MS };
        let step_ms = ASKED_MS[self.dice.roll(ASKED_MS.len() as u64) as usize];
        let part = [GaugePart::Last, GaugePart::Min, GaugePart::Max][self.dice.roll(3) as usize];
        self.check_steps(store, model, range, step_ms, part)?;
        let start_ms = range.start_ms.max(self.known.windows_ms.saturating_add(1));
        let end_ms = range.end_ms - self.dice.roll(STEP_MS as u64) as i64;
        if start_ms < end_ms {
            self.check_range(store, model, TimeRange { start_ms, end_ms })
        } else {
            Ok(())
        }
    }

    fn check_all(&mut self, store: &TestStore, model: &Model) {
        self.check_windows(store, model).unwrap_or_else(|error| panic!("{}: {error}", self.case));
        let Some((first, last)) = self.whole_steps(model) else { return };
        let range = TimeRange { start_ms: first * STEP_MS + 1, end_ms: last * STEP_MS };
        let some_ms = ASKED_MS[self.dice.roll(ASKED_MS.len() as u64) as usize];
        let extreme = [GaugePart::Min, GaugePart::Max][self.dice.roll(2) as usize];
        let asked = [
            (0, GaugePart::Last),
            (STEP_MS, GaugePart::Last),
            (some_ms, GaugePart::Last),
            (some_ms, extreme),
        ];
        for (step_ms, part) in asked {
            if self.known.steps_ms < START_MS {
                let (found, _) = split(select(store, ALL, step_ms, GaugePart::Last).unwrap(), model);
                let (found, expected) = (extents(&found), extents(&model.series(ALL)));
                assert_eq!(found, expected, "{}: at {step_ms} ms", self.case);
            }
            self.check_steps(store, model, range, step_ms, part)
                .unwrap_or_else(|error| panic!("{}", self.told(&error)));
        }
    }

    /// What went wrong, and with what.
    fn told(&self, error: &str) -> String {
        let (files, options) = (Files::of(&self.backend), &self.options);
        format!("{}: {error}\n{files:?}\n{:?}\n{options:?} at {} ms", self.case, self.known, self.clock_ms)
    }

    /// First and last whole step of what is kept.
    fn whole_steps(&self, model: &Model) -> Option<(i64, i64)> {
        let first_ms = self.known.steps_ms.max(START_MS - 10 * SPAN_MS);
        let (first, last) = (first_ms.div_euclid(STEP_MS), model.last_end_ms?.div_euclid(STEP_MS));
        (first < last).then_some((first, last))
    }
}

/// Whether all of an upkeep was done.
fn is_whole(done: &Result<Maintained, Error>) -> bool {
    done.as_ref().is_ok_and(|done| done.builds_failed == 0)
}

fn losses(store: &TestStore) -> u64 {
    let stats = store.stats();
    stats.frames_lost + stats.blocks_lost + stats.chunks_lost + stats.samples_refused
}

/// Series with the points that they should have, and counters for which
/// something came late.
fn split(found: Vec<Series>, model: &Model) -> (Vec<Series>, Vec<Series>) {
    let corrected = model.corrected();
    found.into_iter().partition(|series| !corrected.contains_key(&series.labels))
}

fn same(found: &str, expected: &str) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    let first = found.lines().zip(expected.lines()).find(|(a, b)| a != b);
    Err(format!("found and expected {first:?}\nfound\n{found}\nexpected\n{expected}"))
}

/// Totals of counters at `ends`, which are in `range`.
fn totals(found: &[Series], model: &Model, range: TimeRange, ends: &[i64]) -> Result<(), String> {
    for (labels, id) in model.corrected() {
        let series = found.iter().find(|series| series.labels == *labels);
        let samples = match series.map(|series| &series.points) {
            Some(Points::Floats(samples)) => values(samples),
            _ => Vec::new(),
        };
        for end_ms in ends {
            let (value, expected) =
                (samples.iter().rfind(|(at_ms, _)| at_ms <= end_ms), model.total(id, *end_ms));
            let is_due = model.first_after(id, range.start_ms - 1).is_some_and(|first| first <= *end_ms);
            let is_right = value.map_or(!is_due, |(_, value)| *value == expected);
            if !is_right {
                return Err(format!("{labels} at {end_ms}: {value:?} is not {expected}\n{samples:?}"));
            }
        }
    }
    Ok(())
}
