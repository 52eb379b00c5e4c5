//! Data out of a data directory and into it, as the command line does it.

use hdrhistogram::Histogram as Hdr;
use hdrhistogram::serialization::{Deserializer, interval_log};
use statsdeck::catalogue::Catalogue;
use statsdeck::model::batch::{CounterValue, GaugeValue};
use statsdeck::model::label::NAME;
use statsdeck::model::{FlushBatch, Histogram, Labels, MetricType, SeriesId, SeriesKey, Sketch};
use statsdeck::store::{FsBackend, Maintained, Options, Store, Tier};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const WINDOW_MS: i64 = 10_000;
const WINDOWS: i64 = 1_000;

fn run(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_statsdeck"));
    command.current_dir(dir).args(["--data-dir", "data"]).args(arguments);
    command.env_remove("STATSDECK_CONFIG").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = {
        let _forking = forking();
        command.spawn().unwrap()
    };
    child.wait_with_output().unwrap()
}

/// Between fork and exec a child has all files of this process, with their
/// locks: no store is closed meanwhile, or it would stay locked for a moment.
fn forking() -> MutexGuard<'static, ()> {
    static FORKING: Mutex<()> = Mutex::new(());
    FORKING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn close(store: Store) {
    let _forking = forking();
    drop(store);
}

fn said(output: &Output) -> String {
    String::from_utf8([&*output.stdout, &*output.stderr].concat()).unwrap()
}

fn ok(dir: &Path, arguments: &[&str]) -> String {
    let output = run(dir, arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn now_ms() -> i64 {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap();
    now.as_millis() as i64
}

fn key(name: &str, metric_type: MetricType) -> SeriesKey {
    SeriesKey { labels: Labels::from_pairs([(NAME, name), ("job", "a,\"b\"")]), metric_type }
}

/// A store with one series of each type, whose last window ended a minute ago;
/// returns that window's end.
fn fill(dir: &Path, windows: i64) -> i64 {
    fill_with(Options::new(dir.join("data")), windows)
}

fn fill_with(options: Options, windows: i64) -> i64 {
    let catalogue = Arc::new(Catalogue::new(100));
    let last_ms = (now_ms() - 60_000) / WINDOW_MS * WINDOW_MS;
    let (store, _) = Store::open(options, FsBackend, catalogue.clone(), last_ms).unwrap();
    let register = |name, metric_type| catalogue.register(key(name, metric_type)).unwrap();
    let counter = register("etl.records", MetricType::Counter);
    let gauge = register("etl.queue", MetricType::Gauge);
    let timer = register("etl.duration", MetricType::Timer);
    let set = register("etl.users", MetricType::Set);
    for at in 1..=windows {
        let end_ms = last_ms - (windows - at) * WINDOW_MS;
        store.append(&window([counter, gauge, timer, set], at, end_ms)).unwrap();
    }
    while store.maintain(last_ms).unwrap() != Maintained::default() {}
    close(store);
    last_ms
}

fn window([counter, gauge, timer, set]: [SeriesId; 4], at: i64, end_ms: i64) -> FlushBatch {
    let mut sketch = Sketch::default();
    (0..at % 5).for_each(|member| sketch.insert(&member.to_le_bytes()));
    let value = at as f64;
    FlushBatch {
        start_ms: end_ms - WINDOW_MS,
        end_ms,
        counters: vec![CounterValue {
            id: counter,
            total: value * 3.0,
            start_total: (at == 1).then_some(0.0),
        }],
        gauges: vec![GaugeValue { id: gauge, last: -value, min: -value, max: -value }],
        timers: vec![(timer, Histogram::from_values((1..=100).map(|i| (f64::from(i) * 0.01, 1.0))))],
        sets: vec![(set, sketch)],
        ..FlushBatch::default()
    }
}

#[test]
fn every_point_is_a_row_of_csv() {
    let dir = tempfile::tempdir().unwrap();
    let last_ms = fill(dir.path(), WINDOWS);
    let text = ok(dir.path(), &["export", "--percentiles", "50,99.9"]);
    let mut lines = text.split("\r\n");
    assert_eq!(lines.next(), Some("time,name,labels,type,value,count,sum,min,max,p50,p99.9"));
    let rows: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    // The counter's start is a point, too.
    assert_eq!(rows.len() as i64, WINDOWS * 4 + 1);
    let time = jiff::Timestamp::from_millisecond(last_ms).unwrap();
    let labels = r#""{job=""a,\""b\""""}""#;
    for expected in [
        format!("{time},etl.records,{labels},counter,{},,,,,,", WINDOWS * 3),
        format!("{time},etl.queue,{labels},gauge,-{WINDOWS},,,,,,"),
        format!("{time},etl.users,{labels},set,{},,,,,,", WINDOWS % 5),
    ] {
        assert!(rows.contains(&&*expected), "{expected} is not in {:?}", rows.last());
    }
    let timer = rows.iter().rfind(|row| row.contains("etl.duration")).unwrap();
    let numbers: Vec<f64> = timer.rsplit(',').take(6).map(|number| number.parse().unwrap()).collect();
    assert!((numbers[5] - 100.0).abs() < 1e-9 && (numbers[4] - 50.5).abs() < 1e-9, "{timer}");
    assert_eq!((numbers[3], numbers[2]), (0.01, 1.0));
    assert!((numbers[1] - 0.5).abs() < 0.01 && (numbers[0] - 1.0).abs() < 0.01, "{timer}");
}

#[test]
fn json_lines_of_a_selector_and_a_range() {
    let dir = tempfile::tempdir().unwrap();
    let last_ms = fill(dir.path(), 50);
    let moment = |back: i64| (last_ms / 1000 - back * 10).to_string();
    let (from, to) = (moment(9), moment(5));
    let arguments = ["export", "--match", "etl_queue", "--format", "jsonl", "-o", "out.jsonl"];
    ok(dir.path(), &[&arguments[..], &["--from", &from, "--to", &to]].concat());
    let text = std::fs::read_to_string(dir.path().join("out.jsonl")).unwrap();
    let rows: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let values: Vec<f64> = rows.iter().map(|row| row["value"].as_f64().unwrap()).collect();
    assert_eq!(values, [-41.0, -42.0, -43.0, -44.0, -45.0]);
    assert_eq!(rows[0]["name"], "etl.queue");
    assert_eq!(rows[0]["labels"]["job"], "a,\"b\"");
    assert_eq!(rows[0]["type"], "gauge");
}

#[test]
fn an_hdr_log_has_the_values_of_a_timer() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 20);
    let text = ok(dir.path(), &["export", "--match", "etl_duration", "--format", "hdr"]);
    let mut intervals = 0;
    for entry in interval_log::IntervalLogIterator::new(text.as_bytes()) {
        let interval_log::LogEntry::Interval(interval) = entry.unwrap() else { continue };
        let bytes = base64_of(interval.encoded_histogram());
        let histogram: Hdr<u64> = Deserializer::new().deserialize(&mut &*bytes).unwrap();
        assert_eq!(histogram.len(), 100);
        for (percentile, expected) in [(0.0, 10_000.0), (50.0, 500_000.0), (100.0, 1_000_000.0)] {
            let found = histogram.value_at_percentile(percentile) as f64;
            assert!((found / expected - 1.0).abs() < 0.01, "p{percentile}: {found}");
        }
        intervals += 1;
    }
    assert_eq!(intervals, 20);
    let output = run(dir.path(), &["export", "--match", "etl_queue", "--format", "hdr"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("none matches"), "{}", said(&output));
}

#[test]
fn an_hdr_log_tells_how_long_a_step_is_where_only_steps_are_left() {
    let dir = tempfile::tempdir().unwrap();
    let config = "[[tier]]\nresolution = \"10s\"\nretention = \"2h\"\n[[tier]]\nresolution = \"1m\"\nretention = \"1d\"\n";
    std::fs::write(dir.path().join("statsdeck.toml"), config).unwrap();
    let tiers = vec![Tier { resolution_ms: 60_000, retention_ms: 86_400_000 }];
    let options = Options::new(dir.path().join("data")).with_retention(7_200_000).with_tiers(tiers);
    let last_ms = fill_with(options, 8 * 360);
    let from = (last_ms / 1000 - 8 * 3600).to_string();
    let arguments = ["--config", "statsdeck.toml", "export", "--match", "etl_duration", "--format", "hdr"];
    let text = ok(dir.path(), &[&arguments[..], &["--from", &from]].concat());
    let (mut found, mut seconds) = (Vec::new(), 0);
    for entry in interval_log::IntervalLogIterator::new(text.as_bytes()) {
        let interval_log::LogEntry::Interval(interval) = entry.unwrap() else { continue };
        let length = interval.duration().as_secs();
        seconds += length;
        if found.last() != Some(&length) {
            found.push(length);
        }
    }
    assert_eq!(found, [60, 10], "steps of old, then windows");
    assert!((8 * 3600..=8 * 3600 + 60).contains(&seconds), "{seconds}");
}

/// Standard base64, padded.
fn base64_of(text: &str) -> Vec<u8> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u8> = text.bytes().filter(|c| *c != b'=').map(digit).collect();
    let mut bytes = Vec::new();
    for four in digits.chunks(4) {
        let bits = four.iter().enumerate().fold(0u32, |bits, (at, d)| bits | u32::from(*d) << (18 - 6 * at));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..four.len()]);
    }
    bytes
}

#[test]
fn a_running_daemon_is_no_obstacle_to_looking() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 30);
    let catalogue = Arc::new(Catalogue::new(100));
    let (store, _) =
        Store::open(Options::new(dir.path().join("data")), FsBackend, catalogue, now_ms()).unwrap();
    assert_eq!(ok(dir.path(), &["export", "--match", "etl_queue"]).lines().count(), 31);
    assert!(ok(dir.path(), &["store", "verify"]).contains("as they were written"));
    assert!(ok(dir.path(), &["store", "stats"]).contains("a daemon has the directory open"));
    let output = run(dir.path(), &["store", "repair"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("in use"), "{}", said(&output));
    close(store);
}

#[test]
fn damage_is_told_by_file_and_place_and_repaired() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), WINDOWS);
    let files = std::fs::read_dir(dir.path().join("data")).unwrap().map(|entry| entry.unwrap().path());
    let block = files.filter(|path| path.extension().is_some_and(|e| e == "sd")).min().unwrap();
    let mut bytes = std::fs::read(&block).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&block, bytes).unwrap();
    let output = run(dir.path(), &["store", "verify"]);
    assert_eq!(output.status.code(), Some(1));
    let name = block.file_name().unwrap().to_str().unwrap();
    for part in [name, "at byte", "points of a series", "statsdeck store repair"] {
        assert!(said(&output).contains(part), "{part} is not in {}", said(&output));
    }
    assert!(ok(dir.path(), &["store", "repair"]).contains("damaged/block"));
    assert!(ok(dir.path(), &["store", "verify"]).contains("as they were written"));
    assert!(ok(dir.path(), &["store", "repair"]).contains("nothing is damaged"));
}

#[test]
fn what_cannot_be_exported_is_told() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 1);
    for (arguments, part) in [
        (&["--from", "yesterday"][..], "is no time"),
        (&["--match", "sum(x)"], "not a series selector"),
        (&["--percentiles", "101"], "not within 0 and 100"),
        (&["--from", "1h", "--to", "2h"], "--from is after --to"),
        (&["-o", "no/such/dir/file"], "cannot create no/such/dir/file"),
    ] {
        let output = run(dir.path(), &[&["export"], arguments].concat());
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(said(&output).contains(part), "{arguments:?}: {}", said(&output));
    }
}

/// One metric of OpenMetrics at a minute's step for six hours, ending yesterday.
fn open_metrics(last_s: i64) -> String {
    let mut text = String::from("# TYPE jobs counter\n");
    for at in (0..360).rev() {
        // Begins anew half-way.
        let total = if at >= 180 { 1000 + (360 - at) * 2 } else { (180 - at) * 2 };
        text.push_str(&format!("jobs_total{{job=\"load\"}} {total} {}\n", last_s - at * 60));
    }
    text.push_str("# TYPE queue gauge\n");
    for at in (0..360).rev() {
        text.push_str(&format!("queue {at}.5 {}\n", last_s - at * 60));
    }
    text + "# EOF\n"
}

/// Time and value of what is exported of a name.
fn exported(dir: &Path, selector: &str) -> Vec<(i64, f64)> {
    let text = ok(dir, &["export", "--match", selector, "--format", "jsonl"]);
    let rows = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    rows.map(|row| {
        let time: jiff::Timestamp = row["time"].as_str().unwrap().parse().unwrap();
        (time.as_second(), row["value"].as_f64().unwrap())
    })
    .collect()
}

#[test]
fn open_metrics_fill_the_past_once() {
    let dir = tempfile::tempdir().unwrap();
    let last_s = (now_ms() / 1000 - 20 * 3600) / 60 * 60;
    std::fs::write(dir.path().join("in.om"), open_metrics(last_s)).unwrap();
    let told = ok(dir.path(), &["import", "in.om"]);
    assert!(told.contains("imported 720 points of 2 series"), "{told}");
    let queue: Vec<(i64, f64)> = (0..360).rev().map(|at| (last_s - at * 60, at as f64 + 0.5)).collect();
    assert_eq!(exported(dir.path(), "queue"), queue);
    // The total goes on where it began anew: 1360 + 2, 4, …
    let total = |at: i64| if at >= 180 { 1000 + (360 - at) * 2 } else { 1360 + (180 - at) * 2 };
    let jobs: Vec<(i64, f64)> = (0..360).rev().map(|at| (last_s - at * 60, total(at) as f64)).collect();
    assert_eq!(exported(dir.path(), "jobs_total"), jobs);
    let again = run(dir.path(), &["import", "in.om"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(said(&again).contains("720 points, of a time that has data already"), "{}", said(&again));
    assert!(ok(dir.path(), &["store", "verify"]).contains("as they were written"));
    assert!(!dir.path().join("data/import.tmp").exists());
}

#[test]
fn an_import_that_was_broken_off_behind_a_new_beginning_of_a_counter_is_simply_done_again() {
    let dir = tempfile::tempdir().unwrap();
    let last_s = (now_ms() / 1000 - 20 * 3600) / 60 * 60;
    let whole = open_metrics(last_s);
    // What the blocks that were written had: up to the end of one, after the new beginning.
    let block_s = last_s / 7200 * 7200;
    let time = |line: &str| line.rsplit(' ').next().and_then(|time| time.parse::<i64>().ok());
    let written: Vec<&str> = whole.lines().filter(|line| time(line).is_none_or(|at| at <= block_s)).collect();
    std::fs::write(dir.path().join("written.om"), written.join("\n") + "\n").unwrap();
    std::fs::write(dir.path().join("in.om"), whole).unwrap();
    ok(dir.path(), &["import", "written.om"]);
    if block_s < last_s {
        ok(dir.path(), &["import", "in.om"]);
    }
    let total = |at: i64| if at >= 180 { 1000 + (360 - at) * 2 } else { 1360 + (180 - at) * 2 };
    let jobs: Vec<(i64, f64)> = (0..360).rev().map(|at| (last_s - at * 60, total(at) as f64)).collect();
    assert_eq!(exported(dir.path(), "jobs_total"), jobs);
}

#[test]
fn what_was_received_stays_as_it_is_when_the_past_is_filled() {
    let dir = tempfile::tempdir().unwrap();
    let last_ms = fill(dir.path(), WINDOWS);
    let before = ok(dir.path(), &["export", "--match", "etl_queue"]);
    // Two hours before all that, and as long as it.
    let first_s = (last_ms - WINDOWS * WINDOW_MS) / 1000;
    let line = |at: i64| format!("etl.queue{{job=\"a,\\\"b\\\"\"}} {at} {at}\nbackfilled 1 {at}000\n");
    let text: String = (0..240).map(|minute| line(first_s - 7200 - minute * 60)).collect();
    let text = text.replace("etl.queue{", "{\"etl.queue\",")
        + &line(last_ms / 1000).replace("etl.queue{", "{\"etl.queue\",");
    std::fs::write(dir.path().join("in.prom"), text).unwrap();
    let told = ok(dir.path(), &["import", "in.prom"]);
    assert!(told.contains("2 points, of a time that "), "{told}");
    assert!(told.contains("imported 480 points of 2 series"), "{told}");
    let after = ok(dir.path(), &["export", "--match", "etl_queue"]);
    assert_eq!(after.lines().count(), before.lines().count() + 240);
    for line in before.lines() {
        assert!(after.contains(line), "{line} is gone");
    }
    assert!(ok(dir.path(), &["store", "verify"]).contains("as they were written"));
}

/// A Whisper file of one archive of 60 s with these points.
fn whisper(points: &[(u32, f64)], slots: u32) -> Vec<u8> {
    let mut bytes = [1u32, 60 * slots, 0, 1, 28, 60, slots].map(u32::to_be_bytes).concat();
    let mut ring = vec![(0u32, 0f64); slots as usize];
    points.iter().for_each(|(at, value)| ring[(at / 60 % slots) as usize] = (*at, *value));
    for (at, value) in ring {
        bytes.extend(at.to_be_bytes());
        bytes.extend(value.to_be_bytes());
    }
    bytes
}

#[test]
fn a_whisper_tree_becomes_series_by_path() {
    let dir = tempfile::tempdir().unwrap();
    let first = (now_ms() / 1000 - 30 * 3600) as u32 / 60 * 60;
    let points: Vec<(u32, f64)> = (0..100).map(|at| (first + at * 60, f64::from(at) / 4.0)).collect();
    let tree = dir.path().join("whisper/stats/web");
    std::fs::create_dir_all(&tree).unwrap();
    std::fs::write(tree.join("errors.wsp"), whisper(&points, 1440)).unwrap();
    std::fs::write(tree.join("notes.txt"), "no series").unwrap();
    ok(dir.path(), &["import", "whisper"]);
    let expected: Vec<(i64, f64)> = points.iter().map(|(at, value)| (i64::from(*at) + 60, *value)).collect();
    assert_eq!(exported(dir.path(), "{\"stats.web.errors\"}"), expected);
    std::fs::write(tree.join("broken.wsp"), "no whisper").unwrap();
    let output = run(dir.path(), &["import", "whisper"]);
    assert!(said(&output).contains("broken.wsp: it is no Whisper file"), "{}", said(&output));
}

#[test]
fn an_import_that_cannot_be_says_why_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let last_ms = fill(dir.path(), 10);
    let now_s = last_ms / 1000;
    let list = || {
        let files = std::fs::read_dir(dir.path().join("data")).unwrap();
        let mut names: Vec<_> = files.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = list();
    for (text, part) in [
        ("up 1\n".to_owned(), "in.om:1: there is no time"),
        (format!("up 1 {}\nup x 1\n", now_s - 86_400), "in.om:2: \"x\" is no value"),
        ("up 1 100\n".to_owned(), "1 point, older than what is kept"),
        (format!("up 1 {}\n", now_s + 10_000), "not over yet"),
    ] {
        std::fs::write(dir.path().join("in.om"), text).unwrap();
        let output = run(dir.path(), &["import", "in.om"]);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains(part), "{part} is not in {}", said(&output));
        assert_eq!(list(), before);
    }
    let output = run(dir.path(), &["import", "nowhere"]);
    assert!(said(&output).contains("cannot open nowhere"), "{}", said(&output));
    let catalogue = Arc::new(Catalogue::new(100));
    let (held, _) =
        Store::open(Options::new(dir.path().join("data")), FsBackend, catalogue, now_ms()).unwrap();
    let output = run(dir.path(), &["import", "in.om"]);
    assert!(said(&output).contains("in use by another statsdeck"), "{}", said(&output));
    close(held);
}

#[test]
fn open_metrics_out_come_back_and_types_stay() {
    let dir = tempfile::tempdir().unwrap();
    let last_s = (now_ms() / 1000 - 20 * 3600) / 60 * 60;
    let mut text = String::from("# TYPE jobs counter\n# TYPE took histogram\n# TYPE queue gauge\n");
    for at in (0..60).map(|minute| last_s - 3600 + minute * 60) {
        let n = at - last_s + 3600;
        text += &format!("jobs_total{{job=\"a\\\"b\\\\c\"}} {n} {at}\n");
        text += &format!("took_bucket{{le=\"0.5\"}} {n} {at}\ntook_bucket{{le=\"+Inf\"}} {} {at}\n", 2 * n);
        text += &format!("took_count {} {at}\ntook_sum {}.5 {at}\nqueue -{n}.25 {at}\n", 2 * n, 3 * n);
    }
    std::fs::write(dir.path().join("in.om"), text).unwrap();
    ok(dir.path(), &["import", "in.om"]);
    let out = ok(dir.path(), &["export", "--format", "openmetrics"]);
    let types: Vec<&str> = out.lines().filter(|line| line.starts_with('#')).collect();
    assert_eq!(types, ["# TYPE jobs counter", "# TYPE queue gauge", "# TYPE took histogram", "# EOF"]);
    assert!(out.contains(&format!("jobs_total{{job=\"a\\\"b\\\\c\"}} 3540 {}.000\n", last_s - 60)), "{out}");
    // Into an empty directory, and out again.
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("in.om"), &out).unwrap();
    ok(other.path(), &["import", "in.om"]);
    assert_eq!(ok(other.path(), &["export", "--format", "openmetrics"]), out);
    let rows = |dir: &Path| ok(dir, &["export", "--format", "jsonl"]);
    assert_eq!(rows(other.path()), rows(dir.path()));
    assert!(
        rows(dir.path())
            .contains("\"name\":\"took_bucket\",\"labels\":{\"le\":\"0.5\"},\"type\":\"counter\"")
    );
}

#[test]
fn distributions_become_summaries_whose_counts_go_on() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), 30);
    let out = ok(dir.path(), &["export", "--format", "openmetrics", "--percentiles", "50"]);
    let lines = |begin: &str| out.lines().filter(|line| line.starts_with(begin)).map(str::to_owned).collect();
    let quantiles: Vec<String> = lines("etl_duration{job=\"a,\\\"b\\\"\",quantile=\"0.5\"} ");
    let counts: Vec<String> = lines("etl_duration_count{");
    assert!(out.contains("# TYPE etl_duration summary\n"));
    assert!(quantiles.len() == counts.len() && !counts.is_empty(), "{out}");
    let counts: Vec<f64> =
        counts.iter().map(|line| line.split(' ').nth(1).unwrap().parse().unwrap()).collect();
    assert!(counts.is_sorted() && counts.last() > counts.first(), "{counts:?}");
}

#[test]
fn what_is_imported_as_sampled_goes_on_by_remote_write() {
    let dir = tempfile::tempdir().unwrap();
    let last_s = (now_ms() / 1000 - 20 * 3600) / 60 * 60;
    std::fs::write(dir.path().join("in.om"), open_metrics(last_s)).unwrap();
    ok(dir.path(), &["import", "--sampled", "in.om"]);
    // Values are as they were: it begins anew half-way.
    let total = |at: i64| if at >= 180 { 1000 + (360 - at) * 2 } else { (180 - at) * 2 };
    let jobs: Vec<(i64, f64)> = (0..360).rev().map(|at| (last_s - at * 60, total(at) as f64)).collect();
    assert_eq!(exported(dir.path(), "jobs_total"), jobs);
    let text = ok(dir.path(), &["export", "--match", "jobs_total", "--format", "openmetrics"]);
    assert!(text.starts_with("# TYPE jobs counter\n"), "{text}");
}

#[test]
fn an_import_that_is_killed_leaves_whole_blocks_or_none_and_no_litter() {
    let lines: String = {
        let last_s = (now_ms() / 1000 - 8 * 3600) / 60 * 60;
        let points = (0..50_000).map(|at| format!("m{} {at} {}\n", at % 50, last_s - (at / 50) * 30));
        points.collect()
    };
    let mut complete = 0;
    for wait_ms in [1u64, 100, 300, 600, 1000] {
        let dir = tempfile::tempdir().unwrap();
        fill(dir.path(), 30);
        std::fs::write(dir.path().join("in.prom"), &lines).unwrap();
        let before = ok(dir.path(), &["export", "--match", "{__name__=~\"etl.*\"}"]);
        let mut child = {
            let _forking = forking();
            let mut command = Command::new(env!("CARGO_BIN_EXE_statsdeck"));
            command.current_dir(dir.path()).args(["--data-dir", "data", "import", "in.prom"]);
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        };
        std::thread::sleep(std::time::Duration::from_millis(wait_ms));
        let _ = child.kill();
        complete += u32::from(child.wait().unwrap().success());
        assert!(ok(dir.path(), &["store", "verify"]).contains("as they were written"), "{wait_ms}");
        assert_eq!(ok(dir.path(), &["export", "--match", "{__name__=~\"etl.*\"}"]), before, "{wait_ms}");
        // Of each span all series or none.
        let rows = ok(dir.path(), &["export", "--match", "{__name__=~\"m.*\"}"]);
        let mut series: std::collections::BTreeMap<&str, usize> = Default::default();
        for row in rows.lines().skip(1) {
            *series.entry(row.split(',').next().unwrap()).or_default() += 1;
        }
        assert!(series.values().all(|count| *count == 50), "{wait_ms}");
        // What is not there can be imported; what is there is told.
        let again = said(&run(dir.path(), &["import", "in.prom"]));
        assert!(series.len() == 1000 || again.contains("imported "), "{wait_ms}: {again}");
        let rows = ok(dir.path(), &["export", "--match", "{__name__=~\"m.*\"}"]);
        assert_eq!(rows.lines().count(), 50_001, "{wait_ms}");
        assert!(!dir.path().join("data/import.tmp").exists());
    }
    println!("{complete} of 5 were done before they were killed");
}

#[cfg(feature = "parquet")]
#[test]
fn a_parquet_file_has_the_rows_of_the_csv() {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::{Field, Row};

    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), WINDOWS);
    std::fs::write(dir.path().join("in.prom"), format!("bare -1.5 {}\n", now_ms() / 1000 - 20 * 3600))
        .unwrap();
    ok(dir.path(), &["import", "in.prom"]);
    ok(dir.path(), &["export", "--format", "parquet", "-o", "out.parquet"]);
    let file = std::fs::File::open(dir.path().join("out.parquet")).unwrap();
    let reader = SerializedFileReader::new(file).unwrap();
    let text = |row: &Row| -> String {
        let columns = row.get_column_iter().map(|(name, field)| match (name.as_str(), field) {
            ("time", Field::TimestampMillis(at_ms)) => {
                jiff::Timestamp::from_millisecond(*at_ms).unwrap().to_string()
            }
            (_, Field::Str(text)) => format!("{text:?}"),
            (_, Field::MapInternal(map)) => {
                let text = |field: &Field| match field {
                    Field::Str(text) => format!("{text:?}"),
                    other => panic!("{other:?}"),
                };
                let pairs =
                    map.entries().iter().map(|(name, value)| format!("{}:{}", text(name), text(value)));
                format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
            }
            (_, Field::Double(number)) => format!("{number:?}"),
            (_, Field::Null) => String::new(),
            other => panic!("{other:?}"),
        });
        columns.collect::<Vec<_>>().join(" ")
    };
    let found: Vec<String> = reader.get_row_iter(None).unwrap().map(|row| text(&row.unwrap())).collect();
    // The same by another way.
    let rows = ok(dir.path(), &["export", "--format", "jsonl"]);
    let expected: Vec<String> = rows
        .lines()
        .map(|line| {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            let labels = row["labels"].as_object().unwrap().iter();
            let labels =
                labels.map(|(name, value)| format!("{name:?}:{value}")).collect::<Vec<_>>().join(",");
            let number =
                |name: &str| row[name].as_f64().map_or(String::new(), |number| format!("{number:?}"));
            let numbers = ["value", "count", "sum", "min", "max", "p50", "p90", "p95", "p99"].map(number);
            let (time, name, kind) = (row["time"].as_str().unwrap(), &row["name"], &row["type"]);
            format!("{time} {name} {{{labels}}} {kind} {}", numbers.join(" "))
        })
        .collect();
    assert!(found.len() > WINDOWS as usize);
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.len());
    // For those who have the reader of others: `PYARROW=1` needs pyarrow.
    if std::env::var_os("PYARROW").is_some() {
        let script = "import sys, pyarrow.parquet as p; t = p.read_table(sys.argv[1]); print(t.num_rows, t.schema.field('time').type, t.schema.field('labels').type)";
        let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
        let output =
            Command::new(python).args(["-c", script]).arg(dir.path().join("out.parquet")).output().unwrap();
        let told = said(&output);
        assert!(
            told.starts_with(&format!("{} timestamp[ms, tz=UTC] map<string, string", found.len())),
            "{told}"
        );
    }
}
