//! The engine: takes an expression and times, gives a typed answer.
//!
//! Cheap to clone. Knows no clock: times are passed in, and who wants a
//! deadline passes a [`Cancel`] and pulls it.

use super::cancel::Cancel;
use super::column::{Cell, Column, Grid, Row, finished, is_identity, without_empty};
use super::duration_expr;
use super::error::Error;
use super::eval::Evaluator;
use super::expr::{Expr, Parsed, ValueType};
use super::plan;
use super::source::Source;
use super::track::Track;
use super::value::{
    MatrixPoints, MatrixSeries, Number, QueryResult, ScalarPoint, StringPoint, Value, VectorPoint,
};
use std::sync::Arc;
use std::time::Duration;

/// Bounds of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Most series that one selector may find.
    pub max_series: usize,
    /// Most samples that one query may read, and most values that it may hold
    /// while it computes a part. A distribution or a sketch counts for as many
    /// as would take its memory.
    pub max_points: usize,
    /// Most steps of a range query from its start to its end, as Prometheus
    /// counts them: there is one value more.
    pub max_steps: usize,
    /// How long the caller should let a query run before it pulls its
    /// [`Cancel`]; the engine itself has no clock.
    pub timeout: Duration,
    /// How old the latest sample of a series may be to count as its value.
    pub lookback_ms: i64,
    /// Step of a subquery that names none.
    pub subquery_step_ms: i64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            max_series: 100_000,
            max_points: 20_000_000,
            max_steps: 11_000,
            timeout: Duration::from_secs(60),
            lookback_ms: 300_000,
            subquery_step_ms: 60_000,
        }
    }
}

/// Evaluates PromQL over a [`Source`].
#[derive(Clone)]
pub struct Engine {
    pub(super) source: Arc<dyn Source>,
    pub(super) options: Options,
    pub(super) cancel: Cancel,
}

impl Engine {
    pub fn new(source: Arc<dyn Source>, options: Options) -> Self {
        Engine { source, options, cancel: Cancel::default() }
    }

    /// The same engine, whose evaluations stop when `cancel` is pulled.
    #[must_use]
    pub fn with_cancel(&self, cancel: Cancel) -> Self {
        Engine { cancel, ..self.clone() }
    }

    /// The same engine with another [`Options::max_points`].
    #[must_use]
    pub fn with_max_points(mut self, max_points: usize) -> Self {
        self.options.max_points = max_points;
        self
    }

    /// The same engine with another [`Options::lookback_ms`].
    #[must_use]
    pub fn with_lookback(mut self, lookback_ms: i64) -> Self {
        self.options.lookback_ms = lookback_ms;
        self
    }

    pub fn options(&self) -> &Options {
        &self.options
    }

    /// # Errors
    /// When the [`Cancel`] of this engine was pulled.
    pub fn check_cancelled(&self) -> Result<(), Error> {
        self.cancel.check()
    }

    /// Where the engine reads from.
    pub fn source(&self) -> &dyn Source {
        &*self.source
    }

    /// Value of `expr` at one time (ms since the Unix epoch).
    pub fn instant(&self, expr: &str, at_ms: i64) -> Result<QueryResult, Error> {
        self.instant_parsed(&Expr::parse(expr)?, at_ms)
    }

    /// As [`Engine::instant`], of an expression that was parsed before.
    pub fn instant_parsed(&self, parsed: &Parsed, at_ms: i64) -> Result<QueryResult, Error> {
        check_time(at_ms)?;
        let grid = Grid::instant(at_ms);
        let parsed = &*duration_expr::resolved(parsed, &grid)?;
        let loaded = plan::load(self, parsed, grid)?;
        let evaluator = Evaluator::new(self, parsed, loaded, grid);
        let value = match parsed.value_type() {
            ValueType::Matrix => Value::Matrix(matrix_of(evaluator.matrix(&parsed.expr, &grid)?)?),
            _ => match evaluator.eval(&parsed.expr, &grid)? {
                Column::Scalar(values) => Value::Scalar(ScalarPoint {
                    timestamp_ms: at_ms,
                    value: values.first().copied().unwrap_or(f64::NAN),
                }),
                Column::String(text) => Value::String(StringPoint { timestamp_ms: at_ms, text }),
                Column::Vector(rows) => Value::Vector(
                    finished(rows)?
                        .into_iter()
                        .filter_map(|row| {
                            let value = row.cells.into_iter().next()?.into_number()?;
                            Some(VectorPoint { labels: row.labels, timestamp_ms: at_ms, value })
                        })
                        .collect(),
                ),
            },
        };
        let (samples, peak_samples) = (evaluator.samples(), evaluator.peak.most());
        let (warnings, infos) = evaluator.annotations.into_lists();
        Ok(QueryResult { value, warnings, infos, samples, peak_samples })
    }

    /// Values of `expr` from `start_ms` to `end_ms`, both included, every
    /// `step_ms`. The value is always a [`Value::Matrix`].
    pub fn range(&self, expr: &str, start_ms: i64, end_ms: i64, step_ms: i64) -> Result<QueryResult, Error> {
        self.range_parsed(&Expr::parse(expr)?, start_ms, end_ms, step_ms)
    }

    /// As [`Engine::range`], of an expression that was parsed before.
    pub fn range_parsed(
        &self,
        parsed: &Parsed,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
    ) -> Result<QueryResult, Error> {
        let grid = self.grid(start_ms, end_ms, step_ms)?;
        let parsed = &*duration_expr::resolved(parsed, &grid)?;
        let value_type = parsed.value_type();
        if !matches!(value_type, ValueType::Scalar | ValueType::Vector) {
            return Err(Error::Parse(format!(
                "a range query needs a scalar or an instant vector, got a {}",
                value_type.as_str()
            )));
        }
        let loaded = plan::load(self, parsed, grid)?;
        let evaluator = Evaluator::new(self, parsed, loaded, grid);
        let rows = match evaluator.eval(&parsed.expr, &grid)? {
            Column::Scalar(values) => {
                vec![Row::new(Default::default(), values.into_iter().map(Cell::Float).collect())]
            }
            Column::Vector(rows) => finished(without_empty(rows))?,
            Column::String(_) => Vec::new(),
        };
        let of_row = |row: Row| {
            let points = MatrixPoints::of_steps(grid, row.cells);
            MatrixSeries { labels: row.labels, points }
        };
        let mut series: Vec<MatrixSeries> = rows.into_iter().map(of_row).collect();
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        let (samples, peak_samples) = (evaluator.samples(), evaluator.peak.most());
        let (warnings, infos) = evaluator.annotations.into_lists();
        Ok(QueryResult { value: Value::Matrix(series), warnings, infos, samples, peak_samples })
    }

    fn grid(&self, start_ms: i64, end_ms: i64, step_ms: i64) -> Result<Grid, Error> {
        check_time(start_ms)?;
        check_time(end_ms)?;
        if step_ms <= 0 {
            return Err(Error::Range("the step must be greater than 0".into()));
        }
        if end_ms < start_ms {
            return Err(Error::Range("the end must not be before the start".into()));
        }
        let steps = (end_ms - start_ms) / step_ms;
        if steps > self.options.max_steps as i64 {
            return Err(Error::Range(format!(
                "{steps} steps are more than the maximum resolution of {}; widen the step",
                self.options.max_steps
            )));
        }
        Ok(Grid { start_ms, step_ms, steps: steps as usize + 1 })
    }
}

/// Farthest time from the epoch that is computed with: sums of a few of them
/// stay far from the edge of an `i64`.
const MAX_TIME_MS: i64 = i64::MAX / 1024;

fn check_time(at_ms: i64) -> Result<(), Error> {
    match at_ms.unsigned_abs() <= MAX_TIME_MS as u64 {
        true => Ok(()),
        false => Err(Error::Range(format!("time {at_ms} ms is out of range"))),
    }
}

/// Raw points, as a range selector or a subquery at the top gives them.
fn matrix_of(tracks: Vec<Track>) -> Result<Vec<MatrixSeries>, Error> {
    let mut series: Vec<MatrixSeries> = tracks
        .into_iter()
        .map(|track| {
            let floats = track.floats.iter().map(|s| (s.timestamp_ms, Number::Float(s.value)));
            let histograms = track.histograms.iter().map(|(at, h)| (*at, Number::Histogram(h.clone())));
            let mut points: Vec<(i64, Number)> = floats.chain(histograms).collect();
            points.sort_by_key(|(at, _)| *at);
            let labels = match track.drops_name {
                true => track.labels.filtered(|name| !is_identity(name)),
                false => track.labels,
            };
            MatrixSeries { labels, points: points.into() }
        })
        .filter(|series| !series.points.is_empty())
        .collect();
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    match series.windows(2).find(|pair| pair[0].labels == pair[1].labels) {
        Some(pair) => Err(Error::Execution(format!(
            "vector cannot contain metrics with the same labelset: {} is there more than once",
            pair[0].labels
        ))),
        None => Ok(series),
    }
}
