//! What series are called, as files have it: the catalogue's keys, ascending,
//! each as what it shares with the one before and what follows, with its id.

use super::coding::{Reader, put_signed, put_varint};

/// Writes names; keys come in ascending order.
#[derive(Debug, Default)]
pub(super) struct NameWriter {
    bytes: Vec<u8>,
    last: Vec<u8>,
    last_id: u32,
}

impl NameWriter {
    pub(super) fn push(&mut self, id: u32, key: &[u8]) {
        let shared = self.last.iter().zip(key).take_while(|(a, b)| a == b).count();
        put_varint(&mut self.bytes, shared as u64);
        put_varint(&mut self.bytes, (key.len() - shared) as u64);
        self.bytes.extend_from_slice(key.get(shared..).unwrap_or_default());
        put_signed(&mut self.bytes, i64::from(id) - i64::from(self.last_id));
        self.last.clear();
        self.last.extend_from_slice(key);
        self.last_id = id;
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Calls `each` with every id and its key; `None` when the bytes are no names.
pub(super) fn read_names(bytes: &[u8], mut each: impl FnMut(u32, &[u8])) -> Option<()> {
    let reader = &mut Reader::new(bytes);
    let (mut key, mut id) = (Vec::new(), 0i64);
    while !reader.is_empty() {
        let shared = usize::try_from(reader.varint()?).ok().filter(|shared| *shared <= key.len())?;
        let own = reader.bytes()?;
        key.truncate(shared);
        key.extend_from_slice(own);
        id = id.checked_add(reader.signed()?)?;
        each(u32::try_from(id).ok()?, &key);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn names_come_back(
            names in prop::collection::btree_map(prop::collection::vec(0u8..3, 0..6), any::<u32>(), 0..50),
        ) {
            let mut writer = NameWriter::default();
            names.iter().for_each(|(key, id)| writer.push(*id, key));
            let mut read = BTreeMap::new();
            read_names(&writer.into_bytes(), |id, key| { read.insert(key.to_vec(), id); }).unwrap();
            prop_assert_eq!(read, names);
        }

        #[test]
        fn foreign_bytes_do_no_harm(bytes: Vec<u8>) {
            let _ = read_names(&bytes, |_, _| {});
        }
    }
}
