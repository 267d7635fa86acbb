//! How many of the daemon's threads wait for the kernel.
//!
//! The kernel gives requests to those that wait by turns, so that with many of them each
//! request wakes another thread, mostly on another processor: for requests of a few
//! microseconds that costs more than it gains (opening and reading small files took
//! three times as long with eight as with one). So one waits, and others are let in when
//! it pays: when requests take long, when more of them are there than one thread can
//! answer, and when all of those that were let in are stuck. A thread that merely has to
//! wait for a processor is no reason: another one would have to wait as well.

use parking_lot::{Condvar, Mutex};
use rustix::process::Pid;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A request that takes so long was waiting for something.
const SLOW: Duration = Duration::from_micros(200);
/// A request for which nobody had to wait was there already.
const AT_ONCE: Duration = Duration::from_micros(2);
/// So many of them in a row are more than the threads can answer.
const BACKLOG: u32 = 32;
/// What a slow request counts, of which each other one takes one off.
const SLOW_COUNTS: u32 = 8;
/// So much of it means that it is not chance.
const SLOW_ENOUGH: u32 = 64;
/// After so many requests without a reason for more threads, one fewer waits.
const QUIET: u32 = 256;
/// Threads that have not finished anything for so long are stuck.
const STUCK: Duration = Duration::from_millis(10);

/// Threads, some of which wait for the kernel and some of which for their turn.
pub struct Pool {
    most: usize,
    /// How many may wait for the kernel.
    wanted: AtomicUsize,
    /// How many do, or are about to.
    waiting: AtomicUsize,
    /// Requests that were answered.
    finished: AtomicU64,
    /// See [`SLOW_COUNTS`] and [`QUIET`]: of all threads together.
    slow: AtomicU32,
    quiet: AtomicU32,
    is_over: AtomicBool,
    /// The watch sleeps, since nothing is under way.
    is_asleep: AtomicBool,
    turns: Mutex<()>,
    turn: Condvar,
    stirred: Condvar,
    /// The threads, by their numbers in the system.
    members: Mutex<Vec<Pid>>,
}

/// What one thread knows of its last requests.
#[derive(Default)]
pub struct Streak {
    at_once: u32,
}

impl Pool {
    /// At most so many threads wait at once.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            wanted: AtomicUsize::new(1),
            waiting: AtomicUsize::new(0),
            finished: AtomicU64::new(0),
            slow: AtomicU32::new(0),
            quiet: AtomicU32::new(0),
            is_over: AtomicBool::new(false),
            is_asleep: AtomicBool::new(false),
            turns: Mutex::new(()),
            turn: Condvar::new(),
            stirred: Condvar::new(),
            members: Mutex::default(),
        }
    }

    /// The calling thread is one of them.
    pub fn join(&self) {
        self.members.lock().push(rustix::thread::gettid());
    }

    /// Waits for the turn to wait for the kernel. False: it is over.
    pub fn begin(&self) -> bool {
        loop {
            if self.is_over.load(Ordering::Acquire) {
                return false;
            }
            if self.enter() {
                return true;
            }
            let mut turns = self.turns.lock();
            // Whoever changes what is asked here takes the lock before it notifies.
            if !self.has_room() && !self.is_over.load(Ordering::Acquire) {
                self.turn.wait(&mut turns);
            }
        }
    }

    fn has_room(&self) -> bool {
        self.waiting.load(Ordering::Acquire) < self.wanted.load(Ordering::Acquire)
    }

    fn enter(&self) -> bool {
        let wanted = self.wanted.load(Ordering::Acquire);
        let more = |waiting| (waiting < wanted).then_some(waiting + 1);
        let (set, fetch) = (Ordering::AcqRel, Ordering::Acquire);
        self.waiting.fetch_update(set, fetch, more).is_ok()
    }

    /// A request has come; `waited` is for how long the thread had to wait for it.
    pub fn took(&self, streak: &mut Streak, waited: Duration) {
        // In one order with what the watch does before it sleeps: it sees that nobody
        // waits, or is seen to sleep.
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        if self.is_asleep.load(Ordering::SeqCst) {
            let _turns = self.turns.lock();
            self.is_asleep.store(false, Ordering::SeqCst);
            self.stirred.notify_one();
        }
        streak.at_once = if waited < AT_ONCE {
            streak.at_once + 1
        } else {
            0
        };
    }

    /// The request was answered, or handed on.
    pub fn finished(&self, streak: &mut Streak, took: Duration) {
        self.finished.fetch_add(1, Ordering::Relaxed);
        // What two threads count at the same moment may get lost, which does no harm.
        let slow = match self.slow.load(Ordering::Relaxed) {
            slow if took >= SLOW => slow + SLOW_COUNTS,
            slow => slow.saturating_sub(1),
        };
        let quiet = self.quiet.load(Ordering::Relaxed) + 1;
        if slow >= SLOW_ENOUGH || streak.at_once >= BACKLOG {
            streak.at_once = 0;
            self.count(0, 0);
            self.let_in();
        } else if quiet >= QUIET {
            self.count(slow, 0);
            let fewer = |wanted: usize| (wanted > 1).then(|| wanted - 1);
            let (set, fetch) = (Ordering::AcqRel, Ordering::Acquire);
            // There may be one only, which is as few as can be.
            let _few = self.wanted.fetch_update(set, fetch, fewer);
        } else {
            self.count(slow, quiet);
        }
    }

    fn count(&self, slow: u32, quiet: u32) {
        self.slow.store(slow, Ordering::Relaxed);
        self.quiet.store(quiet, Ordering::Relaxed);
    }

    /// One more may wait.
    fn let_in(&self) {
        let more = |wanted: usize| (wanted < self.most).then(|| wanted + 1);
        let (set, fetch) = (Ordering::AcqRel, Ordering::Acquire);
        if self.wanted.fetch_update(set, fetch, more).is_ok() || self.has_room() {
            let _turns = self.turns.lock();
            self.turn.notify_one();
        }
    }

    /// The mount is gone: nobody waits any more.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        let _turns = self.turns.lock();
        self.turn.notify_all();
        self.stirred.notify_all();
    }

    /// Lets others in when all threads are stuck, until it is over. Sleeps as long as
    /// nothing is asked of them.
    pub fn watch(&self) {
        let mut before = 0;
        while !self.is_over.load(Ordering::Acquire) {
            std::thread::sleep(STUCK);
            let finished = self.finished.load(Ordering::Relaxed);
            let has_waiters = self.waiting.load(Ordering::Acquire) > 0;
            if finished == before && has_waiters {
                let mut turns = self.turns.lock();
                self.is_asleep.store(true, Ordering::SeqCst);
                let is_idle = self.waiting.load(Ordering::SeqCst) > 0;
                if is_idle && !self.is_over.load(Ordering::Acquire) {
                    self.stirred.wait(&mut turns);
                }
                self.is_asleep.store(false, Ordering::SeqCst);
            } else if finished == before && !self.is_on_a_processor() {
                self.let_in();
            }
            before = finished;
        }
    }

    /// Whether a thread runs, or would if there were a processor for it (proc(5), the
    /// state in `stat`). None is taken to run when nobody can tell.
    fn is_on_a_processor(&self) -> bool {
        self.members.lock().iter().any(|thread| {
            let stat = format!("/proc/self/task/{}/stat", thread.as_raw_nonzero());
            let stat = std::fs::read_to_string(stat).unwrap_or_default();
            // The name before it may contain anything.
            stat.rsplit(')')
                .next()
                .is_some_and(|rest| rest.starts_with(" R"))
        })
    }

    /// How long something took, and what it gave.
    pub fn timed<T>(body: impl FnOnce() -> T) -> (T, Duration) {
        let begin = Instant::now();
        let outcome = body();
        (outcome, begin.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::thread;

    const FAST: Duration = Duration::from_micros(20);
    const LONG: Duration = Duration::from_secs(1);

    #[test]
    fn one_waits_as_long_as_requests_are_short() {
        let pool = Pool::new(8);
        let mut streak = Streak::default();
        for _ in 0..10_000 {
            assert!(pool.begin() && !pool.has_room());
            pool.took(&mut streak, LONG);
            pool.finished(&mut streak, FAST);
        }
    }

    #[test]
    fn more_are_let_in_when_requests_are_slow_and_fewer_when_they_are_not() {
        let pool = Pool::new(3);
        let mut streak = Streak::default();
        for _ in 0..10 * SLOW_ENOUGH / SLOW_COUNTS {
            pool.finished(&mut streak, SLOW);
        }
        assert_eq!(pool.wanted.load(Ordering::Relaxed), 3);
        for _ in 0..2 * QUIET {
            pool.finished(&mut streak, FAST);
        }
        assert_eq!(pool.wanted.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn more_are_let_in_when_requests_pile_up() {
        let pool = Pool::new(3);
        let mut streak = Streak::default();
        for _ in 0..BACKLOG {
            assert!(pool.begin());
            pool.took(&mut streak, Duration::ZERO);
            pool.finished(&mut streak, FAST);
        }
        assert_eq!(pool.wanted.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn others_are_let_in_when_all_are_stuck() {
        let pool = Arc::new(Pool::new(2));
        let mut streak = Streak::default();
        let watched = Arc::clone(&pool);
        let watch = thread::spawn(move || watched.watch());
        assert!(pool.begin());
        pool.took(&mut streak, LONG);
        // This one never finishes; the next one is let in all the same.
        let mut turns = 0;
        while !pool.enter() {
            turns += 1;
            thread::sleep(Duration::from_millis(1));
            assert!(turns < 60_000, "nobody was let in");
        }
        pool.end();
        watch.join().unwrap();
        assert!(!pool.begin());
    }
}
