//! Why a line was not taken: one reason a rejected line.

use std::fmt;

/// Reason of a reject; the `reason` label of `statsdeck_lines_rejected_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Reject {
    /// Nothing before the `:`.
    EmptyName,
    /// No `:` after the name, or a `|` before it.
    NoValue,
    /// No `|type` after the value.
    NoType,
    /// Nothing, or only empty elements, between `:` and `|`.
    EmptyValue,
    /// Not a decimal number.
    BadValue,
    /// A number too large for a double (infinities and NaN are `BadValue`).
    Overflow,
    /// No such metric type.
    UnknownType,
    /// A sample rate that is no number in (0, 1].
    BadSampleRate,
    /// A `|T`, or an event's or a check's `d:`, that is no time.
    BadTimestamp,
    /// Longer than `limits.line_bytes`.
    LineTooLong,
    /// More labels than `limits.labels`.
    TooManyLabels,
    /// An event that is not formed as one, or whose lengths are wrong.
    BadEvent,
    /// A service check that is not formed as one.
    BadCheck,
    /// By HTTP: no JSON, or an item that is not formed as one.
    BadJson,
    /// By HTTP: good in itself, but another item of its request was bad.
    Batch,
    /// By remote write: a body that cannot be read; it counts as one.
    BadWrite,
    /// By remote write: labels that do not make a series.
    BadLabels,
    /// By remote write: a label's name or value is longer than
    /// `limits.label_bytes`.
    LabelTooLong,
    /// By remote write: older than what is still open.
    TooOld,
    /// By remote write: of the future.
    TooNew,
    /// By remote write: a native histogram.
    NativeHistogram,
}

impl Reject {
    pub const ALL: [Reject; 21] = [
        Reject::EmptyName,
        Reject::NoValue,
        Reject::NoType,
        Reject::EmptyValue,
        Reject::BadValue,
        Reject::Overflow,
        Reject::UnknownType,
        Reject::BadSampleRate,
        Reject::BadTimestamp,
        Reject::LineTooLong,
        Reject::TooManyLabels,
        Reject::BadEvent,
        Reject::BadCheck,
        Reject::BadJson,
        Reject::Batch,
        Reject::BadWrite,
        Reject::BadLabels,
        Reject::LabelTooLong,
        Reject::TooOld,
        Reject::TooNew,
        Reject::NativeHistogram,
    ];

    /// The value of the `reason` label.
    pub fn as_str(self) -> &'static str {
        match self {
            Reject::EmptyName => "empty_name",
            Reject::NoValue => "no_value",
            Reject::NoType => "no_type",
            Reject::EmptyValue => "empty_value",
            Reject::BadValue => "bad_value",
            Reject::Overflow => "overflow",
            Reject::UnknownType => "unknown_type",
            Reject::BadSampleRate => "bad_sample_rate",
            Reject::BadTimestamp => "bad_timestamp",
            Reject::LineTooLong => "line_too_long",
            Reject::TooManyLabels => "too_many_labels",
            Reject::BadEvent => "bad_event",
            Reject::BadCheck => "bad_service_check",
            Reject::BadJson => "bad_json",
            Reject::Batch => "batch",
            Reject::BadWrite => "bad_write",
            Reject::BadLabels => "bad_labels",
            Reject::LabelTooLong => "label_too_long",
            Reject::TooOld => "too_old",
            Reject::TooNew => "too_new",
            Reject::NativeHistogram => "native_histogram",
        }
    }

    /// The same for people, with what to do.
    pub fn explanation(self) -> &'static str {
        match self {
            Reject::EmptyName => "the name before the ':' is empty",
            Reject::NoValue => "no ':' and value after the name; write name:value|type",
            Reject::NoType => "no '|' and type after the value; write name:value|c, |g, |ms, |h, |d or |s",
            Reject::EmptyValue => "no value between ':' and '|'",
            Reject::BadValue => "the value is not a plain decimal number",
            Reject::Overflow => "the value is too large",
            Reject::UnknownType => "unknown type; known are c, g, ms, h, d, s and m",
            Reject::BadSampleRate => "the sample rate after '|@' must be a number above 0 and at most 1",
            Reject::BadTimestamp => "the time after '|T' or '|d:' must be whole seconds since 1970",
            Reject::LineTooLong => "the line is longer than limits.line_bytes",
            Reject::TooManyLabels => "the line has more tags than limits.labels",
            Reject::BadEvent => {
                "not an event; write _e{<title's bytes>,<text's bytes>}:title|text, the title not empty"
            }
            Reject::BadCheck => "not a service check; write _sc|name|0, |1, |2 or |3",
            Reject::BadJson => "not JSON of the form {\"metric\": …, \"value\": …, \"type\": …}",
            Reject::Batch => "another item of the same request was bad",
            Reject::BadWrite => "the body cannot be read",
            Reject::BadLabels => {
                "the labels make no series; it needs a __name__, no empty name, no name twice, and UTF-8"
            }
            Reject::LabelTooLong => "a label is longer than limits.label_bytes",
            Reject::TooOld => {
                "it is too old: its time is in blocks already, or more than a day ago; \
                 'statsdeck import --sampled' takes what is older, where there is nothing yet"
            }
            Reject::TooNew => "it is of the future; are the clocks right?",
            Reject::NativeHistogram => "native histograms are not taken; send classic ones",
        }
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.explanation())
    }
}

impl std::error::Error for Reject {}
