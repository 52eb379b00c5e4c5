//! `histogram_*`: over native histograms, and over classic ones, whose buckets
//! are series with a label `le`.

use super::aggregation;
use super::annotation::Annotations;
use super::column::{Cell, Grid, Row};
use super::distribution::Distribution;
use super::error::Error;
use super::eval::Evaluator;
use super::expr::Expr;
use super::function_table::Function;
use super::label_function::with_label;
use super::native_reading::NanEffect;
use super::number::{format_open_metrics, parse_float};
use super::tally::Read;
use super::told::of_name;
use crate::model::Labels;
use std::collections::HashMap;

/// Label of a classic bucket: its upper bound, included.
const BOUND: &str = "le";
/// Differences between buckets that come from rounding alone.
const ROUNDING: f64 = 1e-12;

/// A property of each native histogram; classic ones and floats give nothing.
pub(crate) fn property(function: Function, mut rows: Vec<Row>) -> Vec<Row> {
    let read: fn(&Distribution) -> f64 = match function {
        Function::HistogramCount => Distribution::count,
        Function::HistogramSum => Distribution::sum,
        Function::HistogramAvg => |h| h.sum() / h.count(),
        Function::HistogramStddev => |h| h.variance().sqrt(),
        _ => Distribution::variance,
    };
    for row in &mut rows {
        row.drops_name = true;
        for cell in &mut row.cells {
            *cell = match cell {
                Cell::Histogram(histogram) => Cell::Float(read(histogram)),
                _ => Cell::None,
            };
        }
    }
    rows
}

/// What is asked of each histogram, native or classic.
pub(crate) enum Question {
    /// The quantile, one a step, and the first byte of it in the query.
    Quantile(Vec<f64>, usize),
    /// The share of values between two bounds, one pair a step.
    Fraction(Vec<f64>, Vec<f64>),
}

/// Of what it is asked.
pub(crate) struct Asked<'e, 'a> {
    pub eval: &'e Evaluator<'a>,
    pub grid: &'e Grid,
    /// The first byte of the vector in the query.
    pub at: usize,
}

impl Asked<'_, '_> {
    fn warn(&self, message: &str) {
        self.eval.annotations.warn(self.at, message);
    }

    fn info(&self, message: &str) {
        self.eval.annotations.info(self.at, message);
    }
}

/// Warns of quantiles that none can be.
pub(crate) fn check_quantiles(
    annotations: &Annotations,
    at: usize,
    quantiles: impl IntoIterator<Item = f64>,
) {
    if let Some(wrong) = quantiles.into_iter().find(|q| !(0.0..=1.0).contains(q)) {
        let wrong = super::number::format_value(wrong);
        annotations.warn(at, &format!("quantile value should be between 0 and 1, got {wrong}"));
    }
}

impl Question {
    fn ask_native(
        &self,
        step: usize,
        histogram: &Distribution,
        asked: &Asked<'_, '_>,
        labels: &Labels,
    ) -> f64 {
        let (value, effect) = match self {
            Question::Quantile(quantiles, _) => histogram.quantile_noted(at(quantiles, step)),
            Question::Fraction(low, high) => histogram.fraction_noted(at(low, step), at(high, step)),
        };
        if let Some(effect) = effect {
            let message = match effect {
                NanEffect::IsNan => "input to histogram_quantile has NaN observations, result is NaN",
                NanEffect::SkewedHigher => {
                    "input to histogram_quantile has NaN observations, result is skewed higher"
                }
                NanEffect::LeftOut => {
                    "input to histogram_fraction has NaN observations, which are excluded from all fractions"
                }
            };
            asked.info(&format!("{message}{}", of_name(labels)));
        }
        value
    }

    /// The answers of a row without classic buckets.
    fn answered(&self, mut row: Row, asked: &Asked<'_, '_>) -> Row {
        row.drops_name = true;
        for (step, cell) in row.cells.iter_mut().enumerate() {
            if let Cell::Histogram(histogram) = cell {
                *cell = Cell::Float(self.ask_native(step, histogram, asked, &row.labels));
            }
        }
        row
    }

    fn ask_classic(
        &self,
        step: usize,
        buckets: &mut Vec<Bucket>,
        asked: &Asked<'_, '_>,
        labels: &Labels,
    ) -> f64 {
        match self {
            Question::Quantile(quantiles, _) => {
                let (value, forced) = classic_quantile(at(quantiles, step), buckets);
                if forced {
                    asked.info(&format!(
                        "input to histogram_quantile needed to be fixed for monotonicity (see \
                         https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile){}",
                        of_name(labels)
                    ));
                }
                value
            }
            Question::Fraction(low, high) => classic_fraction(at(low, step), at(high, step), buckets),
        }
    }

    fn check(&self, asked: &Asked<'_, '_>) {
        if let Question::Quantile(quantiles, at) = self {
            check_quantiles(&asked.eval.annotations, *at, quantiles.iter().copied());
        }
    }
}

/// Answers several questions, each with a label that tells which.
pub(crate) fn ask_quantiles(
    asked: &Asked<'_, '_>,
    label: &str,
    questions: &[Question],
    rows: &[Row],
) -> Result<Vec<Row>, Error> {
    if let Some(row) = rows.iter().find(|row| row.labels.get(label).is_some()) {
        return Err(Error::Execution(format!(
            "label {label:?} of histogram_quantiles is there already: {}",
            row.labels
        )));
    }
    let (mut answers, mut label_weight) = (Vec::new(), 0);
    for question in questions {
        let Question::Quantile(quantiles, _) = question else { continue };
        for row in ask(asked, question, rows)? {
            asked.eval.check_size(1, (answers.len() + 1) * asked.grid.steps + label_weight)?;
            // A quantile that changes from step to step changes its label.
            let mut by_value: Vec<(f64, Vec<Cell>)> = Vec::new();
            for (step, cell) in row.cells.into_iter().enumerate() {
                let q = at(quantiles, step);
                let place = by_value.iter().position(|(known, _)| known.to_bits() == q.to_bits());
                let place = place.unwrap_or_else(|| {
                    by_value.push((q, vec![Cell::None; asked.grid.steps]));
                    by_value.len() - 1
                });
                asked.eval.check_size(answers.len() + by_value.len(), asked.grid.steps)?;
                if let Some(slot) = by_value.get_mut(place).and_then(|(_, cells)| cells.get_mut(step)) {
                    *slot = cell;
                }
            }
            for (q, cells) in by_value {
                let labels = with_label(&row.labels, label, &format_open_metrics(q));
                label_weight += labels.own_weight();
                answers.push(Row { labels, drops_name: row.drops_name, cells });
            }
        }
    }
    Ok(answers)
}

/// The series of a classic histogram, and of native ones with the same labels.
#[derive(Default)]
struct Family {
    /// Bounds, and the places of their rows.
    classic: Vec<(f64, usize)>,
    /// More than one where a name that is dropped stands beside one that stays.
    natives: Vec<usize>,
}

/// Answers `question` for every histogram that `expr` gives. Those that are not
/// classic are answered as they come, and not kept.
pub(crate) fn ask_each(asked: &Asked<'_, '_>, question: &Question, expr: &Expr) -> Result<Vec<Row>, Error> {
    let (eval, grid) = (asked.eval, asked.grid);
    let is_answered = |row: &Row| !row.cells.iter().any(|cell| matches!(cell, Cell::Float(_)));
    let answer = |rows: Vec<Row>| {
        let answered = |row: Row| match is_answered(&row) {
            true => (true, question.answered(row, asked)),
            false => (false, row),
        };
        Ok(rows.into_iter().map(answered).collect::<Vec<_>>())
    };
    let (mut answered, mut others) = (Vec::new(), Vec::new());
    let mut take = |rows: Vec<(bool, Row)>| {
        for (is_answered, row) in rows {
            if is_answered { &mut answered } else { &mut others }.push(row);
        }
        eval.check_size(answered.len() + others.len(), grid.steps)
    };
    let read = |labels: &Labels, step: usize, histogram: &Distribution| {
        question.ask_native(step, histogram, asked, labels)
    };
    let summed = match expr.bare() {
        Expr::Aggregate(node) => {
            let quantiles = match question {
                Question::Quantile(quantiles, _) => Some(&quantiles[..]),
                Question::Fraction(..) => None,
            };
            aggregation::read_each(eval, node, grid, Read { of: &read, quantiles })
        }
        _ => None,
    };
    match summed {
        Some(rows) => take(rows?)?,
        None => eval.rows_each(expr, grid, answer, take)?,
    }
    if !others.is_empty() && !answered.is_empty() {
        // Some may belong together after all.
        others = eval.vector(expr, grid)?;
        answered.clear();
    }
    if !others.is_empty() {
        return ask(asked, question, &others);
    }
    question.check(asked);
    Ok(answered)
}

/// Answers `question` for every histogram in `rows`.
pub(crate) fn ask(asked: &Asked<'_, '_>, question: &Question, rows: &[Row]) -> Result<Vec<Row>, Error> {
    let eval = asked.eval;
    let mut families: Vec<(Labels, Family)> = Vec::new();
    let mut places: HashMap<Labels, usize> = HashMap::new();
    question.check(asked);
    let mut place_of = |labels: Labels, families: &mut Vec<(Labels, Family)>| {
        *places.entry(labels.clone()).or_insert_with(|| {
            families.push((labels, Family::default()));
            families.len() - 1
        })
    };
    for (number, row) in rows.iter().enumerate() {
        eval.check()?;
        if row.cells.iter().any(|cell| matches!(cell, Cell::Histogram(_))) {
            let place = place_of(row.labels.clone(), &mut families);
            if let Some((_, family)) = families.get_mut(place) {
                family.natives.push(number);
            }
        }
        if !row.cells.iter().any(|cell| matches!(cell, Cell::Float(_))) {
            continue;
        }
        let text = row.labels.get(BOUND).unwrap_or_default();
        let Some(bound) = parse_float(text) else {
            let message = format!(
                "bucket label {BOUND:?} is missing or has a malformed value of {text:?}{}",
                of_name(&row.labels)
            );
            asked.warn(&message);
            continue;
        };
        let place = place_of(row.labels.filtered(|name| name != BOUND), &mut families);
        if let Some((_, family)) = families.get_mut(place) {
            family.classic.push((bound, number));
        }
    }
    let mut answers: Vec<Row> = Vec::new();
    let mut buckets: Vec<Bucket> = Vec::new();
    for (labels, family) in families {
        eval.check()?;
        for place in 0..family.natives.len().max(1) {
            let native = family.natives.get(place).copied();
            let mut cells = Vec::with_capacity(asked.grid.steps);
            for step in 0..asked.grid.steps {
                buckets.clear();
                for (bound, number) in &family.classic {
                    if let Some(Cell::Float(count)) = rows.get(*number).and_then(|row| row.cells.get(step)) {
                        buckets.push(Bucket { bound: *bound, count: *count });
                    }
                }
                let native = native.and_then(|number| rows.get(number)?.cells.get(step));
                cells.push(match (native, buckets.is_empty()) {
                    (Some(Cell::Histogram(_)), false) => {
                        let message = "vector contains a mix of classic and native histograms";
                        asked.warn(&format!("{message}{}", of_name(&labels)));
                        Cell::None
                    }
                    (Some(Cell::Histogram(histogram)), true) => {
                        Cell::Float(question.ask_native(step, histogram, asked, &labels))
                    }
                    (_, true) => Cell::None,
                    // The classic one is answered once.
                    (_, false) if place > 0 => Cell::None,
                    (_, false) => Cell::Float(question.ask_classic(step, &mut buckets, asked, &labels)),
                });
            }
            answers.push(Row { labels: labels.clone(), drops_name: true, cells });
        }
    }
    Ok(answers)
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
/// which only scrapes between updates or rounding can have made; tells whether
/// there were any but of rounding. `None` when they are no histogram: the bound
/// +∞ is missing, or is the only one.
fn tidy(buckets: &mut Vec<Bucket>) -> Option<bool> {
    buckets.sort_by(|a, b| a.bound.total_cmp(&b.bound));
    buckets.dedup_by(|next, kept| {
        let same = next.bound == kept.bound;
        if same {
            kept.count += next.count;
        }
        same
    });
    let (mut before, mut forced): (Option<f64>, bool) = (None, false);
    for bucket in buckets.iter_mut() {
        if let Some(before) = before {
            let close = (bucket.count - before).abs() <= ROUNDING * (bucket.count.abs() + before.abs());
            if bucket.count < before || close {
                forced |= !close;
                bucket.count = before;
            }
        }
        before = Some(bucket.count);
    }
    let is_whole = buckets.len() >= 2 && buckets.last().is_some_and(|last| last.bound == f64::INFINITY);
    is_whole.then_some(forced)
}

/// The quantile, and whether buckets fell and were ironed out.
fn classic_quantile(q: f64, buckets: &mut Vec<Bucket>) -> (f64, bool) {
    if q.is_nan() {
        return (f64::NAN, false);
    }
    if q < 0.0 {
        return (f64::NEG_INFINITY, false);
    }
    if q > 1.0 {
        return (f64::INFINITY, false);
    }
    let Some(forced) = tidy(buckets) else { return (f64::NAN, false) };
    let [first, highest, all] = buckets_of(buckets);
    if all.count == 0.0 {
        return (f64::NAN, forced);
    }
    let rank = q * all.count;
    let place = buckets.iter().position(|bucket| bucket.count >= rank);
    let value = match place {
        None => highest.bound,
        Some(place) if place + 1 == buckets.len() => highest.bound,
        Some(0) if first.bound <= 0.0 => first.bound,
        Some(0) => first.bound * (rank / first.count),
        Some(place) => {
            let (below, bucket) = (buckets[place - 1], buckets[place]);
            let share = (rank - below.count) / (bucket.count - below.count);
            below.bound + (bucket.bound - below.bound) * share
        }
    };
    (value, forced)
}

/// The first, the one below the last, and the last.
fn buckets_of(buckets: &[Bucket]) -> [Bucket; 3] {
    let empty = Bucket { bound: f64::NAN, count: f64::NAN };
    let last = buckets.len().saturating_sub(1);
    let of = |at: usize| buckets.get(at).copied().unwrap_or(empty);
    [of(0), of(last.saturating_sub(1)), of(last)]
}

fn classic_fraction(low: f64, high: f64, buckets: &mut Vec<Bucket>) -> f64 {
    // A single bucket tells no quantile, but a share.
    let is_single = matches!(&buckets[..], [only] if only.bound == f64::INFINITY);
    if low.is_nan() || high.is_nan() || (!is_single && tidy(buckets).is_none()) {
        return f64::NAN;
    }
    let [_, _, all] = buckets_of(buckets);
    if all.count == 0.0 {
        return f64::NAN;
    }
    if low >= high {
        return 0.0;
    }
    (rank_of(high, buckets) - rank_of(low, buckets)) / all.count
}

/// How many values are at most `value`, evenly spread within a bucket. Of a
/// bucket without a lower end all are, of one without an upper end none.
fn rank_of(value: f64, buckets: &[Bucket]) -> f64 {
    let mut below = Bucket { bound: f64::NEG_INFINITY, count: 0.0 };
    for (place, bucket) in buckets.iter().enumerate() {
        // The first bucket begins at 0 when its bound is positive.
        let start = if place == 0 && bucket.bound > 0.0 { 0.0 } else { below.bound };
        if value <= start {
            return below.count;
        }
        if value < bucket.bound {
            if start == f64::NEG_INFINITY {
                return bucket.count;
            }
            return below.count + (bucket.count - below.count) * (value - start) / (bucket.bound - start);
        }
        below = *bucket;
    }
    below.count
}
