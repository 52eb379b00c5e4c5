//! What is left of a damaged frame: its sound groups, as a frame of its own.
//!
//! Bytes of samples are copied, not read: nothing is lost besides what was
//! damaged. A segment can be read alone, so that a name which was told in what
//! is lost is told again by the next frame that speaks of its series.

use super::backend::File;
use super::coding::{put_signed, put_varint};
use super::frame::{Frame, FrameReader};
use super::frame_header::{HEADER_BYTES, Header};
use super::id_set::IdSet;
use super::late::LateKind;
use super::names::{NameWriter, read_names};
use super::sample::Kind;
use super::section::{Section, Table, Wanted};
use crate::catalogue::Catalogue;
use crate::model::SeriesId;
use std::io;

/// The series that a segment has named so far.
#[derive(Default)]
pub(super) struct DefinedNames {
    defined: IdSet,
    has_losses: bool,
}

impl DefinedNames {
    /// Notes that a frame is lost, and with it names that it may have told.
    pub(super) fn note_loss(&mut self) {
        self.has_losses = true;
    }

    /// The definitions that `frame` needs; `None` when it has them.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn definitions(
        &mut self,
        frame: &Frame,
        file: &dyn File,
        known: &Catalogue,
        reader: &mut FrameReader,
    ) -> io::Result<Option<Vec<u8>>> {
        let own = frame.definitions(file)?;
        self.has_losses |= own.is_none();
        let mut names: Vec<(Vec<u8>, u32)> = Vec::new();
        let _ = read_names(own.as_deref().unwrap_or_default(), |id, key| {
            self.defined.insert(id);
            names.push((key.to_vec(), id));
        });
        if !self.has_losses {
            return Ok(None);
        }
        let mut spoken_of = IdSet::default();
        for kind in Kind::ALL {
            frame.read_ids(file, kind, Wanted::ALL, reader, |id| spoken_of.insert(id))?;
        }
        for kind in LateKind::ALL {
            frame.read_late_ids(file, kind, Wanted::ALL, reader, |id| spoken_of.insert(id))?;
        }
        let told = names.len();
        for id in spoken_of.minus(&self.defined.clone()) {
            if let Some(key) = known.key(SeriesId(id)) {
                self.defined.insert(id);
                names.push((key, id));
            }
        }
        if own.is_some() && told == names.len() {
            return Ok(None);
        }
        names.sort_unstable();
        let mut writer = NameWriter::default();
        names.iter().for_each(|(key, id)| writer.push(*id, key));
        Ok(Some(writer.into_bytes()))
    }
}

/// Writes a frame with the sound groups of `frame` behind `out`; its own
/// definitions, unless there are others.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn put_rest(
    out: &mut Vec<u8>,
    frame: &Frame,
    file: &dyn File,
    definitions: Option<Vec<u8>>,
) -> io::Result<()> {
    let definitions = match definitions {
        Some(definitions) => definitions,
        None => frame.definitions(file)?.unwrap_or_default(),
    };
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    let data = out.len();
    out.extend_from_slice(&definitions);
    let mut directory = Vec::new();
    put_signed(&mut directory, frame.end_ms);
    put_signed(&mut directory, frame.end_ms - frame.start_ms);
    put_varint(&mut directory, u64::from(frame.next_id));
    // As it was: how many the lost ones are is not known.
    put_varint(&mut directory, frame.samples() as u64);
    put_varint(&mut directory, definitions.len() as u64);
    directory.extend_from_slice(&crc32fast::hash(&definitions).to_le_bytes());
    let mut tables = Table::default();
    for section in &frame.sections {
        put_sound(out, &mut directory, &mut tables, section, file)?;
    }
    if let Some(late) = frame.late() {
        put_varint(&mut directory, (frame.end_ms - late.first_ms).unsigned_abs());
        put_varint(&mut directory, late.interval_ms.unsigned_abs());
        for section in &late.sections {
            put_sound(out, &mut directory, &mut tables, section, file)?;
        }
    }
    let data_bytes = (out.len() - data) as u32;
    directory.extend_from_slice(tables.bytes());
    out.extend_from_slice(&directory);
    let header = Header::new(frame.late().is_some(), data_bytes, &directory);
    if let Some(place) = out.get_mut(start..start + HEADER_BYTES) {
        place.copy_from_slice(&header.bytes());
    }
    Ok(())
}

fn put_sound(
    out: &mut Vec<u8>,
    directory: &mut Vec<u8>,
    tables: &mut Table,
    section: &Section,
    file: &dyn File,
) -> io::Result<()> {
    let (begin, groups) = (out.len(), tables.groups());
    section.groups(file, |group| {
        if group.is_sound {
            tables.push(group.first_id, (out.len() - begin) as u32, group.bytes);
            out.extend_from_slice(group.bytes);
        }
    })?;
    put_varint(directory, (tables.groups() - groups) as u64);
    put_varint(directory, (out.len() - begin) as u64);
    Ok(())
}
