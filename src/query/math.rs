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
/// is one. NaN outside of the years that a calendar knows.
pub(crate) fn calendar(function: Function) -> Option<fn(f64) -> f64> {
    use Function::*;
    Some(match function {
        Minute => |at| field(at, |t| t.minute().into()),
        Hour => |at| field(at, |t| t.hour().into()),
        DayOfWeek => |at| field(at, |t| t.weekday().to_sunday_zero_offset().into()),
        DayOfMonth => |at| field(at, |t| t.day().into()),
        DayOfYear => |at| field(at, |t| t.day_of_year().into()),
        DaysInMonth => |at| field(at, |t| t.days_in_month().into()),
        Month => |at| field(at, |t| t.month().into()),
        Year => |at| field(at, |t| t.year().into()),
        _ => return None,
    })
}

fn field(seconds: f64, read: impl Fn(jiff::Zoned) -> f64) -> f64 {
    if seconds.is_nan() {
        return f64::NAN;
    }
    match jiff::Timestamp::from_second(seconds as i64) {
        Ok(time) => read(time.to_zoned(jiff::tz::TimeZone::UTC)),
        Err(_) => f64::NAN,
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
