//! Durations as PromQL writes them: `90s`, `1h30m`, `2y`.

/// Milliseconds of each unit; a year is 365 days, as in Prometheus.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// A text that is no duration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration: write it as \"10s\", \"5m\", \"1h30m\" or \"2y\"")]
pub struct DurationError(pub String);

/// Milliseconds of a duration. Units go from large to small, each once.
pub fn parse_ms(text: &str) -> Result<u64, DurationError> {
    let error = || DurationError(text.chars().take(64).collect());
    if text == "0" {
        return Ok(0);
    }
    let mut rest = text;
    let mut total = 0u64;
    let mut next_unit = 0;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number: u64 = rest[..digits].parse().map_err(|_| error())?;
        rest = &rest[digits..];
        let letters = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_lowercase()).len();
        let at = UNITS.iter().position(|(unit, _)| *unit == &rest[..letters]).ok_or_else(error)?;
        if at < next_unit {
            return Err(error());
        }
        next_unit = at + 1;
        rest = &rest[letters..];
        total = number.checked_mul(UNITS[at].1).and_then(|ms| total.checked_add(ms)).ok_or_else(error)?;
    }
    // Times are i64 ms: keep sums of a few durations far from the edge.
    if text.is_empty() || total > i64::MAX as u64 / 1024 {
        return Err(error());
    }
    Ok(total)
}

/// The shortest spelling that [`parse_ms`] reads back.
pub fn format_ms(mut ms: u64) -> String {
    if ms == 0 {
        return "0s".into();
    }
    let mut text = String::new();
    for (unit, size) in UNITS {
        // Weeks and years only when nothing is left over: "8d" reads better than "1w1d".
        let exact_only = matches!(unit, "y" | "w");
        if ms >= size && (!exact_only || ms.is_multiple_of(size)) {
            text.push_str(&format!("{}{unit}", ms / size));
            ms %= size;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_write() {
        let cases = [
            ("10s", 10_000, "10s"),
            ("1h30m", 5_400_000, "1h30m"),
            ("90s", 90_000, "1m30s"),
            ("2y", 63_072_000_000, "2y"),
            ("8d", 691_200_000, "8d"),
            ("500ms", 500, "500ms"),
            ("0", 0, "0s"),
        ];
        for (text, ms, shown) in cases {
            assert_eq!(parse_ms(text), Ok(ms), "{text}");
            assert_eq!(format_ms(ms), shown);
        }
        for text in ["", "5", "s", "1x", "-1s", "1m1h", "1s1s", "1.5h", " 1s", "99999999999999999y", "1µs"] {
            assert!(parse_ms(text).is_err(), "{text:?}");
        }
    }
}
