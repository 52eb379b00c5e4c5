//! Prometheus' remote write, versions 1 and 2: a snappy block of a protobuf
//! message, into series and their samples. Nothing is copied but the samples.
//!
//! What a body says of its own size is not believed: it is bounded before it is
//! unpacked, and so is what is made of it. A body is sound as a whole or not;
//! whether labels make a series is for who calls.

use crate::model::Sample;

/// Bytes of a message, unpacked.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Samples in a message, and strings in its table.
pub const SAMPLES_MAX: usize = 400_000;
const SYMBOLS_MAX: usize = 400_000;
/// Labels of a series that are kept while it is read; more are too many for all.
const LABELS_MAX: usize = 512;

/// Which message a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// `prometheus.WriteRequest`
    V1,
    /// `io.prometheus.write.v2.Request`
    V2,
}

impl Version {
    /// By the content type of a request; `None` for another one.
    pub fn of_content_type(content_type: &str) -> Option<Version> {
        let mut parts = content_type.split(';').map(str::trim);
        if !parts.next()?.eq_ignore_ascii_case("application/x-protobuf") {
            return None;
        }
        let proto = parts.find_map(|part| part.strip_prefix("proto="));
        match proto.map(|proto| proto.trim_matches('"')) {
            None | Some("prometheus.WriteRequest") => Some(Version::V1),
            Some("io.prometheus.write.v2.Request") => Some(Version::V2),
            Some(_) => None,
        }
    }
}

/// Why a body is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the body is no snappy block")]
    Snappy,
    #[error("the body has {0} bytes unpacked, {MESSAGE_BYTES_MAX} are taken; send less at a time")]
    TooLong(usize),
    #[error("the body is no remote write message of its content type")]
    Message,
    #[error("more than {SAMPLES_MAX} samples in one request; send less at a time")]
    TooMany,
}

/// A series of a message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series<'a> {
    /// Names and values in the order of the message.
    pub labels: Vec<(&'a [u8], &'a [u8])>,
    /// It has more labels than are kept.
    pub is_cut: bool,
    pub samples: Vec<Sample>,
    /// Native histograms and exemplars: how many, as they are not read.
    pub histograms: usize,
    pub exemplars: usize,
}

/// The message of a body.
///
/// # Errors
/// [`Error::Snappy`], [`Error::TooLong`]
pub fn unpacked(body: &[u8]) -> Result<Vec<u8>, Error> {
    let bytes = snap::raw::decompress_len(body).map_err(|_| Error::Snappy)?;
    if bytes > MESSAGE_BYTES_MAX {
        return Err(Error::TooLong(bytes));
    }
    // Three bytes stand for 64 at most: more is a lie, and no memory is asked for it.
    if bytes / 22 > body.len() {
        return Err(Error::Snappy);
    }
    snap::raw::Decoder::new().decompress_vec(body).map_err(|_| Error::Snappy)
}

/// Calls `each` with the series of a message.
///
/// # Errors
/// [`Error::Message`], [`Error::TooMany`]; `each` may have been called before.
pub fn read<'a>(version: Version, message: &'a [u8], mut each: impl FnMut(&Series<'a>)) -> Result<(), Error> {
    let (symbols_field, series_field) = match version {
        Version::V1 => (0, 1),
        Version::V2 => (4, 5),
    };
    let mut symbols: Vec<&'a [u8]> = Vec::new();
    let mut fields = Fields(message);
    while let Some((number, value)) = fields.next()? {
        if number == symbols_field && version == Version::V2 {
            if symbols.len() >= SYMBOLS_MAX {
                return Err(Error::TooMany);
            }
            symbols.push(value.bytes()?);
        }
    }
    let (mut series, mut samples) = (Series::default(), 0);
    let mut fields = Fields(message);
    while let Some((number, value)) = fields.next()? {
        if number != series_field {
            continue;
        }
        series.clear();
        match version {
            Version::V1 => read_v1(value.bytes()?, &mut series)?,
            Version::V2 => read_v2(value.bytes()?, &symbols, &mut series)?,
        }
        samples += series.samples.len() + series.histograms;
        if samples > SAMPLES_MAX {
            return Err(Error::TooMany);
        }
        each(&series);
    }
    Ok(())
}

impl<'a> Series<'a> {
    fn clear(&mut self) {
        self.labels.clear();
        self.samples.clear();
        (self.is_cut, self.histograms, self.exemplars) = (false, 0, 0);
    }

    fn push_label(&mut self, name: &'a [u8], value: &'a [u8]) {
        match self.labels.len() < LABELS_MAX {
            true => self.labels.push((name, value)),
            false => self.is_cut = true,
        }
    }

    fn push_sample(&mut self, message: &[u8]) -> Result<(), Error> {
        if self.samples.len() >= SAMPLES_MAX {
            return Err(Error::TooMany);
        }
        let mut sample = Sample { timestamp_ms: 0, value: 0.0 };
        let mut fields = Fields(message);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => sample.value = value.double()?,
                2 => sample.timestamp_ms = value.integer()? as i64,
                _ => {}
            }
        }
        self.samples.push(sample);
        Ok(())
    }
}

fn read_v1<'a>(message: &'a [u8], series: &mut Series<'a>) -> Result<(), Error> {
    let mut fields = Fields(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => {
                let (mut name, mut text): (&[u8], &[u8]) = (&[], &[]);
                let mut label = Fields(value.bytes()?);
                while let Some((number, value)) = label.next()? {
                    match number {
                        1 => name = value.bytes()?,
                        2 => text = value.bytes()?,
                        _ => {}
                    }
                }
                series.push_label(name, text);
            }
            2 => series.push_sample(value.bytes()?)?,
            3 => series.exemplars += 1,
            4 => series.histograms += 1,
            _ => {}
        }
    }
    Ok(())
}

fn read_v2<'a>(message: &'a [u8], symbols: &[&'a [u8]], series: &mut Series<'a>) -> Result<(), Error> {
    let symbol = |at: u64| {
        let at = usize::try_from(at).map_err(|_| Error::Message)?;
        symbols.get(at).copied().ok_or(Error::Message)
    };
    let mut name: Option<&[u8]> = None;
    let mut push = |series: &mut Series<'a>, at: u64| {
        match name.take() {
            None => name = Some(symbol(at)?),
            Some(name) => series.push_label(name, symbol(at)?),
        }
        Ok(())
    };
    let mut fields = Fields(message);
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (1, Value::Integer(at)) => push(series, at)?,
            (1, value) => {
                let mut packed = value.bytes()?;
                while !packed.is_empty() {
                    push(series, varint(&mut packed)?)?;
                }
            }
            (2, value) => series.push_sample(value.bytes()?)?,
            (3, _) => series.histograms += 1,
            (4, _) => series.exemplars += 1,
            _ => {}
        }
    }
    // A name without a value.
    if name.is_some() { Err(Error::Message) } else { Ok(()) }
}

/// The fields of a protobuf message.
struct Fields<'a>(&'a [u8]);

/// The value of a field.
#[derive(Clone, Copy)]
enum Value<'a> {
    Integer(u64),
    Double([u8; 8]),
    Bytes(&'a [u8]),
    Other,
}

impl<'a> Fields<'a> {
    /// Number and value of the next field; `None` at the end.
    fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, Error> {
        let bytes = &mut self.0;
        if bytes.is_empty() {
            return Ok(None);
        }
        let tag = varint(bytes)?;
        let value = match tag & 7 {
            0 => Value::Integer(varint(bytes)?),
            1 => Value::Double(take(bytes, 8)?.try_into().map_err(|_| Error::Message)?),
            2 => {
                let length = usize::try_from(varint(bytes)?).map_err(|_| Error::Message)?;
                Value::Bytes(take(bytes, length)?)
            }
            5 => {
                take(bytes, 4)?;
                Value::Other
            }
            _ => return Err(Error::Message),
        };
        let number = tag >> 3;
        if number == 0 { Err(Error::Message) } else { Ok(Some((number, value))) }
    }
}

impl<'a> Value<'a> {
    fn bytes(self) -> Result<&'a [u8], Error> {
        if let Value::Bytes(bytes) = self { Ok(bytes) } else { Err(Error::Message) }
    }

    fn integer(self) -> Result<u64, Error> {
        if let Value::Integer(integer) = self { Ok(integer) } else { Err(Error::Message) }
    }

    fn double(self) -> Result<f64, Error> {
        if let Value::Double(bytes) = self { Ok(f64::from_le_bytes(bytes)) } else { Err(Error::Message) }
    }
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], Error> {
    let (taken, rest) = bytes.split_at_checked(count).ok_or(Error::Message)?;
    *bytes = rest;
    Ok(taken)
}

fn varint(bytes: &mut &[u8]) -> Result<u64, Error> {
    let mut integer = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or(Error::Message)?;
        *bytes = rest;
        integer |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(integer);
        }
    }
    Err(Error::Message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number(out: &mut Vec<u8>, mut integer: u64) {
        while integer >= 0x80 {
            out.push(integer as u8 | 0x80);
            integer >>= 7;
        }
        out.push(integer as u8);
    }

    fn field(out: &mut Vec<u8>, number_of: u64, bytes: &[u8]) {
        number(out, number_of << 3 | 2);
        number(out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    }

    fn sample(value: f64, at: i64) -> Vec<u8> {
        let mut out = vec![1 << 3 | 1];
        out.extend_from_slice(&value.to_le_bytes());
        out.push(2 << 3);
        number(&mut out, at as u64);
        out
    }

    /// The same series in both versions: `up{job="a"}` with two samples, a
    /// histogram and an exemplar.
    fn messages() -> [(Version, Vec<u8>); 2] {
        let (mut v1, mut v2) = (Vec::new(), Vec::new());
        let mut series = Vec::new();
        for (name, value) in [("__name__", "up"), ("job", "a")] {
            let mut label = Vec::new();
            field(&mut label, 1, name.as_bytes());
            field(&mut label, 2, value.as_bytes());
            field(&mut series, 1, &label);
        }
        field(&mut series, 2, &sample(1.5, 1_700_000_000_000));
        field(&mut series, 2, &sample(f64::NEG_INFINITY, -5));
        field(&mut series, 4, b"");
        field(&mut series, 3, b"");
        field(&mut v1, 1, &series);
        field(&mut v1, 3, b"\x08\x01");

        let mut series = Vec::new();
        field(&mut series, 1, &[1, 2, 3, 4]);
        field(&mut series, 2, &sample(1.5, 1_700_000_000_000));
        field(&mut series, 2, &sample(f64::NEG_INFINITY, -5));
        field(&mut series, 3, b"");
        field(&mut series, 4, b"");
        field(&mut series, 5, b"\x08\x01");
        // The table may come last.
        field(&mut v2, 5, &series);
        for symbol in ["", "__name__", "up", "job", "a"] {
            field(&mut v2, 4, symbol.as_bytes());
        }
        [(Version::V1, v1), (Version::V2, v2)]
    }

    fn series_of(version: Version, message: &[u8]) -> Result<Vec<Series<'_>>, Error> {
        let mut found = Vec::new();
        read(version, message, |series| found.push(series.clone()))?;
        Ok(found)
    }

    #[test]
    fn both_versions_tell_the_same() {
        let value = |timestamp_ms, value| Sample { timestamp_ms, value };
        let expected = Series {
            labels: vec![(b"__name__", b"up"), (b"job", b"a")],
            is_cut: false,
            samples: vec![value(1_700_000_000_000, 1.5), value(-5, f64::NEG_INFINITY)],
            histograms: 1,
            exemplars: 1,
        };
        for (version, message) in messages() {
            let packed = snap::raw::Encoder::new().compress_vec(&message).unwrap();
            assert_eq!(unpacked(&packed), Ok(message.clone()));
            assert_eq!(series_of(version, &message), Ok(vec![expected.clone()]), "{version:?}");
            for cut in 1..message.len() {
                // Some beginnings are messages themselves.
                let _ = series_of(version, &message[..cut]);
            }
        }
    }

    #[test]
    fn a_body_is_bounded_before_it_is_unpacked() {
        let mut lie = Vec::new();
        number(&mut lie, 1 << 30);
        assert_eq!(unpacked(&lie), Err(Error::TooLong(1 << 30)));
        let mut lie = Vec::new();
        number(&mut lie, 10 << 20);
        lie.extend_from_slice(&[0; 100]);
        assert_eq!(unpacked(&lie), Err(Error::Snappy));
        let whole = snap::raw::Encoder::new().compress_vec(&vec![0; MESSAGE_BYTES_MAX]).unwrap();
        assert_eq!(unpacked(&whole).map(|message| message.len()), Ok(MESSAGE_BYTES_MAX));
        assert_eq!(unpacked(b""), Err(Error::Snappy));
    }

    #[test]
    fn what_is_too_much_or_refers_to_nothing_is_refused() {
        let mut series = Vec::new();
        (0..SAMPLES_MAX + 1).for_each(|_| field(&mut series, 2, b""));
        let mut message = Vec::new();
        field(&mut message, 1, &series);
        assert_eq!(series_of(Version::V1, &message), Err(Error::TooMany));
        for refs in [&[0, 9][..], &[0, 0, 0]] {
            let (mut series, mut message) = (Vec::new(), Vec::new());
            field(&mut series, 1, refs);
            field(&mut message, 4, b"");
            field(&mut message, 5, &series);
            assert_eq!(series_of(Version::V2, &message), Err(Error::Message));
        }
    }

    #[test]
    fn the_content_type_says_which_message_it_is() {
        for (text, expected) in [
            ("application/x-protobuf", Some(Version::V1)),
            ("application/x-protobuf;proto=prometheus.WriteRequest", Some(Version::V1)),
            ("application/x-protobuf; proto=io.prometheus.write.v2.Request", Some(Version::V2)),
            ("application/x-protobuf;proto=io.prometheus.write.v3.Request", None),
            ("application/json", None),
            ("", None),
        ] {
            assert_eq!(Version::of_content_type(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn foreign_bytes_do_no_harm(bytes: Vec<u8>) {
            let _ = unpacked(&bytes);
            for version in [Version::V1, Version::V2] {
                let _ = series_of(version, &bytes);
            }
        }
    }
}
