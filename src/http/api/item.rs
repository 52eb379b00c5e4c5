//! Metrics as JSON: the items of a request's body, checked.
//!
//! An item that is taken is as good as a line: it is within the limits that
//! lines have, and its parts cannot be mistaken for one another in a spelling.
//! A body is taken whole or not at all.

use crate::aggregate::table;
use crate::model::{MetricType, Observation, Value};
use crate::protocol::tag::{self, Tags};
use crate::protocol::{Line, Reject, number};
use serde_json::Value as JsonValue;
use smallvec::smallvec;

/// Most items of one request.
pub const ITEMS_MAX: usize = 10_000;
/// Longest name, key or value of an item in bytes.
const TEXT_BYTES_MAX: usize = 4096;

/// One item, checked.
#[derive(Debug)]
pub struct Item {
    name: String,
    /// As one section of a line.
    tags: String,
    metric_type: MetricType,
    value: ItemValue,
    weight: f64,
}

#[derive(Debug)]
enum ItemValue {
    Number(f64),
    Member(String),
}

/// Why a body is not taken.
#[derive(Debug)]
pub enum BadBody {
    NotJson(serde_json::Error),
    /// So many items.
    TooMany(usize),
    Item {
        /// From 0, of the first bad one.
        index: usize,
        /// Items of the body.
        items: usize,
        /// As JSON.
        item: String,
        bad: BadField,
    },
}

/// What is wrong with which field of an item.
#[derive(Debug, PartialEq)]
pub struct BadField {
    pub field: &'static str,
    pub message: String,
    pub reject: Reject,
}

/// The items of a body: one, or a list of them.
///
/// # Errors
/// When anything in it is wrong; at most [`ITEMS_MAX`] items are taken.
pub fn read(body: &[u8], limits: &table::Options) -> Result<Vec<Item>, BadBody> {
    let items = match serde_json::from_slice::<JsonValue>(body).map_err(BadBody::NotJson)? {
        JsonValue::Array(items) => items,
        one => vec![one],
    };
    if items.len() > ITEMS_MAX {
        return Err(BadBody::TooMany(items.len()));
    }
    let check = |(index, item): (usize, &JsonValue)| {
        check(item, limits).map_err(|bad| BadBody::Item {
            index,
            items: items.len(),
            item: item.to_string(),
            bad,
        })
    };
    items.iter().enumerate().map(check).collect()
}

impl Item {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The item as a line.
    pub fn line(&self) -> Line<'_> {
        let value = match &self.value {
            ItemValue::Number(number) => Value::Number(*number),
            ItemValue::Member(member) => Value::Member(member.as_bytes()),
        };
        let observation = Observation { value, metric_type: self.metric_type, weight: self.weight };
        Line {
            name: self.name.as_bytes(),
            tags: Tags::of(self.tags.as_bytes()),
            at_ms: None,
            observations: smallvec![observation],
        }
    }
}

fn check(item: &JsonValue, limits: &table::Options) -> Result<Item, BadField> {
    let bad = |field, message: &str, reject| BadField { field, message: message.into(), reject };
    let object = item.as_object().ok_or_else(|| bad("item", "must be an object", Reject::BadJson))?;
    let name = match object.get("metric").or_else(|| object.get("name")) {
        Some(JsonValue::String(name)) => name.trim(),
        Some(_) => return Err(bad("metric", "must be a text", Reject::EmptyName)),
        None => return Err(bad("metric", "is missing", Reject::EmptyName)),
    };
    if name.is_empty() {
        return Err(bad("metric", "must not be empty", Reject::EmptyName));
    }
    if name.len() > TEXT_BYTES_MAX || name.contains(['|', '\n', '\0']) {
        return Err(bad("metric", "must be at most 4096 bytes, without '|' and line feeds", Reject::BadJson));
    }
    let metric_type = match object.get("type").map_or(Some("count"), JsonValue::as_str) {
        Some("count" | "counter" | "c") => MetricType::Counter,
        Some("gauge" | "g") => MetricType::Gauge,
        Some("timing" | "timer" | "ms") => MetricType::Timer,
        Some("histogram" | "distribution" | "h" | "d") => MetricType::Histogram,
        Some("set" | "s") => MetricType::Set,
        _ => {
            let message =
                "must be \"count\", \"gauge\", \"timing\", \"histogram\", \"distribution\" or \"set\"";
            return Err(bad("type", message, Reject::UnknownType));
        }
    };
    let value = value(object.get("value"), metric_type)?;
    let weight = match object.get("sample_rate") {
        None | Some(JsonValue::Null) => 1.0,
        Some(rate) => match rate.as_f64() {
            Some(rate) if rate > 0.0 && rate <= 1.0 => (1.0 / rate).min(crate::protocol::line::WEIGHT_MAX),
            _ => {
                return Err(bad(
                    "sample_rate",
                    "must be a number above 0 and at most 1",
                    Reject::BadSampleRate,
                ));
            }
        },
    };
    let tags = tags(object.get("tags"))?;
    fits(name, &tags, limits).map_err(|reject| bad("tags", reject.explanation(), reject))?;
    Ok(Item { name: name.to_owned(), tags, metric_type, value, weight })
}

/// Whether name and tags are within the limits that lines have.
fn fits(name: &str, tags: &str, limits: &table::Options) -> Result<(), Reject> {
    if name.len() + tags.len() > limits.line_bytes_max {
        return Err(Reject::LineTooLong);
    }
    if tags.split(',').count() > limits.labels_max {
        // Some may come twice.
        tag::labels(name.as_bytes(), &Tags::of(tags.as_bytes()), limits.labels_max)?;
    }
    Ok(())
}

fn value(written: Option<&JsonValue>, metric_type: MetricType) -> Result<ItemValue, BadField> {
    let bad = |message: &str, reject| BadField { field: "value", message: message.into(), reject };
    let written = written.ok_or_else(|| bad("is missing", Reject::EmptyValue))?;
    if metric_type == MetricType::Set {
        return match written {
            JsonValue::String(member) => Ok(ItemValue::Member(member.clone())),
            JsonValue::Number(number) => Ok(ItemValue::Member(number.to_string())),
            _ => Err(bad("must be a text or a number", Reject::BadValue)),
        };
    }
    let number = match written {
        JsonValue::Number(number) => number.as_f64().filter(|number| number.is_finite()),
        // Clients that format numbers themselves.
        JsonValue::String(text) => number::finite(text.trim().as_bytes()).ok(),
        _ => None,
    };
    let number = number.ok_or_else(|| bad("must be a finite number", Reject::BadValue))?;
    Ok(ItemValue::Number(number))
}

/// Tags as one section of a line: from `{"key": "value"}` or `["key:value"]`.
fn tags(written: Option<&JsonValue>) -> Result<String, BadField> {
    let bad = |message: &str| BadField { field: "tags", message: message.into(), reject: Reject::BadJson };
    let mut section = String::new();
    let mut push = |key: &str, value: &str| {
        let key_fits = !key.is_empty() && key.len() <= TEXT_BYTES_MAX && !key.contains([',', ':', '|', '\n']);
        let value_fits = value.len() <= TEXT_BYTES_MAX && !value.contains([',', '|', '\n']);
        if !key_fits || !value_fits {
            return Err(bad("a key without ',', ':' and '|' and a value without ',' and '|' are needed"));
        }
        if !section.is_empty() {
            section.push(',');
        }
        section.push_str(key);
        section.push(':');
        section.push_str(value);
        Ok(())
    };
    match written {
        None | Some(JsonValue::Null) => {}
        Some(JsonValue::Object(tags)) => {
            for (key, value) in tags {
                match value {
                    JsonValue::String(value) => push(key, value)?,
                    JsonValue::Number(value) => push(key, &value.to_string())?,
                    JsonValue::Bool(value) => push(key, &value.to_string())?,
                    _ => return Err(bad("values must be texts, numbers or booleans")),
                }
            }
        }
        Some(JsonValue::Array(tags)) => {
            for tag in tags {
                let tag = tag.as_str().ok_or_else(|| bad("must be a list of texts, \"key:value\""))?;
                let (key, value) = tag.split_once(':').unwrap_or((tag, ""));
                push(key, value)?;
            }
        }
        Some(_) => return Err(bad("must be an object or a list of \"key:value\"")),
    }
    Ok(section)
}
