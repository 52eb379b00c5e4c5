//! The gauges of a table: of each series one, however it is spelled, for it
//! matters which value came last.
//!
//! A further spelling of a series is an alias: a cell that holds no value and
//! knows the series' own. The own cell is never silent for longer than an alias
//! of it, so that it outlives them all.

use super::cells::Cells;
use super::spelling::Spelling;
use crate::model::SeriesId;
use foldhash::fast::RandomState;
use std::collections::HashMap;

/// Stands for a cell that is the series' own.
const OWN: u32 = u32::MAX;

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

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct GaugeCells {
    cells: Cells<Slot>,
    /// The own cell of each series.
    own: HashMap<SeriesId, u32, RandomState>,
}

#[derive(Debug)]
struct Slot {
    gauge: Gauge,
    /// The cell that this is an alias of, or `OWN`.
    alias_of: u32,
}

impl Default for Slot {
    fn default() -> Self {
        Slot { gauge: Gauge::default(), alias_of: OWN }
    }
}

impl GaugeCells {
    /// Spellings known.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// See [`Cells::find`].
    #[inline]
    pub fn find(&self, spelling: Spelling) -> Option<(u32, u8)> {
        self.cells.find(spelling)
    }

    /// See [`Cells::add`].
    pub fn add(&mut self, spelling: Spelling, id: SeriesId, effect: u8) -> u32 {
        let at = self.cells.add(spelling, id, effect);
        let own = *self.own.entry(id).or_insert(at);
        if own != at {
            self.cells.renew(own);
            self.cells.value_mut(at).alias_of = own;
        }
        at
    }

    /// The gauge of a cell or of that which it is an alias of, to be changed.
    #[inline]
    pub fn touch(&mut self, at: u32) -> &mut Gauge {
        let alias_of = self.cells.touch(at).alias_of;
        &mut self.cells.touch(if alias_of == OWN { at } else { alias_of }).gauge
    }

    /// See [`Cells::renew`]; the own cell of an alias with it.
    pub fn renew(&mut self, at: u32) -> SeriesId {
        let alias_of = self.cells.value_mut(at).alias_of;
        if alias_of != OWN {
            self.cells.renew(alias_of);
        }
        self.cells.renew(at)
    }

    /// See [`Cells::close`].
    pub fn close(
        &mut self,
        idle_max: u8,
        mut take: impl FnMut(SeriesId, Gauge),
        mut gone: impl FnMut(u32, SeriesId),
    ) {
        let own = &mut self.own;
        let take = |id, slot: &mut Slot| {
            if slot.alias_of == OWN {
                take(id, std::mem::take(&mut slot.gauge));
            }
        };
        self.cells.close(idle_max, take, |at, id| {
            if own.get(&id) == Some(&at) {
                own.remove(&id);
            }
            gone(at, id);
        });
    }
}

impl Gauge {
    pub fn set(&mut self, value: f64, now_ms: i64) {
        let (min, max) = self.extremes.unwrap_or((value, value));
        *self = Gauge {
            set: Some((value, now_ms)),
            change: 0.0,
            extremes: Some((min.min(value), max.max(value))),
        };
    }

    /// False when the change was left out, as the value would be infinite.
    pub fn change(&mut self, by: f64) -> bool {
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
