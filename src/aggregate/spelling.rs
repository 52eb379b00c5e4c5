//! What a table knows a spelling by: 80 bits of it, hashed with seeds of the
//! table's own.
//!
//! The bytes themselves are not kept, as they would take more memory than all
//! else of a series. Of a million spellings any two are taken for one with a
//! chance of 1 in 2·10¹².

use crate::model::MetricType;
use crate::protocol::Line;
use foldhash::fast::{FixedState, RandomState};
use std::hash::{BuildHasher, Hasher};

/// A spelling of a series: its name, type and tags as they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spelling {
    pub hash: u64,
    /// More bits, of another hash.
    pub check: u16,
}

/// Makes spellings comparable; those of two hashers are not.
#[derive(Debug)]
pub struct SpellingHasher {
    hash: FixedState,
    check: FixedState,
}

impl Default for SpellingHasher {
    fn default() -> Self {
        let seed = |of: u64| FixedState::with_seed(RandomState::default().hash_one(of));
        SpellingHasher { hash: seed(0), check: seed(1) }
    }
}

impl SpellingHasher {
    #[inline]
    pub fn of(&self, line: &Line<'_>, metric_type: MetricType) -> Spelling {
        let (mut hash, mut check) = (self.hash.build_hasher(), self.check.build_hasher());
        hash.write(line.name);
        check.write(line.name);
        for section in line.tags.sections() {
            // Where one part ends is part of it.
            hash.write_u8(b'|');
            check.write_u8(b'|');
            hash.write(section);
            check.write(section);
        }
        hash.write_u8(metric_type as u8);
        Spelling { hash: hash.finish(), check: (check.finish() >> 48) as u16 }
    }
}
