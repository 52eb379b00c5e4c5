//! The folder for what was damaged: files as they were, each under a name that
//! nothing there had. Nothing in it is ever changed or deleted, nor counted in a
//! limit: how much it is, is told by who looks at the directory.

use super::backend::Backend;
use super::error::Error;
use std::io;
use std::path::{Path, PathBuf};

/// Name of the folder, in the data directory.
pub const DAMAGED_DIR: &str = "damaged";

/// What is in the folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Aside {
    pub files: u64,
    pub bytes: u64,
}

/// How much is there.
///
/// # Errors
/// [`Error::Io`] when it cannot be listed.
pub(super) fn measured(backend: &dyn Backend, dir: &Path) -> Result<Aside, Error> {
    let aside = dir.join(DAMAGED_DIR);
    let names = names(backend, &aside)?;
    // What the disk does not open or measure is a file all the same.
    let size = |name| backend.open(&aside.join(name)).and_then(|file| file.size()).unwrap_or_default();
    Ok(Aside { files: names.len() as u64, bytes: names.iter().map(size).sum() })
}

/// Names in the folder, none where it is not there.
fn names(backend: &dyn Backend, aside: &Path) -> Result<Vec<String>, Error> {
    match backend.list(aside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map_err(Error::io("list", aside)),
    }
}

/// Its path; from now on it is there.
pub(super) fn made(backend: &dyn Backend, dir: &Path) -> Result<PathBuf, Error> {
    let aside = dir.join(DAMAGED_DIR);
    backend.create_dir(&aside).map_err(Error::io("create", &aside))?;
    backend.sync_dir(dir).map_err(Error::io("sync", dir))?;
    Ok(aside)
}

/// Moves a file of `dir` there; returns where it is now.
pub(super) fn set_aside(backend: &dyn Backend, dir: &Path, name: &str) -> Result<PathBuf, Error> {
    let aside = made(backend, dir)?;
    let (path, kept_as) = (dir.join(name), free_place(backend, &aside, name, |_| Ok(false))?.0);
    backend.rename(&path, &kept_as).map_err(Error::io("rename to", &kept_as))?;
    backend.sync_dir(&aside).map_err(Error::io("sync", &aside))?;
    backend.sync_dir(dir).map_err(Error::io("sync", dir))?;
    Ok(kept_as)
}

/// The same of a file that an earlier try may have moved.
pub(super) fn set_aside_if_there(backend: &dyn Backend, dir: &Path, name: &str) -> Result<(), Error> {
    let names = backend.list(dir).map_err(Error::io("list", dir))?;
    if names.iter().any(|there| there == name) {
        let kept_as = set_aside(backend, dir, name)?;
        tracing::warn!(kept_as = %kept_as.display(), "a damaged file was put aside");
    } else {
        let aside = made(backend, dir)?;
        backend.sync_dir(&aside).map_err(Error::io("sync", &aside))?;
    }
    Ok(())
}

/// A path in `aside` that nothing has, or else the first that `serves`.
pub(super) fn free_place(
    backend: &dyn Backend,
    aside: &Path,
    name: &str,
    serves: impl Fn(&str) -> Result<bool, Error>,
) -> Result<(PathBuf, bool), Error> {
    let taken = names(backend, aside)?;
    let mut place = name.to_owned();
    for number in 1u32.. {
        if !taken.contains(&place) {
            break;
        }
        if serves(&place)? {
            return Ok((aside.join(place), true));
        }
        place = format!("{name}.{number}");
    }
    Ok((aside.join(place), false))
}
