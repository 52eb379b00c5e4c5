//! The command line, as a shell sees it.

use statsdeck::catalogue::Catalogue;
use statsdeck::clock::{Clock, SystemClock};
use statsdeck::model::batch::GaugeValue;
use statsdeck::model::{FlushBatch, Labels, MetricType, SeriesId, SeriesKey};
use statsdeck::store::{self, FsBackend, Store, Tier};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

fn run(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_statsdeck"));
    command.current_dir(dir).args(arguments).env_remove("STATSDECK_CONFIG").output().unwrap()
}

/// Exit code, and everything that was said.
fn check(config: &str, code: i32, said: &[&str], unsaid: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("c.toml"), config).unwrap();
    let output = run(dir.path(), &["check", "c.toml"]);
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}");
    said.iter().for_each(|part| assert!(text.contains(part), "{part:?} is not in:\n{text}"));
    unsaid.iter().for_each(|part| assert!(!text.contains(part), "{part:?} is in:\n{text}"));
}

#[test]
fn check_says_what_a_config_would_do_or_what_is_wrong() {
    check("", 0, &["c.toml: ok", "udp://127.0.0.1:8125", "http://127.0.0.1:8127"], &[]);
    check(
        "[[view]]\nid = \"team\"\ntitle = \"Team\"\n[[alert.rule]]\nname = \"E\"\nexpr = \"x > 0\"\n\
         [[receiver]]\nname = \"r\"\nwebhook = { url = \"https://host.example/hush\" }",
        0,
        &["shows \"Team\" at /dashboard?view=team", "alerts \"E\" when x > 0", "tells \"r\" by webhook"],
        &["hush"],
    );
    check("", 0, &["steps of 10s for 2d, steps of 1m for 30d, steps of 15m for 2y"], &[]);
    check("lisen = 1", 1, &["c.toml:1", "did you mean `listen`?"], &["ok"]);
    let unreadable = "[[receiver]]\nname = \"r\"\nslack = { url_file = \"nowhere\" }";
    check(unreadable, 1, &["receiver \"r\": cannot read", "nowhere"], &["ok"]);
}

#[test]
fn misuse_has_a_code_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(run(dir.path(), &["--nonsense"]).status.code(), Some(2));
    assert_eq!(run(dir.path(), &["check", "nowhere.toml"]).status.code(), Some(1));
    assert_eq!(run(dir.path(), &["healthcheck", "--address", "127.0.0.1:1"]).status.code(), Some(1));
}

#[test]
fn a_key_gets_no_name_that_the_config_refuses() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["", "a|b"] {
        assert_eq!(run(dir.path(), &["token", "new", "--name", name]).status.code(), Some(1), "{name:?}");
    }
}

#[test]
fn a_reader_that_has_read_enough_is_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    for arguments in [&["check"][..], &["token", "new"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_statsdeck"));
        command.current_dir(dir.path()).args(arguments).env_remove("STATSDECK_CONFIG");
        let output = command.stdout(writer).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{arguments:?}: {said}");
    }
}

/// Answers of a daemon that is none: each connection gets `body`.
fn answering(status: &'static str, body: &'static str) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let length = body.len();
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    url
}

#[test]
fn an_expression_may_begin_with_a_sign() {
    let dir = tempfile::tempdir().unwrap();
    let url = answering("200 OK", r#"{"status":"success","data":{"resultType":"scalar","result":[0,"-1"]}}"#);
    for arguments in [["-1", "--url", &url], ["--url", &url, "-up"], ["--url", &url, "-(a + b)"]] {
        let output = run(dir.path(), &[&["query"], &arguments[..]].concat());
        assert_eq!(String::from_utf8_lossy(&output.stdout), "-1\n", "{arguments:?}: {output:?}");
    }
    for misuse in [&["--json"][..], &["--nonsense", "up"], &["up", "--nonsense"], &["up", "-x"]] {
        assert_eq!(run(dir.path(), &[&["query"], misuse].concat()).status.code(), Some(2), "{misuse:?}");
    }
}

#[test]
fn what_nobody_can_be_told_changes_no_outcome() {
    let dir = tempfile::tempdir().unwrap();
    let warned = r#"{"status":"success","data":{"resultType":"scalar","result":[0,"1"]},"warnings":["w"]}"#;
    let refused = r#"{"status":"error","errorType":"bad_data","error":"1:1: parse error: no"}"#;
    for (status, body, code) in [("200 OK", warned, 0), ("400 Bad Request", refused, 1)] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_statsdeck"));
        command.current_dir(dir.path()).args(["query", "up", "--url", &answering(status, body)]);
        let output = command.env_remove("STATSDECK_CONFIG").stderr(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{body}");
    }
}

#[test]
fn a_data_dir_that_is_a_file_is_told_as_such() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let config = "[http]\naddress = \"127.0.0.1:0\"\n[[listen]]\naddress = \"udp://127.0.0.1:0\"\n";
    std::fs::write(dir.path().join("c.toml"), config).unwrap();
    let output = run(dir.path(), &["--config", "c.toml", "--data-dir", "file"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("data_dir file is a file"), "{said}");
}

/// Four days of a gauge, kept as the defaults do, up to now.
fn four_days(dir: &Path) {
    let tier = |resolution_ms, days: i64| Tier { resolution_ms, retention_ms: days * 86_400_000 };
    let options = store::Options::new(dir).with_tiers(vec![tier(60_000, 30), tier(900_000, 730)]);
    let catalogue = Arc::new(Catalogue::new(10));
    let now_ms = SystemClock.now_ms() / 60_000 * 60_000;
    let (store, _) = Store::open(options, FsBackend, catalogue.clone(), now_ms).unwrap();
    let key = SeriesKey { labels: Labels::of_name("depth"), metric_type: MetricType::Gauge };
    catalogue.restore(vec![(SeriesId(0), key)], 0);
    for minutes in (0..4 * 24 * 60).rev().step_by(30) {
        let end_ms = now_ms - minutes * 60_000;
        let gauge = GaugeValue { id: SeriesId(0), last: 1.0, min: 1.0, max: 1.0 };
        let start_ms = end_ms - 10_000;
        store.append(&FlushBatch { start_ms, end_ms, gauges: vec![gauge], ..FlushBatch::default() }).unwrap();
        store.maintain(end_ms).unwrap();
    }
    store.note_tiers().unwrap();
}

#[test]
fn a_config_that_keeps_less_needs_a_word_before_anything_leaves() {
    let dir = tempfile::tempdir().unwrap();
    four_days(&dir.path().join("data"));
    let config = |tiers: &str| {
        let head = "[[listen]]\naddress = \"udp://127.0.0.1:0\"\n[http]\naddress = \"127.0.0.1:0\"\n";
        std::fs::write(dir.path().join("c.toml"), format!("data_dir = \"data\"\n{head}{tiers}")).unwrap();
    };
    let tier = |resolution, retention| {
        format!("[[tier]]\nresolution = \"{resolution}\"\nretention = \"{retention}\"\n")
    };
    let says = |arguments: &[&str], code: i32| {
        let output = run(dir.path(), arguments);
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(code), "{text}");
        text
    };
    let files = || std::fs::read_dir(dir.path().join("data")).unwrap().count();
    let before = files();
    config("");
    assert!(!says(&["check", "c.toml"], 0).contains("--accept-data-loss"));
    config(&[tier("10s", "1h"), tier("1m", "1d"), tier("15m", "2y")].concat());
    let told = says(&["check", "c.toml"], 0);
    for part in [
        "--accept-data-loss: windows from",
        "steps of 1m from",
        "retention is shorter",
        "steps of 15m are left",
    ] {
        assert!(told.contains(part), "{part:?} is not in:\n{told}");
    }
    let told = says(&["--config", "c.toml"], 1);
    for part in ["will be dropped", "Start with --accept-data-loss if that may be"] {
        assert!(told.contains(part), "{part:?} is not in:\n{told}");
    }
    assert_eq!(files(), before, "nothing has left");
    config(&[tier("10s", "2d"), tier("1m", "2d")].concat());
    let told = says(&["check", "c.toml"], 0);
    assert!(told.contains("steps of 1m from") && told.contains("nothing is left of that time"), "{told}");
}
