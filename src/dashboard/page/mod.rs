//! Whole pages as HTML: the frame around them, and what stands in it.
//!
//! No style attribute, no inline script: the pages live under a strict
//! content security policy.

mod alert_list;
mod first_run;
mod frame;
mod marker_list;
mod panel;
mod series_list;
mod table;
mod tile;

pub use alert_list::{banner, list};
pub use first_run::{FirstRun, first_run};
pub use frame::{Assets, Frame};
pub use marker_list::marker_panel;
pub use panel::{Placed, failed_panel, metric_panel, view_panel};
pub use series_list::{SeriesFacts, series_list};
pub use tile::{choose_tiles, tile};
