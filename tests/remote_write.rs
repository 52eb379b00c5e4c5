//! `POST /api/v1/write`, as a sender sees it.

mod harness;

use harness::{Answer, Running, start, wait_until};
use statsdeck::model::sample::stale_nan;

const V1: &str = "application/x-protobuf";
const V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
const TOKEN: &str = "letmein-letmein-letmein";

type Labels<'a> = &'a [(&'a str, &'a str)];
type Values<'a> = &'a [(i64, f64)];
type Message = fn(&[(Labels<'_>, &[(i64, f64)])]) -> Vec<u8>;

const MESSAGES: [(&str, Message); 2] = [(V1, v1), (V2, v2)];

fn number(out: &mut Vec<u8>, mut integer: u64) {
    while integer >= 0x80 {
        out.push(integer as u8 | 0x80);
        integer >>= 7;
    }
    out.push(integer as u8);
}

fn field(out: &mut Vec<u8>, of: u64, bytes: &[u8]) {
    number(out, of << 3 | 2);
    number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn sample(at_ms: i64, value: f64) -> Vec<u8> {
    let mut out = vec![1 << 3 | 1];
    out.extend_from_slice(&value.to_le_bytes());
    out.push(2 << 3);
    number(&mut out, at_ms as u64);
    out
}

/// A message of version 1.
fn v1(all: &[(Labels<'_>, &[(i64, f64)])]) -> Vec<u8> {
    let mut message = Vec::new();
    for (labels, samples) in all {
        let mut series = Vec::new();
        for (name, value) in *labels {
            let mut label = Vec::new();
            field(&mut label, 1, name.as_bytes());
            field(&mut label, 2, value.as_bytes());
            field(&mut series, 1, &label);
        }
        samples.iter().for_each(|(at_ms, value)| field(&mut series, 2, &sample(*at_ms, *value)));
        field(&mut message, 1, &series);
    }
    message
}

fn v2(all: &[(Labels<'_>, &[(i64, f64)])]) -> Vec<u8> {
    let (mut message, mut symbols) = (Vec::new(), vec![String::new()]);
    for (labels, samples) in all {
        let (mut series, mut refs) = (Vec::new(), Vec::new());
        for text in labels.iter().flat_map(|(name, value)| [name, value]) {
            let known = symbols.iter().position(|symbol| symbol == text);
            let at = known.unwrap_or_else(|| {
                symbols.push(text.to_string());
                symbols.len() - 1
            });
            number(&mut refs, at as u64);
        }
        field(&mut series, 1, &refs);
        samples.iter().for_each(|(at_ms, value)| field(&mut series, 2, &sample(*at_ms, *value)));
        field(&mut message, 5, &series);
    }
    let mut whole = Vec::new();
    symbols.iter().for_each(|symbol| field(&mut whole, 4, symbol.as_bytes()));
    [whole, message].concat()
}

fn packed(message: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(message).unwrap()
}

fn write(daemon: &Running, content_type: &str, message: &[u8]) -> Answer {
    let headers = [("Content-Type", content_type), ("Content-Encoding", "snappy")];
    daemon.post_bytes("/api/v1/write", &headers, &packed(message))
}

fn now_ms() -> i64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64
}

fn written(answer: &Answer) -> Option<&str> {
    answer.head.lines().find_map(|line| line.strip_prefix("x-prometheus-remote-write-samples-written: "))
}

/// Received, accepted, rejected and limited samples.
fn ledger(daemon: &Running) -> (u64, u64, u64, u64) {
    let telemetry = daemon.telemetry();
    let sum = |counters: &[statsdeck::telemetry::Counter]| counters.iter().map(|c| c.value()).sum::<u64>();
    assert_eq!(telemetry.lines_unaccounted(), 0);
    (
        sum(&telemetry.lines_received),
        telemetry.lines_accepted.value(),
        sum(&telemetry.lines_rejected),
        sum(&telemetry.lines_limited),
    )
}

#[test]
fn samples_of_both_versions_are_there_as_they_were_sent_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = start(dir.path(), "");
    // A minute ago, as a sender that was held up has it.
    let begin_ms = now_ms() - 60_000;
    for ((content_type, message), job) in MESSAGES.into_iter().zip(["one", "two"]) {
        let counter = [("__name__", "requests_total"), ("job", job)];
        let gauge = [("__name__", "temperature"), ("job", job), ("empty", "")];
        let counted = [(begin_ms, 100.0), (begin_ms + 15_000, 107.0), (begin_ms + 30_000, 2.0)];
        let measured = [(begin_ms + 7, -4.25), (begin_ms + 15_007, f64::INFINITY)];
        let answer = write(&daemon, content_type, &message(&[(&counter, &counted), (&gauge, &measured)]));
        assert_eq!((answer.status, written(&answer)), (204, Some("5")), "{}", answer.body);
    }
    assert_eq!(ledger(&daemon), (10, 10, 0, 0));
    let check = |daemon: &Running| {
        for job in ["one", "two"] {
            let at = |expr: &str, ms: i64| {
                let time = (begin_ms + ms) as f64 / 1000.0;
                daemon.query(
                    &expr.replace("JOB", &format!("{{job=\"{job}\"}}")).replace("@", &format!("@ {time:.3}")),
                )
            };
            assert_eq!(at("requests_total JOB @", 29_999), Some(107.0));
            assert_eq!(at("requests_total JOB @", 30_000), Some(2.0));
            assert_eq!(at("requests_total JOB @", -1), None);
            assert_eq!(at("timestamp(temperature JOB @)", 9_000), Some((begin_ms + 7) as f64 / 1000.0));
            assert_eq!(at("temperature JOB @", 15_007), Some(f64::INFINITY));
            // 7 before the restart of the sender, 2 after it.
            assert_eq!(at("resets(requests_total JOB[1m] @)", 30_000), Some(1.0));
            let gained = at("increase(requests_total JOB[30001ms] @)", 30_000).unwrap();
            assert!((gained - 9.0).abs() < 0.01, "{gained}");
        }
    };
    let last = format!("temperature{{job=\"two\"}} @ {:.3}", (begin_ms + 15_007) as f64 / 1000.0);
    daemon.await_query(&last, f64::INFINITY);
    check(&daemon);
    let metadata = daemon.get("/api/v1/metadata").json();
    assert_eq!(metadata["data"]["requests_total"][0]["type"], "counter");
    assert_eq!(metadata["data"]["temperature"][0]["type"], "gauge");
    // It is not exposed: who scrapes us and writes to us would go round in circles.
    assert!(!daemon.get("/metrics").body.contains("temperature"));
    daemon.stop();
    let daemon = start(dir.path(), "");
    check(&daemon);
    daemon.stop();
}

#[test]
fn a_series_is_not_repeated_and_a_marker_ends_it() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = start(dir.path(), "");
    let at_ms = now_ms() - 30_000;
    let labels: Labels<'_> = &[("__name__", "up")];
    assert_eq!(write(&daemon, V1, &v1(&[(labels, &[(at_ms, 1.0), (at_ms + 10_000, 1.0)])])).status, 204);
    daemon.await_query("count_over_time(up[5m])", 2.0);
    assert_eq!(write(&daemon, V1, &v1(&[(labels, &[(at_ms + 20_000, stale_nan())])])).status, 204);
    wait_until(|| daemon.query("up").is_none()).expect("it ended");
    assert_eq!(daemon.query("count_over_time(up[5m])"), Some(2.0));
    daemon.stop();
}

#[test]
fn what_has_no_place_is_told_and_the_rest_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = start(dir.path(), "[limits]\nseries = 3\nlabels = 2\nlabel_bytes = 64\n");
    let now_ms = now_ms();
    let long = "x".repeat(65);
    let good: Values<'_> = &[(now_ms, 1.0)];
    let cases: [(&str, Labels<'_>, Values<'_>, &str); 9] = [
        ("no name", &[("job", "a")], good, "__name__"),
        ("twice", &[("__name__", "x"), ("a", "1"), ("a", "2")], good, "no name twice"),
        ("name twice", &[("__name__", "x"), ("__name__", "y")], good, "no name twice"),
        ("empty name", &[("__name__", "x"), ("", "2")], good, "no empty name"),
        ("labels", &[("__name__", "x"), ("a", "1"), ("b", "2"), ("c", "3")], good, "limits.labels"),
        ("long", &[("__name__", "x"), ("a", &long)], good, "limits.label_bytes"),
        ("old", &[("__name__", "x")], &[(now_ms - 86_500_000, 1.0)], "statsdeck import --sampled"),
        ("new", &[("__name__", "x")], &[(now_ms + 400_000, 1.0)], "clocks"),
        ("odd times", &[("__name__", "x")], &[(i64::MIN, 1.0), (i64::MAX, 1.0), (0, 1.0)], "clocks"),
    ];
    let mut sent = 0;
    for (what, labels, samples, why) in cases {
        for (content_type, message) in MESSAGES {
            let message = message(&[(labels, samples), (&[("__name__", "good")], good)]);
            let answer = write(&daemon, content_type, &message);
            assert_eq!((answer.status, written(&answer)), (400, Some("1")), "{what}: {}", answer.body);
            assert!(answer.body.contains(why), "{what}: {}", answer.body);
            sent += samples.len() as u64 + 1;
        }
    }
    let (received, accepted, rejected, _) = ledger(&daemon);
    assert_eq!((received, accepted, rejected), (sent, 18, sent - 18));
    // The limit of series.
    for (name, status) in [("b", 204), ("c", 204), ("d", 400), ("good", 204)] {
        let answer = write(&daemon, V1, &v1(&[(&[("__name__", name)], good)]));
        assert_eq!(answer.status, status, "{name}: {}", answer.body);
        assert_eq!(answer.body.contains("limits.series"), status == 400, "{}", answer.body);
    }
    assert_eq!(ledger(&daemon).3, 1);
    daemon.stop();
}

/// A message with the sample of a plain series `plain`, and a series `native`
/// that has as many native histograms, and maybe a sample as well.
fn with_native(content_type: &str, at_ms: i64, histograms: usize, has_sample: bool) -> Vec<u8> {
    // As senders write it: the sum, and a time.
    let mut histogram = vec![3 << 3 | 1];
    histogram.extend_from_slice(&2.5f64.to_le_bytes());
    histogram.push(15 << 3);
    number(&mut histogram, at_ms as u64);
    let plain: &[(Labels<'_>, &[(i64, f64)])] = &[(&[("__name__", "plain")], &[(at_ms, 7.0)])];
    let mut series = Vec::new();
    let (mut message, series_field, histogram_field) = if content_type == V1 {
        let mut label = Vec::new();
        field(&mut label, 1, b"__name__");
        field(&mut label, 2, b"native");
        field(&mut series, 1, &label);
        (v1(plain), 1, 4)
    } else {
        let mut message = v2(plain);
        // Behind the empty one, the name's and the plain one's.
        field(&mut message, 4, b"native");
        field(&mut series, 1, &[1, 3]);
        (message, 5, 3)
    };
    if has_sample {
        field(&mut series, 2, &sample(at_ms, 3.0));
    }
    (0..histograms).for_each(|_| field(&mut series, histogram_field, &histogram));
    field(&mut message, series_field, &series);
    message
}

#[test]
fn native_histograms_are_refused_and_counted_and_the_rest_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = start(dir.path(), "");
    let why = "native: native histograms are not taken; send classic ones\n";
    let (mut sent, mut refused) = (0, 0);
    for (content_type, histograms, has_sample) in
        [(V1, 1, false), (V2, 1, false), (V1, 3, true), (V2, 3, true)]
    {
        // Ascending, so that each is a sample of its own.
        let at_ms = now_ms() - 60_000 + 1_000 * sent as i64;
        let answer = write(&daemon, content_type, &with_native(content_type, at_ms, histograms, has_sample));
        let (taken, all) = (1 + usize::from(has_sample), 1 + usize::from(has_sample) + histograms);
        assert_eq!((answer.status, written(&answer)), (400, Some(&*taken.to_string())), "{}", answer.body);
        let told = format!("{histograms} of {all} samples are not taken, the others are\n{why}");
        assert_eq!(answer.body, told);
        assert!(answer.head.contains("x-prometheus-remote-write-histograms-written: 0"), "{}", answer.head);
        (sent, refused) = (sent + all, refused + histograms);
    }
    assert_eq!(ledger(&daemon), (sent as u64, (sent - refused) as u64, refused as u64, 0));
    let counted = format!("statsdeck_lines_rejected_total{{reason=\"native_histogram\"}} {refused}\n");
    assert!(daemon.get("/metrics").body.contains(&counted), "{counted}");
    daemon.await_query("sum(count_over_time(plain[5m]))", 4.0);
    daemon.await_query("sum(count_over_time(native[5m]))", 2.0);
    daemon.stop();
}

#[test]
fn a_request_that_is_none_is_refused_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = start(dir.path(), "");
    let good = packed(&v1(&[(&[("__name__", "x")], &[(now_ms(), 1.0)])]));
    let mut large = Vec::new();
    number(&mut large, 1 << 30);
    let cut = packed(&v1(&[(&[("__name__", "x")], &[(now_ms(), 1.0)])])[..10]);
    for (content_type, encoding, body, status) in [
        ("application/json", "snappy", &good, 415),
        ("application/x-protobuf;proto=io.prometheus.write.v9.Request", "snappy", &good, 415),
        (V1, "zstd", &good, 415),
        (V1, "snappy", &large, 413),
        (V1, "snappy", &vec![0; 2 << 20], 413),
        (V1, "snappy", &b"not snappy at all".to_vec(), 400),
        (V1, "snappy", &cut, 400),
        (V1, "snappy", &packed(b""), 204),
    ] {
        let headers = [("Content-Type", content_type), ("Content-Encoding", encoding)];
        let answer = daemon.post_bytes("/api/v1/write", &headers, body);
        assert_eq!(answer.status, status, "{content_type} {encoding}: {}", answer.body);
    }
    assert_eq!(ledger(&daemon), (3, 0, 3, 0));
    daemon.stop();
}

#[test]
fn while_the_store_takes_nothing_the_sender_keeps_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = start(dir.path(), "[window]\ninterval = \"1m\"\n");
    let message = v1(&[(&[("__name__", "x")], &[(now_ms(), 1.0)])]);
    daemon.telemetry().store_failing_since_ms.set(1);
    let answer = write(&daemon, V1, &message);
    assert_eq!(answer.status, 503);
    assert!(answer.head.contains("retry-after: "), "{}", answer.head);
    assert_eq!(ledger(&daemon), (0, 0, 0, 0), "it comes again");
    daemon.telemetry().store_failing_since_ms.set(0);
    assert_eq!(write(&daemon, V1, &message).status, 204);
    daemon.stop();
}

#[test]
fn a_token_that_may_write_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let tokens = "[http]\naddress = \"127.0.0.1:0\"\n[[http.token]]\nname = \"w\"\nhash = \"sha256:e030b7b45bce6a8ae0cd496a8bea2abf664a218f6ce00210d2e9e661bf9a4154\"\nscopes = [\"write\"]\n\
         [[http.token]]\nname = \"r\"\nhash = \"sha256:1368ff605c274656723275151f292d2f39f26e5bcd509b9b10443c562d796f3e\"\nscopes = [\"read\"]\n";
    let daemon = start(dir.path(), tokens);
    let body = packed(&v1(&[(&[("__name__", "x")], &[(now_ms(), 1.0)])]));
    for (token, status) in [("", 401), ("wrong", 401), (&format!("{TOKEN}-r"), 403), (TOKEN, 204)] {
        let bearer = format!("Bearer {token}");
        let mut headers = vec![("Content-Type", V1), ("Content-Encoding", "snappy")];
        if !token.is_empty() {
            headers.push(("Authorization", &bearer));
        }
        let answer = daemon.post_bytes("/api/v1/write", &headers, &body);
        assert_eq!(answer.status, status, "{token}: {}", answer.body);
    }
    daemon.stop();
}

/// Second column of a panel's file, by time in the first.
fn panel(daemon: &Running, parameters: &str) -> Vec<(String, Option<f64>)> {
    let answer = daemon.get(&format!("/dashboard/panel.csv?{parameters}"));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let rows = answer.body.lines().skip(1).map(|line| line.trim_end().split(',').collect::<Vec<_>>());
    rows.map(|row| (row[0].to_owned(), row[1].parse().ok())).collect()
}

/// How much was counted by `at_ms`, had it gone on evenly between samples.
fn counted_by(samples: Values<'_>, at_ms: f64) -> f64 {
    let mut counted = 0.0;
    for pair in samples.windows(2) {
        let ((from_ms, from), (until_ms, until)) = (pair[0], pair[1]);
        let gained = if until < from { until } else { until - from };
        let share = (at_ms - from_ms as f64) / (until_ms - from_ms) as f64;
        counted += gained * share.clamp(0.0, 1.0);
    }
    counted
}

#[test]
fn pages_show_counters_as_rates_and_totals_and_gauges_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = start(dir.path(), "");
    let begin_ms = (now_ms() - 1_800_000) / 60_000 * 60_000;
    // Twenty minutes; two instances, scraped at moments of their own, of which one began anew.
    let counter = |first_ms: i64, each_ms: i64, anew_at: i64| {
        let mut value = 1_000.0;
        let times = (0..).map(|number| first_ms + number * each_ms).take_while(|at| *at <= 1_200_000);
        let mut sample = |(number, at_ms): (usize, i64)| {
            value = if number as i64 == anew_at { 3.0 } else { value + (number % 7) as f64 };
            (begin_ms + at_ms, value)
        };
        times.enumerate().map(&mut sample).collect::<Vec<_>>()
    };
    let (one, two) = (counter(-7_300, 15_000, 31), counter(-20_001, 37_000, -1));
    let gauge: Vec<(i64, f64)> = (0..=20).map(|at| (begin_ms + at * 60_000, (at * 13 % 7) as f64)).collect();
    let message = v1(&[
        (&[("__name__", "requests_total"), ("instance", "a")], &one),
        (&[("__name__", "requests_total"), ("instance", "b")], &two),
        (&[("__name__", "temperature")], &gauge),
    ]);
    assert_eq!(write(&daemon, V1, &message).status, 204);
    let sent = (one.len() + two.len()) as f64;
    daemon.await_query("sum(count_over_time(requests_total[40m]))", sent);
    let (from, to) = (begin_ms / 1000, begin_ms / 1000 + 1_140);

    let lines = format!("metric=requests_total&type=counter&chart=lines&from={from}&to={to}&points=22");
    let shown = panel(&daemon, &lines);
    assert_eq!(shown.len(), 20, "{shown:?}");
    for (minute, (time, shown)) in shown.iter().enumerate().skip(1) {
        let by = |minute: usize| {
            let at_ms = begin_ms as f64 + minute as f64 * 60_000.0;
            counted_by(&one, at_ms) + counted_by(&two, at_ms)
        };
        let expected = (by(minute) - by(minute - 1)) / 60.0;
        let shown = shown.unwrap_or(f64::NAN);
        assert!((shown - expected).abs() < 1e-9, "{time}: {shown}, not {expected}");
    }
    // Whole numbers, also over midnight.
    let days = panel(&daemon, "metric=requests_total&type=counter&chart=bars");
    let total: f64 = days.iter().filter_map(|(_, total)| *total).sum();
    assert_eq!(total, counted_by(&one, f64::MAX) + counted_by(&two, f64::MAX));
    // Finer than it was sampled, without a hole.
    let lines = format!("metric=temperature&type=gauge&from={from}&to={to}&points=240");
    for (number, (time, shown)) in panel(&daemon, &lines).iter().enumerate() {
        let at_ms = begin_ms + number as i64 * 5_000;
        let expected =
            gauge.iter().rev().find(|(sampled_ms, _)| *sampled_ms <= at_ms).map(|(_, value)| *value);
        assert_eq!(*shown, expected, "{time}");
    }
    let list = daemon.get("/dashboard/metrics?range=1h").body;
    for type_name in ["counter", "gauge"] {
        assert!(list.contains(&format!("type={type_name}&amp;")), "{type_name}");
    }
    assert!(!list.contains("sampled"), "what it is, is said");
    daemon.stop();
}
