//! Mappings, for the terminal: what `test-mapping` and `check` say of them.

use crate::config::Mapping;
use crate::mapping::explain::{Matched, explain, quoted};
use crate::mapping::mapper::Mapped;
use crate::mapping::{Kind, Mapper, Observer, Resolution, RuleSet, Style, Treatment};
use crate::model::{Labels, MetricType, duration};
use crate::protocol::tag::Tags;
use crate::protocol::{Dialect, Message, TagStyles, tag};
use clap::{Args, ValueEnum};
use std::fmt::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Names that `check` tries for its figure, and the time it takes at most.
const NAMES_TRIED: usize = 1000;
const TRY_FOR: Duration = Duration::from_millis(20);
const LABELS_MAX: usize = 256;

#[derive(Debug, Args)]
pub struct TestMappingArgs {
    /// A name, such as web.api.latency; or a line, such as 'web.api.latency:320|ms|#env:prod'.
    pub name: String,
    /// Type of the metric; without it, each.
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    pub kind: Option<KindArg>,
    /// Mapping file to use instead of those of the config; may be repeated.
    #[arg(long = "mapping", value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum KindArg {
    Counter,
    Gauge,
    /// Timers, histograms and distributions.
    Observer,
    Set,
}

impl KindArg {
    fn metric_type(self) -> MetricType {
        match self {
            KindArg::Counter => MetricType::Counter,
            KindArg::Gauge => MetricType::Gauge,
            KindArg::Observer => MetricType::Timer,
            KindArg::Set => MetricType::Set,
        }
    }
}

/// What becomes of a name, and why; `tag_styles` are those of the listener that
/// it would come to.
pub fn explanation(mapper: &Mapper, tag_styles: TagStyles, args: &TestMappingArgs) -> anyhow::Result<String> {
    anyhow::ensure!(
        !mapper.is_empty(),
        "there is no mapping file: name one with --mapping, or in [mapping] of the config"
    );
    let text = args.name.as_str();
    let (name, tags, sent) = match Message::parse(text.as_bytes(), Dialect::Statsd) {
        Ok(Message::Metric(line)) => {
            let metric_type = line.observations.first().map(|observation| observation.metric_type);
            (line.name, line.tags, metric_type)
        }
        Ok(Message::Event(_) | Message::Check(_)) => {
            anyhow::bail!("{text:?} is no metric: events and service checks are not mapped")
        }
        Err(reject) if text.contains([':', '|']) => anyhow::bail!("{text:?} is no line: {reject}"),
        Err(_) => (text.as_bytes(), Tags::default(), None),
    };
    let named = tag_styles.named(name);
    let tags = named.tags.iter().copied().chain(tags.iter());
    let tags = tag::labels_of(b"x", tags, LABELS_MAX)?.without_name();
    let name = String::from_utf8_lossy(&named.name);
    let asked = sent.or(args.kind.map(KindArg::metric_type));
    let types = match asked {
        Some(metric_type) => vec![metric_type],
        None => vec![MetricType::Counter, MetricType::Gauge, MetricType::Timer],
    };
    let mut blocks: Vec<(Vec<&str>, String)> = Vec::new();
    for metric_type in types {
        let kind = Kind::of(metric_type);
        let block = block(mapper, &name, &tags, metric_type);
        match blocks.iter_mut().find(|(_, known)| *known == block) {
            Some((kinds, _)) => kinds.push(kind.as_str()),
            None => blocks.push((vec![kind.as_str()], block)),
        }
    }
    let mut told = String::new();
    for (kinds, block) in blocks {
        let _ = write!(told, "{name:?} as {}:\n{block}", kinds.join(", "));
    }
    Ok(told)
}

fn block(mapper: &Mapper, name: &str, tags: &Labels, metric_type: MetricType) -> String {
    let mut told = String::new();
    let mut line = |what: &str, text: String| {
        let _ = writeln!(told, "  {what:<8} {text}");
    };
    let treatment = match mapper.resolve(name, metric_type) {
        Resolution::Dropped(_) => {
            line("becomes", "nothing: it is dropped, and counted as such".into());
            None
        }
        Resolution::Mapped(mapped) if mapped.name.is_empty() => {
            line("becomes", "nothing: the mapping makes an empty name of it; it is rejected".into());
            None
        }
        Resolution::Mapped(mapped) => {
            line("becomes", series(&mapped, tags));
            let scale = mapped.rule.definition.scale;
            let honors = mapped.rule.definition.honor_labels;
            let mut options = options(mapped.rule.treatment.as_deref(), metric_type);
            options.extend(scale.map(|scale| format!("values times {scale}")));
            options.extend(honors.then(|| "tags win over labels".to_owned()));
            Some(options)
        }
        Resolution::Unmapped(treatment) => {
            let stays = tags.with(crate::model::label::NAME, name);
            line("stays", format!("{stays}: no mapping matches"));
            Some(options(treatment.map(|treatment| &**treatment), metric_type))
        }
    };
    let matched = explain(mapper, name, Kind::of(metric_type));
    for winner in matched.iter().filter(|matched| matched.verdict.has_won()) {
        line("by", place(winner));
    }
    for option in treatment.iter().flatten() {
        line("with", option.clone());
    }
    for loser in matched.iter().filter(|matched| !matched.verdict.has_won()) {
        line("not by", place(loser));
    }
    told
}

fn series(mapped: &Mapped<'_>, tags: &Labels) -> String {
    mapped.labels(&tags.with(crate::model::label::NAME, &mapped.name)).to_string()
}

fn place(matched: &Matched<'_>) -> String {
    let definition = &matched.rule.definition;
    let style = if definition.style == Style::Regex { "regex" } else { "glob" };
    let (file, line, text) = (matched.file, definition.line, quoted(&definition.matching));
    format!("{file}:{line}, {style} {text}: {}", matched.verdict)
}

fn options(treatment: Option<&Treatment>, metric_type: MetricType) -> Vec<String> {
    let Some(treatment) = treatment else { return Vec::new() };
    let mut options = Vec::new();
    let list = |numbers: &[f64]| numbers.iter().map(f64::to_string).collect::<Vec<_>>().join(" ");
    match &treatment.observer {
        _ if !metric_type.is_distribution() => {}
        Observer::Default => {}
        Observer::Summary { quantiles, max_age_ms } => {
            let age = duration::format_ms(*max_age_ms as u64);
            options.push(format!("a summary on the scrape page: quantiles {} of {age}", list(quantiles)));
        }
        Observer::Histogram { buckets } => {
            options.push(format!("a histogram on the scrape page: buckets {} +Inf", list(buckets)));
        }
    }
    match treatment.expire_ms {
        None => {}
        Some(0) => options.push("no end, however long the silence".into()),
        Some(ms) => options.push(format!("an end after {} of silence", duration::format_ms(ms as u64))),
    }
    options.extend(treatment.help.as_ref().map(|help| format!("help {help:?}")));
    options
}

/// What `check` says of the mapping files, line by line.
pub fn summary(mapping: &Mapping) -> Vec<String> {
    let mut lines = Vec::new();
    for set in mapping.mapper.sets() {
        let rules = set.rules.len();
        let plural = if rules == 1 { "" } else { "s" };
        let cost = match nanos_a_match(set) {
            Some(nanos) => format!(", {nanos:.0} ns a match"),
            None => String::new(),
        };
        lines.push(format!("maps by {}: {rules} mapping{plural}{cost}", set.file));
    }
    for warning in &mapping.warnings {
        lines.extend(format!("warning: {warning}").lines().map(str::to_owned));
    }
    lines
}

/// Mean time of a match over names made from the rules themselves.
fn nanos_a_match(set: &RuleSet) -> Option<f64> {
    let step = (set.rules.len() / NAMES_TRIED).max(1);
    let rules = set.rules.iter().step_by(step);
    let names: Vec<String> =
        rules.map(|rule| rule.definition.matching.replace('*', "some-component")).collect();
    let begun = Instant::now();
    let mut tried = 0u32;
    while !names.is_empty() && begun.elapsed() < TRY_FOR {
        for name in &names {
            std::hint::black_box(set.winner(name, Kind::Counter));
        }
        tried = tried.saturating_add(names.len() as u32);
    }
    (tried > 0).then(|| begun.elapsed().as_nanos() as f64 / f64::from(tried))
}
