//! Files and names made at random, with what statsd_exporter's own mapper
//! answered for them (its version of July 2026, with backtracking always on:
//! by default it may miss mappings when `glob_disable_ordering` is set).

use serde_json::{Value as Json, json};
use statsdeck::config::Mapping;
use statsdeck::mapping::Resolution;
use statsdeck::model::{Labels, MetricType};

#[test]
fn names_are_mapped_as_statsd_exporter_maps_them() {
    let mut compared = 0;
    for line in include_str!("answers.jsonl").lines() {
        let case: Json = serde_json::from_str(line).unwrap();
        // JSON is YAML.
        let mapping = Mapping::parse(&[("m.yml".into(), case["file"].to_string())]).unwrap();
        for answer in case["answers"].as_array().unwrap() {
            let (name, kind) = (answer[0].as_str().unwrap(), answer[1].as_str().unwrap());
            let metric_type = match kind {
                "counter" => MetricType::Counter,
                "gauge" => MetricType::Gauge,
                _ => MetricType::Timer,
            };
            let ours = match mapping.mapper.resolve(name, metric_type) {
                Resolution::Unmapped(_) => Json::Null,
                Resolution::Dropped(_) => json!("dropped"),
                Resolution::Mapped(mapped) => {
                    let labels = mapped.labels(&Labels::default());
                    let labels: serde_json::Map<String, Json> =
                        labels.iter().map(|(label, text)| (label.to_owned(), json!(text))).collect();
                    json!([mapped.name, labels])
                }
            };
            assert_eq!(ours, answer[2], "{name} {kind} {}", case["file"]);
            compared += 1;
        }
    }
    assert_eq!(compared, 600);
}
