//! Any packet, in both dialects: nothing panics, and whatever is taken is what
//! the floors above rely on.

#![no_main]

use libfuzzer_sys::fuzz_target;
use statsdeck::model::{MetricType, Observation, Value};
use statsdeck::protocol::{Dialect, Line, packet, tag};

const LABELS_MAX: usize = 32;

fuzz_target!(|packet: &[u8]| {
    for line in packet::lines(packet) {
        assert!(!line.is_empty() && !line.contains(&b'\n'), "not a line");
        let classic = Line::parse(line, Dialect::Statsd);
        let dog = Line::parse(line, Dialect::Dogstatsd);
        match (&classic, &dog) {
            (Ok(classic), Ok(dog)) => {
                sound(classic);
                sound(dog);
                differ_in_gauges_only(classic, dog);
                comes_back(dog);
            }
            (Err(a), Err(b)) => assert_eq!(a, b, "the dialects reject for different reasons"),
            _ => panic!("only one dialect takes the line"),
        }
    }
});

fn sound(line: &Line<'_>) {
    assert!(!line.name.is_empty());
    assert!(!line.name.iter().any(|b| matches!(b, b':' | b'|' | b'\n')));
    assert!(!line.observations.is_empty());
    for observation in &line.observations {
        assert!(observation.weight.is_finite() && observation.weight >= 1.0, "weight {}", observation.weight);
        match observation.value {
            Value::Number(number) => assert!(number.is_finite() && observation.metric_type != MetricType::Set),
            Value::Change(number) => assert!(number.is_finite() && observation.metric_type == MetricType::Gauge),
            Value::Member(member) => assert!(!member.is_empty() && observation.metric_type == MetricType::Set),
        }
    }
    if let Ok(labels) = tag::labels(line.name, &line.tags, LABELS_MAX) {
        let names: Vec<&str> = labels.iter().map(|(name, _)| name).collect();
        assert!(names.len() <= LABELS_MAX + 1);
        assert!(names.is_sorted_by(|a, b| a < b), "labels are out of order or repeated: {names:?}");
        assert!(names.contains(&"__name__"));
    }
}

fn differ_in_gauges_only(classic: &Line<'_>, dog: &Line<'_>) {
    assert_eq!(classic.observations.len(), dog.observations.len());
    for (a, b) in classic.observations.iter().zip(&dog.observations) {
        match (a.value, b.value) {
            (Value::Change(a), Value::Number(b)) => assert_eq!(a, b),
            _ => assert_eq!(a, b),
        }
    }
}

/// Written in the plainest form and read again, an observation is the same.
fn comes_back(line: &Line<'_>) {
    for observation in &line.observations {
        let mut text = line.name.to_vec();
        text.push(b':');
        match observation.value {
            Value::Number(number) | Value::Change(number) => text.extend(format!("{number:e}").bytes()),
            Value::Member(member) => text.extend(member),
        }
        text.extend(match observation.metric_type {
            MetricType::Counter => "|c".bytes(),
            MetricType::Gauge => "|g".bytes(),
            MetricType::Timer => "|ms".bytes(),
            MetricType::Histogram => "|h".bytes(),
            MetricType::Set => "|s".bytes(),
        });
        let again = Line::parse(&text, Dialect::Dogstatsd).expect("the plain form is taken");
        // A change is a plain value in this dialect, and the weight is not written.
        let value = match observation.value {
            Value::Change(number) => Value::Number(number),
            other => other,
        };
        let wanted = Observation { value, weight: 1.0, ..*observation };
        assert_eq!(again.observations.as_slice(), [wanted]);
        assert_eq!(again.name, line.name);
    }
}
