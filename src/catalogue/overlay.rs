//! Keys that came since the dictionary was made: in the order they came, with
//! a hash index.

use crate::model::MetricType;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// See the module's head. Ids ascend.
#[derive(Debug, Default)]
pub struct Overlay {
    hasher: RandomState,
    /// Keys, one after the other.
    arena: Vec<u8>,
    /// End of each key in the arena, and its id.
    entries: Vec<(usize, u32)>,
    index: HashTable<u32>,
    /// First type of each name, by the hash of the name's part of a key.
    types: HashTable<(u64, MetricType)>,
}

impl Overlay {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The id of `key`.
    pub fn find(&self, key: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one(key);
        let at = *self.index.find(hash, |at| self.key_at(*at as usize) == key)?;
        self.entries.get(at as usize).map(|(_, id)| *id)
    }

    /// The type of the first key that came with this name (a key's part), of
    /// those whose names are theirs.
    pub fn type_of(&self, name: &[u8]) -> Option<MetricType> {
        let hash = self.hasher.hash_one(name);
        self.types.find(hash, |(known, _)| *known == hash).map(|(_, metric_type)| *metric_type)
    }

    /// Adds a key that is not there, with an id above all others. `name` is
    /// its part that all series of its name share.
    pub fn push(&mut self, key: &[u8], name: &[u8], metric_type: MetricType, id: u32) {
        let name_hash = self.hasher.hash_one(name);
        if metric_type != MetricType::Sampled
            && self.types.find(name_hash, |(known, _)| *known == name_hash).is_none()
        {
            self.types.insert_unique(name_hash, (name_hash, metric_type), |(hash, _)| *hash);
        }
        let at = self.entries.len() as u32;
        self.arena.extend_from_slice(key);
        self.entries.push((self.arena.len(), id));
        let (hasher, arena, entries) = (&self.hasher, &self.arena, &self.entries);
        let hash = hasher.hash_one(key);
        self.index.insert_unique(hash, at, |at| hasher.hash_one(slice(arena, entries, *at as usize)));
    }

    /// The key of `id`.
    pub fn key(&self, id: u32) -> Option<&[u8]> {
        let at = self.entries.binary_search_by_key(&id, |(_, id)| *id).ok()?;
        Some(self.key_at(at))
    }

    /// All keys with their ids, in the order they came.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], u32)> {
        self.entries.iter().enumerate().map(|(at, (_, id))| (self.key_at(at), *id))
    }

    /// All keys with their ids, ascending by key.
    pub fn sorted(&self) -> Vec<(&[u8], u32)> {
        let mut sorted: Vec<_> = self.iter().collect();
        sorted.sort_unstable();
        sorted
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        self.arena.capacity()
            + self.entries.capacity() * 16
            + self.index.allocation_size()
            + self.types.allocation_size()
    }

    fn key_at(&self, at: usize) -> &[u8] {
        slice(&self.arena, &self.entries, at)
    }
}

fn slice<'a>(arena: &'a [u8], entries: &[(usize, u32)], at: usize) -> &'a [u8] {
    let start = at.checked_sub(1).and_then(|before| entries.get(before)).map_or(0, |(end, _)| *end);
    let end = entries.get(at).map_or(start, |(end, _)| *end);
    arena.get(start..end).unwrap_or_default()
}
