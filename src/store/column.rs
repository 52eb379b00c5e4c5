//! Columns of numbers: packed integers, scaled ones where that is exact, pco on
//! doubles otherwise; plain varints where there are too few numbers for pco to
//! pay, and one value where all are the same.
//!
//! A column is a byte for its form, then the form's bytes. The number of values
//! is written elsewhere and must be known to read it. Forms 1 and 2 are those of
//! blocks before version 3; they are read, not written.

use super::coding::{Reader, power_of, put_bytes, put_number, put_signed, scaled, scaled_by};
use super::packed::{LEVEL, put_packed, read_packed, read_packed_whole, skip_packed};
use pco::ChunkConfig;
use pco::standalone::{simple_compress, simple_decompress_into};

const VARINTS: u8 = 0;
const PCO_INTEGERS: u8 = 1;
const PCO_SCALED: u8 = 2;
const PCO_DOUBLES: u8 = 3;
const RAW_DOUBLES: u8 = 4;
const PACKED: u8 = 5;
const SAME: u8 = 6;
const SCALED: u8 = 7;
/// Below so many values both ways are tried and the shorter one kept.
const FEW: usize = 64;
/// Room is made for so many values before they are there.
const MOST_AT_ONCE: usize = 1 << 16;

/// Writes integers.
pub(super) fn put_integers(out: &mut Vec<u8>, values: &[i64]) {
    let start = out.len();
    if let Some(first) = values.first().filter(|first| values.iter().all(|value| value == *first)) {
        out.push(SAME);
        put_signed(out, *first);
        return;
    }
    out.push(PACKED);
    let is_packed = put_packed(out, values);
    if is_packed && values.len() >= FEW {
        return;
    }
    let packed = out.split_off(start);
    out.push(VARINTS);
    values.iter().for_each(|value| put_signed(out, *value));
    if is_packed && packed.len() < out.len() - start {
        out.truncate(start);
        out.extend_from_slice(&packed);
    }
}

/// Reads `count` integers; `None` when the bytes are not such a column.
pub(super) fn read_integers(reader: &mut Reader<'_>, count: usize) -> Option<Vec<i64>> {
    let mut values = Vec::with_capacity(count.min(MOST_AT_ONCE));
    read_integers_each(reader, count, |value| values.push(value))?;
    Some(values)
}

fn read_integers_each(reader: &mut Reader<'_>, count: usize, mut each: impl FnMut(i64)) -> Option<()> {
    match reader.byte()? {
        VARINTS => (0..count).try_for_each(|_| reader.signed().map(&mut each)),
        PCO_INTEGERS => {
            unpacked(reader.bytes()?, count)?.into_iter().for_each(each);
            Some(())
        }
        PACKED => read_packed(reader, count, each),
        SAME => {
            let value = reader.signed()?;
            (0..count).for_each(|_| each(value));
            Some(())
        }
        _ => None,
    }
}

/// Reads `count` whole numbers of 32 bits into `out`, in place of what is there;
/// `None` when the bytes are not such a column, or one of old blocks.
pub(super) fn read_whole(reader: &mut Reader<'_>, count: usize, out: &mut Vec<u32>) -> Option<()> {
    out.clear();
    match reader.byte()? {
        VARINTS => (0..count).try_for_each(|_| {
            out.push(u32::try_from(reader.signed()?).ok()?);
            Some(())
        }),
        PACKED => read_packed_whole(reader, count, out),
        SAME => {
            out.resize(count, u32::try_from(reader.signed()?).ok()?);
            Some(())
        }
        _ => None,
    }
}

/// As [`read_whole`], of a column of doubles.
pub(super) fn read_whole_doubles(reader: &mut Reader<'_>, count: usize, out: &mut Vec<u32>) -> Option<()> {
    out.clear();
    match reader.byte()? {
        VARINTS => (0..count).try_for_each(|_| {
            let value = reader.number()?;
            out.push(Some(value as u32).filter(|whole| f64::from(*whole) == value)?);
            Some(())
        }),
        SCALED if power_of(reader.byte()?)? == 1.0 => read_whole(reader, count, out),
        _ => None,
    }
}

/// Goes past `count` integers; `None` when the bytes are not such a column.
pub(super) fn skip_integers(reader: &mut Reader<'_>, count: usize) -> Option<()> {
    match reader.byte()? {
        VARINTS => (0..count).try_for_each(|_| reader.signed().map(drop)),
        PCO_INTEGERS => reader.bytes().map(drop),
        PACKED => skip_packed(reader),
        SAME => reader.signed().map(drop),
        _ => None,
    }
}

/// Writes doubles, bit for bit.
pub(super) fn put_doubles(out: &mut Vec<u8>, values: &[f64]) {
    let start = out.len();
    if let Some((scale, integers)) = scaled_all(values) {
        out.push(SCALED);
        out.push(scale);
        put_integers(out, &integers);
    } else {
        put_odd_doubles(out, values);
    }
    if values.len() >= FEW {
        return;
    }
    let packed = out.split_off(start);
    out.push(VARINTS);
    values.iter().for_each(|value| put_number(out, *value));
    if packed.len() < out.len() - start {
        out.truncate(start);
        out.extend_from_slice(&packed);
    }
}

/// Reads `count` doubles; `None` when the bytes are not such a column.
pub(super) fn read_doubles(reader: &mut Reader<'_>, count: usize) -> Option<Vec<f64>> {
    let mut values = Vec::with_capacity(count.min(MOST_AT_ONCE));
    read_doubles_each(reader, count, |value| values.push(value))?;
    Some(values)
}

/// Hands `count` doubles to `each`; `None` when the bytes are not such a column.
pub(super) fn read_doubles_each(
    reader: &mut Reader<'_>,
    count: usize,
    mut each: impl FnMut(f64),
) -> Option<()> {
    match reader.byte()? {
        VARINTS => (0..count).try_for_each(|_| reader.number().map(&mut each)),
        PCO_SCALED => {
            let power = power_of(reader.byte()?)?;
            let integers: Vec<i64> = unpacked(reader.bytes()?, count)?;
            integers.into_iter().for_each(|integer| each(integer as f64 / power));
            Some(())
        }
        PCO_DOUBLES => {
            unpacked(reader.bytes()?, count)?.into_iter().for_each(each);
            Some(())
        }
        RAW_DOUBLES => (0..count).try_for_each(|_| reader.fixed_f64().map(&mut each)),
        // Most are whole: a division each is a third of reading them.
        SCALED => match power_of(reader.byte()?)? {
            1.0 => read_integers_each(reader, count, |integer| each(integer as f64)),
            power => read_integers_each(reader, count, |integer| each(integer as f64 / power)),
        },
        _ => None,
    }
}

/// Goes past `count` doubles; `None` when the bytes are not such a column.
pub(super) fn skip_doubles(reader: &mut Reader<'_>, count: usize) -> Option<()> {
    match reader.byte()? {
        VARINTS => (0..count).try_for_each(|_| reader.number().map(drop)),
        PCO_SCALED => {
            reader.byte()?;
            reader.bytes().map(drop)
        }
        PCO_DOUBLES => reader.bytes().map(drop),
        RAW_DOUBLES => reader.take(count.checked_mul(8)?).map(drop),
        SCALED => {
            reader.byte()?;
            skip_integers(reader, count)
        }
        _ => None,
    }
}

/// Doubles that are no decimals.
fn put_odd_doubles(out: &mut Vec<u8>, values: &[f64]) {
    if let Ok(packed) = simple_compress(values, &config()) {
        let back: Option<Vec<f64>> = unpacked(&packed, values.len());
        let same =
            back.is_some_and(|back| back.iter().map(|v| v.to_bits()).eq(values.iter().map(|v| v.to_bits())));
        if same {
            out.push(PCO_DOUBLES);
            put_bytes(out, &packed);
            return;
        }
    }
    out.push(RAW_DOUBLES);
    values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
}

/// All values at the one scale that suits them all, if there is one.
pub(super) fn scaled_all(values: &[f64]) -> Option<(u8, Vec<i64>)> {
    let mut scale = 0;
    for value in values {
        scale = match scaled_by(*value, scale) {
            Some(_) => scale,
            None => scaled(*value)?.0.max(scale),
        };
    }
    let integers = values.iter().map(|value| scaled_by(*value, scale)).collect::<Option<_>>()?;
    Some((scale, integers))
}

fn unpacked<T: pco::data_types::Number + Default>(packed: &[u8], count: usize) -> Option<Vec<T>> {
    let mut values = vec![T::default(); count];
    let progress = simple_decompress_into(packed, &mut values).ok()?;
    (progress.n_processed == count && progress.finished).then_some(values)
}

fn config() -> ChunkConfig {
    ChunkConfig::default().with_compression_level(LEVEL)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(what: &str, values: &[f64], most_bytes: usize) {
        let mut out = Vec::new();
        put_doubles(&mut out, values);
        assert!(out.len() <= most_bytes, "{what}: {} bytes", out.len());
        let mut reader = Reader::new(&out);
        let back = read_doubles(&mut reader, values.len()).unwrap();
        assert!(reader.is_empty());
        let mut reader = Reader::new(&out);
        assert!(skip_doubles(&mut reader, values.len()).is_some() && reader.is_empty(), "{what}");
        assert!(back.iter().map(|v| v.to_bits()).eq(values.iter().map(|v| v.to_bits())), "{what}");
    }

    #[test]
    fn columns_of_blocks_before_version_3_are_read() {
        let integers: Vec<i64> = (0..720).map(|at| 1_000_000 + at * at).collect();
        let packed = simple_compress(&integers, &config()).unwrap();
        let mut out = vec![PCO_INTEGERS];
        put_bytes(&mut out, &packed);
        assert_eq!(read_integers(&mut Reader::new(&out), 720).unwrap(), integers);
        let mut out = vec![PCO_SCALED, 3];
        put_bytes(&mut out, &packed);
        let values: Vec<f64> = integers.iter().map(|integer| *integer as f64 / 1e3).collect();
        assert_eq!(read_doubles(&mut Reader::new(&out), 720).unwrap(), values);
        let mut reader = Reader::new(&out);
        assert!(skip_doubles(&mut reader, 720).is_some() && reader.is_empty());
    }

    #[test]
    fn columns_are_short_and_exact() {
        let of = |n: i32, f: fn(i32) -> f64| (0..n).map(f).collect::<Vec<_>>();
        check("nothing", &[], 1);
        check("one", &[5.0], 3);
        check("constant", &of(720, |_| 42.5), 60);
        check("rising", &of(720, |i| f64::from(i) * 10.0), 60);
        check("decimals", &of(720, |i| f64::from(i * 7919 % 1000) / 1000.0), 1000);
        check("irrational", &of(720, |i| f64::from(i).sqrt()), 6000);
        check("odd", &[f64::NAN, -0.0, f64::INFINITY, 1.0], 40);
        check(
            "many odd",
            &of(200, |i| if i % 3 == 0 { -0.0 } else { f64::from_bits(0x7ff8_0000_0000_0001 + i as u64) }),
            1700,
        );
    }
}
