//! The distributions of one series as an HDR histogram log: V2, deflated,
//! base64, a line a window, as HdrHistogram's tools read it.
//!
//! An HDR histogram counts integers, so that values are multiplied: timers are
//! in seconds and become microseconds. A value is at most 0.8 % away, as it is
//! in the store; the extremes of a window are exact to three digits.

use super::error::Error;
use super::export::{Export, SERIES_MAX};
use super::live_store::LiveStore;
use crate::model::{Histogram, MetricType, Points, Series, TimeRange};
use crate::store::Store;
use hdrhistogram::Histogram as Hdr;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use std::io::Write;
use std::time::Duration;

const DIGITS: u8 = 3;
/// Larger values would make a histogram of many megabytes.
const VALUE_MAX: f64 = 1e15;
const EXAMPLES: usize = 3;

/// What was written, and what an HDR histogram cannot hold as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HdrWritten {
    pub intervals: u64,
    /// Buckets of values below zero or beyond the largest; counted at the
    /// nearest that can be.
    pub clamped: u64,
}

/// Writes the log of the one distribution that `export` selects. `scale` is
/// what values are multiplied with; without it 1,000,000 for timers, 1 for
/// others. `window_ms` is the length of a window; without it that of the newest
/// ones there are.
///
/// # Errors
/// [`Error::NoTimer`], [`Error::NotOneTimer`], [`Error::NoWindow`], [`Error::Hdr`], [`Error::Write`]
/// and those of reading.
pub fn write(
    export: &Export,
    store: &LiveStore<'_>,
    out: &mut impl Write,
    scale: Option<f64>,
    window_ms: Option<u64>,
    progress: impl FnMut(i64),
) -> Result<HdrWritten, Error> {
    let one = one_series(export, store)?;
    let known_ms = || store.look(Store::window_ms).map(i64::unsigned_abs);
    let window_ms = window_ms.or_else(known_ms).ok_or(Error::NoWindow)?;
    let scale = scale.unwrap_or(if one.metric_type == Some(MetricType::Timer) { 1e6 } else { 1.0 });
    let mut serializer = V2DeflateSerializer::new();
    let mut builder = IntervalLogWriterBuilder::new();
    builder.add_comment(&format!("statsdeck {}", one.labels)).with_max_value_divisor(scale);
    let mut log = builder.begin_log_with(out, &mut serializer).map_err(Error::Write)?;
    let mut written = HdrWritten::default();
    export.slices(store, progress, |found| {
        let points = found.into_iter().map(|series| series.points);
        for (at_ms, histogram) in points.filter_map(histograms).flatten() {
            let hdr = hdr(&histogram, scale, &mut written.clamped)?;
            // Where only steps are left, a point is of a whole one.
            let step_ms =
                store.look(|store| store.resolution_ms(TimeRange { start_ms: at_ms, end_ms: at_ms }));
            let length_ms = window_ms.max(step_ms.unsigned_abs());
            let start_ms = u64::try_from(at_ms).unwrap_or_default().saturating_sub(length_ms);
            let (start, length) = (Duration::from_millis(start_ms), Duration::from_millis(length_ms));
            log.write_histogram(&hdr, start, length, None::<Tag<'_>>)
                .map_err(|error| Error::Hdr(error.to_string()))?;
            written.intervals += 1;
        }
        Ok(())
    })?;
    Ok(written)
}

/// Name and type of the one series that is selected.
fn one_series(export: &Export, store: &LiveStore<'_>) -> Result<Series, Error> {
    let mut known: Vec<Series> = Vec::new();
    for matchers in &export.alternatives {
        let series = store.read(export.range, |store| store.series(matchers, export.range, SERIES_MAX))?;
        for key in series {
            let metric_type = Some(key.metric_type);
            let is_known = known.iter().any(|other| other.labels == key.labels);
            if key.metric_type.is_distribution() && !is_known && known.len() <= EXAMPLES {
                let (labels, points, counts) = (key.labels, Points::Floats(Vec::new()), Vec::new());
                known.push(Series { labels, metric_type, points, counts });
            }
        }
    }
    if known.len() == 1
        && let Some(one) = known.pop()
    {
        return Ok(one);
    }
    if known.is_empty() {
        return Err(Error::NoTimer);
    }
    let examples: Vec<String> = known.iter().take(EXAMPLES).map(|series| series.labels.to_string()).collect();
    Err(Error::NotOneTimer { examples: examples.join(", ") })
}

fn histograms(points: Points) -> Option<Vec<(i64, Histogram)>> {
    match points {
        Points::Histograms(points) => Some(points),
        _ => None,
    }
}

/// The same distribution, of scaled integers.
fn hdr(histogram: &Histogram, scale: f64, clamped: &mut u64) -> Result<Hdr<u64>, Error> {
    let error = |error: &dyn std::fmt::Display| Error::Hdr(error.to_string());
    let mut hdr = Hdr::<u64>::new(DIGITS).map_err(|e| error(&e))?;
    let last = histogram.buckets().len().saturating_sub(1);
    for (at, (key, weight)) in histogram.buckets().iter().enumerate() {
        let (low, high) = key.bounds();
        let value = match at {
            // The extremes are known.
            _ if at == last => histogram.max,
            0 => histogram.min,
            _ => low.midpoint(high),
        };
        let scaled = (value * scale).round();
        let fits = scaled.clamp(0.0, VALUE_MAX);
        *clamped += u64::from(fits != scaled);
        // Sample rates make fractions of a count.
        let count = weight.round().max(1.0) as u64;
        hdr.record_n(fits as u64, count).map_err(|e| error(&e))?;
    }
    Ok(hdr)
}
