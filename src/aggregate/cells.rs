//! The values of one type in a table, found by spelling: a spelling has a cell,
//! and cells of forgotten spellings are used again.
//!
//! A cell's number is good until it is let go, which only [`Cells::close`]
//! does. Cells stand in chunks that never move, and the index is in shards that
//! grow one after the other, so that no packet waits for a great move.

use super::spelling::Spelling;
use crate::model::SeriesId;
use hashbrown::HashTable;

const CHUNK: usize = 4096;
const SHARDS: usize = 64;
/// Stands for windows without a value in a cell that is nobody's.
const FREE: u8 = u8::MAX;

/// Values of one type, with the series they belong to.
#[derive(Debug)]
pub struct Cells<T> {
    shards: Box<[HashTable<u32>]>,
    chunks: Vec<Vec<Cell<T>>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Cell<T> {
    hash: u64,
    id: SeriesId,
    check: u16,
    /// Windows since the last value; 0: the open one has some.
    idle_windows: u8,
    effect: u8,
    value: T,
}

impl<T> Default for Cells<T> {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| HashTable::new()).collect();
        Cells { shards, chunks: Vec::new(), free: Vec::new() }
    }
}

impl<T: Default> Cells<T> {
    /// Cells in use.
    pub fn len(&self) -> usize {
        let made = self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len());
        made - self.free.len()
    }

    /// The cell of a spelling, and what a mapping does to its values.
    #[inline]
    pub fn find(&self, spelling: Spelling) -> Option<(u32, u8)> {
        let found = self.shards[shard(spelling.hash)].find(spelling.hash, |at| {
            let cell = self.cell(*at);
            cell.hash == spelling.hash && cell.check == spelling.check
        });
        found.map(|at| (*at, self.cell(*at).effect))
    }

    /// A cell for a spelling that has none; no value is in the window yet.
    pub fn add(&mut self, spelling: Spelling, id: SeriesId, effect: u8) -> u32 {
        let (hash, check) = (spelling.hash, spelling.check);
        let cell = Cell { hash, check, id, effect, idle_windows: 1, value: T::default() };
        let at = match self.free.pop() {
            Some(at) => {
                *self.cell_mut(at) = cell;
                at
            }
            None => {
                if self.chunks.last().is_none_or(|last| last.len() == CHUNK) {
                    self.chunks.push(Vec::with_capacity(if self.chunks.is_empty() { 0 } else { CHUNK }));
                }
                let full = (self.chunks.len() - 1) * CHUNK;
                let last = &mut self.chunks[full / CHUNK];
                last.push(cell);
                (full + last.len() - 1) as u32
            }
        };
        let chunks = &self.chunks;
        let hash_of = |at: &u32| chunks[*at as usize / CHUNK][*at as usize % CHUNK].hash;
        self.shards[shard(hash)].insert_unique(hash, at, hash_of);
        at
    }

    /// The value of a cell, to be changed: the window has values of it now.
    #[inline]
    pub fn touch(&mut self, at: u32) -> &mut T {
        let cell = self.cell_mut(at);
        cell.idle_windows = 0;
        &mut cell.value
    }

    /// The value of a cell, to be changed without a value in the window.
    pub fn value_mut(&mut self, at: u32) -> &mut T {
        &mut self.cell_mut(at).value
    }

    /// Treats a cell as if it were new, as far as silence goes; says whose it is.
    pub fn renew(&mut self, at: u32) -> SeriesId {
        let cell = self.cell_mut(at);
        cell.idle_windows = cell.idle_windows.min(1);
        cell.id
    }

    /// Whose cell it is.
    pub fn id(&self, at: u32) -> SeriesId {
        self.cell(at).id
    }

    /// How many cells have values in the open window.
    pub fn touched(&self) -> usize {
        self.chunks.iter().flatten().filter(|cell| cell.idle_windows == 0).count()
    }

    /// Hands each value of the closing window to `take`, which leaves it as
    /// new. Spellings that were silent for more than `idle_max` windows go, and
    /// their cells are handed to `gone`.
    pub fn close(
        &mut self,
        idle_max: u8,
        mut take: impl FnMut(SeriesId, &mut T),
        mut gone: impl FnMut(u32, SeriesId),
    ) {
        let (shards, free) = (&mut self.shards, &mut self.free);
        for (chunk_at, chunk) in self.chunks.iter_mut().enumerate() {
            for (cell_at, cell) in chunk.iter_mut().enumerate() {
                if cell.idle_windows == 0 {
                    take(cell.id, &mut cell.value);
                } else if cell.idle_windows == FREE {
                    continue;
                }
                cell.idle_windows = (cell.idle_windows + 1).min(FREE - 1);
                if cell.idle_windows > idle_max {
                    let at = (chunk_at * CHUNK + cell_at) as u32;
                    if let Ok(entry) = shards[shard(cell.hash)].find_entry(cell.hash, |other| *other == at) {
                        entry.remove();
                    }
                    cell.idle_windows = FREE;
                    cell.value = T::default();
                    free.push(at);
                    gone(at, cell.id);
                }
            }
        }
    }

    fn cell(&self, at: u32) -> &Cell<T> {
        &self.chunks[at as usize / CHUNK][at as usize % CHUNK]
    }

    fn cell_mut(&mut self, at: u32) -> &mut Cell<T> {
        &mut self.chunks[at as usize / CHUNK][at as usize % CHUNK]
    }
}

/// The shard of a hash, by bits that the shard itself does not look at first.
fn shard(hash: u64) -> usize {
    (hash >> 40) as usize % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn a_counter_takes_24_bytes() {
        assert_eq!(size_of::<Cell<f64>>(), 24);
    }

    proptest! {
        #[test]
        fn cells_are_a_map_of_spellings_that_forgets_the_silent(
            steps in prop::collection::vec((0u64..40, any::<bool>()), 1..400),
        ) {
            let mut cells = Cells::<f64>::default();
            // By spelling: sum in the window, windows since it was touched.
            let mut model: HashMap<u64, (f64, u8)> = HashMap::new();
            for (name, close) in steps {
                // Hashes that meet: the check tells them apart.
                let spelling = Spelling { hash: name / 2, check: (name % 2) as u16 };
                let id = SeriesId(name as u32);
                prop_assert_eq!(cells.find(spelling).is_some(), model.contains_key(&name));
                let at = cells.find(spelling).map_or_else(|| cells.add(spelling, id, 7), |(at, effect)| {
                    assert_eq!(effect, 7);
                    at
                });
                prop_assert_eq!(cells.id(at), id);
                *cells.touch(at) += 1.0;
                let entry = model.entry(name).or_default();
                *entry = (entry.0 + 1.0, 0);
                if close {
                    let (mut taken, mut gone) = (Vec::new(), Vec::new());
                    prop_assert_eq!(cells.touched(), model.values().filter(|m| m.1 == 0).count());
                    cells.close(2, |id, value| taken.push((id, std::mem::take(value))), |_, id| gone.push(id));
                    let mut expected: Vec<_> =
                        model.iter().filter(|(_, m)| m.1 == 0).map(|(name, m)| (SeriesId(*name as u32), m.0)).collect();
                    taken.sort_by_key(|(id, _)| *id);
                    expected.sort_by_key(|(id, _)| *id);
                    prop_assert_eq!(taken, expected);
                    model.values_mut().for_each(|m| *m = (0.0, m.1 + 1));
                    let before = model.len();
                    model.retain(|_, m| m.1 <= 2);
                    prop_assert_eq!(gone.len(), before - model.len());
                }
                prop_assert_eq!(cells.len(), model.len());
            }
        }
    }
}
