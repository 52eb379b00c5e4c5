//! An expression as the JSON tree that `/api/v1/parse_query` gives, in the shape of
//! Prometheus: a node is an object whose `type` says what it is.
//!
//! Alternatives of a selector (`{a="1" or b="2"}`), which Prometheus does not have,
//! are told beside the matchers of the first one.

use crate::model::label::NAME;
use crate::model::{MatchOp, Matcher};
use crate::query::expr::{At, Binary, Call, Computed, DurationExpr, Edges, Group, Selector, Subquery};
use crate::query::function_table::{Arity, Function};
use crate::query::number::format_value;
use crate::query::{Expr, Parsed, ValueType};
use serde_json::{Value, json};

/// The tree of the whole expression. As deep as the parser lets it be.
pub(super) fn tree(parsed: &Parsed) -> Value {
    node(parsed, parsed.root())
}

fn node(parsed: &Parsed, expr: &Expr) -> Value {
    let of = |expr: &Expr| node(parsed, expr);
    let selector = |at: &usize| parsed.selectors().get(*at).map_or(Value::Null, selector);
    match expr {
        Expr::Number(value) => json!({"type": "numberLiteral", "val": format_value(*value)}),
        Expr::String(text) => json!({"type": "stringLiteral", "val": text}),
        Expr::Vector(at) | Expr::Matrix(at) => selector(at),
        Expr::Subquery(node) => subquery(node, of(&node.expr)),
        Expr::Paren(inner) => json!({"type": "parenExpr", "expr": of(inner)}),
        Expr::Negate(inner) => json!({"type": "unaryExpr", "op": "-", "expr": of(inner)}),
        Expr::Binary(node) => json!({
            "type": "binaryExpr",
            "op": node.op.as_str(),
            "lhs": of(&node.left),
            "rhs": of(&node.right),
            "matching": matching(node),
            "bool": node.return_bool,
        }),
        Expr::Aggregate(node) => json!({
            "type": "aggregation",
            "op": node.op.as_str(),
            "expr": of(&node.expr),
            "param": node.param.as_ref().map(of),
            "grouping": node.labels,
            "without": node.without,
        }),
        Expr::Call(call) => called(parsed, call),
    }
}

fn called(parsed: &Parsed, call: &Call) -> Value {
    let args: Vec<Value> = parsed.written(call).map(|arg| node(parsed, arg)).collect();
    let function = call.function;
    json!({
        "type": "call",
        "func": {
            "name": function.name(),
            "argTypes": function.takes().iter().map(|of| type_name(*of)).collect::<Vec<_>>(),
            "variadic": variadic(function),
            "returnType": type_name(function.returns()),
        },
        "args": args,
    })
}

/// How many arguments may be left out or added; any number is -1.
fn variadic(function: Function) -> i32 {
    match function.arity() {
        Arity::Exactly => 0,
        Arity::LastOptional => 1,
        Arity::LastRepeated => -1,
    }
}

fn type_name(of: ValueType) -> &'static str {
    match of {
        ValueType::Scalar => "scalar",
        ValueType::Vector => "vector",
        ValueType::Matrix => "matrix",
        ValueType::String => "string",
    }
}

/// How two vectors find each other; nothing where one of the sides is a number.
fn matching(node: &Binary) -> Value {
    if [&node.left, &node.right].iter().any(|side| side.value_type() != ValueType::Vector) {
        return Value::Null;
    }
    let matching = &node.matching;
    let card = match matching.group {
        _ if node.op.is_set() => "many-to-many",
        Group::OneToOne => "one-to-one",
        Group::ManyToOne => "many-to-one",
        Group::OneToMany => "one-to-many",
    };
    json!({
        "card": card,
        "labels": matching.labels,
        "on": matching.on,
        "include": matching.include,
        "fillValues": {"lhs": number(matching.fill_left), "rhs": number(matching.fill_right)},
    })
}

/// A number where JSON has it, else its text.
fn number(value: Option<f64>) -> Value {
    match value {
        Some(value) if !value.is_finite() => json!(format_value(value)),
        value => json!(value),
    }
}

fn selector(selector: &Selector) -> Value {
    let mut lists = selector.alternatives.iter().map(|list| list.iter().map(matcher).collect::<Value>());
    let of_name = |m: &&Matcher| m.name == NAME && matches!(m.op, MatchOp::Equal);
    let name = selector.alternatives.first().and_then(|list| list.iter().find(of_name));
    let mut value = json!({
        "type": "vectorSelector",
        "name": name.map_or("", |name| name.value.as_str()),
        "matchers": lists.next(),
        "anchored": selector.edges == Edges::Anchored,
        "smoothed": selector.edges == Edges::Smoothed,
    });
    let others: Vec<Value> = lists.collect();
    if !others.is_empty() {
        set(&mut value, "or", json!(others));
    }
    place_in_time(&mut value, selector.at, selector.offset_ms, &selector.computed);
    if let Some(range_ms) = selector.range_ms {
        set(&mut value, "type", json!("matrixSelector"));
        set(&mut value, "range", json!(range_ms));
        set(&mut value, "rangeExpr", computed(selector.computed.range.as_ref()));
    }
    value
}

fn matcher(matcher: &Matcher) -> Value {
    let op = match matcher.op {
        MatchOp::Equal => "=",
        MatchOp::NotEqual => "!=",
        MatchOp::Regex(_) => "=~",
        MatchOp::NotRegex(_) => "!~",
    };
    json!({"name": matcher.name, "value": matcher.value, "type": op})
}

fn subquery(node: &Subquery, inner: Value) -> Value {
    let mut value = json!({
        "type": "subquery",
        "expr": inner,
        "range": node.range_ms,
        "rangeExpr": computed(node.computed.range.as_ref()),
        // 0: the default.
        "step": node.step_ms.unwrap_or_default(),
        "stepExpr": computed(node.computed.step.as_ref()),
    });
    place_in_time(&mut value, node.at, node.offset_ms, &node.computed);
    value
}

fn place_in_time(value: &mut Value, at: Option<At>, offset_ms: i64, durations: &Computed) {
    let (timestamp, edge) = match at {
        None => (None, None),
        Some(At::TimeMs(time_ms)) => (Some(time_ms), None),
        Some(At::Start) => (None, Some("start")),
        Some(At::End) => (None, Some("end")),
    };
    set(value, "offset", json!(offset_ms));
    set(value, "offsetExpr", computed(durations.offset.as_ref()));
    set(value, "timestamp", json!(timestamp));
    set(value, "startOrEnd", json!(edge));
}

/// A duration that depends on the query's times; any other is a number already.
fn computed(expr: Option<&DurationExpr>) -> Value {
    let operation = |op: &str, left: Option<&DurationExpr>, right: Option<&DurationExpr>| {
        json!({
            "type": "durationExpr",
            "op": op,
            "lhs": computed(left),
            "rhs": computed(right),
            "wrapped": false,
        })
    };
    match expr {
        None => Value::Null,
        Some(DurationExpr::Number(seconds)) => {
            json!({"type": "numberLiteral", "val": format_value(*seconds), "duration": true})
        }
        Some(DurationExpr::Step) => operation("step", None, None),
        Some(DurationExpr::Range) => operation("range", None, None),
        Some(DurationExpr::Negate(inner)) => operation("-", None, Some(inner)),
        Some(DurationExpr::Both(op, left, right)) => {
            let op = match op {
                '<' => "min_of".to_owned(),
                '>' => "max_of".to_owned(),
                op => op.to_string(),
            };
            operation(&op, Some(left), Some(right))
        }
    }
}

fn set(object: &mut Value, key: &str, value: Value) {
    if let Value::Object(fields) = object {
        fields.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_has_the_nodes_of_prometheus() {
        let of = |text: &str| tree(&Expr::parse(text).unwrap());
        let name = json!({"name": "__name__", "value": "x", "type": "="});
        let mut x = json!({
            "type": "vectorSelector", "name": "x", "matchers": [name], "offset": 0, "offsetExpr": null,
            "timestamp": null, "startOrEnd": null, "anchored": false, "smoothed": false,
        });
        assert_eq!(of("x"), x);
        let sum = of("sum by (job) (x) / on (a) group_left (b) (x)");
        let matching = json!({
            "card": "many-to-one", "labels": ["a"], "on": true, "include": ["b"],
            "fillValues": {"lhs": null, "rhs": null},
        });
        assert_eq!(sum["matching"], matching);
        assert_eq!(sum["lhs"]["grouping"], json!(["job"]));
        assert_eq!(sum["rhs"], json!({"type": "parenExpr", "expr": x}));
        assert_eq!(of("x > bool -1")["matching"], Value::Null);
        assert_eq!(of("x unless x")["matching"]["card"], "many-to-many");
        set(&mut x, "startOrEnd", json!("end"));
        set(&mut x, "offset", json!(-60_000));
        assert_eq!(of("x @ end() offset -1m"), x);
        let rate = of(r#"rate(x{a!~"b"}[5m] @ 1.5)"#);
        assert_eq!(rate["func"]["argTypes"], json!(["matrix"]));
        let range = &rate["args"][0];
        assert_eq!((&range["type"], &range["range"]), (&json!("matrixSelector"), &json!(300_000)));
        assert_eq!(range["timestamp"], 1500);
        assert_eq!(range["matchers"][1], json!({"name": "a", "value": "b", "type": "!~"}));
        let inner = of("max_over_time(x[1h:] offset step())");
        assert_eq!((&inner["args"][0]["step"], &inner["args"][0]["range"]), (&json!(0), &json!(3_600_000)));
        assert_eq!(inner["args"][0]["offsetExpr"]["op"], "step");
        assert_eq!(of("info(x)")["args"].as_array().unwrap().len(), 1);
        assert_eq!(of("topk(2, x)")["param"], json!({"type": "numberLiteral", "val": "2"}));
        assert_eq!(of(r#"x{a="1" or b="2"}"#)["or"][0][1]["name"], "b");
        assert_eq!(of("a + fill(Inf) b")["matching"]["fillValues"]["lhs"], "+Inf");
    }

    #[test]
    fn the_deepest_and_longest_expressions_have_a_tree() {
        let deep = format!("{}1{}", "(".repeat(47), ")".repeat(47));
        let long = format!("1{}", "+1".repeat(199));
        for text in [deep, long] {
            assert!(tree(&Expr::parse(&text).unwrap()).to_string().len() > 1000);
        }
    }
}
