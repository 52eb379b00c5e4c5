//! Where in a block the points of each series are: entries by number, in
//! groups, read when they are asked for.

use super::coding::{Reader, put_number, put_signed, put_varint};
use super::sample::{put_ids, read_id_list};
use super::section::{Table, Wanted};
use crate::model::{MetricType, TimeRange};

/// Series of a group.
const GROUP: usize = 64;
/// Flags of a series.
const HAS_LAST: u8 = 1;
const HAS_ENDED: u8 = 2;

/// Where the points of a series are, and how far it came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) id: u32,
    pub(super) metric_type: MetricType,
    /// Place of its chunk, checksum included.
    pub(super) offset: u64,
    pub(super) length: u32,
    pub(super) first_ms: i64,
    pub(super) last_ms: i64,
    /// Last float that is no stale marker.
    pub(super) last: Option<f64>,
    /// Whether its last float is one.
    pub(super) ended: bool,
}

impl Entry {
    pub(super) fn overlaps(&self, range: &TimeRange) -> bool {
        TimeRange { start_ms: self.first_ms, end_ms: self.last_ms }.overlaps(range)
    }
}

/// Writes entries, ascending by id, behind `out`, which holds those before
/// them. Times are told from `end_ms` on.
pub(super) fn put_entries(out: &mut Vec<u8>, table: &mut Table, entries: &[Entry], end_ms: i64) {
    for group in entries.chunks(GROUP) {
        let start = out.len();
        put_ids(out, group.iter().map(|entry| entry.id));
        let mut behind = 0;
        for entry in group {
            out.push(entry.metric_type as u8);
            put_signed(out, entry.offset as i64 - behind);
            put_varint(out, u64::from(entry.length));
            behind = entry.offset as i64 + i64::from(entry.length);
            put_signed(out, end_ms - entry.first_ms);
            put_signed(out, end_ms - entry.last_ms);
            let flags = [(entry.last.is_some(), HAS_LAST), (entry.ended, HAS_ENDED)];
            out.push(flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum());
            if let Some(last) = entry.last {
                put_number(out, last);
            }
        }
        let first_id = group.first().map_or(0, |entry| entry.id);
        table.push(first_id, start as u32, out.get(start..).unwrap_or_default());
    }
}

/// Calls `each` with the entries of a group that are wanted; `None` when it is
/// no group.
pub(super) fn read_entries(
    bytes: &[u8],
    wanted: Wanted<'_>,
    end_ms: i64,
    mut each: impl FnMut(Entry),
) -> Option<()> {
    let (mut ids, mut places) = (Vec::new(), Vec::new());
    let reader = &mut Reader::new(bytes);
    read_id_list(reader, &mut ids)?;
    wanted.places(&ids, &mut places);
    let mut places = places.into_iter().peekable();
    let mut behind = 0i64;
    for (place, id) in ids.into_iter().enumerate() {
        let metric_type = MetricType::from_u8(reader.byte()?)?;
        let offset = behind.checked_add(reader.signed()?)?;
        let length = u32::try_from(reader.varint()?).ok()?;
        behind = offset.checked_add(i64::from(length))?;
        let first_ms = end_ms.checked_sub(reader.signed()?)?;
        let last_ms = end_ms.checked_sub(reader.signed()?)?;
        let flags = reader.byte()?;
        let last = if flags & HAS_LAST != 0 { Some(reader.number()?) } else { None };
        let ended = flags & HAS_ENDED != 0;
        let offset = u64::try_from(offset).ok()?;
        if places.next_if_eq(&place).is_some() {
            each(Entry { id, metric_type, offset, length, first_ms, last_ms, last, ended });
        }
    }
    reader.is_empty().then_some(())
}
