//! Durations as Go writes them: `10m`, `1h30m`, `1.5h`, `1m20s`.

/// Nanoseconds of each unit.
const UNITS: [(&str, f64); 8] =
    [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("μs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];

/// Milliseconds of a duration, rounded up; `None` when it is none, is negative
/// or is longer than a hundred years.
pub fn parse_ms(text: &str) -> Option<i64> {
    const MAX_MS: f64 = 100.0 * 365.0 * 86_400e3;
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(0);
    }
    let mut nanos = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let number = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let (digits, after) = rest.split_at(number);
        let unit = after.len() - after.trim_start_matches(|c: char| !c.is_ascii_digit() && c != '.').len();
        let (unit, after) = after.split_at(unit);
        let size = UNITS.iter().find(|(name, _)| *name == unit)?.1;
        nanos += digits.parse::<f64>().ok()? * size;
        rest = after;
    }
    let ms = (nanos / 1e6).ceil();
    (ms <= MAX_MS).then_some(ms as i64)
}

#[cfg(test)]
mod tests {
    #[test]
    fn durations_are_those_of_go() {
        let cases = [
            ("10m", Some(600_000)),
            ("1h30m", Some(5_400_000)),
            ("1.5h", Some(5_400_000)),
            ("1m20s", Some(80_000)),
            (".5s", Some(500)),
            ("30m1h", Some(5_400_000)),
            ("1500us", Some(2)),
            ("2µs", Some(1)),
            ("0", Some(0)),
            ("0s", Some(0)),
            ("+1s", Some(1000)),
            ("", None),
            ("5", None),
            ("1d", None),
            ("-1s", None),
            ("1 s", None),
            ("s", None),
            (".s", None),
            ("1..5s", None),
            ("9999999h", None),
        ];
        for (text, ms) in cases {
            assert_eq!(super::parse_ms(text), ms, "{text:?}");
        }
    }
}
