//! A distribution as a value of a series: our own (log-linear, as timers are
//! kept) or Prometheus' native histogram. One type, so that expressions do not
//! care which; the two do not mix in one sum.

use super::log_linear;
use super::native;
use super::native_reading::{self, NanEffect};
use super::native_sum;
use crate::model::native_histogram::Bucket;
use crate::model::{Histogram, NativeHistogram, ResetHint};
use std::fmt;
use std::sync::Arc;

pub(crate) use super::native::{Incompatible, Notes};

/// Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub enum Distribution {
    LogLinear(Arc<Histogram>),
    Native(Arc<NativeHistogram>),
}

impl From<Histogram> for Distribution {
    fn from(histogram: Histogram) -> Self {
        Distribution::LogLinear(Arc::new(histogram))
    }
}

impl From<NativeHistogram> for Distribution {
    fn from(histogram: NativeHistogram) -> Self {
        Distribution::Native(Arc::new(histogram))
    }
}

impl Distribution {
    /// Number of values, or their rate.
    pub fn count(&self) -> f64 {
        match self {
            Distribution::LogLinear(histogram) => histogram.count,
            Distribution::Native(histogram) => histogram.count,
        }
    }

    pub fn sum(&self) -> f64 {
        match self {
            Distribution::LogLinear(histogram) => histogram.sum,
            Distribution::Native(histogram) => histogram.sum,
        }
    }

    /// Our own; `None` for a native one.
    pub fn as_log_linear(&self) -> Option<&Histogram> {
        match self {
            Distribution::LogLinear(histogram) => Some(histogram),
            Distribution::Native(_) => None,
        }
    }

    /// Prometheus' own; `None` for one of ours.
    pub fn as_native(&self) -> Option<&NativeHistogram> {
        match self {
            Distribution::LogLinear(_) => None,
            Distribution::Native(histogram) => Some(histogram),
        }
    }

    /// Buckets that hold anything, ascending.
    pub fn buckets(&self) -> Vec<Bucket> {
        match self {
            Distribution::Native(histogram) => histogram.buckets().collect(),
            // The end nearer to zero belongs to a bucket.
            Distribution::LogLinear(histogram) => histogram
                .buckets()
                .iter()
                .map(|(key, count)| {
                    let (lower, upper) = key.bounds();
                    Bucket {
                        lower,
                        upper,
                        lower_included: key.0 >= 0,
                        upper_included: key.0 <= 0,
                        count: *count,
                    }
                })
                .collect(),
        }
    }

    /// The `q`-quantile; NaN when empty, ∓∞ for `q` outside of 0 to 1.
    pub fn quantile(&self, q: f64) -> f64 {
        self.quantile_noted(q).0
    }

    pub(crate) fn quantile_noted(&self, q: f64) -> (f64, Option<NanEffect>) {
        match self {
            Distribution::LogLinear(histogram) => (histogram.quantile(q), None),
            Distribution::Native(histogram) => native_reading::quantile(histogram, q),
        }
    }

    pub(crate) fn fraction_noted(&self, low: f64, high: f64) -> (f64, Option<NanEffect>) {
        match self {
            Distribution::LogLinear(histogram) => (histogram.fraction(low, high), None),
            Distribution::Native(histogram) => native_reading::fraction(histogram, low, high),
        }
    }

    pub(crate) fn variance(&self) -> f64 {
        match self {
            Distribution::LogLinear(histogram) => log_linear::variance(histogram),
            Distribution::Native(histogram) => native_reading::variance(histogram),
        }
    }

    /// How many plain values would take its memory.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Distribution::LogLinear(histogram) => histogram.weight(),
            Distribution::Native(histogram) => histogram.weight(),
        }
    }

    /// Whether nobody else holds the memory that it takes.
    pub(crate) fn is_alone(&self) -> bool {
        match self {
            Distribution::LogLinear(histogram) => Arc::strong_count(histogram) == 1,
            Distribution::Native(histogram) => Arc::strong_count(histogram) == 1,
        }
    }

    pub(crate) fn hint(&self) -> ResetHint {
        match self {
            Distribution::LogLinear(_) => ResetHint::Unknown,
            Distribution::Native(histogram) => histogram.hint,
        }
    }

    pub(crate) fn is_custom(&self) -> bool {
        self.as_native().is_some_and(NativeHistogram::is_custom)
    }

    /// The same values, as a gauge.
    pub(crate) fn into_gauge(self) -> Self {
        match self {
            Distribution::Native(histogram) if histogram.hint != ResetHint::Gauge => {
                let mut histogram = Arc::unwrap_or_clone(histogram);
                histogram.hint = ResetHint::Gauge;
                histogram.into()
            }
            other => other,
        }
    }

    /// The same values; whether it was reset must be found out anew.
    pub(crate) fn unhinted(self) -> Self {
        match self {
            Distribution::Native(histogram)
                if !matches!(histogram.hint, ResetHint::Gauge | ResetHint::Unknown) =>
            {
                let mut histogram = Arc::unwrap_or_clone(histogram);
                histogram.hint = ResetHint::Unknown;
                histogram.into()
            }
            other => other,
        }
    }

    /// Takes for its hint whether it was reset after `older`, unless it has one.
    pub(crate) fn find_reset(&mut self, older: &Self) {
        if let (Distribution::Native(newer), Distribution::Native(older)) = (self, older)
            && newer.hint == ResetHint::Unknown
        {
            let is_reset = native::is_reset(newer, older);
            Arc::make_mut(newer).hint = if is_reset { ResetHint::Reset } else { ResetHint::NotReset };
        }
    }

    pub(crate) fn scaled(self, factor: f64) -> Self {
        match self {
            Distribution::LogLinear(histogram) => Arc::unwrap_or_clone(histogram).scaled(factor).into(),
            Distribution::Native(histogram) => native::scaled(Arc::unwrap_or_clone(histogram), factor).into(),
        }
    }

    pub(crate) fn divided(self, divisor: f64) -> Self {
        match self {
            Distribution::LogLinear(histogram) => {
                Arc::unwrap_or_clone(histogram).scaled(1.0 / divisor).into()
            }
            Distribution::Native(histogram) => {
                native::divided(Arc::unwrap_or_clone(histogram), divisor).into()
            }
        }
    }

    pub(crate) fn plus(&self, other: &Self) -> Result<(Self, Notes), Incompatible> {
        match (self, other) {
            (Distribution::LogLinear(left), Distribution::LogLinear(right)) => {
                Ok((log_linear::merge_all([&**left, &**right]).into(), Notes::default()))
            }
            (Distribution::Native(left), Distribution::Native(right)) => {
                native::add(left, right, 1.0).map(|(sum, notes)| (sum.into(), notes))
            }
            _ => Err(Incompatible),
        }
    }

    /// A difference is no counter.
    pub(crate) fn minus(&self, other: &Self) -> Result<(Self, Notes), Incompatible> {
        match (self, other) {
            (Distribution::LogLinear(left), Distribution::LogLinear(right)) => {
                Ok((log_linear::minus(left, right).into(), Notes::default()))
            }
            (Distribution::Native(left), Distribution::Native(right)) => {
                let (mut difference, notes) = native::add(left, right, -1.0)?;
                difference.hint = ResetHint::Gauge;
                Ok((difference.into(), notes))
            }
            _ => Err(Incompatible),
        }
    }

    /// Whether a counter was reset between `older` and this one.
    pub(crate) fn is_reset_after(&self, older: &Self) -> bool {
        match (self, older) {
            (Distribution::Native(newer), Distribution::Native(older)) => native::is_reset(newer, older),
            (newer, older) => newer.count() < older.count(),
        }
    }
}

/// The sum of all, or their mean; `None` for none.
pub(crate) fn folded<'a>(
    all: impl Iterator<Item = &'a Distribution> + Clone,
    mean: bool,
) -> Result<Option<(Distribution, Notes)>, Incompatible> {
    let count = all.clone().count();
    if all.clone().all(|histogram| histogram.as_log_linear().is_some()) {
        if count == 0 {
            return Ok(None);
        }
        let merged = log_linear::merge_all(all.filter_map(Distribution::as_log_linear));
        let factor = if mean { 1.0 / count as f64 } else { 1.0 };
        return Ok(Some((merged.scaled(factor).into(), Notes::default())));
    }
    let natives: Vec<&NativeHistogram> = all.filter_map(Distribution::as_native).collect();
    if natives.len() != count {
        return Err(Incompatible);
    }
    native_sum::folded(&natives, mean).map(|found| found.map(|(sum, notes)| (sum.into(), notes)))
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Distribution::Native(histogram) => histogram.fmt(f),
            Distribution::LogLinear(histogram) => {
                write!(f, "{{count:{}, sum:{}", histogram.count, histogram.sum)?;
                for bucket in self.buckets() {
                    write!(f, ", [{},{}]:{}", bucket.lower, bucket.upper, bucket.count)?;
                }
                f.write_str("}")
            }
        }
    }
}
