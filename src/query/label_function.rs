//! `label_replace`, `label_join` and `absent`'s labels.

use super::column::{Row, join_equal};
use super::error::Error;
use super::eval::Evaluator;
use super::expr::Selector;
use crate::model::label::NAME;
use crate::model::{Labels, MatchOp, Matcher};

/// Longest value that is made, in bytes: one function could make it of others, and
/// one of those again.
const MAX_VALUE_BYTES: usize = 64 << 10;

/// Sets label `target` to `replacement`, with `$1` … filled in, where `pattern`
/// matches all of label `source`.
pub(crate) fn replace(
    eval: &Evaluator<'_>,
    rows: Vec<Row>,
    target: &str,
    replacement: &str,
    source: &str,
    pattern: &str,
) -> Result<Vec<Row>, Error> {
    check_label(target, "label_replace")?;
    // A matcher bounds the size of its regular expression.
    let matcher =
        Matcher::regex(source, pattern).map_err(|e| Error::execution(format!("label_replace: {e}")))?;
    let MatchOp::Regex(regex) = &matcher.op else { return Ok(rows) };
    let groups = replacement.matches('$').count();
    set_each(eval, rows, target, |labels| {
        let value = labels.get(source).unwrap_or_default();
        let Some(captures) = regex.captures(value) else { return Ok(None) };
        check_value(replacement.len() + groups * value.len(), "label_replace")?;
        let mut new = String::new();
        captures.expand(replacement, &mut new);
        Ok(Some(new))
    })
}

/// Sets label `target` to the values of `sources`, `separator` between them.
pub(crate) fn join(
    eval: &Evaluator<'_>,
    rows: Vec<Row>,
    target: &str,
    separator: &str,
    sources: &[&str],
) -> Result<Vec<Row>, Error> {
    check_label(target, "label_join")?;
    set_each(eval, rows, target, |labels| {
        let values: Vec<&str> = sources.iter().map(|source| labels.get(source).unwrap_or_default()).collect();
        check_value(values.iter().map(|value| value.len() + separator.len()).sum(), "label_join")?;
        Ok(Some(values.join(separator)))
    })
}

/// Sets label `target` of each row to what `value` makes of its labels, if anything.
fn set_each(
    eval: &Evaluator<'_>,
    mut rows: Vec<Row>,
    target: &str,
    value: impl Fn(&Labels) -> Result<Option<String>, Error>,
) -> Result<Vec<Row>, Error> {
    let mut weight = rows.iter().map(|row| row.cells.len()).sum();
    for row in &mut rows {
        eval.check()?;
        if let Some(value) = value(&row.labels)? {
            row.labels = with_label(&row.labels, target, &value);
            row.drops_name &= target != NAME;
            weight += row.labels.own_weight();
            eval.check_size(1, weight)?;
        }
    }
    join_equal(rows)
}

fn check_value(bytes: usize, place: &str) -> Result<(), Error> {
    match bytes <= MAX_VALUE_BYTES {
        true => Ok(()),
        false => {
            Err(Error::Execution(format!("{place} would make a label of more than {MAX_VALUE_BYTES} bytes")))
        }
    }
}

/// Labels that an absent series would surely have had: those that the selector
/// asks to be equal, each asked for once.
pub(crate) fn of_absent(selector: Option<&Selector>) -> Labels {
    let Some([matchers]) = selector.map(|selector| &selector.alternatives[..]) else {
        return Labels::default();
    };
    let asked_once = |name: &str| matchers.iter().filter(|other| other.name == name).count() == 1;
    Labels::from_pairs(
        matchers
            .iter()
            .filter(|m| matches!(m.op, MatchOp::Equal) && m.name != NAME && !m.value.is_empty())
            .filter(|m| asked_once(&m.name))
            .map(|m| (m.name.as_str(), m.value.as_str())),
    )
}

/// The labels with `name` set; an empty value takes it away.
pub(crate) fn with_label(labels: &Labels, name: &str, value: &str) -> Labels {
    match value.is_empty() {
        true => labels.filtered(|other| other != name),
        false => labels.with(name, value),
    }
}

/// # Errors
/// When no label can be called so.
pub(crate) fn check_label(name: &str, place: &str) -> Result<(), Error> {
    match name.is_empty() {
        true => {
            Err(Error::Execution(format!("{place} needs the name of a label to set, not an empty string")))
        }
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::engine::{Engine, Options};
    use super::super::memory::MemorySource;
    use super::*;
    use std::sync::Arc;

    fn ask(text: &str, max_points: usize) -> Result<(), Error> {
        let source = MemorySource::new();
        for number in 0..100 {
            source.push(&Labels::from_pairs([(NAME, "x"), ("a", &number.to_string())]), None, 0, 1.0);
        }
        let engine = Engine::new(Arc::new(source), Options { max_points, ..Options::default() });
        engine.instant(text, 0).map(|_| ())
    }

    #[test]
    fn labels_that_double_again_and_again_are_refused() {
        for grow in [
            |of: String| format!(r#"label_join({of}, "b", "", "b", "b")"#),
            |of: String| format!(r#"label_replace({of}, "b", "$1$1", "b", "(.*)")"#),
        ] {
            let seed = r#"label_replace(vector(1), "b", "0123456789", "", "")"#.to_owned();
            assert!(ask(&(0..8).fold(seed.clone(), |of, _| grow(of)), 1000).is_ok());
            let refused = ask(&(0..20).fold(seed, |of, _| grow(of)), usize::MAX);
            assert!(matches!(refused, Err(Error::Execution(_))), "{refused:?}");
        }
    }

    #[test]
    fn labels_that_a_query_makes_count_as_what_it_holds() {
        // Of a hundred series, some 300 samples' worth each.
        let long = format!(r#"label_replace(x, "b", "{}", "", "")"#, "7".repeat(5_000));
        let both = format!("{long} + {long}");
        let joined = format!("x * on () group_left (b) {}", long.replace("(x,", "(x{a='1'},"));
        for (text, max_points, is_answered) in [
            (&long, 35_000, true),
            (&long, 25_000, false),
            (&both, 70_000, true),
            (&both, 50_000, false),
            (&joined, 35_000, true),
            (&joined, 25_000, false),
        ] {
            let answer = ask(text, max_points);
            let is_refused = matches!(answer, Err(Error::Limit { .. }));
            assert_eq!((answer.is_ok(), is_refused), (is_answered, !is_answered), "{max_points} {answer:?}");
        }
    }
}
