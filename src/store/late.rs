//! The late values of a batch as a frame has them: a section for each kind, in
//! groups of series whose numbers ascend, each with all its windows.
//!
//! ```text
//! group = ids · for each: varint windows · windows × ( varint how long before the frame's end · value )
//! ```

use super::coding::{Reader, put_number, put_varint};
use super::point::{put_histogram, put_sketch, read_histogram, read_sketch};
use super::sample::{put_ids, read_id_list};
use super::section::{Section, Table, Wanted};
use crate::model::late::{LateGauge, LateValue};
use crate::model::{Histogram, Late, SeriesId, Sketch, TimeRange};

/// Stands before a value that was sampled elsewhere, in the place of whether it
/// holds.
const SAMPLE: u8 = 2;

/// Kinds of late values; their sections stand in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LateKind {
    Counters,
    Gauges,
    Distributions,
    Sets,
}

impl LateKind {
    pub(super) const ALL: [LateKind; 4] =
        [LateKind::Counters, LateKind::Gauges, LateKind::Distributions, LateKind::Sets];

    fn group_size(self) -> usize {
        match self {
            LateKind::Counters | LateKind::Gauges => 64,
            LateKind::Distributions => 16,
            LateKind::Sets => 4,
        }
    }
}

/// A late value as it is read.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Counter(f64),
    /// The value, and whether it holds from its window on.
    Gauge(f64, bool),
    /// What was sampled elsewhere, at its own time.
    Sample(f64),
    Distribution(Histogram),
    Set(Sketch),
}

/// Where the late values of a frame are.
pub(super) struct LatePart {
    /// End of the earliest window.
    pub(super) first_ms: i64,
    /// Length of a window.
    pub(super) interval_ms: i64,
    pub(super) sections: [Section; LateKind::ALL.len()],
}

impl LatePart {
    /// What of time it can change, in a frame that ends at `end_ms`.
    pub(super) fn range(&self, end_ms: i64) -> TimeRange {
        TimeRange { start_ms: self.first_ms.saturating_sub(self.interval_ms), end_ms: end_ms - 1 }
    }

    pub(super) fn section(&self, kind: LateKind) -> Option<&Section> {
        self.sections.get(kind as usize)
    }
}

/// Writes one kind of late values, which ascend by series and window, behind
/// `out`.
pub(super) fn put_late(out: &mut Vec<u8>, table: &mut Table, kind: LateKind, late: &Late, end_ms: i64) {
    match kind {
        LateKind::Counters => put_groups(out, table, kind, &late.counters, end_ms, |out, sum| {
            put_number(out, *sum);
        }),
        LateKind::Gauges => put_groups(out, table, kind, &late.gauges, end_ms, |out, gauge| {
            let LateGauge { last, min, max, holds, is_sample, .. } = *gauge;
            if is_sample {
                out.push(SAMPLE);
                return put_number(out, last);
            }
            out.push(u8::from(holds));
            [last, min, max].into_iter().for_each(|number| put_number(out, number));
        }),
        LateKind::Distributions => put_groups(out, table, kind, &late.timers, end_ms, put_histogram),
        LateKind::Sets => put_groups(out, table, kind, &late.sets, end_ms, put_sketch),
    }
}

fn put_groups<T>(
    out: &mut Vec<u8>,
    table: &mut Table,
    kind: LateKind,
    values: &[LateValue<T>],
    end_ms: i64,
    put: impl Fn(&mut Vec<u8>, &T),
) {
    let section = out.len();
    let series: Vec<&[LateValue<T>]> = values.chunk_by(|a, b| a.id == b.id).collect();
    let id = |windows: &[LateValue<T>]| windows.first().map_or(0, |late| late.id.0);
    for group in series.chunks(kind.group_size()) {
        let start = out.len();
        put_ids(out, group.iter().map(|windows| id(windows)));
        for windows in group {
            put_varint(out, windows.len() as u64);
            for late in *windows {
                put_varint(out, end_ms.saturating_sub(late.end_ms).unsigned_abs());
                put(out, &late.value);
            }
        }
        let first_id = group.first().map_or(0, |windows| id(windows));
        table.push(first_id, (start - section) as u32, out.get(start..).unwrap_or_default());
    }
}

/// The late values of a group that are wanted, with the ends of their windows;
/// `None` when it is no group of that kind.
pub(super) fn read_late(
    kind: LateKind,
    bytes: &[u8],
    wanted: Wanted<'_>,
    end_ms: i64,
    mut each: impl FnMut(u32, i64, Value),
) -> Option<()> {
    let reader = &mut Reader::new(bytes);
    let (mut ids, mut places) = (Vec::new(), Vec::new());
    read_id_list(reader, &mut ids)?;
    wanted.places(&ids, &mut places);
    let mut places = places.into_iter().peekable();
    for (place, id) in ids.iter().enumerate() {
        if places.peek().is_none() {
            break;
        }
        let is_wanted = places.next_if_eq(&place).is_some();
        for _ in 0..reader.count()? {
            let window_ms = end_ms.checked_sub(i64::try_from(reader.varint()?).ok()?)?;
            let value = match kind {
                LateKind::Counters => Value::Counter(reader.number()?),
                LateKind::Gauges => match (reader.byte()?, reader.number()?) {
                    (SAMPLE, value) => Value::Sample(value),
                    (holds, last) => {
                        let (_min, _max) = (reader.number()?, reader.number()?);
                        Value::Gauge(last, holds == 1)
                    }
                },
                LateKind::Distributions => Value::Distribution(read_histogram(reader)?),
                LateKind::Sets => Value::Set(read_sketch(reader)?),
            };
            if is_wanted {
                each(*id, window_ms, value);
            }
        }
    }
    Some(())
}

/// The ids of one kind, ascending; one that has several windows more than once.
pub(super) fn ids(late: &Late, kind: LateKind) -> Box<dyn Iterator<Item = SeriesId> + '_> {
    match kind {
        LateKind::Counters => Box::new(late.counters.iter().map(|late| late.id)),
        LateKind::Gauges => Box::new(late.gauges.iter().map(|late| late.id)),
        LateKind::Distributions => Box::new(late.timers.iter().map(|late| late.id)),
        LateKind::Sets => Box::new(late.sets.iter().map(|late| late.id)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn late() -> Late {
        let value = |id, end_ms| LateValue { id: SeriesId(id), end_ms, value: () };
        let places = [value(1, 10), value(1, 30), value(7, 20), value(500, 10)];
        let mut sketch = Sketch::default();
        sketch.insert(b"ann");
        Late {
            interval_ms: 10,
            counters: (0..200u32)
                .map(|id| LateValue { id: SeriesId(id), end_ms: 10, value: f64::from(id) })
                .collect(),
            gauges: places
                .iter()
                .map(|l| LateValue {
                    id: l.id,
                    end_ms: l.end_ms,
                    value: LateGauge {
                        last: 1.5,
                        min: 0.0,
                        max: 2.0,
                        at_ms: 0,
                        holds: l.id.0 == 7,
                        is_sample: l.id.0 == 500,
                    },
                })
                .collect(),
            timers: places
                .iter()
                .map(|l| LateValue {
                    id: l.id,
                    end_ms: l.end_ms,
                    value: Histogram::from_values([(0.5, 2.0)]),
                })
                .collect(),
            sets: places
                .iter()
                .map(|l| LateValue { id: l.id, end_ms: l.end_ms, value: sketch.clone() })
                .collect(),
        }
    }

    #[test]
    fn every_kind_comes_back() {
        let late = late();
        for (kind, expected) in LateKind::ALL.into_iter().zip([3, 4, 4, 4]) {
            let (mut out, mut table) = (Vec::new(), Table::default());
            put_late(&mut out, &mut table, kind, &late, 40);
            let mut found = Vec::new();
            let wanted: &[u32] = &[1, 7, 9, 500];
            // Of the counters, the first of four groups.
            assert_eq!(table.groups(), if kind == LateKind::Counters { 4 } else { 1 });
            read_late(kind, &out, Wanted::Ids(wanted), 40, |id, at, value| found.push((id, at, value)))
                .unwrap();
            match kind {
                LateKind::Counters => assert_eq!(
                    found,
                    [
                        (1, 10, Value::Counter(1.0)),
                        (7, 10, Value::Counter(7.0)),
                        (9, 10, Value::Counter(9.0))
                    ]
                ),
                _ => assert_eq!(
                    found.iter().map(|(id, at, _)| (*id, *at)).collect::<Vec<_>>(),
                    [(1, 10), (1, 30), (7, 20), (500, 10)]
                ),
            }
            assert_eq!(found.len(), expected);
        }
    }

    proptest! {
        #[test]
        fn foreign_bytes_do_no_harm(bytes: Vec<u8>) {
            for kind in LateKind::ALL {
                let _ = read_late(kind, &bytes, Wanted::ALL, 0, |_, _, _| {});
            }
        }
    }
}
