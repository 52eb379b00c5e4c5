//! Rules of a whole daemon: what the API and the dashboard say of them.

mod harness;

use harness::{Running, start, wait_until};
use serde_json::Value as Json;

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
