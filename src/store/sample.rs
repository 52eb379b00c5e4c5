//! The samples of one window as bytes: a section for each kind, in groups of
//! series whose numbers ascend.
//!
//! ```text
//! group = varint count · form · varint first id · [ gaps ] · values
//! ```

use super::coding::{Reader, put_number, put_varint};
use super::point::{put_histogram, put_sketch, read_histogram, read_sketch};
use super::section::{Table, Wanted};
use crate::model::batch::{CounterValue, GaugeValue};
use crate::model::{Histogram, MetricType, SeriesId, Sketch};

/// Ids follow each other without a gap; else their gaps are listed.
const CONSECUTIVE: u8 = 1;

/// What a section of a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counters,
    Gauges,
    Distributions,
    Sets,
    /// Counters and gauges that ended.
    Ends,
    /// Counters and gauges that the window before had, and this one neither
    /// has nor ends: no points, but how far they had come.
    Gone,
}

impl Kind {
    /// In the order of a frame, which is also that of equal times.
    pub(super) const ALL: [Kind; 6] =
        [Kind::Counters, Kind::Gauges, Kind::Distributions, Kind::Sets, Kind::Ends, Kind::Gone];

    /// Where the samples of a type are.
    pub(super) fn of(metric_type: MetricType) -> Kind {
        match metric_type {
            MetricType::Counter => Kind::Counters,
            MetricType::Gauge | MetricType::Sampled => Kind::Gauges,
            MetricType::Timer | MetricType::Histogram => Kind::Distributions,
            MetricType::Set => Kind::Sets,
        }
    }

    /// Series of a group: about as many as make half a kilobyte to some.
    fn group_size(self) -> usize {
        match self {
            Kind::Counters | Kind::Gauges | Kind::Ends | Kind::Gone => 128,
            Kind::Distributions => 16,
            Kind::Sets => 4,
        }
    }
}

/// A sample as it is read.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// Total, and the total at the window's start where it begins.
    Counter(f64, Option<f64>),
    Gauge(f64),
    Distribution(Histogram),
    Set(Sketch),
    /// Of [`Kind::Ends`] and [`Kind::Gone`]: the value before, where it was
    /// known.
    End(Option<f64>),
}

/// A counter or gauge that ended or is gone, and its value before.
pub(super) type End = (SeriesId, Option<f64>);

/// Memory that reading uses again and again.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    ids: Vec<u32>,
    places: Vec<usize>,
    numbers: Vec<f64>,
    sparse: Vec<(usize, f64)>,
}

pub(super) fn put_counters(out: &mut Vec<u8>, table: &mut Table, counters: &[CounterValue]) {
    put_groups(
        out,
        table,
        Kind::Counters,
        counters,
        |counter| counter.id,
        |out, group| {
            group.iter().for_each(|counter| put_number(out, counter.total));
            put_sparse(out, group.iter().map(|counter| counter.start_total), put_number);
        },
    );
}

pub(super) fn put_gauges(out: &mut Vec<u8>, table: &mut Table, gauges: &[GaugeValue]) {
    put_groups(
        out,
        table,
        Kind::Gauges,
        gauges,
        |gauge| gauge.id,
        |out, group| {
            group.iter().for_each(|gauge| put_number(out, gauge.last));
            let extremes = group.iter().map(|gauge| {
                let bits = [gauge.last, gauge.min, gauge.max].map(f64::to_bits);
                (bits != [bits[0]; 3]).then_some((gauge.min, gauge.max))
            });
            put_sparse(out, extremes, |out, (min, max)| {
                put_number(out, min);
                put_number(out, max);
            });
        },
    );
}

pub(super) fn put_distributions(out: &mut Vec<u8>, table: &mut Table, timers: &[(SeriesId, Histogram)]) {
    put_groups(
        out,
        table,
        Kind::Distributions,
        timers,
        |(id, _)| *id,
        |out, group| {
            group.iter().for_each(|(_, histogram)| put_histogram(out, histogram));
        },
    );
}

pub(super) fn put_sets(out: &mut Vec<u8>, table: &mut Table, sets: &[(SeriesId, Sketch)]) {
    put_groups(
        out,
        table,
        Kind::Sets,
        sets,
        |(id, _)| *id,
        |out, group| {
            group.iter().for_each(|(_, sketch)| put_sketch(out, sketch));
        },
    );
}

pub(super) fn put_ends(out: &mut Vec<u8>, table: &mut Table, ends: &[End]) {
    put_groups(
        out,
        table,
        Kind::Ends,
        ends,
        |(id, _)| *id,
        |out, group| {
            put_sparse(out, group.iter().map(|(_, last)| *last), put_number);
        },
    );
}

/// The numbers of the series in a group that are wanted; `None` when it is no
/// group.
pub(super) fn read_ids(
    bytes: &[u8],
    wanted: Wanted<'_>,
    scratch: &mut Scratch,
    mut each: impl FnMut(u32),
) -> Option<()> {
    read_id_list(&mut Reader::new(bytes), &mut scratch.ids)?;
    wanted.places(&scratch.ids, &mut scratch.places);
    scratch.places.iter().filter_map(|place| scratch.ids.get(*place)).for_each(|id| each(*id));
    Some(())
}

/// The samples in a group that are wanted; `None` when it is no group of
/// that kind.
pub(super) fn read_group(
    kind: Kind,
    bytes: &[u8],
    wanted: Wanted<'_>,
    scratch: &mut Scratch,
    mut each: impl FnMut(u32, Value),
) -> Option<()> {
    let reader = &mut Reader::new(bytes);
    let Scratch { ids, places, numbers, sparse } = scratch;
    read_id_list(reader, ids)?;
    wanted.places(ids, places);
    let (Some(last), count) = (places.last().copied(), ids.len()) else { return Some(()) };
    if matches!(kind, Kind::Counters | Kind::Gauges) {
        numbers.clear();
        for _ in 0..count {
            numbers.push(reader.number()?);
        }
    }
    if matches!(kind, Kind::Counters | Kind::Ends | Kind::Gone) {
        read_sparse(reader, count, sparse)?;
    }
    let mut listed = sparse.iter().peekable();
    let mut listed = |place: usize| {
        while listed.next_if(|(other, _)| *other < place).is_some() {}
        listed.next_if(|(other, _)| *other == place).map(|(_, value)| *value)
    };
    let mut wanted_places = places.iter().copied().peekable();
    match kind {
        Kind::Counters | Kind::Gauges | Kind::Ends | Kind::Gone => {
            for place in wanted_places {
                let value = match kind {
                    Kind::Counters => Value::Counter(*numbers.get(place)?, listed(place)),
                    Kind::Gauges => Value::Gauge(*numbers.get(place)?),
                    _ => Value::End(listed(place)),
                };
                each(*ids.get(place)?, value);
            }
        }
        Kind::Distributions | Kind::Sets => {
            for (place, id) in ids.iter().enumerate().take(last + 1) {
                let value = match kind {
                    Kind::Sets => Value::Set(read_sketch(reader)?),
                    _ => Value::Distribution(read_histogram(reader)?),
                };
                if wanted_places.next_if_eq(&place).is_some() {
                    each(*id, value);
                }
            }
        }
    }
    Some(())
}

/// Writes the items, which ascend, behind `out`, and notes their groups.
fn put_groups<T>(
    out: &mut Vec<u8>,
    table: &mut Table,
    kind: Kind,
    items: &[T],
    id: impl Fn(&T) -> SeriesId,
    put: impl Fn(&mut Vec<u8>, &[T]),
) {
    let section = out.len();
    for group in items.chunks(kind.group_size()) {
        let start = out.len();
        put_ids(out, group.iter().map(|item| id(item).0));
        put(out, group);
        let first_id = group.first().map_or(0, |item| id(item).0);
        table.push(first_id, (start - section) as u32, out.get(start..).unwrap_or_default());
    }
}

/// Writes ids, which ascend; there is one at least.
pub(super) fn put_ids(out: &mut Vec<u8>, ids: impl ExactSizeIterator<Item = u32> + Clone) {
    put_varint(out, ids.len() as u64);
    let mut each = ids.clone();
    let (first, last) = (each.next().unwrap_or_default(), ids.clone().last().unwrap_or_default());
    let consecutive = (last - first) as usize + 1 == ids.len();
    out.push(u8::from(consecutive) * CONSECUTIVE);
    put_varint(out, u64::from(first));
    if !consecutive {
        let mut before = first;
        for id in each {
            put_varint(out, u64::from(id - before));
            before = id;
        }
    }
}

/// Reads ids that [`put_ids`] wrote.
pub(super) fn read_id_list(reader: &mut Reader<'_>, out: &mut Vec<u32>) -> Option<()> {
    out.clear();
    // A sample may take less than a byte only in a group of ends.
    let count = reader.varint().filter(|count| (1..=4096).contains(count))?;
    let form = reader.byte()?;
    let mut id = u32::try_from(reader.varint()?).ok()?;
    out.push(id);
    for _ in 1..count {
        let gap = if form == CONSECUTIVE { 1 } else { u32::try_from(reader.varint()?).ok()? };
        id = id.checked_add(gap).filter(|_| gap > 0)?;
        out.push(id);
    }
    Some(())
}

/// How many have a value, then for each of them its distance from the one
/// before and the value.
fn put_sparse<T>(
    out: &mut Vec<u8>,
    values: impl Iterator<Item = Option<T>> + Clone,
    put: impl Fn(&mut Vec<u8>, T),
) {
    put_varint(out, values.clone().flatten().count() as u64);
    let mut before = 0;
    for (at, value) in values.enumerate() {
        if let Some(value) = value {
            put_varint(out, (at - before) as u64);
            put(out, value);
            before = at;
        }
    }
}

fn read_sparse(reader: &mut Reader<'_>, count: usize, out: &mut Vec<(usize, f64)>) -> Option<()> {
    out.clear();
    let mut at = 0usize;
    for _ in 0..reader.count()? {
        at = at.checked_add(usize::try_from(reader.varint()?).ok()?).filter(|at| *at < count)?;
        out.push((at, reader.number()?));
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn read(kind: Kind, bytes: &[u8], wanted: Wanted<'_>) -> Vec<(u32, Value)> {
        let mut read = Vec::new();
        read_group(kind, bytes, wanted, &mut Scratch::default(), |id, value| read.push((id, value))).unwrap();
        read
    }

    #[test]
    fn steady_counters_take_little_more_than_their_totals() {
        let counters: Vec<CounterValue> = (5_000..6_000)
            .map(|id| CounterValue { id: SeriesId(id), total: f64::from(id), start_total: None })
            .collect();
        let (mut out, mut table) = (Vec::new(), Table::default());
        put_counters(&mut out, &mut table, &counters);
        let bytes = out.len() + table.bytes().len();
        assert!(bytes < 3_200, "{bytes}");
    }

    #[test]
    fn each_kind_comes_back() {
        let id = SeriesId;
        let mut sketch = Sketch::default();
        sketch.insert(b"ann");
        let (mut out, mut table) = (Vec::new(), Table::default());
        put_gauges(
            &mut out,
            &mut table,
            &[
                GaugeValue { id: id(4), last: 1.5, min: -1.0, max: 2.0 },
                GaugeValue { id: id(5), last: 9.0, min: 9.0, max: 9.0 },
            ],
        );
        assert_eq!(read(Kind::Gauges, &out, Wanted::ALL), [(4, Value::Gauge(1.5)), (5, Value::Gauge(9.0))]);
        out.clear();
        let histogram = Histogram::from_values([(0.25, 2.0)]);
        put_distributions(&mut out, &mut table, &[(id(1), Histogram::default()), (id(7), histogram.clone())]);
        assert_eq!(
            read(Kind::Distributions, &out, Wanted::Ids(&[0, 7])),
            [(7, Value::Distribution(histogram))]
        );
        out.clear();
        put_sets(&mut out, &mut table, &[(id(0), sketch.clone())]);
        assert_eq!(read(Kind::Sets, &out, Wanted::ALL), [(0, Value::Set(sketch))]);
        out.clear();
        put_ends(&mut out, &mut table, &[(id(3), None), (id(8), Some(2.5))]);
        assert_eq!(read(Kind::Ends, &out, Wanted::ALL), [(3, Value::End(None)), (8, Value::End(Some(2.5)))]);
    }

    proptest! {
        #[test]
        fn counters_come_back(
            counters in prop::collection::btree_map(any::<u32>(), (any::<f64>(), any::<Option<f64>>()), 1..128),
            wanted in prop::collection::btree_set(any::<u32>(), 0..9),
        ) {
            let list: Vec<CounterValue> = counters
                .iter()
                .map(|(id, (total, start))| CounterValue { id: SeriesId(*id), total: *total, start_total: *start })
                .collect();
            let (mut out, mut table) = (Vec::new(), Table::default());
            put_counters(&mut out, &mut table, &list);
            prop_assert_eq!(table.groups(), 1);
            let wanted: BTreeSet<u32> = wanted.into_iter().chain(counters.keys().copied().step_by(3)).collect();
            let wanted: Vec<u32> = wanted.into_iter().collect();
            for wanted in [Wanted::ALL, Wanted::Ids(&wanted)] {
                let expected = list.iter().filter(|c| match wanted {
                    Wanted::Ids(ids) => ids.contains(&c.id.0),
                    Wanted::Range(..) => true,
                });
                let expected: Vec<String> =
                    expected.map(|c| format!("{:?}", (c.id.0, Value::Counter(c.total, c.start_total)))).collect();
                let found: Vec<String> = read(Kind::Counters, &out, wanted).iter().map(|f| format!("{f:?}")).collect();
                prop_assert_eq!(found, expected);
            }
        }

        #[test]
        fn foreign_bytes_do_no_harm(bytes: Vec<u8>) {
            for kind in Kind::ALL {
                let _ = read_group(kind, &bytes, Wanted::ALL, &mut Scratch::default(), |_, _| {});
            }
        }
    }
}
