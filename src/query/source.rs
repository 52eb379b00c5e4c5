//! Where the engine reads from: the store, or memory in tests.

use crate::model::label::NAME;
use crate::model::{Grains, MatchOp, Matcher, Select, Series, SeriesKey, TimeRange};
use crate::store::{self, Store};

/// Something that series can be read from.
pub trait Source: Send + Sync {
    /// The series that `request` asks for, in ascending order of labels. A
    /// series without points in the range may be left out.
    fn select(&self, request: &Select<'_>) -> Result<Vec<Series>, SourceError>;

    /// As [`Source::select`], with a resolution for each type. Where there is but
    /// one resolution, the same.
    fn select_at(&self, request: &Select<'_>, _grains: &Grains) -> Result<Vec<Series>, SourceError> {
        self.select(request)
    }

    /// The coarsest step, in ms, of the finest points that there are in `range`:
    /// a value may be so old. 0 where there is but one resolution.
    fn resolution_ms(&self, _range: TimeRange) -> i64 {
        0
    }

    /// Names of the series that fulfil all matchers and have points within
    /// `range`, at most `max_series` of them, in ascending order.
    fn series(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        max_series: usize,
    ) -> Result<Vec<SeriesKey>, SourceError>;
}

/// Where a selector's plain name is the very name of some series, those alone
/// are meant: `etl_errors` means `etl.errors` too only as long as nothing is
/// called `etl_errors` itself. Else a sender of the other spelling could make
/// every `rate` of a name ambiguous.
pub(super) fn keep_exact_name(matchers: &[Matcher], found: &mut Vec<Series>) {
    for matcher in matchers.iter().filter(|m| m.name == NAME && matches!(m.op, MatchOp::Equal)) {
        let exact = |series: &Series| series.labels.name() == matcher.value;
        if found.iter().any(exact) {
            found.retain(exact);
        }
    }
}

/// Why nothing could be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("the query selects more than {limit} {what}; narrow the selector or the time range")]
    Limit { what: &'static str, limit: usize },
    #[error("{0}")]
    Storage(String),
}

impl Source for Store {
    fn select(&self, request: &Select<'_>) -> Result<Vec<Series>, SourceError> {
        Ok(Store::select(self, request)?)
    }

    fn select_at(&self, request: &Select<'_>, grains: &Grains) -> Result<Vec<Series>, SourceError> {
        Ok(Store::select_at(self, request, grains)?)
    }

    fn resolution_ms(&self, range: TimeRange) -> i64 {
        Store::resolution_ms(self, range)
    }

    fn series(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        max_series: usize,
    ) -> Result<Vec<SeriesKey>, SourceError> {
        Ok(Store::series(self, matchers, range, max_series)?)
    }
}

impl From<store::Error> for SourceError {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Limit { what, limit } => SourceError::Limit { what, limit },
            other => SourceError::Storage(other.to_string()),
        }
    }
}
