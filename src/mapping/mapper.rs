//! From a received name to what becomes of it.
//!
//! Files are tried in their order, and within a file globs before regexes, as
//! in statsd_exporter. A name that nothing matches stays as it was sent; a name
//! that a rule gives is escaped as statsd_exporter escapes it.

use super::regexes::{Entry, Regexes};
use super::rule::{Definition, Flaw, Kind, Matcher, Observer, Rule, Treatment};
use super::trie::Trie;
use crate::model::MetricType;
use crate::model::label::{Labels, escape_label_name};
use std::sync::Arc;

/// Most rules of a file.
pub const RULES_MAX: usize = 20_000;
/// Different pairs of scale and buckets of all files: a table has a byte for
/// them, of which two values have a meaning of their own.
pub const EFFECTS_MAX: usize = 254;

/// The compiled rules of one file.
#[derive(Debug)]
pub struct RuleSet {
    /// The file, for people.
    pub file: String,
    pub rules: Vec<Rule>,
    /// Globs win by their order, not by how specific they are.
    pub ordered: bool,
    /// How series are treated that no rule of any file matches.
    defaults: Treatment,
    trie: Trie,
    regexes: Regexes,
}

/// All files.
#[derive(Debug, Default)]
pub struct Mapper {
    sets: Vec<RuleSet>,
    unmapped: Option<Arc<Treatment>>,
}

/// What becomes of a name.
#[derive(Debug)]
pub enum Resolution<'m> {
    /// It stays as it is; `defaults` of the files may say how it is treated.
    Unmapped(Option<&'m Arc<Treatment>>),
    Dropped(&'m Rule),
    Mapped(Mapped<'m>),
}

/// A name that a rule was found for.
#[derive(Debug)]
pub struct Mapped<'m> {
    pub rule: &'m Rule,
    /// Escaped; empty when the rule's captures were.
    pub name: String,
    labels: Vec<(&'m str, String)>,
}

impl RuleSet {
    /// Compiles the rules of a file. The second list are oddities that do not
    /// keep the file from being used.
    pub fn new(
        file: &str,
        ordered: bool,
        defaults: Treatment,
        definitions: Vec<Definition>,
    ) -> Result<(Self, Vec<Flaw>), Vec<Flaw>> {
        let (mut rules, mut flaws, mut odd) = (Vec::new(), Vec::new(), Vec::new());
        if definitions.len() > RULES_MAX {
            let message = format!("is one of {} mappings; a file has at most {RULES_MAX}", definitions.len());
            flaws.push(Flaw { rule: RULES_MAX, key: "match".into(), message });
        }
        for (at, definition) in definitions.into_iter().take(RULES_MAX).enumerate() {
            match Rule::compile(definition, at) {
                Ok((rule, found)) => {
                    rules.push(rule);
                    odd.extend(found);
                }
                Err(found) => flaws.extend(found),
            }
        }
        let mut trie = Trie::new(ordered);
        let mut entries = Vec::new();
        for (at, rule) in rules.iter().enumerate() {
            match &rule.matcher {
                Matcher::Glob(glob) => trie.add(glob, rule.kinds(), at as u32),
                Matcher::Regex(regex) => {
                    entries.push(Entry { rule: at as u32, kinds: rule.kinds().into(), regex: regex.clone() })
                }
            }
        }
        if let Some(entry) = entries.get(super::regexes::REGEXES_MAX) {
            let message = format!("a file has at most {} regexes", super::regexes::REGEXES_MAX);
            flaws.push(Flaw { rule: entry.rule as usize, key: "match".into(), message });
        }
        if !flaws.is_empty() {
            return Err(flaws);
        }
        let last = entries.last().map_or(0, |entry| entry.rule as usize);
        let regexes = Regexes::new(entries)
            .map_err(|error| vec![Flaw { rule: last, key: "match".into(), message: error.to_string() }])?;
        Ok((RuleSet { file: file.into(), rules, ordered, defaults, trie, regexes }, odd))
    }

    /// The number of the rule that wins for a name.
    pub fn winner(&self, name: &str, kind: Kind) -> Option<usize> {
        let glob = self.trie.find(name, kind).map(|(rule, _)| rule);
        glob.or_else(|| self.regexes.find(name, kind).map(|(rule, _)| rule)).map(|rule| rule as usize)
    }

    /// The rule that wins for whatever the glob written as `glob` matches, if
    /// there is one: a `*` of it is taken by a `*` alone.
    pub fn covering(&self, glob: &str, kind: Kind) -> Option<usize> {
        self.trie.find(glob, kind).map(|(rule, _)| rule as usize)
    }

    /// Numbers of the rules that are regexes.
    pub fn regexes(&self) -> impl Iterator<Item = usize> {
        self.regexes.rules()
    }

    fn find(&self, name: &str, kind: Kind) -> Option<Mapped<'_>> {
        if let Some((rule, captures)) = self.trie.find(name, kind) {
            let rule = self.rules.get(rule as usize)?;
            return Some(Mapped::new(rule, |number| Rule::texts(name, &captures, number)));
        }
        let (rule, captures) = self.regexes.find(name, kind)?;
        let rule = self.rules.get(rule as usize)?;
        let text = |number| captures.get(number).map_or("", |found| found.as_str());
        Some(Mapped::new(rule, text))
    }
}

/// The same files saying the same.
impl PartialEq for Mapper {
    fn eq(&self, other: &Self) -> bool {
        let same_rules = |a: &RuleSet, b: &RuleSet| {
            let definitions = a.rules.iter().zip(&b.rules);
            a.rules.len() == b.rules.len()
                && definitions.into_iter().all(|(a, b)| a.definition == b.definition)
        };
        let same = |a: &RuleSet, b: &RuleSet| {
            (&a.file, a.ordered, &a.defaults) == (&b.file, b.ordered, &b.defaults) && same_rules(a, b)
        };
        self.sets.len() == other.sets.len() && self.sets.iter().zip(&other.sets).all(|(a, b)| same(a, b))
    }
}

impl Mapper {
    pub fn new(sets: Vec<RuleSet>) -> Self {
        let first =
            |given: &dyn Fn(&Treatment) -> bool| sets.iter().map(|set| &set.defaults).find(|d| given(d));
        let treatment = Treatment {
            expire_ms: first(&|d| d.expire_ms.is_some()).and_then(|d| d.expire_ms),
            observer: first(&|d| d.observer != Observer::Default)
                .map_or(Observer::Default, |d| d.observer.clone()),
            help: None,
        };
        let unmapped = (treatment != Treatment::default()).then(|| Arc::new(treatment));
        Mapper { sets, unmapped }
    }

    pub fn sets(&self) -> &[RuleSet] {
        &self.sets
    }

    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// Whether more than [`EFFECTS_MAX`] different things are done to values.
    pub fn has_too_many_effects(&self) -> bool {
        let of_rules = self.sets.iter().flat_map(|set| &set.rules).map(|rule| {
            (
                rule.definition.scale.unwrap_or(1.0),
                rule.treatment.as_ref().map(|treatment| &treatment.observer),
            )
        });
        let of_others = self.unmapped.as_ref().map(|treatment| (1.0, Some(&treatment.observer)));
        let mut effects: Vec<(f64, Option<&Arc<[f64]>>)> = Vec::new();
        for (scale, observer) in of_rules.chain(of_others) {
            let bounds = match observer {
                Some(Observer::Histogram { buckets }) => Some(buckets),
                _ => None,
            };
            // What has no buckets of its own is scaled all the same.
            for effect in [(scale, None), (scale, bounds)] {
                if effect != (1.0, None) && !effects.contains(&effect) {
                    effects.push(effect);
                }
            }
            if effects.len() > EFFECTS_MAX {
                return true;
            }
        }
        false
    }

    /// What becomes of a name.
    pub fn resolve(&self, name: &str, metric_type: MetricType) -> Resolution<'_> {
        let kind = Kind::of(metric_type);
        match self.sets.iter().find_map(|set| set.find(name, kind)) {
            Some(mapped) if mapped.rule.definition.drop => Resolution::Dropped(mapped.rule),
            Some(mapped) => Resolution::Mapped(mapped),
            None => Resolution::Unmapped(self.unmapped.as_ref()),
        }
    }
}

impl<'m> Mapped<'m> {
    fn new<'n>(rule: &'m Rule, text: impl Fn(usize) -> &'n str) -> Self {
        let name = escape(&rule.name.fill(&text));
        let labels = rule.labels.iter().map(|(label, template)| (&**label, template.fill(&text))).collect();
        Mapped { rule, name, labels }
    }

    /// The labels of the series: those of its name and tags, and the rule's.
    /// Where both have one the rule's wins, unless it honours labels.
    pub fn labels(&self, tags: &Labels) -> Labels {
        let gives = |tag: &str| self.labels.iter().any(|(label, _)| *label == escape_label_name(tag));
        if self.rule.definition.honor_labels {
            let known = |label: &str| tags.iter().any(|(tag, _)| escape_label_name(tag) == label);
            let given = self.labels.iter().filter(|(label, _)| !known(label));
            return Labels::from_pairs(tags.iter().chain(given.map(|(label, text)| (*label, text.as_str()))));
        }
        let kept = tags.iter().filter(|(tag, _)| !gives(tag));
        Labels::from_pairs(kept.chain(self.labels.iter().map(|(label, text)| (*label, text.as_str()))))
    }
}

/// Every character but letters, digits and `_` becomes `_`, several `-` a
/// single one; a digit does not stand first.
fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len() + 1);
    let mut dash_before = false;
    for c in name.chars() {
        let plain = c.is_ascii_alphanumeric() || c == '_';
        if escaped.is_empty() && c.is_ascii_digit() {
            escaped.push('_');
        }
        if plain || c != '-' || !dash_before {
            escaped.push(if plain { c } else { '_' });
        }
        dash_before = c == '-';
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::rule::Style;
    use super::*;
    use crate::model::label::NAME;

    fn definition(matching: &str, style: Style, name: &str, labels: &[(&str, &str)]) -> Definition {
        let labels = labels.iter().map(|(label, text)| ((*label).into(), (*text).into())).collect();
        Definition { matching: matching.into(), style, name: name.into(), labels, ..Definition::default() }
    }

    fn mapper(files: Vec<Vec<Definition>>) -> Mapper {
        let set = |definitions| RuleSet::new("m.yml", true, Treatment::default(), definitions).unwrap().0;
        Mapper::new(files.into_iter().map(set).collect())
    }

    fn told(mapper: &Mapper, name: &str, metric_type: MetricType, tags: &[(&str, &str)]) -> String {
        match mapper.resolve(name, metric_type) {
            Resolution::Unmapped(_) => "unmapped".into(),
            Resolution::Dropped(_) => "dropped".into(),
            Resolution::Mapped(mapped) => {
                let tags = tags.iter().copied().chain([(NAME, mapped.name.as_str())]);
                mapped.labels(&Labels::from_pairs(tags)).to_string()
            }
        }
    }

    #[test]
    fn globs_come_before_regexes_and_files_in_their_order() {
        let mapper = mapper(vec![
            vec![
                definition("a\\.(.*)", Style::Regex, "by_regex", &[("rest", "$1")]),
                definition("a.*.c", Style::Glob, "by_glob", &[("mid", "$1")]),
            ],
            vec![definition("*.b", Style::Glob, "second_file", &[])],
        ]);
        let check = |name, expected| assert_eq!(told(&mapper, name, MetricType::Counter, &[]), expected);
        check("a.b.c", r#"by_glob{mid="b"}"#);
        check("a.b", r#"by_regex{rest="b"}"#);
        check("x.b", "second_file");
        check("x.c", "unmapped");
    }

    #[test]
    fn a_rules_labels_win_over_tags_unless_it_honours_them() {
        let rule = definition("a.*", Style::Glob, "x", &[("env_name", "$1"), ("team", "t")]);
        let honouring = Definition { honor_labels: true, ..rule.clone() };
        let tags = [("env.name", "tag"), ("host", "h")];
        let check = |rule: Definition, expected| {
            assert_eq!(told(&mapper(vec![vec![rule]]), "a.b", MetricType::Gauge, &tags), expected);
        };
        check(rule, r#"x{env_name="b", host="h", team="t"}"#);
        check(honouring, r#"x{"env.name"="tag", host="h", team="t"}"#);
    }

    #[test]
    fn names_that_rules_give_are_escaped_as_there() {
        let mapper = mapper(vec![vec![definition(".+", Style::Regex, "$0", &[("sent", "$0")])]]);
        let check = |name: &str, expected: &str| {
            let Resolution::Mapped(mapped) = mapper.resolve(name, MetricType::Counter) else {
                panic!("{name}")
            };
            assert_eq!((mapped.name.as_str(), mapped.labels[0].1.as_str()), (expected, name));
        };
        check("my.statsd_counter", "my_statsd_counter");
        check("web-server.x:y", "web_server_x_y");
        check("foo--bar---baz", "foo_bar_baz");
        check("9é", "_9_");
    }

    #[test]
    fn a_type_of_its_own_and_drop() {
        let only = |kind, mut definition: Definition| {
            definition.kind = Some(kind);
            definition
        };
        let mapper = mapper(vec![vec![
            only(Kind::Observer, definition("a.*", Style::Glob, "observed", &[])),
            Definition { drop: true, ..only(Kind::Gauge, definition("a.*", Style::Glob, "x", &[])) },
        ]]);
        let check = |metric_type, expected| assert_eq!(told(&mapper, "a.b", metric_type, &[]), expected);
        check(MetricType::Timer, "observed");
        check(MetricType::Histogram, "observed");
        check(MetricType::Gauge, "dropped");
        check(MetricType::Counter, "unmapped");
        check(MetricType::Set, "unmapped");
    }
}
