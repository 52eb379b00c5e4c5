//! What the evaluator computes with: values of a whole series for all steps at
//! once. A label set is then worked out once a series, not once a step.

use super::distribution::Distribution;
use super::error::Error;
use super::value::Number;
use crate::model::Labels;
use crate::model::label::NAME;
use std::collections::HashMap;

/// The steps of an evaluation: `steps` times, `step_ms` apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    pub start_ms: i64,
    pub step_ms: i64,
    pub steps: usize,
}

impl Grid {
    pub fn instant(at_ms: i64) -> Self {
        Grid { start_ms: at_ms, step_ms: 0, steps: 1 }
    }

    /// Time of step `at`, in ms.
    pub fn time_ms(&self, at: usize) -> i64 {
        self.start_ms.saturating_add(self.step_ms.saturating_mul(at as i64))
    }

    pub fn end_ms(&self) -> i64 {
        self.time_ms(self.steps.saturating_sub(1))
    }
}

/// The value of a series at one step.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Cell {
    #[default]
    None,
    Float(f64),
    Histogram(Distribution),
}

impl Cell {
    pub fn is_some(&self) -> bool {
        !matches!(self, Cell::None)
    }

    pub fn histogram(histogram: impl Into<Distribution>) -> Self {
        Cell::Histogram(histogram.into())
    }

    pub fn into_number(self) -> Option<Number> {
        match self {
            Cell::None => None,
            Cell::Float(value) => Some(Number::Float(value)),
            Cell::Histogram(histogram) => Some(Number::Histogram(histogram)),
        }
    }
}

/// A series: its labels, and a cell for each step.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub labels: Labels,
    /// The name is there for those who ask for it (`by (__name__)`,
    /// `label_replace`), but is no part of the answer: what was computed from a
    /// series is another.
    pub drops_name: bool,
    pub cells: Vec<Cell>,
}

impl Row {
    /// A row whose labels are all meant.
    pub fn new(labels: Labels, cells: Vec<Cell>) -> Self {
        Row { labels, drops_name: false, cells }
    }
}

/// Whether the label tells which metric it is: its name, and what Prometheus
/// keeps of its type and unit.
pub(crate) fn is_identity(label: &str) -> bool {
    matches!(label, NAME | "__type__" | "__unit__")
}

/// Takes out the names that are no part of the answer.
///
/// # Errors
/// When two rows become one.
pub(crate) fn finished(mut rows: Vec<Row>) -> Result<Vec<Row>, Error> {
    for row in &mut rows {
        if row.drops_name {
            row.labels = row.labels.filtered(|name| !is_identity(name));
            row.drops_name = false;
        }
    }
    join_equal(rows)
}

/// The value of a node for all steps.
#[derive(Clone, Debug)]
pub(crate) enum Column {
    /// A number for each step.
    Scalar(Vec<f64>),
    Vector(Vec<Row>),
    String(String),
}

/// Rows with labels changed by their maker, so that two may have become one:
/// they are joined where they complement each other.
///
/// # Errors
/// When two of them have a value at the same step: no vector may hold the same
/// labels twice.
pub(crate) fn join_equal(rows: Vec<Row>) -> Result<Vec<Row>, Error> {
    // A name that is dropped and one that stays are two.
    let mut places: HashMap<(Labels, bool), usize> = HashMap::with_capacity(rows.len());
    let mut joined: Vec<Row> = Vec::with_capacity(rows.len());
    for row in rows {
        match places.get(&(row.labels.clone(), row.drops_name)).and_then(|at| joined.get_mut(*at)) {
            None => {
                places.insert((row.labels.clone(), row.drops_name), joined.len());
                joined.push(row);
            }
            Some(kept) => {
                for (ours, theirs) in kept.cells.iter_mut().zip(row.cells) {
                    match (ours.is_some(), theirs.is_some()) {
                        (true, true) => {
                            return Err(Error::Execution(format!(
                                "vector cannot contain metrics with the same labelset: {} is there more than \
                                 once; keep them apart with by or without",
                                kept.labels
                            )));
                        }
                        (false, true) => *ours = theirs,
                        _ => {}
                    }
                }
            }
        }
    }
    Ok(joined)
}

/// Rows that have a value at some step.
pub(crate) fn without_empty(mut rows: Vec<Row>) -> Vec<Row> {
    rows.retain(|row| row.cells.iter().any(Cell::is_some));
    rows
}
