//! A file system in memory that fails, tears and forgets as told: what a real
//! one does on its worst day, at a chosen moment. For tests.

use super::backend::{Backend, File};
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
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
    /// It fails, and a sync gives up what was not durable: readers see it, but
    /// no later sync makes it durable. Else as [`Fault::Fail`].
    Forget,
}

impl Fault {
    pub const ALL: [Fault; 4] = [Fault::Fail, Fault::Tear, Fault::Deny, Fault::Forget];
}

#[derive(Default)]
struct Disk {
    names: BTreeMap<PathBuf, Inode>,
    /// As a crash would leave them.
    durable_names: BTreeMap<PathBuf, Inode>,
    locks: BTreeSet<PathBuf>,
    operations: u64,
    fault: Option<(u64, Fault, bool)>,
    reads: u64,
    read_fault: Option<(u64, bool)>,
    removed: Vec<(PathBuf, Vec<u8>)>,
    /// Files that cannot be removed.
    kept: BTreeSet<PathBuf>,
    /// Files that cannot be opened, and the system's number of why.
    shut: BTreeMap<PathBuf, i32>,
    room_bytes: Option<usize>,
}

type Inode = Arc<Mutex<Content>>;

#[derive(Clone, Default)]
struct Content {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// What of `bytes` is not in `durable` yet, in order.
    pending: Vec<Change>,
    /// Bytes that cannot be read.
    bad: Range<usize>,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Resize(usize),
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

    /// Operations so far that read something.
    pub fn reads(&self) -> u64 {
        self.disk().reads
    }

    /// Lets read number `at` (the first is 0) fail, and when `for_good` is set
    /// every later one.
    pub fn fail_read_at(&self, at: u64, for_good: bool) {
        self.disk().read_fault = Some((at, for_good));
    }

    /// Lets every read of one file fail.
    pub fn fail_reads_of(&self, path: &Path) {
        self.fail_reads_within(path, 0..usize::MAX);
    }

    /// Lets every read of these bytes of one file fail.
    pub fn fail_reads_within(&self, path: &Path, bad: Range<usize>) {
        if let Some(inode) = self.disk().names.get(path) {
            content(inode).bad = bad;
        }
    }

    /// Lets every opening of one file fail with this error of the system.
    pub fn fail_opens_of(&self, path: &Path, number: i32) {
        self.disk().shut.insert(path.into(), number);
    }

    /// Lets every removal of one file fail.
    pub fn fail_removal_of(&self, path: &Path) {
        self.disk().kept.insert(path.into());
    }

    /// All is well from now on.
    pub fn heal(&self) {
        let mut disk = self.disk();
        disk.names.values().for_each(|inode| content(inode).bad = 0..0);
        disk.fault = None;
        disk.read_fault = None;
        disk.room_bytes = None;
        disk.kept.clear();
        disk.shut.clear();
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
                (path, Content::durable(bytes))
            })
            .collect();
        let disk = Disk { durable_names: names.clone(), names, ..Disk::default() };
        MemoryBackend { disk: Arc::new(Mutex::new(disk)) }
    }

    /// Paths and contents of all files.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        self.disk().names.iter().map(|(path, inode)| (path.clone(), content(inode).bytes.clone())).collect()
    }

    /// Takes the list of what was removed since it was taken last: path and content.
    pub fn take_removed(&self) -> Vec<(PathBuf, Vec<u8>)> {
        std::mem::take(&mut self.disk().removed)
    }

    /// Puts a file there, durable.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        let inode = Content::durable(bytes.into());
        let mut disk = self.disk();
        disk.durable_names.insert(path.into(), Arc::clone(&inode));
        disk.names.insert(path.into(), inode);
    }

    fn opened(&self, path: &Path) -> io::Result<OpenFile> {
        let inode = self.disk().names.get(path).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(OpenFile { backend: self.clone(), inode })
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

    /// Counts a read; an error when it meets a fault.
    fn step_of_reading(&self) -> io::Result<()> {
        let mut disk = self.disk();
        let at = disk.reads;
        disk.reads += 1;
        match disk.read_fault {
            Some((when, for_good)) if at == when || for_good && at > when => Err(faulty()),
            _ => Ok(()),
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
    fn durable(bytes: Vec<u8>) -> Inode {
        Arc::new(Mutex::new(Content { durable: bytes.clone(), bytes, ..Content::default() }))
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.bytes);
        self.pending.push(change);
    }

    fn sync(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        pending.iter().for_each(|change| change.apply(&mut self.durable));
    }

    /// What was not synced is there in part: none of it, all of it, the first of
    /// it, or any of it, the latest write to any byte.
    fn after_crash(&self, dice: &mut Dice) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        let count = self.pending.len() as u64;
        let (kept, is_torn): (Vec<bool>, bool) = match dice.roll(4) {
            0 => (Vec::new(), false),
            1 => return self.bytes.clone(),
            2 => (vec![true; dice.roll(count + 1) as usize], true),
            _ => (self.pending.iter().map(|_| dice.roll(2) == 0).collect(), dice.roll(2) == 0),
        };
        let last = kept.iter().rposition(|is_kept| *is_kept);
        for (at, change) in self.pending.iter().enumerate() {
            match change {
                _ if !kept.get(at).copied().unwrap_or_default() => {}
                Change::Write(offset, part) if is_torn && last == Some(at) => {
                    let length = dice.roll(part.len() as u64 + 1) as usize;
                    Change::Write(*offset, part.iter().take(length).copied().collect()).apply(&mut bytes);
                }
                change => change.apply(&mut bytes),
            }
        }
        bytes
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Change::Resize(length) => bytes.resize(*length, 0),
            Change::Write(offset, part) => {
                if bytes.len() < offset.saturating_add(part.len()) {
                    bytes.resize(offset.saturating_add(part.len()), 0);
                }
                for (place, byte) in bytes.iter_mut().skip(*offset).zip(part) {
                    *place = *byte;
                }
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
        self.step_of_reading()?;
        let disk = self.disk();
        let inside = disk.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.stepped(|disk| {
            disk.names.insert(path.into(), Inode::default());
            Ok(())
        })?;
        Ok(Box::new(self.opened(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.step_of_reading()?;
        if let Some(number) = self.disk().shut.get(path) {
            return Err(io::Error::from_raw_os_error(*number));
        }
        Ok(Box::new(self.opened(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.stepped(|disk| {
            let inode = disk.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
            disk.names.insert(to.into(), inode);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.stepped(|disk| {
            if disk.kept.contains(path) {
                return Err(faulty());
            }
            let inode = disk.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
            disk.removed.push((path.into(), content(&inode).bytes.clone()));
            Ok(())
        })
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
        self.backend.step_of_reading()?;
        let content = content(&self.inode);
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(buffer.len());
        if start < content.bad.end && content.bad.start < end {
            return Err(faulty());
        }
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
            Some(Fault::Fail | Fault::Forget) => 0,
            Some(Fault::Tear) => bytes.len() / 2,
            Some(Fault::Deny) | None => bytes.len(),
        };
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let mut content = content(&self.inode);
        let count = count.min(room.saturating_add(content.bytes.len().saturating_sub(start)));
        if count > 0 {
            content.change(Change::Write(start, bytes.iter().take(count).copied().collect()));
        }
        match fault {
            Some(_) => Err(faulty()),
            None if count < bytes.len() => Err(io::ErrorKind::StorageFull.into()),
            None => Ok(()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        let fault = self.backend.step();
        let mut content = content(&self.inode);
        match fault {
            None | Some(Fault::Deny) => content.sync(),
            Some(Fault::Forget) => content.pending.clear(),
            Some(Fault::Fail | Fault::Tear) => {}
        }
        fault.map_or(Ok(()), |_| Err(faulty()))
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.backend.stepped(|_| {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            content(&self.inode).change(Change::Resize(length));
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
