//! A native histogram as Prometheus' test files write it:
//! `schema:0 sum:5 count:4 z_bucket:1 buckets:[1 2 1] offset:3`.

use super::error::Error;
use super::number::parse_float;
use crate::model::{NativeHistogram, ResetHint};

/// Whether what stands between `{{` and `}}` is a native histogram, and not one
/// of ours.
pub(crate) fn is_native(text: &str) -> bool {
    text.trim().is_empty() || text.contains(':')
}

/// The histogram, and whether its hint is written.
pub(crate) fn parse(text: &str) -> Result<(NativeHistogram, bool), Error> {
    let mut histogram = NativeHistogram::default();
    let mut hinted = false;
    let (mut positive, mut negative) = ((0, Vec::new()), (0, Vec::new()));
    let mut rest = text.trim();
    while !rest.is_empty() {
        let wrong = || Error::Parse(format!("{rest:?} is no part of a native histogram such as sum:5"));
        let (key, tail) = rest.split_once(':').ok_or_else(wrong)?;
        let (value, after) = match tail.strip_prefix('[') {
            Some(list) => list.split_once(']').ok_or_else(wrong)?,
            None => tail.split_once(char::is_whitespace).unwrap_or((tail, "")),
        };
        let number = || parse_float(value).ok_or_else(wrong);
        let whole = || value.parse::<i32>().map_err(|_| wrong());
        let list = || -> Result<Vec<f64>, Error> {
            value.split_whitespace().map(|word| parse_float(word).ok_or_else(wrong)).collect()
        };
        match key.trim() {
            "schema" => histogram.schema = whole()?,
            "sum" => histogram.sum = number()?,
            "count" => histogram.count = number()?,
            "z_bucket" => histogram.zero_count = number()?,
            "z_bucket_w" => histogram.zero_threshold = number()?,
            "buckets" => positive.1 = list()?,
            "offset" => positive.0 = whole()?,
            "n_buckets" => negative.1 = list()?,
            "n_offset" => negative.0 = whole()?,
            "custom_values" => histogram.bounds = list()?.into(),
            "counter_reset_hint" => {
                hinted = true;
                histogram.hint = match value {
                    "unknown" => ResetHint::Unknown,
                    "reset" => ResetHint::Reset,
                    "not_reset" => ResetHint::NotReset,
                    "gauge" => ResetHint::Gauge,
                    _ => return Err(wrong()),
                };
            }
            _ => return Err(wrong()),
        }
        rest = after.trim_start();
    }
    histogram.positive = numbered(positive);
    histogram.negative = numbered(negative);
    let histogram = histogram.checked().map_err(|error| Error::Parse(format!("{text:?}: {error}")))?;
    Ok((histogram, hinted))
}

fn numbered((offset, counts): (i32, Vec<f64>)) -> Vec<(i32, f64)> {
    let indexes = (0..).map(|at: i32| offset.saturating_add(at));
    indexes.zip(counts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_in_any_order() {
        let (histogram, hinted) = parse(
            "offset:3 buckets:[1 0 2] schema:1 count:4 sum:-5 z_bucket:1 z_bucket_w:0.01 n_buckets:[7]",
        )
        .unwrap();
        assert_eq!(histogram.positive, [(3, 1.0), (5, 2.0)]);
        assert_eq!(histogram.negative, [(0, 7.0)]);
        assert_eq!((histogram.schema, histogram.count, histogram.sum), (1, 4.0, -5.0));
        assert_eq!((histogram.zero_count, histogram.zero_threshold, hinted), (1.0, 0.01, false));
        let (gauge, hinted) = parse("counter_reset_hint:gauge").unwrap();
        assert_eq!((gauge.hint, hinted), (ResetHint::Gauge, true));
        for text in ["schema:9", "buckets:[1", "nope:1", "sum", "counter_reset_hint:x", "sum:a"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
