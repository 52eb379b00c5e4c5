//! Columns of numbers: pco on integers, on scaled integers where that is
//! exact, on doubles otherwise; plain varints where there are too few numbers
//! for pco to pay.
//!
//! A column is a byte for its form, then the form's bytes. The number of values
//! is written elsewhere and must be known to read it.

use super::coding::{Reader, put_bytes, put_number, put_signed, scaled, scaled_by, unscaled_all};
use pco::ChunkConfig;
use pco::standalone::{simple_compress, simple_decompress_into};

const VARINTS: u8 = 0;
const PCO_INTEGERS: u8 = 1;
const PCO_SCALED: u8 = 2;
const PCO_DOUBLES: u8 = 3;
const RAW_DOUBLES: u8 = 4;
/// Below so many values both ways are tried and the shorter one kept.
const FEW: usize = 64;
/// Measured: higher levels take twice the time for 1 % less.
const LEVEL: usize = 4;

/// Writes integers.
pub(super) fn put_integers(out: &mut Vec<u8>, values: &[i64]) {
    let varints = || {
        let mut bytes = Vec::with_capacity(values.len());
        values.iter().for_each(|value| put_signed(&mut bytes, *value));
        bytes
    };
    let packed = simple_compress(values, &config()).ok();
    match packed {
        Some(packed) if values.len() >= FEW || packed.len() < varints().len() => {
            out.push(PCO_INTEGERS);
            put_bytes(out, &packed);
        }
        _ => {
            out.push(VARINTS);
            out.extend_from_slice(&varints());
        }
    }
}

/// Reads `count` integers; `None` when the bytes are not such a column.
pub(super) fn read_integers(reader: &mut Reader<'_>, count: usize) -> Option<Vec<i64>> {
    match reader.byte()? {
        VARINTS => (0..count).map(|_| reader.signed()).collect(),
        PCO_INTEGERS => unpacked(reader.bytes()?, count),
        _ => None,
    }
}

/// Writes doubles, bit for bit.
pub(super) fn put_doubles(out: &mut Vec<u8>, values: &[f64]) {
    let mut numbers = Vec::new();
    if values.len() < FEW {
        values.iter().for_each(|value| put_number(&mut numbers, *value));
    }
    let (form, packed) = packed_doubles(values);
    if values.len() < FEW && numbers.len() <= packed.len() {
        out.push(VARINTS);
        out.extend_from_slice(&numbers);
    } else {
        out.push(form);
        out.extend_from_slice(&packed);
    }
}

/// Reads `count` doubles; `None` when the bytes are not such a column.
pub(super) fn read_doubles(reader: &mut Reader<'_>, count: usize) -> Option<Vec<f64>> {
    match reader.byte()? {
        VARINTS => (0..count).map(|_| reader.number()).collect(),
        PCO_SCALED => {
            let scale = reader.byte()?;
            let integers: Vec<i64> = unpacked(reader.bytes()?, count)?;
            unscaled_all(scale, &integers)
        }
        PCO_DOUBLES => unpacked(reader.bytes()?, count),
        RAW_DOUBLES => (0..count).map(|_| reader.fixed_f64()).collect(),
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
        _ => None,
    }
}

fn packed_doubles(values: &[f64]) -> (u8, Vec<u8>) {
    let mut out = Vec::new();
    if let Some((scale, integers)) = scaled_all(values)
        && let Ok(packed) = simple_compress(&integers, &config())
    {
        out.push(scale);
        put_bytes(&mut out, &packed);
        return (PCO_SCALED, out);
    }
    if let Ok(packed) = simple_compress(values, &config()) {
        let back: Option<Vec<f64>> = unpacked(&packed, values.len());
        let same =
            back.is_some_and(|back| back.iter().map(|v| v.to_bits()).eq(values.iter().map(|v| v.to_bits())));
        if same {
            put_bytes(&mut out, &packed);
            return (PCO_DOUBLES, out);
        }
    }
    values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
    (RAW_DOUBLES, out)
}

/// All values at the one scale that suits them all, if there is one.
fn scaled_all(values: &[f64]) -> Option<(u8, Vec<i64>)> {
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
