//! A marker: something that happened at one time, such as a deployment, told
//! by an event (`_e{…}`) or by HTTP. Drawn on charts; no series, no alert.
//!
//! Texts are bounded here, whoever makes them.

/// Longest title, text and any other part of a marker, in bytes; what is
/// beyond is cut off, with a mark.
pub const TITLE_BYTES_MAX: usize = 512;
pub const TEXT_BYTES_MAX: usize = 4096;
pub const PART_BYTES_MAX: usize = 256;
/// Tags of a marker; further ones are left out.
pub const TAGS_MAX: usize = 32;
/// How far ahead of our clock a marker may be, in ms.
pub const AHEAD_MS_MAX: i64 = 86_400_000;

/// What sort of thing happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MarkerKind {
    #[default]
    Info,
    Success,
    Warning,
    Error,
}

impl MarkerKind {
    pub const ALL: [MarkerKind; 4] =
        [MarkerKind::Info, MarkerKind::Success, MarkerKind::Warning, MarkerKind::Error];

    /// The word for it on the wire, in APIs and files.
    pub fn as_str(self) -> &'static str {
        match self {
            MarkerKind::Info => "info",
            MarkerKind::Success => "success",
            MarkerKind::Warning => "warning",
            MarkerKind::Error => "error",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        MarkerKind::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// See the module's head.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Marker {
    /// In ms since the epoch.
    pub at_ms: i64,
    pub kind: MarkerKind,
    /// Not empty.
    pub title: String,
    pub text: String,
    /// Where it happened; empty when it was not said, like what follows.
    pub host: String,
    /// What told of it (`s:`).
    pub source: String,
    /// What it belongs together with (`k:`).
    pub key: String,
    pub is_low_priority: bool,
    pub tags: Vec<(String, String)>,
}

impl Marker {
    /// The marker with all its parts within their bounds.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        cut(&mut self.title, TITLE_BYTES_MAX);
        cut(&mut self.text, TEXT_BYTES_MAX);
        for part in [&mut self.host, &mut self.source, &mut self.key] {
            cut(part, PART_BYTES_MAX);
        }
        self.tags.truncate(TAGS_MAX);
        for (key, value) in &mut self.tags {
            cut(key, PART_BYTES_MAX);
            cut(value, PART_BYTES_MAX);
        }
        self
    }
}

fn cut(text: &mut String, bytes_max: usize) {
    if text.len() > bytes_max {
        let mut end = bytes_max - '…'.len_utf8();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_cut_at_a_character() {
        let marker = Marker {
            title: "é".repeat(400),
            text: "x".repeat(TEXT_BYTES_MAX),
            host: "h".repeat(300),
            tags: vec![("k".repeat(300), String::new()); 40],
            ..Marker::default()
        }
        .bounded();
        assert!(marker.title.len() <= TITLE_BYTES_MAX && marker.title.ends_with("é…"));
        assert_eq!(marker.text.len(), TEXT_BYTES_MAX);
        assert!(marker.text.ends_with('x'));
        assert_eq!((marker.host.len(), marker.tags.len()), (PART_BYTES_MAX, TAGS_MAX));
    }
}
