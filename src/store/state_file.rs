//! The redb file below `state.rs`: opened, moved aside when it is damaged, and
//! opened again after a failed write, since redb then refuses all further ones
//! (a disk that was full for a minute must not silence the state for good).
//! Knows nothing of what the tables hold.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use super::backend::{Backend, FsBackend};
use super::state::Error;
use redb::{Database, DatabaseError, StorageError};

/// The tables hold a few thousand small rows; redb's own default is 1 GiB.
const CACHE_BYTES: usize = 4 << 20;

/// Checks and creates the tables of a database that was just opened.
pub type Prepare = fn(&Database) -> Result<(), Refusal>;

/// Opens the database, the first time and after a failure.
type Open = Box<dyn Fn() -> Result<Database, Refusal> + Send + Sync>;

/// Why a database can not be used.
pub enum Refusal {
    /// It holds nothing that can be read.
    Damaged(String),
    /// It may be fine.
    Failed(Error),
}

/// An open database.
pub struct StateFile {
    /// `None` between a failed write and the next attempt.
    database: RwLock<Option<Database>>,
    open: Open,
    moved_aside: Option<PathBuf>,
}

impl StateFile {
    /// Opens or creates the file at `path`; a damaged one makes room for a new one.
    pub fn open(path: &Path, prepare: Prepare) -> Result<Self, Error> {
        let owned = path.to_owned();
        let open: Open = Box::new(move || open_checked(&owned, prepare));
        let (database, moved_aside) = match open() {
            Ok(database) => (database, None),
            Err(Refusal::Failed(error)) => return Err(error),
            Err(Refusal::Damaged(reason)) => {
                let aside = move_aside(&FsBackend, path)
                    .map_err(|source| Error::MoveAside { path: path.into(), source })?;
                tracing::error!(
                    file = %path.display(), moved_to = %aside.display(), reason,
                    "the state file is damaged: begun anew; alerts that still fire are told once more"
                );
                (open().map_err(|refusal| refusal.into_error(path))?, Some(aside))
            }
        };
        // redb syncs the file it makes, not its name.
        FsBackend
            .sync_dir(folder(path))
            .map_err(|source| Error::Open { path: path.into(), source: Box::new(redb::Error::Io(source)) })?;
        Ok(StateFile { database: RwLock::new(Some(database)), open, moved_aside })
    }

    /// A database that forgets everything when it is dropped.
    pub fn in_memory(prepare: Prepare) -> Result<Self, Error> {
        StateFile::opened_by(Box::new(move || {
            let database = Database::builder()
                .set_cache_size(CACHE_BYTES)
                .create_with_backend(redb::backends::InMemoryBackend::new())
                .map_err(|error| Refusal::Failed(database_error(error)))?;
            prepare(&database)?;
            Ok(database)
        }))
    }

    fn opened_by(open: Open) -> Result<Self, Error> {
        let database = open().map_err(|refusal| refusal.into_error(Path::new("memory")))?;
        Ok(StateFile { database: RwLock::new(Some(database)), open, moved_aside: None })
    }

    pub fn moved_aside(&self) -> Option<&Path> {
        self.moved_aside.as_deref()
    }

    /// Runs `work`. After an I/O error the database is closed and the next call
    /// opens it again; what was committed is there.
    pub fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, Error>) -> Result<T, Error> {
        {
            let open = self.database.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(database) = &*open {
                let result = work(database);
                drop(open);
                if result.as_ref().is_err_and(Error::is_io) {
                    *self.database.write().unwrap_or_else(PoisonError::into_inner) = None;
                }
                return result;
            }
        }
        let mut slot = self.database.write().unwrap_or_else(PoisonError::into_inner);
        let database = match slot.take() {
            Some(database) => database,
            None => {
                (self.open)().map_err(|refusal| refusal.into_error(Path::new(super::state::FILE_NAME)))?
            }
        };
        let result = work(&database);
        if !result.as_ref().is_err_and(Error::is_io) {
            *slot = Some(database);
        }
        result
    }
}

impl Refusal {
    fn into_error(self, path: &Path) -> Error {
        match self {
            Refusal::Failed(error) => error,
            Refusal::Damaged(reason) => {
                Error::Open { path: path.into(), source: Box::new(redb::Error::Corrupted(reason)) }
            }
        }
    }
}

impl std::fmt::Debug for StateFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateFile").field("moved_aside", &self.moved_aside).finish_non_exhaustive()
    }
}

pub fn database_error(error: impl Into<redb::Error>) -> Error {
    Error::Database(Box::new(error.into()))
}

fn open_checked(path: &Path, prepare: Prepare) -> Result<Database, Refusal> {
    let opened = Database::builder()
        .set_cache_size(CACHE_BYTES)
        // Without it redb trusts a file that was closed cleanly, and may panic on a damaged one.
        .set_check_integrity_on_open(true)
        .create(path);
    let failed =
        |error: redb::Error| Refusal::Failed(Error::Open { path: path.into(), source: Box::new(error) });
    let database = opened.map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen => Refusal::Failed(Error::InUse(path.into())),
        DatabaseError::Storage(StorageError::Corrupted(reason)) => Refusal::Damaged(reason),
        DatabaseError::Storage(StorageError::Io(error))
            if matches!(
                error.kind(),
                std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::InvalidData
            ) =>
        {
            Refusal::Damaged(error.to_string())
        }
        error => failed(error.into()),
    })?;
    match prepare(&database) {
        Ok(()) => Ok(database),
        Err(Refusal::Failed(Error::Database(error))) => Err(match *error {
            redb::Error::Corrupted(reason) => Refusal::Damaged(reason),
            redb::Error::TableTypeMismatch { .. }
            | redb::Error::TypeDefinitionChanged { .. }
            | redb::Error::TableIsMultimap(_) => Refusal::Damaged(error.to_string()),
            error => failed(error),
        }),
        Err(refusal) => Err(refusal),
    }
}

/// Gives the file another name beside it, for good.
fn move_aside(backend: &dyn Backend, path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let taken = backend.list(folder(path))?;
    let mut aside = format!("{name}.damaged-1");
    // Ends: the folder holds fewer files than that.
    for number in 2u32.. {
        if !taken.contains(&aside) {
            break;
        }
        aside = format!("{name}.damaged-{number}");
    }
    let aside = path.with_file_name(aside);
    backend.rename(path, &aside)?;
    backend.sync_dir(folder(path))?;
    Ok(aside)
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryBackend;
    use redb::backends::InMemoryBackend;
    use redb::{ReadableDatabase, StorageBackend, TableDefinition};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    const NUMBERS: TableDefinition<u64, u64> = TableDefinition::new("numbers");

    /// Fails every write while it is told to.
    #[derive(Clone, Debug)]
    struct Disk {
        memory: Arc<InMemoryBackend>,
        full: Arc<AtomicBool>,
    }

    impl Disk {
        fn check(&self) -> io::Result<()> {
            match self.full.load(Ordering::Relaxed) {
                true => Err(io::ErrorKind::StorageFull.into()),
                false => Ok(()),
            }
        }
    }

    impl StorageBackend for Disk {
        fn len(&self) -> io::Result<u64> {
            self.memory.len()
        }
        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.memory.read(offset, out)
        }
        fn set_len(&self, len: u64) -> io::Result<()> {
            self.check()?;
            self.memory.set_len(len)
        }
        fn sync_data(&self) -> io::Result<()> {
            self.check()?;
            self.memory.sync_data()
        }
        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.check()?;
            self.memory.write(offset, data)
        }
    }

    fn save(file: &StateFile, number: u64) -> Result<(), Error> {
        file.with(|database| {
            let write = database.begin_write().map_err(database_error)?;
            write
                .open_table(NUMBERS)
                .map_err(database_error)?
                .insert(number, number)
                .map_err(database_error)?;
            write.commit().map_err(database_error)
        })
    }

    #[test]
    fn a_damaged_file_that_was_moved_aside_stays_there_after_a_crash() {
        let (path, aside) = (Path::new("/data/state.redb"), PathBuf::from("/data/state.redb.damaged-2"));
        for seed in 0..30 {
            let backend = MemoryBackend::new();
            backend.put(path, b"damaged");
            backend.put(Path::new("/data/state.redb.damaged-1"), b"long ago");
            assert_eq!(move_aside(&backend, path).unwrap(), aside);
            let files = backend.crashed(seed).files();
            assert!(files.contains(&(aside.clone(), b"damaged".to_vec())), "seed {seed}");
            assert_eq!(files.len(), 2, "seed {seed}");
        }
    }

    #[test]
    fn a_disk_that_was_full_is_written_again_when_there_is_room() {
        let disk = Disk { memory: Arc::new(InMemoryBackend::new()), full: Arc::default() };
        let full = Arc::clone(&disk.full);
        let open = move || {
            Database::builder()
                .create_with_backend(disk.clone())
                .map_err(|error| Refusal::Failed(database_error(error)))
        };
        let file = StateFile::opened_by(Box::new(open)).unwrap();
        save(&file, 1).unwrap();
        for _ in 0..3 {
            full.store(true, Ordering::Relaxed);
            assert!(save(&file, 2).unwrap_err().is_io());
            assert!(save(&file, 2).is_err());
            full.store(false, Ordering::Relaxed);
            // The first call may still find the database as it failed.
            assert!(save(&file, 3).or_else(|_| save(&file, 3)).is_ok());
        }
        let has = |number| {
            file.with(|database| {
                let read = database.begin_read().map_err(database_error)?;
                let table = read.open_table(NUMBERS).map_err(database_error)?;
                Ok(table.get(number).map_err(database_error)?.is_some())
            })
        };
        assert!(has(1).unwrap() && has(3).unwrap());
    }
}
