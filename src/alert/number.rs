//! Numbers as Prometheus writes them into alert texts: the plain value and the
//! `humanize` family. Pure text, no units but those of the value itself.

/// The shortest text that reads back as `value`; an exponent only below 1e-4
/// and from 1e21 on, as in Go's `%v`.
pub fn plain(value: f64) -> String {
    if let Some(text) = special(value) {
        return text.into();
    }
    let (mantissa, exponent) = split(&format!("{value:e}"));
    if value != 0.0 && !(-4..21).contains(&exponent) {
        return with_exponent(&mantissa, exponent);
    }
    format!("{value}")
}

/// Always with an exponent, as in Go's `%e` of the shortest digits.
pub fn scientific(value: f64) -> String {
    if let Some(text) = special(value) {
        return text.into();
    }
    let (mantissa, exponent) = split(&format!("{value:e}"));
    with_exponent(&mantissa, exponent)
}

/// Four significant digits and a metric prefix: `1.235k`, `12m`.
pub fn humanize(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return significant(value);
    }
    if value.abs() >= 1.0 {
        let (scaled, prefix) = scale_down(value, 1000.0, &["k", "M", "G", "T", "P", "E", "Z", "Y"]);
        return significant(scaled) + prefix;
    }
    let (scaled, prefix) = scale_up(value);
    significant(scaled) + prefix
}

/// As [`humanize`] in steps of 1024: `1.5Ki`.
pub fn humanize1024(value: f64) -> String {
    if value.abs() <= 1.0 || !value.is_finite() {
        return significant(value);
    }
    let (scaled, prefix) = scale_down(value, 1024.0, &["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"]);
    significant(scaled) + prefix
}

/// Seconds as `1d 2h 3m 4s`, `1.5s`, `20ms`.
pub fn humanize_duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return significant(seconds);
    }
    if seconds == 0.0 {
        return "0s".into();
    }
    if seconds.abs() < 1.0 {
        let (scaled, prefix) = scale_up(seconds);
        return format!("{}{prefix}s", significant(scaled));
    }
    let sign = if seconds < 0.0 { "-" } else { "" };
    // Saturates: more seconds than that are not counted in days any more.
    let whole = seconds.abs() as u64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3_600 % 24, whole / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{}s", significant(seconds)),
        (0, 0, _) => format!("{sign}{minutes}m {}s", whole % 60),
        (0, ..) => format!("{sign}{hours}h {minutes}m {}s", whole % 60),
        _ => format!("{sign}{days}d {hours}h {minutes}m {}s", whole % 60),
    }
}

/// A ratio as `12.34%`.
pub fn humanize_percentage(ratio: f64) -> String {
    significant(ratio * 100.0) + "%"
}

/// Four significant digits, as in Go's `%.4g`.
fn significant(value: f64) -> String {
    const DIGITS: i32 = 4;
    if let Some(text) = special(value) {
        return text.into();
    }
    // Rounded first: 9999.9 has the exponent of 10000.
    let (mantissa, exponent) = split(&format!("{value:.3e}"));
    if !(-4..DIGITS).contains(&exponent) {
        return with_exponent(trim_zeros(&mantissa), exponent);
    }
    let decimals = usize::try_from(DIGITS - 1 - exponent).unwrap_or(0);
    trim_zeros(&format!("{value:.decimals$}")).to_owned()
}

fn scale_down<'a>(value: f64, base: f64, prefixes: &[&'a str]) -> (f64, &'a str) {
    let mut scaled = (value, "");
    for prefix in prefixes {
        if scaled.0.abs() < base {
            break;
        }
        scaled = (scaled.0 / base, prefix);
    }
    scaled
}

fn scale_up(value: f64) -> (f64, &'static str) {
    let mut scaled = (value, "");
    for prefix in ["m", "u", "n", "p", "f", "a", "z", "y"] {
        if scaled.0.abs() >= 1.0 {
            break;
        }
        scaled = (scaled.0 * 1000.0, prefix);
    }
    scaled
}

fn special(value: f64) -> Option<&'static str> {
    match value {
        _ if value.is_nan() => Some("NaN"),
        f64::INFINITY => Some("+Inf"),
        f64::NEG_INFINITY => Some("-Inf"),
        _ => None,
    }
}

/// Mantissa and exponent of what `{:e}` wrote.
fn split(text: &str) -> (String, i32) {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    (mantissa.to_owned(), exponent.parse().unwrap_or(0))
}

fn with_exponent(mantissa: &str, exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

fn trim_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_in_prometheus() {
        type Case = (f64, &'static str, &'static str, &'static str, &'static str, &'static str);
        // value, plain, humanize, humanize1024, humanizeDuration, humanizePercentage
        let cases: [Case; 15] = [
            (0.0, "0", "0", "0", "0s", "0%"),
            (1.0, "1", "1", "1", "1s", "100%"),
            (-1.0, "-1", "-1", "-1", "-1s", "-100%"),
            (0.12, "0.12", "120m", "0.12", "120ms", "12%"),
            (899.99, "899.99", "900", "900", "14m 59s", "9e+04%"),
            (1234567.0, "1234567", "1.235M", "1.177Mi", "14d 6h 56m 7s", "1.235e+08%"),
            (12345678.0, "12345678", "12.35M", "11.77Mi", "142d 21h 21m 18s", "1.235e+09%"),
            (65.0, "65", "65", "65", "1m 5s", "6500%"),
            (435.435, "435.435", "435.4", "435.4", "7m 15s", "4.354e+04%"),
            (-93784.0, "-93784", "-93.78k", "-91.59ki", "-1d 2h 3m 4s", "-9.378e+06%"),
            (1e21, "1e+21", "1Z", "867.4Ei", "213503982334601d 7h 0m 15s", "1e+23%"),
            (0.00001, "1e-05", "10u", "1e-05", "10us", "0.001%"),
            (f64::NAN, "NaN", "NaN", "NaN", "NaN", "NaN%"),
            (f64::INFINITY, "+Inf", "+Inf", "+Inf", "+Inf", "+Inf%"),
            (f64::NEG_INFINITY, "-Inf", "-Inf", "-Inf", "-Inf", "-Inf%"),
        ];
        for (value, plainly, metric, binary, duration, percentage) in cases {
            assert_eq!(plain(value), plainly, "{value}");
            assert_eq!(humanize(value), metric, "{value}");
            assert_eq!(humanize1024(value), binary, "{value}");
            assert_eq!(humanize_duration(value), duration, "{value}");
            assert_eq!(humanize_percentage(value), percentage, "{value}");
        }
    }

    #[test]
    fn scientific_is_what_the_alerts_api_writes() {
        for (value, text) in [(1.0, "1e+00"), (0.0, "0e+00"), (12.5, "1.25e+01"), (2e-7, "2e-07")] {
            assert_eq!(scientific(value), text);
        }
        assert_eq!(scientific(f64::NAN), "NaN");
    }
}
