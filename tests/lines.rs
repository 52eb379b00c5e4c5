//! The conformance table, `tests/lines/*.txt`: a line and what it becomes, by
//! the parser, by a second parser, and through a socket into the store.

mod harness;
#[path = "lines/reference.rs"]
mod reference;
#[path = "lines/rows.rs"]
mod rows;
#[path = "lines/taken.rs"]
mod taken;

use proptest::prelude::*;
use proptest::sample::select;
use statsdeck::catalogue::Catalogue;
use statsdeck::clock::{Clock, SystemClock};
use statsdeck::model::{Labels, Points, Reject, Select, Sketch, TimeRange, sample};
use statsdeck::protocol::{Dialect, Message, TagStyles, packet};
use statsdeck::store::state::StateStore;
use statsdeck::store::{FsBackend, Options, Store};
use std::collections::BTreeMap;
use std::sync::Arc;
use taken::{Seen, Taken};

const LABELS_MAX: usize = 32;
const DIALECTS: [Dialect; 2] = [Dialect::Statsd, Dialect::Dogstatsd];

/// What the program's parser makes of a packet of one line.
fn parsed(packet: &[u8], dialect: Dialect, name_tags: bool) -> Result<Taken, Reject> {
    let lines: Vec<&[u8]> = packet::lines(packet).collect();
    assert_eq!(lines.len(), 1, "one line a row");
    let styles = if name_tags { TagStyles::ALL } else { TagStyles::NONE };
    Message::parse(lines[0], dialect).and_then(|message| Taken::of(&message, styles, LABELS_MAX))
}

fn by_reference(packet: &[u8], dialect: Dialect, name_tags: bool) -> Option<Taken> {
    reference::parse(packet, dialect == Dialect::Dogstatsd, name_tags, LABELS_MAX)
}

#[test]
fn every_line_of_the_table_becomes_what_it_says() {
    let rows = rows::all();
    let mut wrong = Vec::new();
    for row in &rows {
        for dialect in DIALECTS {
            let asked = if dialect == Dialect::Statsd { row.statsd } else { row.dogstatsd };
            if !asked {
                continue;
            }
            let got = parsed(&row.line, dialect, row.name_tags);
            let words = got.as_ref().map_or_else(|reject| format!("!{}", reject.as_str()), Taken::words);
            if words != row.expected {
                wrong.push(format!("{} ({dialect:?})\n  got {words}", row.place));
            }
            let second = by_reference(&row.line, dialect, row.name_tags);
            if second != got.ok() {
                wrong.push(format!("{} ({dialect:?})\n  the second parser: {second:?}", row.place));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(rows.len() >= 340, "only {} rows were read", rows.len());
}

/// Pieces that lines are made of, good and bad.
const PIECES: [&[u8]; 62] = [
    b":",
    b"|",
    b":",
    b"|",
    b"|@",
    b"|#",
    b"|T",
    b",",
    b"=",
    b";",
    b"[",
    b"]",
    b"#",
    b"@",
    b".",
    b"-",
    b"+",
    b"e",
    b"c",
    b"g",
    b"ms",
    b"h",
    b"d",
    b"s",
    b"m",
    b"1",
    b"0",
    b"25",
    b"0.5",
    b"1e3",
    b"-3",
    b"1e999",
    b"NaN",
    b"k:v",
    b"k=v",
    b"a",
    b"b.c",
    b"\xff",
    "é".as_bytes(),
    b" ",
    b"\r",
    b"\t",
    b"|c:ci-1",
    b"|card:low",
    b"|e:it-x",
    b"statsdeck_",
    b"__name__",
    b"_",
    b"_e{",
    b"_e{1,1}:",
    b"_e{3,2}:",
    b"_sc|",
    b"|0",
    b"|2",
    b"|d:5",
    b"|h:x",
    b"|m:",
    b"|t:error",
    b"|p:low",
    b"|k:z",
    b"\\n",
    b"|s:y",
];

const NAMES: [&str; 14] = [
    "a",
    "etl.errors",
    "n,k=v",
    "n#k=v,j=w",
    "n;k=v;k=w",
    "na[k=v]me",
    "cpu[0]",
    "a,b",
    "n[k=v],j=w",
    "é",
    "a b",
    "statsdeck.x",
    "n,__name__=x",
    "=",
];
const FIELDS: [&str; 20] = [
    "|#k:v",
    "|#k:v,j:w",
    "|#k",
    "|#k:a,k:b",
    "|#__name__:x",
    "|#url:http://x:1",
    "|#,",
    "|T5",
    "|T1656581400",
    "|c:ci-1",
    "|e:it-x",
    "|card:low",
    "|zzz",
    "|",
    "|d:7",
    "|h:web",
    "|t:error",
    "|p:low",
    "|s:git|k:key",
    "|m:text",
];

fn any_line() -> impl Strategy<Value = Vec<u8>> {
    let pieces =
        |most| prop::collection::vec(select(&PIECES[..]), 0..most).prop_map(|pieces| pieces.concat());
    let sample = || {
        (
            select(&["1", "2.5", "-3", "1:2", "x", "", "1:"][..]),
            select(&["c", "g", "ms", "h", "s", "m", "q"][..]),
        )
    };
    let metric =
        (pieces(4), prop::collection::vec(sample(), 1..4), pieces(8)).prop_map(|(name, samples, rest)| {
            let samples: String = samples.iter().map(|(value, word)| format!(":{value}|{word}")).collect();
            [b"n", &*name, samples.as_bytes(), &rest].concat()
        });
    let event = (pieces(3), pieces(3), pieces(8)).prop_map(|(title, text, rest)| {
        let head = format!("_e{{{},{}}}:", title.len(), text.len());
        [head.as_bytes(), &title, b"|", &text, &rest].concat()
    });
    let check = (pieces(3), select(&["0", "1", "2", "3", "4", ""][..]), pieces(8))
        .prop_map(|(name, status, rest)| [b"_sc|", &*name, b"|", status.as_bytes(), &rest].concat());
    // Mostly well formed, so that the values are compared and not the refusals alone.
    let fields = || prop::collection::vec(select(&FIELDS[..]), 0..6).prop_map(|fields| fields.concat());
    let word = || select(&["c", "g", "ms", "h", "d", "s", "m"][..]);
    let number = || select(&["1", "-2.5", "+3e1", ".5", "1:2", "7::8", "0"][..]);
    let rate = || select(&["", "", "|@0.5", "|@1"][..]);
    let sample = || (number(), word(), rate()).prop_map(|(n, word, rate)| format!(":{n}|{word}{rate}"));
    let samples = prop::collection::vec(sample(), 1..4);
    let good_metric = (select(&NAMES[..]), samples, fields())
        .prop_map(|(name, samples, fields)| format!("{name}{}{fields}", samples.concat()).into_bytes());
    let good_event = (select(&NAMES[..]), select(&NAMES[..]), fields()).prop_map(|(title, text, fields)| {
        format!("_e{{{},{}}}:{title}|{text}{fields}", title.len(), text.len()).into_bytes()
    });
    let good_check = (select(&NAMES[..]), 0..4, fields())
        .prop_map(|(name, status, fields)| format!("_sc|{name}|{status}{fields}").into_bytes());
    prop_oneof![
        2 => metric, 1 => event, 1 => check, 1 => pieces(16),
        4 => good_metric, 1 => good_event, 1 => good_check,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(40_000) })]

    #[test]
    fn both_parsers_take_the_same_lines_for_the_same(line in any_line(), name_tags: bool) {
        let packet = line.iter().copied().filter(|b| *b != b'\n').collect::<Vec<u8>>();
        prop_assume!(packet::lines(&packet).count() == 1);
        for dialect in DIALECTS {
            let ours = parsed(&packet, dialect, name_tags);
            let theirs = by_reference(&packet, dialect, name_tags);
            prop_assert_eq!(ours.as_ref().ok(), theirs.as_ref(), "{:?} {:?}", packet, ours);
        }
    }
}

/// What the store must hold of one series.
#[derive(Clone, Debug, Default, PartialEq)]
struct Kept {
    total: f64,
    count: f64,
    sum: f64,
    members: usize,
}

#[test]
fn the_table_through_a_socket_is_in_the_store() {
    for dialect in DIALECTS {
        through_a_socket(dialect);
    }
}

fn through_a_socket(dialect: Dialect) {
    let dir = tempfile::tempdir().unwrap();
    let word = if dialect == Dialect::Statsd { "statsd" } else { "dogstatsd" };
    let listener =
        |more: &str| format!("[[listen]]\naddress = \"udp://127.0.0.1:0\"\ndialect = {word:?}\n{more}\n");
    // A window for all, kept long enough for the oldest event.
    let extra = listener("")
        + &listener("tag_styles = []")
        + "[window]\ninterval = \"1h\"\n[[tier]]\nresolution = \"1h\"\nretention = \"36500d\"\n";
    let daemon = harness::start(dir.path(), &extra);
    let mut expected: BTreeMap<(String, &str), Kept> = BTreeMap::new();
    let mut members: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    let mut markers = Vec::new();
    let mut rejects: BTreeMap<String, u64> = BTreeMap::new();
    let mut sent = 0;
    let asked = |row: &&rows::Row| if dialect == Dialect::Statsd { row.statsd } else { row.dogstatsd };
    for row in rows::all().iter().filter(asked) {
        sent += 1;
        daemon.send_bytes_to(usize::from(!row.name_tags), &row.line);
        let Some(taken) = by_reference(&row.line, dialect, row.name_tags) else {
            *rejects.entry(row.expected.trim_start_matches('!').to_owned()).or_default() += 1;
            continue;
        };
        let Taken::Metric { labels, observations, .. } = taken else {
            markers.push(row.expected.clone());
            continue;
        };
        let labels = Labels::from_pairs(labels.clone()).to_string();
        for Seen { kind, number, member, weight } in observations {
            let word = match kind {
                'c' => "counter",
                'g' | '±' => "gauge",
                't' => "timer",
                'h' => "histogram",
                _ => "set",
            };
            let kept = expected.entry((labels.clone(), word)).or_default();
            match kind {
                'c' => kept.total += number * weight,
                'g' => kept.total = number,
                '±' => kept.total += number,
                's' => {
                    let known = members.entry(labels.clone()).or_default();
                    if !known.contains(&member) {
                        known.push(member);
                    }
                    kept.members = known.len();
                }
                _ => {
                    kept.count += weight;
                    kept.sum += weight * if kind == 't' { number / 1000.0 } else { number };
                }
            }
        }
    }
    let telemetry = daemon.telemetry().clone();
    let received = || telemetry.lines_received.iter().map(|counter| counter.value()).sum::<u64>();
    harness::wait_until(|| received() >= sent)
        .unwrap_or_else(|| panic!("{} of {sent} lines came", received()));
    daemon.stop();
    let rejected =
        |reject: &Reject| (reject.as_str().to_owned(), telemetry.lines_rejected[*reject as usize].value());
    let rejected: BTreeMap<String, u64> = Reject::ALL.iter().map(rejected).filter(|(_, n)| *n > 0).collect();
    assert_eq!(rejected, rejects);
    assert_eq!((telemetry.lines_unaccounted(), telemetry.lines_limited[1].value()), (0, 0));

    // Our own figures hold on to the store.
    drop(telemetry);
    let state = StateStore::open(&dir.path().join("state.redb")).unwrap();
    let mut kept: Vec<String> = state
        .markers(0, i64::MAX, usize::MAX)
        .unwrap()
        .iter()
        .map(|marker| {
            // Without a time of its own it is that of its arrival.
            let at_ms = Some(marker.at_ms).filter(|at_ms| *at_ms < 1_700_000_000_000);
            taken::Marked { at_ms, ..taken::Marked::from(marker) }.words()
        })
        .collect();
    kept.sort();
    markers.sort();
    assert_eq!(kept, markers);

    let stored = stored(dir.path());
    let only = |here: &BTreeMap<_, Kept>, there: &BTreeMap<_, Kept>| -> Vec<String> {
        here.keys()
            .filter(|series| !there.contains_key(*series))
            .map(|series| format!("{series:?}"))
            .collect()
    };
    assert_eq!((only(&stored, &expected), only(&expected, &stored)), (vec![], vec![]));
    for (series, wanted) in &expected {
        let got = &stored[series];
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * a.abs().max(b.abs());
        let same = near(got.total, wanted.total)
            && near(got.count, wanted.count)
            && near(got.sum, wanted.sum)
            && got.members == wanted.members;
        assert!(same, "{series:?}: {got:?}, not {wanted:?}");
    }
}

/// All series in the store but our own.
fn stored(dir: &std::path::Path) -> BTreeMap<(String, &'static str), Kept> {
    let options = Options::new(dir).with_retention(36_500 * 86_400_000);
    let catalogue = Arc::new(Catalogue::new(100_000));
    let (store, _) = Store::open(options, FsBackend, catalogue, SystemClock.now_ms()).unwrap();
    let range = TimeRange { start_ms: 0, end_ms: i64::MAX / 2 };
    let everything = Select { matchers: &[], range, step_ms: 0, max_series: 100_000, max_points: 10_000_000 };
    let mut kept = BTreeMap::new();
    for series in store.select(&everything).unwrap() {
        // Said where a name has several types.
        let labels = series.labels.iter().filter(|(name, _)| *name != "statsdeck_type");
        let name = Labels::from_pairs(labels).to_string();
        if name.starts_with("statsdeck_") {
            continue;
        }
        let mut found = Kept::default();
        match &series.points {
            Points::Floats(samples) => {
                found.total = samples.iter().rev().find(|s| !sample::is_stale(s.value)).unwrap().value;
            }
            Points::Histograms(windows) => {
                for (_, histogram) in windows {
                    found.count += histogram.count;
                    found.sum += histogram.sum;
                }
            }
            Points::Natives(_) => unreachable!("the store holds none"),
            Points::Sketches(windows) => {
                let mut all = Sketch::default();
                windows.iter().for_each(|(_, sketch)| all.merge(sketch));
                found.members = all.count() as usize;
            }
        }
        kept.insert((name, series.metric_type.unwrap().as_str()), found);
    }
    kept
}
