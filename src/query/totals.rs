//! Exact answers that PromQL's extrapolating functions do not give: what
//! counters counted between given times, and distributions of given spans.
//!
//! Counters received as StatsD never restart, so the increase of a span is the
//! difference of the running totals at its ends. The coarsest tier is read that has
//! a step's end at each of them. Long spans are read a day at a
//! time, so that memory and the limits stand for a day of samples.

use super::engine::Engine;
use super::error::Error;
use super::grain::gcd;
use super::log_linear;
use super::source::keep_exact_name;
use super::track::Track;
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
        if !boundaries_ms.is_sorted() {
            return Err(Error::Range("boundaries must be in ascending order".into()));
        }
        if boundaries_ms.len() > self.options.max_steps {
            return Err(Error::Range(format!("more than {} boundaries", self.options.max_steps)));
        }
        // A total at the end of a step is the same in any tier.
        let edges_ms = boundaries_ms.iter().fold(0, |edges_ms, at_ms| gcd(edges_ms, *at_ms));
        let grains = Grains { counters_ms: edges_ms, ..Grains::default() };
        let mut totals = vec![None; boundaries_ms.len().saturating_sub(1)];
        // Each counter's latest total before what is read next.
        let mut carried: HashMap<Labels, f64> = HashMap::new();
        let mut first = 0;
        while let (Some(start_ms), Some(rest)) = (boundaries_ms.get(first), boundaries_ms.get(first + 1..)) {
            let within = rest.partition_point(|end_ms| end_ms.saturating_sub(*start_ms) <= READ_MS);
            let spans = within.max(1).min(rest.len());
            let Some(ends_ms) = boundaries_ms.get(first..=first + spans).filter(|_| spans > 0) else { break };
            let last_ms = ends_ms.last().copied().unwrap_or(*start_ms);
            let back_ms = self.options.lookback_ms.max(STEP_MAX_MS);
            let range = TimeRange { start_ms: start_ms.saturating_sub(back_ms), end_ms: last_ms };
            for series in self.select(matchers, range, &grains)? {
                self.cancel.check()?;
                if series.metric_type != Some(MetricType::Counter) {
                    continue;
                }
                let mut track = Track::new(series);
                track.drop_stale();
                let before = carried.get(&track.labels).copied();
                if let Some(totals) = totals.get_mut(first..first + spans) {
                    add_increases(&track.floats, ends_ms, before, totals);
                }
                if let Some(last) = track.floats.last() {
                    carried.insert(track.labels, last.value);
                }
            }
            first += spans;
        }
        Ok(totals)
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

/// Adds what a counter gained in each span between two of `ends_ms`. `before`
/// is its latest total ahead of `floats`, where one was read.
fn add_increases(floats: &[Sample], ends_ms: &[i64], before: Option<f64>, totals: &mut [Option<f64>]) {
    for (total, ends) in totals.iter_mut().zip(ends_ms.windows(2)) {
        let after_start = floats.partition_point(|s| s.timestamp_ms <= ends[0]);
        let after_end = floats.partition_point(|s| s.timestamp_ms <= ends[1]);
        let Some([first, ..]) = floats.get(after_start..after_end) else { continue };
        let last = floats.get(after_end.saturating_sub(1)).unwrap_or(first);
        // Without an earlier total, the first one is what the counter began with.
        let earlier = after_start.checked_sub(1).and_then(|at| floats.get(at)).map(|s| s.value);
        let from = earlier.or(before).unwrap_or(first.value);
        *total = Some(total.unwrap_or(0.0) + (last.value - from));
    }
}
