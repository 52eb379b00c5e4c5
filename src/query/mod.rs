//! PromQL: parse, evaluate, answer.
//!
//! `parse` gives [`Parsed`], `plan` reads each of its selectors once through
//! [`Source`], `eval` computes whole series at a time (`column`), `value` is the
//! answer. Nothing here knows the time, a disk or a socket.
//!
//! ```
//! use statsdeck::model::{Labels, MetricType};
//! use statsdeck::query::{Engine, MemorySource, Number, Options, Value};
//! use std::sync::Arc;
//!
//! let source = Arc::new(MemorySource::new());
//! let labels = Labels::from_pairs([("__name__", "etl.errors"), ("job", "import")]);
//! source.push(&labels, Some(MetricType::Counter), 0, 0.0);
//! source.push(&labels, Some(MetricType::Counter), 10_000, 3.0);
//!
//! let engine = Engine::new(source, Options::default());
//! let result = engine.instant("etl_errors", 10_000)?;
//! let Value::Vector(points) = result.value else { panic!("an instant vector") };
//! assert_eq!(points[0].value, Number::Float(3.0));
//! # Ok::<(), statsdeck::query::Error>(())
//! ```

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
mod histogram_function;
mod histogram_trim;
mod info;
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
mod plan;
mod rate;
pub mod source;
mod sum;
pub mod testlang;
mod testlang_expected;
mod testlang_nhcb;
mod told;
mod totals;
mod track;
mod value;

pub use cancel::Cancel;
pub use distribution::Distribution;
pub use engine::{Engine, Options};
pub use error::{Error, Position};
pub use expr::{Edges, Expr, Parsed, Selector, ValueType};
pub use format::format;
pub use memory::MemorySource;
pub use parse::parse_selector;
pub use source::{Source, SourceError};
pub use value::{MatrixSeries, Number, QueryResult, ScalarPoint, StringPoint, Value, VectorPoint};
