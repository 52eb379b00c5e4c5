//! One glob: dot-separated components, each a literal, `*`, or with `*` inside.
//!
//! `*` is one whole component, which may be empty, as in statsd_exporter. A
//! component with `*` among other characters (`foo_*`) is our extension: each
//! `*` takes as few characters as it can, the last one what is left.

use std::ops::Range;

/// Most components of a glob.
pub const COMPONENTS_MAX: usize = 64;

/// A glob that is well-formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    pub components: Vec<Component>,
}

/// What stands between two dots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Component {
    Literal(Box<str>),
    Star,
    Part(Part),
}

/// A component with `*` among other characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Before the first `*`; may be empty.
    pub prefix: Box<str>,
    /// Between two `*`; never empty.
    pub middle: Vec<Box<str>>,
    /// After the last `*`; may be empty.
    pub suffix: Box<str>,
}

/// A `match` that is no glob.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    #[error(
        "{0:?} has an empty component; \
         write one or more of letters, digits, \"_\", \"-\" and \"*\" between the dots"
    )]
    Empty(String),
    #[error(
        "{glob:?} has a {found:?}; a glob has letters, digits, \"_\", \"-\", \"*\" and dots: \
         for anything else use match_type: regex"
    )]
    Character { glob: String, found: char },
    #[error(
        "{0:?} begins with a digit or \"-\"; a glob begins with a letter, \"_\" or \"*\": use match_type: regex"
    )]
    Begin(String),
    #[error("{0:?} has \"**\"; one \"*\" is one component or a part of one")]
    Stars(String),
    #[error("a glob has at most {COMPONENTS_MAX} components")]
    Long,
}

impl Glob {
    pub fn parse(text: &str) -> Result<Self, GlobError> {
        let mut components = Vec::new();
        for (at, written) in text.split('.').enumerate() {
            if at == COMPONENTS_MAX {
                return Err(GlobError::Long);
            }
            if written.is_empty() {
                return Err(GlobError::Empty(text.into()));
            }
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '*');
            if let Some(found) = written.chars().find(|c| !allowed(*c)) {
                return Err(GlobError::Character { glob: text.into(), found });
            }
            let begin = |c: char| if at == 0 { c == '-' || c.is_ascii_digit() } else { c == '-' };
            if written.starts_with(begin) {
                return Err(GlobError::Begin(text.into()));
            }
            if written.contains("**") {
                return Err(GlobError::Stars(text.into()));
            }
            components.push(Component::of(written));
        }
        Ok(Glob { components })
    }

    /// Number of `*`: what `$1`, `$2` … can name.
    pub fn stars(&self) -> usize {
        self.components.iter().map(Component::stars).sum()
    }

    /// What each `*` takes of `name`, or `None` when the glob does not match.
    pub fn captures(&self, name: &str) -> Option<Vec<Range<usize>>> {
        let mut captures = Vec::new();
        let mut start = 0;
        let mut components = self.components.iter();
        for text in name.split('.') {
            let part = start..start + text.len();
            match components.next()? {
                Component::Literal(literal) if **literal == *text => {}
                Component::Literal(_) => return None,
                Component::Star => captures.push(part),
                Component::Part(pattern) => {
                    if !pattern.captures(text.as_bytes(), start, |range| captures.push(range)) {
                        return None;
                    }
                }
            }
            start += text.len() + 1;
        }
        components.next().is_none().then_some(captures)
    }
}

impl Component {
    fn of(written: &str) -> Self {
        if written == "*" {
            return Component::Star;
        }
        let mut pieces: Vec<&str> = written.split('*').collect();
        match (pieces.len(), pieces.pop()) {
            (1, _) | (_, None) => Component::Literal(written.into()),
            (_, Some(suffix)) => {
                let mut pieces = pieces.into_iter();
                let prefix = pieces.next().unwrap_or_default().into();
                Component::Part(Part {
                    prefix,
                    middle: pieces.map(Into::into).collect(),
                    suffix: suffix.into(),
                })
            }
        }
    }

    fn stars(&self) -> usize {
        match self {
            Component::Literal(_) => 0,
            Component::Star => 1,
            Component::Part(part) => part.middle.len() + 1,
        }
    }
}

impl Part {
    /// Characters that are not `*`: the more, the more specific.
    pub fn literal_bytes(&self) -> usize {
        self.prefix.len() + self.suffix.len() + self.middle.iter().map(|piece| piece.len()).sum::<usize>()
    }

    /// Whether `text`, which begins at `start` of the name, fits; tells what
    /// each `*` takes. Some may be told before it turns out not to fit.
    pub fn captures(&self, text: &[u8], start: usize, mut take: impl FnMut(Range<usize>)) -> bool {
        let Some(inner) = text.strip_prefix(self.prefix.as_bytes()) else { return false };
        let Some(mut inner) = inner.strip_suffix(self.suffix.as_bytes()) else { return false };
        let mut at = start + self.prefix.len();
        for piece in &self.middle {
            let Some(found) = memchr::memmem::find(inner, piece.as_bytes()) else { return false };
            take(at..at + found);
            at += found + piece.len();
            inner = inner.get(found + piece.len()..).unwrap_or_default();
        }
        take(at..at + inner.len());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_in_statsd_exporter_and_within_components() {
        let check = |glob: &str, name: &str, expected: Option<&[&str]>| {
            let found = Glob::parse(glob).unwrap().captures(name);
            let texts = found.map(|ranges| ranges.into_iter().map(|r| &name[r]).collect::<Vec<_>>());
            assert_eq!(texts.as_deref(), expected, "{glob} {name}");
        };
        check("a.b", "a.b", Some(&[]));
        check("a.b", "a.b.c", None);
        check("a.b.c", "a.b", None);
        check("a.*", "a.b", Some(&["b"]));
        check("a.*", "a.", Some(&[""]));
        check("a.*", "a", None);
        check("a.*", "a.b.c", None);
        check("*.*", "a-b.é", Some(&["a-b", "é"]));
        check("a.foo_*", "a.foo_bar", Some(&["bar"]));
        check("a.foo_*", "a.foo", None);
        check("*_total.x", "b_total.x", Some(&["b"]));
        check("a*b*c", "aXbYbZc", Some(&["X", "YbZ"]));
        check("ab*bc", "abc", None);
        check("a*-*a", "a--a", Some(&["", "-"]));
    }

    #[test]
    fn what_is_no_glob_is_refused() {
        let check = |text: &str, expected: &str| {
            let error = Glob::parse(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        };
        for text in ["", "a..b", ".a", "a."] {
            check(text, "empty component");
        }
        check("a:b", "':'");
        check("a b", "match_type: regex");
        check("1a.b", "begins with a digit");
        check("a.-b", "begins with");
        check("a.**", "\"**\"");
        check(&"a.".repeat(200), "at most 64");
        assert!(Glob::parse("a.1b.2").is_ok());
    }
}
