//! What a query's text may hold, checked before the parser sees it.
//!
//! Parser and evaluator recurse on brackets and on operators, and every regular
//! expression is compiled. One scan of the text, which knows strings and
//! comments and nothing else, bounds all that.

use super::error::Error;

/// Longest text of a query, in bytes.
pub const MAX_TEXT_BYTES: usize = 16_384;
/// Deepest nesting of brackets of any kind.
pub const MAX_NESTING: usize = 48;
/// Most operators, unary ones and ranges included.
pub const MAX_OPERATORS: usize = 200;
/// Most regular expressions.
pub const MAX_REGEXES: usize = 32;

/// # Errors
/// [`Error::Parse`] when `text` is over one of the limits.
pub(crate) fn check(text: &str) -> Result<(), Error> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(Error::Parse(format!(
            "the query has {} bytes, more than the {MAX_TEXT_BYTES} that are allowed",
            text.len()
        )));
    }
    let bytes = text.as_bytes();
    let (mut at, mut depth, mut operators) = (0usize, 0usize, 0usize);
    // Quoted texts that follow `=~` or `!~`.
    let mut regexes = 0usize;
    let mut regex_follows = false;
    while let Some(byte) = bytes.get(at) {
        let mut length = 1;
        match byte {
            b'"' | b'\'' | b'`' => {
                length = string_length(&bytes[at..]);
                if regex_follows {
                    regexes += 1;
                }
            }
            b'#' => {
                let line_ends = bytes[at..].iter().position(|b| matches!(b, b'\n' | b'\r'));
                length = line_ends.unwrap_or(bytes.len() - at);
            }
            b'(' | b'{' => depth += 1,
            b'[' => {
                depth += 1;
                operators += 1;
            }
            b')' | b'}' | b']' => depth = depth.saturating_sub(1),
            b'=' | b'!' if bytes.get(at + 1) == Some(&b'~') => length = 2,
            b'+' | b'-' | b'*' | b'/' | b'%' | b'^' | b'<' | b'>' | b'@' | b'!' => operators += 1,
            b'=' if bytes.get(at + 1) == Some(&b'=') => operators += 1,
            byte if byte.is_ascii_alphabetic() => {
                let rest = &bytes[at..];
                let end = rest.iter().position(|b| !b.is_ascii_alphanumeric() && *b != b'_');
                length = end.unwrap_or(rest.len());
                operators += usize::from(is_operator(&rest[..length]));
            }
            _ => {}
        }
        let starts_regex = matches!(byte, b'=' | b'!') && length == 2;
        regex_follows = starts_regex || (regex_follows && (byte.is_ascii_whitespace() || *byte == b'#'));
        if depth > MAX_NESTING {
            return Err(Error::Parse(format!("brackets are nested more than {MAX_NESTING} deep")));
        }
        at += length;
    }
    if operators > MAX_OPERATORS {
        return Err(Error::Parse(format!("the query has more than {MAX_OPERATORS} operators")));
    }
    if regexes > MAX_REGEXES {
        return Err(Error::Parse(format!("the query has more than {MAX_REGEXES} regular expressions")));
    }
    Ok(())
}

fn is_operator(word: &[u8]) -> bool {
    let operators = [&b"and"[..], b"or", b"unless", b"atan2", b"offset"];
    operators.iter().any(|operator| word.eq_ignore_ascii_case(operator))
}

/// Bytes of the quoted string that `bytes` begins with, quotes included.
fn string_length(bytes: &[u8]) -> usize {
    let Some((quote, rest)) = bytes.split_first() else { return 0 };
    let mut at = 0;
    while let Some(byte) = rest.get(at) {
        match byte {
            b'\\' if *quote != b'`' => at += 2,
            byte if byte == quote => return at + 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_take_the_stack_is_refused() {
        let cases = [
            ("a".repeat(MAX_TEXT_BYTES + 1), "bytes"),
            (format!("{}1{}", "(".repeat(100), ")".repeat(100)), "nested"),
            (format!("1{}", "+1".repeat(1000)), "operators"),
            (format!("{}1", "-".repeat(1000)), "operators"),
            (format!("a{}", " or a".repeat(500)), "operators"),
            (format!("{{{}}}", "a=~\"b\",".repeat(100)), "regular expressions"),
        ];
        for (text, expected) in cases {
            let error = check(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn what_follows_a_comment_counts_however_its_line_ends() {
        for end in ["\n", "\r", "\r\n"] {
            let text = format!("# comment{end}{}1", "-".repeat(1000));
            assert!(check(&text).is_err(), "{end:?}");
        }
    }

    #[test]
    fn brackets_and_operators_in_strings_and_comments_do_not_count() {
        let text = format!("x{{a=\"{}\", b='{}'}} # {}", "(".repeat(300), "+".repeat(300), "-".repeat(300));
        check(&text).unwrap();
    }
}
