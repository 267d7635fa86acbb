//! The engine for tests: everything that may happen to an operation happens as
//! often as it is told to, and again from the same seed.
//!
//! | file | what it does |
//! |---|---|
//! | `mod` | the simulated host that engines are made on |
//! | `faults` | what goes wrong, and how often |
//! | `engine` | what every engine promises |
//! | `kernel` | what one submission comes to: short, interrupted, failed, hung |
//! | `waker` | wakes that come late, or for nothing |
//! | `journal` | writes that a crash tears |
//! | `random` | the generator that decides |
//!
//! The operations are performed on the real files, by the thread that reaps.
//! The faults lie below the engine's promises: a short transfer is continued, an
//! interruption is repeated, and only what a kernel could answer comes out.

mod engine;
mod faults;
mod journal;
mod kernel;
mod random;
mod waker;

use super::metrics::Meter;
use crate::error::Errno;
use engine::Sim;
use faults::Plan;
use journal::Journal;
use parking_lot::{Condvar, Mutex};
pub(crate) use random::Random;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use faults::{Faults, Injection, Manners, Rates};

/// What the report says of a simulated engine; the library that is installed
/// knows nothing of it.
const REASON: &str = "simulated, from seed";

/// A host whose kernel and disk do what a seed says. Clones are the same host.
/// It outlives the caches that are opened on it, and its own crashes.
#[derive(Clone)]
pub struct Simulation(Arc<Host>);

struct Host {
    seed: u64,
    engines: AtomicU64,
    boots: AtomicU64,
    plan: Mutex<Plan>,
    injections: Mutex<Vec<Injection>>,
    journal: Mutex<Journal>,
    held: Mutex<HeldSyncs>,
    let_go: Condvar,
}

/// Syncs that do not end.
#[derive(Default)]
struct HeldSyncs {
    holds: bool,
    count: usize,
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the simulated host's seed was {}", self.seed);
        }
    }
}

impl Simulation {
    /// A host with the default [`Faults`] and [`Manners`]: nothing fails.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Host {
            seed,
            engines: AtomicU64::new(0),
            boots: AtomicU64::new(0),
            plan: Mutex::default(),
            injections: Mutex::default(),
            journal: Mutex::default(),
            held: Mutex::default(),
            let_go: Condvar::new(),
        }))
    }

    /// What decides everything.
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// Changes how engines behave, from their next step on.
    pub fn set_manners(&self, manners: Manners) {
        self.0.plan.lock().manners = manners;
    }

    /// Changes what happens to operations on files that no directory has faults for.
    pub fn set_faults(&self, faults: Faults) {
        self.0.plan.lock().elsewhere = Arc::new(faults);
    }

    /// Changes what happens to operations on files below a directory, also on
    /// those whose name is gone. The first directory that was named decides.
    pub fn set_faults_below(&self, directory: &Path, faults: Faults) {
        self.0.plan.lock().set_below(directory, faults);
    }

    /// What has been made to fail or to hang since the last call.
    pub fn take_injections(&self) -> Vec<Injection> {
        std::mem::take(&mut self.0.injections.lock())
    }

    /// Has the disk keep the last `bytes` of writes back, which a crash may tear.
    pub fn keep_back(&self, bytes: u64) {
        self.0.journal.lock().limit_bytes = bytes;
    }

    /// The host crashes and boots: of each sector that the disk has kept back,
    /// what it was before any of the writes to it is what it is now. No engine may
    /// have anything in flight. Returns the sectors that lost a write.
    pub fn crash(&self) -> u64 {
        let boot = self.0.boots.fetch_add(1, Ordering::Relaxed);
        let mut random = Random::of(self.0.seed, u64::MAX - boot);
        self.0.journal.lock().crash(&mut random)
    }

    /// Has every sync(2) of a file fail from now on, or none. What it was to bring to
    /// the disk stays where it is, and the next one does not look for it.
    pub fn fail_syncs(&self, fail: bool) {
        self.0.journal.lock().fails_syncs = fail;
    }

    /// Has no sync(2) of a file end from now on, or all that have not.
    pub fn hold_syncs(&self, hold: bool) {
        self.0.held.lock().holds = hold;
        self.0.let_go.notify_all();
    }

    /// Those that are under way and do not end.
    pub fn held_syncs(&self) -> usize {
        self.0.held.lock().count
    }

    /// What was written to a file before is on the disk.
    pub(super) fn sync(&self, file: BorrowedFd<'_>) -> Result<(), Errno> {
        let mut held = self.0.held.lock();
        held.count += 1;
        self.0.let_go.wait_while(&mut held, |held| held.holds);
        held.count -= 1;
        drop(held);
        self.0.journal.lock().sync(file)
    }

    /// The kernel's name for this boot.
    pub(crate) fn boot_id(&self) -> [u8; 16] {
        let boot = self.0.boots.load(Ordering::Relaxed);
        let mut id = *b"simulated-------";
        id[8..].copy_from_slice(&boot.to_le_bytes());
        id
    }

    /// Why a cache has this engine.
    pub(crate) fn reason(&self) -> String {
        format!("{REASON} {}", self.0.seed)
    }

    /// A further engine. It has a generator of its own.
    pub(crate) fn engine(&self, depth: u32, meter: Meter) -> Sim {
        let index = self.0.engines.fetch_add(1, Ordering::Relaxed);
        Sim::new(self.clone(), index, depth, meter)
    }

    fn manners(&self) -> Manners {
        self.0.plan.lock().manners
    }

    fn faults_of(&self, file: &OwnedFd) -> (Arc<Faults>, Option<PathBuf>) {
        self.0.plan.lock().of(file)
    }

    fn note(&self, injection: Injection) {
        self.0.injections.lock().push(injection);
    }
}

#[cfg(test)]
mod tests;
