//! Operators between two operands: which there are, their modifiers, and what
//! may stand on their sides.

use super::error::Error;
use super::expr::{Binary, BinaryOp, Group, Matching, ValueType};
use super::lexer::Word;
use super::parse::Parser;

impl Parser<'_> {
    pub(super) fn operator(&self) -> Option<BinaryOp> {
        use BinaryOp::*;
        let named = |name: &str| {
            [("and", And), ("or", Or), ("unless", Unless), ("atan2", Atan2)]
                .into_iter()
                .find(|(known, _)| name.eq_ignore_ascii_case(known))
                .map(|(_, op)| op)
        };
        match self.word() {
            Word::Name(name) => named(name),
            Word::Sign(sign) => Some(match *sign {
                "+" => Add,
                "-" => Sub,
                "*" => Mul,
                "/" => Div,
                "%" => Mod,
                "^" => Pow,
                "==" => Equal,
                "!=" => NotEqual,
                ">" => Greater,
                "<" => Less,
                ">=" => GreaterEqual,
                "<=" => LessEqual,
                "</" => TrimUpper,
                ">/" => TrimLower,
                _ => return None,
            }),
            _ => None,
        }
    }

    /// `bool`, `on (…) group_left (…) fill (…)` after an operator, and where
    /// the first of those for vectors stands.
    pub(super) fn modifiers(&mut self, op: BinaryOp) -> Result<(bool, Matching, Option<usize>), Error> {
        let start = self.start();
        let return_bool = self.takes_keyword("bool");
        if return_bool && !op.is_comparison() {
            return Err(self.error_at(start, "bool modifier can only be used on comparison operators"));
        }
        let mut matching = Matching::default();
        let start = self.start();
        let mut of_vectors = false;
        for (word, on) in [("on", true), ("ignoring", false)] {
            if !of_vectors && self.is_keyword(word) && *self.ahead(1) == Word::Sign("(") {
                self.next();
                of_vectors = true;
                matching.on = on;
                matching.labels = self.label_list()?;
            }
        }
        if of_vectors {
            for (word, group) in [("group_left", Group::ManyToOne), ("group_right", Group::OneToMany)] {
                if matching.group == Group::OneToOne && self.takes_keyword(word) {
                    matching.group = group;
                    if *self.word() == Word::Sign("(") {
                        matching.include = self.label_list()?;
                    }
                }
            }
        }
        while *self.ahead(1) == Word::Sign("(") {
            let (left, right) = match self.word() {
                Word::Name(name) if name.eq_ignore_ascii_case("fill") => (true, true),
                Word::Name(name) if name.eq_ignore_ascii_case("fill_left") => (true, false),
                Word::Name(name) if name.eq_ignore_ascii_case("fill_right") => (false, true),
                _ => break,
            };
            self.next();
            self.needs("(", "in fill modifier")?;
            let value = self.signed_number("in fill modifier")?;
            self.needs(")", "in fill modifier")?;
            if op.is_set() {
                return Err(self.error_at(start, "filling in missing series not allowed for set operators"));
            }
            of_vectors = true;
            if left {
                matching.fill_left = Some(value);
            }
            if right {
                matching.fill_right = Some(value);
            }
        }
        if op.is_set() && matching.group != Group::OneToOne {
            return Err(self.error_at(start, format!("no grouping allowed for {:?} operation", op.as_str())));
        }
        if let Some(label) =
            matching.include.iter().find(|label| matching.on && matching.labels.contains(label))
        {
            let message = format!("label {label:?} must not occur in ON and GROUP clause at once");
            return Err(self.error_at(start, message));
        }
        Ok((return_bool, matching, of_vectors.then_some(start)))
    }

    pub(super) fn check_binary(
        &self,
        binary: &Binary,
        right_start: usize,
        matching: Option<usize>,
    ) -> Result<(), Error> {
        let sides = [(&binary.left, binary.start), (&binary.right, right_start)];
        let types = sides.map(|(expr, _)| expr.value_type());
        for (value_type, (_, start)) in types.iter().zip(sides) {
            if !matches!(value_type, ValueType::Scalar | ValueType::Vector) {
                let message = "binary expression must contain only scalar and instant vector types";
                return Err(self.error_at(start, message));
            }
        }
        let scalars = types.iter().filter(|found| **found == ValueType::Scalar).count();
        if binary.op.is_set() && scalars > 0 {
            let message =
                format!("set operator {:?} not allowed in binary scalar expression", binary.op.as_str());
            return Err(self.error_at(binary.start, message));
        }
        // As in Prometheus: `on ()` and the like say nothing, and are let pass.
        let says_something = !binary.matching.labels.is_empty()
            || binary.matching.fill_left.is_some()
            || binary.matching.fill_right.is_some();
        if let Some(start) = matching.filter(|_| scalars > 0 && says_something) {
            return Err(self.error_at(start, "vector matching only allowed between instant vectors"));
        }
        if binary.op.is_comparison() && scalars == 2 && !binary.return_bool {
            return Err(self.error_at(binary.start, "comparisons between scalars must use BOOL modifier"));
        }
        Ok(())
    }
}
