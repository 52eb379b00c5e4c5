//! What an evaluation of a test script must give, and the comparison with what
//! it gave.

use super::distribution::Distribution;
use super::error::Error;
use super::notation::{Given, parse_values, split_labels};
use super::number::{format_value, parse_float};
use super::testlang::{Failure, time};
use super::value::{Number, QueryResult, Value};
use crate::model::{Histogram, Labels, NativeHistogram};

/// Largest relative difference between equal numbers.
const TOLERANCE: f64 = 1e-6;

/// How a message must be.
enum Pattern<'a> {
    Any,
    Exact(&'a str),
    Regex(regex::Regex),
}

impl<'a> Pattern<'a> {
    fn read(text: &'a str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(exact) = text.strip_prefix("msg:") {
            return Ok(Pattern::Exact(exact.trim()));
        }
        match text.strip_prefix("regex:") {
            Some(pattern) => regex::Regex::new(pattern.trim()).map(Pattern::Regex).map_err(|e| e.to_string()),
            None if text.is_empty() => Ok(Pattern::Any),
            None => Err(format!("{text:?} is neither msg: nor regex:")),
        }
    }

    fn fits(&self, message: &str) -> bool {
        match self {
            Pattern::Any => true,
            Pattern::Exact(expected) => message == *expected,
            Pattern::Regex(regex) => regex.is_match(message),
        }
    }

    /// An error may say more than Prometheus does, before and after.
    fn fits_error(&self, message: &str) -> bool {
        match self {
            Pattern::Exact(expected) => message.contains(expected),
            other => other.fits(message),
        }
    }
}

/// What an evaluation must give.
#[derive(Default)]
pub(crate) struct Expected<'a> {
    fail: Option<Pattern<'a>>,
    ordered: bool,
    warn: Vec<Pattern<'a>>,
    info: Vec<Pattern<'a>>,
    no_warn: bool,
    no_info: bool,
    string: Option<&'a str>,
    /// A line holding one number.
    scalar: Option<f64>,
    /// Start and step of a range vector.
    range_vector: Option<(i64, i64)>,
    series: Vec<(usize, Labels, Vec<Given>)>,
}

impl<'a> Expected<'a> {
    /// Reads the lines below an `eval`; its command is the first word.
    pub fn read(command: &str, block: &[(usize, &'a str)]) -> Result<Self, Failure> {
        let mut expected = Expected { ordered: command == "eval_ordered", ..Expected::default() };
        match command {
            "eval_fail" => expected.fail = Some(Pattern::Any),
            "eval_warn" => expected.warn.push(Pattern::Any),
            "eval_info" => expected.info.push(Pattern::Any),
            _ => {}
        }
        for (line, text) in block {
            expected.line(*line, text).map_err(|message| Failure { line: *line, message })?;
        }
        Ok(expected)
    }

    fn line(&mut self, line: usize, text: &'a str) -> Result<(), String> {
        let said = |error: Error| error.to_string();
        if let Some(rest) = text.strip_prefix("expect ") {
            let (word, rest) = rest.trim().split_once(char::is_whitespace).unwrap_or((rest.trim(), ""));
            match word {
                "fail" => self.fail = Some(Pattern::read(rest)?),
                "ordered" => self.ordered = true,
                "warn" => self.warn.push(Pattern::read(rest)?),
                "info" => self.info.push(Pattern::read(rest)?),
                "no_warn" => self.no_warn = true,
                "no_info" => self.no_info = true,
                "string" => self.string = Some(unquoted(rest.trim())),
                "range" => self.range_vector = Some(range_vector(rest)?),
                other => return Err(format!("unknown expectation {other:?}")),
            }
        } else if let Some(rest) = text.strip_prefix("expected_fail_message") {
            self.fail = Some(Pattern::Exact(rest.trim()));
        } else if let Some(rest) = text.strip_prefix("expected_fail_regexp") {
            self.fail = Some(Pattern::Regex(regex::Regex::new(rest.trim()).map_err(|e| e.to_string())?));
        } else if let Some(value) = parse_float(text) {
            self.scalar = Some(value);
        } else {
            let (labels, rest) = split_labels(text).map_err(said)?;
            self.series.push((line, labels, parse_values(rest).map_err(said)?));
        }
        Ok(())
    }
}

fn unquoted(text: &str) -> &str {
    let quoted = |quote: char| text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    quoted('"').or_else(|| quoted('`')).unwrap_or(text)
}

/// Start and step of `vector from 10s to 1m step 10s`.
fn range_vector(text: &str) -> Result<(i64, i64), String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words[..] {
        ["vector", "from", start, "to", _, "step", step] => Ok((time(start)?, time(step)?)),
        _ => Err("expected `range vector from TIME to TIME step STEP`".into()),
    }
}

/// Whether `found` is what is expected. `grid` are start and step of a range.
pub(crate) fn compare(
    line: usize,
    found: Result<QueryResult, Error>,
    expected: &Expected<'_>,
    grid: Option<(i64, i64)>,
) -> Result<(), Failure> {
    let fail = |message: String| Err(Failure { line, message });
    let result = match (found, &expected.fail) {
        (Err(error), Some(pattern)) if pattern.fits_error(&error.to_string()) => return Ok(()),
        (Err(error), Some(_)) => return fail(format!("another error was expected than: {error}")),
        (Err(error), None) => return fail(format!("failed: {error}")),
        (Ok(_), Some(_)) => return fail("expected an error, got an answer".into()),
        (Ok(found), None) => found,
    };
    for (found, wanted, none, what) in [
        (&result.warnings, &expected.warn, expected.no_warn, "warnings"),
        (&result.infos, &expected.info, expected.no_info, "infos"),
    ] {
        let missing = wanted.iter().any(|pattern| !found.iter().any(|message| pattern.fits(message)));
        let surplus = !wanted.is_empty()
            && found.iter().any(|message| !wanted.iter().any(|pattern| pattern.fits(message)));
        if missing || surplus || (none && !found.is_empty()) {
            return fail(format!("{what}: {found:?}"));
        }
    }
    let series: Vec<(Labels, Vec<(i64, Number)>)> = match result.value {
        Value::Scalar(point) => match expected.scalar {
            Some(wanted) if close(wanted, point.value) => return Ok(()),
            _ => return fail(format!("the answer is the scalar {}", format_value(point.value))),
        },
        Value::String(point) => match expected.string {
            Some(wanted) if wanted == point.text => return Ok(()),
            _ => return fail(format!("the answer is the string {:?}", point.text)),
        },
        Value::Vector(points) => {
            points.into_iter().map(|point| (point.labels, vec![(0, point.value)])).collect()
        }
        Value::Matrix(series) => {
            series.into_iter().map(|series| (series.labels, series.points.iter().collect())).collect()
        }
    };
    let grid = grid.or(expected.range_vector);
    for (at, (line, labels, wanted)) in expected.series.iter().enumerate() {
        let found = match expected.ordered {
            true => series.get(at).filter(|(found, _)| found == labels),
            false => series.iter().find(|(found, _)| found == labels),
        };
        let Some((_, points)) = found else {
            let message = format!("{labels} is missing; there are: {}", list(&series));
            return Err(Failure { line: *line, message });
        };
        let (start, step) = grid.unwrap_or((0, 1));
        // Of an instant only the first value means anything.
        let wanted = if grid.is_some() { &wanted[..] } else { wanted.get(..1).unwrap_or_default() };
        for (at, wanted) in wanted.iter().enumerate() {
            let time = start + step * at as i64;
            let point = points.iter().find(|(at_ms, _)| *at_ms == time).map(|(_, number)| number);
            if !same(wanted, point) {
                let message = format!("{labels} has {} in place {at}", shown(point));
                return Err(Failure { line: *line, message });
            }
        }
        if points.len() != wanted.iter().filter(|given| **given != Given::Nothing).count() {
            let message = format!("{labels} has {} values", points.len());
            return Err(Failure { line: *line, message });
        }
    }
    match series.len() == expected.series.len() {
        true => Ok(()),
        false => fail(format!("expected {} series, got: {}", expected.series.len(), list(&series))),
    }
}

fn list(series: &[(Labels, Vec<(i64, Number)>)]) -> String {
    let shown_series = |(labels, points): &(Labels, Vec<(i64, Number)>)| {
        format!("{labels} {}", shown(points.first().map(|(_, n)| n)))
    };
    series.iter().take(10).map(shown_series).collect::<Vec<_>>().join("; ")
}

fn shown(number: Option<&Number>) -> String {
    match number {
        None => "nothing".into(),
        Some(Number::Float(value)) => format_value(*value),
        Some(Number::Histogram(Distribution::Native(h))) => {
            format!("{h} (schema {}, zero {}, {:?})", h.schema, h.zero_threshold, h.hint)
        }
        Some(Number::Histogram(h)) => h.to_string(),
    }
}

fn same(wanted: &Given, found: Option<&Number>) -> bool {
    match (wanted, found) {
        (Given::Nothing, None) => true,
        (Given::Float(wanted), Some(Number::Float(found))) => close(*wanted, *found),
        (Given::Histogram(wanted), Some(Number::Histogram(Distribution::LogLinear(found)))) => {
            same_histogram(wanted, found)
        }
        (Given::Native(wanted, hinted), Some(Number::Histogram(Distribution::Native(found)))) => {
            same_native(wanted, found) && (!hinted || wanted.hint == found.hint)
        }
        _ => false,
    }
}

fn same_histogram(wanted: &Histogram, found: &Histogram) -> bool {
    let numbers = [
        (wanted.count, found.count),
        (wanted.sum, found.sum),
        (wanted.min, found.min),
        (wanted.max, found.max),
    ];
    let buckets = wanted.buckets().iter().zip(found.buckets());
    wanted.buckets().len() == found.buckets().len()
        && numbers.iter().all(|(wanted, found)| close(*wanted, *found))
        && buckets.clone().all(|(wanted, found)| wanted.0 == found.0 && close(wanted.1, found.1))
}

fn same_native(wanted: &NativeHistogram, found: &NativeHistogram) -> bool {
    let numbers = [
        (wanted.count, found.count),
        (wanted.sum, found.sum),
        (wanted.zero_count, found.zero_count),
        (wanted.zero_threshold, found.zero_threshold),
    ];
    let lists = |wanted: &[(i32, f64)], found: &[(i32, f64)]| {
        wanted.len() == found.len() && wanted.iter().zip(found).all(|(w, f)| w.0 == f.0 && close(w.1, f.1))
    };
    wanted.schema == found.schema
        && wanted.bounds == found.bounds
        && numbers.iter().all(|(wanted, found)| close(*wanted, *found))
        && lists(&wanted.positive, &found.positive)
        && lists(&wanted.negative, &found.negative)
}

fn close(wanted: f64, found: f64) -> bool {
    wanted == found
        || (wanted.is_nan() && found.is_nan())
        || (wanted - found).abs() <= TOLERANCE * wanted.abs().max(found.abs())
        // Around zero nothing is relative.
        || (wanted - found).abs() < 1e-12
}
