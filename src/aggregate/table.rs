//! One receiver's table: the open window's values, by the spelling of name and
//! tags as they came.
//!
//! A spelling is looked up by its bytes alone, so that a known series costs one
//! hash and one comparison; labels are made once, when a spelling is new. Two
//! spellings of a series (tags in another order) get the same number and meet
//! at the flush. Series stay from window to window; a spelling that was silent
//! for `idle_windows_max` windows is forgotten, and a new one is refused while
//! `spellings_max` are there.

use super::cells::Cells;
use super::effect::{BucketCounts, Effect, Effects};
use super::mapped_line::MappedLine;
use super::registry::Registry;
use super::timer::{Pool, Timer};
use crate::mapping::{Mapper, Treatment};
use crate::model::{Histogram, Marker, MetricType, Observation, SeriesId, SeriesKey, Sketch, Value};
use crate::protocol::{Dialect, Line, Message, Reject, TagStyles, packet};
use crate::telemetry::{Limited, Telemetry, Transport};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

/// Dropped spellings that a table remembers.
const DROPPED_MAX: usize = 100_000;
const NO_CELL: u32 = u32::MAX;

/// Limits of a table.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Longest line in bytes.
    pub line_bytes_max: usize,
    /// Most labels of a series beside its name.
    pub labels_max: usize,
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
    /// Length of a window in ms; 0 when the table is not told.
    window_ms: i64,
    /// Where events go as markers; bounded.
    markers: Option<SyncSender<Marker>>,
    hasher: RandomState,
    index: HashTable<Entry>,
    /// Keys, one after the other: name, `|`, tags.
    arena: Vec<u8>,
    arena_dead: usize,
    counters: Cells<f64>,
    gauges: Cells<Gauge>,
    timers: Cells<Timer>,
    sets: Cells<Sketch>,
    /// Spellings whose values a mapping drops.
    dropped: Cells<()>,
    pool: Pool,
    mapper: Option<Arc<Mapper>>,
    /// To be taken over when the open window has been taken.
    next_mapper: Option<Option<Arc<Mapper>>>,
    effects: Effects,
    /// Values of timers by the buckets of their mapping, by cell.
    buckets: HashMap<u32, BucketCounts, RandomState>,
    /// How series that got a spelling in the open window are treated.
    treatments: Vec<(SeriesId, Option<Arc<Treatment>>)>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u64,
    key_at: u32,
    key_len: u32,
    metric_type: MetricType,
    /// What a mapping does to its values: a number of [`Effects`].
    effect: u16,
    cell: u32,
}

/// What a window did to a gauge, before it is known what it was.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Gauge {
    /// The value it was set to last, and when (ms since the epoch).
    pub set: Option<(f64, i64)>,
    /// Sum of the changes since then.
    pub change: f64,
    /// Extremes, as far as absolute values are known.
    pub extremes: Option<(f64, f64)>,
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
    /// How series are treated from now on.
    pub treatments: Vec<(SeriesId, Option<Arc<Treatment>>)>,
}

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
            window_ms: 0,
            markers: None,
            hasher: RandomState::default(),
            index: HashTable::new(),
            arena: Vec::new(),
            arena_dead: 0,
            counters: Cells::default(),
            gauges: Cells::default(),
            timers: Cells::default(),
            sets: Cells::default(),
            dropped: Cells::default(),
            pool: Pool::default(),
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
        if self.index.is_empty() {
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

    /// Counts the lines that are older than the open window, windows being
    /// `window_ms` long and aligned to the clock.
    #[must_use]
    pub fn with_window(self, window_ms: i64) -> Self {
        Table { window_ms, ..self }
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
        for line in packet::lines(packet) {
            received += 1;
            match self.line(now_ms, line, dialect) {
                Ok(()) => accepted += 1,
                Err(refusal) => {
                    self.count_refusal(refusal);
                    refused(line, refusal);
                }
            }
        }
        self.telemetry.received(self.transport, received);
        self.telemetry.lines_accepted.add(accepted);
    }

    /// Takes one line that is already parsed; for senders that speak another
    /// format. Keeps the ledger.
    pub fn parsed(&mut self, now_ms: i64, line: &Line<'_>) -> Result<(), Refusal> {
        self.telemetry.received(self.transport, 1);
        let taken = self.insert(now_ms, line);
        match taken {
            Ok(()) => self.telemetry.lines_accepted.add(1),
            Err(refusal) => self.count_refusal(refusal),
        }
        taken
    }

    /// The values of the open window; what follows belongs to the next.
    pub fn take(&mut self) -> Partial {
        let pool = &mut self.pool;
        let mut partial = Partial::default();
        self.counters.drain(|id, sum| partial.counters.push((id, std::mem::take(sum))));
        self.gauges.drain(|id, gauge| partial.gauges.push((id, std::mem::take(gauge))));
        self.timers.drain(|id, timer| {
            // Empty when all its values were left out.
            if !timer.is_empty() {
                partial.timers.push((id, timer.take(pool)));
            }
        });
        self.sets.drain(|id, set| partial.sets.push((id, std::mem::take(set))));
        self.dropped.drain(|_, ()| {});
        for (cell, buckets) in &mut self.buckets {
            if let (Some(id), Some(counts)) = (self.timers.id(*cell), buckets.take()) {
                partial.buckets.push((id, counts));
            }
        }
        partial.treatments = std::mem::take(&mut self.treatments);
        match self.next_mapper.take() {
            Some(mapper) => {
                self.forget_idle(0);
                self.effects = Effects::default();
                self.mapper = mapper;
            }
            None => {
                let crowded = self.index.len() > self.options.spellings_max / 2;
                self.forget_idle(if crowded { 1 } else { self.options.idle_windows_max });
            }
        }
        partial
    }

    /// Spellings known.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    fn line(&mut self, now_ms: i64, line: &[u8], dialect: Dialect) -> Result<(), Refusal> {
        if line.len() > self.options.line_bytes_max {
            return Err(Refusal::Rejected(Reject::LineTooLong));
        }
        if line.first() == Some(&b'_') {
            return self.message(now_ms, line, dialect);
        }
        let line = Line::parse(line, dialect).map_err(Refusal::Rejected)?;
        self.insert(now_ms, &line)
    }

    /// A line that may be none of a metric.
    #[cold]
    fn message(&mut self, now_ms: i64, line: &[u8], dialect: Dialect) -> Result<(), Refusal> {
        match Message::parse(line, dialect).map_err(Refusal::Rejected)? {
            Message::Metric(line) => self.insert(now_ms, &line),
            Message::Check(check) => {
                check.as_line(|line| self.insert(now_ms, line)).map_err(Refusal::Rejected)?
            }
            Message::Event(event) => {
                let marker = event.marker(now_ms).map_err(Refusal::Rejected)?;
                let sent = self.markers.as_ref().is_some_and(|markers| markers.try_send(marker).is_ok());
                if sent { Ok(()) } else { Err(Refusal::Limited(Limited::Markers)) }
            }
        }
    }

    /// Takes a line whole or not at all, but for the types that a mapping drops.
    fn insert(&mut self, now_ms: i64, line: &Line<'_>) -> Result<(), Refusal> {
        let mut last = None;
        // Every series is found before any value is taken.
        for observation in &line.observations {
            if last.is_none_or(|(metric_type, _)| metric_type != observation.metric_type) {
                last = Some((observation.metric_type, self.cell(line, observation.metric_type)?));
            }
        }
        let mut taken = false;
        for observation in &line.observations {
            let (cell, effect) = match last {
                Some((metric_type, found)) if metric_type == observation.metric_type => found,
                _ => self.cell(line, observation.metric_type)?,
            };
            last = Some((observation.metric_type, (cell, effect)));
            match effect {
                Effects::NONE => self.observe(now_ms, cell, observation),
                Effects::DROP => {
                    // Past their bound they have no cell.
                    if cell != NO_CELL {
                        self.dropped.touch(cell);
                    }
                    continue;
                }
                effect => self.observe_with(effect, now_ms, cell, observation),
            }
            taken = true;
        }
        if !taken {
            return Err(Refusal::Limited(Limited::MappingDrop));
        }
        if let Some(at_ms) = line.at_ms {
            self.note_time(now_ms, at_ms);
        }
        Ok(())
    }

    /// Takes a value with what a mapping does to it.
    #[inline(never)]
    fn observe_with(&mut self, effect: u16, now_ms: i64, cell: u32, observation: &Observation<'_>) {
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
                let counts = self.buckets.entry(cell).or_insert_with(|| BucketCounts::new(bounds));
                counts.add(number / observation.metric_type.unit_divisor(), observation.weight);
            }
        }
        self.observe(now_ms, cell, &Observation { value, ..*observation });
    }

    /// A line that says when it was observed still counts in the open window:
    /// closed ones are written and done. How often that moved one is counted.
    fn note_time(&self, now_ms: i64, at_ms: i64) {
        if self.window_ms > 0 && at_ms < now_ms - now_ms.rem_euclid(self.window_ms) {
            self.telemetry.lines_backdated.add(1);
        }
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
            (MetricType::Timer | MetricType::Histogram, Value::Number(number)) => {
                let divisor = observation.metric_type.unit_divisor();
                if !self.timers.touch(cell).record(number, weight, divisor, &mut self.pool) {
                    self.telemetry.overflows.add(1);
                }
            }
            // The parser pairs types and values; nothing else can be built.
            (_, Value::Number(_) | Value::Change(_) | Value::Member(_)) => {}
        }
    }

    /// The cell of this line's series of that type, made if it is new, and
    /// what a mapping does to its values.
    fn cell(&mut self, line: &Line<'_>, metric_type: MetricType) -> Result<(u32, u16), Refusal> {
        let hash = self.hash(line, metric_type);
        let arena = &self.arena;
        let found = self.index.find(hash, |entry| {
            entry.hash == hash && entry.metric_type == metric_type && key_is(entry.key(arena), line)
        });
        match found {
            Some(entry) => Ok((entry.cell, entry.effect)),
            None => self.new_cell(hash, line, metric_type),
        }
    }

    #[cold]
    fn new_cell(
        &mut self,
        hash: u64,
        line: &Line<'_>,
        metric_type: MetricType,
    ) -> Result<(u32, u16), Refusal> {
        let mapper = self.mapper.as_deref();
        let mapped = MappedLine::new(line, metric_type, self.tag_styles, mapper, self.options.labels_max);
        let Some(mapped) = mapped.map_err(Refusal::Rejected)? else {
            return self.new_dropped_cell(hash, line, metric_type);
        };
        let limited = Refusal::Limited(Limited::Series);
        let effect = self.effects.number(mapped.effect).ok_or(limited)?;
        let key_at = self.room_for(line).ok_or(limited)?;
        let id = self.registry.register(SeriesKey { labels: mapped.labels, metric_type }).ok_or(limited)?;
        let key_len = self.remember_key(line);
        if self.mapper.is_some() {
            self.treatments.push((id, mapped.treatment));
        }
        let cell = match metric_type {
            MetricType::Counter => self.counters.add(id),
            MetricType::Gauge => self.gauges.add(id),
            MetricType::Timer | MetricType::Histogram => self.timers.add(id),
            MetricType::Set => self.sets.add(id),
        };
        let entry = Entry { hash, key_at, key_len, metric_type, effect, cell };
        self.index.insert_unique(hash, entry, |entry| entry.hash);
        Ok((cell, effect))
    }

    /// A cell that swallows its values. Beyond the bound there is none, and
    /// the mapper is asked for every line.
    fn new_dropped_cell(
        &mut self,
        hash: u64,
        line: &Line<'_>,
        metric_type: MetricType,
    ) -> Result<(u32, u16), Refusal> {
        let room = self.room_for(line).filter(|_| self.dropped.len() < DROPPED_MAX);
        let Some(key_at) = room else { return Ok((NO_CELL, Effects::DROP)) };
        let key_len = self.remember_key(line);
        // It is no series; the number stands for nothing.
        let cell = self.dropped.add(SeriesId(u32::MAX));
        let entry = Entry { hash, key_at, key_len, metric_type, effect: Effects::DROP, cell };
        self.index.insert_unique(hash, entry, |entry| entry.hash);
        Ok((cell, Effects::DROP))
    }

    /// Puts the spelling of a line into the arena, where room was found for it.
    /// Returns its length.
    fn remember_key(&mut self, line: &Line<'_>) -> u32 {
        let before = self.arena.len();
        self.arena.extend_from_slice(line.name);
        for section in line.tags.sections() {
            self.arena.push(b'|');
            self.arena.extend_from_slice(section);
        }
        (self.arena.len() - before) as u32
    }

    /// Where the key of one more spelling begins in the arena.
    fn room_for(&self, line: &Line<'_>) -> Option<u32> {
        let sections = line.tags.sections().iter().map(|section| 1 + section.len());
        let end = self.arena.len() + line.name.len() + sections.sum::<usize>();
        let fits = self.index.len() < self.options.spellings_max && u32::try_from(end).is_ok();
        fits.then_some(self.arena.len() as u32)
    }

    fn hash(&self, line: &Line<'_>, metric_type: MetricType) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(line.name);
        hasher.write_u8(metric_type as u8);
        for section in line.tags.sections() {
            hasher.write(section);
        }
        hasher.finish()
    }

    fn forget_idle(&mut self, idle_max: u32) {
        let (counters, gauges) = (&mut self.counters, &mut self.gauges);
        let (timers, sets) = (&mut self.timers, &mut self.sets);
        let (dropped, buckets) = (&mut self.dropped, &mut self.buckets);
        let dead = &mut self.arena_dead;
        let mut released = Vec::new();
        self.index.retain(|entry| {
            let idle = match entry.metric_type {
                _ if entry.effect == Effects::DROP => dropped.remove_idle(entry.cell, idle_max),
                MetricType::Counter => counters.remove_idle(entry.cell, idle_max),
                MetricType::Gauge => gauges.remove_idle(entry.cell, idle_max),
                MetricType::Timer | MetricType::Histogram => timers.remove_idle(entry.cell, idle_max),
                MetricType::Set => sets.remove_idle(entry.cell, idle_max),
            };
            if let Some(id) = idle {
                if entry.effect != Effects::DROP {
                    released.push(id);
                }
                if entry.metric_type.is_distribution() && entry.effect != Effects::DROP {
                    buckets.remove(&entry.cell);
                }
                *dead += entry.key_len as usize;
            }
            idle.is_none()
        });
        if !released.is_empty() {
            self.registry.release(&released);
        }
        if self.arena_dead > self.arena.len() / 2 {
            self.compact_arena();
        }
    }

    fn compact_arena(&mut self) {
        let mut compact = Vec::with_capacity(self.arena.len() - self.arena_dead);
        for entry in self.index.iter_mut() {
            let key_at = compact.len() as u32;
            compact.extend_from_slice(entry.key(&self.arena));
            entry.key_at = key_at;
        }
        self.arena = compact;
        self.arena_dead = 0;
    }

    fn count_refusal(&self, refusal: Refusal) {
        match refusal {
            Refusal::Rejected(reject) => self.telemetry.rejected(reject),
            Refusal::Limited(limited) => self.telemetry.limited(limited),
        }
    }
}

impl Gauge {
    fn set(&mut self, value: f64, now_ms: i64) {
        let (min, max) = self.extremes.unwrap_or((value, value));
        *self = Gauge {
            set: Some((value, now_ms)),
            change: 0.0,
            extremes: Some((min.min(value), max.max(value))),
        };
    }

    /// False when the change was left out, as the value would be infinite.
    fn change(&mut self, by: f64) -> bool {
        let change = self.change + by;
        let value = self.set.map_or(change, |(base, _)| base + change);
        if !change.is_finite() || !value.is_finite() {
            return false;
        }
        self.change = change;
        if let Some((min, max)) = self.extremes {
            self.extremes = Some((min.min(value), max.max(value)));
        }
        true
    }
}

impl Entry {
    fn key<'a>(&self, arena: &'a [u8]) -> &'a [u8] {
        // Entries only ever point into the arena they were made from.
        arena.get(self.key_at as usize..(self.key_at + self.key_len) as usize).unwrap_or_default()
    }
}

/// Whether `key` is the spelling of this line's name and tags.
fn key_is(key: &[u8], line: &Line<'_>) -> bool {
    let Some(mut rest) = key.strip_prefix(line.name) else { return false };
    for section in line.tags.sections() {
        match rest.strip_prefix(b"|").and_then(|rest| rest.strip_prefix(*section)) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    rest.is_empty()
}
