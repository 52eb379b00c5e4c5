//! `label_replace`, `label_join` and `absent`'s labels.

use super::column::{Row, join_equal};
use super::error::Error;
use super::expr::Selector;
use crate::model::label::NAME;
use crate::model::{Labels, MatchOp, Matcher};

/// Sets label `target` to `replacement`, with `$1` … filled in, where `pattern`
/// matches all of label `source`.
pub(crate) fn replace(
    mut rows: Vec<Row>,
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
    for row in &mut rows {
        let value = row.labels.get(source).unwrap_or_default();
        if let Some(captures) = regex.captures(value) {
            let mut new = String::new();
            captures.expand(replacement, &mut new);
            row.labels = with_label(&row.labels, target, &new);
            row.drops_name &= target != NAME;
        }
    }
    join_equal(rows)
}

/// Sets label `target` to the values of `sources`, `separator` between them.
pub(crate) fn join(
    mut rows: Vec<Row>,
    target: &str,
    separator: &str,
    sources: &[&str],
) -> Result<Vec<Row>, Error> {
    check_label(target, "label_join")?;
    for row in &mut rows {
        let values: Vec<&str> =
            sources.iter().map(|source| row.labels.get(source).unwrap_or_default()).collect();
        row.labels = with_label(&row.labels, target, &values.join(separator));
        row.drops_name &= target != NAME;
    }
    join_equal(rows)
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
