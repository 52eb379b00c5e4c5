//! The typed answer of a query, as a caller reads it.
//!
//! Vectors keep the order that the expression gave them (`sort`, `topk`);
//! a matrix is in ascending order of labels. Points are in ascending time.

use super::column::{Cell, Grid};
use super::distribution::Distribution;
use crate::model::{Labels, Sample};
use std::fmt;

/// An answer, with what its reader should know beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryResult {
    pub value: Value,
    /// What was left out, and why; each message once.
    pub warnings: Vec<String>,
    /// What may be wrong with the question; each message once.
    pub infos: Vec<String>,
    /// Samples that were read for it, each once for each time that its selector was read.
    pub samples: usize,
    /// Most samples and values that were held at a time, in samples of 16 bytes.
    pub peak_samples: usize,
}

impl QueryResult {
    /// Keeps at most `limit` series, and says so when there were more.
    pub fn truncate(&mut self, limit: Option<usize>) {
        let Some(limit) = limit else { return };
        let before = match &self.value {
            Value::Vector(points) => points.len(),
            Value::Matrix(series) => series.len(),
            Value::Scalar(_) | Value::String(_) => return,
        };
        match &mut self.value {
            Value::Vector(points) => points.truncate(limit),
            Value::Matrix(series) => series.truncate(limit),
            Value::Scalar(_) | Value::String(_) => {}
        }
        if before > limit {
            self.warnings.push("results truncated due to limit".into());
        }
    }
}

/// The value of an expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Scalar(ScalarPoint),
    Vector(Vec<VectorPoint>),
    Matrix(Vec<MatrixSeries>),
    String(StringPoint),
}

/// A number and the time it was computed for (ms since the Unix epoch).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScalarPoint {
    pub timestamp_ms: i64,
    pub value: f64,
}

/// A text and the time it was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct StringPoint {
    pub timestamp_ms: i64,
    pub text: String,
}

/// One series of an instant vector.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorPoint {
    pub labels: Labels,
    pub timestamp_ms: i64,
    pub value: Number,
}

/// One series over time.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixSeries {
    pub labels: Labels,
    pub points: MatrixPoints,
}

/// Times in ms and values, ascending; where there is no value, there is no point.
/// What was computed step by step is kept so: a time for each would make half as
/// much again of it.
#[derive(Clone)]
pub struct MatrixPoints(Kept);

#[derive(Clone)]
enum Kept {
    Listed(Vec<(i64, Number)>),
    Steps {
        grid: Grid,
        cells: Vec<Cell>,
        /// How many of them are points.
        points: usize,
    },
}

impl MatrixPoints {
    pub(crate) fn of_steps(grid: Grid, cells: Vec<Cell>) -> Self {
        let points = cells.iter().filter(|cell| cell.is_some()).count();
        MatrixPoints(Kept::Steps { grid, cells, points })
    }

    pub fn len(&self) -> usize {
        match &self.0 {
            Kept::Listed(points) => points.len(),
            Kept::Steps { points, .. } => *points,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The memory that they take, about: without distributions that others share.
    pub fn bytes(&self) -> usize {
        let of_histogram = |histogram: &Distribution| match histogram.is_alone() {
            true => histogram.weight() * size_of::<Sample>(),
            false => 0,
        };
        match &self.0 {
            Kept::Listed(points) => {
                let of_number = |number: &Number| match number {
                    Number::Float(_) => 0,
                    Number::Histogram(histogram) => of_histogram(histogram),
                };
                size_of_val(&points[..]) + points.iter().map(|(_, number)| of_number(number)).sum::<usize>()
            }
            Kept::Steps { cells, .. } => {
                let of_cell = |cell: &Cell| match cell {
                    Cell::Histogram(histogram) => of_histogram(histogram),
                    _ => 0,
                };
                size_of_val(&cells[..]) + cells.iter().map(of_cell).sum::<usize>()
            }
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (i64, Number)> + Clone + '_ {
        let (listed, cells, grid) = match &self.0 {
            Kept::Listed(points) => (&points[..], &[][..], Grid::instant(0)),
            Kept::Steps { grid, cells, .. } => (&[][..], &cells[..], *grid),
        };
        let of_cell = move |(at, cell): (usize, &Cell)| Some((grid.time_ms(at), cell.clone().into_number()?));
        cells.iter().enumerate().filter_map(of_cell).chain(listed.iter().cloned())
    }
}

impl From<Vec<(i64, Number)>> for MatrixPoints {
    fn from(points: Vec<(i64, Number)>) -> Self {
        MatrixPoints(Kept::Listed(points))
    }
}

impl PartialEq for MatrixPoints {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl fmt::Debug for MatrixPoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// What a sample holds: a float, or a distribution (Prometheus' native
/// histogram).
#[derive(Clone, Debug, PartialEq)]
pub enum Number {
    Float(f64),
    Histogram(Distribution),
}

impl Number {
    /// The float; `None` for a histogram.
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Number::Float(value) => Some(*value),
            Number::Histogram(_) => None,
        }
    }
}

impl Value {
    /// What Prometheus calls this kind of value.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Scalar(_) => "scalar",
            Value::Vector(_) => "vector",
            Value::Matrix(_) => "matrix",
            Value::String(_) => "string",
        }
    }

    /// Number of values in it.
    pub fn points(&self) -> usize {
        match self {
            Value::Scalar(_) | Value::String(_) => 1,
            Value::Vector(points) => points.len(),
            Value::Matrix(series) => series.iter().map(|s| s.points.len()).sum(),
        }
    }
}
