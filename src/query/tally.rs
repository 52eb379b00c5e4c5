//! Aggregations that need each value once (`sum`, `avg`, `min` …): rows are
//! folded into their group as they come, in the order of their labels, and not
//! kept.

use super::aggregation::{group_labels, tell_ignored_histograms, tell_mixed};
use super::column::{Cell, Grid, Row};
use super::distribution::{self, Distribution};
use super::error::Error;
use super::eval::Evaluator;
use super::expr::{Aggregate, AggregateOp, Expr};
use super::group_sum;
use super::histogram_function::check_quantiles;
use super::log_linear;
use super::sum::{self, Mean, Sum, Variance};
use super::summed::{self, Ends, Part, Sums};
use super::told;
use crate::model::Labels;
use std::collections::HashMap;

/// Distributions of a step that are merged at once.
const MERGE_AT: usize = 4;

/// Whether `op` is worked out here.
pub(super) fn is_tallied(op: AggregateOp) -> bool {
    use AggregateOp::*;
    matches!(op, Sum | Avg | Min | Max | Count | Group | Stddev | Stdvar | Quantile)
}

/// How a number is read from the distribution of a group at a step.
#[derive(Clone, Copy)]
pub(super) struct Read<'r> {
    /// Looks at the buckets, the least and the greatest value, at nothing else.
    pub of: &'r (dyn Fn(&Labels, usize, &Distribution) -> f64 + Sync),
    /// Where it is a quantile, which one at each step.
    pub quantiles: Option<&'r [f64]>,
}

/// Value of the aggregation on `grid`; `numbers` are its parameter, if it has one.
pub(super) fn eval(
    eval: &Evaluator<'_>,
    node: &Aggregate,
    numbers: &[f64],
    grid: &Grid,
) -> Result<Vec<Row>, Error> {
    let rows = read_each(eval, node, numbers, grid, None)?;
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

/// The same; of groups without floats what `read` makes of each distribution, none of
/// which is kept. Tells of each whether it was read.
pub(super) fn read_each(
    eval: &Evaluator<'_>,
    node: &Aggregate,
    numbers: &[f64],
    grid: &Grid,
    read: Option<Read<'_>>,
) -> Result<Vec<(bool, Row)>, Error> {
    match node.op {
        AggregateOp::Sum => tallied::<Sum>(eval, node, numbers, grid, read),
        AggregateOp::Avg => tallied::<Mean>(eval, node, numbers, grid, read),
        AggregateOp::Min => tallied::<Extreme<false>>(eval, node, numbers, grid, read),
        AggregateOp::Max => tallied::<Extreme<true>>(eval, node, numbers, grid, read),
        AggregateOp::Stddev | AggregateOp::Stdvar => tallied::<Variance>(eval, node, numbers, grid, read),
        AggregateOp::Quantile => tallied::<Values>(eval, node, numbers, grid, read),
        _ => tallied::<Nothing>(eval, node, numbers, grid, read),
    }
}

/// What is kept of the floats of a group at one step.
trait Tally: Clone + Default {
    /// Whether it grows with each value.
    const KEEPS: bool = false;
    fn add(&mut self, value: f64);
    /// What it comes to, with the parameter at its step.
    fn value(&mut self, parameter: f64) -> f64;
}

impl Tally for Sum {
    fn add(&mut self, value: f64) {
        Sum::add(self, value);
    }

    fn value(&mut self, _: f64) -> f64 {
        Sum::value(self)
    }
}

impl Tally for Mean {
    fn add(&mut self, value: f64) {
        Mean::add(self, value);
    }

    fn value(&mut self, _: f64) -> f64 {
        Mean::value(self)
    }
}

impl Tally for Variance {
    fn add(&mut self, value: f64) {
        Variance::add(self, value);
    }

    fn value(&mut self, _: f64) -> f64 {
        Variance::value(self)
    }
}

/// The least, or the greatest; any number rather than NaN.
#[derive(Clone)]
struct Extreme<const GREATEST: bool>(f64);

impl<const GREATEST: bool> Default for Extreme<GREATEST> {
    fn default() -> Self {
        Extreme(f64::NAN)
    }
}

impl<const GREATEST: bool> Tally for Extreme<GREATEST> {
    fn add(&mut self, value: f64) {
        if self.0.is_nan() || if GREATEST { value > self.0 } else { value < self.0 } {
            self.0 = value;
        }
    }

    fn value(&mut self, _: f64) -> f64 {
        self.0
    }
}

/// All of them.
#[derive(Clone, Default)]
struct Values(Vec<f64>);

impl Tally for Values {
    const KEEPS: bool = true;

    fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    fn value(&mut self, q: f64) -> f64 {
        sum::quantile(q, &mut self.0)
    }
}

/// Of what is counted alone.
#[derive(Clone, Default)]
struct Nothing;

impl Tally for Nothing {
    fn add(&mut self, _value: f64) {}

    fn value(&mut self, _: f64) -> f64 {
        f64::NAN
    }
}

/// A group: its labels, and what came of its members at each step.
struct Group<T> {
    labels: Labels,
    drops_name: bool,
    floats: Vec<T>,
    counts: Vec<u32>,
    /// None at all in most groups.
    histograms: Vec<Merge>,
    /// What is summed before its ranges are, and labels of the first of it.
    sums: Sums,
    first: Labels,
}

/// The distributions of a group at one step.
#[derive(Clone, Default)]
struct Merge {
    count: usize,
    parts: Vec<Distribution>,
    first: Labels,
}

impl Merge {
    /// `held` is how many values take the memory of all distributions.
    fn add(&mut self, histogram: Distribution, labels: &Labels, held: &mut usize) {
        if self.count == 0 {
            self.first = labels.clone();
        }
        self.count += 1;
        *held += histogram.weight();
        self.parts.push(histogram);
        let log_linear = || self.parts.iter().filter_map(Distribution::as_log_linear);
        if self.parts.len() >= MERGE_AT && log_linear().count() == self.parts.len() {
            let merged: Distribution = log_linear::merge_all(log_linear()).into();
            let before: usize = self.parts.iter().map(Distribution::weight).sum();
            *held = (*held + merged.weight()).saturating_sub(before);
            self.parts = vec![merged];
        }
    }
}

fn tallied<T: Tally + Send>(
    eval: &Evaluator<'_>,
    node: &Aggregate,
    numbers: &[f64],
    grid: &Grid,
    read: Option<Read<'_>>,
) -> Result<Vec<(bool, Row)>, Error> {
    let group_of = |labels: &Labels| group_labels(node, labels);
    let summed = match node.expr.bare() {
        Expr::Call(call) if node.op == AggregateOp::Sum && summed::is_summed(eval, call) => {
            summed::ranged(eval, call, grid)?.map(|(ranged, ends)| (call, ranged, ends))
        }
        _ => None,
    };
    if let Some((_, ranged, ends)) = &summed
        && let Some(rows) = group_sum::rows(eval, ranged, ends, group_of, read)?
    {
        return Ok(rows);
    }
    let mut places: HashMap<Labels, usize> = HashMap::new();
    let mut groups: Vec<Group<T>> = Vec::new();
    let mut held = 0;
    let merges = matches!(node.op, AggregateOp::Sum | AggregateOp::Avg);
    let mut add = |labels: Labels, part: Part, ends: Option<&Ends>| {
        let place = match places.get(&labels) {
            Some(place) => *place,
            None => {
                eval.check_size(groups.len() + 1, grid.steps)?;
                places.insert(labels.clone(), groups.len());
                groups.push(Group::new(labels, grid.steps));
                groups.len() - 1
            }
        };
        let Some(group) = groups.get_mut(place) else { return Ok(()) };
        match (part, ends) {
            (Part::Windows(first, windows), Some(ends)) => {
                // Rates have no name.
                group.drops_name = true;
                if group.sums.is_empty() {
                    group.first = first;
                }
                group.sums.add(windows, ends, &mut held);
            }
            (Part::Windows(..), None) => {}
            (Part::Row(row), _) => {
                if T::KEEPS {
                    held += row.cells.len();
                }
                group.add(row, grid.steps, merges, &mut held);
            }
        }
        eval.check_size(1, held)
    };
    let ends = summed.as_ref().map(|(_, _, ends)| ends);
    match &summed {
        Some((call, ranged, ends)) => {
            let take = |labels: Labels, part: Part| add(labels, part, Some(ends));
            eval.within(|| summed::each(eval, call, grid, (ranged, ends), group_of, take))?;
        }
        None => {
            let with_group = |rows: Vec<Row>| {
                Ok(rows.into_iter().map(|row| (group_of(&row.labels), row)).collect::<Vec<_>>())
            };
            eval.rows_each(&node.expr, grid, with_group, |rows| {
                rows.into_iter().try_for_each(|(labels, row)| add(labels, Part::Row(row), None))
            })?;
        }
    }
    if node.op == AggregateOp::Quantile && !groups.is_empty() {
        check_quantiles(&eval.annotations, node.param_start, numbers.iter().copied());
    }
    let mut rows = Vec::with_capacity(groups.len());
    let mut made = 0;
    for group in groups {
        let read = read.filter(|_| group.counts.iter().all(|count| *count == 0));
        rows.push((read.is_some(), group.into_row(eval, node, numbers, ends, read, &mut made)?));
    }
    rows.retain(|(_, row)| row.cells.iter().any(Cell::is_some));
    Ok(rows)
}

impl<T: Tally> Group<T> {
    fn new(labels: Labels, steps: usize) -> Self {
        Group {
            labels,
            drops_name: false,
            floats: vec![T::default(); steps],
            counts: vec![0; steps],
            histograms: Vec::new(),
            sums: Sums::default(),
            first: Labels::default(),
        }
    }

    fn into_row(
        mut self,
        eval: &Evaluator<'_>,
        node: &Aggregate,
        numbers: &[f64],
        ends: Option<&Ends>,
        read: Option<Read<'_>>,
        made: &mut usize,
    ) -> Result<Row, Error> {
        let mut cells = Vec::with_capacity(self.counts.len());
        let windows = ends.map(|ends| self.sums.into_one(ends)).unwrap_or_default();
        let mut sliding = ends.filter(|_| !windows.is_empty()).map(|ends| ends.over(&windows));
        let mut histograms = self.histograms.into_iter();
        for (step, (tally, count)) in self.floats.iter_mut().zip(&self.counts).enumerate() {
            eval.check()?;
            let mut merge = histograms.next().unwrap_or_default();
            if let Some(sum) = sliding.as_mut().and_then(|ranges| ranges.next().flatten()) {
                merge.add(sum, &self.first, &mut 0);
            }
            let value = || tally.value(numbers.get(step).copied().unwrap_or(f64::NAN));
            let cell = match (answer(eval, node, value, *count, merge), read) {
                (Cell::Histogram(histogram), Some(read)) => {
                    Cell::Float((read.of)(&self.labels, step, &histogram))
                }
                (cell, _) => cell,
            };
            cells.push(eval.made(cell, made)?);
        }
        Ok(Row { labels: self.labels, drops_name: self.drops_name || read.is_some(), cells })
    }

    fn add(&mut self, row: Row, steps: usize, merges: bool, held: &mut usize) {
        self.drops_name |= row.drops_name;
        let tallies = self.floats.iter_mut().zip(&mut self.counts);
        for (step, (cell, (tally, count))) in row.cells.into_iter().zip(tallies).enumerate() {
            match cell {
                Cell::None => {}
                Cell::Float(value) => {
                    tally.add(value);
                    *count += 1;
                }
                Cell::Histogram(histogram) => {
                    if self.histograms.is_empty() {
                        self.histograms.resize(steps, Merge::default());
                    }
                    let Some(merge) = self.histograms.get_mut(step) else { continue };
                    match merges {
                        true => merge.add(histogram, &row.labels, held),
                        false => merge.count += 1,
                    }
                }
            }
        }
    }
}

fn answer(
    eval: &Evaluator<'_>,
    node: &Aggregate,
    value: impl FnOnce() -> f64,
    floats: u32,
    merge: Merge,
) -> Cell {
    let (has_floats, has_histograms) = (floats > 0, merge.count > 0);
    match node.op {
        AggregateOp::Count | AggregateOp::Group if !has_floats && !has_histograms => Cell::None,
        AggregateOp::Count => Cell::Float(f64::from(floats) + merge.count as f64),
        AggregateOp::Group => Cell::Float(1.0),
        AggregateOp::Sum | AggregateOp::Avg if has_histograms && has_floats => {
            tell_mixed(eval, node);
            Cell::None
        }
        AggregateOp::Sum | AggregateOp::Avg if has_histograms => merged(eval, node, &merge),
        _ => {
            if has_histograms {
                tell_ignored_histograms(eval, node);
            }
            match has_floats {
                false => Cell::None,
                true if node.op == AggregateOp::Stddev => Cell::Float(value().sqrt()),
                true => Cell::Float(value()),
            }
        }
    }
}

fn merged(eval: &Evaluator<'_>, node: &Aggregate, merge: &Merge) -> Cell {
    let mean = node.op == AggregateOp::Avg;
    if let ([Distribution::LogLinear(only)], false) = (&*merge.parts, mean) {
        return Cell::Histogram(Distribution::LogLinear(only.clone()));
    }
    // What was merged on the way is one of several.
    let is_whole = merge.parts.len() == merge.count;
    match distribution::folded(merge.parts.iter(), mean && is_whole) {
        Ok(None) => Cell::None,
        Ok(Some((sum, notes))) => {
            told::tell(&eval.annotations, node.expr_start, notes, "aggregation");
            Cell::Histogram(match mean && !is_whole {
                true => sum.scaled(1.0 / merge.count as f64),
                false => sum,
            })
        }
        Err(_) => {
            eval.annotations.warn(node.expr_start, &told::mixed_schemas(&merge.first));
            Cell::None
        }
    }
}
