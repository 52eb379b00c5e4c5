//! Exact answers that PromQL's extrapolating functions do not give: what
//! counters counted between given times, and distributions of given spans.
//!
//! Counters received as StatsD never restart, so the increase of a span is the
//! difference of the running totals at its ends.

use super::engine::Engine;
use super::error::Error;
use super::track::Track;
use crate::model::{Histogram, Matcher, MetricType, Select, Series, TimeRange, sample};

impl Engine {
    /// Exact increase between each two consecutive `boundaries_ms` (ascending),
    /// summed over the counters that fulfil all `matchers`; `None` for a span in
    /// which none of them has a sample.
    pub fn totals(&self, matchers: &[Matcher], boundaries_ms: &[i64]) -> Result<Vec<Option<f64>>, Error> {
        let (Some(first), Some(last)) = (boundaries_ms.first(), boundaries_ms.last()) else {
            return Ok(Vec::new());
        };
        if !boundaries_ms.is_sorted() {
            return Err(Error::Range("boundaries must be in ascending order".into()));
        }
        // The total at the first boundary may be as old as a counter lives idle.
        let lookback = self.options.lookback_ms;
        let range = TimeRange { start_ms: first.saturating_sub(lookback), end_ms: *last };
        let mut totals = vec![None; boundaries_ms.len() - 1];
        for series in self.select(matchers, range)? {
            self.cancel.check()?;
            if series.metric_type == Some(MetricType::Counter) {
                add_increases(&Track::new(series), boundaries_ms, &mut totals);
            }
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
        let range = TimeRange { start_ms: start_ms.saturating_add(1), end_ms };
        let width = end_ms.saturating_sub(start_ms) as f64;
        let mut found: Vec<Vec<std::sync::Arc<Histogram>>> = vec![Vec::new(); spans];
        for series in self.select(matchers, range)? {
            self.cancel.check()?;
            if !series.metric_type.is_some_and(MetricType::is_distribution) {
                continue;
            }
            for (at_ms, histogram) in Track::new(series).histograms {
                let share = at_ms.saturating_sub(start_ms) as f64 / width;
                // Each part is open at its start: a point on an edge belongs to the earlier one.
                let at = (share * spans as f64).ceil() as usize;
                if let Some(part) = found.get_mut(at.saturating_sub(1)) {
                    part.push(histogram);
                }
            }
        }
        Ok(found.iter().map(|part| super::distribution::merge_all(part.iter().map(|h| &**h))).collect())
    }

    fn select(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<Series>, Error> {
        let request = Select {
            matchers,
            range,
            step_ms: 0,
            max_series: self.options.max_series,
            max_points: self.options.max_points,
        };
        Ok(self.source.select(&request)?)
    }
}

fn add_increases(track: &Track, boundaries_ms: &[i64], totals: &mut [Option<f64>]) {
    let floats: Vec<_> = track.floats.iter().filter(|s| !sample::is_stale(s.value)).collect();
    for (total, ends) in totals.iter_mut().zip(boundaries_ms.windows(2)) {
        let (start, end) = (ends[0], ends[1]);
        let after_start = floats.partition_point(|s| s.timestamp_ms <= start);
        let after_end = floats.partition_point(|s| s.timestamp_ms <= end);
        let Some(last) = floats.get(after_start..after_end).and_then(|inside| inside.last()) else {
            continue;
        };
        // Without a sample before the span, its first one is the total that the series began with.
        let before = after_start.checked_sub(1).and_then(|at| floats.get(at));
        let Some(from) = before.or(floats.get(after_start)) else { continue };
        *total = Some(total.unwrap_or(0.0) + (last.value - from.value));
    }
}
