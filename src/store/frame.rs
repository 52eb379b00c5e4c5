//! One flush as one frame of the write-ahead log.
//!
//! A frame stands alone: its bytes say which window, which series and which
//! values, without a look at any other frame (definitions apart, which come
//! with the first frame of a segment that uses them). The header carries a
//! checksum of its own, so that a frame with a bad body can be stepped over.

use super::coding::{Reader, put_bytes, put_number, put_signed, put_varint};
use super::point::{put_histogram, put_sketch, read_histogram, read_sketch};
use crate::model::batch::{CounterValue, GaugeValue};
use crate::model::{FlushBatch, Labels, MetricType, SeriesId, SeriesKey};

/// First bytes of a frame.
const MAGIC: [u8; 4] = *b"SDf1";
/// magic, body length, checksum of the body, checksum of these twelve bytes.
pub(super) const HEADER_BYTES: usize = 16;
/// Longest body that is written.
pub(super) const MAX_BODY_BYTES: usize = 1 << 30;

/// Writes the frame of `batch`, whose `new_series` are the definitions to go
/// with it.
pub(super) fn put_frame(out: &mut Vec<u8>, batch: &FlushBatch, definitions: &[(SeriesId, SeriesKey)]) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    put_body(out, batch, definitions);
    let body = out.get(start + HEADER_BYTES..).unwrap_or_default();
    let header = header(body.len() as u32, crc32fast::hash(body));
    if let Some(place) = out.get_mut(start..start + HEADER_BYTES) {
        place.copy_from_slice(&header);
    }
}

fn header(length: u32, body_crc: u32) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4..8].copy_from_slice(&length.to_le_bytes());
    bytes[8..12].copy_from_slice(&body_crc.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..12]);
    bytes[12..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Every series that the batch has a sample of.
pub(super) fn ids(batch: &FlushBatch) -> impl Iterator<Item = SeriesId> + '_ {
    let counters = batch.counters.iter().map(|counter| counter.id);
    let gauges = batch.gauges.iter().map(|gauge| gauge.id);
    let timers = batch.timers.iter().map(|(id, _)| *id);
    let sets = batch.sets.iter().map(|(id, _)| *id);
    counters.chain(gauges).chain(timers).chain(sets).chain(batch.stale.iter().copied())
}

/// What stands at some place of a segment.
#[derive(Debug, PartialEq)]
pub(super) enum Found {
    /// A whole frame and the bytes that it takes.
    Frame(Box<FlushBatch>, usize),
    /// A frame that is not as it was written, with so many bytes.
    Bad(usize),
    /// No header of a frame, or one whose body is cut off.
    Nothing,
}

/// Bytes of the frame whose header stands at the front of `bytes`, if there is
/// a sound one.
pub(super) fn frame_size(bytes: &[u8]) -> Option<usize> {
    let (length, _) = read_header(&mut Reader::new(bytes))?;
    Some(HEADER_BYTES + length)
}

/// Looks at the front of `bytes`.
pub(super) fn look(bytes: &[u8]) -> Found {
    let mut reader = Reader::new(bytes);
    let Some((length, body_crc)) = read_header(&mut reader) else { return Found::Nothing };
    let Some(body) = reader.take(length) else { return Found::Nothing };
    let size = HEADER_BYTES + length;
    if crc32fast::hash(body) != body_crc {
        return Found::Bad(size);
    }
    match read_body(body) {
        Some(batch) => Found::Frame(Box::new(batch), size),
        None => Found::Bad(size),
    }
}

/// Place of the next whole header at or after `from`.
pub(super) fn next_header(bytes: &[u8], from: usize) -> Option<usize> {
    let tail = bytes.get(from..)?;
    let found = tail
        .windows(HEADER_BYTES)
        .position(|window| window.starts_with(&MAGIC) && read_header(&mut Reader::new(window)).is_some())?;
    Some(from + found)
}

fn read_header(reader: &mut Reader<'_>) -> Option<(usize, u32)> {
    let bytes = reader.take(HEADER_BYTES)?;
    let mut fields = Reader::new(bytes);
    let magic = fields.take(4)?;
    let (length, body_crc, crc) = (fields.fixed_u32()?, fields.fixed_u32()?, fields.fixed_u32()?);
    let sound = magic == MAGIC && crc32fast::hash(bytes.get(..12)?) == crc;
    sound.then_some((length as usize, body_crc))
}

fn put_body(out: &mut Vec<u8>, batch: &FlushBatch, definitions: &[(SeriesId, SeriesKey)]) {
    put_signed(out, batch.end_ms);
    put_signed(out, batch.end_ms - batch.start_ms);
    put_ids(out, definitions.iter().map(|(id, _)| *id));
    definitions.iter().for_each(|(_, key)| put_key(out, key));

    put_ids(out, batch.counters.iter().map(|counter| counter.id));
    batch.counters.iter().for_each(|counter| put_number(out, counter.total));
    let starts = batch.counters.iter().map(|counter| counter.start_total);
    put_sparse(out, starts, put_number);

    put_ids(out, batch.gauges.iter().map(|gauge| gauge.id));
    batch.gauges.iter().for_each(|gauge| put_number(out, gauge.last));
    let bits = |value: f64| value.to_bits();
    let extremes = batch.gauges.iter().map(|gauge| {
        let single = bits(gauge.min) == bits(gauge.last) && bits(gauge.max) == bits(gauge.last);
        (!single).then_some((gauge.min, gauge.max))
    });
    put_sparse(out, extremes, |out, (min, max)| {
        put_number(out, min);
        put_number(out, max);
    });

    put_ids(out, batch.timers.iter().map(|(id, _)| *id));
    batch.timers.iter().for_each(|(_, histogram)| put_histogram(out, histogram));
    put_ids(out, batch.sets.iter().map(|(id, _)| *id));
    batch.sets.iter().for_each(|(_, sketch)| put_sketch(out, sketch));
    put_ids(out, batch.stale.iter().copied());
}

fn read_body(body: &[u8]) -> Option<FlushBatch> {
    let reader = &mut Reader::new(body);
    let end_ms = reader.signed()?;
    let start_ms = end_ms.checked_sub(reader.signed()?)?;
    let mut batch = FlushBatch { start_ms, end_ms, ..FlushBatch::default() };

    for id in read_ids(reader)? {
        batch.new_series.push((id, read_key(reader)?));
    }
    for id in read_ids(reader)? {
        batch.counters.push(CounterValue { id, total: 0.0, start_total: None });
    }
    for counter in &mut batch.counters {
        counter.total = reader.number()?;
    }
    read_sparse(reader, &mut batch.counters, |reader, counter| {
        counter.start_total = Some(reader.number()?);
        Some(())
    })?;

    let ids = read_ids(reader)?;
    for id in ids {
        batch.gauges.push(GaugeValue { id, last: 0.0, min: 0.0, max: 0.0 });
    }
    for gauge in &mut batch.gauges {
        gauge.last = reader.number()?;
        (gauge.min, gauge.max) = (gauge.last, gauge.last);
    }
    read_sparse(reader, &mut batch.gauges, |reader, gauge| {
        (gauge.min, gauge.max) = (reader.number()?, reader.number()?);
        Some(())
    })?;

    for id in read_ids(reader)? {
        batch.timers.push((id, read_histogram(reader)?));
    }
    for id in read_ids(reader)? {
        batch.sets.push((id, read_sketch(reader)?));
    }
    batch.stale = read_ids(reader)?;
    reader.is_empty().then_some(batch)
}

/// Number of ids, then each as its distance from the one before.
fn put_ids(out: &mut Vec<u8>, ids: impl ExactSizeIterator<Item = SeriesId>) {
    put_varint(out, ids.len() as u64);
    let mut before = 0;
    for id in ids {
        put_signed(out, i64::from(id.0) - before);
        before = i64::from(id.0);
    }
}

fn read_ids(reader: &mut Reader<'_>) -> Option<Vec<SeriesId>> {
    let count = reader.count()?;
    let mut ids = Vec::with_capacity(count);
    let mut id = 0i64;
    for _ in 0..count {
        id = id.checked_add(reader.signed()?)?;
        ids.push(SeriesId(u32::try_from(id).ok()?));
    }
    Some(ids)
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

fn read_sparse<T>(
    reader: &mut Reader<'_>,
    items: &mut [T],
    read: impl Fn(&mut Reader<'_>, &mut T) -> Option<()>,
) -> Option<()> {
    let mut at = 0usize;
    for _ in 0..reader.count()? {
        at = at.checked_add(usize::try_from(reader.varint()?).ok()?)?;
        read(reader, items.get_mut(at)?)?;
    }
    Some(())
}

fn put_key(out: &mut Vec<u8>, key: &SeriesKey) {
    out.push(key.metric_type as u8);
    put_varint(out, key.labels.len() as u64);
    for (name, value) in key.labels.iter() {
        put_bytes(out, name.as_bytes());
        put_bytes(out, value.as_bytes());
    }
}

fn read_key(reader: &mut Reader<'_>) -> Option<SeriesKey> {
    let metric_type = MetricType::from_u8(reader.byte()?)?;
    let count = reader.count()?;
    let pairs = (0..count).map(|_| Some((reader.text()?, reader.text()?))).collect::<Option<Vec<_>>>()?;
    Some(SeriesKey { labels: Labels::from_pairs(pairs), metric_type })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Histogram, Sketch};
    use proptest::prelude::*;

    fn batch() -> FlushBatch {
        let key = |name: &str, metric_type| SeriesKey { labels: Labels::of_name(name), metric_type };
        let mut sketch = Sketch::default();
        sketch.insert(b"ann");
        FlushBatch {
            start_ms: 1_700_000_000_000,
            end_ms: 1_700_000_010_000,
            new_series: vec![
                (SeriesId(7), key("a", MetricType::Counter)),
                (SeriesId(3), key("b.c", MetricType::Set)),
            ],
            counters: vec![
                CounterValue { id: SeriesId(7), total: 12.0, start_total: Some(5.0) },
                CounterValue { id: SeriesId(2), total: -0.5, start_total: None },
            ],
            gauges: vec![
                GaugeValue { id: SeriesId(4), last: 1.5, min: -1.0, max: 2.0 },
                GaugeValue { id: SeriesId(5), last: 9.0, min: 9.0, max: 9.0 },
            ],
            timers: vec![(SeriesId(6), Histogram::from_values([(0.25, 2.0)]))],
            sets: vec![(SeriesId(3), sketch)],
            stale: vec![SeriesId(1)],
        }
    }

    #[test]
    fn a_frame_reads_back() {
        for batch in [batch(), FlushBatch { start_ms: 0, end_ms: 10, ..FlushBatch::default() }] {
            let mut out = Vec::new();
            put_frame(&mut out, &batch, &batch.new_series);
            let size = out.len();
            assert_eq!(look(&out), Found::Frame(Box::new(batch), size));
        }
    }

    #[test]
    fn any_flipped_bit_is_noticed_and_the_next_frame_found() {
        let mut out = Vec::new();
        put_frame(&mut out, &batch(), &batch().new_series);
        let size = out.len();
        put_frame(&mut out, &batch(), &[]);
        for bit in 0..size * 8 {
            let mut bad = out.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            match look(&bad) {
                Found::Frame(..) => panic!("bit {bit} went unnoticed"),
                Found::Bad(stepped) => assert_eq!(stepped, size, "bit {bit}"),
                Found::Nothing => assert_eq!(next_header(&bad, 1), Some(size), "bit {bit}"),
            }
        }
        for cut in 0..size {
            assert_eq!(look(&out[..cut]), Found::Nothing);
        }
    }

    proptest! {
        #[test]
        fn foreign_bytes_do_no_harm(bytes: Vec<u8>) {
            let _ = read_body(&bytes);
            let _ = look(&bytes);
        }
    }
}
