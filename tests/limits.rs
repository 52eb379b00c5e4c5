//! Limits of series as a user meets them: nothing is lost, and it is said who
//! makes the series.

mod harness;

use harness::{Running, start};
use serde_json::json;
use std::process::Command;

/// A daemon with 100 users of a cart, and a limit of 60 for the shop.
fn crowded(dir: &std::path::Path) -> Running {
    let daemon = start(dir, "[limits]\nseries = 80\n[[limits.prefix]]\nprefix = \"shop.\"\nseries = 60\n");
    for at in 0..100 {
        daemon.send(&format!("shop.took:{at}|ms\nshop.cart:2|c|#user:u{at},env:prod"));
    }
    for at in 0..100 {
        daemon.send(&format!("web.hits.{at}:1|c"));
    }
    daemon.await_scraped(r#"statsdeck_lines_received_total{transport="udp"}"#, 300.0);
    // Of 60 series of the shop one is shop.took; 20 are left for others.
    daemon.await_query(r#"{"shop.cart", statsdeck_overflow="true"}"#, 82.0);
    // All lines are in closed windows, of which alone is told who goes beyond.
    daemon.await_query(r#"{"statsdeck_overflow_counter", statsdeck_overflow="true"}"#, 80.0);
    daemon
}

#[test]
fn sums_are_right_beyond_the_limits_and_the_lines_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = crowded(dir.path());
    daemon.await_query(r#"sum({"shop.cart"})"#, 200.0);
    daemon.await_query(r#"histogram_count(increase({"shop.took"}[1m]))"#, 100.0);
    daemon.await_query(r#"sum({__name__=~"web.hits.*|statsdeck_overflow_counter"})"#, 100.0);
    for (name, value) in [
        ("statsdeck_lines_accepted_total", 300.0),
        (r#"statsdeck_lines_limited_total{reason="series"}"#, 0.0),
        (r#"statsdeck_lines_overflowed_total{reason="prefix"}"#, 41.0),
        (r#"statsdeck_lines_overflowed_total{reason="series"}"#, 80.0),
        ("statsdeck_lines_unaccounted", 0.0),
        (r#"statsdeck_overflow_counter{statsdeck_overflow="true"}"#, 80.0),
    ] {
        daemon.await_scraped(name, value);
    }
    daemon.stop();
    // The store knows them as what they are: they take nobody's place. A timer
    // that is silent since the start gives its own to another.
    let daemon = start(dir.path(), "[limits]\nseries = 80\n");
    daemon.send("one.more:1|c\nshop.cart:1|c|#user:new");
    daemon.await_query(r#"{"one.more"}"#, 1.0);
    daemon.await_query(r#"{"shop.cart", statsdeck_overflow="true"}"#, 83.0);
    daemon.stop();
}

#[test]
fn it_is_told_who_makes_the_series() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = crowded(dir.path());
    let answer = daemon.get("/api/v1/status/top?n=2").json();
    let data = &answer["data"];
    assert_eq!(answer["status"], "success");
    assert_eq!(data["seriesLimit"], 80);
    assert_eq!(data["byName"][0], json!({"name": "shop.cart", "series": 60, "new": 60}));
    assert_eq!(data["byPrefix"][0]["name"], "shop.");
    assert_eq!(data["byLabel"][0]["name"], "user");
    assert_eq!(data["byLabel"][0]["values"], 59);
    assert!(data["byLabel"][0]["example"].as_str().unwrap().starts_with('u'));
    assert_eq!(data["byName"].as_array().unwrap().len(), 2);
    assert_eq!(data["prefixLimits"], json!([{"prefix": "shop.", "series": 60, "limit": 60}]));
    assert_eq!(data["overflowed"]["names"][0], json!({"name": "web.*", "lines": 80}));
    assert_eq!(data["overflowed"]["names"][1], json!({"name": "shop.cart", "lines": 41}));
    assert_eq!(data["bySource"][0]["name"], format!("udp://{}", daemon.udp[0]));
    let sources = daemon.get("/api/v1/status/top?by=source").json();
    assert!(sources["data"]["byName"].is_null() && sources["data"]["bySource"].is_array());
    for (query, says) in [("n=0", "between 1 and 1000"), ("n=x", "between"), ("by=user", "one of name")] {
        let answer = daemon.get(&format!("/api/v1/status/top?{query}"));
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.body.contains(says), "{query}: {}", answer.body);
    }
    // And on the pages.
    let page = daemon.get("/dashboard/metrics").body;
    assert!(page.contains("The values of 121 lines went into overflow series"), "{page}");
    assert!(page.contains("web.* (80), shop.cart (41)"));
    let page = daemon.get("/dashboard/series");
    assert_eq!(page.status, 200);
    for part in ["shop.cart", "user", "web.*", "udp://"] {
        assert!(page.body.contains(part), "{part} is not in {}", page.body);
    }

    let items = r#"[{"metric": "shop.cart", "value": 1, "tags": {"user": "new"}}, {"metric": "shop.took", "value": 1, "type": "timing"}]"#;
    let answer = daemon.post("/metrics", &[], items);
    assert_eq!((answer.status, answer.json()), (202, json!({"accepted": 2, "overflowed": 1})));

    let url = format!("http://{}", daemon.http);
    let top = |arguments: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_statsdeck")).arg("top").args(arguments).output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code(), said)
    };
    let (code, said) = top(&["--url", &url, "-n", "1"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("60 of at most 60 begin with shop."), "{said}");
    assert!(said.ends_with("shop.cart\n"), "{said}");
    let (_, said) = top(&["--url", &url, "--by", "label"]);
    assert!(said.contains("user=u"), "{said}");
    for (arguments, expected, says) in [
        (vec!["--url", "ftp://x"], 1, "must begin with http://"),
        (vec!["--url", "http://127.0.0.1:1"], 1, "no daemon answers"),
        (vec!["--by", "colour"], 2, "possible values"),
        (vec!["-n", "0"], 2, "0"),
    ] {
        let (code, said) = top(&arguments);
        assert_eq!(code, Some(expected), "{said}");
        assert!(said.contains(says), "{said}");
    }
    daemon.stop();
}

#[test]
fn a_long_label_is_cut_off_and_its_value_counts() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = start(dir.path(), "[limits]\nlabel_bytes = 16\n");
    let long = "x".repeat(5_000);
    daemon.send(&format!("a:1|c|#k:{long}1\na:2|c|#k:{long}2\n{long}:4|c"));
    daemon.await_query(&format!("a{{k=\"{}…\"}}", "x".repeat(16)), 3.0);
    daemon.await_query(&format!("{{\"{}…\"}}", "x".repeat(16)), 4.0);
    daemon.await_scraped("statsdeck_labels_cut_total", 3.0);
    daemon.stop();
}
