//! What was received, on disk: a write-ahead log frame per flush, immutable
//! columnar blocks. In memory is where things are, and next to nothing for each
//! series: their names are the catalogue's. `FORMAT.md` draws the files.

mod admission;
pub mod backend;
pub mod backfill;
mod block;
mod block_index;
mod block_source;
mod block_writer;
mod chunk;
mod coding;
mod column;
mod correction;
mod distributions;
mod error;
mod frame;
mod frame_rest;
mod gathering;
mod gauge;
mod head;
mod id_set;
pub mod inspect;
mod late;
mod late_order;
mod log_pieces;
mod loss;
pub mod marker_table;
pub mod memory;
mod names;
mod packed;
mod point;
mod ranks;
mod read;
mod read_only;
mod reading;
mod recovery;
pub mod repair;
mod replay;
mod retry;
mod sample;
mod section;
mod segment;
pub mod state;
mod state_file;
mod step;
#[expect(clippy::module_inception, reason = "the folder's main concept has its name")]
mod store;
mod stream;
mod tier;
mod transpose;
mod upkeep;
mod visiting;
mod waiting;
mod wal;

pub use backend::{Backend, FsBackend};
pub use distributions::{Distributions, PackedWindow, WindowNumbers};
pub use error::Error;
pub use loss::Loss;
pub use memory::MemoryBackend;
pub use read_only::ReadOnly;
pub use reading::Reading;
pub use recovery::{Recovered, RecoveredSeries};
pub use store::{Options, Present, Stats, Store};
pub use tier::Tier;
pub use upkeep::Maintained;
pub use visiting::Scratch;
