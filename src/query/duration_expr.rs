//! Durations that are computed: `[step() * 2]`, `offset (1h + 30m)`.
//!
//! Plain ones are folded to numbers when they are read; what depends on the
//! query's times is resolved once, before the evaluation.

use super::column::Grid;
use super::error::Error;
use super::expr::{Computed, Expr, Parsed};
use std::borrow::Cow;

/// Longest range, offset or step, in ms: as many nanoseconds as 64 bits hold.
const MAX_SPAN_MS: i64 = i64::MAX / 1_000_000;
/// Farthest time of `@` from the epoch, in ms.
pub(crate) const MAX_TIME_MS: i64 = i64::MAX / 1024;

/// An expression whose value is a duration in seconds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum DurationExpr {
    Number(f64),
    /// The query's step; 0 for an instant query.
    Step,
    /// The query's end less its start.
    Range,
    Negate(Box<DurationExpr>),
    /// Two of them, and one of `+ - * / % ^`, `<` for the smaller of them or
    /// `>` for the larger.
    Both(char, Box<DurationExpr>, Box<DurationExpr>),
}

impl DurationExpr {
    /// Whether it depends on the query's times.
    pub fn is_open(&self) -> bool {
        match self {
            DurationExpr::Number(_) => false,
            DurationExpr::Step | DurationExpr::Range => true,
            DurationExpr::Negate(inner) => inner.is_open(),
            DurationExpr::Both(_, left, right) => left.is_open() || right.is_open(),
        }
    }

    /// Its value in seconds.
    ///
    /// # Errors
    /// A division by zero.
    pub fn seconds(&self, query: &Grid) -> Result<f64, String> {
        Ok(match self {
            DurationExpr::Number(seconds) => *seconds,
            DurationExpr::Step => query.step_ms as f64 / 1000.0,
            DurationExpr::Range => (query.end_ms() - query.start_ms) as f64 / 1000.0,
            DurationExpr::Negate(inner) => -inner.seconds(query)?,
            DurationExpr::Both(op, left, right) => {
                let (left, right) = (left.seconds(query)?, right.seconds(query)?);
                match op {
                    '+' => left + right,
                    '-' => left - right,
                    '*' => left * right,
                    '/' if right == 0.0 => return Err("division by zero".into()),
                    '%' if right == 0.0 => return Err("modulo by zero".into()),
                    '/' => left / right,
                    '%' => left % right,
                    '<' => left.min(right),
                    '>' => left.max(right),
                    _ => left.powf(right),
                }
            }
        })
    }
}

/// Milliseconds of a computed duration.
pub(crate) fn whole_ms(seconds: f64, positive: bool) -> Result<i64, String> {
    let ms = seconds * 1000.0;
    if ms.is_nan() || ms.abs() > MAX_SPAN_MS as f64 {
        return Err("duration out of range".into());
    }
    if positive && ms < 1.0 {
        return Err("duration must be greater than 0".into());
    }
    Ok(ms.round() as i64)
}

/// The expression with all its durations as numbers, for a query over `query`.
pub(crate) fn resolved<'a>(parsed: &'a Parsed, query: &Grid) -> Result<Cow<'a, Parsed>, Error> {
    if !parsed.has_open_durations {
        return Ok(Cow::Borrowed(parsed));
    }
    let mut parsed = parsed.clone();
    for selector in &mut parsed.selectors {
        let mut unused = None;
        resolve(&selector.computed, query, &mut selector.range_ms, &mut unused, &mut selector.offset_ms)?;
    }
    visit(&mut parsed.expr, query)?;
    Ok(Cow::Owned(parsed))
}

fn resolve(
    computed: &Computed,
    query: &Grid,
    range_ms: &mut Option<i64>,
    step_ms: &mut Option<i64>,
    offset_ms: &mut i64,
) -> Result<(), Error> {
    let ms = |expr: &DurationExpr, positive| {
        expr.seconds(query).and_then(|seconds| whole_ms(seconds, positive)).map_err(Error::Range)
    };
    if let Some(expr) = &computed.range {
        *range_ms = Some(ms(expr, true)?);
    }
    if let Some(expr) = &computed.step {
        *step_ms = Some(ms(expr, true)?);
    }
    if let Some(expr) = &computed.offset {
        *offset_ms = ms(expr, false)?;
    }
    Ok(())
}

fn visit(expr: &mut Expr, query: &Grid) -> Result<(), Error> {
    match expr {
        Expr::Number(_) | Expr::String(_) | Expr::Vector(_) | Expr::Matrix(_) => Ok(()),
        Expr::Negate(inner) | Expr::Paren(inner) => visit(inner, query),
        Expr::Binary(binary) => {
            visit(&mut binary.left, query)?;
            visit(&mut binary.right, query)
        }
        Expr::Aggregate(aggregate) => {
            if let Some(param) = &mut aggregate.param {
                visit(param, query)?;
            }
            visit(&mut aggregate.expr, query)
        }
        Expr::Call(call) => call.args.iter_mut().try_for_each(|arg| visit(arg, query)),
        Expr::Subquery(subquery) => {
            let mut range_ms = Some(subquery.range_ms);
            resolve(
                &subquery.computed,
                query,
                &mut range_ms,
                &mut subquery.step_ms,
                &mut subquery.offset_ms,
            )?;
            subquery.range_ms = range_ms.unwrap_or(subquery.range_ms);
            visit(&mut subquery.expr, query)
        }
    }
}
