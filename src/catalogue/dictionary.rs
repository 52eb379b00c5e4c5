//! An immutable, sorted dictionary of keys, front-coded.
//!
//! Keys stand in blocks of [`BLOCK`]: the first whole, each other one as how
//! much it shares with the one before and what follows. Names of StatsD share
//! long beginnings, so that a key of 45 bytes takes about ten. Beside the bytes
//! there are four of the id and four of the position for each key.

/// Keys of a block.
const BLOCK: usize = 16;
/// Stands for "no position".
const NONE: u32 = u32::MAX;

/// See the module's head. Keys are unique and ascending.
#[derive(Debug, Default)]
pub struct Dictionary {
    bytes: Box<[u8]>,
    /// Where each block begins.
    blocks: Box<[usize]>,
    /// The id of each key, by position.
    ids: Box<[u32]>,
    /// The position of each id, from `first_id` on.
    positions: Box<[u32]>,
    first_id: u32,
}

/// Puts a dictionary together; keys come in ascending order.
#[derive(Debug, Default)]
pub struct Builder {
    bytes: Vec<u8>,
    blocks: Vec<usize>,
    ids: Vec<u32>,
    last: Vec<u8>,
}

impl Builder {
    pub fn push(&mut self, key: &[u8], id: u32) {
        debug_assert!(self.ids.is_empty() || self.last.as_slice() < key, "keys ascend");
        if self.ids.len().is_multiple_of(BLOCK) {
            self.blocks.push(self.bytes.len());
            put_length(&mut self.bytes, key.len());
            self.bytes.extend_from_slice(key);
        } else {
            let shared = self.last.iter().zip(key).take_while(|(a, b)| a == b).count();
            put_length(&mut self.bytes, shared);
            put_length(&mut self.bytes, key.len() - shared);
            self.bytes.extend_from_slice(key.get(shared..).unwrap_or_default());
        }
        self.ids.push(id);
        self.last.clear();
        self.last.extend_from_slice(key);
    }

    pub fn build(mut self) -> Dictionary {
        self.bytes.shrink_to_fit();
        let first_id = self.ids.iter().copied().min().unwrap_or_default();
        let last_id = self.ids.iter().copied().max();
        let span = last_id.map_or(0, |last| (last - first_id) as usize + 1);
        let mut positions = vec![NONE; span];
        for (position, id) in self.ids.iter().enumerate() {
            if let Some(slot) = positions.get_mut((id - first_id) as usize) {
                *slot = position as u32;
            }
        }
        Dictionary {
            bytes: self.bytes.into(),
            blocks: self.blocks.into(),
            ids: self.ids.into(),
            positions: positions.into(),
            first_id,
        }
    }
}

impl Dictionary {
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The id of `key`.
    pub fn find(&self, key: &[u8]) -> Option<u32> {
        let mut cursor = self.from(key);
        let id = cursor.advance()?;
        (cursor.key() == key).then_some(id)
    }

    /// The key of `id`.
    pub fn key(&self, id: u32) -> Option<Vec<u8>> {
        let position = *self.positions.get(id.checked_sub(self.first_id)? as usize)?;
        if position == NONE {
            return None;
        }
        let mut cursor = self.block_cursor(position as usize / BLOCK);
        for _ in 0..=position as usize % BLOCK {
            cursor.advance()?;
        }
        Some(cursor.key)
    }

    /// A cursor before the first key that is not less than `key`.
    pub fn from(&self, key: &[u8]) -> Cursor<'_> {
        // The last block whose first key is not greater can hold it.
        let after = self.blocks.partition_point(|at| self.first_key(*at) <= key);
        let mut cursor = self.block_cursor(after.saturating_sub(1));
        while let Some(id) = cursor.advance() {
            if cursor.key() >= key {
                cursor.ahead = Some(id);
                break;
            }
        }
        cursor
    }

    /// A cursor before the first key of all.
    pub fn start(&self) -> Cursor<'_> {
        self.block_cursor(0)
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        self.bytes.len() + self.blocks.len() * 8 + (self.ids.len() + self.positions.len()) * 4
    }

    fn first_key(&self, at: usize) -> &[u8] {
        let mut rest = self.bytes.get(at..).unwrap_or_default();
        let length = length(&mut rest).unwrap_or_default();
        rest.get(..length).unwrap_or_default()
    }

    fn block_cursor(&self, block: usize) -> Cursor<'_> {
        let at = self.blocks.get(block).copied().unwrap_or(self.bytes.len());
        Cursor {
            rest: self.bytes.get(at..).unwrap_or_default(),
            ids: self.ids.get(block * BLOCK..).unwrap_or_default(),
            in_block: 0,
            key: Vec::new(),
            ahead: None,
        }
    }
}

/// Walks the keys in order.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    rest: &'a [u8],
    ids: &'a [u32],
    in_block: usize,
    key: Vec<u8>,
    /// The id of `key`, while it was only looked at.
    ahead: Option<u32>,
}

impl Cursor<'_> {
    /// Goes to the next key and returns its id; `None` after the last.
    pub fn advance(&mut self) -> Option<u32> {
        if let Some(id) = self.ahead.take() {
            return Some(id);
        }
        let (id, ids) = self.ids.split_first()?;
        let shared = if self.in_block == 0 { 0 } else { length(&mut self.rest)? };
        let own = length(&mut self.rest)?;
        let (suffix, rest) = self.rest.split_at_checked(own)?;
        self.key.truncate(shared);
        self.key.extend_from_slice(suffix);
        self.rest = rest;
        self.ids = ids;
        self.in_block = (self.in_block + 1) % BLOCK;
        Some(*id)
    }

    /// The key that was gone to last.
    pub fn key(&self) -> &[u8] {
        &self.key
    }
}

fn put_length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

fn length(bytes: &mut &[u8]) -> Option<usize> {
    let mut length = 0usize;
    for shift in (0..usize::BITS).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(length);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn dictionary(keys: &BTreeMap<Vec<u8>, u32>) -> Dictionary {
        let mut builder = Builder::default();
        keys.iter().for_each(|(key, id)| builder.push(key, *id));
        builder.build()
    }

    #[test]
    fn an_empty_dictionary_has_nothing() {
        let empty = Dictionary::default();
        assert_eq!((empty.find(b"a"), empty.key(0), empty.start().advance()), (None, None, None));
    }

    #[test]
    fn names_that_share_a_beginning_take_few_bytes() {
        let keys: BTreeMap<Vec<u8>, u32> = (0..100_000u32)
            .map(|at| (format!("prod_checkout_web_07_http_requests_{at}\0......\0\x10").into_bytes(), at))
            .collect();
        let bytes = dictionary(&keys).memory() as f64 / keys.len() as f64;
        assert!(bytes < 30.0, "{bytes} bytes a key");
    }

    proptest! {
        #[test]
        fn it_is_a_sorted_map(
            keys in prop::collection::btree_map(prop::collection::vec(0u8..4, 0..6), any::<u16>(), 0..200),
            asked in prop::collection::vec(prop::collection::vec(0u8..4, 0..6), 0..50),
        ) {
            // Ids are unique.
            let keys: BTreeMap<Vec<u8>, u32> = keys
                .into_iter()
                .enumerate()
                .map(|(at, (key, id))| (key, u32::from(id % 7) * 1000 + at as u32))
                .collect();
            let dictionary = dictionary(&keys);
            for key in asked.iter().chain(keys.keys()) {
                prop_assert_eq!(dictionary.find(key), keys.get(key).copied());
                let mut cursor = dictionary.from(key);
                let mut walked = Vec::new();
                while let Some(id) = cursor.advance() {
                    walked.push((cursor.key().to_vec(), id));
                }
                let expected: Vec<_> = keys.range(key.clone()..).map(|(k, id)| (k.clone(), *id)).collect();
                prop_assert_eq!(walked, expected);
            }
            for (key, id) in &keys {
                let found = dictionary.key(*id);
                prop_assert_eq!(found.as_ref(), Some(key));
            }
            prop_assert_eq!(dictionary.key(u32::MAX), None);
        }
    }
}
