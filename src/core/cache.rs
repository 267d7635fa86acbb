//! The cache: what its doors share, its threads, and its end.

use crate::buf::Pages;
use crate::config::{Config, default_of};
use crate::error::{Context, Errno, Error, Result};
use crate::exec::{Ending, Life, Message, Port, Shard, ShardConfig};
#[cfg(any(test, feature = "sim"))]
use crate::io::Simulation;
use crate::io::{
    Disk, EngineFactory, EngineKind, EngineOptions, EngineStats, FeatureSet, Owner, Refusal,
};
use crate::limits::{
    BOUNCE_BUFFERS, CLOSERS_MAX, ORIGIN_NAME_BYTES_MAX, POOL_BUFFERS_MIN, READAHEAD_WAITS_SHARE,
};
use crate::origin::{Custom, CustomOrigin, Directory, Kind, Origin, OriginJob, OriginOptions};
use crate::qos::Qos;
use crate::queue::{Queue, QueueOptions};
use crate::readahead::{Budget, Places};
use crate::request::{self, Copying, Method};
use crate::shared::{Shared, with_log};
use crate::stats::{Counters, Stats};
use crate::store::{self, Condition, Invalidations, ObjectInfo, Store, StoreOpened, Verification};
use crate::sys;
use crate::upkeep::Upkeep;
use crate::workers::{Workers, run_until};
use parking_lot::Mutex;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A cache directory in use. Dropping it closes it.
pub struct Cache {
    shared: Arc<Shared>,
    threads: Mutex<Vec<ShardThread>>,
    origin_workers: Mutex<Vec<Arc<Workers<OriginJob>>>>,
}

struct ShardThread {
    thread: JoinHandle<()>,
    life: Arc<Life>,
}

/// Whether a cache stores what it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It does.
    Normal,
    /// The directory could not be used when it was opened: every miss goes to its
    /// origin and is not kept. Says why.
    PassThrough(String),
    /// The device has failed or is full, or what is on it is being counted: nothing new is
    /// stored for now. Says why.
    Degraded(String),
    /// It gives errors or no answers: every read goes to its origin for now. Says why.
    Off(String),
}

impl State {
    /// Why it is not normal.
    pub fn reason(&self) -> Option<&str> {
        match self {
            State::Normal => None,
            State::PassThrough(reason) | State::Degraded(reason) | State::Off(reason) => {
                Some(reason)
            }
        }
    }

    /// For people and scripts.
    pub fn name(&self) -> &'static str {
        match self {
            State::Normal => "normal",
            State::PassThrough(_) => "pass-through",
            State::Degraded(_) => "degraded",
            State::Off(_) => "off",
        }
    }
}

/// What a cache runs on.
#[derive(Clone, Debug)]
pub struct Report {
    /// The engine in use.
    pub engine: EngineKind,
    /// Why this engine, and what the kernel did not grant.
    pub engine_reason: String,
    /// IORING_SETUP_… bits in force.
    pub ring_flags: u32,
    /// What of io_uring is in use.
    pub features: FeatureSet,
    /// What was asked for and not granted, and why not.
    pub refused: Vec<Refusal>,
    /// Which pages the library's buffers are made of.
    pub pages: Pages,
    /// Whether it stores.
    pub state: State,
    /// When the state last changed, by CLOCK_BOOTTIME, ns; 0: it never did.
    pub state_since_ns: u64,
    /// When the device is tried again, by the same clock; 0: it need not be, or is now.
    pub next_probe_ns: u64,
}

impl Cache {
    /// Opens the cache directory `path`: see `cachefs_cache_open` in the header.
    pub fn open(path: &Path, config: &Config) -> Result<Self> {
        with_log(&config.log, || {
            let host = store::Host {
                boot_id: sys::boot_id().context(|| "getrandom")?,
                disk: Disk::default(),
            };
            Self::open_on(path, config, host, EngineFactory::new)
        })
    }

    /// The same on a simulated host.
    #[cfg(any(test, feature = "sim"))]
    pub fn open_simulated(path: &Path, config: &Config, host: &Simulation) -> Result<Self> {
        let engines = |options| Ok(EngineFactory::simulated(options, host.clone()));
        let host = store::Host {
            boot_id: host.boot_id(),
            disk: Disk::simulated(host),
        };
        with_log(&config.log, || Self::open_on(path, config, host, engines))
    }

    fn open_on(
        path: &Path,
        config: &Config,
        host: store::Host,
        engines: impl FnOnce(EngineOptions) -> Result<EngineFactory>,
    ) -> Result<Self> {
        let config = config.completed()?;
        let counters = Arc::new(Counters::default());
        let upkeep = Arc::new(Upkeep::new());
        let (store, invalidations) = open_store(path, &config, host, &counters, &upkeep)?;
        let engines = engines(config.engine_options())?;
        tracing::info!("engine: {}", engines.reason());
        let chunk_bytes = match &store {
            Ok(store) => store.chunk_bytes(),
            Err(_) if config.chunk_bytes != 0 => config.chunk_bytes,
            Err(_) => default_of("chunk_bytes"),
        };
        let shared = Arc::new(Shared {
            ports: (0..config.threads).map(|_| Arc::default()).collect(),
            counters,
            engines,
            copy_workers: request::workers(),
            upkeep,
            closers: Workers::new("cachefs-close", CLOSERS_MAX),
            chunk_bytes,
            close_timeout: Duration::from_millis(config.close_timeout_ms),
            origin_timeout: Duration::from_millis(config.origin_timeout_ms),
            store,
            invalidations: Arc::new(invalidations),
            lease_bytes: config.lease_bytes,
            readahead: Arc::new(Budget::new(config.readahead_limit())),
            qos: Arc::new(Qos::new(&config)),
            async_limit: config.async_limit,
            async_in_flight: AtomicU64::new(0),
            ids: AtomicU64::new(1),
            closed: AtomicBool::new(false),
            queues: Mutex::default(),
            log: config.log.clone(),
        });
        if let Ok(store) = &shared.store {
            let ports = shared.ports.clone();
            store.set_letting_go(move || ports.iter().for_each(|port| port.wake()));
            let ports = shared.ports.clone();
            store.pulse.set_call(move |listeners| {
                let is_one = |index: &usize| listeners & 1 << index != 0;
                for index in (0..ports.len()).filter(is_one) {
                    // A closed port has nobody who waits.
                    drop(ports[index].post(Message::DeviceTakes));
                }
            });
        }
        // From here on, an error closes what has been started.
        let cache = Self {
            shared,
            threads: Mutex::default(),
            origin_workers: Mutex::default(),
        };
        for index in 0..cache.shared.ports.len() {
            cache.start_shard(index, &config)?;
        }
        Ok(cache)
    }

    /// An origin that is a directory: see `cachefs_origin_open_dir` in the header.
    pub fn open_directory(&self, root: &Path, options: &OriginOptions) -> Result<Origin> {
        self.shared.check_open()?;
        let options = options.completed()?;
        let cache = self.shared.store.as_ref().ok().map(|store| store.path());
        let directory = Directory::open_root(root, cache)?;
        let (name, kind) = (directory.name(), Kind::Directory(directory));
        Ok(self.begin_origin(name, kind, &options))
    }

    /// An origin that is code. The name tells it apart from others, across restarts.
    pub fn open_origin(
        &self,
        name: &[u8],
        code: Arc<dyn CustomOrigin>,
        options: &OriginOptions,
    ) -> Result<Origin> {
        self.shared.check_open()?;
        let options = options.completed()?;
        if name.is_empty() || name.len() > ORIGIN_NAME_BYTES_MAX {
            let text = format!("the name of an origin has 1 to {ORIGIN_NAME_BYTES_MAX} bytes");
            return Err(Error::new(Errno::INVAL, text));
        }
        let custom = self.shared.logged(|| Custom::new(code));
        if let Some(workers) = custom.workers() {
            self.origin_workers.lock().push(Arc::clone(workers));
        }
        let (name, kind) = (name.to_vec(), Kind::Custom(custom));
        Ok(self.begin_origin(name, kind, &options))
    }

    fn begin_origin(&self, name: Vec<u8>, kind: Kind, options: &OriginOptions) -> Origin {
        if let Ok(store) = &self.shared.store {
            let (name, options) = (name.clone(), options.clone());
            let limited = store.gently(move |store| {
                store.limit_origin(&name, options.quota_bytes, options.share_percent);
            });
            if let Err(error) = limited {
                tracing::warn!("an origin has no limits for now: {error}");
            }
        }
        let origin = Origin::new(Arc::clone(&self.shared), name, kind, options);
        let mut all = self.origin_workers.lock();
        all.retain(|workers| !workers.is_over());
        all.push(Arc::clone(origin.0.openers()));
        origin
    }

    /// A queue for the calling thread.
    pub fn open_queue(&self, options: QueueOptions) -> Result<Queue> {
        self.shared.check_open()?;
        Queue::new(Arc::clone(&self.shared), options)
    }

    /// Registers memory that reads will go to, so that rings pin it once. EEXIST:
    /// a part of it is registered; ENOSPC: too many pieces; EINVAL: it is empty.
    ///
    /// # Safety
    /// The memory must stay mapped until it is unregistered.
    pub unsafe fn register_memory(&self, start: *mut u8, length: usize) -> Result<()> {
        self.shared.check_open()?;
        // SAFETY: the caller's promise is the same.
        unsafe { self.shared.engines.regions().register(start.addr(), length) }
    }

    /// Forgets registered memory, by where it begins; ENOENT if none does.
    pub fn unregister_memory(&self, start: *mut u8) -> Result<()> {
        self.shared.engines.regions().unregister(start.addr())
    }

    /// Allocates page-aligned, registered memory.
    pub fn allocate(&self, length: usize) -> Result<*mut u8> {
        self.shared.check_open()?;
        let engines = &self.shared.engines;
        engines.regions().allocate(length, engines.pages())
    }

    /// Frees memory of `allocate`, by where it begins; ENOENT if none does.
    ///
    /// # Safety
    /// No request may be using it, and nobody may use it afterwards.
    pub unsafe fn free(&self, start: *mut u8) -> Result<()> {
        self.shared.engines.regions().free(start.addr())
    }

    /// Cancels a callback request; it completes with ECANCELED, or as it would have.
    pub fn cancel(&self, id: u64) {
        self.shared.cancel(id);
    }

    /// Bytes that the directory's objects may take, for all who use it; 0: none are kept.
    pub fn capacity_bytes(&self) -> u64 {
        let store = self.shared.store.as_ref();
        store.map_or(0, |store| store.capacity_bytes())
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        let mut stats = self.shared.counters.snapshot();
        if let Ok(store) = &self.shared.store {
            store.tell(&mut stats);
        }
        stats.readahead_bytes = self.shared.readahead.used();
        stats.fill_depth = self.shared.qos.pace.depth().into();
        stats
    }

    /// What the engines have done.
    pub fn engine_stats(&self) -> EngineStats {
        self.shared.engines.stats()
    }

    /// What the cache runs on.
    pub fn report(&self) -> Report {
        let (state, state_since_ns, next_probe_ns) = match &self.shared.store {
            Err(error) => (State::PassThrough(error.to_string()), 0, 0),
            Ok(store) => {
                let view = store.health.view();
                let reason = || view.reason.map_or_else(String::new, |one| one.to_string());
                let state = match view.condition {
                    Condition::Normal => match store.waits_for() {
                        Some(reason) => State::Degraded(reason.to_owned()),
                        None => State::Normal,
                    },
                    Condition::Degraded => State::Degraded(reason()),
                    Condition::Off => State::Off(reason()),
                };
                (state, view.since_ns, view.next_probe_ns)
            }
        };
        Report {
            engine: self.shared.engines.kind(),
            engine_reason: self.shared.engines.reason().to_owned(),
            ring_flags: self.shared.engines.setup_flags(),
            features: self.shared.engines.granted(),
            refused: self.shared.engines.refused(),
            pages: self.shared.engines.pages_had(),
            state,
            state_since_ns,
            next_probe_ns,
        }
    }

    /// Every object in the directory. Reads all of their metadata.
    pub fn objects(&self) -> Result<Vec<ObjectInfo>> {
        match &self.shared.store {
            Ok(store) => store::list(store),
            Err(_) => Ok(Vec::new()),
        }
    }

    /// Compares all that is cached with its checksums: see `cachefs_verify` in the
    /// header. `watch` is told what was found so far; false cancels.
    pub fn verify(&self, watch: impl FnMut(&Verification) -> bool) -> Result<Verification> {
        self.shared.check_open()?;
        let store = self.shared.store.as_ref().map_err(Clone::clone)?;
        let walk = self.shared.logged(|| store::Walk::all(store))?;
        self.shared.verify(store, walk, watch)
    }

    /// Cancels and completes what is in flight and ends the threads, within
    /// `close_timeout_ms`. Origins, files and queues stay, and answer ESHUTDOWN.
    /// EDEADLK on a library thread.
    pub fn close(&self) -> Result<()> {
        if crate::exec::on_shard() {
            let text = "a callback must not close the cache whose thread it is on";
            return Err(Error::new(Errno::DEADLK, text));
        }
        self.shared.logged(|| self.end());
        Ok(())
    }

    fn start_shard(&self, index: usize, config: &Config) -> Result<()> {
        let buffers = config.pool_bytes / config.threads / self.shared.chunk_bytes;
        let kind = self.shared.engines.kind();
        let waits = match kind {
            EngineKind::Uring => config.io_workers,
            EngineKind::Psync => config.psync_threads / config.threads,
        } / READAHEAD_WAITS_SHARE;
        let shard_config = ShardConfig {
            index,
            depth: config.queue_depth as u32,
            fill_depth: config.fill_depth as u32,
            pool_buffers: buffers.max(POOL_BUFFERS_MIN) as usize,
            chunk_bytes: self.shared.chunk_bytes,
            reads_wait_in_kernel: kind == EngineKind::Uring,
            prefetch_places: Places::new(waits.max(1) as u32),
            qos: Arc::clone(&self.shared.qos),
            fill_after_percent: config.fill_after_percent,
            direct_copy_bytes: config.direct_copy_bytes,
            origin_timeout: self.shared.origin_timeout,
            close_timeout: self.shared.close_timeout,
        };
        let method = Method::from_number(config.copy_method);
        let life: Arc<Life> = Arc::default();
        let ending = Ending(Arc::clone(&life));
        let port = Arc::clone(&self.shared.ports[index]);
        let shared = Arc::clone(&self.shared);
        let log = self.shared.log.clone();
        let body = move || {
            with_log(&log, || {
                run_shard(shared, port, (shard_config, method), &ending.0);
            });
        };
        let thread = sys::spawn(format!("cachefs-io-{index}"), body).map_err(|error| {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::AGAIN);
            Error::new(errno, format!("start a library thread: {error}"))
        })?;
        let started = Arc::clone(&life);
        self.threads.lock().push(ShardThread { thread, life });
        started.started()
    }

    fn end(&self) {
        if self.shared.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        // A moment more than the shards have, so that theirs is the limit.
        let deadline = Instant::now() + self.shared.close_timeout + Duration::from_millis(500);
        for port in &self.shared.ports {
            // A port that is closed belongs to a shard that has ended.
            drop(port.post(Message::Close));
        }
        self.shared.wake_queues();
        for ShardThread { thread, life } in self.threads.lock().drain(..) {
            if !life.ended(deadline) {
                tracing::error!("a library thread is inside a callback: it is left there");
            } else if !life.can_exit() {
                tracing::error!("a library thread stays until the kernel is done with its I/O");
            } else if thread.join().is_err() {
                tracing::error!("a library thread had panicked");
            }
        }
        if let Ok(store) = &self.shared.store {
            store.cool_until(deadline);
        }
        let workers = std::mem::take(&mut *self.origin_workers.lock());
        let stuck: usize = workers
            .iter()
            .map(|workers| workers.shut_down(deadline))
            .sum();
        let stuck = stuck + self.shared.copy_workers.shut_down(deadline);
        // Files that are still open are closed later.
        let stuck = stuck + self.shared.closers.rest(deadline);
        let loading = self.shared.store.as_ref();
        let stuck = stuck + loading.map_or(0, |store| store.stop_threads(deadline));
        let stuck = stuck + self.shared.engines.shut_down(deadline);
        let stuck = stuck + self.shared.upkeep.shut_down(deadline);
        let store = self.shared.store.as_ref();
        let stuck = stuck + store.map_or(0, |store| store.leave_until(deadline, stuck == 0));
        if stuck > 0 {
            tracing::error!("{stuck} blocking calls did not return: their threads are left there");
        }
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.shared.logged(|| self.end());
    }
}

/// Opens what the cache directory has. The device may have whoever does it wait, so that is a
/// thread of its own; if it does not answer in time, the directory cannot be used.
fn open_store(
    path: &Path,
    config: &Config,
    host: store::Host,
    counters: &Arc<Counters>,
    upkeep: &Arc<Upkeep>,
) -> Result<(Result<Arc<Store>>, Invalidations)> {
    let deadline = Instant::now() + config.device_timeout();
    let (path, config) = (path.to_owned(), config.clone());
    let (counters, upkeep) = (Arc::clone(counters), Arc::clone(upkeep));
    let opened = run_until("cachefs-open", deadline, move || {
        let store = match Store::open(&path, &config, host, counters, &upkeep)? {
            StoreOpened::Usable(store) => Ok(store),
            StoreOpened::Unusable(error) => Err(error),
        };
        let shared = store.as_ref().ok();
        let invalidations = Invalidations::open(
            shared.map(|store| store.path()),
            shared.is_some_and(|store| store.elsewhere()),
        )?;
        Ok((store, invalidations))
    });
    let opened = match opened {
        Some(opened) => opened?,
        None => (Err(store::too_late()), Invalidations::open(None, false)?),
    };
    if let (Err(error), _) = &opened {
        tracing::warn!("the cache passes everything through: {error}");
    }
    Ok(opened)
}

/// The body of a library thread.
fn run_shard(
    shared: Arc<Shared>,
    port: Arc<Port>,
    (config, method): (ShardConfig, Method),
    life: &Life,
) {
    let buffer_bytes = config.chunk_bytes as usize;
    let buffers = config.pool_buffers + BOUNCE_BUFFERS;
    let pool = match shared.engines.pool(buffers, buffer_bytes) {
        Ok(pool) => pool,
        Err(error) => return life.fail(error),
    };
    let engine = shared.engines.create(config.depth, Owner::Library);
    let counters = Arc::clone(&shared.counters);
    let copying = Copying::new(method, Arc::clone(&shared.copy_workers));
    let store = shared.store.as_ref().ok().cloned();
    drop(shared);
    let mut shard = Shard::new(port, counters, (config, store), engine, pool, copying);
    life.run();
    let reason = match catch_unwind(AssertUnwindSafe(|| shard.run())) {
        Ok(()) => Errno::CANCELED,
        Err(_) => {
            tracing::error!("a library thread panicked: its requests fail");
            Errno::NOTRECOVERABLE
        }
    };
    if shard.close(reason) > 0 {
        life.leave_behind();
    }
}
