//! Why the store could not do what it was asked to.

use std::io;
use std::path::{Path, PathBuf};

/// What went wrong in the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("data directory {} is in use by another statsdeck: stop that one or set another data_dir", dir.display())]
    Locked { dir: PathBuf },
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// At a start, which needs the whole log and the outlines of blocks.
    #[error(
        "cannot {action} {}: {source}: the disk fails there. To start all the same, put a copy of it there, as \
         long and with zeros where it cannot be read, or move it elsewhere, which goes without what is in it: see \
         docs/storage.md",
        path.display()
    )]
    Unread { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{} has format version {found}, this statsdeck reads up to {known}: use a newer one", path.display())]
    Version { path: PathBuf, found: u32, known: u32 },
    /// The window, or a later one, was written before. Nothing was written.
    #[error("window ending at {end_ms} ms is not after the last written one, {last_end_ms} ms")]
    OutOfOrder { end_ms: i64, last_end_ms: i64 },
    #[error("batch of the window ending at {end_ms} ms cannot be written: {reason}")]
    Batch { end_ms: i64, reason: &'static str },
    #[error("the query selects more than {limit} {what}; narrow the selector or the time range")]
    Limit { what: &'static str, limit: usize },
    #[error("store option {key}: {reason}")]
    Options { key: &'static str, reason: &'static str },
    #[error("block {} does not read back as it was written: {reason}", path.display())]
    Verify { path: PathBuf, reason: String },
    /// Of a store that is open for reading alone: a daemon put others in the place
    /// of the file, or dropped it. Who opens the store anew sees what there is.
    #[error("{} went away while the data was read; run it again", path.display())]
    Gone { path: PathBuf },
    /// Who asked for it wants no more of it. Nothing was written.
    #[error("stopped before it was done")]
    Stopped,
}

impl Error {
    /// Whether there was no room on the disk. The same call may succeed later.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Error::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            _ => false,
        }
    }

    /// Whether it tells of a disk that fails.
    pub(super) fn is_of_disk(&self) -> bool {
        matches!(self, Error::Io { source, .. } if is_of_disk(source))
    }

    /// As a start tells it.
    pub(super) fn at_start(self) -> Error {
        match self {
            Error::Io { action: action @ ("open" | "read" | "measure"), path, source }
                if is_of_disk(&source) =>
            {
                Error::Unread { action, path, source }
            }
            other => other,
        }
    }

    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io { action, path: path.into(), source }
    }
}

/// Not of what is gone, no file or not understood, nor of what the process may do or
/// has left.
fn is_of_disk(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, IsADirectory, NotFound, OutOfMemory, PermissionDenied, Unsupported};
    let is_other = matches!(
        error.kind(),
        Interrupted | IsADirectory | NotFound | OutOfMemory | PermissionDenied | Unsupported
    );
    !is_other && !matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}
