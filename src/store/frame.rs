//! One window as one frame of the write-ahead log, and as the head knows it.
//!
//! A frame is header, data, directory: definitions of the series that no
//! earlier frame of the segment has defined, a section for each kind of
//! samples, and where everything lies. A frame with late values has sections of
//! those besides, and another magic. In memory is the directory's outline
//! alone; samples are read from the file when they are asked for, checked
//! group by group.

use super::backend::File;
use super::coding::{Reader, put_signed, put_varint};
use super::frame_header::{HEADER_BYTES, Header};
use super::late::{self, LateKind, LatePart, put_late, read_late};
use super::sample::{
    End, Kind, Scratch, Value, put_counters, put_distributions, put_ends, put_gauges, put_sets,
};
use super::sample::{read_group, read_ids};
use super::section::{Buffers, ENTRY_BYTES, Section, Table, Wanted};
use super::segment::Segment;
use crate::model::{FlushBatch, TimeRange};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Longest data that are written.
pub(super) const MAX_DATA_BYTES: usize = 1 << 30;
const KINDS: usize = Kind::ALL.len();

/// What goes into a frame.
pub(super) struct Contents<'a> {
    /// Its samples have a place, and ascend by id within their kind.
    pub(super) batch: &'a FlushBatch,
    pub(super) ends: &'a [End],
    pub(super) gone: &'a [End],
    /// As [`super::names`] writes them.
    pub(super) definitions: &'a [u8],
    /// Above every id that was given.
    pub(super) next_id: u32,
}

/// A frame that can be read.
pub(super) struct Frame {
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
    pub(super) next_id: u32,
    segment: Arc<Segment>,
    pub(super) definitions: Definitions,
    pub(super) sections: [Section; KINDS],
    late: Option<Box<LatePart>>,
    bytes: u64,
    samples: u32,
    damaged: AtomicBool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Definitions {
    pub(super) at: u64,
    pub(super) bytes: u32,
    crc: u32,
}

/// Memory that reading frames uses again and again.
#[derive(Default)]
pub(super) struct FrameReader {
    buffers: Buffers,
    scratch: Scratch,
}

/// Writes a frame behind `out`; `None` when it would be too long.
pub(super) fn put_frame(out: &mut Vec<u8>, contents: &Contents<'_>) -> Option<()> {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    let data = out.len();
    out.extend_from_slice(contents.definitions);
    let mut directory = Vec::new();
    put_signed(&mut directory, contents.batch.end_ms);
    put_signed(&mut directory, contents.batch.end_ms - contents.batch.start_ms);
    put_varint(&mut directory, u64::from(contents.next_id));
    put_varint(&mut directory, contents.batch.samples() as u64);
    put_varint(&mut directory, contents.definitions.len() as u64);
    directory.extend_from_slice(&crc32fast::hash(contents.definitions).to_le_bytes());
    let mut tables = Table::default();
    for kind in Kind::ALL {
        let (begin, groups) = (out.len(), tables.groups());
        match kind {
            Kind::Counters => put_counters(out, &mut tables, &contents.batch.counters),
            Kind::Gauges => put_gauges(out, &mut tables, &contents.batch.gauges),
            Kind::Distributions => put_distributions(out, &mut tables, &contents.batch.timers),
            Kind::Sets => put_sets(out, &mut tables, &contents.batch.sets),
            Kind::Ends => put_ends(out, &mut tables, contents.ends),
            Kind::Gone => put_ends(out, &mut tables, contents.gone),
        }
        if out.len() - data > MAX_DATA_BYTES {
            return None;
        }
        put_varint(&mut directory, (tables.groups() - groups) as u64);
        put_varint(&mut directory, (out.len() - begin) as u64);
    }
    let late = &contents.batch.late;
    if let Some(first_ms) = late.first_ms() {
        put_varint(&mut directory, (contents.batch.end_ms - first_ms).unsigned_abs());
        put_varint(&mut directory, late.interval_ms.unsigned_abs());
        for kind in LateKind::ALL {
            let (begin, groups) = (out.len(), tables.groups());
            put_late(out, &mut tables, kind, late, contents.batch.end_ms);
            if out.len() - data > MAX_DATA_BYTES {
                return None;
            }
            put_varint(&mut directory, (tables.groups() - groups) as u64);
            put_varint(&mut directory, (out.len() - begin) as u64);
        }
    }
    let data_bytes = (out.len() - data) as u32;
    directory.extend_from_slice(tables.bytes());
    out.extend_from_slice(&directory);
    let header = Header::new(!late.is_empty(), data_bytes, &directory);
    out.get_mut(start..start + HEADER_BYTES)?.copy_from_slice(&header.bytes());
    Some(())
}

impl Frame {
    /// The frame at byte `at` of the segment; `None` when `directory` is not
    /// as it was written.
    pub(super) fn new(segment: Arc<Segment>, at: u64, header: &Header, directory: &[u8]) -> Option<Frame> {
        if !header.is_of(directory) {
            return None;
        }
        let reader = &mut Reader::new(directory);
        let end_ms = reader.signed()?;
        let start_ms = end_ms.checked_sub(reader.signed()?)?;
        let next_id = u32::try_from(reader.varint()?).ok()?;
        let samples = u32::try_from(reader.varint()?).ok()?;
        let definitions_bytes = u32::try_from(reader.varint()?).ok()?;
        let definitions =
            Definitions { at: at + HEADER_BYTES as u64, bytes: definitions_bytes, crc: reader.fixed_u32()? };
        let mut outlines = Vec::with_capacity(KINDS);
        read_outlines(reader, KINDS, &mut outlines)?;
        let mut late_times = None;
        if header.has_late {
            let first_ms = end_ms.checked_sub(i64::try_from(reader.varint()?).ok()?)?;
            late_times = Some((first_ms, i64::try_from(reader.varint()?).ok()?));
            read_outlines(reader, LateKind::ALL.len(), &mut outlines)?;
        }
        let mut data_at = definitions.at + u64::from(definitions.bytes);
        let data_end = definitions.at + u64::from(header.data_bytes);
        let mut sections = Vec::with_capacity(outlines.len());
        let mut rest = reader.rest();
        for (groups, bytes) in outlines {
            let table_at = data_end + (directory.len() - rest.len()) as u64;
            let (table, behind) = rest.split_at_checked(groups.checked_mul(ENTRY_BYTES)?)?;
            sections.push(Section::new(data_at, bytes, table_at, table)?);
            data_at += u64::from(bytes);
            rest = behind;
        }
        let whole = rest.is_empty() && data_at == data_end;
        let late_sections = sections.split_off(KINDS);
        let late = match late_times {
            Some((first_ms, interval_ms)) => {
                let sections = late_sections.try_into().ok()?;
                Some(Box::new(LatePart { first_ms, interval_ms, sections }))
            }
            None => None,
        };
        let sections: [Section; KINDS] = sections.try_into().ok()?;
        let (bytes, damaged) = (header.frame_bytes(), AtomicBool::new(false));
        let frame = Frame {
            start_ms,
            end_ms,
            next_id,
            segment,
            definitions,
            sections,
            late,
            bytes,
            samples,
            damaged,
        };
        whole.then_some(frame)
    }

    pub(super) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// Bytes of all of it in the file.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Number of samples in it.
    pub(super) fn samples(&self) -> usize {
        self.samples as usize
    }

    /// Bytes of samples in the file, without late values.
    pub(super) fn data_bytes(&self) -> u64 {
        self.sections.iter().map(|section| u64::from(section.data_bytes())).sum()
    }

    /// Bytes of late values in the file.
    pub(super) fn late_bytes(&self) -> u64 {
        let sections = self.late.iter().flat_map(|late| &late.sections);
        sections.map(|section| u64::from(section.data_bytes())).sum()
    }

    /// Bytes of memory.
    pub(super) fn memory(&self) -> usize {
        let sections = self.sections.iter().map(|section| section.memory() - size_of::<Section>());
        let late = self.late.iter().map(|late| {
            let sections = late.sections.iter().map(|section| section.memory() - size_of::<Section>());
            size_of::<LatePart>() + sections.sum::<usize>()
        });
        size_of::<Self>() + 16 + sections.sum::<usize>() + late.sum::<usize>()
    }

    /// Whether a sample of it may have a time within `range`: starts of
    /// counters lie at its own start.
    pub(super) fn overlaps(&self, range: &TimeRange) -> bool {
        range.overlaps(&TimeRange { start_ms: self.start_ms, end_ms: self.end_ms })
    }

    /// Its late values, if it has any.
    pub(super) fn late(&self) -> Option<&LatePart> {
        self.late.as_deref()
    }

    /// Calls `each` with the late values of one kind that are wanted, ascending
    /// by id and then by the end of their window. What is damaged is left out,
    /// and reported once.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn read_late(
        &self,
        file: &dyn File,
        kind: LateKind,
        wanted: Wanted<'_>,
        reader: &mut FrameReader,
        mut each: impl FnMut(u32, i64, late::Value),
    ) -> io::Result<()> {
        let Some(section) = self.late().and_then(|late| late.section(kind)) else { return Ok(()) };
        let read = |group: &[u8]| read_late(kind, group, wanted, self.end_ms, &mut each).is_some();
        if !section.visit(file, wanted, &mut reader.buffers, read)? {
            self.report_damaged();
        }
        Ok(())
    }

    /// Calls `each` with the samples of one kind that are wanted, ascending by
    /// id. What is damaged is left out, and reported once.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn read(
        &self,
        file: &dyn File,
        kind: Kind,
        wanted: Wanted<'_>,
        reader: &mut FrameReader,
        mut each: impl FnMut(u32, Value),
    ) -> io::Result<()> {
        let FrameReader { buffers, scratch } = reader;
        let read = |group: &[u8]| read_group(kind, group, wanted, scratch, &mut each).is_some();
        if !self.section(kind).visit(file, wanted, buffers, read)? {
            self.report_damaged();
        }
        Ok(())
    }

    /// As [`Frame::read_late`], the ids alone, each once.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn read_late_ids(
        &self,
        file: &dyn File,
        kind: LateKind,
        wanted: Wanted<'_>,
        reader: &mut FrameReader,
        mut each: impl FnMut(u32),
    ) -> io::Result<()> {
        let Some(section) = self.late().and_then(|late| late.section(kind)) else { return Ok(()) };
        let FrameReader { buffers, scratch } = reader;
        let read = |group: &[u8]| read_ids(group, wanted, scratch, &mut each).is_some();
        if !section.visit(file, wanted, buffers, read)? {
            self.report_damaged();
        }
        Ok(())
    }

    /// As [`Frame::read`], the ids alone.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn read_ids(
        &self,
        file: &dyn File,
        kind: Kind,
        wanted: Wanted<'_>,
        reader: &mut FrameReader,
        mut each: impl FnMut(u32),
    ) -> io::Result<()> {
        let FrameReader { buffers, scratch } = reader;
        let read = |group: &[u8]| read_ids(group, wanted, scratch, &mut each).is_some();
        if !self.section(kind).visit(file, wanted, buffers, read)? {
            self.report_damaged();
        }
        Ok(())
    }

    /// The names of series that it defines; `None` when they are damaged.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn definitions(&self, file: &dyn File) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = vec![0; self.definitions.bytes as usize];
        file.read_at(&mut bytes, self.definitions.at)?;
        Ok((crc32fast::hash(&bytes) == self.definitions.crc).then_some(bytes))
    }

    /// Whether every byte of it is as it was written.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn is_whole(&self, file: &dyn File, reader: &mut FrameReader) -> io::Result<bool> {
        let mut whole = self.definitions(file)?.is_some();
        for kind in Kind::ALL {
            let FrameReader { buffers, scratch } = &mut *reader;
            let read = |group: &[u8]| read_group(kind, group, Wanted::ALL, scratch, |_, _| {}).is_some();
            whole &= self.section(kind).visit(file, Wanted::ALL, buffers, read)?;
        }
        for kind in LateKind::ALL {
            let Some(section) = self.late().and_then(|late| late.section(kind)) else { break };
            let read =
                |group: &[u8]| read_late(kind, group, Wanted::ALL, self.end_ms, |_, _, _| {}).is_some();
            whole &= section.visit(file, Wanted::ALL, &mut reader.buffers, read)?;
        }
        Ok(whole)
    }

    /// Whether all checksums are right. A frame that is not whole all the same
    /// has a form that is not known.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn is_sound(&self, file: &dyn File) -> io::Result<bool> {
        let mut sound = self.definitions(file)?.is_some();
        let late = self.late().into_iter().flat_map(|late| &late.sections);
        for section in self.sections.iter().chain(late) {
            section.groups(file, |group| sound &= group.is_sound)?;
        }
        Ok(sound)
    }

    /// Notes that something of it is damaged.
    pub(super) fn report_damaged(&self) {
        if !self.damaged.swap(true, Ordering::Relaxed) {
            self.segment.note_loss();
            tracing::error!(
                path = %self.segment.path().display(),
                window_end_ms = self.end_ms,
                "samples of a window cannot be read and are left out"
            );
        }
    }

    /// Whether something of it was found to be damaged.
    pub(super) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    fn section(&self, kind: Kind) -> &Section {
        &self.sections[kind as usize]
    }
}

/// Groups and bytes of so many sections.
fn read_outlines(reader: &mut Reader<'_>, count: usize, out: &mut Vec<(usize, u32)>) -> Option<()> {
    for _ in 0..count {
        out.push((usize::try_from(reader.varint()?).ok()?, u32::try_from(reader.varint()?).ok()?));
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::backend::Backend;
    use super::super::memory::MemoryBackend;
    use super::super::names::NameWriter;
    use super::*;
    use crate::model::batch::{CounterValue, GaugeValue};
    use crate::model::late::LateValue;
    use crate::model::{Histogram, Late, SeriesId, Sketch};
    use proptest::prelude::*;
    use std::path::Path;

    fn written() -> Vec<u8> {
        let mut sketch = Sketch::default();
        sketch.insert(b"ann");
        let batch = FlushBatch {
            start_ms: 1_700_000_000_000,
            end_ms: 1_700_000_010_000,
            counters: (0..300)
                .map(|id| CounterValue { id: SeriesId(id), total: f64::from(id), start_total: None })
                .collect(),
            gauges: vec![GaugeValue { id: SeriesId(900), last: 1.5, min: -1.0, max: 2.0 }],
            timers: vec![(SeriesId(901), Histogram::from_values([(0.25, 2.0)]))],
            sets: vec![(SeriesId(902), sketch)],
            late: Late {
                interval_ms: 10_000,
                counters: vec![LateValue { id: SeriesId(5), end_ms: 1_699_999_990_000, value: 2.0 }],
                ..Late::default()
            },
            ..FlushBatch::default()
        };
        let mut names = NameWriter::default();
        names.push(7, b"some.name");
        let ends = [(SeriesId(903), Some(4.5))];
        let contents = Contents {
            batch: &batch,
            ends: &ends,
            gone: &[],
            definitions: &names.into_bytes(),
            next_id: 1_000,
        };
        let mut out = Vec::new();
        put_frame(&mut out, &contents).unwrap();
        out
    }

    fn opened(bytes: &[u8]) -> Option<(Frame, Box<dyn File>)> {
        let backend = MemoryBackend::new();
        backend.put(Path::new("/wal"), bytes);
        let header = Header::read(bytes)?;
        let (at, length) = header.directory();
        let directory = bytes.get(at as usize..at as usize + length)?;
        let segment = Arc::new(Segment::new("/wal".into(), None, Arc::default()));
        Some((Frame::new(segment, 0, &header, directory)?, backend.open(Path::new("/wal")).unwrap()))
    }

    #[test]
    fn a_frame_reads_back() {
        let bytes = written();
        let (frame, file) = opened(&bytes).unwrap();
        let mut reader = FrameReader::default();
        assert!(frame.is_whole(&*file, &mut reader).unwrap());
        assert_eq!((frame.start_ms, frame.end_ms), (1_700_000_000_000, 1_700_000_010_000));
        assert_eq!((frame.next_id, frame.samples()), (1_000, 304));
        let mut counts = Vec::new();
        for kind in Kind::ALL {
            let mut read = Vec::new();
            frame.read(&*file, kind, Wanted::ALL, &mut reader, |id, value| read.push((id, value))).unwrap();
            let mut ids = Vec::new();
            frame.read_ids(&*file, kind, Wanted::ALL, &mut reader, |id| ids.push(id)).unwrap();
            assert!(ids.iter().eq(read.iter().map(|(id, _)| id)));
            counts.push(read.len());
        }
        assert_eq!(counts, [300, 1, 1, 1, 1, 0]);
        let mut one = None;
        frame
            .read(&*file, Kind::Counters, Wanted::Ids(&[299]), &mut reader, |_, value| one = Some(value))
            .unwrap();
        assert_eq!(one, Some(Value::Counter(299.0, None)));
        let mut found = Vec::new();
        let each = |id, at, value| found.push((id, at, value));
        frame.read_late(&*file, LateKind::Counters, Wanted::ALL, &mut reader, each).unwrap();
        assert_eq!(found, [(5, 1_699_999_990_000, late::Value::Counter(2.0))]);
    }

    #[test]
    fn any_flipped_bit_is_noticed_and_the_next_frame_found() {
        let bytes = written();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            if let Some((frame, file)) = opened(&bad) {
                let whole = frame.is_whole(&*file, &mut FrameReader::default()).unwrap();
                assert!(!whole, "bit {bit} went unnoticed");
            }
            if Header::read(&bad).is_none() {
                bad.extend_from_slice(&bytes);
                assert_eq!(Header::find(&bad[1..]), Some(bytes.len() - 1), "bit {bit}");
            }
        }
    }

    proptest! {
        #[test]
        fn foreign_directories_do_no_harm(directory: Vec<u8>, data_bytes in 0u32..99, has_late: bool) {
            let header = Header::new(has_late, data_bytes, &directory);
            let segment = Arc::new(Segment::new("/wal".into(), None, Arc::default()));
            let _ = Frame::new(segment, 0, &header, &directory);
        }
    }
}
