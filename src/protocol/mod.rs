//! The wire: packets into lines, lines into observations, tags into labels.
//!
//! Works on borrowed bytes and allocates only for a new series' labels. No
//! input panics; a line is taken whole or rejected whole, with a reason.

pub mod check;
pub mod event;
pub mod line;
pub mod message;
pub mod number;
pub mod packet;
mod reject;
pub mod remote_write;
pub mod tag;
pub mod tag_style;

pub use crate::model::Reject;
pub use check::Check;
pub use event::Event;
pub use line::{Dialect, Line};
pub use message::Message;
pub use tag_style::TagStyles;
