//! A rule: an expression that is watched, how long it must hold, and what its
//! alerts carry. Cannot be built wrong: expression and templates are parsed,
//! names checked.

use super::template::{self, Template};
use crate::model::Labels;
use crate::model::label::NAME;
use crate::query;
use xxhash_rust::xxh3::Xxh3;

/// The label that holds the rule's name.
pub const ALERT_NAME: &str = "alertname";

/// Most alerts of one rule at a time, unless the rule says otherwise.
pub const ALERTS_PER_RULE_MAX: usize = 1_000;

/// What a rule is across restarts and reloads: its name and labels as written.
/// A rule whose threshold, `for` or texts change stays the same rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId(pub u64);

/// A rule as it was written.
#[derive(Clone, Debug, Default)]
pub struct Definition {
    pub name: String,
    pub expr: String,
    pub for_ms: u64,
    pub keep_firing_for_ms: u64,
    pub labels: Vec<(String, String)>,
    pub annotations: Vec<(String, String)>,
}

/// A rule that can be evaluated.
#[derive(Clone, Debug)]
pub struct Rule {
    pub id: RuleId,
    pub name: Box<str>,
    pub expr: query::Parsed,
    /// How long the expression must hold before the alert fires.
    pub for_ms: u64,
    /// How long the alert goes on firing after the expression held last.
    pub keep_firing_for_ms: u64,
    pub labels: Vec<(Box<str>, Template)>,
    pub annotations: Vec<(Box<str>, Template)>,
    /// Most alerts at a time; further label sets are counted, not tracked.
    pub alerts_max: usize,
}

/// What is wrong with a definition.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    #[error("a rule needs a name")]
    NoName,
    #[error("{reason}")]
    Expr { reason: String },
    #[error(
        "the expression gives a {found}; a rule needs an instant vector or a scalar, such as `{example}`"
    )]
    Type { found: &'static str, example: String },
    #[error("label {name:?} can not be set by a rule: {reason}")]
    LabelName { name: String, reason: &'static str },
    #[error("label {name:?}: {source}")]
    Label { name: String, source: template::Error },
    #[error("annotation {name:?}: {source}")]
    Annotation { name: String, source: template::Error },
}

impl Rule {
    /// Parses and checks `definition`; all that is wrong with it.
    pub fn new(definition: &Definition) -> Result<Self, Vec<RuleError>> {
        let mut errors = Vec::new();
        if definition.name.trim().is_empty() {
            errors.push(RuleError::NoName);
        }
        let expr = parse(&definition.expr).map_err(|error| errors.push(error)).ok();
        let mut labels = Vec::new();
        for (name, text) in &definition.labels {
            if let Some(reason) = forbidden_label(name) {
                errors.push(RuleError::LabelName { name: name.clone(), reason });
            }
            match Template::parse(text) {
                Ok(template) => labels.push((name.as_str().into(), template)),
                Err(source) => errors.push(RuleError::Label { name: name.clone(), source }),
            }
        }
        let mut annotations = Vec::new();
        for (name, text) in &definition.annotations {
            match Template::parse(text) {
                Ok(template) => annotations.push((name.as_str().into(), template)),
                Err(source) => errors.push(RuleError::Annotation { name: name.clone(), source }),
            }
        }
        match expr {
            Some(expr) if errors.is_empty() => Ok(Rule {
                id: id(definition),
                name: definition.name.as_str().into(),
                expr,
                for_ms: definition.for_ms,
                keep_firing_for_ms: definition.keep_firing_for_ms,
                labels,
                annotations,
                alerts_max: ALERTS_PER_RULE_MAX,
            }),
            _ => Err(errors),
        }
    }

    /// Labels of the alert that `sample` makes: its own without the metric's
    /// name, then the rule's, then `alertname`. Empty ones are left out.
    pub fn alert_labels(&self, sample: &Labels, value: f64) -> Labels {
        let own: Vec<(&str, String)> =
            self.labels.iter().map(|(name, text)| (&**name, text.render(sample, value))).collect();
        let pairs = sample
            .iter()
            .filter(|(name, _)| *name != NAME)
            .chain(own.iter().map(|(name, text)| (*name, text.as_str())))
            .chain([(ALERT_NAME, &*self.name)]);
        let merged = Labels::from_pairs(pairs);
        if merged.iter().all(|(_, value)| !value.is_empty()) {
            return merged;
        }
        Labels::from_pairs(merged.iter().filter(|(_, value)| !value.is_empty()))
    }

    /// Annotations of the alert that `sample` makes.
    pub fn alert_annotations(&self, sample: &Labels, value: f64) -> Labels {
        let texts = self.annotations.iter().map(|(name, text)| (name.clone(), text.render(sample, value)));
        Labels::from_pairs(texts)
    }
}

fn parse(text: &str) -> Result<query::Parsed, RuleError> {
    use query::ValueType;
    let parsed = query::Expr::parse(text).map_err(|error| RuleError::Expr { reason: error.to_string() })?;
    match parsed.value_type() {
        ValueType::Scalar | ValueType::Vector => Ok(parsed),
        ValueType::Matrix => Err(RuleError::Type {
            found: ValueType::Matrix.as_str(),
            example: format!("increase({}) > 0", text.trim()),
        }),
        ValueType::String => {
            Err(RuleError::Type { found: ValueType::String.as_str(), example: "up == 0".into() })
        }
    }
}

fn forbidden_label(name: &str) -> Option<&'static str> {
    match name {
        "" => Some("it has no name"),
        NAME => Some("alerts have no metric name"),
        ALERT_NAME => Some("it is the rule's name"),
        _ => None,
    }
}

fn id(definition: &Definition) -> RuleId {
    let mut labels: Vec<_> = definition.labels.iter().collect();
    labels.sort();
    let mut hash = Xxh3::new();
    for text in std::iter::once(&definition.name).chain(labels.into_iter().flat_map(|(n, v)| [n, v])) {
        hash.update(&(text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    RuleId(hash.digest())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition() -> Definition {
        Definition {
            name: "EtlErrors".into(),
            expr: "increase(etl_errors[1h]) > 0".into(),
            labels: vec![("severity".into(), "page".into()), ("team".into(), "{{ $labels.team }}".into())],
            annotations: vec![("summary".into(), "{{ $value }} errors in {{ $labels.__name__ }}".into())],
            ..Default::default()
        }
    }

    #[test]
    fn an_alert_carries_the_labels_of_sample_and_rule() {
        let rule = Rule::new(&definition()).unwrap();
        let sample = Labels::from_pairs([(NAME, "x"), ("severity", "low"), ("job", "a"), ("alertname", "z")]);
        let labels = rule.alert_labels(&sample, 2.0);
        assert_eq!(labels.to_string(), r#"{alertname="EtlErrors", job="a", severity="page"}"#);
        assert_eq!(rule.alert_annotations(&sample, 2.0).get("summary"), Some("2 errors in x"));
    }

    #[test]
    fn a_rule_stays_the_same_when_its_threshold_or_texts_change() {
        let first = Rule::new(&definition()).unwrap();
        let mut other = definition();
        other.expr = "increase(etl_errors[1h]) > 5".into();
        other.for_ms = 60_000;
        other.annotations.clear();
        other.labels.reverse();
        assert_eq!(Rule::new(&other).unwrap().id, first.id);
        other.labels.pop();
        assert_ne!(Rule::new(&other).unwrap().id, first.id);
    }

    #[test]
    fn what_is_wrong_is_named() {
        type Change = fn(&mut Definition);
        let cases: [(Change, &str); 8] = [
            (|d| d.name = " ".into(), "a rule needs a name"),
            (|d| d.expr = "rate(".into(), ""),
            (|d| d.expr = String::new(), ""),
            (
                |d| d.expr = "x[5m]".into(),
                "gives a range vector; a rule needs an instant vector or a scalar, such as `increase(x[5m]) > 0`",
            ),
            (|d| d.expr = "\"x\"".into(), "gives a string"),
            (
                |d| d.labels.push((ALERT_NAME.into(), "x".into())),
                "\"alertname\" can not be set by a rule: it is the rule's name",
            ),
            (|d| d.labels.push(("a".into(), "{{".into())), "label \"a\": \"{{\" at byte 0 is never closed"),
            (
                |d| d.annotations.push(("b".into(), "{{ x }}".into())),
                "annotation \"b\": {{ x }}: \"x\" is not known",
            ),
        ];
        for (change, expected) in cases {
            let mut definition = definition();
            change(&mut definition);
            let errors = Rule::new(&definition).unwrap_err();
            assert_eq!(errors.len(), 1, "{errors:?}");
            assert!(errors[0].to_string().contains(expected), "{}", errors[0]);
        }
    }
}
