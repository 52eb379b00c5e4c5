//! Values as the classic server shows them: like an object in JavaScript, names
//! in quotes where they are no plain words.

use crate::model::label::NAME;
use crate::model::{Labels, MetricType};
use std::fmt::Write;

/// An object of so few entries and characters stands on one line.
const LINE_ENTRIES: usize = 6;
const LINE_CHARS: usize = 72;

/// What a series is called here: its name, and tags as `;key=value`.
pub fn key(labels: &Labels) -> String {
    let mut key = labels.name().to_owned();
    for (name, value) in labels.iter().filter(|(name, _)| *name != NAME) {
        let _ = write!(key, ";{name}={value}");
    }
    key
}

/// A distribution: how many values, and their sum in the unit they were sent in.
pub fn distribution(metric_type: MetricType, count: f64, sum: f64) -> String {
    format!("{{ count: {count}, sum: {} }}", sum * metric_type.unit_divisor())
}

/// An object of these entries, in their order.
pub fn object(entries: &[(String, String)]) -> String {
    if entries.is_empty() {
        return "{}".into();
    }
    if entries.len() <= LINE_ENTRIES {
        let parts: Vec<String> =
            entries.iter().map(|(key, value)| format!("{}: {value}", quoted(key))).collect();
        let line = format!("{{ {} }}", parts.join(", "));
        if line.chars().count() <= LINE_CHARS {
            return line;
        }
    }
    let mut out = String::from("{");
    let mut separator = "\n";
    for (key, value) in entries {
        let _ = write!(out, "{separator}  {}: {value}", quoted(key));
        separator = ",\n";
    }
    out.push_str("\n}");
    out
}

fn quoted(key: &str) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if key.chars().all(word) && key.starts_with(|c: char| !c.is_ascii_digit()) {
        return key.to_owned();
    }
    let mut quoted = String::with_capacity(key.len() + 2);
    quoted.push('\'');
    for c in key.chars() {
        match c {
            '\'' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.extend(c.escape_default()),
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_look_like_those_of_javascript() {
        let entries = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect::<Vec<_>>()
        };
        let long = "x".repeat(60);
        let cases = [
            (entries(&[]), "{}".to_owned()),
            (entries(&[("a", "1"), ("b.c", "2.5")]), "{ a: 1, 'b.c': 2.5 }".to_owned()),
            (entries(&[("it's", "1"), ("a\nb", "2")]), r"{ 'it\'s': 1, 'a\nb': 2 }".to_owned()),
            (entries(&[("", "1"), ("9", "2")]), "{ '': 1, '9': 2 }".to_owned()),
            (entries(&[(&long, "1"), ("b", "123456")]), format!("{{\n  {long}: 1,\n  b: 123456\n}}")),
        ];
        for (entries, expected) in cases {
            assert_eq!(object(&entries), expected);
        }
        let many: Vec<_> = (0..7).map(|at| (format!("a{at}"), "1".to_owned())).collect();
        assert!(object(&many).starts_with("{\n  a0: 1,\n"));
    }

    #[test]
    fn a_series_is_called_by_its_name_and_tags() {
        let labels = Labels::from_pairs([(NAME, "a.b"), ("k", "v"), ("job", "x")]);
        assert_eq!(key(&labels), "a.b;job=x;k=v");
        assert_eq!(distribution(MetricType::Timer, 3.0, 0.42), "{ count: 3, sum: 420 }");
        assert_eq!(distribution(MetricType::Histogram, 1.0, 2.5), "{ count: 1, sum: 2.5 }");
    }
}
