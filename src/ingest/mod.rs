//! Receiving: sockets, the threads and tasks that read them, and what they
//! hand on: packets. What a line means is not known here.

pub mod address;
pub mod allow;
pub mod framing;
pub mod inherited;
pub mod listener;
pub mod options;
pub mod socket;
pub mod socket_file;

pub use address::Address;
pub use inherited::Inherited;
pub use options::Options;
