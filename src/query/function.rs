//! Functions: each call's arguments are evaluated, then its work is done row by
//! row. What works on numbers, windows, labels and histograms has files of its
//! own; this one knows which is which.

use super::column::{Cell, Column, Grid, Row, join_equal};
use super::error::Error;
use super::eval::Evaluator;
use super::expr::{Call, Expr, Selector};
use super::function_table::Function;
use super::histogram_function::{self, Question};
use super::label_function;
use super::math;
use super::over_time;
use super::track::Slider;
use crate::model::Labels;
use std::cmp::Ordering;

/// Value of a call on `grid`.
pub(crate) fn eval(eval: &Evaluator<'_>, call: &Call, grid: &Grid) -> Result<Column, Error> {
    eval.within(|| value(eval, call, grid))
}

fn value(eval: &Evaluator<'_>, call: &Call, grid: &Grid) -> Result<Column, Error> {
    use Function::*;
    let args = Args { eval, call, grid };
    if let Some(map) = math::unary(call.function) {
        return mapped(args.vector(0)?, |_, value| map(value));
    }
    if let Some(map) = math::calendar(call.function) {
        return mapped(args.vector_or_time(0)?, |_, value| map(value));
    }
    match call.function {
        Time => Ok(Column::Scalar((0..grid.steps).map(|step| grid.time_ms(step) as f64 / 1000.0).collect())),
        Pi => Ok(Column::Scalar(vec![std::f64::consts::PI; grid.steps])),
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
            Ok(Column::Vector(label_function::replace(rows, target, replacement, source, pattern)?))
        }
        LabelJoin => {
            let sources: Vec<&str> =
                (3..call.args.len()).map(|place| args.string(place)).collect::<Result<_, _>>()?;
            let rows = args.vector(0)?;
            Ok(Column::Vector(label_function::join(rows, args.string(1)?, args.string(2)?, &sources)?))
        }

        HistogramCount | HistogramSum | HistogramAvg | HistogramStddev | HistogramStdvar => {
            Ok(Column::Vector(histogram_function::property(call.function, args.vector(0)?)?))
        }
        HistogramQuantile => {
            let question = Question::Quantile(args.scalar(0)?);
            Ok(Column::Vector(histogram_function::ask(eval, &question, args.vector(1)?, grid)?))
        }
        HistogramFraction => {
            let question = Question::Fraction(args.scalar(0)?, args.scalar(1)?);
            Ok(Column::Vector(histogram_function::ask(eval, &question, args.vector(2)?, grid)?))
        }
        _ => over_ranges(&args),
    }
}

/// The arguments of a call.
struct Args<'e, 'a> {
    eval: &'e Evaluator<'a>,
    call: &'e Call,
    grid: &'e Grid,
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
    Row { labels: Labels::default(), cells: values.into_iter().map(Cell::Float).collect() }
}

/// Floats mapped by `map(step, value)`; histograms are left out, and names.
fn mapped(mut rows: Vec<Row>, map: impl Fn(usize, f64) -> f64) -> Result<Column, Error> {
    for row in &mut rows {
        row.labels = row.labels.without_name();
        for (step, cell) in row.cells.iter_mut().enumerate() {
            *cell = match cell {
                Cell::Float(value) => Cell::Float(map(step, *value)),
                _ => Cell::None,
            };
        }
    }
    Ok(Column::Vector(join_equal(rows)?))
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
    let mut rows = match args.expr(0)? {
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
    rows.iter_mut().for_each(|row| row.labels = row.labels.without_name());
    Ok(Column::Vector(join_equal(rows)?))
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
    Row { labels: label_function::of_absent(selector), cells: cells.collect() }
}

fn absent_over_time(args: &Args<'_, '_>) -> Result<Column, Error> {
    let ranged = args.eval.ranged(args.expr(0)?, args.grid)?;
    let mut present = vec![false; args.grid.steps];
    for track in ranged.tracks.iter() {
        args.eval.check()?;
        let mut slider = Slider::new(track);
        for (seen, end_ms) in present.iter_mut().zip(&ranged.ends_ms) {
            *seen |= !slider.window(*end_ms, ranged.range_ms, *end_ms).is_empty();
        }
    }
    Ok(Column::Vector(vec![absent_row(&present, args.selector(0))]))
}

/// Functions of a range vector: one value for each window of each series.
fn over_ranges(args: &Args<'_, '_>) -> Result<Column, Error> {
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
    args.eval.check_size(ranged.tracks.len(), args.grid.steps)?;
    let keeps_name = matches!(function, FirstOverTime | LastOverTime);
    // With a fixed `@` every step sees the same window.
    let fixed = params.is_empty() && ranged.ends_ms.first() == ranged.ends_ms.last();
    let mut rows = Vec::with_capacity(ranged.tracks.len());
    let mut made = 0;
    for track in ranged.tracks.iter() {
        let mut slider = Slider::new(track);
        let mut cells: Vec<Cell> = Vec::with_capacity(args.grid.steps);
        for (step, end_ms) in ranged.ends_ms.iter().enumerate() {
            if let Some(first) = cells.first().filter(|_| fixed) {
                cells.push(first.clone());
                continue;
            }
            args.eval.check()?;
            let window = slider.window(*end_ms, ranged.range_ms, args.grid.time_ms(step));
            let param = |place: usize| params.get(place).map_or(f64::NAN, |values| at(values, step));
            let cell = over_time::apply(function, &window, [param(0), param(1)]);
            cells.push(args.eval.made(cell, &mut made)?);
        }
        if cells.iter().any(Cell::is_some) {
            let labels = if keeps_name { track.labels.clone() } else { track.labels.without_name() };
            rows.push(Row { labels, cells });
        }
    }
    Ok(Column::Vector(join_equal(rows)?))
}

/// By value, NaN last; only the order of an instant vector means anything.
fn sorted(mut rows: Vec<Row>, grid: &Grid, descending: bool) -> Vec<Row> {
    if grid.steps != 1 {
        return rows;
    }
    rows.retain(|row| matches!(row.cells.first(), Some(Cell::Float(_))));
    rows.sort_by(|a, b| match (a.cells.first(), b.cells.first()) {
        (Some(Cell::Float(a)), Some(Cell::Float(b))) => by_value(*a, *b, descending),
        _ => Ordering::Equal,
    });
    rows
}

/// Order of two values, NaN after all else either way.
pub(crate) fn by_value(a: f64, b: f64, descending: bool) -> Ordering {
    let order = a.partial_cmp(&b).unwrap_or(Ordering::Equal);
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
fn natural(a: &str, b: &str) -> Ordering {
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
