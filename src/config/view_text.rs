//! The texts in a view that mean something: ids, expressions, selectors, what
//! to show. Each is read into what it means, or noted as a problem with its
//! place and a way out.

use super::error::{Problem, nearest};
use crate::dashboard::view::{Selection, Show};
use crate::model::Matcher;
use crate::model::label::NAME;
use crate::query::{self, Expr};
use std::collections::BTreeSet;
use toml::Spanned;

const SHOWS: [&str; 9] = ["p50", "p90", "p95", "p99", "max", "min", "mean", "total", "rate"];

/// What was found wrong so far.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    /// `value`, unless something was wrong.
    pub fn or<T>(self, value: T) -> Result<T, Vec<Problem>> {
        if self.0.is_empty() { Ok(value) } else { Err(self.0) }
    }

    pub fn add(
        &mut self,
        span: impl Into<Option<std::ops::Range<usize>>>,
        key: impl Into<String>,
        message: impl std::fmt::Display,
    ) {
        self.0.push(Problem::new(span, key, message));
    }

    /// Ids stand in URLs.
    pub fn check_id(&mut self, id: &Spanned<String>, key: &str, seen: &mut BTreeSet<String>) {
        let text = id.get_ref();
        let is_plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        if text.is_empty() || text.len() > 64 || !is_plain {
            self.add(
                id.span(),
                key,
                format!("{text:?} is no id: use 1 to 64 letters, digits, \"-\" and \"_\""),
            );
        } else if !seen.insert(text.clone()) {
            self.add(id.span(), key, format!("{text:?} is there already; ids must differ"));
        }
    }

    pub fn expr(&mut self, text: &Spanned<String>, key: &str) -> Option<String> {
        match Expr::parse(text.get_ref()) {
            Ok(_) => Some(text.get_ref().clone()),
            Err(error) => {
                self.add(text.span(), key, error);
                None
            }
        }
    }

    /// A name as it was sent (dots and all), with or without `{label="value"}`.
    pub fn selection(&mut self, text: &Spanned<String>, key: &str) -> Option<Selection> {
        let written = text.get_ref().trim();
        let (name, rest) = written.split_at(written.find('{').unwrap_or(written.len()));
        let mut matchers = Vec::new();
        if !name.trim().is_empty() {
            matchers.push(Matcher::equal(NAME, name.trim()));
        }
        if !rest.is_empty() {
            // The braces alone must not select everything: with a name before them they may.
            let parsed = if name.trim().is_empty() {
                query::parse_selector(rest)
            } else {
                query::parse_selector(&format!("x{rest}"))
            };
            match parsed.map(|mut alternatives| (alternatives.len() == 1).then(|| alternatives.remove(0))) {
                Ok(Some(found)) => {
                    let is_stand_in =
                        |m: &Matcher| !name.trim().is_empty() && m.name == NAME && m.value == "x";
                    matchers.extend(found.into_iter().filter(|m| !is_stand_in(m)));
                }
                Ok(None) => {
                    self.add(
                        text.span(),
                        key,
                        "alternatives (\"or\") cannot be used here; write one selector",
                    );
                    return None;
                }
                Err(error) => {
                    self.add(text.span(), key, error);
                    return None;
                }
            }
        }
        if matchers.is_empty() {
            self.add(text.span(), key, "is empty; write a metric's name such as \"etl.errors\"");
            return None;
        }
        Some(Selection { text: written.to_owned(), matchers })
    }

    pub fn show(&mut self, text: &Spanned<String>, key: &str) -> Option<Show> {
        let show = Show::parse(text.get_ref());
        if show.is_none() {
            let wrong = text.get_ref();
            let hint = hint(wrong, &SHOWS);
            let message = format!(
                "{wrong:?} cannot be shown; write p50, p99.9, max, min, mean, total, rate or last{hint}"
            );
            self.add(text.span(), key, message);
        }
        show
    }

    /// Lines of one chart share an axis: what is counted, what is counted a
    /// second and the values themselves cannot stand together.
    pub fn one_unit<'a>(&mut self, shows: impl Iterator<Item = &'a Spanned<String>>, key: &str) {
        let unit_of = |text: &str| match Show::parse(text)? {
            Show::Rate => Some("rate"),
            Show::Total => Some("total"),
            Show::Quantile(_) | Show::Mean | Show::Last => Some("values"),
        };
        let known = shows.enumerate().filter_map(|(at, text)| Some((at, text, unit_of(text.get_ref())?)));
        let mut first = None;
        for (at, text, unit) in known {
            let (first, first_unit) = *first.get_or_insert((text, unit));
            if unit != first_unit {
                let (this, first) = (text.get_ref(), first.get_ref());
                let message = format!("{this} has another unit than {first}; draw it in a panel of its own");
                self.add(text.span(), format!("{key}[{at}]"), message);
            }
        }
    }
}

/// The known name that was probably meant, as the end of a sentence.
pub(super) fn hint(wrong: &str, known: &[&str]) -> String {
    nearest(wrong, known.iter().copied()).map_or(String::new(), |name| format!("; did you mean {name:?}?"))
}
