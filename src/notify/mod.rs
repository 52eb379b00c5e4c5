//! Alert notices: who is told, what, and that each is told once.

mod client;
mod endpoint;
mod message;
mod outbox;
mod pacing;
mod queue;
mod receiver;
mod refusals;
mod secret;
mod slack;
mod status;
mod webhook;

pub use client::{Client, ClientOptions};
pub use endpoint::{Endpoint, EndpointError};
pub use message::{Message, Notice};
pub use outbox::{NOTICES_MAX, Outbox, Settled, Step};
pub use pacing::Pacing;
pub use queue::{Error, Notifier, Options};
pub use receiver::{AnyReceiver, Link, Receiver, Reply, Target, Verdict};
pub use secret::Secret;
pub use slack::Slack;
pub use status::{ReceiverView, Status};
pub use webhook::Webhook;
