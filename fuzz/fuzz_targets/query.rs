//! Any text as a query: no panic, and what is taken is written so that it reads
//! the same again. Then it is evaluated over a few series of every kind.
#![no_main]

use libfuzzer_sys::fuzz_target;
use statsdeck::model::{Histogram, Labels, MetricType, NativeHistogram};
use statsdeck::query::{Engine, Expr, MemorySource, Options, testlang};
use std::sync::{Arc, LazyLock};

static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let source = MemorySource::new();
    for (at, value) in [(0, 1.0), (10_000, 4.0), (20_000, -2.0), (30_000, f64::NAN)] {
        for job in ["a", "b"] {
            let of = |name: &str| Labels::from_pairs([("__name__", name), ("job", job), ("le", "1")]);
            source.push(&of("x"), Some(MetricType::Counter), at, value);
            source.push(&of("y_total"), None, at, value);
            let values = [(value.abs().min(1e9), 1.0)];
            let own = Histogram::from_values(values.into_iter().filter(|(value, _)| value.is_finite()));
            source.push_histogram(&of("t"), Some(MetricType::Timer), at, own);
            let native = NativeHistogram { count: 3.0, sum: value, positive: vec![(0, 1.0), (2, 2.0)], ..Default::default() };
            source.push_native(&of("h"), at, native);
        }
    }
    let options = Options { max_points: 20_000, max_steps: 100, ..Options::default() };
    Engine::new(Arc::new(source), options)
});

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(parsed) = Expr::parse(text) {
        let written = parsed.to_string();
        let again = Expr::parse(&written).unwrap_or_else(|error| panic!("{text:?} as {written:?}: {error}"));
        assert_eq!(again.to_string(), written);
        let _ = ENGINE.instant_parsed(&parsed, 30_000);
        let _ = ENGINE.range_parsed(&parsed, 0, 40_000, 10_000);
    }
    let _ = statsdeck::query::format(text);
    let _ = statsdeck::query::parse_selector(text);
    let _ = testlang::run_all(&format!("load 10s\n  {text}\n\neval instant at 10s {text}\n  {text}\n"));
});
