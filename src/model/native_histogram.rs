//! Prometheus' native histogram: exponential buckets of a schema, or buckets
//! with bounds of their own (NHCB). What others send us and PromQL computes with;
//! what we record ourselves is a [`Histogram`](super::Histogram).
//!
//! Weights are floats. A bucket without any is not kept, so that two histograms
//! of the same observations are equal however they were written.

use std::fmt;
use std::sync::Arc;

/// Schema of a histogram with bounds of its own.
pub const CUSTOM: i32 = -53;
/// Coarsest and finest schema of exponential buckets: `2^(2^-schema)` is the
/// factor from one bound to the next.
pub const EXPONENTIAL: std::ops::RangeInclusive<i32> = -4..=8;
/// Most buckets that one histogram may hold.
pub const MAX_BUCKETS: usize = 1 << 16;

/// What is known of a histogram's place in its series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResetHint {
    /// A counter; whether it was reset must be found out.
    #[default]
    Unknown,
    /// The first one after a reset.
    Reset,
    NotReset,
    /// No counter: it may rise and fall.
    Gauge,
}

/// A distribution as Prometheus keeps it.
#[derive(Clone, Debug, Default)]
pub struct NativeHistogram {
    /// One of [`EXPONENTIAL`], or [`CUSTOM`].
    pub schema: i32,
    /// Values at most this far from zero are in the zero bucket.
    pub zero_threshold: f64,
    pub zero_count: f64,
    pub count: f64,
    pub sum: f64,
    /// Index and weight, ascending. Exponential: bucket `i` holds
    /// `(base^(i-1), base^i]`. Custom: `(bounds[i-1], bounds[i]]`, from −∞ and up
    /// to +∞.
    pub positive: Vec<(i32, f64)>,
    /// As `positive`, of values below zero.
    pub negative: Vec<(i32, f64)>,
    /// Upper bounds of custom buckets, ascending, without +∞.
    pub bounds: Arc<[f64]>,
    pub hint: ResetHint,
}

/// A bucket: what lies between two bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    pub lower: f64,
    pub upper: f64,
    pub lower_included: bool,
    pub upper_included: bool,
    pub count: f64,
}

/// A histogram that cannot be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NativeError {
    #[error("schema {0} is neither within -4 to 8 nor -53 (custom bounds)")]
    Schema(i32),
    #[error("a histogram of more than {MAX_BUCKETS} buckets is over the limit")]
    TooMany,
    #[error("buckets must be in ascending order, each once")]
    Order,
    #[error("custom bounds must be ascending and finite")]
    Bounds,
    #[error("a histogram with custom bounds has no zero bucket, no negative ones and none above its bounds")]
    Custom,
}

impl NativeHistogram {
    /// Index and weight of each bucket, from spans as Prometheus' formats have
    /// them: how many indexes to leave out (of the first: where to begin), and how
    /// many buckets follow. `None` when there are not as many `counts`.
    pub fn numbered(spans: &[(i32, u32)], counts: &[f64]) -> Option<Vec<(i32, f64)>> {
        let mut index = 0i32;
        let (mut rest, mut buckets) = (counts, Vec::with_capacity(counts.len().min(MAX_BUCKETS)));
        for (offset, length) in spans {
            index = index.checked_add(*offset)?;
            let (these, others) = rest.split_at_checked(usize::try_from(*length).ok()?)?;
            for count in these {
                buckets.push((index, *count));
                index = index.checked_add(1)?;
            }
            rest = others;
        }
        rest.is_empty().then_some(buckets)
    }

    pub fn is_custom(&self) -> bool {
        self.schema == CUSTOM
    }

    /// Takes out empty buckets.
    ///
    /// # Errors
    /// When it contradicts itself.
    pub fn checked(mut self) -> Result<Self, NativeError> {
        if !self.is_custom() && !EXPONENTIAL.contains(&self.schema) {
            return Err(NativeError::Schema(self.schema));
        }
        if self.positive.len() + self.negative.len() > MAX_BUCKETS || self.bounds.len() > MAX_BUCKETS {
            return Err(NativeError::TooMany);
        }
        let ascending = |buckets: &[(i32, f64)]| buckets.windows(2).all(|pair| pair[0].0 < pair[1].0);
        if !ascending(&self.positive) || !ascending(&self.negative) {
            return Err(NativeError::Order);
        }
        if self.is_custom() {
            let fits =
                |(index, _): &(i32, f64)| usize::try_from(*index).is_ok_and(|i| i <= self.bounds.len());
            if !self.negative.is_empty() || self.zero_count != 0.0 || !self.positive.iter().all(fits) {
                return Err(NativeError::Custom);
            }
            let ordered = self.bounds.windows(2).all(|pair| pair[0] < pair[1]);
            if !ordered || !self.bounds.iter().all(|bound| bound.is_finite()) {
                return Err(NativeError::Bounds);
            }
        }
        self.compact();
        Ok(self)
    }

    /// Takes out empty buckets.
    pub fn compact(&mut self) {
        self.positive.retain(|(_, count)| *count != 0.0);
        self.negative.retain(|(_, count)| *count != 0.0);
    }

    /// All buckets that hold anything, from the lowest values to the highest.
    pub fn buckets(&self) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
        let negative = self.negative.iter().rev().map(|(index, count)| {
            let (near, far) = self.bounds_of(*index);
            Bucket { lower: -far, upper: -near, lower_included: true, upper_included: false, count: *count }
        });
        let zero = (self.zero_count != 0.0).then_some(Bucket {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            lower_included: true,
            upper_included: true,
            count: self.zero_count,
        });
        let positive = self.positive.iter().map(|(index, count)| {
            let (lower, upper) = self.bounds_of(*index);
            Bucket {
                lower,
                upper,
                lower_included: lower == f64::NEG_INFINITY,
                upper_included: true,
                count: *count,
            }
        });
        negative.chain(zero).chain(positive)
    }

    /// Bounds of a positive bucket, lower first.
    pub fn bounds_of(&self, index: i32) -> (f64, f64) {
        (self.upper_bound(index.saturating_sub(1)), self.upper_bound(index))
    }

    /// The upper bound of a positive bucket.
    pub fn upper_bound(&self, index: i32) -> f64 {
        if self.is_custom() {
            return match usize::try_from(index) {
                Ok(at) => self.bounds.get(at).copied().unwrap_or(f64::INFINITY),
                Err(_) => f64::NEG_INFINITY,
            };
        }
        let exponent = f64::from(index) * 2f64.powi(-self.schema);
        // The bucket that ends at the largest double begins before 2^1024.
        if exponent == 1024.0 { f64::MAX } else { exponent.exp2() }
    }

    /// Bytes of memory that it takes.
    pub fn memory(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.positive) + size_of_val(&*self.negative)
    }

    /// How many plain samples (16 bytes) would take its memory.
    pub fn weight(&self) -> usize {
        self.memory().div_ceil(16)
    }
}

/// Equal in what it holds; the hint says nothing of that. Bit by bit where a
/// number is NaN, so that the same histogram is equal to itself.
impl PartialEq for NativeHistogram {
    fn eq(&self, other: &Self) -> bool {
        let same = |a: f64, b: f64| a == b || a.to_bits() == b.to_bits();
        let lists = |a: &[(i32, f64)], b: &[(i32, f64)]| {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && same(a.1, b.1))
        };
        let zero = |h: &Self| (h.zero_threshold, h.zero_count);
        self.schema == other.schema
            && same(self.count, other.count)
            && same(self.sum, other.sum)
            && (self.is_custom() || zero(self) == zero(other))
            && self.bounds == other.bounds
            && lists(&self.positive, &other.positive)
            && lists(&self.negative, &other.negative)
    }
}

/// As `count_values` writes it: `{count:3, sum:5, (0.5,1]:1, (1,2]:2}`.
impl fmt::Display for NativeHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", self.count, self.sum)?;
        for bucket in self.buckets() {
            let open = if bucket.lower_included { '[' } else { '(' };
            let close = if bucket.upper_included { ']' } else { ')' };
            write!(f, ", {open}{},{}{close}:{}", bound(bucket.lower), bound(bucket.upper), bucket.count)?;
        }
        f.write_str("}")
    }
}

fn bound(value: f64) -> String {
    if value.is_infinite() {
        if value > 0.0 { "+Inf".into() } else { "-Inf".into() }
    } else {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_follow_the_schema() {
        let of = |schema| NativeHistogram { schema, ..NativeHistogram::default() };
        assert_eq!(of(0).bounds_of(0), (0.5, 1.0));
        assert_eq!(of(0).bounds_of(3), (4.0, 8.0));
        assert_eq!(of(-1).bounds_of(1), (1.0, 4.0));
        assert_eq!(of(1).bounds_of(2), (2f64.sqrt(), 2.0));
        assert_eq!(of(0).upper_bound(1024), f64::MAX);
        assert_eq!(of(0).upper_bound(1025), f64::INFINITY);
        let custom = NativeHistogram { bounds: [1.0, 5.0].into(), ..of(CUSTOM) };
        assert_eq!(custom.bounds_of(0), (f64::NEG_INFINITY, 1.0));
        assert_eq!(custom.bounds_of(2), (5.0, f64::INFINITY));
    }

    #[test]
    fn spans_number_their_buckets() {
        let counts = [1.0, 2.0, 3.0];
        let found = NativeHistogram::numbered(&[(-2, 2), (3, 1)], &counts);
        assert_eq!(found, Some(vec![(-2, 1.0), (-1, 2.0), (3, 3.0)]));
        assert_eq!(NativeHistogram::numbered(&[(0, 4)], &counts), None);
        assert_eq!(NativeHistogram::numbered(&[(0, 2)], &counts), None);
        assert_eq!(NativeHistogram::numbered(&[(i32::MAX, 2)], &counts[..2]), None);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let base = || NativeHistogram { positive: vec![(0, 1.0)], count: 1.0, ..NativeHistogram::default() };
        assert!(base().checked().is_ok());
        assert_eq!(NativeHistogram { schema: 9, ..base() }.checked(), Err(NativeError::Schema(9)));
        assert_eq!(
            NativeHistogram { positive: vec![(1, 1.0), (1, 2.0)], ..base() }.checked(),
            Err(NativeError::Order)
        );
        let custom = NativeHistogram { schema: CUSTOM, bounds: [1.0].into(), ..base() };
        assert!(custom.clone().checked().is_ok());
        assert_eq!(
            NativeHistogram { positive: vec![(2, 1.0)], ..custom.clone() }.checked(),
            Err(NativeError::Custom)
        );
        assert_eq!(
            NativeHistogram { bounds: [2.0, 1.0].into(), ..custom }.checked(),
            Err(NativeError::Bounds)
        );
    }

    #[test]
    fn it_is_written_bucket_by_bucket() {
        let histogram = NativeHistogram {
            count: 6.0,
            sum: 1.5,
            zero_threshold: 0.001,
            zero_count: 1.0,
            positive: vec![(0, 2.0)],
            negative: vec![(1, 3.0)],
            ..NativeHistogram::default()
        };
        assert_eq!(histogram.to_string(), "{count:6, sum:1.5, [-2,-1):3, [-0.001,0.001]:1, (0.5,1]:2}");
    }
}
