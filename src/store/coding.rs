//! Numbers as bytes: varints, zig-zag, and decimals as scaled integers.
//!
//! A number that is an integer over 10^k (k ≤ 6), as durations in seconds and
//! most gauges are, takes as few bytes as the integer; any other takes nine,
//! bit for bit. Reading never panics and never reads past the end: `None`
//! says that the bytes are not what was written.

/// Powers of ten by which a number may be scaled.
const SCALES: [f64; 7] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6];
/// Stands where a scale would, for a number that is written bit for bit.
pub(super) const RAW: u8 = 7;
/// Integers below it are exact in a double.
const EXACT: f64 = (1u64 << 53) as f64;

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, zigzag(value));
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(super) fn put_number(out: &mut Vec<u8>, value: f64) {
    match scaled(value) {
        Some((scale, integer)) => put_varint(out, zigzag(integer) << 3 | u64::from(scale)),
        None => {
            put_varint(out, u64::from(RAW));
            out.extend_from_slice(&value.to_le_bytes());
        }
    }
}

/// A weight: mostly a small whole number.
pub(super) fn put_weight(out: &mut Vec<u8>, value: f64) {
    if (0.0..EXACT).contains(&value) && value.fract() == 0.0 && value.is_sign_positive() {
        put_varint(out, (value as u64) << 1);
    } else {
        put_varint(out, 1);
        out.extend_from_slice(&value.to_le_bytes());
    }
}

pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// The smallest scale at which `value` is an integer, and that integer.
/// [`unscaled`] gives the very bits back.
pub(super) fn scaled(value: f64) -> Option<(u8, i64)> {
    (0..SCALES.len() as u8).find_map(|scale| Some((scale, scaled_by(value, scale)?)))
}

/// The integer that `value` is at `scale`, if it is one.
pub(super) fn scaled_by(value: f64, scale: u8) -> Option<i64> {
    let integer = (value * SCALES.get(usize::from(scale))?).round();
    let same = integer.abs() < EXACT && unscaled(scale, integer as i64)?.to_bits() == value.to_bits();
    same.then_some(integer as i64)
}

/// The number that is `integer` at `scale`.
pub(super) fn unscaled(scale: u8, integer: i64) -> Option<f64> {
    Some(integer as f64 / power_of(scale)?)
}

/// What a number at `scale` was multiplied by.
pub(super) fn power_of(scale: u8) -> Option<f64> {
    SCALES.get(usize::from(scale)).copied()
}

/// Reads what the functions above wrote.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// All that was not read yet.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }

    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count)?;
        self.bytes = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        Some(self.array::<1>()?[0])
    }

    pub(super) fn fixed_u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn fixed_u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn fixed_f64(&mut self) -> Option<f64> {
        Some(f64::from_le_bytes(self.array()?))
    }

    pub(super) fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        // Ten bytes at most.
        for (at, byte) in self.bytes.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * at);
            if *byte < 0x80 {
                self.bytes = self.bytes.get(at + 1..)?;
                return Some(value);
            }
        }
        None
    }

    pub(super) fn signed(&mut self) -> Option<i64> {
        Some(unzigzag(self.varint()?))
    }

    /// A count of things that each take at least one more byte: never more
    /// than there is, so that it may size an allocation.
    pub(super) fn count(&mut self) -> Option<usize> {
        usize::try_from(self.varint()?).ok().filter(|count| *count <= self.bytes.len())
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.varint()?).ok()?;
        self.take(length)
    }

    pub(super) fn number(&mut self) -> Option<f64> {
        let coded = self.varint()?;
        match (coded & 7) as u8 {
            RAW => self.fixed_f64(),
            scale => unscaled(scale, unzigzag(coded >> 3)),
        }
    }

    pub(super) fn weight(&mut self) -> Option<f64> {
        let coded = self.varint()?;
        if coded & 1 == 0 { Some((coded >> 1) as f64) } else { self.fixed_f64() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample::stale_nan;
    use proptest::prelude::*;

    fn check(value: f64, expected_bytes: usize) {
        let mut out = Vec::new();
        put_number(&mut out, value);
        assert_eq!(out.len(), expected_bytes, "{value}");
        assert_eq!(Reader::new(&out).number().unwrap().to_bits(), value.to_bits(), "{value}");
    }

    #[test]
    fn everyday_numbers_are_short_and_odd_ones_exact() {
        check(0.0, 1);
        check(7.0, 1);
        check(-8.0, 1);
        check(1234.0, 3);
        check(0.25, 2);
        check(0.000_123, 2);
        check(-0.0, 9);
        check(std::f64::consts::PI, 9);
        check(f64::INFINITY, 9);
        check(stale_nan(), 9);
        check(f64::MAX, 9);
    }

    proptest! {
        #[test]
        fn every_number_comes_back(bits: u64, integer: i64, weight: f64) {
            let mut out = Vec::new();
            put_number(&mut out, f64::from_bits(bits));
            put_signed(&mut out, integer);
            put_weight(&mut out, weight);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.number().unwrap().to_bits(), bits);
            prop_assert_eq!(reader.signed().unwrap(), integer);
            prop_assert_eq!(reader.weight().unwrap().to_bits(), weight.to_bits());
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn foreign_bytes_do_no_harm(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            while reader.number().is_some() && reader.bytes().is_some() && reader.count().is_some() {}
        }
    }
}
