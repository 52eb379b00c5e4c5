//! A stream cut at chosen places: what comes out is what a plain reading of the
//! whole stream gives, and what is kept between chunks is bounded.
//!
//! Input: framing, longest line, longest packet, number of chunk lengths; these,
//! used in turn; the stream.

#![no_main]

use libfuzzer_sys::fuzz_target;
use statsdeck::ingest::framing::{Bounds, Deframer, Framing, PacketTooLong, Piece};
use statsdeck::protocol::packet;

/// A line, or `None` for one that was too long or cut off.
type Lines = Vec<Option<Vec<u8>>>;

fuzz_target!(|input: &[u8]| {
    let Some((head, rest)) = input.split_first_chunk::<4>() else { return };
    let [framing, line_max, packet_max, lengths] = head.map(usize::from);
    let Some((lengths, stream)) = rest.split_at_checked(lengths) else { return };
    let framing = if framing.is_multiple_of(2) { Framing::Lines } else { Framing::Datadog };
    let bounds = Bounds { line_bytes_max: 1 + line_max % 64, packet_bytes_max: 1 + packet_max % 96 };
    let wanted = match framing {
        Framing::Lines => (lines_of(stream, bounds), Ok(())),
        Framing::Datadog => packets_of(stream, bounds),
    };
    assert_eq!(cut(framing, bounds, stream, &[]), wanted, "in one piece");
    assert_eq!(cut(framing, bounds, stream, lengths), wanted, "in chunks of {lengths:?}");
});

/// What comes out of the deframer, its packets read as a table reads them.
fn cut(
    framing: Framing,
    bounds: Bounds,
    mut stream: &[u8],
    lengths: &[u8],
) -> (Lines, Result<(), PacketTooLong>) {
    let kept_max = match framing {
        Framing::Lines => bounds.line_bytes_max + 1,
        Framing::Datadog => 4 + bounds.packet_bytes_max,
    };
    let mut lines = Lines::new();
    let mut take = |piece: Piece<'_>| match piece {
        Piece::Packet(packet) => lines.extend(lines_of(packet, bounds)),
        Piece::TooLong(line) => {
            assert!(line.len() <= kept_max);
            lines.push(None);
        }
    };
    let mut deframer = Deframer::new(framing, bounds);
    let mut lengths = lengths.iter().cycle();
    while !stream.is_empty() {
        let length = lengths.next().map_or(stream.len(), |length| stream.len().min(1 + usize::from(*length)));
        let (chunk, rest) = stream.split_at(length);
        if let Err(too_long) = deframer.feed(chunk, &mut take) {
            return (lines, Err(too_long));
        }
        assert!(deframer.kept_bytes() <= kept_max, "{} bytes are kept", deframer.kept_bytes());
        stream = rest;
    }
    deframer.end(&mut take);
    (lines, Ok(()))
}

fn lines_of(packet: &[u8], bounds: Bounds) -> Lines {
    packet::lines(packet).map(|line| (line.len() <= bounds.line_bytes_max).then(|| line.to_vec())).collect()
}

/// A second way to read a stream with lengths.
fn packets_of(mut stream: &[u8], bounds: Bounds) -> (Lines, Result<(), PacketTooLong>) {
    let mut lines = Lines::new();
    while let Some((length, rest)) = stream.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length);
        if length as usize > bounds.packet_bytes_max {
            return (lines, Err(PacketTooLong(length)));
        }
        let Some((packet, after)) = rest.split_at_checked(length as usize) else {
            // Cut off: of its lines those that are whole.
            let mut whole: Vec<&[u8]> = rest.split(|byte| *byte == b'\n').collect();
            let half = whole.pop().unwrap_or_default();
            whole.iter().for_each(|line| lines.extend(lines_of(line, bounds)));
            lines.extend((!half.is_empty()).then_some(None));
            break;
        };
        lines.extend(lines_of(packet, bounds));
        stream = after;
    }
    (lines, Ok(()))
}
