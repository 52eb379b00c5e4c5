//! Data as files, for the terminal: `export`, and what times and percentiles
//! look like there.

use super::output::Output;
use super::store::{Meter, counted};
use crate::catalogue::Catalogue;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::exchange::export::Export;
use crate::exchange::live_store::LiveStore;
use crate::exchange::row::{RowFormat, RowWriter};
use crate::exchange::{hdr_log, open_metrics_text};
use crate::model::{TimeRange, duration};
use crate::query::parse_selector;
use crate::store::inspect::is_data_dir;
use crate::store::{FsBackend, Options, ReadOnly, Store};
use clap::{Args, ValueEnum};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const EXPORT_EXAMPLES: &str = "\
Reads the data directory itself, also while the daemon runs; what is in the open window is not there yet.
Rows come in slices of time, within a slice series by series.

Examples:
  statsdeck export --from 1d > all.csv
  statsdeck export -o all.csv.gz
  statsdeck export --match '{__name__=~\"etl.*\"}' --from 2026-11-01 --to 2026-11-08 --format jsonl -o etl.jsonl
  statsdeck export --match 'etl_duration{job=\"load\"}' --from 1h --percentiles 50,99,99.9
  statsdeck export --match etl_duration --from 1h --format hdr -o etl.hlog
  statsdeck export --from 30d --format openmetrics -o all.om && promtool tsdb create-blocks-from openmetrics all.om";

#[derive(Debug, Args)]
#[command(after_help = EXPORT_EXAMPLES)]
pub struct ExportArgs {
    /// Which series, as PromQL selects them; all of them without it. May be repeated.
    #[arg(long = "match", value_name = "SELECTOR")]
    matches: Vec<String>,
    /// Begin: RFC 3339, a date (UTC), seconds since the epoch, or an age such as 12h or 7d; else all there is.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// End, this moment included; else now.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    #[arg(long, value_enum, default_value = "csv")]
    format: Format,
    /// Percentiles of timers, histograms and distributions.
    #[arg(long, value_delimiter = ',', value_name = "P,...", default_value = "50,90,95,99")]
    percentiles: Vec<f64>,
    /// Of hdr: what values are multiplied with; else 1000000 for timers (they become microseconds), 1 for others.
    #[arg(long, value_name = "FACTOR")]
    scale: Option<f64>,
    /// Of hdr: the length of a window, such as 10s; else that of the newest ones in the data.
    #[arg(long, value_name = "DURATION")]
    window: Option<String>,
    /// File to write, packed when it ends in .gz; it has its name once it is whole. Else, or with -, to stdout.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A header, then a row a point.
    Csv,
    /// A JSON object a point.
    Jsonl,
    /// An HDR histogram log (V2, deflated) of one timer.
    Hdr,
    /// OpenMetrics text with times, as promtool's create-blocks-from takes it.
    #[value(name = "openmetrics")]
    OpenMetrics,
    /// A Parquet file, the columns of csv; needs -o, and a build with the feature parquet.
    Parquet,
}

pub fn export(config: &Config, args: &ExportArgs) -> anyhow::Result<()> {
    let now_ms = SystemClock.now_ms();
    let from = args.from.as_deref().map(|text| parse_time(text, now_ms)).transpose()?;
    let to = args.to.as_deref().map(|text| parse_time(text, now_ms)).transpose()?;
    if let Some(from_ms) = from {
        anyhow::ensure!(from_ms <= to.unwrap_or(now_ms), "--from is after --to");
    }
    for percentile in &args.percentiles {
        anyhow::ensure!(
            (0.0..=100.0).contains(percentile),
            "percentile {percentile} is not within 0 and 100"
        );
    }
    if let Some(scale) = args.scale {
        anyhow::ensure!(scale.is_finite() && scale > 0.0, "--scale must be above 0");
    }
    let window_ms = args.window.as_deref().map(parse_window).transpose()?;
    let mut alternatives = Vec::new();
    for selector in &args.matches {
        alternatives.extend(parse_selector(selector)?);
    }
    if alternatives.is_empty() {
        alternatives.push(Vec::new());
    }
    ensure_there(&config.data_dir)?;
    let store = LiveStore::new(|| open_for_reading(config, now_ms))?;
    // All that is there, whatever the config would keep.
    let there = store.look(Store::range).unwrap_or(TimeRange { start_ms: now_ms, end_ms: now_ms });
    let range = TimeRange {
        start_ms: from.unwrap_or(i64::MIN).max(there.start_ms),
        end_ms: to.unwrap_or(now_ms.max(there.end_ms)),
    };
    let export = Export { alternatives, range, points_max: Export::POINTS_MAX };
    let is_file = args.output.as_deref().is_some_and(|path| path != Path::new("-"));
    if args.format == Format::Parquet {
        // Its end tells where all is: nothing for a pipe to a terminal.
        anyhow::ensure!(is_file, "a Parquet file needs a name: -o FILE");
    }
    if let Some(path) = args.output.as_deref().filter(|_| is_file) {
        ensure_outside(path, &config.data_dir)?;
    }
    let mut out = Output::new(args.output.as_deref())?;
    let mut meter = Meter::new("exporting");
    let written = write(&export, &store, args, window_ms, &mut out, &mut meter);
    meter.clear();
    let written = written.and_then(|what| Ok(out.finish().map(|()| what)?));
    let what = written.map_err(|error| match (&args.output, error.downcast_ref::<io::Error>()) {
        (Some(path), Some(io)) if is_file => anyhow::anyhow!("cannot write {}: {io}", path.display()),
        _ => error,
    })?;
    if store.is_damaged() {
        eprintln!("statsdeck: some data is damaged and left out; see 'statsdeck store verify'");
    }
    if is_file {
        eprintln!("statsdeck: {what} written");
    }
    Ok(())
}

/// Writes it; says what there is of it.
fn write(
    export: &Export,
    store: &LiveStore<'_>,
    args: &ExportArgs,
    window_ms: Option<u64>,
    out: &mut Output,
    meter: &mut Meter,
) -> anyhow::Result<String> {
    let range = export.range;
    let all = range.end_ms.abs_diff(range.start_ms);
    let progress = |at_ms: i64| meter.tell(at_ms.abs_diff(range.start_ms), all);
    Ok(match args.format {
        Format::Hdr => {
            let written = hdr_log::write(export, store, out, args.scale, window_ms, progress);
            let written = written.map_err(plain)?;
            if written.clamped > 0 {
                eprintln!(
                    "statsdeck: {} beyond what HDR holds",
                    counted(written.clamped, "value was", "values were")
                );
            }
            counted(written.intervals, "interval", "intervals")
        }
        Format::OpenMetrics => {
            let progress = |done: u64, all: u64| meter.tell(done, all);
            let written =
                open_metrics_text::write(export, store, out, &args.percentiles, progress).map_err(plain)?;
            if written.clashing > 0 {
                eprintln!(
                    "statsdeck: {} left out, as another one has the same escaped form",
                    counted(written.clashing, "name was", "names were")
                );
            }
            counted(written.samples, "sample", "samples")
        }
        Format::Parquet => parquet(export, store, args, out, progress)?,
        Format::Csv | Format::Jsonl => {
            let format = if args.format == Format::Csv { RowFormat::Csv } else { RowFormat::JsonLines };
            let writer = RowWriter { format, percentiles: args.percentiles.clone() };
            counted(export.rows(store, out, &writer, progress).map_err(plain)?, "row", "rows")
        }
    })
}

#[cfg(feature = "parquet")]
fn parquet(
    export: &Export,
    store: &LiveStore<'_>,
    args: &ExportArgs,
    out: &mut Output,
    progress: impl FnMut(i64),
) -> anyhow::Result<String> {
    let rows = crate::exchange::parquet_file::write(export, store, out, &args.percentiles, progress)?;
    Ok(counted(rows, "row", "rows"))
}

#[cfg(not(feature = "parquet"))]
fn parquet(
    _: &Export,
    _: &LiveStore<'_>,
    _: &ExportArgs,
    _: &mut Output,
    _: impl FnMut(i64),
) -> anyhow::Result<String> {
    anyhow::bail!(
        "this statsdeck cannot write Parquet: build it with 'cargo build --release --features parquet'"
    )
}

/// A closed pipe must be known as one.
fn plain(error: crate::exchange::Error) -> anyhow::Error {
    match error {
        crate::exchange::Error::Write(error) => error.into(),
        error => error.into(),
    }
}

fn open_for_reading(config: &Config, now_ms: i64) -> Result<Store, crate::store::Error> {
    let options = Options::new(&config.data_dir)
        .with_retention(i64::MAX)
        .with_tiers(config.tiers.coarser.clone())
        .with_lateness(config.lateness_ms);
    let catalogue = Arc::new(Catalogue::new(usize::MAX));
    Store::open(options, ReadOnly(FsBackend), catalogue, now_ms).map(|(store, _)| store)
}

/// What is exported must not take the place of what it is read from.
fn ensure_outside(output: &Path, data_dir: &Path) -> anyhow::Result<()> {
    // Where a link points; a name that is new has a folder alone.
    let file = output.canonicalize().ok();
    let folder = match file.as_deref().unwrap_or(output).parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let is_inside = match (folder.canonicalize(), data_dir.canonicalize()) {
        (Ok(folder), Ok(data_dir)) => folder == data_dir,
        // Who cannot be found is told of when it is made.
        _ => false,
    };
    anyhow::ensure!(!is_inside, "{} is in the data directory; write it elsewhere", output.display());
    Ok(())
}

/// Nothing is read where nothing is, nor made there.
pub fn ensure_there(data_dir: &Path) -> anyhow::Result<()> {
    let hint = "name another with --data-dir, or the config with --config";
    anyhow::ensure!(data_dir.is_dir(), "there is no data directory {}: {hint}", data_dir.display());
    anyhow::ensure!(
        is_data_dir(&FsBackend, data_dir)?,
        "{} is no data directory of statsdeck: {hint}",
        data_dir.display()
    );
    Ok(())
}

fn parse_window(text: &str) -> anyhow::Result<u64> {
    let length_ms = duration::parse_ms(text).ok().filter(|length_ms| *length_ms > 0);
    length_ms.ok_or_else(|| anyhow::anyhow!("--window {text:?} is no length: write one such as 10s"))
}

/// A time in ms since the epoch: RFC 3339, a date in UTC, seconds, or an age.
pub fn parse_time(text: &str, now_ms: i64) -> anyhow::Result<i64> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(time.as_millisecond());
    }
    if let Ok(date) = text.parse::<jiff::civil::Date>()
        && let Ok(start) = date.to_zoned(jiff::tz::TimeZone::UTC)
    {
        return Ok(start.timestamp().as_millisecond());
    }
    if text == "now" {
        return Ok(now_ms);
    }
    if let Ok(seconds) = text.parse::<f64>()
        && seconds.is_finite()
        && seconds.abs() < 1e11
    {
        return Ok((seconds * 1000.0).round() as i64);
    }
    match duration::parse_ms(text) {
        Ok(age) => Ok(now_ms.saturating_sub(age as i64)),
        Err(_) => anyhow::bail!(
            "{text:?} is no time: write 2026-11-24T14:00:00Z, 2026-11-24, 1764000000, or an age such as 12h or 7d"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_people_write_it() {
        let now_ms = 1_764_000_000_000;
        for (text, expected) in [
            ("2025-11-24T16:00:00Z", Some(now_ms)),
            ("2025-11-24T17:00:00+01:00", Some(now_ms)),
            ("2025-11-24", Some(now_ms - 16 * 3_600_000)),
            ("1764000000", Some(now_ms)),
            ("1764000000.5", Some(now_ms + 500)),
            ("now", Some(now_ms)),
            ("12h", Some(now_ms - 12 * 3_600_000)),
            ("0", Some(0)),
            ("yesterday", None),
            ("", None),
            ("NaN", None),
        ] {
            assert_eq!(parse_time(text, now_ms).ok(), expected, "{text}");
        }
    }
}
