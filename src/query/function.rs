//! Functions: each call's arguments are evaluated, then its work is done row by
//! row. What works on numbers, windows, labels and histograms has files of its
//! own; this one knows which is which.

use super::column::{Cell, Column, Grid, Row, without_empty};
use super::edges::Range as Around;
use super::error::Error;
use super::eval::{Evaluator, Ranged, histogram_weight};
use super::expr::{Call, Edges, Expr, Selector, ValueType};
use super::function_table::Function;
use super::histogram_function::{self, Asked, Question};
use super::info;
use super::label_function;
use super::math;
use super::over_time;
use super::rate::{Gains, Kind};
use super::sliding;
use super::told::Told;
use super::track::{Slider, Track, Window};
use crate::model::Labels;
use std::cmp;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Value of a call on `grid`.
pub(crate) fn eval(eval: &Evaluator<'_>, call: &Call, grid: &Grid) -> Result<Column, Error> {
    eval.within(|| value(eval, call, grid))
}

fn value(eval: &Evaluator<'_>, call: &Call, grid: &Grid) -> Result<Column, Error> {
    use Function::*;
    let args = Args { eval, call, grid };
    if grid.steps > 1 && matches!(call.function, Sort | SortDesc | SortByLabel | SortByLabelDesc) {
        let message = "sort is ineffective for range queries since results are always ordered by labels";
        eval.annotations.warn(call.start, message);
    }
    if let Some(map) = math::unary(call.function) {
        return mapped(args.vector(0)?, |_, value| map(value));
    }
    if let Some(map) = math::calendar(call.function) {
        return mapped(args.vector_or_time(0)?, |_, value| map(value));
    }
    match call.function {
        Time => Ok(Column::Scalar((0..grid.steps).map(|step| grid.time_ms(step) as f64 / 1000.0).collect())),
        Pi => Ok(Column::Scalar(vec![std::f64::consts::PI; grid.steps])),
        Start => Ok(Column::Scalar(vec![eval.query.start_ms as f64 / 1000.0; grid.steps])),
        End => Ok(Column::Scalar(vec![eval.query.end_ms() as f64 / 1000.0; grid.steps])),
        Step => Ok(Column::Scalar(vec![eval.query.step_ms as f64 / 1000.0; grid.steps])),
        Range => {
            let range_ms = eval.query.end_ms() - eval.query.start_ms;
            Ok(Column::Scalar(vec![range_ms as f64 / 1000.0; grid.steps]))
        }
        MinOf | MaxOf => {
            let (left, right) = (args.scalar(0)?, args.scalar(1)?);
            let better = if call.function == MinOf { math::min } else { math::max };
            Ok(Column::Scalar(left.into_iter().zip(right).map(|(l, r)| better(l, r)).collect()))
        }
        // Where no start times are kept, as in Prometheus without its flag.
        StartTimestamp => Ok(Column::Vector(Vec::new())),
        Info => info::eval(eval, call, grid),
        Vector => Ok(Column::Vector(vec![row_of(args.scalar(0)?)])),
        Scalar => args.vector(0).map(|rows| Column::Scalar(only_value(&rows, grid))),
        Timestamp => timestamp(&args),
        Absent => Ok(Column::Vector(absent(&args.vector(0)?, args.selector(0), grid))),
        AbsentOverTime => absent_over_time(&args),

        Round => {
            let units = if call.args.len() > 1 { args.scalar(1)? } else { vec![1.0; grid.steps] };
            mapped(args.vector(0)?, |step, value| math::round(value, at(&units, step)))
        }
        ClampMin => {
            let bounds = args.scalar(1)?;
            mapped(args.vector(0)?, |step, value| math::max(value, at(&bounds, step)))
        }
        ClampMax => {
            let bounds = args.scalar(1)?;
            mapped(args.vector(0)?, |step, value| math::min(value, at(&bounds, step)))
        }
        Clamp => clamp(&args),

        Sort => Ok(Column::Vector(sorted(args.vector(0)?, grid, false))),
        SortDesc => Ok(Column::Vector(sorted(args.vector(0)?, grid, true))),
        SortByLabel => sorted_by_label(&args, false),
        SortByLabelDesc => sorted_by_label(&args, true),
        LabelReplace => {
            let [target, replacement] = [args.string(1)?, args.string(2)?];
            let [source, pattern] = [args.string(3)?, args.string(4)?];
            let rows = args.vector(0)?;
            let rows = label_function::replace(eval, rows, target, replacement, source, pattern)?;
            Ok(Column::Vector(rows))
        }
        LabelJoin => {
            let sources: Vec<&str> =
                (3..call.args.len()).map(|place| args.string(place)).collect::<Result<_, _>>()?;
            let rows = args.vector(0)?;
            Ok(Column::Vector(label_function::join(eval, rows, args.string(1)?, args.string(2)?, &sources)?))
        }

        HistogramCount | HistogramSum | HistogramAvg | HistogramStddev | HistogramStdvar => {
            let mut rows = Vec::new();
            let read = |some| Ok(histogram_function::property(call.function, some));
            eval.rows_each(args.expr(0)?, grid, read, |some: Vec<Row>| {
                rows.extend(some);
                eval.check_size(rows.len(), grid.steps)
            })?;
            Ok(Column::Vector(rows))
        }
        HistogramQuantile => {
            let quantiles = args.scalar(0)?;
            let question = Question::Quantile(quantiles, args.start(0));
            let asked = Asked { eval, grid, at: args.start(1) };
            Ok(Column::Vector(histogram_function::ask_each(&asked, &question, args.expr(1)?)?))
        }
        HistogramQuantiles => {
            let label = args.string(1)?;
            let quantiles: Vec<Question> = (2..call.args.len())
                .map(|place| Ok(Question::Quantile(args.scalar(place)?, args.start(place))))
                .collect::<Result<_, Error>>()?;
            let asked = Asked { eval, grid, at: args.start(0) };
            let rows = args.vector(0)?;
            Ok(Column::Vector(histogram_function::ask_quantiles(&asked, label, &quantiles, &rows)?))
        }
        HistogramFraction => {
            let question = Question::Fraction(args.scalar(0)?, args.scalar(1)?);
            let asked = Asked { eval, grid, at: args.start(2) };
            Ok(Column::Vector(histogram_function::ask_each(&asked, &question, args.expr(2)?)?))
        }
        _ => over_ranges(&args),
    }
}

/// The arguments of a call.
pub(super) struct Args<'e, 'a> {
    pub eval: &'e Evaluator<'a>,
    pub call: &'e Call,
    pub grid: &'e Grid,
}

impl<'e, 'a> Args<'e, 'a> {
    fn expr(&self, place: usize) -> Result<&'e Expr, Error> {
        self.call
            .args
            .get(place)
            .ok_or_else(|| Error::Execution(format!("{} lacks an argument", self.call.function.name())))
    }

    fn vector(&self, place: usize) -> Result<Vec<Row>, Error> {
        self.eval.vector(self.expr(place)?, self.grid)
    }

    /// The first byte of an argument in the query.
    pub fn start(&self, place: usize) -> usize {
        self.call.arg_starts.get(place).copied().unwrap_or_default()
    }

    fn vector_or_time(&self, place: usize) -> Result<Vec<Row>, Error> {
        if place < self.call.args.len() {
            return self.vector(place);
        }
        Ok(vec![row_of((0..self.grid.steps).map(|step| self.grid.time_ms(step) as f64 / 1000.0).collect())])
    }

    fn scalar(&self, place: usize) -> Result<Vec<f64>, Error> {
        let values = self.eval.scalar(self.expr(place)?, self.grid)?;
        // Kept while the other arguments are worked out.
        self.eval.hold(values.len());
        Ok(values)
    }

    fn string(&self, place: usize) -> Result<&'e str, Error> {
        self.eval.string(self.expr(place)?)
    }

    fn selector(&self, place: usize) -> Option<&'a Selector> {
        self.call.args.get(place).and_then(|arg| self.eval.as_selector(arg))
    }
}

fn at(values: &[f64], step: usize) -> f64 {
    values.get(step).copied().unwrap_or(f64::NAN)
}

fn row_of(values: Vec<f64>) -> Row {
    Row::new(Labels::default(), values.into_iter().map(Cell::Float).collect())
}

/// Floats mapped by `map(step, value)`; histograms are left out, and names.
fn mapped(mut rows: Vec<Row>, map: impl Fn(usize, f64) -> f64) -> Result<Column, Error> {
    for row in &mut rows {
        row.drops_name = true;
        for (step, cell) in row.cells.iter_mut().enumerate() {
            *cell = match cell {
                Cell::Float(value) => Cell::Float(map(step, *value)),
                _ => Cell::None,
            };
        }
    }
    Ok(Column::Vector(rows))
}

fn clamp(args: &Args<'_, '_>) -> Result<Column, Error> {
    let (low, high) = (args.scalar(1)?, args.scalar(2)?);
    let mut rows = args.vector(0)?;
    // No value lies within bounds that contradict each other.
    for row in &mut rows {
        for (step, cell) in row.cells.iter_mut().enumerate() {
            if at(&high, step) < at(&low, step) {
                *cell = Cell::None;
            }
        }
    }
    mapped(rows, |step, value| math::max(at(&low, step), math::min(at(&high, step), value)))
}

/// The value of the only float at each step; NaN where there is not one.
fn only_value(rows: &[Row], grid: &Grid) -> Vec<f64> {
    (0..grid.steps)
        .map(|step| {
            let mut floats = rows.iter().filter_map(|row| match row.cells.get(step) {
                Some(Cell::Float(value)) => Some(*value),
                _ => None,
            });
            match (floats.next(), floats.next()) {
                (Some(value), None) => value,
                _ => f64::NAN,
            }
        })
        .collect()
}

/// Of a selector the samples' own times; of anything else the steps' times.
fn timestamp(args: &Args<'_, '_>) -> Result<Column, Error> {
    let mut rows = match args.expr(0)?.bare() {
        Expr::Vector(selector) => args.eval.instant(*selector, args.grid, true)?,
        _ => {
            let mut rows = args.vector(0)?;
            for row in &mut rows {
                for (step, cell) in row.cells.iter_mut().enumerate() {
                    if cell.is_some() {
                        *cell = Cell::Float(args.grid.time_ms(step) as f64 / 1000.0);
                    }
                }
            }
            rows
        }
    };
    rows.iter_mut().for_each(|row| row.drops_name = true);
    Ok(Column::Vector(rows))
}

fn absent(rows: &[Row], selector: Option<&Selector>, grid: &Grid) -> Vec<Row> {
    let mut present = vec![false; grid.steps];
    for row in rows {
        present.iter_mut().zip(&row.cells).for_each(|(seen, cell)| *seen |= cell.is_some());
    }
    vec![absent_row(&present, selector)]
}

fn absent_row(present: &[bool], selector: Option<&Selector>) -> Row {
    let cells = present.iter().map(|seen| if *seen { Cell::None } else { Cell::Float(1.0) });
    Row::new(label_function::of_absent(selector), cells.collect())
}

fn absent_over_time(args: &Args<'_, '_>) -> Result<Column, Error> {
    let ranged = args.eval.ranged(args.expr(0)?, args.grid)?;
    let mut present = vec![false; args.grid.steps];
    let work = |tracks: &[Track]| {
        let mut present = vec![false; args.grid.steps];
        for track in tracks {
            args.eval.check()?;
            let mut slider = Slider::new(track);
            for (seen, end_ms) in present.iter_mut().zip(&ranged.ends_ms) {
                *seen |= !slider.window(*end_ms, ranged.range_ms, *end_ms).is_empty();
            }
        }
        Ok(present)
    };
    args.eval.parts_each(&ranged.series, work, |some| {
        present.iter_mut().zip(some).for_each(|(seen, some)| *seen |= some);
        Ok(())
    })?;
    Ok(Column::Vector(vec![absent_row(&present, args.selector(0))]))
}

/// Whether the call gives a value for each window of each series of a range
/// vector, one series apart from the other.
pub(crate) fn is_over_ranges(call: &Call) -> bool {
    call.function.takes().contains(&ValueType::Matrix) && call.function != Function::AbsentOverTime
}

/// Functions of a range vector: one value for each window of each series.
fn over_ranges(args: &Args<'_, '_>) -> Result<Column, Error> {
    args.eval.check_size(1, args.grid.steps)?;
    let (mut rows, mut kept) = (Vec::new(), 0usize);
    each_row(args, Ok, |some: Vec<Row>| {
        kept += some.iter().flat_map(|row| &row.cells).map(histogram_weight).sum::<usize>();
        rows.extend(some);
        args.eval.check_size(rows.len(), args.grid.steps)?;
        args.eval.check_size(1, kept)
    })?;
    Ok(Column::Vector(rows))
}

/// Hands the rows of such a call to `take` as `map` made them, in order and some
/// at a time.
pub(crate) fn each<T: Send>(
    eval: &Evaluator<'_>,
    call: &Call,
    grid: &Grid,
    map: impl Fn(Vec<Row>) -> Result<T, Error> + Sync,
    take: impl FnMut(T) -> Result<(), Error> + Send,
) -> Result<(), Error> {
    eval.within(|| each_row(&Args { eval, call, grid }, map, take))
}

fn each_row<T: Send>(
    args: &Args<'_, '_>,
    map: impl Fn(Vec<Row>) -> Result<T, Error> + Sync,
    mut take: impl FnMut(T) -> Result<(), Error> + Send,
) -> Result<(), Error> {
    use Function::*;
    let function = args.call.function;
    let (range, scalars): (usize, &[usize]) = match function {
        QuantileOverTime => (1, &[0]),
        PredictLinear => (0, &[1]),
        DoubleExponentialSmoothing => (0, &[1, 2]),
        _ => (0, &[]),
    };
    let params: Vec<Vec<f64>> = scalars.iter().map(|place| args.scalar(*place)).collect::<Result<_, _>>()?;
    if function == DoubleExponentialSmoothing
        && params.iter().flatten().any(|factor| !(0.0..=1.0).contains(factor))
    {
        return Err(Error::execution("double_exponential_smoothing needs factors between 0 and 1"));
    }
    let ranged = args.eval.ranged(args.expr(range)?, args.grid)?;
    let made = AtomicUsize::new(0);
    let work = |tracks: &[Track]| {
        let mut rows = Vec::with_capacity(tracks.len());
        for track in tracks {
            rows.extend(range_row(args, &ranged, track, args.start(range), &params, &made)?);
        }
        if function == QuantileOverTime && !tracks.is_empty() {
            let quantiles = params.iter().flatten().copied();
            histogram_function::check_quantiles(&args.eval.annotations, args.start(0), quantiles);
        }
        let weight = rows.iter().flat_map(|row: &Row| &row.cells).map(histogram_weight).sum();
        Ok((map(rows)?, weight))
    };
    args.eval.parts_each(&ranged.series, work, |(some, weight)| {
        take(some)?;
        // What was taken is counted by whoever keeps it.
        made.fetch_sub(weight, Ordering::Relaxed);
        Ok(())
    })
}

/// The values of one series; `None` when there are none.
pub(super) fn range_row(
    args: &Args<'_, '_>,
    ranged: &Ranged<'_>,
    track: &Track,
    start: usize,
    params: &[Vec<f64>],
    made: &AtomicUsize,
) -> Result<Option<Row>, Error> {
    use Function::*;
    let function = args.call.function;
    let keeps_name = matches!(function, FirstOverTime | LastOverTime);
    // With a fixed `@` every step sees the same window.
    let fixed = params.is_empty() && ranged.ends_ms.first() == ranged.ends_ms.last();
    let lookback_ms = if ranged.edges == Edges::Plain { 0 } else { ranged.lookback_ms };
    let after_ms = if ranged.edges == Edges::Smoothed { lookback_ms } else { 0 };
    let told = Told { annotations: &args.eval.annotations, at: start, labels: &track.labels };
    let mut slider = Slider::new(track);
    let mut cells: Vec<Cell> = Vec::with_capacity(args.grid.steps);
    let kind = Kind::of(function).filter(|_| ranged.edges == Edges::Plain && !fixed);
    let gains = kind.and_then(|kind| Gains::of(track, kind, ranged.range_ms));
    let mut rest = &ranged.ends_ms[..];
    if let Some(mut gains) = gains {
        args.eval.check()?;
        cells.extend(rest.iter().map(|end_ms| gains.until(*end_ms)));
        rest = &[];
    }
    let mut sliding = sliding::of_track(function, ranged, track);
    for (step, end_ms) in rest.iter().enumerate() {
        if let Some(first) = cells.first().filter(|_| fixed) {
            cells.push(first.clone());
            continue;
        }
        args.eval.check()?;
        if let Some(sliding) = &mut sliding {
            let cell = sliding.at(*end_ms).map_or(Cell::None, Cell::Histogram);
            cells.push(args.eval.made_by_many(cell, made)?);
            continue;
        }
        let whole_ms = ranged.range_ms + lookback_ms + after_ms;
        let window = slider.window(end_ms + after_ms, whole_ms, args.grid.time_ms(step));
        let cell = match ranged.edges {
            Edges::Plain => {
                let param = |place: usize| params.get(place).map_or(f64::NAN, |values| at(values, step));
                over_time::apply(&told, function, &window, [param(0), param(1)])
            }
            edges => {
                let start_ms = end_ms - ranged.range_ms;
                let resets = !track.never_resets && matches!(function, Rate | Increase);
                let range = Around { edges, start_ms, end_ms: *end_ms, resets };
                with_edges(&told, function, &range, &window, track)
            }
        };
        cells.push(args.eval.made_by_many(cell, made)?);
    }
    if matches!(function, Rate | Increase) && cells.iter().any(|cell| matches!(cell, Cell::Float(_))) {
        told.may_be_no_counter(track.metric_type);
    }
    let drops_name = track.drops_name || !keeps_name;
    Ok(cells.iter().any(Cell::is_some).then(|| Row { labels: track.labels.clone(), drops_name, cells }))
}

/// A function over a range that is `anchored` or `smoothed`; `around` holds
/// what is there beyond its ends as well.
fn with_edges(
    told: &Told<'_>,
    function: Function,
    range: &Around,
    around: &Window<'_>,
    track: &Track,
) -> Cell {
    if let Some(kind) = Kind::of(function) {
        return range.gain(told, around, kind);
    }
    // What stands at the ends is no change of its own.
    let whole = range.anchored_track(around, track);
    let window = Slider::new(&whole).window(range.end_ms, i64::MAX / 4, range.end_ms);
    over_time::apply(told, function, &window, [f64::NAN; 2])
}

/// By value, NaN last; only the order of an instant vector means anything.
fn sorted(mut rows: Vec<Row>, grid: &Grid, descending: bool) -> Vec<Row> {
    for cell in rows.iter_mut().flat_map(|row| &mut row.cells) {
        if matches!(cell, Cell::Histogram(_)) {
            *cell = Cell::None;
        }
    }
    let mut rows = without_empty(rows);
    if grid.steps != 1 {
        return rows;
    }
    rows.sort_by(|a, b| match (a.cells.first(), b.cells.first()) {
        (Some(Cell::Float(a)), Some(Cell::Float(b))) => by_value(*a, *b, descending),
        _ => cmp::Ordering::Equal,
    });
    rows
}

/// Order of two values, NaN after all else either way.
pub(crate) fn by_value(a: f64, b: f64, descending: bool) -> cmp::Ordering {
    let order = a.partial_cmp(&b).unwrap_or(cmp::Ordering::Equal);
    a.is_nan().cmp(&b.is_nan()).then(if descending { order.reverse() } else { order })
}

fn sorted_by_label(args: &Args<'_, '_>, descending: bool) -> Result<Column, Error> {
    let names: Vec<&str> =
        (1..args.call.args.len()).map(|place| args.string(place)).collect::<Result<_, _>>()?;
    let mut rows = args.vector(0)?;
    if args.grid.steps == 1 {
        rows.sort_by(|a, b| {
            let of = |row: &Row, name: &str| row.labels.get(name).unwrap_or_default().to_owned();
            let by_names = names
                .iter()
                .map(|name| natural(&of(a, name), &of(b, name)))
                .find(|order| order.is_ne())
                .unwrap_or_else(|| a.labels.cmp(&b.labels));
            if descending { by_names.reverse() } else { by_names }
        });
    }
    Ok(Column::Vector(rows))
}

/// Order in which `node2` comes before `node10`.
fn natural(a: &str, b: &str) -> cmp::Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let digits = |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (a_digits, b_digits) = (digits(a), digits(b));
        if a_digits > 0 && b_digits > 0 {
            let (a_number, a_rest) = a.split_at(a_digits);
            let (b_number, b_rest) = b.split_at(b_digits);
            let (a_short, b_short) = (a_number.trim_start_matches('0'), b_number.trim_start_matches('0'));
            let order = a_short.len().cmp(&b_short.len()).then(a_short.cmp(b_short));
            if order.is_ne() {
                return order;
            }
            (a, b) = (a_rest, b_rest);
            continue;
        }
        let (mut a_chars, mut b_chars) = (a.chars(), b.chars());
        match (a_chars.next(), b_chars.next()) {
            (Some(x), Some(y)) if x == y => (a, b) = (a_chars.as_str(), b_chars.as_str()),
            (x, y) => return x.cmp(&y),
        }
    }
}
