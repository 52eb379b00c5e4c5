//! Receiving: sockets and the threads that read them. What a packet means is
//! not known here.

pub mod listener;
pub mod socket;

pub use listener::{Listener, Options};
