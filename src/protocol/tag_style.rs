//! Tags within the name, in the four styles that servers before DogStatsD had:
//!
//! ```text
//! name,k=v,k2=v2     Influx        name#k=v,k2=v2     Librato
//! name;k=v;k2=v2     Graphite      na[k=v,k2=v2]me    SignalFX
//! ```
//!
//! A name is split only when every element has a `=` and a key and a name is
//! left; else it stays as it was sent: `cpu[0]`, `a,b` and `#1` are names. The
//! first style from the left that fits is taken, and only that one. A series'
//! spelling is looked up unsplit, so that this runs for new ones alone.

use super::tag;
use smallvec::SmallVec;
use std::borrow::Cow;

/// One style.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TagStyle {
    Influx = 1,
    Librato = 2,
    SignalFx = 4,
    Graphite = 8,
}

impl TagStyle {
    pub const ALL: [TagStyle; 4] =
        [TagStyle::Influx, TagStyle::Librato, TagStyle::SignalFx, TagStyle::Graphite];

    /// The word for it in the config.
    pub fn as_str(self) -> &'static str {
        match self {
            TagStyle::Influx => "influx",
            TagStyle::Librato => "librato",
            TagStyle::SignalFx => "signalfx",
            TagStyle::Graphite => "graphite",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        TagStyle::ALL.into_iter().find(|style| style.as_str() == word)
    }

    /// What begins the tags.
    fn opening(self) -> u8 {
        match self {
            TagStyle::Influx => b',',
            TagStyle::Librato => b'#',
            TagStyle::SignalFx => b'[',
            TagStyle::Graphite => b';',
        }
    }

    /// What stands between tags.
    fn separator(self) -> u8 {
        if self == TagStyle::Graphite { b';' } else { b',' }
    }
}

/// The styles that a listener takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TagStyles(u8);

/// A name without its tags, and they.
#[derive(Clone, Debug, PartialEq)]
pub struct Named<'a> {
    /// Not empty.
    pub name: Cow<'a, [u8]>,
    /// Key, not empty, and value, in the order sent.
    pub tags: SmallVec<[(&'a [u8], &'a [u8]); 4]>,
}

impl TagStyles {
    pub const NONE: TagStyles = TagStyles(0);
    pub const ALL: TagStyles = TagStyles(15);

    /// These and one more.
    #[must_use]
    pub fn with(self, style: TagStyle) -> Self {
        TagStyles(self.0 | style as u8)
    }

    pub fn has(self, style: TagStyle) -> bool {
        self.0 & style as u8 != 0
    }

    /// Splits a name that is not empty.
    pub fn named<'a>(self, name: &'a [u8]) -> Named<'a> {
        if self != TagStyles::NONE && memchr::memchr(b'=', name).is_some() {
            let mut found: SmallVec<[(usize, TagStyle); 4]> = TagStyle::ALL
                .into_iter()
                .filter(|style| self.has(*style))
                .filter_map(|style| Some((memchr::memchr(style.opening(), name)?, style)))
                .collect();
            found.sort_by_key(|(at, _)| *at);
            if let Some(named) = found.into_iter().find_map(|(at, style)| split(name, at, style)) {
                return named;
            }
        }
        Named { name: Cow::Borrowed(name), tags: SmallVec::new() }
    }
}

/// The name split at the opening of a style; `None` when it does not fit.
fn split(name: &[u8], at: usize, style: TagStyle) -> Option<Named<'_>> {
    let (before, rest) = (name.get(..at)?, name.get(at + 1..)?);
    let (section, after) = match style {
        TagStyle::SignalFx => {
            let end = memchr::memchr(b']', rest)?;
            (rest.get(..end)?, rest.get(end + 1..)?)
        }
        _ => (rest, &[][..]),
    };
    let mut tags = SmallVec::new();
    for element in section.split(|b| *b == style.separator()) {
        if element.trim_ascii().is_empty() {
            continue;
        }
        memchr::memchr(b'=', element)?;
        tags.push(tag::split(element, b'=')?);
    }
    let name = if after.is_empty() { Cow::Borrowed(before) } else { Cow::Owned([before, after].concat()) };
    (!tags.is_empty() && !name.is_empty()).then_some(Named { name, tags })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(styles: TagStyles, name: &str, expected: &str) {
        let named = styles.named(name.as_bytes());
        let mut text = String::from_utf8_lossy(&named.name).into_owned();
        for (key, value) in named.tags {
            text += &format!(" {}={}", String::from_utf8_lossy(key), String::from_utf8_lossy(value));
        }
        assert_eq!(text, expected, "{name}");
    }

    #[test]
    fn a_name_is_split_only_by_the_styles_that_are_on() {
        let influx = TagStyles::NONE.with(TagStyle::Influx);
        check(influx, "n,k=v", "n k=v");
        check(influx, "n#k=v", "n#k=v");
        check(influx, "n;k=v", "n;k=v");
        check(influx, "n[k=v]", "n[k=v]");
        check(TagStyles::NONE, "n,k=v", "n,k=v");
        check(TagStyles::ALL, "a[0],k=v", "a[0] k=v");
    }
}
