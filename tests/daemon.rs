//! The whole daemon, from packet to answer.

mod harness;

use harness::{start, try_start};
use serde_json::json;
use std::io::{Read, Write};

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn what_is_sent_can_be_scraped_and_queried() {
    let dir = dir();
    let daemon = start(dir.path(), "");
    daemon.send("etl.records:3|c\netl.records:4|c|#job:import\nqueue:7|g\ntook:320|ms\ntook:80|ms\nusers:joe|s\nusers:ann|s\nusers:joe|s");
    daemon.send("etl.records:5|c|@0.5|#job:import");
    daemon.await_query("sum(etl_records)", 17.0);
    daemon.await_query(r#"sum({"etl.records", job="import"})"#, 14.0);
    daemon.await_query("queue", 7.0);
    daemon.await_query("max_over_time(users[1m])", 2.0);
    daemon.await_query("histogram_count(increase(took[1m]))", 2.0);
    daemon.await_query("histogram_sum(increase(took[1m]))", 0.4);
    daemon.await_query("histogram_quantile(1, increase(took[1m]))", 0.32);
    daemon.await_query("increase(etl_records{job=\"import\"}[1m]) > bool 0", 1.0);
    for (name, value) in [
        ("etl_records", 3.0),
        ("etl_records{job=\"import\"}", 14.0),
        ("queue", 7.0),
        ("users", 2.0),
        ("took_count", 2.0),
        ("took_sum", 0.4),
        ("took{quantile=\"1\"}", 0.32),
    ] {
        assert_eq!(daemon.scraped(name), Some(value), "{name}");
    }
    daemon.stop();
}

#[test]
fn the_sign_of_a_gauge_is_the_listeners() {
    let dir = dir();
    let extra = "[[listen]]\naddress = \"udp://127.0.0.1:0\"\n[[listen]]\naddress = \"udp://127.0.0.1:0\"\ndialect = \"dogstatsd\"\n";
    let daemon = start(dir.path(), extra);
    daemon.send_to(0, "a:10|g\na:-3|g\na:+1|g");
    daemon.send_to(1, "b:10|g\nb:-3|g");
    daemon.await_query("a", 8.0);
    daemon.await_query("b", -3.0);
    // A change in a later window starts from what the gauge was.
    daemon.send_to(0, "a:-5|g");
    daemon.await_query("a", 3.0);
    daemon.stop();
}

#[test]
fn stopping_flushes_the_open_window_and_totals_go_on_after_a_restart() {
    let dir = dir();
    let hour = "[window]\ninterval = \"1h\"\n";
    let daemon = start(dir.path(), hour);
    daemon.send("a:5|c\ng:3|g\nt:1000|ms");
    daemon.stop();
    let daemon = start(dir.path(), hour);
    daemon.await_query("a", 5.0);
    daemon.await_query("g", 3.0);
    daemon.send("a:2|c\ng:+4|g\nt:3000|ms");
    daemon.stop();
    let daemon = start(dir.path(), hour);
    daemon.await_query("a", 7.0);
    daemon.await_query("g", 7.0);
    daemon.await_query("histogram_sum(increase(t[5m]))", 4.0);
    assert_eq!(daemon.query("increase(a[5m]) >= bool 7"), Some(1.0));
    daemon.stop();
}

#[test]
fn a_second_daemon_on_the_same_data_is_refused() {
    let dir = dir();
    let daemon = start(dir.path(), "");
    let Err(error) = try_start(dir.path(), "") else { panic!("it started") };
    assert!(error.to_string().contains("in use by another statsdeck"), "{error}");
    // The same command once more: its ports are taken, too.
    let http = format!("[http]\naddress = \"{}\"\n", daemon.http);
    let Err(error) = try_start(dir.path(), &http) else { panic!("it started") };
    assert!(error.to_string().contains("in use by another statsdeck"), "{error}");
    daemon.stop();
}

#[test]
fn every_line_is_accounted_for_and_a_reject_names_its_reason() {
    let dir = dir();
    let daemon = start(dir.path(), "[limits]\nseries = 40\n");
    daemon.send("good:1|c\nbad\nbad:|c\nbad:x|c\nbad:1|q\nbad:1|c|@7\n\n  \r\ngood:1|c\r\n");
    for at in 0..100 {
        daemon.send(&format!("many.{at}:1|c"));
    }
    for (name, value) in [
        (r#"statsdeck_lines_received_total{transport="udp"}"#, 107.0),
        (r#"statsdeck_lines_rejected_total{reason="no_value"}"#, 1.0),
        (r#"statsdeck_lines_rejected_total{reason="empty_value"}"#, 1.0),
        (r#"statsdeck_lines_rejected_total{reason="bad_value"}"#, 1.0),
        (r#"statsdeck_lines_rejected_total{reason="unknown_type"}"#, 1.0),
        (r#"statsdeck_lines_rejected_total{reason="bad_sample_rate"}"#, 1.0),
        ("statsdeck_lines_unaccounted", 0.0),
    ] {
        daemon.await_scraped(name, value);
    }
    // What is beyond the limit is accepted, and its values are counted.
    assert_eq!(daemon.scraped(r#"statsdeck_lines_limited_total{reason="series"}"#), Some(0.0));
    assert_eq!(daemon.scraped("statsdeck_lines_accepted_total"), Some(102.0));
    assert_eq!(daemon.scraped(r#"statsdeck_lines_overflowed_total{reason="series"}"#), Some(61.0));
    daemon.await_query(r#"sum({__name__=~"many.*|statsdeck_overflow_counter"})"#, 100.0);
    // Our own figures are series like others, and no limit's.
    daemon.await_query("sum(statsdeck_lines_rejected_total)", 5.0);
    daemon.stop();
}

#[test]
fn of_series_that_clash_on_the_scrape_page_the_oldest_stands() {
    let dir = dir();
    let daemon = start(dir.path(), "");
    for at in 0..20 {
        daemon.send(&format!("x{at}.y:1|c\nx{at}_y:2|c\nx{at}:1|c\nx{at}:5|g"));
    }
    daemon.await_scraped("statsdeck_scrape_clashing_series", 40.0);
    let page = daemon.scrape();
    for at in 0..20 {
        for name in [format!("x{at}_y"), format!("x{at}")] {
            let values: Vec<f64> = page
                .iter()
                .filter(|(n, _)| n.starts_with(&format!("{name}{{")) || *n == name)
                .map(|(_, v)| *v)
                .collect();
            assert_eq!(values, [1.0], "{name}");
        }
    }
    // What is left out can be queried.
    daemon.await_query("{\"x0_y\"} > 1", 2.0);
    daemon.await_query("x0{statsdeck_type=\"gauge\"}", 5.0);
    daemon.stop();
}

#[test]
fn json_is_taken_whole_or_refused_with_index_and_field() {
    let dir = dir();
    let daemon = start(dir.path(), "");
    let many: Vec<String> = (0..33).map(|at| format!("k{at}:v")).collect();
    let long = "x".repeat(4000);
    let cases = [
        (r#"{"metric": "a", "value": 1, "type": "count"}"#, 202, json!({"accepted": 1})),
        (
            r#"[{"metric": "a", "value": 2, "type": "count"}, {"metric": "g", "value": -4.5, "type": "gauge", "tags": {"k": "v"}}]"#,
            202,
            json!({"accepted": 2}),
        ),
        (r#"{"metric": "t", "value": 250, "type": "timing", "tags": ["a:b"]}"#, 202, json!({"accepted": 1})),
        (
            r#"[{"metric": "a", "value": 1}, {"metric": "a", "value": "x"}]"#,
            400,
            json!({"error": "item 1: value: must be a finite number", "index": 1, "field": "value"}),
        ),
        (
            r#"{"value": 1}"#,
            400,
            json!({"error": "item 0: metric: is missing", "index": 0, "field": "metric"}),
        ),
        (
            r#"{"metric": "", "value": 1}"#,
            400,
            json!({"error": "item 0: metric: must not be empty", "index": 0, "field": "metric"}),
        ),
        (
            r#"{"metric": "a"}"#,
            400,
            json!({"error": "item 0: value: is missing", "index": 0, "field": "value"}),
        ),
        (r#"{"metric": "a", "value": 1e999}"#, 400, json!(null)),
        (r#"{"metric": "a", "value": 1, "type": "nonsense"}"#, 400, json!(null)),
        (r#"{"metric": "a", "value": 1, "tags": {"k": {}}}"#, 400, json!(null)),
        (
            &format!(r#"[{{"metric": "a", "value": 1}}, {{"metric": "a", "value": 1, "tags": {many:?}}}]"#),
            400,
            json!({"error": "item 1: tags: the line has more tags than limits.labels", "index": 1, "field": "tags"}),
        ),
        (
            &format!(
                r#"{{"metric": "a", "value": 1, "tags": {{"x": {long:?}, "y": {long:?}, "z": {long:?}}}}}"#
            ),
            400,
            json!({"error": "item 0: tags: the line is longer than limits.line_bytes", "index": 0, "field": "tags"}),
        ),
        (r#"[1]"#, 400, json!({"error": "item 0: item: must be an object", "index": 0, "field": "item"})),
        ("nonsense", 400, json!(null)),
        ("[]", 202, json!({"accepted": 0})),
    ];
    for (body, status, expected) in cases {
        let answer = daemon.post(
            "/metrics",
            &[("Content-Type", "application/json"), ("Authorization", "Bearer any")],
            body,
        );
        assert_eq!(answer.status, status, "{body}: {}", answer.body);
        if !expected.is_null() {
            assert_eq!(answer.json(), expected, "{body}");
        }
    }
    daemon.await_query("a", 3.0);
    daemon.await_query("g{k=\"v\"}", -4.5);
    daemon.await_query("histogram_sum(increase(t{a=\"b\"}[1m]))", 0.25);
    daemon.await_scraped("statsdeck_lines_unaccounted", 0.0);
    let large = daemon.post("/metrics", &[], &"x".repeat(2 << 20));
    assert_eq!(large.status, 413);
    let compressed = daemon.post("/metrics", &[("Content-Encoding", "gzip")], "x");
    assert_eq!(compressed.status, 415, "{}", compressed.body);
    let plain =
        daemon.post("/metrics", &[("Content-Encoding", "identity")], r#"{"metric": "i", "value": 1}"#);
    assert_eq!(plain.status, 202, "{}", plain.body);
    daemon.await_scraped("statsdeck_lines_unaccounted", 0.0);
    daemon.stop();
}

#[test]
fn a_key_gets_a_bearer_token_and_nobody_else_may_write() {
    let dir = dir();
    let key = "sdk_0123";
    let extra = format!(
        "[http]\naddress = \"127.0.0.1:0\"\n[[http.token]]\nname = \"etl\"\nhash = \"{}\"\nscopes = [\"write\"]\n",
        statsdeck::http::auth::format_hash(key)
    );
    let daemon = start(dir.path(), &extra);
    let metric = r#"{"metric": "a", "value": 1, "type": "count"}"#;
    assert_eq!(daemon.post("/metrics", &[], metric).status, 401);
    assert_eq!(daemon.post("/metrics", &[("Authorization", "Bearer wrong")], metric).status, 401);
    assert_eq!(daemon.post("/metrics", &[("Authorization", &format!("Bearer {key}"))], metric).status, 202);
    assert_eq!(daemon.post("/api/v1/token", &[], r#"{"api_key": "wrong"}"#).status, 401);
    let asked = [
        daemon.post(
            "/api/v1/token",
            &[("Content-Type", "application/json")],
            &format!("{{\"api_key\": \"{key}\"}}"),
        ),
        daemon.post(
            "/api/v1/token",
            &[("Content-Type", "application/x-www-form-urlencoded")],
            &format!("api_key={key}"),
        ),
        daemon.post("/api/v1/token", &[("X-API-Key", key)], ""),
    ];
    let mut bearer = String::new();
    for answer in asked {
        assert_eq!(answer.status, 200, "{}", answer.body);
        let json = answer.json();
        assert_eq!((json["token_type"].as_str(), json["expires_in"].as_i64()), (Some("Bearer"), Some(3600)));
        bearer = format!("Bearer {}", json["access_token"].as_str().unwrap());
        assert_eq!(daemon.post("/metrics", &[("Authorization", &bearer)], metric).status, 202);
    }
    // Reading is not guarded here, and the token is still good after a restart.
    daemon.await_query("a", 4.0);
    daemon.stop();
    let daemon = start(dir.path(), &extra);
    assert_eq!(daemon.post("/metrics", &[("Authorization", &bearer)], metric).status, 202);
    daemon.stop();
}

#[test]
fn no_secret_is_told_of_the_settings() {
    let dir = dir();
    let extra = format!(
        "[http]\naddress = \"127.0.0.1:0\"\n[[http.token]]\nname = \"etl\"\nhash = \"{}\"\nscopes = [\"write\"]\n\
         [[receiver]]\nname = \"team\"\n[receiver.slack]\nurl = \"https://hooks.slack.com/services/hush\"\n",
        statsdeck::http::auth::format_hash("sdk_hush")
    );
    let daemon = start(dir.path(), &extra);
    for (what, told) in [
        ("config", "scrape_interval: 200ms"),
        ("flags", r#""query.lookback-delta":"5m""#),
        ("runtimeinfo", r#""storageRetention":""#),
        ("buildinfo", r#""version":""#),
        ("tsdb", r#""numSeries":"#),
    ] {
        let answer = daemon.get(&format!("/api/v1/status/{what}"));
        assert!(answer.status == 200 && answer.body.contains(told), "{what}: {}", answer.body);
        for secret in ["hush", "slack", "sha256", "etl", dir.path().to_str().unwrap()] {
            assert!(!answer.body.contains(secret), "{what}: {}", answer.body);
        }
    }
    daemon.stop();
}

#[test]
fn pages_of_other_sites_cannot_send_metrics() {
    let dir = dir();
    let daemon = start(dir.path(), "");
    let metric = r#"{"metric": "a", "value": 1, "type": "count"}"#;
    assert_eq!(daemon.post("/metrics", &[("Origin", "https://evil.example")], metric).status, 403);
    daemon.stop();
}

#[test]
fn a_wrong_config_changes_nothing() {
    let dir = dir();
    let mut daemon = start(dir.path(), "");
    let path = dir.path().join("statsdeck.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{good}\n[windows]\n")).unwrap();
    let error = daemon.reload().unwrap_err();
    assert!(error.contains("did you mean `window`?"), "{error}");
    std::fs::write(&path, good).unwrap();
    daemon.reload().unwrap();
    daemon.await_scraped("statsdeck_config_reload_failures_total", 1.0);
    daemon.await_scraped("statsdeck_config_reloads_total", 1.0);
    daemon.stop();
}

#[test]
fn a_reload_does_not_open_an_address_that_others_reach() {
    let dir = dir();
    let hash = statsdeck::http::auth::format_hash("key");
    let http = |address: &str| format!("[http]\naddress = \"{address}\"\n");
    let token = format!("[[http.token]]\nname = \"a\"\nhash = \"{hash}\"\nscopes = [\"read\"]\n");
    let mut daemon = start(dir.path(), &(http("0.0.0.0:0") + &token));
    assert_eq!(daemon.get("/api/v1/query?query=1").status, 401);
    // The new address holds from the next start on; until then it is the old.
    let text = harness::config_text(dir.path(), &http("127.0.0.1:0"));
    std::fs::write(dir.path().join("statsdeck.toml"), text).unwrap();
    daemon.reload().unwrap();
    assert_eq!(daemon.get("/api/v1/query?query=1").status, 401);
    assert_eq!(daemon.post("/metrics", &[], r#"{"metric": "a", "value": 1}"#).status, 401);
    daemon.stop();
}

#[test]
fn what_is_sent_while_open_requests_hold_up_the_stop_is_not_lost() {
    use std::io::{Read, Write};
    let dir = dir();
    let daemon = start(dir.path(), "[window]\ninterval = \"1h\"\n");
    // A request whose body never comes.
    let mut slow = std::net::TcpStream::connect(daemon.http).unwrap();
    let head = "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n";
    slow.write_all(head.as_bytes()).unwrap();
    slow.read_exact(&mut [0; 12]).unwrap();
    let (sender, udp) = (std::net::UdpSocket::bind("127.0.0.1:0").unwrap(), daemon.udp[0]);
    let sending = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(1000));
        sender.send_to(b"a:1|c", udp).unwrap();
    });
    daemon.stop();
    sending.join().unwrap();
    let daemon = start(dir.path(), "");
    daemon.await_query("a", 1.0);
    daemon.stop();
}

#[test]
fn health_is_told() {
    let dir = dir();
    let daemon = start(dir.path(), "");
    assert_eq!(daemon.get("/-/healthy").status, 200);
    assert_eq!(daemon.get("/-/ready").status, 200);
    daemon.stop();
}

#[test]
fn an_open_page_does_not_delay_the_stop() {
    let dir = dir();
    let daemon = start(dir.path(), "");
    let mut page = std::net::TcpStream::connect(daemon.http).unwrap();
    page.write_all(b"GET /dashboard/live HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut head = [0; 12];
    page.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    let begun = std::time::Instant::now();
    daemon.stop();
    assert!(begun.elapsed() < std::time::Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[test]
fn the_scrape_page_tells_its_length() {
    let dir = dir();
    let daemon = start(dir.path(), "");
    (0..200).for_each(|at| daemon.send(&format!("x{at}:1|c")));
    daemon.await_query("count({__name__=~\"x.*\"})", 200.0);
    for _ in 0..2 {
        let answer = daemon.get("/metrics");
        assert_eq!(answer.body.lines().filter(|line| line.starts_with("# TYPE x")).count(), 200);
        assert!(answer.body.contains("\nstatsdeck_lines_accepted_total 200"), "{}", answer.body);
        let length = format!("content-length: {}", answer.body.len());
        assert!(answer.head.to_ascii_lowercase().contains(&length), "{}", answer.head);
    }
    daemon.stop();
}

#[test]
fn hostile_bytes_are_survived() {
    let dir = dir();
    let daemon = start(dir.path(), "");
    let mut seed = 0x9e37_79b9_u64;
    for _ in 0..2_000 {
        let mut packet = Vec::new();
        for _ in 0..(seed % 200) {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            packet.push(b"a:|cgmsh@#T1-+.e\n,\xff\x00"[(seed >> 33) as usize % 20]);
        }
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        daemon.send(&String::from_utf8_lossy(&packet));
    }
    daemon.send("after:1|c");
    daemon.await_query("after", 1.0);
    daemon.await_scraped("statsdeck_lines_unaccounted", 0.0);
    daemon.stop();
}

#[test]
fn an_event_is_a_marker_on_pages_and_in_the_api() {
    let dir = dir();
    let daemon = start(dir.path(), "");
    daemon.send("queue:1|g\n_e{8,12}:Deployed|v1.2\\nto <b>|t:success|h:web-1|#env:prod");
    let markers = |daemon: &harness::Running, query: &str| {
        daemon.get(&format!("/api/v1/markers{query}")).json()["data"].as_array().unwrap().clone()
    };
    harness::wait_until(|| !markers(&daemon, "").is_empty()).expect("the event is kept");
    let marker = &markers(&daemon, "")[0];
    assert_eq!((&marker["title"], &marker["text"]), (&json!("Deployed"), &json!("v1.2\nto <b>")));
    assert_eq!((&marker["kind"], &marker["host"]), (&json!("success"), &json!("web-1")));
    assert_eq!(marker["tags"], json!(["env:prod"]));
    let at = marker["time"].as_f64().unwrap();
    assert_eq!(markers(&daemon, &format!("?start={}&end={}", at - 1.0, at + 1.0)).len(), 1);
    assert_eq!(markers(&daemon, &format!("?end={}", at - 1.0)).len(), 0);
    assert_eq!(daemon.get("/api/v1/markers?start=5&end=4").status, 400);
    daemon.await_query("queue", 1.0);
    let shown = || daemon.get("/dashboard").body;
    harness::wait_until(|| shown().contains("class=\"mark success\"")).expect("the marker is drawn");
    assert!(shown().contains("Deployed: v1.2 to &lt;b&gt;"), "{}", shown());
    daemon.stop();
    // It is there after a restart.
    let daemon = start(dir.path(), "");
    assert_eq!(markers(&daemon, "").len(), 1);
    daemon.stop();
}

#[test]
fn an_event_just_before_the_stop_is_kept() {
    let dir = dir();
    let daemon = start(dir.path(), "");
    daemon.send("_e{1,1}:a|b");
    harness::wait_until(|| daemon.telemetry().lines_accepted.value() == 1).unwrap();
    daemon.stop();
    let daemon = start(dir.path(), "");
    assert_eq!(daemon.get("/api/v1/markers").json()["data"][0]["title"], json!("a"));
    daemon.stop();
}

#[test]
fn markers_are_added_by_who_may_write() {
    let dir = dir();
    let hash = statsdeck::http::auth::format_hash("key");
    let extra = format!("[[http.token]]\nname = \"ci\"\nhash = \"{hash}\"\nscopes = [\"write\"]\n");
    let daemon = start(dir.path(), &extra);
    let key = [("Authorization", "Bearer key")];
    assert_eq!(daemon.post("/api/v1/markers", &[], r#"{"title": "x"}"#).status, 401);
    let added = daemon.post(
        "/api/v1/markers",
        &key,
        r#"{"title": "Release 7", "text": "by ci", "time": "2026-01-02T03:04:05Z", "kind": "warning", "tags": {"env": "prod"}}"#,
    );
    assert_eq!((added.status, &added.json()["data"]["tags"]), (201, &json!(["env:prod"])), "{}", added.body);
    assert_eq!(daemon.post("/api/v1/markers", &key, r#"{"title": "now", "tags": ["a:b", "c"]}"#).status, 201);
    for (body, part) in [
        (r#"{"title": " "}"#, "title"),
        (r#"{}"#, "title"),
        (r#"[]"#, "no marker"),
        ("title", "no marker"),
        (r#"{"title": "x", "kind": "bad"}"#, "\\\"info\\\""),
        (r#"{"title": "x", "priority": "high"}"#, "\\\"low\\\""),
        (r#"{"title": "x", "time": "soon"}"#, "1970"),
        (r#"{"title": "x", "time": -5}"#, "1970"),
        (r#"{"title": "x", "time": 99999999999}"#, "a day ahead"),
        (r#"{"title": "x", "titel": "y"}"#, "titel"),
    ] {
        let answer = daemon.post("/api/v1/markers", &key, body);
        assert_eq!(answer.status, 400, "{body}: {}", answer.body);
        assert!(answer.body.contains(part), "{body}: {}", answer.body);
    }
    let titles: Vec<String> = {
        let json = daemon.get("/api/v1/markers?limit=1").json();
        json["data"].as_array().unwrap().iter().map(|m| m["title"].to_string()).collect()
    };
    assert_eq!(titles, ["\"now\""]);
    daemon.stop();
}

#[test]
fn a_service_check_fires_a_rule() {
    let dir = dir();
    let rule = "[[alert.rule]]\nname = \"CheckFails\"\nexpr = 'service_check > 1'\n";
    let daemon = start(dir.path(), rule);
    daemon.send("_sc|db.up|0|h:db-1|#env:prod|m:fine");
    daemon.await_query(r#"service_check{check="db.up", host="db-1", env="prod"}"#, 0.0);
    daemon.send("_sc|db.up|2|h:db-1|#env:prod|m:cannot connect");
    let firing = || daemon.get("/api/v1/alerts").body.contains("\"state\":\"firing\"");
    harness::wait_until(firing).expect("the rule fires");
    daemon.stop();
}

#[test]
fn a_line_from_long_ago_counts_now_and_is_counted_as_such() {
    let dir = dir();
    let daemon = start(dir.path(), "");
    daemon.send("a:1|c|T1656581400\na:2|c|T99999999999\na:4|c");
    daemon.await_query("a", 7.0);
    daemon.await_scraped("statsdeck_lines_too_late_total", 1.0);
    assert_eq!(daemon.scraped("statsdeck_lines_backdated_total"), Some(0.0));
    daemon.stop();
}

#[test]
fn a_line_of_a_minute_ago_counts_in_the_window_of_then() {
    let dir = dir();
    let daemon = start(dir.path(), "");
    daemon.send("y:1|c");
    daemon.await_query("y", 1.0);
    let then = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() - 60;
    daemon.send(&format!("x:5|c|T{then}\nx:2|c|T{then}\nt:250|ms|T{then}"));
    daemon.await_query("x", 7.0);
    let check = |daemon: &harness::Running| {
        let at = |expr: &str, time: f64| {
            let answer = daemon.get(&format!("/api/v1/query?query={expr}&time={time:.3}")).json();
            answer["data"]["result"][0]["value"][1].as_str().map(|value| value.parse::<f64>().unwrap())
        };
        let then = then as f64;
        assert_eq!(at("x", then - 0.1), None);
        assert_eq!(at("x", then + 0.1), Some(0.0), "it begins with its window");
        assert_eq!(at("x", then + 0.2), Some(7.0));
        assert_eq!(at("histogram_count(increase(t[1s]))", then + 0.2), Some(1.0));
        assert_eq!(at("x", then + 50.0), Some(7.0));
    };
    check(&daemon);
    daemon.await_scraped("statsdeck_lines_backdated_total", 3.0);
    daemon.stop();
    let daemon = start(dir.path(), "");
    check(&daemon);
    daemon.await_query("x", 7.0);
    daemon.stop();
}

#[test]
fn styles_of_tags_are_the_listeners() {
    let dir = dir();
    let extra = "[[listen]]\naddress = \"udp://127.0.0.1:0\"\n[[listen]]\naddress = \"udp://127.0.0.1:0\"\ntag_styles = [\"graphite\"]\n";
    let daemon = start(dir.path(), extra);
    daemon.send_to(0, "a,k=v:1|c\na:2|c|#k:v");
    daemon.send_to(1, "a,k=v:4|c\na;k=v:8|c");
    daemon.await_query(r#"a{k="v"}"#, 11.0);
    daemon.await_query(r#"{"a,k=v"}"#, 4.0);
    daemon.stop();
}
