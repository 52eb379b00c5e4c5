//! One receiver's table: the open window's values, by the spelling of name and
//! tags as they came.
//!
//! A spelling is looked up by its bytes alone, so that a known series costs one
//! hash and one comparison; labels are made once, when a spelling is new. Two
//! spellings of a series (tags in another order) get the same number and meet
//! at the flush. Series stay from window to window; a spelling that was silent
//! for `idle_windows_max` windows is forgotten.

use super::registry::Registry;
use super::timer::{Pool, Timer};
use crate::model::{Histogram, Marker, MetricType, Observation, SeriesId, SeriesKey, Sketch, Value};
use crate::protocol::{Dialect, Line, Message, Reject, TagStyles, packet, tag};
use crate::telemetry::{Limited, Telemetry, Transport};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

/// Limits of a table.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Longest line in bytes.
    pub line_bytes_max: usize,
    /// Most labels of a series beside its name.
    pub labels_max: usize,
    /// Windows that a silent spelling is kept for.
    pub idle_windows_max: u32,
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
    pool: Pool,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u64,
    key_at: u32,
    key_len: u32,
    metric_type: MetricType,
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
            pool: Pool::default(),
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
        self.forget_idle();
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

    /// Takes a line whole or not at all.
    fn insert(&mut self, now_ms: i64, line: &Line<'_>) -> Result<(), Refusal> {
        let mut last = None;
        // Every series is found before any value is taken.
        for observation in &line.observations {
            if last.is_none_or(|(metric_type, _)| metric_type != observation.metric_type) {
                last = Some((observation.metric_type, self.cell(line, observation.metric_type)?));
            }
        }
        for observation in &line.observations {
            let cell = match last {
                Some((metric_type, cell)) if metric_type == observation.metric_type => cell,
                _ => self.cell(line, observation.metric_type)?,
            };
            last = Some((observation.metric_type, cell));
            self.observe(now_ms, cell, observation);
        }
        if let Some(at_ms) = line.at_ms {
            self.note_time(now_ms, at_ms);
        }
        Ok(())
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

    /// The cell of this line's series of that type, made if it is new.
    fn cell(&mut self, line: &Line<'_>, metric_type: MetricType) -> Result<u32, Refusal> {
        let hash = self.hash(line, metric_type);
        let arena = &self.arena;
        let found = self.index.find(hash, |entry| {
            entry.hash == hash && entry.metric_type == metric_type && key_is(entry.key(arena), line)
        });
        match found {
            Some(entry) => Ok(entry.cell),
            None => self.new_cell(hash, line, metric_type),
        }
    }

    #[cold]
    fn new_cell(&mut self, hash: u64, line: &Line<'_>, metric_type: MetricType) -> Result<u32, Refusal> {
        let named = self.tag_styles.named(line.name);
        let tags = named.tags.iter().copied().chain(line.tags.iter());
        let labels = tag::labels_of(&named.name, tags, self.options.labels_max).map_err(Refusal::Rejected)?;
        let limited = Refusal::Limited(Limited::Series);
        let id = self.registry.register(SeriesKey { labels, metric_type }).ok_or(limited)?;
        let key_at = u32::try_from(self.arena.len()).map_err(|_| limited)?;
        self.arena.extend_from_slice(line.name);
        for section in line.tags.sections() {
            self.arena.push(b'|');
            self.arena.extend_from_slice(section);
        }
        let key_len = (self.arena.len() - key_at as usize) as u32;
        let cell = match metric_type {
            MetricType::Counter => self.counters.add(id),
            MetricType::Gauge => self.gauges.add(id),
            MetricType::Timer | MetricType::Histogram => self.timers.add(id),
            MetricType::Set => self.sets.add(id),
        };
        self.index
            .insert_unique(hash, Entry { hash, key_at, key_len, metric_type, cell }, |entry| entry.hash);
        Ok(cell)
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

    fn forget_idle(&mut self) {
        let idle_max = self.options.idle_windows_max;
        let (counters, gauges) = (&mut self.counters, &mut self.gauges);
        let (timers, sets) = (&mut self.timers, &mut self.sets);
        let dead = &mut self.arena_dead;
        let mut released = Vec::new();
        self.index.retain(|entry| {
            let idle = match entry.metric_type {
                MetricType::Counter => counters.remove_idle(entry.cell, idle_max),
                MetricType::Gauge => gauges.remove_idle(entry.cell, idle_max),
                MetricType::Timer | MetricType::Histogram => timers.remove_idle(entry.cell, idle_max),
                MetricType::Set => sets.remove_idle(entry.cell, idle_max),
            };
            if let Some(id) = idle {
                *dead += entry.key_len as usize;
                released.push(id);
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

/// Values of one type, with the series they belong to.
#[derive(Debug)]
struct Cells<T> {
    cells: Vec<Cell<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Cell<T> {
    id: SeriesId,
    /// Windows since the last value; 0: the open one has some.
    idle_windows: u32,
    value: T,
}

impl<T> Default for Cells<T> {
    fn default() -> Self {
        Cells { cells: Vec::new(), free: Vec::new() }
    }
}

impl<T: Default> Cells<T> {
    fn add(&mut self, id: SeriesId) -> u32 {
        let cell = Cell { id, idle_windows: 1, value: T::default() };
        if let Some(at) = self.free.pop() {
            self.cells[at as usize] = cell;
            return at;
        }
        self.cells.push(cell);
        (self.cells.len() - 1) as u32
    }

    /// The value of a cell, to be changed: the window has values of it now.
    fn touch(&mut self, at: u32) -> &mut T {
        let cell = &mut self.cells[at as usize];
        cell.idle_windows = 0;
        &mut cell.value
    }

    /// Hands each value of the closing window to `take`, which leaves it as new.
    fn drain(&mut self, mut take: impl FnMut(SeriesId, &mut T)) {
        for cell in &mut self.cells {
            if cell.idle_windows == 0 {
                take(cell.id, &mut cell.value);
            }
            cell.idle_windows = cell.idle_windows.saturating_add(1);
        }
    }

    /// Frees the cell if it was silent for more than `idle_max` windows, and
    /// tells whose it was.
    fn remove_idle(&mut self, at: u32, idle_max: u32) -> Option<SeriesId> {
        let cell = &mut self.cells[at as usize];
        if cell.idle_windows <= idle_max {
            return None;
        }
        cell.value = T::default();
        self.free.push(at);
        Some(cell.id)
    }
}
