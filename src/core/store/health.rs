//! What the cache device can be trusted with, and when it is tried again.
//!
//! ```text
//! Normal ── a write is refused, reads fail, an operation hangs ──▶ Degraded
//! Degraded ── more reads fail, another operation hangs ──▶ Off
//! Degraded, Off ── probes succeed, one after the other ──▶ Normal
//! ```
//!
//! Decides only; `probe` tries the device, and who reads or writes tells what came of
//! it. The rules are in `docs/device-failures.md`.

use crate::error::{Errno, Error, describe};
use crate::limits::{
    DEVICE_PROBE_MS_FIRST, DEVICE_PROBE_MS_MAX, DEVICE_PROBES_GOOD, DEVICE_READ_ERRORS_DEGRADED,
    DEVICE_READ_ERRORS_OFF, DEVICE_READ_WINDOW_MS, DEVICE_STABLE_MS,
};
use crate::stats::Counters;
use crate::sys;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_millis(DEVICE_PROBE_MS_FIRST);
const LONGEST: Duration = Duration::from_millis(DEVICE_PROBE_MS_MAX);
const STABLE: Duration = Duration::from_millis(DEVICE_STABLE_MS);
const READ_WINDOW: Duration = Duration::from_millis(DEVICE_READ_WINDOW_MS);

/// What the cache device is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Everything.
    Normal,
    /// Nothing new is stored; what is there is served.
    Degraded,
    /// Nothing: reads go to their origins.
    Off,
}

/// How present bytes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Straight to the caller's memory, on any thread.
    Whole,
    /// By the engine into memory of ours, with a time limit.
    Guarded,
    /// Not at all.
    None,
}

/// What a report says of the device.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) condition: Condition,
    /// Why not normal.
    pub(crate) reason: Option<Error>,
    /// When the condition last changed, by CLOCK_BOOTTIME, ns; 0: never.
    pub(crate) since_ns: u64,
    /// When the device is tried next, by the same clock; 0: it is being tried, or need
    /// not be.
    pub(crate) next_probe_ns: u64,
}

/// The condition of one cache device, as this process has found it.
pub(crate) struct Health {
    /// Read by every hit.
    trust: AtomicU8,
    books: Mutex<Books>,
    counters: Arc<Counters>,
    device_timeout: Duration,
}

struct Books {
    condition: Condition,
    reason: Option<Error>,
    /// An operation has not ended in time: reads are guarded.
    has_hung: bool,
    since: Option<Instant>,
    since_ns: u64,
    probe: Probe,
    /// Probes that succeeded one after the other.
    good: u32,
    /// From one probe to the next.
    back_off: Duration,
    /// Read errors, and when the first of them was.
    read_errors: u32,
    window: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    None,
    At(Instant),
    /// Begun then.
    Running(Instant),
}

impl Health {
    /// Operations of the device that take longer than `device_timeout` hang.
    pub(super) fn new(counters: Arc<Counters>, device_timeout: Duration) -> Self {
        Self {
            trust: AtomicU8::new(Trust::Whole as u8),
            books: Mutex::new(Books {
                condition: Condition::Normal,
                reason: None,
                has_hung: false,
                since: None,
                since_ns: 0,
                probe: Probe::None,
                good: 0,
                back_off: FIRST,
                read_errors: 0,
                window: None,
            }),
            counters,
            device_timeout,
        }
    }

    /// How to read what is present. On the way of every hit: one load.
    pub(crate) fn trust(&self) -> Trust {
        match self.trust.load(Ordering::Relaxed) {
            0 => Trust::Whole,
            1 => Trust::Guarded,
            _ => Trust::None,
        }
    }

    /// When an operation of the device that was begun then hangs.
    pub(crate) fn hangs_at(&self, begun: Instant) -> Instant {
        begun + self.device_timeout
    }

    /// Whether to store now, or why not.
    pub(crate) fn may_store(&self) -> Result<(), Errno> {
        let books = self.books.lock();
        match (&books.reason, books.condition) {
            (_, Condition::Normal) => Ok(()),
            (Some(reason), _) => Err(reason.errno()),
            (None, _) => Err(Errno::IO),
        }
    }

    /// The device refused to take something.
    pub(crate) fn failed(&self, error: &Error) {
        self.failed_at(error, Instant::now());
    }

    fn failed_at(&self, error: &Error, now: Instant) {
        let mut books = self.books.lock();
        if books.condition == Condition::Normal {
            self.change(&mut books, Condition::Degraded, Some(error.clone()), now);
        }
    }

    /// Bytes could not be read back. One error says little of the device.
    pub(crate) fn read_failed(&self, errno: Errno) {
        self.counters.device_read_errors.add(1);
        self.read_failed_at(errno, Instant::now());
    }

    fn read_failed_at(&self, errno: Errno, now: Instant) {
        let mut books = self.books.lock();
        let is_over = |begun: Instant| now.saturating_duration_since(begun) > READ_WINDOW;
        if books.window.is_none_or(is_over) {
            books.window = Some(now);
            books.read_errors = 0;
        }
        books.read_errors += 1;
        let worse = match (books.condition, books.read_errors) {
            (Condition::Off, _) | (_, 0..DEVICE_READ_ERRORS_DEGRADED) => return,
            (_, DEVICE_READ_ERRORS_OFF..) => Condition::Off,
            (Condition::Normal, _) => Condition::Degraded,
            (Condition::Degraded, _) => return,
        };
        let count = books.read_errors;
        let text = format!("{count} reads of the cache failed: {}", describe(errno));
        self.change(&mut books, worse, Some(Error::new(errno, text)), now);
    }

    /// An operation that was begun at `begun` has not ended in time.
    pub(crate) fn hung(&self, begun: Instant) {
        self.counters.device_hangs.add(1);
        self.hung_at(begun, Instant::now());
    }

    /// The same of one whose end was due then.
    pub(crate) fn hung_until(&self, deadline: Instant) {
        self.hung(deadline - self.device_timeout);
    }

    fn hung_at(&self, begun: Instant, now: Instant) {
        let mut books = self.books.lock();
        // Many may hang together; one that was begun since is another sign.
        let again = books.has_hung && books.since.is_some_and(|since| begun >= since);
        let worse = match books.condition {
            Condition::Off => return,
            Condition::Degraded if again => Condition::Off,
            Condition::Degraded if books.has_hung => return,
            _ => Condition::Degraded,
        };
        books.has_hung = true;
        let limit = self.device_timeout.as_millis();
        let text = format!("the cache device has not answered within {limit} ms");
        let reason = Some(Error::new(Errno::TIMEDOUT, text));
        self.change(&mut books, worse, reason, now);
    }

    fn change(&self, books: &mut Books, to: Condition, reason: Option<Error>, now: Instant) {
        let from = std::mem::replace(&mut books.condition, to);
        let stable = books.since.is_none_or(|since| now >= since + STABLE);
        if to != Condition::Normal {
            if from == Condition::Normal {
                // One that fails again and again is tried less and less often.
                books.back_off = if stable {
                    FIRST
                } else {
                    longer(books.back_off)
                };
            }
            books.good = 0;
            if !matches!(books.probe, Probe::Running(_)) {
                books.probe = Probe::At(now + books.back_off);
            }
        } else {
            books.probe = Probe::None;
            books.has_hung = false;
            books.read_errors = 0;
        }
        (books.since, books.since_ns) = (Some(now), sys::boot_time().as_nanos() as u64);
        let before = std::mem::replace(&mut books.reason, reason);
        let trust = match (to, books.has_hung) {
            (Condition::Off, _) => Trust::None,
            (Condition::Degraded, true) => Trust::Guarded,
            _ => Trust::Whole,
        };
        self.trust.store(trust as u8, Ordering::Relaxed);
        self.counters.device_changes.add(1);
        match (to, &books.reason, before) {
            (Condition::Degraded, Some(reason), _) => {
                tracing::warn!("nothing is stored for now: {reason}");
            }
            (Condition::Off, Some(reason), _) => {
                tracing::error!("the cache is off for now, reads go to their origins: {reason}");
            }
            (_, _, Some(before)) => tracing::warn!("the cache is in use again after: {before}"),
            (_, _, None) => tracing::warn!("the cache is in use again"),
        }
    }

    /// When somebody has to look: a probe is due, or one may hang.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        match self.books.lock().probe {
            Probe::None => None,
            Probe::At(at) => Some(at),
            Probe::Running(begun) => Some(begun + self.device_timeout),
        }
    }

    /// Whether to probe now: then [`Health::probed`] must follow.
    pub(crate) fn begin_probe(&self) -> bool {
        self.begin_probe_at(Instant::now())
    }

    fn begin_probe_at(&self, now: Instant) -> bool {
        let begun = {
            let mut books = self.books.lock();
            match books.probe {
                Probe::At(at) if at <= now => {
                    books.probe = Probe::Running(now);
                    return true;
                }
                Probe::Running(begun) if now >= begun + self.device_timeout => {
                    // It is told once, and waited for on.
                    books.probe = Probe::Running(now);
                    begun
                }
                _ => return false,
            }
        };
        self.counters.device_hangs.add(1);
        self.hung_at(begun, now);
        false
    }

    /// What came of a probe.
    pub(crate) fn probed(&self, result: Result<(), Errno>) {
        self.counters.device_probes.add(1);
        self.probed_at(result, Instant::now());
    }

    fn probed_at(&self, result: Result<(), Errno>, now: Instant) {
        let mut books = self.books.lock();
        match result {
            Ok(()) => {
                books.good += 1;
                if books.good >= DEVICE_PROBES_GOOD {
                    return self.change(&mut books, Condition::Normal, None, now);
                }
                // It need not wait for long to be sure.
                books.probe = Probe::At(now + FIRST);
            }
            Err(errno) => {
                tracing::debug!("the cache device still fails: {}", describe(errno));
                books.good = 0;
                books.back_off = longer(books.back_off);
                books.probe = Probe::At(now + books.back_off);
            }
        }
    }

    /// As of now.
    pub(crate) fn view(&self) -> View {
        let books = self.books.lock();
        let left = match books.probe {
            Probe::At(at) => Some(at.saturating_duration_since(Instant::now())),
            _ => None,
        };
        View {
            condition: books.condition,
            reason: books.reason.clone(),
            since_ns: books.since_ns,
            next_probe_ns: left.map_or(0, |left| (sys::boot_time() + left).as_nanos() as u64),
        }
    }
}

fn longer(back_off: Duration) -> Duration {
    (back_off * 2).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);

    fn health() -> (Health, Instant) {
        (Health::new(Arc::default(), TIMEOUT), Instant::now())
    }

    fn full() -> Error {
        Error::new(Errno::NOSPC, "full")
    }

    /// The time from now to the next probe, which begins then.
    fn next(health: &Health, now: Instant) -> Duration {
        let at = health.next_look().expect("it is tried again");
        assert!(!health.begin_probe_at(at - Duration::from_nanos(1)));
        assert!(health.begin_probe_at(at));
        at.duration_since(now)
    }

    #[test]
    fn what_is_full_stores_nothing_and_serves_as_before() {
        let (health, now) = health();
        assert_eq!(health.may_store(), Ok(()));
        assert_eq!(health.next_look(), None);
        health.failed_at(&full(), now);
        assert_eq!(health.may_store(), Err(Errno::NOSPC));
        assert_eq!(health.trust(), Trust::Whole);
        assert_eq!(health.view().condition, Condition::Degraded);
    }

    #[test]
    fn two_probes_in_a_row_bring_it_back_and_one_does_not() {
        let (health, now) = health();
        health.failed_at(&full(), now);
        assert_eq!(next(&health, now), FIRST);
        health.probed_at(Ok(()), now);
        assert_eq!(health.view().condition, Condition::Degraded);
        assert_eq!(next(&health, now), FIRST);
        health.probed_at(Err(Errno::NOSPC), now);
        assert_eq!(next(&health, now), 2 * FIRST);
        for _ in 0..DEVICE_PROBES_GOOD {
            assert_eq!(health.view().condition, Condition::Degraded);
            health.probed_at(Ok(()), now);
        }
        assert_eq!(health.view().condition, Condition::Normal);
        assert_eq!(health.may_store(), Ok(()));
        assert_eq!(health.next_look(), None);
    }

    #[test]
    fn the_back_off_doubles_to_a_limit() {
        let (health, now) = health();
        health.failed_at(&full(), now);
        let mut expected = FIRST;
        for _ in 0..12 {
            assert_eq!(next(&health, now), expected);
            health.probed_at(Err(Errno::NOSPC), now);
            expected = (2 * expected).min(LONGEST);
        }
        assert_eq!(expected, LONGEST);
    }

    fn bring_back(health: &Health, now: Instant) {
        for _ in 0..DEVICE_PROBES_GOOD {
            health.probed_at(Ok(()), now);
        }
        assert_eq!(health.view().condition, Condition::Normal);
    }

    #[test]
    fn one_that_fails_soon_again_is_tried_less_often_until_it_was_good_for_long() {
        let (health, now) = health();
        health.failed_at(&full(), now);
        bring_back(&health, now);
        health.failed_at(&full(), now);
        assert_eq!(next(&health, now), 2 * FIRST);
        bring_back(&health, now);
        let later = now + STABLE;
        health.failed_at(&full(), later);
        assert_eq!(next(&health, later), FIRST);
    }

    #[test]
    fn read_errors_count_only_together() {
        let (health, mut now) = health();
        for _ in 0..10 * DEVICE_READ_ERRORS_OFF {
            health.read_failed_at(Errno::IO, now);
            now += READ_WINDOW;
        }
        assert_eq!(health.view().condition, Condition::Normal, "now and then");
        now += READ_WINDOW;
        for count in 1..=DEVICE_READ_ERRORS_OFF {
            health.read_failed_at(Errno::IO, now);
            let expected = match count {
                ..DEVICE_READ_ERRORS_DEGRADED => Condition::Normal,
                DEVICE_READ_ERRORS_OFF.. => Condition::Off,
                _ => Condition::Degraded,
            };
            assert_eq!(health.view().condition, expected, "{count} errors");
        }
        assert_eq!(health.trust(), Trust::None);
    }

    #[test]
    fn what_hangs_together_is_one_sign_and_what_hangs_after_that_another() {
        let (health, begun) = health();
        let now = begun + TIMEOUT;
        for _ in 0..8 {
            health.hung_at(begun, now);
            assert_eq!(health.view().condition, Condition::Degraded);
            assert_eq!(health.trust(), Trust::Guarded);
        }
        health.hung_at(now, now + TIMEOUT);
        assert_eq!(health.view().condition, Condition::Off);
        assert_eq!(health.trust(), Trust::None);
        bring_back(&health, now + 2 * TIMEOUT);
        assert_eq!(health.trust(), Trust::Whole);
    }

    #[test]
    fn a_device_that_was_full_and_then_hangs_is_guarded() {
        let (health, now) = health();
        health.failed_at(&full(), now);
        health.hung_at(now, now + TIMEOUT);
        assert_eq!(health.view().condition, Condition::Degraded);
        assert_eq!(health.trust(), Trust::Guarded);
    }

    #[test]
    fn a_probe_that_hangs_is_a_hang_and_no_other_is_begun() {
        let (health, begun) = health();
        let mut now = begun + TIMEOUT;
        health.hung_at(begun, now);
        now = health.next_look().unwrap();
        assert!(health.begin_probe_at(now));
        for _ in 0..3 {
            now = health.next_look().unwrap();
            assert!(!health.begin_probe_at(now), "one is under way");
            assert_eq!(health.view().condition, Condition::Off);
        }
        health.probed_at(Ok(()), now);
        assert_eq!(health.view().condition, Condition::Off);
        health.probed_at(Ok(()), now);
        assert_eq!(health.view().condition, Condition::Normal);
    }
}
