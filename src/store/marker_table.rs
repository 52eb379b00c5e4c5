//! Markers in the state file, by time. Bounded in number and, by whoever saves,
//! in age: the oldest go first.

use super::state::{Error, META, StateStore, decode};
use super::state_file::database_error;
use crate::model::{Marker, MarkerKind};
use redb::{ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use serde::{Deserialize, Serialize};

/// Markers that are kept.
pub const MARKERS_MAX: u64 = 10_000;

/// (time in ms, running number) → [`MarkerRecord`]
pub(super) const MARKERS: TableDefinition<(i64, u64), &[u8]> = TableDefinition::new("markers");
const NUMBER: &str = "marker_number";

/// A marker as it is stored; its time is in the key.
#[derive(Debug, Serialize, Deserialize)]
struct MarkerRecord {
    kind: String,
    title: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    text: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    host: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    source: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    key: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    low_priority: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<(String, String)>,
}

impl StateStore {
    /// Adds markers in one commit, and drops those before `oldest_ms` and those
    /// beyond `MARKERS_MAX`.
    pub fn save_markers(&self, markers: &[Marker], oldest_ms: i64) -> Result<(), Error> {
        self.file.with(|database| {
            let write = database.begin_write().map_err(database_error)?;
            {
                let mut meta = write.open_table(META).map_err(database_error)?;
                let mut table = write.open_table(MARKERS).map_err(database_error)?;
                let stored = meta.get(NUMBER).map_err(database_error)?.map(|number| number.value());
                let mut number = stored.unwrap_or(0);
                for marker in markers {
                    number += 1;
                    let record = serde_json::to_vec(&MarkerRecord::from(marker))?;
                    table.insert((marker.at_ms, number as u64), &*record).map_err(database_error)?;
                }
                meta.insert(NUMBER, number).map_err(database_error)?;
                table.retain_in(..(oldest_ms, 0), |_, _| false).map_err(database_error)?;
                while table.len().map_err(database_error)? > MARKERS_MAX {
                    table.pop_first().map_err(database_error)?;
                }
            }
            write.commit().map_err(database_error)
        })
    }

    /// The newest `limit` markers from `start_ms` to `end_ms`, both included,
    /// in the order of time.
    pub fn markers(&self, start_ms: i64, end_ms: i64, limit: usize) -> Result<Vec<Marker>, Error> {
        if start_ms > end_ms {
            return Ok(Vec::new());
        }
        self.file.with(|database| {
            let read = database.begin_read().map_err(database_error)?;
            let table = read.open_table(MARKERS).map_err(database_error)?;
            let rows = table.range((start_ms, 0)..=(end_ms, u64::MAX)).map_err(database_error)?;
            let mut markers = Vec::new();
            for row in rows.rev().take(limit) {
                let (key, value) = row.map_err(database_error)?;
                let record: Option<MarkerRecord> = decode("markers", value.value());
                markers.extend(record.map(|record| record.marker(key.value().0)));
            }
            markers.reverse();
            Ok(markers)
        })
    }
}

impl From<&Marker> for MarkerRecord {
    fn from(marker: &Marker) -> Self {
        MarkerRecord {
            kind: marker.kind.as_str().into(),
            title: marker.title.clone(),
            text: marker.text.clone(),
            host: marker.host.clone(),
            source: marker.source.clone(),
            key: marker.key.clone(),
            low_priority: marker.is_low_priority,
            tags: marker.tags.clone(),
        }
    }
}

impl MarkerRecord {
    fn marker(self, at_ms: i64) -> Marker {
        Marker {
            at_ms,
            kind: MarkerKind::parse(&self.kind).unwrap_or_default(),
            title: self.title,
            text: self.text,
            host: self.host,
            source: self.source,
            key: self.key,
            is_low_priority: self.low_priority,
            tags: self.tags,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker(at_ms: i64, title: &str) -> Marker {
        let tags = vec![("env".into(), "prod".into())];
        Marker { at_ms, title: title.into(), kind: MarkerKind::Error, tags, ..Marker::default() }
    }

    #[test]
    fn markers_are_there_after_a_restart_in_the_order_of_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.redb");
        let store = StateStore::open(&path).unwrap();
        store.save_markers(&[marker(30, "c"), marker(10, "a")], 0).unwrap();
        store.save_markers(&[marker(10, "b")], 0).unwrap();
        drop(store);
        let store = StateStore::open(&path).unwrap();
        let all = [marker(10, "a"), marker(10, "b"), marker(30, "c")];
        assert_eq!(store.markers(0, 100, 10).unwrap(), all);
        assert_eq!(store.markers(10, 30, 2).unwrap(), all[1..]);
        assert_eq!(store.markers(11, 29, 10).unwrap(), []);
        assert_eq!(store.markers(29, 11, 10).unwrap(), []);
    }

    #[test]
    fn old_ones_go_by_age_and_by_number() {
        let store = StateStore::in_memory().unwrap();
        let many: Vec<Marker> = (0..MARKERS_MAX as i64 + 5).map(|at_ms| marker(at_ms, "x")).collect();
        store.save_markers(&many, 0).unwrap();
        let kept = store.markers(0, i64::MAX, usize::MAX).unwrap();
        assert_eq!((kept.len() as u64, kept[0].at_ms), (MARKERS_MAX, 5));
        store.save_markers(&[], 100).unwrap();
        assert_eq!(store.markers(0, i64::MAX, usize::MAX).unwrap()[0].at_ms, 100);
    }
}
