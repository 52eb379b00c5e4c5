//! The query API as a client sees it: requests in, Prometheus' JSON out.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::middleware::from_fn_with_state;
use http_body_util::BodyExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use statsdeck::clock::ManualClock;
use statsdeck::http::api::{ApiState, Bounds, Settings, router, sending};
use statsdeck::model::{Histogram, Labels, MetricType, NativeHistogram, Sketch};
use statsdeck::query::{Engine, MemorySource, Options, Source};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

fn source() -> MemorySource {
    let source = MemorySource::new();
    let errors = Labels::from_pairs([("__name__", "etl.errors"), ("job", "a\"<b>")]);
    for at in 0..=10 {
        source.push(&errors, Some(MetricType::Counter), at * 10_000, at as f64 * 5.0);
    }
    source.push(&Labels::of_name("load"), Some(MetricType::Gauge), 60_500, 1e21);
    source.push(&Labels::of_name("bad"), Some(MetricType::Gauge), 60_500, f64::NAN);
    let timer = Labels::of_name("t");
    let values = [(-1.0, 1.0), (0.0, 2.0), (1.0, 1.0)];
    source.push_histogram(&timer, Some(MetricType::Timer), 100_000, Histogram::from_values(values));
    let scraped = NativeHistogram {
        schema: 0,
        count: 6.0,
        sum: 2.5,
        zero_threshold: 0.001,
        zero_count: 1.0,
        positive: vec![(0, 2.0)],
        negative: vec![(1, 3.0)],
        ..NativeHistogram::default()
    };
    source.push_native(&Labels::of_name("scraped"), 100_000, scraped);
    source.push(&Labels::of_name("load"), Some(MetricType::Gauge), 90_500, 1e21);
    let mut members = Sketch::default();
    [b"a", b"b"].iter().for_each(|member| members.insert(*member));
    source.push_sketch(&Labels::of_name("visitors"), 100_000, members);
    source
}

fn state(source: impl Source + 'static, options: Options) -> Arc<ApiState> {
    bounded(source, options, Bounds::default())
}

fn bounded(source: impl Source + 'static, options: Options, bounds: Bounds) -> Arc<ApiState> {
    let clock = Arc::new(ManualClock::at(100_000));
    let settings = Settings {
        interval_ms: 10_000,
        retention_ms: 1_296_000_000,
        max_bytes: Some(5000),
        started_ms: 1000,
    };
    Arc::new(ApiState::new(Engine::new(Arc::new(source), options), clock, bounds).with_settings(settings))
}

async fn send(state: &Arc<ApiState>, method: &str, uri: &str, form: &str) -> (StatusCode, String) {
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(form.to_owned()))
        .unwrap();
    answered(state, request).await
}

async fn answered(state: &Arc<ApiState>, request: Request<Body>) -> (StatusCode, String) {
    let service = TowerToHyperService::new(router().with_state(Arc::clone(state)));
    let response = service.call(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn answers_are_prometheus_json() {
    let state = state(source(), Options::default());
    let uris = [
        "/api/v1/query?query=etl_errors",
        "/api/v1/query?query=load&time=60.5",
        "/api/v1/query?query=bad&time=1970-01-01T00:01:01Z",
        "/api/v1/query?query=1%2F0",
        "/api/v1/query?query=%22a%22",
        "/api/v1/query?query=visitors",
        "/api/v1/query?query=t",
        "/api/v1/query?query=etl_errors%5B15s%5D",
        "/api/v1/query_range?query=sum(rate(etl_errors%5B20s%5D))&start=80&end=100&step=10s",
        "/api/v1/query_range?query=t&start=100&end=110&step=10",
        "/api/v1/query?query=%7B__name__!%3D%22%22%7D&limit=1",
        "/api/v1/series?match[]=load",
        "/api/v1/series?match[]=load&match[]=%7B%22etl.errors%22%7D&start=0&end=30",
        "/api/v1/labels",
        "/api/v1/labels?match[]=load",
        "/api/v1/label/__name__/values",
        "/api/v1/label/__name__/values?limit=1",
        "/api/v1/label/nope/values",
        "/api/v1/metadata?metric=t",
        "/api/v1/format_query?query=1%2B%20x",
        "/api/v1/query_exemplars?query=x",
        "/api/v1/query?query=scraped",
        "/api/v1/query?query=-scraped",
        "/api/v1/query?query=increase(load%5B5m%5D)",
        "/api/v1/query?query=quantile(2%2C%20load)&time=61",
        "/api/v1/query?query=rate(load%5B5m%5D%20smoothed)&time=61",
        "/api/v1/query?query=etl_errors&time=130&lookback_delta=20",
        "/api/v1/query?query=etl_errors&time=130&lookback_delta=1m",
        "/api/v1/status/buildinfo",
        "/api/v1/status/tsdb?limit=1",
        "/api/v1/status/config",
        "/api/v1/status/flags",
        "/api/v1/parse_query?query=rate(x%5B5m%5D)",
        "/api/v1/parse_query?query=sum(x)%20%3E%201",
        "/api/v1/targets?state=active",
        "/api/v1/alertmanagers",
    ];
    let mut golden = String::new();
    for uri in uris {
        let (status, body) = send(&state, "GET", uri, "").await;
        golden.push_str(&format!("GET {uri}\n{} {body}\n\n", status.as_u16()));
    }
    insta::assert_snapshot!("answers", golden);
}

#[tokio::test]
async fn a_post_takes_its_parameters_from_the_form_and_the_url() {
    let state = state(source(), Options::default());
    let (status, body) = send(&state, "POST", "/api/v1/query?time=60.5", "query=load%20%2B%201").await;
    assert_eq!(status, StatusCode::OK);
    assert!(body.contains(r#""value":[60.500,"1e+21"]"#), "{body}");
    let (_, body) = send(&state, "POST", "/api/v1/query?time=60.5&query=bad", "query=1").await;
    assert!(body.contains(r#"[60.500,"1"]"#), "the form comes first: {body}");
    let posted = Request::post("/api/v1/query?query=2&time=3").body(Body::from("no form")).unwrap();
    let (_, body) = answered(&state, posted).await;
    assert!(body.contains(r#"[3,"2"]"#), "as vmalert asks: {body}");
    for kind in ["Application/X-WWW-Form-Urlencoded", "application/x-www-form-urlencoded ; charset=UTF-8"] {
        let posted = Request::post("/api/v1/query?query=2").header("content-type", kind);
        let (_, body) = answered(&state, posted.body(Body::from("query=1+%2B+4&time=3")).unwrap()).await;
        assert!(body.contains(r#"[3,"5"]"#), "{kind}: {body}");
    }
    let (status, body) =
        send(&state, "POST", "/api/v1/query", &format!("query=1{}", "%2B1".repeat(20_000))).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body.contains("the form has more than the 65536 bytes that are allowed"), "{body}");
    let form = "match%5B%5D=load&match%5B%5D=bad";
    let (_, body) = send(&state, "POST", "/api/v1/series", form).await;
    assert_eq!(body, r#"{"status":"success","data":[{"__name__":"bad"},{"__name__":"load"}]}"#);
    let (status, _) = send(&state, "POST", "/api/v1/query", &format!("query={}", "1".repeat(100_000))).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn errors_have_prometheus_codes_and_say_what_is_wrong() {
    let state = state(source(), Options { max_points: 5, ..Options::default() });
    let cases = [
        ("/api/v1/query", 400, "bad_data", "invalid parameter \\\"query\\\": it is missing"),
        ("/api/v1/query?query=sum(", 400, "bad_data", "invalid parameter \\\"query\\\""),
        ("/api/v1/query?query=x&time=noon", 400, "bad_data", "Unix seconds nor RFC 3339"),
        ("/api/v1/query?query=x&time=1e300", 400, "bad_data", "time"),
        ("/api/v1/query?query=x&timeout=soon", 400, "bad_data", "timeout"),
        ("/api/v1/query?query=x&limit=few", 400, "bad_data", "whole number"),
        ("/api/v1/query_range?query=x&start=0&end=1", 400, "bad_data", "\\\"step\\\": it is missing"),
        ("/api/v1/query_range?query=x&start=0&end=1&step=0", 400, "bad_data", "step"),
        ("/api/v1/query_range?query=x&start=2&end=1&step=1", 400, "bad_data", "before the start"),
        ("/api/v1/query_range?query=x&start=0&end=11001&step=1", 400, "bad_data", "11000"),
        ("/api/v1/query_range?query=x%5B5m%5D&start=0&end=1&step=1", 400, "bad_data", "range vector"),
        ("/api/v1/query?query=etl_errors%5B5m%5D", 422, "execution", "more than 5 samples"),
        ("/api/v1/query?query=sum_over_time(vector(1)%5B1y%3A1s%5D)", 422, "execution", "computed values"),
        ("/api/v1/query?query=topk(NaN%2C%20load)", 422, "execution", "NaN"),
        ("/api/v1/series", 400, "bad_data", "match[]"),
        ("/api/v1/series?match[]=sum(x)", 400, "bad_data", "not a series selector"),
        ("/api/v1/label/%ff/values", 400, "bad_data", "name"),
        ("/api/v1/query_exemplars?query=sum(", 400, "bad_data", "parse error"),
        ("/api/v1/query_exemplars?query=x&start=2&end=1", 400, "bad_data", "before start"),
        ("/api/v1/query?query=x&lookback_delta=-1", 400, "bad_data", "lookback_delta"),
        ("/api/v1/query?query=sum(x,", 400, "bad_data", "\\\"query\\\": 1:7: parse error"),
        ("/api/v1/status/tsdb?limit=10001", 400, "bad_data", "at most"),
        ("/api/v1/format_query?query=(", 400, "bad_data", "query"),
        ("/api/v1/parse_query?query=sum(x,", 400, "bad_data", "\\\"query\\\": 1:7: parse error"),
        ("/api/v1/parse_query", 400, "bad_data", "\\\"query\\\": it is missing"),
    ];
    for (uri, code, error_type, message) in cases {
        let (status, body) = send(&state, "GET", uri, "").await;
        assert_eq!(status.as_u16(), code, "{uri}: {body}");
        let start = format!("{{\"status\":\"error\",\"errorType\":\"{error_type}\",\"error\":\"");
        assert!(body.starts_with(&start) && body.contains(message), "{uri}: {body}");
    }
}

#[tokio::test]
async fn the_ends_of_time_that_clients_of_prometheus_send_are_taken() {
    let state = state(source(), Options::default());
    let ends = "start=-292273086-05-16T16:47:06Z&end=292277025-08-18T07:12:54.999999999Z";
    let (_, body) = send(&state, "GET", &format!("/api/v1/series?match[]=load&{ends}"), "").await;
    assert_eq!(body, r#"{"status":"success","data":[{"__name__":"load"}]}"#);
}

/// A query that computes for far longer than any test waits.
const LONG: &str =
    "/api/v1/query?query=sum_over_time(sum_over_time(sum_over_time(vector(1)[1d:1s])[1d:1s])[1d:1s])";

#[tokio::test]
async fn a_query_is_stopped_when_its_time_is_up() {
    let options = Options { timeout: Duration::from_millis(20), ..Options::default() };
    let state = state(MemorySource::new(), options);
    let (status, body) = send(&state, "GET", LONG, "").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
    assert!(body.contains("\"errorType\":\"timeout\""), "{body}");
    // The permit comes back only when the work has really stopped.
    let all = Bounds::default().running as u32;
    let stopped = state.permits.acquire_many(all);
    let permits = tokio::time::timeout(Duration::from_secs(20), stopped).await.expect("the work stops");
    assert!(permits.is_ok());
}

#[tokio::test]
async fn a_query_is_stopped_when_the_client_goes_away() {
    let state = state(MemorySource::new(), Options::default());
    let request = send(&state, "GET", LONG, "");
    assert!(tokio::time::timeout(Duration::from_millis(50), request).await.is_err());
    let all = Bounds::default().running as u32;
    let stopped = state.permits.acquire_many(all);
    let permits = tokio::time::timeout(Duration::from_secs(20), stopped).await.expect("the work stops");
    assert!(permits.is_ok());
}

#[tokio::test]
async fn queries_that_need_many_points_run_one_at_a_time_and_hold_up_no_others() {
    let state =
        state(source(), Options { max_points: 80, timeout: Duration::from_secs(1), ..Options::default() });
    // Eleven samples, and a share of ten.
    let heavy = "/api/v1/query?query=count_over_time(etl_errors%5B5m%5D)";
    let light = "/api/v1/query?query=load&time=60.5";
    assert_eq!(send(&state, "GET", heavy, "").await.0, StatusCode::OK);
    let another = state.heavy.acquire().await.unwrap();
    let (waited, (meanwhile, _)) =
        tokio::join!(send(&state, "GET", heavy, ""), send(&state, "GET", light, ""));
    assert_eq!(meanwhile, StatusCode::OK);
    assert_eq!(waited.0, StatusCode::SERVICE_UNAVAILABLE, "{}", waited.1);
    assert!(waited.1.contains("too many queries"), "{}", waited.1);
    assert_eq!(state.permits.available_permits(), Bounds::default().running);
    drop(another);
    assert_eq!(send(&state, "GET", heavy, "").await.0, StatusCode::OK);
}

#[tokio::test]
async fn what_a_query_cost_is_told_to_who_asks() {
    let state = state(source(), Options::default());
    // Sums are made as samples are read; what is read again while an operand waits is held beside
    // it, and so are the labels that an operator makes.
    for (query, samples, peak) in [
        ("count_over_time(etl_errors%5B35s%5D)", 4, 4),
        ("1%2B1", 0, 2),
        ("count_over_time(etl_errors%5B35s%5D)%2Bcount_over_time(etl_errors%5B35s%5D)", 8, 6),
    ] {
        let (_, body) = send(&state, "GET", &format!("/api/v1/query?query={query}&stats=all"), "").await;
        let told = format!(r#""samples":{{"totalQueryableSamples":{samples},"peakSamples":{peak}}}}}}}}}"#);
        assert!(body.contains(r#""stats":{"timings":{"evalTotalTime":"#) && body.ends_with(&told), "{body}");
    }
}

#[tokio::test]
async fn beyond_those_that_wait_queries_are_refused_at_once_and_counted() {
    let options = Options { timeout: Duration::from_millis(50), ..Options::default() };
    let state = bounded(MemorySource::new(), options, Bounds { running: 1, waiting: 1 });
    let running = (state.places.acquire().await.unwrap(), state.permits.acquire().await.unwrap());
    // In this order: the second is there while the first waits.
    let (waiting, refused) = tokio::join!(send(&state, "GET", LONG, ""), send(&state, "GET", LONG, ""));
    drop(running);
    assert!(
        waiting.1.contains("\"timeout\"") && waiting.1.contains("too many queries are running"),
        "{}",
        waiting.1
    );
    assert_eq!(refused.0, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        refused.1.contains("\"unavailable\"") && refused.1.contains("wait for their turn"),
        "{}",
        refused.1
    );
    assert_eq!((state.outcomes.timed_out.value(), state.outcomes.refused.value()), (1, 1));
    assert_eq!(send(&state, "GET", "/api/v1/query?query=1", "").await.0, StatusCode::OK);
    assert_eq!(state.outcomes.answered.value(), 1);
}

#[tokio::test]
async fn a_client_that_hangs_up_frees_its_place_within_a_second() {
    let state = bounded(MemorySource::new(), Options::default(), Bounds { running: 1, waiting: 0 });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_stop, stops) = tokio::sync::watch::channel(false);
    let routes = router().with_state(state.clone());
    let server = tokio::spawn(statsdeck::http::server::serve(listener, routes, Default::default(), stops));
    let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {LONG} HTTP/1.1\r\nHost: x\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    while state.permits.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    drop(client);
    let place = tokio::time::timeout(Duration::from_secs(1), state.permits.acquire()).await;
    assert!(place.is_ok(), "the work goes on for nobody");
    assert_eq!(state.outcomes.given_up.value(), 1);
    assert_eq!(state.places.available_permits(), 1);
    server.abort();
}

#[tokio::test]
async fn names_and_labels_are_told_however_many_series_there_are() {
    let state = state(source(), Options { max_series: 1, ..Options::default() });
    for (uri, expected) in [
        ("/api/v1/labels", r#"["__name__","job"]"#),
        ("/api/v1/label/__name__/values", r#"["bad","etl.errors","load","scraped","t","visitors"]"#),
        ("/api/v1/label/job/values?match[]=etl_errors", r#"["a\"\u003cb\u003e"]"#),
        ("/api/v1/metadata?metric=load", r#"{"load":[{"type":"gauge","unit":"","help":""}]}"#),
    ] {
        let (_, body) = send(&state, "GET", uri, "").await;
        assert_eq!(body, format!("{{\"status\":\"success\",\"data\":{expected}}}"), "{uri}");
    }
    let (_, body) = send(&state, "GET", "/api/v1/status/tsdb", "").await;
    assert!(body.contains("\"numSeries\":6"), "{body}");
}

#[tokio::test]
async fn the_daemon_tells_when_it_was_started_and_what_it_keeps() {
    let (status, body) =
        send(&state(source(), Options::default()), "GET", "/api/v1/status/runtimeinfo", "").await;
    assert_eq!(status, StatusCode::OK);
    for told in [
        r#""startTime":"1970-01-01T00:00:01Z""#,
        r#""serverTime":"1970-01-01T00:01:40Z""#,
        r#""storageRetention":"15d or 5000B""#,
    ] {
        assert!(body.contains(told), "{body}");
    }
}

#[tokio::test]
async fn long_answers_that_are_not_read_are_bounded_together() {
    let options = Options { max_points: 100_000, ..Options::default() };
    let state = state(source(), options);
    let service = router().with_state(Arc::clone(&state));
    let service = service.layer(from_fn_with_state(Arc::clone(&state.sending), sending::layer));
    let service = TowerToHyperService::new(service);
    let ask = async |uri: &str| service.call(Request::get(uri).body(Body::empty()).unwrap()).await.unwrap();
    // Some 330 kB each, and there is room for 1.6 MB.
    let long = "/api/v1/query_range?start=100000.5&end=110000.5&step=1&query=time()%2F7";
    let mut unread = Vec::new();
    let refused = loop {
        let answer = ask(long).await;
        match answer.status() {
            StatusCode::OK if unread.len() < 20 => unread.push(answer),
            _ => break answer,
        }
    };
    assert!((4..=10).contains(&unread.len()), "{}", unread.len());
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    let said = refused.into_body().collect().await.unwrap().to_bytes();
    assert!(said.starts_with(b"{\"status\":\"error\",\"errorType\":\"unavailable\""), "{said:?}");
    assert_eq!(ask("/api/v1/query?query=1").await.status(), StatusCode::OK);
    for answer in unread {
        assert!(answer.into_body().collect().await.unwrap().to_bytes().len() > 100_000);
    }
    assert_eq!(ask(long).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_long_answer_is_the_same_as_many_short_ones() {
    let source = MemorySource::new();
    let shards: Vec<String> = (0..12).map(|shard| format!("{shard:02}")).collect();
    for shard in &shards {
        let labels = Labels::from_pairs([("__name__", "depth"), ("shard", shard)]);
        // Some have no values in the middle.
        for at in (0..=400).filter(|at| !shard.ends_with('5') || !(100..200).contains(at)) {
            source.push(&labels, Some(MetricType::Gauge), at * 25_000, at as f64 / 7.0);
        }
    }
    let state = state(source, Options::default());
    let ask = async |selector: &str| {
        let uri = format!("/api/v1/query_range?query={selector}&start=0&end=10000&step=1&lookback_delta=30s");
        let (status, body) = send(&state, "GET", &uri, "").await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
        answer["data"]["result"].as_array().unwrap().clone()
    };
    let mut expected = Vec::new();
    for shard in &shards {
        expected.extend(ask(&format!("depth%7Bshard%3D%22{shard}%22%7D")).await);
    }
    let points: usize = expected.iter().map(|series| series["values"].as_array().unwrap().len()).sum();
    assert!(points > 100_000, "{points}");
    assert!(ask("depth").await == expected);
}
