//! A page of pco whose numbers are told one by one (its mode is classic, without
//! deltas), as buckets and weights of timers are, or by their steps, as totals of
//! counters are, in two thirds of pco's own time.
//!
//! Of a number its bin comes first: four states take turns, each of which tells a
//! bin and how many bits the next one takes. What a number is beyond the least of
//! its bin follows, 256 numbers at a time; of most it is nothing, so that only
//! the others are gone through again. Whatever is not as it should be is left to
//! pco, which tells what it is.

use pco::metadata::{ChunkMeta, DeltaEncoding, DynBins, Mode};

/// Larger tables are not read here.
const MOST_STATES: usize = 1 << 10;
/// Numbers whose bins come first.
const BATCH: usize = 256;
/// So many bytes are looked at at once.
const WORD: usize = size_of::<u64>();

#[derive(Clone, Copy, Default)]
struct State {
    /// The least number of the bin.
    least: u32,
    next: u16,
    /// Bits that are added to it.
    taken: u8,
    /// Bits of the rest.
    rest: u8,
}

struct Bin {
    weight: u32,
    least: u32,
    rest: u8,
}

/// Room to work in.
pub(super) struct Symbols {
    states: Box<[State; MOST_STATES]>,
    bins: Vec<Bin>,
    bytes: Vec<u8>,
    steps: Vec<u32>,
}

impl Default for Symbols {
    fn default() -> Self {
        let states = Box::new([State::default(); MOST_STATES]);
        Symbols { states, bins: Vec::new(), bytes: Vec::new(), steps: Vec::new() }
    }
}

impl Symbols {
    /// Reads `count` numbers of a page behind `out`, each with `base` added; `None`
    /// where that is not done here.
    pub(super) fn read(
        &mut self,
        meta: &ChunkMeta,
        page: &[u8],
        (count, base): (usize, u32),
        out: &mut Vec<u32>,
    ) -> Option<()> {
        if !matches!((&meta.mode, &meta.delta_encoding), (Mode::Classic, DeltaEncoding::NoOp)) {
            return None;
        }
        self.read_page(meta, page, (count, base), out)
    }

    /// Steps to `count` numbers of so many bytes, each from the one before and the first
    /// from 0; of all only these bytes count. `None` where that is not what the page
    /// tells, or not done here.
    pub(super) fn steps(
        &mut self,
        meta: &ChunkMeta,
        page: &[u8],
        (count, bytes): (usize, usize),
    ) -> Option<&[u32]> {
        let DeltaEncoding::Consecutive { order: 1, .. } = meta.delta_encoding else { return None };
        if !matches!(meta.mode, Mode::Classic) {
            return None;
        }
        let (first, page) = page.split_at_checked(bytes)?;
        // pco adds it, so that small steps are close together whatever their sign.
        let middle = 1u32.checked_shl(8 * bytes as u32 - 1)?;
        let first = first.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte));
        let mut steps = std::mem::take(&mut self.steps);
        steps.clear();
        steps.push(first);
        let is_read = self.read_page(meta, page, (count.checked_sub(1)?, middle), &mut steps);
        self.steps = steps;
        is_read.map(|()| &self.steps[..])
    }

    fn read_page(
        &mut self,
        meta: &ChunkMeta,
        page: &[u8],
        (count, base): (usize, u32),
        out: &mut Vec<u32>,
    ) -> Option<()> {
        let primary = &meta.per_latent_var.primary;
        let most = self.take_bins(&primary.bins)?;
        self.make_states(primary.ans_size_log)?;
        self.bytes.clear();
        self.bytes.extend_from_slice(page);
        // So that a word can be read at each bit.
        self.bytes.extend_from_slice(&[0; 2 * WORD]);
        let before = out.len();
        let end = self.read_all(primary.ans_size_log as usize, (count, base, most), out);
        if end.is_none_or(|bit| bit.div_ceil(8) != page.len()) {
            out.truncate(before);
            return None;
        }
        Some(())
    }

    /// Returns the most that their type holds.
    fn take_bins(&mut self, bins: &DynBins) -> Option<u32> {
        let bin = |weight, least, rest: u32| Bin { weight, least, rest: rest as u8 };
        self.bins.clear();
        match bins {
            DynBins::U8(bins) => {
                self.bins.extend(bins.iter().map(|b| bin(b.weight, u32::from(b.lower), b.offset_bits)));
                Some(u32::from(u8::MAX))
            }
            DynBins::U16(bins) => {
                self.bins.extend(bins.iter().map(|b| bin(b.weight, u32::from(b.lower), b.offset_bits)));
                Some(u32::from(u16::MAX))
            }
            DynBins::U32(bins) => {
                self.bins.extend(bins.iter().map(|b| bin(b.weight, b.lower, b.offset_bits)));
                Some(u32::MAX)
            }
            _ => None,
        }
    }

    /// A bin has as many states as it weighs, spread as pco has it.
    fn make_states(&mut self, size_log: u32) -> Option<()> {
        let size = 1usize.checked_shl(size_log).filter(|size| *size <= MOST_STATES)?;
        if self.bins.iter().map(|bin| u64::from(bin.weight)).sum::<u64>() != size as u64 {
            return None;
        }
        let stride = (3 * size / 5) | 1;
        let mut places = (0..size).map(|step| (stride * step) & (size - 1));
        for (number, bin) in self.bins.iter().enumerate() {
            for place in places.by_ref().take(bin.weight as usize) {
                self.states.get_mut(place)?.next = number as u16;
            }
        }
        for state in self.states.get_mut(..size)? {
            let Bin { weight, least, rest } = self.bins.get_mut(usize::from(state.next))?;
            // Its states count from the weight up to twice of it; with these bits, from the
            // size of the table on.
            let taken = weight.leading_zeros().saturating_sub((size as u32).leading_zeros());
            let next = ((*weight << taken) as usize).wrapping_sub(size) as u16;
            *state = State { least: *least, next, taken: taken as u8, rest: *rest };
            *weight += 1;
        }
        Some(())
    }

    /// The bit behind the last number.
    fn read_all(
        &self,
        size_log: usize,
        (count, base, most): (usize, u32, u32),
        out: &mut Vec<u32>,
    ) -> Option<usize> {
        let (states, bytes) = (&*self.states, &self.bytes[..]);
        let mut turns = [0usize; 4];
        let mut bit = 0;
        for turn in &mut turns {
            *turn = lowest(word_at(bytes, bit)?, size_log);
            bit += size_log;
        }
        bit = bit.next_multiple_of(8);
        // Places of numbers that have a rest, and its bits.
        let mut rests = [(0u8, 0u8); BATCH];
        let mut left = count;
        while left > 0 {
            let (start, many) = (out.len(), left.min(BATCH));
            out.resize(start + many, 0);
            let batch = out.get_mut(start..)?;
            let (mut place, mut rested) = (0u8, 0usize);
            // As a macro, so that each turn stays in a register of its own; how many bits it took.
            macro_rules! read {
                ($slot:expr, $turn:expr, $word:expr) => {{
                    let state = states[$turn % MOST_STATES];
                    $slot = base.wrapping_add(state.least);
                    rests[rested % BATCH] = (place, state.rest);
                    rested += usize::from(state.rest > 0);
                    place = place.wrapping_add(1);
                    $turn = usize::from(state.next) + lowest($word, usize::from(state.taken));
                    bit += usize::from(state.taken);
                    state.taken % 64
                }};
            }
            let [mut one, mut two, mut three, mut four] = turns;
            let mut slots = batch.chunks_exact_mut(4);
            for slots in &mut slots {
                let slots: &mut [u32; 4] = slots.try_into().ok()?;
                let mut word = word_at(bytes, bit)?;
                word >>= read!(slots[0], one, word);
                word >>= read!(slots[1], two, word);
                word >>= read!(slots[2], three, word);
                let _ = read!(slots[3], four, word);
            }
            turns = [one, two, three, four];
            // The last ones of all.
            for (slot, turn) in slots.into_remainder().iter_mut().zip(&mut turns) {
                let word = word_at(bytes, bit)?;
                let _ = read!(*slot, *turn, word);
            }
            for (place, rest) in rests.get(..rested)? {
                let more = lowest(word_at(bytes, bit)?, usize::from(*rest)) as u32;
                if let Some(slot) = batch.get_mut(usize::from(*place)) {
                    // What goes beyond the type begins anew, as with pco: it was not written so.
                    let number = slot.wrapping_sub(base).wrapping_add(more) & most;
                    *slot = base.wrapping_add(number);
                }
                bit += usize::from(*rest);
            }
            left -= many;
        }
        Some(bit)
    }
}

/// The 57 bits from `bit` on, and some.
#[inline]
fn word_at(bytes: &[u8], bit: usize) -> Option<u64> {
    let word = bytes.get(bit / 8..bit / 8 + WORD)?;
    Some(u64::from_le_bytes(word.try_into().ok()?) >> (bit % 8))
}

#[inline]
fn lowest(word: u64, bits: usize) -> usize {
    (word & ((1 << (bits % 64)) - 1)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use pco::data_types::Number;
    use pco::wrapped::{FileCompressor, FileDecompressor};
    use pco::{ChunkConfig, DeltaSpec, ModeSpec, PagingSpec};
    use proptest::prelude::*;

    /// What pco writes of numbers: its metadata, and a page behind it.
    fn packed<T: Number>(numbers: &[T], level: usize) -> (Vec<u8>, usize) {
        let config = ChunkConfig::default()
            .with_compression_level(level)
            .with_enable_8_bit(true)
            .with_mode_spec(ModeSpec::Classic)
            .with_delta_spec(DeltaSpec::NoOp)
            .with_paging_spec(PagingSpec::Exact(vec![numbers.len()]));
        let mut chunk = FileCompressor::default().chunk_compressor(numbers, &config).unwrap();
        let meta = chunk.write_meta(Vec::new()).unwrap();
        let meta_bytes = meta.len();
        (chunk.write_page(0, meta).unwrap(), meta_bytes)
    }

    /// What pco reads of the bytes, and what is read here: `None` where that is none,
    /// or not done.
    fn both<T: Number + Default + Into<u32>>(bytes: &[u8], count: usize) -> [Option<Vec<u32>>; 2] {
        let (pco, _) = FileDecompressor::new(&[4, 1][..]).unwrap();
        let Ok((mut chunk, page)) = pco.chunk_decompressor::<T, _>(bytes) else { return [None, None] };
        let mut own = vec![9; 3];
        let read = Symbols::default().read(chunk.meta(), page, (count, 0), &mut own);
        assert!(own.len() == 3 + if read.is_some() { count } else { 0 } && own.starts_with(&[9; 3]));
        let own = read.map(|()| own.split_off(3));
        let mut numbers = vec![T::default(); count.next_multiple_of(256)];
        let theirs = chunk.page_decompressor(page, count).and_then(|mut page| {
            let progress = page.read(&mut numbers)?;
            Ok((progress.finished && progress.n_processed == count, page.into_src()))
        });
        let is_all = theirs.is_ok_and(|(is_finished, rest)| is_finished && rest.is_empty());
        numbers.truncate(count);
        [is_all.then(|| numbers.into_iter().map(T::into).collect()), own]
    }

    /// pco looks at bits that are never read, too.
    fn check_same([theirs, own]: [Option<Vec<u32>>; 2]) {
        if let (Some(theirs), Some(own)) = (theirs, own) {
            assert_eq!(theirs, own);
        }
    }

    fn check<T: Number + Default + Into<u32>>(numbers: &[T], level: usize, hits: &[(usize, u8)]) {
        let (mut bytes, meta_bytes) = packed(numbers, level);
        let expected: Vec<u32> = numbers.iter().map(|number| (*number).into()).collect();
        let [theirs, own] = both::<T>(&bytes, numbers.len());
        assert_eq!(theirs.as_ref(), Some(&expected));
        assert!(own.is_none_or(|own| own == expected));
        // Of another number than there are, and of fewer bytes.
        for count in [0, 1, numbers.len().saturating_sub(1), numbers.len() + 1, numbers.len() + 257] {
            check_same(both::<T>(&bytes, count));
        }
        for cut in [meta_bytes, bytes.len() - 1] {
            assert_eq!(
                both::<T>(&bytes[..cut], numbers.len())[1].as_ref().filter(|own| **own != expected),
                None
            );
        }
        for (place, bit) in hits {
            let place = place % bytes.len();
            bytes[place] ^= 1 << bit;
        }
        check_same(both::<T>(&bytes, numbers.len()));
    }

    fn numbers(count: usize, bits: u32, sharp: i32, seed: u64) -> impl Iterator<Item = u64> {
        let mut dice = seed | 1;
        (0..count).map(move |_| {
            dice = (dice ^ (dice >> 27)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            dice ^= dice >> 31;
            let part = (dice >> 11) as f64 / (1u64 << 53) as f64;
            (part.powi(1 + sharp) * f64::from(bits).exp2()) as u64
        })
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_pco_reads(
            count in prop_oneof![prop::sample::select(vec![1usize, 2, 255, 256, 257, 511, 512, 513]), 1usize..3000],
            (bits, sharp, seed) in (0u32..=32, 0i32..9, any::<u64>()),
            level in 0usize..=12,
            hits in prop::collection::vec((any::<usize>(), 0u8..8), 0..4),
        ) {
            let drawn: Vec<u64> = numbers(count, bits, sharp, seed).collect();
            check(&drawn.iter().map(|number| *number as u8).collect::<Vec<_>>(), level, &hits);
            check(&drawn.iter().map(|number| *number as u16).collect::<Vec<_>>(), level, &hits);
            check(&drawn.iter().map(|number| *number as u32).collect::<Vec<_>>(), level, &hits);
        }
    }
}
