//! Why a query has no answer. What the caller did wrong (`Parse`, `Syntax`, `Range`),
//! what the data or the limits do not allow (`Execution`, `Limit`), and what
//! stopped it (`TimedOut`, `Cancelled`) are told apart, because HTTP answers
//! them with different codes. No variant knows HTTP.

use super::source::SourceError;

/// Where something stands in a query: line and column, both from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

impl Position {
    /// The place of the byte number `at` of `text`.
    pub fn of(text: &str, at: usize) -> Self {
        let before = text.get(..at).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Position { line: before.matches('\n').count() + 1, column: before.len() - line_start + 1 }
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A query that has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is no PromQL, or asks for something that is not there.
    #[error("{0}")]
    Parse(String),
    /// The text is no PromQL, from this place on.
    #[error("{at}: parse error: {message}")]
    Syntax { at: Position, message: String },
    /// Start, end or step that cannot be evaluated.
    #[error("{0}")]
    Range(String),
    /// The expression is well formed, but its data cannot be computed with.
    #[error("{0}")]
    Execution(String),
    /// More work than the limits allow.
    #[error(
        "the query needs more than {limit} {what}; narrow the selector or the time range, or widen the step"
    )]
    Limit { what: &'static str, limit: usize },
    #[error("the query took longer than it may; narrow the selector or the time range, or widen the step")]
    TimedOut,
    #[error("the query was cancelled")]
    Cancelled,
    #[error(transparent)]
    Source(#[from] SourceError),
}

impl Error {
    /// Whether a greater [`max_points`](super::Options::max_points) may help.
    pub fn is_of_points(&self) -> bool {
        match self {
            Error::Limit { .. } => true,
            Error::Source(SourceError::Limit { what, .. }) => *what != "series",
            _ => false,
        }
    }

    /// Where in the query it is wrong, where that is known.
    pub fn position(&self) -> Option<Position> {
        match self {
            Error::Syntax { at, .. } => Some(*at),
            _ => None,
        }
    }

    pub(crate) fn syntax(at: Position, message: impl Into<String>) -> Self {
        Error::Syntax { at, message: message.into() }
    }

    pub(crate) fn parse(message: impl Into<String>) -> Self {
        Error::Parse(message.into())
    }

    pub(crate) fn execution(message: impl Into<String>) -> Self {
        Error::Execution(message.into())
    }
}
