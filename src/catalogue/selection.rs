//! Which keys the matchers of a selector mean: where in the order of keys they
//! can be, and which of those fulfil all.
//!
//! Where to look is a guess on the safe side: never too narrow.

use super::key;
use crate::model::label::escape_name;
use crate::model::{MatchOp, Matcher, SeriesKey};

/// A series that was looked for.
pub struct Match<'a> {
    key: &'a [u8],
}

impl Match<'_> {
    /// What the series is; `None` when its key is none.
    pub fn series(self) -> Option<SeriesKey> {
        key::decode(self.key)
    }
}

/// A matcher of a label, with the bytes that stand for the label in a key.
pub(super) type OnLabel<'m> = (Vec<u8>, &'m Matcher);

/// The series of `key` if it fulfils the matchers. Most keys do not: those are not
/// decoded.
pub(super) fn wanted<'k>(
    key: &'k [u8],
    on_name: &[&Matcher],
    on_labels: &[OnLabel<'_>],
    judged: &mut (Vec<u8>, bool),
) -> Option<Match<'k>> {
    let name_bytes = name_part(key)?;
    if judged.0 != name_bytes || judged.0.is_empty() {
        let name = key::name(key)?;
        judged.0.clear();
        judged.0.extend_from_slice(name_bytes);
        judged.1 = on_name.iter().all(|matcher| matcher.matches_value(&name));
    }
    let fits = |(label, matcher): &OnLabel<'_>| {
        key::value(key, label).is_some_and(|value| matcher.matches_value(&value))
    };
    (judged.1 && on_labels.iter().all(fits)).then_some(Match { key })
}

/// Escaped name and patch of a key.
fn name_part(key: &[u8]) -> Option<&[u8]> {
    let escaped = memchr::memchr(0, key)?;
    let patch = memchr::memchr(0, key.get(escaped + 1..)?)?;
    key.get(..escaped + 1 + patch)
}

/// Where the keys begin that name matchers can mean, and what all of them begin
/// with.
pub(super) fn name_prefix(on_name: &[&Matcher]) -> (Vec<u8>, Vec<u8>) {
    for matcher in on_name {
        if matches!(matcher.op, MatchOp::Equal) && !matcher.value.is_empty() {
            let mut exact = escape_name(&matcher.value).into_owned().into_bytes();
            exact.push(0);
            return (exact.clone(), exact);
        }
    }
    for matcher in on_name {
        if let MatchOp::Regex(_) = matcher.op {
            let literal = literal_prefix(&matcher.value);
            if !literal.is_empty() {
                let prefix = escape_name(literal).into_owned().into_bytes();
                return (prefix.clone(), prefix);
            }
        }
    }
    (Vec::new(), Vec::new())
}

/// What every text that the expression matches begins with, as far as that is
/// plain to see.
fn literal_prefix(expression: &str) -> &str {
    if expression.contains('|') {
        return "";
    }
    let special = |c: char| !(c.is_alphanumeric() || matches!(c, '_' | ':' | '-' | '/'));
    let end = expression.find(special).unwrap_or(expression.len());
    let literal = &expression[..end];
    let repeats = expression[end..].starts_with(['?', '*', '{']);
    match literal.char_indices().next_back() {
        // The last character may be missing.
        Some((last, _)) if repeats => &literal[..last],
        _ => literal,
    }
}
