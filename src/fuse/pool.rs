//! Whose turn it is to wait for the kernel.
//!
//! The kernel gives requests to those that wait by turns, so that with many of them each
//! request wakes another thread, mostly on another processor: for requests of a few
//! microseconds that costs more than it gains (opening and reading small files took
//! three times as long with eight as with one). So one waits, and answers what it gets
//! before it waits again. Others come in when that does not do:
//!
//! * Requests block, on a disk or a slow origin. Then all wait, for as long as some were
//!   lately seen to block. What counts is that a thread sleeps: one that merely waits for
//!   a processor gives none to another.
//! * More requests are there than one thread can answer, and processors are free.
//! * Threads have been stuck for a second, since the origin hangs. Those do not count as
//!   threads any more, and others are started in their place, up to a bound. Further ones
//!   are not waited for so long.

use crate::member::Member;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A request for which nobody had to wait was there already.
const AT_ONCE: Duration = Duration::from_micros(2);
/// So many of them in a row are more than the threads can answer.
const BACKLOG: u32 = 32;
/// After so many requests without a backlog, one fewer waits.
const QUIET: u32 = 256;
/// How often it is looked whether threads block.
const LOOK: Duration = Duration::from_millis(10);
/// Of so many looks,
const LOOKS: u32 = 8;
/// so many must have seen one that blocks, for all threads to wait.
const BLOCKED: u32 = 2;
/// Threads that have not finished a request for so long are stuck.
const STUCK: Duration = Duration::from_secs(1);
/// The same for further ones, once the origin is known to hang.
const STUCK_TOO: Duration = Duration::from_millis(50);
/// How often it is looked whether those who wait for them are being killed.
const LOOK_AFTER_STUCK: Duration = Duration::from_millis(100);
/// Stuck threads for which others are started.
pub const STUCK_MAX: usize = 256;

/// Threads, some of which wait for the kernel and some of which for their turn.
pub struct Pool {
    /// Threads, those that are stuck not counted.
    most: usize,
    /// As many as there are processors for, beside those who ask.
    most_at_work: usize,
    /// How many may wait for the kernel.
    wanted: AtomicUsize,
    /// How many do, or are about to.
    waiting: AtomicUsize,
    /// Requests block, so all may wait.
    all_wait: AtomicBool,
    is_over: AtomicBool,
    /// The watch sleeps, since nothing is under way.
    is_asleep: AtomicBool,
    turns: Mutex<Turns>,
    turn: Condvar,
    stirred: Condvar,
    members: Mutex<Vec<Arc<Member>>>,
}

#[derive(Default)]
struct Turns {
    /// Threads that wait for their turn.
    parked: usize,
    /// Threads that are started and have not joined yet.
    coming: usize,
}

/// What one thread knows of its last requests.
#[derive(Default)]
pub struct Streak {
    at_once: u32,
    quiet: u32,
}

impl Pool {
    /// At most so many threads wait or work at once.
    pub fn new(most: usize) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            most,
            most_at_work: (processors / 2).max(1),
            wanted: AtomicUsize::new(1),
            waiting: AtomicUsize::new(0),
            all_wait: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            is_asleep: AtomicBool::new(false),
            turns: Mutex::default(),
            turn: Condvar::new(),
            stirred: Condvar::new(),
            members: Mutex::default(),
        }
    }

    /// A thread is being started.
    pub fn expect(&self) {
        self.turns.lock().coming += 1;
    }

    /// The calling thread is the one that was started.
    pub fn join(&self) -> Arc<Member> {
        let member = Arc::new(Member::of_this_thread());
        self.members.lock().push(Arc::clone(&member));
        self.turns.lock().coming -= 1;
        member
    }

    /// A thread that was started ends before it has joined, or was not started after all.
    pub fn give_up(&self) {
        self.turns.lock().coming -= 1;
    }

    /// Waits for the turn to wait for the kernel. False: the thread is to end, since it is
    /// over or there are enough others.
    pub fn begin(&self, member: &Arc<Member>) -> bool {
        loop {
            if self.is_over.load(Ordering::Acquire) || self.is_one_too_many(member) {
                return false;
            }
            if self.enter() {
                return true;
            }
            let mut turns = self.turns.lock();
            // Whoever changes what is asked here takes the lock before it notifies.
            if !self.has_room() && !self.is_over.load(Ordering::Acquire) {
                turns.parked += 1;
                self.turn.wait(&mut turns);
                turns.parked -= 1;
            }
        }
    }

    /// Those that were stuck go on one day; then those in their place end.
    fn is_one_too_many(&self, member: &Arc<Member>) -> bool {
        // Looked at without the lock mostly: there is none too many for long.
        let mut members = self.members.lock();
        if members.len() <= self.most {
            return false;
        }
        let able = members.len() - stuck(&members).count();
        if able > self.most {
            members.retain(|one| !Arc::ptr_eq(one, member));
        }
        able > self.most
    }

    /// How many may wait.
    fn limit(&self) -> usize {
        match self.all_wait.load(Ordering::Acquire) {
            true => self.most,
            false => self.wanted.load(Ordering::Acquire),
        }
    }

    fn has_room(&self) -> bool {
        self.waiting.load(Ordering::Acquire) < self.limit()
    }

    fn enter(&self) -> bool {
        let wanted = self.limit();
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
        if waited < AT_ONCE {
            streak.at_once += 1;
        } else {
            streak.at_once = 0;
        }
        self.follow_backlog(streak);
    }

    fn follow_backlog(&self, streak: &mut Streak) {
        let (set, fetch) = (Ordering::AcqRel, Ordering::Acquire);
        streak.quiet += 1;
        if streak.at_once >= BACKLOG {
            *streak = Streak::default();
            let most = self.most.min(self.most_at_work);
            let more = |wanted: usize| (wanted < most).then_some(wanted + 1);
            if self.wanted.fetch_update(set, fetch, more).is_ok() {
                self.invite();
            }
        } else if streak.quiet >= QUIET {
            streak.quiet = 0;
            let fewer = |wanted: usize| (wanted > 1).then(|| wanted - 1);
            // There may be one only, which is as few as can be.
            let _few = self.wanted.fetch_update(set, fetch, fewer);
        }
    }

    /// Has a thread come in if there is room. False: there is room, and none to come.
    fn invite(&self) -> bool {
        if !self.has_room() {
            return true;
        }
        let turns = self.turns.lock();
        self.turn.notify_one();
        turns.parked > 0
    }

    /// The mount is gone: nobody waits any more.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        let _turns = self.turns.lock();
        self.turn.notify_all();
        self.stirred.notify_all();
    }

    /// Looks whether threads block, and lets others in, until it is over. `start` starts
    /// one more; `also` is called at each look, and says whether another one is to follow.
    /// Sleeps as long as nothing is asked of them.
    pub fn watch(&self, mut start: impl FnMut(), mut also: impl FnMut() -> bool) {
        let mut looks = Looks::default();
        while !self.is_over.load(Ordering::Acquire) {
            std::thread::sleep(LOOK);
            let (works, blocks, long) = self.look();
            looks.saw(blocks);
            let all_wait = looks.block();
            if self.all_wait.swap(all_wait, Ordering::AcqRel) != all_wait {
                tracing::debug!("requests block: {all_wait}");
                let _turns = self.turns.lock();
                self.turn.notify_all();
            }
            // One that blocked for a moment has the turn again in a moment.
            if (long || blocks && all_wait) && !self.invite() && self.is_short() {
                start();
            }
            let some_are_stuck = self.look_after_stuck();
            // Those that are stuck are no reason to look often, while another one waits.
            if !also() && !works && looks.are_quiet() {
                self.sleep(some_are_stuck);
            }
        }
    }

    /// Lets go of those who wait for threads that are stuck and are being killed. Whether
    /// there are such threads.
    fn look_after_stuck(&self) -> bool {
        let members = self.members.lock().clone();
        stuck(&members).map(|one| one.let_go_of_killed()).count() > 0
    }

    /// Whether a thread works at all, but for those that are stuck, whether one that does is
    /// blocked, and whether it was so at the last look; with nobody waiting, also those
    /// that are stuck count.
    fn look(&self) -> (bool, bool, bool) {
        let members = self.members.lock().clone();
        let nobody_waits = self.waiting.load(Ordering::Acquire) == 0;
        let patience = patience(&members);
        let working = members.iter().filter(|one| one.works());
        let working: Vec<_> = working
            .filter(|one| nobody_waits || !one.is_stuck(patience))
            .collect();
        let mut blocked = working.iter().filter(|one| one.is_blocked()).peekable();
        let blocks = blocked.peek().is_some();
        let long = blocked.any(|one| one.is_stuck(LOOK));
        (!working.is_empty(), blocks, long)
    }

    /// Whether threads that are stuck leave fewer than there are to be.
    fn is_short(&self) -> bool {
        let members = self.members.lock();
        let coming = self.turns.lock().coming;
        let able = members.len() - stuck(&members).count() + coming;
        able < self.most && members.len() + coming < self.most + STUCK_MAX
    }

    /// Sleeps until something is asked of the threads; or, when some are stuck, a while.
    fn sleep(&self, some_are_stuck: bool) {
        let mut turns = self.turns.lock();
        self.is_asleep.store(true, Ordering::SeqCst);
        let is_idle = self.waiting.load(Ordering::SeqCst) > 0;
        if is_idle && !self.is_over.load(Ordering::Acquire) {
            match some_are_stuck {
                true => drop(self.stirred.wait_for(&mut turns, LOOK_AFTER_STUCK)),
                false => self.stirred.wait(&mut turns),
            }
        }
        self.is_asleep.store(false, Ordering::SeqCst);
    }

    /// How long something took, and what it gave.
    pub fn timed<T>(body: impl FnOnce() -> T) -> (T, Duration) {
        let begin = Instant::now();
        let outcome = body();
        (outcome, begin.elapsed())
    }
}

/// For how long a thread may be at one request before it is stuck.
fn patience(members: &[Arc<Member>]) -> Duration {
    match members.iter().any(|one| one.is_stuck(STUCK)) {
        true => STUCK_TOO,
        false => STUCK,
    }
}

fn stuck(members: &[Arc<Member>]) -> impl Iterator<Item = &Arc<Member>> {
    let patience = patience(members);
    members.iter().filter(move |one| one.is_stuck(patience))
}

/// What the last looks have seen, the latest in the lowest bit.
#[derive(Default)]
struct Looks {
    blocked: u32,
    block: bool,
}

impl Looks {
    fn saw(&mut self, blocks: bool) {
        self.blocked = self.blocked << 1 | u32::from(blocks);
        let lately = self.blocked & ((1 << LOOKS) - 1);
        if lately.count_ones() >= BLOCKED {
            self.block = true;
        } else if self.blocked == 0 {
            self.block = false;
        }
    }

    /// Whether requests are to be taken for ones that block.
    fn block(&self) -> bool {
        self.block
    }

    /// None has seen one that blocks.
    fn are_quiet(&self) -> bool {
        self.blocked == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    const LONG: Duration = Duration::from_secs(1);

    fn joined(pool: &Pool) -> Arc<Member> {
        pool.expect();
        pool.join()
    }

    #[test]
    fn one_waits_as_long_as_requests_are_short() {
        let pool = Pool::new(8);
        let member = joined(&pool);
        let mut streak = Streak::default();
        for _ in 0..10_000 {
            assert!(pool.begin(&member) && !pool.has_room());
            pool.took(&mut streak, LONG);
        }
    }

    #[test]
    fn more_wait_when_requests_pile_up_and_there_are_processors_for_them() {
        for (processors, wanted) in [(1, 1), (2, 2), (8, 3)] {
            let pool = Pool {
                most_at_work: processors,
                ..Pool::new(3)
            };
            let member = joined(&pool);
            let mut streak = Streak::default();
            for _ in 0..5 * BACKLOG {
                assert!(pool.begin(&member));
                pool.took(&mut streak, Duration::ZERO);
            }
            assert_eq!(pool.wanted.load(Ordering::Relaxed), wanted);
            for _ in 0..3 * QUIET {
                assert!(pool.begin(&member));
                pool.took(&mut streak, LONG);
            }
            assert_eq!(pool.wanted.load(Ordering::Relaxed), 1);
        }
    }

    #[test]
    fn all_wait_while_some_block_and_not_for_one_alone() {
        let mut looks = Looks::default();
        looks.saw(true);
        assert!(!looks.block());
        (0..LOOKS).for_each(|_| looks.saw(false));
        looks.saw(true);
        assert!(!looks.block());
        looks.saw(true);
        assert!(looks.block());
        (0..31).for_each(|_| looks.saw(false));
        assert!(looks.block() && !looks.are_quiet());
        looks.saw(false);
        looks.saw(false);
        assert!(!looks.block() && looks.are_quiet());
    }

    #[test]
    fn another_thread_comes_in_for_one_that_blocks() {
        let pool = Arc::new(Pool::new(2));
        let watched = Arc::clone(&pool);
        let watch = thread::spawn(move || watched.watch(|| panic!("there are enough"), || false));
        let first = joined(&pool);
        assert!(pool.begin(&first));
        pool.took(&mut Streak::default(), LONG);
        first.begin(None);
        let second = thread::spawn({
            let pool = Arc::clone(&pool);
            move || {
                let member = joined(&pool);
                pool.begin(&member)
            }
        });
        // This thread never finishes, and does not run: the other one is let in.
        assert!(second.join().unwrap());
        pool.end();
        watch.join().unwrap();
        assert!(!pool.begin(&first));
    }

    #[test]
    fn others_are_started_for_so_many_that_are_stuck_and_no_more() {
        let pool = Pool::new(2);
        let add = |time| pool.members.lock().push(Arc::new(Member::busy_for(time)));
        // Slow is not stuck.
        (0..2).for_each(|_| add(STUCK / 2));
        assert!(!pool.is_short());
        pool.members.lock().clear();
        for _ in 0..1 + STUCK_MAX {
            add(2 * STUCK);
            assert!(pool.is_short());
        }
        // Further ones are not waited for so long.
        add(2 * STUCK_TOO);
        assert!(!pool.is_short());
        pool.members.lock().truncate(2);
        pool.expect();
        assert!(pool.is_short());
        pool.expect();
        assert!(!pool.is_short());
    }
}
