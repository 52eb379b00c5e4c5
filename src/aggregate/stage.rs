//! Lines of a packet that are worked on together.

use super::table::{Found, Table};
use crate::protocol::{Dialect, Line, Reject};

/// Lines at a time: their searches overlap, and they still fit into the
/// processor's first cache.
const LINES: usize = 8;

/// See the module's head.
#[derive(Debug, Default)]
pub struct Stage<'a> {
    texts: [&'a [u8]; LINES],
    lines: [Line<'a>; LINES],
    found: [Option<Found>; LINES],
    len: usize,
}

impl<'a> Stage<'a> {
    pub fn is_full(&self) -> bool {
        self.len == LINES
    }

    /// Adds a line.
    #[inline]
    pub fn read(&mut self, text: &'a [u8], dialect: Dialect) -> Result<(), Reject> {
        self.lines[self.len].read(text, dialect)?;
        self.texts[self.len] = text;
        self.len += 1;
        Ok(())
    }

    /// Looks for the cells that the table has already.
    #[inline]
    pub fn find(&mut self, table: &Table) {
        for (line, found) in self.lines.iter().zip(&mut self.found).take(self.len) {
            *found = line.observations.first().and_then(|first| {
                let spelling = table.hasher.of(line, first.metric_type);
                table.find(spelling, first.metric_type)
            });
        }
    }

    /// The lines as they came, with what was found; none is left.
    pub fn drain(&mut self) -> impl Iterator<Item = (&'a [u8], &Line<'a>, Option<Found>)> {
        let len = std::mem::take(&mut self.len);
        let (texts, lines, found) = (&self.texts, &self.lines, &self.found);
        (0..len).map(move |at| (texts[at], &lines[at], found[at]))
    }
}
