//! Lines that were not taken: the last few are kept to be shown, and a sample
//! of them is logged, at most one for each reason in ten seconds.

use crate::aggregate::table::Refusal;
use crate::telemetry::Limited;
use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;

/// Lines kept.
const KEPT_MAX: usize = 32;
/// Characters of a line that are kept.
const EXCERPT_CHARS: usize = 200;
const LOG_INTERVAL_MS: i64 = 10_000;

/// A line that was not taken.
#[derive(Clone, Debug, PartialEq)]
pub struct RefusedLine {
    pub at_ms: i64,
    /// The reason's label value, as in `statsdeck_lines_rejected_total`.
    pub reason: &'static str,
    /// The same for people.
    pub explanation: &'static str,
    /// The line's beginning; control characters are escaped.
    pub excerpt: String,
}

/// See the module's head.
#[derive(Debug, Default)]
pub struct RejectLog(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    kept: VecDeque<RefusedLine>,
    logged_ms: HashMap<&'static str, i64>,
}

impl RejectLog {
    /// Notes that `line`, received on `listener`, was not taken.
    pub fn note(&self, now_ms: i64, listener: &str, line: &[u8], refusal: Refusal) {
        let (reason, explanation) = match refusal {
            Refusal::Rejected(reject) => (reject.as_str(), reject.explanation()),
            Refusal::Limited(limited @ Limited::Series) => {
                (limited.as_str(), "there is no room even in an overflow series; send fewer series")
            }
            Refusal::Limited(limited @ Limited::Markers) => {
                (limited.as_str(), "too many events wait to be written; send fewer a second")
            }
            // As its user wants it.
            Refusal::Limited(Limited::MappingDrop) => return,
        };
        let mut inner = self.lock();
        let due = inner.logged_ms.get(reason).is_none_or(|at_ms| now_ms - at_ms >= LOG_INTERVAL_MS);
        let newest_is_fresh =
            inner.kept.back().is_some_and(|last| last.at_ms == now_ms && last.reason == reason);
        // In a flood the excerpt of every line would cost more than the line.
        if !due && newest_is_fresh {
            return;
        }
        let excerpt = excerpt(line);
        if due {
            inner.logged_ms.insert(reason, now_ms);
            tracing::warn!(listener, reason, line = %excerpt, "line not taken: {explanation}");
        }
        if inner.kept.len() == KEPT_MAX {
            inner.kept.pop_front();
        }
        inner.kept.push_back(RefusedLine { at_ms: now_ms, reason, explanation, excerpt });
    }

    /// The lines kept, the newest first.
    pub fn recent(&self) -> Vec<RefusedLine> {
        self.lock().kept.iter().rev().cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn excerpt(line: &[u8]) -> String {
    let cut = &line[..line.len().min(EXCERPT_CHARS * 4)];
    let text = String::from_utf8_lossy(cut);
    let mut excerpt: String = text.chars().take(EXCERPT_CHARS).flat_map(char::escape_debug).collect();
    if text.chars().count() > EXCERPT_CHARS || cut.len() < line.len() {
        excerpt.push('…');
    }
    excerpt
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Reject;

    #[test]
    fn the_last_lines_are_kept_escaped_and_cut() {
        let log = RejectLog::default();
        let refusal = Refusal::Rejected(Reject::UnknownType);
        for at in 0..100 {
            log.note(at, "udp", format!("a{at}:1|\u{1b}[31m{}", "x".repeat(9000)).as_bytes(), refusal);
        }
        let recent = log.recent();
        assert_eq!(recent.len(), KEPT_MAX);
        assert_eq!((recent[0].at_ms, recent[0].reason), (99, "unknown_type"));
        assert!(recent[0].excerpt.starts_with("a99:1|\\u{1b}[31mxxx"), "{}", recent[0].excerpt);
        assert!(recent[0].excerpt.chars().count() < EXCERPT_CHARS + 12);
    }

    #[test]
    fn a_flood_within_a_millisecond_keeps_one() {
        let log = RejectLog::default();
        for _ in 0..100 {
            log.note(5, "udp", b"a", Refusal::Rejected(Reject::NoValue));
        }
        assert_eq!(log.recent().len(), 1);
    }
}
