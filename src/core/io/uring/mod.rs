//! The io_uring engine. The only place that names the crate `io_uring`.
//!
//! | file | what it does |
//! |---|---|
//! | `features` | what can be used, feature by feature |
//! | `setup` | a ring with as much of it as the kernel grants |
//! | `lane` | one ring and the way into the kernel |
//! | `registered` | files and memory that a ring knows by number |
//! | `inflight` | the slab that owns what the kernel may touch |
//! | `entry` | a slot of it as a submission queue entry |
//! | `ring` | the engine: submits and reaps |
//! | `chain` | what is linked to each other: submitted and settled |
//! | `waker` | what ends its sleep |
//! | `probe` | the features for people |

mod chain;
mod entry;
pub(crate) mod features;
mod inflight;
mod lane;
pub(crate) mod probe;
mod registered;
mod ring;
pub(crate) mod setup;
#[cfg(feature = "bench")]
pub(crate) mod turns;
mod waker;

pub(crate) use ring::Uring;
