//! Points as OpenMetrics text with a time on each line, which `promtool tsdb
//! create-blocks-from openmetrics` takes: family by family, so that each is
//! whole, whatever the range.
//!
//! Names are escaped as on the scrape page. What is called `_total` and counts
//! is a counter; another counter is of unknown type, as the format demands that
//! ending. The parts of a classic histogram stay one. A distribution becomes a
//! summary: quantiles of each window, and count and sum since the export's
//! begin. An end of a series has no form here: it is a gap.

use super::error::Error;
use super::export::{Export, SERIES_MAX};
use super::live_store::LiveStore;
use crate::exposition::text::{Kind, label_text, number};
use crate::model::label::{NAME, escape_name};
use crate::model::sample::is_stale;
use crate::model::{Labels, Matcher, MetricType, Points, Series, SeriesKey};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::io::Write;

/// Text is handed on when it takes this much.
const TEXT_BYTES: usize = 1 << 16;

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    pub samples: u64,
    /// Names left out, as another one has the same escaped form.
    pub clashing: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Counter,
    Gauge,
    Histogram,
    Summary,
    Unknown,
}

impl Type {
    fn as_str(self) -> &'static str {
        match self {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Histogram => "histogram",
            Type::Summary => "summary",
            Type::Unknown => "unknown",
        }
    }
}

/// Families by their escaped names, with the names of their series.
#[derive(Default)]
struct Families {
    all: BTreeMap<String, (Type, Vec<String>)>,
    /// Every name a line may have, so that no two are the same.
    taken: BTreeSet<String>,
    clashing: u64,
}

/// Writes what `export` selects. `percentiles`, 0 to 100, are those of
/// distributions; `progress` is told how many of how many families are written.
///
/// # Errors
/// As [`Export::slices`], and [`Error::Write`].
pub fn write(
    export: &Export,
    store: &LiveStore<'_>,
    out: &mut impl Write,
    percentiles: &[f64],
    mut progress: impl FnMut(u64, u64),
) -> Result<Written, Error> {
    let families = Families::of(export, store)?;
    let mut written = Written { samples: 0, clashing: families.clashing };
    let (all, mut text) = (families.all.len() as u64, String::new());
    for (at, (family, (of, names))) in families.all.iter().enumerate() {
        let _ = writeln!(text, "# TYPE {family} {}", of.as_str());
        for name in names {
            // By windows from the first to the last, for each of its series.
            let mut before: HashMap<Labels, (f64, f64)> = HashMap::new();
            named(export, name).slices_from(
                store,
                i64::MAX,
                |_| {},
                |found| {
                    for series in found.into_iter().filter(|series| series.labels.name() == name) {
                        let sums = before.entry(series.labels.clone()).or_default();
                        written.samples += put(&mut text, &series, sums, percentiles);
                        if text.len() >= TEXT_BYTES {
                            out.write_all(text.as_bytes()).map_err(Error::Write)?;
                            text.clear();
                        }
                    }
                    Ok(())
                },
            )?;
        }
        progress(at as u64 + 1, all);
    }
    text.push_str("# EOF\n");
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Error::Write)?;
    Ok(written)
}

impl Families {
    fn of(export: &Export, store: &LiveStore<'_>) -> Result<Self, Error> {
        let mut types: BTreeMap<String, MetricType> = BTreeMap::new();
        for matchers in &export.alternatives {
            let series =
                store.read(export.range, |store| store.series(matchers, export.range, SERIES_MAX))?;
            for SeriesKey { labels, metric_type } in series {
                types.entry(labels.name().to_owned()).or_insert(metric_type);
            }
        }
        let counts = |name: &str| types.get(name).is_some_and(|of| of.seen_as(name) == MetricType::Counter);
        let mut families = Families::default();
        for (name, metric_type) in &types {
            let part_of = |ends: &[&str]| {
                let base = ends.iter().find_map(|end| name.strip_suffix(end));
                base.filter(|base| counts(name) && counts(&format!("{base}_bucket")))
            };
            let (family, of) = match metric_type {
                MetricType::Timer | MetricType::Histogram => (&**name, Type::Summary),
                MetricType::Gauge | MetricType::Set => (&**name, Type::Gauge),
                MetricType::Counter | MetricType::Sampled => {
                    let total = name.strip_suffix("_total").filter(|_| counts(name));
                    match (part_of(&["_bucket", "_count", "_sum"]), total) {
                        (Some(base), _) => (base, Type::Histogram),
                        (None, Some(base)) => (base, Type::Counter),
                        (None, None) => (&**name, Type::Unknown),
                    }
                }
            };
            families.add(name, family, of);
        }
        Ok(families)
    }

    fn add(&mut self, name: &str, family: &str, of: Type) {
        let escaped = escape_name(name).into_owned();
        let mut lines = vec![escaped.clone()];
        if of == Type::Summary {
            lines.extend(["_count", "_sum"].map(|end| format!("{escaped}{end}")));
        }
        if lines.iter().any(|line| self.taken.contains(line)) {
            self.clashing += 1;
            return;
        }
        let mut family = escape_name(family).into_owned();
        let mut of = of;
        if self.all.get(&family).is_some_and(|(other, _)| *other != of) {
            // The base is another family's: what ends so is one of its own.
            (family, of) = (escaped, Type::Unknown);
        }
        if self.all.get(&family).is_some_and(|(other, _)| *other != of) {
            self.clashing += 1;
            return;
        }
        self.taken.extend(lines);
        self.all.entry(family).or_insert((of, Vec::new())).1.push(name.to_owned());
    }
}

/// The same of one name alone.
fn named(export: &Export, name: &str) -> Export {
    let mut export = export.clone();
    for matchers in &mut export.alternatives {
        matchers.push(Matcher::equal(NAME, name));
    }
    export
}

/// Adds the points of a series; returns how many lines they are.
fn put(text: &mut String, series: &Series, before: &mut (f64, f64), percentiles: &[f64]) -> u64 {
    let name = escape_name(series.labels.name());
    let is_summary = matches!(series.points, Points::Histograms(_));
    let inside = label_text(&series.labels, if is_summary { Kind::Summary } else { Kind::Gauge });
    let mut samples = 0;
    let mut line = |suffix: &str, inside: &str, value: f64, at_ms: i64| {
        let braced = if inside.is_empty() { String::new() } else { format!("{{{inside}}}") };
        let (seconds, ms) = (at_ms.div_euclid(1000), at_ms.rem_euclid(1000));
        let _ = writeln!(text, "{name}{suffix}{braced} {} {seconds}.{ms:03}", number(value));
        samples += 1;
    };
    match &series.points {
        Points::Floats(points) => {
            for point in points.iter().filter(|point| !is_stale(point.value)) {
                line("", &inside, point.value, point.timestamp_ms);
            }
        }
        Points::Sketches(points) => {
            points.iter().for_each(|(at_ms, sketch)| line("", &inside, sketch.count(), *at_ms));
        }
        Points::Histograms(points) => {
            let comma = if inside.is_empty() { "" } else { "," };
            for (at_ms, histogram) in points {
                for percentile in percentiles {
                    let quantile = percentile / 100.0;
                    let labels = format!("{inside}{comma}quantile=\"{quantile}\"");
                    line("", &labels, histogram.quantile(quantile), *at_ms);
                }
                *before = (before.0 + histogram.count, before.1 + histogram.sum);
                line("_count", &inside, before.0, *at_ms);
                line("_sum", &inside, before.1, *at_ms);
            }
        }
        // Only queries make them.
        Points::Natives(_) => {}
    }
    samples
}
