//! Lists of numbers, in blocks of one cache line that all lists share: what one
//! list leaves the next one takes, and none of them moves as it grows.

/// Numbers of a block.
const BLOCK: usize = 7;
const CHUNK: usize = 1024;
/// No block: the list is empty.
pub const NONE: u32 = u32::MAX;

/// See the module's head. A list is named by its last block and its length.
#[derive(Debug)]
pub struct Blocks {
    chunks: Vec<Vec<Block>>,
    /// The first block that is free; the next one is its `before`.
    free: u32,
}

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Block {
    numbers: [f64; BLOCK],
    before: u32,
}

impl Default for Blocks {
    fn default() -> Self {
        Blocks { chunks: Vec::new(), free: NONE }
    }
}

impl Blocks {
    /// Adds a number to the list of `len` numbers that ends in `last`. Returns
    /// its last block.
    #[inline]
    pub fn push(&mut self, last: u32, len: usize, number: f64) -> u32 {
        let at = if len.is_multiple_of(BLOCK) { self.add(last) } else { last };
        self.block(at).numbers[len % BLOCK] = number;
        at
    }

    /// The numbers of the list in their order. The list is no more.
    pub fn take(&mut self, last: u32, len: usize) -> Vec<f64> {
        let mut numbers = vec![0.0; len];
        let mut at = last;
        for part in numbers.chunks_mut(BLOCK).rev() {
            let free = self.free;
            let block = self.block(at);
            part.copy_from_slice(&block.numbers[..part.len()]);
            let before = std::mem::replace(&mut block.before, free);
            self.free = at;
            at = before;
        }
        numbers
    }

    /// Blocks made so far.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.chunks.len() * CHUNK
    }

    fn add(&mut self, before: u32) -> u32 {
        if self.free == NONE {
            let chunk = self.chunks.len() * CHUNK;
            // Lowest first.
            let blocks = (0..CHUNK).map(|at| {
                let next = if at + 1 < CHUNK { (chunk + at + 1) as u32 } else { NONE };
                Block { numbers: [0.0; BLOCK], before: next }
            });
            self.chunks.push(blocks.collect());
            self.free = chunk as u32;
        }
        let at = self.free;
        self.free = std::mem::replace(&mut self.block(at).before, before);
        at
    }

    #[inline]
    fn block(&mut self, at: u32) -> &mut Block {
        &mut self.chunks[at as usize / CHUNK][at as usize % CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn lists_are_lists_whatever_others_do(steps in prop::collection::vec((0usize..5, any::<bool>()), 1..2000)) {
            let mut blocks = Blocks::default();
            let mut lists = [(NONE, 0); 5];
            let mut model: [Vec<f64>; 5] = Default::default();
            for (at, (of, take)) in steps.into_iter().enumerate() {
                let (last, len) = lists[of];
                if take && at % 7 == 0 {
                    prop_assert_eq!(blocks.take(last, len), std::mem::take(&mut model[of]));
                    lists[of] = (NONE, 0);
                } else {
                    lists[of] = (blocks.push(last, len, at as f64), len + 1);
                    model[of].push(at as f64);
                }
            }
            prop_assert!(blocks.chunks.len() <= 1);
        }
    }
}
