//! The points of one series as the evaluator wants them, and the part of them
//! that a range (`[5m]`) sees at one step.

use super::distribution::Distribution;
use crate::model::{Labels, MetricType, Points, Sample, Series, Sketch, sample};

/// Samples that are looked at one by one before they are searched.
const NEAR: usize = 8;

/// A series with its points in ascending time. It rarely has more than one
/// kind of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Track {
    pub labels: Labels,
    pub floats: Vec<Sample>,
    /// Of each float how many windows it is the sum of; empty where each is one.
    pub counts: Vec<u64>,
    pub histograms: Vec<(i64, Distribution)>,
    /// The sketches whose counts are in `floats`, for those who merge them.
    pub sketches: Vec<(i64, Sketch)>,
    /// A fall of the floats is a negative count, not a reset.
    pub never_resets: bool,
    /// Each histogram holds one window alone.
    pub windowed: bool,
    /// As it was received; `None` where that is not known.
    pub metric_type: Option<MetricType>,
    /// The name is no part of what was computed from it.
    pub drops_name: bool,
}

impl Track {
    pub fn new(series: Series) -> Self {
        let mut track = Track {
            labels: series.labels,
            counts: series.counts,
            never_resets: series.metric_type == Some(MetricType::Counter),
            windowed: series.metric_type.is_some(),
            metric_type: series.metric_type,
            ..Track::default()
        };
        match series.points {
            Points::Floats(floats) => track.floats = floats,
            Points::Histograms(points) => {
                track.histograms = points.into_iter().map(|(at, h)| (at, h.into())).collect();
            }
            Points::Natives(points) => {
                track.windowed = false;
                track.histograms = points.into_iter().map(|(at, h)| (at, h.into())).collect();
            }
            Points::Sketches(sketches) => {
                let counts = sketches.iter();
                track.floats = counts.map(|(at, s)| Sample { timestamp_ms: *at, value: s.count() }).collect();
                track.sketches = sketches;
            }
        }
        track
    }

    pub fn points(&self) -> usize {
        self.floats.len() + self.histograms.len()
    }

    /// How many plain samples would take its memory.
    pub fn weight(&self) -> usize {
        let histograms: usize = self.histograms.iter().map(|(_, h)| h.weight()).sum();
        let sketches: usize = self.sketches.iter().map(|(_, s)| s.weight()).sum();
        self.floats.len() + histograms + sketches
    }

    /// Time of the latest point.
    pub fn end_ms(&self) -> i64 {
        let float = self.floats.last().map_or(i64::MIN, |s| s.timestamp_ms);
        let histogram = self.histograms.last().map_or(i64::MIN, |(at, _)| *at);
        float.max(histogram)
    }

    /// Takes out the stale markers, which no range sees.
    pub fn drop_stale(&mut self) {
        // Most series have none, so that all of them are looked at: several at once.
        if self.floats.iter().fold(false, |any, s| any | sample::is_stale(s.value)) {
            let mut counts = std::mem::take(&mut self.counts).into_iter();
            self.floats.retain(|s| {
                let count = counts.next();
                let is_value = !sample::is_stale(s.value);
                self.counts.extend(count.filter(|_| is_value));
                is_value
            });
        }
        self.histograms.retain(|(_, h)| !sample::is_stale(h.sum()));
    }

    /// Gives each histogram but the first the hint whether a reset came before it.
    pub fn find_resets(&mut self) {
        let values = self.histograms.iter_mut().map(|(_, histogram)| histogram);
        // From the end, as none is compared once it has its hint.
        let mut newer: Option<&mut Distribution> = None;
        for older in values.rev().filter(|h| !sample::is_stale(h.sum())) {
            if let Some(newer) = newer.take() {
                newer.find_reset(older);
            }
            newer = Some(older);
        }
    }
}

/// What a range of one series holds at one step: points in
/// `(start_ms, end_ms]`, without stale markers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window<'a> {
    pub floats: &'a [Sample],
    /// As those of a [`Track`].
    pub counts: &'a [u64],
    pub histograms: &'a [(i64, Distribution)],
    pub sketches: &'a [(i64, Sketch)],
    pub start_ms: i64,
    pub end_ms: i64,
    /// Time of the step, which an offset sets apart from `end_ms`.
    pub at_ms: i64,
    pub never_resets: bool,
    pub windowed: bool,
}

impl Window<'_> {
    pub fn is_empty(&self) -> bool {
        self.floats.is_empty() && self.histograms.is_empty()
    }
}

/// Slides a window over a track; the ends that it is asked for must not
/// decrease.
#[derive(Debug)]
pub(crate) struct Slider<'a> {
    track: &'a Track,
    floats: (usize, usize),
    histograms: (usize, usize),
    sketches: (usize, usize),
}

impl<'a> Slider<'a> {
    pub fn new(track: &'a Track) -> Self {
        Slider { track, floats: (0, 0), histograms: (0, 0), sketches: (0, 0) }
    }

    /// The window `(end_ms - range_ms, end_ms]`.
    #[inline]
    pub fn window(&mut self, end_ms: i64, range_ms: i64, at_ms: i64) -> Window<'a> {
        let start_ms = end_ms - range_ms;
        let track = self.track;
        let floats = slide(&track.floats, &mut self.floats, start_ms, end_ms, |s| s.timestamp_ms);
        Window {
            floats,
            counts: track.counts.get(self.floats.0..self.floats.1).unwrap_or_default(),
            histograms: slide(&track.histograms, &mut self.histograms, start_ms, end_ms, |(at, _)| *at),
            sketches: slide(&track.sketches, &mut self.sketches, start_ms, end_ms, |(at, _)| *at),
            start_ms,
            end_ms,
            at_ms,
            never_resets: track.never_resets,
            windowed: track.windowed,
        }
    }
}

fn slide<'a, T>(
    points: &'a [T],
    (from, to): &mut (usize, usize),
    start_ms: i64,
    end_ms: i64,
    time_of: impl Fn(&T) -> i64,
) -> &'a [T] {
    while points.get(*to).is_some_and(|point| time_of(point) <= end_ms) {
        *to += 1;
    }
    while *from < *to && points.get(*from).is_some_and(|point| time_of(point) <= start_ms) {
        *from += 1;
    }
    points.get(*from..*to).unwrap_or_default()
}

/// How many samples are not later than times that never decrease.
#[derive(Default)]
pub(crate) struct Passed {
    count: usize,
    /// By how many it was moved last: steps and samples are mostly regular.
    stride: usize,
}

impl Passed {
    #[inline]
    pub fn until(&mut self, floats: &[Sample], until_ms: i64) -> usize {
        let is_passed = |place: usize| floats.get(place).is_some_and(|s| s.timestamp_ms <= until_ms);
        let guess = self.count + self.stride;
        if guess > self.count && is_passed(guess - 1) && !is_passed(guess) {
            self.count = guess;
            return guess;
        }
        self.search(floats, until_ms)
    }

    fn search(&mut self, floats: &[Sample], until_ms: i64) -> usize {
        let is_passed = |sample: &&Sample| sample.timestamp_ms <= until_ms;
        let rest = floats.get(self.count..).unwrap_or_default();
        self.stride = rest.iter().take(NEAR).take_while(is_passed).count();
        if self.stride == NEAR {
            self.stride = rest.partition_point(|sample| is_passed(&sample));
        }
        self.count += self.stride;
        self.count
    }
}
