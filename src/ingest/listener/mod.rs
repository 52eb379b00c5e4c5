//! The loops that read: one thread a datagram socket, one task a connection.

pub mod datagram;
pub mod stream;

pub use datagram::DatagramListener;
pub use stream::StreamListener;
