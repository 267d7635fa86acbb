//! The library's own threads: each runs one shard, with its own engine, pool
//! of buffers and inbox. All misses of one object go to one shard, so that
//! single flight needs no lock.

mod life;
mod port;
mod shard;

pub(crate) use life::{Ending, Life};
pub(crate) use port::{Message, Port};
pub(crate) use shard::{Shard, ShardConfig, Target as OpTarget, on_shard};

/// A fetch of one shard: its slot, and a number that no other fetch has had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FetchId {
    pub(crate) slot: usize,
    pub(crate) serial: u64,
}
