//! What late values change of the points in the log.
//!
//! A frame that ends at F tells of a value for the window that ends at W, before
//! it. Of a counter, all totals in `[W, F)` are greater by it; from F on they
//! have it already. Where the series had not begun at W, or had ended, it is as
//! if it began with that window. A distribution or a set is merged into the
//! point at W. A gauge is set at W; when nothing newer was known of it, also its
//! points up to F, which only repeat what was known. Of two late values for a
//! window of a gauge, that of the later frame counts.
//!
//! Points that are in a block have all that already: here are those of the log
//! alone, whole and in order, of one series.

use super::backend::Backend;
use super::error::Error;
use super::frame::{Frame, FrameReader};
use super::late::{LateKind, Value};
use super::point::{sound_histogram, sound_sketch};
use super::sample::{Kind, Value as FrameValue};
use super::section::Wanted;
use super::segment::{Files, FrameFile};
use crate::model::sample::is_stale;
use crate::model::{Histogram, Points, Sample, Sketch};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A late value of a series. See the module's head.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Correction {
    /// W: the end of the window that it is for.
    pub(super) window_ms: i64,
    /// F: the end of the frame that brought it.
    pub(super) until_ms: i64,
    /// Start of the window.
    pub(super) start_ms: i64,
    pub(super) value: Value,
}

/// Corrections by series, in the order of the frames that brought them.
pub(super) type Corrections = BTreeMap<u32, Vec<Correction>>;

/// What a counter had at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Total {
    at_ms: i64,
    value: f64,
    /// It is no total of a window, but where the counter begins.
    is_start: bool,
}

/// Points that are no total of a window, but where a counter begins.
#[derive(Default)]
pub(super) struct Starts {
    starts: BTreeSet<(u32, i64)>,
    /// End of the last window of each counter.
    totals: BTreeMap<u32, i64>,
}

impl Starts {
    /// Takes in a window of a counter; of one, windows ascend. Where it begins
    /// anew at the end of the window before, that one's total is there.
    pub(super) fn note(&mut self, id: u32, frame: &Frame, begins: bool) {
        let before = self.totals.insert(id, frame.end_ms);
        if begins && before != Some(frame.start_ms) {
            self.starts.insert((id, frame.start_ms));
        }
    }

    /// Takes in what was noted of later windows.
    pub(super) fn append(&mut self, later: Starts) {
        let begin = later.starts.into_iter().filter(|(id, at_ms)| self.totals.get(id) != Some(at_ms));
        self.starts.extend(begin);
        self.totals.extend(later.totals);
    }

    pub(super) fn has(&self, id: u32, at_ms: i64) -> bool {
        self.starts.contains(&(id, at_ms))
    }
}

/// Reads what `frames`, which ascend, correct of the series in `ids`, which
/// ascend, for windows that start by `end_ms`. `None` when a file went away,
/// unless `gone_is_damage`. What was sampled elsewhere corrects nothing: `sample`
/// is told of it, in the order it came; of two of the same time the later counts.
///
/// # Errors
/// [`Error::Io`]
pub(super) fn read(
    backend: &dyn Backend,
    mut files: Files,
    frames: &[Arc<Frame>],
    ids: &[u32],
    end_ms: i64,
    gone_is_damage: bool,
    mut sample: impl FnMut(u32, Sample),
) -> Result<Option<Corrections>, Error> {
    let mut corrections = Corrections::new();
    let mut reader = FrameReader::default();
    for frame in frames {
        let Some(interval_ms) = frame.late().map(|late| late.interval_ms) else { continue };
        let file = match files.of_frame(backend, frame, gone_is_damage)? {
            FrameFile::There(file) => file,
            FrameFile::Reported => continue,
            FrameFile::Gone => return Ok(None),
        };
        for kind in LateKind::ALL {
            let read =
                frame.read_late(&*file, kind, Wanted::Ids(ids), &mut reader, |id, window_ms, value| {
                    let start_ms = window_ms.saturating_sub(interval_ms);
                    if let Value::Sample(value) = value {
                        sample(id, Sample { timestamp_ms: window_ms, value });
                    } else if start_ms <= end_ms {
                        let correction = Correction { window_ms, until_ms: frame.end_ms, start_ms, value };
                        corrections.entry(id).or_default().push(correction);
                    }
                });
            read.map_err(Error::io("read", frame.segment().path()))?;
        }
    }
    Ok(Some(corrections))
}

/// The first total of each of `ids`, which ascend, in `frames`, which ascend:
/// what a counter that is not there in the window of a correction had before
/// it began. `None` as with [`read`].
///
/// # Errors
/// [`Error::Io`]
pub(super) fn read_ahead(
    backend: &dyn Backend,
    mut files: Files,
    frames: &[Arc<Frame>],
    mut ids: Vec<u32>,
    gone_is_damage: bool,
) -> Result<Option<BTreeMap<u32, Total>>, Error> {
    let mut totals = BTreeMap::new();
    let mut reader = FrameReader::default();
    for frame in frames {
        if ids.is_empty() {
            break;
        }
        let file = match files.of_frame(backend, frame, gone_is_damage)? {
            FrameFile::There(file) => file,
            FrameFile::Reported => continue,
            FrameFile::Gone => return Ok(None),
        };
        let read = frame.read(&*file, Kind::Counters, Wanted::Ids(&ids), &mut reader, |id, value| {
            if let FrameValue::Counter(total, start) = value {
                let total = Total { at_ms: frame.end_ms, value: total, is_start: false };
                let start = start.map(|value| Total { at_ms: frame.start_ms, value, is_start: true });
                totals.insert(id, start.unwrap_or(total));
            }
        });
        read.map_err(Error::io("read", frame.segment().path()))?;
        ids.retain(|id| !totals.contains_key(id));
    }
    Ok(Some(totals))
}

/// Whether a counter's first total after `points` has to be known.
pub(super) fn needs_ahead(points: &Points, corrections: &[Correction]) -> bool {
    let Points::Floats(samples) = points else { return false };
    let mut values = samples.iter().rev().filter(|sample| !is_stale(sample.value));
    let last_ms = values.next().map(|sample| sample.timestamp_ms);
    let counters = corrections.iter().filter(|correction| matches!(correction.value, Value::Counter(_)));
    counters.map(|correction| correction.window_ms).max() > last_ms
}

/// Applies corrections to the points of a series. Points that were not there
/// are added where `keep` says so of the window's end and of their own time.
/// `ahead` is the first total after the points, where one is known; `is_start`
/// tells of which of them a counter only begins.
pub(super) fn apply(
    points: &mut Points,
    corrections: &[Correction],
    ahead: Option<Total>,
    is_start: impl Fn(i64) -> bool,
    keep: impl Fn(i64, i64) -> bool,
) {
    match points {
        Points::Floats(samples) if corrections.iter().any(|c| matches!(c.value, Value::Gauge(..))) => {
            set_gauge(samples, corrections, keep);
        }
        Points::Floats(samples) => correct_totals(samples, corrections, ahead, is_start, keep),
        Points::Histograms(windows) => {
            for correction in corrections {
                if let Value::Distribution(late) = &correction.value {
                    merge_histogram(windows, correction.window_ms, late, &keep);
                }
            }
        }
        Points::Sketches(windows) => {
            for correction in corrections {
                if let Value::Set(late) = &correction.value {
                    merge_sketch(windows, correction.window_ms, late, &keep);
                }
            }
        }
        // Native histograms are not what the store is given.
        Points::Natives(_) => {}
    }
}

/// A counter's deltas, by window.
struct Deltas(Vec<Delta>);

struct Delta {
    window_ms: i64,
    until_ms: i64,
    /// The last `until_ms` of this one and all before it: what is over by a time
    /// is passed over at once, as a block has thousands of them.
    reach_ms: i64,
    delta: f64,
}

impl Deltas {
    fn of(corrections: &[Correction]) -> Self {
        let delta = |correction: &Correction| match correction.value {
            Value::Counter(delta) => {
                let Correction { window_ms, until_ms, .. } = *correction;
                Some(Delta { window_ms, until_ms, reach_ms: until_ms, delta })
            }
            _ => None,
        };
        let mut deltas: Vec<Delta> = corrections.iter().filter_map(delta).collect();
        deltas.sort_by_key(|delta| delta.window_ms);
        let mut reach_ms = i64::MIN;
        for delta in &mut deltas {
            reach_ms = reach_ms.max(delta.until_ms);
            delta.reach_ms = reach_ms;
        }
        Deltas(deltas)
    }

    /// What windows up to `window_ms` add to a total that the log has at
    /// `at_ms`: the frames that brought it came later.
    fn through(&self, window_ms: i64, at_ms: i64) -> f64 {
        let over = self.0.partition_point(|delta| delta.reach_ms <= at_ms);
        let up_to = self.0.partition_point(|delta| delta.window_ms <= window_ms);
        let deltas = self.0.get(over..up_to).unwrap_or_default().iter();
        deltas.filter(|delta| at_ms < delta.until_ms).map(|delta| delta.delta).sum()
    }
}

fn correct_totals(
    samples: &mut Vec<Sample>,
    corrections: &[Correction],
    ahead: Option<Total>,
    is_start: impl Fn(i64) -> bool,
    keep: impl Fn(i64, i64) -> bool,
) {
    let deltas = Deltas::of(corrections);
    let mut windows: Vec<(i64, i64)> = corrections.iter().map(|c| (c.window_ms, c.start_ms)).collect();
    windows.sort_unstable();
    windows.dedup_by_key(|(window_ms, _)| *window_ms);
    let mut added: Vec<Sample> = Vec::new();
    let mut added_before: Option<i64> = None;
    for (window_ms, start_ms) in windows {
        let at = samples.partition_point(|sample| sample.timestamp_ms < window_ms);
        let following = samples.get(at..).unwrap_or_default();
        let next = following.iter().find(|sample| !is_stale(sample.value));
        let is_there = next.is_some_and(|sample| sample.timestamp_ms == window_ms);
        let next = next.map(|sample| Total {
            at_ms: sample.timestamp_ms,
            value: sample.value,
            is_start: is_start(sample.timestamp_ms),
        });
        let Some(next) = next.or(ahead).filter(|next| next.at_ms >= window_ms) else { continue };
        let total = |through_ms| next.value + deltas.through(through_ms, next.at_ms);
        let before = samples.get(..at).unwrap_or_default().iter();
        // Also where it ended since, within the window: it has a total there.
        let recent = before.rev().find(|sample| !is_stale(sample.value));
        let recent = recent.map(|sample| sample.timestamp_ms).max(added_before);
        // A total has the one before it, or its own start, here or in a block.
        let is_total = next.at_ms == window_ms && !next.is_start;
        let begins = recent.is_none_or(|recent_ms| recent_ms < start_ms) && !is_total;
        if begins && keep(window_ms, start_ms) {
            added.push(Sample { timestamp_ms: start_ms, value: total(start_ms) });
        }
        if !is_there {
            // Kept or not, so that no range makes a difference to what is in it.
            added_before = Some(window_ms);
            if keep(window_ms, window_ms) {
                added.push(Sample { timestamp_ms: window_ms, value: total(window_ms) });
            }
        }
    }
    for sample in samples.iter_mut().filter(|sample| !is_stale(sample.value)) {
        sample.value += deltas.through(sample.timestamp_ms, sample.timestamp_ms);
    }
    add(samples, added);
}

fn set_gauge(samples: &mut Vec<Sample>, corrections: &[Correction], keep: impl Fn(i64, i64) -> bool) {
    for correction in corrections {
        let Value::Gauge(value, holds) = correction.value else { continue };
        let window_ms = correction.window_ms;
        let until_ms = if holds { correction.until_ms } else { window_ms + 1 };
        let from = samples.partition_point(|sample| sample.timestamp_ms < window_ms);
        let to = samples.partition_point(|sample| sample.timestamp_ms < until_ms);
        let mut is_there = false;
        let of_time = samples.get_mut(from..to).unwrap_or_default().iter_mut();
        for sample in of_time.filter(|sample| !is_stale(sample.value)) {
            sample.value = value;
            is_there |= sample.timestamp_ms == window_ms;
        }
        if !is_there && keep(window_ms, window_ms) {
            add(samples, vec![Sample { timestamp_ms: window_ms, value }]);
        }
    }
}

/// Adds samples in their places; one takes the place of a stale marker, and
/// leaves that of a value alone.
fn add(samples: &mut Vec<Sample>, added: Vec<Sample>) {
    if added.is_empty() {
        return;
    }
    samples.extend(added);
    samples.sort_by_key(|sample| (sample.timestamp_ms, is_stale(sample.value)));
    samples.dedup_by_key(|sample| sample.timestamp_ms);
}

fn merge_histogram(
    windows: &mut Vec<(i64, Histogram)>,
    window_ms: i64,
    late: &Histogram,
    keep: impl Fn(i64, i64) -> bool,
) {
    match windows.binary_search_by_key(&window_ms, |(at, _)| *at) {
        Ok(at) => {
            if let Some((_, window)) = windows.get_mut(at) {
                let mut merged = window.clone();
                merged.merge(late);
                // A sum beyond all numbers could not be read back.
                if sound_histogram(&merged) {
                    *window = merged;
                }
            }
        }
        Err(at) if keep(window_ms, window_ms) => windows.insert(at, (window_ms, late.clone())),
        Err(_) => {}
    }
}

fn merge_sketch(
    windows: &mut Vec<(i64, Sketch)>,
    window_ms: i64,
    late: &Sketch,
    keep: impl Fn(i64, i64) -> bool,
) {
    if !sound_sketch(late) {
        return;
    }
    match windows.binary_search_by_key(&window_ms, |(at, _)| *at) {
        Ok(at) => {
            if let Some((_, window)) = windows.get_mut(at) {
                window.merge(late);
            }
        }
        Err(at) if keep(window_ms, window_ms) => windows.insert(at, (window_ms, late.clone())),
        Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample::stale_nan;

    /// Totals of the log, corrections as (window, frame, delta), and what is
    /// read; windows are 10 long, `e` is an end.
    fn check(
        starts: &[i64],
        log: &[(i64, f64)],
        corrections: &[(i64, i64, f64)],
        ahead: Option<Total>,
        expected: &[(i64, f64)],
    ) {
        let samples = |list: &[(i64, f64)]| -> Vec<Sample> {
            list.iter()
                .map(|(timestamp_ms, value)| Sample { timestamp_ms: *timestamp_ms, value: *value })
                .collect()
        };
        let corrections: Vec<Correction> = corrections
            .iter()
            .map(|(window_ms, until_ms, delta)| Correction {
                window_ms: *window_ms,
                until_ms: *until_ms,
                start_ms: window_ms - 10,
                value: Value::Counter(*delta),
            })
            .collect();
        let mut points = Points::Floats(samples(log));
        apply(&mut points, &corrections, ahead, |at_ms| starts.contains(&at_ms), |_, _| true);
        let Points::Floats(found) = points else { panic!("still floats") };
        let bits =
            |list: &[Sample]| list.iter().map(|s| (s.timestamp_ms, s.value.to_bits())).collect::<Vec<_>>();
        assert_eq!(bits(&found), bits(&samples(expected)), "{log:?} {corrections:?}: {found:?}");
    }

    #[test]
    fn a_counter_has_what_came_late_from_its_window_on() {
        let end = stale_nan();
        // Alive all the time.
        check(
            &[0],
            &[(0, 0.0), (10, 1.0), (20, 2.0), (30, 8.0)],
            &[(10, 30, 5.0)],
            None,
            &[(0, 0.0), (10, 6.0), (20, 7.0), (30, 8.0)],
        );
        // So, and what was before is in a block.
        check(&[], &[(10, 1.0), (20, 2.0)], &[(10, 20, 5.0)], None, &[(10, 6.0), (20, 2.0)]);
        // It began with what came late, in the frame of 50.
        check(
            &[40],
            &[(40, 0.0), (50, 5.0)],
            &[(20, 50, 5.0)],
            None,
            &[(10, 0.0), (20, 5.0), (40, 5.0), (50, 5.0)],
        );
        // It began directly after the window.
        check(
            &[20],
            &[(20, 0.0), (30, 1.0), (40, 6.0)],
            &[(20, 40, 5.0)],
            None,
            &[(10, 0.0), (20, 5.0), (30, 6.0), (40, 6.0)],
        );
        // It had ended, and begins again.
        check(
            &[0, 50],
            &[(0, 0.0), (10, 3.0), (20, end), (50, 3.0), (60, 10.0)],
            &[(40, 60, 5.0), (30, 60, 2.0)],
            None,
            &[(0, 0.0), (10, 3.0), (20, 3.0), (30, 5.0), (40, 10.0), (50, 10.0), (60, 10.0)],
        );
        // It ended within the time of the window, after a shorter one; what was before
        // is in a block.
        check(
            &[50],
            &[(24, 3.0), (26, end), (50, 3.0), (60, 6.0)],
            &[(30, 60, 2.0)],
            None,
            &[(24, 3.0), (26, end), (30, 5.0), (50, 5.0), (60, 6.0)],
        );
        // Windows in one another's neighbourhood, by different frames.
        check(
            &[40],
            &[(40, 0.0), (50, 5.0), (60, 6.0)],
            &[(30, 50, 5.0), (20, 60, 1.0)],
            None,
            &[(10, 0.0), (20, 1.0), (30, 6.0), (40, 6.0), (50, 6.0), (60, 6.0)],
        );
        // What follows is not among the points.
        let ahead = Total { at_ms: 40, value: 7.0, is_start: true };
        check(&[], &[], &[(20, 50, 5.0)], Some(ahead), &[(10, 7.0), (20, 12.0)]);
        check(&[], &[], &[(20, 50, 5.0)], None, &[]);
    }

    #[test]
    fn a_late_gauge_is_set_in_its_window_and_holds_when_nothing_newer_was_known() {
        for (holds, expected) in [(false, [1.0, 9.0, 1.0, 1.0]), (true, [1.0, 9.0, 9.0, 1.0])] {
            let log = [10, 20, 30, 40].map(|timestamp_ms| Sample { timestamp_ms, value: 1.0 });
            let mut points = Points::Floats(log.to_vec());
            let value = Value::Gauge(9.0, holds);
            let correction = Correction { window_ms: 20, until_ms: 40, start_ms: 10, value };
            apply(&mut points, &[correction], None, |_| false, |_, _| true);
            let Points::Floats(found) = points else { panic!("still floats") };
            assert_eq!(found.iter().map(|s| s.value).collect::<Vec<_>>(), expected);
        }
    }
}
