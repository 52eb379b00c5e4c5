//! Exact answers that PromQL's extrapolating functions do not give: what
//! counters counted between given times, and distributions of given spans.
//!
//! The coarsest tier is read that has a step's end at each of them: it has the
//! running total there, and where a counter that was sampled elsewhere began
//! anew. Long spans are read a day at a time, so that memory and the limits stand
//! for a day of samples.

use super::engine::Engine;
use super::error::Error;
use super::gain::{self, Gain, Sampled};
use super::grain::gcd;
use super::log_linear;
use super::source::keep_exact_name;
use super::track::Track;
use crate::model::sample::is_stale;
use crate::model::{Grains, Histogram, Labels, Matcher, MetricType, Sample, Select, Series, TimeRange};
use std::collections::HashMap;

/// Longest time read at once, unless one span is longer.
const READ_MS: i64 = 86_400_000;
/// Longest step of a tier: where only steps are left, what a counter had at a
/// boundary may be as old as one, if all stood still then.
const STEP_MAX_MS: i64 = 3_600_000;
/// Distributions that are too many are read by shorter times, down to this.
const LEAST_READ_MS: i64 = 3_600_000;

impl Engine {
    /// Exact increase between each two consecutive `boundaries_ms` (ascending),
    /// summed over the counters that fulfil all `matchers`; `None` for a span in
    /// which none of them has a sample.
    pub fn totals(&self, matchers: &[Matcher], boundaries_ms: &[i64]) -> Result<Vec<Option<f64>>, Error> {
        Ok(self.gains(matchers, boundaries_ms)?.into_iter().map(|gain| gain.counted).collect())
    }

    /// As [`Engine::totals`], and how fast it was counted. What was sampled
    /// elsewhere is a counter by its name ([`MetricType::seen_as`]).
    pub fn gains(&self, matchers: &[Matcher], boundaries_ms: &[i64]) -> Result<Vec<Gain>, Error> {
        if !boundaries_ms.is_sorted() {
            return Err(Error::Range("boundaries must be in ascending order".into()));
        }
        if boundaries_ms.len() > self.options.max_steps {
            return Err(Error::Range(format!("more than {} boundaries", self.options.max_steps)));
        }
        // A total at the end of a step is the same in any tier.
        let edges_ms = boundaries_ms.iter().fold(0, |edges_ms, at_ms| gcd(edges_ms, *at_ms));
        let grains = Grains { counters_ms: edges_ms, ..Grains::default() };
        let mut gains = vec![Gain::default(); boundaries_ms.len().saturating_sub(1)];
        // Each counter's latest total before what is read next; one received and one
        // sampled elsewhere may have the same labels.
        let mut carried: HashMap<(Labels, bool), Sample> = HashMap::new();
        let mut first = 0;
        while let (Some(start_ms), Some(rest)) = (boundaries_ms.get(first), boundaries_ms.get(first + 1..)) {
            let within = rest.partition_point(|end_ms| end_ms.saturating_sub(*start_ms) <= READ_MS);
            let spans = within.max(1).min(rest.len());
            let Some(ends_ms) = boundaries_ms.get(first..=first + spans).filter(|_| spans > 0) else { break };
            let last_ms = ends_ms.last().copied().unwrap_or(*start_ms);
            let back_ms = self.options.lookback_ms.max(STEP_MAX_MS);
            // The sample after the last edge tells how fast it was counted before that.
            let is_last = first + spans + 1 == boundaries_ms.len();
            let after_ms = if is_last { self.options.lookback_ms } else { 0 };
            let range = TimeRange {
                start_ms: start_ms.saturating_sub(back_ms),
                end_ms: last_ms.saturating_add(after_ms),
            };
            // Samples of steps may lie as far apart as two of them.
            let steps_ms = edges_ms.min(STEP_MAX_MS).max(self.source.resolution_ms(range)).saturating_mul(2);
            let farthest_ms = self.options.lookback_ms.max(steps_ms);
            for series in self.select(matchers, range, &grains)? {
                self.cancel.check()?;
                if series.seen_as() != MetricType::Counter {
                    continue;
                }
                let never_resets = series.metric_type.is_some();
                let mut track = Track::new(series);
                let ended = track.floats.last().is_some_and(|last| is_stale(last.value));
                track.drop_stale();
                let counter = (track.labels.clone(), never_resets);
                let before = carried.get(&counter).copied();
                if never_resets {
                    let gains = gains.get_mut(first..first + spans).unwrap_or_default();
                    gain::add_received(&track.floats, ends_ms, before, gains);
                } else {
                    let goes_on = !ended && is_last;
                    let (floats, done_ms) = (&track.floats[..], *start_ms);
                    let sampled = Sampled { floats, before, done_ms, farthest_ms, goes_on };
                    sampled.add(boundaries_ms, &mut gains);
                }
                if let Some(last) = track.floats.iter().rfind(|sample| sample.value.is_finite()) {
                    carried.insert(counter, *last);
                }
            }
            first += spans;
        }
        Ok(gains)
    }

    /// The merged distribution of each of `spans` equal parts of
    /// `(start_ms, end_ms]`, over all timers and histograms that fulfil all
    /// `matchers`; an empty [`Histogram`] where there was none.
    pub fn distribution(
        &self,
        matchers: &[Matcher],
        start_ms: i64,
        end_ms: i64,
        spans: usize,
    ) -> Result<Vec<Histogram>, Error> {
        if spans == 0 || spans > self.options.max_steps || end_ms <= start_ms {
            return Err(Error::Range(format!(
                "a distribution needs 1 to {} spans and an end after its start",
                self.options.max_steps
            )));
        }
        let width_ms = end_ms.saturating_sub(start_ms);
        // However long the time, no more reads than steps; shorter ones where a
        // day of distributions is more than a query may hold.
        let fewest_reads_ms = width_ms / self.options.max_steps as i64;
        let mut step_ms = READ_MS.max(fewest_reads_ms);
        let least_ms = LEAST_READ_MS.max(fewest_reads_ms / (READ_MS / LEAST_READ_MS));
        // Steps merge exactly where every edge between spans is the end of one.
        let has_edges = width_ms % (spans as i64) == 0;
        let windows_ms = if has_edges { gcd(start_ms, width_ms / spans as i64) } else { 0 };
        let grains = Grains { windows_ms, ..Grains::default() };
        let mut parts = vec![Histogram::default(); spans];
        let mut read_ms = start_ms;
        while read_ms < end_ms {
            let until_ms = read_ms.saturating_add(step_ms).min(end_ms);
            let mut found: HashMap<usize, Vec<super::distribution::Distribution>> = HashMap::new();
            let range = TimeRange { start_ms: read_ms + 1, end_ms: until_ms };
            let selected = match self.select(matchers, range, &grains) {
                Err(error) if error.is_of_points() && step_ms > least_ms => {
                    step_ms /= 2;
                    continue;
                }
                selected => selected?,
            };
            for series in selected {
                self.cancel.check()?;
                if !series.metric_type.is_some_and(MetricType::is_distribution) {
                    continue;
                }
                for (at_ms, histogram) in Track::new(series).histograms {
                    found.entry(part_of(at_ms, start_ms, width_ms, spans)).or_default().push(histogram);
                }
            }
            for (at, histograms) in found {
                if let Some(part) = parts.get_mut(at) {
                    let earlier = std::iter::once(&*part);
                    *part = log_linear::merge_all(
                        earlier.chain(histograms.iter().filter_map(|h| h.as_log_linear())),
                    );
                }
            }
            read_ms = until_ms;
        }
        Ok(parts)
    }

    fn select(&self, matchers: &[Matcher], range: TimeRange, grains: &Grains) -> Result<Vec<Series>, Error> {
        self.cancel.check()?;
        let request = Select {
            matchers,
            range,
            step_ms: 0,
            max_series: self.options.max_series,
            max_points: self.options.max_points,
        };
        let mut found = self.source.select_at(&request, grains)?;
        keep_exact_name(matchers, &mut found);
        Ok(found)
    }
}

/// Which of `spans` equal parts of `(start_ms, start_ms + width_ms]` a point
/// lies in. Each part is open at its start: a point on an edge belongs to the
/// earlier one, so that no rounding may be met.
fn part_of(at_ms: i64, start_ms: i64, width_ms: i64, spans: usize) -> usize {
    let into = i128::from(at_ms) - i128::from(start_ms);
    let part = (into * spans as i128 - 1).div_euclid(i128::from(width_ms));
    usize::try_from(part).unwrap_or_default()
}
