//! A set of series' numbers: one bit each, in chunks that equal sets share.
//!
//! Says which series a segment of the log or a block has points of. From one
//! block to the next the sets hardly differ, so that all of them together take
//! little more than one.

use super::coding::{Reader, put_varint};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Numbers of a chunk, as a power of two.
const CHUNK_BITS: u32 = 12;
const WORDS: usize = 1 << (CHUNK_BITS - 6);

type Chunk = [u64; WORDS];

/// See the module's head. Clones share their chunks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct IdSet {
    chunks: BTreeMap<u32, Arc<Chunk>>,
}

impl IdSet {
    pub(super) fn insert(&mut self, id: u32) {
        let chunk = self.chunks.entry(id >> CHUNK_BITS).or_insert_with(|| Arc::new([0; WORDS]));
        let (word, bit) = place(id);
        if let Some(word) = Arc::make_mut(chunk).get_mut(word) {
            *word |= bit;
        }
    }

    /// The set of ids that ascend; others are taken as well, slower.
    pub(super) fn of_ascending(ids: impl IntoIterator<Item = u32>) -> Self {
        let mut set = IdSet::default();
        let mut gathered: Option<(u32, Chunk)> = None;
        for id in ids {
            let key = id >> CHUNK_BITS;
            if gathered.as_ref().is_none_or(|(other, _)| *other != key) {
                set.take_in(gathered.replace((key, [0; WORDS])));
            }
            let (word, bit) = place(id);
            if let Some(word) = gathered.as_mut().and_then(|(_, chunk)| chunk.get_mut(word)) {
                *word |= bit;
            }
        }
        set.take_in(gathered);
        set
    }

    fn take_in(&mut self, gathered: Option<(u32, Chunk)>) {
        let Some((key, chunk)) = gathered else { return };
        match self.chunks.get_mut(&key) {
            None => drop(self.chunks.insert(key, Arc::new(chunk))),
            Some(ours) => {
                Arc::make_mut(ours).iter_mut().zip(chunk).for_each(|(ours, word)| *ours |= word);
            }
        }
    }

    /// Its ids that are not in `other`, ascending.
    pub(super) fn minus<'a>(&'a self, other: &'a IdSet) -> impl Iterator<Item = u32> + 'a {
        self.chunks.iter().flat_map(move |(key, ours)| {
            let theirs = other.chunks.get(key).filter(|theirs| !Arc::ptr_eq(ours, theirs));
            let same = other.chunks.get(key).is_some_and(|theirs| Arc::ptr_eq(ours, theirs));
            let words = if same { 0 } else { WORDS };
            ours.iter().enumerate().take(words).flat_map(move |(at, word)| {
                let word = word & !theirs.and_then(|theirs| theirs.get(at)).copied().unwrap_or_default();
                let base = (key << CHUNK_BITS) + (at as u32) * 64;
                bits(word).map(move |bit| base + bit)
            })
        })
    }

    pub(super) fn contains(&self, id: u32) -> bool {
        self.chunks.get(&(id >> CHUNK_BITS)).is_some_and(|chunk| has(chunk, id))
    }

    /// Answers the same for many numbers, faster where they are near each other.
    pub(super) fn lookup(&self) -> Lookup<'_> {
        Lookup { set: self, chunk: None, key: None }
    }

    pub(super) fn len(&self) -> usize {
        self.chunks.values().flat_map(|chunk| chunk.iter()).map(|word| word.count_ones() as usize).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.chunks.iter().flat_map(|(key, chunk)| {
            chunk.iter().enumerate().flat_map(move |(at, word)| {
                let base = (key << CHUNK_BITS) + (at as u32) * 64;
                bits(*word).map(move |bit| base + bit)
            })
        })
    }

    /// Takes in all of `other`.
    pub(super) fn unite(&mut self, other: &IdSet) {
        for (key, theirs) in &other.chunks {
            match self.chunks.get_mut(key) {
                None => {
                    self.chunks.insert(*key, Arc::clone(theirs));
                }
                Some(ours) if Arc::ptr_eq(ours, theirs) => {}
                Some(ours) if theirs.iter().zip(ours.iter()).all(|(theirs, ours)| theirs & !ours == 0) => {}
                Some(ours) => {
                    let ours = Arc::make_mut(ours).iter_mut();
                    ours.zip(theirs.iter()).for_each(|(ours, theirs)| *ours |= theirs);
                }
            }
        }
    }

    /// Whether all of it are in `other` as well.
    pub(super) fn is_within(&self, other: &IdSet) -> bool {
        self.chunks.iter().all(|(key, ours)| {
            let theirs = other.chunks.get(key);
            theirs.is_some_and(|theirs| {
                ours.iter().zip(theirs.iter()).all(|(ours, theirs)| ours & !theirs == 0)
            }) || ours.iter().all(|word| *word == 0)
        })
    }

    /// Shares the chunks that are the same in `other`.
    pub(super) fn share(&mut self, other: &IdSet) {
        for (key, ours) in &mut self.chunks {
            if let Some(theirs) = other.chunks.get(key).filter(|theirs| *theirs == ours) {
                *ours = Arc::clone(theirs);
            }
        }
    }

    /// Bytes of memory, its part of what it shares.
    pub(super) fn memory(&self) -> usize {
        let chunk = |chunk: &Arc<Chunk>| size_of::<Chunk>() / Arc::strong_count(chunk).max(1) + 32;
        self.chunks.values().map(chunk).sum()
    }

    /// Writes it as runs.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for id in self.iter() {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == id => *last = id,
                _ => runs.push((id, id)),
            }
        }
        put_varint(out, runs.len() as u64);
        let mut before = 0;
        for (first, last) in runs {
            put_varint(out, u64::from(first - before));
            put_varint(out, u64::from(last - first));
            before = last;
        }
    }

    /// Reads what [`IdSet::put`] wrote; `None` when it is not that, or has more
    /// than `most` numbers.
    pub(super) fn read(reader: &mut Reader<'_>, most: u64) -> Option<IdSet> {
        let mut set = IdSet::default();
        let (mut before, mut total) = (0u64, 0u64);
        for _ in 0..reader.count()? {
            let first = before.checked_add(reader.varint()?)?;
            let last = first.checked_add(reader.varint()?)?;
            total = total.checked_add(last - first + 1).filter(|total| *total <= most)?;
            let last = u32::try_from(last).ok()?;
            (first as u32..=last).for_each(|id| set.insert(id));
            before = u64::from(last);
        }
        Some(set)
    }
}

impl FromIterator<u32> for IdSet {
    fn from_iter<I: IntoIterator<Item = u32>>(ids: I) -> Self {
        let mut set = IdSet::default();
        ids.into_iter().for_each(|id| set.insert(id));
        set
    }
}

/// See [`IdSet::lookup`].
pub(super) struct Lookup<'a> {
    set: &'a IdSet,
    key: Option<u32>,
    chunk: Option<&'a Chunk>,
}

impl Lookup<'_> {
    pub(super) fn contains(&mut self, id: u32) -> bool {
        let key = id >> CHUNK_BITS;
        if self.key != Some(key) {
            self.key = Some(key);
            self.chunk = self.set.chunks.get(&key).map(|chunk| &**chunk);
        }
        self.chunk.is_some_and(|chunk| has(chunk, id))
    }
}

fn place(id: u32) -> (usize, u64) {
    let within = id & ((1 << CHUNK_BITS) - 1);
    ((within / 64) as usize, 1 << (within % 64))
}

fn has(chunk: &Chunk, id: u32) -> bool {
    let (word, bit) = place(id);
    chunk.get(word).is_some_and(|word| word & bit != 0)
}

fn bits(mut word: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let bit = word.trailing_zeros();
        (word != 0).then(|| {
            word &= word - 1;
            bit
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn equal_sets_take_little_more_than_one() {
        let one: IdSet = (0..100_000).collect();
        let mut others: Vec<IdSet> = (0..20).map(|_| (0..100_001).collect()).collect();
        others.iter_mut().for_each(|other| other.share(&one));
        let all = one.memory() + others.iter().map(IdSet::memory).sum::<usize>();
        assert!(all < 100_000 / 8 + 21 * 25 * 64 + 20 * 600, "{all}");
    }

    proptest! {
        #[test]
        fn it_is_a_set(
            left in prop::collection::btree_set(0u32..9_000, 0..300),
            right in prop::collection::btree_set(prop_oneof![0u32..9_000, any::<u32>()], 0..300),
        ) {
            let (a, b): (IdSet, IdSet) = (left.iter().copied().collect(), right.iter().copied().collect());
            prop_assert!(a.iter().eq(left.iter().copied()));
            prop_assert_eq!((a.len(), a.is_empty()), (left.len(), left.is_empty()));
            prop_assert_eq!(a.is_within(&b), left.is_subset(&right));
            let mut lookup = b.lookup();
            prop_assert!(a.minus(&a.clone()).next().is_none());
            for id in &left {
                prop_assert_eq!((b.contains(*id), lookup.contains(*id)), (right.contains(id), right.contains(id)));
            }
            prop_assert!(a.minus(&b).eq(left.difference(&right).copied()));
            prop_assert_eq!(&IdSet::of_ascending(left.iter().copied()), &a);
            prop_assert_eq!(&IdSet::of_ascending(left.iter().rev().copied()), &a);
            let mut both = a.clone();
            both.unite(&b);
            let united: BTreeSet<u32> = left.union(&right).copied().collect();
            prop_assert!(both.iter().eq(united.iter().copied()));
            let mut shared = b.clone();
            shared.share(&a);
            prop_assert_eq!(&shared, &b);
            let mut out = Vec::new();
            b.put(&mut out);
            let read = |most| IdSet::read(&mut Reader::new(&out), most);
            prop_assert_eq!(read(right.len() as u64), Some(b.clone()));
            prop_assert!(right.is_empty() || read(right.len() as u64 - 1).is_none());
        }

        #[test]
        fn foreign_bytes_do_no_harm(bytes: Vec<u8>) {
            let _ = IdSet::read(&mut Reader::new(&bytes), 100_000);
        }
    }
}
