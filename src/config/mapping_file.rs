//! Mapping files as they are written in statsd_exporter's YAML, nothing checked
//! beyond types. What they mean is `mapping.rs`.
//!
//! Unknown keys are errors, as there. Files are bounded in size, and so is what
//! their aliases can unfold into.

use super::error::{Problem, nearest};
use serde::Deserialize;
use serde_saphyr::{Location, Spanned};
use std::collections::BTreeMap;
use std::ops::Range;

/// Largest mapping file in bytes.
pub const FILE_BYTES_MAX: u64 = 1 << 20;
/// Nodes that all aliases of a file may unfold into.
const ALIASED_NODES_MAX: usize = 200_000;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub defaults: Option<Defaults>,
    pub mappings: Option<Vec<Spanned<Rule>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Defaults {
    pub observer_type: Option<Spanned<String>>,
    pub match_type: Option<Spanned<String>>,
    pub glob_disable_ordering: Option<bool>,
    pub ttl: Option<Spanned<String>>,
    pub summary_options: Option<Spanned<SummaryOptions>>,
    pub histogram_options: Option<Spanned<HistogramOptions>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Rule {
    pub r#match: Option<Spanned<String>>,
    pub name: Option<Spanned<String>>,
    pub labels: Option<BTreeMap<String, Option<Spanned<String>>>>,
    pub honor_labels: Option<bool>,
    pub observer_type: Option<Spanned<String>>,
    pub match_type: Option<Spanned<String>>,
    pub help: Option<String>,
    pub action: Option<Spanned<String>>,
    pub match_metric_type: Option<Spanned<String>>,
    pub ttl: Option<Spanned<String>>,
    pub scale: Option<Spanned<f64>>,
    pub summary_options: Option<Spanned<SummaryOptions>>,
    pub histogram_options: Option<Spanned<HistogramOptions>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SummaryOptions {
    pub quantiles: Option<Vec<Quantile>>,
    pub max_age: Option<Spanned<String>>,
    // How Go's client keeps its summaries; taken, and not needed here.
    pub age_buckets: Option<u32>,
    pub buf_cap: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Quantile {
    pub quantile: Spanned<f64>,
    #[expect(dead_code, reason = "our error is fixed, and smaller")]
    pub error: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HistogramOptions {
    pub buckets: Option<Spanned<Vec<f64>>>,
    // Taken; the text format has no native histograms.
    pub native_histogram_bucket_factor: Option<f64>,
    pub native_histogram_max_buckets: Option<u32>,
}

impl File {
    /// Reads the text of a mapping file.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        if text.len() as u64 > FILE_BYTES_MAX {
            let message = format!("a mapping file has at most {} KiB", FILE_BYTES_MAX >> 10);
            return Err(vec![Problem::new(None, "yaml", message)]);
        }
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! {
                max_depth: 32,
                max_documents: 1,
                max_events: 1_000_000,
                max_nodes: 1_000_000,
                // One anchor of buckets may serve every mapping.
                enforce_alias_anchor_ratio: false,
            },
            alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: ALIASED_NODES_MAX },
        };
        serde_saphyr::from_str_with_options::<Option<File>>(text, options)
            .map(Option::unwrap_or_default)
            .map_err(|error| vec![yaml_problem(text, &error)])
    }
}

/// Where a value stands in the file.
pub(super) fn at<T>(value: &Spanned<T>) -> Range<usize> {
    bytes(value.referenced).unwrap_or_default()
}

fn bytes(location: Location) -> Option<Range<usize>> {
    let start = usize::try_from(location.span().byte_offset()?).ok()?;
    Some(start..start + usize::try_from(location.span().byte_len()?).ok()?)
}

/// An error of the YAML reader, with what to do about those that are common.
fn yaml_problem(text: &str, error: &serde_saphyr::Error) -> Problem {
    let error = error.without_snippet();
    let location = error.location();
    let place = location.and_then(|location| bytes(location).or_else(|| line_and_column(text, location)));
    let message = error.to_string();
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
    let message = if let Some(rest) = message.strip_prefix("unknown field `")
        && let Some((wrong, known)) = rest.split_once('`')
    {
        format!("unknown key `{wrong}`{}", unknown_key(wrong, known))
    } else if message.contains("unknown anchor") {
        "an unquoted text that begins with \"*\" is an alias in YAML; put the match in quotes".into()
    } else if message.contains("unknown escape") {
        format!("{message}: within double quotes a backslash is written twice; or use single quotes")
    } else if message.starts_with("duplicate mapping key") {
        message.split(", set ").next().unwrap_or_default().into()
    } else if message.starts_with("multiple YAML documents") || message.contains("ocuments") {
        "a mapping file is one YAML document; remove the second \"---\"".into()
    } else {
        message.to_owned()
    };
    Problem::new(place, "yaml", message)
}

/// What to write instead of a key that is not known; `known` are those that
/// are, within a sentence.
fn unknown_key(wrong: &str, known: &str) -> String {
    match wrong {
        "timer_type" => return "; it is called observer_type now".into(),
        "buckets" => return "; it belongs into histogram_options".into(),
        "quantiles" => return "; it belongs into summary_options".into(),
        _ => {}
    }
    let known = known.trim_start_matches(", expected one of ").trim_start_matches(", expected ");
    let mut names =
        known.split([',', ' ']).map(|name| name.trim_matches('`')).filter(|name| !name.is_empty());
    match nearest(wrong, names.by_ref()) {
        Some(near) => format!("; did you mean `{near}`?"),
        None => format!("; known are {known}"),
    }
}

fn line_and_column(text: &str, location: Location) -> Option<Range<usize>> {
    let line = usize::try_from(location.line()).ok()?.checked_sub(1)?;
    let column = usize::try_from(location.column()).ok()?.saturating_sub(1);
    let line_start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let within = text.get(line_start..)?.char_indices().nth(column).map_or(0, |(at, _)| at);
    Some(line_start + within..line_start + within + 1)
}
