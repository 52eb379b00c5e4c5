//! `[alert]` and `[[receiver]]`: as they are written, and what they mean. All
//! problems of a section are found in one go. URLs of receivers are secrets
//! from the moment they are read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::Problem;
use crate::alert::{Definition, Rule, RuleError};
use crate::model::duration;
use crate::notify::{AnyReceiver, Endpoint, EndpointError, Secret, Slack, Target, Webhook};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

/// Most rules and receivers; more are an error.
pub const RULES_MAX: usize = 10_000;
pub const RECEIVERS_MAX: usize = 100;

/// `[alert]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlertSection {
    pub rule: Vec<RuleSection>,
}

/// `[[alert.rule]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleSection {
    pub name: Spanned<String>,
    pub expr: Spanned<String>,
    pub r#for: Option<Spanned<String>>,
    pub keep_firing_for: Option<Spanned<String>>,
    #[serde(default)]
    pub labels: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    pub annotations: BTreeMap<String, Spanned<String>>,
}

/// `[[receiver]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiverSection {
    pub name: Spanned<String>,
    pub slack: Option<EndpointSection>,
    pub webhook: Option<EndpointSection>,
}

/// `[receiver.slack]`, `[receiver.webhook]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointSection {
    pub url: Option<Secret>,
    pub url_file: Option<Spanned<PathBuf>>,
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Secret::new)
    }
}

impl AlertSection {
    /// The rules, in the order in which they are written.
    pub fn rules(&self) -> Result<Vec<Rule>, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut rules: Vec<Rule> = Vec::new();
        if self.rule.len() > RULES_MAX {
            problems.push(Problem::new(
                None,
                "alert.rule",
                format!("{} rules are more than {RULES_MAX}", self.rule.len()),
            ));
        }
        for (at, section) in self.rule.iter().take(RULES_MAX).enumerate() {
            let key = format!("alert.rule[{at}]");
            match section.rule(&key) {
                Ok(rule) if rules.iter().any(|other| other.id == rule.id) => problems.push(Problem::new(
                    section.name.span(),
                    format!("{key}.name"),
                    format!(
                        "another rule is called {:?} and has the same labels; \
                         give this one a different name or label",
                        rule.name
                    ),
                )),
                Ok(rule) => rules.push(rule),
                Err(found) => problems.extend(found),
            }
        }
        if problems.is_empty() { Ok(rules) } else { Err(problems) }
    }
}

impl RuleSection {
    fn rule(&self, key: &str) -> Result<Rule, Vec<Problem>> {
        let mut problems = Vec::new();
        let name = self.name.get_ref();
        let mut wait_ms = |text: &Option<Spanned<String>>, field: &str| {
            let Some(text) = text else { return 0 };
            duration::parse_ms(text.get_ref()).unwrap_or_else(|error| {
                problems.push(Problem::new(text.span(), format!("{key}.{field}"), in_rule(name, error)));
                0
            })
        };
        let texts = |table: &BTreeMap<String, Spanned<String>>| {
            table.iter().map(|(name, text)| (name.clone(), text.get_ref().clone())).collect()
        };
        let definition = Definition {
            name: name.clone(),
            expr: self.expr.get_ref().clone(),
            for_ms: wait_ms(&self.r#for, "for"),
            keep_firing_for_ms: wait_ms(&self.keep_firing_for, "keep_firing_for"),
            labels: texts(&self.labels),
            annotations: texts(&self.annotations),
        };
        match Rule::new(&definition) {
            Ok(rule) if problems.is_empty() => Ok(rule),
            Ok(_) => Err(problems),
            Err(errors) => {
                problems.extend(errors.iter().map(|error| self.problem(key, error)));
                Err(problems)
            }
        }
    }

    fn problem(&self, key: &str, error: &RuleError) -> Problem {
        let (span, field) = match error {
            RuleError::NoName => (Some(self.name.span()), "name".to_owned()),
            RuleError::Expr { .. } | RuleError::Type { .. } => (Some(self.expr.span()), "expr".to_owned()),
            RuleError::LabelName { name, .. } | RuleError::Label { name, .. } => {
                (self.labels.get(name).map(Spanned::span), format!("labels.{name}"))
            }
            RuleError::Annotation { name, .. } => {
                (self.annotations.get(name).map(Spanned::span), format!("annotations.{name}"))
            }
        };
        Problem::new(span, format!("{key}.{field}"), in_rule(self.name.get_ref(), error))
    }
}

/// The receivers; a relative `url_file` begins at `folder`, that of the config.
pub fn receivers(sections: &[ReceiverSection], folder: &Path) -> Result<Vec<Target>, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut targets: Vec<Target> = Vec::new();
    if sections.len() > RECEIVERS_MAX {
        problems.push(Problem::new(
            None,
            "receiver",
            format!("{} receivers are more than {RECEIVERS_MAX}", sections.len()),
        ));
    }
    for (at, section) in sections.iter().take(RECEIVERS_MAX).enumerate() {
        let key = format!("receiver[{at}]");
        let name = section.name.get_ref();
        let mut wrong_name = |message: String| {
            problems.push(Problem::new(section.name.span(), format!("{key}.name"), message));
        };
        if name.trim().is_empty() {
            wrong_name("a receiver needs a name".into());
        } else if targets.iter().any(|target| target.name == *name) {
            wrong_name(format!("another receiver is called {name:?}; names must differ"));
        }
        match section.receiver(&key, folder) {
            Ok(receiver) => targets.push(Target { name: name.clone(), receiver }),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(targets) } else { Err(problems) }
}

impl ReceiverSection {
    fn receiver(&self, key: &str, folder: &Path) -> Result<AnyReceiver, Problem> {
        let name = self.name.get_ref();
        match (&self.slack, &self.webhook) {
            (Some(section), None) => {
                let endpoint = self.endpoint(section, &format!("{key}.slack"), folder)?;
                Ok(AnyReceiver::Slack(Slack { endpoint }))
            }
            (None, Some(section)) => {
                let endpoint = self.endpoint(section, &format!("{key}.webhook"), folder)?;
                Ok(AnyReceiver::Webhook(Webhook { endpoint }))
            }
            (None, None) => Err(Problem::new(
                self.name.span(),
                key,
                format!(
                    "receiver {name:?} says nowhere to send to; add [receiver.slack] or [receiver.webhook]"
                ),
            )),
            (Some(_), Some(_)) => Err(Problem::new(
                self.name.span(),
                key,
                format!("receiver {name:?} has both slack and webhook; write two receivers"),
            )),
        }
    }

    /// Problems point at the receiver's name, so that no excerpt shows a URL.
    fn endpoint(&self, section: &EndpointSection, key: &str, folder: &Path) -> Result<Endpoint, Problem> {
        let problem = |field: &str, message: String| {
            let message = format!("receiver {:?}: {message}", self.name.get_ref());
            Problem::new(self.name.span(), format!("{key}{field}"), message)
        };
        match (&section.url, &section.url_file) {
            (Some(url), None) => {
                Endpoint::from_url(url).map_err(|error: EndpointError| problem(".url", error.to_string()))
            }
            (None, Some(path)) if path.get_ref().as_os_str().is_empty() => Err(problem(
                ".url_file",
                "url_file is empty; write the path of a file that holds the URL".into(),
            )),
            (None, Some(path)) => Ok(Endpoint::from_file(folder.join(path.get_ref()))),
            (None, None) => {
                Err(problem("", "add url, or url_file with the path of a file that holds it".into()))
            }
            (Some(_), Some(_)) => Err(problem("", "has both url and url_file; keep one".into())),
        }
    }
}

fn in_rule(name: &str, error: impl std::fmt::Display) -> String {
    if name.is_empty() { error.to_string() } else { format!("rule {name:?}: {error}") }
}

#[cfg(test)]
mod tests {
    use super::super::Error;
    use super::*;
    use crate::notify::Receiver;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(default)]
        alert: AlertSection,
        #[serde(default)]
        receiver: Vec<ReceiverSection>,
    }

    /// Rules and receivers of a config, or what the user reads.
    fn read(text: &str) -> Result<(Vec<Rule>, Vec<Target>), String> {
        let file: File = toml::from_str(text).map_err(|error| {
            Error::invalid("c.toml", text, &[Problem::new(error.span(), "toml", error.message())]).to_string()
        })?;
        let problems = |found: Vec<Problem>| Error::invalid("c.toml", text, &found).to_string();
        let rules = file.alert.rules().map_err(problems)?;
        Ok((rules, receivers(&file.receiver, Path::new("/etc/statsdeck")).map_err(problems)?))
    }

    #[test]
    fn rules_and_receivers_are_read() {
        let (rules, targets) = read(
            r#"
[[alert.rule]]
name = "EtlErrors"
expr = 'increase(etl_errors[1h]) > 0'
for = "5m"
keep_firing_for = "1m30s"
labels = { severity = "page" }
[alert.rule.annotations]
summary = "{{ $value | humanize }} errors"

[[alert.rule]]
name = "Watchdog"
expr = "vector(1)"

[[receiver]]
name = "on-call"
[receiver.slack]
url_file = "slack.url"
[[receiver]]
name = "other"
webhook = { url = "http://127.0.0.1:1/hook" }
"#,
        )
        .unwrap();
        assert_eq!(rules.len(), 2);
        let rule = &rules[0];
        assert_eq!((&*rule.name, rule.for_ms, rule.keep_firing_for_ms), ("EtlErrors", 300_000, 90_000));
        assert_eq!(rule.expr.text(), "increase(etl_errors[1h]) > 0");
        let shown: Vec<_> = targets
            .iter()
            .map(|t| format!("{} {} {}", t.name, t.receiver.kind(), t.receiver.endpoint()))
            .collect();
        assert_eq!(shown, ["on-call slack url_file /etc/statsdeck/slack.url", "other webhook 127.0.0.1:1"]);
        assert!(read("").unwrap().0.is_empty());
    }

    #[test]
    fn what_is_wrong_is_shown_with_its_line() {
        let rule = |rest: &str| format!("[[alert.rule]]\nname = \"R\"\nexpr = 'x > 0'\n{rest}\n");
        let receiver = |rest: &str| format!("[[receiver]]\nname = \"r\"\n{rest}\n");
        let cases = [
            (
                "[[alert.rule]]\nname = \"R\"\nexpr = 'rate(x'\n".to_owned(),
                &["c.toml:3: alert.rule[0].expr: rule \"R\": "][..],
            ),
            (
                "[[alert.rule]]\nname = \"\"\nexpr = 'x'\n".to_owned(),
                &["c.toml:2: alert.rule[0].name: a rule needs a name"],
            ),
            (
                rule("for = \"5 min\""),
                &["c.toml:4: alert.rule[0].for: rule \"R\": \"5 min\" is not a duration", "^^^^^^^"],
            ),
            (rule("for = 300"), &["c.toml:4: ", "expected a string"]),
            (rule("annotation = {}"), &["c.toml:4: ", "unknown field `annotation`", "`annotations`"]),
            (
                rule("labels = { a = \"{{ $label.x }}\" }\nannotations = { b = \"{{\" }"),
                &[
                    "c.toml:4: alert.rule[0].labels.a: rule \"R\": label \"a\": ",
                    "c.toml:5: alert.rule[0].annotations.b: ",
                ],
            ),
            (rule("") + &rule(""), &["c.toml:6: alert.rule[1].name: another rule is called \"R\""]),
            (
                receiver(""),
                &["c.toml:2: receiver[0]: receiver \"r\" says nowhere to send to; add [receiver.slack]"],
            ),
            (receiver("slack = {}"), &["c.toml:2: receiver[0].slack: receiver \"r\": add url, or url_file"]),
            (receiver("slack = {url_file = \"\"}"), &["url_file is empty"]),
            (receiver("slack = {url = \"https://h/\", url_file = \"x\"}"), &["has both url and url_file"]),
            (
                receiver("slack = {url = \"https://h/\"}\nwebhook = {url = \"https://h/\"}"),
                &["has both slack and webhook"],
            ),
            (receiver("slack = {uri = \"https://h/\"}"), &["unknown field `uri`"]),
            (
                receiver("webhook = {url_file = \"a\"}").repeat(2),
                &["c.toml:5: receiver[1].name: another receiver is called \"r\""],
            ),
        ];
        for (text, expected) in cases {
            let error = read(&text).unwrap_err();
            for part in expected {
                assert!(error.contains(part), "{text}\n{error}");
            }
        }
    }

    #[test]
    fn no_error_shows_a_url() {
        let secret = "services/T0/B0/hidden";
        let cases = [
            format!("slack = {{ url = \"hooks.slack.com/{secret}\" }}"),
            format!("slack = {{ url = \"ftp://hooks.slack.com/{secret}\" }}"),
            "slack = { url = \"https://user:hidden@hooks.slack.com/\" }".to_owned(),
            format!("slack = {{ url = \"https://hooks.slack.com/{secret}\", urls = 1 }}"),
            format!("slack = {{ url = https://hooks.slack.com/{secret} }}"),
            format!("slack = \"https://hooks.slack.com/{secret}\""),
            format!("slack = {{ url = [\"https://hooks.slack.com/{secret}\"] }}"),
            format!("webhook = {{ url = \"https://hooks.slack.com/{secret}\", url_file = \"x\" }}"),
        ];
        for case in cases {
            let text = format!("[[receiver]]\nname = \"r\"\n{case}\n");
            let error = read(&text).unwrap_err();
            assert!(!error.contains("hidden"), "{error}");
        }
        let text = format!("[[receiver]]\nname = \"r\"\nslack = {{ url = \"https://h/{secret}\" }}\n");
        let file: File = toml::from_str(&text).unwrap();
        let shown = format!("{file:?} {:?}", read(&text).unwrap().1);
        assert!(!shown.contains("hidden"), "{shown}");
    }
}
