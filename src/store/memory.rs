//! A file system in memory that fails, tears and forgets as told: what a real
//! one does on its worst day, at a chosen moment. For tests.

use super::backend::{Backend, File};
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A file system in memory; clones are the same one.
#[derive(Clone, Default)]
pub struct MemoryBackend {
    disk: Arc<Mutex<Disk>>,
}

/// What happens to an operation that changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails and does nothing.
    Fail,
    /// It fails after the first half of a write; else as [`Fault::Fail`].
    Tear,
    /// It does all it should and fails all the same.
    Deny,
}

#[derive(Default)]
struct Disk {
    names: BTreeMap<PathBuf, Inode>,
    /// As a crash would leave them.
    durable_names: BTreeMap<PathBuf, Inode>,
    locks: BTreeSet<PathBuf>,
    operations: u64,
    fault: Option<(u64, Fault, bool)>,
    room_bytes: Option<usize>,
}

type Inode = Arc<Mutex<Content>>;

#[derive(Clone, Default)]
struct Content {
    bytes: Vec<u8>,
    durable: Vec<u8>,
}

impl MemoryBackend {
    pub fn new() -> Self {
        MemoryBackend::default()
    }

    /// Operations so far that change something.
    pub fn operations(&self) -> u64 {
        self.disk().operations
    }

    /// Lets operation number `at` (the first is 0) meet `fault`, and when
    /// `for_good` is set every later one fail.
    pub fn fail_at(&self, at: u64, fault: Fault, for_good: bool) {
        self.disk().fault = Some((at, fault, for_good));
    }

    /// All is well from now on.
    pub fn heal(&self) {
        let mut disk = self.disk();
        disk.fault = None;
        disk.room_bytes = None;
    }

    /// Sets how many bytes all files together may take.
    pub fn set_room(&self, bytes: usize) {
        self.disk().room_bytes = Some(bytes);
    }

    /// Bytes that all files together take.
    pub fn used_bytes(&self) -> usize {
        used(&self.disk())
    }

    /// The file system as it may be found after the power failed now: what was
    /// synced, and of the rest as much as `seed` decides.
    #[must_use]
    pub fn crashed(&self, seed: u64) -> MemoryBackend {
        let disk = self.disk();
        let mut dice = Dice(seed);
        let mut names = disk.durable_names.clone();
        let paths: BTreeSet<&PathBuf> = disk.names.keys().chain(disk.durable_names.keys()).collect();
        for path in paths {
            if dice.roll(2) == 0 {
                match disk.names.get(path) {
                    Some(inode) => names.insert(path.clone(), Arc::clone(inode)),
                    None => names.remove(path),
                };
            }
        }
        let names: BTreeMap<PathBuf, Inode> = names
            .into_iter()
            .map(|(path, inode)| {
                let bytes = content(&inode).after_crash(&mut dice);
                let durable = bytes.clone();
                (path, Arc::new(Mutex::new(Content { bytes, durable })))
            })
            .collect();
        let disk = Disk { durable_names: names.clone(), names, ..Disk::default() };
        MemoryBackend { disk: Arc::new(Mutex::new(disk)) }
    }

    /// Paths and contents of all files.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        self.disk().names.iter().map(|(path, inode)| (path.clone(), content(inode).bytes.clone())).collect()
    }

    /// Puts a file there, durable.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        let inode: Inode = Arc::new(Mutex::new(Content { bytes: bytes.into(), durable: bytes.into() }));
        let mut disk = self.disk();
        disk.durable_names.insert(path.into(), Arc::clone(&inode));
        disk.names.insert(path.into(), inode);
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an operation; `Some` when it meets a fault.
    fn step(&self) -> Option<Fault> {
        let mut disk = self.disk();
        let at = disk.operations;
        disk.operations += 1;
        match disk.fault {
            Some((when, fault, _)) if at == when => Some(fault),
            Some((when, _, true)) if at > when => Some(Fault::Fail),
            _ => None,
        }
    }

    /// Runs `operation` unless a fault forbids it.
    fn stepped(&self, operation: impl FnOnce(&mut Disk) -> io::Result<()>) -> io::Result<()> {
        match self.step() {
            None => operation(&mut self.disk()),
            Some(Fault::Deny) => operation(&mut self.disk()).and(Err(faulty())),
            Some(_) => Err(faulty()),
        }
    }
}

impl Content {
    fn after_crash(&self, dice: &mut Dice) -> Vec<u8> {
        match dice.roll(4) {
            0 | 1 => self.durable.clone(),
            2 => self.bytes.clone(),
            _ => {
                // A write that got to the disk up to some byte.
                let same = self.bytes.iter().zip(&self.durable).take_while(|(a, b)| a == b).count();
                let cut = same + dice.roll((self.bytes.len() - same + 1) as u64) as usize;
                let mut torn: Vec<u8> = self.bytes.iter().take(cut).copied().collect();
                torn.extend(self.durable.iter().skip(cut));
                torn
            }
        }
    }
}

impl Backend for MemoryBackend {
    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        if !self.disk().locks.insert(path.into()) {
            return Ok(None);
        }
        Ok(Some(Box::new(Lock { backend: self.clone(), path: path.into() })))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let disk = self.disk();
        let inside = disk.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.stepped(|disk| {
            disk.names.insert(path.into(), Inode::default());
            Ok(())
        })?;
        self.open(path)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let inode = self.disk().names.get(path).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(OpenFile { backend: self.clone(), inode }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.stepped(|disk| {
            let inode = disk.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
            disk.names.insert(to.into(), inode);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.stepped(|disk| disk.names.remove(path).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into()))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.stepped(|disk| {
            let here = |path: &Path| path.parent() == Some(dir);
            disk.durable_names.retain(|path, _| !here(path));
            let now = disk.names.iter().filter(|(path, _)| here(path));
            disk.durable_names.extend(now.map(|(path, inode)| (path.clone(), Arc::clone(inode))));
            Ok(())
        })
    }
}

struct Lock {
    backend: MemoryBackend,
    path: PathBuf,
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.backend.disk().locks.remove(&self.path);
    }
}

struct OpenFile {
    backend: MemoryBackend,
    inode: Inode,
}

impl File for OpenFile {
    fn size(&self) -> io::Result<u64> {
        Ok(content(&self.inode).bytes.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let content = content(&self.inode);
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(buffer.len());
        let bytes = content.bytes.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let fault = self.backend.step();
        let room = {
            let disk = self.backend.disk();
            disk.room_bytes.map_or(usize::MAX, |room| room.saturating_sub(used(&disk)))
        };
        let count = match fault {
            Some(Fault::Fail) => 0,
            Some(Fault::Tear) => bytes.len() / 2,
            Some(Fault::Deny) | None => bytes.len(),
        };
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let mut content = content(&self.inode);
        let count = count.min(room.saturating_add(content.bytes.len().saturating_sub(start)));
        let end = start.saturating_add(count);
        if content.bytes.len() < end {
            content.bytes.resize(end, 0);
        }
        for (place, byte) in content.bytes.iter_mut().skip(start).zip(bytes.iter().take(count)) {
            *place = *byte;
        }
        match fault {
            Some(_) => Err(faulty()),
            None if count < bytes.len() => Err(io::ErrorKind::StorageFull.into()),
            None => Ok(()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.backend.stepped(|_| {
            let mut content = content(&self.inode);
            content.durable = content.bytes.clone();
            Ok(())
        })
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.backend.stepped(|_| {
            let mut content = content(&self.inode);
            content.bytes.resize(usize::try_from(length).unwrap_or(usize::MAX), 0);
            Ok(())
        })
    }
}

fn content(inode: &Inode) -> MutexGuard<'_, Content> {
    inode.lock().unwrap_or_else(PoisonError::into_inner)
}

fn used(disk: &Disk) -> usize {
    disk.names.values().map(|inode| content(inode).bytes.len()).sum()
}

fn faulty() -> io::Error {
    io::Error::other("a fault that the test asked for")
}

/// Small numbers from a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides.max(1)
    }
}
