//! Binary operators. Which series meet is worked out once, from their labels;
//! the values are then combined step by step.

use super::column::{Cell, Column, Grid, Row, join_equal, without_empty};
use super::distribution::{Distribution, Incompatible};
use super::error::Error;
use super::eval::Evaluator;
use super::expr::{Binary, BinaryOp, Group, Matching};
use super::histogram_trim;
use super::label_function::with_label;
use super::told;
use crate::model::Labels;
use crate::model::label::NAME;
use std::collections::HashMap;

/// Value of `left op right` on `grid`.
pub(crate) fn eval(eval: &Evaluator<'_>, node: &Binary, grid: &Grid) -> Result<Column, Error> {
    let left = eval.eval(&node.left, grid)?;
    let right = eval.holding(&left, || eval.eval(&node.right, grid))?;
    match (left, right) {
        (Column::Scalar(left), Column::Scalar(right)) => scalars(eval, node.op, &left, &right),
        (Column::Vector(rows), Column::Scalar(scalars)) => with_scalar(eval, node, rows, &scalars, false),
        (Column::Scalar(scalars), Column::Vector(rows)) => with_scalar(eval, node, rows, &scalars, true),
        (Column::Vector(left), Column::Vector(right)) => match node.op.is_set() {
            true => set(eval, node, left, right, grid),
            false => matched(eval, node, left, right, grid),
        },
        _ => {
            Err(Error::Execution(format!("operator {} takes scalars and instant vectors", node.op.as_str())))
        }
    }
}

fn scalars(eval: &Evaluator<'_>, op: BinaryOp, left: &[f64], right: &[f64]) -> Result<Column, Error> {
    let answer = |(left, right): (&f64, &f64)| {
        eval.check()?;
        Ok(scalar(op, *left, *right).unwrap_or(f64::NAN))
    };
    left.iter().zip(right).map(answer).collect::<Result<_, Error>>().map(Column::Scalar)
}

/// The number that `op` makes of two; a comparison gives 1 or 0.
fn scalar(op: BinaryOp, left: f64, right: f64) -> Option<f64> {
    Some(match op {
        BinaryOp::Add => left + right,
        BinaryOp::Sub => left - right,
        BinaryOp::Mul => left * right,
        BinaryOp::Div => left / right,
        BinaryOp::Mod => left % right,
        BinaryOp::Pow => left.powf(right),
        BinaryOp::Atan2 => left.atan2(right),
        BinaryOp::And | BinaryOp::Or | BinaryOp::Unless | BinaryOp::TrimUpper | BinaryOp::TrimLower => {
            return None;
        }
        _ => f64::from(u8::from(compares(op, left, right)?)),
    })
}

fn compares(op: BinaryOp, left: f64, right: f64) -> Option<bool> {
    Some(match op {
        BinaryOp::Equal => left == right,
        BinaryOp::NotEqual => left != right,
        BinaryOp::Greater => left > right,
        BinaryOp::Less => left < right,
        BinaryOp::GreaterEqual => left >= right,
        BinaryOp::LessEqual => left <= right,
        _ => return None,
    })
}

/// What two cells make. A comparison without `bool` gives `kept` where it
/// holds, and nothing where not.
fn combined(eval: &Evaluator<'_>, node: &Binary, left: &Cell, right: &Cell, kept: &Cell) -> Cell {
    let op = node.op;
    let verdict = |holds: bool| match (node.return_bool, holds) {
        (true, holds) => Cell::Float(f64::from(u8::from(holds))),
        (false, true) => kept.clone(),
        (false, false) => Cell::None,
    };
    match (left, right) {
        (Cell::None, _) | (_, Cell::None) => Cell::None,
        (Cell::Float(l), Cell::Float(r)) => match compares(op, *l, *r) {
            Some(holds) => verdict(holds),
            None => match scalar(op, *l, *r) {
                Some(number) => Cell::Float(number),
                None => left_out(eval, node, ["float", "float"]),
            },
        },
        (Cell::Histogram(l), Cell::Histogram(r)) => match op {
            BinaryOp::Add => summed(eval, node, l.plus(r), "addition"),
            BinaryOp::Sub => summed(eval, node, l.minus(r), "subtraction"),
            BinaryOp::Equal => verdict(l == r),
            BinaryOp::NotEqual => verdict(l != r),
            _ => left_out(eval, node, ["histogram", "histogram"]),
        },
        (Cell::Histogram(histogram), Cell::Float(number)) => match op {
            BinaryOp::Mul => Cell::Histogram(histogram.clone().scaled(*number)),
            BinaryOp::Div => Cell::Histogram(histogram.clone().divided(*number)),
            BinaryOp::TrimUpper | BinaryOp::TrimLower => {
                let above = op == BinaryOp::TrimUpper;
                match histogram_trim::trimmed(histogram, *number, above) {
                    Some(trimmed) => Cell::Histogram(trimmed),
                    None => left_out(eval, node, ["histogram", "float"]),
                }
            }
            _ => left_out(eval, node, ["histogram", "float"]),
        },
        (Cell::Float(factor), Cell::Histogram(histogram)) => match op {
            BinaryOp::Mul => Cell::Histogram(histogram.clone().scaled(*factor)),
            _ => left_out(eval, node, ["float", "histogram"]),
        },
    }
}

fn summed(
    eval: &Evaluator<'_>,
    node: &Binary,
    result: Result<(Distribution, super::distribution::Notes), Incompatible>,
    place: &str,
) -> Cell {
    match result {
        Ok((sum, notes)) => {
            told::tell(&eval.annotations, node.start, notes, place);
            Cell::Histogram(sum)
        }
        Err(Incompatible) => {
            let message =
                format!("incompatible bucket layout encountered for binary operator {}", node.op.as_str());
            eval.annotations.warn(node.start, &message);
            Cell::None
        }
    }
}

fn left_out(eval: &Evaluator<'_>, node: &Binary, [left, right]: [&str; 2]) -> Cell {
    let op = node.op.as_str();
    let message =
        format!("incompatible sample types encountered for binary operator {op:?}: {left} {op} {right}");
    eval.annotations.info(node.start, &message);
    Cell::None
}

fn drops_name(node: &Binary) -> bool {
    let trims = matches!(node.op, BinaryOp::TrimUpper | BinaryOp::TrimLower);
    (!node.op.is_comparison() && !trims) || node.return_bool
}

fn with_scalar(
    eval: &Evaluator<'_>,
    node: &Binary,
    mut rows: Vec<Row>,
    scalars: &[f64],
    scalar_is_left: bool,
) -> Result<Column, Error> {
    let mut made = 0;
    for row in &mut rows {
        eval.check()?;
        for (cell, scalar) in row.cells.iter_mut().zip(scalars) {
            let number = Cell::Float(*scalar);
            let answer = match scalar_is_left {
                true => combined(eval, node, &number, cell, cell),
                false => combined(eval, node, cell, &number, cell),
            };
            *cell = eval.made(answer, &mut made)?;
        }
        if drops_name(node) {
            row.drops_name = true;
        }
    }
    Ok(Column::Vector(without_empty(rows)))
}

/// The labels by which a series finds its match.
fn signature(matching: &Matching, labels: &Labels) -> Labels {
    let named = |name: &str| matching.labels.iter().any(|label| label == name);
    match matching.on {
        true => labels.filtered(named),
        false => labels.filtered(|name| name != NAME && !named(name)),
    }
}

fn set(
    eval: &Evaluator<'_>,
    node: &Binary,
    mut left: Vec<Row>,
    mut right: Vec<Row>,
    grid: &Grid,
) -> Result<Column, Error> {
    let (asked, judged) = match node.op {
        BinaryOp::Or => (&left, &mut right),
        _ => (&right, &mut left),
    };
    // At which steps the other side has a series of each signature.
    let mut present: HashMap<Labels, Vec<bool>> = HashMap::new();
    for row in asked {
        eval.check()?;
        let steps =
            present.entry(signature(&node.matching, &row.labels)).or_insert_with(|| vec![false; grid.steps]);
        steps.iter_mut().zip(&row.cells).for_each(|(seen, cell)| *seen |= cell.is_some());
    }
    let keep_present = node.op == BinaryOp::And;
    for row in judged.iter_mut() {
        eval.check()?;
        let steps = present.get(&signature(&node.matching, &row.labels));
        for (step, cell) in row.cells.iter_mut().enumerate() {
            let is_present = steps.and_then(|steps| steps.get(step)).copied().unwrap_or(false);
            if is_present != keep_present {
                *cell = Cell::None;
            }
        }
    }
    let mut rows = left;
    if node.op == BinaryOp::Or {
        rows.extend(right);
    }
    Ok(Column::Vector(join_equal(without_empty(rows))?))
}

/// Arithmetic and comparison between two vectors. `many` is the side whose
/// series may share a match; without grouping it is the left one, and may not.
fn matched(
    eval: &Evaluator<'_>,
    node: &Binary,
    left: Vec<Row>,
    right: Vec<Row>,
    grid: &Grid,
) -> Result<Column, Error> {
    let (left, right) = filled(eval, node, left, right, grid)?;
    let swapped = node.matching.group == Group::OneToMany;
    let (many, one) = if swapped { (right, left) } else { (left, right) };
    let one_side = if swapped { "left" } else { "right" };
    let mut matches: HashMap<Labels, Vec<&Row>> = HashMap::new();
    for row in &one {
        eval.check()?;
        matches.entry(signature(&node.matching, &row.labels)).or_default().push(row);
    }
    refuse_repeats(eval, matches.iter(), &many, one_side, grid)?;

    let mut answers: Vec<Row> = Vec::new();
    let (mut made, mut label_weight) = (0, 0);
    let mut taken: HashMap<Labels, Vec<bool>> = HashMap::new();
    // Each is let go of when it is done; the last answer of each takes its room.
    for mut row in many {
        eval.check()?;
        let signature = signature(&node.matching, &row.labels);
        let others = matches.get(&signature).map(Vec::as_slice).unwrap_or_default();
        for (number, other) in others.iter().enumerate() {
            eval.check()?;
            let one_to_one = node.matching.group == Group::OneToOne;
            // Of one to one it counts whatever a comparison then leaves out.
            let both = |(ours, theirs): (&Cell, &Cell)| ours.is_some() && theirs.is_some();
            let both_met: Option<Vec<bool>> =
                one_to_one.then(|| row.cells.iter().zip(&other.cells).map(both).collect());
            let is_last = number + 1 == others.len();
            let mut cells = if is_last { std::mem::take(&mut row.cells) } else { row.cells.clone() };
            for (ours, theirs) in cells.iter_mut().zip(&other.cells) {
                let cell = match swapped {
                    true => combined(eval, node, theirs, ours, theirs),
                    false => combined(eval, node, ours, theirs, ours),
                };
                *ours = eval.made(cell, &mut made)?;
            }
            let met = both_met.unwrap_or_else(|| cells.iter().map(Cell::is_some).collect());
            // Pairs that never meet are many more than answers may be: nothing is kept of them.
            if !one_to_one && !met.contains(&true) {
                continue;
            }
            let labels = result_labels(node, &row.labels, &other.labels);
            label_weight += labels.own_weight();
            let drops_name = drops_name(node) || row.drops_name;
            let key = if one_to_one { &signature } else { &labels };
            let taken = taken.entry(key.clone()).or_insert_with(|| vec![false; grid.steps]);
            for (taken, meets) in taken.iter_mut().zip(met) {
                if *taken && meets {
                    let what = match one_to_one {
                        true => "many-to-one matching must be explicit (group_left/group_right)",
                        false => "grouping labels must ensure unique matches",
                    };
                    return Err(Error::Execution(format!("multiple matches for labels {key}: {what}")));
                }
                *taken |= meets;
            }
            if !cells.iter().any(Cell::is_some) {
                continue;
            }
            eval.check_size(1, (answers.len() + 1) * grid.steps + label_weight)?;
            answers.push(Row { labels, drops_name, cells });
        }
    }
    Ok(Column::Vector(join_equal(answers)?))
}

/// Both sides, and what `fill` puts in place of series that one of them lacks.
fn filled(
    eval: &Evaluator<'_>,
    node: &Binary,
    mut left: Vec<Row>,
    mut right: Vec<Row>,
    grid: &Grid,
) -> Result<(Vec<Row>, Vec<Row>), Error> {
    let (mut fill_left, mut fill_right) = (node.matching.fill_left, node.matching.fill_right);
    // As in Prometheus: with `group_right` it goes by "many" and "one".
    if node.matching.group == Group::OneToMany {
        std::mem::swap(&mut fill_left, &mut fill_right);
    }
    let of_left = fill_left.map(|value| missing(eval, node, &right, &left, value, grid));
    let of_right = fill_right.map(|value| missing(eval, node, &left, &right, value, grid));
    left.extend(of_left.transpose()?.unwrap_or_default());
    right.extend(of_right.transpose()?.unwrap_or_default());
    Ok((left, right))
}

/// Rows of `value` for what is in `present` and has no match in `lacking`.
fn missing(
    eval: &Evaluator<'_>,
    node: &Binary,
    present: &[Row],
    lacking: &[Row],
    value: f64,
    grid: &Grid,
) -> Result<Vec<Row>, Error> {
    let seen = |rows: &[Row]| -> Result<HashMap<Labels, Vec<bool>>, Error> {
        let mut seen: HashMap<Labels, Vec<bool>> = HashMap::new();
        for row in rows {
            eval.check()?;
            eval.check_size(seen.len() + 1, grid.steps)?;
            let steps =
                seen.entry(signature(&node.matching, &row.labels)).or_insert_with(|| vec![false; grid.steps]);
            steps.iter_mut().zip(&row.cells).for_each(|(seen, cell)| *seen |= cell.is_some());
        }
        Ok(seen)
    };
    let there = seen(lacking)?;
    let mut rows: Vec<Row> = seen(present)?
        .into_iter()
        .map(|(labels, wanted)| {
            let found = there.get(&labels);
            let has = |step: usize| found.and_then(|steps| steps.get(step)).copied().unwrap_or(false);
            let fill = |(step, wanted): (usize, bool)| match wanted && !has(step) {
                true => Cell::Float(value),
                false => Cell::None,
            };
            Row::new(labels, wanted.into_iter().enumerate().map(fill).collect())
        })
        .collect();
    rows.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(without_empty(rows))
}

/// # Errors
/// When at some step two series of the "one" side share a signature.
fn refuse_repeats<'a>(
    eval: &Evaluator<'_>,
    matches: impl Iterator<Item = (&'a Labels, &'a Vec<&'a Row>)>,
    many: &[Row],
    side: &str,
    grid: &Grid,
) -> Result<(), Error> {
    let mut repeated: Vec<(&Labels, &Vec<&Row>)> = matches.filter(|(_, rows)| rows.len() > 1).collect();
    // The same one is named each time.
    repeated.sort_by(|a, b| a.0.cmp(b.0));
    for (signature, rows) in repeated {
        for step in 0..grid.steps {
            eval.check()?;
            let has_value = |row: &Row| row.cells.get(step).is_some_and(Cell::is_some);
            if rows.iter().filter(|row| has_value(row)).count() > 1 && many.iter().any(has_value) {
                let mut names: Vec<&Labels> =
                    rows.iter().filter(|row| has_value(row)).map(|row| &row.labels).collect();
                names.sort();
                let names: Vec<String> = names.into_iter().take(2).map(all_labels).collect();
                return Err(Error::Execution(format!(
                    "found duplicate series for the match group {} on the {side} hand-side of the operation: \
                     [{}];many-to-many matching not allowed: matching labels must be unique on one side",
                    all_labels(signature),
                    names.join(", ")
                )));
            }
        }
    }
    Ok(())
}

/// The labels with the name among them, as Prometheus' errors show them.
fn all_labels(labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{{}}}", pairs.join(", "))
}

fn result_labels(node: &Binary, many: &Labels, one: &Labels) -> Labels {
    let matching = &node.matching;
    let named = |name: &str| matching.labels.iter().any(|label| label == name);
    let mut labels = many.clone();
    if matching.group == Group::OneToOne {
        labels = labels.filtered(|name| if matching.on { named(name) } else { !named(name) });
    }
    for name in &matching.include {
        labels = with_label(&labels, name, one.get(name).unwrap_or_default());
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::super::cancel::Cancel;
    use super::super::engine::{Engine, Options};
    use super::super::expr::Expr;
    use super::super::memory::MemorySource;
    use super::super::plan;
    use super::*;
    use std::sync::Arc;

    #[test]
    fn every_operator_stops_when_nobody_wants_the_answer() {
        let grid = Grid::instant(0);
        for text in ["a + b", "a and b", "a or b", "a unless b", "a > on (c) group_left b", "a + fill (0) b"]
        {
            let (parsed, cancel) = (Expr::parse(text).unwrap(), Cancel::new());
            let engine = Engine::new(Arc::new(MemorySource::new()), Options::default());
            let engine = engine.with_cancel(cancel.clone());
            let eval = Evaluator::new(&engine, &parsed, plan::load(&engine, &parsed, grid).unwrap(), grid);
            cancel.cancel();
            let Expr::Binary(node) = &parsed.expr else { panic!("{text} is no operator") };
            let rows = || vec![Row::new(Labels::none().clone(), vec![Cell::Float(1.0)])];
            let answer = match node.op.is_set() {
                true => set(&eval, node, rows(), rows(), &grid),
                false => matched(&eval, node, rows(), rows(), &grid),
            };
            assert!(matches!(answer, Err(Error::Cancelled)), "{text}");
            assert!(matches!(scalars(&eval, BinaryOp::Add, &[1.0], &[1.0]), Err(Error::Cancelled)));
        }
    }
}
