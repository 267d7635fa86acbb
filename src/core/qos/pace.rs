//! How many fills are at work at once: fewer while hits take longer than they do without,
//! as the block layer's writeback throttling does with writes (block/blk-wbt.c).
//!
//! What counts is the shortest hit of a moment: the longest ones vary by themselves, the
//! shortest only if all had to wait.

use crate::limits::{QOS_BASELINE_WINDOWS, QOS_HIT_SAMPLES, QOS_SLACK_NS, QOS_WINDOW_MS};
use parking_lot::Mutex;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_millis(QOS_WINDOW_MS);
/// There was no hit.
const NONE: u64 = u64::MAX;

pub(crate) struct Pace {
    /// Fills of one request when nothing is in the way.
    limit: u32,
    /// Hits may take so much of what they take by themselves.
    percent: u64,
    depth: AtomicU32,
    /// The shortest hit of this window, ns.
    shortest: AtomicU64,
    /// Fills were at work in this window.
    filling: AtomicBool,
    window: Mutex<Window>,
}

#[derive(Default)]
struct Window {
    ends: Option<Instant>,
    /// What the shortest hit takes by itself, ns.
    baseline: Option<u64>,
    /// Windows since that was found.
    age: u32,
}

impl Pace {
    pub(crate) fn new(limit: u32, percent: u64) -> Self {
        Self {
            limit,
            percent,
            depth: AtomicU32::new(limit),
            shortest: AtomicU64::new(NONE),
            filling: AtomicBool::new(false),
            window: Mutex::default(),
        }
    }

    /// When a hit on this thread begins, if it is one of those that are measured: a
    /// count of the thread's own for the others, two looks at the clock for these.
    pub(crate) fn sample(&self) -> Option<Instant> {
        thread_local! {
            // Without a destructor, so that it is there until the thread is gone.
            static HITS: Cell<u32> = const { Cell::new(0) };
        }
        let hits = HITS.get().wrapping_add(1);
        HITS.set(hits);
        hits.is_multiple_of(QOS_HIT_SAMPLES).then(Instant::now)
    }

    /// A hit that was begun then is over.
    #[cold]
    pub(crate) fn took(&self, begun: Instant) {
        let now = Instant::now();
        self.hit(now.saturating_duration_since(begun).as_nanos() as u64);
        self.look(now);
    }

    /// A hit has taken so long.
    pub(crate) fn hit(&self, nanoseconds: u64) {
        if nanoseconds < self.shortest.load(Ordering::Relaxed) {
            self.shortest.fetch_min(nanoseconds, Ordering::Relaxed);
        }
    }

    /// A fill is at work.
    pub(crate) fn fills(&self) {
        self.filling.store(true, Ordering::Relaxed);
    }

    /// Fills that one request may have at work now.
    pub(crate) fn depth(&self) -> u32 {
        self.depth.load(Ordering::Relaxed)
    }

    /// Looks at what hits took, if a window is over.
    pub(crate) fn look(&self, now: Instant) {
        let Some(mut window) = self.window.try_lock() else {
            return;
        };
        if window.ends.is_some_and(|ends| now < ends) {
            return;
        }
        window.ends = Some(now + WINDOW);
        let shortest = self.shortest.swap(NONE, Ordering::Relaxed);
        let filling = self.filling.swap(false, Ordering::Relaxed);
        let depth = self.depth();
        let next = if shortest != NONE && self.is_too_long(&mut window, shortest, filling) {
            (depth / 2).max(1)
        } else {
            (depth + 1).min(self.limit)
        };
        self.depth.store(next, Ordering::Relaxed);
    }

    fn is_too_long(&self, window: &mut Window, shortest: u64, filling: bool) -> bool {
        window.age += 1;
        let is_old = window.age > QOS_BASELINE_WINDOWS;
        match window.baseline {
            Some(baseline) if shortest > baseline && (filling || !is_old) => {
                let target = baseline.saturating_mul(self.percent) / 100;
                filling && shortest > target.saturating_add(QOS_SLACK_NS)
            }
            // It became faster, or is known by itself again.
            _ => {
                (window.baseline, window.age) = (Some(shortest), 0);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Clock(Instant);

    impl Clock {
        /// A window with a hit that took so long; the depth after it.
        fn window(&mut self, pace: &Pace, hit: Option<u64>, filling: bool) -> u32 {
            if let Some(hit) = hit {
                pace.hit(hit + 12345);
                pace.hit(hit);
            }
            if filling {
                pace.fills();
            }
            self.0 += WINDOW;
            pace.look(self.0);
            pace.depth()
        }
    }

    fn pace() -> (Pace, Clock) {
        (Pace::new(16, 200), Clock(Instant::now()))
    }

    #[test]
    fn fills_halve_while_hits_are_slow_and_come_back_one_by_one() {
        let (pace, mut clock) = pace();
        assert_eq!(clock.window(&pace, Some(10_000), false), 16);
        let slow = Some(20_000 + QOS_SLACK_NS + 1);
        let depths: Vec<u32> = (0..6).map(|_| clock.window(&pace, slow, true)).collect();
        assert_eq!(depths, [8, 4, 2, 1, 1, 1]);
        let depths: Vec<u32> = (0..3)
            .map(|_| clock.window(&pace, Some(11_000), true))
            .collect();
        assert_eq!(depths, [2, 3, 4]);
        for _ in 0..20 {
            clock.window(&pace, Some(11_000), true);
        }
        assert_eq!(pace.depth(), 16);
    }

    #[test]
    fn slow_hits_without_fills_and_fills_without_hits_change_nothing() {
        let (pace, mut clock) = pace();
        clock.window(&pace, Some(10_000), false);
        assert_eq!(clock.window(&pace, Some(10_000_000), false), 16);
        assert_eq!(clock.window(&pace, None, true), 16);
    }

    #[test]
    fn a_device_that_has_become_slower_is_known_anew_when_it_does_not_fill() {
        let (pace, mut clock) = pace();
        clock.window(&pace, Some(10_000), false);
        for _ in 0..=QOS_BASELINE_WINDOWS {
            clock.window(&pace, Some(900_000), false);
        }
        assert_eq!(clock.window(&pace, Some(900_000), true), 16);
    }

    #[test]
    fn a_window_is_looked_at_once() {
        let (pace, mut clock) = pace();
        clock.window(&pace, Some(10_000), false);
        pace.hit(10_000_000);
        pace.fills();
        pace.look(clock.0);
        assert_eq!(pace.depth(), 16, "it is not over");
        pace.look(clock.0 + WINDOW);
        pace.look(clock.0 + WINDOW);
        assert_eq!(pace.depth(), 8);
    }
}
