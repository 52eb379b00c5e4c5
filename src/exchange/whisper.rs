//! Reads Graphite's Whisper files: of every span its finest archive.
//!
//! A file has a header, a table of archives from fine to coarse, and of each
//! archive a ring of points; all numbers are big-endian. A point's time is the
//! beginning of its step; ours are ends, so that it is told a step later.

use super::error::Error;
use crate::model::label::NAME;
use crate::model::{Labels, MetricType, Sample, SeriesKey};
use std::fs;
use std::path::{Path, PathBuf};

const HEADER_BYTES: usize = 16;
const ARCHIVE_BYTES: usize = 12;
const POINT_BYTES: usize = 12;
/// More archives, or a larger file, are no Whisper file that anybody has.
const ARCHIVES_MAX: u32 = 64;
const FILE_BYTES_MAX: u64 = 1 << 30;
/// Deepest folder that is looked into.
const DEPTH_MAX: usize = 64;

#[derive(Clone, Copy, Debug)]
struct Archive {
    offset: usize,
    step_s: u32,
    points: u32,
}

/// A file and the name of its series.
#[derive(Clone, Debug, PartialEq)]
pub struct WhisperFile {
    pub path: PathBuf,
    pub key: SeriesKey,
}

/// The Whisper files in `root`, by name: `web/errors.wsp` is `web.errors`. A
/// `root` that is a file is that one alone, by its name.
///
/// # Errors
/// [`Error::Io`] when a folder cannot be read, [`Error::File`] when a path is no
/// name.
pub fn files(root: &Path) -> Result<Vec<WhisperFile>, Error> {
    if !root.is_dir() {
        let name = root.file_name().unwrap_or_default();
        return Ok(vec![named(root.into(), Path::new(name))?]);
    }
    let mut found = Vec::new();
    let mut folders = vec![(root.to_path_buf(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let failed = |source| Error::Io { action: "list", path: folder.clone(), source };
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(failed)?);
            // A link to a folder may lead back here.
            if kind.is_dir() && depth < DEPTH_MAX {
                folders.push((path, depth + 1));
            } else if !kind.is_dir() && path.extension().is_some_and(|extension| extension == "wsp") {
                let below = path.strip_prefix(root).unwrap_or(&path).to_path_buf();
                found.push(named(path, &below)?);
            }
        }
    }
    found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn named(path: PathBuf, below: &Path) -> Result<WhisperFile, Error> {
    match key_of(below) {
        Some(key) => Ok(WhisperFile { path, key }),
        None => Err(wrong(&path, "its path makes no name: it is empty, or no UTF-8")),
    }
}

fn wrong(path: &Path, reason: &str) -> Error {
    Error::File { path: path.into(), line: 0, reason: reason.into() }
}

/// Name and tags, from the path below the root. Carbon keeps series with tags as
/// `_tagged/…/name;tag=value.wsp`, dots in them as `_DOT_`.
fn key_of(path: &Path) -> Option<SeriesKey> {
    let mut parts: Vec<&str> = path.iter().map(|part| part.to_str()).collect::<Option<_>>()?;
    let last = parts.pop()?;
    let last = last.strip_suffix(".wsp").unwrap_or(last);
    let is_tagged = parts.first() == Some(&"_tagged");
    let undotted = |text: &str| if is_tagged { text.replace("_DOT_", ".") } else { text.to_owned() };
    let (name, tags) = last.split_once(';').unwrap_or((last, ""));
    let name = if is_tagged { undotted(name) } else { [&parts[..], &[name]].concat().join(".") };
    let tags = tags.split(';').filter_map(|tag| tag.split_once('='));
    let tags = tags.filter(|(tag, value)| !tag.is_empty() && !value.is_empty() && *tag != NAME);
    let pairs =
        tags.map(|(tag, value)| (undotted(tag), undotted(value))).chain([(NAME.to_owned(), name.clone())]);
    let labels = Labels::from_pairs(pairs);
    (!name.is_empty()).then_some(SeriesKey { labels, metric_type: MetricType::Gauge })
}

/// The points of a file up to `now_s`, in seconds since the epoch, ascending by
/// time.
///
/// # Errors
/// [`Error::Io`], [`Error::File`] when it is no Whisper file.
pub fn read(path: &Path, now_s: u64) -> Result<Vec<Sample>, Error> {
    let failed = |source| Error::Io { action: "read", path: path.into(), source };
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        // One would wait for a pipe, and a device may have no end.
        return Err(wrong(path, "it is no file"));
    }
    if metadata.len() > FILE_BYTES_MAX {
        return Err(wrong(path, "it has more than 1 GiB; no Whisper file has"));
    }
    points(&fs::read(path).map_err(failed)?, now_s).ok_or_else(|| wrong(path, "it is no Whisper file"))
}

/// `None` when the bytes are no Whisper file.
fn points(bytes: &[u8], now_s: u64) -> Option<Vec<Sample>> {
    let count = u32_at(bytes, 12).filter(|count| (1..=ARCHIVES_MAX).contains(count))?;
    let mut archives = Vec::new();
    for at in 0..count as usize {
        let entry = HEADER_BYTES + at * ARCHIVE_BYTES;
        let (offset, step_s, points) =
            (u32_at(bytes, entry)? as usize, u32_at(bytes, entry + 4)?, u32_at(bytes, entry + 8)?);
        let end = (points as usize).checked_mul(POINT_BYTES)?.checked_add(offset)?;
        if step_s == 0 || end > bytes.len() {
            return None;
        }
        archives.push(Archive { offset, step_s, points });
    }
    archives.sort_by_key(|archive| archive.offset);
    // Each has its own bytes: there are not more points than the file has room for.
    let mut free = HEADER_BYTES + archives.len() * ARCHIVE_BYTES;
    for archive in &archives {
        if archive.offset < free {
            return None;
        }
        free = archive.offset + archive.points as usize * POINT_BYTES;
    }
    archives.sort_by_key(|archive| archive.step_s);
    // A clock that was ahead once must not make all the rest look outdated.
    let past = |(at, _): &(u32, f64)| u64::from(*at) <= now_s;
    let rings: Vec<Vec<(u32, f64)>> =
        archives.iter().map(|archive| ring(bytes, archive).into_iter().filter(past).collect()).collect();
    let newest = rings.iter().flatten().map(|(at, _)| *at).max().unwrap_or_default();
    let mut found: Vec<Sample> = Vec::new();
    // What begins before this is in no finer archive.
    let mut until = u64::MAX;
    for (archive, ring) in archives.iter().zip(rings) {
        let (step, kept) = (u64::from(archive.step_s), u64::from(archive.step_s) * u64::from(archive.points));
        // What a ring still has of its turn before is out of date.
        let from = u64::from(newest).saturating_sub(kept);
        let mut first = until;
        for (at, value) in ring.into_iter().map(|(at, value)| (u64::from(at), value)) {
            if at > from && at + step <= until && !value.is_nan() {
                first = first.min(at);
                found.push(Sample { timestamp_ms: ((at + step) * 1000) as i64, value });
            }
        }
        until = first;
    }
    found.sort_by_key(|sample| sample.timestamp_ms);
    Some(found)
}

/// Points that were written, in no order.
fn ring(bytes: &[u8], archive: &Archive) -> Vec<(u32, f64)> {
    let end = archive.offset + archive.points as usize * POINT_BYTES;
    let slots = bytes.get(archive.offset..end).unwrap_or_default().chunks_exact(POINT_BYTES);
    let points = slots.filter_map(|slot| {
        let value = slot.get(4..)?.try_into().ok()?;
        Some((u32_at(slot, 0)?, f64::from_be_bytes(value)))
    });
    points.filter(|(at, _)| *at != 0).collect()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW_S: u64 = 2_000_000_000;
    type Ring<'a> = (u32, u32, &'a [(u32, f64)]);

    /// A file with these archives: step, number of slots, points.
    fn file(archives: &[Ring<'_>]) -> Vec<u8> {
        let mut bytes = [1u32.to_be_bytes(), 0u32.to_be_bytes(), 0.5f32.to_be_bytes()].concat();
        bytes.extend((archives.len() as u32).to_be_bytes());
        let mut offset = (HEADER_BYTES + archives.len() * ARCHIVE_BYTES) as u32;
        for (step, slots, _) in archives {
            [offset, *step, *slots].iter().for_each(|number| bytes.extend(number.to_be_bytes()));
            offset += slots * POINT_BYTES as u32;
        }
        for (step, slots, points) in archives {
            let mut ring = vec![(0, 0.0); *slots as usize];
            points.iter().for_each(|(at, value)| ring[(at / step % slots) as usize] = (*at, *value));
            for (at, value) in ring {
                bytes.extend(u32::to_be_bytes(at));
                bytes.extend(f64::to_be_bytes(value));
            }
        }
        bytes
    }

    fn check(archives: &[Ring<'_>], expected: &[(i64, f64)]) {
        let found = points(&file(archives), NOW_S).unwrap();
        let found: Vec<(i64, f64)> = found.iter().map(|s| (s.timestamp_ms / 1000, s.value)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn each_span_is_read_of_the_finest_archive_that_has_it() {
        check(&[(10, 6, &[])], &[]);
        check(&[(10, 6, &[(1000, 1.0), (1020, 3.0)])], &[(1010, 1.0), (1030, 3.0)]);
        // The coarse points from 1020 on are in the fine archive.
        let fine: &[(u32, f64)] = &[(1080, 1.0), (1090, 2.0), (1100, 3.0)];
        let coarse: &[(u32, f64)] = &[(900, 10.0), (960, 20.0), (1020, 30.0), (1080, 1.5)];
        check(
            &[(10, 6, fine), (60, 10, coarse)],
            &[(960, 10.0), (1020, 20.0), (1080, 30.0), (1090, 1.0), (1100, 2.0), (1110, 3.0)],
        );
        // A slot of the turn before is none any more.
        check(&[(10, 3, &[(970, 9.0), (1010, 1.0), (1020, 2.0)])], &[(1020, 1.0), (1030, 2.0)]);
    }

    #[test]
    fn a_file_that_lies_about_itself_costs_no_more_than_its_bytes() {
        // Each of many archives claims the whole file.
        let count = ARCHIVES_MAX;
        let mut bytes = [1u32, 0, 0, count].map(u32::to_be_bytes).concat();
        let slots = 10_000;
        (0..count).for_each(|at| bytes.extend([784, at + 1, slots].map(u32::to_be_bytes).concat()));
        bytes.resize(784 + slots as usize * POINT_BYTES, 7);
        assert!(points(&bytes, NOW_S).is_none());
        // Archives that lie over the header, or over each other.
        let [fine, coarse]: [Ring<'_>; 2] = [(10, 6, &[(1000, 1.0)]), (60, 10, &[(960, 1.0)])];
        for offset in [0u32, 28, 50] {
            let mut bytes = file(&[fine, coarse]);
            bytes[28..32].copy_from_slice(&offset.to_be_bytes());
            assert!(points(&bytes, NOW_S).is_none(), "{offset}");
        }
        // In whatever order they lie.
        let found = points(&file(&[coarse, fine]), NOW_S).unwrap();
        assert_eq!(found, points(&file(&[fine, coarse]), NOW_S).unwrap());
    }

    #[test]
    fn a_point_of_the_future_does_not_hide_those_of_the_past() {
        check(&[(10, 6, &[(1000, 1.0), (4_000_000_020, 9.0)])], &[(1010, 1.0)]);
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_or_has_no_name_is_told_not_waited_for() {
        use std::os::unix::ffi::OsStrExt;
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/zero", dir.path().join("zero.wsp")).unwrap();
        let found = files(dir.path()).unwrap();
        let error = read(&found[0].path, NOW_S).unwrap_err().to_string();
        assert!(error.contains("zero.wsp: it is no file"), "{error}");
        std::fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"a\xff.wsp")), "").unwrap();
        let error = files(dir.path()).unwrap_err().to_string();
        assert!(error.contains("its path makes no name"), "{error}");
    }

    #[test]
    fn names_are_paths() {
        for (path, name, tags) in [
            ("web/api/errors.wsp", "web.api.errors", &[][..]),
            ("errors.wsp", "errors", &[]),
            (
                "_tagged/a1b/c2d/disk_DOT_used;host=web_DOT_1;dc=a.wsp",
                "disk.used",
                &[("host", "web.1"), ("dc", "a")],
            ),
        ] {
            let key = key_of(Path::new(path)).unwrap();
            let labels = Labels::from_pairs(tags.iter().copied().chain([(NAME, name)]));
            assert_eq!(key, SeriesKey { labels, metric_type: MetricType::Gauge }, "{path}");
        }
    }

    proptest! {
        #[test]
        fn foreign_bytes_do_no_harm(
            bytes in prop::collection::vec(prop_oneof![Just(0u8), Just(1), any::<u8>()], 0..200),
        ) {
            let _ = points(&bytes, NOW_S);
        }
    }
}
