//! Which samples of a batch have a place, and what has to be said of their
//! series before.
//!
//! A series is known to a segment of the log once a frame has defined it, with
//! the kind of samples it may have. What the segment does not know is looked up
//! in the catalogue: a few by number, many by one walk through all names.

use super::id_set::IdSet;
use super::late::{self, LateKind};
use super::names::NameWriter;
use super::point::{sound_histogram, sound_sketch};
use super::sample::Kind;
use crate::catalogue::{Catalogue, key};
use crate::model::{FlushBatch, SeriesId};
use std::borrow::Cow;

/// Kinds that series have.
const LATE_KINDS: [LateKind; 4] = LateKind::ALL;
const KINDS: [Kind; 4] = [Kind::Counters, Kind::Gauges, Kind::Distributions, Kind::Sets];
/// With one of so many series to look up, all names are walked through.
const WALK_SHARE: usize = 32;

/// Series by the kind of their samples.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    kinds: [IdSet; KINDS.len()],
}

/// A batch whose samples all have a place and ascend by id.
pub(super) struct Admitted<'a> {
    pub(super) batch: Cow<'a, FlushBatch>,
    /// Counters and gauges that ended, ascending.
    pub(super) ended: Vec<u32>,
    /// Names of the series that the segment did not know, and these.
    pub(super) definitions: Vec<u8>,
    pub(super) new: Known,
    /// Samples that were left out.
    pub(super) refused: usize,
}

impl Known {
    pub(super) fn unite(&mut self, other: &Known) {
        self.kinds.iter_mut().zip(&other.kinds).for_each(|(ours, theirs)| ours.unite(theirs));
    }

    /// All of them.
    pub(super) fn all(&self) -> IdSet {
        let mut all = IdSet::default();
        self.kinds.iter().for_each(|kind| all.unite(kind));
        all
    }

    /// Bytes of memory.
    pub(super) fn memory(&self) -> usize {
        self.kinds.iter().map(IdSet::memory).sum()
    }

    fn of(&self, kind: Kind) -> Option<&IdSet> {
        self.kinds.get(kind as usize)
    }

    fn insert(&mut self, kind: Kind, id: u32) {
        if let Some(ids) = self.kinds.get_mut(kind as usize) {
            ids.insert(id);
        }
    }

    fn has_float(&self, id: u32) -> bool {
        [Kind::Counters, Kind::Gauges].iter().any(|kind| self.of(*kind).is_some_and(|ids| ids.contains(id)))
    }
}

/// Leaves out what has no place.
pub(super) fn admit<'a>(batch: &'a FlushBatch, known: &Known, catalogue: &Catalogue) -> Admitted<'a> {
    let (batch, disordered) = ordered(batch);
    let (batch, unsound) = sound(batch);
    let mut unknown = Known::default();
    for kind in KINDS {
        let mut lookup = known.of(kind).map(IdSet::lookup);
        let is_new = |id: &u32| !lookup.as_mut().is_some_and(|lookup| lookup.contains(*id));
        let mut ids = IdSet::of_ascending(ids(&batch, kind).filter(is_new));
        if !batch.late.is_empty() {
            let late = late::ids(&batch.late, LATE_KINDS[kind as usize]).map(|id| id.0);
            late.filter(|id| !known.of(kind).is_some_and(|ids| ids.contains(*id)))
                .for_each(|id| ids.insert(id));
        }
        unknown.kinds[kind as usize] = ids;
    }
    let (mut ended, unclear): (Vec<u32>, Vec<u32>) =
        batch.stale.iter().map(|id| id.0).partition(|id| known.has_float(*id));
    let mut wanted = unknown.all();
    unclear.iter().for_each(|id| wanted.insert(*id));
    let unclear: IdSet = unclear.into_iter().collect();

    let (mut new, mut names) = (Known::default(), NameWriter::default());
    named(catalogue, &wanted, |id, key| {
        let Some(kind) = key::metric_type(key).map(Kind::of) else { return };
        // The end of a distribution or a set needs no mark: each window
        // stands for itself.
        let ends = matches!(kind, Kind::Counters | Kind::Gauges) && unclear.contains(id);
        if ends {
            ended.push(id);
        }
        if ends || unknown.of(kind).is_some_and(|ids| ids.contains(id)) {
            new.insert(kind, id);
            names.push(id, key);
        }
    });
    ended.sort_unstable();
    ended.dedup();
    let (batch, strange) = placed(batch, &unknown, &new);
    let refused = disordered + unsound + strange;
    Admitted { batch, ended, definitions: names.into_bytes(), new, refused }
}

/// Calls `each` with the keys of the wanted series, ascending by key.
fn named(catalogue: &Catalogue, wanted: &IdSet, mut each: impl FnMut(u32, &[u8])) {
    let count = wanted.len();
    if count > catalogue.len() / WALK_SHARE {
        catalogue.in_key_order(|id, key| {
            if wanted.contains(id.0) {
                each(id.0, key);
            }
        });
        return;
    }
    let key = |id: u32| Some((catalogue.key(SeriesId(id))?, id));
    let mut keys: Vec<(Vec<u8>, u32)> = wanted.iter().filter_map(key).collect();
    keys.sort_unstable();
    keys.iter().for_each(|(key, id)| each(*id, key));
}

fn ids(batch: &FlushBatch, kind: Kind) -> Box<dyn Iterator<Item = u32> + '_> {
    match kind {
        Kind::Counters => Box::new(batch.counters.iter().map(|counter| counter.id.0)),
        Kind::Gauges => Box::new(batch.gauges.iter().map(|gauge| gauge.id.0)),
        Kind::Distributions => Box::new(batch.timers.iter().map(|(id, _)| id.0)),
        Kind::Sets => Box::new(batch.sets.iter().map(|(id, _)| id.0)),
        Kind::Ends | Kind::Gone => Box::new(batch.stale.iter().map(|id| id.0)),
    }
}

/// The batch in ascending order; of two samples of a series the later one.
pub(super) fn ordered(batch: &FlushBatch) -> (Cow<'_, FlushBatch>, usize) {
    let ascends = |kind: &Kind| ids(batch, *kind).is_sorted_by(|a, b| a < b);
    if KINDS.iter().all(ascends) {
        return (Cow::Borrowed(batch), 0);
    }
    let mut batch = batch.clone();
    let before = batch.samples();
    last_of_each(&mut batch.counters, |counter| counter.id);
    last_of_each(&mut batch.gauges, |gauge| gauge.id);
    last_of_each(&mut batch.timers, |(id, _)| *id);
    last_of_each(&mut batch.sets, |(id, _)| *id);
    let refused = before - batch.samples();
    (Cow::Owned(batch), refused)
}

fn last_of_each<T>(items: &mut Vec<T>, id: impl Fn(&T) -> SeriesId) {
    items.sort_by_key(&id);
    items.reverse();
    items.dedup_by_key(|item| id(item));
    items.reverse();
}

/// The batch without what could not be read back, and how many that are.
fn sound(batch: Cow<'_, FlushBatch>) -> (Cow<'_, FlushBatch>, usize) {
    let timers = batch.timers.iter().filter(|(_, histogram)| !sound_histogram(histogram)).count();
    let sets = batch.sets.iter().filter(|(_, sketch)| !sound_sketch(sketch)).count();
    let late = &batch.late;
    let late_timers = late.timers.iter().filter(|late| !sound_histogram(&late.value)).count();
    let late_sets = late.sets.iter().filter(|late| !sound_sketch(&late.value)).count();
    let unsound = timers + sets + late_timers + late_sets;
    if unsound == 0 {
        return (batch, 0);
    }
    let mut batch = batch.into_owned();
    batch.timers.retain(|(_, histogram)| sound_histogram(histogram));
    batch.sets.retain(|(_, sketch)| sound_sketch(sketch));
    batch.late.timers.retain(|late| sound_histogram(&late.value));
    batch.late.sets.retain(|late| sound_sketch(&late.value));
    (Cow::Owned(batch), unsound)
}

/// The batch without the samples of `unknown` series that are not `new`: nobody
/// named them, or they are of another type.
fn placed<'a>(batch: Cow<'a, FlushBatch>, unknown: &Known, new: &Known) -> (Cow<'a, FlushBatch>, usize) {
    let strange = |kind: Kind| match (unknown.of(kind), new.of(kind)) {
        (Some(unknown), Some(new)) => unknown.minus(new).collect::<IdSet>(),
        _ => IdSet::default(),
    };
    let strange = KINDS.map(strange);
    if strange.iter().all(IdSet::is_empty) {
        return (batch, 0);
    }
    let [counters, gauges, timers, sets] = strange;
    let mut batch = batch.into_owned();
    let before = batch.samples();
    batch.counters.retain(|counter| !counters.contains(counter.id.0));
    batch.gauges.retain(|gauge| !gauges.contains(gauge.id.0));
    batch.timers.retain(|(id, _)| !timers.contains(id.0));
    batch.sets.retain(|(id, _)| !sets.contains(id.0));
    batch.late.counters.retain(|late| !counters.contains(late.id.0));
    batch.late.gauges.retain(|late| !gauges.contains(late.id.0));
    batch.late.timers.retain(|late| !timers.contains(late.id.0));
    batch.late.sets.retain(|late| !sets.contains(late.id.0));
    let refused = before - batch.samples();
    (Cow::Owned(batch), refused)
}
