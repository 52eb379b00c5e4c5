//! Small durable tables beside the samples: alert states, what each receiver
//! was told, the history of alerts, and markers (`marker_table.rs`). One redb file, `state.redb`; each
//! `save_*` is one atomic, synced commit.
//!
//! A file that is damaged is moved aside and an empty one takes its place: then
//! alerts that still fire are told once more, which loses less than a daemon
//! that does not start. A file that is locked, forbidden or of a newer version
//! is an error and stays as it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::marker_table::MARKERS;
use super::state_file::{Refusal, StateFile, database_error};
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use serde::{Deserialize, Serialize};

/// File name within the data directory.
pub const FILE_NAME: &str = "state.redb";

/// Entries of the alert history that are kept, and for how long.
pub const HISTORY_ENTRIES_MAX: u64 = 10_000;
pub const HISTORY_AGE_MAX_MS: i64 = 30 * 86_400_000;

/// Written into the file; a higher one was written by a newer program.
const VERSION: i64 = 1;

pub(super) const META: TableDefinition<&str, i64> = TableDefinition::new("meta");
/// (rule, alert) → [`AlertRecord`]
const ALERTS: TableDefinition<(u64, u64), &[u8]> = TableDefinition::new("alerts");
/// (receiver, alert) → [`SentRecord`]
const SENT: TableDefinition<(&str, u64), &[u8]> = TableDefinition::new("sent");
/// (time in ms, running number) → [`HistoryRecord`]
const HISTORY: TableDefinition<(i64, u64), &[u8]> = TableDefinition::new("history");

/// Name → value of labels or annotations.
pub type Pairs = BTreeMap<String, String>;

/// An alert as it was after its last change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertRecord {
    pub state: RecordState,
    pub labels: Pairs,
    pub annotations: Pairs,
    #[serde(with = "float")]
    pub value: f64,
    pub active_at_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fired_at_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_firing_since_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at_ms: Option<i64>,
}

/// The states that are stored; an inactive alert is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordState {
    Inactive,
    Pending,
    Firing,
    Resolved,
}

/// A firing notice that a receiver took, whose resolved notice it has not taken
/// yet. Holds all that the resolved notice needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SentRecord {
    pub rule: String,
    pub labels: Pairs,
    pub annotations: Pairs,
    #[serde(with = "float")]
    pub value: f64,
    pub fired_at_ms: i64,
    pub sent_at_ms: i64,
}

/// One change of an alert's state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryRecord {
    pub at_ms: i64,
    pub rule: String,
    pub labels: Pairs,
    pub from: RecordState,
    pub to: RecordState,
    #[serde(with = "float")]
    pub value: f64,
}

/// What one evaluation changed; saved as a whole or not at all.
#[derive(Clone, Debug, Default)]
pub struct AlertChanges {
    pub evaluated_at_ms: i64,
    /// All stored alerts go; only those in `put` are there afterwards.
    pub replace_all: bool,
    /// ((rule, alert), record)
    pub put: Vec<((u64, u64), AlertRecord)>,
    pub remove: Vec<(u64, u64)>,
    pub history: Vec<HistoryRecord>,
}

/// What was stored of the alerts.
#[derive(Clone, Debug, Default)]
pub struct SavedAlerts {
    /// `None` before the first evaluation ever.
    pub evaluated_at_ms: Option<i64>,
    pub alerts: Vec<((u64, u64), AlertRecord)>,
}

/// Why the state can not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{} is in use by another process; stop it or choose another data directory", .0.display())]
    InUse(PathBuf),
    #[error("{FILE_NAME} has version {found}, newer than this program's {VERSION}; run the newer program")]
    Newer { found: i64 },
    #[error("cannot move the damaged {} aside: {source}", path.display())]
    MoveAside { path: PathBuf, source: std::io::Error },
    #[error("cannot open {}: {source}", path.display())]
    Open { path: PathBuf, source: Box<redb::Error> },
    #[error("state database: {0}")]
    Database(#[source] Box<redb::Error>),
    #[error("state database: cannot write a record: {0}")]
    Encode(#[from] serde_json::Error),
}

impl Error {
    /// The disk failed; the same may work later.
    pub fn is_io(&self) -> bool {
        matches!(self, Error::Database(error) if matches!(**error, redb::Error::Io(_) | redb::Error::PreviousIo))
    }
}

/// The open file. One writer at a time: a second waits.
#[derive(Debug)]
pub struct StateStore {
    pub(super) file: StateFile,
}

impl StateStore {
    /// Opens or creates the file at `path`; its folder must exist.
    pub fn open(path: &Path) -> Result<Self, Error> {
        StateFile::open(path, prepare).map(|file| StateStore { file })
    }

    /// A store that forgets everything when it is dropped.
    pub fn in_memory() -> Result<Self, Error> {
        StateFile::in_memory(prepare).map(|file| StateStore { file })
    }

    /// Where a damaged file went when this one was opened.
    pub fn moved_aside(&self) -> Option<&Path> {
        self.file.moved_aside()
    }

    /// All alerts, and when they were last evaluated.
    pub fn alerts(&self) -> Result<SavedAlerts, Error> {
        self.file.with(|database| {
            let read = database.begin_read().map_err(database_error)?;
            let meta = read.open_table(META).map_err(database_error)?;
            let evaluated = meta.get("evaluated_at_ms").map_err(database_error)?;
            let mut saved =
                SavedAlerts { evaluated_at_ms: evaluated.map(|at| at.value()), alerts: Vec::new() };
            let table = read.open_table(ALERTS).map_err(database_error)?;
            for row in table.iter().map_err(database_error)? {
                let (key, value) = row.map_err(database_error)?;
                if let Some(record) = decode("alerts", value.value()) {
                    saved.alerts.push((key.value(), record));
                }
            }
            Ok(saved)
        })
    }

    /// Writes what one evaluation changed, and drops history that is too old or too much.
    pub fn save_alerts(&self, changes: &AlertChanges) -> Result<(), Error> {
        self.file.with(|database| {
            let write = database.begin_write().map_err(database_error)?;
            {
                let mut meta = write.open_table(META).map_err(database_error)?;
                meta.insert("evaluated_at_ms", changes.evaluated_at_ms).map_err(database_error)?;
                let mut alerts = write.open_table(ALERTS).map_err(database_error)?;
                if changes.replace_all {
                    alerts.retain(|_, _| false).map_err(database_error)?;
                }
                for key in &changes.remove {
                    alerts.remove(key).map_err(database_error)?;
                }
                for (key, record) in &changes.put {
                    alerts.insert(key, &*serde_json::to_vec(record)?).map_err(database_error)?;
                }
                if !changes.history.is_empty() {
                    let mut history = write.open_table(HISTORY).map_err(database_error)?;
                    // Counted apart from the keys, whose order a clock that was set back disturbs.
                    let stored =
                        meta.get("history_number").map_err(database_error)?.map(|number| number.value());
                    let mut number = stored.unwrap_or(0);
                    for record in &changes.history {
                        number += 1;
                        history
                            .insert((record.at_ms, number as u64), &*serde_json::to_vec(record)?)
                            .map_err(database_error)?;
                    }
                    meta.insert("history_number", number).map_err(database_error)?;
                    let oldest = changes.evaluated_at_ms.saturating_sub(HISTORY_AGE_MAX_MS);
                    history.retain_in(..(oldest, 0), |_, _| false).map_err(database_error)?;
                    while history.len().map_err(database_error)? > HISTORY_ENTRIES_MAX {
                        history.pop_first().map_err(database_error)?;
                    }
                }
            }
            write.commit().map_err(database_error)
        })
    }

    /// The newest `limit` entries of the history, oldest first.
    pub fn history(&self, limit: usize) -> Result<Vec<HistoryRecord>, Error> {
        self.file.with(|database| {
            let read = database.begin_read().map_err(database_error)?;
            let table = read.open_table(HISTORY).map_err(database_error)?;
            let mut records = Vec::new();
            for row in table.iter().map_err(database_error)?.rev().take(limit) {
                let (_, value) = row.map_err(database_error)?;
                records.extend(decode("history", value.value()));
            }
            records.reverse();
            Ok(records)
        })
    }

    /// What `receiver` was told and not yet told the end of: (alert, record).
    pub fn sent(&self, receiver: &str) -> Result<Vec<(u64, SentRecord)>, Error> {
        self.file.with(|database| {
            let read = database.begin_read().map_err(database_error)?;
            let table = read.open_table(SENT).map_err(database_error)?;
            let mut records = Vec::new();
            for row in table.range((receiver, 0)..=(receiver, u64::MAX)).map_err(database_error)? {
                let (key, value) = row.map_err(database_error)?;
                if let Some(record) = decode("sent", value.value()) {
                    records.push((key.value().1, record));
                }
            }
            Ok(records)
        })
    }

    /// Writes what one message to `receiver` told: firing alerts are put,
    /// resolved ones removed.
    pub fn save_sent(&self, receiver: &str, put: &[(u64, SentRecord)], remove: &[u64]) -> Result<(), Error> {
        self.file.with(|database| {
            let write = database.begin_write().map_err(database_error)?;
            {
                let mut sent = write.open_table(SENT).map_err(database_error)?;
                for alert in remove {
                    sent.remove((receiver, *alert)).map_err(database_error)?;
                }
                for (alert, record) in put {
                    sent.insert((receiver, *alert), &*serde_json::to_vec(record)?).map_err(database_error)?;
                }
            }
            write.commit().map_err(database_error)
        })
    }

    /// Drops the sent log of receivers other than `receivers`; how many entries.
    pub fn retain_receivers(&self, receivers: &[&str]) -> Result<u64, Error> {
        self.file.with(|database| {
            let write = database.begin_write().map_err(database_error)?;
            let dropped = {
                let mut sent = write.open_table(SENT).map_err(database_error)?;
                let before = sent.len().map_err(database_error)?;
                sent.retain(|(receiver, _), _| receivers.contains(&receiver)).map_err(database_error)?;
                before.saturating_sub(sent.len().map_err(database_error)?)
            };
            if dropped == 0 {
                write.abort().map_err(database_error)?;
            } else {
                write.commit().map_err(database_error)?;
            }
            Ok(dropped)
        })
    }
}

/// Floats as text, since JSON knows neither NaN nor infinities.
mod float {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Creates the tables that are missing and looks at the version.
fn prepare(database: &Database) -> Result<(), Refusal> {
    let found = create_tables(database).map_err(|error| Refusal::Failed(database_error(error)))?;
    if found > VERSION {
        return Err(Refusal::Failed(Error::Newer { found }));
    }
    Ok(())
}

/// The version that the file has.
fn create_tables(database: &Database) -> Result<i64, redb::Error> {
    let write = database.begin_write()?;
    let version = {
        let mut meta = write.open_table(META)?;
        let found = meta.get("version")?.map(|version| version.value());
        match found {
            Some(version) => {
                if version <= VERSION {
                    // Came later than the version: files without it are good.
                    write.open_table(MARKERS)?;
                }
                version
            }
            None => {
                write.open_table(MARKERS)?;
                meta.insert("version", VERSION)?;
                write.open_table(ALERTS)?;
                write.open_table(SENT)?;
                write.open_table(HISTORY)?;
                VERSION
            }
        }
    };
    write.commit()?;
    Ok(version)
}

/// A row, unless it can not be read: then the rest still can.
pub(super) fn decode<T: for<'de> Deserialize<'de>>(table: &str, bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes)
        .inspect_err(|error| tracing::warn!(table, %error, "skipped a row of the state database"))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(name: &str) -> Pairs {
        Pairs::from([("alertname".into(), name.into())])
    }

    fn alert(name: &str, value: f64) -> AlertRecord {
        AlertRecord {
            state: RecordState::Firing,
            labels: pairs(name),
            annotations: Pairs::new(),
            value,
            active_at_ms: 1,
            fired_at_ms: Some(2),
            keep_firing_since_ms: None,
            resolved_at_ms: None,
        }
    }

    fn sent(name: &str) -> SentRecord {
        SentRecord {
            rule: name.into(),
            labels: pairs(name),
            annotations: Pairs::new(),
            value: 1.5,
            fired_at_ms: 2,
            sent_at_ms: 3,
        }
    }

    fn history(at_ms: i64) -> HistoryRecord {
        HistoryRecord {
            at_ms,
            rule: "r".into(),
            labels: pairs("r"),
            from: RecordState::Inactive,
            to: RecordState::Firing,
            value: f64::INFINITY,
        }
    }

    #[test]
    fn what_was_saved_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        {
            let store = StateStore::open(&path).unwrap();
            assert_eq!(store.alerts().unwrap().evaluated_at_ms, None);
            let put = vec![((1, 2), alert("a", f64::NAN)), ((1, 3), alert("b", f64::NEG_INFINITY))];
            let history = vec![history(10), history(10)];
            store
                .save_alerts(&AlertChanges { evaluated_at_ms: 10, put, history, ..Default::default() })
                .unwrap();
            let changes = AlertChanges { evaluated_at_ms: 20, remove: vec![(1, 3)], ..Default::default() };
            store.save_alerts(&changes).unwrap();
            store.save_sent("on-call", &[(7, sent("a")), (8, sent("b"))], &[]).unwrap();
            store.save_sent("on-call", &[], &[8]).unwrap();
            store.save_sent("on-call-2", &[(9, sent("c"))], &[]).unwrap();
        }
        let store = StateStore::open(&path).unwrap();
        assert_eq!(store.moved_aside(), None);
        let saved = store.alerts().unwrap();
        assert_eq!(saved.evaluated_at_ms, Some(20));
        assert_eq!(saved.alerts.len(), 1);
        assert_eq!(saved.alerts[0].0, (1, 2));
        assert!(saved.alerts[0].1.value.is_nan());
        assert_eq!(store.history(10).unwrap(), [history(10), history(10)]);
        assert_eq!(store.sent("on-call").unwrap(), [(7, sent("a"))]);
        assert_eq!(store.sent("on").unwrap(), []);
        assert_eq!(store.retain_receivers(&["on-call"]).unwrap(), 1);
        assert_eq!(store.sent("on-call-2").unwrap(), []);
        assert_eq!(store.sent("on-call").unwrap().len(), 1);
    }

    #[test]
    fn history_is_bounded_by_age_and_number() {
        let store = StateStore::in_memory().unwrap();
        let changes =
            |evaluated_at_ms, history| AlertChanges { evaluated_at_ms, history, ..Default::default() };
        store.save_alerts(&changes(0, (0..50).map(history).collect())).unwrap();
        assert_eq!(store.history(1_000).unwrap().len(), 50);
        assert_eq!(store.history(2).unwrap(), [history(48), history(49)]);

        let late = HISTORY_AGE_MAX_MS + 40;
        store.save_alerts(&changes(late, vec![history(late)])).unwrap();
        assert_eq!(store.history(1_000).unwrap().len(), 11);

        let many = HISTORY_ENTRIES_MAX as i64 + 5;
        store.save_alerts(&changes(late, (0..many).map(|n| history(late + n)).collect())).unwrap();
        assert_eq!(store.history(usize::MAX).unwrap().len() as u64, HISTORY_ENTRIES_MAX);
    }

    #[test]
    fn a_damaged_file_is_moved_aside_and_the_daemon_starts() {
        type Damage = fn(&Path);
        let damages: [(&str, Damage); 4] = [
            ("other content", |path| std::fs::write(path, vec![b'x'; 8192]).unwrap()),
            ("short garbage", |path| std::fs::write(path, b"hello").unwrap()),
            ("cut in half", |path| {
                let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
                file.set_len(file.metadata().unwrap().len() / 2).unwrap();
            }),
            ("header overwritten", |path| {
                let mut bytes = std::fs::read(path).unwrap();
                bytes[..64].fill(0xff);
                std::fs::write(path, bytes).unwrap();
            }),
        ];
        for (name, damage) in damages {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(FILE_NAME);
            drop(StateStore::open(&path).unwrap());
            damage(&path);
            let store = StateStore::open(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
            let aside = store.moved_aside().unwrap_or_else(|| panic!("{name}: not moved"));
            assert!(aside.exists(), "{name}");
            assert_eq!(store.alerts().unwrap().alerts, [], "{name}");
            store.save_sent("r", &[(1, sent("a"))], &[]).unwrap();
        }
    }

    #[test]
    fn a_file_in_use_or_of_a_newer_version_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        let store = StateStore::open(&path).unwrap();
        assert!(matches!(StateStore::open(&path), Err(Error::InUse(_))));
        let newer = store.file.with(|database| {
            let write = database.begin_write().unwrap();
            write.open_table(META).unwrap().insert("version", 99).unwrap();
            write.commit().map_err(database_error)
        });
        newer.unwrap();
        drop(store);
        let error = StateStore::open(&path).unwrap_err().to_string();
        assert!(error.contains("version 99"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
