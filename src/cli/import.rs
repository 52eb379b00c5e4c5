//! Files of other tools into the data directory, for the terminal.

use super::store::{Meter, counted};
use crate::catalogue::Catalogue;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::daemon::{retention_change, store_options};
use crate::exchange::import::{Handle, Import, Imported, LabelLimits, Refused, SPOOL_DIR};
use crate::exchange::{open_metrics, whisper};
use crate::store::{FsBackend, Store};
use clap::Args;
use flate2::read::MultiGzDecoder;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const EXAMPLES: &str = "\
A folder is a tree of Whisper files: web/errors.wsp becomes the gauge web.errors. Any other file is OpenMetrics
or Prometheus text with a time on each line, by gzip too; - is stdin. Points go where nothing was written before;
those of a time that has data already, or that is older than what is kept, are left out and counted.

Examples:
  statsdeck import /var/lib/graphite/whisper
  statsdeck import --data-dir /var/lib/statsdeck metrics.om.gz
  promtool tsdb dump-openmetrics /var/lib/prometheus | statsdeck import --sampled -";

/// First bytes of what is packed by gzip.
const GZIP: [u8; 2] = [0x1f, 0x8b];

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ImportArgs {
    /// Files and folders to read.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Keep values of text as they are, as remote write does: series that go on by remote write need it. Else they
    /// become what StatsD would have made of them, and a counter that begins anew goes on as a total that does not.
    #[arg(long)]
    sampled: bool,
}

pub fn import(config: &Config, args: &ImportArgs) -> anyhow::Result<()> {
    let now_ms = SystemClock.now_ms();
    let catalogue = Arc::new(Catalogue::new(config.series_max));
    let (store, recovered) = Store::open(store_options(config), FsBackend, catalogue.clone(), now_ms)?;
    let losses = store.losses(now_ms)?;
    anyhow::ensure!(
        losses.is_empty() || config.accepts_loss,
        "is this the daemon's config (--config)? {}",
        retention_change::refusal(&losses)
    );
    let spool = config.data_dir.join(SPOOL_DIR);
    let limits =
        LabelLimits { labels_max: config.table.labels_max, label_bytes_max: config.table.label_bytes_max };
    let mut import = Import::new(&store, &catalogue, &recovered, limits, &spool, now_ms)?;
    let mut meter = Meter::new("reading");
    for path in &args.files {
        if path.is_dir() || path.extension().is_some_and(|extension| extension == "wsp") {
            take_whisper(&mut import, path, now_ms, &mut meter)?;
        } else {
            take_text(&mut import, path, args.sampled, &mut meter)?;
        }
    }
    meter.clear();
    let mut meter = Meter::new("writing");
    let imported = import.finish(|done, all| meter.tell(done, all))?;
    meter.clear();
    build_tiers(&store, now_ms)?;
    io::stdout().lock().write_all(text(&imported).as_bytes())?;
    // Nor where there was nothing: who writes into our pipe may have failed.
    anyhow::ensure!(imported.samples > 0, "nothing was imported");
    Ok(())
}

/// What is older than its windows are kept shall not wait for the daemon.
fn build_tiers(store: &Store, now_ms: i64) -> anyhow::Result<()> {
    let mut meter = Meter::new("building coarser steps");
    let mut built = 0;
    loop {
        let done = store.maintain(now_ms)?;
        anyhow::ensure!(done.builds_failed == 0, "a block cannot be built; the log says why");
        if done.blocks_built == 0 {
            meter.clear();
            return Ok(());
        }
        built += done.blocks_built as u64;
        // How many there will be is not known.
        meter.tell(built, built + 1);
    }
}

fn take_whisper(import: &mut Import<'_>, root: &Path, now_ms: i64, meter: &mut Meter) -> anyhow::Result<()> {
    let files = whisper::files(root)?;
    anyhow::ensure!(!files.is_empty(), "{}: there are no .wsp files in it", root.display());
    let all = files.len() as u64;
    let now_s = u64::try_from(now_ms / 1000).unwrap_or_default();
    for (at, file) in files.into_iter().enumerate() {
        let series = import.series(file.key);
        for sample in whisper::read(&file.path, now_s)? {
            import.point(series, sample)?;
        }
        meter.tell(at as u64 + 1, all);
    }
    Ok(())
}

fn take_text(import: &mut Import<'_>, path: &Path, sampled: bool, meter: &mut Meter) -> anyhow::Result<()> {
    // Of what is packed or comes through a pipe, the length is not known.
    let mut bytes = None;
    let plain: Box<dyn BufRead> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let file =
            File::open(path).map_err(|error| anyhow::anyhow!("cannot open {}: {error}", path.display()))?;
        bytes = file.metadata().ok().map(|metadata| metadata.len());
        Box::new(BufReader::with_capacity(1 << 20, file))
    };
    let unread = |error| anyhow::anyhow!("cannot read {}: {error}", path.display());
    let (is_gzip, mut source) = unpacked(plain).map_err(unread)?;
    bytes = bytes.filter(|_| !is_gzip);
    // As many as there are series.
    let mut known: HashMap<Box<str>, Handle> = HashMap::new();
    let read = open_metrics::read(path, &mut source, |line, key, read| {
        if let Some(bytes) = bytes {
            meter.tell(read, bytes);
        }
        let series = match known.get(line.series) {
            Some(series) => *series,
            None => {
                let key = key()?;
                let series = import.series(if sampled { open_metrics::sampled(key) } else { key });
                if series.is_ok() {
                    known.insert(line.series.into(), series);
                }
                series
            }
        };
        import.point(series, line.sample)
    })?;
    if let (Some(end), Some(behind)) = (read.end_line, read.line_behind_end) {
        eprintln!(
            "statsdeck: {}:{behind}: there is more behind the '# EOF' of line {end}; it is taken as well",
            path.display()
        );
    }
    if read.may_be_cut() {
        eprintln!(
            "statsdeck: {}: there is no '# EOF' at its end, as OpenMetrics has it: is it whole?",
            path.display()
        );
    }
    Ok(())
}

/// Whether it is packed, by its first bytes, and what is in it.
fn unpacked<'a>(mut source: Box<dyn BufRead + 'a>) -> io::Result<(bool, Box<dyn BufRead + 'a>)> {
    let mut head = Vec::new();
    source.by_ref().take(GZIP.len() as u64).read_to_end(&mut head)?;
    let is_gzip = head == GZIP;
    let whole = io::Cursor::new(head).chain(source);
    Ok((
        is_gzip,
        if is_gzip { Box::new(BufReader::new(MultiGzDecoder::new(whole))) } else { Box::new(whole) },
    ))
}

fn text(imported: &Imported) -> String {
    let mut text = format!(
        "imported {} of {} into {}\n",
        counted(imported.samples, "point", "points"),
        counted(imported.series, "series", "series"),
        counted(imported.blocks, "block", "blocks"),
    );
    let Refused { too_old, taken, open, before_total, no_number, .. } = imported.refused;
    let Refused { series_limit, labels_limit, label_bytes_limit, repeated, .. } = imported.refused;
    for (count, why) in [
        (too_old, "older than what is kept (see retention in the config), or than what a coarser tier has"),
        (taken, "of a time that has data already"),
        (open, "of a time that is not over yet, or that the newest data is of"),
        (before_total, "of counters that have later totals already"),
        (no_number, "of counters, no numbers"),
        (series_limit, "of series beyond limits.series"),
        (labels_limit, "of series with more labels than limits.labels"),
        (label_bytes_limit, "of names or labels longer than limits.label_bytes"),
        (repeated, "of a series and time that came again later"),
    ] {
        if count > 0 {
            text.push_str(&format!("left out: {}, {why}\n", counted(count, "point", "points")));
        }
    }
    text
}
