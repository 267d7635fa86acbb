//! Whether the cache device has shown that it stores more slowly than an origin of this host
//! gives. Then what is missed of such an origin passes the cache by for a while, and is stored
//! when nobody reads: a reader is not to wait for the cache that was to make it faster. Not
//! now and then, chunk by chunk, since each chunk that is stored holds up its reader.

use crate::limits::PASS_BY_MS;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

pub(crate) struct Slow {
    begun: Instant,
    /// Until when, in milliseconds from then; 0: it is not slow.
    until: AtomicU64,
}

impl Slow {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            begun: now,
            until: AtomicU64::new(0),
        }
    }

    fn milliseconds(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.begun).as_millis() as u64
    }

    /// It has shown that just now.
    pub(crate) fn found(&self, now: Instant) {
        let until = self.milliseconds(now) + PASS_BY_MS;
        // Relaxed: who sees it late stores a chunk more.
        self.until.fetch_max(until, Ordering::Relaxed);
    }

    /// The time now, if it counts as slow.
    #[inline]
    pub(crate) fn look(&self) -> Option<Instant> {
        match self.until.load(Ordering::Relaxed) {
            0 => None,
            until => self.look_at(until, Instant::now()),
        }
    }

    fn look_at(&self, until: u64, now: Instant) -> Option<Instant> {
        if self.milliseconds(now) < until {
            return Some(now);
        }
        // Unless it has shown it again since.
        let _ = self
            .until
            .compare_exchange(until, 0, Ordering::Relaxed, Ordering::Relaxed);
        None
    }

    /// Whether it counts as slow.
    pub(crate) fn is_slow(&self) -> bool {
        self.look().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_device_counts_as_slow_for_a_while_and_no_longer() {
        let now = Instant::now();
        let slow = Slow::new(now);
        assert!(!slow.is_slow());
        slow.found(now);
        assert!(slow.is_slow());
        let until = slow.until.load(Ordering::Relaxed);
        let after = Duration::from_millis(PASS_BY_MS);
        let just_before = now + after - Duration::from_millis(1);
        assert_eq!(slow.look_at(until, just_before), Some(just_before));
        assert_eq!(slow.look_at(until, now + after), None);
        assert!(!slow.is_slow());
    }

    #[test]
    fn a_device_that_shows_it_again_meanwhile_stays_slow() {
        let now = Instant::now();
        let slow = Slow::new(now);
        slow.found(now);
        let first = slow.until.load(Ordering::Relaxed);
        let later = now + Duration::from_millis(PASS_BY_MS);
        slow.found(later);
        assert_eq!(slow.look_at(first, later), None);
        assert!(slow.is_slow());
    }
}
