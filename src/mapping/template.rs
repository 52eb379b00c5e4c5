//! `$1` and `${1}` in names and label values: what a match took.
//!
//! Globs and regexes read them differently in statsd_exporter, and so do we:
//! with a glob an unknown one is empty; with a regex the rules are those of
//! Go's `Expand`, named groups, `$0` and `$$` included.

/// A text with places for captures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// Number of a capture; 0 is the whole match.
    Capture(usize),
}

/// References of a template that name no capture, as written.
pub type Unknown = Vec<String>;

impl Template {
    /// For a glob with `stars` wildcards.
    pub fn for_glob(text: &str, stars: usize) -> (Self, Unknown) {
        Template::read(text, glob_reference, |name| {
            name.parse().ok().filter(|number| (1..=stars).contains(number))
        })
    }

    /// For a regex whose groups have these names; the first is the whole match.
    pub fn for_regex(text: &str, groups: &[Option<&str>]) -> (Self, Unknown) {
        Template::read(text, regex_reference, |name| {
            let leading_zero = name.len() > 1 && name.starts_with('0');
            match name.parse::<usize>() {
                Ok(number) if !leading_zero => (number < groups.len()).then_some(number),
                _ => groups.iter().position(|group| *group == Some(name)),
            }
        })
    }

    /// The text with `capture(n)` in the places.
    pub fn fill<'c>(&self, capture: impl Fn(usize) -> &'c str) -> String {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Capture(number) => text.push_str(capture(*number)),
            }
        }
        text
    }

    /// `reference` reads what follows a `$`: what it stands for and how many
    /// bytes it has; `number` finds the capture of a name.
    fn read<'t>(
        text: &'t str,
        reference: impl Fn(&'t str) -> Reference<'t>,
        number: impl Fn(&str) -> Option<usize>,
    ) -> (Self, Unknown) {
        let (mut pieces, mut unknown) = (Vec::new(), Vec::new());
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            plain.push_str(&rest[..at]);
            let after = &rest[at + 1..];
            let length = match reference(after) {
                Reference::Capture(name, length) => {
                    match number(name) {
                        Some(number) => {
                            pieces.push(Piece::Text(std::mem::take(&mut plain)));
                            pieces.push(Piece::Capture(number));
                        }
                        None => unknown.push(format!("${}", &after[..length])),
                    }
                    length
                }
                Reference::Text(text, length) => {
                    plain.push_str(text);
                    length
                }
            };
            rest = &after[length..];
        }
        plain.push_str(rest);
        pieces.push(Piece::Text(plain));
        pieces.retain(|piece| !matches!(piece, Piece::Text(text) if text.is_empty()));
        (Template { pieces }, unknown)
    }
}

enum Reference<'t> {
    Capture(&'t str, usize),
    Text(&'static str, usize),
}

/// Braces are optional on either side, as there.
fn glob_reference(after: &str) -> Reference<'_> {
    let inner = after.strip_prefix('{').unwrap_or(after);
    let is_end = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '$'));
    let name = &inner[..inner.find(is_end).unwrap_or(inner.len())];
    if name.is_empty() {
        return Reference::Text("$", 0);
    }
    let closed = inner[name.len()..].starts_with('}');
    Reference::Capture(name, after.len() - inner.len() + name.len() + usize::from(closed))
}

fn regex_reference(after: &str) -> Reference<'_> {
    if after.starts_with('$') {
        return Reference::Text("$", 1);
    }
    let inner = after.strip_prefix('{').unwrap_or(after);
    let is_end = |c: char| !(c.is_alphanumeric() || c == '_');
    let name = &inner[..inner.find(is_end).unwrap_or(inner.len())];
    let braced = inner.len() < after.len();
    match inner[name.len()..].chars().next() {
        _ if name.is_empty() => Reference::Text("$", 0),
        Some('}') if braced => Reference::Capture(name, name.len() + 2),
        _ if braced => Reference::Text("$", 0),
        _ => Reference::Capture(name, name.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPTURES: [&str; 4] = ["whole", "one", "two", "three"];

    fn check_glob(text: &str, expected: &str, unknown: &[&str]) {
        let (template, found) = Template::for_glob(text, 3);
        assert_eq!(template.fill(|n| CAPTURES[n]), expected, "{text}");
        assert_eq!(found, unknown, "{text}");
    }

    fn check_regex(text: &str, expected: &str, unknown: &[&str]) {
        let (template, found) = Template::for_regex(text, &[None, None, Some("job"), None]);
        assert_eq!(template.fill(|n| CAPTURES[n]), expected, "{text}");
        assert_eq!(found, unknown, "{text}");
    }

    #[test]
    fn references_of_globs() {
        check_glob("plain", "plain", &[]);
        check_glob("${2}_total", "two_total", &[]);
        check_glob("$1-$3", "one-three", &[]);
        check_glob("a${1}b$2", "aonebtwo", &[]);
        check_glob("$1_total", "", &["$1_total"]);
        check_glob("x$0y", "x", &["$0y"]);
        check_glob("x${0}y", "xy", &["${0}"]);
        check_glob("${4}", "", &["${4}"]);
        check_glob("5 $ and %s", "5 $ and %s", &[]);
        check_glob("a$", "a$", &[]);
    }

    #[test]
    fn references_of_regexes() {
        check_regex("$0", "whole", &[]);
        check_regex("${1}_total", "one_total", &[]);
        check_regex("$1_total", "", &["$1_total"]);
        check_regex("$job/${job}", "two/two", &[]);
        check_regex("$$1", "$1", &[]);
        check_regex("${1", "${1", &[]);
        check_regex("$9 ${01}", " ", &["$9", "${01}"]);
    }
}
