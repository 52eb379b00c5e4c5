//! The engine against plain models: what it computes column by column must be
//! what a naive reading of the samples gives, a range query must be its
//! instant queries side by side, and no text may make it panic.

use proptest::prelude::*;
use statsdeck::model::{Histogram, Labels, Matcher, MetricType, NativeHistogram, Sketch, native_histogram};
use statsdeck::query::{Cancel, Engine, Expr, MatrixSeries, MemorySource, Number, Options, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A series of the model: `job`, `instance`, and values by time in ms; `None`
/// is a stale marker.
type Series = ((u8, u8), BTreeMap<i64, Option<f64>>);

fn arbitrary_series() -> impl Strategy<Value = Vec<Series>> {
    let value = prop_oneof![9 => (0i32..1000).prop_map(|v| Some(f64::from(v) / 4.0)), 1 => Just(None)];
    let points = prop::collection::btree_map(0i64..1200, value, 0..60);
    let points = points.prop_map(|points| points.into_iter().map(|(at, v)| (at * 1000, v)).collect());
    prop::collection::btree_map((0u8..2, 0u8..3), points, 0..6).prop_map(|all| all.into_iter().collect())
}

fn engine_over(series: &[Series], metric_type: Option<MetricType>) -> Engine {
    let source = MemorySource::new();
    for ((job, instance), points) in series {
        for name in ["x", "y"] {
            let job = format!("j{job}");
            let instance = format!("i{instance}");
            let pairs = [("__name__", name), ("job", job.as_str()), ("instance", instance.as_str())];
            let labels = Labels::from_pairs(pairs);
            for (at_ms, value) in points {
                match value {
                    Some(value) => source.push(&labels, metric_type, *at_ms, *value),
                    None => source.push_stale(&labels, metric_type, *at_ms),
                }
            }
        }
    }
    Engine::new(Arc::new(source), Options { lookback_ms: 60_000, ..Options::default() })
}

fn matrix(engine: &Engine, expr: &str, start: i64, end: i64, step: i64) -> BTreeMap<(String, i64), f64> {
    let result = engine.range(expr, start, end, step).unwrap_or_else(|error| panic!("{expr}: {error}"));
    let Value::Matrix(series) = result.value else { panic!("a range query gives a matrix") };
    let mut found = BTreeMap::new();
    for series in series {
        for (at_ms, number) in series.points.iter() {
            found.insert((series.labels.to_string(), at_ms), number.as_float().unwrap());
        }
    }
    found
}

/// `rate(x[range])` at `at`, read off the definition.
fn naive_rate(points: &BTreeMap<i64, Option<f64>>, at: i64, range: i64, resets: bool) -> Option<f64> {
    let inside: Vec<(f64, f64)> = points
        .iter()
        .filter(|(t, _)| **t > at - range && **t <= at)
        .filter_map(|(t, v)| Some((*t as f64 / 1000.0, (*v)?)))
        .collect();
    let ((first_t, first), (last_t, last)) = (*inside.first()?, *inside.last()?);
    if inside.len() < 2 {
        return None;
    }
    let lost: f64 = inside.windows(2).filter(|p| resets && p[1].1 < p[0].1).map(|p| p[0].1).sum();
    let gain = last - first + lost;
    let gap = (last_t - first_t) / (inside.len() - 1) as f64;
    let near = |distance: f64| if distance < gap * 1.1 { distance } else { gap / 2.0 };
    let mut before = near(first_t - (at - range) as f64 / 1000.0);
    if gain > 0.0 && first >= 0.0 {
        before = before.min((last_t - first_t) * first / gain);
    }
    let after = near(at as f64 / 1000.0 - last_t);
    let stretched = gain * (last_t - first_t + before + after) / (last_t - first_t);
    Some(stretched / (range as f64 / 1000.0))
}

fn naive_instant(points: &BTreeMap<i64, Option<f64>>, at: i64) -> Option<f64> {
    points.range(at - 60_000 + 1..=at).next_back().and_then(|(_, value)| *value)
}

fn summed_by_job(
    series: &[Series],
    steps: &[i64],
    value: impl Fn(&BTreeMap<i64, Option<f64>>, i64) -> Option<f64>,
) -> BTreeMap<(String, i64), f64> {
    let mut sums = BTreeMap::new();
    for ((job, _), points) in series {
        for at in steps {
            if let Some(value) = value(points, *at) {
                *sums.entry((format!("{{job=\"j{job}\"}}"), *at)).or_insert(0.0) += value;
            }
        }
    }
    sums
}

fn same(ours: &BTreeMap<(String, i64), f64>, theirs: &BTreeMap<(String, i64), f64>) -> Result<(), String> {
    if !ours.keys().eq(theirs.keys()) {
        return Err(format!("keys differ: {:?} and {:?}", ours.keys(), theirs.keys()));
    }
    for (key, ours) in ours {
        let theirs = theirs[key];
        let close = (ours - theirs).abs() <= 1e-9 * ours.abs().max(theirs.abs()).max(1e-3);
        let same = close || *ours == theirs || (ours.is_nan() && theirs.is_nan());
        if !same {
            return Err(format!("{key:?}: {ours} and {theirs}"));
        }
    }
    Ok(())
}

/// Expressions whose value at a time does not depend on the query around it.
const LOCAL: [&str; 34] = [
    "x",
    "x offset 30s",
    "sum by (job) (x)",
    "x / on(job, instance) y",
    "sum by (job) (x) / on(job) group_right x",
    "x > 100",
    "x and y > 50",
    "x unless on(job) y{instance=\"i0\"}",
    "x > 200 or y",
    "topk by (job) (1, x)",
    "bottomk(2, x)",
    "quantile(0.4, x)",
    "count_values(\"v\", x)",
    "rate(x[2m])",
    "increase(x[90s] offset 15s)",
    "delta(x[2m])",
    "irate(x[2m])",
    "max_over_time(x[70s])",
    "stddev_over_time(x[3m])",
    "changes(x[3m])",
    "deriv(x[3m])",
    "predict_linear(x[3m], 60)",
    "last_over_time(x[1m] @ 600)",
    "x @ 300",
    "absent(x{job=\"j1\"})",
    "absent_over_time(x{job=\"j1\"}[30s])",
    "sum_over_time(x[2m:15s])",
    "max_over_time(rate(x[1m])[3m:20s])",
    "avg_over_time(sum(x)[2m:])",
    "label_replace(x, \"both\", \"$1\", \"job\", \"(.*)\")",
    "timestamp(x)",
    "scalar(sum(x)) + time()",
    "vector(1) unless on() x",
    "quantile_over_time(0.5, x[2m])",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sums_of_rates_are_those_of_the_definition(
        series in arbitrary_series(),
        start in 0i64..600, step in 1i64..90, range in 1i64..300, is_counter: bool,
    ) {
        let engine = engine_over(&series, is_counter.then_some(MetricType::Counter));
        let (start, end, step, range) = (start * 1000, 1_250_000, step * 1000, range * 1000);
        let steps: Vec<i64> = (start..=end).step_by(step as usize).collect();
        let found = matrix(&engine, &format!("sum by (job) (rate(x[{range}ms]))"), start, end, step);
        let expected = summed_by_job(&series, &steps, |points, at| naive_rate(points, at, range, !is_counter));
        prop_assert!(same(&found, &expected).is_ok(), "{:?}", same(&found, &expected));

        let found = matrix(&engine, "sum by (job) (x)", start, end, step);
        let expected = summed_by_job(&series, &steps, naive_instant);
        prop_assert!(same(&found, &expected).is_ok(), "{:?}", same(&found, &expected));
    }

    #[test]
    fn a_range_query_is_its_instant_queries_side_by_side(
        series in arbitrary_series(), start in 0i64..900, step in 1i64..200,
    ) {
        let engine = engine_over(&series, None);
        let (start, step) = (start * 1000, step * 1000);
        let end = start + 6 * step;
        for expr in LOCAL {
            let found = matrix(&engine, expr, start, end, step);
            let mut expected = BTreeMap::new();
            for at in (start..=end).step_by(step as usize) {
                match engine.instant(expr, at).unwrap().value {
                    Value::Vector(points) => expected.extend(points.into_iter().map(|point| {
                        ((point.labels.to_string(), at), point.value.as_float().unwrap())
                    })),
                    Value::Scalar(point) => { expected.insert(("{}".to_owned(), at), point.value); }
                    other => prop_assert!(false, "{expr}: {other:?}"),
                }
            }
            prop_assert!(same(&found, &expected).is_ok(), "{expr}: {:?}", same(&found, &expected));
        }
    }

    #[test]
    fn totals_add_up_to_what_was_counted(
        // Increments of 30 windows, for each of 3 counters that begin at different windows.
        counts in prop::collection::vec((0usize..20, prop::collection::vec(-5i32..50, 30)), 1..4),
        mut boundaries in prop::collection::vec(0i64..31, 2..6),
        // Windows from 10 s to half a day: the longest are read in several parts.
        window_ms in prop::sample::select(vec![10_000i64, 3_600_000, 43_200_000]),
    ) {
        boundaries.sort_unstable();
        let source = MemorySource::new();
        for (number, (begin, increments)) in counts.iter().enumerate() {
            let labels = Labels::from_pairs([("__name__", "c"), ("n", number.to_string().as_str())]);
            // What the store keeps: the total at the first window's start, then at each window's end.
            let mut total = 1000.0;
            let counter = Some(MetricType::Counter);
            source.push(&labels, counter, *begin as i64 * window_ms, total);
            for (window, increment) in increments.iter().enumerate().skip(*begin) {
                total += f64::from(*increment);
                source.push(&labels, counter, (window as i64 + 1) * window_ms, total);
            }
        }
        let engine = Engine::new(Arc::new(source), Options::default());
        let boundaries_ms: Vec<i64> = boundaries.iter().map(|at| at * window_ms).collect();
        let found = engine.totals(&[Matcher::equal("__name__", "c")], &boundaries_ms).unwrap();
        prop_assert_eq!(found.len(), boundaries.len() - 1);
        for (ends, found) in boundaries.windows(2).zip(found) {
            let windows = ends[0] as usize..ends[1] as usize;
            let expected: f64 = counts
                .iter()
                .map(|(begin, increments)| {
                    let counted = windows.clone().filter(|window| window >= begin);
                    counted.filter_map(|window| increments.get(window)).map(|i| f64::from(*i)).sum::<f64>()
                })
                .sum();
            prop_assert_eq!(found.unwrap_or(0.0), expected);
        }
    }

    #[test]
    fn distributions_hold_each_value_once(
        values in prop::collection::vec((1i64..100, 0.001f64..1e4), 0..80),
        spans in 1usize..12,
        window_ms in prop::sample::select(vec![10_000i64, 10_000_000]),
    ) {
        let source = MemorySource::new();
        let mut windows: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
        values.iter().for_each(|(at, value)| windows.entry(at * window_ms).or_default().push(*value));
        for (at_ms, values) in &windows {
            let histogram = Histogram::from_values(values.iter().map(|value| (*value, 1.0)));
            source.push_histogram(&Labels::of_name("t"), Some(MetricType::Timer), *at_ms, histogram);
        }
        let engine = Engine::new(Arc::new(source), Options::default());
        let found = engine.distribution(&[Matcher::equal("__name__", "t")], 0, 100 * window_ms, spans).unwrap();
        prop_assert_eq!(found.len(), spans);
        let end = 100.0 * window_ms as f64;
        for (at, found) in found.iter().enumerate() {
            let (from, to) = (at as f64 * end / spans as f64, (at + 1) as f64 * end / spans as f64);
            let is_inside = |at_ms: i64| at_ms as f64 > from + 1e-6 && at_ms as f64 <= to + 1e-6;
            let inside = windows.iter().filter(|(at_ms, _)| is_inside(**at_ms));
            let values = inside.flat_map(|(_, values)| values);
            let expected = Histogram::from_values(values.map(|value| (*value, 1.0)));
            prop_assert_eq!(found.buckets(), expected.buckets());
            prop_assert_eq!((found.count, found.min, found.max), (expected.count, expected.min, expected.max));
        }
    }
}

/// Native histograms of every kind in one series, with a stale marker and floats
/// between them.
fn push_natives(source: &MemorySource) {
    for (place, job) in ["a", "b"].into_iter().enumerate() {
        let labels = Labels::from_pairs([("__name__", "h"), ("job", job)]);
        for at in 0..20i32 {
            let weight = f64::from((at * 7 + place as i32) % 11);
            let mut histogram = NativeHistogram {
                schema: at % 3,
                count: weight * 4.0,
                sum: if at == 5 { f64::NAN } else { weight },
                zero_threshold: 0.001,
                zero_count: weight,
                positive: vec![(at % 4, weight), (5, weight)],
                negative: vec![(1, weight)],
                ..NativeHistogram::default()
            };
            if at > 14 {
                histogram = NativeHistogram {
                    schema: native_histogram::CUSTOM,
                    count: weight * 2.0,
                    sum: weight,
                    positive: vec![(0, weight), (2, weight)],
                    bounds: [1.0, f64::from(at)].into(),
                    ..NativeHistogram::default()
                };
            }
            let at_ms = i64::from(at) * 30_000;
            match at {
                8 => source.push_stale(&labels, None, at_ms),
                9 => source.push(&labels, None, at_ms, weight),
                _ => source.push_native(&labels, at_ms, histogram),
            }
        }
    }
}

fn source_of_all_kinds() -> MemorySource {
    let source = MemorySource::new();
    for name in ["x", "y"] {
        for at in 0..20 {
            let labels = Labels::from_pairs([("__name__", name), ("job", "a")]);
            source.push(&labels, None, at * 30_000, at as f64);
        }
    }
    let timer = Histogram::from_values([(1.0, 2.0), (-3.0, 1.0)]);
    source.push_histogram(&Labels::of_name("t"), Some(MetricType::Timer), 590_000, timer);
    push_natives(&source);
    source
}

/// Mostly well-typed expressions, nested: `$` in a template is another one.
fn arbitrary_expression() -> impl Strategy<Value = String> {
    let leaves = [
        "x",
        "y",
        "t",
        "{__name__=~\".+\"}",
        "x{job=\"a\"} offset 1m",
        "vector(1)",
        "vector(NaN)",
        "nope",
        "t @ end()",
        "h",
        "h smoothed",
        "h offset -1m",
    ];
    let templates = [
        "sum($)",
        "avg by (job) ($)",
        "topk(1, $)",
        "quantile(0.5, $)",
        "count_values(\"v\", $)",
        "stddev($)",
        "-$",
        "($)",
        "abs($)",
        "sort($)",
        "rate($[5m:30s])",
        "increase($[3m:])",
        "sum_over_time($[2m:20s] offset 1m)",
        "last_over_time($[1m:10s] @ start())",
        "changes($[5m:1m])",
        "predict_linear($[5m:1m], scalar($))",
        "quantile_over_time(scalar($), $[5m:1m])",
        "histogram_quantile(0.9, $)",
        "histogram_count($)",
        "histogram_fraction(-1, scalar($), $)",
        "label_replace($, \"job\", \"$1\", \"job\", \"(.).*\")",
        "label_join($, \"z\", \"-\", \"job\")",
        "absent($)",
        "timestamp($)",
        "clamp($, scalar($), 5)",
        "round($, scalar($))",
        "year($)",
        "scalar($) + $",
        "$ * scalar($)",
        "$ + $",
        "$ / on(job) $",
        "$ - on() group_left $",
        "$ > bool $",
        "$ == $",
        "$ and $",
        "$ or $",
        "$ unless on(job) $",
        "$ ^ 2",
        "$ % 0",
        "limitk(2, $)",
        "limit_ratio(-0.5, $)",
        "histogram_quantiles($, \"q\", 0.1, scalar($))",
        "histogram_stddev($)",
        "info($)",
        "$ - $",
        "$ </ scalar($)",
        "$ >/ 1",
        "$ / fill(0) $",
        "$ * on(job) group_right(z) fill_left(1) $",
        "irate($[2m:30s])",
        "idelta($[2m:30s])",
        "delta($[2m:30s])",
        "resets($[2m:30s])",
        "avg_over_time($[2m:30s])",
        "ts_of_last_over_time($[2m:30s])",
        "mad_over_time($[2m:30s])",
        "sum by (__name__) ($)",
        "label_replace($, \"__name__\", \"$1\", \"job\", \"(.*)\")",
        "increase(h[step() + 2m])",
        "increase(h[3m] anchored) + $",
        "rate(h[3m] smoothed) or $",
        "delta(x[3m] smoothed) * $",
        "resets(h[3m] anchored) * $",
        "min_of(start(), end()) + $",
    ];
    prop::sample::select(leaves.to_vec()).prop_map(String::from).prop_recursive(4, 24, 2, move |inner| {
        (prop::sample::select(templates.to_vec()), inner.clone(), inner).prop_map(
            |(template, first, second)| {
                // "$1" belongs to label_replace.
                let text = template.replace("$1", "\u{1}").replacen('$', &first, 1).replacen('$', &second, 1);
                text.replace('\u{1}', "$1")
            },
        )
    })
}

/// Pieces that hostile and broken queries are made of.
fn arbitrary_query() -> impl Strategy<Value = String> {
    let words = [
        "x",
        "y",
        "t",
        "nope",
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        "[5m]",
        "[1m:10s]",
        "[1y:1ms]",
        ":",
        ",",
        "+",
        "-",
        "*",
        "/",
        "%",
        "^",
        "==",
        "!=",
        ">",
        "<",
        ">=",
        "=~",
        "!~",
        "=",
        "and",
        "or",
        "unless",
        "atan2",
        "bool",
        "on(job)",
        "ignoring()",
        "group_left",
        "group_right(a)",
        "by (job)",
        "without ()",
        "offset 5m",
        "offset -1h",
        "@ 10",
        "@ start()",
        "@ end()",
        "1",
        "-0",
        "1e308",
        "NaN",
        "Inf",
        "0x1f",
        "5m",
        "\"a\"",
        "'",
        "`",
        "\\",
        "\"(\"",
        "job",
        "__name__",
        "sum(",
        "avg(",
        "topk(3,",
        "quantile(2,",
        "count_values(\"v\",",
        "limitk(1,",
        "rate(",
        "increase(",
        "x[5m])",
        "histogram_quantile(0.9,",
        "histogram_fraction(0,1,",
        "label_replace(x,",
        "\"$1\",",
        "absent(",
        "scalar(",
        "vector(",
        "time()",
        "sort(",
        "clamp(",
        "round(",
        "predict_linear(",
        "distinct_over_time(",
        "double_exponential_smoothing(x[5m],.5,.5)",
        "days_in_month(",
        "#",
        "\n",
        " ",
        "é",
        "\u{0}",
        "{\"etl.errors\"}",
        "{__name__=~\".+\"}",
        "fill(0)",
        "fill_left(",
        "anchored",
        "smoothed",
        "</",
        ">/",
        "step()",
        "range()",
        "max_of(",
        "[step()-1s]",
        "[5m+",
        "info(",
        "x[9999999y]",
        "99999999999999999999",
    ];
    prop_oneof![
        6 => arbitrary_expression(),
        4 => prop::collection::vec(prop::sample::select(words.to_vec()), 1..14).prop_map(|w| w.join(" ")),
        2 => prop::collection::vec(prop::sample::select(words.to_vec()), 1..14).prop_map(|w| w.concat()),
        1 => ".{0,60}",
        1 => "[a-z(){}\\[\\]\"'+*/=~!<>0-9.,: @-]{0,60}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn no_text_makes_it_panic(
        text in arbitrary_query(),
        at in prop_oneof![Just(0i64), Just(600_000), any::<i64>()],
    ) {
        let _ = statsdeck::query::format(&text);
        let _ = statsdeck::query::parse_selector(&text);
        let Ok(parsed) = Expr::parse(&text) else { return Ok(()) };
        let written = parsed.to_string();
        let again = Expr::parse(&written).map_err(|error| TestCaseError::fail(format!("{written}: {error}")))?;
        prop_assert_eq!(again.to_string(), written);
        let source = source_of_all_kinds();
        let options = Options { max_points: 20_000, ..Options::default() };
        let engine = Engine::new(Arc::new(source), options).with_cancel(Cancel::new());
        let _ = engine.instant_parsed(&parsed, at);
        let _ = engine.range_parsed(&parsed, 0, 600_000, 60_000);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn any_range_is_its_instants_side_by_side(text in arbitrary_expression()) {
        let of_the_query = ["start()", "end()", "step()", "range()"];
        if of_the_query.iter().any(|word| text.contains(word)) {
            return Ok(());
        }
        let engine = Engine::new(Arc::new(source_of_all_kinds()), Options::default());
        let (Ok(parsed), start, end, step) = (Expr::parse(&text), 210_000, 570_000, 45_000) else { return Ok(()) };
        // Of several instants one may fail where others do not.
        let Ok(range) = engine.range_parsed(&parsed, start, end, step) else { return Ok(()) };
        let Value::Matrix(series) = range.value else { panic!("a range query gives a matrix") };
        for at_ms in (start..=end).step_by(step as usize) {
            let shown = |labels: &Labels, number: &Number| match number {
                // Sums may be made in another order.
                Number::Float(value) => format!("{labels} {:.9e}", if *value == 0.0 { 0.0 } else { *value }),
                Number::Histogram(histogram) => format!("{labels} {histogram:?}"),
            };
            let mut expected: Vec<String> = match engine.instant_parsed(&parsed, at_ms).unwrap().value {
                Value::Vector(points) => points.iter().map(|point| shown(&point.labels, &point.value)).collect(),
                Value::Scalar(point) => vec![shown(&Labels::default(), &Number::Float(point.value))],
                _ => return Ok(()),
            };
            let at_time = |series: &MatrixSeries| {
                let point = series.points.iter().find(|(at, _)| *at == at_ms)?;
                Some(shown(&series.labels, &point.1))
            };
            let mut found: Vec<String> = series.iter().filter_map(at_time).collect();
            expected.sort();
            found.sort();
            prop_assert_eq!(found, expected, "{} at {}", text, at_ms);
        }
    }
}

/// A thread that evaluates has a bounded stack; the parser's limits must keep
/// every query within it, also in a build without optimisation.
#[test]
fn the_deepest_queries_fit_a_small_stack() {
    let deepest = [
        format!("x{}", " + x".repeat(199)),
        format!("x{}", " ^ x".repeat(199)),
        format!("x{}", " or x".repeat(199)),
        format!("{}x", "-".repeat(199)),
        format!("{}x{}", "abs(".repeat(47), ")".repeat(47)),
        format!("{}x{}", "(1 + ".repeat(47), ")".repeat(47)),
        format!("{}x{}", "sum(".repeat(47), ")".repeat(47)),
        format!("{}x{}", "last_over_time(".repeat(46), "[1m:1m])".repeat(46)),
        format!("{}x{}", "label_replace(".repeat(47), ", \"a\", \"b\", \"c\", \"d\")".repeat(47)),
    ];
    for query in deepest {
        let evaluate = move || {
            let source = MemorySource::new();
            source.push(&Labels::of_name("x"), None, 0, 1.0);
            let engine = Engine::new(Arc::new(source), Options::default());
            let parsed = Expr::parse(&query).unwrap_or_else(|error| panic!("{query}: {error}"));
            engine.instant_parsed(&parsed, 0).unwrap_or_else(|error| panic!("{query}: {error}"));
            statsdeck::query::format(&query).unwrap();
        };
        std::thread::Builder::new().stack_size(1 << 20).spawn(evaluate).unwrap().join().unwrap();
    }
}

#[test]
fn a_name_sent_as_two_types_answers_with_the_latest_and_says_so() {
    let source = MemorySource::new();
    let labels = Labels::of_name("mixed");
    source.push(&labels, Some(MetricType::Counter), 10_000, 1.0);
    source.push(&labels, Some(MetricType::Gauge), 20_000, 7.0);
    let engine = Engine::new(Arc::new(source), Options::default());
    let result = engine.instant("mixed", 20_000).unwrap();
    assert_eq!(result.warnings, ["mixed was received as more than one type; only the latest is used"]);
    let Value::Vector(points) = result.value else { panic!("an instant vector") };
    assert_eq!(points.len(), 1);
    assert_eq!(points[0].value.as_float(), Some(7.0));
}

#[test]
fn limits_are_told_with_their_number() {
    let series = vec![((0, 0), (0..50).map(|at| (at * 1000, Some(1.0))).collect())];
    let source = engine_over(&series, None);
    let check = |options: Options, expr: &str, expected: &str| {
        let memory = MemorySource::new();
        for at in 0..50 {
            memory.push(&Labels::of_name("x"), None, at * 1000, 1.0);
            memory.push(&Labels::of_name("y"), None, at * 1000, 1.0);
        }
        let error = Engine::new(Arc::new(memory), options).range(expr, 0, 49_000, 1000).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    };
    let options = Options::default();
    check(Options { max_series: 1, ..options }, "{__name__=~\"x|y\"}", "more than 1 series");
    check(Options { max_points: 60, ..options }, "x + y", "more than");
    check(Options { max_steps: 10, ..options }, "x", "maximum resolution of 10");
    check(Options { max_steps: 48, ..options }, "x", "49 steps");
    assert!(source.range("x", 0, 11_000, 1).is_ok(), "as many as Prometheus takes");
    let nested = format!("{}x{}", "1 + (".repeat(40), ")".repeat(40));
    check(Options { max_points: 100, ..options }, &nested, "more than 100 computed values");
    let cancel = Cancel::new();
    cancel.time_out();
    let error = source.with_cancel(cancel).instant("x", 0).unwrap_err();
    assert!(error.to_string().contains("took longer"), "{error}");
}

#[test]
fn distributions_count_by_their_size_when_read_and_when_computed() {
    let source = MemorySource::new();
    for at in 0..50 {
        let values = (1..=100).map(|value| (f64::from(value), 1.0));
        let timer = Some(MetricType::Timer);
        source.push_histogram(&Labels::of_name("t"), timer, at * 1000, Histogram::from_values(values));
    }
    let source = Arc::new(source);
    let answers = |max_points, expr: &str, step_ms| {
        let options = Options { max_points, ..Options::default() };
        Engine::new(source.clone(), options).range(expr, 0, 49_000, step_ms).is_ok()
    };
    assert!(!answers(1_000, "t", 1_000), "50 points of 1.6 kB are more than 16 kB");
    assert!(answers(6_000, "t", 1_000));
    assert!(answers(6_000, "sum(rate(t[5s]))", 1_000));
    assert!(!answers(6_000, "sum(rate(t[5s]))", 500), "each window of the range is a distribution");
    assert!(answers(6_000, "histogram_quantile(0.9, rate(t[5s] @ end()))", 500), "the same one all the time");
}

#[test]
fn whatever_makes_distributions_counts_them_by_their_size() {
    let source = MemorySource::new();
    let labels = Labels::from_pairs([("__name__", "h")]);
    let histogram = Histogram::from_values((1..=100).map(|value| (f64::from(value), 1.0)));
    let weight = histogram.weight();
    source.push_histogram(&labels, Some(MetricType::Timer), 1_000, histogram);
    let options = Options { max_points: 20 * weight, ..Options::default() };
    let engine = Engine::new(Arc::new(source), options);
    let ask = |query: &str, steps: i64| engine.range(query, 1_000, 1_000 * steps, 1_000).map(|_| ());
    for query in ["increase(h[1h])", "h * 2", "h + h", "sum(h)"] {
        ask(query, 20).unwrap();
        let error = ask(query, 21).unwrap_err().to_string();
        assert!(error.contains("computed values"), "{query}: {error}");
    }
    // Those that were read are not copied.
    ask("h", 200).unwrap();
}

#[test]
fn nesting_does_not_multiply_what_a_query_may_hold() {
    let source = MemorySource::new();
    for at in 0..10 {
        let labels = Labels::from_pairs([("__name__", "x"), ("n", &at.to_string())]);
        source.push(&labels, None, 1_000, 1.0);
    }
    // Ten series at 50 steps are 500 values.
    let options = Options { max_points: 1_500, ..Options::default() };
    let engine = Engine::new(Arc::new(source), options);
    let ask = |query: &str| engine.range(query, 1_000, 50_000, 1_000).map(|_| ());
    ask("x + x").unwrap();
    ask("x + x + x + x + x + x").unwrap();
    ask("sum(x + x) + sum(x + x)").unwrap();
    let error = ask("x + (x + (x + (x + x)))").unwrap_err().to_string();
    assert!(error.contains("more than 1500 computed values"), "{error}");
    let error =
        ask("scalar(x) + (1 + sum_over_time(vector(1 + (1 + (1 + 1)))[1000s:1s]))").unwrap_err().to_string();
    assert!(error.contains("more than 1500 computed values"), "{error}");
}

#[test]
fn a_day_of_many_distributions_is_merged_hour_by_hour() {
    let source = MemorySource::new();
    let of = |at: i64| Histogram::from_values((1..=50).map(|value| (f64::from(value) + at as f64, 1.0)));
    let (mut expected, minute_ms) = (Histogram::default(), 60_000);
    for at in 1..=2 * 1_440 {
        source.push_histogram(&Labels::of_name("t"), Some(MetricType::Timer), at * minute_ms, of(at % 7));
        expected.merge(&of(at % 7));
    }
    let source = Arc::new(source);
    let whole = |max_points| {
        let engine = Engine::new(source.clone(), Options { max_points, ..Options::default() });
        engine.distribution(&[Matcher::equal("__name__", "t")], 0, 2 * 1_440 * minute_ms, 1)
    };
    assert_eq!(whole(10_000).unwrap(), [expected], "a day would be 1,440 of 54");
    assert!(whole(1_000).is_err(), "an hour is too much as well");
}

#[test]
fn a_counter_received_and_one_sampled_under_the_same_labels_are_totalled_each_by_itself() {
    let (source, day_ms) = (MemorySource::new(), 86_400_000);
    let labels = Labels::of_name("hits_total");
    for (metric_type, values) in [(Some(MetricType::Counter), [100.0, 130.0]), (None, [7.0, 9.0])] {
        for (day, value) in values.into_iter().enumerate() {
            source.push(&labels, metric_type, day as i64 * day_ms + day_ms / 2, value);
        }
    }
    let engine = Engine::new(Arc::new(source), Options::default());
    let matchers = [Matcher::equal("__name__", "hits_total")];
    let totals = engine.totals(&matchers, &[0, day_ms, 2 * day_ms]).unwrap();
    assert_eq!(totals, [Some(0.0), Some(32.0)]);
}

#[test]
fn spans_without_end_are_answered_in_bounded_time() {
    let source = MemorySource::new();
    source.push_histogram(
        &Labels::of_name("t"),
        Some(MetricType::Timer),
        5,
        Histogram::from_values([(2.0, 1.0)]),
    );
    let engine = Engine::new(Arc::new(source), Options::default());
    let found =
        engine.distribution(&[Matcher::equal("__name__", "t")], i64::MIN / 4, i64::MAX / 4, 2).unwrap();
    assert_eq!(found.iter().map(|part| part.count).sum::<f64>(), 1.0);
    assert!(engine.distribution(&[], 0, 10, 0).is_err());
    assert!(engine.distribution(&[], 10, 0, 1).is_err());
    assert!(engine.totals(&[], &[10, 0]).is_err());
    assert_eq!(engine.totals(&[], &[]).unwrap(), []);
    assert_eq!(engine.totals(&[], &[5]).unwrap(), []);
    assert_eq!(engine.totals(&[], &[i64::MIN, 0, i64::MAX]).unwrap(), [None, None]);
}

#[test]
fn a_window_on_an_edge_belongs_to_the_span_that_it_ends() {
    for spans in 1..=300usize {
        let source = MemorySource::new();
        let value = |at: usize| Histogram::from_values([(at as f64, 1.0)]);
        for at in 1..=spans {
            let end_ms = at as i64 * 10_000;
            source.push_histogram(&Labels::of_name("t"), Some(MetricType::Timer), end_ms, value(at));
        }
        let engine = Engine::new(Arc::new(source), Options::default());
        let matchers = [Matcher::equal("__name__", "t")];
        let found = engine.distribution(&matchers, 0, spans as i64 * 10_000, spans).unwrap();
        let expected: Vec<Histogram> = (1..=spans).map(value).collect();
        assert_eq!(found, expected, "{spans} spans");
    }
}

#[test]
fn distinct_members_of_a_span_are_counted_once() {
    let source = MemorySource::new();
    let sketch_of = |members: &[&str]| {
        let mut sketch = Sketch::default();
        members.iter().for_each(|member| sketch.insert(member.as_bytes()));
        sketch
    };
    let visitors = Labels::of_name("visitors");
    source.push_sketch(&visitors, 10_000, sketch_of(&["ann", "bob"]));
    source.push_sketch(&visitors, 20_000, sketch_of(&["bob", "cem"]));
    source.push_sketch(&visitors, 30_000, sketch_of(&["ann"]));
    let engine = Engine::new(Arc::new(source), Options::default());
    let value = |expr: &str| match engine.instant(expr, 30_000).unwrap().value {
        Value::Vector(points) => points.first().and_then(|point| point.value.as_float()),
        other => panic!("{other:?}"),
    };
    assert_eq!(value("visitors"), Some(1.0));
    assert_eq!(value("sum_over_time(visitors[1m])"), Some(5.0));
    assert_eq!(value("distinct_over_time(visitors[1m])"), Some(3.0));
    assert_eq!(value("distinct_over_time(visitors[20s])"), Some(3.0));
    assert_eq!(value("distinct_over_time(visitors[10s])"), Some(1.0));
}
