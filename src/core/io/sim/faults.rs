//! What goes wrong, where, and how often. All rates are of 1000.

use crate::error::Errno;
use crate::io::Verb;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A rate, of 1000, for each kind of operation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    /// Reads.
    pub read: u32,
    /// Writes.
    pub write: u32,
    /// Questions for attributes.
    pub stat: u32,
    /// Splices.
    pub splice: u32,
    /// Allocations of both kinds.
    pub allocate: u32,
}

impl Rates {
    /// The same for each.
    pub const fn all(rate: u32) -> Self {
        Self {
            read: rate,
            write: rate,
            stat: rate,
            splice: rate,
            allocate: rate,
        }
    }

    pub(super) fn of(&self, verb: Verb) -> u32 {
        match verb {
            Verb::Read => self.read,
            Verb::Write => self.write,
            Verb::Stat => self.stat,
            Verb::Splice => self.splice,
            Verb::Allocate | Verb::AllocateZeroed => self.allocate,
        }
    }
}

/// What happens to operations on a file.
#[derive(Clone, Debug)]
pub struct Faults {
    /// A transfer that moves less than it was to.
    pub short: u32,
    /// EINTR or EAGAIN, which engines repeat.
    pub interrupted: u32,
    /// An errno. A transfer may have been done in part.
    pub failed: Rates,
    /// Which errnos; none: those that the manual pages list for the operation,
    /// and now and then one that they do not.
    pub errnos: Vec<Errno>,
    /// It does not end by itself.
    pub hung: Rates,
    /// Of those that hang, the ones that no cancellation ends either.
    pub deaf: u32,
}

impl Faults {
    /// Everything is as it is on a good day.
    pub fn none() -> Self {
        Self {
            short: 0,
            interrupted: 0,
            failed: Rates::default(),
            errnos: Vec::new(),
            hung: Rates::default(),
            deaf: 0,
        }
    }
}

impl Default for Faults {
    /// Nothing fails: transfers are short and interrupted.
    fn default() -> Self {
        Self {
            short: 250,
            interrupted: 50,
            ..Self::none()
        }
    }
}

/// How engines behave where they may.
#[derive(Clone, Copy, Debug)]
pub struct Manners {
    /// How many steps a submission takes at most. A `reap` that may not sleep is
    /// one step; one that may goes on to the next that ends anything.
    pub delay_steps_max: u64,
    /// A cancellation that comes too late.
    pub cancel_lost: u32,
    /// A wake that is noticed only when the sleep ends with its time, or after
    /// `late_wake` if it has none.
    pub wake_late: u32,
    /// When a late wake is noticed by a sleep without a limit.
    pub late_wake: Duration,
    /// A sleep that ends for nothing.
    pub wake_for_nothing: u32,
}

impl Default for Manners {
    /// Delays, and with them another order; late cancellations, idle wakes.
    fn default() -> Self {
        Self {
            delay_steps_max: 8,
            cancel_lost: 300,
            wake_late: 0,
            late_wake: Duration::from_millis(20),
            wake_for_nothing: 100,
        }
    }
}

/// Something that was made to go wrong.
#[derive(Clone, Debug)]
pub struct Injection {
    /// The operation's tag at its engine.
    pub tag: u64,
    /// `read`, `write`, …
    pub operation: &'static str,
    /// The directory whose faults these are.
    pub below: Option<PathBuf>,
    /// None: it hangs.
    pub errno: Option<Errno>,
    /// It hangs, and no cancellation ends it.
    pub deaf: bool,
}

/// Everything that a host is told.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) manners: Manners,
    below: Vec<(PathBuf, Arc<Faults>)>,
    pub(super) elsewhere: Arc<Faults>,
}

impl Plan {
    pub(super) fn set_below(&mut self, directory: &Path, faults: Faults) {
        let faults = Arc::new(faults);
        match self.below.iter_mut().find(|(path, _)| path == directory) {
            Some((_, current)) => *current = faults,
            None => self.below.push((directory.to_owned(), faults)),
        }
    }

    /// The faults of a file, and the directory that they are of.
    pub(super) fn of(&self, file: &OwnedFd) -> (Arc<Faults>, Option<PathBuf>) {
        if self.below.is_empty() {
            return (Arc::clone(&self.elsewhere), None);
        }
        // A file without a name has its last one, and " (deleted)" (proc(5)).
        let link = format!("/proc/self/fd/{}", file.as_raw_fd());
        let path = std::fs::read_link(link).unwrap_or_default();
        match self.below.iter().find(|(below, _)| path.starts_with(below)) {
            Some((below, faults)) => (Arc::clone(faults), Some(below.clone())),
            None => (Arc::clone(&self.elsewhere), None),
        }
    }
}
