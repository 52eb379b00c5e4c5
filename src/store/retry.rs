//! Blocks that could not be written, because what they are written of cannot be
//! read, or coarser ones for any reason; and when each is tried again.
//!
//! A failed one waits for twice as many upkeeps each time, up to a bound: a
//! place of the disk that cannot be read must not be read for ever, nor keep
//! others from being built. Counted in upkeeps, since clocks are set.

/// Most upkeeps that a build waits for: about an hour, where they come each minute.
const WAIT_MAX: u64 = 64;
/// So many tries that failed, within 30 upkeeps, say that what cannot be read never
/// will be; the next one is 32 upkeeps later.
const HOPELESS_TRIES: u32 = 5;
/// Most coarser blocks that wait. With so many the disk fails as a whole, and nothing
/// else is tried.
const FAILED_MAX: usize = 64;

/// See the module's head.
#[derive(Default)]
pub(super) struct Retries {
    upkeep: u64,
    failed: Vec<Failed>,
}

struct Failed {
    /// Step and end of the block.
    block: (i64, i64),
    tries: u32,
    waits: u64,
    again: u64,
}

impl Retries {
    /// Begins an upkeep. What was due for long and not tried nobody wants.
    pub(super) fn begin(&mut self) {
        self.upkeep += 1;
        self.failed.retain(|failed| failed.again + WAIT_MAX > self.upkeep);
    }

    /// Whether the block of this step and end is not to be tried now.
    pub(super) fn waits(&self, block: (i64, i64)) -> bool {
        match self.failed.iter().find(|failed| failed.block == block) {
            Some(failed) => failed.again > self.upkeep,
            // The log must become blocks.
            None => block.0 > 0 && self.failed.len() >= FAILED_MAX,
        }
    }

    /// Whether it failed so often that it is to be done without what fails.
    pub(super) fn is_hopeless(&self, block: (i64, i64)) -> bool {
        self.failed.iter().any(|failed| failed.block == block && failed.tries >= HOPELESS_TRIES)
    }

    /// Notes a failure; whether it is the first one.
    pub(super) fn note_failed(&mut self, block: (i64, i64)) -> bool {
        let upkeep = self.upkeep;
        if let Some(failed) = self.failed.iter_mut().find(|failed| failed.block == block) {
            failed.tries = failed.tries.saturating_add(1);
            failed.waits = (failed.waits * 2).min(WAIT_MAX);
            failed.again = upkeep + failed.waits;
            return false;
        }
        self.failed.push(Failed { block, tries: 1, waits: 2, again: upkeep + 2 });
        true
    }

    pub(super) fn note_built(&mut self, block: (i64, i64)) {
        self.failed.retain(|failed| failed.block != block);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_again_and_again_is_tried_less_and_less_often() {
        let mut retries = Retries::default();
        let mut hopeless = 0;
        let tries: Vec<u64> = (1..300)
            .filter(|upkeep| {
                retries.begin();
                if !retries.is_hopeless((60, 1)) {
                    hopeless = *upkeep;
                }
                let is_tried = !retries.waits((60, 1));
                assert!(!retries.waits((60, 2)), "others are built");
                if is_tried {
                    retries.note_failed((60, 1));
                }
                is_tried
            })
            .collect();
        assert_eq!((&tries[..], hopeless), (&[1, 3, 7, 15, 31, 63, 127, 191, 255][..], 31));
        retries.note_built((60, 1));
        assert!(!retries.waits((60, 1)) && retries.note_failed((60, 1)), "it is news again");
        for end_ms in 0..1000 {
            let _ = retries.waits((1, end_ms)) || retries.note_failed((1, end_ms));
        }
        assert_eq!(retries.failed.len(), FAILED_MAX);
    }
}
