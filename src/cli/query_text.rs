//! Answers of Prometheus' API as text for people: tables, histograms as bars, and
//! an error under the place that it is about.
//!
//! Everything in an answer came from outside: no control character gets through.

use super::bars::{self, Bucket};
use super::client::printable;
use crate::model::Labels;
use jiff::Timestamp;
use serde_json::Value as Json;

/// The `data` of a query's answer.
pub fn text(data: &Json) -> String {
    let result = &data["result"];
    match data["resultType"].as_str() {
        Some("scalar") => format!("{}\n", word(&result[1])),
        Some("string") => format!("{}\n", word(&result[1])),
        Some("vector") => vector(result),
        Some("matrix") => matrix(result),
        _ => "the answer is of no known type\n".into(),
    }
}

/// `message` below the line and column that it begins with, somewhere before
/// "parse error"; `None` where it names none.
pub fn pointed_at(expr: &str, message: &str) -> Option<String> {
    let (place, said) = message.split_once(": parse error: ")?;
    let place = place.rsplit(' ').next()?;
    let (line, column) = place.split_once(':')?;
    let (line, column): (usize, usize) = (line.parse().ok()?, column.parse().ok()?);
    let shown = expr.lines().nth(line.checked_sub(1)?).unwrap_or_default();
    let before = shown.get(..column.checked_sub(1)?.min(shown.len())).unwrap_or(shown);
    Some(format!(
        "{place}: parse error: {}\n  {}\n  {}^",
        printable(said),
        shown.replace(char::is_control, " "),
        " ".repeat(before.chars().count())
    ))
}

fn vector(result: &Json) -> String {
    let (mut rows, mut drawn) = (Vec::new(), String::new());
    for series in result.as_array().into_iter().flatten() {
        let name = name(&series["metric"]);
        match series.get("histogram") {
            Some(point) => drawn += &format!("{name}\n{}", histogram(&point[1])),
            None => rows.push([word(&series["value"][1]), name]),
        }
    }
    if rows.is_empty() && drawn.is_empty() {
        return "no series\n".into();
    }
    let width = rows.iter().map(|[value, _]| value.chars().count()).max().unwrap_or(0);
    let rows: String = rows.iter().map(|[value, name]| format!("{value:>width$}  {name}\n")).collect();
    rows + &drawn
}

fn matrix(result: &Json) -> String {
    let mut out = String::new();
    for series in result.as_array().into_iter().flatten() {
        if !out.is_empty() {
            out.push('\n');
        }
        out += &format!("{}\n", name(&series["metric"]));
        let floats = series["values"].as_array().into_iter().flatten();
        let histograms = series["histograms"].as_array().into_iter().flatten();
        let mut points: Vec<(f64, String)> = floats
            .map(|point| (number(&point[0]), word(&point[1])))
            .chain(histograms.map(|point| (number(&point[0]), summary(&point[1]))))
            .collect();
        points.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let width = points.iter().map(|(_, value)| value.chars().count()).max().unwrap_or(0);
        for (at, value) in points {
            out += &format!("  {}  {value:>width$}\n", time(at));
        }
    }
    if out.is_empty() { "no series\n".into() } else { out }
}

/// Count, sum, and bars.
fn histogram(value: &Json) -> String {
    let buckets = value["buckets"].as_array().into_iter().flatten();
    let buckets = buckets.map(|bucket| {
        let [low, high, count] = [1, 2, 3].map(|at| number(&bucket[at]));
        Bucket { low, high, count }
    });
    format!("  {}\n{}", summary(value), bars::drawn(&buckets.collect::<Vec<_>>()))
}

fn summary(value: &Json) -> String {
    format!("count {}, sum {}", word(&value["count"]), word(&value["sum"]))
}

/// As it is written in PromQL.
fn name(metric: &Json) -> String {
    let pairs = metric.as_object().into_iter().flatten();
    let labels = Labels::from_pairs(pairs.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?))));
    printable(&labels.to_string())
}

/// Numbers are texts in this API, but for times.
fn number(value: &Json) -> f64 {
    let text = || value.as_str().and_then(crate::query::number::parse_float);
    value.as_f64().or_else(text).unwrap_or(f64::NAN)
}

fn word(value: &Json) -> String {
    printable(value.as_str().unwrap_or("?"))
}

fn time(seconds: f64) -> String {
    let at = Timestamp::from_millisecond((seconds * 1000.0).round() as i64);
    at.map_or_else(|_| seconds.to_string(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn answers_are_tables_and_bars() {
        let buckets = json!([[1, "-0.5", "-0.25", "1"], [3, "-0", "0", "2"], [0, "1", "1.0078125", "40"]]);
        let timer = json!({"count": "43", "sum": "41.25", "buckets": buckets});
        let at = 1_704_067_200;
        let cases = [
            (json!({"resultType": "scalar", "result": [at, "2"]}), "2\n"),
            (json!({"resultType": "string", "result": [at, "a\u{1b}[31m"]}), "a\\u{1b}[31m\n"),
            (json!({"resultType": "vector", "result": []}), "no series\n"),
            (
                json!({"resultType": "vector", "result": [
                    {"metric": {"__name__": "up", "job": "a\"b"}, "value": [at, "1"]},
                    {"metric": {"__name__": "etl.errors", "région": "é"}, "value": [at, "12.5"]},
                    {"metric": {}, "value": [at, "NaN"]},
                ]}),
                "   1  up{job=\"a\\\"b\"}\n12.5  {\"etl.errors\", \"région\"=\"é\"}\n NaN  {}\n",
            ),
            (
                json!({"resultType": "vector", "result": [{"metric": {"__name__": "t"}, "histogram": [at, timer]}]}),
                "t\n  count 43, sum 41.25\n  -0.5 … -0.25   1  █\n    -0 …     0   2  ██\n     1 … 1.008  40  \
                 ████████████████████████████████████████\n",
            ),
            (
                json!({"resultType": "matrix", "result": [
                    {"metric": {"__name__": "a"}, "values": [[at, "1"], [1_704_067_260.5, "10"]]},
                    {"metric": {"__name__": "b"}, "histograms": [[at, timer]]},
                ]}),
                "a\n  2024-01-01T00:00:00Z   1\n  2024-01-01T00:01:00.5Z  10\n\nb\n  2024-01-01T00:00:00Z  \
                 count 43, sum 41.25\n",
            ),
            (json!(null), "the answer is of no known type\n"),
        ];
        for (data, expected) in cases {
            assert_eq!(text(&data), expected);
        }
    }

    #[test]
    fn an_error_is_shown_where_it_is() {
        let cases = [
            (
                "sum(x,",
                "invalid parameter \"query\": 1:7: parse error: unexpected end",
                Some("1:7: parse error: unexpected end\n  sum(x,\n        ^"),
            ),
            ("a +\n\té é", "2:4: parse error: no", Some("2:4: parse error: no\n   é é\n    ^")),
            ("x", "9:99: parse error: gone", Some("9:99: parse error: gone\n  \n  ^")),
            ("x", "0:0: parse error: odd", None),
            ("x", "too many series", None),
        ];
        for (expr, message, expected) in cases {
            assert_eq!(pointed_at(expr, message).as_deref(), expected);
        }
    }
}
