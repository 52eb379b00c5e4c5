//! What a query must read: each selector once, for the whole span that its
//! steps, range, offset and enclosing subqueries make of it.

use super::column::Grid;
use super::engine::Engine;
use super::error::Error;
use super::expr::{At, BinaryOp, Edges, Expr, Parsed, Selector, Subquery};
use super::function_table::Function;
use super::grain::{grains, is_estimate};
use super::input::{Input, Need};
use crate::model::{TimeRange, duration};

/// What every selector reads, by its place in [`Parsed::selectors`].
#[derive(Default)]
pub(crate) struct Loaded<'a> {
    pub selectors: Vec<Input<'a>>,
    pub warnings: Vec<String>,
    pub infos: Vec<String>,
    /// Of each selector, since only coarse steps may be left of what it reads.
    pub lookbacks: Vec<Lookback>,
}

/// How old a value may be, or what was known at the edge of a range.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lookback {
    usual_ms: i64,
    /// As long as the longest step, where that is more.
    pub longest_ms: i64,
    /// Until then there are such steps.
    coarse_until_ms: i64,
}

impl Lookback {
    pub fn usual(usual_ms: i64) -> Self {
        Lookback { usual_ms, longest_ms: usual_ms, coarse_until_ms: i64::MIN }
    }

    /// Whether a value is good at a time, which is not before it.
    #[inline]
    pub fn reaches(&self, value_ms: i64, at_ms: i64) -> bool {
        value_ms > at_ms - self.usual_ms
            || (value_ms <= self.coarse_until_ms && value_ms > at_ms - self.longest_ms)
    }
}

/// When a part of the expression is evaluated, and as whose argument.
#[derive(Clone, Copy)]
struct Times {
    range: TimeRange,
    /// 0: once.
    step_ms: i64,
    function: Option<Function>,
    buckets: Buckets,
}

/// Whether more of a histogram is asked for than its count and sum.
#[derive(Clone, Copy, PartialEq)]
enum Buckets {
    /// It is told as it is.
    Told,
    Ignored,
    Needed,
}

impl Buckets {
    /// The same of an argument of `function`.
    fn within(self, function: Function) -> Self {
        use Function::*;
        match function {
            HistogramQuantile | HistogramQuantiles | HistogramFraction => Buckets::Needed,
            HistogramCount | HistogramSum | HistogramAvg if self == Buckets::Told => Buckets::Ignored,
            _ => self,
        }
    }
}

/// Opens what `parsed` needs on `grid`.
pub(crate) fn load<'a>(engine: &'a Engine, parsed: &'a Parsed, grid: Grid) -> Result<Loaded<'a>, Error> {
    let mut spans = vec![None; parsed.selectors.len()];
    let lookback_ms = engine.options.lookback_ms;
    let walk = Walk { query: grid, lookback_ms, subquery_step_ms: engine.options.subquery_step_ms };
    let range = TimeRange { start_ms: grid.start_ms, end_ms: grid.end_ms() };
    let step_ms = if grid.steps > 1 { grid.step_ms } else { 0 };
    let times = Times { range, step_ms, function: None, buckets: Buckets::Told };
    walk.expr(&parsed.expr, times, &parsed.selectors, &mut spans);
    let lookbacks = vec![Lookback::usual(lookback_ms); spans.len()];
    let mut loaded = Loaded { lookbacks, ..Loaded::default() };
    let lookbacks = loaded.lookbacks.iter_mut();
    for ((selector, need), lookback) in parsed.selectors.iter().zip(&mut spans).zip(lookbacks) {
        let Some(need) = need.as_mut() else { continue };
        let is_plain_range = selector.range_ms.is_some() && selector.edges == Edges::Plain;
        if is_plain_range && need.estimate.is_none() {
            continue;
        }
        let resolution_ms = engine.source.resolution_ms(need.range);
        if let Some(function) = need.estimate.filter(|_| resolution_ms > 0) {
            let step = duration::format_ms(resolution_ms.unsigned_abs());
            loaded.infos.push(format!(
                "{}() estimates: of a part of the time only steps of up to {step} are left, of which the last \
                 value is taken",
                function.name()
            ));
        }
        if is_plain_range {
            continue;
        }
        let more_ms = (resolution_ms - lookback_ms).max(0);
        if more_ms > 0 {
            let coarse_until_ms = engine.source.coarse_until_ms(need.range, lookback_ms);
            *lookback = Lookback { longest_ms: resolution_ms, coarse_until_ms, ..*lookback };
        }
        need.range.start_ms -= more_ms;
        if selector.edges == Edges::Smoothed && selector.range_ms.is_some() {
            need.range.end_ms = need.range.end_ms.saturating_add(more_ms);
        }
    }
    for (selector, need) in parsed.selectors.iter().zip(spans) {
        loaded.selectors.push(Input::open(engine, selector, need, &mut loaded.warnings)?);
    }
    Ok(loaded)
}

/// The time that an `@` modifier means.
pub(crate) fn resolve_at(at: At, query: &Grid) -> i64 {
    match at {
        At::Start => query.start_ms,
        At::End => query.end_ms(),
        At::TimeMs(time_ms) => time_ms,
    }
}

/// The steps at which a subquery evaluates its inside so as to serve all
/// ranges that end within `ends`. They are multiples of its step.
pub(crate) fn subquery_grid(subquery: &Subquery, ends: TimeRange, default_step_ms: i64) -> Grid {
    let step_ms = subquery.step_ms.unwrap_or(default_step_ms).max(1);
    let open_start = ends.start_ms - subquery.range_ms;
    let start_ms = open_start.div_euclid(step_ms) * step_ms + step_ms;
    let steps = if ends.end_ms < start_ms { 0 } else { (ends.end_ms - start_ms) / step_ms + 1 };
    Grid { start_ms, step_ms, steps: usize::try_from(steps).unwrap_or(usize::MAX) }
}

struct Walk {
    query: Grid,
    lookback_ms: i64,
    subquery_step_ms: i64,
}

impl Walk {
    /// Notes the span of every selector below `expr`, which is evaluated from
    /// the start to the end of `range`.
    fn expr(&self, expr: &Expr, times: Times, selectors: &[Selector], spans: &mut [Option<Need>]) {
        match expr {
            Expr::Number(_) | Expr::String(_) => {}
            Expr::Vector(at) | Expr::Matrix(at) => {
                if let (Some(selector), Some(span)) = (selectors.get(*at), spans.get_mut(*at)) {
                    let ends = self.shifted(times.range, selector.at, selector.offset_ms);
                    let mut back_ms = selector.range_ms.unwrap_or(self.lookback_ms);
                    let mut end_ms = ends.end_ms;
                    if selector.edges != Edges::Plain && selector.range_ms.is_some() {
                        back_ms = back_ms.saturating_add(self.lookback_ms);
                    }
                    if selector.edges == Edges::Smoothed {
                        end_ms = end_ms.saturating_add(self.lookback_ms);
                    }
                    // Ranges are open at their start.
                    let range = TimeRange { start_ms: ends.start_ms - back_ms + 1, end_ms };
                    let grains = grains(selector, ends, times.step_ms, times.function, self.lookback_ms);
                    let estimate = times.function.filter(|_| selector.range_ms.is_some());
                    let estimate = estimate.filter(|function| is_estimate(*function));
                    let finds_resets = times.buckets == Buckets::Ignored;
                    *span = Some(Need { range, grains, estimate, finds_resets });
                }
            }
            Expr::Subquery(subquery) => {
                let ends = self.shifted(times.range, subquery.at, subquery.offset_ms);
                let grid = subquery_grid(subquery, ends, self.subquery_step_ms);
                let inner = TimeRange { start_ms: grid.start_ms, end_ms: ends.end_ms.max(grid.start_ms) };
                let (step_ms, buckets) = (grid.step_ms, Buckets::Needed);
                let times = Times { range: inner, step_ms, function: None, buckets };
                self.expr(&subquery.expr, times, selectors, spans);
            }
            Expr::Negate(inner) | Expr::Paren(inner) => self.expr(inner, times, selectors, spans),
            Expr::Binary(binary) => {
                let trims = matches!(binary.op, BinaryOp::TrimUpper | BinaryOp::TrimLower);
                let times = if trims { Times { buckets: Buckets::Needed, ..times } } else { times };
                self.expr(&binary.left, times, selectors, spans);
                self.expr(&binary.right, times, selectors, spans);
            }
            Expr::Aggregate(aggregate) => {
                if let Some(param) = &aggregate.param {
                    self.expr(param, times, selectors, spans);
                }
                self.expr(&aggregate.expr, times, selectors, spans);
            }
            Expr::Call(call) => {
                let buckets = times.buckets.within(call.function);
                let times = Times { function: Some(call.function), buckets, ..times };
                for arg in &call.args {
                    self.expr(arg, times, selectors, spans);
                }
            }
        }
    }

    fn shifted(&self, range: TimeRange, at: Option<At>, offset_ms: i64) -> TimeRange {
        match at {
            Some(at) => {
                let fixed = resolve_at(at, &self.query) - offset_ms;
                TimeRange { start_ms: fixed, end_ms: fixed }
            }
            None => TimeRange { start_ms: range.start_ms - offset_ms, end_ms: range.end_ms - offset_ms },
        }
    }
}
