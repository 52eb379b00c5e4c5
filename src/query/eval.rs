//! Walks the tree: each node gives its value for all steps of a grid.
//!
//! Leaves and ranges are here; operators, aggregations and functions have
//! files of their own. Recursion is bounded by the parser's limits.

use super::aggregation;
use super::annotation::Annotations;
use super::binary;
use super::column::{Cell, Column, Grid, Row};
use super::edges;
use super::engine::Engine;
use super::error::Error;
use super::expr::{At, Edges, Expr, Parsed, Selector, Subquery, ValueType};
use super::function;
use super::input::{Input, Series};
use super::peak::Peak;
use super::plan::{self, Loaded, Lookback};
use super::told::Told;
use super::track::{Passed, Slider, Track};
use crate::model::{Sample, TimeRange, sample};
use crate::workers;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Evaluates one query over what was read for it.
pub(crate) struct Evaluator<'a> {
    engine: &'a Engine,
    parsed: &'a Parsed,
    loaded: Loaded<'a>,
    /// The grid of the query as a whole, for `@ start()` and `@ end()`.
    pub query: Grid,
    /// What to tell beside the answer.
    pub annotations: Annotations,
    /// Values of operands that wait for their others.
    held: AtomicUsize,
    /// Samples that were read.
    samples: AtomicUsize,
    pub peak: Peak,
}

/// A range vector: series, and the range that each step sees of them.
pub(crate) struct Ranged<'a> {
    pub series: Series<'a>,
    pub range_ms: i64,
    /// End of the range at each step; never decreasing.
    pub ends_ms: Vec<i64>,
    pub edges: Edges,
    /// How far from an edge the sample may be that tells what was known there, in
    /// ms.
    pub lookback_ms: i64,
}

impl<'a> Evaluator<'a> {
    pub fn new(engine: &'a Engine, parsed: &'a Parsed, loaded: Loaded<'a>, query: Grid) -> Self {
        let annotations = Annotations::new(parsed.text(), &loaded.warnings, &loaded.infos);
        Evaluator {
            engine,
            parsed,
            loaded,
            query,
            annotations,
            held: AtomicUsize::new(0),
            samples: AtomicUsize::new(0),
            peak: Peak::default(),
        }
    }

    /// Value of `expr` on `grid`; not for range vectors.
    pub fn eval(&self, expr: &Expr, grid: &Grid) -> Result<Column, Error> {
        self.check()?;
        match expr {
            Expr::Number(value) => {
                self.check_size(1, grid.steps)?;
                Ok(Column::Scalar(vec![*value; grid.steps]))
            }
            Expr::String(text) => Ok(Column::String(text.clone())),
            Expr::Vector(at) => Ok(Column::Vector(self.instant(*at, grid, false)?)),
            Expr::Paren(inner) => self.eval(inner, grid),
            Expr::Negate(inner) => self.negate(inner, grid),
            Expr::Binary(node) => binary::eval(self, node, grid),
            Expr::Aggregate(node) => Ok(Column::Vector(aggregation::eval(self, node, grid)?)),
            Expr::Call(call) => function::eval(self, call, grid),
            Expr::Matrix(_) | Expr::Subquery(_) => {
                Err(Error::execution("a range vector needs a function such as rate() around it"))
            }
        }
    }

    /// Rows of an expression whose type is an instant vector.
    pub fn vector(&self, expr: &Expr, grid: &Grid) -> Result<Vec<Row>, Error> {
        match self.eval(expr, grid)? {
            Column::Vector(rows) => Ok(rows),
            _ => Err(wrong_type(expr, ValueType::Vector)),
        }
    }

    /// Numbers of an expression whose type is a scalar, one a step.
    pub fn scalar(&self, expr: &Expr, grid: &Grid) -> Result<Vec<f64>, Error> {
        match self.eval(expr, grid)? {
            Column::Scalar(values) => Ok(values),
            _ => Err(wrong_type(expr, ValueType::Scalar)),
        }
    }

    /// Text of an expression whose type is a string.
    pub fn string<'e>(&self, expr: &'e Expr) -> Result<&'e str, Error> {
        match expr.bare() {
            Expr::String(text) => Ok(text),
            _ => Err(wrong_type(expr, ValueType::String)),
        }
    }

    /// Hands the rows of a vector to `take`, in order and some at a time, as
    /// `map` made them; only those that are being worked on are held, where that
    /// is possible.
    pub fn rows_each<T: Send>(
        &self,
        expr: &Expr,
        grid: &Grid,
        map: impl Fn(Vec<Row>) -> Result<T, Error> + Sync,
        mut take: impl FnMut(T) -> Result<(), Error> + Send,
    ) -> Result<(), Error> {
        match expr.bare() {
            Expr::Vector(at) => {
                let map = |rows: Vec<(Row, &Track)>| map(rows.into_iter().map(|(row, _)| row).collect());
                self.instant_each(*at, grid, false, map, take)
            }
            Expr::Call(call) if function::is_over_ranges(call) => function::each(self, call, grid, map, take),
            _ => take(map(self.vector(expr, grid)?)?),
        }
    }

    /// An instant selector: of each series the latest sample, unless it is too
    /// old or the series ended. With `times`, that sample's time in seconds.
    pub fn instant(&self, at: usize, grid: &Grid, times: bool) -> Result<Vec<Row>, Error> {
        self.check_size(1, grid.steps)?;
        let mut rows = Vec::new();
        let of = |some: Vec<(Row, &Track)>| Ok(some.into_iter().map(|(row, _)| row).collect());
        self.instant_each(at, grid, times, of, |some: Vec<Row>| {
            rows.extend(some);
            self.check_size(rows.len(), grid.steps)
        })?;
        Ok(rows)
    }

    /// As [`Evaluator::instant`], some rows at a time, each with its series.
    fn instant_each<T: Send>(
        &self,
        at: usize,
        grid: &Grid,
        times: bool,
        map: impl Fn(Vec<(Row, &Track)>) -> Result<T, Error> + Sync,
        take: impl FnMut(T) -> Result<(), Error> + Send,
    ) -> Result<(), Error> {
        let (selector, input) = self.selector(at)?;
        let lookback = self.lookback(at);
        let ends_ms = self.ends(selector.at, selector.offset_ms, grid);
        let series = input.series(grid.steps)?;
        let work = |tracks: &[Track]| {
            let mut rows = Vec::with_capacity(tracks.len());
            for track in tracks {
                self.check()?;
                let row = self.instant_row((selector, lookback), track, &ends_ms, times);
                if row.cells.iter().any(Cell::is_some) {
                    rows.push((row, track));
                }
            }
            map(rows)
        };
        self.parts_each(&series, work, take)
    }

    fn instant_row(
        &self,
        (selector, lookback): (&Selector, Lookback),
        track: &Track,
        ends_ms: &[i64],
        times: bool,
    ) -> Row {
        let mut cells: Vec<Cell> = Vec::with_capacity(ends_ms.len());
        if selector.edges == Edges::Smoothed && !times {
            let (annotations, labels) = (&self.annotations, &track.labels);
            let told = Told { annotations, at: selector.start, labels };
            cells.extend(ends_ms.iter().map(|at| edges::smoothed_at(track, *at, lookback.longest_ms, &told)));
            return Row::new(track.labels.clone(), cells);
        }
        if track.histograms.is_empty() {
            let mut passed = Passed::default();
            cells.extend(ends_ms.iter().map(|end_ms| {
                let count = passed.until(&track.floats, *end_ms);
                let last = count.checked_sub(1).and_then(|at| track.floats.get(at));
                let is_of_now = |last: &&Sample| lookback.reaches(last.timestamp_ms, *end_ms);
                match last.filter(is_of_now).filter(|last| !sample::is_stale(last.value)) {
                    None => Cell::None,
                    Some(last) if times => Cell::Float(last.timestamp_ms as f64 / 1000.0),
                    Some(last) => Cell::Float(last.value),
                }
            }));
            return Row::new(track.labels.clone(), cells);
        }
        let mut slider = Slider::new(track);
        for end_ms in ends_ms {
            let window = slider.window(*end_ms, lookback.longest_ms, *end_ms);
            let float = window.floats.last().filter(|s| lookback.reaches(s.timestamp_ms, *end_ms));
            let histogram = window.histograms.last().filter(|(at_ms, _)| lookback.reaches(*at_ms, *end_ms));
            let float_is_later = match (float, histogram) {
                (Some(float), Some((at_ms, _))) => float.timestamp_ms >= *at_ms,
                (Some(_), None) => true,
                (None, _) => false,
            };
            cells.push(match (float, histogram) {
                (Some(float), _) if float_is_later => match sample::is_stale(float.value) {
                    true => Cell::None,
                    false if times => Cell::Float(float.timestamp_ms as f64 / 1000.0),
                    false => Cell::Float(float.value),
                },
                (_, Some((at_ms, histogram))) => match sample::is_stale(histogram.sum()) {
                    true => Cell::None,
                    false if times => Cell::Float(*at_ms as f64 / 1000.0),
                    false => Cell::Histogram(histogram.clone()),
                },
                _ => Cell::None,
            });
        }
        Row::new(track.labels.clone(), cells)
    }

    /// Works on series part by part, on several threads, and hands what comes of
    /// it to `take` in order.
    pub fn parts_each<T: Send>(
        &self,
        series: &Series<'_>,
        work: impl Fn(&[Track]) -> Result<T, Error> + Sync,
        take: impl FnMut(T) -> Result<(), Error> + Send,
    ) -> Result<(), Error> {
        let max_points = self.points_left();
        let part = |number| {
            self.check()?;
            series.with_part(
                number,
                max_points,
                |warning| self.annotations.note(warning),
                |tracks| {
                    if !matches!(series, Series::Made(_)) {
                        self.count_samples(tracks.iter().map(Track::points).sum());
                    }
                    let weight = tracks.iter().map(Track::weight).sum();
                    self.peak.reading(weight, self.held.load(Ordering::Relaxed), || work(tracks))
                },
            )
        };
        workers::in_order(series.parts(), part, take)
    }

    /// How many samples may be read at once, beside what is held.
    pub fn points_left(&self) -> usize {
        self.engine.options.max_points.saturating_sub(self.held.load(Ordering::Relaxed))
    }

    /// A range selector or a subquery.
    pub fn ranged(&self, expr: &Expr, grid: &Grid) -> Result<Ranged<'a>, Error> {
        match expr.bare() {
            Expr::Matrix(at) => {
                let (selector, input) = self.selector(*at)?;
                Ok(Ranged {
                    series: input.series(grid.steps)?,
                    range_ms: selector.range_ms.unwrap_or_default(),
                    ends_ms: self.ends(selector.at, selector.offset_ms, grid),
                    edges: selector.edges,
                    lookback_ms: self.lookback(*at).longest_ms,
                })
            }
            Expr::Subquery(subquery) => self.subquery(subquery, grid),
            _ => Err(wrong_type(expr, ValueType::Matrix)),
        }
    }

    /// The raw points of a range vector at the only step of `grid`.
    pub fn matrix(&self, expr: &Expr, grid: &Grid) -> Result<Vec<Track>, Error> {
        let ranged = self.ranged(expr, grid)?;
        let end_ms = ranged.ends_ms.first().copied().unwrap_or(grid.start_ms);
        let cut = |track: &Track| {
            let window = Slider::new(track).window(end_ms, ranged.range_ms, end_ms);
            Track {
                labels: track.labels.clone(),
                floats: window.floats.to_vec(),
                histograms: window.histograms.to_vec(),
                ..Track::default()
            }
        };
        let (mut all, mut weight) = (Vec::new(), 0);
        let work = |tracks: &[Track]| Ok(tracks.iter().map(cut).collect::<Vec<Track>>());
        self.parts_each(&ranged.series, work, |tracks| {
            weight += tracks.iter().map(Track::weight).sum::<usize>();
            all.extend(tracks);
            self.check_size(1, weight)
        })?;
        Ok(all)
    }

    /// The selector that `expr` is, if it is one.
    pub fn as_selector(&self, expr: &Expr) -> Option<&'a Selector> {
        match expr.bare() {
            Expr::Vector(at) | Expr::Matrix(at) => self.parsed.selectors.get(*at),
            _ => None,
        }
    }

    /// Counts samples as read.
    pub fn count_samples(&self, many: usize) {
        self.samples.fetch_add(many, Ordering::Relaxed);
    }

    /// How many samples were read so far, those of subqueries among them.
    pub fn samples(&self) -> usize {
        self.samples.load(Ordering::Relaxed)
    }

    /// Stops when nobody wants the answer any more.
    pub fn check(&self) -> Result<(), Error> {
        self.engine.cancel.check()
    }

    /// Runs `work` while `column` is kept: its values count against the limit
    /// of what is computed, so that no nesting of operators multiplies it.
    pub fn holding<T>(&self, column: &Column, work: impl FnOnce() -> T) -> T {
        self.within(|| {
            self.hold(match column {
                Column::Scalar(values) => values.len(),
                Column::Vector(rows) => {
                    let weight = |row: &Row| row.cells.iter().map(weight_of_made).sum::<usize>();
                    rows.iter().map(|row| row.labels.own_weight() + weight(row)).sum()
                }
                Column::String(_) => 0,
            });
            work()
        })
    }

    /// Counts values as kept until the end of the [`Evaluator::within`] around.
    pub fn hold(&self, values: usize) {
        self.held.fetch_add(values, Ordering::Relaxed);
    }

    /// Runs `work`; what it held is free again after it.
    pub fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = self.held.load(Ordering::Relaxed);
        let result = work();
        self.held.store(before, Ordering::Relaxed);
        result
    }

    /// Passes on a cell that was made for a result, in which `made` counts the
    /// values so far: over ranges that overlap, distributions may take far more
    /// than what was read.
    pub fn made(&self, cell: Cell, made: &mut usize) -> Result<Cell, Error> {
        if let Cell::Histogram(_) = cell {
            *made = made.saturating_add(weight_of_made(&cell));
            self.check_size(1, *made)?;
        }
        Ok(cell)
    }

    /// As [`Evaluator::made`], of what several threads make.
    #[inline]
    pub fn made_by_many(&self, cell: Cell, made: &AtomicUsize) -> Result<Cell, Error> {
        let weight = histogram_weight(&cell);
        if weight > 0 {
            let before = made.fetch_add(weight, Ordering::Relaxed);
            self.check_size(1, before.saturating_add(weight))?;
        }
        Ok(cell)
    }

    /// Refuses to compute more values than the limits allow, beside those that
    /// are held.
    pub fn check_size(&self, rows: usize, steps: usize) -> Result<(), Error> {
        let limit = self.engine.options.max_points;
        let held = self.held.load(Ordering::Relaxed);
        let all = rows.max(1).checked_mul(steps).map(|cells| cells.saturating_add(held));
        let all = all.filter(|all| *all <= limit).ok_or(Error::Limit { what: "computed values", limit })?;
        self.peak.note(all);
        Ok(())
    }

    /// How old a value of a selector may be.
    fn lookback(&self, at: usize) -> Lookback {
        let usual = || Lookback::usual(self.engine.options.lookback_ms);
        self.loaded.lookbacks.get(at).copied().unwrap_or_else(usual)
    }

    fn selector(&self, at: usize) -> Result<(&'a Selector, &Input<'a>), Error> {
        match (self.parsed.selectors.get(at), self.loaded.selectors.get(at)) {
            (Some(selector), Some(input)) => Ok((selector, input)),
            _ => Err(Error::execution("the expression names a selector that was not read")),
        }
    }

    /// Where a selector looks at each step.
    fn ends(&self, at: Option<At>, offset_ms: i64, grid: &Grid) -> Vec<i64> {
        let fixed = at.map(|at| plan::resolve_at(at, &self.query));
        (0..grid.steps).map(|step| fixed.unwrap_or_else(|| grid.time_ms(step)) - offset_ms).collect()
    }

    fn subquery(&self, subquery: &Subquery, grid: &Grid) -> Result<Ranged<'a>, Error> {
        let ends_ms = self.ends(subquery.at, subquery.offset_ms, grid);
        let (Some(first), Some(last)) = (ends_ms.first(), ends_ms.last()) else {
            let (series, range_ms) = (Series::Made(Vec::new()), subquery.range_ms);
            return Ok(Ranged { series, range_ms, ends_ms, edges: Edges::Plain, lookback_ms: 0 });
        };
        let ends = TimeRange { start_ms: *first, end_ms: *last };
        let inner = plan::subquery_grid(subquery, ends, self.engine.options.subquery_step_ms);
        self.check_size(1, inner.steps)?;
        let mut tracks: Vec<Track> = Vec::new();
        match subquery.expr.bare() {
            // A plain selector's counters do not reset; of anything else it is not known.
            Expr::Vector(at) => {
                let of = |rows: Vec<(Row, &Track)>| {
                    Ok(rows.into_iter().map(|(row, track)| of_row(row, &inner, Some(track))).collect())
                };
                let mut weight = 0;
                self.instant_each(*at, &inner, false, of, |some: Vec<Track>| {
                    if some.iter().any(|track| track.windowed) {
                        self.annotations.note(
                            "a subquery of a timer may hold a window twice or leave it out; write its range as x[5m]",
                        );
                    }
                    weight += some.iter().map(Track::points).sum::<usize>();
                    tracks.extend(some);
                    self.check_size(1, weight)
                })?;
                tracks.iter_mut().for_each(|track| track.windowed = false);
            }
            expr => {
                let rows = self.vector(expr, &inner)?;
                tracks.extend(rows.into_iter().map(|row| of_row(row, &inner, None)));
            }
        }
        let (series, range_ms) = (Series::Made(tracks), subquery.range_ms);
        Ok(Ranged { series, range_ms, ends_ms, edges: Edges::Plain, lookback_ms: 0 })
    }

    fn negate(&self, inner: &Expr, grid: &Grid) -> Result<Column, Error> {
        match self.eval(inner, grid)? {
            Column::Scalar(mut values) => {
                values.iter_mut().for_each(|value| *value = -*value);
                Ok(Column::Scalar(values))
            }
            Column::Vector(mut rows) => {
                for row in &mut rows {
                    row.drops_name = true;
                    for cell in &mut row.cells {
                        *cell = match std::mem::take(cell) {
                            Cell::Float(value) => Cell::Float(-value),
                            Cell::Histogram(histogram) => {
                                Cell::Histogram(histogram.scaled(-1.0).into_gauge())
                            }
                            Cell::None => Cell::None,
                        };
                    }
                }
                Ok(Column::Vector(rows))
            }
            Column::String(_) => Err(wrong_type(inner, ValueType::Vector)),
        }
    }
}

/// A row as the series that a subquery makes of it; `of` is what it was read
/// from, if it is no more than that.
fn of_row(row: Row, grid: &Grid, of: Option<&Track>) -> Track {
    let mut track = Track {
        never_resets: of.is_some_and(|track| track.never_resets),
        windowed: of.is_some_and(|track| track.windowed && !track.histograms.is_empty()),
        labels: row.labels,
        drops_name: row.drops_name,
        ..Track::default()
    };
    for (step, cell) in row.cells.into_iter().enumerate() {
        let timestamp_ms = grid.time_ms(step);
        match cell {
            Cell::None => {}
            Cell::Float(value) => track.floats.push(Sample { timestamp_ms, value }),
            // Between steps there may be other samples, or none.
            Cell::Histogram(histogram) => track.histograms.push((timestamp_ms, histogram.unhinted())),
        }
    }
    track
}

/// How many plain values would take a cell's memory; a distribution that
/// others share takes none of its own.
fn weight_of_made(cell: &Cell) -> usize {
    match cell {
        Cell::Histogram(histogram) if histogram.is_alone() => histogram.weight(),
        _ => 1,
    }
}

/// The same of distributions alone.
#[inline]
pub(crate) fn histogram_weight(cell: &Cell) -> usize {
    match cell {
        Cell::Histogram(_) => weight_of_made(cell),
        _ => 0,
    }
}

fn wrong_type(expr: &Expr, wanted: ValueType) -> Error {
    Error::Execution(format!(
        "expected a {} where the expression has a {}",
        wanted.as_str(),
        expr.value_type().as_str()
    ))
}
