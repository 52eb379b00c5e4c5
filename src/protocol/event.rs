//! Events: `_e{5,4}:title|text`, then fields. They become markers.
//!
//! ```text
//! event = "_e{" title_bytes "," text_bytes "}:" title "|" text *( "|" field )
//! field = "d:" seconds / "h:" host / "k:" key / "p:" priority / "s:" source
//!       / "t:" kind / "#" tags / anything else, ignored
//! ```
//!
//! Title and text may hold `|` and `:`, so both are taken by their length in
//! bytes, never by search. Line breaks in them come as the two characters `\n`.

use super::number;
use super::tag::Tags;
use crate::model::marker::AHEAD_MS_MAX;
use crate::model::{Marker, MarkerKind, Reject};

/// Every event begins so, and no other line is taken that does.
pub const PREFIX: &[u8] = b"_e{";

/// A parsed event; borrows from the packet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event<'a> {
    /// As sent, not empty.
    pub title: &'a [u8],
    /// As sent.
    pub text: &'a [u8],
    /// When it happened, in ms since the epoch.
    pub at_ms: Option<i64>,
    pub host: &'a [u8],
    pub key: &'a [u8],
    pub source: &'a [u8],
    pub kind: MarkerKind,
    pub is_low_priority: bool,
    pub tags: Tags<'a>,
}

impl<'a> Event<'a> {
    /// Parses a line that begins with `PREFIX`.
    pub fn parse(line: &'a [u8]) -> Result<Self, Reject> {
        let (title, text, fields) = parts(line).ok_or(Reject::BadEvent)?;
        let mut event = Event { title, text, ..Event::default() };
        for field in fields.split(|b| *b == b'|') {
            match field {
                [b'd', b':', time @ ..] => event.at_ms = Some(number::time_ms(time)?),
                [b'h', b':', host @ ..] => event.host = host,
                [b'k', b':', key @ ..] => event.key = key,
                [b's', b':', source @ ..] => event.source = source,
                [b'p', b':', priority @ ..] => event.is_low_priority = priority == b"low",
                // A kind that is not known is taken for the ordinary one.
                [b't', b':', kind @ ..] => {
                    let kind = std::str::from_utf8(kind).ok().and_then(MarkerKind::parse);
                    event.kind = kind.unwrap_or_default();
                }
                [b'#', tags @ ..] => event.tags.push(tags)?,
                _ => {}
            }
        }
        Ok(event)
    }

    /// The marker that it is; without a time of its own it happened now.
    ///
    /// # Errors
    /// `BadTimestamp` when it lies more than a day ahead: it would outlive all others.
    pub fn marker(&self, now_ms: i64) -> Result<Marker, Reject> {
        let at_ms = self.at_ms.unwrap_or(now_ms);
        if at_ms > now_ms.saturating_add(AHEAD_MS_MAX) {
            return Err(Reject::BadTimestamp);
        }
        let plain = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let marker = Marker {
            at_ms,
            kind: self.kind,
            title: plain(self.title).replace("\\n", "\n"),
            text: plain(self.text).replace("\\n", "\n"),
            host: plain(self.host),
            source: plain(self.source),
            key: plain(self.key),
            is_low_priority: self.is_low_priority,
            tags: self.tags.iter().map(|(key, value)| (plain(key), plain(value))).collect(),
        };
        Ok(marker.bounded())
    }
}

/// Title, text, and the fields after them.
fn parts(line: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let rest = line.strip_prefix(PREFIX)?;
    let (title_len, rest) = length(rest, b',')?;
    let (text_len, rest) = length(rest, b'}')?;
    let rest = rest.strip_prefix(b":")?;
    let (title, rest) = rest.split_at_checked(title_len)?;
    let (text, rest) = rest.strip_prefix(b"|")?.split_at_checked(text_len)?;
    let rest = rest.trim_ascii();
    let fields = if rest.is_empty() { rest } else { rest.strip_prefix(b"|")? };
    (!title.is_empty()).then_some((title, text, fields))
}

/// A length and what comes after its `end`.
fn length(text: &[u8], end: u8) -> Option<(usize, &[u8])> {
    let at = text.iter().take(9).position(|b| *b == end)?;
    let (digits, rest) = text.split_at_checked(at)?;
    let whole = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let number = digits.iter().fold(0usize, |sum, b| sum.wrapping_mul(10).wrapping_add(usize::from(b & 15)));
    whole.then_some((number, rest.get(1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_marker_with_all_its_fields() {
        let line = b"_e{6,9}:a|b:\\n|text|text|d:1656581400|h:web|k:deploy|p:low|s:git|t:error|#env:prod,v:1";
        let event = Event::parse(line).unwrap();
        let tag = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let expected = Marker {
            at_ms: 1_656_581_400_000,
            kind: MarkerKind::Error,
            title: "a|b:\n".into(),
            text: "text|text".into(),
            host: "web".into(),
            source: "git".into(),
            key: "deploy".into(),
            is_low_priority: true,
            tags: vec![tag("env", "prod"), tag("v", "1")],
        };
        assert_eq!(event.marker(5), Err(Reject::BadTimestamp));
        assert_eq!(event.marker(1_656_581_400_000 - AHEAD_MS_MAX), Ok(expected));
    }

    #[test]
    fn an_event_without_a_time_happened_now() {
        assert_eq!(Event::parse(b"_e{1,0}:a|").unwrap().marker(7).unwrap().at_ms, 7);
    }
}
