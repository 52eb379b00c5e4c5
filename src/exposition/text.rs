//! The scrape page in Prometheus' text format 0.0.4.
//!
//! Names are escaped and otherwise as sent; nothing is appended to them. Where
//! two names have the same escaped form, or two series the same escaped labels,
//! the first one stands and the other is left out and counted: a page with
//! duplicates would be refused as a whole.

use crate::model::label::{Labels, NAME, escape_label_name, escape_name};
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;

/// `Content-Type` of a page.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Type of a family, as `# TYPE` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Summary,
    Histogram,
}

/// What a series shows.
#[derive(Clone, Debug, PartialEq)]
pub enum Shown {
    Value(f64),
    Summary {
        /// Quantile and its value.
        quantiles: Vec<(f64, f64)>,
        count: f64,
        sum: f64,
    },
    Histogram {
        /// Upper bound, and how many values are not above it; without +Inf,
        /// whose bucket has `count`.
        buckets: Vec<(f64, f64)>,
        count: f64,
        sum: f64,
    },
}

/// A page being put together.
#[derive(Debug, Default)]
pub struct Page {
    families: BTreeMap<String, Family>,
    clashing: usize,
}

#[derive(Debug)]
struct Family {
    /// The name as sent.
    name: String,
    kind: Kind,
    help: String,
    series: Vec<(Labels, Shown)>,
}

impl Page {
    /// Adds a series. `help` counts when it is the first of its name.
    pub fn add(&mut self, labels: Labels, kind: Kind, help: &str, shown: Shown) {
        let name = labels.name();
        let family = self.families.entry(escape_name(name).into_owned()).or_insert_with(|| Family {
            name: name.to_owned(),
            kind,
            help: help.to_owned(),
            series: Vec::new(),
        });
        if family.kind == kind && family.name == name {
            family.series.push((labels, shown));
        } else {
            self.clashing += 1;
        }
    }

    /// The page, and how many series were left out of it.
    pub fn render(mut self) -> (String, usize) {
        let reserved = self.suffixed();
        let mut page = String::new();
        for (escaped, family) in &mut self.families {
            if reserved.contains(escaped) {
                self.clashing += family.series.len();
                continue;
            }
            let kind = match family.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Summary => "summary",
                Kind::Histogram => "histogram",
            };
            let _ = writeln!(page, "# HELP {escaped} {}", escape_help(&family.help));
            let _ = writeln!(page, "# TYPE {escaped} {kind}");
            family.series.sort_by(|(a, _), (b, _)| a.cmp(b));
            let mut written = HashSet::new();
            for (labels, shown) in &family.series {
                let inside = label_text(labels, family.kind);
                if written.insert(inside.clone()) {
                    write_series(&mut page, escaped, &inside, shown);
                } else {
                    self.clashing += 1;
                }
            }
        }
        (page, self.clashing)
    }

    /// Names that summaries and histograms take beside their own.
    fn suffixed(&self) -> HashSet<String> {
        let suffixes = |kind| match kind {
            Kind::Counter | Kind::Gauge => &[][..],
            Kind::Summary => &["_sum", "_count"][..],
            Kind::Histogram => &["_bucket", "_sum", "_count"][..],
        };
        let families = self.families.iter();
        families
            .flat_map(|(name, family)| {
                suffixes(family.kind).iter().map(move |suffix| format!("{name}{suffix}"))
            })
            .collect()
    }
}

fn write_series(page: &mut String, name: &str, inside: &str, shown: &Shown) {
    let braced = |inside: &str| if inside.is_empty() { String::new() } else { format!("{{{inside}}}") };
    match shown {
        Shown::Value(value) => {
            let _ = writeln!(page, "{name}{} {}", braced(inside), number(*value));
        }
        Shown::Histogram { buckets, count, sum } => {
            let comma = if inside.is_empty() { "" } else { "," };
            let bounds = buckets.iter().copied().chain([(f64::INFINITY, *count)]);
            for (bound, values) in bounds {
                let (bound, values) = (number(bound), number(values));
                let _ = writeln!(page, "{name}_bucket{{{inside}{comma}le=\"{bound}\"}} {values}");
            }
            let _ = writeln!(page, "{name}_sum{} {}", braced(inside), number(*sum));
            let _ = writeln!(page, "{name}_count{} {}", braced(inside), number(*count));
        }
        Shown::Summary { quantiles, count, sum } => {
            let comma = if inside.is_empty() { "" } else { "," };
            for (quantile, value) in quantiles {
                let _ = writeln!(page, "{name}{{{inside}{comma}quantile=\"{quantile}\"}} {}", number(*value));
            }
            let _ = writeln!(page, "{name}_sum{} {}", braced(inside), number(*sum));
            let _ = writeln!(page, "{name}_count{} {}", braced(inside), number(*count));
        }
    }
}

/// The labels as they stand between the braces. Names that become the same are
/// joined, as their values cannot stand side by side.
pub fn label_text(labels: &Labels, kind: Kind) -> String {
    let reserved = match kind {
        Kind::Counter | Kind::Gauge => None,
        Kind::Summary => Some("quantile"),
        Kind::Histogram => Some("le"),
    };
    let mut escaped: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in labels.iter().filter(|(name, _)| *name != NAME) {
        let mut name = escape_label_name(name).into_owned();
        if reserved == Some(name.as_str()) || name.starts_with("__") {
            name.insert_str(0, "exported_");
        }
        match escaped.get_mut(&name) {
            Some(known) => {
                known.push(';');
                known.push_str(value);
            }
            None => {
                escaped.insert(name, value.to_owned());
            }
        }
    }
    let mut text = String::new();
    for (name, value) in escaped {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(&name);
        text.push_str("=\"");
        for c in value.chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                c => text.push(c),
            }
        }
        text.push('"');
    }
    text
}

fn escape_help(help: &str) -> String {
    help.replace('\\', "\\\\").replace('\n', "\\n")
}

/// A number as the format has it.
pub fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".into()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".into() } else { "-Inf".into() }
    } else {
        format!("{value}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied())
    }

    #[test]
    fn a_page_is_as_prometheus_reads_it() {
        let mut page = Page::default();
        page.add(
            labels(&[(NAME, "etl.errors"), ("job", "a\"b\\c\nd")]),
            Kind::Counter,
            "Errors.",
            Shown::Value(3.0),
        );
        page.add(labels(&[(NAME, "etl.errors"), ("job", "z")]), Kind::Counter, "", Shown::Value(0.5));
        page.add(labels(&[(NAME, "temp")]), Kind::Gauge, "a\nb", Shown::Value(f64::NEG_INFINITY));
        let summary = Shown::Summary { quantiles: vec![(0.5, 0.12), (0.99, f64::NAN)], count: 7.0, sum: 1.5 };
        page.add(labels(&[(NAME, "took"), ("quantile", "x")]), Kind::Summary, "Time.", summary);
        let (text, clashing) = page.render();
        assert_eq!(clashing, 0);
        let expected = [
            "# HELP etl_errors Errors.",
            "# TYPE etl_errors counter",
            r#"etl_errors{job="a\"b\\c\nd"} 3"#,
            r#"etl_errors{job="z"} 0.5"#,
            r"# HELP temp a\nb",
            "# TYPE temp gauge",
            "temp -Inf",
            "# HELP took Time.",
            "# TYPE took summary",
            r#"took{exported_quantile="x",quantile="0.5"} 0.12"#,
            r#"took{exported_quantile="x",quantile="0.99"} NaN"#,
            r#"took_sum{exported_quantile="x"} 1.5"#,
            r#"took_count{exported_quantile="x"} 7"#,
            "",
        ];
        assert_eq!(text, expected.join("\n"));
    }

    #[test]
    fn a_histogram_has_its_buckets() {
        let mut page = Page::default();
        let shown = Shown::Histogram { buckets: vec![(0.1, 2.0), (1.0, 3.0)], count: 4.0, sum: 12.5 };
        page.add(labels(&[(NAME, "took"), ("le", "x")]), Kind::Histogram, "Time.", shown);
        page.add(labels(&[(NAME, "took.bucket")]), Kind::Gauge, "", Shown::Value(6.0));
        let expected = [
            "# HELP took Time.",
            "# TYPE took histogram",
            r#"took_bucket{exported_le="x",le="0.1"} 2"#,
            r#"took_bucket{exported_le="x",le="1"} 3"#,
            r#"took_bucket{exported_le="x",le="+Inf"} 4"#,
            r#"took_sum{exported_le="x"} 12.5"#,
            r#"took_count{exported_le="x"} 4"#,
            "",
        ];
        assert_eq!(page.render(), (expected.join("\n"), 1));
    }

    #[test]
    fn a_clash_costs_the_clashing_series_alone() {
        let mut page = Page::default();
        page.add(labels(&[(NAME, "a.b")]), Kind::Counter, "", Shown::Value(1.0));
        page.add(labels(&[(NAME, "a_b")]), Kind::Counter, "", Shown::Value(2.0));
        page.add(labels(&[(NAME, "a.b"), ("statsdeck_type", "gauge")]), Kind::Gauge, "", Shown::Value(3.0));
        page.add(labels(&[(NAME, "c")]), Kind::Gauge, "", Shown::Value(4.0));
        page.add(labels(&[(NAME, "c"), ("x.y", "1"), ("x_y", "2")]), Kind::Gauge, "", Shown::Value(5.0));
        page.add(
            labels(&[(NAME, "t")]),
            Kind::Summary,
            "",
            Shown::Summary { quantiles: vec![], count: 1.0, sum: 2.0 },
        );
        page.add(labels(&[(NAME, "t.sum")]), Kind::Gauge, "", Shown::Value(6.0));
        let (text, clashing) = page.render();
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(samples, ["a_b 1", "c 4", r#"c{x_y="1;2"} 5"#, "t_sum 2", "t_count 1"]);
        assert_eq!(clashing, 3);
    }
}
