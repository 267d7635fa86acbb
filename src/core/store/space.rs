//! The file system that the cache directory is on: how much of it is free, and what
//! follows from that. It is asked now and then, and not for every chunk.

use crate::config::Config;
use crate::error::Errno;
use rustix::fs::StatVfs;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

/// Of what is free above `stop`, the share that is used before it is asked again: others
/// use it, too.
const SHARE: u64 = 8;

/// Percents that are free at which evicting ends and begins, and below which nothing is
/// stored: brun, bcull and bstop of cachefilesd, or frun, fcull and fstop.
#[derive(Clone, Copy, Debug)]
struct Marks {
    run: u64,
    cull: u64,
    stop: u64,
}

/// One of the two that a file system can run out of.
struct Supply {
    marks: Marks,
    free_percent: AtomicU64,
    /// What may be used before it is asked again.
    left: AtomicI64,
    stopped: AtomicBool,
}

/// Free blocks and inodes.
pub(super) struct Space {
    blocks: Supply,
    inodes: Supply,
}

/// What is to be done about what is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Nothing,
    /// More is free than at `cull`, and less than at `run`: whoever evicts goes on.
    More,
    /// Less is free than at `cull`.
    Much,
}

impl Supply {
    fn new(marks: Marks) -> Self {
        Self {
            marks,
            free_percent: AtomicU64::new(100),
            left: AtomicI64::new(0),
            stopped: AtomicBool::new(false),
        }
    }

    /// `unit`: what one of them has, in what is taken of it.
    fn learn(&self, free: u64, all: u64, unit: u64) {
        // Those that do not count have none of them.
        let percent = (free.saturating_mul(100)).checked_div(all).unwrap_or(100);
        let stop = all / 100 * self.marks.stop;
        let above = match all {
            0 => u64::MAX,
            _ => free.saturating_sub(stop).saturating_mul(unit),
        };
        let left = i64::try_from(above / SHARE).unwrap_or(i64::MAX);
        self.free_percent.store(percent, Ordering::Relaxed);
        self.left.store(left, Ordering::Relaxed);
        let stopped = all > 0 && percent < self.marks.stop;
        if stopped != self.stopped.swap(stopped, Ordering::Relaxed) {
            if stopped {
                let stop = self.marks.stop;
                tracing::warn!("nothing is stored: less than {stop} % of the file system is free");
            } else {
                tracing::info!("the cache stores again: {percent} % of the file system is free");
            }
        }
    }

    /// Takes from what may be used. False: it has to be asked again.
    fn take(&self, count: u64) -> bool {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.left.fetch_sub(count, Ordering::Relaxed) >= count
    }

    fn may_store(&self) -> bool {
        !self.stopped.load(Ordering::Relaxed)
    }

    fn need(&self) -> Need {
        let percent = self.free_percent.load(Ordering::Relaxed);
        if percent < self.marks.cull {
            Need::Much
        } else if percent < self.marks.run {
            Need::More
        } else {
            Need::Nothing
        }
    }
}

impl Space {
    /// Of a completed configuration.
    pub(super) fn new(config: &Config) -> Self {
        Self {
            blocks: Supply::new(Marks {
                run: config.space_run_percent,
                cull: config.space_cull_percent,
                stop: config.space_stop_percent,
            }),
            inodes: Supply::new(Marks {
                run: config.inodes_run_percent,
                cull: config.inodes_cull_percent,
                stop: config.inodes_stop_percent,
            }),
        }
    }

    /// Asks the file system.
    pub(super) fn look(&self, root: &OwnedFd) {
        match rustix::fs::fstatvfs(root) {
            Ok(stat) => self.learn(&stat),
            Err(Errno::INTR) => {}
            Err(errno) => tracing::warn!("ask for free space: {errno}"),
        }
    }

    fn learn(&self, stat: &StatVfs) {
        self.blocks
            .learn(stat.f_bavail, stat.f_blocks, stat.f_frsize);
        self.inodes.learn(stat.f_favail, stat.f_files, 1);
    }

    /// Whether so many bytes, and inodes, may be stored.
    pub(super) fn admits(&self, bytes: u64, inodes: u64, root: &OwnedFd) -> bool {
        let known = self.blocks.take(bytes);
        if !(self.inodes.take(inodes) && known) && self.may_store() {
            self.look(root);
        }
        self.may_store()
    }

    /// Whether anything may be stored, as far as was asked.
    pub(super) fn may_store(&self) -> bool {
        self.blocks.may_store() && self.inodes.may_store()
    }

    /// The greater of the two needs.
    pub(super) fn need(&self) -> Need {
        let needs = [self.blocks.need(), self.inodes.need()];
        let order = [Need::Much, Need::More];
        let greatest = order.into_iter().find(|need| needs.contains(need));
        greatest.unwrap_or(Need::Nothing)
    }

    /// Percents of blocks and of inodes that were free when it was last asked.
    pub(super) fn free_percents(&self) -> (u64, u64) {
        let percent = |supply: &Supply| supply.free_percent.load(Ordering::Relaxed);
        (percent(&self.blocks), percent(&self.inodes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supply() -> Supply {
        Supply::new(Marks {
            run: 7,
            cull: 5,
            stop: 1,
        })
    }

    #[test]
    fn each_mark_counts_from_its_percent_on() {
        let supply = supply();
        for (free, may_store, need) in [
            (1000, true, Need::Nothing),
            (70, true, Need::Nothing),
            (69, true, Need::More),
            (50, true, Need::More),
            (49, true, Need::Much),
            (10, true, Need::Much),
            (9, false, Need::Much),
            (0, false, Need::Much),
            (10, true, Need::Much),
        ] {
            supply.learn(free, 1000, 4096);
            assert_eq!(supply.may_store(), may_store, "{free}");
            assert_eq!(supply.need(), need, "{free}");
        }
    }

    #[test]
    fn it_is_asked_again_before_what_is_above_the_stop_is_used_up() {
        let supply = supply();
        supply.learn(90, 1000, 4096);
        assert!(supply.take(10 * 4096), "an eighth of 80 blocks");
        assert!(!supply.take(1));
        supply.learn(10, 1000, 4096);
        assert!(!supply.take(1), "nothing is above it");
    }

    #[test]
    fn a_file_system_that_does_not_count_never_runs_out() {
        let supply = supply();
        supply.learn(0, 0, 1);
        assert!(supply.may_store() && supply.take(1 << 40));
        assert_eq!(supply.need(), Need::Nothing);
    }
}
