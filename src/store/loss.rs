//! What a change of the tiers would drop of the data that is there.
//!
//! Beside the data stands how it was kept when it was opened last. Where a tier
//! is gone since, or its retention shorter, blocks that were to stay are too old
//! at once: who starts the daemon is asked first. What merely grew old is no
//! change, and nobody is asked. Nothing is dropped here.

use super::block::Block;
use super::error::Error;
use super::options::Options;
use super::store::Store;
use super::upkeep::settled_ms;
use crate::model::duration::{format_ms, parse_ms};
use std::io;
use std::sync::Arc;

/// Name of the file that says how the data is kept: a line for each tier.
pub(super) const TIERS_NAME: &str = "tiers";
/// Longest that is read of it.
const TIERS_BYTES: u64 = 4096;

/// Blocks of one tier that would leave for a change of the config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Step of the points in ms; 0 when they are windows.
    pub resolution_ms: i64,
    /// The config has no such tier any more; else its retention is shorter.
    pub is_tier_gone: bool,
    pub blocks: usize,
    pub bytes: u64,
    /// The time that they cover, in ms since the epoch.
    pub from_ms: i64,
    pub until_ms: i64,
    /// The finest step that stays of the end of that time, in ms; 0 for windows,
    /// `None` when nothing does.
    pub left_ms: Option<i64>,
}

/// Resolution and retention of each tier; windows have the resolution 0.
type Kept = Vec<(i64, i64)>;

impl Store {
    /// What would leave because the options are not those of the last time.
    ///
    /// # Errors
    /// [`Error::Io`] when the file that says so is there and cannot be read.
    pub fn losses(&self, now_ms: i64) -> Result<Vec<Loss>, Error> {
        let now = kept(&self.options);
        let before = self.kept_before()?;
        if before.as_ref() == Some(&now) {
            return Ok(Vec::new());
        }
        let state = self.state();
        let newest_ms = settled_ms(&state, now_ms);
        let blocks = state.blocks.clone();
        drop(state);
        // Those that wait for a coarser tier to take what they have leave, too.
        let is_old = |block: &Arc<Block>| {
            block.footer.end_ms <= newest_ms.saturating_sub(self.options.retention_of(block))
        };
        let (leaving, staying): (Vec<Arc<Block>>, Vec<Arc<Block>>) = blocks.iter().cloned().partition(is_old);
        let (over, _) = self.leaving_and_staying(&blocks, newest_ms);
        let next_ms = |block: &Arc<Block>| {
            let mut coarser =
                self.options.tiers.iter().filter(|tier| tier.resolution_ms > block.footer.resolution_ms);
            let waits = !over.iter().any(|other| Arc::ptr_eq(other, block));
            coarser.next().filter(|_| waits).map(|tier| tier.resolution_ms)
        };
        let retention_of = |kept: &Kept, step_ms: i64| kept.iter().find(|tier| tier.0 == step_ms).copied();
        let mut losses: Vec<Loss> = Vec::new();
        for block in &leaving {
            let footer = &block.footer;
            let tier = retention_of(&now, footer.resolution_ms);
            let old = before.as_ref().and_then(|before| retention_of(before, footer.resolution_ms));
            let is_shorter = old.zip(tier).is_some_and(|(old, tier)| tier.1 < old.1);
            if tier.is_some() && !is_shorter {
                continue;
            }
            let own = losses.iter().position(|loss| loss.resolution_ms == footer.resolution_ms);
            let own = own.unwrap_or_else(|| {
                losses.push(Loss {
                    resolution_ms: footer.resolution_ms,
                    is_tier_gone: tier.is_none(),
                    blocks: 0,
                    bytes: 0,
                    from_ms: i64::MAX,
                    until_ms: i64::MIN,
                    left_ms: None,
                });
                losses.len() - 1
            });
            let Some(loss) = losses.get_mut(own) else { continue };
            loss.blocks += 1;
            loss.bytes += block.bytes();
            loss.from_ms = loss.from_ms.min(footer.start_ms);
            if footer.end_ms > loss.until_ms {
                (loss.until_ms, loss.left_ms) = (footer.end_ms, next_ms(block));
            }
        }
        for loss in &mut losses {
            let covers = |block: &&Arc<Block>| {
                block.footer.start_ms < loss.until_ms && loss.until_ms <= block.footer.end_ms
            };
            let stays = staying.iter().filter(covers).map(|block| block.footer.resolution_ms);
            loss.left_ms = stays.chain(loss.left_ms).min();
        }
        losses.sort_by_key(|loss| loss.resolution_ms);
        Ok(losses)
    }

    /// Notes how the data is kept from now on, for the next time.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub fn note_tiers(&self) -> Result<(), Error> {
        let (backend, path) = (self.backend(), self.dir().join(TIERS_NAME));
        let text: String = kept(&self.options)
            .iter()
            .map(|(resolution_ms, retention_ms)| {
                format!("{} {}\n", text(*resolution_ms), text(*retention_ms))
            })
            .collect();
        if self.read_tiers()?.as_deref() == Some(text.as_bytes()) {
            return Ok(());
        }
        let unfinished = path.with_extension("tmp");
        let file = backend.create(&unfinished).map_err(Error::io("create", &unfinished))?;
        file.write_at(text.as_bytes(), 0).map_err(Error::io("write", &unfinished))?;
        file.sync().map_err(Error::io("sync", &unfinished))?;
        backend.rename(&unfinished, &path).map_err(Error::io("rename", &unfinished))?;
        backend.sync_dir(self.dir()).map_err(Error::io("sync", self.dir()))
    }

    fn kept_before(&self) -> Result<Option<Kept>, Error> {
        let bytes = self.read_tiers()?;
        // What is no list of tiers says nothing.
        Ok(bytes.and_then(|bytes| read(std::str::from_utf8(&bytes).ok()?)))
    }

    fn read_tiers(&self) -> Result<Option<Vec<u8>>, Error> {
        let path = self.dir().join(TIERS_NAME);
        let file = match self.backend().open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("open", &path)(error)),
        };
        let size = file.size().map_err(Error::io("measure", &path))?.min(TIERS_BYTES);
        let mut bytes = vec![0; size as usize];
        file.read_at(&mut bytes, 0).map_err(Error::io("read", &path))?;
        Ok(Some(bytes))
    }
}

fn kept(options: &Options) -> Kept {
    let coarser = options.tiers.iter().map(|tier| (tier.resolution_ms, tier.retention_ms));
    std::iter::once((0, options.retention_ms)).chain(coarser).collect()
}

fn text(ms: i64) -> String {
    u64::try_from(ms).map_or_else(|_| String::new(), |ms| if ms == 0 { "0".into() } else { format_ms(ms) })
}

fn read(text: &str) -> Option<Kept> {
    let ms = |text: &str| if text == "0" { Some(0) } else { i64::try_from(parse_ms(text).ok()?).ok() };
    text.lines()
        .map(|line| {
            let (resolution, retention) = line.split_once(' ')?;
            Some((ms(resolution)?, ms(retention)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_data_is_kept_reads_back() {
        let check =
            |text: &str, kept: Option<&[(i64, i64)]>| assert_eq!(read(text).as_deref(), kept, "{text}");
        check("0 2d\n1m 30d\n", Some(&[(0, 172_800_000), (60_000, 2_592_000_000)]));
        check("", Some(&[]));
        check("1m", None);
        check("1m \n", None);
        check("\0\0", None);
    }
}
