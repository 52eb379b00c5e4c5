//! Mappings in a whole daemon: packets in, scrape page and queries out.

use crate::harness;
use std::path::Path;

const CONFIG: &str = "[mapping]\nfiles = [\"m.yml\"]\n";

fn write(folder: &Path, yaml: &str) {
    std::fs::write(folder.join("m.yml"), yaml).unwrap();
}

#[test]
fn a_mapped_timer_is_shown_as_its_mapping_says() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        r#"
mappings:
- match: web.*.latency
  name: http_seconds
  help: Time to answer.
  labels: {route: $1}
  observer_type: histogram
  histogram_options: {buckets: [0.1, 1], native_histogram_bucket_factor: 1.1}
- match: job.*
  name: job_seconds
  observer_type: summary
  summary_options:
    quantiles: [{quantile: 0.5, error: 0.05}]
    max_age: 5m
"#,
    );
    let daemon = harness::start(folder.path(), CONFIG);
    daemon.send("web.api.latency:100|ms\nweb.api.latency:500|ms\nweb.api.latency:5000|ms\njob.a:2000|ms");
    daemon.await_scraped(r#"http_seconds_count{route="api"}"#, 3.0);
    // Quantiles are read from the store, which has the window a moment later.
    daemon.await_scraped(r#"job_seconds{quantile="0.5"}"#, 2.0);
    let page = daemon.get("/metrics").body;
    let part: Vec<&str> =
        page.lines().filter(|line| line.contains("http_seconds") || line.contains("job_seconds")).collect();
    assert_eq!(
        part,
        [
            "# HELP http_seconds Time to answer.",
            "# TYPE http_seconds histogram",
            r#"http_seconds_bucket{route="api",le="0.1"} 1"#,
            r#"http_seconds_bucket{route="api",le="1"} 2"#,
            r#"http_seconds_bucket{route="api",le="+Inf"} 3"#,
            r#"http_seconds_sum{route="api"} 5.6"#,
            r#"http_seconds_count{route="api"} 3"#,
            "# HELP job_seconds Timer received by StatsD, in seconds; quantiles of the last minute.",
            "# TYPE job_seconds summary",
            r#"job_seconds{quantile="0.5"} 2"#,
            "job_seconds_sum 2",
            "job_seconds_count 1",
        ]
    );
    daemon.await_query(r#"histogram_count(increase(http_seconds{route="api"}[1m]))"#, 3.0);
    daemon.stop();
}

#[test]
fn a_reload_takes_new_mappings_and_keeps_the_old_when_they_are_wrong() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "mappings:\n- {match: a.*, name: before}\n- {match: d.*, name: x, action: drop}\n");
    let mut daemon = harness::start(folder.path(), CONFIG);
    daemon.send("a.b:1|c\nd.e:1|c\nd.e:1|c");
    daemon.await_scraped("before", 1.0);
    daemon.await_scraped(r#"statsdeck_lines_limited_total{reason="mapping_drop"}"#, 2.0);
    daemon.await_scraped("statsdeck_lines_unaccounted", 0.0);

    write(folder.path(), "mappings:\n- {match: a.*, nam: after}\n");
    let error = daemon.reload().unwrap_err();
    assert!(error.contains("m.yml:2") && error.contains("unknown key `nam`"), "{error}");
    daemon.send("a.b:1|c");
    daemon.await_scraped("before", 2.0);

    write(folder.path(), "mappings:\n- {match: a.*, name: after}\n");
    daemon.reload().unwrap();
    // Known spellings are asked about anew once the open window is closed.
    harness::wait_until(|| {
        daemon.send("a.b:1|c\nd.e:1|c");
        daemon.scraped("after").is_some() && daemon.scraped("d_e").is_some()
    })
    .expect("the new mapping holds");
    daemon.stop();
}

#[test]
fn by_http_a_dropped_item_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "mappings:\n- {match: d.*, name: x, action: drop}\n");
    let daemon = harness::start(folder.path(), CONFIG);
    let answer =
        daemon.post("/metrics", &[], r#"[{"metric": "d.e", "value": 1}, {"metric": "k", "value": 1}]"#);
    assert_eq!((answer.status, answer.json()["accepted"].as_u64()), (202, Some(2)), "{}", answer.body);
    daemon.await_scraped("k", 1.0);
    daemon.await_scraped(r#"statsdeck_lines_limited_total{reason="mapping_drop"}"#, 1.0);
    daemon.stop();
}
