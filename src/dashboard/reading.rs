//! Numbers of panels and tiles, read from the engine.
//!
//! Counts are differences of running totals, never extrapolated; percentiles
//! come from merged distributions, never averaged. An interval that has only
//! just begun is left out of a rate, unless it is all there is.

use super::calendar::{Calendar, Day};
use super::catalogue::MAX_SERIES;
use super::chart::{Bar, BarChart, Grid, Line, LineChart, MAX_LINES};
use super::day_totals::DayTotals;
use super::number::{self, Unit};
use super::range::Span;
use super::steps::{coarsened, told_rates, width_of};
use super::telling::Telling;
use super::view::{Selection, Show};
use crate::model::{
    Histogram, Marker, Matcher, MetricType, Points, Sample, Select, Series, SeriesKey, Sketch, TimeRange,
    sample, sketch,
};
use crate::query::{Engine, Error, Number, Value};
use std::collections::BTreeSet;
use std::sync::Arc;

/// When and how finely to read.
#[derive(Clone)]
pub struct Reader {
    pub engine: Engine,
    pub calendar: Calendar,
    /// What the page shows.
    pub span: Span,
    /// End of the newest flush: later there is no data yet.
    pub newest_ms: i64,
    /// Length of a window, the finest step there is.
    pub window_ms: i64,
    /// Most points of a line.
    pub points: usize,
    /// Days that were read before.
    pub day_totals: Arc<DayTotals>,
    /// What happened in the span, in the order of time.
    pub markers: Arc<[Marker]>,
}

/// Series read to draw a gauge's lines; more is an error that says so.
const MAX_GAUGE_SERIES: usize = 2_000;

impl Reader {
    /// The grid of this reader's charts.
    pub fn grid(&self) -> Grid {
        Grid::covering(self.span.start_ms, self.span.end_ms, self.window_ms, self.points)
    }

    /// The same with fewer points, for tiles.
    #[must_use]
    pub fn coarser(&self, points: usize) -> Self {
        Reader { points, ..self.clone() }
    }

    /// Type of the first series that `matchers` find near the span.
    pub fn type_of(&self, matchers: &[Matcher]) -> Result<Option<MetricType>, Error> {
        let range = TimeRange { start_ms: self.span.start_ms, end_ms: self.span.end_ms };
        let found = self.engine.source().series(matchers, range, MAX_SERIES)?;
        Ok(found.first().map(SeriesKey::seen_as))
    }

    /// Lines of a metric. `unit` is that of its values; what is counted has its own.
    pub fn lines(
        &self,
        selection: &Selection,
        metric_type: MetricType,
        show: &[Show],
        unit: &Unit,
    ) -> Result<LineChart, Error> {
        let defaults = default_show(metric_type);
        let show = if show.is_empty() { defaults } else { show };
        let show = &show[..show.len().min(MAX_LINES)];
        show.iter().try_for_each(|show| check_show(metric_type, *show))?;
        match metric_type {
            MetricType::Timer | MetricType::Histogram => self.distribution_lines(selection, show, unit),
            MetricType::Counter => self.counter_lines(selection, show),
            MetricType::Set => self.set_line(selection),
            MetricType::Gauge | MetricType::Sampled => self.gauge_lines(selection, unit),
        }
    }

    /// Exact counts of `days` local days, today included.
    pub fn bars_per_day(&self, selection: &Selection, days: usize) -> Result<BarChart, Error> {
        let now_ms = self.span.end_ms;
        let days = self.calendar.days(now_ms.saturating_sub(1), days);
        let selector = selection.canonical();
        let known = |day: &Day| self.day_totals.known(&selector, (day.start_ms, day.end_ms), self.newest_ms);
        let mut totals: Vec<Option<f64>> = days.iter().map_while(known).collect();
        let rest = days.get(totals.len()..).unwrap_or_default();
        let mut boundaries: Vec<i64> = rest.iter().map(|day| day.start_ms).collect();
        boundaries.extend(rest.last().map(|day| day.end_ms));
        let read = self.engine.totals(&selection.matchers, &boundaries)?;
        for (day, total) in rest.iter().zip(&read) {
            self.day_totals.keep(&selector, (day.start_ms, day.end_ms), self.newest_ms, *total);
        }
        totals.extend(read);
        let bars = days.iter().zip(totals).map(|(day, value)| Bar {
            start_ms: day.start_ms,
            end_ms: day.end_ms,
            value,
            is_unfinished: day.end_ms > self.newest_ms,
        });
        Ok(BarChart { bars: bars.collect() })
    }

    /// Exact count over `span`; `None` when nothing was counted there.
    pub fn total(&self, selection: &Selection, span: Span) -> Result<Option<f64>, Error> {
        let totals = self.engine.totals(&selection.matchers, &[span.start_ms, span.end_ms])?;
        Ok(totals.into_iter().next().flatten())
    }

    /// One number of a metric over `span`.
    pub fn number(
        &self,
        selection: &Selection,
        metric_type: MetricType,
        show: Show,
        span: Span,
    ) -> Result<Option<f64>, Error> {
        check_show(metric_type, show)?;
        let seconds = (span.end_ms.min(self.newest_ms) - span.start_ms).max(1) as f64 / 1000.0;
        let value = match metric_type {
            MetricType::Timer | MetricType::Histogram => {
                let parts = self.engine.distribution(&selection.matchers, span.start_ms, span.end_ms, 1)?;
                let whole = parts.into_iter().next().unwrap_or_default();
                of_distribution(&whole, show, seconds)
            }
            MetricType::Counter => {
                let total = self.total(selection, span)?.unwrap_or(f64::NAN);
                if show == Show::Rate { total / seconds } else { total }
            }
            MetricType::Set => merged_sketches(&self.sets(selection, span)?),
            MetricType::Gauge | MetricType::Sampled => {
                let at = span.end_ms.min(self.newest_ms);
                let lookback = self.engine.options().lookback_ms;
                let near = Span { start_ms: at - lookback, end_ms: at };
                let series = self.select(selection, near, MetricType::Gauge, 0)?;
                let last = series.iter().map(|s| held(floats(s), at, lookback)).filter(|v| !v.is_nan());
                last.reduce(|a, b| a + b).unwrap_or(f64::NAN)
            }
        };
        Ok(Some(value).filter(|v| !v.is_nan()))
    }

    /// Lines of a PromQL expression.
    pub fn query_lines(&self, expr: &str, unit: &Unit, title: &str) -> Result<LineChart, Error> {
        let grid = self.grid();
        let known_end = self.newest_ms.clamp(grid.start_ms, grid.end_ms());
        let result = self.engine.range(expr, grid.start_ms, known_end, grid.step_ms)?;
        let Value::Matrix(mut series) = result.value else {
            return Err(Error::Range("the expression gives no series over time".into()));
        };
        let found = series.len();
        series.truncate(MAX_LINES);
        let told = Telling::apart(series.iter().map(|series| &series.labels));
        let lines = series.into_iter().map(|series| {
            let mut values = vec![f64::NAN; grid.points];
            for (at_ms, number) in series.points.iter() {
                let at = ((at_ms - grid.start_ms) / grid.step_ms) as usize;
                if let Some(slot) = values.get_mut(at) {
                    *slot = match number {
                        Number::Float(value) => value,
                        Number::Histogram(histogram) => histogram.sum() / histogram.count(),
                    };
                }
            }
            let label = if found == 1 { title.to_owned() } else { told.label(&series.labels) };
            summed_up(label, values)
        });
        let lines = lines.collect();
        Ok(LineChart { grid, unit: unit.clone(), lines, from_zero: false, note: told.note(found) })
    }

    /// Value of a PromQL expression at `at_ms`: a scalar, or the only element
    /// of a vector.
    pub fn query_number(&self, expr: &str, at_ms: i64) -> Result<Option<f64>, Error> {
        let value = match self.engine.instant(expr, at_ms)?.value {
            Value::Scalar(point) => Some(point.value),
            Value::Vector(points) => match points.as_slice() {
                [] => None,
                [only] => Some(match &only.value {
                    Number::Float(value) => *value,
                    Number::Histogram(histogram) => histogram.sum() / histogram.count(),
                }),
                more => {
                    return Err(Error::Execution(format!(
                        "the expression gives {} values where a tile shows one; wrap it in sum() or max()",
                        more.len()
                    )));
                }
            },
            _ => return Err(Error::Execution("a tile needs a number, not a range or a text".into())),
        };
        Ok(value.filter(|v| !v.is_nan()))
    }

    fn distribution_lines(
        &self,
        selection: &Selection,
        show: &[Show],
        unit: &Unit,
    ) -> Result<LineChart, Error> {
        let grid = self.grid();
        let parts = self.engine.distribution(
            &selection.matchers,
            grid.start_ms,
            grid.end_ms().max(grid.start_ms + 1),
            grid.points.saturating_sub(1).max(1),
        )?;
        let parts = self.cut_to_span(selection, &self.edges_ms(&grid), grid.step_ms, parts)?;
        let (grid, parts) = coarsened(grid, parts);
        let edges_ms = self.edges_ms(&grid);
        let mut whole = Histogram::default();
        parts.iter().filter(|part| !part.is_empty()).for_each(|part| whole.merge(part));
        let span_s = width_of(&edges_ms).max(1) as f64 / 1000.0;
        let is_told = told_rates(&edges_ms, grid.step_ms, |at| parts.get(at).is_some_and(|p| !p.is_empty()));
        let lines = show.iter().map(|show| {
            let mut values = vec![f64::NAN];
            values.extend(parts.iter().zip(edges_ms.windows(2)).zip(&is_told).map(
                |((part, edges), is_told)| match show {
                    Show::Rate if !is_told => f64::NAN,
                    show => of_distribution(part, *show, width_of(edges) as f64 / 1000.0),
                },
            ));
            let summary = Some(of_distribution(&whole, *show, span_s)).filter(|v| !v.is_nan());
            Line { label: show.label(), values, summary }
        });
        let unit = match show.first() {
            Some(Show::Rate) => Unit::PerSecond,
            Some(Show::Total) => Unit::Count,
            _ => unit.clone(),
        };
        let values = if whole.count == 1.0 { "value" } else { "values" };
        let note = (!whole.is_empty()).then(|| format!("{} {values}", number::exact(whole.count)));
        Ok(LineChart { grid, unit, lines: lines.collect(), from_zero: true, note })
    }

    fn counter_lines(&self, selection: &Selection, show: &[Show]) -> Result<LineChart, Error> {
        let grid = self.grid();
        let edges_ms = self.edges_ms(&grid);
        let gains = self.engine.gains(&selection.matchers, &edges_ms)?;
        let wants_total = show.first() == Some(&Show::Total);
        let is_told =
            told_rates(&edges_ms, grid.step_ms, |at| gains.get(at).is_some_and(|gain| gain.spread.is_some()));
        let mut values = vec![f64::NAN];
        values.extend(gains.iter().zip(edges_ms.windows(2)).zip(&is_told).map(|((gain, edges), is_told)| {
            let value = match wants_total {
                true => gain.spread,
                false => gain.per_second(width_of(edges)).filter(|_| *is_told),
            };
            value.unwrap_or(f64::NAN)
        }));
        let counted: Option<f64> = gains.iter().filter_map(|gain| gain.counted).reduce(|a, b| a + b);
        let seconds = width_of(&edges_ms).max(1) as f64 / 1000.0;
        let (label, unit, summary) = if wants_total {
            ("total", Unit::Count, counted)
        } else {
            ("rate", Unit::PerSecond, counted.map(|total| total / seconds))
        };
        let line = Line { label: label.into(), values, summary };
        let note = counted.filter(|_| !wants_total).map(|total| format!("{} in all", number::exact(total)));
        Ok(LineChart { grid, unit, lines: vec![line], from_zero: true, note })
    }

    fn set_line(&self, selection: &Selection) -> Result<LineChart, Error> {
        let grid = self.grid();
        let series = self.sets(selection, self.span)?;
        let mut merged: Vec<Option<Sketch>> = vec![None; grid.points];
        for (at_ms, sketch) in series.iter().flat_map(sketches) {
            // A window that ends on a grid point belongs to the step before it.
            let at = (at_ms - grid.start_ms + grid.step_ms - 1) / grid.step_ms;
            if let Some(slot) = usize::try_from(at).ok().and_then(|at| merged.get_mut(at)) {
                slot.get_or_insert_default().merge(sketch);
            }
        }
        let values =
            merged.iter().map(|sketch| sketch.as_ref().map_or(f64::NAN, |s| s.count().round())).collect();
        let summary = Some(merged_sketches(&series)).filter(|v| !v.is_nan());
        let is_estimate = summary.is_some_and(|count| count > sketch::EXACT_MAX as f64);
        let note = is_estimate.then(|| "estimated, ± 1.6 %".to_owned());
        let line = Line { label: "distinct".into(), values, summary };
        Ok(LineChart { grid, unit: Unit::Count, lines: vec![line], from_zero: true, note })
    }

    fn gauge_lines(&self, selection: &Selection, unit: &Unit) -> Result<LineChart, Error> {
        let grid = self.grid();
        let lookback_ms = self.engine.options().lookback_ms;
        let span = Span { start_ms: grid.start_ms - lookback_ms, end_ms: grid.end_ms() };
        let series = self.select(selection, span, MetricType::Gauge, grid.step_ms)?;
        let found = series.len();
        let told = Telling::apart(series.iter().take(MAX_LINES).map(|series| &series.labels));
        let lines: Vec<Line> = series
            .iter()
            .take(MAX_LINES)
            .map(|series| {
                let points = floats(series);
                // Windows repeat a value; what was sampled elsewhere comes when it does.
                let hold_ms = match series.metric_type {
                    Some(_) => lookback_ms.min(grid.step_ms.max(self.window_ms * 3)),
                    None => lookback_ms,
                };
                // Beyond the newest flush a point stands for the step that began before it.
                let values = grid.times_ms().map(|at| {
                    let begun = at - grid.step_ms < self.newest_ms;
                    if at <= self.newest_ms {
                        held(points, at, hold_ms)
                    } else if begun {
                        held(points, self.newest_ms, hold_ms)
                    } else {
                        f64::NAN
                    }
                });
                let label = if found == 1 { "last".to_owned() } else { told.label(&series.labels) };
                summed_up(label, values.collect())
            })
            .collect();
        Ok(LineChart { grid, unit: unit.clone(), lines, from_zero: false, note: told.note(found) })
    }

    /// The ends of the grid's steps, those at the rims cut to what the page
    /// shows and to what is known.
    fn edges_ms(&self, grid: &Grid) -> Vec<i64> {
        let newest = self.newest_ms.max(grid.start_ms);
        let first = self.span.start_ms.min(newest);
        let last = self.span.end_ms.min(newest).max(first);
        grid.times_ms().map(|at| at.clamp(first, last)).collect()
    }

    /// `parts` of whole steps, the first and the last read anew where the page
    /// shows a piece of their step only.
    fn cut_to_span(
        &self,
        selection: &Selection,
        edges_ms: &[i64],
        step_ms: i64,
        mut parts: Vec<Histogram>,
    ) -> Result<Vec<Histogram>, Error> {
        let last = parts.len().saturating_sub(1);
        for at in BTreeSet::from([0, last]) {
            let (Some(edges), Some(part)) = (edges_ms.get(at..at + 2), parts.get_mut(at)) else { continue };
            if part.is_empty() || width_of(edges) == step_ms {
                continue;
            }
            *part = Histogram::default();
            if let [start_ms, end_ms] = *edges
                && start_ms < end_ms
            {
                let read = self.engine.distribution(&selection.matchers, start_ms, end_ms, 1)?;
                *part = read.into_iter().next().unwrap_or_default();
            }
        }
        Ok(parts)
    }

    /// Sets of a span that is open at its start, as coarse as the grid where that
    /// tears no step. A series may be there more than once, with other points.
    fn sets(&self, selection: &Selection, span: Span) -> Result<Vec<Series>, Error> {
        let step_ms = self.grid().step_ms;
        let first_ms = -(-span.start_ms).div_euclid(step_ms) * step_ms;
        let last_ms = span.end_ms.div_euclid(step_ms) * step_ms;
        let pieces = match first_ms < last_ms {
            true => {
                vec![(span.start_ms, first_ms, 0), (first_ms, last_ms, step_ms), (last_ms, span.end_ms, 0)]
            }
            false => vec![(span.start_ms, span.end_ms, 0)],
        };
        let mut found = Vec::new();
        for (start_ms, end_ms, step_ms) in
            pieces.into_iter().filter(|(start_ms, end_ms, _)| start_ms < end_ms)
        {
            let within = Span { start_ms: start_ms + 1, end_ms };
            found.extend(self.select(selection, within, MetricType::Set, step_ms)?);
        }
        Ok(found)
    }

    fn select(
        &self,
        selection: &Selection,
        span: Span,
        wanted: MetricType,
        step_ms: i64,
    ) -> Result<Vec<Series>, Error> {
        let request = Select {
            matchers: &selection.matchers,
            range: TimeRange { start_ms: span.start_ms, end_ms: span.end_ms },
            step_ms,
            max_series: MAX_GAUGE_SERIES,
            max_points: self.engine.options().max_points,
        };
        let mut series = self.engine.source().select(&request)?;
        series.retain(|series| series.seen_as() == wanted);
        Ok(series)
    }
}

/// What is drawn of a metric when nothing is said.
fn default_show(metric_type: MetricType) -> &'static [Show] {
    match metric_type {
        MetricType::Timer | MetricType::Histogram => {
            &[Show::Quantile(0.5), Show::Quantile(0.95), Show::Quantile(1.0)]
        }
        MetricType::Counter => &[Show::Rate],
        MetricType::Gauge | MetricType::Set | MetricType::Sampled => &[Show::Last],
    }
}

/// # Errors
/// When a metric of this type has no such number: another in its place would lie.
fn check_show(metric_type: MetricType, show: Show) -> Result<(), Error> {
    let has = match metric_type {
        MetricType::Timer | MetricType::Histogram => true,
        MetricType::Counter => matches!(show, Show::Total | Show::Rate | Show::Last),
        MetricType::Set => matches!(show, Show::Total | Show::Last),
        MetricType::Gauge | MetricType::Sampled => show == Show::Last,
    };
    let instead = match metric_type {
        MetricType::Counter => "show = \"total\" or \"rate\"",
        _ => "show = \"last\", or a query such as max_over_time(…)",
    };
    match has {
        true => Ok(()),
        false => Err(Error::Execution(format!("a {metric_type} has no {}; write {instead}", show.label()))),
    }
}

fn of_distribution(histogram: &Histogram, show: Show, seconds: f64) -> f64 {
    if histogram.is_empty() {
        return f64::NAN;
    }
    match show {
        Show::Quantile(q) => histogram.quantile(q),
        Show::Mean | Show::Last => histogram.mean(),
        Show::Total => histogram.count,
        Show::Rate => histogram.count / seconds,
    }
}

fn merged_sketches(series: &[Series]) -> f64 {
    let mut whole: Option<Sketch> = None;
    for (_, sketch) in series.iter().flat_map(sketches) {
        whole.get_or_insert_default().merge(sketch);
    }
    // An estimate's fraction says nothing.
    whole.map_or(f64::NAN, |sketch| sketch.count().round())
}

fn floats(series: &Series) -> &[Sample] {
    match &series.points {
        Points::Floats(points) => points,
        _ => &[],
    }
}

fn sketches(series: &Series) -> &[(i64, Sketch)] {
    match &series.points {
        Points::Sketches(points) => points,
        _ => &[],
    }
}

/// The newest value at `at_ms`, if it is not older than `hold_ms` and the
/// series had not ended.
fn held(points: &[Sample], at_ms: i64, hold_ms: i64) -> f64 {
    let after = points.partition_point(|point| point.timestamp_ms <= at_ms);
    match after.checked_sub(1).and_then(|at| points.get(at)) {
        Some(point) if point.timestamp_ms > at_ms - hold_ms && !sample::is_stale(point.value) => point.value,
        _ => f64::NAN,
    }
}

fn summed_up(label: String, values: Vec<f64>) -> Line {
    let mut line = Line { label, values, summary: None };
    line.summary = line.last();
    line
}
