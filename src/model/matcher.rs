//! A matcher: one condition on a label, as in PromQL's `{job=~"etl.*"}`.
//!
//! The metric's name answers to both spellings: `etl_errors` also matches a
//! series that was sent as `etl.errors`.

use super::label::{self, Labels, NAME};
use regex::Regex;
use std::fmt;

/// Longest regular expression taken, in bytes.
pub const MAX_REGEX_BYTES: usize = 1024;
/// Largest compiled regular expression, in bytes.
const MAX_REGEX_SIZE: usize = 1 << 20;

/// How a matcher compares.
#[derive(Clone, Debug)]
pub enum MatchOp {
    Equal,
    NotEqual,
    /// Anchored at both ends, as in Prometheus.
    Regex(Regex),
    NotRegex(Regex),
}

/// One condition on a label; a label that is not there counts as empty.
#[derive(Clone, Debug)]
pub struct Matcher {
    pub name: String,
    pub op: MatchOp,
    /// The text as written.
    pub value: String,
}

/// A regular expression that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MatcherError {
    #[error("regular expression of {0} bytes is over the limit of {MAX_REGEX_BYTES}")]
    TooLong(usize),
    #[error("bad regular expression {text:?}: {reason}")]
    Regex { text: String, reason: String },
}

impl Matcher {
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Matcher { name: name.into(), op: MatchOp::Equal, value: value.into() }
    }

    pub fn not_equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Matcher { name: name.into(), op: MatchOp::NotEqual, value: value.into() }
    }

    pub fn regex(name: impl Into<String>, text: &str) -> Result<Self, MatcherError> {
        let op = MatchOp::Regex(anchored(text)?);
        Ok(Matcher { name: name.into(), op, value: text.into() })
    }

    pub fn not_regex(name: impl Into<String>, text: &str) -> Result<Self, MatcherError> {
        let op = MatchOp::NotRegex(anchored(text)?);
        Ok(Matcher { name: name.into(), op, value: text.into() })
    }

    /// Whether `value`, the value of this matcher's label (empty when the
    /// label is not there), fulfils the condition.
    pub fn matches_value(&self, value: &str) -> bool {
        if self.name != NAME {
            return self.matches_text(value);
        }
        // A name may be asked for as sent or escaped; "not" must hold for both.
        let escaped = label::escape_name(value);
        let as_sent = self.matches_text(value);
        if value.is_empty() || escaped == value {
            return as_sent;
        }
        let as_escaped = self.matches_text(&escaped);
        match self.op {
            MatchOp::Equal | MatchOp::Regex(_) => as_sent || as_escaped,
            MatchOp::NotEqual | MatchOp::NotRegex(_) => as_sent && as_escaped,
        }
    }

    /// Whether the series with these labels fulfils the condition.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.matches_value(labels.get(&self.name).unwrap_or_default())
    }

    fn matches_text(&self, text: &str) -> bool {
        match &self.op {
            MatchOp::Equal => text == self.value,
            MatchOp::NotEqual => text != self.value,
            MatchOp::Regex(regex) => regex.is_match(text),
            MatchOp::NotRegex(regex) => !regex.is_match(text),
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = match self.op {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex(_) => "=~",
            MatchOp::NotRegex(_) => "!~",
        };
        write!(f, "{}{op}{:?}", self.name, self.value)
    }
}

fn anchored(text: &str) -> Result<Regex, MatcherError> {
    if text.len() > MAX_REGEX_BYTES {
        return Err(MatcherError::TooLong(text.len()));
    }
    let build = |pattern: &str| {
        regex::RegexBuilder::new(pattern)
            .size_limit(MAX_REGEX_SIZE)
            .build()
            .map_err(|error| MatcherError::Regex { text: text.into(), reason: error.to_string() })
    };
    // On its own first, so that an unbalanced `)` cannot slip out of the anchors.
    build(text)?;
    build(&format!("^(?s:{text})$"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_as_sent_and_escaped() {
        let labels = Labels::from_pairs([(NAME, "etl.errors"), ("job", "import")]);
        let cases = [
            (Matcher::equal(NAME, "etl.errors"), true),
            (Matcher::equal(NAME, "etl_errors"), true),
            (Matcher::not_equal(NAME, "etl_errors"), false),
            (Matcher::not_equal(NAME, "other"), true),
            (Matcher::regex(NAME, "etl_.*").unwrap(), true),
            (Matcher::not_regex(NAME, "etl_.*").unwrap(), false),
            (Matcher::equal("job", "import"), true),
            (Matcher::regex("job", "im").unwrap(), false),
            (Matcher::equal("missing", ""), true),
            (Matcher::not_equal("missing", ""), false),
        ];
        for (matcher, expected) in cases {
            assert_eq!(matcher.matches(&labels), expected, "{matcher}");
        }
    }

    #[test]
    fn hostile_expressions_are_refused() {
        assert!(Matcher::regex("a", "(").is_err());
        assert!(Matcher::regex("a", "x)|(y").is_err());
        assert!(Matcher::regex("a", &"a".repeat(2000)).is_err());
        assert!(Matcher::regex("a", "((a{500}){500}){500}").is_err());
    }
}
