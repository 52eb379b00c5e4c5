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
        self.take_bins(&primary.bins)?;
        self.make_states(primary.ans_size_log)?;
        self.bytes.clear();
        self.bytes.extend_from_slice(page);
        // So that a word can be read at each bit.
        self.bytes.extend_from_slice(&[0; 2 * WORD]);
        let before = out.len();
        let end = self.read_all(primary.ans_size_log as usize, (count, base), out);
        if end.is_none_or(|bit| bit.div_ceil(8) != page.len()) {
            out.truncate(before);
            return None;
        }
        Some(())
    }

    fn take_bins(&mut self, bins: &DynBins) -> Option<()> {
        let bin = |weight, least, rest: u32| Bin { weight, least, rest: rest as u8 };
        self.bins.clear();
        match bins {
            DynBins::U8(bins) => {
                self.bins.extend(bins.iter().map(|b| bin(b.weight, u32::from(b.lower), b.offset_bits)));
            }
            DynBins::U16(bins) => {
                self.bins.extend(bins.iter().map(|b| bin(b.weight, u32::from(b.lower), b.offset_bits)));
            }
            DynBins::U32(bins) => {
                self.bins.extend(bins.iter().map(|b| bin(b.weight, b.lower, b.offset_bits)))
            }
            _ => return None,
        }
        Some(())
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
    fn read_all(&self, size_log: usize, (count, base): (usize, u32), out: &mut Vec<u32>) -> Option<usize> {
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
                    *slot = slot.wrapping_add(more);
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
