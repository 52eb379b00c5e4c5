//! Functions from a number to a number, calendar fields among them. Pure.

use super::function_table::Function;

/// The function of one number that `function` is, if it is one.
pub(crate) fn unary(function: Function) -> Option<fn(f64) -> f64> {
    use Function::*;
    Some(match function {
        Abs => f64::abs,
        Acos => f64::acos,
        Acosh => f64::acosh,
        Asin => f64::asin,
        Asinh => f64::asinh,
        Atan => f64::atan,
        Atanh => f64::atanh,
        Ceil => f64::ceil,
        Cos => f64::cos,
        Cosh => f64::cosh,
        Deg => f64::to_degrees,
        Exp => f64::exp,
        Floor => f64::floor,
        Ln => f64::ln,
        Log10 => f64::log10,
        Log2 => f64::log2,
        Rad => f64::to_radians,
        Sgn => |value| {
            if value > 0.0 {
                1.0
            } else if value < 0.0 {
                -1.0
            } else {
                value
            }
        },
        Sin => f64::sin,
        Sinh => f64::sinh,
        Sqrt => f64::sqrt,
        Tan => f64::tan,
        Tanh => f64::tanh,
        _ => return None,
    })
}

/// The calendar field (UTC, of a time in seconds) that `function` reads, if it
/// is one.
pub(crate) fn calendar(function: Function) -> Option<fn(f64) -> f64> {
    use Function::*;
    Some(match function {
        Minute => |at| field(at, |seconds| (seconds.rem_euclid(3600) / 60) as f64),
        Hour => |at| field(at, |seconds| (seconds.rem_euclid(DAY) / 3600) as f64),
        // The epoch was a Thursday.
        DayOfWeek => |at| field(at, |seconds| (seconds.div_euclid(DAY) + 4).rem_euclid(7) as f64),
        DayOfMonth => |at| field(at, |seconds| date(seconds).day as f64),
        DayOfYear => |at| field(at, |seconds| date(seconds).day_of_year() as f64),
        DaysInMonth => |at| field(at, |seconds| date(seconds).days_in_month() as f64),
        Month => |at| field(at, |seconds| date(seconds).month as f64),
        Year => |at| field(at, |seconds| date(seconds).year as f64),
        _ => return None,
    })
}

const DAY: i64 = 86_400;
/// Days of four centuries, after which the calendar repeats.
const ERA_DAYS: i64 = 146_097;
/// Of a year that begins in March: days before its months.
const DAYS_BEFORE: [i64; 12] = [0, 31, 61, 92, 122, 153, 184, 214, 245, 275, 306, 337];

/// NaN of what is no number of seconds in 64 bits.
fn field(seconds: f64, read: impl Fn(i64) -> f64) -> f64 {
    if seconds.abs() < -(i64::MIN as f64) { read(seconds as i64) } else { f64::NAN }
}

/// A day of the Gregorian calendar, however far from now: no type for times knows
/// all the years that a number may mean.
struct Date {
    year: i64,
    /// From 1 on, as days are.
    month: i64,
    day: i64,
}

fn date(seconds: i64) -> Date {
    // Years from March on, so that what leap years add comes last.
    let days = seconds.div_euclid(DAY) + 719_468;
    let (era, day_of_era) = (days.div_euclid(ERA_DAYS), days.rem_euclid(ERA_DAYS));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = DAYS_BEFORE.iter().rposition(|before| *before <= day_of_year).unwrap_or_default();
    let before = DAYS_BEFORE.get(from_march).copied().unwrap_or_default();
    let month = (from_march as i64 + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    Date { year, month, day: day_of_year - before + 1 }
}

impl Date {
    fn is_leap_year(&self) -> bool {
        self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0)
    }

    fn days_in_month(&self) -> i64 {
        match self.month {
            2 if self.is_leap_year() => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }

    fn day_of_year(&self) -> i64 {
        (1..self.month).map(|month| Date { year: self.year, month, day: 1 }.days_in_month()).sum::<i64>()
            + self.day
    }
}

/// `value` to the nearest multiple of `unit`; halves go up.
pub(crate) fn round(value: f64, unit: f64) -> f64 {
    // By the inverse, so that a unit of 0.1 gives 0.3 and not 0.30000000000000004.
    let inverse = 1.0 / unit;
    (value * inverse + 0.5).floor() / inverse
}

/// The larger one; NaN if either is, unless the other is +∞.
pub(crate) fn max(a: f64, b: f64) -> f64 {
    match a.is_nan() || b.is_nan() {
        true if a == f64::INFINITY || b == f64::INFINITY => f64::INFINITY,
        true => f64::NAN,
        false => a.max(b),
    }
}

/// The smaller one; NaN if either is, unless the other is -∞.
pub(crate) fn min(a: f64, b: f64) -> f64 {
    -max(-a, -b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// As another calendar has it, where that knows the year.
        #[test]
        fn dates_are_those_of_the_calendar(seconds in -62_000_000_000i64..253_000_000_000) {
            let time = jiff::Timestamp::from_second(seconds).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
            let of = |function| calendar(function).unwrap()(seconds as f64);
            prop_assert_eq!(of(Function::Minute), f64::from(time.minute()));
            prop_assert_eq!(of(Function::Hour), f64::from(time.hour()));
            prop_assert_eq!(of(Function::DayOfWeek), f64::from(time.weekday().to_sunday_zero_offset()));
            prop_assert_eq!(of(Function::DayOfMonth), f64::from(time.day()));
            prop_assert_eq!(of(Function::DayOfYear), f64::from(time.day_of_year()));
            prop_assert_eq!(of(Function::DaysInMonth), f64::from(time.days_in_month()));
            prop_assert_eq!(of(Function::Month), f64::from(time.month()));
            prop_assert_eq!(of(Function::Year), f64::from(time.year()));
        }
    }
}
