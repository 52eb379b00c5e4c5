//! The wire: packets into lines, lines into observations, tags into labels.
//!
//! Works on borrowed bytes and allocates only for a new series' labels. No
//! input panics; a line is taken whole or rejected whole, with a reason.

pub mod line;
pub mod number;
pub mod packet;
mod reject;
pub mod tag;

pub use crate::model::Reject;
pub use line::{Dialect, Line};
