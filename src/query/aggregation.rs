//! Aggregations: rows are grouped once by their labels, then folded step by
//! step.

use super::column::{Cell, Grid, Row};
use super::error::Error;
use super::eval::Evaluator;
use super::expr::Aggregate;
pub(crate) fn eval(eval: &Evaluator<'_>, node: &Aggregate, grid: &Grid) -> Result<Vec<Row>, Error> {
    let _ = (Cell::None, eval.vector(&node.expr, grid)?);
    Err(Error::execution("not yet"))
}
