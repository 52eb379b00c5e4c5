//! Many keys with their ids, one behind the other in one piece of memory.

/// See the module's head.
#[derive(Clone, Debug, Default)]
pub struct KeyList {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    start: u64,
    length: u32,
    id: u32,
}

impl KeyList {
    pub fn push(&mut self, key: &[u8], id: u32) {
        self.entries.push(Entry { start: self.bytes.len() as u64, length: key.len() as u32, id });
        self.bytes.extend_from_slice(key);
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Sorts by key. Of equal keys the one with the greatest id stays; returns
    /// the ids of the others.
    pub fn sort(&mut self) -> Vec<u32> {
        let KeyList { bytes, entries } = self;
        // Stable, as it makes use of runs that are sorted already.
        entries.sort_by(|a, b| (slice(bytes, a), a.id).cmp(&(slice(bytes, b), b.id)));
        let mut left_out = Vec::new();
        entries.dedup_by(|next, kept| {
            let same = slice(bytes, next) == slice(bytes, kept);
            if same && next.id != kept.id {
                left_out.push(kept.id);
                *kept = *next;
            }
            same
        });
        left_out
    }

    /// Keys and ids in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], u32)> {
        self.entries.iter().map(|entry| (slice(&self.bytes, entry), entry.id))
    }
}

fn slice<'a>(bytes: &'a [u8], entry: &Entry) -> &'a [u8] {
    let start = entry.start as usize;
    bytes.get(start..start + entry.length as usize).unwrap_or_default()
}
