//! Aggregations: rows are grouped once by their labels, then folded step by
//! step.
//!
//! Floats and histograms never mix: a group that has both at a step gives
//! nothing for `sum` and `avg`; what is meant for floats ignores histograms.

use super::column::{Cell, Grid, Row, is_identity, join_equal, without_empty};
use super::distribution::{self, Distribution};
use super::error::Error;
use super::eval::Evaluator;
use super::expr::{Aggregate, AggregateOp};
use super::function::by_value;
use super::histogram_function::check_quantiles;
use super::label_function::{check_label, with_label};
use super::number::{format_plain, format_value};
use super::sum;
use super::tally;
use super::told;
use super::top;
use crate::model::Labels;
use std::collections::HashMap;

/// Rows that aggregate together.
struct Group {
    labels: Labels,
    /// Where the name is among the labels, whether it is of any of the members.
    drops_name: bool,
    /// Their places among all rows.
    members: Vec<usize>,
}

impl Group {
    /// The group's cells as a row; as two where its name is dropped at some steps
    /// only, with those of its members that drop it.
    fn rows(self, rows: &[Row], mut cells: Vec<Cell>) -> impl Iterator<Item = Row> {
        let members = || self.members.iter().filter_map(|number| rows.get(*number));
        let is_mixed =
            self.drops_name && !self.labels.name().is_empty() && members().any(|row| !row.drops_name);
        let mut kept = None;
        if is_mixed {
            let drops = |step: usize| {
                members().any(|row| row.drops_name && row.cells.get(step).is_some_and(Cell::is_some))
            };
            let taken = cells.iter_mut().enumerate().map(|(step, cell)| match drops(step) {
                true => Cell::None,
                false => std::mem::take(cell),
            });
            kept = Some(Row::new(self.labels.clone(), taken.collect()));
        }
        [Some(Row { labels: self.labels, drops_name: self.drops_name, cells }), kept].into_iter().flatten()
    }
}

/// Value of an aggregation on `grid`.
pub(crate) fn eval(eval: &Evaluator<'_>, node: &Aggregate, grid: &Grid) -> Result<Vec<Row>, Error> {
    // Before the rows: a parameter is small, whatever it is made of.
    let numbers = match (&node.param, node.op) {
        (None, _) | (_, AggregateOp::CountValues) => Vec::new(),
        (Some(param), _) => eval.scalar(param, grid)?,
    };
    eval.within(|| {
        eval.hold(numbers.len());
        aggregated(eval, node, &numbers, grid)
    })
}

/// The rows of a `sum` or `avg`, where that needs no more than to see each value once:
/// of groups without floats what `read` makes of each distribution. Tells of each
/// whether it was read.
pub(crate) fn read_each(
    eval: &Evaluator<'_>,
    node: &Aggregate,
    grid: &Grid,
    read: tally::Read<'_>,
) -> Option<Result<Vec<(bool, Row)>, Error>> {
    let is_sum = matches!(node.op, AggregateOp::Sum | AggregateOp::Avg) && is_seen_once(node);
    is_sum.then(|| eval.within(|| tally::read_each(eval, node, &[], grid, Some(read))))
}

fn is_seen_once(node: &Aggregate) -> bool {
    // By its name a group may be told of members that drop theirs.
    tally::is_tallied(node.op) && (node.without || !node.labels.iter().any(|name| is_identity(name)))
}

fn aggregated(
    eval: &Evaluator<'_>,
    node: &Aggregate,
    numbers: &[f64],
    grid: &Grid,
) -> Result<Vec<Row>, Error> {
    if is_seen_once(node) {
        return tally::eval(eval, node, numbers, grid);
    }
    if matches!(node.op, AggregateOp::TopK | AggregateOp::BottomK) && grid.steps > 1 {
        let limits = counts(numbers)?;
        if limits.iter().all(|limit| *limit <= top::MAX_BEST) {
            return top::eval(eval, node, &limits, grid);
        }
    }
    let rows = eval.vector(&node.expr, grid)?;
    if node.op == AggregateOp::Quantile && !rows.is_empty() {
        check_quantiles(&eval.annotations, node.param_start, numbers.iter().copied());
    }
    let groups = grouped(node, &rows);
    match node.op {
        AggregateOp::TopK | AggregateOp::BottomK | AggregateOp::LimitK => {
            let limits = counts(numbers)?;
            chosen(eval, node, &limits, rows, &groups, grid)
        }
        AggregateOp::LimitRatio => sampled(eval, node, numbers, rows),
        AggregateOp::Quantile => folded(eval, &rows, groups, grid, |step, members| {
            ignored_histograms(eval, node, &members);
            let q = numbers.get(step).copied().unwrap_or(f64::NAN);
            let mut floats: Vec<f64> = members.floats().collect();
            if floats.is_empty() { Cell::None } else { Cell::Float(sum::quantile(q, &mut floats)) }
        }),
        AggregateOp::CountValues => count_values(eval, node, &rows, &groups, grid),
        _ => folded(eval, &rows, groups, grid, |_, members| fold(eval, node, &members)),
    }
}

/// The labels of the group that a row belongs to.
pub(super) fn group_labels(node: &Aggregate, labels: &Labels) -> Labels {
    let named = |name: &str| node.labels.iter().any(|label| label == name);
    match node.without {
        true => labels.filtered(|name| !is_identity(name) && !named(name)),
        false if node.labels.is_empty() => Labels::none().clone(),
        false => labels.filtered(named),
    }
}

fn grouped(node: &Aggregate, rows: &[Row]) -> Vec<Group> {
    let mut places: HashMap<Labels, usize> = HashMap::new();
    let mut groups: Vec<Group> = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        let labels = group_labels(node, &row.labels);
        let place = *places.entry(labels.clone()).or_insert_with(|| {
            groups.push(Group { labels, drops_name: false, members: Vec::new() });
            groups.len() - 1
        });
        if let Some(group) = groups.get_mut(place) {
            group.members.push(number);
            group.drops_name |= row.drops_name;
        }
    }
    groups
}

/// The cells of a group at one step.
#[derive(Clone, Copy)]
struct Members<'a> {
    rows: &'a [Row],
    members: &'a [usize],
    step: usize,
}

impl<'a> Members<'a> {
    fn cells(self) -> impl Iterator<Item = (usize, &'a Cell)> + Clone {
        self.members.iter().filter_map(move |number| {
            let cell = self.rows.get(*number)?.cells.get(self.step)?;
            cell.is_some().then_some((*number, cell))
        })
    }

    fn floats(self) -> impl Iterator<Item = f64> + Clone + 'a {
        self.cells().filter_map(|(_, cell)| match cell {
            Cell::Float(value) => Some(*value),
            _ => None,
        })
    }

    fn histograms(self) -> impl Iterator<Item = &'a Distribution> + Clone {
        self.cells().filter_map(|(_, cell)| match cell {
            Cell::Histogram(histogram) => Some(histogram),
            _ => None,
        })
    }
}

/// One row a group, one cell a step.
fn folded(
    eval: &Evaluator<'_>,
    rows: &[Row],
    groups: Vec<Group>,
    grid: &Grid,
    fold: impl Fn(usize, Members<'_>) -> Cell,
) -> Result<Vec<Row>, Error> {
    let mut answers = Vec::with_capacity(groups.len());
    let mut made = 0;
    for group in groups {
        let mut cells = Vec::with_capacity(grid.steps);
        for step in 0..grid.steps {
            eval.check()?;
            let cell = fold(step, Members { rows, members: &group.members, step });
            cells.push(eval.made(cell, &mut made)?);
        }
        answers.extend(group.rows(rows, cells));
    }
    Ok(without_empty(answers))
}

/// Tells that histograms are not what is aggregated here.
fn ignored_histograms(eval: &Evaluator<'_>, node: &Aggregate, members: &Members<'_>) {
    if members.histograms().next().is_some() {
        tell_ignored_histograms(eval, node);
    }
}

pub(super) fn tell_ignored_histograms(eval: &Evaluator<'_>, node: &Aggregate) {
    let message = format!("ignored histogram in {} aggregation", node.op.as_str());
    eval.annotations.info(node.expr_start, &message);
}

pub(super) fn tell_mixed(eval: &Evaluator<'_>, node: &Aggregate) {
    eval.annotations.warn(node.expr_start, "encountered a mix of histograms and floats for aggregation");
}

fn fold(eval: &Evaluator<'_>, node: &Aggregate, members: &Members<'_>) -> Cell {
    let op = node.op;
    let floats = members.floats();
    let has_floats = floats.clone().next().is_some();
    let has_histograms = members.histograms().next().is_some();
    match op {
        AggregateOp::Count if has_floats || has_histograms => {
            return Cell::Float(members.cells().count() as f64);
        }
        AggregateOp::Group if has_floats || has_histograms => return Cell::Float(1.0),
        AggregateOp::Sum | AggregateOp::Avg if has_histograms && has_floats => {
            tell_mixed(eval, node);
            return Cell::None;
        }
        AggregateOp::Sum | AggregateOp::Avg if has_histograms => {
            return match distribution::folded(members.histograms(), op == AggregateOp::Avg) {
                Ok(None) => Cell::None,
                Ok(Some((sum, notes))) => {
                    told::tell(&eval.annotations, node.expr_start, notes, "aggregation");
                    Cell::Histogram(sum)
                }
                Err(_) => {
                    let first = members.cells().next().and_then(|(number, _)| members.rows.get(number));
                    let labels = first.map(|row| row.labels.clone()).unwrap_or_default();
                    eval.annotations.warn(node.expr_start, &told::mixed_schemas(&labels));
                    Cell::None
                }
            };
        }
        _ => ignored_histograms(eval, node, members),
    }
    if !has_floats {
        return Cell::None;
    }
    let beats = |better: fn(&f64, &f64) -> bool| {
        let keep = move |kept: f64, new: f64| if kept.is_nan() || better(&new, &kept) { new } else { kept };
        members.floats().reduce(keep).unwrap_or(f64::NAN)
    };
    Cell::Float(match op {
        AggregateOp::Sum => sum::sum(floats),
        AggregateOp::Avg => sum::mean(floats),
        AggregateOp::Min => beats(f64::lt),
        AggregateOp::Max => beats(f64::gt),
        AggregateOp::Stddev => sum::variance(floats).sqrt(),
        AggregateOp::Stdvar => sum::variance(floats),
        _ => return Cell::None,
    })
}

/// How many series to take at each step.
fn counts(params: &[f64]) -> Result<Vec<usize>, Error> {
    params
        .iter()
        .map(|param| match param.is_nan() {
            true => Err(Error::execution("Parameter value is NaN")),
            false if *param >= i64::MAX as f64 => {
                Err(Error::Execution(format!("Scalar value {} overflows int64", format_value(*param))))
            }
            false if *param <= i64::MIN as f64 => {
                Err(Error::Execution(format!("Scalar value {} underflows int64", format_value(*param))))
            }
            false => Ok(param.max(0.0) as usize),
        })
        .collect()
}

/// `limit_ratio`: at each step the series whose labels hash to a place within
/// the ratio; of a negative one, those that its positive complement leaves.
fn sampled(
    eval: &Evaluator<'_>,
    node: &Aggregate,
    ratios: &[f64],
    mut rows: Vec<Row>,
) -> Result<Vec<Row>, Error> {
    for ratio in ratios {
        if ratio.is_nan() {
            return Err(Error::execution("Ratio value is NaN"));
        }
        if !(-1.0..=1.0).contains(ratio) {
            let message = format!(
                "ratio value should be between -1 and 1, got {ratio}, capping to {}",
                ratio.clamp(-1.0, 1.0)
            );
            eval.annotations.warn(node.param_start, &message);
        }
    }
    for row in &mut rows {
        eval.check()?;
        let place = place_of(&row.labels);
        for (cell, ratio) in row.cells.iter_mut().zip(ratios) {
            let taken = if *ratio >= 0.0 { place < *ratio } else { place >= 1.0 + ratio };
            if !taken {
                *cell = Cell::None;
            }
        }
    }
    Ok(without_empty(rows))
}

/// A place in 0 to 1 that is a label set's own.
fn place_of(labels: &Labels) -> f64 {
    let mut bytes = Vec::new();
    for (name, value) in labels.iter() {
        for text in [name, value] {
            bytes.extend_from_slice(text.as_bytes());
            bytes.push(0xff);
        }
    }
    xxhash_rust::xxh3::xxh3_64(&bytes) as f64 / u64::MAX as f64
}

/// `topk`, `bottomk`, `limitk`: of each group some rows, as they are.
fn chosen(
    eval: &Evaluator<'_>,
    node: &Aggregate,
    limits: &[usize],
    mut rows: Vec<Row>,
    groups: &[Group],
    grid: &Grid,
) -> Result<Vec<Row>, Error> {
    let op = node.op;
    let mut order: Vec<usize> = Vec::new();
    let mut keep: Vec<Vec<bool>> = rows.iter().map(|_| vec![false; grid.steps]).collect();
    for group in groups {
        // Of equal values those with the lesser labels, at whatever step.
        let mut sorted = group.members.clone();
        sorted.sort_by(|a, b| {
            let key = |at: &usize| rows.get(*at).map(|row| (&row.labels, row.drops_name));
            key(a).cmp(&key(b))
        });
        for (step, limit) in limits.iter().enumerate() {
            eval.check()?;
            let members = Members { rows: &rows, members: &sorted, step };
            let numbers: Vec<usize> = if op == AggregateOp::LimitK {
                members.cells().take(*limit).map(|(number, _)| number).collect()
            } else {
                if *limit > 0 {
                    ignored_histograms(eval, node, &members);
                }
                let values: Vec<(usize, f64)> = members
                    .cells()
                    .filter_map(|(number, cell)| match cell {
                        Cell::Float(value) => Some((number, *value)),
                        _ => None,
                    })
                    .collect();
                // Of equal ones the first of those that are sorted by labels.
                let mut places: Vec<usize> = (0..values.len()).collect();
                let order = |a: &usize, b: &usize| {
                    let value = |at: &usize| values.get(*at).map_or(f64::NAN, |(_, value)| *value);
                    by_value(value(a), value(b), op == AggregateOp::TopK).then(a.cmp(b))
                };
                if *limit < places.len() {
                    places.select_nth_unstable_by(*limit, order);
                    places.truncate(*limit);
                }
                places.sort_unstable_by(order);
                places.into_iter().filter_map(|at| values.get(at)).map(|(number, _)| *number).collect()
            };
            for number in &numbers {
                if let Some(kept) = keep.get_mut(*number).and_then(|steps| steps.get_mut(step)) {
                    *kept = true;
                }
            }
            if grid.steps == 1 {
                order.extend(numbers);
            }
        }
    }
    for (row, keep) in rows.iter_mut().zip(keep) {
        for (cell, keep) in row.cells.iter_mut().zip(keep) {
            if !keep {
                *cell = Cell::None;
            }
        }
    }
    if grid.steps != 1 {
        return Ok(without_empty(rows));
    }
    // Of an instant vector the order is part of the answer.
    let mut rows: Vec<Option<Row>> = rows.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|number| rows.get_mut(number)?.take()).collect())
}

fn count_values(
    eval: &Evaluator<'_>,
    node: &Aggregate,
    rows: &[Row],
    groups: &[Group],
    grid: &Grid,
) -> Result<Vec<Row>, Error> {
    let label = match &node.param {
        Some(param) => eval.string(param)?,
        None => "",
    };
    check_label(label, "count_values")?;
    let mut answers: Vec<Row> = Vec::new();
    // The label may take the place of one that kept groups apart.
    let mut of_labels: HashMap<Labels, usize> = HashMap::new();
    for group in groups {
        // By the text that stands for the value.
        let mut places: HashMap<String, usize> = HashMap::new();
        for step in 0..grid.steps {
            eval.check()?;
            for (_, cell) in (Members { rows, members: &group.members, step }).cells() {
                let text = match cell {
                    Cell::Float(value) => format_plain(*value),
                    Cell::Histogram(histogram) => histogram.to_string(),
                    Cell::None => continue,
                };
                let place = match places.get(&text) {
                    Some(place) => *place,
                    None => {
                        let labels = with_label(&group.labels, label, &text);
                        let drops_name = group.drops_name;
                        let place = match of_labels.get(&labels) {
                            Some(place) => *place,
                            None => {
                                eval.check_size(answers.len() + 1, grid.steps)?;
                                of_labels.insert(labels.clone(), answers.len());
                                answers.push(Row { labels, drops_name, cells: vec![Cell::None; grid.steps] });
                                answers.len() - 1
                            }
                        };
                        places.insert(text, place);
                        place
                    }
                };
                if let Some(cell) = answers.get_mut(place).and_then(|row| row.cells.get_mut(step)) {
                    *cell = match cell {
                        Cell::Float(count) => Cell::Float(*count + 1.0),
                        _ => Cell::Float(1.0),
                    };
                }
            }
        }
    }
    join_equal(answers)
}
