//! Totals of whole days, kept for a while: a day that is over counts no more,
//! and a page that lives reads thirty of them each minute.
//!
//! Bounded in entries and in bytes of each; what is old is read again, so that
//! samples that were filled in later do show.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Entries kept; when more come, all are forgotten.
const MAX_ENTRIES: usize = 20_000;
/// Longest selector that is kept, in bytes.
const MAX_SELECTOR_BYTES: usize = 256;
/// How long an entry is good.
const KEEP_MS: i64 = 3_600_000;

/// Totals by selector and day.
#[derive(Debug, Default)]
pub struct DayTotals(Mutex<HashMap<Key, Entry>>);

/// Selector as text, start and end of the day.
type Key = (Box<str>, i64, i64);

#[derive(Clone, Copy, Debug)]
struct Entry {
    total: Option<f64>,
    read_at_ms: i64,
}

impl DayTotals {
    /// The total of that day, if it was kept within the last hour.
    pub fn known(&self, selector: &str, day: (i64, i64), now_ms: i64) -> Option<Option<f64>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = kept.get(&(selector.into(), day.0, day.1))?;
        (now_ms - entry.read_at_ms < KEEP_MS).then_some(entry.total)
    }

    /// Keeps the total of a day that is over.
    pub fn keep(&self, selector: &str, day: (i64, i64), now_ms: i64, total: Option<f64>) {
        if selector.len() > MAX_SELECTOR_BYTES || day.1 > now_ms {
            return;
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_ENTRIES {
            kept.clear();
        }
        kept.insert((selector.into(), day.0, day.1), Entry { total, read_at_ms: now_ms });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_that_are_over_are_known_for_an_hour() {
        let days = DayTotals::default();
        days.keep("rows", (0, 100), 100, Some(5.0));
        days.keep("rows", (100, 200), 150, Some(1.0));
        let cases = [
            ("rows", (0, 100), 100, Some(Some(5.0))),
            ("rows", (0, 100), 100 + KEEP_MS, None),
            ("other", (0, 100), 100, None),
            ("rows", (100, 200), 150, None), // not over when it was read
        ];
        for (selector, day, now_ms, expected) in cases {
            assert_eq!(days.known(selector, day, now_ms), expected, "{selector} {day:?}");
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let days = DayTotals::default();
        for day in 0..50_000 {
            days.keep("rows", (day, day + 1), 1_000_000, None);
        }
        assert!(days.0.lock().unwrap().len() <= MAX_ENTRIES);
        days.keep(&"x".repeat(9_000), (0, 1), 1_000_000, None);
        assert_eq!(days.known(&"x".repeat(9_000), (0, 1), 1_000_000), None);
    }
}
