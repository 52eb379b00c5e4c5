//! When the next attempt may be made. Pure: times are passed in.

/// How long to wait between attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pacing {
    /// Wait after the first failure; doubles with each further one.
    pub backoff_first_ms: i64,
    pub backoff_max_ms: i64,
    /// A longer `Retry-After` is taken for this.
    pub retry_after_max_ms: i64,
    /// Shortest time between two messages.
    pub gap_ms: i64,
}

impl Default for Pacing {
    fn default() -> Self {
        Pacing { backoff_first_ms: 1_000, backoff_max_ms: 300_000, retry_after_max_ms: 3_600_000, gap_ms: 0 }
    }
}

/// Keeps the pace of one receiver.
#[derive(Debug, Default)]
pub struct Pace {
    pacing: Pacing,
    failures: u32,
    not_before_ms: i64,
}

impl Pace {
    pub fn new(pacing: Pacing) -> Self {
        Pace { pacing, failures: 0, not_before_ms: i64::MIN }
    }

    /// The next attempt may be made from this time on.
    pub fn not_before_ms(&self) -> i64 {
        self.not_before_ms
    }

    /// An attempt came to an end that is final, good or bad.
    pub fn settled(&mut self, now_ms: i64) {
        self.failures = 0;
        self.not_before_ms = now_ms.saturating_add(self.pacing.gap_ms);
    }

    /// An attempt is to be made again; for how long to wait. `chance` within
    /// 0..1 spreads attempts, so that many senders do not come back at once.
    pub fn failed(&mut self, now_ms: i64, retry_after_ms: Option<i64>, chance: f64) -> i64 {
        self.failures = self.failures.saturating_add(1);
        let wait_ms = match retry_after_ms {
            Some(after_ms) => after_ms.clamp(0, self.pacing.retry_after_max_ms),
            None => {
                let doublings = self.failures.saturating_sub(1).min(30);
                let full = self.pacing.backoff_first_ms.saturating_mul(1 << doublings);
                let full = full.min(self.pacing.backoff_max_ms);
                (full as f64 * (0.5 + 0.5 * chance.clamp(0.0, 1.0))) as i64
            }
        };
        let wait_ms = wait_ms.max(self.pacing.gap_ms);
        self.not_before_ms = now_ms.saturating_add(wait_ms);
        wait_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_wait_ever_longer_up_to_a_bound() {
        let mut pace = Pace::new(Pacing::default());
        let mut waits_s = Vec::new();
        for now_ms in 0..12 {
            let wait_ms = pace.failed(now_ms, None, 1.0);
            assert_eq!(pace.not_before_ms(), now_ms + wait_ms);
            waits_s.push(wait_ms / 1_000);
        }
        assert_eq!(waits_s, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        pace.settled(100);
        assert_eq!(pace.failed(100, None, 1.0), 1_000, "starts anew");
    }

    #[test]
    fn jitter_takes_off_up_to_half() {
        for (chance, wait_ms) in [(0.0, 500), (0.5, 750), (1.0, 1_000), (7.0, 1_000)] {
            assert_eq!(Pace::new(Pacing::default()).failed(0, None, chance), wait_ms);
        }
    }

    #[test]
    fn retry_after_is_obeyed_within_reason() {
        let cases = [(30_000, 30_000), (0, 1_000), (-5, 1_000), (i64::MAX, 3_600_000)];
        for (after_ms, wait_ms) in cases {
            let mut pace = Pace::new(Pacing { gap_ms: 1_000, ..Pacing::default() });
            assert_eq!(pace.failed(0, Some(after_ms), 1.0), wait_ms);
        }
    }
}
