//! Arguments of functions and aggregations, held against what they take.

use super::error::Error;
use super::expr::{Aggregate, AggregateOp, At, Call, Computed, Edges, Expr, Selector, ValueType};
use super::function_table::{Arity, Function};
use super::lexer::Word;
use super::parse::{Found, Parser};
use crate::model::label::NAME;
use crate::model::{MatchOp, Matcher};

/// Where a selector begins that is not in the text.
pub(super) const NOT_WRITTEN: usize = usize::MAX;
/// Most quantiles that `histogram_quantiles` takes.
const MAX_QUANTILES: usize = 10;

/// What follows an aggregation's name.
pub(super) fn aggregate(parser: &mut Parser<'_>, op: AggregateOp, start: usize) -> Result<Aggregate, Error> {
    let mut grouping = grouping(parser)?;
    let mut args = arguments(parser)?;
    if grouping.is_none() {
        grouping = self::grouping(parser)?;
    }
    let (without, labels) = grouping.unwrap_or((false, Vec::new()));
    let wanted = 1 + usize::from(op.parameter().is_some());
    if args.len() != wanted {
        let message = match args.len() {
            0 => "no arguments for aggregate expression provided".to_owned(),
            found => format!(
                "wrong number of arguments for aggregate expression provided, expected {wanted}, got {found}"
            ),
        };
        return Err(parser.error_at(start, message));
    }
    let Some(vector) = args.pop() else { return Err(parser.unexpected("in aggregation")) };
    let place = || "aggregation expression".to_owned();
    check(parser, &vector, ValueType::Vector, place)?;
    let param = args.pop();
    if let (Some(param), Some(wanted)) = (&param, op.parameter()) {
        check(parser, param, wanted, || "aggregation parameter".to_owned())?;
    }
    let param_start = param.as_ref().map_or(vector.start, |param| param.start);
    Ok(Aggregate {
        op,
        expr: vector.expr,
        param: param.map(|param| param.expr),
        without,
        labels,
        expr_start: vector.start,
        param_start,
    })
}

/// `by (…)` or `without (…)`, if there.
fn grouping(parser: &mut Parser<'_>) -> Result<Option<(bool, Vec<String>)>, Error> {
    for (word, without) in [("by", false), ("without", true)] {
        if parser.takes_keyword(word) {
            return Ok(Some((without, parser.label_list()?)));
        }
    }
    Ok(None)
}

/// What follows a function's name.
pub(super) fn call(parser: &mut Parser<'_>, function: Function, start: usize) -> Result<Call, Error> {
    let args = arguments(parser)?;
    let name = function.name();
    let (types, least) = (function.takes(), function.least_arguments());
    let most = match function.arity() {
        _ if function == Function::HistogramQuantiles => 2 + MAX_QUANTILES,
        Arity::LastRepeated => usize::MAX,
        _ => types.len(),
    };
    let found = args.len();
    if found < least || found > most {
        let (bound, wanted) = match (least == most, found < least) {
            (true, _) => ("", least),
            (_, true) => ("at least ", least),
            (_, false) => ("at most ", most),
        };
        let message = format!("expected {bound}{wanted} argument(s) in call to {name:?}, got {found}");
        return Err(parser.error_at(start, message));
    }
    for (at, arg) in args.iter().enumerate() {
        if let Some(wanted) = types.get(at).or(types.last()) {
            check(parser, arg, *wanted, || format!("call to function {name:?}"))?;
        }
    }
    if function == Function::Info && found == 2 {
        match args.get(1) {
            Some(Found { expr: Expr::Vector(at), bare: true, .. }) => parser.may_select_all = Some(*at),
            _ => {
                let message = "expected label selectors as the second argument to \"info\" function";
                return Err(parser.error_at(start, message));
            }
        }
    }
    check_edges(parser, function, &args)?;
    let arg_starts = args.iter().map(|arg| arg.start).collect();
    let mut args: Vec<Expr> = args.into_iter().map(|arg| arg.expr).collect();
    if function == Function::Info {
        complete_info(parser, &mut args);
    }
    Ok(Call { function, args, start, arg_starts })
}

/// Makes the selector of info series one that finds them: with a name, and at
/// the times that the series in the first place are read at.
fn complete_info(parser: &mut Parser<'_>, args: &mut Vec<Expr>) {
    let (at, offset_ms) = args.first().map_or((None, 0), |base| read_at(parser, base));
    if args.len() < 2 {
        args.push(Expr::Vector(parser.selectors.len()));
        parser.selectors.push(Selector {
            alternatives: vec![Vec::new()],
            range_ms: None,
            offset_ms: 0,
            at: None,
            edges: Edges::Plain,
            start: NOT_WRITTEN,
            computed: Computed::default(),
        });
    }
    let Some(Expr::Vector(place)) = args.get(1) else { return };
    let Some(selector) = parser.selectors.get_mut(*place) else { return };
    selector.at = at;
    selector.offset_ms = offset_ms;
    for matchers in &mut selector.alternatives {
        let positive = |m: &&Matcher| m.name == NAME && matches!(m.op, MatchOp::Equal | MatchOp::Regex(_));
        if matchers.iter().any(|matcher| positive(&matcher)) {
            continue;
        }
        let any_info =
            Matcher::regex(NAME, ".+_info").ok().filter(|_| matchers.iter().any(|m| m.name == NAME));
        matchers.push(any_info.unwrap_or_else(|| Matcher::equal(NAME, "target_info")));
    }
}

/// `@` and offset of the first selector in an expression, as seen from outside.
fn read_at(parser: &Parser<'_>, expr: &Expr) -> (Option<At>, i64) {
    match expr {
        Expr::Number(_) | Expr::String(_) => (None, 0),
        Expr::Vector(at) | Expr::Matrix(at) => {
            parser.selectors.get(*at).map_or((None, 0), |selector| (selector.at, selector.offset_ms))
        }
        Expr::Negate(inner) | Expr::Paren(inner) => read_at(parser, inner),
        Expr::Binary(binary) => match (read_at(parser, &binary.left), binary.left.value_type()) {
            (_, ValueType::Scalar) => read_at(parser, &binary.right),
            (found, _) => found,
        },
        Expr::Aggregate(aggregate) => read_at(parser, &aggregate.expr),
        Expr::Call(call) => {
            let series = |arg: &&Expr| matches!(arg.value_type(), ValueType::Vector | ValueType::Matrix);
            call.args.iter().find(series).map_or((None, 0), |arg| read_at(parser, arg))
        }
        Expr::Subquery(subquery) => match read_at(parser, &subquery.expr) {
            (Some(at), offset_ms) => (Some(at), offset_ms),
            (None, offset_ms) => (subquery.at, offset_ms.saturating_add(subquery.offset_ms)),
        },
    }
}

/// `anchored` and `smoothed` mean something to few functions.
fn check_edges(parser: &Parser<'_>, function: Function, args: &[Found]) -> Result<(), Error> {
    use Function::*;
    for arg in args {
        let Expr::Matrix(at) = &arg.expr else { continue };
        let Some(selector) = parser.selectors.get(*at) else { continue };
        let (word, known, names) = match selector.edges {
            Edges::Plain => continue,
            Edges::Anchored => (
                "anchored",
                matches!(function, Changes | Delta | Increase | Rate | Resets),
                "changes, delta, increase, rate, resets",
            ),
            Edges::Smoothed => {
                ("smoothed", matches!(function, Delta | Increase | Rate), "delta, increase, rate")
            }
        };
        if !known {
            let message =
                format!("{word} modifier can only be used with: {names} - not with {}", function.name());
            return Err(parser.error_at(arg.start, message));
        }
    }
    Ok(())
}

fn arguments(parser: &mut Parser<'_>) -> Result<Vec<Found>, Error> {
    parser.needs("(", "in call")?;
    let mut args = Vec::new();
    if parser.takes(")") {
        return Ok(args);
    }
    loop {
        args.push(parser.expr(0)?);
        if parser.takes(")") {
            return Ok(args);
        }
        if *parser.word() != Word::Sign(",") {
            return Err(parser.unexpected("in call, expected \",\" or \")\""));
        }
        parser.next();
        if *parser.word() == Word::Sign(")") {
            return Err(parser.unexpected("in call, trailing commas not allowed in function call args"));
        }
    }
}

fn check(
    parser: &Parser<'_>,
    found: &Found,
    wanted: ValueType,
    place: impl Fn() -> String,
) -> Result<(), Error> {
    let value_type = found.expr.value_type();
    if value_type == wanted {
        return Ok(());
    }
    let message = format!("expected type {} in {}, got {}", wanted.as_str(), place(), value_type.as_str());
    Err(parser.error_at(found.start, message))
}
