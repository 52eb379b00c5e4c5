//! What a query must read: each selector once, for the whole span that its
//! steps, range, offset and enclosing subqueries make of it.

use super::column::Grid;
use super::engine::Engine;
use super::error::Error;
use super::expr::{At, Edges, Expr, Parsed, Selector, Subquery};
use super::function_table::Function;
use super::grain::grains;
use super::source::keep_exact_name;
use super::track::Track;
use crate::model::{Grains, Select, TimeRange};

/// The points of every selector, by its place in [`Parsed::selectors`], each
/// in ascending order of labels.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub selectors: Vec<Vec<Track>>,
    pub warnings: Vec<String>,
    /// How old a value may be: more than usual where only coarse steps are left.
    pub lookback_ms: i64,
    /// The same of what was known at the edges of a range.
    pub edges_lookback_ms: i64,
}

/// What of a selector is needed.
#[derive(Clone, Copy)]
struct Need {
    range: TimeRange,
    grains: Grains,
}

/// When a part of the expression is evaluated, and as whose argument.
#[derive(Clone, Copy)]
struct Times {
    range: TimeRange,
    /// 0: once.
    step_ms: i64,
    function: Option<Function>,
}

/// Reads what `parsed` needs on `grid`.
pub(crate) fn load(engine: &Engine, parsed: &Parsed, grid: Grid) -> Result<Loaded, Error> {
    let mut spans = vec![None; parsed.selectors.len()];
    let lookback_ms = engine.options.lookback_ms;
    let walk = Walk { query: grid, lookback_ms, subquery_step_ms: engine.options.subquery_step_ms };
    let range = TimeRange { start_ms: grid.start_ms, end_ms: grid.end_ms() };
    let times = Times { range, step_ms: if grid.steps > 1 { grid.step_ms } else { 0 }, function: None };
    walk.expr(&parsed.expr, times, &parsed.selectors, &mut spans);
    let mut loaded = Loaded { lookback_ms, edges_lookback_ms: lookback_ms, ..Loaded::default() };
    for (selector, need) in parsed.selectors.iter().zip(&mut spans) {
        let is_plain_range = selector.range_ms.is_some() && selector.edges == Edges::Plain;
        let Some(need) = need.as_mut().filter(|_| !is_plain_range) else { continue };
        let resolution_ms = engine.source.resolution_ms(need.range);
        let more_ms = (resolution_ms - lookback_ms).max(0);
        need.range.start_ms -= more_ms;
        if selector.range_ms.is_none() {
            loaded.lookback_ms = loaded.lookback_ms.max(resolution_ms);
            continue;
        }
        loaded.edges_lookback_ms = loaded.edges_lookback_ms.max(resolution_ms);
        if selector.edges == Edges::Smoothed {
            need.range.end_ms = need.range.end_ms.saturating_add(more_ms);
        }
    }
    let mut points_left = engine.options.max_points;
    for (selector, need) in parsed.selectors.iter().zip(spans) {
        let tracks = match need {
            Some(need) => read(engine, selector, need, points_left, &mut loaded.warnings)?,
            None => Vec::new(),
        };
        points_left = points_left.saturating_sub(tracks.iter().map(Track::weight).sum());
        loaded.selectors.push(tracks);
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
                    *span = Some(Need { range, grains });
                }
            }
            Expr::Subquery(subquery) => {
                let ends = self.shifted(times.range, subquery.at, subquery.offset_ms);
                let grid = subquery_grid(subquery, ends, self.subquery_step_ms);
                let inner = TimeRange { start_ms: grid.start_ms, end_ms: ends.end_ms.max(grid.start_ms) };
                let times = Times { range: inner, step_ms: grid.step_ms, function: None };
                self.expr(&subquery.expr, times, selectors, spans);
            }
            Expr::Negate(inner) | Expr::Paren(inner) => self.expr(inner, times, selectors, spans),
            Expr::Binary(binary) => {
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
                let times = Times { function: Some(call.function), ..times };
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

fn read(
    engine: &Engine,
    selector: &Selector,
    need: Need,
    max_points: usize,
    warnings: &mut Vec<String>,
) -> Result<Vec<Track>, Error> {
    let mut tracks = Vec::new();
    for matchers in &selector.alternatives {
        engine.cancel.check()?;
        let max_series = engine.options.max_series;
        let Need { range, grains } = need;
        let request = Select { matchers, range, step_ms: 0, max_series, max_points };
        let mut found = engine.source.select_at(&request, &grains)?;
        keep_exact_name(matchers, &mut found);
        tracks.extend(found.into_iter().map(Track::new));
    }
    if selector.range_ms.is_some() {
        tracks.iter_mut().for_each(Track::drop_stale);
    }
    tracks.retain(|track| track.points() > 0);
    Ok(united(tracks, selector.alternatives.len() > 1, warnings))
}

/// Makes every label set occur once: the same series found by two alternatives,
/// or a name that was sent as two types.
fn united(mut tracks: Vec<Track>, may_repeat: bool, warnings: &mut Vec<String>) -> Vec<Track> {
    tracks.sort_by(|a, b| a.labels.cmp(&b.labels));
    let mut kept: Vec<Track> = Vec::with_capacity(tracks.len());
    for track in tracks {
        match kept.last_mut().filter(|last| last.labels == track.labels) {
            None => kept.push(track),
            Some(last) if last.floats.is_empty() && track.histograms.is_empty() => {
                last.floats = track.floats;
                last.sketches = track.sketches;
                last.never_resets = track.never_resets;
            }
            Some(last) if last.histograms.is_empty() && track.floats.is_empty() => {
                last.histograms = track.histograms;
                last.windowed = track.windowed;
            }
            Some(last) => {
                let repeated = may_repeat && last.floats == track.floats;
                if !repeated && !last.floats.is_empty() {
                    warnings.push(format!(
                        "{} was received as more than one type; only the latest is used",
                        track.labels
                    ));
                }
                if track.end_ms() > last.end_ms() {
                    *last = track;
                }
            }
        }
    }
    kept
}
