//! What a selector reads: opened when a query begins, so that all of its
//! selectors see one moment; read when it is evaluated, some series at a time.
//!
//! Series are handed on in ascending order of labels, each label set once and
//! whole. Where that cannot be told before reading (alternatives, two names of
//! one spelling), all is read at the beginning.

use super::engine::Engine;
use super::error::Error;
use super::expr::Selector;
use super::function_table::Function;
use super::source::{Reading, keep_exact_name};
use super::track::Track;
use crate::lock::lock;
use crate::model::label::NAME;
use crate::model::{Grains, MatchOp, Matcher, MetricType, Sample, Select, TimeRange};
use std::ops::Range;
use std::sync::Mutex;

/// Samples that one thread reads and works on at once, about.
const BATCH_WEIGHT: usize = 1 << 16;
/// Below so many samples, reading is not worth a second thread.
const SMALL_WEIGHT: usize = 1 << 15;
/// The same for all threads together, where a series has few samples.
const PARTS: usize = 8;
/// Shortest usual distance of windows.
const WINDOW_MS: i64 = 10_000;
/// Usual distance of the points where those of one range may be as coarse as fits.
const STEP_MS: i64 = 60_000;
/// How many samples would take the memory of a usual distribution.
const DISTRIBUTION_WEIGHT: usize = 32;

/// What of a selector is needed.
#[derive(Clone, Copy)]
pub(super) struct Need {
    pub range: TimeRange,
    pub grains: Grains,
    /// The function that only estimates where the finest points are gone.
    pub estimate: Option<Function>,
    /// Resets are found out where samples do not tell them: only then it is known
    /// in a sum that they collide.
    pub finds_resets: bool,
}

/// See the module's head.
pub(crate) struct Input<'a> {
    engine: &'a Engine,
    selector: &'a Selector,
    need: Option<Need>,
    state: Mutex<State<'a>>,
}

/// How the points of a selector are seen.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    is_range: bool,
    finds_resets: bool,
}

enum State<'a> {
    /// Nothing is needed of it.
    Unused,
    Open(Box<dyn Reading + 'a>),
    Read(Vec<Track>),
}

/// Series that are read, a part of them at a time.
pub(crate) enum Series<'a> {
    Open {
        reading: Box<dyn Reading + 'a>,
        parts: Vec<Range<usize>>,
        shape: Shape,
    },
    Read(Vec<Track>),
    /// Made by a subquery.
    Made(Vec<Track>),
}

impl<'a> Input<'a> {
    /// Opens what the selector means; `told` gets what is to be said of it.
    pub fn open(
        engine: &'a Engine,
        selector: &'a Selector,
        need: Option<Need>,
        warnings: &mut Vec<String>,
    ) -> Result<Self, Error> {
        let state = match need {
            None => State::Unused,
            Some(need) => opened(engine, selector, need, warnings)?,
        };
        Ok(Input { engine, selector, need, state: Mutex::new(state) })
    }

    /// The series. Asked for once more, they are read once more.
    pub fn series(&self, steps: usize) -> Result<Series<'a>, Error> {
        let mut state = std::mem::replace(&mut *lock(&self.state), State::Unused);
        if let (State::Unused, Some(need)) = (&state, self.need) {
            state = opened(self.engine, self.selector, need, &mut Vec::new())?;
        }
        Ok(match state {
            State::Unused => Series::Read(Vec::new()),
            State::Read(tracks) => Series::Read(tracks),
            State::Open(reading) => {
                let parts = self.parts(&*reading, steps);
                let finds_resets = self.need.is_some_and(|need| need.finds_resets);
                let shape = Shape { is_range: self.selector.range_ms.is_some(), finds_resets };
                Series::Open { reading, parts, shape }
            }
        })
    }

    /// What is read together: parts of some size, no label set in two of them.
    fn parts(&self, reading: &dyn Reading, steps: usize) -> Vec<Range<usize>> {
        let count = reading.len();
        let weights = (0..count).map(|place| self.weight(reading.metric_type(place), steps));
        let total: usize = weights.sum();
        // Several are held at a time.
        let batch = BATCH_WEIGHT.min(self.engine.options.max_points / PARTS).max(1);
        let wanted = total.div_ceil(batch).max(PARTS.min(total / SMALL_WEIGHT)).max(1);
        let most = total.div_ceil(wanted).max(1);
        let (mut parts, mut start, mut weight) = (Vec::new(), 0, 0);
        for place in 0..count {
            let is_new = place > start && reading.labels(place - 1) != reading.labels(place);
            if weight >= most && is_new {
                parts.push(start..place);
                (start, weight) = (place, 0);
            }
            weight += self.weight(reading.metric_type(place), steps);
        }
        if start < count {
            parts.push(start..count);
        }
        parts
    }

    /// About how many samples are held while a series is read and worked on.
    fn weight(&self, metric_type: Option<MetricType>, steps: usize) -> usize {
        let Some(Need { range, grains, .. }) = self.need else { return 1 };
        let distance_ms = match metric_type.map_or(WINDOW_MS, |of| grains.of(of)) {
            Grains::WHOLE => STEP_MS,
            grain_ms => grain_ms.max(WINDOW_MS),
        };
        let points = usize::try_from((range.end_ms - range.start_ms) / distance_ms).unwrap_or_default();
        let each = match metric_type {
            Some(MetricType::Timer | MetricType::Histogram | MetricType::Set) => DISTRIBUTION_WEIGHT,
            _ => 1,
        };
        points.saturating_add(steps).saturating_add(1).saturating_mul(each)
    }
}

impl Series<'_> {
    /// How many parts there are.
    pub fn parts(&self) -> usize {
        match self {
            Series::Open { parts, .. } => parts.len(),
            Series::Read(tracks) | Series::Made(tracks) => tracks.len().div_ceil(self.part_len()),
        }
    }

    /// Works on the series of one part, which ascend.
    ///
    /// # Errors
    /// Those of reading, and of `work`.
    pub fn with_part<T>(
        &self,
        part: usize,
        max_points: usize,
        warn: impl FnMut(String),
        work: impl FnOnce(&[Track]) -> Result<T, Error>,
    ) -> Result<T, Error> {
        match self {
            Series::Open { reading, parts, shape } => {
                let places = parts.get(part).cloned().unwrap_or_default();
                let found = reading.read(places, max_points)?;
                let tracks = tracks_of(found.into_iter().map(Track::new), *shape);
                work(&united(tracks, false, warn))
            }
            Series::Read(tracks) | Series::Made(tracks) => {
                let start = part * self.part_len();
                let end = (start + self.part_len()).min(tracks.len());
                work(tracks.get(start..end).unwrap_or_default())
            }
        }
    }

    fn part_len(&self) -> usize {
        match self {
            Series::Open { .. } => 1,
            Series::Read(tracks) | Series::Made(tracks) => {
                let points: usize = tracks.iter().map(Track::points).sum();
                let parts = PARTS.min(points / SMALL_WEIGHT).max(1);
                tracks.len().div_ceil(parts).max(1)
            }
        }
    }
}

fn opened<'a>(
    engine: &'a Engine,
    selector: &Selector,
    need: Need,
    warnings: &mut Vec<String>,
) -> Result<State<'a>, Error> {
    let mut tracks = Vec::new();
    let mut points_left = engine.options.max_points;
    for matchers in &selector.alternatives {
        engine.check_cancelled()?;
        let max_series = engine.options.max_series;
        let Need { range, grains, .. } = need;
        let request = Select { matchers, range, step_ms: 0, max_series, max_points: points_left };
        let reading = engine.source.reading(&request, &grains)?;
        if selector.alternatives.len() == 1 && is_of_one_name(matchers, &*reading) {
            return Ok(State::Open(reading));
        }
        let mut found = reading.read(0..reading.len(), points_left)?;
        keep_exact_name(matchers, &mut found);
        let first = tracks.len();
        tracks.extend(found.into_iter().map(Track::new));
        points_left = points_left.saturating_sub(tracks.iter().skip(first).map(Track::weight).sum());
    }
    let shape = Shape { is_range: selector.range_ms.is_some(), finds_resets: need.finds_resets };
    let tracks = tracks_of(tracks, shape);
    Ok(State::Read(united(tracks, selector.alternatives.len() > 1, |text| warnings.push(text))))
}

/// Whether no series' name is that of the selector while another's is only
/// spelled like it.
fn is_of_one_name(matchers: &[Matcher], reading: &dyn Reading) -> bool {
    matchers.iter().filter(|m| m.name == NAME && matches!(m.op, MatchOp::Equal)).all(|matcher| {
        let exact = |place: &usize| reading.labels(*place).name() == matcher.value;
        let found = (0..reading.len()).filter(exact).count();
        found == 0 || found == reading.len()
    })
}

fn tracks_of(tracks: impl IntoIterator<Item = Track>, shape: Shape) -> Vec<Track> {
    let mut tracks: Vec<Track> = tracks.into_iter().collect();
    if shape.is_range {
        tracks.iter_mut().for_each(Track::drop_stale);
    }
    if shape.finds_resets {
        tracks.iter_mut().for_each(Track::find_resets);
    }
    tracks.retain(|track| track.points() > 0);
    tracks
}

/// Whether these are the same samples, though they be no numbers.
fn same_floats(some: &[Sample], others: &[Sample]) -> bool {
    let bits = |sample: &Sample| (sample.timestamp_ms, sample.value.to_bits());
    some.iter().map(bits).eq(others.iter().map(bits))
}

/// Makes every label set occur once: the same series found by two alternatives,
/// or a name that was sent as two types.
fn united(mut tracks: Vec<Track>, may_repeat: bool, mut warn: impl FnMut(String)) -> Vec<Track> {
    tracks.sort_by(|a, b| a.labels.cmp(&b.labels));
    let mut kept: Vec<Track> = Vec::with_capacity(tracks.len());
    for track in tracks {
        match kept.last_mut().filter(|last| last.labels == track.labels) {
            None => kept.push(track),
            Some(last) if last.floats.is_empty() && track.histograms.is_empty() => {
                last.floats = track.floats;
                last.sketches = track.sketches;
                last.never_resets = track.never_resets;
            }
            Some(last) if last.histograms.is_empty() && track.floats.is_empty() => {
                last.histograms = track.histograms;
                last.windowed = track.windowed;
            }
            Some(last) => {
                let repeated = may_repeat && same_floats(&last.floats, &track.floats);
                if !repeated && !last.floats.is_empty() {
                    warn(format!(
                        "{} was received as more than one type; only the latest is used",
                        track.labels
                    ));
                }
                if track.end_ms() > last.end_ms() {
                    *last = track;
                }
            }
        }
    }
    kept
}
