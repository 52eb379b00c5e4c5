//! How many spellings hold a series, by its number.
//!
//! Numbers are given in order and most of the young ones are held: two bytes a
//! number, in pages that go when nothing in them is held any more.

use crate::model::SeriesId;

/// Numbers of a page.
const PAGE: usize = 1024;

/// See the module's head.
#[derive(Debug, Default)]
pub struct Holders {
    pages: Vec<Option<Box<Page>>>,
}

#[derive(Debug)]
struct Page {
    /// Numbers of this page that anybody holds.
    held: usize,
    /// At its maximum a count stays: who is held by so many is never forgotten.
    counts: [u16; PAGE],
}

impl Holders {
    /// One holder more.
    pub fn hold(&mut self, id: SeriesId) {
        let at = id.0 as usize;
        if self.pages.len() <= at / PAGE {
            self.pages.resize_with(at / PAGE + 1, || None);
        }
        let page = self.pages[at / PAGE].get_or_insert_with(|| Box::new(Page { held: 0, counts: [0; PAGE] }));
        let count = &mut page.counts[at % PAGE];
        page.held += usize::from(*count == 0);
        *count = count.saturating_add(1);
    }

    /// One holder less.
    pub fn release(&mut self, id: SeriesId) {
        let at = id.0 as usize;
        let Some(slot) = self.pages.get_mut(at / PAGE) else { return };
        let Some(page) = slot else { return };
        let count = &mut page.counts[at % PAGE];
        if *count == 0 || *count == u16::MAX {
            return;
        }
        *count -= 1;
        page.held -= usize::from(*count == 0);
        if page.held == 0 {
            *slot = None;
        }
    }

    pub fn is_held(&self, id: SeriesId) -> bool {
        let at = id.0 as usize;
        let page = self.pages.get(at / PAGE).and_then(Option::as_ref);
        page.is_some_and(|page| page.counts[at % PAGE] > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_held_as_often_as_released_is_free() {
        let mut holders = Holders::default();
        let ids = [SeriesId(0), SeriesId(1), SeriesId(5000)];
        for id in ids {
            holders.release(id);
            assert!(!holders.is_held(id), "never held");
            holders.hold(id);
            holders.hold(id);
            holders.release(id);
            assert!(holders.is_held(id));
        }
        ids.iter().for_each(|id| holders.release(*id));
        assert!(ids.iter().all(|id| !holders.is_held(*id)));
        assert!(holders.pages.iter().all(Option::is_none), "no page is kept for nobody");
    }

    #[test]
    fn a_count_at_its_end_stays() {
        let mut holders = Holders::default();
        (0..70_000).for_each(|_| holders.hold(SeriesId(3)));
        (0..70_000).for_each(|_| holders.release(SeriesId(3)));
        assert!(holders.is_held(SeriesId(3)));
    }
}
