//! A view: what one dashboard page shows. Built by the config, complete and
//! checked; it knows what to ask but asks nothing itself.

use super::calendar::Calendar;
use super::number::Unit;
use super::range::Range;
use crate::model::Matcher;
use crate::model::label::{NAME, escape_name};

/// Names that are not written as they were sent.
const NEEDS_ESCAPE: &str = "(?s)[0-9].*|.*[^a-zA-Z0-9_:].*";

/// A configured page.
#[derive(Clone, Debug)]
pub struct View {
    /// In URLs: letters, digits, `-`, `_`.
    pub id: String,
    pub title: String,
    /// Shown when the URL names no range.
    pub range: Range,
    pub calendar: Calendar,
    pub kpis: Vec<Kpi>,
    pub panels: Vec<Panel>,
}

/// A tile with one number.
#[derive(Clone, Debug)]
pub struct Kpi {
    pub id: String,
    pub title: String,
    pub unit: Unit,
    pub source: KpiSource,
    /// What the number should reach, in its own unit.
    pub target: Option<f64>,
    /// Said when there is nothing to count.
    pub empty: String,
    pub better: Better,
}

/// Which way a change is good news.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Better {
    #[default]
    Unknown,
    Higher,
    Lower,
}

/// Where a tile's number comes from.
#[derive(Clone, Debug)]
pub enum KpiSource {
    /// A PromQL expression, evaluated at the range's end.
    Query(String),
    /// ok / (ok + failed), both exact counts over the range.
    Ratio { ok: Selection, failed: Selection },
    /// A metric over the range.
    Metric { selection: Selection, show: Show },
}

/// The series of one metric.
#[derive(Clone, Debug)]
pub struct Selection {
    /// As the config wrote it.
    pub text: String,
    pub matchers: Vec<Matcher>,
}

impl Selection {
    /// All series of the metric called `name`, and none of one whose name is
    /// only escaped to it: that has a panel of its own.
    pub fn of_metric(name: &str) -> Self {
        let mut matchers = vec![Matcher::equal(NAME, name)];
        if escape_name(name) == name {
            // The pattern is a literal that compiles.
            matchers.extend(Matcher::not_regex(NAME, NEEDS_ESCAPE).ok());
        }
        Selection { text: name.to_owned(), matchers }
    }

    /// What it selects, spelled in one way: a name that reads like a selector
    /// is told from it.
    pub fn canonical(&self) -> String {
        let matchers: Vec<String> = self.matchers.iter().map(ToString::to_string).collect();
        format!("{{{}}}", matchers.join(","))
    }
}

/// One number of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Show {
    /// A quantile of a distribution, between 0 and 1; 1 is the maximum.
    Quantile(f64),
    Mean,
    /// How many values a distribution had, or a counter's increase.
    Total,
    /// The same a second.
    Rate,
    /// The newest value, summed over the series.
    Last,
}

impl Show {
    /// `p50`, `p99.9`, `max`, `min`, `mean`, `total`, `rate`, `last`.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "max" => Show::Quantile(1.0),
            "min" => Show::Quantile(0.0),
            "mean" | "avg" => Show::Mean,
            "total" => Show::Total,
            "rate" => Show::Rate,
            "last" => Show::Last,
            _ => {
                let percent: f64 = text.strip_prefix('p')?.parse().ok()?;
                (0.0..=100.0).contains(&percent).then_some(Show::Quantile(percent / 100.0))?
            }
        })
    }

    /// The word for it in legends.
    pub fn label(self) -> String {
        match self {
            Show::Quantile(1.0) => "max".into(),
            Show::Quantile(0.0) => "min".into(),
            // Rounded, since 0.999 × 100 is 99.900000000000006.
            Show::Quantile(q) => format!("p{}", (q * 1e6).round() / 1e4),
            Show::Mean => "mean".into(),
            Show::Total => "total".into(),
            Show::Rate => "rate".into(),
            Show::Last => "last".into(),
        }
    }
}

/// A chart or list.
#[derive(Clone, Debug)]
pub struct Panel {
    pub title: String,
    pub unit: Option<Unit>,
    pub kind: PanelKind,
}

/// What a panel shows.
#[derive(Clone, Debug)]
pub enum PanelKind {
    /// Lines of a metric; `show` is empty for what suits its type.
    Line { selection: Selection, show: Vec<Show> },
    /// Lines of a PromQL expression.
    Query { expr: String },
    /// Exact counts per local day.
    BarsPerDay { selection: Selection, days: usize },
    /// States of these rules; all of them when empty.
    Alerts { rules: Vec<String> },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_show_reads_and_writes() {
        for text in ["p50", "p95", "p99.9", "max", "min", "mean", "total", "rate", "last"] {
            assert_eq!(Show::parse(text).map(Show::label).as_deref(), Some(text));
        }
        for wrong in ["", "p", "p101", "p-1", "median", "P50", "pNaN"] {
            assert_eq!(Show::parse(wrong), None, "{wrong}");
        }
    }
}
