//! Labels of a series: sorted by name, each name once, the metric's name
//! among them as `__name__`.
//!
//! Names and values are UTF-8 and otherwise as they were sent: escaping is the
//! business of the formats that need it ([`escape_name`]).

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, LazyLock};

/// The label that holds the metric's name.
pub const NAME: &str = "__name__";

/// Names of metrics and labels that begin so come from ourselves alone: who takes
/// names from elsewhere sees to it.
pub const OWN_PREFIX: &str = "statsdeck_";

/// How the names of counters end, where nothing else tells what a series is.
pub const COUNTER_ENDINGS: [&str; 4] = ["_total", "_sum", "_count", "_bucket"];

/// Whether a series of this name counts, as far as names tell.
pub fn is_counter_name(name: &str) -> bool {
    COUNTER_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// One label: name and value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label {
    pub name: Box<str>,
    pub value: Box<str>,
}

/// A sorted set of labels; cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Labels(Arc<[Label]>);

impl Labels {
    /// Builds a set from pairs in any order. When a name comes twice, the last
    /// value wins.
    pub fn from_pairs<N: Into<Box<str>>, V: Into<Box<str>>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut labels: Vec<Label> =
            pairs.into_iter().map(|(name, value)| Label { name: name.into(), value: value.into() }).collect();
        // Stable, so that among equal names the order of arrival is kept.
        labels.sort_by(|a, b| a.name.cmp(&b.name));
        labels.reverse();
        labels.dedup_by(|later, kept| later.name == kept.name);
        labels.reverse();
        Labels(labels.into())
    }

    /// Labels of a metric called `name` and nothing else.
    pub fn of_name(name: &str) -> Self {
        Labels::from_pairs([(NAME, name)])
    }

    /// Value of the label `name`, if there.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.binary_search_by(|label| (*label.name).cmp(name)).ok().map(|at| &*self.0[at].value)
    }

    /// The metric's name; empty when there is none (a computed series).
    pub fn name(&self) -> &str {
        self.get(NAME).unwrap_or_default()
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> + Clone {
        self.0.iter().map(|label| (&*label.name, &*label.value))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many plain samples (16 bytes) would take their memory; none where others
    /// hold it as well.
    pub fn own_weight(&self) -> usize {
        let bytes = |label: &Label| size_of::<Label>() + label.name.len() + label.value.len();
        match Arc::strong_count(&self.0) {
            1 => self.0.iter().map(bytes).sum::<usize>() / 16,
            _ => 0,
        }
    }

    /// The empty set.
    pub fn none() -> &'static Self {
        static NONE: LazyLock<Labels> = LazyLock::new(Labels::default);
        &NONE
    }

    /// The same labels with `name` set to `value`.
    pub fn with(&self, name: &str, value: &str) -> Self {
        Labels::from_pairs(self.iter().chain([(name, value)]))
    }

    /// The labels for which `keep` says yes.
    pub fn filtered(&self, mut keep: impl FnMut(&str) -> bool) -> Self {
        Labels::from_pairs(self.iter().filter(|(name, _)| keep(name)))
    }

    /// The same labels with names and values of more than `bytes_max` bytes cut
    /// off, each with `…` at its end, and how many there were.
    pub fn cut(self, bytes_max: usize) -> (Self, u64) {
        let long = |text: &str| text.len() > bytes_max;
        let texts = self.iter().flat_map(|(name, value)| [name, value]);
        let cut = texts.filter(|text| long(text)).count() as u64;
        if cut == 0 {
            return (self, 0);
        }
        let shorten = |text: &str| match long(text) {
            false => text.to_owned(),
            true => format!("{}…", beginning(text, bytes_max)),
        };
        let pairs = self.iter().map(|(name, value)| (shorten(name), shorten(value)));
        (Labels::from_pairs(pairs), cut)
    }

    /// The labels without the metric's name.
    pub fn without_name(&self) -> Self {
        self.filtered(|name| name != NAME)
    }
}

/// At most `bytes_max` bytes of the text's beginning, whole characters.
pub fn beginning(text: &str, bytes_max: usize) -> &str {
    let end = (0..=bytes_max.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

/// `name{label="value", …}`, in PromQL's spelling: names that are no plain
/// identifiers are quoted inside the braces.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        let quoted_name = !name.is_empty() && escape_name(name) != name;
        if !quoted_name {
            f.write_str(name)?;
        }
        if self.len() == usize::from(!name.is_empty()) && !quoted_name && !name.is_empty() {
            return Ok(());
        }
        f.write_str("{")?;
        let mut separator = "";
        if quoted_name {
            write!(f, "{name:?}")?;
            separator = ", ";
        }
        for (label, value) in self.iter().filter(|(label, _)| *label != NAME) {
            if escape_label_name(label) == label {
                write!(f, "{separator}{label}={value:?}")?;
            } else {
                write!(f, "{separator}{label:?}={value:?}")?;
            }
            separator = ", ";
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `name` with every character that Prometheus' classic name grammar
/// (`[a-zA-Z_:][a-zA-Z0-9_:]*`) does not know replaced by `_`.
pub fn escape_name(name: &str) -> Cow<'_, str> {
    escape(name, |c| c.is_ascii_alphabetic() || c == '_' || c == ':')
}

/// As [`escape_name`] for label names, where `:` is not allowed either.
pub fn escape_label_name(name: &str) -> Cow<'_, str> {
    escape(name, |c| c.is_ascii_alphabetic() || c == '_')
}

fn escape(name: &str, allowed_anywhere: impl Fn(char) -> bool) -> Cow<'_, str> {
    let starts_well = name.chars().next().is_some_and(&allowed_anywhere);
    if starts_well && name.chars().all(|c| allowed_anywhere(c) || c.is_ascii_digit()) {
        return Cow::Borrowed(name);
    }
    let mut escaped = String::with_capacity(name.len() + 1);
    for (at, c) in name.chars().enumerate() {
        if at == 0 && c.is_ascii_digit() {
            escaped.push('_');
        }
        escaped.push(if allowed_anywhere(c) || c.is_ascii_digit() { c } else { '_' });
    }
    if escaped.is_empty() {
        escaped.push('_');
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_sorted_and_the_last_of_a_name_wins() {
        let labels = Labels::from_pairs([("b", "1"), (NAME, "m"), ("a", "2"), ("b", "3")]);
        assert_eq!(labels.to_string(), r#"m{a="2", b="3"}"#);
        assert_eq!(labels.get("b"), Some("3"));
        assert_eq!(labels.name(), "m");
        assert_eq!(labels.len(), 3);
    }

    #[test]
    fn long_names_and_values_are_cut_off_with_a_mark() {
        let labels = Labels::from_pairs([(NAME, "ääääää"), ("k", "12345678"), ("l", "1234567890")]);
        let (cut, n) = labels.clone().cut(9);
        assert_eq!((cut.to_string().as_str(), n), (r#"{"ääää…", k="12345678", l="123456789…"}"#, 2));
        assert_eq!(labels.clone().cut(12), (labels, 0));
    }

    #[test]
    fn display_is_promql() {
        let cases = [
            (vec![(NAME, "up")], "up"),
            (vec![(NAME, "etl.errors")], r#"{"etl.errors"}"#),
            (vec![(NAME, "etl.errors"), ("a b", "c")], r#"{"etl.errors", "a b"="c"}"#),
            (vec![("job", "x")], r#"{job="x"}"#),
            (vec![], "{}"),
        ];
        for (pairs, expected) in cases {
            assert_eq!(Labels::from_pairs(pairs).to_string(), expected);
        }
    }

    #[test]
    fn escaping_follows_the_classic_grammar() {
        let cases = [
            ("up", "up"),
            ("etl.duration_seconds", "etl_duration_seconds"),
            ("9lives", "_9lives"),
            ("é", "_"),
            ("a:b", "a:b"),
            ("", "_"),
        ];
        for (name, expected) in cases {
            assert_eq!(escape_name(name), expected, "{name:?}");
        }
        assert_eq!(escape_label_name("a:b"), "a_b");
    }
}
