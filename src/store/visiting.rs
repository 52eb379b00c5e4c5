//! Timers that are handed on as they lie in their chunks, for who adds them up.
//!
//! Nothing is put in order here. Where points are not in order already, or are
//! none that [`Distributions`] takes, the reader is told to read the usual way.

use super::chunk::read_distributions;
use super::distributions::Distributions;
use super::error::Error;
use super::reading::{ChunkAt, OpenBlock, Reading, within_type};
use crate::lock::lock;
use crate::model::{Points, SeriesId};
use std::ops::Range;

/// Room to work in, for one visit after the other.
#[derive(Default)]
pub struct Scratch {
    bytes: Vec<u8>,
    windows: Distributions,
}

impl Scratch {
    /// For who does not look at the sums of the values.
    pub fn without_sums() -> Self {
        Scratch { windows: Distributions::without_sums(), ..Scratch::default() }
    }
}

/// A part of the time: blocks that follow one another, behind which the log stands
/// for one more.
pub struct Span(Range<usize>);

impl Reading {
    /// All of the time.
    pub fn whole(&self) -> Span {
        Span(0..self.blocks.len() + 1)
    }

    /// All of the time in `many` spans, the earlier first, that take about as long
    /// to read; `None` where blocks are too large for that.
    pub fn spans(&self, many: usize) -> Option<Vec<Span>> {
        let of_block = |block: &OpenBlock| block.chunks.iter().map(ChunkAt::bytes).sum();
        let mut bytes: Vec<u64> = self.blocks.iter().map(of_block).collect();
        // What takes the memory of a sample in the log takes about a byte in a block.
        bytes.push(lock(&self.log).iter().map(|points| points.weight_from(0) as u64).sum());
        even_runs(&bytes, many).map(|runs| runs.into_iter().map(Span).collect())
    }

    /// Hands the windows that the timers at these places, which ascend, have in the
    /// span to `each`, those of a series in ascending time, as long as it returns
    /// true. False when not all were handed on: these must be read by
    /// [`Reading::read`], and what was handed on is void.
    ///
    /// # Errors
    /// [`Error::Io`]. What is damaged is left out, logged and counted.
    pub fn visit(
        &self,
        (places, span): (&[usize], &Span),
        scratch: &mut Scratch,
        each: &mut dyn FnMut(&Distributions) -> bool,
    ) -> Result<bool, Error> {
        let mut latest_ms = vec![i64::MIN; places.len()];
        let mut visited = |place: usize, windows: &Distributions| {
            let Some((first_ms, last_ms)) = windows.ends_ms() else { return true };
            let latest_ms = places.binary_search(&place).ok().and_then(|at| latest_ms.get_mut(at));
            let ascends = latest_ms.is_some_and(|latest| {
                let ascends = *latest < first_ms;
                *latest = last_ms;
                ascends
            });
            ascends && each(windows)
        };
        let Scratch { bytes, windows } = scratch;
        let mut goes_on = true;
        let Span(Range { start, end }) = span;
        for block in self.blocks.get(*start..self.blocks.len().min(*end)).unwrap_or_default() {
            let chunks: Vec<ChunkAt> =
                places.iter().flat_map(|place| block.chunks_of(&(*place..place + 1))).copied().collect();
            block.each_chunk(self, chunks, bytes, |chunk, key, bytes| {
                let range = within_type(&block.part, key.metric_type, &self.range);
                // Whether it is damaged the usual way tells.
                goes_on = goes_on
                    && read_distributions(bytes, SeriesId(chunk.id), &range, windows).is_some()
                    && visited(chunk.place as usize, windows);
                Ok(true)
            })?;
            if !goes_on {
                return Ok(false);
            }
        }
        if *end <= self.blocks.len() {
            return Ok(true);
        }
        let log = self.take_log(places);
        goes_on = log.iter().all(|(place, points)| {
            let Points::Histograms(points) = points else { return false };
            let ascend = points.windows(2).all(|pair| pair[0].0 < pair[1].0);
            ascend && windows.fill(points, &self.range).is_some() && visited(*place, windows)
        });
        // Another visit, or a reading, may follow.
        let mut all = lock(&self.log);
        for (place, points) in log {
            if let Some(slot) = all.get_mut(place) {
                *slot = points;
            }
        }
        Ok(goes_on)
    }

    fn take_log(&self, places: &[usize]) -> Vec<(usize, Points)> {
        let mut log = lock(&self.log);
        let mut take = |place| Some(std::mem::replace(log.get_mut(place)?, Points::Floats(Vec::new())));
        places.iter().filter_map(|place| Some((*place, take(*place)?))).collect()
    }
}

/// Cuts `weights` into `many` runs of about the same weight; `None` where one would
/// be an eighth beyond that.
fn even_runs(weights: &[u64], many: usize) -> Option<Vec<Range<usize>>> {
    let total: u64 = weights.iter().sum();
    let most = total.checked_div(many as u64)? / 8 * 9;
    let (mut runs, mut start, mut weight) = (Vec::with_capacity(many), 0, 0);
    for (place, own) in weights.iter().enumerate() {
        if place > start && weight + own > most {
            runs.push(start..place);
            (start, weight) = (place, 0);
        }
        weight += own;
        if weight > most {
            return None;
        }
    }
    runs.push(start..weights.len());
    (runs.len() == many).then_some(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_cut_where_that_is_even() {
        let check = |weights: &[u64], many, ends: &[usize]| {
            let runs = even_runs(weights, many).unwrap_or_default();
            let starts = [0].into_iter().chain(ends.iter().copied());
            assert!(
                runs.into_iter().eq(starts.zip(ends).map(|(start, end)| start..*end)),
                "{weights:?} {many}"
            );
        };
        check(&[800, 800, 0], 2, &[1, 3]);
        check(&[800, 900, 40], 2, &[1, 3]);
        check(&[700, 1000, 0], 2, &[]);
        check(&[1600, 0], 2, &[]);
        check(&[0, 0, 1600], 2, &[]);
        check(&[80; 13], 2, &[7, 13]);
        check(&[80; 13], 4, &[]);
        check(&[80; 12], 4, &[3, 6, 9, 12]);
        check(&[80, 80], 4, &[]);
        check(&[80, 80], 1, &[2]);
        check(&[0], 2, &[]);
        check(&[], 0, &[]);
    }
}
