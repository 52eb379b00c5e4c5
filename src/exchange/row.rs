//! A point as a row: CSV with a header, or a JSON object a line.
//!
//! Times are RFC 3339 in UTC. A counter's value is its running total, a set's
//! the number of distinct members in the window; distributions have count, sum,
//! min, max and percentiles instead. Stale markers are no rows: a series that
//! ended is a gap.

use super::error::Error;
use crate::model::label::NAME;
use crate::model::sample::is_stale;
use crate::model::{Histogram, Labels, Points, Series};
use crate::query::number::format_value;
use std::fmt::Write;
use std::io;

/// Rows are handed on when they take this much.
const TEXT_BYTES: usize = 1 << 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowFormat {
    Csv,
    JsonLines,
}

/// Writes rows.
#[derive(Clone, Debug)]
pub struct RowWriter {
    pub format: RowFormat,
    /// Percentiles of distributions, 0 to 100.
    pub percentiles: Vec<f64>,
}

enum Value<'a> {
    Number(f64),
    Distribution(&'a Histogram),
}

impl RowWriter {
    /// What stands before all rows.
    pub fn header(&self, out: &mut String) {
        if self.format == RowFormat::Csv {
            out.push_str("time,name,labels,type,value,count,sum,min,max");
            for percentile in &self.percentiles {
                let _ = write!(out, ",p{percentile}");
            }
            out.push_str("\r\n");
        }
    }

    /// Adds the points of a series to `text`, which is handed to `full` and
    /// emptied when it has become long. Returns the number of rows.
    ///
    /// # Errors
    /// [`Error::Write`] when `full` fails.
    pub fn series(
        &self,
        series: &Series,
        text: &mut String,
        full: &mut impl FnMut(&str) -> io::Result<()>,
    ) -> Result<u64, Error> {
        let fixed = self.fixed(series);
        let mut rows = 0;
        let mut row = |at_ms: i64, value: Value<'_>| -> Result<(), Error> {
            self.row(text, &fixed, at_ms, &value);
            rows += 1;
            if text.len() >= TEXT_BYTES {
                full(text).map_err(Error::Write)?;
                text.clear();
            }
            Ok(())
        };
        match &series.points {
            Points::Floats(points) => {
                for point in points.iter().filter(|point| !is_stale(point.value)) {
                    row(point.timestamp_ms, Value::Number(point.value))?;
                }
            }
            Points::Histograms(points) => {
                for (at_ms, histogram) in points {
                    row(*at_ms, Value::Distribution(histogram))?;
                }
            }
            Points::Sketches(points) => {
                for (at_ms, sketch) in points {
                    row(*at_ms, Value::Number(sketch.count()))?;
                }
            }
            // Only queries make them.
            Points::Natives(_) => {}
        }
        Ok(rows)
    }

    /// What all rows of a series have in common.
    fn fixed(&self, series: &Series) -> String {
        let kind = series.metric_type.map_or_else(|| "unknown".to_owned(), |kind| kind.to_string());
        match self.format {
            RowFormat::Csv => {
                let labels = series.labels.without_name();
                let labels = if labels.is_empty() { String::new() } else { labels.to_string() };
                format!("{},{},{kind}", csv_field(series.labels.name()), csv_field(&labels))
            }
            RowFormat::JsonLines => {
                let (name, labels) = (json_text(series.labels.name()), json_labels(&series.labels));
                format!("\"name\":{name},\"labels\":{labels},\"type\":\"{kind}\"")
            }
        }
    }

    fn row(&self, out: &mut String, fixed: &str, at_ms: i64, value: &Value<'_>) {
        let time = time(at_ms);
        match self.format {
            RowFormat::Csv => {
                let _ = write!(out, "{time},{fixed},");
                match value {
                    Value::Number(value) => {
                        out.push_str(&format_value(*value));
                        out.extend(std::iter::repeat_n(',', 4 + self.percentiles.len()));
                    }
                    Value::Distribution(histogram) => {
                        for (_, number) in self.numbers(histogram) {
                            out.push(',');
                            out.push_str(&format_value(number));
                        }
                    }
                }
                out.push_str("\r\n");
            }
            RowFormat::JsonLines => {
                let _ = write!(out, "{{\"time\":\"{time}\",{fixed}");
                match value {
                    Value::Number(value) => {
                        let _ = write!(out, ",\"value\":{}", json_number(*value));
                    }
                    Value::Distribution(histogram) => {
                        for (name, number) in self.numbers(histogram) {
                            let _ = write!(out, ",\"{name}\":{}", json_number(number));
                        }
                    }
                }
                out.push_str("}\n");
            }
        }
    }

    fn numbers(&self, histogram: &Histogram) -> Vec<(String, f64)> {
        let known = [
            ("count", histogram.count),
            ("sum", histogram.sum),
            ("min", histogram.min),
            ("max", histogram.max),
        ];
        let percentiles = self.percentiles.iter().map(|p| (format!("p{p}"), histogram.quantile(p / 100.0)));
        known.into_iter().map(|(name, number)| (name.to_owned(), number)).chain(percentiles).collect()
    }
}

/// RFC 3339; a plain number where that has no such form.
fn time(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms).map_or_else(|_| at_ms.to_string(), |time| time.to_string())
}

/// Quoted where it must be. A text that a spreadsheet would take for a formula
/// gets an apostrophe: names come from anybody.
fn csv_field(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{guard}{}\"", text.replace('"', "\"\""))
    } else {
        format!("{guard}{text}")
    }
}

fn json_labels(labels: &Labels) -> String {
    let pairs: Vec<String> = labels
        .iter()
        .filter(|(name, _)| *name != NAME)
        .map(|(name, value)| format!("{}:{}", json_text(name), json_text(value)))
        .collect();
    format!("{{{}}}", pairs.join(","))
}

fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// JSON knows no infinities: those are texts, as Prometheus has them.
fn json_number(value: f64) -> String {
    if value.is_finite() { format_value(value) } else { format!("\"{}\"", format_value(value)) }
}
