//! How long an interval of an HDR log is.

use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use statsdeck::catalogue::Catalogue;
use statsdeck::model::{FlushBatch, Histogram, Labels, MetricType, SeriesKey};
use statsdeck::store::{FsBackend, Maintained, Options, Store};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

const WINDOW_MS: i64 = 60_000;

/// Three hours of a timer that has values in every third window; in between one took longer, as when the machine
/// slept.
fn fill(dir: &Path) {
    let now_ms = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
    let last_ms = now_ms / WINDOW_MS * WINDOW_MS;
    let catalogue = Arc::new(Catalogue::new(10));
    let (store, _) =
        Store::open(Options::new(dir.join("data")), FsBackend, catalogue.clone(), last_ms).unwrap();
    let key = SeriesKey { labels: Labels::of_name("took"), metric_type: MetricType::Timer };
    let id = catalogue.register(key).unwrap();
    let mut start_ms = last_ms - 180 * WINDOW_MS;
    for at in 1..=180 {
        let end_ms = last_ms - (180 - at) * WINDOW_MS;
        if at == 121 {
            continue;
        }
        let timers = match at % 3 {
            0 => vec![(id, Histogram::from_values([(0.5, 1.0)]))],
            _ => Vec::new(),
        };
        store.append(&FlushBatch { start_ms, end_ms, timers, ..FlushBatch::default() }).unwrap();
        start_ms = end_ms;
    }
    while store.maintain(last_ms).unwrap() != Maintained::default() {}
}

fn export(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_statsdeck"));
    command.current_dir(dir).env_remove("STATSDECK_CONFIG").args(["--data-dir", "data", "export"]);
    command.args(["--match", "took", "--format", "hdr"]).args(arguments).output().unwrap()
}

/// The length of the intervals, in seconds, of which there are sixty.
fn check(dir: &Path, arguments: &[&str], expected: u64) {
    let output = export(dir, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lengths: Vec<u64> = IntervalLogIterator::new(&output.stdout)
        .filter_map(|entry| match entry.unwrap() {
            LogEntry::Interval(interval) => Some(interval.duration().as_secs()),
            _ => None,
        })
        .collect();
    assert_eq!(lengths, [expected; 60]);
}

#[test]
fn the_length_of_a_window_is_that_of_the_data_without_a_config_too() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    check(dir.path(), &[], 60);
    check(dir.path(), &["--window", "20s"], 20);
    let output = export(dir.path(), &["--window", "0s"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("--window"), "{output:?}");
}

#[test]
fn a_length_of_a_window_that_is_not_known_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let files = std::fs::read_dir(dir.path().join("data")).unwrap().map(|file| file.unwrap().path());
    for log in files.filter(|path| path.extension().is_some_and(|extension| extension == "log")) {
        std::fs::remove_file(log).unwrap();
    }
    let output = export(dir.path(), &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && output.stdout.is_empty(), "{said}");
    assert!(said.contains("how long a window is is not known: name it, as in --window 10s"), "{said}");
}
