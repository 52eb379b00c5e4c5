//! A plain webhook: the body that Alertmanager sends, version "4", so that
//! whatever takes those takes ours. All alerts of the message are in it.

use super::endpoint::Endpoint;
use super::message::{Message, Notice};
use super::receiver::{Link, Receiver, Reply, Verdict, judge_status};
use crate::model::Labels;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// What Alertmanager writes for an alert that has not ended.
const NOT_ENDED: &str = "0001-01-01T00:00:00Z";

/// A receiver of Alertmanager's JSON.
#[derive(Clone, Debug)]
pub struct Webhook {
    pub endpoint: Endpoint,
}

type Pairs<'a> = BTreeMap<&'a str, &'a str>;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    receiver: &'a str,
    status: &'static str,
    alerts: Vec<BodyAlert<'a>>,
    group_labels: Pairs<'a>,
    common_labels: Pairs<'a>,
    common_annotations: Pairs<'a>,
    #[serde(rename = "externalURL")]
    external_url: &'a str,
    version: &'static str,
    group_key: String,
    truncated_alerts: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BodyAlert<'a> {
    status: &'static str,
    labels: Pairs<'a>,
    annotations: Pairs<'a>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: &'a str,
    fingerprint: String,
}

impl Receiver for Webhook {
    fn kind(&self) -> &'static str {
        "webhook"
    }

    fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    fn body(&self, message: &Message, link: Link<'_>) -> Vec<u8> {
        let external_url = link.public_url.unwrap_or_default();
        let dashboard = link.public_url.map(|url| format!("{url}/dashboard")).unwrap_or_default();
        let body = Body {
            receiver: link.receiver,
            status: if message.is_firing() { "firing" } else { "resolved" },
            alerts: message.notices().map(|notice| alert(notice, &dashboard)).collect(),
            group_labels: Pairs::from([("alertname", &*message.rule)]),
            common_labels: common(message.notices().map(|notice| &notice.labels)),
            common_annotations: common(message.notices().map(|notice| &notice.annotations)),
            external_url,
            version: "4",
            group_key: format!("{{}}:{{alertname={:?}}}", message.rule),
            truncated_alerts: 0,
        };
        // Maps of text and numbers can not fail to be written.
        serde_json::to_vec(&body).unwrap_or_default()
    }

    fn judge(&self, reply: &Reply) -> Verdict {
        judge_status(reply)
    }
}

fn alert<'a>(notice: &'a Notice, dashboard: &'a str) -> BodyAlert<'a> {
    BodyAlert {
        status: if notice.resolved_at_ms.is_some() { "resolved" } else { "firing" },
        labels: notice.labels.iter().collect(),
        annotations: notice.annotations.iter().collect(),
        starts_at: rfc3339(notice.fired_at_ms),
        ends_at: notice.resolved_at_ms.map_or_else(|| NOT_ENDED.to_owned(), rfc3339),
        generator_url: dashboard,
        fingerprint: format!("{:016x}", notice.fingerprint),
    }
}

/// The pairs that all have.
fn common<'a>(mut all: impl Iterator<Item = &'a Labels>) -> Pairs<'a> {
    let mut pairs: Pairs<'a> = all.next().map(|labels| labels.iter().collect()).unwrap_or_default();
    for labels in all {
        pairs.retain(|name, value| labels.get(name) == Some(value));
    }
    pairs
}

pub(super) fn rfc3339(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms).map_or_else(|_| NOT_ENDED.to_owned(), |at| at.to_string())
}
