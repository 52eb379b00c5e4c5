//! Floats as text, the way Go's `strconv` writes them for Prometheus.

use std::ops::Range;

/// Whole numbers below it are an `i64`, exactly.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
/// Within it nothing has an exponent in any notation. Of two shortest texts that are
/// equally near `zmij` takes the even one, as Go does, where Rust rounds up.
const PLAIN: Range<f64> = 1e-5..WHOLE_MAX;

/// Shortest text that reads back the same, never with an exponent: as
/// `count_values` writes label values.
pub fn format_plain(value: f64) -> String {
    if value.is_nan() {
        "NaN".into()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".into() } else { "-Inf".into() }
    } else if PLAIN.contains(&value.abs()) {
        let text = zmij::Buffer::new().format_finite(value).to_owned();
        text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
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
    } else if PLAIN.contains(&size) {
        out.push_str(zmij::Buffer::new().format_finite(value));
    } else {
        out.push_str(&format_value(value));
    }
}

/// Writes a number in decimal digits behind `out`.
pub fn push_integer(out: &mut String, number: i64) {
    out.push_str(itoa::Buffer::new().format(number));
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
                proptest::prop_assert_eq!(&pushed, &format_value(value));
                // As short as can be, in another way of finding it, and the same number.
                if (1e-6..1e21).contains(&value.abs()) {
                    proptest::prop_assert_eq!(pushed.len(), value.to_string().len());
                }
                proptest::prop_assert_eq!(pushed.parse::<f64>().map(f64::to_bits), Ok(value.to_bits()));
            }
        }
    }

    #[test]
    fn values_are_written_as_prometheus_writes_them() {
        let cases = [
            (1.0, "1"),
            (0.1, "0.1"),
            (-0.0, "-0"),
            (1_265_285_606_796_043.0 + 0.25, "1265285606796043.2"),
            (1_265_285_606_796_043.0 + 0.75, "1265285606796043.8"),
            (10.0 + 0.5f64.powi(16), "10.000015258789062"),
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
