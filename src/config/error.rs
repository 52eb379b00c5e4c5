//! What is wrong in a config file: where, which key, and what to write.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

/// One thing that is wrong, found after the TOML itself was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// Bytes of the file that are at fault, where known.
    pub span: Option<Range<usize>>,
    /// Dotted key, such as `alert.rule[0].expr`.
    pub key: String,
    /// What is wrong and what to do, a lower-case fragment.
    pub message: String,
}

impl Problem {
    pub fn new(
        span: impl Into<Option<Range<usize>>>,
        key: impl Into<String>,
        message: impl fmt::Display,
    ) -> Self {
        Problem { span: span.into(), key: key.into(), message: message.to_string() }
    }

    /// The problem of the file called `path` whose text is `text`, for people.
    pub fn render(&self, path: &str, text: &str) -> String {
        without_urls(&render_plain(path, text, self))
    }
}

/// A config that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    /// All problems of one file, already with line, key and excerpt.
    #[error("{0}")]
    Invalid(String),
}

impl Error {
    /// Renders `problems` of the file called `path` whose text is `text`.
    pub fn invalid(path: &str, text: &str, problems: &[Problem]) -> Self {
        let rendered: Vec<String> = problems.iter().map(|p| p.render(path, text)).collect();
        Error::Invalid(rendered.join("\n"))
    }
}

/// Schemes of addresses to listen on, which are no secret.
const OPEN_SCHEMES: [&str; 4] = ["udp", "tcp", "unixgram", "unix"];

/// `text` with what follows `://` hidden: URLs of webhooks are secrets.
fn without_urls(text: &str) -> String {
    let mut parts = text.split("://");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'')).unwrap_or(part.len());
        // What a message itself says, such as "https://host/path", stays readable.
        let example = part.starts_with("host/path");
        let open = OPEN_SCHEMES.iter().any(|scheme| shown.ends_with(scheme));
        shown.push_str("://");
        shown.push_str(if example || open { &part[..end] } else { "…" });
        shown.push_str(&part[end..]);
    }
    shown
}

/// Keys of which no value is shown: a URL that is misspelt is a secret all the
/// same and looks like nothing, and where a hash belongs may stand the API key.
const SECRET_KEYS: [&str; 2] = ["url", "hash"];

/// A line of the file without what it sets a secret key to.
fn without_secret(line: &str) -> &str {
    let written = SECRET_KEYS.iter().flat_map(|key| line.match_indices(key));
    let secrets = written.filter_map(|(at, key)| {
        let begins = !line[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '-'));
        let rest = line[at + key.len()..].trim_start_matches(['"', '\'']).trim_start();
        (begins && rest.starts_with('=')).then(|| line.len() - rest.len() + 1)
    });
    secrets.min().map_or(line, |end| &line[..end])
}

fn render_plain(path: &str, text: &str, problem: &Problem) -> String {
    let Some(span) = problem.span.clone().filter(|span| span.start <= text.len()) else {
        return format!("{path}: {}: {}", problem.key, problem.message);
    };
    let before = &text.as_bytes()[..span.start];
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let excerpt = String::from_utf8_lossy(&text.as_bytes()[line_start..]);
    let excerpt = excerpt.lines().next().unwrap_or_default();
    let column = span.start - line_start;
    let width = span.len().min(excerpt.len().saturating_sub(column)).max(1);
    let excerpt = match without_secret(excerpt) {
        shown if shown.len() < excerpt.len() => format!("{shown} …"),
        shown => shown.to_owned(),
    };
    format!(
        "{path}:{line}: {key}: {message}\n   |\n{line:>3}| {excerpt}\n   | {blank}{carets}",
        key = problem.key,
        message = problem.message,
        blank = " ".repeat(column),
        carets = "^".repeat(width),
    )
}

/// The name in `known` that `wrong` was probably meant to be.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (edit_distance(wrong, name), name))
        .filter(|(distance, name)| *distance <= (name.len() / 3).max(1))
        .min()
        .map(|(_, name)| name)
}

fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let replace = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
