//! Selectors: a name, and matchers in braces.

use super::error::Error;
use super::expr::{Computed, Edges, Expr, Selector};
use super::lexer::Word;
use super::parse::Parser;
use crate::model::Matcher;
use crate::model::label::NAME;

impl Parser<'_> {
    pub(super) fn selector(&mut self, name: Option<&str>) -> Result<Expr, Error> {
        let start =
            self.tokens.get(self.at.saturating_sub(usize::from(name.is_some()))).map_or(0, |t| t.start);
        let alternatives = self.matchers(name)?;
        self.selectors.push(Selector {
            alternatives,
            range_ms: None,
            offset_ms: 0,
            at: None,
            edges: Edges::Plain,
            start,
            computed: Computed::default(),
        });
        Ok(Expr::Vector(self.selectors.len() - 1))
    }

    /// `{label="value", …}`, if there; with the matcher of the name in front.
    fn matchers(&mut self, name: Option<&str>) -> Result<Vec<Vec<Matcher>>, Error> {
        let of_name: Vec<Matcher> = name.iter().map(|name| Matcher::equal(NAME, *name)).collect();
        let mut lists = vec![of_name.clone()];
        if !self.takes("{") {
            return Ok(lists);
        }
        let mut name_given = name.is_some();
        loop {
            if self.takes("}") {
                return Ok(lists);
            }
            let matcher_start = self.start();
            let (label, quoted) = match self.word().clone() {
                Word::Name(label) => (label.to_owned(), false),
                Word::Text(text) => (text, true),
                _ => return Err(self.unexpected("in label matching, expected a label name or \"}\"")),
            };
            if !quoted && label.contains(':') {
                return Err(self.unexpected("in label matching, expected a label name"));
            }
            self.next();
            let op = match self.word() {
                Word::Sign(op @ ("=" | "!=" | "=~" | "!~")) => Some(*op),
                _ => None,
            };
            let matcher = match op {
                None if quoted => {
                    if name_given && label != NAME {
                        let message = format!("metric name must not be set twice: {label:?}");
                        return Err(self.error_at(matcher_start, message));
                    }
                    name_given = true;
                    Matcher::equal(NAME, label)
                }
                None => return Err(self.unexpected("in label matching, expected an operator")),
                Some(op) => {
                    self.next();
                    let Word::Text(value) = self.word().clone() else {
                        return Err(self.unexpected("in label matching, expected a string"));
                    };
                    let value_start = self.start();
                    self.next();
                    if let Some(name) = name.filter(|_| label == NAME) {
                        let message = format!("metric name must not be set twice: {name:?} or {value:?}");
                        return Err(self.error_at(matcher_start, message));
                    }
                    let matcher = match op {
                        "=" => Ok(Matcher::equal(label, value)),
                        "!=" => Ok(Matcher::not_equal(label, value)),
                        "=~" => Matcher::regex(label, &value),
                        _ => Matcher::not_regex(label, &value),
                    };
                    matcher.map_err(|error| self.error_at(value_start, error.to_string()))?
                }
            };
            if let Some(list) = lists.last_mut() {
                list.push(matcher);
            }
            if self.takes_keyword("or") {
                lists.push(of_name.clone());
                name_given = name.is_some();
            } else if !self.takes(",") && *self.word() != Word::Sign("}") {
                return Err(self.unexpected("in label matching, expected \",\" or \"}\""));
            }
        }
    }

    /// # Errors
    /// When a selector would find every series.
    pub(super) fn check_selects_something(&self, selector: &Selector) -> Result<(), Error> {
        let selects_all = |list: &Vec<Matcher>| list.iter().all(|matcher| matcher.matches_value(""));
        match selector.alternatives.iter().any(selects_all) {
            true => {
                Err(self
                    .error_at(selector.start, "vector selector must contain at least one non-empty matcher"))
            }
            false => Ok(()),
        }
    }
}
