//! From text to [`Parsed`]: limits first, then words, then operators by their
//! precedence. What is found is typed at once.
//!
//! Linear in the text; recursion is bounded by `limits`. Every error says where.
//! Beyond Prometheus' grammar it knows `or` between matchers.

use super::error::{Error, Position};
use super::expr::{AggregateOp, Binary, BinaryOp, Edges, Expr, Parsed, Selector, ValueType};
use super::function_table::Function;
use super::lexer::{Token, Word, words};
use super::limits;
use super::parse_call;
use crate::model::Matcher;

/// Keywords that no metric can be called without quotes; the others can.
pub(super) const NO_NAMES: [&str; 6] = ["atan2", "bool", "group_left", "group_right", "ignoring", "on"];

/// Reads PromQL.
pub fn parse(text: &str) -> Result<Parsed, Error> {
    limits::check(text)?;
    let tokens = words(text).map_err(|error| with_hint(text, error))?;
    if tokens.len() == 1 {
        return Err(Error::syntax(Position::of(text, 0), "the query is empty"));
    }
    let mut parser =
        Parser { text, tokens, at: 0, selectors: Vec::new(), may_select_all: None, open_durations: false };
    let found = parser.expr(0).and_then(|found| match parser.word() {
        Word::End => Ok(found),
        _ => Err(parser.unexpected("after the expression")),
    });
    let found = found.map_err(|error| with_hint(text, error))?;
    for (at, selector) in parser.selectors.iter().enumerate() {
        if parser.may_select_all != Some(at) {
            parser.check_selects_something(selector)?;
        }
    }
    let has_open_durations = parser.open_durations;
    Ok(Parsed { text: text.into(), expr: found.expr, selectors: parser.selectors, has_open_durations })
}

/// Matchers of one selector such as `etl_errors{job="x"}`, as the series API
/// takes them: lists of which one must hold altogether.
pub fn parse_selector(text: &str) -> Result<Vec<Vec<Matcher>>, Error> {
    let parsed = parse(text)?;
    match (&parsed.expr, &parsed.selectors[..]) {
        (Expr::Vector(0), [selector])
            if selector.offset_ms == 0
                && selector.at.is_none()
                && selector.edges == Edges::Plain
                && selector.computed.is_empty() =>
        {
            Ok(selector.alternatives.clone())
        }
        _ => Err(Error::Parse(format!("{text:?} is not a series selector such as name{{label=\"value\"}}"))),
    }
}

/// The commonest mistake of a StatsD user: dots in a bare name.
fn with_hint(text: &str, error: Error) -> Error {
    let Error::Syntax { at, message } = error else { return error };
    let dotted = text
        .split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '.' | '-')))
        .find(|word| word.contains('.') && word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'));
    match dotted.filter(|_| message.starts_with("unexpected")) {
        Some(word) => {
            let escaped = crate::model::label::escape_name(word);
            let hint = format!("{message}; a name with dots is written {{\"{word}\"}} or {escaped}");
            Error::Syntax { at, message: hint }
        }
        None => Error::Syntax { at, message },
    }
}

/// An expression, and what its surroundings must know of how it was written.
#[derive(Debug)]
pub(super) struct Found {
    pub expr: Expr,
    pub start: usize,
    /// A selector, range or subquery that may still take `offset` and `@`.
    pub bare: bool,
}

pub(super) struct Parser<'a> {
    text: &'a str,
    pub(super) tokens: Vec<Token<'a>>,
    pub(super) at: usize,
    pub(super) selectors: Vec<Selector>,
    /// The selector of labels that `info` takes.
    pub(super) may_select_all: Option<usize>,
    pub(super) open_durations: bool,
}

impl<'a> Parser<'a> {
    pub(super) fn word(&self) -> &Word<'a> {
        self.ahead(0)
    }

    pub(super) fn ahead(&self, by: usize) -> &Word<'a> {
        self.tokens.get(self.at + by).map_or(&Word::End, |token| &token.word)
    }

    pub(super) fn start(&self) -> usize {
        self.tokens.get(self.at).map_or(self.text.len(), |token| token.start)
    }

    pub(super) fn next(&mut self) {
        self.at = (self.at + 1).min(self.tokens.len());
    }

    pub(super) fn takes(&mut self, sign: &str) -> bool {
        let is_it = matches!(self.word(), Word::Sign(found) if *found == sign);
        if is_it {
            self.next();
        }
        is_it
    }

    pub(super) fn needs(&mut self, sign: &str, place: &str) -> Result<(), Error> {
        match self.takes(sign) {
            true => Ok(()),
            false => Err(self.unexpected(&format!("{place}, expected {sign:?}"))),
        }
    }

    pub(super) fn is_keyword(&self, word: &str) -> bool {
        matches!(self.word(), Word::Name(found) if found.eq_ignore_ascii_case(word))
    }

    pub(super) fn takes_keyword(&mut self, word: &str) -> bool {
        let is_it = self.is_keyword(word);
        if is_it {
            self.next();
        }
        is_it
    }

    pub(super) fn error_at(&self, start: usize, message: impl Into<String>) -> Error {
        Error::syntax(Position::of(self.text, start), message)
    }

    pub(super) fn unexpected(&self, place: &str) -> Error {
        let found = match self.word() {
            Word::End => "end of input".into(),
            Word::Number(number) => format!("number {number}"),
            Word::Text(text) => format!("string {text:?}"),
            Word::Name(name) => format!("identifier {name:?}"),
            Word::Sign(sign) => format!("{sign:?}"),
        };
        self.error_at(self.start(), format!("unexpected {found} {place}"))
    }

    /// An expression of operators that bind tighter than `floor`.
    pub(super) fn expr(&mut self, floor: u8) -> Result<Found, Error> {
        let mut left = self.unary()?;
        while let Some(op) = self.operator() {
            let precedence = op.precedence();
            if precedence <= floor {
                break;
            }
            self.next();
            let (return_bool, matching, matching_start) = self.modifiers(op)?;
            let right_floor = if op == BinaryOp::Pow { precedence - 1 } else { precedence };
            let right = self.expr(right_floor)?;
            let binary =
                Binary { op, start: left.start, left: left.expr, right: right.expr, return_bool, matching };
            self.check_binary(&binary, right.start, matching_start)?;
            left = Found { start: left.start, bare: false, expr: Expr::Binary(Box::new(binary)) };
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Found, Error> {
        let start = self.start();
        let negative = match self.word() {
            Word::Sign("-") => true,
            Word::Sign("+") => false,
            _ => return self.postfix(),
        };
        self.next();
        // `-2 ^ 2` is -4: a sign binds less than a power.
        let inner = self.expr(BinaryOp::Mul.precedence())?;
        if !matches!(inner.expr.value_type(), ValueType::Scalar | ValueType::Vector) {
            let found = inner.expr.value_type().as_str();
            let message = format!(
                "unary expression only allowed on expressions of type scalar or instant vector, got {found:?}"
            );
            return Err(self.error_at(start, message));
        }
        let expr = match (negative, inner.expr) {
            (true, Expr::Number(number)) => Expr::Number(-number),
            (true, expr) => Expr::Negate(Box::new(expr)),
            (false, expr) => expr,
        };
        Ok(Found { expr, start, bare: false })
    }

    /// An operand with the ranges and modifiers behind it.
    fn postfix(&mut self) -> Result<Found, Error> {
        let mut found = self.operand()?;
        loop {
            if *self.word() == Word::Sign("[") {
                found = self.range(found)?;
            } else if self.is_keyword("offset") {
                self.next();
                self.offset(&mut found)?;
            } else if *self.word() == Word::Sign("@") {
                self.next();
                self.at_modifier(&mut found)?;
            } else if self.is_keyword("anchored") {
                self.edges(&mut found, Edges::Anchored)?;
            } else if self.is_keyword("smoothed") {
                self.edges(&mut found, Edges::Smoothed)?;
            } else {
                return Ok(found);
            }
        }
    }

    fn operand(&mut self) -> Result<Found, Error> {
        let start = self.start();
        let expr = match self.word().clone() {
            Word::Number(number) => {
                self.next();
                Expr::Number(number)
            }
            Word::Text(text) => {
                self.next();
                Expr::String(text)
            }
            Word::Sign("(") => {
                self.next();
                let inner = self.expr(0)?;
                self.needs(")", "in parentheses")?;
                Expr::Paren(Box::new(inner.expr))
            }
            Word::Sign("{") => self.selector(None)?,
            Word::Name(name) => {
                let calls = *self.ahead(1) == Word::Sign("(");
                let groups = matches!(self.ahead(1), Word::Name(next)
                    if next.eq_ignore_ascii_case("by") || next.eq_ignore_ascii_case("without"));
                if let Some(op) = AggregateOp::named(name).filter(|_| calls || groups) {
                    self.next();
                    self.aggregate(op, start)?
                } else if calls {
                    self.next();
                    self.call(name, start)?
                } else if name.eq_ignore_ascii_case("inf") {
                    self.next();
                    Expr::Number(f64::INFINITY)
                } else if name.eq_ignore_ascii_case("nan") {
                    self.next();
                    Expr::Number(f64::NAN)
                } else if NO_NAMES.iter().any(|word| name.eq_ignore_ascii_case(word)) {
                    return Err(self.unexpected("where an expression is expected"));
                } else {
                    self.next();
                    self.selector(Some(name))?
                }
            }
            _ => return Err(self.unexpected("where an expression is expected")),
        };
        let bare = matches!(expr, Expr::Vector(_));
        Ok(Found { expr, start, bare })
    }

    pub(super) fn signed_number(&mut self, place: &str) -> Result<f64, Error> {
        let negative = !self.takes("+") && self.takes("-");
        let number = match self.word() {
            Word::Number(number) => *number,
            Word::Name(name) if name.eq_ignore_ascii_case("inf") => f64::INFINITY,
            Word::Name(name) if name.eq_ignore_ascii_case("nan") => f64::NAN,
            _ => return Err(self.unexpected(place)),
        };
        self.next();
        Ok(if negative { -number } else { number })
    }

    /// Labels in parentheses, the last with a comma behind it or not.
    pub(super) fn label_list(&mut self) -> Result<Vec<String>, Error> {
        self.needs("(", "in grouping")?;
        let mut labels = Vec::new();
        loop {
            if self.takes(")") {
                return Ok(labels);
            }
            match self.word().clone() {
                Word::Name(label) => labels.push(label.to_owned()),
                Word::Text(label) if !label.is_empty() => labels.push(label),
                _ => return Err(self.unexpected("in grouping opts, expected label")),
            }
            self.next();
            if !self.takes(",") && *self.word() != Word::Sign(")") {
                return Err(self.unexpected("in grouping opts, expected \",\" or \")\""));
            }
        }
    }

    fn aggregate(&mut self, op: AggregateOp, start: usize) -> Result<Expr, Error> {
        parse_call::aggregate(self, op, start).map(|aggregate| Expr::Aggregate(Box::new(aggregate)))
    }

    fn call(&mut self, name: &str, start: usize) -> Result<Expr, Error> {
        let function = Function::named(name)
            .ok_or_else(|| self.error_at(start, format!("unknown function with name {name:?}")))?;
        parse_call::call(self, function, start).map(Expr::Call)
    }
}

#[cfg(test)]
mod tests {
    use super::super::column::Grid;
    use super::super::expr::At;
    use super::*;

    #[test]
    fn errors_name_what_is_wrong_and_where() {
        let cases = [
            ("", "the query is empty"),
            ("etl.errors + 1", r#"a name with dots is written {"etl.errors"} or etl_errors"#),
            (
                "rate(x)",
                "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector",
            ),
            ("nope(x)", "1:1: parse error: unknown function with name \"nope\""),
            ("{a=~\".*\"}", "at least one"),
            ("x[0s]", "1:3: parse error: duration must be greater than 0"),
            (
                "exp(NaN)",
                "1:5: parse error: expected type instant vector in call to function \"exp\", got scalar",
            ),
            (
                "1 + \"a\"",
                "1:5: parse error: binary expression must contain only scalar and instant vector types",
            ),
            ("1 > 2", "comparisons between scalars must use BOOL modifier"),
            ("a + bool b", "bool modifier can only be used on comparison operators"),
            ("a and on(x) group_left b", "no grouping allowed for \"and\" operation"),
            ("1 and a", "set operator \"and\" not allowed in binary scalar expression"),
            ("1 + on(x) 2", "vector matching only allowed between instant vectors"),
            ("a / on(x) group_left(x) b", "must not occur in ON and GROUP clause at once"),
            ("(a)[5m]", "ranges only allowed for vector selectors"),
            ("a offset 5m[5m]", "no offset or @ modifiers allowed before range"),
            ("sum(a) offset 5m", "offset modifier must be preceded by an instant vector selector"),
            ("a offset 1m offset 2m", "offset may not be set multiple times"),
            ("a @ 1 @ 2", "may not be set multiple times"),
            ("a{", "unexpected end of input"),
            ("a\n  + )", "2:5: parse error: unexpected \")\""),
            ("topk(a)", "wrong number of arguments"),
            ("round(a, 1, 2)", "expected at most 2 argument(s) in call to \"round\", got 3"),
            ("a{__name__=\"b\"}", "metric name must not be set twice"),
            ("a{b=~\"(\"}", "1:6: parse error: bad regular expression"),
            ("max_over_time(a[5m] anchored)", "anchored modifier can only be used with"),
            ("a b", "unexpected identifier \"b\" after the expression"),
        ];
        for (text, expected) in cases {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn selectors_are_listed_with_their_matchers() {
        let parsed = parse(r#"rate({"etl.errors", job=~"a|b"}[5m] offset 1m) / up{x!="y"} @ 10"#).unwrap();
        let [first, second] = parsed.selectors() else { panic!("two selectors") };
        assert_eq!((first.range_ms, first.offset_ms), (Some(300_000), 60_000));
        assert_eq!(first.alternatives[0].len(), 2);
        assert_eq!((second.range_ms, second.at), (None, Some(At::TimeMs(10_000))));
        assert_eq!(parsed.value_type(), ValueType::Vector);
    }

    #[test]
    fn operators_bind_as_in_prometheus() {
        let cases = [
            ("1 + 2 * 3", "1 + (2 * 3)"),
            ("1 - 2 - 3", "(1 - 2) - 3"),
            ("2 ^ 3 ^ 2", "2 ^ (3 ^ 2)"),
            ("-2 ^ 2", "-(2 ^ 2)"),
            ("2 ^ -1 * 3", "(2 ^ (-1)) * 3"),
            ("a or b and c", "a or (b and c)"),
            ("a unless b or c", "(a unless b) or c"),
            ("a > b + 1", "a > (b + 1)"),
            ("a atan2 b * c", "(a atan2 b) * c"),
            ("a offset 1m + 2", "(a offset 1m) + 2"),
        ];
        let plain = |text: &str| format!("{:?}", without_starts(parse(text).unwrap().expr));
        for (text, expected) in cases {
            let expected = expected.replace("(a offset 1m)", "a offset 1m");
            assert_eq!(plain(text), plain(&expected), "{text}");
        }
    }

    fn without_starts(expr: Expr) -> Expr {
        match expr {
            Expr::Negate(inner) => Expr::Negate(Box::new(without_starts(*inner))),
            Expr::Binary(mut binary) => {
                binary.start = 0;
                binary.left = without_starts(binary.left);
                binary.right = without_starts(binary.right);
                Expr::Binary(binary)
            }
            Expr::Paren(inner) => without_starts(*inner),
            other => other,
        }
    }

    #[test]
    fn keywords_are_names_where_no_keyword_can_stand() {
        for text in [
            "sum",
            "sum + count",
            "offset",
            "by{on=\"x\"}",
            "start",
            "rate",
            "sum by (on, by) (and)",
            "sum by (job:name) (up)",
            "or or or",
        ] {
            assert!(parse(text).is_ok(), "{text}: {:?}", parse(text).err());
        }
    }

    #[test]
    fn durations_are_computed_where_they_can_be() {
        let range = |text: &str| parse(text).unwrap().selectors[0].range_ms;
        for text in [
            "a[300]",
            "a[5m]",
            "a[4m+1m]",
            "a[2m * 2.5]",
            "a[(1h/2) % 25m]",
            "a[max_of(5m, 1s)]",
            "a[-1m+6m]",
        ] {
            assert_eq!(range(text), Some(300_000), "{text}");
        }
        let parsed = parse("a[step() * 2] offset -step()").unwrap();
        let query = Grid { start_ms: 0, step_ms: 30_000, steps: 3 };
        let resolved = super::super::duration_expr::resolved(&parsed, &query).unwrap();
        assert_eq!(
            (resolved.selectors[0].range_ms, resolved.selectors[0].offset_ms),
            (Some(60_000), -30_000)
        );
        assert!(super::super::duration_expr::resolved(&parsed, &Grid::instant(0)).is_err());
    }

    #[test]
    fn a_threshold_is_the_number_that_the_whole_is_compared_with() {
        let threshold = |text: &str| parse(text).unwrap().threshold();
        assert_eq!(threshold("increase(x[1h]) > 0"), Some((BinaryOp::Greater, 0.0)));
        assert_eq!(threshold("(x / y) <= 0.5"), Some((BinaryOp::LessEqual, 0.5)));
        for text in ["x", "x > y", "x > bool 1", "x + 1", "x > 1 and y > 2"] {
            assert_eq!(threshold(text), None, "{text}");
        }
    }
}
