//! An export beside a daemon that makes other files of those that are exported.

use statsdeck::catalogue::Catalogue;
use statsdeck::model::batch::GaugeValue;
use statsdeck::model::label::NAME;
use statsdeck::model::{FlushBatch, Labels, MetricType, SeriesKey};
use statsdeck::store::{FsBackend, Maintained, Options, Store, Tier};
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

const WINDOW_MS: i64 = 30_000;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

fn options(dir: &Path, retention_ms: i64, tiers: &[Tier]) -> Options {
    Options::new(dir.join("data")).with_retention(retention_ms).with_tiers(tiers.to_vec())
}

/// Half a day of windows of two gauges, in blocks; returns the end of the first one and of the last.
fn fill(options: Options) -> (i64, i64) {
    let now_ms = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
    let last_ms = (now_ms - 60_000) / WINDOW_MS * WINDOW_MS;
    let catalogue = Arc::new(Catalogue::new(10));
    let (store, _) = Store::open(options, FsBackend, catalogue.clone(), last_ms).unwrap();
    let gauges = ["depth", "width"].map(|name| {
        // A few rows fill a pipe.
        let labels = Labels::from_pairs([(NAME, name), ("long", &"x".repeat(500))]);
        catalogue.register(SeriesKey { labels, metric_type: MetricType::Gauge }).unwrap()
    });
    let first_ms = last_ms - 12 * HOUR_MS + WINDOW_MS;
    for end_ms in (first_ms..=last_ms).step_by(WINDOW_MS as usize) {
        let gauges = gauges.map(|id| GaugeValue { id, last: 1.5, min: 1.5, max: 1.5 }).to_vec();
        let start_ms = end_ms - WINDOW_MS;
        store.append(&FlushBatch { start_ms, end_ms, gauges, ..FlushBatch::default() }).unwrap();
    }
    maintain(&store, last_ms);
    (first_ms, last_ms)
}

fn maintain(store: &Store, now_ms: i64) {
    while store.maintain(now_ms).unwrap() != Maintained::default() {}
}

/// An export whose first rows are read, and that waits for the others to be: a pipe has room for few.
fn waiting_export(dir: &Path, format: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_statsdeck"));
    command.current_dir(dir).env_remove("STATSDECK_CONFIG").args(["--data-dir", "data"]);
    command.args(["export", "--format", format]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 10]).unwrap();
    child
}

#[test]
fn what_becomes_coarser_during_an_export_is_exported_as_it_is_then() {
    let dir = tempfile::tempdir().unwrap();
    let tiers = [Tier { resolution_ms: 60_000, retention_ms: 3 * DAY_MS }];
    let (first_ms, last_ms) = fill(options(dir.path(), 2 * DAY_MS, &tiers));
    let child = waiting_export(dir.path(), "csv");
    let shorter = options(dir.path(), 3 * HOUR_MS, &tiers);
    let (store, _) = Store::open(shorter, FsBackend, Arc::new(Catalogue::new(10)), last_ms).unwrap();
    maintain(&store, last_ms);
    let output = child.wait_with_output().unwrap();
    let (text, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{said}");
    let times: Vec<i64> = text
        .lines()
        .filter(|line| line.contains(",depth,"))
        .filter_map(|line| line.split(',').next()?.parse::<jiff::Timestamp>().ok())
        .map(|time| time.as_millisecond())
        .collect();
    assert!(times.is_sorted_by(|a, b| a < b));
    let longest = times.windows(2).map(|pair| pair[1] - pair[0]).max();
    assert_eq!(longest, Some(60_000), "steps of a minute, and no gap");
    assert!(times[1] - first_ms <= WINDOW_MS && times.last() == Some(&last_ms), "from begin to end");
}

#[test]
fn an_export_that_lost_what_the_daemon_drops_says_so_and_fails() {
    for format in ["csv", "jsonl", "openmetrics"] {
        let dir = tempfile::tempdir().unwrap();
        let (_, last_ms) = fill(options(dir.path(), 2 * DAY_MS, &[]));
        let child = waiting_export(dir.path(), format);
        let shorter = options(dir.path(), 3 * HOUR_MS, &[]);
        let (store, _) = Store::open(shorter, FsBackend, Arc::new(Catalogue::new(10)), last_ms).unwrap();
        maintain(&store, last_ms);
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{format}: {said}");
        assert!(said.contains("was dropped while it was exported"), "{format}: {said}");
        assert!(said.contains("run it again"), "{format}: {said}");
    }
}
