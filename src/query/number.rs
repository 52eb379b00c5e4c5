//! Floats as text, the way Go's `strconv` writes them for Prometheus.

use std::fmt::Write;

/// Whole numbers below it are an `i64`, exactly.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// Shortest text that reads back the same, never with an exponent: as
/// `count_values` writes label values.
pub fn format_plain(value: f64) -> String {
    if value.is_nan() {
        "NaN".into()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".into() } else { "-Inf".into() }
    } else {
        value.to_string()
    }
}

/// As [`format_plain`], but very large and very small numbers with an exponent:
/// as Prometheus' JSON writes values.
pub fn format_value(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() || size == 0.0 || (1e-6..1e21).contains(&size) {
        return format_plain(value);
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((mantissa, exponent)) => {
            let (sign, digits) = match exponent.strip_prefix('-') {
                Some(digits) => ('-', digits),
                None => ('+', exponent),
            };
            format!("{mantissa}e{sign}{digits:0>2}")
        }
        None => text,
    }
}

/// Writes what [`format_value`] gives behind `out`.
pub fn push_value(out: &mut String, value: f64) {
    let size = value.abs();
    if size < WHOLE_MAX && value == (value as i64) as f64 && (value != 0.0 || value.is_sign_positive()) {
        push_integer(out, value as i64);
    } else if (1e-6..1e21).contains(&size) {
        if !push_decimal(out, value) {
            // Writing to a string cannot fail.
            let _ = write!(out, "{value}");
        }
    } else {
        out.push_str(&format_value(value));
    }
}

/// Writes a value of few places, as most are, which is a third of the time of an
/// answer faster; false when it is none. No two decimals of up to 15 digits are the
/// same double, so that the one with the fewest places is the shortest text.
fn push_decimal(out: &mut String, value: f64) -> bool {
    const PLACES: [u64; 7] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000];
    let size = value.abs();
    for (places, power) in PLACES.into_iter().enumerate() {
        let scaled = size * power as f64;
        if scaled >= 1e15 {
            return false;
        }
        let digits = (scaled + 0.5) as u64;
        if digits as f64 / power as f64 == size {
            if value < 0.0 {
                out.push('-');
            }
            push_digits(out, digits / power, 1);
            if places > 0 {
                out.push('.');
                push_digits(out, digits % power, places);
            }
            return true;
        }
    }
    false
}

/// Writes a number in decimal digits behind `out`.
pub fn push_integer(out: &mut String, number: i64) {
    if number < 0 {
        out.push('-');
    }
    push_digits(out, number.unsigned_abs(), 1);
}

/// Writes a number behind `out`, with zeros in front to at least `width` digits.
fn push_digits(out: &mut String, number: u64, width: usize) {
    let mut digits = [b'0'; 20];
    let (mut at, mut rest) = (digits.len(), number);
    while rest > 0 && at > 0 {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let start = at.min(digits.len() - width.min(digits.len()));
    out.push_str(str::from_utf8(&digits[start..]).unwrap_or_default());
}

/// As [`format_value`], whole numbers with a `.0`: as OpenMetrics writes the
/// values of labels.
pub fn format_open_metrics(value: f64) -> String {
    let text = format_value(value);
    match value.is_finite() && !text.contains(['.', 'e']) {
        true => format!("{text}.0"),
        false => text,
    }
}

/// Reads a number as PromQL and Prometheus' files write it, `+Inf` and `NaN`
/// included.
pub fn parse_float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if unsigned.eq_ignore_ascii_case("inf") || unsigned.eq_ignore_ascii_case("infinity") {
        return Some(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_written_as_all_others() {
        for value in [0.0, 7.0, -10.0, 120.0, -9_007_199_254_740_991.0, 9_007_199_254_740_992.0, 1e18, 0.5] {
            let mut pushed = String::new();
            push_value(&mut pushed, value);
            assert_eq!(pushed, format_value(value));
        }
        let mut least = String::new();
        push_integer(&mut least, i64::MIN);
        assert_eq!(least, i64::MIN.to_string());
    }

    proptest::proptest! {
        #[test]
        fn decimals_are_written_as_all_others(digits: i64, bits in 0u32..60, places in 0i32..9, other: f64) {
            for value in [(digits >> bits) as f64 / 10f64.powi(places), other, other * 1e-6, 0.1 + 0.2] {
                let mut pushed = String::new();
                push_value(&mut pushed, value);
                proptest::prop_assert_eq!(pushed, format_value(value));
            }
        }
    }

    #[test]
    fn values_are_written_as_prometheus_writes_them() {
        let cases = [
            (1.0, "1"),
            (0.1, "0.1"),
            (-0.0, "-0"),
            (1e21, "1e+21"),
            (1e20, "100000000000000000000"),
            (1.5e-7, "1.5e-07"),
            (1e-6, "0.000001"),
            (-1.25e300, "-1.25e+300"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ];
        for (value, expected) in cases {
            assert_eq!(format_value(value), expected);
            let mut pushed = String::new();
            push_value(&mut pushed, value);
            assert_eq!(pushed, expected);
            let back = parse_float(expected).unwrap();
            assert!(back == value || (back.is_nan() && value.is_nan()));
        }
        assert_eq!(format_plain(1e21), "1000000000000000000000");
    }
}
