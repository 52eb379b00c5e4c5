//! What was received, on disk: a write-ahead log frame per flush, a head in
//! memory, immutable columnar blocks. `FORMAT.md` draws the files.

pub mod backend;
mod block;
mod chunk;
mod coding;
mod column;
mod error;
mod frame;
mod head;
mod index;
pub mod marker_table;
pub mod memory;
mod point;
mod read;
mod replay;
pub mod state;
mod state_file;
#[expect(clippy::module_inception, reason = "the folder's main concept has its name")]
mod store;
mod stream;
mod wal;

pub use backend::{Backend, FsBackend};
pub use error::Error;
pub use memory::MemoryBackend;
pub use replay::{Recovered, RecoveredSeries};
pub use store::{Maintained, Options, Stats, Store};
