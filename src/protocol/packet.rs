//! A packet: lines between line feeds.

use super::event;

/// The lines of a packet, without empty ones; a trailing carriage return and
/// blanks around a line are not part of it, but for those that end an event,
/// whose lengths count them.
pub fn lines(packet: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = packet;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let line = rest[..end].trim_ascii_start();
            let line = if line.starts_with(event::PREFIX) { line } else { line.trim_ascii_end() };
            rest = rest.get(end + 1..).unwrap_or_default();
            if !line.is_empty() {
                return Some(line);
            }
        }
        None
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn lines_are_cut_at_line_feeds() {
        let cases: [(&str, &[&str]); 8] = [
            ("a:1|c", &["a:1|c"]),
            ("a:1|c\nb:2|c\n", &["a:1|c", "b:2|c"]),
            ("a:1|c\r\nb:2|c\r\n", &["a:1|c", "b:2|c"]),
            ("_e{1,2}:a|b \na:1|c \n", &["_e{1,2}:a|b ", "a:1|c"]),
            (" _e{1,2}:a|b \n", &["_e{1,2}:a|b "]),
            ("\n\n a:1|c \n\n", &["a:1|c"]),
            ("", &[]),
            ("\n", &[]),
        ];
        for (packet, expected) in cases {
            let lines: Vec<&str> =
                super::lines(packet.as_bytes()).map(|l| std::str::from_utf8(l).unwrap()).collect();
            assert_eq!(lines, expected, "{packet:?}");
        }
    }
}
