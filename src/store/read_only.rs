//! Another backend's files, for reading alone: what would change them is not
//! done. A store opened through it may be read while a daemon writes.
//!
//! It sees what was there when it was opened. The lock is not taken, since
//! nothing is at stake; appending fails.

use super::backend::{Backend, File};
use std::any::Any;
use std::io;
use std::path::Path;

/// See the module's head.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadOnly<B>(pub B);

/// A file that nothing is written to.
pub(super) struct ReadOnlyFile(pub(super) Box<dyn File>);

impl<B: Backend> Backend for ReadOnly<B> {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        // It is there, or there is nothing to read.
        self.0.list(dir).map(drop)
    }

    fn lock(&self, _: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        Ok(Some(Box::new(())))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.0.list(dir)
    }

    fn create(&self, _: &Path) -> io::Result<Box<dyn File>> {
        Err(refused())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(Box::new(ReadOnlyFile(self.0.open(path)?)))
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(refused())
    }

    /// An unfinished file is somebody's who may be writing it: it stays.
    fn remove(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn is_read_only(&self) -> bool {
        true
    }
}

impl File for ReadOnlyFile {
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(refused())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    /// The end of the log is being written, or is cut away by the next daemon.
    fn truncate(&self, _: u64) -> io::Result<()> {
        Ok(())
    }
}

fn refused() -> io::Error {
    io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "it is open for reading alone")
}
