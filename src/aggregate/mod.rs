//! Windows: observations go into a table per receiver, a flush merges the
//! tables into one batch and carries on what outlives a window.
//!
//! Tables share nothing but the registry of series, which is asked only when a
//! spelling is new to a table.

mod blocks;
mod cells;
pub mod effect;
pub mod gauge;
mod holders;
mod late;
pub mod mapped_line;
pub mod overflow;
pub mod quota;
pub mod registry;
pub mod sampled;
mod series_list;
mod spelling;
mod stage;
pub mod table;
pub mod timer;
pub mod top;
pub mod treated;
pub mod window;

pub use quota::{Prefix, Quotas};
pub use registry::Registry;
pub use sampled::SampleTable;
pub use table::{Partial, Table};
pub use window::{Options, Windows};
