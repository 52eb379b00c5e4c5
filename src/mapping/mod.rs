//! Mapping files of statsd_exporter: rules that give a received name a new name
//! and labels, drop it, or say how its series is treated.
//!
//! Rules are compiled once; a table asks once for each new spelling. How the
//! files are written is the business of `config`.

pub mod explain;
pub mod glob;
pub mod mapper;
pub mod pattern;
pub mod regexes;
pub mod rule;
pub mod template;
pub mod trie;

pub use mapper::{Mapper, Resolution, RuleSet};
pub use rule::{Definition, Kind, Observer, Style, Treatment};
