//! The data directory, for the terminal: what is in it, what of it is damaged,
//! and what repairing did.

use crate::model::TimeRange;
use crate::store::FsBackend;
use crate::store::inspect::{
    Aside, Damage, Depth, FileKind, FileReport, Inspection, Progress, Stage, inspect,
};
use crate::store::repair::{DAMAGED_DIR, Left, Outcome, repair};
use clap::Subcommand;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::path::Path;

const REPAIR_EXAMPLES: &str = "\
What is damaged is kept in the folder 'damaged' of the data directory; nothing is deleted. Stop the daemon first.

Examples:
  statsdeck store verify --data-dir /var/lib/statsdeck
  statsdeck store repair --data-dir /var/lib/statsdeck";

#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Say what each file holds: span, series, samples, bytes a sample.
    Stats,
    /// Read everything against its checksums; exit code 1 when something is damaged. Also while the daemon runs.
    Verify,
    /// Move what is damaged aside, and keep the rest.
    #[command(after_help = REPAIR_EXAMPLES)]
    Repair,
}

pub fn run(data_dir: &Path, command: StoreCommand) -> anyhow::Result<()> {
    super::exchange::ensure_there(data_dir)?;
    let mut out = io::stdout().lock();
    let (mut reading, mut repairing) = (Meter::new("reading"), Meter::new("repairing"));
    let told = |at: Progress| match at.stage {
        Stage::Reading => reading.tell(at.bytes_read, at.bytes),
        Stage::Repairing => repairing.tell(at.bytes_read, at.bytes),
    };
    match command {
        StoreCommand::Stats => {
            let found = inspect(&FsBackend, data_dir, Depth::Outline, told)?;
            reading.clear();
            out.write_all(stats_text(&found).as_bytes())?;
            ensure_read(&found, data_dir)
        }
        StoreCommand::Verify => {
            let found = inspect(&FsBackend, data_dir, Depth::Everything, told)?;
            reading.clear();
            out.write_all(verify_text(&found).as_bytes())?;
            let damages = found.damages();
            if damages == 0 {
                return ensure_read(&found, data_dir);
            }
            let unread = match found.unread() {
                0 => String::new(),
                unread => format!(", and {} read", counted(unread, "file cannot be", "files cannot be")),
            };
            anyhow::bail!(
                "{} damaged in {}{unread}; stop the daemon and run 'statsdeck store repair': \
                 it moves them aside and keeps the rest",
                counted(damages, "place is", "places are"),
                data_dir.display()
            );
        }
        StoreCommand::Repair => {
            let outcome = repair(&FsBackend, data_dir, told)?;
            reading.clear();
            repairing.clear();
            out.write_all(repair_text(&outcome).as_bytes())?;
            ensure_repaired(&outcome)
        }
    }
}

fn ensure_read(found: &Inspection, data_dir: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(
        found.unread() == 0,
        "{} read in {}: see to the disk; without what is in it all goes on when the file is moved elsewhere",
        counted(found.unread(), "file cannot be", "files cannot be"),
        data_dir.display()
    );
    Ok(())
}

fn ensure_repaired(outcome: &Outcome) -> anyhow::Result<()> {
    let (unread, failed): (Vec<&Left>, Vec<&Left>) = outcome.left.iter().partition(|left| left.is_unread);
    if outcome.left.is_empty() {
        return Ok(());
    }
    let mut text = counted(outcome.repaired.len() as u64, "file is repaired", "files are repaired");
    if !failed.is_empty() {
        text += &format!(
            ", {} not; nothing is lost: make room or see to the disk, and run 'statsdeck store repair' again: \
             it goes on with what is left",
            counted(failed.len() as u64, "is", "are")
        );
    }
    if !unread.is_empty() {
        text += &format!(
            ", {} cannot be read and stay as they are: see to the disk, or move them elsewhere, which goes \
             without what is in them",
            unread.len()
        );
    }
    anyhow::bail!(text)
}

/// How far something has come, on stderr when that is a terminal.
pub struct Meter {
    what: &'static str,
    is_shown: bool,
    percent: Option<u64>,
}

impl Meter {
    pub fn new(what: &'static str) -> Self {
        Meter { what, is_shown: io::stderr().is_terminal(), percent: None }
    }

    pub fn tell(&mut self, done: u64, all: u64) {
        let percent = done.saturating_mul(100).checked_div(all).unwrap_or(100).min(100);
        if self.is_shown && self.percent != Some(percent) {
            self.percent = Some(percent);
            eprint!("\r{} {percent} %", self.what);
        }
    }

    pub fn clear(&mut self) {
        if self.percent.take().is_some() {
            eprint!("\r{:width$}\r", "", width = self.what.len() + 6);
        }
    }
}

fn stats_text(found: &Inspection) -> String {
    let mut text = format!(
        "{:<26}  {:<20}  {:<20}  {:>9}  {:>12}  {:>12}  {:>8}\n",
        "file", "from", "to", "series", "samples", "bytes", "B/sample"
    );
    for file in &found.files {
        let (from, to) = match file.range {
            Some(range) => (time(range.start_ms), time(range.end_ms)),
            None => ("-".into(), "-".into()),
        };
        let FileReport { name, series, samples, bytes, .. } = file;
        let each = a_sample(*bytes, *samples);
        let _ = writeln!(
            text,
            "{name:<26}  {from:<20}  {to:<20}  {series:>9}  {samples:>12}  {bytes:>12}  {each:>8}"
        );
    }
    for (kind, what) in [(FileKind::Block, "blocks"), (FileKind::Log, "log segments")] {
        let files = || found.files.iter().filter(|file| file.kind == kind);
        let (bytes, samples) = (files().map(|f| f.bytes).sum(), files().map(|f| f.samples).sum());
        let each = a_sample(bytes, samples);
        let title = format!("{} {what}", files().count());
        let _ = writeln!(
            text,
            "{title:<26}  {:<20}  {:<20}  {:>9}  {samples:>12}  {bytes:>12}  {each:>8}",
            "", "", ""
        );
    }
    text.push_str(&unread_text(found));
    text.push_str(&aside_text(found));
    if found.is_running {
        text.push_str("a daemon has the directory open: its log grows\n");
    }
    text
}

fn verify_text(found: &Inspection) -> String {
    let mut text = String::new();
    for file in found.files.iter().filter(|file| file.damages > 0) {
        let _ = writeln!(text, "{}: damaged", file.name);
        text.push_str(&damage_text(&file.damage, file.damages));
    }
    for file in found.files.iter().filter(|file| file.unfinished_bytes > 0) {
        let _ = writeln!(
            text,
            "{}: the last {} are a write that was not finished; no harm, the daemon cuts it away",
            file.name,
            counted(file.unfinished_bytes, "byte", "bytes")
        );
    }
    text.push_str(&unread_text(found));
    text.push_str(&aside_text(found));
    if found.damages() == 0 && found.unread() == 0 {
        let samples: u64 = found.files.iter().map(|file| file.samples).sum();
        let bytes: u64 = found.files.iter().map(|file| file.bytes).sum();
        let files = counted(found.files.len() as u64, "file", "files");
        let _ = writeln!(text, "{files}, {bytes} bytes, {samples} samples: all as they were written");
    }
    text
}

fn unread_text(found: &Inspection) -> String {
    let unread = found.files.iter().filter_map(|file| Some((&file.name, file.unread.as_ref()?)));
    unread.map(|(name, reason)| format!("{name}: not read to its end: {reason}\n")).collect()
}

fn aside_text(found: &Inspection) -> String {
    let Aside { files, bytes } = found.aside;
    if files == 0 {
        return String::new();
    }
    let files = counted(files, "file", "files");
    format!(
        "{DAMAGED_DIR}/: {files}, {bytes} bytes, kept as they were when they were damaged; they are read by nobody and \
         counted in no limit; delete them when nobody needs them\n"
    )
}

fn repair_text(outcome: &Outcome) -> String {
    let mut text = String::new();
    for file in &outcome.repaired {
        let rest = if file.has_rest { "the rest is in its place" } else { "nothing of it can be read" };
        let _ = writeln!(text, "{}: kept as {}; {rest}. Lost:", file.name, file.kept_as.display());
        text.push_str(&damage_text(&file.damage, file.damages));
    }
    for Left { name, reason, .. } in &outcome.left {
        let _ = writeln!(text, "{name}: not repaired: {reason}");
    }
    if outcome == &Outcome::default() {
        text.push_str("nothing is damaged\n");
    }
    text
}

fn damage_text(damage: &[Damage], damages: u64) -> String {
    let mut text = String::new();
    for Damage { offset, bytes, what, range, series_id } in damage {
        let _ = write!(text, "  at byte {offset}, {bytes} bytes: {what}");
        if let Some(id) = series_id {
            let _ = write!(text, " (number {id})");
        }
        if let Some(TimeRange { start_ms, end_ms }) = range {
            let _ = write!(text, ", {} to {}", time(*start_ms), time(*end_ms));
        }
        text.push('\n');
    }
    let more = damages.saturating_sub(damage.len() as u64);
    if more > 0 {
        let _ = writeln!(text, "  and {more} more");
    }
    text
}

/// RFC 3339; a plain number where that has no such form.
pub fn time(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms).map_or_else(|_| at_ms.to_string(), |time| time.to_string())
}

fn a_sample(bytes: u64, samples: u64) -> String {
    if samples == 0 { "-".into() } else { format!("{:.2}", bytes as f64 / samples as f64) }
}

pub fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
