//! The value axis: round marks between low and high, with labels that never
//! repeat, all in the same unit.

use super::number::{Scale, Unit};

/// A scale of values from `low` (bottom) to `high` (top).
#[derive(Clone, Debug, PartialEq)]
pub struct ValueAxis {
    pub low: f64,
    pub high: f64,
    pub ticks: Vec<ValueTick>,
}

/// A mark on it.
#[derive(Clone, Debug, PartialEq)]
pub struct ValueTick {
    pub value: f64,
    pub label: String,
}

impl ValueAxis {
    /// An axis that holds all finite `values`, with about `wanted` marks. It
    /// starts at zero, unless `from_zero` is false and all values lie close
    /// together far from it.
    pub fn fit(values: impl IntoIterator<Item = f64>, unit: &Unit, from_zero: bool, wanted: usize) -> Self {
        let (mut min, mut max) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.into_iter().filter(|v| v.is_finite()) {
            (min, max) = (min.min(value), max.max(value));
        }
        if min > max {
            (min, max) = (0.0, 1.0);
        }
        let is_close = !from_zero && (max - min) < 0.4 * max.abs().max(min.abs()) && min != max;
        if !is_close {
            (min, max) = (min.min(0.0), max.max(0.0));
        }
        if min == max {
            max = 1.0;
        }
        // Beyond that the sums below would not be finite.
        (min, max) = (min.max(-1e300), max.min(1e300));

        let mut scale = Scale::of(max.abs().max(min.abs()), unit);
        let mut divisor = scale.divisor();
        let mut step = round_step((max - min) / divisor / wanted.max(1) as f64);
        if step < 0.001 {
            scale = Scale::one();
            divisor = 1.0;
            step = round_step((max - min) / wanted.max(1) as f64);
        }
        if *unit == Unit::Count && divisor == 1.0 {
            step = step.max(1.0);
        }
        let first = (min / divisor / step + 1e-9).floor() as i64;
        let last = (max / divisor / step - 1e-9).ceil() as i64;
        let last = last.max(first.saturating_add(1)).min(first.saturating_add(24));
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        let decimals = decimals + usize::from((step * 10f64.powi(decimals as i32)).fract() > 1e-6);
        let ticks = (first..=last)
            .map(|n| {
                let value = n as f64 * step * divisor;
                let number = scale.number(value, decimals);
                let label = if n == 0 { "0".into() } else { super::number::joined(&number, scale.suffix()) };
                ValueTick { value, label }
            })
            .collect();
        ValueAxis { low: first as f64 * step * divisor, high: last as f64 * step * divisor, ticks }
    }

    /// Where `value` lies: 0 at the bottom, 1 at the top.
    pub fn position(&self, value: f64) -> f64 {
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }
}

/// The smallest of 1, 2, 2.5, 5 times a power of ten that is at least `step`.
fn round_step(step: f64) -> f64 {
    if step.is_nan() || step <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powi((step.log10().floor() as i32).clamp(-300, 300));
    [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|n| n * power)
        .find(|s| *s >= step * 0.999)
        .unwrap_or(power * 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(values: &[f64], unit: Unit, from_zero: bool) -> Vec<String> {
        let axis = ValueAxis::fit(values.iter().copied(), &unit, from_zero, 3);
        axis.ticks.iter().map(|t| t.label.replace(['\u{a0}', '\u{202f}'], " ")).collect()
    }

    #[test]
    fn marks_are_round_and_share_a_unit() {
        assert_eq!(labels(&[0.12, 0.79], Unit::Seconds, true), ["0", "500 ms", "1 000 ms"]);
        assert_eq!(labels(&[3.0, 0.0], Unit::Count, true), ["0", "1", "2", "3"]);
        assert_eq!(labels(&[1.0], Unit::Count, true), ["0", "1"]);
        assert_eq!(labels(&[980.0, 1010.0], Unit::Plain, false), ["980", "990", "1 000", "1 010"]);
        assert_eq!(labels(&[], Unit::Plain, true), ["0", "0.5", "1.0"]);
        assert_eq!(labels(&[-3.0, 4.0], Unit::Plain, true), ["−5.0", "−2.5", "0", "2.5", "5.0"]);
    }

    proptest! {
        #[test]
        fn labels_never_repeat_and_all_values_fit(
            values in prop::collection::vec(prop::num::f64::NORMAL, 1..5),
            from_zero: bool,
        ) {
            for unit in [Unit::Plain, Unit::Count, Unit::Seconds, Unit::Bytes, Unit::PerSecond, Unit::Ratio] {
                let axis = ValueAxis::fit(values.iter().copied(), &unit, from_zero, 4);
                prop_assert!(axis.low < axis.high);
                prop_assert!(axis.ticks.len() <= 25);
                let mut labels: Vec<&str> = axis.ticks.iter().map(|t| t.label.as_str()).collect();
                let before = labels.len();
                labels.dedup();
                prop_assert_eq!(labels.len(), before, "{:?}", labels);
                for value in values.iter().filter(|v| v.abs() < 1e299) {
                    let slack = (axis.high - axis.low) * 1e-6;
                    prop_assert!(axis.low <= value + slack && *value <= axis.high + slack, "{value} in {axis:?}");
                }
            }
        }
    }
}
