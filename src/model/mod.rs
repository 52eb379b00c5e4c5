//! The vocabulary that every floor above speaks: labels, series, samples,
//! observations, histograms and the batch that one flush hands on.
//!
//! Plain data and pure functions; no clock, no I/O, no locks, no serde.

pub mod batch;
pub mod duration;
pub mod histogram;
pub mod label;
pub mod late;
pub mod marker;
pub mod matcher;
pub mod native_histogram;
pub mod observation;
pub mod reject;
pub mod sample;
pub mod series;
pub mod sketch;

pub use batch::FlushBatch;
pub use histogram::Histogram;
pub use label::Labels;
pub use late::Late;
pub use marker::{Marker, MarkerKind};
pub use matcher::{MatchOp, Matcher};
pub use native_histogram::{NativeHistogram, ResetHint};
pub use observation::{MetricType, Observation, Value};
pub use reject::Reject;
pub use sample::Sample;
pub use series::{GaugePart, Grains, Points, Select, Series, SeriesId, SeriesKey, TimeRange};
pub use sketch::Sketch;
