//! Service checks: `_sc|name|status`, then fields. They become a gauge:
//! `service_check{check="name", host="…", …}` with the status as its value, 0 ok,
//! 1 warning, 2 critical, 3 unknown, so that alert rules can use it.
//!
//! ```text
//! check = "_sc|" name "|" ( "0" / "1" / "2" / "3" ) *( "|" field ) [ "|m:" message ]
//! field = "d:" seconds / "h:" host / "#" tags / anything else, ignored
//! ```
//!
//! The message is the rest of the line, whatever it holds, and is not kept.

use super::number;
use super::tag::{Tags, WHOLE};
use super::{Line, Reject};
use crate::model::{MetricType, Observation, Value};
use smallvec::smallvec;

/// Every service check begins so, and no other line is taken that does.
pub const PREFIX: &[u8] = b"_sc|";
/// Name of the gauge.
pub const METRIC: &str = "service_check";

/// A parsed service check; borrows from the packet.
#[derive(Clone, Debug, PartialEq)]
pub struct Check<'a> {
    /// Not empty.
    pub name: &'a [u8],
    /// 0 to 3.
    pub status: u8,
    /// In ms since the epoch.
    pub at_ms: Option<i64>,
    pub host: &'a [u8],
    pub tags: Tags<'a>,
    /// As sent.
    pub message: &'a [u8],
}

impl<'a> Check<'a> {
    /// Parses a line that begins with `PREFIX`.
    pub fn parse(line: &'a [u8]) -> Result<Self, Reject> {
        let mut rest = line.strip_prefix(PREFIX).ok_or(Reject::BadCheck)?;
        let name = next(&mut rest).unwrap_or_default();
        let status = match next(&mut rest) {
            Some([status @ b'0'..=b'3']) => status - b'0',
            _ => return Err(Reject::BadCheck),
        };
        if name.is_empty() {
            return Err(Reject::EmptyName);
        }
        let tags = Tags::default();
        let mut check = Check { name, status, at_ms: None, host: &[], tags, message: &[] };
        while !rest.is_empty() {
            if let Some(message) = rest.strip_prefix(b"m:") {
                check.message = message;
                break;
            }
            match next(&mut rest).unwrap_or_default() {
                [b'd', b':', time @ ..] => check.at_ms = Some(number::time_ms(time)?),
                [b'h', b':', host @ ..] => check.host = host,
                [b'#', tags @ ..] => check.tags.push(tags)?,
                _ => {}
            }
        }
        Ok(check)
    }

    /// Hands the gauge's line to `take`.
    ///
    /// # Errors
    /// `TooManyLabels` for more `|#` sections than a line may have.
    pub fn as_line<T>(&self, take: impl FnOnce(&Line<'_>) -> T) -> Result<T, Reject> {
        // Whole, since a name may hold commas.
        let name = [&[WHOLE], &b"check:"[..], self.name].concat();
        let host = [&[WHOLE], &b"host:"[..], self.host].concat();
        let mut tags = Tags::default();
        tags.push(&name)?;
        if !self.host.is_empty() {
            tags.push(&host)?;
        }
        self.tags.sections().iter().try_for_each(|section| tags.push(section))?;
        let observation = Observation {
            value: Value::Number(f64::from(self.status)),
            metric_type: MetricType::Gauge,
            weight: 1.0,
        };
        let observations = smallvec![observation];
        Ok(take(&Line { name: METRIC.as_bytes(), tags, at_ms: self.at_ms, observations }))
    }
}

/// Whether a line is the gauge's, as [`Check::as_line`] makes it; what comes by
/// the wire never is, whatever its name.
pub fn is_check(line: &Line<'_>) -> bool {
    line.name == METRIC.as_bytes()
        && line.tags.sections().first().is_some_and(|section| section.first() == Some(&WHOLE))
}

/// The text up to the next `|`, which is gone from `rest`; `None` at the end.
fn next<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    if rest.is_empty() {
        return None;
    }
    let end = memchr::memchr(b'|', rest).unwrap_or(rest.len());
    let (text, after) = rest.split_at(end);
    *rest = after.get(1..).unwrap_or_default();
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_all_the_rest() {
        let line = b"_sc|db.up|2|d:5|h:db-1|c:x|#env:prod|m:cannot |connect|#no:tag";
        let check = Check::parse(line).unwrap();
        assert_eq!(check.message, b"cannot |connect|#no:tag");
        assert_eq!((check.status, check.at_ms, check.host), (2, Some(5000), &b"db-1"[..]));
        let tags: Vec<_> = check.tags.iter().collect();
        assert_eq!(tags, [(&b"env"[..], &b"prod"[..])]);
    }
}
