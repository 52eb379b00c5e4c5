//! Text for HTML and SVG that cannot be built wrong: what is written raw is a
//! literal of this program, all else is escaped on its way in.
//!
//! Names, labels and URLs come from open sockets. Nothing else in the crate
//! writes HTML, so this is the one escape function there is.

use std::fmt::{self, Write};

/// A finished piece of HTML or SVG.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Markup(String);

impl Markup {
    pub fn new() -> Self {
        Markup::default()
    }

    /// Writes a literal of the program as it is.
    pub fn raw(&mut self, literal: &'static str) -> &mut Self {
        self.0.push_str(literal);
        self
    }

    /// Writes anything else, escaped where need be.
    pub fn put(&mut self, piece: impl Piece) -> &mut Self {
        piece.write_to(self);
        self
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn into_string(self) -> String {
        self.0
    }
}

/// Something that can stand in a page.
pub trait Piece {
    fn write_to(&self, out: &mut Markup);
}

impl Piece for Markup {
    fn write_to(&self, out: &mut Markup) {
        out.0.push_str(&self.0);
    }
}

impl Piece for str {
    fn write_to(&self, out: &mut Markup) {
        escape_into(&mut out.0, self);
    }
}

impl Piece for String {
    fn write_to(&self, out: &mut Markup) {
        escape_into(&mut out.0, self);
    }
}

impl<T: Piece + ?Sized> Piece for &T {
    fn write_to(&self, out: &mut Markup) {
        (**self).write_to(out);
    }
}

impl<T: Piece> Piece for Option<T> {
    fn write_to(&self, out: &mut Markup) {
        if let Some(piece) = self {
            piece.write_to(out);
        }
    }
}

macro_rules! number_pieces {
    ($($number:ty),*) => {$(
        impl Piece for $number {
            fn write_to(&self, out: &mut Markup) {
                // Digits, signs and points need no escape.
                let _ = write!(out.0, "{self}");
            }
        }
    )*};
}
number_pieces!(i32, i64, u16, u32, u64, usize);

/// A number of pixels or per cent, with at most two decimals.
#[derive(Clone, Copy, Debug)]
pub struct Decimal(pub f64);

impl Piece for Decimal {
    fn write_to(&self, out: &mut Markup) {
        let rounded = (self.0 * 100.0).round() / 100.0;
        let _ = write!(out.0, "{}", if rounded == 0.0 { 0.0 } else { rounded });
    }
}

/// Anything that can be displayed, escaped.
pub struct Shown<T>(pub T);

impl<T: fmt::Display> Piece for Shown<T> {
    fn write_to(&self, out: &mut Markup) {
        struct Escaping<'a>(&'a mut String);
        impl Write for Escaping<'_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                escape_into(self.0, text);
                Ok(())
            }
        }
        let _ = write!(Escaping(&mut out.0), "{}", self.0);
    }
}

/// `put!(out, "<b>", name, "</b>")`: literals raw, everything else escaped.
macro_rules! put {
    ($out:expr $(,)?) => {};
    ($out:expr, $literal:literal $(, $($rest:tt)*)?) => {{
        $out.raw($literal);
        $crate::dashboard::markup::put!($out, $($($rest)*)?);
    }};
    ($out:expr, $piece:expr $(, $($rest:tt)*)?) => {{
        $out.put(&$piece);
        $crate::dashboard::markup::put!($out, $($($rest)*)?);
    }};
}
pub(crate) use put;

/// The one escape function, for text and for quoted attribute values alike.
fn escape_into(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(' '),
            c if is_invisible(c) => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
}

/// Controls, and marks that would turn the text around them.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{2028}' | '\u{2029}' | '\u{feff}')
        || ('\u{202a}'..='\u{202e}').contains(&c)
        || ('\u{2066}'..='\u{2069}').contains(&c)
}

/// `text` cut to `max` characters, with a mark where it was cut.
pub fn shortened(text: &str, max: usize) -> std::borrow::Cow<'_, str> {
    match text.char_indices().nth(max) {
        None => text.into(),
        Some((at, _)) => format!("{}…", &text[..at]).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_but_literals_is_escaped() {
        let cases = [
            ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
            ("a\"b'c&d", "a&quot;b&#39;c&amp;d"),
            ("line\nbreak", "line break"),
            ("bell\u{7}\u{202e}flip", "bell\u{fffd}\u{fffd}flip"),
            ("Zürich 東京", "Zürich 東京"),
        ];
        for (given, expected) in cases {
            let mut out = Markup::new();
            put!(out, "<b title=\"", given, "\">", Shown(format_args!("{given}")), "</b>");
            assert_eq!(out.as_str(), format!("<b title=\"{expected}\">{expected}</b>"));
        }
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        assert_eq!(shortened("東京都", 2), "東京…");
        assert_eq!(shortened("東京", 2), "東京");
    }
}
