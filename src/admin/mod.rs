//! The classic StatsD management port: text commands over TCP, as scripts and
//! health checks know them. It knows no passwords, so it is loopback's alone
//! unless the config says otherwise.

pub mod command;
pub mod dump;
pub mod port;
pub mod state;

pub use port::serve;
pub use state::AdminState;
