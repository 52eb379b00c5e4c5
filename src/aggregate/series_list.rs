//! What outlives a window of the series of one kind: ascending by number, with
//! when each was heard last.
//!
//! Numbers are given in order, so that new series come at the end and what a
//! table hands on is nearly in order too: a flush goes through both side by
//! side, and no map is needed.

use crate::model::SeriesId;

/// Times of hearing are kept in steps of two seconds, so that they and a flag
/// take four bytes until 2106.
const STEP_MS: i64 = 2000;
const ALIVE: u32 = 1 << 31;

/// See the module's head.
#[derive(Debug)]
pub struct SeriesList<T> {
    entries: Vec<Entry<T>>,
}

/// A series of a list.
#[derive(Clone, Copy, Debug)]
pub struct Entry<T> {
    pub id: SeriesId,
    pub heard: Heard,
    pub value: T,
}

/// When a series was heard last, never too early and by less than two seconds
/// too late; and whether it is alive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard(u32);

impl Heard {
    /// At the end of a window that it had values in.
    pub fn at(ms: i64, alive: bool) -> Self {
        let steps = ms.saturating_add(STEP_MS - 1).div_euclid(STEP_MS).clamp(0, i64::from(ALIVE - 1)) as u32;
        Heard(steps | if alive { ALIVE } else { 0 })
    }

    pub fn is_alive(self) -> bool {
        self.0 & ALIVE != 0
    }

    pub fn dead(self) -> Self {
        Heard(self.0 & !ALIVE)
    }

    /// Ms since the epoch; `None`: never.
    pub fn ms(self) -> Option<i64> {
        let steps = i64::from(self.dead().0);
        (steps > 0).then_some(steps * STEP_MS)
    }
}

impl<T> Default for SeriesList<T> {
    fn default() -> Self {
        SeriesList { entries: Vec::new() }
    }
}

impl<T> SeriesList<T> {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Entry<T>> {
        self.entries.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry<T>> {
        self.entries.iter_mut()
    }

    /// Adds a series unless it is there.
    pub fn add(&mut self, entry: Entry<T>) {
        let at = match self.entries.last() {
            Some(last) if entry.id <= last.id => match self.search(entry.id) {
                Ok(_) => return,
                Err(at) => at,
            },
            _ => self.entries.len(),
        };
        if self.entries.len() == self.entries.capacity() {
            // In eighths: of many series twice the memory would be a waste.
            self.entries.reserve_exact(64 + self.entries.len() / 8);
        }
        self.entries.insert(at, entry);
    }

    pub fn get(&self, id: SeriesId) -> Option<&Entry<T>> {
        self.search(id).ok().and_then(|at| self.entries.get(at))
    }

    /// Calls `each` with what `items` have of series that are here. Fast when
    /// they are in order.
    pub fn join<I>(&mut self, items: Vec<(SeriesId, I)>, mut each: impl FnMut(&mut Entry<T>, I)) {
        let mut at = 0;
        for (id, item) in items {
            at = self.from(at, id);
            if let Some(entry) = self.entries.get_mut(at).filter(|entry| entry.id == id) {
                each(entry, item);
            }
        }
    }

    pub fn retain(&mut self, mut keep: impl FnMut(&Entry<T>) -> bool) {
        self.entries.retain(|entry| keep(entry));
        if self.entries.len() < self.entries.capacity() / 2 {
            self.entries.shrink_to_fit();
        }
    }

    /// The first place whose number is not less than `id`, looked for from `at`
    /// on in growing steps.
    fn from(&self, at: usize, id: SeriesId) -> usize {
        let less = |at: usize| self.entries.get(at).is_some_and(|entry| entry.id < id);
        if !less(at) {
            let before = at.checked_sub(1).and_then(|before| self.entries.get(before));
            return match before {
                Some(before) if before.id >= id => self.search(id).unwrap_or_else(|at| at),
                _ => at,
            };
        }
        let mut step = 1;
        while less(at + step) {
            step *= 2;
        }
        let (low, high) = (at + step / 2, (at + step).min(self.entries.len()));
        low + self.entries.get(low..high).unwrap_or_default().partition_point(|entry| entry.id < id)
    }

    fn search(&self, id: SeriesId) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&id, |entry| entry.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn times_of_hearing_are_never_too_early() {
        for (ms, expected) in [
            (1_763_974_800_000, Some(1_763_974_800_000)),
            (1_763_974_800_001, Some(1_763_974_802_000)),
            (0, None),
            (i64::MIN, None),
        ] {
            for alive in [true, false] {
                let heard = Heard::at(ms, alive);
                assert_eq!((heard.ms(), heard.is_alive(), heard.dead().is_alive()), (expected, alive, false));
            }
        }
        assert_eq!(size_of::<Entry<f64>>(), 16);
    }

    proptest! {
        #[test]
        fn it_is_a_map_in_order(
            ids in prop::collection::vec(0u32..300, 0..200),
            mut items in prop::collection::vec((0u32..310, any::<u8>()), 0..200),
            in_order in any::<bool>(),
        ) {
            let mut list = SeriesList::default();
            let mut model = BTreeMap::new();
            for id in ids {
                list.add(Entry { id: SeriesId(id), heard: Heard::default(), value: 0u32 });
                model.entry(id).or_insert(0u32);
            }
            if in_order {
                items.sort();
            }
            for (id, item) in &items {
                model.entry(*id).and_modify(|value| *value += u32::from(*item));
            }
            let items = items.into_iter().map(|(id, item)| (SeriesId(id), item)).collect();
            list.join(items, |entry, item| entry.value += u32::from(item));
            let told = |list: &SeriesList<u32>| list.iter().map(|e| (e.id.0, e.value)).collect::<Vec<_>>();
            prop_assert_eq!(told(&list), model.clone().into_iter().collect::<Vec<_>>());
            list.retain(|entry| entry.id.0 % 3 != 0);
            model.retain(|id, _| id % 3 != 0);
            prop_assert_eq!(told(&list), model.into_iter().collect::<Vec<_>>());
        }
    }
}
