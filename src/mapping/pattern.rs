//! Regexes as Go reads them, rewritten for the engine that we have.
//!
//! Both match in linear time and agree on nearly all. Where they differ (`\w`
//! and its kin are ASCII in Go, a `[` within brackets and a `{` that repeats
//! nothing are plain characters, `\Q…\E`), the pattern is rewritten so that it
//! means here what it means there.

/// `pattern`, as the crate `regex` understands it.
pub fn from_go(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\\' => rest = escape(rest, false, &mut out),
            '[' => {
                out.push('[');
                rest = class(rest, &mut out);
            }
            '{' if !is_repetition(rest) => out.push_str("\\{"),
            c => out.push(c),
        }
    }
    out
}

/// What follows a backslash; returns what is left.
fn escape<'p>(rest: &'p str, in_class: bool, out: &mut String) -> &'p str {
    let Some(c) = rest.chars().next() else {
        // Refused by the engine, which says why.
        out.push('\\');
        return rest;
    };
    let after = &rest[c.len_utf8()..];
    match c {
        'd' => out.push_str("[0-9]"),
        'D' => out.push_str("[^0-9]"),
        'w' => out.push_str("[0-9A-Za-z_]"),
        'W' => out.push_str("[^0-9A-Za-z_]"),
        's' => out.push_str("[\\t\\n\\f\\r ]"),
        'S' => out.push_str("[^\\t\\n\\f\\r ]"),
        'b' if !in_class => out.push_str("(?-u:\\b)"),
        'B' if !in_class => out.push_str("(?-u:\\B)"),
        '<' | '>' => out.push(c),
        'Q' if !in_class => {
            let (literal, after) = after.split_once("\\E").unwrap_or((after, ""));
            out.push_str(&regex::escape(literal));
            return after;
        }
        c => {
            out.push('\\');
            out.push(c);
        }
    }
    after
}

/// What follows a `[`, with the `]` that ends it; returns what is left.
fn class<'p>(mut rest: &'p str, out: &mut String) -> &'p str {
    if let Some(after) = rest.strip_prefix('^') {
        out.push('^');
        rest = after;
    }
    let mut first = true;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        match c {
            ']' if !first => {
                out.push(']');
                return after;
            }
            ']' => out.push_str("\\]"),
            '\\' => {
                first = false;
                rest = escape(after, true, out);
                continue;
            }
            '[' => match after.strip_prefix(':').and_then(|name| name.split_once(":]")) {
                Some((name, after)) if name.bytes().all(|b| b.is_ascii_lowercase() || b == b'^') => {
                    out.push_str(&format!("[:{name}:]"));
                    first = false;
                    rest = after;
                    continue;
                }
                _ => out.push_str("\\["),
            },
            // Two of them would be an operation on sets.
            '&' | '~' => {
                out.push('\\');
                out.push(c);
            }
            '-' if after.starts_with('-') => out.push_str("\\-"),
            c => out.push(c),
        }
        first = false;
        rest = after;
    }
    rest
}

/// Whether `3}`, `3,}` or `3,5}` follows.
fn is_repetition(after: &str) -> bool {
    let Some((inside, _)) = after.split_once('}') else { return false };
    let (from, to) = inside.split_once(',').unwrap_or((inside, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    !from.is_empty() && digits(from) && digits(to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use regex::Regex;

    #[test]
    fn patterns_mean_what_they_mean_in_go() {
        let check = |pattern: &str, matching: &[&str], other: &[&str]| {
            let regex = Regex::new(&from_go(pattern)).unwrap_or_else(|e| panic!("{pattern}: {e}"));
            matching.iter().for_each(|text| assert!(regex.is_match(text), "{pattern} {text}"));
            other.iter().for_each(|text| assert!(!regex.is_match(text), "{pattern} {text}"));
        };
        check(r"^test\.(\w+)\.(\w+)\.counter$", &["test.a.b1_.counter"], &["test.é.b.counter"]);
        check(r"^[\w.-]+$", &["a.b-c"], &["a b", "é"]);
        check(r"^[^\W]+$", &["abc"], &["a-b"]);
        check(r"^\d+$", &["12"], &["٣"]);
        check(r"^[[]x$", &["[x"], &["x"]);
        check(r"^[a&&b]+$", &["a&b"], &["c"]);
        check(r"^[]a]+$", &["]a"], &["b"]);
        check(r"^[[:alpha:]_]+$", &["ab_"], &["1"]);
        check(r"^a{2,3}$", &["aaa"], &["a"]);
        check(r"^a{x}{$", &["a{x}{"], &["a"]);
        check(r"^\Qa.b*\E+$", &["a.b**"], &["axb"]);
        check(r"^\<a\>$", &["<a>"], &["a"]);
        check(r"\bb\b", &["a.b.c"], &["abc"]);
        check(r"^a\_\-b$", &["a_-b"], &[]);
        check(r"(?i)^ABC$", &["abc"], &[]);
        check(r"(.*)\.(.*)--(.*)\.status\.(.*)\.count", &["a.b--c.status.200.count"], &["a.b"]);
    }

    #[test]
    fn odd_patterns_are_refused_and_do_not_panic() {
        for pattern in
            ["\\", "[", "[^", "[a", "(", "a**b(", "[\\", "\\Q", "{", "[[:", "[[:x:]", "\\1", "(?<=a)"]
        {
            let _ = Regex::new(&from_go(pattern));
        }
        assert!(Regex::new(&from_go("\\1")).is_err());
    }
}
