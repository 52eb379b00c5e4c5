//! What one counter gained between given times.
//!
//! One that came as StatsD never restarts: the difference of its totals. One
//! that was sampled elsewhere may have begun anew: what it rose from one sample
//! to the next, or all of the next where it fell, counts when it was sampled.
//! For a rate that is spread over the time between both, since samples come at
//! times of their own.

use crate::model::Sample;

/// What was gained in a span of time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Gain {
    /// Exactly; `None` when there is no sample of the span.
    pub counted: Option<f64>,
    /// Spread over the time between samples; `None` when none of that lies in the
    /// span. In all spans together it is what was counted.
    pub spread: Option<f64>,
    /// What the newest samples let expect of the rest of the span, until the next.
    pub ahead: f64,
}

impl Gain {
    /// As a line shows it, over a span of `width_ms`.
    pub fn per_second(&self, width_ms: i64) -> Option<f64> {
        self.spread.map(|spread| (spread + self.ahead) / (width_ms as f64 / 1000.0))
    }

    fn count(&mut self, gained: f64) {
        self.counted = Some(self.counted.unwrap_or(0.0) + gained);
    }

    fn spread(&mut self, gained: f64) {
        self.spread = Some(self.spread.unwrap_or(0.0) + gained);
    }
}

/// Adds what a counter that never restarts gained in each span between two of
/// `ends_ms`. `before` is its latest total ahead of `floats`, where one was read.
pub(super) fn add_received(floats: &[Sample], ends_ms: &[i64], before: Option<Sample>, gains: &mut [Gain]) {
    for (gain, ends) in gains.iter_mut().zip(ends_ms.windows(2)) {
        let after_start = floats.partition_point(|s| s.timestamp_ms <= ends[0]);
        let after_end = floats.partition_point(|s| s.timestamp_ms <= ends[1]);
        let Some([first, ..]) = floats.get(after_start..after_end) else { continue };
        let last = floats.get(after_end.saturating_sub(1)).unwrap_or(first);
        // Without an earlier total, the first one is what the counter began with.
        let earlier = after_start.checked_sub(1).and_then(|at| floats.get(at)).or(before.as_ref());
        let gained = last.value - earlier.unwrap_or(first).value;
        gain.count(gained);
        gain.spread(gained);
    }
}

/// Samples of a counter that may begin anew, and how they are taken.
pub(super) struct Sampled<'a> {
    /// Numbers, ascending in time.
    pub floats: &'a [Sample],
    /// The latest sample ahead of those, where one was read.
    pub before: Option<Sample>,
    /// Samples up to this time were taken before.
    pub done_ms: i64,
    /// Samples that lie farther apart tell no rate.
    pub farthest_ms: i64,
    /// The series goes on, as far as is known.
    pub goes_on: bool,
}

impl Sampled<'_> {
    /// Adds what it gained in each span between two of `ends_ms`.
    pub fn add(&self, ends_ms: &[i64], gains: &mut [Gain]) {
        let mut before = self.before;
        let mut rate = None;
        for sample in self.floats.iter().filter(|sample| sample.value.is_finite()) {
            let Some(earlier) = before.replace(*sample).filter(|b| b.timestamp_ms < sample.timestamp_ms)
            else {
                self.count(sample, 0.0, ends_ms, gains);
                continue;
            };
            let falls = sample.value < earlier.value;
            let gained = if falls { sample.value } else { sample.value - earlier.value };
            let between_ms = sample.timestamp_ms.saturating_sub(earlier.timestamp_ms);
            let is_near = between_ms <= self.farthest_ms;
            rate = is_near.then_some((gained / between_ms as f64, between_ms));
            if self.count(sample, gained, ends_ms, gains) && is_near {
                let between = (earlier.timestamp_ms, sample.timestamp_ms);
                each_share(between, ends_ms, gains, |gain, share| gain.spread(gained * share));
            }
        }
        if let (Some(last), Some((per_ms, between_ms)), true) = (before, rate, self.goes_on) {
            let next_ms = last.timestamp_ms.saturating_add(between_ms);
            each_share((last.timestamp_ms, next_ms), ends_ms, gains, |gain, share| {
                gain.ahead += per_ms * between_ms as f64 * share;
            });
        }
    }

    /// Whether the sample is a new one.
    fn count(&self, sample: &Sample, gained: f64, ends_ms: &[i64], gains: &mut [Gain]) -> bool {
        let is_new = sample.timestamp_ms > self.done_ms;
        let after = ends_ms.partition_point(|end_ms| *end_ms < sample.timestamp_ms);
        if let Some(gain) = after.checked_sub(1).and_then(|at| gains.get_mut(at)).filter(|_| is_new) {
            gain.count(gained);
        }
        is_new
    }
}

/// Hands `add` which part of a time, open at its start, lies in each span that
/// has a part of it.
fn each_share(time: (i64, i64), ends_ms: &[i64], gains: &mut [Gain], mut add: impl FnMut(&mut Gain, f64)) {
    let first = ends_ms.partition_point(|end_ms| *end_ms <= time.0).saturating_sub(1);
    let spans = ends_ms.get(first..).unwrap_or_default().windows(2);
    for (span, gain) in spans.zip(gains.iter_mut().skip(first)) {
        if span[0] >= time.1 {
            break;
        }
        let within_ms = time.1.min(span[1]).saturating_sub(time.0.max(span[0]));
        if within_ms > 0 {
            add(gain, within_ms as f64 / time.1.saturating_sub(time.0) as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sampled(values: &[(i64, f64)], ends_ms: &[i64], goes_on: bool) -> Vec<Gain> {
        let floats: Vec<Sample> = values
            .iter()
            .map(|(timestamp_ms, value)| Sample { timestamp_ms: *timestamp_ms, value: *value })
            .collect();
        let mut gains = vec![Gain::default(); ends_ms.len() - 1];
        let sampled =
            Sampled { floats: &floats, before: None, done_ms: ends_ms[0], farthest_ms: 100, goes_on };
        sampled.add(ends_ms, &mut gains);
        gains
    }

    #[test]
    fn a_gain_counts_with_its_sample_and_its_rate_is_told_of_the_time_between() {
        // Known before the first span; begins anew; silent for long; goes on.
        let values = [(5, 10.0), (25, 14.0), (45, 6.0), (245, 8.0), (265, 12.0)];
        let gains = sampled(&values, &[10, 20, 30, 40, 50, 250, 260, 270, 280, 290], true);
        let told: Vec<_> = gains.iter().map(|gain| (gain.counted, gain.spread, gain.ahead)).collect();
        assert_eq!(
            told,
            [
                (None, Some(2.0), 0.0),
                (Some(4.0), Some(1.0 + 1.5), 0.0),
                (None, Some(3.0), 0.0),
                (Some(6.0), Some(1.5), 0.0),
                (Some(2.0), Some(1.0), 0.0),
                (None, Some(2.0), 0.0),
                (Some(4.0), Some(1.0), 1.0),
                (None, None, 2.0),
                (None, None, 1.0),
            ]
        );
        assert_eq!(gains[6].per_second(10), Some(200.0));
        assert_eq!(sampled(&values, &[250, 270, 290], false)[1], Gain::default());
        // Of a first value it is not known since when it was counted.
        assert_eq!(sampled(&[(5, 9.0)], &[0, 10], true)[0].counted, Some(0.0));
    }

    proptest! {
        #[test]
        fn what_is_spread_is_what_was_counted(
            steps in prop::collection::vec((1i64..40, 0u32..1000), 1..60),
            width_ms in 1i64..90,
        ) {
            let mut at_ms = 0;
            let values: Vec<(i64, f64)> = steps
                .iter()
                .map(|(step_ms, value)| {
                    at_ms += step_ms;
                    (at_ms, f64::from(*value))
                })
                .collect();
            let ends_ms: Vec<i64> = (0..=at_ms / width_ms + 1).map(|span| span * width_ms).collect();
            let gains = sampled(&values, &ends_ms, true);
            let pairs = values.windows(2);
            let gained: f64 =
                pairs.map(|pair| if pair[1].1 < pair[0].1 { pair[1].1 } else { pair[1].1 - pair[0].1 }).sum();
            prop_assert_eq!(gains.iter().filter_map(|gain| gain.counted).sum::<f64>(), gained);
            let spread: f64 = gains.iter().filter_map(|gain| gain.spread).sum();
            prop_assert!((spread - gained).abs() <= 1e-9 * gained, "{} {}", spread, gained);
        }
    }
}
