//! What a line becomes, as plain data, and the words that the table has for it.

use statsdeck::model::{Labels, Marker, MetricType, Value};
use statsdeck::protocol::{Line, Message, Reject, TagStyles, tag};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq)]
pub enum Taken {
    Metric { labels: BTreeMap<String, String>, observations: Vec<Seen>, at_ms: Option<i64> },
    Marker(Marked),
}

/// An observation.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// `c g t h s`, `±` for a gauge's change.
    pub kind: char,
    pub number: f64,
    /// Of a set.
    pub member: Vec<u8>,
    pub weight: f64,
}

/// An event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Marked {
    pub kind: String,
    pub title: String,
    pub text: String,
    pub at_ms: Option<i64>,
    pub host: String,
    pub source: String,
    pub key: String,
    pub low: bool,
    pub tags: Vec<(String, String)>,
}

impl Taken {
    /// What the program's own parser makes of a line.
    pub fn of(message: &Message<'_>, styles: TagStyles, labels_max: usize) -> Result<Self, Reject> {
        match message {
            Message::Metric(line) => metric(line, styles, labels_max),
            Message::Check(check) => check.as_line(|line| metric(line, styles, labels_max))?,
            Message::Event(event) => {
                let now_ms = event.at_ms.unwrap_or(1);
                let marked = Marked::from(&event.marker(now_ms)?);
                Ok(Taken::Marker(Marked { at_ms: event.at_ms, ..marked }))
            }
        }
    }

    pub fn words(&self) -> String {
        match self {
            Taken::Metric { labels, observations, at_ms } => {
                let mut words = Labels::from_pairs(labels.clone()).to_string();
                for Seen { kind, number, member, weight } in observations {
                    words += &match kind {
                        'c' => format!(" c{:+}", number * weight),
                        'g' => format!(" g={number}"),
                        '±' => format!(" g{number:+}"),
                        't' => format!(" t {number}ms*{weight}"),
                        'h' => format!(" h {number}*{weight}"),
                        _ => format!(" s {:?}", String::from_utf8_lossy(member)),
                    };
                }
                at_ms.iter().for_each(|at_ms| words += &format!(" at={at_ms}"));
                words
            }
            Taken::Marker(marked) => marked.words(),
        }
    }
}

impl Marked {
    pub fn words(&self) -> String {
        let mut words = format!("marker {} {:?} {:?}", self.kind, self.title, self.text);
        self.at_ms.iter().for_each(|at_ms| words += &format!(" at={at_ms}"));
        for (word, value) in [("host", &self.host), ("source", &self.source), ("key", &self.key)] {
            if !value.is_empty() {
                words += &format!(" {word}={value:?}");
            }
        }
        if self.low {
            words += " low";
        }
        self.tags.iter().for_each(|(key, value)| words += &format!(" {key}={value:?}"));
        words
    }
}

impl From<&Marker> for Marked {
    fn from(marker: &Marker) -> Self {
        Marked {
            kind: marker.kind.as_str().into(),
            title: marker.title.clone(),
            text: marker.text.clone(),
            at_ms: Some(marker.at_ms),
            host: marker.host.clone(),
            source: marker.source.clone(),
            key: marker.key.clone(),
            low: marker.is_low_priority,
            tags: marker.tags.clone(),
        }
    }
}

fn metric(line: &Line<'_>, styles: TagStyles, labels_max: usize) -> Result<Taken, Reject> {
    let named = styles.named(line.name);
    let tags = named.tags.iter().copied().chain(line.tags.iter());
    let labels = tag::labels_of(&named.name, tags, labels_max)?;
    let observations = line.observations.iter().map(|observation| {
        let (change, number, member) = match observation.value {
            Value::Number(number) => (false, number, &[][..]),
            Value::Change(number) => (true, number, &[][..]),
            Value::Member(member) => (false, 0.0, member),
        };
        let kind = match observation.metric_type {
            MetricType::Counter => 'c',
            MetricType::Gauge if change => '±',
            MetricType::Gauge => 'g',
            MetricType::Timer => 't',
            MetricType::Histogram => 'h',
            MetricType::Set => 's',
            MetricType::Sampled => panic!("no line is of it"),
        };
        Seen { kind, number, member: member.to_vec(), weight: observation.weight }
    });
    let labels = labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Ok(Taken::Metric { labels, observations: observations.collect(), at_ms: line.at_ms })
}
