//! What a line can be: a metric, an event or a service check, told apart by
//! how it begins.

use super::{Check, Dialect, Event, Line, Reject, check, event};

/// A parsed line of any kind; borrows from the packet.
#[derive(Clone, Debug, PartialEq)]
pub enum Message<'a> {
    Metric(Line<'a>),
    Event(Event<'a>),
    Check(Check<'a>),
}

impl<'a> Message<'a> {
    /// Parses one line, as `packet::lines` gives it.
    pub fn parse(line: &'a [u8], dialect: Dialect) -> Result<Self, Reject> {
        if line.starts_with(event::PREFIX) {
            Event::parse(line).map(Message::Event)
        } else if line.starts_with(check::PREFIX) {
            Check::parse(line).map(Message::Check)
        } else {
            Line::parse(line, dialect).map(Message::Metric)
        }
    }
}
