//! Rules of a whole daemon: what the API and the dashboard say of them.

mod harness;

use harness::{Running, start, wait_until};
use serde_json::Value as Json;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;

fn rule(daemon: &Running) -> Json {
    daemon.get("/api/v1/rules").json()["data"]["groups"][0]["rules"][0].clone()
}

/// Waits until the rule has this health and state.
fn await_rule(daemon: &Running, health: &str, state: &str) {
    wait_until(|| rule(daemon)["health"] == health && rule(daemon)["state"] == state)
        .unwrap_or_else(|| panic!("not {health} and {state}: {}", rule(daemon)));
}

#[test]
fn a_quiet_rule_over_many_series_is_well() {
    let dir = tempfile::tempdir().unwrap();
    let mut daemon = start(dir.path(), "[[alert.rule]]\nname = \"Long\"\nexpr = \"queue > 100\"\n");
    daemon.send("queue:1|g|#host:a\nqueue:2|g|#host:b\nqueue:3|g|#host:c");
    daemon.await_query("sum(queue)", 6.0);
    // Whether it selects anything is asked anew after a reload.
    daemon.reload().unwrap();
    let evaluations = || daemon.scraped("statsdeck_rule_evaluations_total").unwrap();
    let before = evaluations();
    wait_until(|| evaluations() >= before + 2.0).unwrap();
    await_rule(&daemon, "ok", "inactive");
    assert_eq!(rule(&daemon)["notes"], Json::Null);
    daemon.stop();
}

#[test]
fn an_alert_that_fires_stays_on_the_dashboard_when_its_rule_fails() {
    let dir = tempfile::tempdir().unwrap();
    let extra = "[[alert.rule]]\nname = \"Full\"\nexpr = \"used / on() size > 0.5\"\n";
    let daemon = start(dir.path(), extra);
    daemon.send("used:9|g\nsize:10|g");
    await_rule(&daemon, "ok", "firing");
    // A second size: which one is meant can no longer be told.
    daemon.send("size:20|g|#disk:b");
    await_rule(&daemon, "err", "firing");
    let page = daemon.get("/dashboard").body;
    assert!(page.contains("class=\"banner\""), "the banner is gone");
    assert!(page.contains("cannot be evaluated"), "the failure is not told");
    daemon.stop();
}

/// A webhook that takes all it is sent, and what that is.
fn webhook() -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (taken, notices) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let (mut line, mut length) = (String::new(), 0);
            while reader.read_line(&mut line).unwrap() > 2 {
                let header = line.to_ascii_lowercase();
                if let Some(value) = header.strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            reader.get_mut().write_all(answer).unwrap();
            if taken.send(String::from_utf8(body).unwrap()).is_err() {
                return;
            }
        }
    });
    (url, notices)
}

#[test]
fn while_nothing_can_be_written_alerts_fire_and_queries_and_pages_see_the_newest_window() {
    let dir = tempfile::tempdir().unwrap();
    let (data, away) = (dir.path().join("data"), dir.path().join("away"));
    let (url, notices) = webhook();
    // Each second has a file of its own, which cannot be made without the directory.
    let extra = format!(
        "[window]\ninterval = \"200ms\"\nlateness = \"0s\"\n[store]\nblock_span = \"1s\"\n[[tier]]\nresolution = \"200ms\"\nretention = \"1h\"\n\
         [[alert.rule]]\nname = \"Full\"\nexpr = \"sum(used) > 5\"\n\
         [[receiver]]\nname = \"hook\"\nwebhook = {{ url = \"{url}\" }}\n"
    );
    let daemon = start(&data, &extra);
    daemon.send("used:3|c\nlevel:1|g\ntook:250|ms\nusers:ann|s");
    daemon.await_query("used", 3.0);
    std::fs::rename(&data, &away).unwrap();
    let waiting = || daemon.scraped("statsdeck_windows_retrying").unwrap();
    wait_until(|| waiting() > 0.0).expect("windows wait");
    daemon.send("used:4|c\nlevel:8|g\ntook:750|ms\nusers:joe|s\nfresh:2|c");
    let all = [
        ("used", 7.0),
        ("fresh", 2.0),
        ("increase(fresh[1m] anchored)", 2.0),
        ("level", 8.0),
        ("histogram_count(increase(took[1m]))", 2.0),
        ("histogram_sum(increase(took[1m]))", 1.0),
    ];
    all.iter().for_each(|(expr, value)| daemon.await_query(expr, *value));
    let notice = notices.recv_timeout(std::time::Duration::from_secs(10)).expect("a notice");
    assert!(notice.contains("Full") && notice.contains("firing"), "{notice}");
    for page in ["/dashboard", "/dashboard/metrics"] {
        let page = daemon.get(page).body;
        assert!(page.contains("Nothing could be written for"), "the page tells nothing: {page}");
    }
    assert!(waiting() > 0.0, "it was written meanwhile");

    std::fs::rename(&away, &data).unwrap();
    wait_until(|| waiting() == 0.0).expect("all is written");
    all.iter().for_each(|(expr, value)| daemon.await_query(expr, *value));
    assert_eq!(daemon.scraped("statsdeck_samples_dropped_total"), Some(0.0));
    assert!(!daemon.get("/dashboard").body.contains("Nothing could be written for"));
    daemon.stop();
    assert!(notices.try_recv().is_err(), "the notice was sent twice");
    let daemon = start(&data, &extra);
    all[..3].iter().for_each(|(expr, value)| daemon.await_query(expr, *value));
    daemon.stop();
}
