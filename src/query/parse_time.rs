//! What stands behind a selector and tells when: ranges, subqueries, `offset`,
//! `@`, `anchored` and `smoothed`, and the durations in them.

use super::column::Grid;
use super::duration_expr::{DurationExpr, MAX_TIME_MS, whole_ms};
use super::error::Error;
use super::expr::{At, Computed, Edges, Expr, Subquery, ValueType};
use super::lexer::Word;
use super::parse::{Found, Parser};

impl Parser<'_> {
    /// `[range]` or `[range:step]`.
    pub(super) fn range(&mut self, found: Found) -> Result<Found, Error> {
        let start = self.start();
        self.next();
        let mut computed = Computed::default();
        let range_ms = self.duration(&mut computed.range, true)?;
        if self.takes(":") {
            let step_ms = match *self.word() {
                Word::Sign("]") => None,
                _ => Some(self.duration(&mut computed.step, true)?),
            };
            self.needs("]", "in subquery")?;
            if found.expr.value_type() != ValueType::Vector {
                let message = format!(
                    "subquery is only allowed on instant vector, got {} instead",
                    found.expr.value_type().as_str()
                );
                return Err(self.error_at(found.start, message));
            }
            let edged = |at: &usize| self.selectors.get(*at).is_some_and(|s| s.edges != Edges::Plain);
            if matches!(&found.expr, Expr::Vector(at) if edged(at)) {
                let message = "anchored and smoothed modifiers are not supported for subqueries";
                return Err(self.error_at(found.start, message));
            }
            let subquery = Subquery { expr: found.expr, range_ms, step_ms, offset_ms: 0, at: None, computed };
            return Ok(Found { expr: Expr::Subquery(Box::new(subquery)), start: found.start, bare: true });
        }
        self.needs("]", "in range")?;
        let Found { expr: Expr::Vector(at), start: found_start, bare: true } = found else {
            return Err(self.error_at(start, "ranges only allowed for vector selectors"));
        };
        let modified = self.selectors.get(at).is_some_and(|selector| {
            selector.offset_ms != 0 || selector.at.is_some() || selector.computed.offset.is_some()
        });
        if modified {
            return Err(self.error_at(start, "no offset or @ modifiers allowed before range"));
        }
        if let Some(selector) = self.selectors.get_mut(at) {
            selector.range_ms = Some(range_ms);
            selector.computed.range = computed.range;
        }
        Ok(Found { expr: Expr::Matrix(at), start: found_start, bare: true })
    }

    pub(super) fn offset(&mut self, found: &mut Found) -> Result<(), Error> {
        let start = self.start();
        let expr = self.duration_sign_and_operand()?;
        let mut open = None;
        let offset_ms = self.folded(expr, &mut open, false, start)?;
        self.modify(found, "offset", |offset, computed, _| {
            if *offset != 0 || computed.offset.is_some() {
                return Err("offset may not be set multiple times");
            }
            *offset = offset_ms;
            computed.offset = open.take();
            Ok(())
        })
    }

    pub(super) fn at_modifier(&mut self, found: &mut Found) -> Result<(), Error> {
        let start = self.start();
        let preprocessor = match self.word() {
            Word::Name(name) if name.eq_ignore_ascii_case("start") => Some(At::Start),
            Word::Name(name) if name.eq_ignore_ascii_case("end") => Some(At::End),
            _ => None,
        };
        let at = match preprocessor {
            Some(at) => {
                self.next();
                self.needs("(", "in @ modifier")?;
                self.needs(")", "in @ modifier")?;
                at
            }
            None => {
                let seconds = self.signed_number("in @ modifier, expected a timestamp")?;
                let ms = (seconds * 1000.0).round();
                if ms.is_nan() || ms.abs() > MAX_TIME_MS as f64 {
                    return Err(
                        self.error_at(start, format!("timestamp out of bounds for @ modifier: {seconds}"))
                    );
                }
                At::TimeMs(ms as i64)
            }
        };
        self.modify(found, "@", |_, _, place| match place.replace(at) {
            Some(_) => Err("@ <timestamp> may not be set multiple times"),
            None => Ok(()),
        })
    }

    pub(super) fn edges(&mut self, found: &mut Found, edges: Edges) -> Result<(), Error> {
        let start = self.start();
        self.next();
        let selector = match &found.expr {
            Expr::Vector(at) | Expr::Matrix(at) if found.bare => self.selectors.get_mut(*at),
            _ => None,
        };
        match selector {
            Some(selector) if selector.edges == Edges::Plain => {
                selector.edges = edges;
                Ok(())
            }
            Some(_) => {
                Err(self.error_at(start, "anchored and smoothed modifiers cannot be used together or twice"))
            }
            None => {
                Err(self.error_at(start, "anchored and smoothed must follow a vector selector or a range"))
            }
        }
    }

    fn modify(
        &mut self,
        found: &mut Found,
        what: &str,
        set: impl FnOnce(&mut i64, &mut Computed, &mut Option<At>) -> Result<(), &'static str>,
    ) -> Result<(), Error> {
        let done = match &mut found.expr {
            Expr::Vector(at) | Expr::Matrix(at) if found.bare => match self.selectors.get_mut(*at) {
                Some(selector) => set(&mut selector.offset_ms, &mut selector.computed, &mut selector.at),
                None => Ok(()),
            },
            Expr::Subquery(subquery) if found.bare => {
                set(&mut subquery.offset_ms, &mut subquery.computed, &mut subquery.at)
            }
            _ => {
                let message = format!(
                    "{what} modifier must be preceded by an instant vector selector or range vector selector or \
                     a subquery"
                );
                return Err(self.error_at(found.start, message));
            }
        };
        done.map_err(|message| self.error_at(found.start, message))
    }

    fn duration(&mut self, open: &mut Option<DurationExpr>, positive: bool) -> Result<i64, Error> {
        let start = self.start();
        let expr = self.duration_expr(0)?;
        self.folded(expr, open, positive, start)
    }

    /// Its milliseconds; 0 and the expression itself where they are not known yet.
    fn folded(
        &mut self,
        expr: DurationExpr,
        open: &mut Option<DurationExpr>,
        positive: bool,
        start: usize,
    ) -> Result<i64, Error> {
        if expr.is_open() {
            self.open_durations = true;
            *open = Some(expr);
            return Ok(0);
        }
        let seconds = expr.seconds(&Grid::instant(0));
        seconds
            .and_then(|seconds| whole_ms(seconds, positive))
            .map_err(|message| self.error_at(start, message))
    }

    fn duration_expr(&mut self, floor: u8) -> Result<DurationExpr, Error> {
        let mut left = match self.word() {
            Word::Sign(sign @ ("-" | "+")) => {
                let negative = *sign == "-";
                self.next();
                let inner = self.duration_expr(2)?;
                if negative { DurationExpr::Negate(Box::new(inner)) } else { inner }
            }
            _ => self.duration_operand()?,
        };
        loop {
            let (op, precedence, right_floor) = match self.word() {
                Word::Sign("+") => ('+', 1, 1),
                Word::Sign("-") => ('-', 1, 1),
                Word::Sign("*") => ('*', 2, 2),
                Word::Sign("/") => ('/', 2, 2),
                Word::Sign("%") => ('%', 2, 2),
                Word::Sign("^") => ('^', 3, 2),
                _ => return Ok(left),
            };
            if precedence <= floor {
                return Ok(left);
            }
            self.next();
            let right = self.duration_expr(right_floor)?;
            left = DurationExpr::Both(op, Box::new(left), Box::new(right));
        }
    }

    fn duration_sign_and_operand(&mut self) -> Result<DurationExpr, Error> {
        let negative = !self.takes("+") && self.takes("-");
        let operand = self.duration_operand()?;
        Ok(if negative { DurationExpr::Negate(Box::new(operand)) } else { operand })
    }

    fn duration_operand(&mut self) -> Result<DurationExpr, Error> {
        match self.word().clone() {
            Word::Number(seconds) => {
                self.next();
                Ok(DurationExpr::Number(seconds))
            }
            Word::Sign("(") => {
                self.next();
                let inner = self.duration_expr(0)?;
                self.needs(")", "in duration expression")?;
                Ok(inner)
            }
            Word::Name(name) => {
                let name = name.to_ascii_lowercase();
                let op = match &*name {
                    "step" | "range" => None,
                    "min_of" => Some('<'),
                    "max_of" => Some('>'),
                    _ => return Err(self.unexpected("where a duration is expected")),
                };
                self.next();
                self.needs("(", "in duration expression")?;
                let expr = match op {
                    None if name == "step" => DurationExpr::Step,
                    None => DurationExpr::Range,
                    Some(op) => {
                        let left = self.duration_expr(0)?;
                        self.needs(",", "in duration expression")?;
                        DurationExpr::Both(op, Box::new(left), Box::new(self.duration_expr(0)?))
                    }
                };
                self.needs(")", "in duration expression")?;
                Ok(expr)
            }
            _ => Err(self.unexpected("where a duration is expected")),
        }
    }
}
