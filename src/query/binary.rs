//! Binary operators.
use super::column::{Column, Grid};
use super::error::Error;
use super::eval::Evaluator;
use super::expr::Binary;
pub(crate) fn eval(eval: &Evaluator<'_>, node: &Binary, grid: &Grid) -> Result<Column, Error> {
    let _ = eval.eval(&node.left, grid)?;
    Err(Error::execution("not yet"))
}
