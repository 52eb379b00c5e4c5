//! Our parser beside `promql-parser`, which was made from Prometheus' own
//! grammar: both take the same texts, and read the same in them.

use promql_parser::parser as theirs;
use proptest::prelude::*;
use statsdeck::query::Expr;

/// Reads a text with both.
fn check(text: &str) -> Result<(), TestCaseError> {
    let ours = Expr::parse(text);
    // Lists of no labels mean nothing; ours are not kept.
    let their = theirs::parse(&text.replace(" by ()", "").replace(" ignoring()", ""));
    match (ours, their) {
        (Ok(ours), Ok(their)) => {
            let written = ours.to_string();
            let again = theirs::parse(&written)
                .map_err(|error| TestCaseError::fail(format!("{text}\nwritten as {written}\n{error}")))?;
            prop_assert_eq!(again.to_string(), their.to_string(), "{} written as {}", text, written);
            prop_assert_eq!(again, their, "{} written as {}", text, written);
            Ok(())
        }
        (Err(_), Err(_)) => Ok(()),
        (Ok(_), Err(error)) => Err(TestCaseError::fail(format!("only we take {text}\n{error}"))),
        // `+ "text"`, which Prometheus refuses as well.
        (Err(error), Ok(_)) if error.to_string().contains("unary expression only allowed") => Ok(()),
        (Err(error), Ok(_)) => Err(TestCaseError::fail(format!("we do not take {text}\n{error}"))),
    }
}

fn one_of(words: &'static [&'static str]) -> impl Strategy<Value = String> + Clone {
    prop::sample::select(words).prop_map(str::to_owned)
}

fn selector() -> impl Strategy<Value = String> + Clone {
    let matchers = one_of(&[
        "",
        "{}",
        "{job=\"a\"}",
        "{job=~\"a.*\",x!=\"\"}",
        "{job!~'b|c',}",
        "{\"a b\"=\"c\"}",
        "{on=\"x\", by=`y`}",
    ]);
    let named =
        (one_of(&["x", "etl_errors", "a:b", "sum", "rate", "by"]), matchers).prop_map(|(a, b)| a + &b);
    prop_oneof![4 => named, 1 => one_of(&["{\"etl.errors\"}", "{\"etl.errors\",job=\"a\"}", "{__name__=~\"a|b\"}"])]
}

fn when() -> impl Strategy<Value = String> + Clone {
    one_of(&[
        "",
        "",
        "",
        " offset 5m",
        " offset -1h30m",
        " @ 10",
        " @ start()",
        " @ end() offset 1m",
        " @ 1.5",
    ])
}

fn range_vector() -> impl Strategy<Value = String> + Clone {
    let range = one_of(&["[5m]", "[90s]", "[1h]", "[2d]"]);
    (selector(), range, when()).prop_map(|(selector, range, when)| selector + &range + &when)
}

fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        3 => (selector(), when()).prop_map(|(selector, when)| selector + &when),
        2 => range_vector().prop_map(|range| format!("rate({range})")),
        1 => range_vector().prop_map(|range| format!("quantile_over_time(0.9, {range})")),
        1 => one_of(&["vector(1)", "time()", "1", "0x1F", "1e-3", "Inf", "5m"]),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let operator = one_of(&[
            "+",
            "-",
            "*",
            "/",
            "%",
            "^",
            "== bool",
            ">= bool",
            "atan2",
            "and",
            "or",
            "unless",
            ">",
            "!=",
            "+ on(job)",
            "/ ignoring(x,y) group_left",
            "* on(a) group_right(b, c)",
            "and on()",
            "- ignoring()",
        ]);
        let grouping = one_of(&["", " by (job)", " without (a, b,)", " by ()"]);
        let name = one_of(&["sum", "avg", "COUNT", "max", "group"]);
        let function = one_of(&["abs", "ceil", "sort_desc", "absent", "scalar", "histogram_count"]);
        let subquery = one_of(&["[5m:]", "[1h:30s]", "[1h:1m] offset 5m", "[10m:1m] @ end()"]);
        prop_oneof![
            (inner.clone(), operator, inner.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            inner.clone().prop_map(|inner| format!("({inner})")),
            inner.clone().prop_map(|inner| format!("-{inner}")),
            (name.clone(), grouping.clone(), inner.clone()).prop_map(|(n, g, i)| format!("{n}{g} ({i})")),
            (name, grouping, inner.clone()).prop_map(|(n, g, i)| format!("{n}({i}){g}")),
            inner.clone().prop_map(|inner| format!("topk(3, {inner})")),
            (function, inner.clone()).prop_map(|(function, inner)| format!("{function}({inner})")),
            (inner, subquery).prop_map(|(inner, subquery)| format!("max_over_time(({inner}){subquery})")),
        ]
    })
}

/// Words that may stand anywhere and mostly make no sense.
fn soup() -> impl Strategy<Value = String> {
    let word = one_of(&[
        "x",
        "sum",
        "by",
        "rate",
        "(",
        ")",
        "{",
        "}",
        "[5m]",
        "[5m:]",
        "5m",
        "1",
        "+",
        "-",
        "^",
        "and",
        "or",
        "on(a)",
        "group_left",
        "bool",
        ">",
        "offset",
        "@",
        "start()",
        "job=\"a\"",
        ",",
        // A name that needs no quotes theirs keeps as a matcher: see the test below.
        "\"t t\"",
        "topk",
    ]);
    prop::collection::vec(word, 1..8).prop_map(|words| words.join(" "))
}

/// As Prometheus writes it; `promql-parser` makes a matcher of it.
#[test]
fn a_quoted_name_that_needs_no_quotes_is_the_plain_name() {
    for (text, written) in
        [("{\"t\"}", "t"), ("{\"t\", job=\"a\"}", "t{job=\"a\"}"), ("1 > { \"t\" }", "1 > t")]
    {
        assert_eq!(Expr::parse(text).unwrap().to_string(), written);
        assert!(theirs::parse(text).is_ok(), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn both_read_the_same_in_an_expression(text in expression()) {
        check(&text)?;
    }

    #[test]
    fn both_take_the_same_texts(text in soup()) {
        check(&text)?;
    }
}
