//! All regexes of a file: one set says in one pass which of them match, then
//! the first that is for the metric's kind is asked what it took.
//!
//! Matching is linear in the name; sizes are bounded, so that a pattern that
//! would need much memory is refused when the file is read.

use super::pattern;
use super::rule::Kind;
use regex::{Captures, Regex, RegexBuilder, RegexSet, RegexSetBuilder};

/// Most regexes of a file.
pub const REGEXES_MAX: usize = 2_000;
/// Compiled size of one, in bytes.
const SIZE_MAX: usize = 1 << 20;
/// Compiled size of all of a file together.
const SET_SIZE_MAX: usize = 64 << 20;
/// Memory of the automaton that is made while matching.
const CACHE_MAX: usize = 8 << 20;

/// A regex that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegexError {
    #[error("is no regex that can be used: {0}")]
    Syntax(String),
    #[error("is too large a regex: compiled it takes more than {} KiB", SIZE_MAX >> 10)]
    Large,
    #[error("the regexes of this file are too large together; use globs, or split the file")]
    Set,
}

/// See the module's head.
#[derive(Debug)]
pub struct Regexes {
    set: RegexSet,
    each: Vec<Entry>,
}

#[derive(Debug)]
pub struct Entry {
    pub rule: u32,
    pub kinds: Vec<Kind>,
    pub regex: Regex,
}

/// One regex, as written.
pub fn compile(written: &str) -> Result<Regex, RegexError> {
    RegexBuilder::new(&pattern::from_go(written)).size_limit(SIZE_MAX).build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => RegexError::Large,
        error => {
            // The last line has the reason; those before draw the pattern.
            let text = error.to_string();
            RegexError::Syntax(text.lines().last().unwrap_or_default().trim_start_matches("error: ").into())
        }
    })
}

impl Regexes {
    /// A set of compiled regexes, in the order in which they are tried.
    pub fn new(each: Vec<Entry>) -> Result<Self, RegexError> {
        let set = RegexSetBuilder::new(each.iter().map(|entry| entry.regex.as_str()))
            .size_limit(SET_SIZE_MAX)
            .dfa_size_limit(CACHE_MAX)
            .build()
            .map_err(|_| RegexError::Set)?;
        Ok(Regexes { set, each })
    }

    /// The first that matches a name of that kind, and what it took.
    pub fn find<'n>(&self, name: &'n str, kind: Kind) -> Option<(u32, Captures<'n>)> {
        if self.each.is_empty() {
            return None;
        }
        let mut entries = self.set.matches(name).into_iter().filter_map(|at| self.each.get(at));
        let entry = entries.find(|entry| entry.kinds.contains(&kind))?;
        Some((entry.rule, entry.regex.captures(name)?))
    }

    /// Numbers of the rules, in the order in which they are tried.
    pub fn rules(&self) -> impl Iterator<Item = usize> {
        self.each.iter().map(|entry| entry.rule as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn the_first_that_matches_and_fits_wins() {
        let entry =
            |rule, text, kinds: &[Kind]| Entry { rule, kinds: kinds.into(), regex: compile(text).unwrap() };
        let regexes = Regexes::new(vec![
            entry(3, r"a\.(.*)", &[Kind::Gauge]),
            entry(5, r"(\w+)\.b", &Kind::ALL),
            entry(7, ".", &Kind::ALL),
        ])
        .unwrap();
        let winner = |name, kind| {
            regexes.find(name, kind).map(|(rule, found)| (rule, found[found.len() - 1].to_owned()))
        };
        assert_eq!(winner("a.b", Kind::Gauge), Some((3, "b".into())));
        assert_eq!(winner("a.b", Kind::Counter), Some((5, "a".into())));
        assert_eq!(winner("x", Kind::Counter), Some((7, "x".into())));
        assert_eq!(winner("", Kind::Counter), None);
    }

    #[test]
    fn what_would_blow_up_is_refused_or_linear() {
        assert_eq!(compile("(a{1000}){1000}").unwrap_err(), RegexError::Large);
        assert!(
            matches!(compile("(a").unwrap_err(), RegexError::Syntax(why) if why.contains("unclosed group"))
        );
        // Exponential for an engine that backtracks.
        let regex = compile("^(a+)+$").unwrap();
        let regexes = Regexes::new(vec![Entry { rule: 0, kinds: Kind::ALL.into(), regex }]).unwrap();
        let begun = Instant::now();
        assert!(regexes.find(&format!("{}b", "a".repeat(8000)), Kind::Counter).is_none());
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}
