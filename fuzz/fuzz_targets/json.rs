//! A body of `POST /metrics`: nothing panics, what is taken is what a line would
//! be, and a table takes all of it or says why not.

#![no_main]

use libfuzzer_sys::fuzz_target;
use statsdeck::aggregate::{Registry, Table, table};
use statsdeck::catalogue::Catalogue;
use statsdeck::http::api::item::{self, BadBody, ITEMS_MAX, Item};
use statsdeck::model::{MetricType, Observation, Value};
use statsdeck::protocol::line::WEIGHT_MAX;
use statsdeck::protocol::{Dialect, Line, tag};
use statsdeck::telemetry::{Telemetry, Transport};
use std::sync::Arc;

const LIMITS: table::Options = table::Options {
    line_bytes_max: 64,
    labels_max: 4,
    label_bytes_max: 32,
    idle_windows_max: 2,
    spellings_max: 8,
};

fuzz_target!(|body: &[u8]| {
    match item::read(body, &LIMITS) {
        Ok(items) => {
            assert!(items.len() <= ITEMS_MAX);
            items.iter().for_each(sound);
            taken_by_a_table(&items);
        }
        Err(BadBody::Item { index, items, .. }) => assert!(index < items && items <= ITEMS_MAX),
        Err(BadBody::TooMany(items)) => assert!(items > ITEMS_MAX),
        Err(BadBody::NotJson(_)) => {}
    }
});

fn sound(item: &Item) {
    let line = item.line();
    assert!(!line.name.is_empty() && line.name == item.name().as_bytes());
    let [Observation { value, metric_type, weight }] = line.observations[..] else { panic!("not one value") };
    assert!((1.0..=WEIGHT_MAX).contains(&weight), "weight {weight}");
    match value {
        Value::Number(number) => assert!(number.is_finite() && metric_type != MetricType::Set),
        Value::Member(_) => assert_eq!(metric_type, MetricType::Set),
        Value::Change(_) => panic!("an item cannot change a gauge"),
    }
    let labels = tag::labels(line.name, &line.tags, LIMITS.labels_max).expect("within the limits");
    as_on_the_wire(&line, &labels.to_string());
}

/// Written as a line, the item means the same, if a line can have that name
/// and value at all.
fn as_on_the_wire(line: &Line<'_>, labels: &str) {
    let Observation { value, metric_type, .. } = line.observations[0];
    let mut text = line.name.to_vec();
    text.push(b':');
    match value {
        Value::Number(number) | Value::Change(number) => text.extend(format!("{number:e}").bytes()),
        Value::Member(member) => text.extend(member),
    }
    let plain_member = !matches!(value, Value::Member(member) if member.is_empty() || member.contains(&b'|'));
    if line.name.contains(&b':') || !plain_member {
        return;
    }
    text.extend(match metric_type {
        MetricType::Counter => "|c".bytes(),
        MetricType::Gauge => "|g".bytes(),
        MetricType::Timer => "|ms".bytes(),
        MetricType::Histogram => "|h".bytes(),
        MetricType::Set => "|s".bytes(),
        MetricType::Sampled => panic!("no line is of it"),
    });
    for section in line.tags.sections() {
        text.extend(b"|#");
        text.extend(*section);
    }
    let again = Line::parse(&text, Dialect::Dogstatsd).expect("a line says the same");
    assert_eq!(again.observations.as_slice(), [Observation { value, metric_type, weight: 1.0 }]);
    let again = tag::labels(again.name, &again.tags, LIMITS.labels_max).expect("within the limits");
    assert_eq!(again.to_string(), labels);
}

fn taken_by_a_table(items: &[Item]) {
    let telemetry = Arc::new(Telemetry::default());
    let registry = Arc::new(Registry::new(Arc::new(Catalogue::new(4))));
    let mut table = Table::new(LIMITS, registry, telemetry.clone(), Transport::Http);
    for item in items {
        assert_eq!(table.parsed(1_800_000_000_000, &item.line()), Ok(()));
    }
    assert_eq!(telemetry.lines_accepted.value(), items.len() as u64);
    assert_eq!(telemetry.lines_unaccounted(), 0);
}
