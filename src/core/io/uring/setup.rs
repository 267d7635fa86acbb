//! Setting up a ring: every feature is asked for, and given up one by one until
//! the kernel takes what is left.

use super::Uring;
use super::features::{Feature, FeatureSet};
use crate::error::{Errno, Error, Result, describe};
use crate::io::{EngineOptions, Refusal};
use io_uring::{IoUring, Parameters};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Bits of io_uring_setup(2).
const SETUP_FLAGS: [(Feature, u32); 7] = [
    (Feature::SubmitAll, 1 << 7),
    (Feature::CoopTaskrun, 1 << 8),
    (Feature::SingleIssuer, 1 << 12),
    (Feature::DeferTaskrun, 1 << 13),
    (Feature::NoSqarray, 1 << 16),
    (Feature::SqPoll, 1 << 1),
    (Feature::IoPoll, 1 << 0),
];

/// In which order set-up flags are given up: those that need another one first,
/// and the newest of the rest before the older ones.
const GIVEN_UP: [Feature; 6] = [
    Feature::NoSqarray,
    Feature::DeferTaskrun,
    Feature::SingleIssuer,
    Feature::CoopTaskrun,
    Feature::SubmitAll,
    Feature::SqPoll,
];

/// What the rings of one cache are to be.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(super) allowed: FeatureSet,
    sq_poll: Option<Duration>,
    sq_poll_cpu: Option<u32>,
    pub(super) io_poll: bool,
    pub(super) spin: Duration,
    pub(super) io_workers: u32,
    /// The ring whose submitting thread and workers the others share.
    shared: Option<Arc<OwnedFd>>,
    /// Some file could not be polled: none is from then on.
    pub(super) poll_refused: Arc<AtomicBool>,
}

/// What a ring was granted, and what not.
#[derive(Clone, Default)]
pub(super) struct Granted {
    pub(super) features: FeatureSet,
    pub(super) refused: Vec<Refusal>,
}

impl Granted {
    pub(super) fn note(&mut self, feature: Feature, result: io::Result<()>) -> bool {
        match result {
            Ok(()) => self.features = self.features.with(feature),
            Err(error) => self.refuse(feature, describe(errno_of(&error))),
        }
        self.features.has(feature)
    }

    pub(super) fn refuse(&mut self, feature: Feature, reason: String) {
        self.features = self.features.without(feature);
        self.refused.push(Refusal { feature, reason });
    }
}

pub(super) fn errno_of(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

impl Plan {
    pub(crate) fn new(options: &EngineOptions) -> Self {
        Self {
            allowed: options.features,
            sq_poll: options.sq_poll,
            sq_poll_cpu: options.sq_poll_cpu,
            io_poll: options.io_poll,
            spin: options.spin,
            io_workers: options.io_workers,
            shared: None,
            poll_refused: Arc::default(),
        }
    }

    /// For the rings that follow the first one: with a submitting thread, they
    /// share its (IORING_SETUP_ATTACH_WQ).
    pub(crate) fn after(mut self, first: &Uring) -> Result<Self> {
        if first.granted().has(Feature::SqPoll) {
            self.shared = Some(first.descriptor()?);
        }
        Ok(self)
    }

    /// Whether some file of the cache could not be polled.
    pub(crate) fn poll_refused(&self) -> bool {
        self.poll_refused.load(Ordering::Relaxed)
    }

    /// What is asked of a ring. `single`: only the calling thread will use it.
    fn wanted(&self, single: bool) -> FeatureSet {
        let mut wanted = FeatureSet::default()
            .with(Feature::SubmitAll)
            .with(Feature::NoSqarray);
        if self.sq_poll.is_some() {
            // Completions are then made by another thread: the two flags about
            // task work contradict it (io_uring_setup(2)).
            wanted = wanted.with(Feature::SqPoll);
        } else {
            wanted = wanted.with(Feature::CoopTaskrun);
        }
        if single {
            wanted = wanted.with(Feature::SingleIssuer);
            if self.sq_poll.is_none() {
                wanted = wanted.with(Feature::DeferTaskrun);
            }
        }
        wanted
    }

    /// A ring with as many of the flags as the kernel takes.
    pub(super) fn build(
        &self,
        entries: u32,
        single: bool,
        granted: &mut Granted,
    ) -> Result<IoUring> {
        let mut flags = FeatureSet::default();
        for feature in self.wanted(single).iter() {
            if self.allowed.has(feature) {
                flags = flags.with(feature);
            } else {
                granted.refuse(feature, "withheld by the option without".to_owned());
            }
        }
        if !flags.has(Feature::SingleIssuer) && flags.has(Feature::DeferTaskrun) {
            granted.refuse(Feature::DeferTaskrun, "needs SINGLE_ISSUER".to_owned());
            flags = flags.without(Feature::DeferTaskrun);
        }
        loop {
            match self.try_build(entries, flags) {
                Ok(ring) => {
                    flags.iter().for_each(|one| {
                        granted.note(one, Ok(()));
                    });
                    return check(ring);
                }
                // An unknown flag is EINVAL; a submitting thread may be forbidden
                // (EPERM) where a plain ring is not. Nothing else is about flags.
                Err(error) => {
                    let next = match error.raw_os_error() {
                        Some(libc::EINVAL) => GIVEN_UP.into_iter().find(|one| flags.has(*one)),
                        Some(libc::EPERM | libc::EACCES) => {
                            Some(Feature::SqPoll).filter(|one| flags.has(*one))
                        }
                        _ => None,
                    };
                    let Some(next) = next else {
                        return Err(refusal(&error));
                    };
                    flags = flags.without(next);
                    granted.refuse(next, describe(errno_of(&error)));
                    if next == Feature::SqPoll && self.allowed.has(Feature::CoopTaskrun) {
                        flags = flags.with(Feature::CoopTaskrun);
                    }
                }
            }
        }
    }

    fn try_build(&self, entries: u32, flags: FeatureSet) -> io::Result<IoUring> {
        let mut builder = IoUring::builder();
        builder.dontfork().setup_clamp();
        if flags.has(Feature::CoopTaskrun) {
            builder.setup_coop_taskrun();
        }
        if flags.has(Feature::CoopTaskrun) || flags.has(Feature::DeferTaskrun) {
            // Says when there is something to enter the kernel for.
            builder.setup_taskrun_flag();
        }
        if flags.has(Feature::SubmitAll) {
            builder.setup_submit_all();
        }
        if flags.has(Feature::SingleIssuer) {
            builder.setup_single_issuer();
        }
        if flags.has(Feature::DeferTaskrun) {
            builder.setup_defer_taskrun();
        }
        if flags.has(Feature::NoSqarray) {
            builder.setup_no_sqarray();
        }
        if let (true, Some(idle)) = (flags.has(Feature::SqPoll), self.sq_poll) {
            builder.setup_sqpoll(idle.as_millis().try_into().unwrap_or(u32::MAX));
            if let Some(cpu) = self.sq_poll_cpu {
                builder.setup_sqpoll_cpu(cpu);
            }
            if let Some(shared) = &self.shared {
                builder.setup_attach_wq(shared.as_raw_fd());
            }
        }
        builder.build(entries)
    }

    /// A ring whose reads are polled for, beside an ordinary one.
    pub(super) fn build_polled(&self, entries: u32) -> io::Result<IoUring> {
        let mut builder = IoUring::builder();
        builder.dontfork().setup_clamp().setup_iopoll();
        builder.build(entries)
    }
}

/// EOPNOTSUPP for a kernel that lacks what the engine cannot do without.
fn check(ring: IoUring) -> Result<IoUring> {
    let parameters: &Parameters = ring.params();
    if parameters.is_feature_ext_arg() && parameters.is_feature_nodrop() {
        return Ok(ring);
    }
    let text = "io_uring of this kernel is older than Linux 5.11";
    Err(Error::new(Errno::OPNOTSUPP, text))
}

/// IORING_SETUP_… bits of features.
pub(super) fn setup_flags(features: FeatureSet) -> u32 {
    let set = SETUP_FLAGS
        .iter()
        .filter(|(feature, _)| features.has(*feature));
    set.fold(0, |bits, (_, bit)| bits | bit)
}

/// Says what is likely to have refused the ring, and what to do about it.
fn refusal(error: &io::Error) -> Error {
    let errno = errno_of(error);
    let cause = match errno {
        Errno::PERM => "sysctl kernel.io_uring_disabled, or a seccomp profile, forbids it",
        Errno::NOSYS => "the kernel is built without it, or a seccomp profile hides it",
        Errno::NOMEM => "RLIMIT_MEMLOCK is too low: raise it (ulimit -l)",
        Errno::MFILE | Errno::NFILE => "no descriptor is left: raise RLIMIT_NOFILE (ulimit -n)",
        _ => "io_uring_setup failed",
    };
    let text = describe(errno);
    Error::new(errno, format!("{text}: {cause}"))
}
