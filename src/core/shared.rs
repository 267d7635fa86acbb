//! What every origin, file and queue of a cache holds on to.

use crate::completion::MissReason;
use crate::error::{Errno, Error, Result};
use crate::exec::{Message, Port, on_shard};
use crate::ids::Identity;
use crate::io::EngineFactory;
use crate::origin::Source;
use crate::qos::Qos;
use crate::readahead::Budget;
use crate::request::{CopyWorkers, Remote};
use crate::stats::Counters;
use crate::store::{Invalidations, Object, Pulse, Store, Verification, Walk, blocks_writing};
use crate::token::VersionToken;
use crate::upkeep::Upkeep;
use crate::workers::{Job, Workers};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Bits of a request's id that number it within its shard.
const ID_SERIAL_BITS: u32 = 56;

/// What is left of a file. To drop it closes descriptors and unmaps memory, which on
/// FUSE waits for the server (FUSE_FLUSH, `fuse_vma_close`), maybe for ever.
pub(crate) struct Remains {
    pub(crate) _source: Option<Arc<Source>>,
    pub(crate) _object: Option<Arc<Object>>,
}

impl Job for Remains {
    fn run(self) {
        drop(self);
    }
}

/// What the doors of one cache share. It outlives the cache's end, so that
/// they can tell of it.
pub(crate) struct Shared {
    /// The inboxes of the shards.
    pub(crate) ports: Vec<Arc<Port>>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) engines: EngineFactory,
    /// For calls that copy.
    pub(crate) copy_workers: Arc<CopyWorkers>,
    /// For slow work beside serving.
    pub(crate) upkeep: Arc<Upkeep>,
    /// For what may block when it is closed.
    pub(crate) closers: Workers<Remains>,
    pub(crate) chunk_bytes: u64,
    pub(crate) close_timeout: Duration,
    /// How long an origin is waited for.
    pub(crate) origin_timeout: Duration,
    /// Why nothing is stored, if nothing is.
    pub(crate) store: std::result::Result<Arc<Store>, Error>,
    pub(crate) invalidations: Arc<Invalidations>,
    /// Bytes that may be leased at once.
    pub(crate) lease_bytes: u64,
    /// Of what may be ahead of readers.
    pub(crate) readahead: Arc<Budget>,
    /// How fast fills may be.
    pub(crate) qos: Arc<Qos>,
    pub(crate) async_limit: u64,
    pub(crate) async_in_flight: AtomicU64,
    pub(crate) ids: AtomicU64,
    pub(crate) closed: AtomicBool,
    /// Those who have to hear of the close.
    pub(crate) queues: Mutex<Vec<Weak<Remote>>>,
    /// None: what the calling thread has.
    pub(crate) log: Option<tracing::Dispatch>,
}

impl Shared {
    /// Runs what may have something to say on a thread that is not the library's.
    pub(crate) fn logged<T>(&self, body: impl FnOnce() -> T) -> T {
        with_log(&self.log, body)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// A queue that is to be woken when the cache is closed.
    pub(crate) fn add_queue(&self, remote: &Arc<Remote>) {
        let mut queues = self.queues.lock();
        queues.retain(|queue| queue.strong_count() > 0);
        queues.push(Arc::downgrade(remote));
    }

    /// Wakes the queues: their own reads have to be ended by their own threads.
    pub(crate) fn wake_queues(&self) {
        let queues = self.queues.lock();
        for remote in queues.iter().filter_map(Weak::upgrade) {
            remote.wake();
        }
    }

    /// ESHUTDOWN once the cache is closed.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.is_closed() {
            return Err(Error::new(Errno::SHUTDOWN, "the cache is closed"));
        }
        Ok(())
    }

    /// A number that no other request has; its upper bits are the shard.
    pub(crate) fn fresh_id(&self, shard: usize) -> u64 {
        let serial = self.ids.fetch_add(1, Ordering::Relaxed);
        (shard as u64) << ID_SERIAL_BITS | serial & ((1 << ID_SERIAL_BITS) - 1)
    }

    pub(crate) fn cancel(&self, id: u64) {
        if let Some(port) = self.ports.get((id >> ID_SERIAL_BITS) as usize) {
            // A closed port has completed everything already.
            drop(port.post(Message::Cancel(id)));
        }
    }

    pub(crate) fn shard_of(&self, identity: &Identity) -> usize {
        let key = identity.key();
        usize::from(key.0[15]) % self.ports.len()
    }

    /// A place among the callback requests, until it is dropped.
    pub(crate) fn take_async_slot(self: &Arc<Self>) -> Result<AsyncSlot> {
        if self.async_in_flight.fetch_add(1, Ordering::Relaxed) >= self.async_limit {
            self.async_in_flight.fetch_sub(1, Ordering::Relaxed);
            let limit = self.async_limit;
            let text = format!("{limit} callback requests are in flight (async_limit)");
            return Err(Error::new(Errno::AGAIN, text));
        }
        Ok(AsyncSlot(Arc::clone(self)))
    }

    /// Keeps an object open for whoever opens its file next.
    pub(crate) fn keep_warm(&self, object: &Arc<Object>) {
        if let Ok(store) = &self.store
            && store.warm(object)
        {
            let store = Arc::downgrade(store);
            // A port that is closed belongs to a cache that is, and has let them go.
            if self.ports[0].post(Message::CoolLater(store)).is_err() {
                object.store().cool();
            }
        }
    }

    /// Goes a way to its end, or until `watch` says false.
    pub(crate) fn verify(
        &self,
        store: &Arc<Store>,
        mut walk: Walk,
        mut watch: impl FnMut(&Verification) -> bool,
    ) -> Result<Verification> {
        while self.logged(|| walk.step(store))?.is_some() {
            self.check_open()?;
            if !watch(&walk.found) {
                return Err(Error::new(Errno::CANCELED, "the caller has cancelled it"));
            }
        }
        Ok(walk.found)
    }

    /// See [`Store::object`]; errors of the cache device pause storing.
    pub(crate) fn object(
        &self,
        identity: &Identity,
        token: &VersionToken,
        path: &[u8],
    ) -> Result<(Arc<Object>, MissReason)> {
        let store = self.store.as_ref().map_err(Clone::clone)?;
        // A library thread has others to serve.
        let now = Instant::now();
        let deadline = match on_shard() {
            true => Pulse::late_at(now),
            false => store.health.hangs_at(now),
        };
        let result = store.object(identity, token, path, deadline);
        if let Err(error) = &result
            && blocks_writing(error.errno())
        {
            store.health.failed(error);
        }
        result
    }
}

/// Runs `body` with its messages going to `log`. Without one, no thread-local is
/// touched: a thread that is ending could not give it back.
pub(crate) fn with_log<T>(log: &Option<tracing::Dispatch>, body: impl FnOnce() -> T) -> T {
    match log {
        Some(log) => tracing::dispatcher::with_default(log, body),
        None => body(),
    }
}

/// One of `async_limit` places.
pub(crate) struct AsyncSlot(Arc<Shared>);

impl Drop for AsyncSlot {
    fn drop(&mut self) {
        self.0.async_in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
