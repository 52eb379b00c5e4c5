//! The shorthand for series in Prometheus' test files, which rule tests use as
//! well: `errors{job="a"} 0+10x5 _ stale`.
//!
//! `1x3` and `0+10x3` stand for four values, `_x3` for three gaps. A native
//! histogram is written by its parts (`{{schema:0 sum:5 count:4 buckets:[1 2 1]}}`,
//! [`super::native_notation`]), one of ours by its values, each with a weight
//! where it is not 1: `{{1 2*3}}`.

use super::error::Error;
use super::expr::Parsed;
use super::native;
use super::native_notation;
use super::number::parse_float;
use super::{Expr, parse};
use crate::model::{Histogram, Labels, MatchOp, NativeHistogram};

/// Most values that one line may stand for.
pub const MAX_VALUES: usize = 100_000;

/// A series as written: labels, and what it has at each interval.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesLine {
    pub labels: Labels,
    pub values: Vec<Given>,
}

/// What a series has at one interval.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    /// `_`
    Nothing,
    /// `stale`
    Stale,
    Float(f64),
    Histogram(Histogram),
    /// A native histogram, and whether its hint was written.
    Native(NativeHistogram, bool),
}

impl SeriesLine {
    /// Reads a line such as `errors{job="a"} 0+10x5`. Errors are
    /// [`Error::Parse`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (labels, rest) = split_labels(text)?;
        Ok(SeriesLine { labels, values: parse_values(rest)? })
    }
}

/// The labels that `text` begins with, and what follows them.
pub(crate) fn split_labels(text: &str) -> Result<(Labels, &str), Error> {
    let text = text.trim();
    let end = end_of_labels(text);
    let (metric, rest) = (text.get(..end).unwrap_or(text), text.get(end..).unwrap_or_default());
    Ok((parse_labels(metric)?, rest.trim()))
}

/// Labels as PromQL writes a series: `name{label="value"}`.
pub fn parse_labels(metric: &str) -> Result<Labels, Error> {
    if metric.split_whitespace().collect::<String>() == "{}" {
        return Ok(Labels::default());
    }
    let wrong = || Error::Parse(format!("{metric:?} is not a series such as name{{label=\"value\"}}"));
    let parsed: Parsed = parse::parse(metric).map_err(|_| wrong())?;
    let (Expr::Vector(0), [selector]) = (&parsed.expr, &parsed.selectors[..]) else { return Err(wrong()) };
    let [matchers] = &selector.alternatives[..] else { return Err(wrong()) };
    if matchers.iter().any(|matcher| !matches!(matcher.op, MatchOp::Equal)) {
        return Err(wrong());
    }
    let matchers = matchers.iter().filter(|matcher| !matcher.value.is_empty());
    Ok(Labels::from_pairs(matchers.map(|matcher| (matcher.name.as_str(), matcher.value.as_str()))))
}

/// The values of a series, from shorthand.
pub(crate) fn parse_values(text: &str) -> Result<Vec<Given>, Error> {
    let mut values = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let end = end_of_word(rest);
        push_word(rest.get(..end).unwrap_or(rest), &mut values)?;
        if values.len() > MAX_VALUES {
            return Err(Error::Parse(format!("a series of more than {MAX_VALUES} values is over the limit")));
        }
        rest = rest.get(end..).unwrap_or_default().trim_start();
    }
    Ok(values)
}

fn push_word(word: &str, values: &mut Vec<Given>) -> Result<(), Error> {
    let wrong =
        || Error::Parse(format!("{word:?} is not a value such as 1, 0+10x5, _, stale or {{{{1 2}}}}"));
    if let Some(inner) = word.strip_prefix("{{") {
        let (inner, rest) = inner.split_once("}}").ok_or_else(wrong)?;
        return match native_notation::is_native(inner) {
            true => push_natives(inner, rest, values),
            false => {
                let times = if rest.is_empty() { Some(0) } else { rest.strip_prefix('x').and_then(times_of) };
                let histogram = Given::Histogram(histogram_of(inner).ok_or_else(wrong)?);
                values.extend(std::iter::repeat_n(histogram, times.ok_or_else(wrong)? + 1));
                Ok(())
            }
        };
    }
    // The `x` of a repetition comes after the last digit, so not from a `0x1f`.
    let (value, times) = match word.rsplit_once('x') {
        Some((value, times)) => (value, Some(times_of(times).ok_or_else(wrong)?)),
        None => (word, None),
    };
    match (value, times) {
        ("_", times) => values.extend(std::iter::repeat_n(Given::Nothing, times.unwrap_or(1))),
        ("stale", None) => values.push(Given::Stale),
        (value, None) => values.push(Given::Float(parse_float(value).ok_or_else(wrong)?)),
        (value, Some(times)) => {
            let (start, step) = start_and_step(value).ok_or_else(wrong)?;
            values.extend((0..=times).map(|at| Given::Float(start + step * at as f64)));
        }
    }
    Ok(())
}

/// Bytes of the word that `text` begins with; blanks between `{{` and `}}` are
/// a part of it.
fn end_of_word(text: &str) -> usize {
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let blank = rest.find(char::is_whitespace).unwrap_or(rest.len());
        match rest.find("{{").filter(|open| *open < blank) {
            Some(open) => match rest.get(open..).and_then(|inner| inner.find("}}")) {
                Some(close) => at += open + close + 2,
                None => return text.len(),
            },
            None => return at + blank,
        }
    }
    text.len()
}

/// Native histograms from `{{inner}}` and what stands behind it: nothing, `x3`,
/// or `+{{…}}x3` and `-{{…}}x3` for some that grow or shrink.
fn push_natives(inner: &str, rest: &str, values: &mut Vec<Given>) -> Result<(), Error> {
    let wrong = || Error::Parse(format!("{rest:?} is no repetition such as x3 or +{{{{sum:1 count:1}}}}x3"));
    let (first, hinted) = native_notation::parse(inner)?;
    let (step, times) = match rest.strip_prefix(['+', '-']).and_then(|rest| rest.strip_prefix("{{")) {
        Some(other) => {
            let (inner, times) = other.split_once("}}x").ok_or_else(wrong)?;
            let factor = if rest.starts_with('-') { -1.0 } else { 1.0 };
            (Some((native_notation::parse(inner)?.0, factor)), times_of(times).ok_or_else(wrong)?)
        }
        None if rest.is_empty() => (None, 0),
        None => (None, rest.strip_prefix('x').and_then(times_of).ok_or_else(wrong)?),
    };
    let mut current = first;
    values.push(Given::Native(current.clone(), hinted));
    for _ in 0..times {
        if let Some((step, factor)) = &step {
            let hint = current.hint;
            let sum = native::add(&current, step, *factor);
            current = sum.map_err(|_| Error::parse("exponential and custom buckets do not add up"))?.0;
            current.hint = hint;
        }
        values.push(Given::Native(current.clone(), hinted));
        if values.len() > MAX_VALUES {
            return Err(Error::Parse(format!("a series of more than {MAX_VALUES} values is over the limit")));
        }
    }
    Ok(())
}

/// Start and step of `0+10`, `5-2` or `7`.
fn start_and_step(text: &str) -> Option<(f64, f64)> {
    let splits = text.char_indices().skip(1).filter(|(_, c)| matches!(c, '+' | '-'));
    for (at, _) in splits {
        let (start, step) = text.split_at(at);
        // In `1e-3` the sign belongs to the number.
        if let (Some(start), Some(step)) = (parse_float(start), parse_float(step)) {
            return Some((start, step));
        }
    }
    Some((parse_float(text)?, 0.0))
}

fn times_of(text: &str) -> Option<usize> {
    text.parse().ok().filter(|times| *times < MAX_VALUES)
}

fn histogram_of(text: &str) -> Option<Histogram> {
    let mut values = Vec::new();
    for word in text.split_whitespace() {
        let (value, weight) = word.split_once('*').unwrap_or((word, "1"));
        let (value, weight) = (parse_float(value)?, parse_float(weight)?);
        if !value.is_finite() || !weight.is_finite() || weight < 0.0 {
            return None;
        }
        values.push((value, weight));
    }
    Some(Histogram::from_values(values))
}

/// Bytes of the name and the braces that `text` begins with.
fn end_of_labels(text: &str) -> usize {
    let (mut depth, mut quote, mut escaped) = (0usize, None, false);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(q), '\\') if q != '`' => escaped = true,
            (Some(q), c) if q == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '{') => depth += 1,
            (None, '}') if depth <= 1 => return at + 1,
            (None, '}') => depth -= 1,
            (None, c) if c.is_whitespace() && depth == 0 && !text[at..].trim_start().starts_with('{') => {
                return at;
            }
            (None, c) if c.is_whitespace() && depth == 0 && text[at..].trim_start().starts_with("{{") => {
                return at;
            }
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shorthand_stands_for_values() {
        let float = |values: &[f64]| values.iter().map(|v| Given::Float(*v)).collect::<Vec<_>>();
        let cases = [
            ("1 2.5 -3", float(&[1.0, 2.5, -3.0])),
            ("0+10x3", float(&[0.0, 10.0, 20.0, 30.0])),
            ("5-2x2", float(&[5.0, 3.0, 1.0])),
            ("-5-1x1", float(&[-5.0, -6.0])),
            ("7x2", float(&[7.0; 3])),
            ("1e-3+1e-3x1", float(&[0.001, 0.002])),
            ("_x2 stale _", vec![Given::Nothing, Given::Nothing, Given::Stale, Given::Nothing]),
            ("+Inf", float(&[f64::INFINITY])),
            ("{{1 1 2}}", vec![Given::Histogram(Histogram::from_values([(1.0, 2.0), (2.0, 1.0)]))]),
            ("{{1*2}}x1", vec![Given::Histogram(Histogram::from_values([(1.0, 2.0)])); 2]),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_values(text).unwrap(), expected, "{text}");
        }
        for text in ["x", "1y", "1x", "0+x3", "{{1", "{{a}}", "1x99999999999"] {
            assert!(parse_values(text).is_err(), "{text}");
        }
    }

    #[test]
    fn labels_end_where_values_begin() {
        let cases = [
            (r#"a{b="c d"} 1 2"#, r#"a{b="c d"}"#, "1 2"),
            (r#"{"etl.errors", b="}"} 1"#, r#"{"etl.errors", b="}"}"#, "1"),
            ("up 1", "up", "1"),
            ("up {{1 2}}", "up", "{{1 2}}"),
            ("{} 3", "{}", "3"),
        ];
        for (text, labels, rest) in cases {
            let (found, found_rest) = split_labels(text).unwrap();
            assert_eq!((found.to_string().as_str(), found_rest), (labels, rest));
        }
    }
}
