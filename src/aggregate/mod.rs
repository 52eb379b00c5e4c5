//! Windows: observations go into a table per receiver, a flush merges the
//! tables into one batch and carries on what outlives a window.
//!
//! Tables share nothing but the registry of series, which is asked only when a
//! spelling is new to a table.

mod cells;
pub mod effect;
pub mod mapped_line;
pub mod registry;
pub mod table;
pub mod timer;
pub mod window;

pub use registry::Registry;
pub use table::{Partial, Table};
pub use window::{Options, Windows};
