//! Why a query has no answer. What the caller did wrong (`Parse`, `Range`),
//! what the data or the limits do not allow (`Execution`, `Limit`), and what
//! stopped it (`TimedOut`, `Cancelled`) are told apart, because HTTP answers
//! them with different codes. No variant knows HTTP.

use super::source::SourceError;

/// A query that has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is no PromQL, or asks for something that is not there.
    #[error("{0}")]
    Parse(String),
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

    pub(crate) fn parse(message: impl Into<String>) -> Self {
        Error::Parse(message.into())
    }

    pub(crate) fn execution(message: impl Into<String>) -> Self {
        Error::Execution(message.into())
    }
}
