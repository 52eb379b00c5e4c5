//! How coarse the points of a selector may be, so that the answer is the same:
//! every edge that is asked for must be the end of a step.

use super::expr::{Edges, Selector};
use super::function_table::Function;
use crate::model::{GaugePart, Grains, TimeRange};

/// `increase` and `rate` of counters stretch what lies between the first and the
/// last point of a range to its edges: points should be as near to them as this
/// part of the range.
const POINTS_OF_RANGE: i64 = 60;

/// Of a selector that is evaluated at `ends` (each `step_ms`; 0: once) and is the
/// argument of `function`; what was known at an edge is looked for as far back
/// as `lookback_ms`.
pub(super) fn grains(
    selector: &Selector,
    ends: TimeRange,
    step_ms: i64,
    function: Option<Function>,
    lookback_ms: i64,
) -> Grains {
    let edges_ms = gcd(ends.start_ms, step_ms);
    let Some(range_ms) = selector.range_ms else {
        // An instant value of windows is that of the last one, so it is not
        // coarser; one time alone is not worth it.
        let floats_ms = if step_ms > 0 { edges_ms } else { 0 };
        return Grains { counters_ms: floats_ms, gauges_ms: floats_ms, ..Grains::default() };
    };
    let edges_ms = gcd(edges_ms, range_ms);
    // A counter that nobody ended and that goes on within a step has no point
    // between; what it had before must be near enough to be found.
    let near_ms = if selector.edges == Edges::Plain { range_ms / POINTS_OF_RANGE } else { lookback_ms };
    let counters_ms = gcd(edges_ms, near_ms);
    let is_one = selector.edges == Edges::Plain && (step_ms == 0 || ends.start_ms == ends.end_ms);
    let windows_ms = if is_one { Grains::WHOLE } else { edges_ms };
    match function {
        Some(Function::Increase | Function::Rate) => Grains { counters_ms, windows_ms, ..Grains::default() },
        Some(Function::DistinctOverTime) => Grains { windows_ms, ..Grains::default() },
        Some(Function::LastOverTime) => {
            Grains { counters_ms: edges_ms, gauges_ms: edges_ms, ..Grains::default() }
        }
        Some(Function::MinOverTime) => {
            Grains { gauges_ms: edges_ms, gauge: GaugePart::Min, ..Grains::default() }
        }
        Some(Function::MaxOverTime) => {
            Grains { gauges_ms: edges_ms, gauge: GaugePart::Max, ..Grains::default() }
        }
        // Windows weigh the same: of steps it is told how many they are.
        Some(Function::AvgOverTime | Function::SumOverTime | Function::CountOverTime) => {
            Grains { gauges_ms: edges_ms, gauge: GaugePart::Sum, ..Grains::default() }
        }
        _ => Grains::default(),
    }
}

/// Whether the function takes the last value of a step for all of its windows
/// where only steps are left of them.
pub(super) fn is_estimate(function: Function) -> bool {
    use Function::*;
    matches!(function, QuantileOverTime | StddevOverTime | StdvarOverTime | MadOverTime | Changes)
}

pub(super) fn gcd(a: i64, b: i64) -> i64 {
    let (mut a, mut b) = (a.unsigned_abs(), b.unsigned_abs());
    while b > 0 {
        (a, b) = (b, a % b);
    }
    i64::try_from(a).unwrap_or_default()
}
