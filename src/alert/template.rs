//! Texts of labels and annotations with `{{ $labels.name }}`, `{{ $value }}`
//! and functions behind a pipe or in front, as Prometheus' rule files have
//! them. No loops, no conditions, no queries: what is not known here is an
//! error when the rule is loaded. Rendering does no escaping; that is the
//! business of the format that carries the text.

use super::number;
use crate::model::Labels;

/// A rendered text is cut to this many bytes.
pub const RENDERED_BYTES_MAX: usize = 8 * 1024;

/// A parsed text.
#[derive(Clone, Debug)]
pub struct Template {
    source: Box<str>,
    parts: Vec<Part>,
}

/// What is wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("\"{{{{\" at byte {at} is never closed; write \"}}}}\" after it")]
    Unclosed { at: usize },
    #[error("{{{{{inside}}}}} is empty or incomplete; write {{{{ $value }}}} or {{{{ $labels.name }}}}")]
    Incomplete { inside: String },
    #[error("{{{{{inside}}}}}: {word:?} is not known here; known are $value, $labels.name and the functions {}",
        FUNCTIONS.map(|(name, _)| name).join(", "))]
    Unknown { inside: String, word: String },
}

#[derive(Clone, Debug)]
enum Part {
    Text(Box<str>),
    Expression { source: Source, functions: Vec<Function> },
}

#[derive(Clone, Debug)]
enum Source {
    Value,
    Label(Box<str>),
}

#[derive(Clone, Copy, Debug)]
enum Function {
    Number(fn(f64) -> String),
    Text(fn(&str) -> String),
}

const FUNCTIONS: [(&str, Function); 7] = [
    ("humanize", Function::Number(number::humanize)),
    ("humanize1024", Function::Number(number::humanize1024)),
    ("humanizeDuration", Function::Number(number::humanize_duration)),
    ("humanizePercentage", Function::Number(number::humanize_percentage)),
    ("toUpper", Function::Text(|text| text.to_uppercase())),
    ("toLower", Function::Text(|text| text.to_lowercase())),
    ("title", Function::Text(title)),
];

impl Template {
    pub fn parse(source: &str) -> Result<Self, Error> {
        let mut parts = Vec::new();
        let mut rest = source;
        while let Some(open) = rest.find("{{") {
            let at = source.len() - rest.len() + open;
            if open > 0 {
                parts.push(Part::Text(rest[..open].into()));
            }
            let inside = &rest[open + 2..];
            let close = inside.find("}}").ok_or(Error::Unclosed { at })?;
            parts.push(expression(&inside[..close])?);
            rest = &inside[close + 2..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        Ok(Template { source: source.into(), parts })
    }

    /// The text as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text for one sample. A label that is not there is empty.
    pub fn render(&self, labels: &Labels, value: f64) -> String {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Expression { source, functions } => {
                    text.push_str(&expand(source, functions, labels, value));
                }
            }
        }
        if text.len() > RENDERED_BYTES_MAX {
            let mut end = RENDERED_BYTES_MAX - "…".len();
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
            text.push('…');
        }
        text
    }
}

fn expand(source: &Source, functions: &[Function], labels: &Labels, value: f64) -> String {
    // A number stays one up to the first function, so that no digit is lost.
    let mut number = None;
    let mut text = match source {
        Source::Value => {
            number = Some(value);
            number::plain(value)
        }
        Source::Label(name) => labels.get(name).unwrap_or_default().to_owned(),
    };
    for function in functions {
        text = match function {
            Function::Text(apply) => apply(&text),
            Function::Number(apply) => match number.or_else(|| text.trim().parse().ok()) {
                Some(value) => apply(value),
                // Only a label can be no number: shown as it is, the notice must go out.
                None => text,
            },
        };
        number = None;
    }
    text
}

/// `$value | humanize` or `humanize $value`.
fn expression(inside: &str) -> Result<Part, Error> {
    let incomplete = || Error::Incomplete { inside: inside.into() };
    let unknown = |word: &str| Error::Unknown { inside: inside.into(), word: word.into() };
    let mut stages = inside.split('|');
    let mut words = stages.next().unwrap_or_default().split_whitespace().rev();
    let word = words.next().ok_or_else(incomplete)?;
    let source = match word {
        "$value" | ".Value" => Source::Value,
        _ => match word.strip_prefix("$labels.").or_else(|| word.strip_prefix(".Labels.")) {
            Some("") => return Err(incomplete()),
            Some(name) => Source::Label(name.into()),
            None if function(word).is_some() => return Err(incomplete()),
            None => return Err(unknown(word)),
        },
    };
    let mut functions = Vec::new();
    for word in words {
        functions.push(function(word).ok_or_else(|| unknown(word))?);
    }
    for stage in stages {
        let word = stage.trim();
        if word.is_empty() {
            return Err(incomplete());
        }
        functions.push(function(word).ok_or_else(|| unknown(word))?);
    }
    Ok(Part::Expression { source, functions })
}

fn function(word: &str) -> Option<Function> {
    FUNCTIONS.iter().find(|(name, _)| *name == word).map(|(_, function)| *function)
}

fn title(text: &str) -> String {
    let mut titled = String::with_capacity(text.len());
    let mut starts = true;
    for c in text.chars() {
        if starts {
            titled.extend(c.to_uppercase());
        } else {
            titled.push(c);
        }
        starts = !c.is_alphanumeric() && c != '\'';
    }
    titled
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn render(source: &str) -> Result<String, String> {
        let labels = Labels::from_pairs([
            ("__name__", "etl.errors"),
            ("job", "daily load"),
            ("a.b", "x"),
            ("n", "2000"),
        ]);
        Template::parse(source).map(|template| template.render(&labels, 1536.0)).map_err(|e| e.to_string())
    }

    #[test]
    fn texts_are_filled_in() {
        let cases = [
            ("", ""),
            ("plain } { text", "plain } { text"),
            ("{{ $value }} errors in {{ $labels.job }}", "1536 errors in daily load"),
            ("{{$value|humanize}}", "1.536k"),
            ("{{ humanize $value }}", "1.536k"),
            ("{{ $value | humanize1024 }}B", "1.5kiB"),
            ("{{ .Value | humanizeDuration }}", "25m 36s"),
            ("{{ $labels.job | title | toUpper }}", "DAILY LOAD"),
            ("{{ title $labels.job }}", "Daily Load"),
            ("{{ $labels.a.b }}{{ .Labels.a.b }}", "xx"),
            ("{{ $labels.n | humanize }}", "2k"),
            ("{{ $labels.job | humanize }}", "daily load"),
            ("[{{ $labels.missing }}]", "[]"),
            ("{{ $labels.__name__ }}", "etl.errors"),
            ("é{{ $value }}é", "é1536é"),
        ];
        for (source, expected) in cases {
            assert_eq!(render(source).as_deref(), Ok(expected), "{source}");
        }
    }

    #[test]
    fn what_is_not_known_is_an_error_at_load_time() {
        let cases = [
            ("ab {{ $value", "\"{{\" at byte 3 is never closed"),
            ("{{ }}", "{{ }} is empty or incomplete"),
            ("{{ $labels. }}", "incomplete"),
            ("{{ humanize }}", "incomplete"),
            ("{{ $value | }}", "incomplete"),
            ("{{ $val }}", "{{ $val }}: \"$val\" is not known here; known are $value, $labels.name"),
            ("{{ $value | humanise }}", "\"humanise\" is not known here"),
            ("{{ printf \"%.1f\" $value }}", "is not known here"),
            ("{{ range query \"up\" }}", "is not known here"),
        ];
        for (source, expected) in cases {
            let error = render(source).unwrap_err();
            assert!(error.contains(expected), "{source}: {error}");
        }
    }

    #[test]
    fn a_text_is_bounded() {
        let labels = Labels::from_pairs([("x", "é".repeat(5_000))]);
        let text = Template::parse("{{ $labels.x }}{{ $labels.x }}").unwrap().render(&labels, 0.0);
        assert!(text.len() <= RENDERED_BYTES_MAX && text.ends_with("é…"), "{}", text.len());
    }

    proptest! {
        #[test]
        fn no_text_panics(source in r"(\PC|\{\{|\}\}|\$labels\.|\$value|\||humanize| ){0,20}", value: f64) {
            if let Ok(template) = Template::parse(&source) {
                template.render(&Labels::default(), value);
            }
        }
    }
}
