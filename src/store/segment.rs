//! A segment of the log as its readers know it: its file, and which series its
//! frames speak of.

use super::backend::{Backend, File};
use super::error::Error;
use super::frame::Frame;
use super::id_set::IdSet;
use super::salvage::Salvage;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// See the module's head. Shared by the log, the head and queries.
pub(super) struct Segment {
    path: PathBuf,
    /// Kept open, so that a name that goes away does not matter; of many
    /// segments only the newest are.
    file: Option<Arc<dyn File>>,
    series: RwLock<IdSet>,
    /// Counts frames that turned out to be damaged.
    losses: Arc<AtomicU64>,
    /// Blocks were written without what could not be read of it.
    unreadable: AtomicBool,
}

impl Segment {
    pub(super) fn new(path: PathBuf, file: Option<Arc<dyn File>>, losses: Arc<AtomicU64>) -> Self {
        Segment { path, file, series: RwLock::default(), losses, unreadable: AtomicBool::new(false) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Its file.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub(super) fn file(&self, backend: &dyn Backend) -> Result<Arc<dyn File>, Error> {
        match &self.file {
            Some(file) => Ok(Arc::clone(file)),
            None => backend.open(&self.path).map(Arc::from).map_err(Error::io("open", &self.path)),
        }
    }

    /// The series that its frames speak of, as of now.
    pub(super) fn series(&self) -> IdSet {
        self.series.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn add(&self, ids: &IdSet) {
        self.series.write().unwrap_or_else(PoisonError::into_inner).unite(ids);
    }

    pub(super) fn note_loss(&self) {
        self.losses.fetch_add(1, Ordering::Relaxed);
    }

    /// From now on its file is to be kept when its windows are in blocks.
    pub(super) fn note_unreadable(&self) {
        self.unreadable.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_unreadable(&self) -> bool {
        self.unreadable.load(Ordering::Relaxed)
    }

    /// Bytes of memory.
    pub(super) fn memory(&self) -> usize {
        size_of::<Self>() + self.series.read().unwrap_or_else(PoisonError::into_inner).memory()
    }
}

/// Where the file of a frame is.
pub(super) enum FrameFile {
    There(Arc<dyn File>),
    /// It is gone, and reported: what was in it is left out.
    Reported,
    Gone,
}

/// The files of frames that are read one after the other.
#[derive(Default)]
pub(super) struct Files {
    segment: Option<Arc<Segment>>,
    file: Option<Arc<dyn File>>,
    salvage: Option<Arc<Salvage>>,
}

impl Files {
    /// Files whose reads do not fail, when there is a salvage.
    pub(super) fn new(salvage: Option<Arc<Salvage>>) -> Self {
        Files { salvage, ..Files::default() }
    }

    /// The file of the segment; `None` when it is gone.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Gone`] where another process removes segments.
    pub(super) fn of(
        &mut self,
        backend: &dyn Backend,
        segment: &Arc<Segment>,
    ) -> Result<Option<Arc<dyn File>>, Error> {
        if self.segment.as_ref().is_some_and(|last| Arc::ptr_eq(last, segment)) {
            return Ok(self.file.clone());
        }
        let opened = match &self.salvage {
            Some(salvage) => salvage.file(segment, || segment.file(backend)),
            None => segment.file(backend),
        };
        self.file = match opened {
            Ok(file) => Some(file),
            Err(Error::Io { source, path, .. }) if source.kind() == io::ErrorKind::NotFound => {
                if backend.is_read_only() {
                    return Err(Error::Gone { path });
                }
                None
            }
            Err(error) => return Err(error),
        };
        self.segment = Some(segment.clone());
        Ok(self.file.clone())
    }

    /// The file of a frame. One that is gone is reported as damage, if it is
    /// one: else who reads begins anew, as what was in it is a block by now.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub(super) fn of_frame(
        &mut self,
        backend: &dyn Backend,
        frame: &Frame,
        gone_is_damage: bool,
    ) -> Result<FrameFile, Error> {
        Ok(match self.of(backend, frame.segment())? {
            Some(file) => FrameFile::There(file),
            None if gone_is_damage => {
                frame.report_damaged();
                FrameFile::Reported
            }
            None => FrameFile::Gone,
        })
    }
}
