//! `topk` and `bottomk` over a range: of each group and step the best so far;
//! all other values are forgotten as they come.

use super::aggregation::{group_labels, tell_ignored_histograms};
use super::column::{Cell, Grid, Row};
use super::error::Error;
use super::eval::Evaluator;
use super::expr::{Aggregate, AggregateOp};
use super::function::by_value;
use crate::model::Labels;
use std::cmp::Ordering;
use std::collections::HashMap;

/// Most of a group that are looked through for each value that comes.
pub(super) const MAX_BEST: usize = 64;

/// The best of one step, best first, with the numbers of their rows.
type Best = Vec<(f64, usize)>;

/// A row of which a value was among the best at some time.
struct Known {
    labels: Labels,
    drops_name: bool,
}

/// Value of the aggregation on `grid`; `limits` say how many of a group to take
/// at each step, and none is above [`MAX_BEST`].
pub(super) fn eval(
    eval: &Evaluator<'_>,
    node: &Aggregate,
    limits: &[usize],
    grid: &Grid,
) -> Result<Vec<Row>, Error> {
    let mut places: HashMap<Labels, usize> = HashMap::new();
    let mut groups: Vec<Vec<Best>> = Vec::new();
    let mut known: Vec<Known> = Vec::new();
    let mut has_histograms = false;
    let mut held = 0;
    let with_group = |rows: Vec<Row>| {
        Ok(rows.into_iter().map(|row| (group_labels(node, &row.labels), row)).collect::<Vec<_>>())
    };
    eval.rows_each(&node.expr, grid, with_group, |rows| {
        for (group, row) in rows {
            let place = *places.entry(group).or_insert_with(|| {
                groups.push(vec![Best::new(); grid.steps]);
                groups.len() - 1
            });
            eval.check_size(groups.len(), grid.steps)?;
            let Some(steps) = groups.get_mut(place) else { continue };
            let number = known.len();
            known.push(Known { labels: row.labels, drops_name: row.drops_name });
            let mut is_kept = false;
            for ((cell, best), limit) in row.cells.iter().zip(steps).zip(limits) {
                match cell {
                    Cell::Float(value) => {
                        let before = best.len();
                        is_kept |= insert(best, (*value, number), *limit, node.op, &known);
                        held += best.len() - before;
                    }
                    Cell::Histogram(_) => has_histograms |= *limit > 0,
                    Cell::None => {}
                }
            }
            if !is_kept {
                known.pop();
            }
        }
        eval.check_size(1, held)
    })?;
    if has_histograms {
        tell_ignored_histograms(eval, node);
    }
    let mut cells: Vec<Option<Vec<Cell>>> = known.iter().map(|_| None).collect();
    let mut rows = 0;
    for (step, best) in groups.iter().flat_map(|steps| steps.iter().enumerate()) {
        for (value, number) in best {
            let Some(row) = cells.get_mut(*number) else { continue };
            if row.is_none() {
                rows += 1;
                eval.check_size(rows, grid.steps)?;
            }
            let row = row.get_or_insert_with(|| vec![Cell::None; grid.steps]);
            if let Some(cell) = row.get_mut(step) {
                *cell = Cell::Float(*value);
            }
        }
    }
    let rows = known.into_iter().zip(cells);
    Ok(rows
        .filter_map(|(known, cells)| {
            Some(Row { labels: known.labels, drops_name: known.drops_name, cells: cells? })
        })
        .collect())
}

/// Whether the value is among the best now.
fn insert(best: &mut Best, new: (f64, usize), limit: usize, op: AggregateOp, known: &[Known]) -> bool {
    let order = |a: &(f64, usize), b: &(f64, usize)| {
        by_value(a.0, b.0, op == AggregateOp::TopK).then_with(|| {
            // Of equal values those with the lesser labels.
            let key = |at: usize| known.get(at).map(|row| (&row.labels, row.drops_name));
            key(a.1).cmp(&key(b.1))
        })
    };
    if best.len() >= limit && best.last().is_none_or(|last| order(last, &new) != Ordering::Greater) {
        return false;
    }
    let place = best.partition_point(|other| order(other, &new) == Ordering::Less);
    best.insert(place, new);
    best.truncate(limit);
    true
}
