//! What every engine promises, on each of them.
//!
//! | file | which promises |
//! |---|---|
//! | `contract` | one outcome, its bytes, wakes, the end |
//! | `chains` | what is linked |
//! | `ending` | cancellations and time-outs |
//! | `hanging` | what never ends by itself |
//! | `pressure` | more than a queue holds, and the numbers |
//! | `waking` | engines that wake each other |
//! | `model` | random operations against a model of the files |

mod chains;
mod contract;
mod ending;
mod hanging;
mod model;
mod pressure;
mod waking;

use super::sim::{Manners, Simulation};
use super::*;
use crate::buf::{Pages, Pool};
use once_cell::sync::Lazy;
use rustix::pipe::{PipeFlags, pipe_with};
use std::io::Write;
use std::ops::{Deref, DerefMut};

/// An engine and its numbers.
struct Made {
    engine: Box<dyn Engine + Send>,
    metrics: Arc<metrics::Metrics>,
    /// What a ring was granted; all of it where there is none.
    features: FeatureSet,
    is_ring: bool,
    /// A ring whose submitting thread it shares.
    _beside: Option<uring::Uring>,
}

impl Made {
    fn new(engine: impl Engine + Send + 'static, metrics: Arc<metrics::Metrics>) -> Self {
        Self {
            engine: Box::new(engine),
            metrics,
            features: FeatureSet::ALL,
            is_ring: false,
            _beside: None,
        }
    }
}

impl Deref for Made {
    type Target = dyn Engine + Send;

    fn deref(&self) -> &Self::Target {
        &*self.engine
    }
}

impl DerefMut for Made {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut *self.engine
    }
}

/// Which engine a test is run on, with what depth.
type Make = fn(u32) -> Made;

fn make_psync(depth: u32) -> Made {
    let metrics: Arc<metrics::Metrics> = Arc::default();
    let engine = psync::PsyncPool::new(4).engine(depth, metrics.meter());
    Made::new(engine, metrics)
}

/// Nothing fails: it is only late, out of order, short and interrupted.
fn make_sim(depth: u32) -> Made {
    let metrics: Arc<metrics::Metrics> = Arc::default();
    let host = Simulation::new(*SEED);
    host.set_manners(Manners {
        wake_for_nothing: 0,
        ..Manners::default()
    });
    Made::new(host.engine(depth, metrics.meter()), metrics)
}

/// Of this process: the clock's, or that of the environment variable CACHEFS_SEED.
static SEED: Lazy<u64> = Lazy::new(|| {
    let given = std::env::var("CACHEFS_SEED").ok();
    let given = given.and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(1, |since| since.as_nanos() as u64)
    })
});

/// What a ring's options differ in from the default.
type Change = fn(&mut EngineOptions);

/// Whether io_uring is granted here; said if not.
fn rings_are_granted() -> bool {
    let granted = probe(&EngineOptions::default())
        .first()
        .is_some_and(|first| first.granted.is_ok());
    if !granted {
        eprintln!("skipped: io_uring is refused here");
    }
    granted
}

fn plan(change: Change) -> uring::setup::Plan {
    let mut options = EngineOptions::default();
    change(&mut options);
    uring::setup::Plan::new(&options)
}

fn ring(plan: &uring::setup::Plan, depth: u32, metrics: &Arc<metrics::Metrics>) -> uring::Uring {
    let owner = Owner::Program { movable: false };
    uring::Uring::new(plan, depth, owner, Arc::default(), metrics.meter()).expect("granted before")
}

fn make_ring(change: Change, depth: u32) -> Made {
    let metrics = Arc::default();
    let engine = ring(&plan(change), depth, &metrics);
    Made {
        features: engine.granted(),
        is_ring: true,
        ..Made::new(engine, metrics)
    }
}

/// One that shares the kernel's submitting thread with another ring.
fn make_sharing_ring(depth: u32) -> Made {
    let metrics = Arc::default();
    let plan = plan(|options| options.sq_poll = Some(Duration::from_millis(50)));
    let first = ring(&plan, 8, &metrics);
    let plan = plan.after(&first).unwrap();
    let engine = ring(&plan, depth, &metrics);
    Made {
        features: engine.granted(),
        is_ring: true,
        _beside: Some(first),
        ..Made::new(engine, metrics)
    }
}

/// Each feature taken away alone, and what a kernel of 5.11 has: none.
macro_rules! on_each_ring {
    ($($name:ident),+ $(,)?) => {
        on_ring!(on_uring, |_| (); $($name),+);
        on_ring!(on_uring_5_11, |options| {
            options.features = $crate::io::FeatureSet::default();
        }; $($name),+);
        on_ring!(on_uring_5_19, |options| {
            options.features = options
                .features
                .without($crate::io::Feature::SingleIssuer)
                .without($crate::io::Feature::DeferTaskrun)
                .without($crate::io::Feature::NoSqarray);
        }; $($name),+);
        on_ring_without!(on_uring_without_submit_all, SubmitAll; $($name),+);
        on_ring_without!(on_uring_without_coop_taskrun, CoopTaskrun; $($name),+);
        on_ring_without!(on_uring_without_defer_taskrun, DeferTaskrun; $($name),+);
        on_ring_without!(on_uring_without_single_issuer, SingleIssuer; $($name),+);
        on_ring_without!(on_uring_without_registered_ring, RegisteredRing; $($name),+);
        on_ring_without!(on_uring_without_registered_files, RegisteredFiles; $($name),+);
        on_ring_without!(on_uring_without_registered_buffers, RegisteredBuffers; $($name),+);
        on_ring_without!(on_uring_without_msg_ring, MsgRing; $($name),+);
        on_ring_without!(on_uring_without_no_sqarray, NoSqarray; $($name),+);
        on_ring_without!(on_uring_without_bounded_workers, BoundedWorkers; $($name),+);
        on_ring_without!(on_uring_without_splice, Splice; $($name),+);
        on_ring_without!(on_uring_without_fallocate, Allocate; $($name),+);
        on_ring_without!(on_uring_without_link_timeout, LinkTimeout; $($name),+);
        on_ring!(on_uring_with_sq_poll, |options| {
            options.sq_poll = Some(std::time::Duration::from_millis(50));
        }; $($name),+);
        on_ring!(on_uring_with_spin, |options| {
            options.spin = std::time::Duration::from_micros(50);
        }; $($name),+);
        on_ring!(on_uring_with_io_poll, |options| {
            options.io_poll = true;
        }; $($name),+);
        mod on_uring_with_shared_sq_poll {
            $(#[test] fn $name() {
                if $crate::io::tests::rings_are_granted() {
                    super::$name($crate::io::tests::make_sharing_ring);
                }
            })+
        }
    };
}

/// Everything but one feature.
macro_rules! on_ring_without {
    ($module:ident, $feature:ident; $($name:ident),+) => {
        on_ring!($module, |options| {
            options.features = options.features.without($crate::io::Feature::$feature);
        }; $($name),+);
    };
}

macro_rules! on_ring {
    ($module:ident, $change:expr; $($name:ident),+) => {
        mod $module {
            fn make(depth: u32) -> $crate::io::tests::Made {
                $crate::io::tests::make_ring($change, depth)
            }
            $(#[test] fn $name() {
                if $crate::io::tests::rings_are_granted() {
                    super::$name(make);
                }
            })+
        }
    };
}

/// The names behind the semicolon are promises that only rings make.
macro_rules! on_each_engine {
    ($($name:ident),+ $(,)? $(; $($ring_name:ident),+ $(,)?)?) => {
        mod on_psync {
            $(#[test] fn $name() { super::$name($crate::io::tests::make_psync); })+
        }
        mod on_sim {
            $(#[test] fn $name() { super::$name($crate::io::tests::make_sim); })+
        }
        on_each_ring!($($name),+ $(, $($ring_name),+)?);
    };
}
use {on_each_engine, on_each_ring, on_ring, on_ring_without};

const LIMIT: Duration = Duration::from_secs(30);

fn file_with(bytes: &[u8]) -> Arc<OwnedFd> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    Arc::new(file.into())
}

fn op(verb: Verb, file: &Arc<OwnedFd>, buffer: Buffer, offset: u64) -> Op {
    Op {
        verb,
        file: Arc::clone(file),
        buffer,
        offset,
        terms: Terms::default(),
    }
}

/// A read into a buffer of the pool, which the engine owns meanwhile.
fn read(pool: &Pool, file: &Arc<OwnedFd>, length: usize, offset: u64) -> Op {
    let buffer = Buffer::Pool(pool.take().unwrap(), length);
    op(Verb::Read, file, buffer, offset)
}

/// Reaps until there are `count` outcomes; in the order of their tags.
fn reap_all(engine: &mut dyn Engine, count: usize) -> Vec<Outcome> {
    let deadline = Instant::now() + LIMIT;
    let mut outcomes = Vec::new();
    while outcomes.len() < count {
        assert!(Instant::now() < deadline, "{} of {count}", outcomes.len());
        engine.reap(Wait::For(1, Some(deadline)), &mut outcomes);
    }
    engine.reap(Wait::No, &mut outcomes);
    assert_eq!(outcomes.len(), count, "not one too many");
    assert_eq!(engine.in_flight(), 0);
    outcomes.sort_by_key(|outcome| outcome.tag);
    outcomes
}

fn bytes(outcome: &Outcome) -> &[u8] {
    match (&outcome.result, &outcome.buffer) {
        (Ok(Output::Bytes(count)), Buffer::Pool(buffer, _)) => buffer.bytes(*count),
        other => panic!("not a read: {other:?}"),
    }
}
