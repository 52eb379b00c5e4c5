//! The one formatter of numbers: pages, tables, tiles, axes and tooltips.
//!
//! Three significant digits and a unit that fits the size; exact integers
//! where a count is meant. Thousands are parted by a narrow space. What is
//! missing is said in words and never drawn as 0.

/// What stands where there is no value.
pub const NO_DATA: &str = "no data";

/// Parts thousands: narrow, and no line break there.
const THIN: char = '\u{202f}';
/// Between number and unit: as wide as the font's digit space allows, unbroken.
const JOIN: char = '\u{a0}';

/// What a number counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    #[default]
    Plain,
    /// A whole number of things; shown with all its digits.
    Count,
    Seconds,
    Bytes,
    PerSecond,
    /// Already times 100.
    Percent,
    /// Between 0 and 1, shown as per cent.
    Ratio,
    /// Any other word, shown behind the number.
    Other(String),
}

impl Unit {
    /// The unit that a config means by `text`.
    pub fn parse(text: &str) -> Self {
        match text {
            "" => Unit::Plain,
            "count" => Unit::Count,
            "s" | "seconds" => Unit::Seconds,
            "B" | "bytes" => Unit::Bytes,
            "/s" => Unit::PerSecond,
            "%" => Unit::Percent,
            "ratio" => Unit::Ratio,
            other => Unit::Other(other.to_owned()),
        }
    }
}

/// A divisor and the unit's name for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    divisor: f64,
    suffix: String,
}

impl Scale {
    /// The scale in which a value as large as `largest` reads best.
    pub fn of(largest: f64, unit: &Unit) -> Self {
        let size = if largest.is_finite() { largest.abs() } else { 0.0 };
        let pick = |steps: &[(f64, &str)]| {
            let (divisor, suffix) = steps
                .iter()
                .rev()
                .find(|(from, _)| size >= *from)
                .or(steps.first())
                .copied()
                .unwrap_or((1.0, ""));
            Scale { divisor, suffix: suffix.to_owned() }
        };
        match unit {
            Unit::Plain | Unit::Count => {
                if size < 10_000.0 {
                    Scale { divisor: 1.0, suffix: String::new() }
                } else {
                    pick(&THOUSANDS)
                }
            }
            Unit::Seconds => match size {
                0.0 => Scale { divisor: 1e-3, suffix: "ms".into() },
                s if s < 120.0 => pick(&[(1e-6, "µs"), (1e-3, "ms"), (1.0, "s")]),
                s if s < 7_200.0 => Scale { divisor: 60.0, suffix: "min".into() },
                s if s < 172_800.0 => Scale { divisor: 3_600.0, suffix: "h".into() },
                _ => Scale { divisor: 86_400.0, suffix: "d".into() },
            },
            Unit::Bytes => pick(&[
                (1.0, "B"),
                (1024.0, "KiB"),
                (1_048_576.0, "MiB"),
                (1_073_741_824.0, "GiB"),
                (1_099_511_627_776.0, "TiB"),
            ]),
            Unit::PerSecond => match size {
                s if s > 0.0 && s < 0.01 => Scale { divisor: 1.0 / 3_600.0, suffix: "/h".into() },
                s if s > 0.0 && s < 0.5 => Scale { divisor: 1.0 / 60.0, suffix: "/min".into() },
                s if s < 10_000.0 => Scale { divisor: 1.0, suffix: "/s".into() },
                _ => {
                    let mut scale = pick(&THOUSANDS);
                    scale.suffix.push_str("/s");
                    scale
                }
            },
            Unit::Percent => Scale { divisor: 1.0, suffix: "%".into() },
            Unit::Ratio => Scale { divisor: 0.01, suffix: "%".into() },
            Unit::Other(word) => {
                let mut scale = Scale::of(size, &Unit::Plain);
                if !scale.suffix.is_empty() {
                    scale.suffix.push(JOIN);
                }
                scale.suffix.push_str(word);
                scale
            }
        }
    }

    /// Nothing divided, no unit named.
    pub(super) fn one() -> Self {
        Scale { divisor: 1.0, suffix: String::new() }
    }

    pub(super) fn divisor(&self) -> f64 {
        self.divisor
    }

    /// The number alone, in this scale.
    pub fn number(&self, value: f64, decimals: usize) -> String {
        grouped(value / self.divisor, decimals)
    }

    /// The unit's name in this scale; may be empty.
    pub fn suffix(&self) -> &str {
        &self.suffix
    }
}

const THOUSANDS: [(f64, &str); 5] = [(1.0, ""), (1e3, "k"), (1e6, "M"), (1e9, "G"), (1e12, "T")];

/// A number and its unit apart, for tiles that set them in two sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    pub number: String,
    pub unit: String,
}

/// `value` with its unit, number and unit apart.
pub fn split(value: f64, unit: &Unit) -> Split {
    if value.is_nan() {
        return Split { number: NO_DATA.into(), unit: String::new() };
    }
    if value.is_infinite() {
        return Split { number: if value > 0.0 { "∞" } else { "−∞" }.into(), unit: String::new() };
    }
    if *unit == Unit::Count && value.abs() < 1e15 {
        return Split { number: exact(value), unit: String::new() };
    }
    let mut scale = Scale::of(value, unit);
    // 9,999.6 rounds up to 10,000: look again at what will be shown.
    let rounded = round_significant(value / scale.divisor) * scale.divisor;
    scale = Scale::of(rounded, unit);
    let scaled = value / scale.divisor;
    Split { number: grouped(scaled, decimals_of(scaled)), unit: scale.suffix }
}

/// `value` with its unit as one text.
pub fn format(value: f64, unit: &Unit) -> String {
    let Split { number, unit } = split(value, unit);
    joined(&number, &unit)
}

/// `value` or the words for its absence.
pub fn format_option(value: Option<f64>, unit: &Unit) -> String {
    format(value.unwrap_or(f64::NAN), unit)
}

/// A count with all its digits; fractions (of sampled counts) to two places.
pub fn exact(value: f64) -> String {
    if (value - value.round()).abs() < 1e-6 { grouped(value, 0) } else { grouped(value, 2) }
}

/// Number and unit as they stand beside each other.
pub fn joined(number: &str, unit: &str) -> String {
    match unit {
        "" => number.to_owned(),
        _ => format!("{number}{JOIN}{unit}"),
    }
}

/// A span of time with all its parts: `24 h`, `1 h 30 min`, `7 d`.
pub fn duration_words(ms: i64) -> String {
    let mut rest = ms.max(0);
    if rest == 86_400_000 {
        return format!("24{JOIN}h");
    }
    let mut words = Vec::new();
    for (size, unit) in DURATION_UNITS {
        if rest >= size {
            words.push(format!("{}{JOIN}{unit}", rest / size));
            rest %= size;
        }
    }
    if words.is_empty() { format!("0{JOIN}s") } else { words.join(" ") }
}

/// The same in its largest unit alone, rounded down: `13 min`.
pub fn coarse_duration_words(ms: i64) -> String {
    let ms = ms.max(0);
    let size = DURATION_UNITS.iter().map(|(size, _)| *size).find(|size| ms >= *size).unwrap_or(1_000);
    match ms / size * size {
        0 => format!("0{JOIN}s"),
        86_400_000 => format!("1{JOIN}d"),
        whole => duration_words(whole),
    }
}

const DURATION_UNITS: [(i64, &str); 5] =
    [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"), (1, "ms")];

/// How `now` compares with `before`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// −1, 0 or 1.
    pub direction: i8,
    /// Such as `4 %`, `was 0`.
    pub text: String,
}

/// The change from `before` to `now`; `None` when one of them is missing.
pub fn change(now: Option<f64>, before: Option<f64>, unit: &Unit) -> Option<Change> {
    let (now, before) = (now.filter(|v| v.is_finite())?, before.filter(|v| v.is_finite())?);
    let direction = match now - before {
        d if d > 0.0 => 1,
        d if d < 0.0 => -1,
        _ => 0,
    };
    let text = match unit {
        _ if direction == 0 => "no change".to_owned(),
        Unit::Ratio => format!("{}{JOIN}points", grouped((now - before).abs() * 100.0, 1)),
        Unit::Percent => format!("{}{JOIN}points", grouped((now - before).abs(), 1)),
        _ if before == 0.0 => "was 0".to_owned(),
        _ => {
            let percent = (now - before).abs() / before.abs() * 100.0;
            match percent {
                p if p > 999.0 => format!("was {}", format(before, unit)),
                p if p < 10.0 => format!("{}{JOIN}%", grouped(p, 1)),
                p => format!("{}{JOIN}%", grouped(p, 0)),
            }
        }
    };
    Some(Change { direction, text })
}

/// Decimals that leave three significant digits, none of them needless.
fn decimals_of(value: f64) -> usize {
    let most = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 || v == 0.0 => 2,
        v => (2 - v.log10().floor() as i32).clamp(2, 9) as usize,
    };
    let text = format!("{value:.most$}");
    match text.split_once('.') {
        Some((_, decimals)) => decimals.trim_end_matches('0').len(),
        None => 0,
    }
}

fn round_significant(value: f64) -> f64 {
    if value == 0.0 {
        return 0.0;
    }
    let factor = 10f64.powi(2 - value.abs().log10().floor() as i32);
    let rounded = (value * factor).round() / factor;
    if rounded.is_finite() { rounded } else { value }
}

/// `value` with a fixed number of decimals and parted thousands.
pub(super) fn grouped(value: f64, decimals: usize) -> String {
    let text = format!("{:.decimals$}", value.abs());
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let is_zero = text.bytes().all(|b| matches!(b, b'0' | b'.'));
    let mut out = String::with_capacity(text.len() + 8);
    if value < 0.0 && !is_zero {
        out.push('−');
    }
    for (at, digit) in whole.chars().enumerate() {
        // Four digits read well unparted, but columns of them do not align.
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            out.push(THIN);
        }
        out.push(digit);
    }
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: f64, unit: Unit, expected: &str) {
        let shown = format(value, &unit).replace(THIN, "_").replace(JOIN, " ");
        assert_eq!(shown, expected, "{value} {unit:?}");
    }

    #[test]
    fn numbers_read_as_people_write_them() {
        check(0.0, Unit::Plain, "0");
        check(-0.0, Unit::Plain, "0");
        check(-12.5, Unit::Plain, "−12.5");
        check(1234.0, Unit::Plain, "1_234");
        check(9_999.6, Unit::Plain, "10 k");
        check(123_456.0, Unit::Plain, "123 k");
        check(2.5e6, Unit::Plain, "2.5 M");
        check(0.000123, Unit::Plain, "0.000123");
        check(4_812_930.0, Unit::Count, "4_812_930");
        check(33.3333, Unit::Count, "33.33");
        check(0.12, Unit::Seconds, "120 ms");
        check(0.0000005, Unit::Seconds, "0.5 µs");
        check(0.00042, Unit::Seconds, "420 µs");
        check(1.5, Unit::Seconds, "1.5 s");
        check(0.9999, Unit::Seconds, "1 s");
        check(600.0, Unit::Seconds, "10 min");
        check(9_000.0, Unit::Seconds, "2.5 h");
        check(1_572_864.0, Unit::Bytes, "1.5 MiB");
        check(182.4, Unit::PerSecond, "182 /s");
        check(0.05, Unit::PerSecond, "3 /min");
        check(0.0, Unit::PerSecond, "0 /s");
        check(12_345.0, Unit::PerSecond, "12.3 k/s");
        check(0.925, Unit::Ratio, "92.5 %");
        check(92.5, Unit::Percent, "92.5 %");
        check(4.6, Unit::parse("/ 5"), "4.6 / 5");
        check(f64::NAN, Unit::Seconds, "no data");
        check(f64::INFINITY, Unit::Plain, "∞");
        check(f64::MAX, Unit::Plain, &format(f64::MAX, &Unit::Plain).replace(THIN, "_").replace(JOIN, " "));
    }

    #[test]
    fn spans_read_as_people_say_them() {
        let cases = [
            (0, "0 s", "0 s"),
            (10_000, "10 s", "10 s"),
            (790_000, "13 min 10 s", "13 min"),
            (86_400_000, "24 h", "1 d"),
            (90_000_000, "1 d 1 h", "1 d"),
            (604_800_000, "7 d", "7 d"),
        ];
        for (ms, all, coarse) in cases {
            assert_eq!(duration_words(ms).replace(JOIN, " "), all);
            assert_eq!(coarse_duration_words(ms).replace(JOIN, " "), coarse);
        }
    }

    #[test]
    fn a_change_is_told_in_words() {
        let cases = [
            (Some(104.0), Some(100.0), Unit::PerSecond, Some((1, "4.0 %"))),
            (Some(3.0), Some(0.0), Unit::Count, Some((1, "was 0"))),
            (Some(5.0), Some(5.0), Unit::Count, Some((0, "no change"))),
            (Some(0.925), Some(0.95), Unit::Ratio, Some((-1, "2.5 points"))),
            (Some(1.0), None, Unit::Count, None),
            (None, Some(1.0), Unit::Count, None),
            (Some(f64::NAN), Some(1.0), Unit::Count, None),
        ];
        for (now, before, unit, expected) in cases {
            let shown = change(now, before, &unit).map(|c| (c.direction, c.text.replace(JOIN, " ")));
            assert_eq!(shown, expected.map(|(d, t)| (d, t.to_owned())), "{now:?} {before:?}");
        }
    }
}
