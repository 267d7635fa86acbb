//! The core of libcachefs as a safe Rust API: a cache of file ranges on local
//! storage, in front of slow origins.
//!
//! | folder | what it decides or does | knows of |
//! |---|---|---|
//! | `lease`, `present` | views of cached bytes | `request`, `store`, `memory`, `buf` |
//! | `peek` | a look at a cache without opening it | `store`, `evict`, `ids` |
//! | `request/` | the way of one request, a file a step | everything below |
//! | `exec/` | library threads and their inboxes | `request`, `io`, `buf` |
//! | `origin/` | where bytes come from | `exec` (to answer it), `buf` |
//! | `store/` | objects on disk | `evict`, `memory`, `upkeep`, of `io` how to sync |
//! | `evict/` | who has to go | `ids` |
//! | `io/` | engines: io_uring, psync; for tests, a simulated one | `buf` |
//! | `memory/` | hot chunks in memory | `buf` |
//! | `upkeep` | a thread for slow work beside serving | nothing |
//! | `readahead/` | what is fetched before it is asked for | nothing |
//! | `buf/` | memory for I/O | nothing |

#[cfg(feature = "bench")]
pub mod bench;
mod buf;
mod cache;
mod completion;
mod config;
mod error;
mod evict;
mod exec;
mod explain;
mod file;
mod filesystem;
mod ids;
mod io;
mod lease;
pub mod limits;
mod log;
mod memory;
mod options;
mod origin;
pub mod peek;
mod present;
mod qos;
mod queue;
mod readahead;
mod request;
mod shared;
mod stats;
mod store;
mod sys;
mod token;
mod upkeep;
mod workers;

pub use buf::{Lent, Pages};
pub use cache::{Cache, Report, State};
pub use completion::{Completion, MissReason, Operation, Source};
pub use config::{Config, OPTIONS};
pub use error::{Errno, Error, Result};
pub use explain::Explanation;
pub use file::{File, FileInfo, Residency};
pub use io::{
    EngineChoice, EngineKind, EngineOptions, EngineStats, FEATURE_NAMES, Feature, FeatureSet,
    Finding, Latency, Priority, Refusal, probe,
};
#[cfg(any(test, feature = "sim"))]
pub use io::{Faults, Injection, Manners, Rates, Simulation};
pub use lease::Lease;
pub use options::{OptionInfo, OptionType};
pub use origin::{
    Circuit, CustomOrigin, ORIGIN_OPTIONS, Origin, OriginOptions, OriginRead, OriginReport,
};
pub use present::Present;
pub use queue::{Batch, Queue, QueueOptions};
pub use request::{Item, Treatment, submit_batch};
pub use stats::Stats;
pub use store::{Kept, KeptObject, ObjectInfo, Verification, is_cache};
pub use token::{TAG_BYTES_MAX, VersionToken};
