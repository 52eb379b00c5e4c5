//! Points on their way into blocks: kept in files by span, so that an import of
//! any size takes little memory, whatever order its points come in.
//!
//! A point is 20 bytes: number of the series, time in ms, value, little-endian.
//! The folder is the import's alone; what an import that was broken off left
//! there is removed by the next one, or by the daemon's next start.

use super::error::Error;
use crate::model::{Sample, SeriesId};
use crate::store::backfill::Part;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, BufWriter, Read, Write};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

const RECORD_BYTES: usize = 20;
/// Points in memory before they are written.
const BUFFER_POINTS: usize = 1 << 21;
/// Points of a span that are in memory when it is read; twice that with those
/// that others of the same time replace, or all times of one series.
const PASS_POINTS: u64 = 1 << 22;

/// Points by span. See the module's head.
pub struct Spool {
    dir: PathBuf,
    buffer: Vec<Record>,
    buffer_points: usize,
    pass_points: u64,
    /// Points of each span that was written, by its end.
    spans: BTreeMap<i64, u64>,
}

#[derive(Clone, Copy)]
struct Record {
    span_end_ms: i64,
    id: u32,
    at_ms: i64,
    value: f64,
}

/// The points of one span, in parts that fit into memory.
pub struct SpanParts {
    path: PathBuf,
    passes: std::vec::IntoIter<RangeInclusive<u32>>,
    pass_points: u64,
    repeated: u64,
}

impl Spool {
    /// An empty one in `dir`, which is made, or emptied.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub fn new(dir: &Path) -> Result<Spool, Error> {
        remove(dir)?;
        fs::create_dir_all(dir).map_err(io("create", dir))?;
        Ok(Spool {
            dir: dir.into(),
            buffer: Vec::new(),
            buffer_points: BUFFER_POINTS,
            pass_points: PASS_POINTS,
            spans: BTreeMap::new(),
        })
    }

    /// Adds a point of the span that ends at `span_end_ms`.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub fn push(&mut self, span_end_ms: i64, id: SeriesId, sample: Sample) -> Result<(), Error> {
        let Sample { timestamp_ms, value } = sample;
        self.buffer.push(Record { span_end_ms, id: id.0, at_ms: timestamp_ms, value });
        if self.buffer.len() >= self.buffer_points { self.flush() } else { Ok(()) }
    }

    /// Ends of all spans that have points, ascending.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub fn spans(&mut self) -> Result<Vec<i64>, Error> {
        self.flush()?;
        Ok(self.spans.keys().copied().collect())
    }

    /// The points of a span.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub fn parts(&self, span_end_ms: i64) -> Result<SpanParts, Error> {
        let path = self.path(span_end_ms);
        let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
        each(&path, |id, _| *counts.entry(id).or_default() += 1)?;
        let mut passes: Vec<RangeInclusive<u32>> = Vec::new();
        let mut points = u64::MAX;
        for (id, count) in counts {
            points = points.saturating_add(count);
            match passes.last_mut() {
                Some(pass) if points <= self.pass_points => *pass = *pass.start()..=id,
                _ => {
                    passes.push(id..=id);
                    points = count;
                }
            }
        }
        Ok(SpanParts { path, passes: passes.into_iter(), pass_points: self.pass_points, repeated: 0 })
    }

    fn flush(&mut self) -> Result<(), Error> {
        // Stable: of points at one time the last one counts.
        self.buffer.sort_by_key(|record| record.span_end_ms);
        for run in self.buffer.chunk_by(|a, b| a.span_end_ms == b.span_end_ms) {
            let Some(first) = run.first() else { continue };
            let path = self.path(first.span_end_ms);
            let file = OpenOptions::new().create(true).append(true).open(&path).map_err(io("open", &path))?;
            let mut out = BufWriter::new(file);
            for record in run {
                let mut bytes = [0; RECORD_BYTES];
                bytes[..4].copy_from_slice(&record.id.to_le_bytes());
                bytes[4..12].copy_from_slice(&record.at_ms.to_le_bytes());
                bytes[12..].copy_from_slice(&record.value.to_le_bytes());
                out.write_all(&bytes).map_err(io("write", &path))?;
            }
            out.flush().map_err(io("write", &path))?;
            *self.spans.entry(first.span_end_ms).or_default() += run.len() as u64;
        }
        self.buffer.clear();
        Ok(())
    }

    fn path(&self, span_end_ms: i64) -> PathBuf {
        self.dir.join(format!("span-{span_end_ms}"))
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        let _ = remove(&self.dir);
    }
}

impl SpanParts {
    /// Points that others of the same series and time replaced, in the parts so
    /// far.
    pub fn repeated(&self) -> u64 {
        self.repeated
    }

    /// The next part; of points at one time the last one that was added.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub fn next_part(&mut self) -> Result<Option<Part>, Error> {
        let Some(pass) = self.passes.next() else { return Ok(None) };
        let mut points: Vec<(u32, Sample)> = Vec::new();
        let mut most = usize::try_from(2 * self.pass_points).unwrap_or(usize::MAX);
        let mut all = 0;
        each(&self.path, |id, sample| {
            if pass.contains(&id) {
                all += 1;
                points.push((id, sample));
                // One series may have any number of points of the same times.
                if points.len() >= most {
                    settle(&mut points);
                    most = most.max(2 * points.len());
                }
            }
        })?;
        settle(&mut points);
        self.repeated += all - points.len() as u64;
        let mut part = Part::new();
        for series in points.chunk_by(|a, b| a.0 == b.0) {
            let samples = series.iter().map(|(_, sample)| *sample).collect();
            part.extend(series.first().map(|(id, _)| (SeriesId(*id), samples)));
        }
        Ok(Some(part))
    }
}

/// Orders points by series and time; of those at one time the last one stays.
fn settle(points: &mut Vec<(u32, Sample)>) {
    let key = |(id, sample): &(u32, Sample)| (*id, sample.timestamp_ms);
    points.sort_by_key(key);
    points.dedup_by(|next, kept| {
        let is_same = key(next) == key(kept);
        if is_same {
            *kept = *next;
        }
        is_same
    });
}

fn each(path: &Path, mut take: impl FnMut(u32, Sample)) -> Result<(), Error> {
    let file = File::open(path).map_err(io("open", path))?;
    let count = file.metadata().map_err(io("measure", path))?.len() / RECORD_BYTES as u64;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    for _ in 0..count {
        let mut bytes = [0; RECORD_BYTES];
        reader.read_exact(&mut bytes).map_err(io("read", path))?;
        let [a, b, c, d, rest @ ..] = bytes;
        let (at, value) = rest.split_at(8);
        let timestamp_ms = i64::from_le_bytes(at.try_into().unwrap_or_default());
        let value = f64::from_le_bytes(value.try_into().unwrap_or_default());
        take(u32::from_le_bytes([a, b, c, d]), Sample { timestamp_ms, value });
    }
    Ok(())
}

/// Removes what an import that was broken off left in `dir`, if there is any.
///
/// # Errors
/// [`Error::Io`]
pub fn remove(dir: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io("remove", dir)(error)),
        _ => Ok(()),
    }
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Io { action, path: path.into(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the map that it stands for.
    #[test]
    fn any_number_of_points_at_the_same_times_is_the_last_of_each() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(&dir.path().join("spool")).unwrap();
        (spool.buffer_points, spool.pass_points) = (7, 5);
        let mut expected = BTreeMap::new();
        for at in 0..1_000i64 {
            let (id, at_ms, value) = ((at % 2) as u32, at * 7 % 11, at as f64);
            spool.push(10, SeriesId(id), Sample { timestamp_ms: at_ms, value }).unwrap();
            expected.insert((id, at_ms), value);
        }
        spool.spans().unwrap();
        let mut found = BTreeMap::new();
        let mut parts = spool.parts(10).unwrap();
        while let Some(part) = parts.next_part().unwrap() {
            for (id, samples) in part {
                assert!(samples.is_sorted_by(|a, b| a.timestamp_ms < b.timestamp_ms));
                found.extend(samples.iter().map(|sample| ((id.0, sample.timestamp_ms), sample.value)));
            }
        }
        assert_eq!(found, expected);
        assert_eq!(parts.repeated(), 1_000 - expected.len() as u64);
    }

    #[test]
    fn points_come_back_by_span_and_series_in_time_whatever_the_passes() {
        for (buffer_points, pass_points) in [(1, 1), (3, 4), (1000, 1000)] {
            let dir = tempfile::tempdir().unwrap();
            let mut spool = Spool::new(&dir.path().join("spool")).unwrap();
            (spool.buffer_points, spool.pass_points) = (buffer_points, pass_points);
            for (span, id, at_ms, value) in [
                (20, 7, 15, 1.0),
                (10, 3, 5, 2.0),
                (10, 1, 9, 3.0),
                (10, 1, 4, 4.0),
                (10, 1, 9, 5.0),
                (10, 2, 1, 6.0),
            ] {
                spool.push(span, SeriesId(id), Sample { timestamp_ms: at_ms, value }).unwrap();
            }
            assert_eq!(spool.spans().unwrap(), [10, 20]);
            let mut found = Vec::new();
            let mut parts = spool.parts(10).unwrap();
            while let Some(part) = parts.next_part().unwrap() {
                for (id, samples) in part {
                    found.extend(samples.iter().map(|sample| (id.0, sample.timestamp_ms, sample.value)));
                }
            }
            assert_eq!(found, [(1, 4, 4.0), (1, 9, 5.0), (2, 1, 6.0), (3, 5, 2.0)]);
            drop(spool);
            assert!(!dir.path().join("spool").exists());
        }
    }
}
