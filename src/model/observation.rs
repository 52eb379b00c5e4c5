//! An observation: one received value with its type and sample rate, still
//! borrowing from the packet that brought it.

use std::fmt;

/// What a metric is. The wire's `h` and `d` mean the same here: their values
/// are kept as they are, where `ms` is divided by 1000 into seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum MetricType {
    /// `c`: a running total.
    Counter = 0,
    /// `g`: a last value.
    Gauge = 1,
    /// `ms`: a distribution of durations, in seconds.
    Timer = 2,
    /// `h` and `d`: a distribution of values without a unit.
    Histogram = 3,
    /// `s`: a number of distinct members.
    Set = 4,
    /// Not received as StatsD: values as another tool took them, at the times
    /// at which it took them. A counter among them may begin anew.
    Sampled = 5,
}

impl MetricType {
    pub const ALL: [MetricType; 6] = [
        MetricType::Counter,
        MetricType::Gauge,
        MetricType::Timer,
        MetricType::Histogram,
        MetricType::Set,
        MetricType::Sampled,
    ];

    /// The word for it in config, pages, APIs and files.
    pub fn as_str(self) -> &'static str {
        match self {
            MetricType::Counter => "counter",
            MetricType::Gauge => "gauge",
            MetricType::Timer => "timer",
            MetricType::Histogram => "histogram",
            MetricType::Set => "set",
            MetricType::Sampled => "sampled",
        }
    }

    /// The type whose number in files is `number`.
    pub fn from_u8(number: u8) -> Option<Self> {
        MetricType::ALL.into_iter().find(|t| *t as u8 == number)
    }

    /// What a value as sent is divided by for the unit that is kept:
    /// milliseconds become seconds.
    pub fn unit_divisor(self) -> f64 {
        if self == MetricType::Timer { 1000.0 } else { 1.0 }
    }

    /// Whether a window of it keeps a distribution.
    pub fn is_distribution(self) -> bool {
        matches!(self, MetricType::Timer | MetricType::Histogram)
    }
}

impl fmt::Display for MetricType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The value of an observation. Numbers are finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// A counter's increment, a gauge's new value, a timer's milliseconds …
    Number(f64),
    /// A gauge's change against what it was.
    Change(f64),
    /// A member of a set, as its bytes were sent.
    Member(&'a [u8]),
}

/// One received value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation<'a> {
    pub value: Value<'a>,
    pub metric_type: MetricType,
    /// How many events it stands for: 1 / sample rate, ≥ 1, not always whole.
    pub weight: f64,
}
