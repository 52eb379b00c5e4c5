//! PromQL: parse, evaluate, answer.
//!
//! `parse` gives [`Parsed`], `plan` reads each of its selectors once through
//! [`Source`], `eval` computes whole series at a time (`column`), `value` is the
//! answer. Nothing here knows the time, a disk or a socket.
//!
//! Any labels, times and values can be put into a [`MemorySource`] and asked for:
//! floats, stale markers and Prometheus' native histograms.
//!
//! ```
//! use statsdeck::model::{Labels, MetricType, NativeHistogram};
//! use statsdeck::query::{Distribution, Engine, MemorySource, Number, Options, Value};
//! use std::sync::Arc;
//!
//! let source = Arc::new(MemorySource::new());
//! let errors = Labels::from_pairs([("__name__", "etl.errors"), ("job", "import")]);
//! source.push(&errors, Some(MetricType::Counter), 0, 0.0);
//! source.push(&errors, Some(MetricType::Counter), 10_000, 3.0);
//! // As another Prometheus would scrape them: of no known type.
//! let took = Labels::of_name("took_seconds");
//! for minute in 0..6 {
//!     // Values in (1, 2] and in (2, 4], as many again each minute.
//!     let weight = f64::from(minute);
//!     let histogram = NativeHistogram {
//!         schema: 0,
//!         count: 3.0 * weight,
//!         sum: 7.0 * weight,
//!         positive: vec![(1, weight), (2, 2.0 * weight)],
//!         ..NativeHistogram::default()
//!     };
//!     source.push_native(&took, i64::from(minute) * 60_000, histogram);
//! }
//! source.push_stale(&took, None, 360_000);
//!
//! let engine = Engine::new(source, Options::default());
//! let result = engine.instant("etl_errors", 10_000)?;
//! let Value::Vector(points) = result.value else { panic!("an instant vector") };
//! assert_eq!(points[0].value, Number::Float(3.0));
//!
//! let result = engine.range("increase(took_seconds[2m])", 120_000, 240_000, 60_000)?;
//! let Value::Matrix(series) = result.value else { panic!("a range query gives a matrix") };
//! let point = series[0].points.iter().nth(2);
//! let Some((at_ms, Number::Histogram(Distribution::Native(gain)))) = point else { panic!("a histogram") };
//! assert_eq!((at_ms, gain.count, gain.sum), (240_000, 6.0, 14.0));
//! assert!(engine.instant("took_seconds", 360_000)?.value.points() == 0);
//!
//! // A mistake says where it is.
//! let error = engine.instant("sum(rate(etl_errors))", 0).unwrap_err();
//! assert_eq!(error.position().map(|at| (at.line, at.column)), Some((1, 10)));
//! # Ok::<(), statsdeck::query::Error>(())
//! ```
//!
//! What it does as Prometheus 3 with all its feature flags set: the experimental
//! functions, `anchored` and `smoothed`, durations that are computed, `fill`, names
//! that are dropped at the end (so that `label_replace` still finds them).

mod aggregation;
mod annotation;
mod binary;
mod cancel;
mod column;
mod distribution;
mod duration_expr;
mod edges;
mod engine;
mod error;
mod eval;
pub mod expr;
mod format;
mod function;
pub mod function_table;
mod gain;
mod grain;
mod group_sum;
mod histogram_function;
mod histogram_trim;
mod info;
mod input;
mod label_function;
mod lexer;
pub mod limits;
mod log_linear;
mod math;
pub mod memory;
mod native;
mod native_notation;
mod native_reading;
mod native_sum;
pub mod notation;
pub mod number;
mod over_time;
mod parse;
mod parse_binary;
mod parse_call;
mod parse_matchers;
mod parse_time;
mod peak;
mod pile;
mod plan;
mod rate;
mod sliding;
pub mod source;
mod sum;
mod summed;
mod tally;
pub mod testlang;
mod testlang_expected;
mod testlang_nhcb;
mod told;
mod top;
mod totals;
mod track;
mod value;

pub use cancel::Cancel;
pub use distribution::Distribution;
pub use engine::{Engine, Options};
pub use error::{Error, Position};
pub use expr::{Edges, Expr, Parsed, Selector, ValueType};
pub use format::format;
pub use gain::Gain;
pub use memory::MemorySource;
pub use parse::parse_selector;
pub use source::{Reading, Source, SourceError};
pub use value::{
    MatrixPoints, MatrixSeries, Number, QueryResult, ScalarPoint, StringPoint, Value, VectorPoint,
};
