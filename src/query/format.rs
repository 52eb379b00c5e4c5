//! An expression as text again: in one line, or, where that is long, laid out
//! over several, as `promtool promql format` does it.

use super::duration_expr::DurationExpr;
use super::error::Error;
use super::expr::{Aggregate, At, Binary, Computed, Edges, Expr, Group, Parsed, Selector, Subquery};
use super::number::format_value;
use super::parse::{NO_NAMES, parse};
use crate::model::label::{NAME, escape_label_name, escape_name};
use crate::model::{MatchOp, Matcher, duration};
use std::fmt;

/// Longest line that is not broken, in bytes.
const LINE_BYTES: usize = 100;

/// The text laid out anew.
pub fn format(text: &str) -> Result<String, Error> {
    let parsed = parse(text)?;
    let mut out = String::new();
    Layout { parsed: &parsed }.pretty(&mut out, &parsed.expr, 0);
    Ok(out)
}

/// In one line.
impl fmt::Display for Parsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Layout { parsed: self }.line(&self.expr))
    }
}

struct Layout<'a> {
    parsed: &'a Parsed,
}

impl Layout<'_> {
    /// In one line where it fits, broken at its operators and brackets where not.
    fn pretty(&self, out: &mut String, expr: &Expr, level: usize) {
        let indent = "  ".repeat(level);
        let line = self.line(expr);
        if line.len() <= LINE_BYTES {
            out.push_str(&indent);
            out.push_str(&line);
            return;
        }
        match expr {
            Expr::Number(_) | Expr::String(_) | Expr::Vector(_) | Expr::Matrix(_) => {
                out.push_str(&indent);
                out.push_str(&line);
            }
            Expr::Paren(inner) => self.bracketed(out, &format!("{indent}("), &[inner], level),
            Expr::Negate(inner) => {
                let mut text = String::new();
                self.pretty(&mut text, inner, level);
                out.push_str(&format!("{indent}-{}", text.trim_start()));
            }
            Expr::Binary(binary) => {
                self.pretty(out, &binary.left, level + 1);
                out.push_str(&format!("\n{indent}{}\n", operator(binary)));
                self.pretty(out, &binary.right, level + 1);
            }
            Expr::Aggregate(aggregate) => {
                let parts: Vec<&Expr> = aggregate.param.iter().chain([&aggregate.expr]).collect();
                self.bracketed(out, &format!("{indent}{}", head(aggregate)), &parts, level);
            }
            Expr::Call(call) => {
                let parts: Vec<&Expr> = self.parsed.written(call).collect();
                self.bracketed(out, &format!("{indent}{}(", call.function.name()), &parts, level);
            }
            Expr::Subquery(subquery) => {
                self.pretty(out, &subquery.expr, level);
                out.push_str(&ranges(subquery));
            }
        }
    }

    fn bracketed(&self, out: &mut String, head: &str, parts: &[&Expr], level: usize) {
        out.push_str(head);
        for (at, part) in parts.iter().enumerate() {
            out.push_str(if at == 0 { "\n" } else { ",\n" });
            self.pretty(out, part, level + 1);
        }
        out.push_str(&format!("\n{})", "  ".repeat(level)));
    }

    fn line(&self, expr: &Expr) -> String {
        match expr {
            Expr::Number(value) => format_value(*value),
            Expr::String(text) => quoted(text),
            Expr::Vector(at) | Expr::Matrix(at) => {
                self.parsed.selectors.get(*at).map(selector).unwrap_or_default()
            }
            Expr::Paren(inner) => format!("({})", self.line(inner)),
            Expr::Negate(inner) => format!("-{}", self.line(inner)),
            Expr::Binary(binary) => {
                format!("{} {} {}", self.line(&binary.left), operator(binary), self.line(&binary.right))
            }
            Expr::Aggregate(aggregate) => {
                let parts = aggregate.param.iter().chain([&aggregate.expr]).map(|part| self.line(part));
                let parts: Vec<String> = parts.collect();
                format!("{}{})", head(aggregate), parts.join(", "))
            }
            Expr::Call(call) => {
                let args: Vec<String> = self.parsed.written(call).map(|arg| self.line(arg)).collect();
                format!("{}({})", call.function.name(), args.join(", "))
            }
            Expr::Subquery(subquery) => format!("{}{}", self.line(&subquery.expr), ranges(subquery)),
        }
    }
}

/// An aggregation up to the bracket in front of what it takes.
fn head(aggregate: &Aggregate) -> String {
    let name = aggregate.op.as_str();
    match (aggregate.without, aggregate.labels.is_empty()) {
        (false, true) => format!("{name}("),
        (without, _) => {
            let word = if without { "without" } else { "by" };
            format!("{name} {word} ({}) (", labels(&aggregate.labels))
        }
    }
}

fn operator(binary: &Binary) -> String {
    let mut text = binary.op.as_str().to_owned();
    let matching = &binary.matching;
    if binary.return_bool {
        text.push_str(" bool");
    }
    if matching.on || !matching.labels.is_empty() || matching.group != Group::OneToOne {
        let word = if matching.on { "on" } else { "ignoring" };
        text.push_str(&format!(" {word} ({})", labels(&matching.labels)));
    }
    match matching.group {
        Group::OneToOne => {}
        Group::ManyToOne => text.push_str(&format!(" group_left ({})", labels(&matching.include))),
        Group::OneToMany => text.push_str(&format!(" group_right ({})", labels(&matching.include))),
    }
    match (matching.fill_left, matching.fill_right) {
        (Some(left), Some(right)) if left.to_bits() == right.to_bits() => {
            text.push_str(&format!(" fill ({})", format_value(left)));
        }
        (left, right) => {
            for (word, value) in [("fill_left", left), ("fill_right", right)] {
                if let Some(value) = value {
                    text.push_str(&format!(" {word} ({})", format_value(value)));
                }
            }
        }
    }
    text
}

fn labels(names: &[String]) -> String {
    names.iter().map(|name| label(name)).collect::<Vec<_>>().join(", ")
}

/// A label's name, in quotes where it needs them.
fn label(name: &str) -> String {
    if escape_label_name(name) == name { name.to_owned() } else { quoted(name) }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() && u32::from(c) < 0x80 => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn selector(selector: &Selector) -> String {
    let keyword =
        |name: &str| NO_NAMES.iter().chain(&["inf", "nan"]).any(|word| name.eq_ignore_ascii_case(word));
    let of_name = |m: &&Matcher| m.name == NAME && matches!(m.op, MatchOp::Equal);
    let plain = |m: &&Matcher| of_name(m) && escape_name(&m.value) == *m.value && !keyword(&m.value);
    let names_once = |list: &Vec<Matcher>| list.iter().filter(of_name).count() == 1;
    // A name in front of the braces holds for all alternatives.
    let name = selector.alternatives.first().and_then(|list| list.first()).filter(plain);
    let everywhere = |name: &&Matcher| {
        selector
            .alternatives
            .iter()
            .all(|list| list.first().filter(plain).is_some_and(|m| m.value == name.value))
    };
    let name = name.filter(everywhere);
    let lists: Vec<String> = selector
        .alternatives
        .iter()
        .map(|list| {
            let rest = list.get(usize::from(name.is_some())..).unwrap_or_default();
            let quotes_name = names_once(list);
            rest.iter().map(|m| matcher(m, quotes_name)).collect::<Vec<_>>().join(",")
        })
        .collect();
    let inner = lists.join(" or ");
    let mut text = name.map(|name| name.value.clone()).unwrap_or_default();
    if !inner.is_empty() || name.is_none() {
        text.push_str(&format!("{{{inner}}}"));
    }
    if let Some(range_ms) = selector.range_ms {
        text.push_str(&format!("[{}]", computed_or(selector.computed.range.as_ref(), range_ms)));
    }
    text.push_str(match selector.edges {
        Edges::Plain => "",
        Edges::Anchored => " anchored",
        Edges::Smoothed => " smoothed",
    });
    text.push_str(&when(selector.at, selector.offset_ms, &selector.computed));
    text
}

/// `quotes_name`: a name that needs quotes may stand without its label.
fn matcher(matcher: &Matcher, quotes_name: bool) -> String {
    let op = match matcher.op {
        MatchOp::Equal
            if quotes_name && matcher.name == NAME && escape_name(&matcher.value) != *matcher.value =>
        {
            return quoted(&matcher.value);
        }
        MatchOp::Equal => "=",
        MatchOp::NotEqual => "!=",
        MatchOp::Regex(_) => "=~",
        MatchOp::NotRegex(_) => "!~",
    };
    format!("{}{op}{}", label(&matcher.name), quoted(&matcher.value))
}

fn ranges(subquery: &Subquery) -> String {
    let range = computed_or(subquery.computed.range.as_ref(), subquery.range_ms);
    let step =
        subquery.step_ms.map(|ms| computed_or(subquery.computed.step.as_ref(), ms)).unwrap_or_default();
    format!("[{range}:{step}]{}", when(subquery.at, subquery.offset_ms, &subquery.computed))
}

fn when(at: Option<At>, offset_ms: i64, computed: &Computed) -> String {
    let mut text = match at {
        None => String::new(),
        Some(At::Start) => " @ start()".into(),
        Some(At::End) => " @ end()".into(),
        Some(At::TimeMs(ms)) => format!(" @ {:.3}", ms as f64 / 1000.0),
    };
    match &computed.offset {
        Some(expr) => text.push_str(&format!(" offset ({})", duration_text(expr))),
        None if offset_ms == 0 => {}
        None => {
            let sign = if offset_ms < 0 { "-" } else { "" };
            text.push_str(&format!(" offset {sign}{}", duration::format_ms(offset_ms.unsigned_abs())));
        }
    }
    text
}

fn computed_or(expr: Option<&DurationExpr>, ms: i64) -> String {
    expr.map_or_else(|| duration::format_ms(ms.unsigned_abs()), duration_text)
}

fn duration_text(expr: &DurationExpr) -> String {
    match expr {
        DurationExpr::Number(seconds) => format_value(*seconds),
        DurationExpr::Step => "step()".into(),
        DurationExpr::Range => "range()".into(),
        DurationExpr::Negate(inner) => format!("-{}", operand(inner)),
        DurationExpr::Both(op @ ('<' | '>'), left, right) => {
            let name = if *op == '<' { "min_of" } else { "max_of" };
            format!("{name}({}, {})", duration_text(left), duration_text(right))
        }
        DurationExpr::Both(op, left, right) => format!("{} {op} {}", operand(left), operand(right)),
    }
}

/// In parentheses where it is not one word.
fn operand(expr: &DurationExpr) -> String {
    match expr {
        DurationExpr::Negate(_) | DurationExpr::Both('+' | '-' | '*' | '/' | '%' | '^', _, _) => {
            format!("({})", duration_text(expr))
        }
        _ => duration_text(expr),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_stays_in_a_line() {
        let cases = [
            ("sum(rate(x[5m]))by(a,b)", "sum by (a, b) (rate(x[5m]))"),
            ("sum(x)", "sum(x)"),
            ("sum without() (x)", "sum without () (x)"),
            ("topk(5,x)", "topk(5, x)"),
            ("a/on(x)group_left(y)b", "a / on (x) group_left (y) b"),
            ("a>bool 1", "a > bool 1"),
            ("-(a+b)^2", "-(a + b) ^ 2"),
            (r#"{"etl.errors",a="b\n"}"#, r#"{"etl.errors",a="b\n"}"#),
            (r#"x{a="1" or b=~"2"}"#, r#"x{a="1" or b=~"2"}"#),
            ("x[90s]offset 1h30m@10", "x[1m30s] @ 10.000 offset 1h30m"),
            ("max_over_time(x[1h:]offset -5m)", "max_over_time(x[1h:] offset -5m)"),
            ("increase(x[5m]anchored)", "increase(x[5m] anchored)"),
            ("a+fill(0)b", "a + fill (0) b"),
            ("x[step()*2+1m] offset -step()", "x[(step() * 2) + 60] offset (-step())"),
            ("a </ 2", "a </ 2"),
            ("info(rate(x[5m]))", "info(rate(x[5m]))"),
            ("{\"bool\"}", "{__name__=\"bool\"}"),
            ("{__name__=\"a.b\",__name__=\"c\"}", "{__name__=\"a.b\",__name__=\"c\"}"),
            ("{\"a.b\" or \"c\"}", "{\"a.b\" or __name__=\"c\"}"),
        ];
        for (text, expected) in cases {
            assert_eq!(format(text).unwrap(), expected, "{text}");
            assert_eq!(format(expected).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_does_not_is_broken_at_operators_and_brackets() {
        let text = "sum by (job) (rate(http_requests_total{code=~\"5..\"}[5m])) / sum by (job) \
                    (rate(http_requests_total[5m])) > 0.05";
        let expected = "    sum by (job) (rate(http_requests_total{code=~\"5..\"}[5m]))\n  /\n    sum by (job) \
                        (rate(http_requests_total[5m]))\n>\n  0.05";
        assert_eq!(format(text).unwrap(), expected);
    }
}
