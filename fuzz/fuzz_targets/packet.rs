//! Any packet, in both dialects: nothing panics, and whatever is taken is what
//! the floors above rely on. Metrics, events, service checks and tags in names.
//! What is dear to check (labels, all tag styles, writing and reading again) is
//! checked for one input of four, for the sake of speed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use statsdeck::model::marker::{TEXT_BYTES_MAX, TITLE_BYTES_MAX};
use statsdeck::model::{MetricType, Observation, Value};
use statsdeck::protocol::tag_style::TagStyle;
use statsdeck::protocol::{Dialect, Event, Line, Message, TagStyles, packet, tag};

const LABELS_MAX: usize = 32;
const NOW_MS: i64 = 1_800_000_000_000;

fuzz_target!(|packet: &[u8]| {
    let thorough = is_picked(packet);
    for line in packet::lines(packet) {
        assert!(!line.is_empty() && !line.contains(&b'\n'), "not a line");
        let classic = Message::parse(line, Dialect::Statsd);
        let dog = Message::parse(line, Dialect::Dogstatsd);
        match (&classic, &dog) {
            (Ok(Message::Metric(classic)), Ok(Message::Metric(dog))) => {
                sound(classic);
                differ_in_gauges_only(classic, dog);
                if thorough {
                    sound(dog);
                    labelled_in_all_styles(dog);
                    comes_back(dog);
                }
            }
            (Ok(Message::Event(event)), Ok(Message::Event(same))) => {
                assert_eq!(event, same);
                if thorough {
                    bounded(event, line);
                }
            }
            (Ok(Message::Check(check)), Ok(Message::Check(same))) => {
                assert_eq!(check, same);
                assert!(check.status <= 3 && !check.name.is_empty());
                if thorough {
                    check
                        .as_line(|line| {
                            sound(line);
                            labelled_in_all_styles(line);
                        })
                        .ok();
                }
            }
            (Err(a), Err(b)) => assert_eq!(a, b, "the dialects reject for different reasons"),
            _ => panic!("only one dialect takes the line"),
        }
    }
});

/// One input of four, and always the same ones, so that what was found is
/// found again.
fn is_picked(packet: &[u8]) -> bool {
    let mix = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    (packet.iter().fold(0x811c_9dc5, mix) >> 16).is_multiple_of(4)
}

/// An event's parts lie in the line, and its marker is within its bounds.
fn bounded(event: &Event<'_>, line: &[u8]) {
    assert!(!event.title.is_empty());
    assert!(event.title.len() + event.text.len() + 8 <= line.len());
    if let Ok(marker) = event.marker(NOW_MS) {
        assert!(!marker.title.is_empty() && marker.title.len() <= TITLE_BYTES_MAX);
        assert!(marker.text.len() <= TEXT_BYTES_MAX);
        assert!(marker.at_ms > 0 && marker.at_ms <= NOW_MS + 86_400_000);
    }
}

fn sound(line: &Line<'_>) {
    assert!(!line.name.is_empty());
    assert!(!line.name.iter().any(|b| matches!(b, b':' | b'|' | b'\n')));
    assert!(!line.observations.is_empty());
    assert!(line.at_ms.is_none_or(|at_ms| at_ms > 0));
    for observation in &line.observations {
        assert!(observation.weight.is_finite() && observation.weight >= 1.0, "weight {}", observation.weight);
        match observation.value {
            Value::Number(number) => {
                assert!(number.is_finite() && observation.metric_type != MetricType::Set)
            }
            Value::Change(number) => {
                assert!(number.is_finite() && observation.metric_type == MetricType::Gauge)
            }
            Value::Member(member) => {
                assert!(!member.is_empty() && observation.metric_type == MetricType::Set)
            }
        }
    }
}

fn labelled_in_all_styles(line: &Line<'_>) {
    let styles = TagStyle::ALL.into_iter().map(|style| TagStyles::NONE.with(style));
    styles.chain([TagStyles::NONE, TagStyles::ALL]).for_each(|styles| labelled(line, styles));
}

fn labelled(line: &Line<'_>, styles: TagStyles) {
    let named = styles.named(line.name);
    assert!(!named.name.is_empty());
    assert!(named.name.len() <= line.name.len());
    assert!(named.tags.iter().all(|(key, _)| !key.is_empty()));
    assert_eq!(named.tags.is_empty(), named.name == line.name);
    let tags = named.tags.iter().copied().chain(line.tags.iter());
    if let Ok(labels) = tag::labels_of(&named.name, tags, LABELS_MAX) {
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
            MetricType::Sampled => panic!("no line is of it"),
        });
        if text.starts_with(b"_e{") {
            continue;
        }
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
