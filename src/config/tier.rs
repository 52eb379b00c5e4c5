//! `[[tier]]` and `[store]`: at which steps the past is kept, for how long, and
//! in how much room.

use super::error::Problem;
use super::file;
use super::size;
use crate::model::duration;
use crate::store::Tier;
use toml::Spanned;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Without a config: resolution and retention. The first is that of the windows.
const DEFAULT: [(i64, i64); 3] = [(10_000, 2 * DAY_MS), (60_000, 30 * DAY_MS), (900_000, 730 * DAY_MS)];
const BLOCK_SPANS_MS: std::ops::RangeInclusive<i64> = 1_000..=DAY_MS;
const BLOCK_SPAN_MS: i64 = 2 * HOUR_MS;
/// Least that can be asked for with `store.max_bytes`: a day of a small daemon.
const BYTES_MIN: u64 = 16 << 20;

/// How long what is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tiers {
    /// Of the windows themselves, in ms.
    pub windows_retention_ms: i64,
    /// Coarser ones, ascending.
    pub coarser: Vec<Tier>,
}

impl Tiers {
    /// Without a config: windows and those steps that are made of them.
    fn of_interval(interval_ms: i64) -> Self {
        let fits = |resolution_ms: i64| resolution_ms > interval_ms && resolution_ms % interval_ms == 0;
        let steps = DEFAULT.iter().skip(1).filter(|(resolution_ms, _)| fits(*resolution_ms));
        let coarser: Vec<Tier> = steps
            .map(|(resolution_ms, retention_ms)| Tier {
                resolution_ms: *resolution_ms,
                retention_ms: *retention_ms,
            })
            .collect();
        // As coarse as a step: kept as long as that.
        let own =
            DEFAULT.iter().rfind(|(resolution_ms, _)| *resolution_ms <= interval_ms).or(DEFAULT.first());
        let own_ms = own.map_or(DAY_MS, |(_, retention_ms)| *retention_ms);
        let windows_retention_ms = if coarser.is_empty() { own_ms.max(35 * DAY_MS) } else { own_ms };
        Tiers { windows_retention_ms, coarser }
    }

    /// The longest retention, in ms.
    pub fn retention_ms(&self) -> i64 {
        self.coarser.iter().map(|tier| tier.retention_ms).fold(self.windows_retention_ms, i64::max)
    }
}

/// The tiers, for windows of `interval_ms` in blocks of `block_span_ms`.
pub fn tiers(
    written: Option<&[file::Tier]>,
    interval_ms: i64,
    block_span_ms: i64,
    problems: &mut Vec<Problem>,
) -> Tiers {
    let default = Tiers::of_interval(interval_ms);
    let Some(written) = written else { return default };
    let mut read: Vec<Tier> = Vec::new();
    for (at, tier) in written.iter().enumerate() {
        let key = |name: &str| format!("tier[{at}].{name}");
        let resolution_ms = ms(&tier.resolution, key("resolution"), problems);
        let retention_ms = ms(&tier.retention, key("retention"), problems);
        let mut wrong = |value: &Spanned<String>, name: &str, message: &str| {
            problems.push(Problem::new(value.span(), key(name), message));
        };
        let (Some(resolution_ms), Some(retention_ms)) = (resolution_ms, retention_ms) else { continue };
        if at == 0 && resolution_ms != interval_ms {
            wrong(&tier.resolution, "resolution", "the first tier has the resolution of window.interval");
        }
        if let Some(finer) = read.last() {
            if resolution_ms <= finer.resolution_ms || resolution_ms % finer.resolution_ms != 0 {
                wrong(&tier.resolution, "resolution", "must be a multiple of that of the tier before");
            } else if HOUR_MS % resolution_ms != 0 {
                let message = "must divide an hour; for days of every time zone it is 15m at most";
                wrong(&tier.resolution, "resolution", message);
            }
            if retention_ms < finer.retention_ms {
                wrong(&tier.retention, "retention", "must not be shorter than that of the tier before");
            }
        }
        // Two of the shortest blocks, so that one stays while the other is built.
        if retention_ms < HOUR_MS.min(2 * block_span_ms) {
            wrong(&tier.retention, "retention", "must be 1h at least, or two store.block_span");
        }
        // A step of 0 would be no step; it was told of above.
        read.push(Tier { resolution_ms: resolution_ms.max(1), retention_ms });
    }
    match read.split_first() {
        Some((windows, coarser)) => {
            Tiers { windows_retention_ms: windows.retention_ms, coarser: coarser.to_vec() }
        }
        None => default,
    }
}

/// Bytes that all data may take; `None`: as many as there are.
pub fn max_bytes(written: &file::Store, problems: &mut Vec<Problem>) -> Option<u64> {
    let text = written.max_bytes.as_ref()?;
    let bytes = size::parse_bytes(text.as_ref()).filter(|bytes| *bytes >= BYTES_MIN);
    if bytes.is_none() {
        let message = "must be a size like \"100GiB\", 16MiB at least";
        problems.push(Problem::new(text.span(), "store.max_bytes", message));
    }
    bytes
}

/// Time that a block of windows covers, in ms.
pub fn block_span_ms(written: &file::Store, problems: &mut Vec<Problem>) -> i64 {
    let Some(text) = &written.block_span else { return BLOCK_SPAN_MS };
    let span_ms = ms(text, "store.block_span".into(), problems).unwrap_or(BLOCK_SPAN_MS);
    if !BLOCK_SPANS_MS.contains(&span_ms) {
        problems.push(Problem::new(text.span(), "store.block_span", "must be from 1s to 1d"));
    }
    span_ms
}

fn ms(value: &Spanned<String>, key: String, problems: &mut Vec<Problem>) -> Option<i64> {
    match duration::parse_ms(value.as_ref()) {
        Ok(ms) => i64::try_from(ms).ok(),
        Err(error) => {
            problems.push(Problem::new(value.span(), key, error));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_config_the_steps_are_made_of_windows() {
        let check = |interval_ms, windows_days, steps: &[i64]| {
            let tiers = Tiers::of_interval(interval_ms);
            let found: Vec<i64> = tiers.coarser.iter().map(|tier| tier.resolution_ms).collect();
            assert_eq!(
                (tiers.windows_retention_ms / DAY_MS, &*found),
                (windows_days, steps),
                "{interval_ms}"
            );
        };
        check(10_000, 2, &[60_000, 900_000]);
        check(1_000, 2, &[60_000, 900_000]);
        check(60_000, 30, &[900_000]);
        check(7_000, 35, &[]);
        check(900_000, 730, &[]);
        check(3_600_000, 730, &[]);
    }
}
