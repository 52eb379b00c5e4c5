//! Aggregations: rows are grouped once by their labels, then folded step by
//! step.
//!
//! Floats and histograms never mix: a group that has both at a step gives
//! nothing for `sum` and `avg`; what is meant for floats ignores histograms.

use super::column::{Cell, Grid, Row, join_equal, without_empty};
use super::distribution;
use super::error::Error;
use super::eval::Evaluator;
use super::expr::{Aggregate, AggregateOp};
use super::function::by_value;
use super::label_function::{check_label, with_label};
use super::number::format_plain;
use super::sum;
use crate::model::label::NAME;
use crate::model::{Histogram, Labels};
use std::collections::HashMap;

/// Rows that aggregate together.
struct Group {
    labels: Labels,
    /// Their places among all rows.
    members: Vec<usize>,
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

fn aggregated(
    eval: &Evaluator<'_>,
    node: &Aggregate,
    numbers: &[f64],
    grid: &Grid,
) -> Result<Vec<Row>, Error> {
    let rows = eval.vector(&node.expr, grid)?;
    let groups = grouped(node, &rows);
    match node.op {
        AggregateOp::TopK | AggregateOp::BottomK | AggregateOp::LimitK => {
            let limits = counts(numbers, node.op)?;
            chosen(eval, node.op, &limits, rows, &groups, grid)
        }
        AggregateOp::Quantile => folded(eval, &rows, groups, grid, |step, members| {
            let q = numbers.get(step).copied().unwrap_or(f64::NAN);
            let mut floats: Vec<f64> = members.floats().collect();
            if floats.is_empty() { Cell::None } else { Cell::Float(sum::quantile(q, &mut floats)) }
        }),
        AggregateOp::CountValues => count_values(eval, node, &rows, &groups, grid),
        op => folded(eval, &rows, groups, grid, |_, members| fold(eval, op, &members)),
    }
}

fn grouped(node: &Aggregate, rows: &[Row]) -> Vec<Group> {
    let named = |name: &str| node.labels.iter().any(|label| label == name);
    let mut places: HashMap<Labels, usize> = HashMap::new();
    let mut groups: Vec<Group> = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        let labels = match node.without {
            true => row.labels.filtered(|name| name != NAME && !named(name)),
            false if node.labels.is_empty() => Labels::default(),
            false => row.labels.filtered(named),
        };
        let place = *places.entry(labels.clone()).or_insert_with(|| {
            groups.push(Group { labels, members: Vec::new() });
            groups.len() - 1
        });
        if let Some(group) = groups.get_mut(place) {
            group.members.push(number);
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

    fn histograms(self) -> impl Iterator<Item = &'a Histogram> + Clone {
        self.cells().filter_map(|(_, cell)| match cell {
            Cell::Histogram(histogram) => Some(&**histogram),
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
        answers.push(Row { labels: group.labels, cells });
    }
    Ok(without_empty(answers))
}

fn fold(eval: &Evaluator<'_>, op: AggregateOp, members: &Members<'_>) -> Cell {
    let floats = members.floats();
    let has_floats = floats.clone().next().is_some();
    let has_histograms = members.histograms().next().is_some();
    match op {
        AggregateOp::Count if has_floats || has_histograms => {
            return Cell::Float(members.cells().count() as f64);
        }
        AggregateOp::Group if has_floats || has_histograms => return Cell::Float(1.0),
        AggregateOp::Sum | AggregateOp::Avg if has_histograms && has_floats => {
            eval.warn("a group holds floats and histograms; it was left out");
            return Cell::None;
        }
        AggregateOp::Sum if has_histograms => {
            return Cell::histogram(distribution::merge_all(members.histograms()));
        }
        AggregateOp::Avg if has_histograms => {
            let count = members.histograms().count() as f64;
            return Cell::histogram(distribution::merge_all(members.histograms()).scaled(1.0 / count));
        }
        _ => {}
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
fn counts(params: &[f64], op: AggregateOp) -> Result<Vec<usize>, Error> {
    params
        .iter()
        .map(|param| match param.is_nan() {
            true => Err(Error::Execution(format!("the parameter of {op:?} is NaN"))),
            // Saturates: as many as there are.
            false => Ok(param.max(0.0) as usize),
        })
        .collect()
}

/// `topk`, `bottomk`, `limitk`: of each group some rows, as they are.
fn chosen(
    eval: &Evaluator<'_>,
    op: AggregateOp,
    limits: &[usize],
    mut rows: Vec<Row>,
    groups: &[Group],
    grid: &Grid,
) -> Result<Vec<Row>, Error> {
    let mut order: Vec<usize> = Vec::new();
    let mut keep: Vec<Vec<bool>> = rows.iter().map(|_| vec![false; grid.steps]).collect();
    for group in groups {
        for (step, limit) in limits.iter().enumerate() {
            eval.check()?;
            let members = Members { rows: &rows, members: &group.members, step };
            let numbers: Vec<usize> = if op == AggregateOp::LimitK {
                members.cells().take(*limit).map(|(number, _)| number).collect()
            } else {
                let mut values: Vec<(usize, f64)> = members
                    .cells()
                    .filter_map(|(number, cell)| match cell {
                        Cell::Float(value) => Some((number, *value)),
                        _ => None,
                    })
                    .collect();
                values.sort_by(|a, b| by_value(a.1, b.1, op == AggregateOp::TopK));
                values.into_iter().take(*limit).map(|(number, _)| number).collect()
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
    for group in groups {
        // By the number's bits: one text for each.
        let mut places: HashMap<u64, usize> = HashMap::new();
        for step in 0..grid.steps {
            eval.check()?;
            for value in (Members { rows, members: &group.members, step }).floats() {
                let value = if value.is_nan() { f64::NAN } else { value };
                let place = match places.get(&value.to_bits()) {
                    Some(place) => *place,
                    None => {
                        eval.check_size(answers.len() + 1, grid.steps)?;
                        let labels = with_label(&group.labels, label, &format_plain(value));
                        answers.push(Row { labels, cells: vec![Cell::None; grid.steps] });
                        places.insert(value.to_bits(), answers.len() - 1);
                        answers.len() - 1
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
