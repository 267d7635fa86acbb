//! Chunks of objects on their way into the memory tier, on a thread of their own:
//! the device may make them wait.

use super::{Object, Store, Trust};
use crate::config::Config;
use crate::memory::{Content, Resident, Tier};
use crate::stats::Counters;
use crate::workers::{Job, Workers};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

/// The memory tier of a store.
pub(super) struct Memory {
    tier: Arc<Tier>,
    workers: Workers<Load>,
}

/// A chunk that was wanted in memory.
struct Load {
    object: Arc<Object>,
    chunk: u64,
}

impl Memory {
    /// As configured. None: not at all, or not where touching memory may mean to
    /// wait for another process for ever (`elsewhere`).
    pub(super) fn open(config: &Config, chunk_bytes: u64, elsewhere: bool) -> Option<Self> {
        if config.memory_bytes == 0 {
            return None;
        }
        if elsewhere {
            tracing::warn!("memory_bytes: nothing is kept in memory of a cache on FUSE");
            return None;
        }
        match Tier::new(config.memory_bytes, chunk_bytes) {
            Ok(tier) => Some(Self {
                tier,
                workers: Workers::new("cachefs-memory", 1),
            }),
            Err(error) => {
                tracing::warn!("memory_bytes: nothing is kept in memory: {error}");
                None
            }
        }
    }
}

impl Store {
    /// For an object that was opened.
    pub(super) fn resident(&self) -> Option<Resident> {
        self.memory.as_ref()?.tier.resident()
    }

    /// Where leases of its bytes are counted.
    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Bytes that the memory tier holds.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let memory = self.memory.as_ref();
        memory.map_or(0, |memory| memory.tier.bytes())
    }

    /// Ends the threads; returns how many had not come to an end at `deadline`.
    pub(crate) fn stop_threads(&self, deadline: Instant) -> usize {
        let memory = self.memory.as_ref();
        let loading = memory.map_or(0, |memory| memory.workers.shut_down(deadline));
        loading + self.probes.shut_down(deadline) + self.pulse.shut_down(deadline)
    }
}

impl Object {
    /// Has a chunk that is present and wanted in memory brought there. Does not wait.
    pub(crate) fn load(self: &Arc<Self>, chunk: u64) {
        let Some(memory) = &self.store.memory else {
            return;
        };
        if self.store.health.trust() != Trust::Whole {
            // It would wait for a device that may not answer.
            return self.resident().expect("it was asked there").give_up();
        }
        let object = Arc::clone(self);
        if let Err(load) = memory.workers.submit(Load { object, chunk }) {
            load.resident().give_up();
        }
    }
}

impl Load {
    fn resident(&self) -> &Resident {
        let resident = self.object.resident();
        resident.expect("it was asked there")
    }
}

impl Job for Load {
    fn run(self) {
        let object = &self.object;
        let (start, length) = object.geometry().extent(self.chunk);
        let content = match object.direct() {
            None => Content::Mapped(object.data().as_fd()),
            Some(direct) => Content::Copied(direct.file().as_fd(), direct.block().get() as usize),
        };
        // Leases lock memory, too, and give it back.
        let alone = object.store.counters.leased_bytes.get() == 0;
        self.resident()
            .load(self.chunk, content, start..start + length, alone);
    }
}
