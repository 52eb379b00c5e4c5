//! The typed answer of a query, as a caller reads it.
//!
//! Vectors keep the order that the expression gave them (`sort`, `topk`);
//! a matrix is in ascending order of labels. Points are in ascending time.

use super::distribution::Distribution;
use crate::model::Labels;

/// An answer, with what its reader should know beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryResult {
    pub value: Value,
    /// What was left out, and why; each message once.
    pub warnings: Vec<String>,
    /// What may be wrong with the question; each message once.
    pub infos: Vec<String>,
    /// Samples that were read for it, each once.
    pub samples: usize,
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
    /// Time in ms and value; where there is no value, there is no point.
    pub points: Vec<(i64, Number)>,
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
