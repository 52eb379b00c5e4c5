//! Timers that are handed on as they lie in their chunks, for who adds them up.
//!
//! Nothing is put in order here. Where points are not in order already, or are
//! none that [`Distributions`] takes, the reader is told to read the usual way.

use super::chunk::read_distributions;
use super::distributions::Distributions;
use super::error::Error;
use super::reading::{ChunkAt, Reading, within_type};
use crate::lock::lock;
use crate::model::{Points, SeriesId};

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

impl Reading {
    /// Hands the windows of the timers at these places, which ascend, to `each`,
    /// those of a series in ascending time, as long as it returns true. False
    /// when not all were handed on: these must be read by [`Reading::read`], and
    /// what was handed on is void.
    ///
    /// # Errors
    /// [`Error::Io`]. What is damaged is left out, logged and counted.
    pub fn visit(
        &self,
        places: &[usize],
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
        for block in &self.blocks {
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
        let log = self.take_log(places);
        goes_on = log.iter().all(|(place, points)| {
            let Points::Histograms(points) = points else { return false };
            let ascend = points.windows(2).all(|pair| pair[0].0 < pair[1].0);
            ascend && windows.fill(points, &self.range).is_some() && visited(*place, windows)
        });
        if !goes_on {
            let mut all = lock(&self.log);
            for (place, points) in log {
                if let Some(slot) = all.get_mut(place) {
                    *slot = points;
                }
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
