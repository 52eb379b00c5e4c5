//! A series' key as bytes that sort by escaped name.
//!
//! ```text
//! key   = escaped 00 patch 00 type *( label 00 value 00 )
//! patch = what each `_` of the escaped name was, when not all were `_`
//! type  = number of the metric type + 10h
//! ```
//!
//! All names with one escaped form stand together, so that a name is found as
//! it was sent and escaped by one search. Labels are sorted by name; in them
//! 00 is written 01 11 and 01 is written 01 12.

use crate::model::label::{NAME, escape_name};
use crate::model::{Labels, MetricType, SeriesKey};
use std::borrow::Cow;

/// Stands in a patch for a `_` that was put before a name's first digit.
const ADDED: u8 = 0x01;
/// Stands before a control character in a patch, which is then shifted.
const SHIFT: u8 = 0x03;
const SHIFT_BY: u8 = 0x10;
const TYPE_BASE: u8 = 0x10;

/// The key of a series.
pub fn encode(key: &SeriesKey) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    put_name(&mut out, key.labels.name());
    out.push(TYPE_BASE + key.metric_type as u8);
    for (name, value) in key.labels.iter().filter(|(name, _)| *name != NAME) {
        put_text(&mut out, name);
        put_text(&mut out, value);
    }
    out
}

/// The part of a key that all series of a name share: up to before the type.
pub fn put_name(out: &mut Vec<u8>, name: &str) {
    let escaped = escape_name(name);
    out.extend_from_slice(escaped.as_bytes());
    out.push(0);
    if escaped != name {
        let mut originals = name.chars();
        let added = name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit());
        for (at, c) in escaped.chars().enumerate() {
            if at == 0 && added {
                out.push(ADDED);
                continue;
            }
            let original = originals.next().unwrap_or('_');
            if c == '_' {
                put_original(out, original);
            }
        }
    }
    out.push(0);
}

/// The byte of `metric_type` as it follows a key's name.
pub fn type_byte(metric_type: MetricType) -> u8 {
    TYPE_BASE + metric_type as u8
}

/// The series that a key is of; `None` for bytes that are no key.
pub fn decode(key: &[u8]) -> Option<SeriesKey> {
    let mut parts = key.splitn(3, |byte| *byte == 0);
    let (escaped, patch, rest) = (parts.next()?, parts.next()?, parts.next()?);
    let name = unescaped(escaped, patch)?;
    let (type_byte, rest) = rest.split_first()?;
    let metric_type = MetricType::from_u8(type_byte.checked_sub(TYPE_BASE)?)?;
    let mut pairs = vec![(NAME.to_owned(), name)];
    let mut texts = rest.split(|byte| *byte == 0);
    loop {
        let label = texts.next()?;
        // What follows the last terminator is empty, and so is all when there are no labels.
        let Some(value) = texts.next() else {
            return label.is_empty().then(|| SeriesKey { labels: Labels::from_pairs(pairs), metric_type });
        };
        pairs.push((text(label)?, text(value)?));
    }
}

/// The bytes of a label's name as they stand in a key.
pub fn label_bytes(name: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len() + 1);
    put_text(&mut bytes, name);
    bytes.pop();
    bytes
}

/// The value of a label, told by its [`label_bytes`], in a key; empty where it is
/// not there. `None` for bytes that are no key.
pub fn value<'k>(key: &'k [u8], label: &[u8]) -> Option<Cow<'k, str>> {
    let mut rest = key;
    for _ in 0..2 {
        rest = split_at_zero(rest)?.1;
    }
    let (_, mut rest) = rest.split_first()?;
    while !rest.is_empty() {
        let (name, behind) = split_at_zero(rest)?;
        let (value, behind) = split_at_zero(behind)?;
        if name == label {
            return match memchr::memchr(1, value) {
                None => str::from_utf8(value).ok().map(Cow::Borrowed),
                Some(_) => text(value).map(Cow::Owned),
            };
        }
        rest = behind;
    }
    Some(Cow::Borrowed(""))
}

fn split_at_zero(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(0, bytes)?;
    Some((bytes.get(..end)?, bytes.get(end + 1..)?))
}

/// The name of the series that a key is of, as it was sent.
pub fn name(key: &[u8]) -> Option<String> {
    let mut parts = key.splitn(3, |byte| *byte == 0);
    unescaped(parts.next()?, parts.next()?)
}

/// Metric type of a key.
pub fn metric_type(key: &[u8]) -> Option<MetricType> {
    let type_byte = key.splitn(3, |byte| *byte == 0).nth(2)?.first()?;
    MetricType::from_u8(type_byte.checked_sub(TYPE_BASE)?)
}

fn put_original(out: &mut Vec<u8>, original: char) {
    if (original as u32) <= u32::from(SHIFT) {
        out.push(SHIFT);
        out.push(original as u8 + SHIFT_BY);
    } else {
        out.extend_from_slice(original.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

fn unescaped(escaped: &[u8], patch: &[u8]) -> Option<String> {
    let escaped = std::str::from_utf8(escaped).ok()?;
    if patch.is_empty() {
        return Some(escaped.to_owned());
    }
    let mut originals = std::str::from_utf8(patch).ok()?.chars();
    let mut name = String::with_capacity(escaped.len());
    for c in escaped.chars() {
        if c != '_' {
            name.push(c);
            continue;
        }
        match originals.next()? {
            '\u{1}' => {}
            '\u{3}' => name.push(char::from_u32(originals.next()? as u32 - u32::from(SHIFT_BY))?),
            original => name.push(original),
        }
    }
    originals.next().is_none().then_some(name)
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            0 => out.extend_from_slice(&[1, 0x11]),
            1 => out.extend_from_slice(&[1, 0x12]),
            byte => out.push(byte),
        }
    }
    out.push(0);
}

fn text(bytes: &[u8]) -> Option<String> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut bytes = bytes.iter();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            1 => bytes.next()?.checked_sub(0x11)?,
            byte => *byte,
        });
    }
    String::from_utf8(plain).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(name: &str, pairs: &[(&str, &str)]) -> SeriesKey {
        let pairs = pairs.iter().copied().chain([(NAME, name)]);
        SeriesKey { labels: Labels::from_pairs(pairs), metric_type: MetricType::Timer }
    }

    #[test]
    fn names_of_one_escaped_form_stand_together() {
        for name in [
            "etl.errors",
            "etl_errors",
            "etl-errors",
            "etl é",
            "9a",
            "_9a",
            "",
            "_",
            "a\0b\u{1}c\u{3}",
            "a:b",
        ] {
            let encoded = encode(&key(name, &[]));
            assert!(encoded.starts_with(format!("{}\0", escape_name(name)).as_bytes()), "{name:?}");
            assert_eq!(decode(&encoded), Some(key(name, &[])), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn a_key_reads_back(
            name in any::<String>(),
            pairs in prop::collection::vec((any::<String>(), any::<String>()), 0..4),
        ) {
            let pairs: Vec<(&str, &str)> = pairs
                .iter()
                .map(|(a, b)| (a.as_str(), b.as_str()))
                .filter(|(label, _)| *label != NAME)
                .collect();
            let key = key(&name, &pairs);
            let encoded = encode(&key);
            prop_assert_eq!(metric_type(&encoded), Some(MetricType::Timer));
            let named = super::name(&encoded);
            prop_assert_eq!(named.as_deref(), Some(key.labels.name()));
            for label in pairs.iter().map(|(label, _)| *label).chain(["", "none", "\u{1}\u{12}"]) {
                let value = value(&encoded, &label_bytes(label));
                prop_assert_eq!(value.as_deref(), Some(key.labels.get(label).unwrap_or_default()));
            }
            prop_assert_eq!(decode(&encoded), Some(key));
        }

        #[test]
        fn foreign_bytes_do_no_harm(bytes: Vec<u8>) {
            let _ = decode(&bytes);
            let _ = metric_type(&bytes);
            let _ = value(&bytes, b"a");
        }
    }
}
