//! Which series there are: their names once, in few bytes, and their numbers.
//!
//! Shared by the tables that receive, the windows and the store. Most of it is
//! an immutable dictionary (`dictionary.rs`); what is new lies beside it until
//! it is merged in.

#[expect(clippy::module_inception, reason = "the folder's main concept has its name")]
pub mod catalogue;
pub mod dictionary;
pub mod key;
pub mod key_list;
pub mod overlay;
mod selection;

pub use catalogue::{Catalogue, Refused};
pub use key_list::KeyList;
pub use selection::Match;
