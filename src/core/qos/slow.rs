//! Whether the cache device has shown that it stores more slowly than an origin of this host
//! gives. Then what is missed of such an origin passes the cache by for a while, and is stored
//! when nobody reads: a reader is not to wait for the cache that was to make it faster. Not
//! now and then, chunk by chunk, since each chunk that is stored holds up its reader.

use crate::limits::PASS_BY_MS;
use crate::sys;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const PASS_BY: Duration = Duration::from_millis(PASS_BY_MS);

#[derive(Default)]
pub(crate) struct Slow {
    /// Until when it counts as slow: nanoseconds of the boot clock; 0: it never did.
    until: AtomicU64,
}

impl Slow {
    /// It has shown that just now.
    pub(crate) fn found(&self) {
        self.found_at(sys::boot_time());
    }

    fn found_at(&self, now: Duration) {
        let until = (now + PASS_BY).as_nanos() as u64;
        // Relaxed: who sees it late stores a chunk more.
        self.until.fetch_max(until, Ordering::Relaxed);
    }

    /// Whether it counts as slow. The clock is asked only if it ever did.
    pub(crate) fn is_slow(&self) -> bool {
        self.is_slow_at(sys::boot_time)
    }

    fn is_slow_at(&self, now: impl FnOnce() -> Duration) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        until != 0 && (now().as_nanos() as u64) < until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_counts_as_slow_once_it_has_shown_it() {
        let slow = Slow::default();
        assert!(!slow.is_slow());
        slow.found();
        assert!(slow.is_slow());
    }

    #[test]
    fn a_device_counts_as_slow_for_a_while_and_no_longer() {
        let slow = Slow::default();
        let second = Duration::from_secs;
        slow.found_at(second(1));
        assert!(slow.is_slow_at(|| second(1) + PASS_BY - Duration::from_nanos(1)));
        assert!(!slow.is_slow_at(|| second(1) + PASS_BY));
        slow.found_at(second(3));
        slow.found_at(second(2));
        assert!(slow.is_slow_at(|| second(2) + PASS_BY), "the latest counts");
    }
}
