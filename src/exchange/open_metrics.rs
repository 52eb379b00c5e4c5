//! Reads OpenMetrics and Prometheus text with a time on each line, a line at a
//! time.
//!
//! Names stay as they are. Counters, and what of histograms and summaries is
//! counted (`_bucket`, `_count`, `_sum`), become counters, and without a type
//! what is called `_total` or `_bucket`; all else gauges. A time of 1e11 and more
//! is in ms, as Prometheus' text has it, else in seconds.

use super::error::Error;
use crate::model::label::NAME;
use crate::model::{Labels, MetricType, Sample, SeriesKey};
use crate::protocol::tag;
use crate::query::number::parse_float;
use std::collections::HashMap;
use std::io::{BufRead, Read as _};
use std::path::Path;

/// Longest line.
const LINE_BYTES: u64 = 1 << 20;
/// Labels of a series that are read: more than any config allows.
const LABELS_MAX: usize = 257;
/// What some programs put at the head of a text.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// Most names whose type is told.
const NAMES_MAX: usize = 1_000_000;
/// Times from here on are in ms.
const MS_FROM: f64 = 1e11;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Counter,
    Histogram,
    Summary,
    Other,
}

/// What a line says.
#[derive(Clone, Debug, PartialEq)]
pub struct Line<'a> {
    /// Name and labels as they are written.
    pub series: &'a str,
    pub sample: Sample,
}

/// What a text was, seen as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Read {
    pub samples: u64,
    /// Line of the first `# EOF`, with which OpenMetrics ends, and of what stands
    /// behind it.
    pub end_line: Option<u64>,
    pub line_behind_end: Option<u64>,
    /// A time was in seconds: it is no text of Prometheus, which has no such end.
    pub in_seconds: bool,
}

impl Read {
    pub fn may_be_cut(&self) -> bool {
        self.samples > 0 && self.in_seconds && self.end_line.is_none()
    }
}

/// Calls `each` with every sample, a way to its key, which is only worth the while
/// for a series that is new, and the bytes read so far.
///
/// # Errors
/// [`Error::File`] with the line that is none, [`Error::Io`], those of `each`.
pub fn read(
    path: &Path,
    source: &mut impl BufRead,
    mut each: impl FnMut(Line<'_>, &dyn Fn() -> Result<SeriesKey, Error>, u64) -> Result<(), Error>,
) -> Result<Read, Error> {
    let mut families: HashMap<String, Family> = HashMap::new();
    let (mut line, mut number, mut bytes, mut all) = (Vec::new(), 0, 0, Read::default());
    loop {
        line.clear();
        let read = source.take(LINE_BYTES).read_until(b'\n', &mut line);
        let read = read.map_err(|source| Error::Io { action: "read", path: path.into(), source })? as u64;
        number += 1;
        bytes += read;
        let wrong = |reason: &str| Error::File { path: path.into(), line: number, reason: reason.into() };
        if read == 0 {
            return Ok(all);
        }
        if read == LINE_BYTES && line.last() != Some(&b'\n') {
            return Err(wrong("the line is longer than 1 MiB"));
        }
        let mark = line.strip_prefix(BYTE_ORDER_MARK).filter(|_| number == 1);
        let text = std::str::from_utf8(mark.unwrap_or(&line))
            .map_err(|_| wrong("the line is no UTF-8; of what is packed, only gzip is read"))?;
        let has_end = text.ends_with('\n');
        let text = text.trim();
        if text.is_empty() {
            continue;
        }
        if all.end_line.is_some() && all.line_behind_end.is_none() {
            all.line_behind_end = Some(number);
        }
        if let Some(comment) = text.strip_prefix('#') {
            if comment.trim() == "EOF" {
                all.end_line = all.end_line.or(Some(number));
            }
            take_type(&mut families, comment);
            continue;
        }
        if !has_end {
            // What is left of a number may be one.
            return Err(wrong(
                "the last line has no end, so that the file may be cut off; add one if it is whole",
            ));
        }
        let parsed = parse_line(text).map_err(|reason| wrong(&reason))?;
        all.in_seconds |= parsed.in_seconds;
        let (name, series) = (parsed.name, parsed.line.series);
        let key = || {
            let parsed = parse_series(series);
            let (name, labels) =
                parsed.ok_or_else(|| wrong("no name and labels such as name{label=\"value\"}, each once"))?;
            let metric_type = type_of(&families, &name);
            let pairs = labels.into_iter().chain([(NAME.to_owned(), name)]);
            Ok(SeriesKey { labels: Labels::from_pairs(pairs), metric_type })
        };
        if is_created(&families, name.unwrap_or_default()) {
            continue;
        }
        all.samples += 1;
        each(parsed.line, &key, bytes)?;
    }
}

/// The series as remote write would have it.
pub fn sampled(key: SeriesKey) -> SeriesKey {
    let others = key.labels.iter().filter(|(name, _)| *name != NAME);
    let others = others.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let labels = tag::labels_of(key.labels.name().as_bytes(), others, LABELS_MAX);
    SeriesKey { labels: labels.unwrap_or(key.labels.clone()), metric_type: MetricType::Sampled }
}

fn take_type(families: &mut HashMap<String, Family>, comment: &str) {
    let mut words = comment.split_whitespace();
    let (Some("TYPE"), Some(name), Some(kind)) = (words.next(), words.next(), words.next()) else { return };
    let family = match kind {
        "counter" => Family::Counter,
        "histogram" => Family::Histogram,
        "summary" => Family::Summary,
        _ => Family::Other,
    };
    if families.len() < NAMES_MAX {
        families.insert(name.trim_matches('"').to_owned(), family);
    }
}

fn type_of(families: &HashMap<String, Family>, name: &str) -> MetricType {
    let family = |suffix: &str| name.strip_suffix(suffix).and_then(|base| families.get(base)).copied();
    let told = |suffix: &str| families.contains_key(name) || family(suffix).is_some();
    let is_counted = families.get(name) == Some(&Family::Counter)
        || family("_total") == Some(Family::Counter)
        || family("_bucket") == Some(Family::Histogram)
        || ["_count", "_sum"]
            .iter()
            .any(|end| matches!(family(end), Some(Family::Histogram | Family::Summary)))
        || ["_total", "_bucket"].iter().any(|end| name.ends_with(end) && !told(end));
    if is_counted { MetricType::Counter } else { MetricType::Gauge }
}

/// When a series began; no measurement.
fn is_created(families: &HashMap<String, Family>, name: &str) -> bool {
    let base = name.strip_suffix("_created").and_then(|base| families.get(base));
    base.is_some_and(|family| *family != Family::Other)
}

struct ParsedLine<'a> {
    line: Line<'a>,
    /// The plain name, when it is not quoted within the braces.
    name: Option<&'a str>,
    in_seconds: bool,
}

fn parse_line(text: &str) -> Result<ParsedLine<'_>, String> {
    let series_end = series_end(text).ok_or("its labels have no end")?;
    let (series, rest) = text.split_at(series_end);
    let series = series.trim();
    let mut words = rest.split_whitespace();
    let value = words.next().ok_or("there is no value")?;
    let value = parse_float(value).ok_or_else(|| format!("{value:?} is no value"))?;
    let time = words.next().filter(|word| !word.starts_with('#'));
    let time = time.ok_or("there is no time; back-filling needs one on every line")?;
    let at: f64 = time.parse().map_err(|_| format!("{time:?} is no time"))?;
    let in_seconds = at.abs() < MS_FROM;
    let at_ms = if in_seconds { at * 1000.0 } else { at };
    // Far from where sums of times would overflow.
    if !(0.0..=1e15).contains(&at_ms) {
        return Err(format!("{time:?} is no time that can be kept"));
    }
    if words.next().is_some_and(|word| !word.starts_with('#')) {
        return Err("there is more than name, value and time".into());
    }
    let name = series.split('{').next().map(str::trim).filter(|name| !name.is_empty());
    let sample = Sample { timestamp_ms: at_ms.round() as i64, value };
    Ok(ParsedLine { line: Line { series, sample }, name, in_seconds })
}

/// Where name and labels end.
fn series_end(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped, mut braced) = (false, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '{' => braced = true,
            '}' => return Some(at + 1),
            c if c.is_whitespace() && !braced => {
                // Blanks may stand between name and labels.
                let rest = text.get(at..)?.trim_start();
                if !rest.starts_with('{') {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    (!quoted && !braced).then_some(text.len())
}

/// Name and labels; `None` when they are not that.
fn parse_series(series: &str) -> Option<(String, Vec<(String, String)>)> {
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name.trim(), labels.strip_suffix('}')?),
        None => (series, ""),
    };
    let mut name = name.to_owned();
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut rest = labels.trim_start();
    while !rest.is_empty() {
        let (label, behind) = match rest.strip_prefix('"') {
            Some(inner) => unquoted(inner)?,
            None => {
                let end = rest.find(['=', ',', '"', '{', '}'])?;
                let (label, behind) = rest.split_at(end);
                (label.trim().to_owned(), behind)
            }
        };
        let behind = behind.trim_start();
        rest = match behind.strip_prefix('=') {
            Some(value) => {
                let (value, behind) = unquoted(value.trim_start().strip_prefix('"')?)?;
                if label.is_empty() || label == NAME || pairs.iter().any(|(known, _)| *known == label) {
                    return None;
                }
                // An empty value is the same as none.
                if !value.is_empty() {
                    pairs.push((label, value));
                }
                behind.trim_start()
            }
            // A quoted name stands first, in the braces.
            None if name.is_empty() && pairs.is_empty() && !label.is_empty() => {
                name = label;
                behind
            }
            None => return None,
        };
        match rest.strip_prefix(',') {
            Some(more) => rest = more.trim_start(),
            None if rest.is_empty() => {}
            None => return None,
        }
        if pairs.len() >= LABELS_MAX {
            break;
        }
    }
    (!name.is_empty()).then_some((name, pairs))
}

/// What stands before the closing quote, and what behind it.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_all(text: &str) -> Result<Vec<(SeriesKey, i64, f64)>, String> {
        let mut found = Vec::new();
        let read = read(Path::new("in.txt"), &mut text.as_bytes(), |line, key, _| {
            found.push((key()?, line.sample.timestamp_ms, line.sample.value));
            Ok(())
        });
        read.map(|_| found).map_err(|error| error.to_string())
    }

    fn check(line: &str, labels: &[(&str, &str)], at_ms: i64, value: f64) {
        let found = read_all(&format!("{line}\n")).unwrap();
        let labels = Labels::from_pairs(labels.iter().copied());
        assert_eq!(found, [(SeriesKey { labels, metric_type: MetricType::Gauge }, at_ms, value)], "{line}");
    }

    #[test]
    fn a_line_is_name_labels_value_and_time() {
        let name = (NAME, "up");
        check("up 1 1700000000", &[name], 1_700_000_000_000, 1.0);
        check("up 1 1700000000123", &[name], 1_700_000_000_123, 1.0);
        check("up 1.5e3 1700000000.25 # {trace=\"x\"} 1", &[name], 1_700_000_000_250, 1500.0);
        check("up{} -Inf 1", &[name], 1000, f64::NEG_INFINITY);
        check("up { a = \"x y\" , b=\"\", } 2 3", &[name, ("a", "x y")], 3000, 2.0);
        check(r#"up{a="q\"},\\ \n"} 2 3"#, &[name, ("a", "q\"},\\ \n")], 3000, 2.0);
        check(r#"{"my.name",a="b"} 2 3"#, &[(NAME, "my.name"), ("a", "b")], 3000, 2.0);
        check(r#"{"my.name","c.d"="b"} 2 3"#, &[(NAME, "my.name"), ("c.d", "b")], 3000, 2.0);
    }

    #[test]
    fn what_is_counted_is_a_counter() {
        let text = "# TYPE a counter\na_total 1 1\na_created 1 1\n# TYPE b_total counter\nb_total 1 1\n\
                    # TYPE h histogram\nh_bucket{le=\"1\"} 1 1\nh_sum 1 1\nh_count 1 1\nh_created 5 1\n\
                    # TYPE s summary\ns{quantile=\"0.5\"} 1 1\ns_count 1 1\n# TYPE g gauge\ng_total 1 1\n\
                    n_total 1 1\n# EOF\n";
        let found = read_all(text).unwrap();
        let types: Vec<(&str, MetricType)> =
            found.iter().map(|(key, _, _)| (key.labels.name(), key.metric_type)).collect();
        let (c, g) = (MetricType::Counter, MetricType::Gauge);
        let expected = [
            ("a_total", c),
            ("b_total", c),
            ("h_bucket", c),
            ("h_sum", c),
            ("h_count", c),
            ("s", g),
            ("s_count", c),
        ];
        assert_eq!(types[..7], expected);
        assert_eq!(types[7..], [("g_total", g), ("n_total", c)]);
    }

    #[test]
    fn a_line_that_is_none_is_told_by_its_number() {
        for (line, reason) in [
            ("up 1", "there is no time"),
            ("up", "there is no value"),
            ("up x 1", "\"x\" is no value"),
            ("up 1 x", "\"x\" is no time"),
            ("up 1 1e30", "no time that can be kept"),
            ("up 1 -5", "no time that can be kept"),
            ("up{a=\"b 1 1", "no end"),
            ("{a=\"b\"} 1 1", "no name and labels"),
            ("up{a=b} 1 1", "no name and labels"),
            ("up 1 2 3", "more than name"),
        ] {
            let error = read_all(&format!("ok 1 1\n{line}\n")).unwrap_err();
            assert!(error.starts_with("in.txt:2: ") && error.contains(reason), "{line}: {error}");
        }
    }

    proptest! {
        #[test]
        fn foreign_text_does_no_harm(text in "[a-z{}=\",\\\\ 0-9#\n]{0,60}") {
            let read = read(Path::new("x"), &mut text.as_bytes(), |_, key, _| { let _ = key(); Ok(()) });
            drop(read);
        }
    }
}
