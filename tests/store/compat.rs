//! Files of every format version so far can be read. The fixture of a version
//! is written once, by
//! `cargo test --test store -- --ignored write_the_fixture`,
//! and never changed after its release.

use crate::world::{ALL, START_MS, TestStore, World, dump, open, options, read};
use statsdeck::store::{FsBackend, MemoryBackend, Options};
use std::path::{Path, PathBuf};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compat/v1")
}

#[test]
fn version_1_reads() {
    let backend = MemoryBackend::new();
    for entry in std::fs::read_dir(fixture().join("store")).expect("the fixture is there") {
        let entry = entry.unwrap();
        let name = entry.file_name();
        backend.put(&options().dir.join(name), &std::fs::read(entry.path()).unwrap());
    }
    let (store, recovered) = open(&backend);
    let stats = store.stats();
    assert_eq!((stats.blocks, stats.blocks_lost, stats.frames_lost, stats.tails_cut), (1, 0, 0, 0));
    let mut text = dump(&read(&store, ALL));
    for series in &recovered.series {
        text.push_str(&format!(
            "{} {} {:?}\n",
            series.id.0,
            store.catalogue.series(series.id).unwrap().labels,
            series.last
        ));
    }
    text.push_str(&format!("{} {:?}\n", store.catalogue.next_id(), recovered.last_end_ms));
    let expected = fixture().join("expected.txt");
    if std::env::var_os("STATSDECK_WRITE_FIXTURE").is_some() {
        std::fs::write(&expected, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(expected).unwrap());
}

#[test]
#[ignore = "writes the fixture; then run version_1_reads once with STATSDECK_WRITE_FIXTURE=1"]
fn write_the_fixture() {
    let dir = fixture().join("store");
    let _ = std::fs::remove_dir_all(&dir);
    let options = Options { dir: dir.clone(), ..options() };
    let (store, _) = TestStore::open(options, FsBackend, START_MS).unwrap();
    let mut world = World::new(4, 6);
    for _ in 0..16 {
        let batch = world.window(0);
        store.append(&batch).unwrap();
    }
    store.maintain(world.end_ms).unwrap();
    drop(store);
    std::fs::remove_file(dir.join("lock")).unwrap();
}

/// Changes one file of the fixture and returns why the store does not open.
fn refusal(prefix: &str, change: fn(&mut Vec<u8>)) -> String {
    let backend = MemoryBackend::new();
    for entry in std::fs::read_dir(fixture().join("store")).expect("the fixture is there") {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let mut bytes = std::fs::read(entry.path()).unwrap();
        if name.starts_with(prefix) {
            change(&mut bytes);
        }
        backend.put(&options().dir.join(name), &bytes);
    }
    let before = backend.files();
    let error = TestStore::open(options(), backend.clone(), START_MS).err().expect("refused");
    assert_eq!(backend.files(), before, "nothing is touched");
    error.to_string()
}

#[test]
fn files_of_a_newer_version_are_refused_and_left_alone() {
    let of_log = refusal("wal-", |bytes| {
        bytes[8] = 2;
        let crc = crc32fast::hash(&bytes[..12]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    });
    let of_block = refusal("block-", |bytes| {
        bytes[8] = 2;
        *bytes.last_mut().unwrap() = b'2';
    });
    for text in [of_log, of_block] {
        assert!(text.contains("has format version 2, this statsdeck reads up to 1"), "{text}");
    }
}
