//! Sums of floats: compensated (Kahan, Neumaier), as Prometheus sums, so that
//! `1e100 + 1 - 1e100` is 1 and answers agree to the last digit; and what is
//! built on them.

/// A running sum that keeps what rounding drops.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum {
    sum: f64,
    dropped: f64,
}

impl Sum {
    pub fn add(&mut self, value: f64) {
        let total = self.sum + value;
        self.dropped = if total.is_infinite() {
            0.0
        } else if self.sum.abs() >= value.abs() {
            self.dropped + ((self.sum - total) + value)
        } else {
            self.dropped + ((value - total) + self.sum)
        };
        self.sum = total;
    }

    pub fn value(&self) -> f64 {
        self.sum + self.dropped
    }
}

pub(crate) fn sum(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sum = Sum::default();
    values.into_iter().for_each(|value| sum.add(value));
    sum.value()
}

/// Mean of the values; NaN for none. Does not overflow where the sum would.
pub(crate) fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut mean = Mean::default();
    values.into_iter().for_each(|value| mean.add(value));
    mean.value()
}

/// A running mean. From where the sum would overflow it goes on with means.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mean {
    total: Sum,
    count: f64,
    /// `total` is the mean of what was added so far.
    is_mean: bool,
}

impl Mean {
    pub fn add(&mut self, value: f64) {
        self.count += 1.0;
        if !self.is_mean {
            let before = self.total;
            self.total.add(value);
            let overflows =
                self.total.value().is_infinite() && before.value().is_finite() && value.is_finite();
            if !overflows {
                return;
            }
            self.is_mean = true;
            self.total = Sum::default();
            self.total.add(before.value() / (self.count - 1.0));
        }
        let mean = self.total.value();
        match mean.is_infinite() || value.is_infinite() {
            // An infinity stays, or makes a NaN of two.
            true => self.total = Sum { sum: mean + value, dropped: 0.0 },
            false => self.total.add(value / self.count - mean / self.count),
        }
    }

    pub fn value(&self) -> f64 {
        match self.is_mean {
            true => self.total.value(),
            false => self.total.value() / self.count,
        }
    }
}

/// Population variance of the values; NaN for none.
pub(crate) fn variance(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut variance = Variance::default();
    values.into_iter().for_each(|value| variance.add(value));
    variance.value()
}

/// A running population variance.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Variance {
    mean: Sum,
    squares: Sum,
    count: f64,
}

impl Variance {
    pub fn add(&mut self, value: f64) {
        self.count += 1.0;
        let delta = value - self.mean.value();
        self.mean.add(delta / self.count);
        self.squares.add(delta * (value - self.mean.value()));
    }

    pub fn value(&self) -> f64 {
        self.squares.value() / self.count
    }
}

/// The `q`-quantile, interpolated between neighbours. Reorders `values`; NaN
/// comes before all else. ∓∞ for `q` outside of 0 to 1; NaN for no values.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let order = |a: &f64, b: &f64| b.is_nan().cmp(&a.is_nan()).then(a.total_cmp(b));
    let rank = q * (values.len() - 1) as f64;
    let place = (rank.floor() as usize).min(values.len() - 1);
    let (_, lower, above) = values.select_nth_unstable_by(place, order);
    let lower = *lower;
    let upper = above.iter().copied().min_by(order).unwrap_or(lower);
    let weight = rank - rank.floor();
    lower * (1.0 - weight) + upper * weight
}

/// Least-squares line through (seconds from `zero_ms`, value) points: slope
/// per second, and value at `zero_ms`.
pub(crate) fn regression(points: &[crate::model::Sample], zero_ms: i64) -> (f64, f64) {
    let Some(first) = points.first() else { return (f64::NAN, f64::NAN) };
    if points.iter().all(|point| point.value == first.value) {
        return if first.value.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first.value) };
    }
    let count = points.len() as f64;
    let seconds = |at_ms: i64| (at_ms - zero_ms) as f64 / 1000.0;
    let of = |term: fn(f64, f64) -> f64| sum(points.iter().map(|p| term(seconds(p.timestamp_ms), p.value)));
    let (x, y) = (of(|x, _| x), of(|_, y| y));
    let covariance = of(|x, y| x * y) - x * y / count;
    let slope = covariance / (of(|x, _| x * x) - x * x / count);
    (slope, y / count - slope * x / count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rounding_drops_is_kept() {
        assert_eq!(sum([1.0, 1e100, 1.0, -1e100]), 2.0);
        assert_eq!(mean([f64::MAX, f64::MAX].into_iter()), f64::MAX);
        assert_eq!(mean([f64::INFINITY, 1.0].into_iter()), f64::INFINITY);
        assert!(mean(std::iter::empty()).is_nan());
    }

    #[test]
    fn quantiles_interpolate_and_put_nan_first() {
        assert_eq!(quantile(0.5, &mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(quantile(1.0, &mut [f64::NAN, 7.0]), 7.0);
        assert!(quantile(0.0, &mut [7.0, f64::NAN]).is_nan());
        assert_eq!(quantile(0.9, &mut [3.0]), 3.0);
    }

    #[test]
    fn variance_is_of_the_population() {
        assert_eq!(variance([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]), 4.0);
    }
}
