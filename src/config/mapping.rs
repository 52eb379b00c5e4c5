//! `[mapping]`, and what the mapping files that it names mean.
//!
//! All problems of all files are found in one go, but for those of the YAML
//! itself. What works, if not as its author may think, is a warning.

use super::error::{Error, Problem, nearest};
use super::go_duration;
use super::mapping_file::{Defaults, FILE_BYTES_MAX, File, HistogramOptions, Rule, SummaryOptions, at};
use crate::mapping::explain;
use crate::mapping::mapper::EFFECTS_MAX;
use crate::mapping::rule::Flaw;
use crate::mapping::{Definition, Kind, Mapper, Observer, RuleSet, Style, Treatment};
use serde::Deserialize;
use serde_saphyr::Spanned;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub const FILES_MAX: usize = 100;
const QUANTILES_MAX: usize = 100;
const BUCKETS_MAX: usize = 500;

/// Those of Prometheus' clients.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];
const MAX_AGE_MS: i64 = 600_000;

/// `[mapping]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MappingSection {
    pub files: Vec<toml::Spanned<PathBuf>>,
}

/// The mapping files of a config, read and compiled.
#[derive(Clone, Debug, Default)]
pub struct Mapping {
    pub mapper: Arc<Mapper>,
    /// What is odd about the files, rendered with line and key.
    pub warnings: Vec<String>,
}

impl MappingSection {
    /// Reads the files; a relative path begins at `folder`, that of the config.
    /// Files that cannot be read are among `problems`; what is wrong in those
    /// that can is in the error, rendered, for all files at once.
    pub fn load(&self, folder: &Path, problems: &mut Vec<Problem>) -> Result<Mapping, Error> {
        let mut files = Vec::new();
        for (at, written) in self.files.iter().enumerate() {
            let path = folder.join(written.get_ref());
            match read(&path) {
                Ok(text) => files.push((path.display().to_string(), text)),
                Err(error) => {
                    let message = format!("cannot read {}: {error}", path.display());
                    problems.push(Problem::new(written.span(), format!("mapping.files[{at}]"), message));
                }
            }
        }
        Mapping::parse(&files)
    }
}

impl Mapping {
    /// Reads mapping files, in the order in which they are tried.
    pub fn load(paths: &[PathBuf]) -> Result<Self, Error> {
        let mut files = Vec::new();
        for path in paths {
            let text = read(path).map_err(|source| Error::Read { path: path.clone(), source })?;
            files.push((path.display().to_string(), text));
        }
        Mapping::parse(&files)
    }

    /// What the texts of mapping files mean; each comes with its name.
    pub fn parse(files: &[(String, String)]) -> Result<Self, Error> {
        if files.len() > FILES_MAX {
            return Err(Error::Invalid(format!("mapping.files: {} are more than {FILES_MAX}", files.len())));
        }
        let (mut read, mut errors) = (Vec::new(), Vec::new());
        for (name, text) in files {
            match File::parse(text).and_then(|file| {
                let (set, odd) = file.rules(name, text)?;
                Ok((file, set, odd))
            }) {
                Ok(file) => read.push(file),
                Err(problems) => errors.push(Error::invalid(name, text, &problems).to_string()),
            }
        }
        if !errors.is_empty() {
            return Err(Error::Invalid(errors.join("\n")));
        }
        let (mut sets, mut notes) = (Vec::new(), Vec::new());
        for (file, set, odd) in read {
            sets.push(set);
            notes.push((file, odd));
        }
        let mapper = Mapper::new(sets);
        if mapper.has_too_many_effects() {
            return Err(Error::Invalid(format!(
                "mapping.files: there are more than {EFFECTS_MAX} different pairs of scale and buckets; \
                 let mappings share them"
            )));
        }
        let mut warnings = Vec::new();
        for (at, (file, mut odd)) in notes.into_iter().enumerate() {
            let Some((name, text)) = files.get(at) else { continue };
            odd.extend(explain::unreachable(&mapper, at).iter().map(|flaw| file.problem(flaw)));
            odd.sort_by_key(|problem| problem.span.as_ref().map(|span| span.start));
            warnings.extend(odd.iter().map(|problem| problem.render(name, text)));
        }
        Ok(Mapping { mapper: Arc::new(mapper), warnings })
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    // One byte more than may be, so that a device without an end is refused too.
    std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        let message = format!("a mapping file has at most {} KiB", FILE_BYTES_MAX >> 10);
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, message));
    }
    Ok(text)
}

impl File {
    /// The compiled rules, and what is odd about them.
    fn rules(&self, name: &str, text: &str) -> Result<(RuleSet, Vec<Problem>), Vec<Problem>> {
        let nothing = Defaults::default();
        let defaults = self.defaults.as_ref().unwrap_or(&nothing);
        let mut notes = Notes::default();
        let unmapped = defaults.treatment(&mut notes);
        let style = style(&defaults.match_type, "defaults.match_type", &mut notes);
        let rules = self.mappings.as_deref().unwrap_or_default();
        let definitions: Vec<Definition> = rules
            .iter()
            .enumerate()
            .map(|(at, rule)| Definition {
                line: rule.referenced.line() as usize,
                ..rule.value.definition(at, defaults, style.unwrap_or_default(), &mut notes)
            })
            .collect();
        let ordered = !defaults.glob_disable_ordering.unwrap_or(false);
        match RuleSet::new(name, ordered, unmapped, definitions) {
            Ok((set, odd)) if notes.wrong.is_empty() => {
                notes.odd.extend(odd.iter().map(|flaw| self.problem(flaw)));
                Ok((set, notes.odd))
            }
            Ok(_) => Err(notes.wrong),
            Err(flaws) => {
                notes.wrong.extend(flaws.iter().map(|flaw| self.problem(flaw)));
                notes
                    .wrong
                    .sort_by_key(|problem| problem.span.as_ref().map_or(text.len(), |span| span.start));
                Err(notes.wrong)
            }
        }
    }

    fn problem(&self, flaw: &Flaw) -> Problem {
        let rule = self.mappings.as_deref().unwrap_or_default().get(flaw.rule);
        let place = rule.map(|rule| {
            let part = match flaw.key.as_str() {
                "match" => rule.value.r#match.as_ref().map(at),
                "name" => rule.value.name.as_ref().map(at),
                "scale" => rule.value.scale.as_ref().map(at),
                key => {
                    let label = key.strip_prefix("labels.").unwrap_or_default();
                    let labels = rule.value.labels.as_ref();
                    labels.and_then(|labels| labels.get(label)?.as_ref().map(at))
                }
            };
            part.unwrap_or_else(|| at(rule))
        });
        Problem::new(place, format!("mappings[{}].{}", flaw.rule, flaw.key), &flaw.message)
    }
}

/// What was found wrong, or odd, so far.
#[derive(Default)]
struct Notes {
    wrong: Vec<Problem>,
    odd: Vec<Problem>,
}

impl Rule {
    fn definition(
        &self,
        number: usize,
        defaults: &Defaults,
        style_default: Style,
        notes: &mut Notes,
    ) -> Definition {
        let key = |name: &str| format!("mappings[{number}].{name}");
        let text =
            |field: &Option<Spanned<String>>| field.as_ref().map_or(String::new(), |text| text.value.clone());
        let labels =
            self.labels.iter().flatten().map(|(label, text_)| (label.clone(), text(text_))).collect();
        let kind = choice(
            &self.match_metric_type,
            &key("match_metric_type"),
            &[("counter", Kind::Counter), ("gauge", Kind::Gauge), ("observer", Kind::Observer)],
            notes,
        );
        let drop = choice(&self.action, &key("action"), &[("map", false), ("drop", true)], notes);
        Definition {
            line: 0,
            matching: text(&self.r#match),
            style: style(&self.match_type, &key("match_type"), notes).unwrap_or(style_default),
            kind,
            name: text(&self.name),
            labels,
            honor_labels: self.honor_labels.unwrap_or(false),
            drop: drop.unwrap_or(false),
            scale: self.scale.as_ref().map(|scale| scale.value),
            treatment: Treatment {
                expire_ms: expire_ms(&self.ttl, &key("ttl"), defaults, notes),
                observer: self.observer(number, defaults, notes),
                help: self.help.clone().filter(|help| !help.is_empty()),
            },
        }
    }

    fn observer(&self, number: usize, defaults: &Defaults, notes: &mut Notes) -> Observer {
        let key = |name: &str| format!("mappings[{number}].{name}");
        let own = observer_type(&self.observer_type, &key("observer_type"), notes);
        let by_default = own.is_none() && defaults.observer_type.is_some();
        let source = if by_default { " (by defaults)" } else { "" };
        // What is wrong with the default is told once, of the defaults.
        let wanted = own.or_else(|| observer_type(&defaults.observer_type, "", &mut Notes::default()));
        let summary = self.summary_options.as_ref();
        let histogram = self.histogram_options.as_ref();
        if let (Some(Wanted::Histogram), Some(options)) = (wanted, summary) {
            let message =
                format!("cannot stand with observer_type histogram{source}; write histogram_options");
            notes.wrong.push(Problem::new(at(options), key("summary_options"), message));
        }
        if let (Some(Wanted::Summary), Some(options)) = (wanted, histogram) {
            let message = format!("cannot stand with observer_type summary{source}; write summary_options");
            notes.wrong.push(Problem::new(at(options), key("histogram_options"), message));
        }
        if let (None, Some(options)) = (wanted, histogram) {
            let message = "has no effect without observer_type: histogram";
            notes.odd.push(Problem::new(at(options), key("histogram_options"), message));
        }
        defaults.resolve(wanted, summary, histogram, &key(""), notes)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Wanted {
    Summary,
    Histogram,
}

impl Defaults {
    /// How series are treated that nothing matches.
    fn treatment(&self, notes: &mut Notes) -> Treatment {
        let wanted = observer_type(&self.observer_type, "defaults.observer_type", notes);
        // Problems of the options are noted here, once, whether they are used or not.
        summary_values(self.summary_options.as_ref(), "defaults.", notes);
        bucket_values(self.histogram_options.as_ref(), "defaults.", notes);
        Treatment {
            expire_ms: expire_ms(&None, "", self, notes),
            observer: self.resolve(wanted, None, None, "", &mut Notes::default()),
            help: None,
        }
    }

    /// An observer with what `summary` and `histogram` say, else the defaults,
    /// else what statsd_exporter takes.
    fn resolve(
        &self,
        wanted: Option<Wanted>,
        summary: Option<&Spanned<SummaryOptions>>,
        histogram: Option<&Spanned<HistogramOptions>>,
        key: &str,
        notes: &mut Notes,
    ) -> Observer {
        let mut silent = Notes::default();
        if wanted == Some(Wanted::Histogram) {
            let own = bucket_values(histogram, key, notes);
            let buckets = own.or_else(|| bucket_values(self.histogram_options.as_ref(), "", &mut silent));
            return Observer::Histogram { buckets: buckets.unwrap_or_else(|| BUCKETS.to_vec()).into() };
        }
        if wanted.is_none() && summary.is_none() && self.summary_options.is_none() {
            return Observer::Default;
        }
        let (quantiles, max_age_ms) = summary_values(summary, key, notes);
        let (default_quantiles, default_age_ms) =
            summary_values(self.summary_options.as_ref(), "", &mut silent);
        Observer::Summary {
            quantiles: quantiles.or(default_quantiles).unwrap_or_else(|| QUANTILES.to_vec()),
            max_age_ms: max_age_ms.or(default_age_ms).unwrap_or(MAX_AGE_MS),
        }
    }
}

/// Quantiles and age of a summary, as far as they are given.
fn summary_values(
    options: Option<&Spanned<SummaryOptions>>,
    key: &str,
    notes: &mut Notes,
) -> (Option<Vec<f64>>, Option<i64>) {
    let Some(options) = options else { return (None, None) };
    let given = options.value.quantiles.as_deref().unwrap_or_default();
    let mut quantiles = Vec::new();
    for (number, quantile) in given.iter().take(QUANTILES_MAX).enumerate() {
        if (0.0..=1.0).contains(&quantile.quantile.value) {
            quantiles.push(quantile.quantile.value);
        } else {
            let key = format!("{key}summary_options.quantiles[{number}].quantile");
            notes.wrong.push(Problem::new(at(&quantile.quantile), key, "must be within 0 and 1"));
        }
    }
    if given.len() > QUANTILES_MAX {
        let key = format!("{key}summary_options.quantiles");
        notes.wrong.push(Problem::new(at(options), key, format!("are more than {QUANTILES_MAX}")));
    }
    // The page has them in this order, each once.
    quantiles.sort_by(f64::total_cmp);
    quantiles.dedup();
    let age_ms = duration(&options.value.max_age, &format!("{key}summary_options.max_age"), notes);
    ((!quantiles.is_empty()).then_some(quantiles), age_ms.filter(|ms| *ms > 0))
}

/// Upper bounds of a histogram, as far as they are given.
fn bucket_values(
    options: Option<&Spanned<HistogramOptions>>,
    key: &str,
    notes: &mut Notes,
) -> Option<Vec<f64>> {
    let given = options?.value.buckets.as_ref()?;
    let mut buckets = given.value.clone();
    // The last one is always there.
    if buckets.last() == Some(&f64::INFINITY) {
        buckets.pop();
    }
    let ascending = buckets.windows(2).all(|pair| pair[0] < pair[1]);
    let message = if buckets.len() > BUCKETS_MAX {
        format!("are more than {BUCKETS_MAX}")
    } else if !ascending || buckets.iter().any(|bound| !bound.is_finite()) {
        "must be finite numbers, each larger than the one before".to_owned()
    } else {
        return (!buckets.is_empty()).then_some(buckets);
    };
    notes.wrong.push(Problem::new(at(given), format!("{key}histogram_options.buckets"), message));
    None
}

/// A `ttl` of 0 is the default's; when that is 0 too the series never ends.
fn expire_ms(
    ttl: &Option<Spanned<String>>,
    key: &str,
    defaults: &Defaults,
    notes: &mut Notes,
) -> Option<i64> {
    let own = duration(ttl, key, notes);
    if own.is_some_and(|ms| ms > 0) {
        return own;
    }
    let mut silent = Notes::default();
    let told = if key.is_empty() { notes } else { &mut silent };
    duration(&defaults.ttl, "defaults.ttl", told).or(own)
}

fn duration(text: &Option<Spanned<String>>, key: &str, notes: &mut Notes) -> Option<i64> {
    let text = text.as_ref()?;
    let ms = go_duration::parse_ms(&text.value);
    if ms.is_none() {
        let message = format!("{:?} is no duration; write it as \"30s\", \"10m\" or \"1h30m\"", text.value);
        notes.wrong.push(Problem::new(at(text), key, message));
    }
    ms
}

fn style(text: &Option<Spanned<String>>, key: &str, notes: &mut Notes) -> Option<Style> {
    choice(text, key, &[("glob", Style::Glob), ("regex", Style::Regex)], notes)
}

fn observer_type(text: &Option<Spanned<String>>, key: &str, notes: &mut Notes) -> Option<Wanted> {
    choice(text, key, &[("summary", Wanted::Summary), ("histogram", Wanted::Histogram)], notes)
}

/// One of a few words; the empty text is none of them, and not wrong.
fn choice<T: Copy>(
    text: &Option<Spanned<String>>,
    key: &str,
    words: &[(&str, T)],
    notes: &mut Notes,
) -> Option<T> {
    let text = text.as_ref().filter(|text| !text.value.is_empty())?;
    let found = words.iter().find(|(word, _)| *word == text.value).map(|(_, value)| *value);
    if found.is_none() {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let hint = nearest(&text.value, known.iter().copied())
            .map_or(String::new(), |near| format!("; did you mean {near:?}?"));
        let message = format!("{:?} is not one of {}{hint}", text.value, known.join(", "));
        notes.wrong.push(Problem::new(at(text), key, message));
    }
    found
}
