//! Sums of timers' rates, group by group, of a store that hands windows on as
//! they are packed: no series is held, and of a group only its sums.
//!
//! A group is added up by one thread, or by several where it is large: each takes a
//! part of the time, or of the series where that is not even. What its ranges come
//! to is worked out before the next one. The outcome is that of
//! `summed.rs`, which does what cannot be done here; but what is no whole number is
//! added up in another order, which its last digits may tell.

use super::column::{Cell, Row};
use super::distribution::Distribution;
use super::error::Error;
use super::eval::{Evaluator, Ranged};
use super::input::Series;
use super::pile::{Pile, RangeSum};
use super::source::{Reading, SourceError};
use super::summed::{Ends, Sums, Windows};
use super::tally::Read;
use super::track::Track;
use crate::model::{Labels, MetricType};
use crate::store::{self, Scratch, Span};
use crate::workers;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Parts of the work, about.
const PARTS: usize = 8;
/// Most parts of a group that is not left whole, one for each core: sums of each
/// are held, and added up by one thread.
const SLICES: usize = 4;

/// The rows of `ranged`'s sums by group, and of each whether `read` was asked;
/// `None` where not all are timers that are packed.
pub(super) fn rows(
    eval: &Evaluator<'_>,
    ranged: &Ranged<'_>,
    ends: &Ends,
    group_of: impl Fn(&Labels) -> Labels,
    read: Option<Read<'_>>,
) -> Result<Option<Vec<(bool, Row)>>, Error> {
    let Some((reading, packed)) = packed(&ranged.series) else { return Ok(None) };
    let mut groups = grouped(reading, group_of);
    eval.check_size(groups.len(), ends.ends_ms().len())?;
    let (whole, held, made) = (packed.whole(), AtomicUsize::new(0), AtomicUsize::new(0));
    let work = Work { eval, reading, packed, whole, ends, read, held, made };
    let mut rows = work.rows_by_time(&mut groups)?;
    let parts = parts(&groups);
    let mut before = None;
    let make = |number: usize| match parts.get(number) {
        Some(Part::Groups(groups)) => {
            let mut scratch = work.scratch();
            let row = |group: &Group| work.row(group, work.sum(&group.places, &mut scratch)?);
            groups.iter().map(row).collect::<Result<_, Error>>().map(Made::Rows)
        }
        Some(Part::Slice { group, places, is_last }) => {
            let sum = work.sum(places, &mut work.scratch())?;
            Ok(Made::Slice(group, sum, *is_last))
        }
        None => Ok(Made::Rows(Vec::new())),
    };
    workers::in_order(parts.len(), make, |made| {
        match made {
            Made::Rows(some) => rows.extend(some),
            Made::Slice(group, sum, is_last) => {
                let sum = match before.take() {
                    Some(before) => work.merged(before, sum)?,
                    None => sum,
                };
                match is_last {
                    true => rows.push(work.row(group, sum)?),
                    false => before = Some(sum),
                }
            }
        }
        Ok(())
    })?;
    rows.sort_unstable_by_key(|(first, _)| *first);
    let is_read = read.is_some();
    let any = rows.into_iter().filter(|(_, row)| row.cells.iter().any(Cell::is_some));
    Ok(Some(any.map(|(_, row)| (is_read, row)).collect()))
}

/// Where all series are timers, each of labels of its own.
fn packed<'s>(series: &'s Series<'_>) -> Option<(&'s dyn Reading, &'s store::Reading)> {
    let Series::Open { reading, .. } = series else { return None };
    let is_timer = |place: usize| {
        matches!(reading.metric_type(place), Some(MetricType::Timer | MetricType::Histogram))
            && (place == 0 || reading.labels(place - 1) != reading.labels(place))
    };
    let packed = reading.packed()?;
    (0..reading.len()).all(is_timer).then_some((&**reading, packed))
}

struct Group {
    labels: Labels,
    /// Of its series, ascending.
    places: Vec<usize>,
}

impl Group {
    fn first(&self) -> usize {
        self.places.first().copied().unwrap_or_default()
    }
}

/// In the order of the first of each.
fn grouped(reading: &dyn Reading, group_of: impl Fn(&Labels) -> Labels) -> Vec<Group> {
    let (mut groups, mut numbers): (Vec<Group>, HashMap<Labels, usize>) = Default::default();
    for place in 0..reading.len() {
        let labels = group_of(reading.labels(place));
        let number = *numbers.entry(labels.clone()).or_insert_with(|| {
            groups.push(Group { labels, places: Vec::new() });
            groups.len() - 1
        });
        groups.get_mut(number).into_iter().for_each(|group| group.places.push(place));
    }
    groups
}

enum Part<'g> {
    Groups(&'g [Group]),
    Slice { group: &'g Group, places: &'g [usize], is_last: bool },
}

/// Most series of a group that is left whole.
fn most_whole(groups: &[Group]) -> usize {
    groups.iter().map(|group| group.places.len()).sum::<usize>().div_ceil(slices()).max(1)
}

fn slices() -> usize {
    SLICES.min(workers::most())
}

fn parts(groups: &[Group]) -> Vec<Part<'_>> {
    let total: usize = groups.iter().map(|group| group.places.len()).sum();
    let (most, slice) = (total.div_ceil(PARTS).max(1), most_whole(groups));
    let (mut parts, mut rest) = (Vec::new(), groups);
    while let Some(first) = rest.first() {
        if first.places.len() > slice {
            let slices = first.places.chunks(slice);
            let many = slices.len();
            parts.extend(slices.enumerate().map(|(number, places)| Part::Slice {
                group: first,
                places,
                is_last: number + 1 == many,
            }));
            rest = rest.get(1..).unwrap_or_default();
            continue;
        }
        let mut weight = 0;
        let together = rest.iter().take_while(|group| {
            let is_in = weight < most && group.places.len() <= slice;
            weight += group.places.len();
            is_in
        });
        let (some, others) = rest.split_at(together.count());
        parts.push(Part::Groups(some));
        rest = others;
    }
    parts
}

enum Made<'g> {
    Rows(Vec<Numbered>),
    Slice(&'g Group, Summed, bool),
}

/// The row of a group, with the place of its first series.
type Numbered = (usize, Row);

/// The windows of some series, added up.
enum Summed {
    Pile(Pile),
    /// Where they do not pile up.
    Windows(Windows),
}

impl Summed {
    fn weight(&self) -> usize {
        match self {
            Summed::Pile(pile) => pile.weight(),
            Summed::Windows(windows) => windows.iter().map(|(_, histogram)| histogram.weight()).sum(),
        }
    }

    fn into_windows(self, ends: &Ends) -> Windows {
        match self {
            Summed::Pile(pile) => pile.windows(ends),
            Summed::Windows(windows) => windows,
        }
    }
}

struct Work<'w, 'e> {
    eval: &'w Evaluator<'e>,
    reading: &'w dyn Reading,
    packed: &'w store::Reading,
    whole: Span,
    ends: &'w Ends,
    read: Option<Read<'w>>,
    /// Weight of the sums that are held, and of what was made of them.
    held: AtomicUsize,
    made: AtomicUsize,
}

impl Work<'_, '_> {
    fn scratch(&self) -> Scratch {
        // Nothing that is read looks at them.
        if self.read.is_some() { Scratch::without_sums() } else { Scratch::default() }
    }

    /// The rows of large groups, which it takes out of `groups`, where the time can be
    /// cut and they pile up.
    fn rows_by_time(&self, groups: &mut Vec<Group>) -> Result<Vec<Numbered>, Error> {
        let most = most_whole(groups);
        let mut rows = Vec::with_capacity(groups.len());
        let mut done = Vec::new();
        for group in groups.iter().filter(|group| group.places.len() > most) {
            let Some(spans) = self.packed.spans(slices()) else { break };
            if let Some(pile) = self.piled_by_time(&group.places, &spans)? {
                self.eval.count_samples(pile.count());
                self.hold(pile.weight())?;
                rows.push(self.row(group, Summed::Pile(pile))?);
                done.push(group.first());
            }
        }
        groups.retain(|group| !done.contains(&group.first()));
        Ok(rows)
    }

    fn piled_by_time(&self, places: &[usize], spans: &[Span]) -> Result<Option<Pile>, Error> {
        let pile = |number: usize| match spans.get(number) {
            Some(span) => self.piled((places, span), &mut self.scratch()),
            None => Ok(None),
        };
        let mut sum = Pile::new(self.ends);
        workers::in_order(spans.len(), pile, |pile| {
            // Those of the series at a time are in one of them.
            sum = sum.take().zip(pile).and_then(|(sum, pile)| sum.followed_by(pile));
            Ok(())
        })?;
        self.eval.check()?;
        Ok(sum)
    }

    fn sum(&self, places: &[usize], scratch: &mut Scratch) -> Result<Summed, Error> {
        let piled = self.piled((places, &self.whole), scratch)?;
        self.eval.check()?;
        let sum = match piled {
            Some(pile) => {
                self.eval.count_samples(pile.count());
                Summed::Pile(pile)
            }
            None => Summed::Windows(self.one_by_one(places)?),
        };
        self.hold(sum.weight())?;
        Ok(sum)
    }

    fn piled(&self, of: (&[usize], &Span), scratch: &mut Scratch) -> Result<Option<Pile>, Error> {
        let Some(mut pile) = Pile::new(self.ends) else { return Ok(None) };
        let is_all = self.packed.visit(of, scratch, &mut |windows| {
            let is_small = pile.weight() <= self.eval.points_left();
            is_small && self.eval.check().is_ok() && pile.add(self.ends, windows)
        });
        let is_all = is_all.map_err(SourceError::from)?;
        Ok(Some(pile).filter(|_| is_all))
    }

    fn one_by_one(&self, places: &[usize]) -> Result<Windows, Error> {
        let (mut sums, mut held) = (Sums::default(), 0);
        for place in places {
            self.eval.check()?;
            let found = self.reading.read(*place..*place + 1, self.eval.points_left())?;
            for track in found.into_iter().map(Track::new) {
                self.eval.count_samples(track.points());
                sums.add(self.ends.summed([track.histograms.as_slice()].into_iter()), self.ends, &mut held);
                self.eval.check_size(1, held)?;
            }
        }
        Ok(sums.into_one(self.ends))
    }

    fn merged(&self, left: Summed, right: Summed) -> Result<Summed, Error> {
        let before = left.weight() + right.weight();
        let sum = match (left, right) {
            (Summed::Pile(mut left), Summed::Pile(right)) if left.fits(&right) => {
                left.merge(right);
                Summed::Pile(left)
            }
            (left, right) => {
                let [left, right] = [left, right].map(|sum| sum.into_windows(self.ends));
                Summed::Windows(self.ends.summed([&left[..], &right[..]].into_iter()))
            }
        };
        self.hold(sum.weight())?;
        self.held.fetch_sub(before, Ordering::Relaxed);
        Ok(sum)
    }

    fn hold(&self, weight: usize) -> Result<(), Error> {
        let held = self.held.fetch_add(weight, Ordering::Relaxed);
        self.eval.check_size(1, held + weight + self.made.load(Ordering::Relaxed))
    }

    fn row(&self, group: &Group, sum: Summed) -> Result<Numbered, Error> {
        let labels = &group.labels;
        let mut cells = Vec::with_capacity(self.ends.ends_ms().len());
        match &sum {
            Summed::Pile(pile) => pile.each_range(self.ends, |range| {
                let cell = match (range, self.quantile(cells.len())) {
                    (Some(range), Some(q)) => Cell::Float(range.quantile(q)),
                    (range, _) => self.cell(labels, cells.len(), range.map(RangeSum::distribution)),
                };
                self.push(cell, &mut cells)
            })?,
            Summed::Windows(windows) => self.ends.over(windows).try_for_each(|range| {
                let cell = self.cell(labels, cells.len(), range);
                self.push(cell, &mut cells)
            })?,
        }
        self.held.fetch_sub(sum.weight(), Ordering::Relaxed);
        // Rates have no name.
        Ok((group.first(), Row { labels: labels.clone(), drops_name: true, cells }))
    }

    /// The one that is asked for at a step, if that is what is read.
    fn quantile(&self, step: usize) -> Option<f64> {
        self.read?.quantiles?.get(step).copied()
    }

    fn cell(&self, labels: &Labels, step: usize, range: Option<Distribution>) -> Cell {
        match (range, self.read) {
            (None, _) => Cell::None,
            (Some(range), Some(read)) => Cell::Float((read.of)(labels, step, &range)),
            (Some(range), None) => Cell::Histogram(range),
        }
    }

    fn push(&self, cell: Cell, cells: &mut Vec<Cell>) -> Result<(), Error> {
        self.eval.check()?;
        cells.push(self.eval.made_by_many(cell, &self.made)?);
        Ok(())
    }
}
