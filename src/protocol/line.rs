//! One line: `name:value|type`, then fields.
//!
//! The grammar is classic StatsD's (several `:value|type` samples a line, as
//! Etsy's server takes them) and DogStatsD's (packed values, fields in any
//! order):
//!
//! ```text
//! line   = name ":" sample *( ":" sample ) *( "|" field )
//! sample = value *( ":" value ) "|" type [ "|@" rate ]
//! field  = "@" rate / "#" tags / "T" seconds / anything else, ignored
//! type   = "c" / "m" / "g" / "ms" / "h" / "d" / "s"
//! ```
//!
//! A token after `:` that is followed by `|type` and again by `:` is Etsy's
//! form; a `:` before the first `|` is the packed form. A set's value is taken
//! whole, whatever it holds. `m`, the meter of the classic text, is a counter
//! by another name. Events and service checks are `event.rs` and `check.rs`.

use super::Reject;
use super::number;
use super::tag::Tags;
use crate::model::{MetricType, Observation, Value};
use nom::bytes::complete::{tag, take_till};
use nom::character::complete::char;
use nom::combinator::opt;
use nom::sequence::preceded;
use nom::{IResult, Parser};
use smallvec::SmallVec;

/// Most events that one value may stand for, however small its sample rate.
pub const WEIGHT_MAX: f64 = 1e9;

/// What a sign before a gauge's value means: the one real clash between the
/// dialects, so that each listener has its own setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// `-10|g` changes the gauge by −10.
    #[default]
    Statsd,
    /// `-10|g` sets the gauge to −10.
    Dogstatsd,
}

/// A parsed line; borrows from the packet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line<'a> {
    /// Non-empty; any bytes but `:`, `|` and line feed.
    pub name: &'a [u8],
    pub tags: Tags<'a>,
    /// When it was observed, in ms since the epoch: the sender's `|T`.
    pub at_ms: Option<i64>,
    /// At least one.
    pub observations: SmallVec<[Observation<'a>; 2]>,
}

type Parsed<'a, T> = IResult<&'a [u8], T, Reject>;

impl<'a> Line<'a> {
    /// Parses the line of a metric (no line feed in it).
    pub fn parse(line: &'a [u8], dialect: Dialect) -> Result<Self, Reject> {
        let mut parsed = Line::default();
        parsed.read(line, dialect)?;
        Ok(parsed)
    }

    /// Becomes what the line of a metric says; after an error it is nothing
    /// whole. A line that is used again costs less than a new one.
    pub fn read(&mut self, line: &'a [u8], dialect: Dialect) -> Result<(), Reject> {
        self.tags = Tags::default();
        self.at_ms = None;
        self.observations.clear();
        let (mut rest, name) = name(line).map_err(reason)?;
        self.name = name;
        loop {
            let (after, sample) = sample(rest).map_err(reason)?;
            let first = self.observations.len();
            sample.observe(dialect, &mut self.observations)?;
            match after.first() {
                Some(b':') => rest = &after[1..],
                None => return Ok(()),
                Some(_) => return self.fields(after, first),
            }
        }
    }

    /// The fields after the last sample; a rate among them is that sample's,
    /// whose observations begin at `first`.
    fn fields(&mut self, mut rest: &'a [u8], first: usize) -> Result<(), Reject> {
        while !rest.is_empty() {
            let (after, field) = preceded(char('|'), field).parse(rest).map_err(reason)?;
            match field {
                Field::Rate(text) => {
                    let weight = weight(text)?;
                    self.observations[first..].iter_mut().for_each(|o| o.weight = weight);
                }
                Field::Tags(section) => self.tags.push(section)?,
                Field::Timestamp(text) => self.at_ms = Some(number::time_ms(text)?),
                Field::Other => {}
            }
            rest = after;
        }
        Ok(())
    }
}

/// One sample as it stands in the line.
struct SampleText<'a> {
    values: &'a [u8],
    metric_type: MetricType,
    rate: Option<&'a [u8]>,
}

enum Field<'a> {
    Rate(&'a [u8]),
    Tags(&'a [u8]),
    Timestamp(&'a [u8]),
    Other,
}

fn name(input: &[u8]) -> Parsed<'_, &[u8]> {
    // The longest part of a line by far: many bytes at a time.
    let (name, rest) = input.split_at(memchr::memchr2(b':', b'|', input).unwrap_or(input.len()));
    let (rest, _) = char(':')(rest).map_err(|_: nom::Err<Reject>| failure(Reject::NoValue))?;
    if name.is_empty() { Err(failure(Reject::EmptyName)) } else { Ok((rest, name)) }
}

fn sample(input: &[u8]) -> Parsed<'_, SampleText<'_>> {
    let (rest, values) = take_till(|b| b == b'|')(input)?;
    let (rest, _) = char('|')(rest).map_err(|_: nom::Err<Reject>| failure(Reject::NoType))?;
    let (rest, metric_type) = metric_type(rest)?;
    if values.is_empty() {
        return Err(failure(Reject::EmptyValue));
    }
    // A rate belongs to its sample when another sample may follow it.
    let (rest, rate) = opt(preceded(tag(&b"|@"[..]), take_till(|b| b == b'|' || b == b':'))).parse(rest)?;
    Ok((rest, SampleText { values, metric_type, rate }))
}

fn metric_type(input: &[u8]) -> Parsed<'_, MetricType> {
    let (rest, word) = take_till(|b| b == b'|' || b == b':')(input)?;
    let metric_type = match word {
        b"c" | b"m" => MetricType::Counter,
        b"ms" => MetricType::Timer,
        b"g" => MetricType::Gauge,
        b"h" | b"d" => MetricType::Histogram,
        b"s" => MetricType::Set,
        _ => return Err(failure(Reject::UnknownType)),
    };
    Ok((rest, metric_type))
}

fn field(input: &[u8]) -> Parsed<'_, Field<'_>> {
    let (rest, text) = take_till(|b| b == b'|')(input)?;
    let field = match text.split_first() {
        Some((b'@', rate)) => Field::Rate(rate),
        Some((b'#', tags)) => Field::Tags(tags),
        Some((b'T', seconds)) => Field::Timestamp(seconds),
        _ => Field::Other,
    };
    Ok((rest, field))
}

impl<'a> SampleText<'a> {
    fn observe(&self, dialect: Dialect, into: &mut SmallVec<[Observation<'a>; 2]>) -> Result<(), Reject> {
        let weight = self.rate.map_or(Ok(1.0), weight)?;
        let mut push = |value| into.push(Observation { value, metric_type: self.metric_type, weight });
        if self.metric_type == MetricType::Set {
            push(Value::Member(self.values));
            return Ok(());
        }
        let mut seen = false;
        for text in self.values.split(|b| *b == b':').filter(|text| !text.is_empty()) {
            seen = true;
            let number = number::finite(text)?;
            push(match self.metric_type {
                MetricType::Gauge if dialect == Dialect::Statsd && matches!(text[0], b'+' | b'-') => {
                    Value::Change(number)
                }
                _ => Value::Number(number),
            });
        }
        if seen { Ok(()) } else { Err(Reject::EmptyValue) }
    }
}

/// Events that one value sampled at this rate stands for.
fn weight(rate: &[u8]) -> Result<f64, Reject> {
    match number::finite(rate) {
        Ok(rate) if rate > 0.0 && rate <= 1.0 => Ok((1.0 / rate).min(WEIGHT_MAX)),
        _ => Err(Reject::BadSampleRate),
    }
}

fn failure(reject: Reject) -> nom::Err<Reject> {
    nom::Err::Failure(reject)
}

fn reason(error: nom::Err<Reject>) -> Reject {
    match error {
        nom::Err::Error(reject) | nom::Err::Failure(reject) => reject,
        // The parsers are the complete ones, which never ask for more.
        nom::Err::Incomplete(_) => Reject::NoValue,
    }
}
