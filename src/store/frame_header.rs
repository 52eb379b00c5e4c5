//! The header of a frame: what it is, how long it is, and a checksum of both, so
//! that the next sound one is found behind a damaged place.

use super::coding::Reader;

/// First bytes of a frame, and of one with late values.
const MAGIC: [u8; 4] = *b"SDf1";
const MAGIC_LATE: [u8; 4] = *b"SDf2";
/// What both have in common.
const MAGIC_START: [u8; 3] = *b"SDf";
/// magic, length of the data, length and checksum of the directory, checksum of
/// these sixteen bytes.
pub(super) const HEADER_BYTES: usize = 20;

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) has_late: bool,
    pub(super) data_bytes: u32,
    directory_bytes: u32,
    directory_crc: u32,
}

impl Header {
    /// That of a frame with these parts.
    pub(super) fn new(has_late: bool, data_bytes: u32, directory: &[u8]) -> Header {
        Header {
            has_late,
            data_bytes,
            directory_bytes: directory.len() as u32,
            directory_crc: crc32fast::hash(directory),
        }
    }

    pub(super) fn bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(if self.has_late { &MAGIC_LATE } else { &MAGIC });
        bytes[4..8].copy_from_slice(&self.data_bytes.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.directory_bytes.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.directory_crc.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..16]);
        bytes[16..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header at the front of `bytes`, if there is a sound one.
    pub(super) fn read(bytes: &[u8]) -> Option<Header> {
        let (magic, header) = Header::read_any(bytes)?;
        (magic == MAGIC || magic == MAGIC_LATE).then_some(header)
    }

    /// Whether the front of `bytes` is a sound header of a form that is not known
    /// yet.
    pub(super) fn is_foreign(bytes: &[u8]) -> bool {
        Header::read_any(bytes).is_some_and(|(magic, _)| magic != MAGIC && magic != MAGIC_LATE)
    }

    fn read_any(bytes: &[u8]) -> Option<([u8; 4], Header)> {
        let bytes = bytes.get(..HEADER_BYTES)?;
        let mut fields = Reader::new(bytes);
        let magic: [u8; 4] = fields.take(4)?.try_into().ok()?;
        let (data_bytes, directory_bytes) = (fields.fixed_u32()?, fields.fixed_u32()?);
        let (directory_crc, crc) = (fields.fixed_u32()?, fields.fixed_u32()?);
        let sound = magic.starts_with(&MAGIC_START) && crc32fast::hash(bytes.get(..16)?) == crc;
        let has_late = magic == MAGIC_LATE;
        sound.then_some((magic, Header { has_late, data_bytes, directory_bytes, directory_crc }))
    }

    /// Whether a directory is the one that was written.
    pub(super) fn is_of(&self, directory: &[u8]) -> bool {
        crc32fast::hash(directory) == self.directory_crc
    }

    /// Place of the next sound header in `bytes`, of any form.
    pub(super) fn find(bytes: &[u8]) -> Option<usize> {
        bytes
            .windows(HEADER_BYTES)
            .position(|window| window.starts_with(&MAGIC_START) && Header::read_any(window).is_some())
    }

    /// Bytes of the whole frame.
    pub(super) fn frame_bytes(&self) -> u64 {
        HEADER_BYTES as u64 + u64::from(self.data_bytes) + u64::from(self.directory_bytes)
    }

    /// Where the directory is in a frame, and its length.
    pub(super) fn directory(&self) -> (u64, usize) {
        (HEADER_BYTES as u64 + u64::from(self.data_bytes), self.directory_bytes as usize)
    }
}
