//! A damaged byte anywhere costs what it hits, is reported, and never panics.

use crate::world::{ALL, Model, START_MS, TestStore, World, dump, open, options, read};
use statsdeck::model::Series;
use statsdeck::store::{MemoryBackend, ReadOnly, Stats};
use std::path::PathBuf;

/// 25 windows: two blocks and a log.
pub fn files() -> (Vec<(PathBuf, Vec<u8>)>, Vec<Series>) {
    let backend = MemoryBackend::new();
    let (store, _) = open(&backend);
    let (mut world, mut model) = (World::new(5, 6), Model::default());
    for _ in 0..25 {
        let batch = world.window(0);
        store.append(&batch).unwrap();
        model.apply(&batch);
    }
    store.maintain(world.end_ms).unwrap();
    assert_eq!(store.stats().blocks, 2);
    (backend.files(), model.series(ALL))
}

/// What a store with this one file changed answers, and what it reports.
fn answer(files: &[(PathBuf, Vec<u8>)], changed: usize, bytes: &[u8]) -> (Vec<Series>, Stats) {
    let backend = MemoryBackend::new();
    for (at, (path, original)) in files.iter().enumerate() {
        backend.put(path, if at == changed { bytes } else { original });
    }
    let (store, _) = open(&backend);
    let series = read(&store, ALL);
    // A second look finds the same and counts nothing twice.
    let stats = store.stats();
    assert_eq!(dump(&read(&store, ALL)), dump(&series));
    assert_eq!(store.stats(), stats);
    (series, stats)
}

/// Every point found is a true one.
pub fn check_true(found: &[Series], truth: &[Series], case: &str) {
    for series in found {
        let whole = truth.iter().find(|other| other.labels == series.labels);
        let whole = whole.unwrap_or_else(|| panic!("{case}: {} is not known", series.labels));
        let (whole, part) = (dump(std::slice::from_ref(whole)), dump(std::slice::from_ref(series)));
        if whole != part {
            // An end may show that a start in a lost window had replaced.
            for line in part.lines().filter(|line| !line.contains("NaN")) {
                assert!(whole.contains(line), "{case}: {} has a wrong point {line}", series.labels);
            }
        }
    }
}

fn differing(found: &[Series], truth: &[Series]) -> usize {
    let same = |series: &&Series| {
        found.iter().any(|f| f.labels == series.labels && f.points.len() == series.points.len())
    };
    truth.len() - truth.iter().filter(same).count()
}

#[test]
fn a_flipped_byte_in_a_block_costs_one_chunk_or_is_harmless() {
    let (files, truth) = files();
    for (at, (path, bytes)) in files.iter().enumerate().filter(|(_, (path, _))| is_block(path)) {
        for byte in 0..bytes.len() {
            let case = format!("{} byte {byte}", path.display());
            let mut bad = bytes.clone();
            bad[byte] ^= 0x41;
            let (found, stats) = answer(&files, at, &bad);
            check_true(&found, &truth, &case);
            match (stats.blocks_lost, stats.chunks_lost) {
                (1, 0) => {}
                (0, lost) => assert_eq!(differing(&found, &truth) as u64, lost, "{case}"),
                other => panic!("{case}: {other:?}"),
            }
            assert!(stats.chunks_lost <= 1, "{case}");
        }
    }
}

#[test]
fn a_flipped_byte_in_the_log_costs_one_frame_at_most() {
    let (files, truth) = files();
    for (at, (path, bytes)) in files.iter().enumerate().filter(|(_, (path, _))| is_log(path)) {
        for byte in 0..bytes.len() {
            let case = format!("{} byte {byte}", path.display());
            let mut bad = bytes.clone();
            bad[byte] ^= 0x41;
            let (found, stats) = answer(&files, at, &bad);
            check_true(&found, &truth, &case);
            assert!(stats.frames_lost + stats.tails_cut <= 1, "{case}: {stats:?}");
            let reported = stats.frames_lost + stats.tails_cut;
            assert!(reported == 1 || dump(&found) == dump(&truth), "{case}: an unreported loss");
        }
    }
}

#[test]
fn a_file_cut_short_at_any_length_still_opens() {
    let (files, truth) = files();
    for (at, (path, bytes)) in files.iter().enumerate() {
        for length in (0..bytes.len()).step_by(3) {
            let (found, stats) = answer(&files, at, &bytes[..length]);
            check_true(&found, &truth, &format!("{} cut to {length}", path.display()));
            assert!(!is_block(path) || stats.blocks_lost == 1, "{} cut to {length}", path.display());
        }
    }
}

#[test]
fn an_unfinished_end_is_no_news_to_who_only_reads() {
    let (files, _) = files();
    let backend = MemoryBackend::new();
    for (path, bytes) in &files {
        let cut = if is_log(path) { bytes.len() - 5 } else { bytes.len() };
        backend.put(path, &bytes[..cut]);
    }
    let before = backend.files();
    let (store, _) = TestStore::open(options(), ReadOnly(backend.clone()), START_MS).unwrap();
    assert_eq!(store.stats().tails_cut, 0);
    assert!(backend.files() == before, "nothing is cut away");
    let seen = dump(&read(&store, ALL));
    drop(store);
    let (store, _) = open(&backend);
    assert_eq!((store.stats().tails_cut, dump(&read(&store, ALL))), (1, seen));
}

#[test]
fn foreign_files_are_left_alone() {
    let (files, truth) = files();
    let backend = MemoryBackend::new();
    files.iter().for_each(|(path, bytes)| backend.put(path, bytes));
    for name in ["state.redb", "wal-x.log", "notes.txt", "wal-1.log.bak", "block-1-000000000000001.sd"] {
        backend.put(&PathBuf::from("/data").join(name), b"something else");
    }
    let (store, _) = open(&backend);
    assert_eq!(dump(&read(&store, ALL)), dump(&truth));
    let stats = store.stats();
    assert_eq!(stats.blocks_lost + stats.frames_lost, 0);
    assert!(backend.files().len() >= files.len() + 5);
}

pub fn is_block(path: &std::path::Path) -> bool {
    path.extension().is_some_and(|extension| extension == "sd")
}

fn is_log(path: &std::path::Path) -> bool {
    path.extension().is_some_and(|extension| extension == "log")
}

/// A frame of a newer statsdeck at the end of the log, with right checksums.
#[test]
fn a_window_in_an_unknown_form_is_refused_and_not_cut_away() {
    let (files, _) = files();
    let (at, (path, log)) =
        files.iter().enumerate().rfind(|(_, (path, _))| path.extension() == Some("log".as_ref())).unwrap();
    let header = |magic: &[u8; 4], data: &[u8]| {
        let mut bytes = magic.to_vec();
        bytes.extend((data.len() as u32).to_le_bytes());
        bytes.extend(0u32.to_le_bytes());
        bytes.extend(crc32fast::hash(&[]).to_le_bytes());
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        bytes.extend(data);
        bytes
    };
    // An unknown magic, and a known one whose directory is empty.
    for magic in [b"SDf9", b"SDf1"] {
        let mut longer = log.clone();
        longer.extend(header(magic, b"something newer"));
        let backend = MemoryBackend::new();
        for (other, (path, bytes)) in files.iter().enumerate() {
            backend.put(path, if other == at { &longer } else { bytes });
        }
        let opened = TestStore::open(options(), backend.clone(), START_MS);
        let error = opened.err().expect("it must not open").to_string();
        let name = path.display().to_string();
        assert!(error.contains(&name) && error.contains("use the newer one"), "{error}");
        let kept = backend.files().into_iter().find(|(other, _)| other == path).unwrap().1;
        assert_eq!(kept, longer, "not a byte is taken away");
    }
}
