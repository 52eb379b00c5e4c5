//! A file that goes away between the moment a query knew of it and the moment it
//! is opened: what was in it is in a block by then, and is found there.

use crate::answers::STEP_MS;
use crate::world::{SPAN_MS, START_MS, TestStore, WINDOW_MS, World, options};
use statsdeck::model::{SeriesKey, TimeRange};
use statsdeck::store::backend::File;
use statsdeck::store::{Backend, Maintained, MemoryBackend, Options, Tier};
use std::any::Any;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

type Hook = Box<dyn FnOnce() + Send>;

/// Does something before the next file is opened.
#[derive(Clone, Default)]
struct Hooked {
    disk: MemoryBackend,
    before_open: Arc<Mutex<Option<Hook>>>,
}

impl Backend for Hooked {
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let hook = self.before_open.lock().unwrap().take();
        hook.into_iter().for_each(|hook| hook());
        self.disk.open(path)
    }
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir(dir)
    }
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        self.disk.lock(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.disk.create(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
}

#[test]
fn a_list_of_series_is_whole_when_a_block_leaves_for_a_coarser_one_meanwhile() {
    type List = fn(&TestStore, TimeRange) -> Vec<SeriesKey>;
    let lists: [List; 2] = [
        |store, range| store.series(&[], range, 1000).unwrap(),
        |store, range| {
            let mut found = Vec::new();
            let each = |key| {
                found.push(key);
                true
            };
            store.each_series(&[], range, each).unwrap();
            found.sort_unstable();
            found
        },
    ];
    for (number, list) in lists.into_iter().enumerate() {
        let backend = Hooked::default();
        let tier = Tier { resolution_ms: STEP_MS, retention_ms: 1_000_000 * SPAN_MS };
        let options = Options { retention_ms: 2 * SPAN_MS, ..options() };
        let fine = Options { retention_ms: 1000 * SPAN_MS, ..options.clone() };
        let mut world = World::new(3, 8);
        let (store, _) = TestStore::open(fine, backend.clone(), START_MS).unwrap();
        (0..6 * SPAN_MS / WINDOW_MS).for_each(|_| store.append(&world.window(0)).unwrap());
        store.maintain(world.end_ms).unwrap();
        drop(store);

        let (store, _) = TestStore::open(options.with_tiers(vec![tier]), backend.clone(), START_MS).unwrap();
        let store = Arc::new(store);
        // A part of the first block, and a whole step.
        let range = TimeRange { start_ms: START_MS + WINDOW_MS + 1, end_ms: START_MS + SPAN_MS };
        let expected = list(&store, range);
        assert!(expected.len() > 2);
        let (keeper, end_ms) = (store.clone(), world.end_ms);
        *backend.before_open.lock().unwrap() =
            Some(Box::new(move || while keeper.maintain(end_ms).unwrap() != Maintained::default() {}));
        assert_eq!(list(&store, range), expected, "list {number}");
        assert!(backend.before_open.lock().unwrap().is_none());
        assert_eq!(store.resolution_ms(range), STEP_MS, "the block left");
    }
}
