//! A Slack incoming webhook. The message's line is its title with a link; one
//! coloured attachment for what fires and one for what is over, a section an
//! alert. All texts are escaped and kept within Slack's limits; what does not
//! fit is counted, not sent.

use super::endpoint::Endpoint;
use super::message::{Message, Notice};
use super::receiver::{Link, Receiver, Reply, Verdict, judge_status};
use super::webhook::rfc3339;
use crate::alert::number;
use serde::Serialize;

/// Slack's limits, in characters, or below them where it counts otherwise.
const TITLE_CHARS: usize = 1_024;
const SECTION_CHARS: usize = 3_000;
const FIELD_CHARS: usize = 300;
const FIELDS: usize = 10;
/// Of a link's target, escaped; longer ones are left out, since half a URL
/// leads nowhere. Two of them fit in a section beside its texts.
const LINK_CHARS: usize = 340;
/// Slack refuses a message somewhere above 13,200 characters.
const MESSAGE_CHARS: usize = 11_000;
/// Alerts that are written out for each colour; with at most two blocks for
/// the rest this stays below 50 blocks.
const ALERTS_SHOWN: usize = 10;

/// An incoming webhook of Slack, or of what imitates it.
#[derive(Clone, Debug)]
pub struct Slack {
    pub endpoint: Endpoint,
}

#[derive(Serialize)]
struct Body {
    /// Also what a phone shows on its lock screen.
    text: String,
    attachments: Vec<Attachment>,
}

#[derive(Serialize)]
struct Attachment {
    color: &'static str,
    fallback: String,
    blocks: Vec<Block>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Block {
    Section {
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<Text>,
        fields: Vec<Text>,
    },
    Context {
        elements: Vec<Text>,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", content = "text", rename_all = "lowercase")]
enum Text {
    Mrkdwn(String),
}

impl Receiver for Slack {
    fn kind(&self) -> &'static str {
        "slack"
    }

    fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    fn body(&self, message: &Message, link: Link<'_>) -> Vec<u8> {
        // Structs of text can not fail to be written.
        serde_json::to_vec(&body(message, link)).unwrap_or_default()
    }

    fn judge(&self, reply: &Reply) -> Verdict {
        let code = error_code(&reply.body);
        let told = |reason: String| match code {
            Some(code) => format!("{reason} {code}"),
            None => reason,
        };
        match judge_status(reply) {
            Verdict::Delivered if is_refusal(&reply.body) => Verdict::GiveUp {
                reason: told(format!("answered {} but refused the message", reply.status)),
                broken: false,
            },
            Verdict::Delivered => Verdict::Delivered,
            Verdict::Retry { after_ms, reason } => Verdict::Retry { after_ms, reason: told(reason) },
            Verdict::GiveUp { reason, broken } => {
                let gone = matches!(
                    code,
                    Some(
                        "no_service"
                            | "no_active_hooks"
                            | "no_team"
                            | "team_disabled"
                            | "invalid_token"
                            | "channel_not_found"
                            | "channel_is_archived"
                            | "action_prohibited"
                            | "posting_to_general_channel_denied"
                            | "user_not_found"
                    )
                );
                Verdict::GiveUp { reason: told(reason), broken: broken || gone }
            }
        }
    }

    /// One message a second; short bursts would pass, but a 429 costs more.
    fn gap_ms(&self) -> i64 {
        1_000
    }
}

fn body(message: &Message, link: Link<'_>) -> Body {
    let title = escape(&message.title(), TITLE_CHARS);
    let shared = shared_summary(message);
    let mut text = match link.public_url {
        Some(url) => format!("*<{}|{title}>*", link_target(&format!("{url}/dashboard"))),
        None => format!("*{title}*"),
    };
    if let Some(summary) = shared {
        text.push_str(": ");
        text.push_str(&escape(summary, TITLE_CHARS));
    }
    let mut left = MESSAGE_CHARS.saturating_sub(text.chars().count());
    let mut attachments = Vec::new();
    for (color, notices) in [("danger", &message.firing), ("good", &message.resolved)] {
        if !notices.is_empty() {
            attachments.push(attachment(message, color, notices, shared.is_some(), &mut left));
        }
    }
    Body { text, attachments }
}

fn attachment(
    message: &Message,
    color: &'static str,
    notices: &[Notice],
    summary_is_shared: bool,
    left: &mut usize,
) -> Attachment {
    let mut blocks = Vec::new();
    for notice in notices.iter().take(ALERTS_SHOWN) {
        let (block, chars) = section(notice, summary_is_shared);
        if chars > *left {
            break;
        }
        *left -= chars;
        blocks.push(block);
    }
    let hidden = notices.len() - blocks.len();
    let mut closing = Vec::new();
    if hidden > 0 {
        closing.push(Text::Mrkdwn(format!("and {hidden} more")));
    }
    if let Some(expr) = &message.expr {
        closing.push(Text::Mrkdwn(escape(expr, FIELD_CHARS)));
    }
    if !closing.is_empty() {
        blocks.push(Block::Context { elements: closing });
    }
    let state = if color == "danger" { "firing" } else { "resolved" };
    let fallback = escape(&format!("{}: {} {state}", message.rule, notices.len()), TITLE_CHARS);
    Attachment { color, fallback, blocks }
}

/// One alert, and how many characters it takes.
fn section(notice: &Notice, summary_is_shared: bool) -> (Block, usize) {
    let mut lines = Vec::new();
    if let Some(summary) = annotation(notice, "summary").filter(|_| !summary_is_shared) {
        lines.push(format!("*{}*", escape(summary, SECTION_CHARS / 4)));
    }
    if let Some(description) = annotation(notice, "description") {
        lines.push(escape(description, SECTION_CHARS / 2));
    }
    let links = [("runbook_url", "Runbook"), ("dashboard_url", "Dashboard")].into_iter().filter_map(
        |(annotation_name, shown)| {
            let target = annotation(notice, annotation_name).filter(|url| leads_to_the_web(url))?;
            let target = Some(link_target(target)).filter(|target| target.chars().count() <= LINK_CHARS)?;
            Some(format!("<{target}|{shown}>"))
        },
    );
    lines.extend(links);

    let value = if notice.resolved_at_ms.is_some() { "Last value" } else { "Value" };
    let mut fields = vec![field(value, &escape(&number::plain(notice.value), FIELD_CHARS))];
    fields.push(match notice.resolved_at_ms {
        None => field("Since", &local_time(notice.fired_at_ms)),
        Some(at_ms) => {
            let seconds = at_ms.saturating_sub(notice.fired_at_ms).max(0) / 1_000;
            field("Lasted", &number::humanize_duration(seconds as f64))
        }
    });
    let labels: Vec<_> = notice.labels.iter().filter(|(name, _)| *name != "alertname").collect();
    let fit = if labels.len() <= FIELDS - fields.len() { labels.len() } else { FIELDS - fields.len() - 1 };
    for (name, value) in labels.iter().take(fit) {
        fields.push(field(&escape(name, FIELD_CHARS / 2), &escape(value, FIELD_CHARS / 2)));
    }
    if fit < labels.len() {
        fields.push(field("Labels", &format!("and {} more", labels.len() - fit)));
    }

    let text = (!lines.is_empty()).then(|| lines.join("\n"));
    let chars = text.iter().chain(&fields).map(|text| text.chars().count()).sum();
    let section = Block::Section {
        text: text.map(Text::Mrkdwn),
        fields: fields.into_iter().map(Text::Mrkdwn).collect(),
    };
    (section, chars)
}

fn field(name: &str, value: &str) -> String {
    format!("*{name}*\n{value}")
}

/// The summary, if it is the same for all alerts and there is one.
fn shared_summary(message: &Message) -> Option<&str> {
    let mut summaries = message.notices().map(|notice| annotation(notice, "summary"));
    let first = summaries.next()??;
    summaries.all(|summary| summary == Some(first)).then_some(first)
}

fn annotation<'a>(notice: &'a Notice, name: &str) -> Option<&'a str> {
    notice.annotations.get(name).map(str::trim).filter(|text| !text.is_empty())
}

/// Shown in the reader's own time zone; UTC where Slack can not do that.
fn local_time(at_ms: i64) -> String {
    let seconds = at_ms.div_euclid(1_000);
    format!("<!date^{seconds}^{{date_short_pretty}} {{time_secs}}|{}>", rfc3339(seconds * 1_000))
}

/// `&`, `<` and `>` are all that Slack wants escaped. Cut to `max_chars`
/// characters of what comes out, an entity never in two.
fn escape(text: &str, max_chars: usize) -> String {
    let mut escaped = String::with_capacity(text.len().min(max_chars));
    let mut chars = 0;
    // How far the text goes when an ellipsis must follow.
    let mut cut_at = 0;
    for c in text.chars() {
        let before = escaped.len();
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            c => escaped.push(c),
        }
        chars += escaped[before..].chars().count();
        if chars > max_chars {
            escaped.truncate(cut_at);
            escaped.push('…');
            return escaped;
        }
        if chars < max_chars {
            cut_at = escaped.len();
        }
    }
    escaped
}

/// Anything else within `<…>` has a meaning of its own to Slack: `<!channel>`
/// calls everybody, and labels, which come from open sockets, may stand there.
fn leads_to_the_web(url: &str) -> bool {
    let has_scheme =
        |scheme: &str| url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    has_scheme("https://") || has_scheme("http://")
}

/// A URL within `<…|…>`: what would end it early is percent-encoded.
fn link_target(url: &str) -> String {
    let mut target = String::with_capacity(url.len());
    for c in url.chars() {
        match c {
            '&' => target.push_str("&amp;"),
            '<' => target.push_str("%3C"),
            '>' => target.push_str("%3E"),
            '|' => target.push_str("%7C"),
            c if c.is_whitespace() || c.is_control() => target.push_str("%20"),
            c => target.push(c),
        }
    }
    target
}

/// Slack's word for what went wrong. Anything else, such as a proxy's page,
/// is not repeated: it could hold the URL.
fn error_code(body: &str) -> Option<&str> {
    let body = match body.split_once("\"error\":") {
        Some((_, rest)) => rest.trim_start().trim_start_matches('"').split('"').next()?,
        None => body.trim(),
    };
    let is_code = !body.is_empty() && body.len() <= 40;
    (is_code && body.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')).then_some(body)
}

fn is_refusal(body: &str) -> bool {
    body.starts_with('{') && body.replace(' ', "").contains("\"ok\":false")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;
    use proptest::prelude::*;

    fn notice(pairs: &[(&str, &str)], annotations: &[(&str, &str)]) -> Notice {
        Notice {
            fingerprint: 1,
            labels: Labels::from_pairs(pairs.iter().copied()),
            annotations: Labels::from_pairs(annotations.iter().copied()),
            value: 3.0,
            fired_at_ms: 1_000,
            resolved_at_ms: None,
        }
    }

    fn message(rule: &str, firing: Vec<Notice>) -> Message {
        Message { rule: rule.into(), expr: Some("x > 0".into()), firing, resolved: vec![] }
    }

    #[test]
    fn texts_are_escaped_and_cut_whole() {
        let cases = [
            ("a & b <!channel> \"q\"", 100, "a &amp; b &lt;!channel&gt; \"q\""),
            ("abcdef", 6, "abcdef"),
            ("abcdefg", 6, "abcde…"),
            ("abc&d", 6, "abc…"),
            ("&&", 10, "&amp;&amp;"),
            ("&&", 9, "&amp;…"),
            ("ééééé", 4, "ééé…"),
            ("", 4, ""),
        ];
        for (text, max_chars, expected) in cases {
            assert_eq!(escape(text, max_chars), expected, "{text:?} {max_chars}");
        }
    }

    #[test]
    fn a_link_can_not_be_broken_out_of() {
        assert_eq!(link_target("https://h/?a=1&b=<x>|y z"), "https://h/?a=1&amp;b=%3Cx%3E%7Cy%20z");
    }

    /// The text of the one section that a firing notice makes.
    fn section_text(annotations: &[(&str, &str)]) -> String {
        let (Block::Section { text: Some(Text::Mrkdwn(text)), .. }, _) =
            section(&notice(&[], annotations), false)
        else {
            return String::new();
        };
        text
    }

    #[test]
    fn a_link_leads_to_the_web_and_pings_nobody() {
        for url in ["!channel", "@U0123", "#C0123", "javascript:alert(1)", " ", "https:"] {
            assert_eq!(section_text(&[("runbook_url", url)]), "", "{url}");
        }
        assert_eq!(section_text(&[("runbook_url", "https://h/a")]), "<https://h/a|Runbook>");
        assert_eq!(section_text(&[("dashboard_url", "HTTP://h")]), "<HTTP://h|Dashboard>");
    }

    #[test]
    fn long_texts_and_links_full_of_entities_fit_in_a_section() {
        let url = format!("https://h/?{}", "&".repeat(289));
        let long = "&<>".repeat(1_000);
        let annotations =
            [("summary", &*long), ("description", &*long), ("runbook_url", &*url), ("dashboard_url", &*url)];
        let text = section_text(&annotations);
        assert!(text.chars().count() <= SECTION_CHARS, "{}", text.chars().count());
    }

    #[test]
    fn only_codes_of_slack_are_repeated() {
        let cases = [
            ("invalid_payload", Some("invalid_payload")),
            ("channel_is_archived\n", Some("channel_is_archived")),
            (r#"{"retry_after":1,"ok":false,"error":"rate_limited"}"#, Some("rate_limited")),
            ("not found: /services/T0/B0/secret", None),
            ("<html>", None),
            ("", None),
        ];
        for (body, code) in cases {
            assert_eq!(error_code(body), code, "{body}");
        }
    }

    proptest! {
        /// Whatever the texts are, Slack's limits hold.
        #[test]
        fn a_message_stays_within_the_limits(
            texts in prop::collection::vec("(\\PC|[&<>|]){0,4000}", 1..4),
            labels in 0usize..40,
            alerts in 1usize..60,
        ) {
            let text = |n: usize| texts[n % texts.len()].as_str();
            let names: Vec<String> = (0..labels).map(|n| format!("label{n}")).collect();
            let pairs: Vec<(&str, &str)> =
                names.iter().enumerate().map(|(n, name)| (name.as_str(), text(n))).collect();
            let firing: Vec<Notice> = (0..alerts)
                .map(|n| {
                    let annotations =
                        [("summary", text(n)), ("description", text(n + 1)), ("runbook_url", text(n))];
                    notice(&pairs, &annotations)
                })
                .collect();
            let mut message = message(text(0), firing.clone());
            message.resolved = firing;
            let body = body(&message, Link { receiver: "r", public_url: Some("https://h") });
            prop_assert!(body.text.chars().count() <= 3_000);
            let mut blocks = 0;
            let mut chars = body.text.chars().count();
            for attachment in &body.attachments {
                blocks += attachment.blocks.len();
                for block in &attachment.blocks {
                    let (texts, limit): (Vec<&Text>, usize) = match block {
                        Block::Section { text, fields } => {
                            prop_assert!(!fields.is_empty() && fields.len() <= 10);
                            (text.iter().chain(fields).collect(), 3_000)
                        }
                        Block::Context { elements } => (elements.iter().collect(), 2_000),
                    };
                    for Text::Mrkdwn(text) in texts {
                        prop_assert!(!text.is_empty() && text.chars().count() <= limit);
                        chars += text.chars().count();
                    }
                }
            }
            prop_assert!(blocks <= 50 && chars <= 13_000, "{blocks} blocks, {chars} characters");
        }
    }
}
