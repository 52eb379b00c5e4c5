//! Tags on the wire (`|#key:value,key`) and the labels they become.

use super::Reject;
use crate::model::label::{Labels, NAME, OWN_PREFIX, escape_label_name, escape_name};
use std::borrow::Cow;

/// `|#` sections that one line may have; DogStatsD clients send one.
pub const SECTIONS_MAX: usize = 4;

/// A section that begins so is one tag, commas and all. No wire can send it: a
/// field ends at a `|`.
pub(super) const WHOLE: u8 = b'|';

/// The tags of a line, not yet split; sections in the order they came.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tags<'a> {
    sections: [&'a [u8]; SECTIONS_MAX],
    len: usize,
}

impl<'a> Tags<'a> {
    /// The tags of one section.
    pub fn of(section: &'a [u8]) -> Self {
        let mut tags = Tags::default();
        if !section.is_empty() {
            tags.sections[0] = section;
            tags.len = 1;
        }
        tags
    }

    /// Adds the section of one `|#` field.
    pub fn push(&mut self, section: &'a [u8]) -> Result<(), Reject> {
        if section.is_empty() {
            return Ok(());
        }
        *self.sections.get_mut(self.len).ok_or(Reject::TooManyLabels)? = section;
        self.len += 1;
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The sections as they were sent.
    pub fn sections(&self) -> &[&'a [u8]] {
        &self.sections[..self.len]
    }

    /// Key and value of each tag; empty elements are skipped, a tag without
    /// `:` has an empty value.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + '_ {
        let elements = self.sections().iter().flat_map(|section| {
            let whole = section.strip_prefix(&[WHOLE]);
            whole.unwrap_or(section).split(move |b| *b == b',' && whole.is_none())
        });
        elements.filter_map(|element| split(element, b':'))
    }
}

/// Key and value of one tag; `None` when there is no key.
pub(super) fn split(element: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let element = element.trim_ascii();
    let (key, value) = match memchr::memchr(separator, element) {
        Some(at) => (&element[..at], &element[at + 1..]),
        None => (element, &[][..]),
    };
    (!key.is_empty()).then_some((key, value))
}

/// Labels of a metric with the tags of its line; see `labels_of`.
pub fn labels(name: &[u8], tags: &Tags<'_>, labels_max: usize) -> Result<Labels, Reject> {
    labels_of(name, tags.iter(), labels_max)
}

/// Labels of a metric with tags, at most `labels_max` of them beside the name.
///
/// Bytes that are no UTF-8 become U+FFFD. A key that comes more than once
/// keeps all its values, joined by commas in the order sent. A tag called
/// `__name__` cannot take the name's place: it becomes `exported___name__`.
/// Names of metrics and tags in our own name space (`statsdeck_…`, also when
/// only escaping makes them so) get the prefix `exported_` too.
pub fn labels_of<'a>(
    name: &[u8],
    tags: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    labels_max: usize,
) -> Result<Labels, Reject> {
    let mut name = String::from_utf8_lossy(name);
    if escape_name(&name).starts_with(OWN_PREFIX) {
        name.to_mut().insert_str(0, "exported_");
    }
    let mut pairs: Vec<(Cow<'_, str>, Cow<'_, str>)> = vec![(Cow::Borrowed(NAME), name)];
    for (key, value) in tags {
        let mut key = String::from_utf8_lossy(key);
        if key == NAME || escape_label_name(&key).starts_with(OWN_PREFIX) {
            key.to_mut().insert_str(0, "exported_");
        }
        let value = String::from_utf8_lossy(value);
        let full = pairs.len() > labels_max;
        match pairs.iter_mut().find(|(known, _)| *known == key) {
            Some((_, values)) if *values == value => {}
            Some((_, values)) => {
                let joined = values.to_mut();
                joined.push(',');
                joined.push_str(&value);
            }
            None if full => return Err(Reject::TooManyLabels),
            None => pairs.push((key, value)),
        }
    }
    Ok(Labels::from_pairs(pairs))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sections: &[&str], expected: Result<&str, Reject>) {
        let mut tags = Tags::default();
        let pushed: Result<(), Reject> = sections.iter().try_for_each(|s| tags.push(s.as_bytes()));
        let labels = pushed.and_then(|()| labels(b"m", &tags, 3)).map(|l| l.to_string());
        assert_eq!(labels, expected.map(String::from), "{sections:?}");
    }

    #[test]
    fn tags_become_labels() {
        check(&[], Ok("m"));
        check(&["k:v"], Ok(r#"m{k="v"}"#));
        check(&["k:v,,b:c,"], Ok(r#"m{b="c", k="v"}"#));
        check(&["url:http://x:1"], Ok(r#"m{url="http://x:1"}"#));
        check(&["urgent"], Ok(r#"m{urgent=""}"#));
        check(&[":v"], Ok("m"));
        check(&["a:1,a:2,a:1"], Ok(r#"m{a="1,2,1"}"#));
        check(&["a:1,a:1"], Ok(r#"m{a="1"}"#));
        check(&["a:1", "b:2"], Ok(r#"m{a="1", b="2"}"#));
        check(&["__name__:x"], Ok(r#"m{exported___name__="x"}"#));
        check(&["statsdeck_overflow:true"], Ok(r#"m{exported_statsdeck_overflow="true"}"#));
        // It would be ours on the scrape page.
        check(&["statsdeck.type:x"], Ok(r#"m{"exported_statsdeck.type"="x"}"#));
        check(&["a:1,b:2,c:3"], Ok(r#"m{a="1", b="2", c="3"}"#));
        check(&["a:1,b:2,c:3,d:4"], Err(Reject::TooManyLabels));
        check(&["a:1", "b", "c", "d", "e"], Err(Reject::TooManyLabels));
    }

    #[test]
    fn other_bytes_are_replaced() {
        let mut tags = Tags::default();
        tags.push(b"k:\xff").unwrap();
        assert_eq!(labels(b"\xfe", &tags, 3).unwrap().to_string(), "{\"\u{fffd}\", k=\"\u{fffd}\"}");
    }
}
