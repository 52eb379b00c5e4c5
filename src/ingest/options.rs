//! What a listener is told: where, from whom, how packets are told apart, and
//! how much it may hold.

use super::address::Address;
use super::allow::Allow;
use super::framing::{Bounds, Framing};
use std::time::Duration;

/// One listener. What does not fit its kind of address is without effect.
#[derive(Clone, Debug)]
pub struct Options {
    pub address: Address,
    /// UDP: bytes to ask the kernel for.
    pub receive_buffer: usize,
    /// UDP: sockets, and threads, that share the port.
    pub threads: usize,
    /// UDP and TCP: who may send; without it everyone.
    pub allow: Option<Allow>,
    /// TCP and Unix stream.
    pub framing: Framing,
    /// Longest line and packet, in bytes.
    pub bounds: Bounds,
    /// Access to the file of a Unix socket.
    pub mode: u32,
    /// TCP and Unix stream: connections at a time; further ones are closed.
    pub connections_max: usize,
    /// TCP and Unix stream: a connection on which nothing comes for so long is
    /// closed; without it never.
    pub idle: Option<Duration>,
}
