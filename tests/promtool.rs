//! `promtool query …` against our API: what Prometheus' own client library
//! reads out of our answers. Says that it was skipped where promtool (Debian
//! package `prometheus`) is missing.

use statsdeck::clock::ManualClock;
use statsdeck::http::api::{ApiState, Bounds, router};
use statsdeck::model::{Histogram, Labels, MetricType};
use statsdeck::query::{Engine, MemorySource, Options};
use std::process::Command;
use std::sync::Arc;

/// 2024-01-01T00:00:00Z
const START_S: i64 = 1_704_067_200;

fn state() -> Arc<ApiState> {
    let source = MemorySource::new();
    let errors = Labels::from_pairs([("__name__", "errors"), ("job", "import")]);
    let timer = Labels::from_pairs([("__name__", "seconds"), ("job", "import")]);
    for at in 0..=60 {
        let at_ms = (START_S + at * 10) * 1000;
        source.push(&errors, Some(MetricType::Counter), at_ms, at as f64 * 2.0);
        let values = [(1.0, 3.0), (2.0, 1.0), (-0.5, 1.0)];
        source.push_histogram(&timer, Some(MetricType::Timer), at_ms, Histogram::from_values(values));
    }
    let clock = Arc::new(ManualClock::at((START_S + 600) * 1000));
    Arc::new(ApiState::new(Engine::new(Arc::new(source), Options::default()), clock, Bounds::default()))
}

#[tokio::test]
async fn promtool_reads_our_answers() {
    if !Command::new("promtool").arg("--version").output().is_ok_and(|out| out.status.success()) {
        eprintln!("skipped: promtool is not in the path");
        return;
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move { axum::serve(listener, router().with_state(state())).await });
    let (start, end) = (START_S.to_string(), (START_S + 600).to_string());
    let range = ["--start", &start, "--end", &end];
    let cases: [(Vec<&str>, &str); 7] = [
        (vec!["instant", "--time", &end, &url, "errors"], "errors{job=\"import\"} => 120 @[1704067800]"),
        (vec!["instant", "--time", &end, &url, "1 + 1"], "scalar: 2 @[1704067800]"),
        (vec!["instant", "--time", &end, &url, "sum(rate(errors[5m]))"], "{} => 0.2 @[1704067800]"),
        (
            vec!["instant", "--time", &end, &url, "histogram_sum(seconds)"],
            "{job=\"import\"} => 4.5 @[1704067800]",
        ),
        ([&["range", "--step", "5m"], &range[..], &[&url, "errors"]].concat(), "60 @[1704067500]"),
        (
            [&["series", "--match", "errors"], &range[..], &[&url]].concat(),
            "{__name__=\"errors\", job=\"import\"}",
        ),
        ([&["labels"], &range[..], &[&url, "__name__"]].concat(), "errors\nseconds"),
    ];
    for (args, expected) in cases {
        let command = args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<String>>();
        let run = move || Command::new("promtool").arg("query").args(command).output().unwrap();
        let output = tokio::task::spawn_blocking(run).await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(expected), "promtool query {args:?}:\n{text}{errors}");
    }
    server.abort();
}
