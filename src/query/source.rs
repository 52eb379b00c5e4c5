//! Where the engine reads from: the store, or memory in tests.

use crate::lock::lock;
use crate::model::label::NAME;
use crate::model::{Grains, Labels, MatchOp, Matcher, MetricType, Select, Series, SeriesKey, TimeRange};
use crate::store::{self, Store};
use std::ops::Range;
use std::sync::Mutex;

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

    /// The series that `request` asks for, whose points are then read some at a
    /// time. What is held already counts against the limit of points.
    fn reading<'a>(
        &'a self,
        request: &Select<'_>,
        grains: &Grains,
    ) -> Result<Box<dyn Reading + 'a>, SourceError> {
        Ok(Box::new(Whole::new(self.select_at(request, grains)?)))
    }

    /// The coarsest step, in ms, of the finest points that there are in `range`:
    /// a value may be so old. 0 where there is but one resolution.
    fn resolution_ms(&self, _range: TimeRange) -> i64 {
        0
    }

    /// Until when, in `range`, only steps longer than `longer_ms` are left; the
    /// beginning of time when that is nowhere so.
    fn coarse_until_ms(&self, _range: TimeRange, _longer_ms: i64) -> i64 {
        i64::MIN
    }

    /// Calls `visit` with each series that fulfils all matchers and has points
    /// within `range`, in any order and however many they are, until it returns
    /// false.
    fn each_series(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        visit: &mut dyn FnMut(SeriesKey) -> bool,
    ) -> Result<(), SourceError> {
        let _ = self.series(matchers, range, usize::MAX)?.into_iter().all(visit);
        Ok(())
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

/// Series that were found, in ascending order of labels. By several threads at
/// once points are read, of each series once.
pub trait Reading: Send + Sync {
    /// Number of series.
    fn len(&self) -> usize;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Labels of the series at a place; none beyond the last.
    fn labels(&self, place: usize) -> &Labels;

    fn metric_type(&self, place: usize) -> Option<MetricType>;

    /// The series at these places. One without points may be left out.
    ///
    /// # Errors
    /// [`SourceError::Limit`] when they have more points than `max_points`.
    fn read(&self, places: Range<usize>, max_points: usize) -> Result<Vec<Series>, SourceError>;

    /// The same series, of which timers can be handed on as they are packed.
    fn packed(&self) -> Option<&store::Reading> {
        None
    }
}

/// Series that are read already.
struct Whole {
    keys: Vec<(Labels, Option<MetricType>)>,
    series: Mutex<Vec<Option<Series>>>,
}

impl Whole {
    fn new(mut series: Vec<Series>) -> Self {
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        let keys = series.iter().map(|series| (series.labels.clone(), series.metric_type)).collect();
        Whole { keys, series: Mutex::new(series.into_iter().map(Some).collect()) }
    }
}

impl Reading for Whole {
    fn len(&self) -> usize {
        self.keys.len()
    }

    fn labels(&self, place: usize) -> &Labels {
        self.keys.get(place).map_or(Labels::none(), |(labels, _)| labels)
    }

    fn metric_type(&self, place: usize) -> Option<MetricType> {
        self.keys.get(place).and_then(|(_, metric_type)| *metric_type)
    }

    fn read(&self, places: Range<usize>, _max_points: usize) -> Result<Vec<Series>, SourceError> {
        let mut series = lock(&self.series);
        Ok(series.get_mut(places).unwrap_or_default().iter_mut().filter_map(Option::take).collect())
    }
}

impl Reading for store::Reading {
    fn len(&self) -> usize {
        self.keys().len()
    }

    fn labels(&self, place: usize) -> &Labels {
        self.keys().get(place).map_or(Labels::none(), |key| &key.labels)
    }

    fn metric_type(&self, place: usize) -> Option<MetricType> {
        self.keys().get(place).map(|key| key.metric_type)
    }

    fn read(&self, places: Range<usize>, max_points: usize) -> Result<Vec<Series>, SourceError> {
        Ok(store::Reading::read(self, places, max_points)?)
    }

    fn packed(&self) -> Option<&store::Reading> {
        Some(self)
    }
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

    fn reading<'a>(
        &'a self,
        request: &Select<'_>,
        grains: &Grains,
    ) -> Result<Box<dyn Reading + 'a>, SourceError> {
        Ok(Box::new(Store::reading(self, request, grains)?))
    }

    fn resolution_ms(&self, range: TimeRange) -> i64 {
        Store::resolution_ms(self, range)
    }

    fn coarse_until_ms(&self, range: TimeRange, longer_ms: i64) -> i64 {
        Store::coarse_until_ms(self, range, longer_ms)
    }

    fn each_series(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
        visit: &mut dyn FnMut(SeriesKey) -> bool,
    ) -> Result<(), SourceError> {
        Ok(Store::each_series(self, matchers, range, visit)?)
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
