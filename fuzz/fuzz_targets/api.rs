//! Any parameters of any call of the query API, in the URL and as a form: no
//! panic, and an answer that is Prometheus' JSON with a status that fits it.
#![no_main]

use axum::body::Body;
use axum::http::{Request, header};
use http_body_util::BodyExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use libfuzzer_sys::fuzz_target;
use statsdeck::clock::ManualClock;
use statsdeck::http::api::{ApiState, Bounds, router};
use statsdeck::model::{Histogram, Labels, MetricType};
use statsdeck::query::{Engine, MemorySource, Options};
use std::sync::{Arc, LazyLock};
use tokio::runtime::{Builder, Runtime};

const PATHS: [&str; 11] = [
    "query",
    "query_range",
    "series",
    "labels",
    "label/job/values",
    "metadata",
    "format_query",
    "query_exemplars",
    "status/tsdb",
    "targets",
    "parse_query",
];

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_time().build().expect("a runtime"));

static STATE: LazyLock<Arc<ApiState>> = LazyLock::new(|| {
    let source = MemorySource::new();
    for (at, value) in [(0, 1.0), (10_000, 4.0), (20_000, -2.0), (30_000, f64::NAN)] {
        for job in ["a", "b"] {
            let of = |name: &str| Labels::from_pairs([("__name__", name), ("job", job), ("le", "1")]);
            source.push(&of("x"), Some(MetricType::Counter), at, value);
            let values = [(value.abs().min(1e9), 1.0)];
            let own = Histogram::from_values(values.into_iter().filter(|(value, _)| value.is_finite()));
            source.push_histogram(&of("t"), Some(MetricType::Timer), at, own);
        }
    }
    let options = Options { max_points: 20_000, max_steps: 100, ..Options::default() };
    let clock = Arc::new(ManualClock::at(30_000));
    Arc::new(ApiState::new(Engine::new(Arc::new(source), options), clock, Bounds::default()))
});

fuzz_target!(|bytes: &[u8]| {
    let Some((which, parameters)) = bytes.split_first() else { return };
    let path = PATHS[usize::from(which / 2) % PATHS.len()];
    let request = if which % 2 == 0 {
        Request::get([b"/api/v1/", path.as_bytes(), b"?", parameters].concat().as_slice()).body(Body::empty())
    } else {
        Request::post(format!("/api/v1/{path}"))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(parameters.to_vec()))
    };
    // What is no URL does not come as far as the API.
    let Ok(request) = request else { return };
    RUNTIME.block_on(async {
        let service = TowerToHyperService::new(router().with_state(STATE.clone()));
        let answer = service.call(request).await.expect("an answer");
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        if status == 405 {
            return;
        }
        let told: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        let (kind, error) = (told["status"].as_str(), told["errorType"].as_str());
        match status {
            200 => assert_eq!((kind, error), (Some("success"), None)),
            400 => assert_eq!((kind, error), (Some("error"), Some("bad_data"))),
            422 => assert_eq!((kind, error), (Some("error"), Some("execution"))),
            _ => panic!("{status}: {told}"),
        }
    });
});
