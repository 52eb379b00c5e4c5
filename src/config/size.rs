//! Sizes in bytes as people write them: `8MiB`, `64KiB`, `1500`.

const UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Bytes of a size; `None` when it is none.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let (number, unit) = UNITS
        .iter()
        .find_map(|(unit, size)| text.strip_suffix(unit).map(|number| (number, *size)))
        .unwrap_or((text, 1));
    number.trim().parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_are_read() {
        let cases = [
            ("8MiB", Some(8 << 20)),
            ("64 KiB", Some(65_536)),
            ("1500", Some(1500)),
            ("12B", Some(12)),
            ("1.5MiB", None),
            ("8MB", None),
            ("MiB", None),
            ("99999999TiB", None),
        ];
        for (text, bytes) in cases {
            assert_eq!(super::parse_bytes(text), bytes, "{text}");
        }
    }
}
