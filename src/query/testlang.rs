//! A runner for Prometheus' PromQL test language: `load` series, `eval` an
//! expression, compare with what is expected.
//!
//! Ours beside it: `load 10s as counter` says that the samples were received as
//! StatsD of that type, and histograms are written by their values
//! ([`super::notation`]). Numbers may differ by a millionth of their size.

use super::engine::{Engine, Options};
use super::error::Error;
use super::memory::MemorySource;
use super::notation::{Given, SeriesLine, parse_values, split_labels};
use super::number::{format_value, parse_float};
use super::value::{Number, Value};
use crate::model::{Histogram, Labels, MetricType, duration};
use std::sync::Arc;

/// Largest relative difference between equal numbers.
const TOLERANCE: f64 = 1e-6;

/// A line of a script that is wrong, or an expectation that was not met.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct Failure {
    /// Counted from 1.
    pub line: usize,
    pub message: String,
}

/// Runs all of `text`; tells how many evaluations it held. Every failure is
/// listed, in order.
pub fn run(text: &str) -> Result<usize, Vec<Failure>> {
    let mut script = Script::new();
    let lines: Vec<(usize, &str)> =
        text.lines().enumerate().map(|(at, line)| (at + 1, line.trim())).collect();
    let (mut rest, mut evaluations, mut failures) = (&lines[..], 0, Vec::new());
    while let Some(((line, first), tail)) = rest.split_first() {
        let length = tail.iter().take_while(|(_, line)| !line.is_empty()).count();
        if first.is_empty() || first.starts_with('#') {
            rest = tail;
            continue;
        }
        let (block, after) = tail.split_at(length);
        let block: Vec<(usize, &str)> = block.iter().filter(|(_, l)| !l.starts_with('#')).copied().collect();
        rest = after;
        evaluations += usize::from(first.starts_with("eval"));
        if let Err(failure) = script.command(*line, first, &block) {
            failures.push(failure);
        }
    }
    if failures.is_empty() { Ok(evaluations) } else { Err(failures) }
}

/// The series loaded so far, and an engine over them.
struct Script {
    source: Arc<MemorySource>,
    engine: Engine,
}

/// What an evaluation must give.
#[derive(Default)]
struct Expected<'a> {
    /// Text that the error must contain.
    fail: Option<&'a str>,
    ordered: bool,
    warns: Option<bool>,
    string: Option<&'a str>,
    /// A line holding one number.
    scalar: Option<f64>,
    series: Vec<(usize, Labels, Vec<Given>)>,
}

impl Script {
    fn new() -> Self {
        let source = Arc::new(MemorySource::new());
        let engine = Engine::new(source.clone(), Options::default());
        Script { source, engine }
    }

    fn command(&mut self, line: usize, first: &str, block: &[(usize, &str)]) -> Result<(), Failure> {
        let fail = |message: String| Failure { line, message };
        let (word, rest) = first.split_once(char::is_whitespace).unwrap_or((first, ""));
        match word {
            "clear" => {
                self.source.clear();
                Ok(())
            }
            "load" => self.load(line, rest, block),
            "eval" | "eval_ordered" | "eval_fail" | "eval_warn" => {
                let mut expected = expectations(block)?;
                expected.ordered |= word == "eval_ordered";
                if word == "eval_fail" {
                    expected.fail.get_or_insert("");
                }
                if word == "eval_warn" {
                    expected.warns = Some(true);
                }
                let rest = rest.trim_start();
                if let Some(rest) = rest.strip_prefix("instant at ") {
                    let (at, expr) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
                    let at_ms = time(at).map_err(fail)?;
                    let found = self.engine.instant(expr.trim(), at_ms);
                    return compare(line, found.map(|r| (r.value, r.warnings)), &expected, None);
                }
                let words: Vec<&str> = rest.splitn(8, char::is_whitespace).collect();
                if let ["range", "from", start, "to", end, "step", step, expr] = words[..] {
                    let [start, end, step] = [time(start), time(end), time(step)];
                    let (start, end, step) = (start.map_err(fail)?, end.map_err(fail)?, step.map_err(fail)?);
                    let found = self.engine.range(expr.trim(), start, end, step);
                    let grid = Some((start, step));
                    return compare(line, found.map(|r| (r.value, r.warnings)), &expected, grid);
                }
                Err(fail(
                    "expected `instant at TIME EXPR` or `range from TIME to TIME step STEP EXPR`".into(),
                ))
            }
            other => Err(fail(format!("unknown command {other:?}; there are load, clear and eval"))),
        }
    }

    fn load(&self, line: usize, head: &str, block: &[(usize, &str)]) -> Result<(), Failure> {
        let fail = |message: String| Failure { line, message };
        let words: Vec<&str> = head.split_whitespace().collect();
        let (step, metric_type) = match words[..] {
            [step] => (step, None),
            [step, "as", name] => {
                let found = MetricType::ALL.into_iter().find(|t| t.as_str() == name);
                (step, Some(found.ok_or_else(|| fail(format!("{name:?} is not a metric type")))?))
            }
            _ => return Err(fail("expected `load STEP` or `load STEP as TYPE`".into())),
        };
        let step_ms = time(step).map_err(fail)?;
        for (line, text) in block {
            let series = SeriesLine::parse(text)
                .map_err(|error| Failure { line: *line, message: error.to_string() })?;
            for (at, value) in series.values.into_iter().enumerate() {
                let at_ms = step_ms.saturating_mul(at as i64);
                let labels = &series.labels;
                match value {
                    Given::Nothing => {}
                    Given::Stale => self.source.push_stale(labels, metric_type, at_ms),
                    Given::Float(value) => self.source.push(labels, metric_type, at_ms, value),
                    Given::Histogram(value) => self.source.push_histogram(labels, metric_type, at_ms, value),
                }
            }
        }
        Ok(())
    }
}

/// Milliseconds of `5m`, `90` (seconds) or `-1m`.
fn time(text: &str) -> Result<i64, String> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let ms = match unsigned.parse::<f64>() {
        Ok(seconds) => (seconds * 1000.0) as i64,
        Err(_) => duration::parse_ms(unsigned).map_err(|error| error.to_string())? as i64,
    };
    Ok(if negative { -ms } else { ms })
}

fn expectations<'a>(block: &[(usize, &'a str)]) -> Result<Expected<'a>, Failure> {
    let mut expected = Expected::default();
    for (line, text) in block {
        let fail = |error: Error| Failure { line: *line, message: error.to_string() };
        if let Some(rest) = text.strip_prefix("expect ") {
            let (word, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            match word {
                "fail" => expected.fail = Some(rest.trim().trim_start_matches("msg:").trim()),
                "ordered" => expected.ordered = true,
                "warn" => expected.warns = Some(true),
                "no_warn" => expected.warns = Some(false),
                "string" => expected.string = Some(rest.trim().trim_matches('"')),
                // Prometheus tells infos from warnings; we do not.
                "info" | "no_info" => {}
                other => {
                    let message = format!("unknown expectation {other:?}");
                    return Err(Failure { line: *line, message });
                }
            }
        } else if let Some(value) = parse_float(text) {
            expected.scalar = Some(value);
        } else {
            let (labels, rest) = split_labels(text).map_err(fail)?;
            expected.series.push((*line, labels, parse_values(rest).map_err(fail)?));
        }
    }
    Ok(expected)
}

fn compare(
    line: usize,
    found: Result<(Value, Vec<String>), Error>,
    expected: &Expected<'_>,
    grid: Option<(i64, i64)>,
) -> Result<(), Failure> {
    let fail = |message: String| Err(Failure { line, message });
    let (value, warnings) = match (found, expected.fail) {
        (Err(error), Some(message)) if error.to_string().contains(message) => return Ok(()),
        (Err(error), Some(message)) => {
            return fail(format!("expected an error with {message:?}, got: {error}"));
        }
        (Err(error), None) => return fail(format!("failed: {error}")),
        (Ok(_), Some(_)) => return fail("expected an error, got an answer".into()),
        (Ok(found), None) => found,
    };
    if expected.warns.is_some_and(|warns| warns == warnings.is_empty()) {
        return fail(format!("warnings: {warnings:?}"));
    }
    let series: Vec<(Labels, Vec<(i64, Number)>)> = match value {
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
        Value::Matrix(series) => series.into_iter().map(|series| (series.labels, series.points)).collect(),
    };
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
        Some(Number::Histogram(h)) => {
            format!("a histogram of count {}, sum {}, min {}, max {}", h.count, h.sum, h.min, h.max)
        }
    }
}

fn same(wanted: &Given, found: Option<&Number>) -> bool {
    match (wanted, found) {
        (Given::Nothing, None) => true,
        (Given::Float(wanted), Some(Number::Float(found))) => close(*wanted, *found),
        (Given::Histogram(wanted), Some(Number::Histogram(found))) => same_histogram(wanted, found),
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

fn close(wanted: f64, found: f64) -> bool {
    wanted == found
        || (wanted.is_nan() && found.is_nan())
        || (wanted - found).abs() <= TOLERANCE * wanted.abs().max(found.abs())
        // Around zero nothing is relative.
        || (wanted - found).abs() < 1e-12
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_that_holds_passes_and_one_that_does_not_names_the_line() {
        let holds = "
load 1m
  a{b=\"c\"} 0+1x10

# comment
eval instant at 5m a + 1
  {b=\"c\"} 6

eval range from 0 to 2m step 1m a
  a{b=\"c\"} 0 1 2

eval instant at 0 1 + 1
  2
";
        assert_eq!(run(holds).unwrap(), 3);
        let wrong = "\
load 1m
  a 1x5

eval instant at 1m a
  a 2

eval instant at 1m b
  expect fail

evil
";
        let lines: Vec<usize> = run(wrong).unwrap_err().iter().map(|failure| failure.line).collect();
        assert_eq!(lines, [5, 7, 10]);
    }
}
