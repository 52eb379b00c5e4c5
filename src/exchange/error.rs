//! Why data could not be handed over.

use crate::store;
use std::io;
use std::path::PathBuf;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("cannot write the export: {0}")]
    Write(io::Error),
    #[error(
        "what is not later than {} was dropped while it was exported, as it is older than what the daemon keeps; \
         run it again, with a later --from if it happens again",
        moment(*until_ms)
    )]
    Dropped { until_ms: i64 },
    #[error("one moment has more than {limit} points; narrow --match")]
    TooMuch { limit: usize },
    #[error(
        "an HDR log is of one timer or histogram, and none matches in that time; see --match, --from and --to"
    )]
    NoTimer,
    #[error("an HDR log is of one timer or histogram, more match; narrow --match: {examples}, …")]
    NotOneTimer { examples: String },
    #[error("how long a window is is not known: name it, as in --window 10s")]
    NoWindow,
    #[error("a histogram cannot be written as HDR: {0}")]
    Hdr(String),
    #[cfg(feature = "parquet")]
    #[error("cannot write the Parquet file: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// A file that is not what it should be; `line` 0 means the whole of it.
    #[error("{}{}: {reason}", path.display(), if *line > 0 { format!(":{line}") } else { String::new() })]
    File { path: PathBuf, line: u64, reason: String },
}

fn moment(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms} ms"), |moment| moment.to_string())
}

impl Error {
    /// The error of the file system, if it is one.
    pub fn io(&self) -> Option<&io::Error> {
        match self {
            Error::Write(error) | Error::Io { source: error, .. } => Some(error),
            _ => None,
        }
    }
}
