//! What can be read of the log where places of it never can be again, or whole
//! files: those read as zeros, so that checksums tell what they cost, as with any
//! other damage.
//!
//! For one try of one block. What turned out to be unreadable is not asked of the
//! disk again meanwhile: it may take its time to fail.

use super::backend::File;
use super::error::Error;
use super::segment::Segment;
use crate::lock::lock;
use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};

/// A disk fails by pages of so many bytes, at multiples of it.
const PAGE_BYTES: u64 = 4096;

/// See the module's head.
#[derive(Default)]
pub(super) struct Salvage {
    files: Mutex<Vec<(Arc<Segment>, Arc<Salvaged>)>>,
}

/// A file whose reads do not fail.
pub(super) struct Salvaged {
    /// `None` where it cannot be opened.
    file: Option<Arc<dyn File>>,
    /// Numbers of the pages that cannot be read.
    bad: Mutex<BTreeSet<u64>>,
}

impl Salvage {
    /// The file of a segment, opened once.
    ///
    /// # Errors
    /// Those of `open` that are not the disk's: it may be opened another time.
    pub(super) fn file(
        &self,
        segment: &Arc<Segment>,
        open: impl FnOnce() -> Result<Arc<dyn File>, Error>,
    ) -> Result<Arc<dyn File>, Error> {
        let mut files = lock(&self.files);
        if let Some((_, file)) = files.iter().find(|(known, _)| Arc::ptr_eq(known, segment)) {
            return Ok(file.clone());
        }
        let file = match open() {
            Err(error) if error.is_of_disk() => None,
            opened => Some(opened?),
        };
        let file = Arc::new(Salvaged { file, bad: Mutex::default() });
        files.push((segment.clone(), file.clone()));
        Ok(file)
    }

    /// Tells what could not be read, once; the files that it is in are to be kept.
    pub(super) fn report(&self) {
        for (segment, file) in &*lock(&self.files) {
            if file.file.is_none() {
                segment.note_unreadable();
                let path = segment.path().display();
                tracing::error!(%path, "a file of the log cannot be opened; the block is written without it");
                continue;
            }
            let bad = lock(&file.bad);
            let Some(first) = bad.first() else { continue };
            segment.note_unreadable();
            tracing::error!(
                path = %segment.path().display(),
                offset = first * PAGE_BYTES,
                bytes = bad.len() as u64 * PAGE_BYTES,
                "places of the log cannot be read, from this offset on; the block is written without what stood there"
            );
        }
    }
}

impl File for Salvaged {
    fn size(&self) -> io::Result<u64> {
        self.file.as_ref().map_or_else(not_there, |file| file.size())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let Some(file) = &self.file else {
            buffer.fill(0);
            return Ok(());
        };
        let mut bad = lock(&self.bad);
        let end = offset.saturating_add(buffer.len() as u64);
        let is_known = bad.range(offset / PAGE_BYTES..end.div_ceil(PAGE_BYTES)).next().is_some();
        if !is_known && file.read_at(buffer, offset).is_ok() {
            return Ok(());
        }
        let (mut at, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let page = at / PAGE_BYTES;
            let in_page = (PAGE_BYTES - at % PAGE_BYTES) as usize;
            let (part, behind) = rest.split_at_mut(in_page.min(rest.len()));
            if bad.contains(&page) || file.read_at(part, at).is_err() {
                bad.insert(page);
                part.fill(0);
            }
            at += part.len() as u64;
            rest = behind;
        }
        Ok(())
    }

    fn write_at(&self, _bytes: &[u8], _offset: u64) -> io::Result<()> {
        not_there()
    }

    fn sync(&self) -> io::Result<()> {
        not_there()
    }

    fn truncate(&self, _length: u64) -> io::Result<()> {
        not_there()
    }
}

/// It is there to be read.
fn not_there<T>() -> io::Result<T> {
    Err(io::ErrorKind::Unsupported.into())
}
