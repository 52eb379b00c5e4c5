//! Number of distinct members, mergeable: the members' hashes up to 128 of
//! them (exact), then 4,096 HyperLogLog registers (standard error 1.6 %).
//!
//! The hash is XXH3-64 with seed 0, for ever: sketches of different days and
//! machines must merge. The estimate from registers is that of O. Ertl, "New
//! cardinality estimation algorithms for HyperLogLog sketches" (2017), alg. 6.

use xxhash_rust::xxh3::xxh3_64;

/// Up to so many members are kept exactly.
pub const EXACT_MAX: usize = 128;
/// Registers of the dense form.
pub const REGISTERS: usize = 1 << PRECISION;
const PRECISION: u32 = 12;
/// Largest value of a register.
pub const REGISTER_MAX: u8 = (64 - PRECISION + 1) as u8;

/// A count of distinct members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sketch {
    /// Hashes, ascending, each once.
    Exact(Vec<u64>),
    /// [`REGISTERS`] registers, none above [`REGISTER_MAX`].
    Registers(Box<[u8]>),
}

impl Default for Sketch {
    fn default() -> Self {
        Sketch::Exact(Vec::new())
    }
}

impl Sketch {
    /// Counts `member`, unless it was counted before.
    pub fn insert(&mut self, member: &[u8]) {
        self.insert_hash(xxh3_64(member));
    }

    /// Counts all members of `other`.
    pub fn merge(&mut self, other: &Sketch) {
        match other {
            Sketch::Exact(hashes) => hashes.iter().for_each(|hash| self.insert_hash(*hash)),
            Sketch::Registers(theirs) => {
                let ours = self.registers_mut();
                for (our, their) in ours.iter_mut().zip(theirs) {
                    *our = (*our).max(*their);
                }
            }
        }
    }

    /// Number of distinct members: exact up to [`EXACT_MAX`], estimated above.
    pub fn count(&self) -> f64 {
        match self {
            Sketch::Exact(hashes) => hashes.len() as f64,
            Sketch::Registers(registers) => estimate(registers),
        }
    }

    /// Bytes of memory that it takes.
    pub fn memory(&self) -> usize {
        let inside = match self {
            Sketch::Exact(hashes) => size_of_val(&**hashes),
            Sketch::Registers(registers) => registers.len(),
        };
        size_of::<Self>() + inside
    }

    /// How many plain samples (16 bytes) would take its memory.
    pub fn weight(&self) -> usize {
        self.memory().div_ceil(16)
    }

    /// A sketch from registers as read from a file; `None` if they cannot be.
    pub fn from_registers(registers: Vec<u8>) -> Option<Self> {
        let valid = registers.len() == REGISTERS && registers.iter().all(|r| *r <= REGISTER_MAX);
        valid.then(|| Sketch::Registers(registers.into()))
    }

    /// A sketch from hashes as read from a file; `None` if they cannot be.
    pub fn from_hashes(hashes: Vec<u64>) -> Option<Self> {
        let valid = hashes.len() <= EXACT_MAX && hashes.windows(2).all(|pair| pair[0] < pair[1]);
        valid.then_some(Sketch::Exact(hashes))
    }

    fn insert_hash(&mut self, hash: u64) {
        if let Sketch::Exact(hashes) = self {
            match hashes.binary_search(&hash) {
                Ok(_) => return,
                Err(at) if hashes.len() < EXACT_MAX => {
                    hashes.insert(at, hash);
                    return;
                }
                Err(_) => {}
            }
        }
        set_register(self.registers_mut(), hash);
    }

    /// The registers, after turning the exact form into them if need be.
    fn registers_mut(&mut self) -> &mut [u8] {
        if let Sketch::Exact(hashes) = self {
            let mut registers = vec![0; REGISTERS].into_boxed_slice();
            hashes.iter().for_each(|hash| set_register(&mut registers, *hash));
            *self = Sketch::Registers(registers);
        }
        match self {
            Sketch::Registers(registers) => registers,
            Sketch::Exact(_) => unreachable!("replaced just above"),
        }
    }
}

fn set_register(registers: &mut [u8], hash: u64) {
    let at = (hash >> (64 - PRECISION)) as usize;
    // The guard bit keeps the rank of an all-zero rest within REGISTER_MAX.
    let rest = (hash << PRECISION) | (1 << (PRECISION - 1));
    let rank = rest.leading_zeros() as u8 + 1;
    registers[at] = registers[at].max(rank);
}

fn estimate(registers: &[u8]) -> f64 {
    let m = registers.len() as f64;
    let mut histogram = [0u32; REGISTER_MAX as usize + 1];
    for register in registers {
        histogram[*register as usize] += 1;
    }
    let q = REGISTER_MAX as usize - 1;
    let mut z = m * tau(1.0 - f64::from(histogram[q + 1]) / m);
    for count in histogram[1..=q].iter().rev() {
        z = 0.5 * (z + f64::from(*count));
    }
    z += m * sigma(f64::from(histogram[0]) / m);
    m * m / (2.0 * std::f64::consts::LN_2 * z)
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sketch_of(members: std::ops::Range<u64>) -> Sketch {
        let mut sketch = Sketch::default();
        members.for_each(|m| sketch.insert(&m.to_le_bytes()));
        sketch
    }

    #[test]
    fn small_sets_are_exact_and_repeats_count_once() {
        let mut sketch = sketch_of(0..128);
        sketch.merge(&sketch_of(0..128));
        assert_eq!(sketch.count(), 128.0);
    }

    #[test]
    fn large_sets_are_within_four_standard_errors() {
        for members in [129, 1_000, 10_000, 300_000] {
            let count = sketch_of(0..members).count();
            let error = (count - members as f64).abs() / members as f64;
            assert!(error < 4.0 * 0.0163, "{members} counted as {count}");
        }
    }

    #[test]
    fn merging_is_the_same_as_counting_together() {
        for (left, right) in [(100, 150), (50, 5_000), (4_000, 6_000)] {
            let mut merged = sketch_of(0..left);
            merged.merge(&sketch_of(left / 2..right));
            assert_eq!(merged, sketch_of(0..right));
        }
    }
}
