//! A thread that answers the kernel, as others see it: what it is at, and since when.

use crate::reply::Reply;
use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A thread.
pub struct Member {
    /// Its `stat` in proc(5); None where that cannot be opened.
    stat: Option<OwnedFd>,
    /// The beginning of time, for `since`.
    epoch: Instant,
    /// Nanoseconds from then to when it began with a request, and one more; 0: with none.
    since: AtomicU64,
    /// Whom it is to answer, and which thread waits for that.
    asked: Mutex<Option<(Reply, u32)>>,
}

impl Member {
    /// The calling thread.
    pub fn of_this_thread() -> Self {
        let path = format!(
            "/proc/self/task/{}/stat",
            rustix::thread::gettid().as_raw_nonzero()
        );
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        Self {
            stat: rustix::fs::open(path, flags, Mode::empty()).ok(),
            epoch: Instant::now(),
            since: AtomicU64::new(0),
            asked: Mutex::default(),
        }
    }

    /// It begins with a request, which mostly has an answer, of a thread.
    pub fn begin(&self, asked: Option<(Reply, u32)>) {
        *self.asked.lock() = asked;
        let since = self.epoch.elapsed().as_nanos() as u64 + 1;
        self.since.store(since, Ordering::Release);
    }

    /// It is done with it, or has handed it on.
    pub fn finish(&self) {
        self.since.store(0, Ordering::Release);
        *self.asked.lock() = None;
    }

    /// Whether it is at a request.
    pub fn works(&self) -> bool {
        self.since.load(Ordering::Acquire) != 0
    }

    /// Whether it has been at the same request for longer.
    pub fn is_stuck(&self, limit: Duration) -> bool {
        match self.since.load(Ordering::Acquire) {
            0 => false,
            since => {
                self.epoch
                    .elapsed()
                    .saturating_sub(Duration::from_nanos(since))
                    > limit
            }
        }
    }

    /// Whether it waits, in the middle of a request, for something other than a processor
    /// (proc(5), the state in `stat`). It does not when nobody can tell.
    pub fn is_blocked(&self) -> bool {
        let before = self.since.load(Ordering::Acquire);
        if before == 0 {
            return false;
        }
        let Some(stat) = &self.stat else {
            return false;
        };
        // The number, and a name of at most 15 bytes which may be anything.
        let mut text = [0; 64];
        let length = rustix::io::pread(stat, &mut text, 0).unwrap_or(0);
        let end = text[..length].iter().rposition(|byte| *byte == b')');
        let state = end.and_then(|end| text.get(end + 2).copied());
        // Else it may have been asleep between two requests.
        let is_same = self.since.load(Ordering::Acquire) == before;
        is_same && matches!(state, Some(b'S' | b'D'))
    }

    /// Answers with EINTR if whoever has asked is being killed, which it otherwise cannot
    /// be before it has an answer. What the thread answers itself later, the kernel does
    /// not take.
    pub fn let_go_of_killed(&self) {
        let mut asked = self.asked.lock();
        if let Some((reply, _)) = asked.take_if(|(_, asker)| is_being_killed(*asker)) {
            reply.error(Errno::INTR);
        }
    }
}

/// Whether SIGKILL is pending for a thread, as it is for all of a process that any signal
/// is about to end (proc(5), `SigPnd` in `status`).
fn is_being_killed(thread: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status"));
    // Those that are in another namespace cannot be seen.
    let status = status.unwrap_or_default();
    let pending = status.lines().find_map(|line| line.strip_prefix("SigPnd:"));
    let pending = pending.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    pending.is_some_and(|mask| mask & 1 << (libc::SIGKILL - 1) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::mpsc::channel;
    use std::thread;

    #[test]
    fn a_thread_that_runs_is_not_blocked_and_one_that_sleeps_is() {
        let (sender, receiver) = channel();
        let (go, wait) = channel::<()>();
        let thread = thread::spawn(move || {
            let member = Arc::new(Member::of_this_thread());
            sender.send(Arc::clone(&member)).unwrap();
            member.begin(None);
            // It is told to go by the end of the channel.
            let _end = wait.recv();
            member.finish();
        });
        let member: Arc<Member> = receiver.recv().unwrap();
        let limit = Instant::now() + Duration::from_secs(60);
        while !member.is_blocked() {
            assert!(Instant::now() < limit);
            thread::yield_now();
        }
        assert!(member.works() && member.is_stuck(Duration::ZERO));
        assert!(!member.is_stuck(Duration::from_secs(3600)));
        drop(go);
        thread.join().unwrap();
        assert!(!member.works() && !member.is_blocked() && !member.is_stuck(Duration::ZERO));
        let own = Member::of_this_thread();
        own.begin(None);
        assert!(own.works() && !own.is_blocked());
    }
}
