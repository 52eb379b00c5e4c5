//! `histogram_*`: over native histograms, and over classic ones, whose buckets
//! are series with a label `le`.

use super::column::{Cell, Grid, Row, join_equal};
use super::distribution;
use super::error::Error;
use super::eval::Evaluator;
use super::function_table::Function;
use super::number::parse_float;
use crate::model::label::NAME;
use crate::model::{Histogram, Labels};
use std::collections::HashMap;

/// Label of a classic bucket: its upper bound, included.
const BOUND: &str = "le";
/// Differences between buckets that come from rounding alone.
const ROUNDING: f64 = 1e-12;

/// A property of each native histogram; classic ones and floats give nothing.
pub(crate) fn property(function: Function, rows: Vec<Row>) -> Result<Vec<Row>, Error> {
    let read: fn(&Histogram) -> f64 = match function {
        Function::HistogramCount => |h| h.count,
        Function::HistogramSum => |h| h.sum,
        Function::HistogramAvg => Histogram::mean,
        Function::HistogramStddev => |h| distribution::variance(h).sqrt(),
        _ => distribution::variance,
    };
    let rows = rows.into_iter().map(|row| Row {
        labels: row.labels.without_name(),
        cells: row
            .cells
            .into_iter()
            .map(|cell| match cell {
                Cell::Histogram(histogram) => Cell::Float(read(&histogram)),
                _ => Cell::None,
            })
            .collect(),
    });
    join_equal(rows.collect())
}

/// What is asked of each histogram, native or classic.
pub(crate) enum Question {
    /// The quantile, one a step.
    Quantile(Vec<f64>),
    /// The share of values between two bounds, one pair a step.
    Fraction(Vec<f64>, Vec<f64>),
}

impl Question {
    fn ask_native(&self, step: usize, histogram: &Histogram) -> f64 {
        match self {
            Question::Quantile(quantiles) => histogram.quantile(at(quantiles, step)),
            Question::Fraction(low, high) => histogram.fraction(at(low, step), at(high, step)),
        }
    }

    fn ask_classic(&self, step: usize, buckets: &mut Vec<Bucket>) -> f64 {
        match self {
            Question::Quantile(quantiles) => classic_quantile(at(quantiles, step), buckets),
            Question::Fraction(low, high) => classic_fraction(at(low, step), at(high, step), buckets),
        }
    }
}

/// Answers `question` for every histogram in `rows`.
pub(crate) fn ask(
    eval: &Evaluator<'_>,
    question: &Question,
    rows: Vec<Row>,
    grid: &Grid,
) -> Result<Vec<Row>, Error> {
    let mut answers: Vec<Row> = Vec::new();
    let mut classic: Vec<(Labels, Vec<(f64, usize)>)> = Vec::new();
    let mut places: HashMap<Labels, usize> = HashMap::new();
    for (number, row) in rows.iter().enumerate() {
        eval.check()?;
        let native = |(step, cell): (usize, &Cell)| match cell {
            Cell::Histogram(histogram) => Cell::Float(question.ask_native(step, histogram)),
            _ => Cell::None,
        };
        if row.cells.iter().any(|cell| matches!(cell, Cell::Histogram(_))) {
            let cells = row.cells.iter().enumerate().map(native).collect();
            answers.push(Row { labels: row.labels.without_name(), cells });
        }
        if !row.cells.iter().any(|cell| matches!(cell, Cell::Float(_))) {
            continue;
        }
        let Some(bound) = row.labels.get(BOUND).and_then(parse_float) else {
            eval.warn(format!(
                "{} is no histogram: it has no bucket label {BOUND:?} with a number",
                row.labels
            ));
            continue;
        };
        let labels = row.labels.filtered(|name| name != BOUND && name != NAME);
        let place = *places.entry(labels.clone()).or_insert_with(|| {
            classic.push((labels, Vec::new()));
            classic.len() - 1
        });
        if let Some((_, members)) = classic.get_mut(place) {
            members.push((bound, number));
        }
    }
    let mut buckets: Vec<Bucket> = Vec::new();
    for (labels, members) in classic {
        eval.check()?;
        let mut cells = Vec::with_capacity(grid.steps);
        for step in 0..grid.steps {
            buckets.clear();
            for (bound, number) in &members {
                if let Some(Cell::Float(count)) = rows.get(*number).and_then(|row| row.cells.get(step)) {
                    buckets.push(Bucket { bound: *bound, count: *count });
                }
            }
            cells.push(match buckets.is_empty() {
                true => Cell::None,
                false => Cell::Float(question.ask_classic(step, &mut buckets)),
            });
        }
        answers.push(Row { labels, cells });
    }
    join_equal(answers)
}

/// A classic bucket: how many values were at most `bound`.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    bound: f64,
    count: f64,
}

fn at(values: &[f64], step: usize) -> f64 {
    values.get(step).copied().unwrap_or(f64::NAN)
}

/// Puts buckets in order, joins those with the same bound, and irons out falls,
/// which only scrapes between updates or rounding can have made. False when
/// they are no histogram: the bound +∞ is missing, or is the only one.
fn tidy(buckets: &mut Vec<Bucket>) -> bool {
    buckets.sort_by(|a, b| a.bound.total_cmp(&b.bound));
    buckets.dedup_by(|next, kept| {
        let same = next.bound == kept.bound;
        if same {
            kept.count += next.count;
        }
        same
    });
    let mut before: Option<f64> = None;
    for bucket in buckets.iter_mut() {
        if let Some(before) = before {
            let close = (bucket.count - before).abs() <= ROUNDING * (bucket.count.abs() + before.abs());
            if bucket.count < before || close {
                bucket.count = before;
            }
        }
        before = Some(bucket.count);
    }
    buckets.len() >= 2 && buckets.last().is_some_and(|last| last.bound == f64::INFINITY)
}

fn classic_quantile(q: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    if !tidy(buckets) {
        return f64::NAN;
    }
    let [first, highest, all] = buckets_of(buckets);
    if all.count == 0.0 || all.count.is_nan() {
        return f64::NAN;
    }
    let rank = q * all.count;
    let place = buckets.iter().position(|bucket| bucket.count >= rank);
    match place {
        None => highest.bound,
        Some(place) if place + 1 == buckets.len() => highest.bound,
        Some(0) if first.bound <= 0.0 => first.bound,
        Some(0) => first.bound * (rank / first.count),
        Some(place) => {
            let (below, bucket) = (buckets[place - 1], buckets[place]);
            let share = (rank - below.count) / (bucket.count - below.count);
            below.bound + (bucket.bound - below.bound) * share
        }
    }
}

/// The first, the one below the last, and the last.
fn buckets_of(buckets: &[Bucket]) -> [Bucket; 3] {
    let empty = Bucket { bound: f64::NAN, count: f64::NAN };
    let last = buckets.len().saturating_sub(1);
    let of = |at: usize| buckets.get(at).copied().unwrap_or(empty);
    [of(0), of(last.saturating_sub(1)), of(last)]
}

fn classic_fraction(low: f64, high: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if low.is_nan() || high.is_nan() || !tidy(buckets) {
        return f64::NAN;
    }
    let [_, _, all] = buckets_of(buckets);
    if all.count == 0.0 || all.count.is_nan() {
        return f64::NAN;
    }
    if low >= high {
        return 0.0;
    }
    (rank_of(high, buckets) - rank_of(low, buckets)) / all.count
}

/// How many values are at most `value`, evenly spread within a bucket.
fn rank_of(value: f64, buckets: &[Bucket]) -> f64 {
    let mut below = Bucket { bound: f64::NEG_INFINITY, count: 0.0 };
    for (place, bucket) in buckets.iter().enumerate() {
        if value <= bucket.bound {
            // The first bucket begins at 0 when its bound is positive.
            let start = if place == 0 && bucket.bound > 0.0 { 0.0 } else { below.bound };
            if value == bucket.bound {
                return bucket.count;
            }
            if start.is_infinite() || bucket.bound.is_infinite() || value <= start {
                return below.count;
            }
            return below.count + (bucket.count - below.count) * (value - start) / (bucket.bound - start);
        }
        below = *bucket;
    }
    below.count
}
