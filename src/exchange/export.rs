//! Points out of the store, in slices of time: never more in memory than one
//! slice has, whatever the range.
//!
//! A slice that turns out too large is halved, a small one is followed by a
//! longer one. Within a slice series come one after the other, each in the
//! order of time.

use super::error::Error;
use super::live_store::LiveStore;
use super::row::RowWriter;
use crate::model::{Matcher, Select, Series, TimeRange};
use crate::store::{self, Store};
use std::io::Write;

/// Most points, or as much memory as they would take, and most series.
const POINTS_MAX: usize = 4_000_000;
pub(super) const SERIES_MAX: usize = 10_000_000;
/// A slice grows while it has less than this part of the most.
const GROW_BELOW: usize = POINTS_MAX / 4;
/// A slice at first, and at most.
const FIRST_SLICE_MS: i64 = 3_600_000;
const SLICE_MAX_MS: i64 = 30 * 86_400_000;

/// What is exported.
#[derive(Clone, Debug)]
pub struct Export {
    /// Lists of matchers of which one must hold altogether.
    pub alternatives: Vec<Vec<Matcher>>,
    pub range: TimeRange,
    /// Most points held at a time; the default is [`Export::POINTS_MAX`].
    pub points_max: usize,
}

impl Export {
    pub const POINTS_MAX: usize = POINTS_MAX;

    /// Hands all that is selected to `each`, a slice at a time; `progress` is
    /// told the time it has come to.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Dropped`], [`Error::TooMuch`] and those of `each`.
    pub fn slices(
        &self,
        store: &LiveStore<'_>,
        progress: impl FnMut(i64),
        each: impl FnMut(Vec<Series>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.slices_from(store, FIRST_SLICE_MS, progress, each)
    }

    /// The same, with a first slice of `slice_ms`.
    ///
    /// # Errors
    /// As [`Export::slices`].
    pub(super) fn slices_from(
        &self,
        store: &LiveStore<'_>,
        mut slice_ms: i64,
        mut progress: impl FnMut(i64),
        mut each: impl FnMut(Vec<Series>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut start_ms = self.range.start_ms;
        while start_ms <= self.range.end_ms {
            let end_ms = start_ms.saturating_add(slice_ms - 1).min(self.range.end_ms);
            let range = TimeRange { start_ms, end_ms };
            match store.read(range, |store| self.slice(store, range)) {
                Ok(series) => {
                    let points: usize = series.iter().map(|series| series.points.weight_from(0)).sum();
                    if !series.is_empty() {
                        each(series)?;
                    }
                    progress(end_ms);
                    start_ms = end_ms + 1;
                    if points < GROW_BELOW.min(self.points_max / 4) {
                        slice_ms = slice_ms.saturating_mul(2).min(SLICE_MAX_MS);
                    }
                }
                Err(Error::Store(store::Error::Limit { what: "points", .. })) if slice_ms > 1 => {
                    slice_ms = (slice_ms.min(self.range.end_ms.saturating_sub(start_ms)) / 2).max(1);
                }
                Err(Error::Store(store::Error::Limit { limit, .. })) => return Err(Error::TooMuch { limit }),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes a row a point.
    ///
    /// # Errors
    /// As [`Export::slices`], and [`Error::Write`]. Returns the number of rows.
    pub fn rows(
        &self,
        store: &LiveStore<'_>,
        out: &mut impl Write,
        writer: &RowWriter,
        progress: impl FnMut(i64),
    ) -> Result<u64, Error> {
        let (mut rows, mut text) = (0, String::new());
        writer.header(&mut text);
        self.slices(store, progress, |series| {
            for series in series {
                rows += writer.series(&series, &mut text, &mut |text| out.write_all(text.as_bytes()))?;
            }
            Ok(())
        })?;
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Error::Write)?;
        Ok(rows)
    }

    fn slice(&self, store: &Store, range: TimeRange) -> Result<Vec<Series>, store::Error> {
        let mut found: Vec<Series> = Vec::new();
        for matchers in &self.alternatives {
            let request =
                Select { matchers, range, step_ms: 0, max_series: SERIES_MAX, max_points: self.points_max };
            found.extend(store.select(&request)?);
        }
        if self.alternatives.len() > 1 {
            let key = |series: &Series| (series.labels.clone(), series.metric_type);
            found.sort_by_cached_key(key);
            found.dedup_by(|a, b| a.labels == b.labels && a.metric_type == b.metric_type);
        }
        Ok(found)
    }
}
