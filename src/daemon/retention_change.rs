//! What a change of the tiers costs, in words: for the one who starts the daemon
//! or checks a config. Nothing is dropped before they agreed.

use super::store_opening::store_options;
use crate::catalogue::Catalogue;
use crate::config::Config;
use crate::model::duration;
use crate::store::{Error, FsBackend, Loss, ReadOnly, Store};
use jiff::Timestamp;
use std::sync::Arc;

/// The words of the command line that agree.
pub const FLAG: &str = "--accept-data-loss";

/// One loss as a sentence.
pub fn describe(loss: &Loss) -> String {
    let of = match loss.resolution_ms {
        0 => "windows".to_owned(),
        step_ms => format!("steps of {}", duration::format_ms(step_ms.unsigned_abs())),
    };
    let why =
        if loss.is_tier_gone { "the config has no such tier any more" } else { "their retention is shorter" };
    let left = match loss.left_ms {
        None => "nothing is left of that time".to_owned(),
        Some(0) => "the windows stay".to_owned(),
        Some(step_ms) => {
            format!("steps of {} are left of its end", duration::format_ms(step_ms.unsigned_abs()))
        }
    };
    format!(
        "{of} from {} to {} will be dropped ({} blocks, {} bytes), as {why}; {left}",
        moment(loss.from_ms),
        moment(loss.until_ms),
        loss.blocks,
        loss.bytes
    )
}

/// Why the daemon does not start.
pub fn refusal(losses: &[Loss]) -> String {
    let losses: Vec<String> = losses.iter().map(describe).collect();
    format!("{}. Start with {FLAG} if that may be, or set the tiers as they were", losses.join("; "))
}

/// What the config would cost of the data that is there, whether a daemon runs
/// or not.
///
/// # Errors
/// When the data cannot be read.
pub fn losses(config: &Config, now_ms: i64) -> Result<Vec<Loss>, Error> {
    if !config.data_dir.is_dir() {
        return Ok(Vec::new());
    }
    let catalogue = Arc::new(Catalogue::new(config.series_max));
    let (store, _) = Store::open(store_options(config), ReadOnly(FsBackend), catalogue, now_ms)?;
    store.losses(now_ms)
}

fn moment(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms} ms"), |moment| moment.to_string())
}
