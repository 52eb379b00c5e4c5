//! A runner for Prometheus' PromQL test language: `load` series, `eval` an
//! expression, compare with what is expected.
//!
//! All of it is known but start timestamps (`@st`), which are skipped. Ours
//! beside it: `load 10s as counter` says that the samples were received as StatsD
//! of that type, and histograms may be written by their values
//! ([`super::notation`]). Numbers may differ by a millionth of their size.

use super::engine::{Engine, Options};
use super::memory::MemorySource;
use super::notation::{Given, SeriesLine};
use super::testlang_expected::{Expected, compare};
use super::testlang_nhcb;
use crate::model::{MetricType, duration};
use std::sync::Arc;

/// A line of a script that is wrong, or an expectation that was not met.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct Failure {
    /// Counted from 1.
    pub line: usize,
    pub message: String,
}

/// What a script came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How many evaluations it held.
    pub evaluations: usize,
    /// Every failure, in order; at most one for each evaluation.
    pub failures: Vec<Failure>,
}

/// Runs all of `text`; tells how many evaluations it held. Every failure is
/// listed, in order.
pub fn run(text: &str) -> Result<usize, Vec<Failure>> {
    let outcome = run_all(text);
    if outcome.failures.is_empty() { Ok(outcome.evaluations) } else { Err(outcome.failures) }
}

/// As [`run`]; also tells how many evaluations there were where some failed.
pub fn run_all(text: &str) -> Outcome {
    let mut script = Script::new();
    let lines: Vec<(usize, &str)> =
        text.lines().enumerate().map(|(at, line)| (at + 1, line.trim())).collect();
    let mut rest = &lines[..];
    let mut outcome = Outcome::default();
    while let Some(((line, first), tail)) = rest.split_first() {
        if first.is_empty() || first.starts_with('#') {
            rest = tail;
            continue;
        }
        // What follows `clear` is a command of its own.
        let tail_of_block = if *first == "clear" { &tail[..0] } else { tail };
        let length =
            tail_of_block.iter().take_while(|(_, line)| !line.is_empty() && !line.starts_with('#')).count();
        let (block, after) = tail.split_at(length);
        rest = after;
        outcome.evaluations += usize::from(first.starts_with("eval"));
        if let Err(failure) = script.command(*line, first, block) {
            outcome.failures.push(failure);
        }
    }
    outcome
}

/// The series loaded so far, and an engine over them.
struct Script {
    source: Arc<MemorySource>,
    engine: Engine,
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
            "load" | "load_with_nhcb" => self.load(line, rest, block, word == "load_with_nhcb"),
            "eval" | "eval_ordered" | "eval_fail" | "eval_warn" | "eval_info" => {
                let expected = Expected::read(word, block)?;
                self.evaluate(line, rest.trim_start(), &expected)
            }
            other => Err(fail(format!("unknown command {other:?}; there are load, clear and eval"))),
        }
    }

    fn evaluate(&self, line: usize, rest: &str, expected: &Expected<'_>) -> Result<(), Failure> {
        let fail = |message: String| Failure { line, message };
        if let Some(rest) = rest.strip_prefix("instant at ") {
            let (at, expr) = rest.trim_start().split_once(char::is_whitespace).unwrap_or((rest, ""));
            let at_ms = time(at).map_err(fail)?;
            let found = self.engine.instant(expr.trim(), at_ms);
            return compare(line, found, expected, None);
        }
        if let Some(rest) = rest.strip_prefix("range from ") {
            let (times, expr) = words(rest, 5);
            if let [start, "to", end, "step", step] = times[..] {
                let [start, end, step] = [time(start), time(end), time(step)];
                let (start, end, step) = (start.map_err(fail)?, end.map_err(fail)?, step.map_err(fail)?);
                let found = self.engine.range(expr, start, end, step);
                return compare(line, found, expected, Some((start, step)));
            }
        }
        Err(fail("expected `instant at TIME EXPR` or `range from TIME to TIME step STEP EXPR`".into()))
    }

    fn load(&self, line: usize, head: &str, block: &[(usize, &str)], nhcb: bool) -> Result<(), Failure> {
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
        let mut loaded = Vec::new();
        for (line, text) in block.iter().filter(|(_, text)| !text.contains("@st")) {
            let series = SeriesLine::parse(text)
                .map_err(|error| Failure { line: *line, message: error.to_string() })?;
            loaded.push(series);
        }
        let converted = if nhcb { testlang_nhcb::converted(&loaded) } else { Vec::new() };
        for series in loaded.into_iter().chain(converted) {
            for (at, value) in series.values.into_iter().enumerate() {
                let at_ms = step_ms.saturating_mul(at as i64);
                let labels = &series.labels;
                match value {
                    Given::Nothing => {}
                    Given::Stale => self.source.push_stale(labels, metric_type, at_ms),
                    Given::Float(value) => self.source.push(labels, metric_type, at_ms, value),
                    Given::Histogram(value) => self.source.push_histogram(labels, metric_type, at_ms, value),
                    Given::Native(value, _) => self.source.push_native(labels, at_ms, value),
                }
            }
        }
        Ok(())
    }
}

/// The first `count` words of `text`, and the rest of it.
fn words(text: &str, count: usize) -> (Vec<&str>, &str) {
    let (mut found, mut rest) = (Vec::new(), text.trim_start());
    while found.len() < count {
        let Some((word, tail)) = rest.split_once(char::is_whitespace) else { break };
        found.push(word);
        rest = tail.trim_start();
    }
    (found, rest.trim())
}

/// Milliseconds of `5m`, `90` (seconds) or `-1m`.
pub(crate) fn time(text: &str) -> Result<i64, String> {
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

    #[test]
    fn annotations_are_compared_where_they_are_expected() {
        let script = |expect: &str| {
            format!("load 1m\n  a 0+1x5\n\neval instant at 5m rate(a[5m])\n  {expect}\n  {{}} 0.016666667\n")
        };
        for holds in [
            "expect info",
            "expect no_warn",
            "expect info regex: might not be .*\"a\" \\(1:6\\)",
            "expect info msg: PromQL info: metric might not be a counter, name does not end in \
             _total/_sum/_count/_bucket: \"a\" (1:6)",
        ] {
            assert!(run(&script(holds)).is_ok(), "{holds}");
        }
        for fails in ["expect no_info", "expect warn", "expect info msg: might", "expect info regex: nope"] {
            assert!(run(&script(fails)).is_err(), "{fails}");
        }
    }
}
