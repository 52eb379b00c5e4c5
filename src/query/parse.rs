//! From text to [`Parsed`]: limits first, then `promql-parser`, then our tree.
//!
//! The parser's types do not leave this file. What it lets through and we do
//! not know is refused by name.

use super::error::Error;
use super::expr::{
    Aggregate, AggregateOp, At, Binary, BinaryOp, Call, Expr, Group, Matching, Parsed, Selector, Subquery,
    ValueType,
};
use super::function_table::Function;
use super::limits;
use crate::model::Matcher;
use crate::model::label::NAME;
use promql_parser::label as pl;
use promql_parser::parser as pp;
use std::sync::Once;
use std::time::{Duration, UNIX_EPOCH};

/// Longest range, offset or distance of `@` from the epoch, in ms.
const MAX_SPAN_MS: i64 = i64::MAX / 1024;

/// Reads PromQL.
pub fn parse(text: &str) -> Result<Parsed, Error> {
    limits::check(text)?;
    register_own_functions();
    let tree = pp::parse(text).map_err(|message| Error::Parse(explain(text, &message)))?;
    let mut builder = Builder { selectors: Vec::new() };
    let expr = builder.expr(&tree)?;
    Ok(Parsed { text: text.into(), expr, selectors: builder.selectors })
}

/// The text in the layout that `promtool promql format` gives it.
pub fn format(text: &str) -> Result<String, Error> {
    limits::check(text)?;
    register_own_functions();
    let tree = pp::parse(text).map_err(|message| Error::Parse(explain(text, &message)))?;
    Ok(tree.prettify())
}

/// Matchers of one selector such as `etl_errors{job="x"}`, as the series API
/// takes them: lists of which one must hold altogether.
pub fn parse_selector(text: &str) -> Result<Vec<Vec<Matcher>>, Error> {
    let parsed = parse(text)?;
    match (&parsed.expr, &parsed.selectors[..]) {
        (Expr::Vector(0), [selector]) if selector.offset_ms == 0 && selector.at.is_none() => {
            Ok(selector.alternatives.clone())
        }
        _ => Err(Error::Parse(format!("{text:?} is not a series selector such as name{{label=\"value\"}}"))),
    }
}

/// Teaches the parser the functions that only we have.
fn register_own_functions() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let distinct = pp::Function::new(
            Function::DistinctOverTime.name(),
            vec![pp::value::ValueType::Matrix],
            0,
            pp::value::ValueType::Vector,
            false,
        );
        // Fails only for a name that the parser knows already, which would do as well.
        let _ = pp::register_extra_functions(vec![distinct]);
    });
}

/// The parser's message, made more helpful where it says little.
fn explain(text: &str, message: &str) -> String {
    if text.trim().is_empty() {
        return "the query is empty".into();
    }
    let says_little =
        message == "invalid promql query" || message.starts_with("unexpected character after '.'");
    if !says_little {
        return message.into();
    }
    // The commonest mistake of a StatsD user: dots in a bare name.
    let dotted = text
        .split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '.' | '-')))
        .find(|word| word.contains('.') && word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'));
    match dotted {
        Some(word) => format!(
            "not a PromQL expression; a name with dots is written {{\"{word}\"}} or {}",
            crate::model::label::escape_name(word)
        ),
        None => "not a PromQL expression".into(),
    }
}

struct Builder {
    selectors: Vec<Selector>,
}

impl Builder {
    fn expr(&mut self, tree: &pp::Expr) -> Result<Expr, Error> {
        match tree {
            pp::Expr::NumberLiteral(number) => Ok(Expr::Number(number.val)),
            pp::Expr::StringLiteral(string) => Ok(Expr::String(string.val.clone())),
            pp::Expr::Paren(paren) => self.expr(&paren.expr),
            pp::Expr::Unary(unary) => Ok(Expr::Negate(Box::new(self.number_or_vector(&unary.expr, "-")?))),
            pp::Expr::VectorSelector(selector) => Ok(Expr::Vector(self.selector(selector, None)?)),
            pp::Expr::MatrixSelector(matrix) => {
                let range_ms = positive_ms(matrix.range, "range")?;
                Ok(Expr::Matrix(self.selector(&matrix.vs, Some(range_ms))?))
            }
            pp::Expr::Subquery(subquery) => self.subquery(subquery),
            pp::Expr::Binary(binary) => self.binary(binary),
            pp::Expr::Aggregate(aggregate) => self.aggregate(aggregate),
            pp::Expr::Call(call) => self.call(call),
            pp::Expr::Extension(_) => Err(Error::parse("not a PromQL expression")),
        }
    }

    fn typed(&mut self, tree: &pp::Expr, wanted: ValueType, place: &str) -> Result<Expr, Error> {
        let expr = self.expr(tree)?;
        let found = expr.value_type();
        if found == wanted {
            return Ok(expr);
        }
        Err(Error::Parse(format!("expected type {} in {place}, got {}", wanted.as_str(), found.as_str())))
    }

    fn number_or_vector(&mut self, tree: &pp::Expr, place: &str) -> Result<Expr, Error> {
        let expr = self.expr(tree)?;
        match expr.value_type() {
            ValueType::Scalar | ValueType::Vector => Ok(expr),
            other => Err(Error::Parse(format!(
                "operator {place} takes scalars and instant vectors, got {}",
                other.as_str()
            ))),
        }
    }

    fn selector(&mut self, selector: &pp::VectorSelector, range_ms: Option<i64>) -> Result<usize, Error> {
        let name = selector.name.as_ref().map(|name| Matcher::equal(NAME, name.as_str()));
        let lists = if selector.matchers.or_matchers.is_empty() {
            vec![&selector.matchers.matchers]
        } else {
            selector.matchers.or_matchers.iter().collect()
        };
        let mut alternatives = Vec::with_capacity(lists.len());
        for list in lists {
            let mut matchers: Vec<Matcher> = name.iter().cloned().collect();
            for matcher in list {
                matchers.push(convert_matcher(matcher)?);
            }
            if matchers.iter().all(|matcher| matcher.matches_value("")) {
                return Err(Error::parse(
                    "a selector must contain at least one matcher that does not match the empty string",
                ));
            }
            alternatives.push(matchers);
        }
        self.selectors.push(Selector {
            alternatives,
            range_ms,
            offset_ms: convert_offset(selector.offset.as_ref())?,
            at: convert_at(selector.at.as_ref())?,
        });
        Ok(self.selectors.len() - 1)
    }

    fn subquery(&mut self, subquery: &pp::SubqueryExpr) -> Result<Expr, Error> {
        let step_ms = match subquery.step {
            Some(step) if !step.is_zero() => Some(positive_ms(step, "step")?),
            _ => None,
        };
        Ok(Expr::Subquery(Box::new(Subquery {
            expr: self.typed(&subquery.expr, ValueType::Vector, "subquery")?,
            range_ms: positive_ms(subquery.range, "range")?,
            step_ms,
            offset_ms: convert_offset(subquery.offset.as_ref())?,
            at: convert_at(subquery.at.as_ref())?,
        })))
    }

    fn binary(&mut self, binary: &pp::BinaryExpr) -> Result<Expr, Error> {
        let op = binary_op(&binary.op.to_string())?;
        let left = self.number_or_vector(&binary.lhs, op.as_str())?;
        let right = self.number_or_vector(&binary.rhs, op.as_str())?;
        let mut matching = Matching::default();
        let mut return_bool = false;
        if let Some(modifier) = &binary.modifier {
            return_bool = modifier.return_bool;
            if modifier.fill_values.lhs.is_some() || modifier.fill_values.rhs.is_some() {
                return Err(Error::parse("fill, fill_left and fill_right are not supported"));
            }
            if let Some(labels) = &modifier.matching {
                matching.on = labels.is_include();
                matching.labels = labels.labels().labels.clone();
            }
            match &modifier.card {
                pp::VectorMatchCardinality::ManyToOne(labels) => {
                    matching.group = Group::ManyToOne;
                    matching.include = labels.labels.clone();
                }
                pp::VectorMatchCardinality::OneToMany(labels) => {
                    matching.group = Group::OneToMany;
                    matching.include = labels.labels.clone();
                }
                pp::VectorMatchCardinality::OneToOne | pp::VectorMatchCardinality::ManyToMany => {}
            }
        }
        Ok(Expr::Binary(Box::new(Binary { op, left, right, return_bool, matching })))
    }

    fn aggregate(&mut self, aggregate: &pp::AggregateExpr) -> Result<Expr, Error> {
        let name = aggregate.op.to_string();
        let (op, param_type) = aggregate_op(&name)?;
        let param = match (&aggregate.param, param_type) {
            (Some(param), Some(wanted)) => Some(self.typed(param, wanted, &name)?),
            (None, None) => None,
            _ => return Err(Error::Parse(format!("wrong number of arguments for {name}"))),
        };
        let expr = self.typed(&aggregate.expr, ValueType::Vector, &name)?;
        let (without, labels) = match &aggregate.modifier {
            None => (false, Vec::new()),
            Some(modifier) => (!modifier.is_include(), modifier.labels().labels.clone()),
        };
        Ok(Expr::Aggregate(Box::new(Aggregate { op, expr, param, without, labels })))
    }

    fn call(&mut self, call: &pp::Call) -> Result<Expr, Error> {
        let name = call.func.name;
        let function =
            Function::named(name).ok_or_else(|| Error::Parse(format!("function {name} is not supported")))?;
        let types = &call.func.arg_types;
        let mut args = Vec::with_capacity(call.args.args.len());
        for (at, arg) in call.args.args.iter().enumerate() {
            let wanted = types.get(at).or(types.last()).map(|wanted| convert_type(*wanted));
            let wanted = wanted.ok_or_else(|| Error::Parse(format!("{name} takes no argument")))?;
            args.push(self.typed(arg, wanted, name)?);
        }
        Ok(Expr::Call(Call { function, args }))
    }
}

fn convert_type(value_type: pp::value::ValueType) -> ValueType {
    match value_type {
        pp::value::ValueType::Scalar => ValueType::Scalar,
        pp::value::ValueType::Vector => ValueType::Vector,
        pp::value::ValueType::Matrix => ValueType::Matrix,
        pp::value::ValueType::String => ValueType::String,
    }
}

fn convert_matcher(matcher: &pl::Matcher) -> Result<Matcher, Error> {
    let (name, value) = (matcher.name.as_str(), matcher.value.as_str());
    match &matcher.op {
        pl::MatchOp::Equal => Ok(Matcher::equal(name, value)),
        pl::MatchOp::NotEqual => Ok(Matcher::not_equal(name, value)),
        pl::MatchOp::Re(_) => Matcher::regex(name, value).map_err(|error| Error::Parse(error.to_string())),
        pl::MatchOp::NotRe(_) => {
            Matcher::not_regex(name, value).map_err(|error| Error::Parse(error.to_string()))
        }
    }
}

fn convert_offset(offset: Option<&pp::Offset>) -> Result<i64, Error> {
    match offset {
        None => Ok(0),
        Some(pp::Offset::Pos(duration)) => span_ms(*duration, "offset"),
        Some(pp::Offset::Neg(duration)) => span_ms(*duration, "offset").map(|ms| -ms),
    }
}

fn convert_at(at: Option<&pp::AtModifier>) -> Result<Option<At>, Error> {
    match at {
        None => Ok(None),
        Some(pp::AtModifier::Start) => Ok(Some(At::Start)),
        Some(pp::AtModifier::End) => Ok(Some(At::End)),
        Some(pp::AtModifier::At(time)) => {
            let ms = match time.duration_since(UNIX_EPOCH) {
                Ok(after) => span_ms(after, "@")?,
                Err(before) => -span_ms(before.duration(), "@")?,
            };
            Ok(Some(At::TimeMs(ms)))
        }
    }
}

fn span_ms(duration: Duration, what: &str) -> Result<i64, Error> {
    i64::try_from(duration.as_millis())
        .ok()
        .filter(|ms| *ms <= MAX_SPAN_MS)
        .ok_or_else(|| Error::Parse(format!("{what} is too long")))
}

fn positive_ms(duration: Duration, what: &str) -> Result<i64, Error> {
    match span_ms(duration, what)? {
        0 => Err(Error::Parse(format!("{what} must be greater than 0"))),
        ms => Ok(ms),
    }
}

fn binary_op(text: &str) -> Result<BinaryOp, Error> {
    Ok(match text {
        "+" => BinaryOp::Add,
        "-" => BinaryOp::Sub,
        "*" => BinaryOp::Mul,
        "/" => BinaryOp::Div,
        "%" => BinaryOp::Mod,
        "^" => BinaryOp::Pow,
        "atan2" => BinaryOp::Atan2,
        "==" => BinaryOp::Equal,
        "!=" => BinaryOp::NotEqual,
        ">" => BinaryOp::Greater,
        "<" => BinaryOp::Less,
        ">=" => BinaryOp::GreaterEqual,
        "<=" => BinaryOp::LessEqual,
        "and" => BinaryOp::And,
        "or" => BinaryOp::Or,
        "unless" => BinaryOp::Unless,
        other => return Err(Error::Parse(format!("operator {other} is not supported"))),
    })
}

fn aggregate_op(name: &str) -> Result<(AggregateOp, Option<ValueType>), Error> {
    Ok(match name {
        "sum" => (AggregateOp::Sum, None),
        "avg" => (AggregateOp::Avg, None),
        "min" => (AggregateOp::Min, None),
        "max" => (AggregateOp::Max, None),
        "count" => (AggregateOp::Count, None),
        "group" => (AggregateOp::Group, None),
        "stddev" => (AggregateOp::Stddev, None),
        "stdvar" => (AggregateOp::Stdvar, None),
        "topk" => (AggregateOp::TopK, Some(ValueType::Scalar)),
        "bottomk" => (AggregateOp::BottomK, Some(ValueType::Scalar)),
        "limitk" => (AggregateOp::LimitK, Some(ValueType::Scalar)),
        "quantile" => (AggregateOp::Quantile, Some(ValueType::Scalar)),
        "count_values" => (AggregateOp::CountValues, Some(ValueType::String)),
        other => return Err(Error::Parse(format!("aggregation {other} is not supported"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_what_is_wrong() {
        let cases = [
            ("", "the query is empty"),
            ("etl.errors + 1", r#"a name with dots is written {"etl.errors"} or etl_errors"#),
            ("rate(x)", "expected type matrix in call to function 'rate', got vector"),
            ("info(x)", "function info is not supported"),
            ("nope(x)", "unknown function with name 'nope'"),
            ("{a=~\".*\"}", "at least one"),
            ("x[0s]", "must be greater than 0"),
            ("exp(NaN)", "expected type instant vector in exp, got scalar"),
            ("1 + \"a\"", "binary expression must contain only scalar and instant vector types"),
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
    fn a_threshold_is_the_number_that_the_whole_is_compared_with() {
        let threshold = |text: &str| parse(text).unwrap().threshold();
        assert_eq!(threshold("increase(x[1h]) > 0"), Some((BinaryOp::Greater, 0.0)));
        assert_eq!(threshold("(x / y) <= 0.5"), Some((BinaryOp::LessEqual, 0.5)));
        for text in ["x", "x > y", "x > bool 1", "x + 1", "x > 1 and y > 2"] {
            assert_eq!(threshold(text), None, "{text}");
        }
    }
}
