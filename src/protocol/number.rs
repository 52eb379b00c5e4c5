//! Decimal numbers as StatsD clients write them. No hexadecimal, no `_`, no
//! `inf` or `nan`: what those mean differs between servers, and one of them
//! would spoil a total for good.

use super::Reject;

/// Longest spelling taken; a double never needs more.
const MAX_BYTES: usize = 400;

/// Reads a finite decimal number, with or without sign, fraction, exponent.
pub fn finite(text: &[u8]) -> Result<f64, Reject> {
    if let Some(number) = short_integer(text) {
        return Ok(number);
    }
    let plain = text.iter().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E'));
    if !plain || text.len() > MAX_BYTES {
        return Err(Reject::BadValue);
    }
    let text = std::str::from_utf8(text).map_err(|_| Reject::BadValue)?;
    let number: f64 = text.parse().map_err(|_| Reject::BadValue)?;
    if number.is_finite() { Ok(number) } else { Err(Reject::Overflow) }
}

/// A time in whole seconds since the epoch, above 0, as ms.
pub fn time_ms(text: &[u8]) -> Result<i64, Reject> {
    // Twelve digits reach the year 33658; more would be ms or µs by mistake.
    let whole = (1..=12).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    let seconds = text.iter().fold(0i64, |sum, b| sum.wrapping_mul(10).wrapping_add(i64::from(b & 15)));
    if whole && seconds > 0 { Ok(seconds * 1000) } else { Err(Reject::BadTimestamp) }
}

/// The commonest case by far: up to 15 digits, which a double holds exactly.
fn short_integer(text: &[u8]) -> Option<f64> {
    if text.is_empty() || text.len() > 15 {
        return None;
    }
    let mut number = 0u64;
    for byte in text {
        if !byte.is_ascii_digit() {
            return None;
        }
        number = number * 10 + u64::from(byte - b'0');
    }
    Some(number as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_rust_reads_them() {
        for text in
            ["0", "1", "123456789012345", "1234567890123456", "1.5", "-1", "+1", "1e-3", ".5", "5.", "-0"]
        {
            assert_eq!(finite(text.as_bytes()), Ok(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn times_are_whole_seconds_above_zero() {
        assert_eq!(time_ms(b"1656581400"), Ok(1_656_581_400_000));
        assert_eq!(time_ms(b"0001"), Ok(1000));
        for text in ["", "0", "000", "-1", "+1", "1.5", "1e9", "1656581400000", "x", " 1"] {
            assert_eq!(time_ms(text.as_bytes()), Err(Reject::BadTimestamp), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in
            ["", "-", "NaN", "inf", "Infinity", "1_000", "0x10", "1,5", "1 ", " 1", "1e", "--1", "é", "1\0"]
        {
            assert_eq!(finite(text.as_bytes()), Err(Reject::BadValue), "{text}");
        }
        assert_eq!(finite(b"1e400"), Err(Reject::Overflow));
        assert_eq!(finite(&[b'1'; 500]), Err(Reject::BadValue));
    }
}
