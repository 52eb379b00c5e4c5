//! A stream of bytes cut into packets: at line feeds, or by the length that
//! stands before each (4 bytes, little-endian, as Datadog's clients write it).
//!
//! What comes out does not depend on how the bytes were cut into chunks. What
//! is kept between chunks is bounded by the longest line or packet; a longer
//! line is cut out and told once, and the rest of the stream goes on.

/// How packets are told apart on a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// A line feed ends a line.
    #[default]
    Lines,
    /// Each packet is preceded by its length.
    Datadog,
}

/// What was cut out of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Whole lines.
    Packet(&'a [u8]),
    /// The beginning of a line that is longer than allowed, or of one that was
    /// cut off within its packet.
    TooLong(&'a [u8]),
}

/// A packet is announced that is longer than allowed: nothing after it can be
/// told apart any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketTooLong(pub u32);

/// Bounds of what a stream may hold.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub line_bytes_max: usize,
    pub packet_bytes_max: usize,
}

/// Cuts one stream.
#[derive(Debug)]
pub struct Deframer {
    framing: Framing,
    bounds: Bounds,
    /// The unfinished line, or length and packet.
    rest: Vec<u8>,
    /// Within a line that was too long.
    skipping: bool,
}

const LENGTH_BYTES: usize = 4;

impl Deframer {
    pub fn new(framing: Framing, bounds: Bounds) -> Self {
        Deframer { framing, bounds, rest: Vec::new(), skipping: false }
    }

    /// Takes the next bytes of the stream and hands on what they complete.
    pub fn feed(&mut self, chunk: &[u8], mut take: impl FnMut(Piece<'_>)) -> Result<(), PacketTooLong> {
        match self.framing {
            Framing::Lines => {
                self.feed_lines(chunk, &mut take);
                Ok(())
            }
            Framing::Datadog => self.feed_packets(chunk, &mut take),
        }
    }

    /// Bytes that are kept between chunks.
    pub fn kept_bytes(&self) -> usize {
        self.rest.len()
    }

    /// The stream has ended: an unfinished line counts as a line. Of an
    /// unfinished packet the whole lines count; the last may be half of one.
    pub fn end(self, mut take: impl FnMut(Piece<'_>)) {
        match self.framing {
            Framing::Lines if self.skipping || self.rest.is_empty() => {}
            Framing::Lines => take(Piece::Packet(&self.rest)),
            Framing::Datadog => cut_packet(self.rest.get(LENGTH_BYTES..).unwrap_or_default(), take),
        }
    }

    fn feed_lines(&mut self, mut chunk: &[u8], take: &mut impl FnMut(Piece<'_>)) {
        if self.skipping || !self.rest.is_empty() {
            let Some(end) = memchr::memchr(b'\n', chunk) else { return self.keep(chunk, take) };
            self.keep(&chunk[..end], take);
            if !std::mem::take(&mut self.skipping) && !self.rest.is_empty() {
                take(Piece::Packet(&self.rest));
            }
            self.rest.clear();
            chunk = &chunk[end + 1..];
        }
        let whole = memchr::memrchr(b'\n', chunk).map_or(0, |last| last + 1);
        let (lines, rest) = chunk.split_at(whole);
        if !lines.is_empty() {
            take(Piece::Packet(lines));
        }
        self.keep(rest, take);
    }

    /// Keeps a part of a line, measured as whoever takes it measures lines:
    /// without blanks around it.
    fn keep(&mut self, mut part: &[u8], take: &mut impl FnMut(Piece<'_>)) {
        if self.skipping {
            return;
        }
        if self.rest.is_empty() {
            part = part.trim_ascii_start();
        }
        let max = self.bounds.line_bytes_max;
        // One more than allowed tells that it is too long.
        let room = (max + 1).saturating_sub(self.rest.len());
        let (fits, beyond) = part.split_at(part.len().min(room));
        self.rest.extend_from_slice(fits);
        // Blanks that may be the line's end have no claim to be kept.
        if self.rest.len() > max
            && (self.rest.trim_ascii_end().len() > max || !beyond.trim_ascii().is_empty())
        {
            take(Piece::TooLong(&self.rest));
            self.rest = Vec::new();
            self.skipping = true;
        }
    }

    fn feed_packets(
        &mut self,
        mut chunk: &[u8],
        take: &mut impl FnMut(Piece<'_>),
    ) -> Result<(), PacketTooLong> {
        while !chunk.is_empty() {
            if self.rest.is_empty()
                && let Some((length, after)) = chunk.split_first_chunk::<LENGTH_BYTES>()
                && let Some((packet, after)) = after.split_at_checked(self.length(*length)?)
            {
                take(Piece::Packet(packet));
                chunk = after;
                continue;
            }
            chunk = self.fill(chunk, LENGTH_BYTES);
            let Some(length) = self.rest.first_chunk::<LENGTH_BYTES>() else { return Ok(()) };
            let whole = LENGTH_BYTES + self.length(*length)?;
            chunk = self.fill(chunk, whole);
            if self.rest.len() < whole {
                return Ok(());
            }
            take(Piece::Packet(self.rest.get(LENGTH_BYTES..).unwrap_or_default()));
            self.rest.clear();
        }
        Ok(())
    }

    fn length(&self, length: [u8; LENGTH_BYTES]) -> Result<usize, PacketTooLong> {
        let length = u32::from_le_bytes(length);
        let bytes = usize::try_from(length).map_err(|_| PacketTooLong(length))?;
        if bytes > self.bounds.packet_bytes_max { Err(PacketTooLong(length)) } else { Ok(bytes) }
    }

    /// Fills `rest` up to `len` bytes; returns what is left of `chunk`.
    fn fill<'a>(&mut self, chunk: &'a [u8], len: usize) -> &'a [u8] {
        let missing = len.saturating_sub(self.rest.len()).min(chunk.len());
        let (filling, left) = chunk.split_at(missing);
        self.rest.extend_from_slice(filling);
        left
    }
}

/// The whole lines of a packet whose end is missing, and the line that it was
/// cut off in: half of a line may read as another line.
pub fn cut_packet(packet: &[u8], mut take: impl FnMut(Piece<'_>)) {
    let whole = memchr::memrchr(b'\n', packet).map_or(0, |last| last + 1);
    let (lines, half) = packet.split_at(whole);
    if !lines.is_empty() {
        take(Piece::Packet(lines));
    }
    if !half.is_empty() {
        take(Piece::TooLong(half));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::packet;
    use proptest::prelude::*;

    const BOUNDS: Bounds = Bounds { line_bytes_max: 8, packet_bytes_max: 12 };

    /// Lines and overlong lines that come out when `stream` arrives in `chunks`.
    fn cut(framing: Framing, chunks: &[&[u8]]) -> (Vec<String>, usize, Result<(), PacketTooLong>) {
        let (mut lines, mut too_long) = (Vec::new(), 0);
        let mut deframer = Deframer::new(framing, BOUNDS);
        let mut take = |piece: Piece<'_>| match piece {
            Piece::Packet(packet) => {
                for line in packet::lines(packet) {
                    // The table refuses it.
                    if line.len() > BOUNDS.line_bytes_max {
                        too_long += 1;
                    } else {
                        lines.push(String::from_utf8_lossy(line).into_owned());
                    }
                }
            }
            Piece::TooLong(_) => too_long += 1,
        };
        let mut fed = Ok(());
        for chunk in chunks {
            fed = deframer.feed(chunk, &mut take);
            if fed.is_err() {
                return (lines, too_long, fed);
            }
        }
        deframer.end(&mut take);
        (lines, too_long, fed)
    }

    fn check(framing: Framing, stream: &[u8], lines: &[&str], too_long: usize) {
        for size in 1..=stream.len().max(1) {
            let chunks: Vec<&[u8]> = stream.chunks(size).collect();
            let (got, cut_out, fed) = cut(framing, &chunks);
            assert_eq!((got.as_slice(), cut_out), (lines.map_strings().as_slice(), too_long), "{stream:?}");
            assert_eq!(fed, Ok(()));
        }
    }

    trait MapStrings {
        fn map_strings(&self) -> Vec<String>;
    }

    impl MapStrings for &[&str] {
        fn map_strings(&self) -> Vec<String> {
            self.iter().map(ToString::to_string).collect()
        }
    }

    #[test]
    fn lines_come_out_whole_however_the_stream_is_cut() {
        use Framing::Lines;
        check(Lines, b"", &[], 0);
        check(Lines, b"a:1|c\nb:2|c\n", &["a:1|c", "b:2|c"], 0);
        check(Lines, b"a:1|c\r\n\r\n\n b:2|c", &["a:1|c", "b:2|c"], 0);
        // The last line needs no line feed.
        check(Lines, b"a:1|c", &["a:1|c"], 0);
        // Exactly as long as allowed, with blanks that do not count.
        check(Lines, b"   12345678    \n12345678 ", &["12345678", "12345678"], 0);
        // Those behind an event are part of it.
        check(Lines, b"_e{a  \n  _e{b  \n\t_e{c", &["_e{a  ", "_e{b  ", "_e{c"], 0);
        // A longer one is cut out, the rest goes on.
        check(Lines, b"123456789\na:1|c\n", &["a:1|c"], 1);
        check(Lines, b"1234567          9\na:1|c\nxxxxxxxxxxxxxxxxxxxxxx", &["a:1|c"], 2);
    }

    #[test]
    fn packets_come_out_by_their_length() {
        use Framing::Datadog;
        check(Datadog, b"", &[], 0);
        check(Datadog, b"\x05\0\0\0a:1|c\0\0\0\0\x0b\0\0\0b:1|c\nc:1|c", &["a:1|c", "b:1|c", "c:1|c"], 0);
        // The stream ends within a packet: its last line may be half of one.
        check(Datadog, b"\x0b\0\0\0b:1|c\nc:1", &["b:1|c"], 1);
        check(Datadog, b"\x0b\0", &[], 0);
        let (lines, _, fed) = cut(Datadog, &[b"\x01\0\0\0x\x0d\0\0\0abc"]);
        assert_eq!((lines, fed), (vec!["x".to_owned()], Err(PacketTooLong(13))));
        let (_, _, fed) = cut(Datadog, &[b"a:1|c\n"]);
        assert_eq!(fed, Err(PacketTooLong(u32::from_le_bytes(*b"a:1|"))));
    }

    proptest! {
        #[test]
        fn chunks_make_no_difference(
            parts in proptest::collection::vec(
                proptest::sample::select(vec!["\n", " ", "a", "\0", "\x03", "_e{"]), 0..80,
            ),
            cuts in proptest::collection::vec(0usize..80, 0..10),
            datadog: bool,
        ) {
            let stream = parts.concat().into_bytes();
            let framing = if datadog { Framing::Datadog } else { Framing::Lines };
            let ends = [0, stream.len()];
            let mut cuts: Vec<usize> = cuts.into_iter().map(|at| at.min(stream.len())).chain(ends).collect();
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
            prop_assert_eq!(cut(framing, &chunks), cut(framing, &[&stream]));
        }

        #[test]
        fn what_is_kept_is_bounded(chunks in proptest::collection::vec("[a \n]{0,40}", 0..20)) {
            let mut deframer = Deframer::new(Framing::Lines, BOUNDS);
            for chunk in &chunks {
                deframer.feed(chunk.as_bytes(), |_| {}).unwrap();
                prop_assert!(deframer.kept_bytes() <= BOUNDS.line_bytes_max + 1);
            }
        }
    }
}
