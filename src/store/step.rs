//! From points to steps: what a coarser tier keeps of one series.
//!
//! Of counters and gauges the last value of each step is kept with its own
//! time, and the marker where the step ends without any: a choice among the
//! points, none is made up. Where a counter begins is kept, so that its first
//! increase is; hence the total at the end of any step is exact. Of a counter
//! that was sampled elsewhere both ends of each fall are kept, and a block's first
//! value: it began anew there, or may have. Distributions and sets are merged, at the end of the step.

use super::block_source::has_stats;
use super::chunk::Chunk;
use super::gauge::Stats;
use super::head::span_end;
use super::point::{Class, sound_histogram, sound_sketch};
use super::stream::Stream;
use crate::model::sample::{is_stale, stale_nan};
use crate::model::{Histogram, MetricType, Points, Sample, SeriesKey, Sketch, TimeRange};

/// The steps of a series, as they come about.
pub(super) struct Steps {
    resolution_ms: i64,
    metric_type: MetricType,
    /// A fall is a new beginning.
    restarts: bool,
    stream: Stream,
    /// Of a gauge, one for each value in the stream.
    stats: Vec<Stats>,
    open: Open,
    /// Time of the last point, and whether it was a marker.
    before: Option<(i64, bool)>,
    /// The last value.
    last: f64,
}

/// The step that is not full yet.
#[derive(Default)]
struct Open {
    end_ms: i64,
    value: Option<Sample>,
    /// Whether a value of it was seen, kept or not.
    has_value: bool,
    marker_ms: Option<i64>,
    stats: Option<Stats>,
    histogram: Option<Histogram>,
    sketch: Option<Sketch>,
}

impl Steps {
    pub(super) fn new(resolution_ms: i64, key: &SeriesKey) -> Self {
        let restarts = key.metric_type == MetricType::Sampled && key.seen_as() == MetricType::Counter;
        Steps {
            resolution_ms,
            metric_type: key.metric_type,
            restarts,
            stream: Stream::default(),
            stats: Vec::new(),
            open: Open::default(),
            before: None,
            last: f64::NAN,
        }
    }

    /// Takes in those points of a block that lie in `range`; blocks ascend.
    pub(super) fn take(&mut self, chunk: Chunk, range: &TimeRange) {
        match chunk.points {
            Points::Floats(samples) => {
                let mut stats = chunk.stats.into_iter();
                for sample in samples {
                    let own = if is_stale(sample.value) { None } else { stats.next() };
                    if range.contains(sample.timestamp_ms) {
                        self.take_float(sample, own);
                    }
                }
            }
            Points::Histograms(points) => {
                for (at_ms, histogram) in points.into_iter().filter(|(at_ms, _)| range.contains(*at_ms)) {
                    self.enter(at_ms);
                    merge_histogram(&mut self.open.histogram, histogram);
                }
            }
            // Native histograms are not what the store is given.
            Points::Natives(_) => {}
            Points::Sketches(points) => {
                for (at_ms, sketch) in points.into_iter().filter(|(at_ms, _)| range.contains(*at_ms)) {
                    self.enter(at_ms);
                    match &mut self.open.sketch {
                        Some(open) => open.merge(&sketch),
                        open => *open = Some(sketch),
                    }
                }
            }
        }
    }

    /// What is kept, and of a gauge the numbers beside it.
    pub(super) fn finish(mut self) -> (Stream, Vec<Stats>) {
        self.close();
        (self.stream, self.stats)
    }

    fn take_float(&mut self, sample: Sample, stats: Option<Stats>) {
        let at_ms = sample.timestamp_ms;
        // At a seam: the later one counts, as it does for readers.
        if self.before.is_some_and(|(before_ms, _)| before_ms > at_ms) {
            return;
        }
        self.enter(at_ms);
        if is_stale(sample.value) {
            self.open.marker_ms = Some(at_ms);
            self.before = Some((at_ms, true));
            return;
        }
        let resolution_ms = self.resolution_ms;
        let begins = self.before.is_none_or(|(before_ms, ended)| ended || at_ms - before_ms > resolution_ms);
        self.open.marker_ms = None;
        // Of a block's first value it is not known here whether it fell.
        let falls = self.restarts && (sample.value < self.last || self.last.is_nan());
        self.last = sample.value;
        if falls {
            self.close_value();
        }
        if self.metric_type == MetricType::Counter && begins && !self.open.has_value {
            self.stream.push_float(at_ms, sample.value);
        } else {
            self.open.value = Some(sample);
        }
        self.open.has_value = true;
        if has_stats(self.metric_type, self.resolution_ms) {
            let stats = stats.unwrap_or(Stats::of(sample.value));
            match &mut self.open.stats {
                Some(open) => open.add(stats),
                open => *open = Some(stats),
            }
        }
        self.before = Some((at_ms, false));
        if falls {
            self.close_value();
        }
    }

    /// Closes the open step when a point lies beyond it.
    fn enter(&mut self, at_ms: i64) {
        let end_ms = span_end(at_ms, self.resolution_ms);
        if end_ms != self.open.end_ms {
            self.close();
            self.open.end_ms = end_ms;
        }
    }

    /// Keeps the open step's value, with the numbers beside it.
    fn close_value(&mut self) {
        if let Some(value) = self.open.value.take() {
            self.stream.push_float(value.timestamp_ms, value.value);
            self.stats.extend(self.open.stats.take());
        }
    }

    fn close(&mut self) {
        self.close_value();
        let open = std::mem::take(&mut self.open);
        if let Some(marker_ms) = open.marker_ms {
            self.stream.push_float(marker_ms, stale_nan());
        }
        if let Some(histogram) = open.histogram {
            self.stream.push_histogram(open.end_ms, &histogram);
        }
        if let Some(sketch) = open.sketch.filter(sound_sketch) {
            self.stream.push_sketch(open.end_ms, &sketch);
        }
        debug_assert!(self.stats.is_empty() || Class::of(self.metric_type) == Class::Floats);
    }
}

fn merge_histogram(open: &mut Option<Histogram>, histogram: Histogram) {
    match open {
        None => *open = Some(histogram),
        Some(before) => {
            let mut merged = before.clone();
            merged.merge(&histogram);
            // A sum beyond all numbers could not be read back.
            if sound_histogram(&merged) {
                *before = merged;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{GaugePart, Labels};
    use crate::store::coding::Reader;
    use crate::store::gauge::{put_stats, take_part};

    const ALL: TimeRange = TimeRange { start_ms: i64::MIN, end_ms: i64::MAX };

    fn samples(list: &[(i64, f64)]) -> Vec<Sample> {
        list.iter()
            .map(|(timestamp_ms, value)| Sample { timestamp_ms: *timestamp_ms, value: *value })
            .collect()
    }

    /// Points of windows of 10, and what steps of 60 keep of them; `E` is an end.
    fn check(metric_type: MetricType, points: &[(i64, f64)], expected: &[(i64, f64)]) -> Vec<Stats> {
        check_named("x_total", metric_type, points, expected)
    }

    fn check_named(
        name: &str,
        metric_type: MetricType,
        points: &[(i64, f64)],
        expected: &[(i64, f64)],
    ) -> Vec<Stats> {
        let mut steps = Steps::new(60, &SeriesKey { labels: Labels::of_name(name), metric_type });
        steps.take(Chunk { points: Points::Floats(samples(points)), stats: Vec::new() }, &ALL);
        let (stream, stats) = steps.finish();
        let Some(Points::Floats(found)) = stream.read(Class::Floats) else { panic!("floats") };
        let bits =
            |list: &[Sample]| list.iter().map(|s| (s.timestamp_ms, s.value.to_bits())).collect::<Vec<_>>();
        assert_eq!(bits(&found), bits(&samples(expected)), "{points:?}: {found:?}");
        stats
    }

    #[test]
    fn of_a_counter_starts_ends_and_the_totals_of_steps_are_kept() {
        let end = stale_nan();
        use MetricType::Counter;
        // Begins in the middle of a step, lives on.
        check(
            Counter,
            &[(20, 0.0), (30, 1.0), (40, 2.0), (50, 3.0), (60, 4.0), (70, 5.0), (110, 8.0), (120, 9.0)],
            &[(20, 0.0), (60, 4.0), (120, 9.0)],
        );
        // Ends within a step, and begins again in another one.
        check(
            Counter,
            &[(60, 1.0), (70, 2.0), (80, end), (150, 2.0), (160, 7.0)],
            &[(60, 1.0), (70, 2.0), (80, end), (150, 2.0), (160, 7.0)],
        );
        // Ends and begins again within one step: as if it had gone on.
        check(Counter, &[(60, 1.0), (70, 2.0), (80, end), (90, 2.0), (120, 7.0)], &[(60, 1.0), (120, 7.0)]);
        // All stopped for a while.
        check(
            Counter,
            &[(60, 1.0), (80, 3.0), (190, 3.0), (200, 4.0), (240, 5.0)],
            &[(60, 1.0), (80, 3.0), (190, 3.0), (240, 5.0)],
        );
    }

    #[test]
    fn of_a_sampled_counter_each_new_beginning_is_kept() {
        let points = [(9, 5.0), (24, 7.0), (39, 1.0), (54, 9.0), (69, 2.0), (84, stale_nan()), (99, 3.0)];
        let kept = [(9, 5.0), (24, 7.0), (39, 1.0), (54, 9.0), (69, 2.0), (99, 3.0)];
        let stats = check(MetricType::Sampled, &points, &kept);
        assert_eq!(stats, kept.map(|(_, value)| Stats::of(value)));
        let stats = check_named("x", MetricType::Sampled, &points, &[(54, 9.0), (99, 3.0)]);
        assert_eq!(stats.iter().map(|stats| stats.count).collect::<Vec<_>>(), [4, 2]);
    }

    #[test]
    fn a_sampled_counter_may_begin_anew_between_two_blocks() {
        // Had 9 in the block before: 2 and 3 were counted since, not nothing.
        let points = [(69, 2.0), (84, 5.0), (119, 20.0), (134, 21.0)];
        let stats = check(MetricType::Sampled, &points, &[(69, 2.0), (119, 20.0), (134, 21.0)]);
        assert_eq!(stats.iter().map(|stats| stats.count).collect::<Vec<_>>(), [1, 2, 1]);
    }

    #[test]
    fn of_a_gauge_each_step_has_last_least_greatest_and_mean() {
        let stats = check(
            MetricType::Gauge,
            &[(10, 5.0), (20, 1.0), (30, 3.0), (60, 2.0), (70, 4.0), (80, stale_nan())],
            &[(60, 2.0), (70, 4.0), (80, stale_nan())],
        );
        assert_eq!(stats, [Stats { min: 1.0, max: 5.0, sum: 11.0, count: 4 }, Stats::of(4.0)]);
        let mut written = Vec::new();
        put_stats(&mut written, &stats);
        let parts = [GaugePart::Last, GaugePart::Min, GaugePart::Max, GaugePart::Sum].map(|part| {
            let mut found = samples(&[(60, 2.0), (70, 4.0), (80, stale_nan())]);
            let counts = take_part(&mut Reader::new(&written), &mut found, 2, part).unwrap();
            assert!(is_stale(found[2].value));
            (found[0].value, found[1].value, counts)
        });
        let expected = [(2.0, 4.0), (1.0, 4.0), (5.0, 4.0), (11.0, 4.0)].map(|(a, b)| (a, b, Vec::new()));
        assert_eq!(parts[..3], expected[..3]);
        assert_eq!(parts[3], (11.0, 4.0, vec![4, 1, 0]));
    }
}
