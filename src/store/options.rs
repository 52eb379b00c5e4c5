//! How a store is kept: where, for how long, in which steps.

use super::block::Block;
use super::error::Error;
use super::tier::Tier;
use std::path::PathBuf;

/// Two hours.
const BLOCK_SPAN_MS: i64 = 2 * 3_600_000;
const DAY_MS: i64 = 86_400_000;

/// How a store is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Directory of the files; made when it is not there.
    pub dir: PathBuf,
    /// Age at which windows are dropped, a block at a time, in ms. What is older
    /// than the longest retention is not read any more.
    pub retention_ms: i64,
    /// Time that one block of windows covers, in ms; a multiple of every tier's
    /// resolution.
    pub block_span_ms: i64,
    /// Coarser tiers, ascending. A tier that the directory has and that is not
    /// among them is read, not added to, and kept as long as the next finer one.
    pub tiers: Vec<Tier>,
    /// Bytes of log and blocks beyond which blocks are dropped before their time:
    /// those that a coarser tier has, then the oldest.
    pub max_bytes: Option<u64>,
    /// How long a block waits for values that come late, in ms.
    pub lateness_ms: i64,
}

impl Options {
    /// The defaults, in `dir`: two days, in blocks of two hours.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Options {
            dir: dir.into(),
            retention_ms: 2 * DAY_MS,
            block_span_ms: BLOCK_SPAN_MS,
            tiers: Vec::new(),
            max_bytes: None,
            lateness_ms: 0,
        }
    }

    /// The same with another retention; blocks cover no more than that. It may
    /// change from one start to the next.
    #[must_use]
    pub fn with_retention(self, retention_ms: i64) -> Self {
        Options { retention_ms, block_span_ms: self.block_span_ms.min(retention_ms), ..self }
    }

    /// The same with another span of blocks, in ms: a shorter log, and smaller
    /// blocks. To be set before retention and tiers, which may change it.
    #[must_use]
    pub fn with_block_span(self, block_span_ms: i64) -> Self {
        Options { block_span_ms, ..self }
    }

    /// The same with coarser tiers; blocks of windows cover whole steps of the
    /// coarsest.
    #[must_use]
    pub fn with_tiers(self, tiers: Vec<Tier>) -> Self {
        let step_ms = tiers.iter().map(|tier| tier.resolution_ms).max().unwrap_or(1).max(1);
        let block_span_ms = (self.block_span_ms / step_ms).max(1).saturating_mul(step_ms);
        Options { tiers, block_span_ms, ..self }
    }

    /// The same with a bound on the bytes of all files.
    #[must_use]
    pub fn with_max_bytes(self, max_bytes: Option<u64>) -> Self {
        Options { max_bytes, ..self }
    }

    /// Age at which a block is dropped. One of a tier that is not there any more
    /// stays as long as the next finer one does.
    pub(super) fn retention_of(&self, block: &Block) -> i64 {
        let step_ms = block.footer.resolution_ms;
        let tier = self.tiers.iter().rfind(|tier| tier.resolution_ms <= step_ms);
        tier.map_or(self.retention_ms, |tier| tier.retention_ms)
    }

    pub(super) fn longest_retention_ms(&self) -> i64 {
        self.tiers.iter().map(|tier| tier.retention_ms).fold(self.retention_ms, i64::max)
    }

    /// The same with another lateness. Late values for what is in a block
    /// already count in the window of their batch.
    #[must_use]
    pub fn with_lateness(self, lateness_ms: i64) -> Self {
        Options { lateness_ms, ..self }
    }

    /// # Errors
    /// [`Error::Options`] when they do not go together.
    pub(super) fn check(&self) -> Result<(), Error> {
        let error = |key, reason| Err(Error::Options { key, reason });
        if self.block_span_ms < 1_000 {
            return error("block_span_ms", "must be 1 s or more");
        }
        if self.retention_ms < self.block_span_ms {
            return error("retention_ms", "must not be shorter than the span of a block");
        }
        let mut step_ms = 1;
        for tier in &self.tiers {
            if tier.resolution_ms <= step_ms || tier.resolution_ms % step_ms != 0 {
                return error("tiers", "each resolution must be a multiple of the one before");
            }
            step_ms = tier.resolution_ms;
        }
        if self.block_span_ms % step_ms != 0 {
            return error("block_span_ms", "must be a multiple of each resolution");
        }
        Ok(())
    }
}
