//! One rule: what it matches, what becomes of a name that matches, and how its
//! series are treated from then on.

use super::glob::Glob;
use super::regexes;
use super::template::Template;
use crate::model::MetricType;
use crate::model::label::OWN_PREFIX;
use regex::Regex;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Most labels that one rule may give.
pub const LABELS_MAX: usize = 64;

/// What a rule can select by, beside the name. `ms`, `h` and `d` are observers;
/// a set is matched by rules that ask for no type alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Counter = 0,
    Gauge = 1,
    Observer = 2,
    Set = 3,
}

impl Kind {
    pub const COUNT: usize = 4;
    pub const ALL: [Kind; Kind::COUNT] = [Kind::Counter, Kind::Gauge, Kind::Observer, Kind::Set];

    pub fn of(metric_type: MetricType) -> Self {
        match metric_type {
            MetricType::Counter => Kind::Counter,
            MetricType::Gauge | MetricType::Sampled => Kind::Gauge,
            MetricType::Timer | MetricType::Histogram => Kind::Observer,
            MetricType::Set => Kind::Set,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Observer => "observer",
            Kind::Set => "set",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How `match` is to be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    #[default]
    Glob,
    Regex,
}

/// How a series is treated, beside its name and labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Treatment {
    /// Silence after which it ends, in ms; 0: never; `None`: as its type does.
    pub expire_ms: Option<i64>,
    pub observer: Observer,
    /// Text on the scrape page.
    pub help: Option<String>,
}

/// What a timer, histogram or distribution is on the scrape page.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Observer {
    /// As without a mapping.
    #[default]
    Default,
    Summary {
        quantiles: Vec<f64>,
        /// Span that the quantiles are of, in ms.
        max_age_ms: i64,
    },
    Histogram {
        /// Upper bounds, included, ascending; without +Inf.
        buckets: Arc<[f64]>,
    },
}

/// A rule as it is meant, every default filled in; not yet compiled.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Definition {
    /// Line of the file that it begins at.
    pub line: usize,
    pub matching: String,
    pub style: Style,
    /// The only kind that it is for.
    pub kind: Option<Kind>,
    pub name: String,
    pub labels: Vec<(String, String)>,
    /// A tag of that name wins over the label here.
    pub honor_labels: bool,
    pub drop: bool,
    pub scale: Option<f64>,
    pub treatment: Treatment,
}

/// A thing that is wrong, or odd, about a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// Number of the rule in its file, from 0.
    pub rule: usize,
    /// Key, such as `match` or `labels.code`.
    pub key: String,
    pub message: String,
}

/// A compiled rule.
#[derive(Debug)]
pub struct Rule {
    pub definition: Definition,
    pub matcher: Matcher,
    pub(super) name: Template,
    pub(super) labels: Vec<(Box<str>, Template)>,
    /// Shared by all series of this rule; `None`: nothing special.
    pub treatment: Option<Arc<Treatment>>,
}

#[derive(Clone, Debug)]
pub enum Matcher {
    Glob(Glob),
    Regex(Regex),
}

impl Rule {
    /// Compiles rule number `rule`. The second list are oddities: the rule
    /// works, if not as its author may think.
    pub fn compile(definition: Definition, rule: usize) -> Result<(Self, Vec<Flaw>), Vec<Flaw>> {
        let mut flaws = Vec::new();
        let flaw = |key: &str, message: String| Flaw { rule, key: key.into(), message };
        if definition.name.is_empty() {
            let needed = if definition.drop { ", even for action: drop" } else { "" };
            flaws.push(flaw("name", format!("is missing; every mapping needs one{needed}")));
        } else if !is_name(&definition.name) {
            let message = format!(
                "{:?} is no name; write letters, digits, \"_\" and \"${{1}}\", beginning with no digit",
                definition.name
            );
            flaws.push(flaw("name", message));
        }
        if definition.labels.len() > LABELS_MAX {
            flaws.push(flaw("labels", format!("are more than {LABELS_MAX}")));
        }
        for (label, _) in &definition.labels {
            if let Some(message) = wrong_label(label) {
                flaws.push(flaw(&format!("labels.{label}"), message));
            }
        }
        if definition.scale.is_some_and(|scale| !scale.is_finite()) {
            flaws.push(flaw("scale", "must be a finite number".into()));
        }
        let matcher = match definition.style {
            Style::Glob => Glob::parse(&definition.matching).map(Matcher::Glob).map_err(|e| e.to_string()),
            Style::Regex => {
                regexes::compile(&definition.matching).map(Matcher::Regex).map_err(|e| e.to_string())
            }
        };
        match matcher {
            Ok(matcher) if flaws.is_empty() => Ok(Rule::with_templates(definition, matcher, rule)),
            Ok(_) => Err(flaws),
            Err(message) => {
                flaws.insert(0, flaw("match", message));
                Err(flaws)
            }
        }
    }

    fn with_templates(definition: Definition, matcher: Matcher, rule: usize) -> (Self, Vec<Flaw>) {
        let mut odd = Vec::new();
        let mut template = |key: String, text: &str| {
            let (template, unknown) = matcher.template(text);
            for reference in unknown {
                let message = format!(
                    "{reference:?} names nothing that the match takes and becomes empty; {}",
                    matcher.references(&reference)
                );
                odd.push(Flaw { rule, key: key.clone(), message });
            }
            template
        };
        let name = template("name".into(), &definition.name);
        let labels = definition.labels.iter();
        let labels =
            labels.map(|(label, text)| (label.as_str().into(), template(format!("labels.{label}"), text)));
        let labels = labels.collect();
        let treatment =
            (definition.treatment != Treatment::default()).then(|| Arc::new(definition.treatment.clone()));
        (Rule { definition, matcher, name, labels, treatment }, odd)
    }

    /// The kinds that it is for.
    pub fn kinds(&self) -> &[Kind] {
        kinds(&self.definition.kind)
    }

    /// Whether it matches the name, whatever the kind.
    pub fn matches(&self, name: &str) -> bool {
        match &self.matcher {
            Matcher::Glob(glob) => glob.captures(name).is_some(),
            Matcher::Regex(regex) => regex.is_match(name),
        }
    }

    /// What of `name` the captures hold, by number; the empty text for others.
    pub(super) fn texts<'n>(name: &'n str, captures: &[Range<usize>], number: usize) -> &'n str {
        let range = number.checked_sub(1).and_then(|at| captures.get(at));
        range.and_then(|range| name.get(range.clone())).unwrap_or_default()
    }
}

fn kinds(kind: &Option<Kind>) -> &[Kind] {
    match kind {
        Some(kind) => std::slice::from_ref(kind),
        None => &Kind::ALL,
    }
}

impl Matcher {
    fn template(&self, text: &str) -> (Template, Vec<String>) {
        match self {
            Matcher::Glob(glob) => Template::for_glob(text, glob.stars()),
            Matcher::Regex(regex) => {
                Template::for_regex(text, &regex.capture_names().collect::<Vec<Option<&str>>>())
            }
        }
    }

    /// What to write instead of a reference that names nothing.
    fn references(&self, reference: &str) -> String {
        let digits: String =
            reference.trim_start_matches(['$', '{']).chars().take_while(char::is_ascii_digit).collect();
        let (taken, what) = match self {
            Matcher::Glob(glob) => (glob.stars(), "\"*\""),
            Matcher::Regex(regex) => (regex.captures_len() - 1, "groups"),
        };
        match digits.parse::<usize>() {
            Ok(0) if matches!(self, Matcher::Glob(_)) => {
                "the whole name as $0 is for match_type: regex".to_owned()
            }
            Ok(number) if number <= taken && !reference.contains('{') => {
                format!("write ${{{number}}} if a letter, a digit or \"_\" follows")
            }
            _ => format!("there are {taken} {what} in the match"),
        }
    }
}

/// Letters, digits and `_`, with references, as statsd_exporter has it.
fn is_name(text: &str) -> bool {
    let mut rest = text;
    let mut first = true;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = match c {
            '$' => {
                let inner = after.strip_prefix('{').unwrap_or(after);
                let digits = inner.len() - inner.trim_start_matches(|c: char| c.is_ascii_digit()).len();
                if digits == 0 {
                    return false;
                }
                let inner = &inner[digits..];
                inner.strip_prefix('}').unwrap_or(inner)
            }
            c if c.is_ascii_alphabetic() || c == '_' => after,
            c if c.is_ascii_digit() && !first => after,
            _ => return false,
        };
        first = false;
    }
    !text.is_empty()
}

/// What is wrong with a label's name.
fn wrong_label(label: &str) -> Option<String> {
    let begins = label.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let plain = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !begins || !plain || label.len() < 2 {
        return Some(format!(
            "{label:?} is no label name; as in statsd_exporter it has two characters at least, \
             letters, digits and \"_\", and begins with no digit"
        ));
    }
    let reserved = ["__", OWN_PREFIX].into_iter().find(|prefix| label.starts_with(prefix));
    reserved.map(|prefix| format!("{label:?} is reserved, as all names that begin with {prefix:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(matching: &str, style: Style, name: &str, labels: &[(&str, &str)]) -> Definition {
        let labels = labels.iter().map(|(label, text)| ((*label).into(), (*text).into())).collect();
        Definition { matching: matching.into(), style, name: name.into(), labels, ..Definition::default() }
    }

    #[test]
    fn what_is_wrong_is_named_by_key() {
        let check = |definition: Definition, key: &str, message: &str| {
            let flaws = Rule::compile(definition, 3).expect_err(message);
            assert_eq!((flaws.len(), flaws[0].rule, flaws[0].key.as_str()), (1, 3, key), "{flaws:?}");
            assert!(flaws[0].message.contains(message), "{flaws:?}");
        };
        let glob = |name, labels| rule("a.*", Style::Glob, name, labels);
        check(rule("a..b", Style::Glob, "x", &[]), "match", "empty component");
        check(rule("(a", Style::Regex, "x", &[]), "match", "unclosed group");
        check(glob("", &[]), "name", "is missing");
        check(Definition { drop: true, ..glob("", &[]) }, "name", "even for action: drop");
        check(glob("0foo", &[]), "name", "is no name");
        check(glob("foo.bar", &[]), "name", "is no name");
        check(glob("$foo", &[]), "name", "is no name");
        check(glob("x", &[("a", "")]), "labels.a", "two characters");
        check(glob("x", &[("1a", "")]), "labels.1a", "no label name");
        check(glob("x", &[("__name__", "")]), "labels.__name__", "reserved");
        check(glob("x", &[("statsdeck_type", "")]), "labels.statsdeck_type", "reserved");
        check(Definition { scale: Some(f64::NAN), ..glob("x", &[]) }, "scale", "finite");
    }

    #[test]
    fn odd_references_are_told_with_what_to_write() {
        let check = |definition: Definition, key: &str, message: &str| {
            let (_, odd) = Rule::compile(definition, 0).unwrap();
            assert_eq!(odd.len(), 1, "{odd:?}");
            assert_eq!(odd[0].key, key);
            assert!(odd[0].message.contains(message), "{odd:?}");
        };
        check(rule("a.*", Style::Glob, "$1_total", &[]), "name", "write ${1}");
        check(rule("a.*", Style::Glob, "x", &[("code", "$2")]), "labels.code", "there are 1 \"*\"");
        check(rule("a.*", Style::Glob, "x", &[("code", "$0")]), "labels.code", "match_type: regex");
        check(rule("a(b)", Style::Regex, "x", &[("code", "$2")]), "labels.code", "there are 1 groups");
        check(rule("a(b)", Style::Regex, "$1_total", &[]), "name", "write ${1}");
    }
}
