//! What a receiver is: it words a message and judges the answer. Sending,
//! retrying and remembering are the same for all ([`super::queue`]).

use super::endpoint::Endpoint;
use super::message::Message;
use super::slack::Slack;
use super::webhook::Webhook;

/// What a message may link to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Link<'a> {
    /// Name of the receiver as configured.
    pub receiver: &'a str,
    /// `public_url` of the config, without a slash at its end.
    pub public_url: Option<&'a str>,
}

/// An HTTP answer, already bounded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    /// `Retry-After` in ms from now.
    pub retry_after_ms: Option<i64>,
    pub body: String,
}

/// What an answer, or none, means. Reasons are shown to users: lower-case
/// fragments without any part of the URL but its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Delivered,
    /// Worth trying again, not before `after_ms` when that is given.
    Retry {
        after_ms: Option<i64>,
        reason: String,
    },
    /// Trying again can not help. `broken`: nor will other messages get through.
    GiveUp {
        reason: String,
        broken: bool,
    },
}

/// A kind of receiver that is reached by one HTTP POST of JSON.
pub trait Receiver {
    /// As in the config: `slack`.
    fn kind(&self) -> &'static str;
    fn endpoint(&self) -> &Endpoint;
    /// The body of the POST.
    fn body(&self, message: &Message, link: Link<'_>) -> Vec<u8>;
    fn judge(&self, reply: &Reply) -> Verdict;
    /// Shortest time between two messages in ms.
    fn gap_ms(&self) -> i64 {
        0
    }
}

/// One of the kinds that there are.
#[derive(Clone, Debug)]
pub enum AnyReceiver {
    Slack(Slack),
    Webhook(Webhook),
}

/// A receiver with its name.
#[derive(Clone, Debug)]
pub struct Target {
    pub name: String,
    pub receiver: AnyReceiver,
}

impl AnyReceiver {
    fn inner(&self) -> &dyn Receiver {
        match self {
            AnyReceiver::Slack(slack) => slack,
            AnyReceiver::Webhook(webhook) => webhook,
        }
    }
}

impl Receiver for AnyReceiver {
    fn kind(&self) -> &'static str {
        self.inner().kind()
    }

    fn endpoint(&self) -> &Endpoint {
        self.inner().endpoint()
    }

    fn body(&self, message: &Message, link: Link<'_>) -> Vec<u8> {
        self.inner().body(message, link)
    }

    fn judge(&self, reply: &Reply) -> Verdict {
        self.inner().judge(reply)
    }

    fn gap_ms(&self) -> i64 {
        self.inner().gap_ms()
    }
}

/// What HTTP itself says: 2xx is delivered, 408, 429 and 5xx may be tried
/// again, the rest not.
pub(super) fn judge_status(reply: &Reply) -> Verdict {
    let status = reply.status;
    match status {
        200..=299 => Verdict::Delivered,
        408 | 429 | 500..=599 => {
            Verdict::Retry { after_ms: reply.retry_after_ms, reason: format!("answered {status}") }
        }
        300..=399 => Verdict::GiveUp {
            reason: format!("answered {status}, a redirect; configure the URL that it leads to"),
            broken: true,
        },
        _ => Verdict::GiveUp {
            reason: format!("answered {status}"),
            broken: matches!(status, 401 | 403 | 404 | 405 | 410),
        },
    }
}
