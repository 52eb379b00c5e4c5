//! The values of one type in a table, by cell number: a spelling has a cell, and
//! cells of forgotten spellings are used again.
//!
//! A cell number comes from [`Cells::add`] and is good until the cell is
//! removed; the table's index sees to it.

use crate::model::SeriesId;

/// Values of one type, with the series they belong to.
#[derive(Debug)]
pub struct Cells<T> {
    cells: Vec<Cell<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Cell<T> {
    id: SeriesId,
    /// Windows since the last value; 0: the open one has some.
    idle_windows: u32,
    value: T,
}

impl<T> Default for Cells<T> {
    fn default() -> Self {
        Cells { cells: Vec::new(), free: Vec::new() }
    }
}

impl<T: Default> Cells<T> {
    /// Cells in use.
    pub fn len(&self) -> usize {
        self.cells.len() - self.free.len()
    }

    /// A new cell for a series; no value is in the window yet.
    pub fn add(&mut self, id: SeriesId) -> u32 {
        let cell = Cell { id, idle_windows: 1, value: T::default() };
        if let Some(at) = self.free.pop() {
            self.cells[at as usize] = cell;
            return at;
        }
        self.cells.push(cell);
        (self.cells.len() - 1) as u32
    }

    /// The value of a cell, to be changed: the window has values of it now.
    pub fn touch(&mut self, at: u32) -> &mut T {
        let cell = &mut self.cells[at as usize];
        cell.idle_windows = 0;
        &mut cell.value
    }

    /// Whose cell it is.
    pub fn id(&self, at: u32) -> Option<SeriesId> {
        self.cells.get(at as usize).map(|cell| cell.id)
    }

    /// Hands each value of the closing window to `take`, which leaves it as new.
    pub fn drain(&mut self, mut take: impl FnMut(SeriesId, &mut T)) {
        for cell in &mut self.cells {
            if cell.idle_windows == 0 {
                take(cell.id, &mut cell.value);
            }
            cell.idle_windows = cell.idle_windows.saturating_add(1);
        }
    }

    /// Frees the cell if it was silent for more than `idle_max` windows, and
    /// tells whose it was.
    pub fn remove_idle(&mut self, at: u32, idle_max: u32) -> Option<SeriesId> {
        let cell = &mut self.cells[at as usize];
        if cell.idle_windows <= idle_max {
            return None;
        }
        cell.value = T::default();
        self.free.push(at);
        Some(cell.id)
    }
}
