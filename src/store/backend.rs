//! The few things that the store asks of a file system, so that tests can
//! fail, tear or forget any of them.
//!
//! A write may be lost until its file was synced; a created, renamed or
//! removed name until its directory was.

use super::read_only::ReadOnlyFile;
use std::any::Any;
use std::fs;
use std::io;
use std::path::Path;

/// A file system.
pub trait Backend: Send + Sync {
    /// Makes `dir` and what is missing above it, durable.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes the lock of `path`; it is held until the answer is dropped.
    /// `None` when another holds it.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>>;
    /// Names of the files in `dir`, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// A new, empty file; one that is there is emptied.
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// A file that is there, for reading and writing; where it may only be read,
    /// writing to it fails.
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Gives `from` the name `to`, replacing what had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a name; who has the file open can read on.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Whether nothing is changed through it: what a start would mend stays.
    fn is_read_only(&self) -> bool {
        false
    }
}

/// An open file.
pub trait File: Send + Sync {
    /// Length in bytes.
    fn size(&self) -> io::Result<u64>;
    /// Fills all of `buffer` from `offset` on.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`; after an error any part of them may
    /// be there.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes the file's bytes and length durable.
    fn sync(&self) -> io::Result<()>;
    /// Cuts the file to `length` bytes.
    fn truncate(&self, length: u64) -> io::Result<()>;
}

/// Removes a name; one that is gone is no error: an earlier try or somebody else
/// was there before, or the removal failed when it was done.
pub(super) fn remove_if_there(backend: &dyn Backend, path: &Path) -> io::Result<()> {
    let is_gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    match backend.remove(path) {
        Err(error) if is_gone(&error) => Ok(()),
        // What is still counted costs blocks their room.
        Err(_) if backend.open(path).is_err_and(|error| is_gone(&error)) => Ok(()),
        other => other,
    }
}

/// The machine's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct FsBackend;

impl Backend for FsBackend {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let new: Vec<&Path> = dir.ancestors().take_while(|dir| !dir.exists()).collect();
        fs::create_dir_all(dir)?;
        for parent in new.into_iter().filter_map(Path::parent) {
            match self.sync_dir(parent) {
                // What may be written to and not be read cannot be synced.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                synced => synced?,
            }
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(path);
        let file = or_to_read(path, file)?.0;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            // A name that is no UTF-8 is none of ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let file = fs::OpenOptions::new().create(true).truncate(true).read(true).write(true).open(path)?;
        Ok(Box::new(file))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let (file, may_write) = or_to_read(path, fs::OpenOptions::new().read(true).write(true).open(path))?;
        Ok(if may_write { Box::new(file) } else { Box::new(ReadOnlyFile(Box::new(file))) })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        // The parent of a plain relative name is the empty path.
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        fs::File::open(dir)?.sync_all()
    }
}

/// A file, and whether it may be written to: a disk that fails is mounted for
/// reading alone, and somebody else's directory can be looked at.
fn or_to_read(path: &Path, opened: io::Result<fs::File>) -> io::Result<(fs::File, bool)> {
    match opened {
        Err(error) if is_not_to_write(&error) => {
            fs::File::open(path).map(|file| (file, false)).or(Err(error))
        }
        opened => opened.map(|file| (file, true)),
    }
}

fn is_not_to_write(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

impl File for fs::File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(self, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}
