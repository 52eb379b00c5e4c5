//! Why the daemon cannot start.

use super::alerting;
use crate::store;
use std::io;
use std::path::PathBuf;

/// Why the daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {address}: {source}")]
    Bind { address: String, source: io::Error },
    #[error("data_dir {} is a file: name a directory, it is made if there is none", .0.display())]
    DataDir(PathBuf),
    #[error("{0}")]
    Store(#[from] store::Error),
    #[error("{0}")]
    Loss(String),
    #[error("cannot keep a key in {}: {source}", path.display())]
    Key { path: PathBuf, source: io::Error },
    #[error("{0}")]
    Alerting(#[from] alerting::Error),
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
}
