//! Integers in as few bits as they need: less their base, in the narrowest type
//! that holds them or their steps, packed by pco.
//!
//! ```text
//! packed = width | WRAPS · signed base · varint length · pco
//! ```
//! `width` is the logarithm of a value's bytes. What is packed is each value less
//! `base`, modulo the type. Without [`WRAPS`] that is the value; with it the
//! step from each value to the next is what the type holds, with a sign, and
//! the first value is `base`. The bins that pco lists for each column are as wide
//! as its type: half of what a column of a few hundred numbers takes may be those.
//!
//! pco's wrapped format has no header of its own but the two bytes of its version,
//! which [`PCO_VERSION`] stands for.

use super::coding::{Reader, put_bytes, put_signed};
use super::symbols::Symbols;
use pco::data_types::Number;
use pco::wrapped::{FileCompressor, FileDecompressor};
use pco::{ChunkConfig, DecompressorScratch, PagingSpec};
use std::cell::RefCell;
use std::sync::LazyLock;

/// Bit of the first byte.
const WRAPS: u8 = 1 << 7;
/// Version 4.1 of pco's format. Another one needs another form of column.
const PCO_VERSION: [u8; 2] = [4, 1];
/// Measured: higher levels take twice the time for 1 % less.
pub(super) const LEVEL: usize = 4;

static DECOMPRESSOR: LazyLock<Option<FileDecompressor>> =
    LazyLock::new(|| FileDecompressor::new(&PCO_VERSION[..]).ok().map(|(decompressor, _)| decompressor));

/// Numbers that are unpacked at once: a multiple of pco's batches of 256.
const AT_ONCE: usize = 1024;

thread_local! {
    /// What pco works in: made anew it is half of what a short column takes.
    static SCRATCH: RefCell<DecompressorScratch> = RefCell::default();
    static SYMBOLS: RefCell<Symbols> = RefCell::default();
}

/// A type that values are packed in.
trait Narrow: Number + Default {
    const MOST: u64;
    fn narrow(value: u64) -> Self;
    fn widen(self) -> u64;
    /// The step from `before` to `self`, with its sign.
    fn step_from(self, before: Self) -> i64;
}

macro_rules! narrow {
    ($($unsigned:ty, $signed:ty);*) => {$(
        impl Narrow for $unsigned {
            const MOST: u64 = <$unsigned>::MAX as u64;

            fn narrow(value: u64) -> Self {
                value as $unsigned
            }

            fn widen(self) -> u64 {
                u64::from(self)
            }

            fn step_from(self, before: Self) -> i64 {
                i64::from(self.wrapping_sub(before) as $signed)
            }
        }
    )*};
}

narrow!(u8, i8; u16, i16; u32, i32; u64, i64);

/// Writes integers, of which there is one at least; false, and nothing written,
/// when they cannot be packed.
pub(super) fn put_packed(out: &mut Vec<u8>, values: &[i64]) -> bool {
    let (Some(first), Some(least), Some(most)) = (values.first(), values.iter().min(), values.iter().max())
    else {
        return false;
    };
    let range = most.wrapping_sub(*least) as u64;
    // A step that does not fit into an i64 makes the range too wide for less than 64 bits.
    let steps = values.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]));
    let steps = steps.map(|step| if step < 0 { !step as u64 } else { step as u64 }).max().unwrap_or(0);
    let width = (0..4).find(|width| {
        let bits = 8u32 << width;
        range.checked_shr(bits).unwrap_or(0) == 0 || steps.checked_shr(bits - 1).unwrap_or(0) == 0
    });
    let width = width.unwrap_or(3);
    let wraps = range.checked_shr(8 << width).unwrap_or(0) != 0;
    let base = if wraps { *first } else { *least };
    let packed = match width {
        0 => pack::<u8>(values, base),
        1 => pack::<u16>(values, base),
        2 => pack::<u32>(values, base),
        _ => pack::<u64>(values, base),
    };
    let Some(packed) = packed else { return false };
    out.push(width as u8 | if wraps { WRAPS } else { 0 });
    put_signed(out, base);
    put_bytes(out, &packed);
    true
}

/// Hands `count` integers to `each`; `None` when the bytes are not that.
pub(super) fn read_packed(reader: &mut Reader<'_>, count: usize, each: impl FnMut(i64)) -> Option<()> {
    let packed = Packed::read(reader)?;
    match packed.width {
        0 => packed.each::<u8>(count, each),
        1 => packed.each::<u16>(count, each),
        2 => packed.each::<u32>(count, each),
        3 => packed.each::<u64>(count, each),
        _ => None,
    }
}

/// Reads `count` integers behind `out`; `None` when the bytes are not that, or one
/// is beyond 32 bits.
pub(super) fn read_packed_whole(reader: &mut Reader<'_>, count: usize, out: &mut Vec<u32>) -> Option<()> {
    let packed = Packed::read(reader)?;
    match packed.width {
        0 => packed.whole::<u8>(count, out),
        1 => packed.whole::<u16>(count, out),
        2 => packed.whole::<u32>(count, out),
        3 => packed.whole::<u64>(count, out),
        _ => None,
    }
}

/// Goes past packed integers.
pub(super) fn skip_packed(reader: &mut Reader<'_>) -> Option<()> {
    reader.byte()?;
    reader.signed()?;
    reader.bytes().map(drop)
}

fn pack<T: Narrow>(values: &[i64], base: i64) -> Option<Vec<u8>> {
    let narrow: Vec<T> = values.iter().map(|value| T::narrow(value.wrapping_sub(base) as u64)).collect();
    let config = ChunkConfig::default()
        .with_compression_level(LEVEL)
        .with_enable_8_bit(true)
        .with_paging_spec(PagingSpec::Exact(vec![narrow.len()]));
    let file = FileCompressor::default();
    if file.write_header(Vec::new()).ok()? != PCO_VERSION {
        return None;
    }
    let mut chunk = file.chunk_compressor(&narrow, &config).ok()?;
    let packed = chunk.write_meta(Vec::new()).ok()?;
    chunk.write_page(0, packed).ok()
}

/// Packed integers whose type is not told yet.
struct Packed<'a> {
    width: u8,
    base: i64,
    wraps: bool,
    bytes: &'a [u8],
}

impl<'a> Packed<'a> {
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let width = reader.byte()?;
        let base = reader.signed()?;
        let bytes = reader.bytes()?;
        Some(Packed { width: width & !WRAPS, base, wraps: width & WRAPS != 0, bytes })
    }

    fn each<T: Narrow>(&self, count: usize, mut each: impl FnMut(i64)) -> Option<()> {
        let (chunk, page) = DECOMPRESSOR.as_ref()?.chunk_decompressor::<T, _>(self.bytes).ok()?;
        let (mut value, mut before) = (self.base, T::default());
        let is_read = SYMBOLS.with_borrow_mut(|symbols| {
            let steps = symbols.steps(chunk.meta(), page, (count, size_of::<T>()))?;
            let steps = steps.iter().map(|step| T::narrow(u64::from(*step)));
            match self.wraps {
                true => steps.for_each(|step| {
                    value = value.wrapping_add(step.step_from(T::default()));
                    each(value);
                }),
                false => steps.for_each(|step| {
                    before = T::narrow(before.widen().wrapping_add(step.widen()));
                    each(self.base.wrapping_add(before.widen() as i64));
                }),
            }
            Some(())
        });
        if is_read.is_some() {
            return is_read;
        }
        self.unpack(count, |narrow: &[T]| match self.wraps {
            true => narrow.iter().for_each(|narrow| {
                value = value.wrapping_add(narrow.step_from(before));
                before = *narrow;
                each(value);
            }),
            false => narrow.iter().for_each(|narrow| each(self.base.wrapping_add(narrow.widen() as i64))),
        })
    }

    fn whole<T: Narrow>(&self, count: usize, out: &mut Vec<u32>) -> Option<()> {
        let base = u32::try_from(self.base).ok().filter(|base| T::MOST <= u64::from(u32::MAX - base));
        if let Some(base) = base.filter(|_| !self.wraps) {
            // None of them can be beyond.
            let (chunk, page) = DECOMPRESSOR.as_ref()?.chunk_decompressor::<T, _>(self.bytes).ok()?;
            let is_read = SYMBOLS
                .with_borrow_mut(|symbols| symbols.read(chunk.meta(), page, (count, base), out).is_some());
            return match is_read {
                true => Some(()),
                false => self.unpack(count, |narrow: &[T]| {
                    out.extend(narrow.iter().map(|narrow| base + narrow.widen() as u32));
                }),
            };
        }
        // Bits of any of them that are too high.
        let mut high = 0;
        let mut narrowed = |value: i64| {
            high |= value >> 32;
            value as u32
        };
        self.each::<T>(count, |value| out.push(narrowed(value)))?;
        (high == 0).then_some(())
    }

    fn unpack<T: Narrow>(&self, count: usize, mut each: impl FnMut(&[T])) -> Option<()> {
        let (chunk, rest) = DECOMPRESSOR.as_ref()?.chunk_decompressor::<T, _>(self.bytes).ok()?;
        SCRATCH.with_borrow_mut(|scratch| {
            let mut page = chunk.page_decompressor_with_scratch(rest, count, scratch).ok()?;
            let mut narrow = [T::default(); AT_ONCE];
            let mut left = count;
            while left > 0 {
                let done = page.read(&mut narrow).ok()?.n_processed;
                each(narrow.get(..done).filter(|_| done == left.min(AT_ONCE))?);
                left -= done;
            }
            page.into_src().is_empty().then_some(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(values: &[i64]) -> usize {
        let mut out = Vec::new();
        assert!(put_packed(&mut out, values));
        let mut back = Vec::new();
        let mut reader = Reader::new(&out);
        read_packed(&mut reader, values.len(), |value| back.push(value)).unwrap();
        assert!(reader.is_empty());
        assert_eq!(back, values);
        let mut reader = Reader::new(&out);
        assert!(skip_packed(&mut reader).is_some() && reader.is_empty());
        out.len()
    }

    /// Numbers of so many bits behind `base`: the sharper, the more of them are small.
    fn drawn(seed: u64, (bits, sharp): (u32, i32), base: i64, count: usize) -> Vec<i64> {
        let numbers = std::iter::successors(Some(seed | 1), |seed| {
            let mixed = (seed ^ (seed >> 27)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            Some(mixed ^ (mixed >> 31))
        });
        let part = |number: u64| ((number >> 11) as f64 / (1u64 << 53) as f64).powi(1 + sharp);
        let number = |number: u64| base + (part(number) * f64::from(bits).exp2()) as i64;
        numbers.skip(1).take(count).map(number).collect()
    }

    #[test]
    fn small_numbers_need_no_more_than_symbols() {
        for (bits, count) in [(3, 720), (7, 50_000), (7, 50_001), (12, 5_003)] {
            let values = drawn(count as u64, (bits, 4), 0, count);
            let mut out = Vec::new();
            assert!(put_packed(&mut out, &values));
            let packed = Packed::read(&mut Reader::new(&out)).unwrap();
            let of = (count, packed.base as u32);
            let pco = DECOMPRESSOR.as_ref().unwrap();
            let mut read = Vec::new();
            if packed.width == 0 {
                let (chunk, page) = pco.chunk_decompressor::<u8, _>(packed.bytes).unwrap();
                Symbols::default().read(chunk.meta(), page, of, &mut read).unwrap();
            } else {
                let (chunk, page) = pco.chunk_decompressor::<u16, _>(packed.bytes).unwrap();
                Symbols::default().read(chunk.meta(), page, of, &mut read).unwrap();
            }
            assert!(read.iter().map(|value| i64::from(*value)).eq(values), "{bits} {count}");
        }
    }

    #[test]
    fn totals_need_no_more_than_steps() {
        for (bits, count) in [(6, 720), (7, 50_001), (13, 5_003), (20, 720)] {
            let mut total = 1i64 << 40;
            let gains = drawn(count as u64, (bits, 1), 0, count).into_iter();
            let values: Vec<i64> = gains
                .map(|gain| {
                    total += gain;
                    total
                })
                .collect();
            let mut out = Vec::new();
            assert!(put_packed(&mut out, &values));
            let packed = Packed::read(&mut Reader::new(&out)).unwrap();
            let pco = DECOMPRESSOR.as_ref().unwrap();
            let mut symbols = Symbols::default();
            macro_rules! is_read {
                ($narrow:ty) => {{
                    let (chunk, page) = pco.chunk_decompressor::<$narrow, _>(packed.bytes).unwrap();
                    symbols.steps(chunk.meta(), page, (count, size_of::<$narrow>())).is_some()
                }};
            }
            let is_read = match packed.width {
                0 => is_read!(u8),
                1 => is_read!(u16),
                _ => is_read!(u32),
            };
            assert!(is_read, "{bits} {count}");
            check(&values);
        }
    }

    #[test]
    fn the_narrowest_type_is_taken_for_values_or_their_steps() {
        let width = |values: &[i64]| {
            let mut out = Vec::new();
            assert!(put_packed(&mut out, values));
            check(values);
            out[0]
        };
        assert_eq!(width(&[1_000_000, 1_000_255]), 0);
        assert_eq!(width(&[1_000_000, 1_000_256]), 1);
        let rising: Vec<i64> = (0..100).map(|at| at * 127).collect();
        assert_eq!(width(&rising), WRAPS);
        let rising: Vec<i64> = (0..1000).map(|at| at * 128).collect();
        assert_eq!(width(&rising), 1 | WRAPS);
        assert_eq!(width(&[0, -128, 300]), 1);
        assert_eq!(width(&[i64::MIN, i64::MAX, 0, -1]), 3);
        assert_eq!(width(&[5]), 0);
    }

    proptest! {
        #[test]
        fn integers_come_back(values in prop::collection::vec(any::<i64>(), 1..300), bits in 0u32..64) {
            let small: Vec<i64> = values.iter().map(|value| value >> bits).collect();
            check(&small);
            let mut total = 0i64;
            let totals: Vec<i64> = small.iter().map(|step| { total = total.wrapping_add(*step); total }).collect();
            check(&totals);
        }

        #[test]
        fn whole_numbers_come_back(
            (seed, count) in (any::<u64>(), 1usize..3000),
            (bits, sharp) in (0u32..34, 0i32..8),
            base in prop_oneof![Just(0), 0i64..1 << 33, -9i64..9],
        ) {
            let values = drawn(seed, (bits, sharp), base, count);
            let mut out = Vec::new();
            prop_assert!(put_packed(&mut out, &values));
            let (mut reader, mut back) = (Reader::new(&out), vec![7]);
            let is_read = read_packed_whole(&mut reader, count, &mut back).is_some();
            prop_assert_eq!(is_read, values.iter().all(|value| u32::try_from(*value).is_ok()));
            if is_read {
                prop_assert!(reader.is_empty());
                prop_assert!(back.iter().skip(1).map(|value| i64::from(*value)).eq(values.iter().copied()));
            }
        }

        #[test]
        fn foreign_bytes_do_no_harm(bytes: Vec<u8>, count in 0usize..600, hit: prop::sample::Index, bit in 0u8..8) {
            let _ = read_packed(&mut Reader::new(&bytes), count, |_| {});
            let _ = read_packed_whole(&mut Reader::new(&bytes), count, &mut Vec::new());
            let values: Vec<i64> = (0..count as i64).map(|at| at * at % 61 % 19).chain([0]).collect();
            let mut out = Vec::new();
            prop_assert!(put_packed(&mut out, &values));
            let hit = hit.index(out.len());
            out[hit] ^= 1 << bit;
            let _ = read_packed_whole(&mut Reader::new(&out), values.len(), &mut Vec::new());
            let totals: Vec<i64> = values.iter().scan(0, |total, gain| { *total += gain; Some(*total) }).collect();
            out.clear();
            prop_assert!(put_packed(&mut out, &totals));
            let hit = hit % out.len();
            out[hit] ^= 1 << bit;
            let _ = read_packed(&mut Reader::new(&out), totals.len(), |_| {});
        }
    }
}
