//! PromQL's words: names, numbers, durations, strings and signs, each with
//! where it stands. Linear in the text; knows no grammar.
//!
//! Between `[` and `]` a colon is a sign of its own, elsewhere a part of names.

use super::error::{Error, Position};
use nom::branch::alt;
use nom::bytes::complete::{tag, take_while, take_while1};
use nom::combinator::{map, recognize, value};
use nom::sequence::pair;
use nom::{IResult, Parser};

/// A word of PromQL.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Word<'a> {
    /// A number, or a duration in seconds.
    Number(f64),
    /// A quoted text, its escapes resolved.
    Text(String),
    /// A keyword, or the name of a metric, a label or a function.
    Name(&'a str),
    Sign(&'static str),
    End,
}

/// A word and the bytes of the query that it takes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token<'a> {
    pub word: Word<'a>,
    pub start: usize,
    pub end: usize,
}

/// All words of `text`, and [`Word::End`].
///
/// # Errors
/// [`Error::Syntax`] at what is no word.
pub(crate) fn words(text: &str) -> Result<Vec<Token<'_>>, Error> {
    let mut tokens = Vec::new();
    let (mut rest, mut in_range) = (text, 0usize);
    loop {
        rest = skip_blanks(rest);
        let start = text.len() - rest.len();
        let fail = |message: String| Error::syntax(Position::of(text, start), message);
        let Some(first) = rest.chars().next() else {
            tokens.push(Token { word: Word::End, start, end: start });
            return Ok(tokens);
        };
        let (after, word) = match first {
            '"' | '\'' | '`' => string(rest).map_err(fail)?,
            c if c.is_ascii_digit() || (c == '.' && second_is_digit(rest)) => number(rest).map_err(fail)?,
            c if c.is_ascii_alphabetic() || c == '_' || (c == ':' && in_range == 0) => {
                name(rest, in_range == 0).map_err(|_| fail(format!("unexpected character: {c:?}")))?
            }
            c => sign(rest).map_err(|_| fail(format!("unexpected character: {c:?}")))?,
        };
        match word {
            Word::Sign("[") => in_range += 1,
            Word::Sign("]") => in_range = in_range.saturating_sub(1),
            _ => {}
        }
        tokens.push(Token { word, start, end: text.len() - after.len() });
        rest = after;
    }
}

fn skip_blanks(mut text: &str) -> &str {
    loop {
        let trimmed = text.trim_start_matches([' ', '\t', '\n', '\r']);
        let Some(comment) = trimmed.strip_prefix('#') else { return trimmed };
        text = comment.find(['\n', '\r']).and_then(|at| comment.get(at..)).unwrap_or_default();
    }
}

fn second_is_digit(text: &str) -> bool {
    text.as_bytes().get(1).is_some_and(u8::is_ascii_digit)
}

fn name(text: &str, colons: bool) -> IResult<&str, Word<'_>> {
    let starts = move |c: char| c.is_ascii_alphabetic() || c == '_' || (c == ':' && colons);
    let goes_on = move |c: char| starts(c) || c.is_ascii_digit();
    map(recognize(pair(take_while1(starts), take_while(goes_on))), Word::Name).parse(text)
}

fn sign(text: &str) -> IResult<&str, Word<'_>> {
    // The longer ones first.
    let long = alt((
        value("==", tag("==")),
        value("=~", tag("=~")),
        value("!=", tag("!=")),
        value("!~", tag("!~")),
        value("<=", tag("<=")),
        value(">=", tag(">=")),
        value("</", tag("</")),
        value(">/", tag(">/")),
    ));
    let brackets = alt((
        value("(", tag("(")),
        value(")", tag(")")),
        value("{", tag("{")),
        value("}", tag("}")),
        value("[", tag("[")),
        value("]", tag("]")),
        value(",", tag(",")),
        value(":", tag(":")),
        value("@", tag("@")),
    ));
    let short = alt((
        value("=", tag("=")),
        value("<", tag("<")),
        value(">", tag(">")),
        value("+", tag("+")),
        value("-", tag("-")),
        value("*", tag("*")),
        value("/", tag("/")),
        value("%", tag("%")),
        value("^", tag("^")),
    ));
    map(alt((long, brackets, short)), Word::Sign).parse(text)
}

/// A number such as `1_000`, `0x1F`, `017`, `1e-3`, or a duration such as `1h30m`.
fn number(text: &str) -> Result<(&str, Word<'_>), String> {
    let bytes = text.as_bytes();
    let is_word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_' || *b == b'.';
    let mut end = bytes.iter().position(|b| !is_word(b)).unwrap_or(bytes.len());
    let is_hex = text.starts_with("0x") || text.starts_with("0X");
    // The sign of an exponent belongs to the number.
    if !is_hex && matches!(bytes.get(end.wrapping_sub(1)), Some(b'e' | b'E')) {
        let digits = bytes.get(end + 1..).unwrap_or_default();
        let length = digits.iter().position(|b| !is_word(b)).unwrap_or(digits.len());
        if matches!(bytes.get(end), Some(b'+' | b'-')) && length > 0 {
            end += 1 + length;
        }
    }
    let (word, rest) = text.split_at_checked(end).ok_or("bad number")?;
    let plain: String = word.chars().filter(|c| *c != '_').collect();
    let well_spaced = !word.ends_with('_') && !word.contains("__") && !word.contains("_.");
    let found = match plain.get(2..).filter(|_| is_hex) {
        Some(digits) => i64::from_str_radix(digits, 16).ok().map(|n| n as f64),
        None => {
            // As in Go, a 0 in front makes it octal, if it can be.
            let octal = plain.strip_prefix('0').and_then(|digits| i64::from_str_radix(digits, 8).ok());
            match plain.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-')) {
                true => {
                    octal.map(|n| n as f64).or_else(|| plain.parse().ok()).filter(|n: &f64| n.is_finite())
                }
                false => duration_s(word),
            }
        }
    };
    match found.filter(|_| well_spaced) {
        Some(number) => Ok((rest, Word::Number(number))),
        None => Err(format!("bad number or duration syntax: {word:?}")),
    }
}

/// Seconds of `1h30m`: units from years down to milliseconds, each once.
pub(crate) fn duration_s(text: &str) -> Option<f64> {
    const UNITS: [(&str, u64); 7] = [
        ("y", 31_536_000_000),
        ("w", 604_800_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ];
    let (mut rest, mut units, mut total_ms) = (text, &UNITS[..], 0u64);
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (count, tail) = rest.split_at_checked(digits)?;
        let length = tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (unit, tail) = tail.split_at_checked(length)?;
        let place = units.iter().position(|(name, _)| *name == unit)?;
        let (_, unit_ms) = units.get(place)?;
        total_ms = total_ms.checked_add(count.parse::<u64>().ok()?.checked_mul(*unit_ms)?)?;
        units = units.get(place + 1..)?;
        rest = tail;
    }
    Some(total_ms as f64 / 1000.0)
}

/// A text in quotes. Between backquotes nothing is escaped.
fn string(text: &str) -> Result<(&str, Word<'_>), String> {
    let mut chars = text.char_indices();
    let Some((_, quote)) = chars.next() else { return Err("unterminated quoted string".into()) };
    let mut bytes: Vec<u8> = Vec::new();
    let mut buffer = [0u8; 4];
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => {
                let rest = text.get(at + c.len_utf8()..).unwrap_or_default();
                let text = String::from_utf8(bytes).map_err(|_| "string is not valid UTF-8")?;
                return Ok((rest, Word::Text(text)));
            }
            '\n' if quote != '`' => break,
            '\\' if quote != '`' => {
                let (_, escaped) = chars.next().ok_or("escape sequence not terminated")?;
                escape(escaped, quote, &mut chars, &mut bytes)?;
            }
            c => bytes.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes()),
        }
    }
    Err("unterminated quoted string".into())
}

/// What `\` and `first` stand for, with the digits that follow.
fn escape(
    first: char,
    quote: char,
    chars: &mut std::str::CharIndices<'_>,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    let simple = match first {
        'a' => Some(7),
        'b' => Some(8),
        'f' => Some(12),
        'n' => Some(b'\n'),
        'r' => Some(b'\r'),
        't' => Some(b'\t'),
        'v' => Some(11),
        '\\' => Some(b'\\'),
        c if c == quote => Some(c as u8),
        _ => None,
    };
    if let Some(byte) = simple {
        out.push(byte);
        return Ok(());
    }
    let (radix, digits, mut code) = match first {
        'x' => (16, 2, 0),
        'u' => (16, 4, 0),
        'U' => (16, 8, 0),
        '0'..='7' => (8, 2, first as u32 - '0' as u32),
        c => return Err(format!("unknown escape sequence: \\{c}")),
    };
    for _ in 0..digits {
        let digit = chars.next().and_then(|(_, c)| c.to_digit(radix));
        code = code * radix + digit.ok_or("illegal character in escape sequence")?;
    }
    match first {
        'u' | 'U' => {
            let c = char::from_u32(code).ok_or("escape sequence is no Unicode character")?;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        _ => out.push(u8::try_from(code).map_err(|_| "octal escape sequence is over 255")?),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<Word<'_>> {
        words(text).unwrap().into_iter().map(|token| token.word).filter(|word| *word != Word::End).collect()
    }

    #[test]
    fn numbers_and_durations_are_seconds() {
        let cases = [
            ("1", 1.0),
            (".5", 0.5),
            ("1_000.5", 1000.5),
            ("0x1F", 31.0),
            ("0x_53_AB", 21_419.0),
            ("017", 15.0),
            ("08", 8.0),
            ("01.5", 1.5),
            ("0_17", 15.0),
            ("0", 0.0),
            ("1e-3", 0.001),
            ("1E3", 1000.0),
            ("5m", 300.0),
            ("1h30m", 5400.0),
            ("1y1w1d1h1m1s1ms", 32_230_861.001),
            ("250ms", 0.25),
        ];
        for (text, expected) in cases {
            assert_eq!(found(text), [Word::Number(expected)], "{text}");
        }
        for text in ["1m1h", "5mm", "1i", "1__0", "1_", "0xg", "0xffffffffffffffff", "1h1h", "1.5m", "1e1000"]
        {
            assert!(words(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_colon_is_a_part_of_names_outside_of_ranges_only() {
        assert_eq!(found("a:b[5m:c]").len(), 6);
        assert_eq!(found(":a"), [Word::Name(":a")]);
    }

    #[test]
    fn strings_are_unescaped() {
        let cases = [
            (r#""a\"b\n\\""#, "a\"b\n\\"),
            (r"'it\'s'", "it's"),
            (r"`a\n`", r"a\n"),
            (r#""\x41\101\u00e9\U0001F600""#, "AAé😀"),
            (r#""\xc3\xa9""#, "é"),
        ];
        for (text, expected) in cases {
            assert_eq!(found(text), [Word::Text(expected.into())], "{text}");
        }
        for text in [r#""a"#, r#""\q""#, r#""\xff""#, "'a\nb'", r#""\400""#] {
            assert!(words(text).is_err(), "{text}");
        }
    }

    #[test]
    fn errors_say_where() {
        let error = words("a +\n  ?").unwrap_err().to_string();
        assert!(error.starts_with("2:3: parse error: unexpected character"), "{error}");
    }

    #[test]
    fn comments_and_blanks_are_skipped() {
        for text in ["a # b\n + # c", "a # b\r + # c", "a\t#\r\n+"] {
            assert_eq!(found(text), [Word::Name("a"), Word::Sign("+")], "{text:?}");
        }
    }
}
