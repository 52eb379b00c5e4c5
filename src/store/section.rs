//! What a file holds of many series, ascending by their numbers, in groups
//! with a table of where each begins: a series is found by reading a page of
//! the table and one group.
//!
//! In memory are two numbers a page of the table. Groups are read when they are
//! asked for; each has its checksum in the table.

use super::backend::File;
use super::coding::Reader;
use std::io;

/// First id, offset, checksum of a group.
pub(super) const ENTRY_BYTES: usize = 12;
/// Groups of a page.
const PAGE_GROUPS: usize = 64;
/// Its entries, and the one that follows them: it tells where the last group ends.
const PAGE_BYTES: usize = (PAGE_GROUPS + 1) * ENTRY_BYTES;
/// Groups that lie together are read at once, up to about so much.
const READ_BYTES: usize = 1 << 20;

/// A section of a file. See the module's head.
#[derive(Debug)]
pub(super) struct Section {
    groups: u32,
    data_bytes: u32,
    /// Places in the file.
    data_at: u64,
    table_at: u64,
    pages: Box<[Page]>,
}

/// A page of the table.
#[derive(Clone, Copy, Debug)]
struct Page {
    first_id: u32,
    /// Checksum of its entries, and of the one that follows them.
    crc: u32,
}

/// A group as it lies in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group<'a> {
    pub(super) first_id: u32,
    /// Place in the file.
    pub(super) at: u64,
    pub(super) bytes: &'a [u8],
    /// Whether its checksum is right.
    pub(super) is_sound: bool,
}

/// Which series are asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wanted<'a> {
    /// Ascending, each once.
    Ids(&'a [u32]),
    /// From the first through the last.
    Range(u32, u32),
}

/// Memory that reading uses again and again.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    page: Vec<u8>,
    groups: Vec<u8>,
}

/// Table of a section that is being written.
#[derive(Debug, Default)]
pub(super) struct Table {
    bytes: Vec<u8>,
}

impl Table {
    /// Notes a group that begins `offset` bytes behind the section's start.
    pub(super) fn push(&mut self, first_id: u32, offset: u32, group: &[u8]) {
        self.bytes.extend_from_slice(&first_id.to_le_bytes());
        self.bytes.extend_from_slice(&offset.to_le_bytes());
        self.bytes.extend_from_slice(&crc32fast::hash(group).to_le_bytes());
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn groups(&self) -> usize {
        self.bytes.len() / ENTRY_BYTES
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    first_id: u32,
    offset: u32,
    crc: u32,
}

impl Section {
    /// `table` are the bytes at `table_at`, whose checksum was verified; `None`
    /// when they are no table.
    pub(super) fn new(data_at: u64, data_bytes: u32, table_at: u64, table: &[u8]) -> Option<Section> {
        let groups = table.len() / ENTRY_BYTES;
        let mut before: Option<Entry> = None;
        for at in 0..groups {
            let entry = entry(table, at)?;
            let follows = before.map_or(entry.offset == 0, |before| {
                before.first_id < entry.first_id && before.offset < entry.offset
            });
            if !follows || entry.offset >= data_bytes {
                return None;
            }
            before = Some(entry);
        }
        let page = |first: usize| {
            let rest = table.get(first * ENTRY_BYTES..)?;
            let crc = crc32fast::hash(rest.get(..PAGE_BYTES).unwrap_or(rest));
            Some(Page { first_id: entry(rest, 0)?.first_id, crc })
        };
        let pages: Option<Box<[Page]>> = (0..groups).step_by(PAGE_GROUPS).map(page).collect();
        let whole = table.len().is_multiple_of(ENTRY_BYTES) && (groups > 0 || data_bytes == 0);
        let (groups, pages) = (u32::try_from(groups).ok()?, pages?);
        whole.then_some(Section { groups, data_bytes, data_at, table_at, pages })
    }

    /// Calls `each` with every group that may hold one of `wanted`, in order.
    /// Says whether all of them were sound: their checksums, and `each`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn visit(
        &self,
        file: &dyn File,
        wanted: Wanted<'_>,
        buffers: &mut Buffers,
        mut each: impl FnMut(&[u8]) -> bool,
    ) -> io::Result<bool> {
        let mut sound = true;
        let mut next = wanted.next(0);
        while let Some(id) = next {
            let Some(page) = self.pages.partition_point(|page| page.first_id <= id).checked_sub(1) else {
                next = self.pages.first().and_then(|page| wanted.next(u64::from(page.first_id)));
                continue;
            };
            let is_same = self.read_page(file, page, &mut buffers.page)?;
            let end = self.pages.get(page + 1).map_or(u64::MAX, |page| u64::from(page.first_id));
            if !is_same {
                // Nothing can be looked up in it; each group that it still tells of is sound or not.
                sound = false;
                for at in 0..(buffers.page.len() / ENTRY_BYTES).min(PAGE_GROUPS) {
                    self.visit_run(file, page, at..=at, buffers, &mut each)?;
                }
                next = wanted.next(end);
            }
            while let Some(id) = next.filter(|id| u64::from(*id) < end) {
                let (first, last) = run(&buffers.page, id, wanted, end, &mut next);
                sound &= self.visit_run(file, page, first..=last, buffers, &mut each)?;
            }
        }
        Ok(sound)
    }

    /// Calls `each` with every group in order, sound or not.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn groups(&self, file: &dyn File, mut each: impl FnMut(Group<'_>)) -> io::Result<()> {
        let (mut page, mut bytes) = (Vec::new(), Vec::new());
        for first in 0..self.pages.len() {
            self.read_page(file, first, &mut page)?;
            for at in 0..(page.len() / ENTRY_BYTES).min(PAGE_GROUPS) {
                let Some(group) = entry(&page, at) else { break };
                let end = entry(&page, at + 1).map_or(self.data_bytes, |next| next.offset);
                let place = self.data_at + u64::from(group.offset);
                bytes.clear();
                bytes.resize(end.min(self.data_bytes).saturating_sub(group.offset) as usize, 0);
                file.read_at(&mut bytes, place)?;
                let is_sound = crc32fast::hash(&bytes) == group.crc;
                each(Group { first_id: group.first_id, at: place, bytes: &bytes, is_sound });
            }
        }
        Ok(())
    }

    /// Bytes of memory.
    pub(super) fn memory(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.pages)
    }

    pub(super) fn data_bytes(&self) -> u32 {
        self.data_bytes
    }

    /// Reads the page's entries, and the one that follows them, if any; whether the
    /// page is as it was when the table was verified.
    fn read_page(&self, file: &dyn File, page: usize, out: &mut Vec<u8>) -> io::Result<bool> {
        let first = page * PAGE_GROUPS;
        let count = (self.groups as usize - first).min(PAGE_GROUPS + 1);
        out.clear();
        out.resize(count * ENTRY_BYTES, 0);
        file.read_at(out, self.table_at + (first * ENTRY_BYTES) as u64)?;
        Ok(self.pages.get(page).is_some_and(|page| page.crc == crc32fast::hash(out)))
    }

    fn visit_run(
        &self,
        file: &dyn File,
        page: usize,
        run: std::ops::RangeInclusive<usize>,
        buffers: &mut Buffers,
        each: &mut impl FnMut(&[u8]) -> bool,
    ) -> io::Result<bool> {
        let end_of = |at: usize| match entry(&buffers.page, at + 1) {
            Some(next) if page * PAGE_GROUPS + at + 1 < self.groups as usize => next.offset,
            _ => self.data_bytes,
        };
        let Some(first) = entry(&buffers.page, *run.start()) else { return Ok(false) };
        let end = end_of(*run.end());
        // The table may have changed since it was verified.
        if first.offset > end || end > self.data_bytes {
            return Ok(false);
        }
        buffers.groups.clear();
        buffers.groups.resize((end - first.offset) as usize, 0);
        file.read_at(&mut buffers.groups, self.data_at + u64::from(first.offset))?;
        let mut sound = true;
        for at in run {
            let group = entry(&buffers.page, at).and_then(|entry| {
                let start = entry.offset.checked_sub(first.offset)? as usize;
                let group = buffers.groups.get(start..end_of(at).checked_sub(first.offset)? as usize)?;
                (crc32fast::hash(group) == entry.crc).then_some(group)
            });
            sound &= group.is_some_and(&mut *each);
        }
        Ok(sound)
    }
}

/// The groups of a page that lie together and may hold `id` and wanted ones
/// after it; moves `next` behind them.
fn run(page: &[u8], id: u32, wanted: Wanted<'_>, end: u64, next: &mut Option<u32>) -> (usize, usize) {
    let count = (page.len() / ENTRY_BYTES).min(PAGE_GROUPS);
    let after = |at: usize| match entry(page, at + 1) {
        Some(entry) if at + 1 < count => u64::from(entry.first_id),
        _ => end,
    };
    let first = partition(count, |at| entry(page, at).is_some_and(|entry| entry.first_id <= id));
    let first = first.saturating_sub(1);
    let offset = |at: usize| entry(page, at).map_or(0, |entry| entry.offset as usize);
    let mut last = first;
    *next = wanted.next(after(last).max(u64::from(id) + 1));
    while last + 1 < count
        && next.is_some_and(|next| u64::from(next) < after(last + 1))
        && offset(last + 1).saturating_sub(offset(first)) < READ_BYTES
    {
        last += 1;
        *next = wanted.next(after(last));
    }
    (first, last)
}

/// How many of the first `count` numbers fulfil `is`, which all do up to some.
fn partition(count: usize, is: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = (low + high) / 2;
        if is(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

fn entry(table: &[u8], at: usize) -> Option<Entry> {
    let mut reader = Reader::new(table.get(at * ENTRY_BYTES..(at + 1) * ENTRY_BYTES)?);
    Some(Entry { first_id: reader.fixed_u32()?, offset: reader.fixed_u32()?, crc: reader.fixed_u32()? })
}

impl Wanted<'_> {
    /// Every series.
    pub(super) const ALL: Wanted<'static> = Wanted::Range(0, u32::MAX);

    /// The first one that is not less than `from`.
    fn next(&self, from: u64) -> Option<u32> {
        match self {
            Wanted::Ids(ids) => ids.get(ids.partition_point(|id| u64::from(*id) < from)).copied(),
            Wanted::Range(first, last) => {
                let next = u32::try_from(from).ok()?.max(*first);
                (next <= *last).then_some(next)
            }
        }
    }

    /// Places in `ids`, which ascend, of those that are wanted.
    pub(super) fn places(&self, ids: &[u32], out: &mut Vec<usize>) {
        out.clear();
        match self {
            Wanted::Range(first, last) => {
                let start = ids.partition_point(|id| id < first);
                out.extend(start..ids.partition_point(|id| id <= last));
            }
            Wanted::Ids(wanted) => {
                let from = ids.first().map_or(0, |first| wanted.partition_point(|id| id < first));
                let mut wanted = wanted.get(from..).unwrap_or_default().iter().peekable();
                for (place, id) in ids.iter().enumerate() {
                    while wanted.next_if(|wanted| *wanted < id).is_some() {}
                    if wanted.next_if_eq(&id).is_some() {
                        out.push(place);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::backend::Backend;
    use super::super::memory::MemoryBackend;
    use super::*;
    use proptest::prelude::*;
    use std::path::Path;

    /// Groups of four ids, each id as four bytes.
    fn written(ids: &[u32]) -> (Box<dyn File>, Section, usize) {
        let (mut data, mut table) = (Vec::new(), Table::default());
        for group in ids.chunks(4) {
            let start = data.len();
            group.iter().for_each(|id| data.extend_from_slice(&id.to_le_bytes()));
            table.push(group[0], start as u32, &data[start..]);
        }
        let bytes = data.len();
        data.extend_from_slice(table.bytes());
        let backend = MemoryBackend::new();
        backend.put(Path::new("/f"), &data);
        let section = Section::new(0, bytes as u32, bytes as u64, table.bytes()).unwrap();
        (backend.open(Path::new("/f")).unwrap(), section, bytes)
    }

    fn found(file: &dyn File, section: &Section, wanted: Wanted<'_>) -> (Vec<u32>, bool) {
        let (mut found, mut places) = (Vec::new(), Vec::new());
        let sound = section.visit(file, wanted, &mut Buffers::default(), |group| {
            let ids: Vec<u32> =
                group.chunks(4).map(|bytes| u32::from_le_bytes(bytes.try_into().unwrap())).collect();
            wanted.places(&ids, &mut places);
            assert!(!places.is_empty() || matches!(wanted, Wanted::Ids(_) | Wanted::Range(..)));
            found.extend(places.iter().map(|place| ids[*place]));
            true
        });
        (found, sound.unwrap())
    }

    #[test]
    fn a_damaged_group_costs_itself() {
        let ids: Vec<u32> = (0..400).map(|at| at * 3).collect();
        let (file, section, bytes) = written(&ids);
        file.write_at(&[0xff], 100).unwrap();
        let (left, sound) = found(&*file, &section, Wanted::ALL);
        assert_eq!((left.len(), sound), (396, false));
        assert_eq!(found(&*file, &section, Wanted::Ids(&[0, 3, 1197])), (vec![0, 3, 1197], true));
        // A table that changed behind us is noticed, too.
        file.write_at(&[0xff; 4], bytes as u64 + 12 * 50 + 4).unwrap();
        assert!(!found(&*file, &section, Wanted::ALL).1);
    }

    /// As a place of the disk that cannot be read cuts it, also within an entry.
    #[test]
    fn of_a_table_that_changed_the_groups_whose_entries_are_left_are_found() {
        let ids: Vec<u32> = (0..400).map(|at| at * 300).collect();
        let groups: Vec<&[u32]> = ids.chunks(4).collect();
        let cuts =
            (0..8).map(|cut| (0, 20 * ENTRY_BYTES + cut)).chain((0..12).map(|cut| (40 * 12 + cut, 64 * 12)));
        let pieces = [(20 * 12, 21 * 12), (63 * 12, 64 * 12), (64 * 12, 65 * 12), (70 * 12 + 1, 70 * 12 + 3)];
        for (from, until) in cuts.chain(pieces) {
            let (file, section, bytes) = written(&ids);
            file.write_at(&vec![0; until - from], (bytes + from) as u64).unwrap();
            // A group lacks when its place or checksum does, or where it ends.
            let is_hit = |at: usize, part: std::ops::Range<usize>| {
                from < at * ENTRY_BYTES + part.end && at * ENTRY_BYTES + part.start < until
            };
            let whole: Vec<u32> = (0..groups.len())
                .filter(|at| !is_hit(*at, 4..12) && !is_hit(at + 1, 4..8))
                .flat_map(|at| groups[at].iter().copied())
                .collect();
            for wanted in [Wanted::ALL, Wanted::Ids(&ids), Wanted::Ids(&ids[3..])] {
                let case = format!("{from}..{until}");
                let (left, sound) = found(&*file, &section, wanted);
                assert!(!sound, "{case}: it is told");
                let skipped = if matches!(wanted, Wanted::Ids(ids) if ids.len() < 400) { ids[3] } else { 0 };
                let expected: Vec<u32> = whole.iter().copied().filter(|id| *id >= skipped).collect();
                assert!(expected.iter().all(|id| left.contains(id)), "{case}");
                assert!(left.is_sorted_by(|a, b| a < b) && left.iter().all(|id| ids.contains(id)), "{case}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_wanted_is_found(
            ids in prop::collection::btree_set(prop_oneof![0u32..3_000, any::<u32>()], 0..1200),
            wanted in prop::collection::btree_set(prop_oneof![0u32..3_000, any::<u32>()], 0..60),
            first: u32, length in 0u32..2_000,
        ) {
            let wanted: Vec<u32> = wanted.into_iter().chain(ids.iter().copied().skip(7).step_by(41)).collect();
            let wanted: std::collections::BTreeSet<u32> = wanted.into_iter().collect();
            let list: Vec<u32> = ids.iter().copied().collect();
            let (file, section, _) = written(&list);
            prop_assert_eq!(found(&*file, &section, Wanted::ALL), (list, true));
            let expected: Vec<u32> = ids.intersection(&wanted).copied().collect();
            let wanted: Vec<u32> = wanted.into_iter().collect();
            prop_assert_eq!(found(&*file, &section, Wanted::Ids(&wanted)), (expected, true));
            for first in [first, first % 3_000] {
                let last = first.saturating_add(length);
                let expected: Vec<u32> = ids.range(first..=last).copied().collect();
                prop_assert_eq!(found(&*file, &section, Wanted::Range(first, last)), (expected, true));
            }
        }

        #[test]
        fn foreign_tables_do_no_harm(bytes: Vec<u8>, data_bytes in 0u32..50, wanted: u32) {
            let (file, ..) = written(&[1, 2, 3, 4, 5, 6]);
            if let Some(section) = Section::new(0, data_bytes, 0, &bytes) {
                let _ = section.visit(&*file, Wanted::Ids(&[wanted]), &mut Buffers::default(), |_| true);
                let _ = section.visit(&*file, Wanted::ALL, &mut Buffers::default(), |_| true);
            }
        }
    }
}
