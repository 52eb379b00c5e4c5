//! Functions.
use super::column::{Column, Grid};
use super::error::Error;
use super::eval::Evaluator;
use super::expr::Call;
pub(crate) fn eval(eval: &Evaluator<'_>, call: &Call, grid: &Grid) -> Result<Column, Error> {
    let _ = eval.vector(&call.args[0], grid)?;
    Err(Error::execution("not yet"))
}
