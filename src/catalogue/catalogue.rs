//! The catalogue: numbers for series, series for numbers and for selectors.
//!
//! One name has one type: the first that came. A series of another type is
//! kept under the same name with the label `statsdeck_type`, so that nothing is
//! lost and a query never meets two series with the same labels. When the first
//! type is forgotten before the others, they keep the label, and who comes gets it.
//! What was sampled elsewhere has no part in that: it gets the label, or the other
//! one does, only where all labels are the same.

use super::dictionary::{Builder, Dictionary};
use super::key;
use super::key_list::KeyList;
use super::overlay::Overlay;
use super::selection::{Match, OnLabel, name_prefix, wanted};
use crate::model::label::{NAME, OWN_PREFIX};
use crate::model::{Matcher, MetricType, SeriesId, SeriesKey};
use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Label that tells a series apart whose name is another type's.
pub const TYPE_LABEL: &str = "statsdeck_type";
/// The label of a series that holds what a limit kept out of others.
pub const OVERFLOW_LABEL: &str = "statsdeck_overflow";
/// Keys that may lie beside the dictionary: this many, or a quarter of it.
const OVERLAY_MIN: usize = 4096;
/// One key in so many beside the dictionary is merged in when there is time.
const SETTLE_SHARE: usize = 64;
/// Ended series that are still known, for each one that may be alive: what the
/// store has points of keeps its number, so that its total goes on.
const ENDED_SHARE_MAX: usize = 4;

/// See the module's head. Shared by all threads.
#[derive(Debug)]
pub struct Catalogue {
    inner: RwLock<Inner>,
    series_max: usize,
}

#[derive(Debug, Default)]
struct Inner {
    dictionary: Arc<Dictionary>,
    overlay: Overlay,
    /// Ids to leave out when the two are merged; not found any more.
    forgotten: HashSet<u32>,
    next_id: u32,
    /// Our own series among all.
    own: usize,
    /// How many have ended, as of the last flush.
    ended: usize,
    /// Registered since they were asked for last.
    new: Vec<(SeriesId, MetricType)>,
}

/// Whose a name is.
enum Owner {
    /// There is no series of it.
    Nobody,
    First(MetricType),
    /// The first type is forgotten; there are series of others.
    Gone,
}

/// Why a series got no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The limit of series is reached, or all numbers are given.
    Full,
    NotAdmitted,
}

impl Catalogue {
    /// An empty catalogue that takes `series_max` series that are alive.
    pub fn new(series_max: usize) -> Self {
        Catalogue { inner: RwLock::default(), series_max }
    }

    /// Makes known what the store has: series by id, and a number above all ids
    /// that were ever used. Of equal keys the one with the greatest id counts.
    pub fn restore(&self, series: impl IntoIterator<Item = (SeriesId, SeriesKey)>, next_id: u32) {
        let mut keys = KeyList::default();
        series.into_iter().for_each(|(id, series)| keys.push(&key::encode(&series), id.0));
        self.restore_keys(keys, next_id);
    }

    /// As [`Catalogue::restore`], of keys as [`Catalogue::in_key_order`] gives
    /// them; what is no key is left out. Returns the ids that do not count.
    pub fn restore_keys(&self, mut keys: KeyList, next_id: u32) -> Vec<u32> {
        let mut inner = self.write();
        inner.add_entries(&mut keys);
        let left_out = keys.sort();
        let mut builder = Builder::default();
        inner.own = 0;
        for (key, id) in keys.iter().filter(|(key, id)| *id < u32::MAX && key::metric_type(key).is_some()) {
            inner.own += usize::from(is_own(key));
            inner.next_id = inner.next_id.max(id + 1);
            builder.push(key, id);
        }
        inner.next_id = inner.next_id.max(next_id);
        inner.dictionary = Arc::new(builder.build());
        inner.overlay = Overlay::default();
        left_out
    }

    /// The number of the series, new or known. Our own series have no part in
    /// the limit.
    pub fn register(&self, series: SeriesKey) -> Result<SeriesId, Refused> {
        self.register_if(series, |_| true)
    }

    /// The same; a new series that is not our own must be `admitted` as well.
    pub fn register_if(
        &self,
        mut series: SeriesKey,
        admitted: impl FnOnce(&SeriesKey) -> bool,
    ) -> Result<SeriesId, Refused> {
        let mut inner = self.write();
        let is_sampled = series.metric_type == MetricType::Sampled;
        let (mut is_apart, is_new) = match inner.owner(series.labels.name()) {
            _ if is_sampled => (false, false),
            Owner::Nobody => (false, true),
            Owner::First(first) => (first != series.metric_type, false),
            Owner::Gone => (true, false),
        };
        let mut key = key::encode(&series);
        if !is_apart {
            // A new name has no series.
            if !is_new && let Some(id) = inner.find(&key) {
                return Ok(SeriesId(id));
            }
            is_apart = inner.has_twin(&series);
        }
        if is_apart {
            series.labels = series.labels.with(TYPE_LABEL, series.metric_type.as_str());
            key = key::encode(&series);
            if let Some(id) = inner.find(&key) {
                return Ok(SeriesId(id));
            }
        }
        let own = is_own(&key);
        let ended = inner.ended.min(self.series_max.saturating_mul(ENDED_SHARE_MAX));
        let full = !own && inner.len() - inner.own >= self.series_max.saturating_add(ended);
        if full || inner.next_id == u32::MAX {
            return Err(Refused::Full);
        }
        if !own && !admitted(&series) {
            return Err(Refused::NotAdmitted);
        }
        let id = inner.next_id;
        inner.next_id += 1;
        inner.own += usize::from(own);
        let mut name = Vec::new();
        key::put_name(&mut name, series.labels.name());
        inner.overlay.push(&key, &name, series.metric_type, id);
        inner.new.push((SeriesId(id), series.metric_type));
        inner.merge_if_large();
        Ok(SeriesId(id))
    }

    /// The type of the series that came first under this name.
    pub fn type_of(&self, name: &str) -> Option<MetricType> {
        match self.read().owner(name) {
            Owner::First(first) => Some(first),
            Owner::Nobody | Owner::Gone => None,
        }
    }

    /// The limit of series that are alive.
    pub fn series_max(&self) -> usize {
        self.series_max
    }

    /// The types of all series, ascending by number.
    pub fn types(&self) -> Vec<(SeriesId, MetricType)> {
        let mut types = Vec::with_capacity(self.len());
        self.in_key_order(|id, key| types.extend(key::metric_type(key).map(|metric_type| (id, metric_type))));
        types.sort_unstable_by_key(|(id, _)| *id);
        types
    }

    /// The series registered since the last call, ascending by number.
    pub fn take_new(&self) -> Vec<(SeriesId, MetricType)> {
        std::mem::take(&mut self.write().new)
    }

    /// Tells how many of the series have ended: they make room for others.
    pub fn note_ended(&self, ended: usize) {
        self.write().ended = ended;
    }

    /// Forgets series: their numbers are not given again.
    pub fn forget(&self, ids: impl IntoIterator<Item = SeriesId>) {
        let mut inner = self.write();
        for id in ids {
            if let Some(key) = inner.key(id.0) {
                inner.own -= usize::from(is_own(&key));
                inner.forgotten.insert(id.0);
            }
        }
        if !inner.forgotten.is_empty() {
            inner.merge();
        }
    }

    /// Merges in what came lately, if it is worth it: to be called every minute
    /// or so, as names that are merged take a quarter of the memory.
    pub fn settle(&self) {
        let mut inner = self.write();
        if inner.overlay.len() > inner.dictionary.len() / SETTLE_SHARE {
            inner.merge();
        }
    }

    /// What a number stands for.
    pub fn series(&self, id: SeriesId) -> Option<SeriesKey> {
        key::decode(&self.read().key(id.0)?)
    }

    /// The type of the series with this number.
    pub fn metric_type(&self, id: SeriesId) -> Option<MetricType> {
        key::metric_type(&self.read().key(id.0)?)
    }

    /// Above every number that was given.
    pub fn next_id(&self) -> u32 {
        self.read().next_id
    }

    /// The series' key as bytes.
    pub fn key(&self, id: SeriesId) -> Option<Vec<u8>> {
        self.read().key(id.0)
    }

    /// Calls `each` with every series' key as bytes, ascending. No lock is held
    /// meanwhile.
    pub fn in_key_order(&self, mut each: impl FnMut(SeriesId, &[u8])) {
        self.walk(&[], &[], |id, key| {
            each(id, key);
            true
        });
    }

    pub fn len(&self) -> usize {
        self.read().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        let inner = self.read();
        inner.dictionary.memory() + inner.overlay.memory()
    }

    /// Calls `each` with the series that fulfil all matchers, in the order of
    /// their escaped names, until it returns false. No lock is held meanwhile.
    pub fn matching(&self, matchers: &[Matcher], mut each: impl FnMut(SeriesId, SeriesKey) -> bool) {
        self.matches(matchers, |id, found| found.series().is_none_or(|series| each(id, series)));
    }

    /// As [`Catalogue::matching`]; what a series is called is worked out for those
    /// of whom it is asked.
    pub fn matches(&self, matchers: &[Matcher], mut each: impl FnMut(SeriesId, Match<'_>) -> bool) {
        let (on_name, on_labels): (Vec<&Matcher>, Vec<&Matcher>) =
            matchers.iter().partition(|matcher| matcher.name == NAME);
        let on_labels: Vec<OnLabel<'_>> =
            on_labels.into_iter().map(|matcher| (key::label_bytes(&matcher.name), matcher)).collect();
        let (from, prefix) = name_prefix(&on_name);
        // Consecutive keys share their name: it is judged once.
        let mut judged: (Vec<u8>, bool) = (Vec::new(), false);
        self.walk(&from, &prefix, |id, key| match wanted(key, &on_name, &on_labels, &mut judged) {
            Some(found) => each(id, found),
            None => true,
        });
    }

    /// Calls `each` with the keys from `from` on that begin with `prefix`,
    /// ascending, until it returns false.
    fn walk(&self, from: &[u8], prefix: &[u8], mut each: impl FnMut(SeriesId, &[u8]) -> bool) {
        let (dictionary, mut recent) = {
            let inner = self.read();
            let recent = inner.overlay.iter().filter(|(key, _)| key.starts_with(prefix));
            let recent: Vec<(Vec<u8>, u32)> = recent.map(|(key, id)| (key.to_vec(), id)).collect();
            (inner.dictionary.clone(), recent)
        };
        recent.sort_unstable();
        let mut recent = recent.into_iter().peekable();
        let mut cursor = dictionary.from(from);
        while let Some(id) = cursor.advance() {
            if !cursor.key().starts_with(prefix) {
                break;
            }
            while let Some((key, newer)) = recent.next_if(|(key, _)| key.as_slice() < cursor.key()) {
                if !each(SeriesId(newer), &key) {
                    return;
                }
            }
            if !each(SeriesId(id), cursor.key()) {
                return;
            }
        }
        for (key, id) in recent {
            if !each(SeriesId(id), &key) {
                return;
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        // Whole between statements: a panic elsewhere does not spoil it.
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Our own series are of a fixed number, and no limit's.
fn is_own(key: &[u8]) -> bool {
    // What looks like the label may stand within a value.
    key.starts_with(OWN_PREFIX.as_bytes())
        || memchr::memmem::find(key, OVERFLOW_LABEL.as_bytes()).is_some()
            && key::decode(key).is_some_and(|series| series.labels.get(OVERFLOW_LABEL).is_some())
}

impl Inner {
    fn len(&self) -> usize {
        self.dictionary.len() + self.overlay.len()
    }

    fn find(&self, key: &[u8]) -> Option<u32> {
        self.overlay.find(key).or_else(|| self.dictionary.find(key))
    }

    fn key(&self, id: u32) -> Option<Vec<u8>> {
        self.overlay.key(id).map(<[u8]>::to_vec).or_else(|| self.dictionary.key(id))
    }

    /// Whether there is a series with the same labels, either of both sampled.
    fn has_twin(&self, series: &SeriesKey) -> bool {
        let is_sampled = series.metric_type == MetricType::Sampled;
        let others = MetricType::ALL
            .into_iter()
            .filter(|other| *other != series.metric_type && (is_sampled || *other == MetricType::Sampled));
        others.into_iter().any(|metric_type| {
            let other = SeriesKey { labels: series.labels.clone(), metric_type };
            self.find(&key::encode(&other)).is_some()
        })
    }

    fn owner(&self, name: &str) -> Owner {
        let mut prefix = Vec::new();
        key::put_name(&mut prefix, name);
        let mut from = prefix.clone();
        let mut in_dictionary = Owner::Nobody;
        loop {
            let mut cursor = self.dictionary.from(&from);
            if cursor.advance().is_none() || !cursor.key().starts_with(&prefix) {
                break;
            }
            let metric_type = key::metric_type(cursor.key());
            let Some(metric_type) = metric_type.filter(|of| *of != MetricType::Sampled) else { break };
            let labelled = key::decode(cursor.key())
                .is_some_and(|series| series.labels.get(TYPE_LABEL) == Some(metric_type.as_str()));
            if !labelled {
                return Owner::First(metric_type);
            }
            in_dictionary = Owner::Gone;
            // All of this type came later than others.
            from.truncate(prefix.len());
            from.push(key::type_byte(metric_type) + 1);
        }
        match in_dictionary {
            // What is forgotten is merged out: in the overlay alone nothing is gone.
            Owner::Nobody => self.overlay.type_of(&prefix).map_or(Owner::Nobody, Owner::First),
            known => known,
        }
    }

    /// Adds all keys to `keys`.
    fn add_entries(&self, keys: &mut KeyList) {
        self.overlay.iter().for_each(|(key, id)| keys.push(key, id));
        let mut cursor = self.dictionary.start();
        while let Some(id) = cursor.advance() {
            keys.push(cursor.key(), id);
        }
    }

    fn merge_if_large(&mut self) {
        if self.overlay.len() > OVERLAY_MIN.max(self.dictionary.len() / 4) {
            self.merge();
        }
    }

    fn merge(&mut self) {
        let mut builder = Builder::default();
        let forgotten = std::mem::take(&mut self.forgotten);
        let mut push = |key: &[u8], id: u32| {
            if !forgotten.contains(&id) {
                builder.push(key, id);
            }
        };
        let mut added = self.overlay.sorted().into_iter().peekable();
        let mut cursor = self.dictionary.start();
        while let Some(id) = cursor.advance() {
            while let Some((key, new_id)) = added.next_if(|(key, _)| *key < cursor.key()) {
                push(key, new_id);
            }
            push(cursor.key(), id);
        }
        added.for_each(|(key, id)| push(key, id));
        self.dictionary = Arc::new(builder.build());
        self.overlay = Overlay::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;
    use proptest::prelude::*;

    fn key(name: &str, metric_type: MetricType) -> SeriesKey {
        SeriesKey { labels: Labels::of_name(name), metric_type }
    }

    fn told(catalogue: &Catalogue, matchers: &[Matcher]) -> Vec<String> {
        let mut told = Vec::new();
        catalogue.matching(matchers, |_, series| {
            told.push(series.labels.to_string());
            true
        });
        told.sort();
        told
    }

    #[test]
    fn a_series_has_one_number_also_when_the_first_type_of_its_name_is_gone() {
        let catalogue = Catalogue::new(10);
        let tagged = |metric_type, label: &str| SeriesKey {
            labels: key("a", metric_type).labels.with(label, "1"),
            metric_type,
        };
        let counter = catalogue.register(key("a", MetricType::Counter)).unwrap();
        let gauge = catalogue.register(tagged(MetricType::Gauge, "b")).unwrap();
        catalogue.forget([counter]);
        for _ in 0..2 {
            // Its labels are behind those of the other gauge.
            let other = catalogue.register(tagged(MetricType::Gauge, "z")).unwrap();
            catalogue.write().merge();
            assert_eq!(catalogue.register(tagged(MetricType::Gauge, "z")), Ok(other));
            assert_eq!(catalogue.register(tagged(MetricType::Gauge, "b")), Ok(gauge));
            let counter = catalogue.register(tagged(MetricType::Counter, "z")).unwrap();
            assert_ne!(catalogue.series(counter).unwrap().labels, catalogue.series(other).unwrap().labels);
            catalogue.forget([counter]);
        }
    }

    #[test]
    fn a_second_type_of_a_name_is_kept_apart() {
        for merged in [false, true] {
            let catalogue = Catalogue::new(10);
            let counter = catalogue.register(key("a.b", MetricType::Counter));
            if merged {
                catalogue.write().merge();
            }
            let gauge = catalogue.register(key("a.b", MetricType::Gauge));
            assert_ne!(counter, gauge);
            assert_eq!(catalogue.register(key("a.b", MetricType::Gauge)), gauge);
            assert_eq!(catalogue.register(key("a.b", MetricType::Counter)), counter);
            assert_eq!(catalogue.take_new().len(), 2);
            assert!(catalogue.take_new().is_empty());
            assert_eq!(told(&catalogue, &[]), [r#"{"a.b", statsdeck_type="gauge"}"#, r#"{"a.b"}"#]);
        }
    }

    #[test]
    fn the_limit_holds_and_what_ended_or_is_forgotten_makes_room() {
        let catalogue = Catalogue::new(1);
        let a = catalogue.register(key("a", MetricType::Counter)).unwrap();
        assert_eq!(catalogue.register(key("b", MetricType::Counter)), Err(Refused::Full));
        assert!(catalogue.register(key("statsdeck_series", MetricType::Gauge)).is_ok());
        let overflow = Labels::from_pairs([(NAME, "b"), (OVERFLOW_LABEL, "true")]);
        let overflow = SeriesKey { labels: overflow, metric_type: MetricType::Counter };
        assert!(catalogue.register(overflow).is_ok());
        let alike = Labels::from_pairs([(NAME, "b"), ("x", OVERFLOW_LABEL)]);
        let alike = SeriesKey { labels: alike, metric_type: MetricType::Counter };
        assert_eq!(catalogue.register(alike), Err(Refused::Full));
        catalogue.forget([a]);
        assert_eq!(catalogue.series(a), None);
        let b = catalogue.register(key("a", MetricType::Gauge)).unwrap();
        assert!(b > a, "numbers are not given again");
        catalogue.note_ended(1);
        assert!(catalogue.register(key("c", MetricType::Gauge)).is_ok());
        assert!(catalogue.register(key("d", MetricType::Gauge)).is_err());
    }

    #[test]
    fn numbers_go_on_after_a_restart() {
        let catalogue = Catalogue::new(10);
        let a = key("a", MetricType::Counter);
        catalogue.restore([(SeriesId(4), a.clone()), (SeriesId(2), a.clone())], 9);
        assert_eq!(catalogue.register(a), Ok(SeriesId(4)));
        assert_eq!(catalogue.register(key("b", MetricType::Counter)), Ok(SeriesId(9)));
        assert_eq!(catalogue.take_new(), [(SeriesId(9), MetricType::Counter)]);
    }

    #[test]
    fn selectors_find_what_they_mean() {
        for merged in [false, true] {
            let catalogue = Catalogue::new(100);
            for (name, job) in [
                ("etl.errors", "a"),
                ("etl.errors", "b"),
                ("etl_errors", "a"),
                ("etl-errors", "c"),
                ("up", "a"),
            ] {
                let labels = Labels::from_pairs([(NAME, name), ("job", job)]);
                catalogue.register(SeriesKey { labels, metric_type: MetricType::Counter }).unwrap();
            }
            if merged {
                catalogue.write().merge();
            }
            let check = |matchers: &[Matcher], expected: usize| {
                assert_eq!(told(&catalogue, matchers).len(), expected, "{matchers:?}");
            };
            check(&[], 5);
            check(&[Matcher::equal(NAME, "etl.errors")], 2);
            check(&[Matcher::equal(NAME, "etl_errors")], 4);
            check(&[Matcher::equal(NAME, "etl_errors"), Matcher::equal("job", "a")], 2);
            check(&[Matcher::regex(NAME, "etl.*").unwrap(), Matcher::not_equal("job", "a")], 2);
            check(&[Matcher::regex(NAME, "etl_er+ors|up").unwrap()], 5);
            check(&[Matcher::not_regex(NAME, "etl.*").unwrap()], 1);
            check(&[Matcher::equal("missing", "")], 5);
            check(&[Matcher::equal(NAME, "etl_errors"), Matcher::not_equal(NAME, "etl.errors")], 2);
            check(&[Matcher::equal(NAME, "")], 0);
        }
    }

    proptest! {
        #[test]
        fn it_is_what_a_plain_list_would_be(
            series in prop::collection::vec(("[ab._]{0,4}", "[xy]{0,2}"), 0..60),
            expression in "[ab._*?]{0,4}",
            name in "[ab._]{0,4}",
            merge_at in 0usize..60,
        ) {
            let catalogue = Catalogue::new(1000);
            let mut known: Vec<SeriesKey> = Vec::new();
            for (at, (name, job)) in series.iter().enumerate() {
                let labels = Labels::from_pairs([(NAME, name.as_str()), ("job", job.as_str())]);
                let key = SeriesKey { labels, metric_type: MetricType::Gauge };
                let id = catalogue.register(key.clone()).unwrap();
                let before = known.iter().position(|other| *other == key);
                prop_assert_eq!(id.0 as usize, before.unwrap_or(known.len()));
                if before.is_none() {
                    known.push(key);
                }
                if at == merge_at {
                    catalogue.write().merge();
                }
            }
            let mut selectors = vec![vec![Matcher::equal(NAME, name.clone())], vec![Matcher::not_equal(NAME, name)]];
            selectors.extend(Matcher::regex(NAME, &expression).ok().map(|matcher| vec![matcher]));
            for matchers in selectors {
                let fits = |key: &&SeriesKey| matchers.iter().all(|matcher| matcher.matches(&key.labels));
                let mut expected: Vec<String> = known.iter().filter(fits).map(|key| key.labels.to_string()).collect();
                expected.sort();
                prop_assert_eq!(told(&catalogue, &matchers), expected, "{:?}", matchers);
            }
            for (at, key) in known.iter().enumerate() {
                let named = catalogue.series(SeriesId(at as u32)); prop_assert_eq!(named.as_ref(), Some(key));
            }
        }
    }
}
