//! What one table does to a gauge within a window.
//!
//! Whether the gauge had a value before is known at the flush alone: values
//! that were set and changes since then are kept apart.

/// What a window did to a gauge, before it is known what it was.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Gauge {
    /// The value it was set to last, and when (ms since the epoch).
    pub set: Option<(f64, i64)>,
    /// Sum of the changes since then.
    pub change: f64,
    /// Extremes, as far as absolute values are known.
    pub extremes: Option<(f64, f64)>,
}

impl Gauge {
    pub(super) fn set(&mut self, value: f64, now_ms: i64) {
        let (min, max) = self.extremes.unwrap_or((value, value));
        *self = Gauge {
            set: Some((value, now_ms)),
            change: 0.0,
            extremes: Some((min.min(value), max.max(value))),
        };
    }

    /// False when the change was left out, as the value would be infinite.
    pub(super) fn change(&mut self, by: f64) -> bool {
        let change = self.change + by;
        let value = self.set.map_or(change, |(base, _)| base + change);
        if !change.is_finite() || !value.is_finite() {
            return false;
        }
        self.change = change;
        if let Some((min, max)) = self.extremes {
            self.extremes = Some((min.min(value), max.max(value)));
        }
        true
    }
}
