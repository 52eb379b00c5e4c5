//! The conformance table: `tests/lines/*.txt`, a line and what it becomes.

use statsdeck::model::{MetricType, Value};
use statsdeck::protocol::{Dialect, Line, packet, tag};

const LABELS_MAX: usize = 32;

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let (kind, after) = rest.split_first().expect("a character after the backslash");
        rest = after;
        match kind {
            b'n' => bytes.push(b'\n'),
            b'r' => bytes.push(b'\r'),
            b't' => bytes.push(b'\t'),
            b'x' => {
                let digits = std::str::from_utf8(&rest[..2]).expect("two digits");
                bytes.push(u8::from_str_radix(digits, 16).expect("hexadecimal"));
                rest = &rest[2..];
            }
            other => panic!("no such escape: \\{}", char::from(*other)),
        }
    }
    bytes
}

fn becomes(packet: &[u8], dialect: Dialect) -> String {
    let lines: Vec<&[u8]> = packet::lines(packet).collect();
    assert_eq!(lines.len(), 1, "one line a row");
    let line = match Line::parse(lines[0], dialect) {
        Ok(line) => line,
        Err(reject) => return format!("!{}", reject.as_str()),
    };
    let labels = match tag::labels(line.name, &line.tags, LABELS_MAX) {
        Ok(labels) => labels,
        Err(reject) => return format!("!{}", reject.as_str()),
    };
    let mut text = labels.to_string();
    for observation in &line.observations {
        let weight = observation.weight;
        text += &match (observation.metric_type, observation.value) {
            (MetricType::Counter, Value::Number(n)) => format!(" c{:+}", n * weight),
            (MetricType::Gauge, Value::Number(n)) => format!(" g={n}"),
            (MetricType::Gauge, Value::Change(n)) => format!(" g{n:+}"),
            (MetricType::Timer, Value::Number(n)) => format!(" t {n}ms*{weight}"),
            (MetricType::Histogram, Value::Number(n)) => format!(" h {n}*{weight}"),
            (MetricType::Set, Value::Member(m)) => format!(" s {:?}", String::from_utf8_lossy(m)),
            other => panic!("no such observation: {other:?}"),
        };
    }
    text
}

#[test]
fn every_line_of_the_table_becomes_what_it_says() {
    let mut rows = 0;
    let mut wrong = Vec::new();
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lines")).unwrap() {
        let path = file.unwrap().path();
        for (at, row) in std::fs::read_to_string(&path).unwrap().lines().enumerate() {
            if row.starts_with('#') || row.trim().is_empty() {
                continue;
            }
            let columns: Vec<&str> = row.split(" ;; ").map(str::trim).collect();
            let [dialect, line, expected] = columns[..] else {
                panic!("{}:{}: not three columns", path.display(), at + 1);
            };
            let dialects: &[Dialect] = match dialect {
                "both" => &[Dialect::Statsd, Dialect::Dogstatsd],
                "statsd" => &[Dialect::Statsd],
                "dogstatsd" => &[Dialect::Dogstatsd],
                other => panic!("no such dialect: {other}"),
            };
            rows += 1;
            for dialect in dialects {
                let got = becomes(&unescape(line), *dialect);
                if got != expected {
                    wrong.push(format!(
                        "{}:{}: {line} ({dialect:?})\n  expected {expected}\n  got      {got}",
                        path.display(),
                        at + 1
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(rows > 90, "only {rows} rows were read");
}
