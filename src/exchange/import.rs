//! Points of other tools into the store: gathered by span, then written as
//! blocks, oldest first.
//!
//! Only spans that nothing was written for take points; what cannot be taken is
//! counted by its reason. Until [`Import::finish`] nothing of the store changes.
//! A cumulative counter that restarts goes on as a running total that does not,
//! also when an import before, that was broken off, had the restart.

use super::error::Error;
use super::spool::Spool;
use crate::catalogue::Catalogue;
use crate::model::{MetricType, Sample, SeriesId, SeriesKey};
use crate::store::Store;
use crate::store::backfill::Place;
use crate::store::{Recovered, RecoveredSeries};
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// Folder in the data directory for points on their way.
pub const SPOOL_DIR: &str = "import.tmp";
/// Spans that are remembered, free or not: decades of them. Times of a hostile
/// file may be of any.
const PLACES_MAX: usize = 1 << 18;

/// What became of an import.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    pub series: u64,
    pub samples: u64,
    pub blocks: u64,
    /// Points that were left out, by reason.
    pub refused: Refused,
}

/// Points that were left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Older than the retention, or than what a coarser tier has.
    pub too_old: u64,
    /// Of a time of which there is data already.
    pub taken: u64,
    /// Of a time that is not over, or that the log has windows of.
    pub open: u64,
    /// Of counters whose totals the store has at a later time: those of before
    /// would not join.
    pub before_total: u64,
    /// No numbers: a counter cannot be that.
    pub no_number: u64,
    /// Of series beyond `limits.series`.
    pub series_limit: u64,
    /// Of series that have more labels than `limits.labels`.
    pub labels_limit: u64,
    /// Of series that have a name or a label longer than `limits.label_bytes`.
    pub label_bytes_limit: u64,
    /// Others of the same series and time came later.
    pub repeated: u64,
}

impl Refused {
    pub fn all(&self) -> u64 {
        let Refused { too_old, taken, open, before_total, no_number, .. } = self;
        let Refused { series_limit, labels_limit, label_bytes_limit, repeated, .. } = self;
        let of_series = series_limit + labels_limit + label_bytes_limit;
        too_old + taken + open + before_total + no_number + of_series + repeated
    }
}

/// An import that is going on.
pub struct Import<'a> {
    store: &'a Store,
    catalogue: &'a Catalogue,
    limits: LabelLimits,
    known: HashMap<SeriesId, RecoveredSeries>,
    now_ms: i64,
    spool: Spool,
    places: HashMap<i64, Place>,
    series: HashSet<SeriesId>,
    /// As they came, the values of counters at the time of their last totals.
    joins: HashMap<SeriesId, f64>,
    imported: Imported,
}

/// Labels that a series may have beside its name, and bytes of each text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelLimits {
    pub labels_max: usize,
    pub label_bytes_max: usize,
}

/// The limit that a series is beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    Series,
    Labels,
    LabelBytes,
}

/// A series of an import, or why it is none.
pub type Handle = Result<(SeriesId, MetricType), Beyond>;

impl<'a> Import<'a> {
    /// Begins one. `recovered` is what the store knew when it was opened;
    /// `spool_dir` is used and removed.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub fn new(
        store: &'a Store,
        catalogue: &'a Catalogue,
        recovered: &Recovered,
        limits: LabelLimits,
        spool_dir: &Path,
        now_ms: i64,
    ) -> Result<Self, Error> {
        Ok(Import {
            store,
            catalogue,
            limits,
            known: recovered.series.iter().map(|series| (series.id, *series)).collect(),
            now_ms,
            spool: Spool::new(spool_dir)?,
            places: HashMap::new(),
            series: HashSet::new(),
            joins: HashMap::new(),
            imported: Imported::default(),
        })
    }

    /// The series of this name, a counter or a gauge.
    pub fn series(&self, key: SeriesKey) -> Handle {
        let LabelLimits { labels_max, label_bytes_max } = self.limits;
        let metric_type = key.metric_type;
        if key.labels.len() > labels_max + 1 {
            return Err(Beyond::Labels);
        }
        if key.labels.iter().any(|(name, value)| name.len().max(value.len()) > label_bytes_max) {
            return Err(Beyond::LabelBytes);
        }
        self.catalogue.register(key).map(|id| (id, metric_type)).map_err(|_| Beyond::Series)
    }

    /// Takes a point, or counts why not. Of points at one time the last counts.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub fn point(&mut self, series: Handle, sample: Sample) -> Result<(), Error> {
        let span_end_ms = self.store.span_end(sample.timestamp_ms);
        let (store, now_ms) = (self.store, self.now_ms);
        if self.places.len() >= PLACES_MAX {
            self.places.clear();
        }
        let place = *self.places.entry(span_end_ms).or_insert_with(|| store.place(span_end_ms, now_ms));
        let refused = &mut self.imported.refused;
        let (id, metric_type) = match series {
            Ok(series) => series,
            Err(beyond) => {
                *match beyond {
                    Beyond::Series => &mut refused.series_limit,
                    Beyond::Labels => &mut refused.labels_limit,
                    Beyond::LabelBytes => &mut refused.label_bytes_limit,
                } += 1;
                return Ok(());
            }
        };
        let is_counter = metric_type == MetricType::Counter;
        let known_ms = self.known.get(&id).map(|known| known.last_ms);
        let later = known_ms.is_some_and(|known_ms| known_ms >= sample.timestamp_ms);
        if is_counter && known_ms == Some(sample.timestamp_ms) && sample.value.is_finite() {
            self.joins.insert(id, sample.value);
        }
        match place {
            Place::TooOld => refused.too_old += 1,
            Place::Taken => refused.taken += 1,
            Place::Open => refused.open += 1,
            Place::Free if is_counter && !sample.value.is_finite() => refused.no_number += 1,
            Place::Free if is_counter && later => refused.before_total += 1,
            Place::Free => {
                self.series.insert(id);
                self.spool.push(span_end_ms, id, sample)?;
            }
        }
        Ok(())
    }

    /// Writes the blocks; `progress` is told how many of how many.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Io`]; blocks that were written stay, and the
    /// rest may be imported again.
    pub fn finish(mut self, mut progress: impl FnMut(u64, u64)) -> Result<Imported, Error> {
        let spans = self.spool.spans()?;
        // Last value as it came, and what was counted before it began anew.
        let known = self.known.iter().filter_map(|(id, known)| {
            let total = known.last?;
            let last = self.joins.get(id).copied().unwrap_or(total);
            Some((*id, (last, total - last)))
        });
        let mut totals: HashMap<SeriesId, (f64, f64)> = known.collect();
        for (at, span_end_ms) in spans.iter().enumerate() {
            let mut parts = self.spool.parts(*span_end_ms)?;
            let catalogue = self.catalogue;
            let written = self.store.backfill(*span_end_ms, || {
                let mut part = parts.next_part()?;
                for (id, samples) in part.iter_mut().flatten() {
                    if catalogue.metric_type(*id) == Some(MetricType::Counter) {
                        let (last, before) = totals.entry(*id).or_insert((f64::NEG_INFINITY, 0.0));
                        samples.iter_mut().for_each(|sample| go_on(last, before, sample));
                    }
                }
                Ok::<_, Error>(part)
            });
            self.imported.samples += written?;
            self.imported.refused.repeated += parts.repeated();
            self.imported.blocks += 1;
            progress(at as u64 + 1, spans.len() as u64);
        }
        self.imported.series = self.series.len() as u64;
        Ok(self.imported)
    }
}

/// Makes a total that never restarts of one that may.
fn go_on(last: &mut f64, before: &mut f64, sample: &mut Sample) {
    if sample.value < *last {
        *before += *last;
    }
    *last = sample.value;
    sample.value += *before;
}
