//! Alert rules, the states of their alerts, and what others see of them.

pub mod board;
pub mod counters;
pub mod number;
pub(crate) mod record;
pub mod rule;
pub mod ruler;
pub mod state;
pub mod template;
mod watchdog;

pub use board::{Board, RuleView, Snapshot};
pub use counters::Counters;
pub use rule::{Definition, Rule, RuleError, RuleId};
pub use ruler::{Answer, Ruler};
pub use state::{Alert, Alerts, Fingerprint, State, Transition};
pub use template::Template;
