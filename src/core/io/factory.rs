//! Which engine a cache gets, and why: chosen once, when the cache is opened.

use super::metrics::Metrics;
use super::psync::PsyncPool;
#[cfg(any(test, feature = "sim"))]
use super::sim::Simulation;
use super::uring::Uring;
use super::uring::setup::Plan;
use super::{Engine, EngineStats, Feature, FeatureSet, Owner};
use crate::buf::{Pages, Pool, Regions};
use crate::error::{Context, Errno, Error, Result};
use parking_lot::Mutex;
use rustix::event::{EventfdFlags, eventfd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Which engine to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineChoice {
    /// `uring` where the kernel grants it, else `psync`.
    #[default]
    Auto,
    /// io_uring.
    Uring,
    /// Threads with pread(2) and pwrite(2).
    Psync,
}

/// The engine that a cache uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineKind {
    /// io_uring.
    Uring,
    /// Threads with pread(2) and pwrite(2).
    Psync,
}

/// What engines are asked to be.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Which engine.
    pub choice: EngineChoice,
    /// Operations that an engine of a library thread has in flight.
    pub depth: u32,
    /// Threads of the psync engine; half as many more are for what it writes.
    pub psync_threads: u32,
    /// A kernel thread submits, and sleeps after so long without work.
    pub sq_poll: Option<Duration>,
    /// The processor of that thread; None: any.
    pub sq_poll_cpu: Option<u32>,
    /// Poll devices for the ends of O_DIRECT reads.
    pub io_poll: bool,
    /// How long a wait spins before it sleeps, at most; it adapts below that.
    pub spin: Duration,
    /// Threads that the kernel may use for what would block.
    pub io_workers: u32,
    /// Which pages buffers are made of.
    pub pages: Pages,
    /// What of io_uring may be used; less than all of it is for tests and for
    /// kernels with bugs.
    pub features: FeatureSet,
}

impl Default for EngineOptions {
    fn default() -> Self {
        let defaults = crate::Config::default().completed();
        defaults
            .expect("the defaults are in range")
            .engine_options()
    }
}

/// A feature that was asked for and not granted, and the kernel's word for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The feature.
    pub feature: Feature,
    /// Why not.
    pub reason: String,
}

/// Makes the engines of one cache, all of the kind that was chosen at open.
pub(crate) struct EngineFactory {
    kind: EngineKind,
    reason: String,
    granted: FeatureSet,
    refused: Vec<Refusal>,
    setup_flags: u32,
    options: EngineOptions,
    psync: Arc<PsyncPool>,
    regions: Arc<Regions>,
    metrics: Arc<Metrics>,
    pages_had: Mutex<Option<Pages>>,
    /// The ring that was made to find out. With SQPOLL, all others share its thread.
    first: Option<Plan>,
    /// All engines are of this host.
    #[cfg(any(test, feature = "sim"))]
    simulation: Option<Simulation>,
}

impl EngineFactory {
    /// Chooses the kind. Errors: why io_uring is refused, if it was asked for by name.
    pub(crate) fn new(options: EngineOptions) -> Result<Self> {
        let mut factory = Self::of_threads(options);
        if factory.options.choice == EngineChoice::Psync {
            return Ok(factory);
        }
        match factory.try_uring() {
            Ok(()) => Ok(factory),
            Err(error) if factory.options.choice == EngineChoice::Auto => {
                factory.reason = format!("psync, because io_uring is refused: {error}");
                Ok(factory)
            }
            Err(error) => Err(error),
        }
    }

    /// One whose engines are of a simulated host. They make the calls of psync.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn simulated(options: EngineOptions, simulation: Simulation) -> Self {
        Self {
            reason: simulation.reason(),
            simulation: Some(simulation),
            ..Self::of_threads(options)
        }
    }

    fn of_threads(options: EngineOptions) -> Self {
        let metrics: Arc<Metrics> = Arc::default();
        let psync = PsyncPool::new(options.psync_threads);
        Self {
            kind: EngineKind::Psync,
            reason: "psync was asked for".into(),
            granted: FeatureSet::default(),
            refused: Vec::new(),
            setup_flags: 0,
            psync,
            regions: Arc::default(),
            metrics,
            pages_had: Mutex::default(),
            first: None,
            #[cfg(any(test, feature = "sim"))]
            simulation: None,
            options,
        }
    }

    /// Makes one ring as the library threads will, to see what is granted.
    fn try_uring(&mut self) -> Result<()> {
        let plan = Plan::new(&self.options);
        let owner = Owner::Program { movable: false };
        let ring = can_notify(self.uring(&plan, self.options.depth, owner)?)?;
        self.kind = EngineKind::Uring;
        self.granted = ring.granted();
        self.refused = ring.refused().to_vec();
        self.setup_flags = ring.setup_flags();
        self.reason = match self.refused.as_slice() {
            [] => "io_uring, granted everything that is asked for".to_owned(),
            refused => {
                let each = |one: &Refusal| format!("{} ({})", one.feature.name(), one.reason);
                let list: Vec<String> = refused.iter().map(each).collect();
                format!("io_uring, but not granted: {}", list.join(", "))
            }
        };
        self.first = Some(plan.after(&ring)?);
        Ok(())
    }

    fn uring(&self, plan: &Plan, depth: u32, owner: Owner) -> Result<Uring> {
        Uring::new(
            plan,
            depth,
            owner,
            Arc::clone(&self.regions),
            self.metrics.meter(),
        )
    }

    /// An engine for the calling thread. Where a further ring is refused
    /// (RLIMIT_MEMLOCK, descriptors), it is psync, and the log says so.
    pub(crate) fn create(&self, depth: u32, owner: Owner) -> Box<dyn Engine + Send> {
        #[cfg(any(test, feature = "sim"))]
        if let Some(simulation) = &self.simulation {
            return Box::new(simulation.engine(depth, self.metrics.meter()));
        }
        if let Some(plan) = &self.first {
            match self.uring(plan, depth, owner) {
                Ok(ring) => return Box::new(ring),
                Err(error) => tracing::warn!("this queue uses psync: {error}"),
            }
        }
        Box::new(self.psync.engine(depth, self.metrics.meter()))
    }

    /// Memory that the program registered.
    pub(crate) fn regions(&self) -> &Regions {
        &self.regions
    }

    pub(crate) fn kind(&self) -> EngineKind {
        self.kind
    }

    /// Why this kind, and the names of what was not granted.
    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }

    /// What is in use of io_uring.
    pub(crate) fn granted(&self) -> FeatureSet {
        self.granted
    }

    /// What was asked for in vain.
    pub(crate) fn refused(&self) -> Vec<Refusal> {
        let mut refused = self.refused.clone();
        if self.first.as_ref().is_some_and(Plan::poll_refused) {
            refused.push(Refusal {
                feature: Feature::IoPoll,
                reason: "the file system or device of a cached file cannot be polled".into(),
            });
        }
        refused
    }

    /// IORING_SETUP_… bits in force.
    pub(crate) fn setup_flags(&self) -> u32 {
        self.setup_flags
    }

    /// Buffers for a library thread.
    pub(crate) fn pool(&self, count: usize, buffer_bytes: usize) -> Result<Pool> {
        let pool = Pool::new(count, buffer_bytes, self.options.pages)?;
        // Of several pools, the plainest is told.
        let had = pool.pages();
        let mut least = self.pages_had.lock();
        *least = Some(least.map_or(had, |least| least.min(had)));
        Ok(pool)
    }

    /// Which pages the library's buffers are made of.
    pub(crate) fn pages_had(&self) -> Pages {
        self.pages_had.lock().unwrap_or(Pages::Small)
    }

    /// Which pages buffers are to be made of.
    pub(crate) fn pages(&self) -> Pages {
        self.options.pages
    }

    pub(crate) fn stats(&self) -> EngineStats {
        self.metrics.snapshot()
    }

    /// Ends the psync threads; returns how many were still inside a system call.
    pub(crate) fn shut_down(&self, deadline: Instant) -> usize {
        self.psync.shut_down(deadline)
    }
}

/// Gives the ring back if it can tell an eventfd of completions: without that the
/// descriptor of a queue would be silent about hits, so io_uring is as good as
/// refused (by a filter of io_uring_register(2); kernels have had it since 5.2).
fn can_notify(mut ring: Uring) -> Result<Uring> {
    let event = eventfd(0, EventfdFlags::CLOEXEC).context(|| "create an eventfd")?;
    match ring.notify(Arc::new(event)) {
        Ok(()) => Ok(ring),
        Err(error) => Err(Error::new(Errno::OPNOTSUPP, error.to_string())),
    }
}
