//! One receiver's table: the open window's values, by the spelling of name and
//! tags as they came.
//!
//! A spelling is looked up as it came, so that a known series costs one hash and
//! one comparison; labels are made once, when a spelling is new. Two spellings
//! of a series (tags in another order) get the same number and meet at the
//! flush. Series stay from window to window; a spelling that was silent for
//! `idle_windows_max` windows is forgotten. While `spellings_max` are there,
//! further ones of a series share one. What a limit keeps out goes into an
//! overflow series (`overflow.rs`).

use super::cells::Cells;
use super::effect::{BucketCounts, Effect, Effects};
use super::gauge::{Gauge, GaugeCells};
use super::late::{LateTable, LateTime, Outcome};
use super::mapped_line::MappedLine;
use super::overflow::{Fold, Folds, offender};
use super::registry::Registry;
use super::spelling::{Spelling, SpellingHasher};
use super::stage::Stage;
use super::timer::{Timer, TimerValues};
use crate::mapping::{Mapper, Treatment};
use crate::model::{
    Histogram, Late, Marker, MetricType, Observation, Sample, SeriesId, SeriesKey, Sketch, Value,
};
use crate::protocol::{Dialect, Line, Message, Reject, TagStyles, packet};
use crate::telemetry::{Limited, Telemetry, Transport};
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

/// Dropped spellings that a table remembers.
const DROPPED_MAX: usize = 100_000;
const NO_CELL: u32 = u32::MAX;
/// Windows that a silent spelling can be kept for.
const IDLE_WINDOWS_MAX: u32 = 250;

/// Limits of a table.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Longest line in bytes.
    pub line_bytes_max: usize,
    /// Most labels of a series beside its name.
    pub labels_max: usize,
    /// Bytes of a name, and of a label's name or value; the rest is cut off.
    pub label_bytes_max: usize,
    /// Windows that a silent spelling is kept for.
    pub idle_windows_max: u32,
    /// Spellings known at a time; with more than half of them, silent ones go
    /// after one window. One series has as many as a sender likes.
    pub spellings_max: usize,
}

/// See the module's head.
#[derive(Debug)]
pub struct Table {
    options: Options,
    registry: Arc<Registry>,
    telemetry: Arc<Telemetry>,
    transport: Transport,
    tag_styles: TagStyles,
    /// Values for windows that are closed.
    late: LateTable,
    /// Where events go as markers; bounded.
    markers: Option<SyncSender<Marker>>,
    pub(super) hasher: SpellingHasher,
    counters: Cells<f64>,
    gauges: GaugeCells,
    timers: Cells<Timer>,
    histograms: Cells<Timer>,
    /// Values of both.
    timer_values: TimerValues,
    sets: Cells<Sketch>,
    /// Spellings whose values a mapping drops.
    dropped: Cells<()>,
    folds: Folds,
    mapper: Option<Arc<Mapper>>,
    /// To be taken over when the open window has been taken.
    next_mapper: Option<Option<Arc<Mapper>>>,
    effects: Effects,
    /// Values of timers by the buckets of their mapping, by type and cell.
    buckets: HashMap<(MetricType, u32), BucketCounts, RandomState>,
    /// How series that got a spelling in the open window are treated.
    treatments: Vec<(SeriesId, Option<Arc<Treatment>>)>,
}

/// What a table held of a window, by series; a series may come more than once.
#[derive(Debug, Default)]
pub struct Partial {
    /// Sums of the increments.
    pub counters: Vec<(SeriesId, f64)>,
    pub gauges: Vec<(SeriesId, Gauge)>,
    pub timers: Vec<(SeriesId, Histogram)>,
    pub sets: Vec<(SeriesId, Sketch)>,
    /// Values of timers by the buckets that their mapping shows.
    pub buckets: Vec<(SeriesId, BucketCounts)>,
    /// Values for windows before; in any order.
    pub late: Late,
    /// What was sampled elsewhere, in the order it came.
    pub samples: Vec<(SeriesId, Sample)>,
    /// How series are treated from now on.
    pub treatments: Vec<(SeriesId, Option<Arc<Treatment>>)>,
}

/// A cell's number, and what a mapping does to its values.
pub(super) type Found = (u32, u8);

/// Why a line was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Rejected(Reject),
    Limited(Limited),
}

impl Table {
    pub fn new(
        options: Options,
        registry: Arc<Registry>,
        telemetry: Arc<Telemetry>,
        transport: Transport,
    ) -> Self {
        Table {
            options,
            registry,
            telemetry,
            transport,
            tag_styles: TagStyles::NONE,
            late: LateTable::default(),
            markers: None,
            hasher: SpellingHasher::default(),
            counters: Cells::default(),
            gauges: GaugeCells::default(),
            timers: Cells::default(),
            histograms: Cells::default(),
            timer_values: TimerValues::default(),
            sets: Cells::default(),
            dropped: Cells::default(),
            folds: Folds::default(),
            mapper: None,
            next_mapper: None,
            effects: Effects::default(),
            buckets: HashMap::default(),
            treatments: Vec::new(),
        }
    }

    /// Asks `mapper` about spellings from now on; those that are known are
    /// asked about anew once the open window has been taken.
    pub fn set_mapper(&mut self, mapper: Option<Arc<Mapper>>) {
        if self.is_empty() {
            // No spelling names an effect.
            self.effects = Effects::default();
            self.mapper = mapper;
        } else {
            self.next_mapper = Some(mapper);
        }
    }

    /// Reads tags in names as well.
    #[must_use]
    pub fn with_tag_styles(self, tag_styles: TagStyles) -> Self {
        Table { tag_styles, ..self }
    }

    /// Hands events on as markers; without it they are limited.
    #[must_use]
    pub fn with_markers(self, markers: SyncSender<Marker>) -> Self {
        Table { markers: Some(markers), ..self }
    }

    /// Lines that say when they were observed count in the window of that
    /// time, unless it is more than `lateness_ms` ago. Windows are `window_ms`
    /// long and aligned to the clock.
    #[must_use]
    pub fn with_window(self, window_ms: i64, lateness_ms: i64) -> Self {
        Table { late: LateTable::new(window_ms, lateness_ms), ..self }
    }

    /// Takes all lines of a packet and keeps the ledger; `refused` hears of
    /// each line that was not taken.
    pub fn packet(
        &mut self,
        now_ms: i64,
        packet: &[u8],
        dialect: Dialect,
        mut refused: impl FnMut(&[u8], Refusal),
    ) {
        let (mut received, mut accepted) = (0, 0);
        let mut texts = packet::lines(packet).peekable();
        let mut stage = Stage::default();
        while texts.peek().is_some() {
            // Lines are read first and looked up together: the searches wait for
            // memory, and do so at the same time.
            let mut special = None;
            while !stage.is_full()
                && let Some(text) = texts.next()
            {
                received += 1;
                if text.len() > self.options.line_bytes_max {
                    self.refuse(text, Refusal::Rejected(Reject::LineTooLong), &mut refused);
                } else if text.first() == Some(&b'_') {
                    special = Some(text);
                    break;
                } else if let Err(reject) = stage.read(text, dialect) {
                    self.refuse(text, Refusal::Rejected(reject), &mut refused);
                }
            }
            stage.find(self);
            for (text, line, found) in stage.drain() {
                match self.insert(now_ms, line, found) {
                    Ok(()) => accepted += 1,
                    Err(refusal) => self.refuse(text, refusal, &mut refused),
                }
            }
            if let Some(text) = special {
                match self.message(now_ms, text, dialect) {
                    Ok(()) => accepted += 1,
                    Err(refusal) => self.refuse(text, refusal, &mut refused),
                }
            }
        }
        if received > 0 {
            self.telemetry.last_line_ms.set(now_ms);
        }
        self.telemetry.received(self.transport, received);
        self.telemetry.lines_accepted.add(accepted);
    }

    /// Takes one line that is already parsed; for senders that speak another
    /// format. Keeps the ledger.
    pub fn parsed(&mut self, now_ms: i64, line: &Line<'_>) -> Result<(), Refusal> {
        self.telemetry.received(self.transport, 1);
        self.telemetry.last_line_ms.set(now_ms);
        let taken = self.insert(now_ms, line, None);
        match taken {
            Ok(()) => self.telemetry.lines_accepted.add(1),
            Err(refusal) => self.count_refusal(refusal),
        }
        taken
    }

    /// Whether the values of the line taken last went into an overflow series.
    pub fn overflowed(&self) -> bool {
        self.folds.is_over()
    }

    /// The values of the open window; what follows belongs to the next.
    pub fn take(&mut self) -> Partial {
        self.folds.close(&self.telemetry.offenders);
        let mut partial = Partial {
            treatments: std::mem::take(&mut self.treatments),
            buckets: self.take_buckets(),
            counters: Vec::with_capacity(self.counters.touched()),
            late: self.late.take(),
            ..Partial::default()
        };
        let next_mapper = self.next_mapper.take();
        let crowded = self.len() > self.options.spellings_max / 2;
        let idle_max = match next_mapper {
            // Known spellings are asked about anew.
            Some(_) => 0,
            None if crowded => 1,
            None => self.options.idle_windows_max.min(IDLE_WINDOWS_MAX) as u8,
        };
        let mut released = Vec::new();
        let mut release = |_, id| released.push(id);
        let counters = |id, sum: &mut f64| partial.counters.push((id, std::mem::take(sum)));
        self.counters.close(idle_max, counters, &mut release);
        self.gauges.close(idle_max, |id, gauge| partial.gauges.push((id, gauge)), &mut release);
        let (values, buckets) = (&mut self.timer_values, &mut self.buckets);
        for (cells, metric_type) in
            [(&mut self.timers, MetricType::Timer), (&mut self.histograms, MetricType::Histogram)]
        {
            let take = |id, timer: &mut Timer| {
                let window = values.take(timer, metric_type.unit_divisor());
                // Empty when all its values were left out.
                if !window.is_empty() {
                    partial.timers.push((id, window));
                }
            };
            cells.close(idle_max, take, |at, id| {
                buckets.remove(&(metric_type, at));
                release(at, id);
            });
        }
        self.sets.close(idle_max, |id, set| partial.sets.push((id, std::mem::take(set))), &mut release);
        // They are no series.
        self.dropped.close(idle_max, |_, ()| {}, |_, _| {});
        if !released.is_empty() {
            self.registry.release(&released);
        }
        if let Some(mapper) = next_mapper {
            self.effects = Effects::default();
            self.mapper = mapper;
        }
        partial
    }

    fn take_buckets(&mut self) -> Vec<(SeriesId, BucketCounts)> {
        let mut taken = Vec::new();
        for ((metric_type, at), buckets) in &mut self.buckets {
            let cells = if *metric_type == MetricType::Timer { &self.timers } else { &self.histograms };
            taken.extend(buckets.take().map(|counts| (cells.id(*at), counts)));
        }
        taken
    }

    /// Spellings known.
    pub fn len(&self) -> usize {
        self.counters.len()
            + self.gauges.len()
            + self.timers.len()
            + self.histograms.len()
            + self.sets.len()
            + self.dropped.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A line that may be none of a metric.
    #[cold]
    fn message(&mut self, now_ms: i64, line: &[u8], dialect: Dialect) -> Result<(), Refusal> {
        match Message::parse(line, dialect).map_err(Refusal::Rejected)? {
            Message::Metric(line) => self.insert(now_ms, &line, None),
            Message::Check(check) => {
                check.as_line(|line| self.insert(now_ms, line, None)).map_err(Refusal::Rejected)?
            }
            Message::Event(event) => {
                let marker = event.marker(now_ms).map_err(Refusal::Rejected)?;
                let sent = self.markers.as_ref().is_some_and(|markers| markers.try_send(marker).is_ok());
                if sent { Ok(()) } else { Err(Refusal::Limited(Limited::Markers)) }
            }
        }
    }

    /// Takes a line whole or not at all, but for the types that a mapping drops.
    /// `found` is the cell of its first observation, if that was looked for.
    fn insert(&mut self, now_ms: i64, line: &Line<'_>, found: Option<Found>) -> Result<(), Refusal> {
        self.folds.begin();
        let mut last = None;
        // Every series is found before any value is taken.
        for observation in &line.observations {
            if last.is_none_or(|(metric_type, _)| metric_type != observation.metric_type) {
                let found = match found.filter(|_| last.is_none()) {
                    Some(found) => found,
                    None => self.cell(line, observation.metric_type)?,
                };
                last = Some((observation.metric_type, found));
            }
        }
        let mut taken = false;
        let late = line.at_ms.and_then(|at_ms| self.late.time(now_ms, at_ms));
        for observation in &line.observations {
            let (cell, effect) = match last {
                Some((metric_type, found)) if metric_type == observation.metric_type => found,
                _ => self.cell(line, observation.metric_type)?,
            };
            last = Some((observation.metric_type, (cell, effect)));
            match effect {
                Effects::NONE if late.is_none() => self.observe(now_ms, cell, observation),
                Effects::DROP => {
                    // Past their bound they have no cell.
                    if cell != NO_CELL {
                        self.dropped.touch(cell);
                    }
                    continue;
                }
                effect => self.observe_with(effect, late, now_ms, cell, observation),
            }
            taken = true;
        }
        if let Some(reason) = self.folds.end(now_ms) {
            self.telemetry.overflowed(reason);
        }
        if !taken {
            return Err(Refusal::Limited(Limited::MappingDrop));
        }
        if let Some(at_ms) = line.at_ms {
            self.late.count(now_ms, at_ms, late, &self.telemetry);
        }
        Ok(())
    }

    /// Takes a value with what a mapping does to it, or one that is late.
    #[inline(never)]
    fn observe_with(
        &mut self,
        effect: u8,
        late: Option<LateTime>,
        now_ms: i64,
        cell: u32,
        observation: &Observation<'_>,
    ) {
        let Effect { scale, bounds } = self.effects.get(effect);
        let value = match observation.value {
            Value::Number(number) => Value::Number(number * scale),
            Value::Change(number) => Value::Change(number * scale),
            member => member,
        };
        if let Value::Number(number) | Value::Change(number) = value {
            if !number.is_finite() {
                self.telemetry.overflows.add(1);
                return;
            }
            if let Some(bounds) = bounds {
                let counts = self
                    .buckets
                    .entry((observation.metric_type, cell))
                    .or_insert_with(|| BucketCounts::new(bounds));
                counts.add(number / observation.metric_type.unit_divisor(), observation.weight);
            }
        }
        let observation = &Observation { value, ..*observation };
        match late.map(|time| self.observe_late(time, cell, observation)) {
            Some(Outcome::Taken) => {}
            Some(Outcome::Overflow) => self.telemetry.overflows.add(1),
            None | Some(Outcome::NotHere) => self.observe(now_ms, cell, observation),
        }
    }

    fn observe_late(&mut self, time: LateTime, cell: u32, observation: &Observation<'_>) -> Outcome {
        let id = match observation.metric_type {
            MetricType::Counter => self.counters.renew(cell),
            // No line brings what is sampled.
            MetricType::Gauge | MetricType::Sampled => self.gauges.renew(cell),
            MetricType::Timer => self.timers.renew(cell),
            MetricType::Histogram => self.histograms.renew(cell),
            MetricType::Set => self.sets.renew(cell),
        };
        self.late.observe(time, id, observation)
    }

    fn observe(&mut self, now_ms: i64, cell: u32, observation: &Observation<'_>) {
        let weight = observation.weight;
        match (observation.metric_type, observation.value) {
            (MetricType::Counter, Value::Number(number) | Value::Change(number)) => {
                let sum = self.counters.touch(cell);
                let after = *sum + number * weight;
                if after.is_finite() {
                    *sum = after;
                } else {
                    self.telemetry.overflows.add(1);
                }
            }
            (MetricType::Gauge, Value::Number(number)) => self.gauges.touch(cell).set(number, now_ms),
            (MetricType::Gauge, Value::Change(number)) => {
                if !self.gauges.touch(cell).change(number) {
                    self.telemetry.overflows.add(1);
                }
            }
            (MetricType::Set, Value::Member(member)) => self.sets.touch(cell).insert(member),
            (metric_type @ (MetricType::Timer | MetricType::Histogram), Value::Number(number)) => {
                let timer = match metric_type {
                    MetricType::Timer => self.timers.touch(cell),
                    _ => self.histograms.touch(cell),
                };
                if !self.timer_values.record(timer, number, weight, metric_type.unit_divisor()) {
                    self.telemetry.overflows.add(1);
                }
            }
            // The parser pairs types and values; nothing else can be built.
            (_, Value::Number(_) | Value::Change(_) | Value::Member(_)) => {}
        }
    }

    /// The cell of this line's series of that type, made if it is new, and
    /// what a mapping does to its values.
    #[inline]
    fn cell(&mut self, line: &Line<'_>, metric_type: MetricType) -> Result<Found, Refusal> {
        let spelling = self.hasher.of(line, metric_type);
        match self.find(spelling, metric_type) {
            Some(found) => Ok(found),
            None => self.new_cell(spelling, line, metric_type),
        }
    }

    #[inline]
    pub(super) fn find(&self, spelling: Spelling, metric_type: MetricType) -> Option<Found> {
        match metric_type {
            MetricType::Counter => self.counters.find(spelling),
            MetricType::Gauge | MetricType::Sampled => self.gauges.find(spelling),
            MetricType::Timer => self.timers.find(spelling),
            MetricType::Histogram => self.histograms.find(spelling),
            MetricType::Set => self.sets.find(spelling),
        }
    }

    #[cold]
    fn new_cell(
        &mut self,
        spelling: Spelling,
        line: &Line<'_>,
        metric_type: MetricType,
    ) -> Result<Found, Refusal> {
        if let Some(found) = self.folds.find(spelling.hash) {
            return Ok(found);
        }
        if let Some(found) = self.dropped.find(spelling) {
            return Ok(found);
        }
        let mapper = self.mapper.as_deref();
        let mapped = MappedLine::new(line, metric_type, self.tag_styles, mapper, self.options.labels_max);
        let Some(mapped) = mapped.map_err(Refusal::Rejected)? else {
            let room = self.dropped.len() < DROPPED_MAX && self.has_room();
            // Beyond the bound there is no cell, and the mapper is asked for every
            // line. It is no series; the number stands for nothing.
            let add = |dropped: &mut Cells<()>| dropped.add(spelling, SeriesId(u32::MAX), Effects::DROP);
            return Ok((if room { add(&mut self.dropped) } else { NO_CELL }, Effects::DROP));
        };
        let limited = Refusal::Limited(Limited::Series);
        let scale = mapped.effect.scale;
        let effect = self.effects.number(mapped.effect).ok_or(limited)?;
        let (labels, cut) = mapped.labels.cut(self.options.label_bytes_max);
        self.telemetry.labels_cut.add(cut);
        let series = SeriesKey { labels, metric_type };
        match self.registry.register(series.clone()) {
            Ok(id) => {
                let known = self.len();
                let cell = if self.has_room() {
                    self.add(spelling, metric_type, id, effect)
                } else {
                    let cell = self.own_cell(&series, id, effect);
                    self.folds.note(spelling.hash, Fold::into_itself(cell, effect));
                    cell
                };
                // Spellings that share a cell are without bound.
                if self.mapper.is_some() && self.len() > known {
                    self.treatments.push((id, mapped.treatment));
                }
                Ok((cell, effect))
            }
            Err(reason) => {
                // The values mean what those of the series mean; buckets are a series' own.
                let effect = self.effects.number(Effect { scale, bounds: None }).ok_or(limited)?;
                let (id, overflow, known) = self.registry.register_overflow(&series).ok_or(limited)?;
                let cell = self.own_cell(&overflow, id, effect);
                let fold = self.folds.over(cell, effect, reason, &offender(series.labels.name(), known));
                self.folds.note(spelling.hash, fold);
                Ok((cell, effect))
            }
        }
    }

    /// The cell of a series that has one spelling for all who come by here.
    fn own_cell(&mut self, series: &SeriesKey, id: SeriesId, effect: u8) -> u32 {
        // No line can spell it: there is no line feed in a name.
        let name = format!("\n{}", series.labels);
        let line = Line {
            name: name.as_bytes(),
            tags: Default::default(),
            observations: Default::default(),
            at_ms: None,
        };
        let spelling = self.hasher.of(&line, series.metric_type);
        match self.find(spelling, series.metric_type) {
            Some((cell, _)) => {
                self.registry.release(&[id]);
                cell
            }
            None => self.add(spelling, series.metric_type, id, effect),
        }
    }

    fn add(&mut self, spelling: Spelling, metric_type: MetricType, id: SeriesId, effect: u8) -> u32 {
        match metric_type {
            MetricType::Counter => self.counters.add(spelling, id, effect),
            MetricType::Gauge | MetricType::Sampled => self.gauges.add(spelling, id, effect),
            MetricType::Timer => self.timers.add(spelling, id, effect),
            MetricType::Histogram => self.histograms.add(spelling, id, effect),
            MetricType::Set => self.sets.add(spelling, id, effect),
        }
    }

    /// Whether one more spelling may be known.
    fn has_room(&self) -> bool {
        self.len() < self.options.spellings_max
    }

    #[cold]
    fn refuse(&self, text: &[u8], refusal: Refusal, refused: &mut impl FnMut(&[u8], Refusal)) {
        self.count_refusal(refusal);
        refused(text, refusal);
    }

    fn count_refusal(&self, refusal: Refusal) {
        match refusal {
            Refusal::Rejected(reject) => self.telemetry.rejected(reject),
            Refusal::Limited(limited) => self.telemetry.limited(limited),
        }
    }
}
