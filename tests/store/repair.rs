//! Verify finds each byte that is not as it was written, and says where;
//! repair leaves a store that is whole and serves all the rest.

use crate::damage::{check_true, files, is_block};
use crate::world::{ALL, Dice, dump, open, read};
use statsdeck::model::Series;
use statsdeck::store::inspect::{Depth, FileKind, Inspection, Progress, Stage, inspect};
use statsdeck::store::memory::Fault;
use statsdeck::store::repair::{DAMAGED_DIR, Repaired, repair};
use statsdeck::store::{Error, MemoryBackend};
use std::path::{Path, PathBuf};

const DIR: &str = "/data";

fn disk(files: &[(PathBuf, Vec<u8>)]) -> MemoryBackend {
    let backend = MemoryBackend::new();
    files.iter().for_each(|(path, bytes)| backend.put(path, bytes));
    backend
}

fn verify(backend: &MemoryBackend) -> Inspection {
    inspect(backend, Path::new(DIR), Depth::Everything, |_| {}).unwrap()
}

/// What a repair did that left nothing.
fn all_repaired(backend: &MemoryBackend) -> Vec<Repaired> {
    let outcome = repair(backend, Path::new(DIR), |_| {}).unwrap();
    assert_eq!(outcome.left, []);
    outcome.repaired
}

fn damaged_names(backend: &MemoryBackend) -> Vec<String> {
    let files = verify(backend).files.into_iter();
    files.filter(|file| file.damages > 0).map(|file| file.name).collect()
}

/// What is in the folder for what was damaged.
fn kept(backend: &MemoryBackend) -> Vec<Vec<u8>> {
    let aside = Path::new(DIR).join(DAMAGED_DIR);
    let files = backend.files().into_iter();
    files.filter(|(path, _)| path.starts_with(&aside)).map(|(_, bytes)| bytes).collect()
}

/// Whether a file is there that was not finished.
fn litter(backend: &MemoryBackend) -> bool {
    backend.files().iter().any(|(path, _)| path.extension().is_some_and(|extension| extension == "tmp"))
}

fn points(series: &[Series]) -> usize {
    series.iter().map(|series| series.points.len()).sum()
}

/// Damages one file, then: verify tells the place, repair keeps what was
/// damaged, and the store serves no less than before and has nothing to report.
fn check(files: &[(PathBuf, Vec<u8>)], at: usize, bad: &[u8], byte: u64) {
    let (path, truth) = (&files[at].0, read(&open(&disk(files)).0, ALL));
    let case = format!("{} byte {byte}", path.display());
    let mut damaged = files.to_vec();
    damaged[at].1 = bad.to_vec();
    let served = read(&open(&disk(&damaged)).0, ALL);

    let backend = disk(&damaged);
    let found = verify(&backend);
    let report = found.files.iter().find(|file| path.ends_with(&file.name)).unwrap();
    let covers = |offset: u64, bytes: u64| offset <= byte && byte < offset + bytes;
    assert!(report.damage.iter().any(|d| covers(d.offset, d.bytes)), "{case}: {:?}", report.damage);
    assert_eq!(found.damages(), report.damages, "{case}: damage where there is none");

    let repaired = all_repaired(&backend);
    assert_eq!(repaired.len(), 1, "{case}");
    let kept = backend.files().into_iter().find(|(path, _)| *path == repaired[0].kept_as).unwrap();
    assert!(kept.1 == bad, "{case}: what was damaged is not kept");
    assert!(kept.0.starts_with(Path::new(DIR).join(DAMAGED_DIR)));
    let after = verify(&backend);
    assert_eq!(after.damages(), 0, "{case}: {after:?}");
    assert!(all_repaired(&backend).is_empty());

    let (store, _) = open(&backend);
    let rest = read(&store, ALL);
    check_true(&rest, &truth, &case);
    assert!(points(&rest) >= points(&served), "{case}: {} < {}", points(&rest), points(&served));
    check_true(&served, &rest, &case);
    let stats = store.stats();
    assert_eq!(stats.blocks_lost + stats.chunks_lost + stats.frames_lost + stats.tails_cut, 0, "{case}");
}

#[test]
fn a_flipped_byte_anywhere_is_found_and_repaired() {
    let (files, _) = files();
    for (at, (_, bytes)) in files.iter().enumerate() {
        for byte in (0..bytes.len()).step_by(3) {
            let mut bad = bytes.clone();
            bad[byte] ^= 0x41;
            check(&files, at, &bad, byte as u64);
        }
    }
}

#[test]
fn several_damages_are_repaired_at_once() {
    let (files, truth) = files();
    for seed in 0..40 {
        let (mut dice, mut damaged) = (Dice::new(seed), files.clone());
        for _ in 0..6 {
            let at = dice.roll(damaged.len() as u64) as usize;
            let byte = dice.roll(damaged[at].1.len().max(1) as u64) as usize;
            if let Some(byte) = damaged[at].1.get_mut(byte) {
                *byte ^= 0x18;
            }
        }
        let backend = disk(&damaged);
        all_repaired(&backend);
        assert_eq!(verify(&backend).damages(), 0, "seed {seed}");
        let (store, _) = open(&backend);
        check_true(&read(&store, ALL), &truth, &format!("seed {seed}"));
        assert_eq!(store.stats().frames_lost + store.stats().blocks_lost, 0, "seed {seed}");
    }
}

#[test]
fn a_sound_store_is_told_as_it_is_and_left_as_it_is() {
    let (files, truth) = files();
    let backend = disk(&files);
    let before = backend.operations();
    let found = verify(&backend);
    assert_eq!(found.damages(), 0);
    assert!(!found.is_running);
    assert_eq!(found.files.iter().filter(|file| file.kind == FileKind::Block).count(), 2);
    let bytes: u64 = found.files.iter().map(|file| file.bytes).sum();
    let (blocks, logs) = files.iter().map(|(path, bytes)| (path, bytes.len() as u64)).fold(
        (0, 0),
        |(blocks, logs), (path, bytes)| {
            if is_block(path) { (blocks + bytes, logs) } else { (blocks, logs + bytes) }
        },
    );
    assert_eq!(bytes, blocks + logs);
    let outline = inspect(&backend, Path::new(DIR), Depth::Outline, |_| {}).unwrap();
    let samples = |found: &Inspection, kind| -> u64 {
        found.files.iter().filter(|file| file.kind == kind).map(|file| file.samples).sum()
    };
    assert_eq!(samples(&outline, FileKind::Log), samples(&found, FileKind::Log));
    // Besides what stands twice at one time.
    assert!(samples(&outline, FileKind::Block) >= samples(&found, FileKind::Block));
    assert!(points(&truth) as u64 >= samples(&found, FileKind::Block));
    assert!(all_repaired(&backend).is_empty());
    assert_eq!(backend.operations(), before);
}

#[test]
fn an_unfinished_write_is_no_damage() {
    let (files, _) = files();
    let at = files.iter().position(|(path, bytes)| !is_block(path) && bytes.len() > 200).unwrap();
    for cut in [1, 10, 60] {
        let mut cut_short = files.clone();
        let length = cut_short[at].1.len() - cut;
        cut_short[at].1.truncate(length);
        let found = verify(&disk(&cut_short));
        assert_eq!(found.damages(), 0, "{cut} bytes less");
        assert!(found.files.iter().any(|file| file.unfinished_bytes > 0), "{cut} bytes less");
    }
}

#[test]
fn beside_a_running_daemon_one_looks_and_does_not_repair() {
    let backend = disk(&files().0);
    let (store, _) = open(&backend);
    assert!(verify(&backend).is_running);
    assert!(matches!(repair(&backend, Path::new(DIR), |_| {}), Err(Error::Locked { .. })));
    drop(store);
    assert!(!verify(&backend).is_running);
}

#[test]
fn a_repair_that_breaks_off_anywhere_is_done_by_the_next_one() {
    let (files, truth) = files();
    let mut damaged = files.clone();
    for (_, bytes) in damaged.iter_mut().filter(|(path, bytes)| !path.ends_with("lock") && bytes.len() > 80) {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x41;
    }
    let bad: Vec<Vec<u8>> =
        damaged.iter().zip(&files).filter(|(a, b)| a != b).map(|(a, _)| a.1.clone()).collect();
    let served = points(&read(&open(&disk(&damaged)).0, ALL));
    let mut at = 0;
    loop {
        let backend = disk(&damaged);
        backend.fail_at(at, Fault::Tear, true);
        let outcome = repair(&backend, Path::new(DIR), |_| {}).unwrap();
        backend.heal();
        let told: Vec<&str> = outcome.repaired.iter().map(|file| &*file.name).collect();
        let left: Vec<&str> = outcome.left.iter().map(|file| &*file.name).collect();
        let still: Vec<String> = damaged_names(&backend);
        assert!(still.iter().all(|name| left.contains(&&**name)), "operation {at}: {left:?} of {still:?}");
        assert!(!told.iter().any(|name| left.contains(name)), "operation {at}: {told:?} and {left:?}");
        assert_eq!(told.len() + left.len(), 3, "operation {at}: each is told of");
        let backend = backend.crashed(at);
        all_repaired(&backend);
        assert_eq!(verify(&backend).damages(), 0, "operation {at}");
        let kept = kept(&backend);
        assert!(kept.iter().all(|copy| bad.contains(copy)), "operation {at}: a copy that is none");
        assert!(bad.iter().all(|bad| kept.contains(bad)), "operation {at}: what was damaged is gone");
        assert!(!litter(&backend), "operation {at}");
        let rest = read(&open(&backend).0, ALL);
        check_true(&rest, &truth, &format!("operation {at}"));
        assert!(points(&rest) >= served, "operation {at}: {} < {served}", points(&rest));
        if outcome.left.is_empty() {
            break;
        }
        at += 1;
    }
    assert!(at > 10, "only {at} operations");
}

/// All files but for the lock with a byte changed in their middle.
fn all_damaged() -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = files().0;
    for (_, bytes) in files.iter_mut().filter(|(_, bytes)| bytes.len() > 80) {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x41;
    }
    files
}

#[test]
fn a_file_that_the_disk_does_not_give_back_is_named_and_the_others_are_read() {
    let (files, _) = files();
    let sound = verify(&disk(&files));
    for (path, _) in files.iter().filter(|(path, _)| !path.ends_with("lock")) {
        let backend = disk(&files);
        backend.fail_reads_of(path);
        for depth in [Depth::Outline, Depth::Everything] {
            let found = inspect(&backend, Path::new(DIR), depth, |_| {}).unwrap();
            assert_eq!((found.damages(), found.unread()), (0, 1), "{}", path.display());
            assert_eq!(found.files.len(), sound.files.len());
            for (found, sound) in found.files.iter().zip(&sound.files) {
                match &found.unread {
                    Some(reason) => {
                        assert!(path.ends_with(&found.name), "{reason}");
                        assert!(reason.contains(&*path.to_string_lossy()), "{reason}");
                    }
                    None => assert_eq!((&found.name, found.bytes), (&sound.name, sound.bytes)),
                }
            }
        }
    }
}

#[test]
fn what_cannot_be_read_is_left_as_it_is_and_the_rest_is_repaired() {
    let damaged = all_damaged();
    for (path, bytes) in damaged.iter().filter(|(_, bytes)| bytes.len() > 80) {
        let backend = disk(&damaged);
        backend.fail_reads_of(path);
        let outcome = repair(&backend, Path::new(DIR), |_| {}).unwrap();
        assert_eq!((outcome.repaired.len(), outcome.left.len()), (2, 1), "{}", path.display());
        assert!(path.ends_with(&outcome.left[0].name) && outcome.left[0].is_unread);
        assert!(backend.files().contains(&(path.clone(), bytes.clone())), "{}", path.display());
        backend.heal();
        assert_eq!(all_repaired(&backend).len(), 1);
        assert_eq!(verify(&backend).damages(), 0);
    }
}

#[test]
fn a_read_that_fails_once_costs_no_name_and_no_file() {
    let damaged = all_damaged();
    let bad: Vec<&Vec<u8>> =
        damaged.iter().map(|(_, bytes)| bytes).filter(|bytes| bytes.len() > 80).collect();
    let sound = disk(&damaged);
    all_repaired(&sound);
    let rest = dump(&read(&open(&sound).0, ALL));
    for at in 0..sound.reads() {
        let backend = disk(&damaged);
        backend.fail_read_at(at, false);
        let listed = repair(&backend, Path::new(DIR), |_| {});
        assert!(listed.is_ok() || at == 0, "read {at}");
        backend.heal();
        all_repaired(&backend);
        let kept = kept(&backend);
        assert!(bad.iter().all(|bad| kept.contains(bad)) && kept.len() == bad.len(), "read {at}");
        assert!(!litter(&backend), "read {at}");
        assert_eq!(dump(&read(&open(&backend).0, ALL)), rest, "read {at}");
    }
}

#[test]
fn how_far_it_has_come_is_told_within_a_file_too() {
    let backend = disk(&all_damaged());
    let mut told: Vec<Progress> = Vec::new();
    repair(&backend, Path::new(DIR), |at| told.push(at)).unwrap();
    for stage in [Stage::Reading, Stage::Repairing] {
        let told: Vec<&Progress> = told.iter().filter(|at| at.stage == stage).collect();
        assert!(told.is_sorted_by_key(|at| (at.files_read, at.bytes_read)), "{told:?}");
        assert!(told.iter().all(|at| at.bytes_read <= at.bytes), "{told:?}");
        let last = told.last().unwrap();
        assert_eq!((last.files_read, last.bytes_read), (last.files, last.bytes));
        assert!(stage == Stage::Repairing || told.len() > 4 * last.files, "{} times", told.len());
    }
}

#[test]
fn what_a_repair_that_was_killed_left_is_gone_after_a_start() {
    let backend = disk(&files().0);
    for name in ["wal-0000000001.tmp", "block-0-001700000100000.tmp"] {
        backend.put(&Path::new(DIR).join(name), b"half of it");
    }
    drop(open(&backend));
    assert!(!litter(&backend));
}
