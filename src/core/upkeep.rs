//! One thread for slow work beside serving: to sync, to check, to make room, to probe.
//!
//! A [`Chore`] does a piece of its work at a time and says when the next one is due.
//! Whoever finds that something is to be done reminds it. The thread is started by the
//! first reminder; when nothing is due it sleeps until something is, and for ever if
//! that is never: there is no period, so that an idle cache has no wake-ups.

use crate::sys;
use parking_lot::{Condvar, Mutex, MutexGuard};
use slab::Slab;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;
use tracing::Dispatch;

/// Work that is done in pieces. It should not keep alive what reminds it.
pub(crate) trait Chore: Send + 'static {
    /// Does a piece, after which others have their turn, and says when the next one is
    /// due; None: once it is reminded. It may block on a device, and ends soon when
    /// `stop` is set. Must not panic.
    fn work(&mut self, stop: &AtomicBool) -> Option<Instant>;

    /// The cache is being closed, and nobody waits beyond `deadline`: the last piece.
    fn finish(&mut self, _deadline: Instant) {}
}

/// The thread of one cache, and its chores.
pub(crate) struct Upkeep {
    shared: Arc<Shared>,
    /// Where the thread's messages go.
    log: Dispatch,
}

struct Shared {
    state: Mutex<State>,
    /// Something is due earlier than the thread knew, or the end has come.
    work: Condvar,
    /// The thread has left.
    left: Condvar,
    stop: AtomicBool,
}

#[derive(Default)]
struct State {
    chores: Slab<Entry>,
    /// None before the first reminder, and after the end.
    thread: Option<JoinHandle<()>>,
    /// The thread has not left.
    running: bool,
    /// The thread sleeps, until then or for ever.
    asleep: Option<Option<Instant>>,
    /// Nothing is begun any more; who ends it waits until then.
    ending: Option<Instant>,
}

struct Entry {
    /// None while the thread has it.
    chore: Option<Box<dyn Chore>>,
    due: Option<Instant>,
    /// Nobody will remind it any more.
    is_orphan: bool,
}

/// Whoever has this reminds a chore, which ends when it is dropped.
#[must_use = "a chore ends with its reminder"]
pub(crate) struct Reminder {
    shared: Arc<Shared>,
    log: Dispatch,
    chore: usize,
}

impl Upkeep {
    /// What the thread has to say goes where messages of this one go now.
    pub(crate) fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::default(),
                work: Condvar::new(),
                left: Condvar::new(),
                stop: AtomicBool::new(false),
            }),
            log: tracing::dispatcher::get_default(Clone::clone),
        }
    }

    /// Takes a chore, which is due once it is reminded.
    pub(crate) fn add(&self, chore: impl Chore) -> Reminder {
        let entry = Entry {
            chore: Some(Box::new(chore)),
            due: None,
            is_orphan: false,
        };
        Reminder {
            chore: self.shared.state.lock().chores.insert(entry),
            log: self.log.clone(),
            shared: Arc::clone(&self.shared),
        }
    }

    /// Has each chore finish, and ends the thread; returns 1 if it was still inside a
    /// chore at `deadline`, where it is left. No chore is done any more.
    pub(crate) fn shut_down(&self, deadline: Instant) -> usize {
        let mut state = self.shared.state.lock();
        state.ending = Some(deadline);
        self.shared.stop.store(true, Ordering::Release);
        self.shared.work.notify_one();
        while state.running {
            let left = self.shared.left.wait_until(&mut state, deadline);
            if left.timed_out() && state.running {
                return 1;
            }
        }
        let thread = state.thread.take();
        let idle = state.take_chores();
        drop(state);
        drop(idle);
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the upkeep thread had panicked");
        }
        0
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        // Who has shut it down has said until when.
        state.ending.get_or_insert_with(Instant::now);
        self.shared.stop.store(true, Ordering::Release);
        self.shared.work.notify_one();
    }
}

impl Reminder {
    /// The next piece is due at `when`, unless it is earlier already. Does not block.
    pub(crate) fn at(&self, when: Instant) {
        let mut state = self.shared.state.lock();
        if state.ending.is_some() {
            return;
        }
        let due = &mut state.chores[self.chore].due;
        *due = Some(due.map_or(when, |due| due.min(when)));
        if !state.running {
            self.start(&mut state);
        } else if state
            .asleep
            .is_some_and(|until| until.is_none_or(|until| when < until))
        {
            self.shared.work.notify_one();
        }
    }

    /// A piece is due now. Does not block.
    pub(crate) fn now(&self) {
        self.at(Instant::now());
    }

    fn start(&self, state: &mut State) {
        let (shared, log) = (Arc::clone(&self.shared), self.log.clone());
        let body = move || tracing::dispatcher::with_default(&log, || shared.serve());
        match sys::spawn("cachefs-upkeep".to_owned(), body) {
            Ok(thread) => {
                state.running = true;
                state.thread = Some(thread);
            }
            // The next reminder tries again.
            Err(error) => tracing::dispatcher::with_default(&self.log, || {
                tracing::error!("no thread for upkeep: {error}");
            }),
        }
    }
}

impl Drop for Reminder {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        let Some(entry) = state.chores.get_mut(self.chore) else {
            return;
        };
        entry.is_orphan = true;
        // What the thread has, it drops. A chore may own what locks this.
        if entry.chore.is_some() {
            let entry = state.chores.remove(self.chore);
            drop(state);
            drop(entry);
        }
    }
}

impl State {
    /// The chore that is due first, and when.
    fn first(&self) -> Option<(usize, Instant)> {
        let due = |(index, entry): (usize, &Entry)| entry.due.map(|due| (index, due));
        self.chores
            .iter()
            .filter_map(due)
            .min_by_key(|(_, due)| *due)
    }

    /// Takes out those that the thread does not have.
    fn take_chores(&mut self) -> Vec<Box<dyn Chore>> {
        let chores = self.chores.iter_mut();
        chores.filter_map(|(_, entry)| entry.chore.take()).collect()
    }
}

impl Shared {
    fn serve(&self) {
        let mut state = self.state.lock();
        let deadline = loop {
            if let Some(deadline) = state.ending {
                break deadline;
            }
            match state.first() {
                Some((index, due)) if due <= Instant::now() => self.work_at(&mut state, index),
                first => self.sleep(&mut state, first.map(|(_, due)| due)),
            }
        };
        let chores = state.take_chores();
        MutexGuard::unlocked(&mut state, || {
            for mut chore in chores {
                chore.finish(deadline);
            }
        });
        state.running = false;
        self.left.notify_all();
    }

    fn sleep(&self, state: &mut MutexGuard<'_, State>, until: Option<Instant>) {
        state.asleep = Some(until);
        match until {
            Some(until) => {
                self.work.wait_until(state, until);
            }
            None => self.work.wait(state),
        }
        state.asleep = None;
    }

    /// Has a chore do a piece. It may be reminded meanwhile.
    fn work_at(&self, state: &mut MutexGuard<'_, State>, index: usize) {
        let entry = &mut state.chores[index];
        entry.due = None;
        let mut chore = entry.chore.take().expect("nobody else has it");
        let next = MutexGuard::unlocked(state, || chore.work(&self.stop));
        let entry = &mut state.chores[index];
        if entry.is_orphan {
            state.chores.remove(index);
            return MutexGuard::unlocked(state, || drop(chore));
        }
        entry.chore = Some(chore);
        entry.due = entry.due.into_iter().chain(next).min();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    const SOON: Duration = Duration::from_millis(20);
    /// Far beyond what any test takes.
    const LATE: Duration = Duration::from_secs(1000);
    const LIMIT: Duration = Duration::from_secs(60);

    /// Tells of what it is asked to do, and does what it is told.
    struct Told {
        tells: Sender<&'static str>,
        /// When the next piece is due after each.
        next: Receiver<Option<Duration>>,
    }

    impl Chore for Told {
        fn work(&mut self, _: &AtomicBool) -> Option<Instant> {
            self.tells.send("work").unwrap();
            let after = self.next.recv().ok().flatten();
            after.map(|after| Instant::now() + after)
        }

        fn finish(&mut self, _: Instant) {
            self.tells.send("finish").unwrap();
        }
    }

    impl Drop for Told {
        fn drop(&mut self) {
            self.tells.send("drop").ok();
        }
    }

    struct Bed {
        upkeep: Upkeep,
        reminder: Option<Reminder>,
        told: Receiver<&'static str>,
        next: Sender<Option<Duration>>,
    }

    impl Bed {
        fn new() -> Self {
            let upkeep = Upkeep::new();
            let ((tells, told), (next, after)) = (channel(), channel());
            let chore = Told { tells, next: after };
            let reminder = Some(upkeep.add(chore));
            Self {
                upkeep,
                reminder,
                told,
                next,
            }
        }

        fn remind(&self) -> &Reminder {
            self.reminder.as_ref().unwrap()
        }

        fn hears(&self, word: &str) {
            assert_eq!(self.told.recv_timeout(LIMIT), Ok(word));
        }

        /// Waits until the thread sleeps, and says until when.
        fn asleep(&self) -> Option<Instant> {
            loop {
                if let Some(until) = self.upkeep.shared.state.lock().asleep {
                    return until;
                }
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn nothing_runs_before_the_first_reminder_and_nothing_without_one() {
        let bed = Bed::new();
        assert!(bed.upkeep.shared.state.lock().thread.is_none());
        bed.remind().now();
        bed.hears("work");
        bed.next.send(None).unwrap();
        assert_eq!(bed.asleep(), None, "it sleeps until somebody wakes it");
        assert_eq!(bed.upkeep.shut_down(Instant::now() + LIMIT), 0);
        bed.hears("finish");
        bed.hears("drop");
    }

    #[test]
    fn a_piece_follows_when_the_last_one_said() {
        let bed = Bed::new();
        bed.remind().now();
        for _ in 0..3 {
            bed.hears("work");
            let before = Instant::now();
            bed.next.send(Some(SOON)).unwrap();
            bed.hears("work");
            assert!(Instant::now() >= before + SOON, "no earlier");
            bed.next.send(Some(SOON)).unwrap();
        }
        bed.hears("work");
        bed.next.send(Some(LATE)).unwrap();
        assert!(bed.asleep().is_some());
        bed.remind().at(Instant::now() + 2 * LATE);
        assert!(bed.asleep().unwrap() < Instant::now() + LATE, "no later");
        bed.remind().at(Instant::now() + SOON);
        bed.hears("work");
        bed.next.send(None).unwrap();
    }

    #[test]
    fn a_reminder_during_a_piece_is_not_lost() {
        let bed = Bed::new();
        bed.remind().now();
        bed.hears("work");
        bed.remind().now();
        bed.next.send(Some(LATE)).unwrap();
        bed.hears("work");
        bed.next.send(None).unwrap();
        assert_eq!(bed.asleep(), None);
    }

    #[test]
    fn a_chore_ends_with_its_reminder() {
        let mut bed = Bed::new();
        bed.reminder = None;
        bed.hears("drop");
        let mut bed = Bed::new();
        bed.remind().now();
        bed.hears("work");
        bed.reminder = None;
        bed.next.send(Some(SOON)).unwrap();
        bed.hears("drop");
        assert_eq!(bed.asleep(), None);
    }

    #[test]
    fn a_chore_that_hangs_is_left_behind_and_ends_when_it_can() {
        let bed = Bed::new();
        bed.remind().now();
        bed.hears("work");
        assert_eq!(bed.upkeep.shut_down(Instant::now() + SOON), 1);
        assert!(bed.upkeep.shared.stop.load(Ordering::Relaxed));
        bed.next.send(Some(SOON)).unwrap();
        bed.hears("finish");
        bed.hears("drop");
        bed.remind().now();
        assert_eq!(bed.upkeep.shut_down(Instant::now() + LIMIT), 0);
        assert!(bed.told.try_recv().is_err(), "nothing is done any more");
    }

    #[test]
    fn what_was_never_reminded_is_dropped_at_the_end() {
        let bed = Bed::new();
        assert_eq!(bed.upkeep.shut_down(Instant::now()), 0);
        bed.hears("drop");
    }
}
