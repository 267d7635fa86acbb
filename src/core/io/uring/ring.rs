//! One ring and the operations it has in flight.

use super::inflight::Inflight;
use super::registered::{Named, Registered};
use crate::buf::Regions;
use crate::error::{Context, Errno, Error, Result};
use crate::io::errno::{Verdict, judge};
use crate::io::{Engine, Op, Outcome, Output, Verb, Wait, Wake, signal};
use crate::limits::INTERRUPTS_MAX;
use io_uring::{IoUring, opcode, squeue, types};
use rustix::event::{EventfdFlags, eventfd};
use std::collections::VecDeque;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// `user_data` of the read that waits for the waker. No slot has this index:
/// a slab has at most QUEUE_DEPTH_MAX slots.
const WAKE: u64 = u64::MAX;
/// `user_data` of cancellations, whose own outcome tells nothing that the
/// outcome of the operation does not.
const CANCEL: u64 = u64::MAX - 1;

/// The io_uring engine. Dropping it before `shut_down` leaks what is in flight.
pub(crate) struct Uring {
    ring: IoUring,
    /// Behind ManuallyDrop because the kernel may outlive us in here.
    inflight: ManuallyDrop<Inflight>,
    /// Slots whose entry found the submission queue full; at most all slots.
    backlog: VecDeque<u32>,
    registered: Registered,
    waker: Arc<EventWaker>,
    /// Where the read of the waker's eventfd lands; boxed, since the kernel has
    /// its address for as long as the ring lives.
    wake_count: ManuallyDrop<Box<u64>>,
    wake_armed: bool,
    event: Option<Arc<OwnedFd>>,
    flags: u32,
    refused: Vec<&'static str>,
    /// Completions of operations that had already ended: a kernel bug or ours.
    stale: u64,
    /// The kernel refuses to be entered: on another thread than the ring's own,
    /// say. What is in flight will not come back.
    refused_entry: bool,
}

struct EventWaker {
    event: OwnedFd,
    /// Set while the eventfd was written and the ring has not seen it.
    pending: AtomicBool,
}

impl Wake for EventWaker {
    fn wake(&self) {
        if !self.pending.swap(true, Ordering::AcqRel) {
            signal(self.event.as_fd());
        }
    }
}

/// A set-up flag of io_uring_setup(2), and its name with the release that has it.
struct Setup {
    bit: u32,
    name: &'static str,
}

const SINGLE_ISSUER: Setup = Setup {
    bit: 1 << 12,
    name: "SINGLE_ISSUER (Linux 6.0)",
};
const DEFER_TASKRUN: Setup = Setup {
    bit: 1 << 13,
    name: "DEFER_TASKRUN (Linux 6.1)",
};
const COOP_TASKRUN: Setup = Setup {
    bit: 1 << 8,
    name: "COOP_TASKRUN (Linux 5.19)",
};
const SUBMIT_ALL: Setup = Setup {
    bit: 1 << 7,
    name: "SUBMIT_ALL (Linux 5.18)",
};

impl Uring {
    /// Sets up a ring for the calling thread, with every flag that the kernel
    /// takes. `single` promises that no other thread will use it.
    ///
    /// Errors: what io_uring_setup(2) refuses without any flag (EPERM, ENOSYS,
    /// ENOMEM, EMFILE), or EOPNOTSUPP for a kernel before 5.11.
    pub(crate) fn new(depth: u32, single: bool, regions: Arc<Regions>) -> Result<Self> {
        let mut wanted = vec![COOP_TASKRUN, SUBMIT_ALL];
        if single {
            // DEFER_TASKRUN needs SINGLE_ISSUER, so it is the first to go.
            wanted.insert(0, SINGLE_ISSUER);
            wanted.insert(0, DEFER_TASKRUN);
        }
        let mut refused = Vec::new();
        let ring = loop {
            match build(depth, &wanted) {
                Ok(ring) => break ring,
                // Only an unknown flag is EINVAL: anything else is not about flags.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) && !wanted.is_empty() => {
                    refused.push(wanted.remove(0).name);
                }
                Err(error) => return Err(refusal(&error)),
            }
        };
        if !ring.params().is_feature_ext_arg() || !ring.params().is_feature_nodrop() {
            let text = "io_uring of this kernel is older than Linux 5.11";
            return Err(Error::new(Errno::OPNOTSUPP, text));
        }
        let event = eventfd(0, EventfdFlags::CLOEXEC).context(|| "create an eventfd")?;
        let registered = Registered::new(&ring.submitter(), regions, &mut refused);
        Ok(Self {
            registered,
            ring,
            inflight: ManuallyDrop::new(Inflight::new(depth)),
            backlog: VecDeque::with_capacity(depth as usize),
            waker: Arc::new(EventWaker {
                event,
                pending: AtomicBool::new(false),
            }),
            wake_count: ManuallyDrop::new(Box::new(0)),
            wake_armed: false,
            event: None,
            flags: wanted.iter().fold(0, |flags, setup| flags | setup.bit),
            refused,
            stale: 0,
            refused_entry: false,
        })
    }

    /// The set-up flags in force, and a sentence about what was granted.
    pub(crate) fn granted(&self) -> (u32, String) {
        let reason = match self.refused.as_slice() {
            [] => "io_uring, granted everything that is asked for".to_owned(),
            names => format!("io_uring, but not granted: {}", names.join(", ")),
        };
        (self.flags, reason)
    }

    /// Puts an entry into the submission queue, handing over what is there if
    /// it is full. False if there is still no room.
    fn enqueue(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: what the entry points to lives until its completion: slots and
        // `wake_count` stay at their address and are dropped only after
        // `shut_down` saw every completion, else leaked; a cancellation points
        // to nothing.
        if unsafe { self.ring.submission().push(entry) }.is_ok() {
            return true;
        }
        self.enter(0, None);
        // SAFETY: as above.
        unsafe { self.ring.submission().push(entry) }.is_ok()
    }

    fn entry(&mut self, index: u32) -> squeue::Entry {
        let op = self.inflight.op(index);
        let named = match op.verb {
            // statx(2) resolves a path, for which the kernel takes no slots.
            Verb::Stat => Named::plain(op),
            _ => self.registered.name(&self.ring.submitter(), op),
        };
        self.inflight.entry(index, named)
    }

    fn enqueue_slot(&mut self, index: u32) {
        let entry = self.entry(index);
        if !self.backlog.is_empty() || !self.enqueue(&entry) {
            self.backlog.push_back(index);
        }
    }

    fn drain_backlog(&mut self) {
        while let Some(index) = self.backlog.pop_front() {
            let entry = self.entry(index);
            if !self.enqueue(&entry) {
                self.backlog.push_front(index);
                break;
            }
        }
    }

    /// io_uring_enter(2): hands over what is queued and, for `want` > 0, waits.
    fn enter(&mut self, want: usize, until: Option<Instant>) {
        let entered = match until {
            None => self.ring.submitter().submit_and_wait(want),
            Some(instant) => {
                let left = instant.saturating_duration_since(Instant::now());
                let timeout = types::Timespec::from(left);
                let args = types::SubmitArgs::new().timespec(&timeout);
                self.ring.submitter().submit_with_args(want, &args)
            }
        };
        let Err(error) = entered else { return };
        match error.raw_os_error() {
            // The time is over, a signal came, or the kernel wants completions
            // reaped or memory freed before it takes more: all are seen to by
            // the caller's loop.
            Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => {}
            _ => {
                if !self.refused_entry {
                    tracing::error!("io_uring_enter: {error}");
                }
                self.refused_entry = true;
            }
        }
    }

    /// Keeps one read of the waker's eventfd in the ring.
    fn arm_waker(&mut self) {
        if self.wake_armed {
            return;
        }
        let target = (&raw mut **self.wake_count).cast();
        let entry = opcode::Read::new(types::Fd(self.waker.event.as_raw_fd()), target, 8)
            .build()
            .user_data(WAKE);
        self.wake_armed = self.enqueue(&entry);
    }

    fn next_completion(&mut self) -> Option<(u64, i32)> {
        let cqe = self.ring.completion().next()?;
        Some((cqe.user_data(), cqe.result()))
    }

    /// Takes every completion; true if the waker was among them.
    fn harvest(&mut self, outcomes: &mut Vec<Outcome>) -> bool {
        let mut woken = false;
        while let Some((user_data, result)) = self.next_completion() {
            match user_data {
                WAKE => {
                    self.wake_armed = false;
                    woken = true;
                    // A swap, not a store: it orders what the waking thread did
                    // before its own swap ahead of what we do after this one.
                    self.waker.pending.swap(false, Ordering::AcqRel);
                }
                CANCEL => {}
                user_data => outcomes.extend(self.ended(user_data, result)),
            }
        }
        woken
    }

    /// One completion: the operation's outcome, or None if it goes on.
    fn ended(&mut self, user_data: u64, result: i32) -> Option<Outcome> {
        let Some((index, slot)) = self.inflight.find(user_data) else {
            self.stale += 1;
            tracing::error!("completion {user_data:#x} of an operation that has ended");
            return None;
        };
        let result = match u32::try_from(result) {
            Ok(_) if slot.verb() == Verb::Stat => Ok(Output::Attributes(slot.attributes())),
            Ok(moved) => {
                slot.done += moved as usize;
                slot.interrupts = 0;
                if moved > 0 && slot.done < slot.length() {
                    self.enqueue_slot(index);
                    return None;
                }
                Ok(Output::Bytes(slot.done))
            }
            Err(_) => {
                let errno = Errno::from_raw_os_error(-result);
                slot.interrupts += 1;
                let again = slot.interrupts <= INTERRUPTS_MAX;
                if again && judge(slot.verb(), errno) == Verdict::Repeat {
                    self.enqueue_slot(index);
                    return None;
                }
                Err(errno)
            }
        };
        let tag = slot.tag;
        let op = self.inflight.remove(index);
        Some(Outcome {
            tag,
            result,
            buffer: op.buffer,
        })
    }

    fn cancel_each(&mut self, victims: &[u64]) {
        for user_data in victims {
            let entry = opcode::AsyncCancel::new(*user_data)
                .build()
                .user_data(CANCEL);
            if !self.enqueue(&entry) {
                // The operation then ends by itself; nobody is left waiting for
                // it, since whoever cancels answers the request at once.
                tracing::warn!("no room to cancel an operation");
            }
        }
        self.enter(0, None);
    }
}

impl Engine for Uring {
    fn push(&mut self, tag: u64, op: Op) -> std::result::Result<(), Op> {
        let index = self.inflight.insert(tag, op)?;
        self.enqueue_slot(index);
        Ok(())
    }

    fn flush(&mut self) {
        self.drain_backlog();
        if !self.ring.submission().is_empty() {
            self.enter(0, None);
        }
    }

    fn reap(&mut self, wait: Wait, outcomes: &mut Vec<Outcome>) {
        let before = outcomes.len();
        self.arm_waker();
        self.drain_backlog();
        let mut woken = self.harvest(outcomes);
        let Wait::For(want, until) = wait else {
            // Deferred task work runs inside the call: without it, nothing
            // would ever complete for a caller that only polls.
            self.enter(0, None);
            self.harvest(outcomes);
            return;
        };
        if !woken && outcomes.len() - before < want {
            self.registered.sweep(&self.ring.submitter());
        }
        // A short transfer that goes on is a completion without an outcome, so
        // one call need not be enough.
        while !woken && outcomes.len() - before < want {
            self.drain_backlog();
            self.enter(want - (outcomes.len() - before), until);
            woken = self.harvest(outcomes);
            if self.refused_entry || until.is_some_and(|instant| Instant::now() >= instant) {
                break;
            }
        }
        self.flush();
    }

    fn cancel(&mut self, tag: u64) {
        let victims: Vec<u64> = self.inflight.tagged(tag).collect();
        self.cancel_each(&victims);
    }

    fn space(&self) -> usize {
        self.inflight.space()
    }

    fn in_flight(&self) -> usize {
        self.inflight.len()
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::clone(&self.waker) as Arc<dyn Wake>
    }

    fn notify(&mut self, event: Arc<OwnedFd>) -> Result<()> {
        self.ring
            .submitter()
            .register_eventfd(event.as_raw_fd())
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
            .context(|| "register an eventfd with the ring")?;
        self.event = Some(event);
        Ok(())
    }

    fn shut_down(&mut self, deadline: Instant) -> usize {
        let victims: Vec<u64> = self.inflight.all().collect();
        self.cancel_each(&victims);
        let mut outcomes = Vec::new();
        while self.in_flight() > 0 && !self.refused_entry && Instant::now() < deadline {
            let tick = (Instant::now() + Duration::from_millis(50)).min(deadline);
            self.reap(Wait::For(1, Some(tick)), &mut outcomes);
            outcomes.clear();
        }
        self.in_flight()
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        // The waker's read is still in the ring, and closing a ring ends its
        // requests only some time after close(2) has returned. So it is ended
        // first, by what it waits for.
        if self.wake_armed {
            self.waker.wake();
            let limit = Instant::now() + Duration::from_secs(1);
            let mut outcomes = Vec::new();
            while self.wake_armed && !self.refused_entry && Instant::now() < limit {
                self.enter(1, Some(limit));
                self.harvest(&mut outcomes);
            }
        }
        if !self.wake_armed {
            // SAFETY: dropped once, here; no read of the eventfd is in the ring.
            unsafe { ManuallyDrop::drop(&mut self.wake_count) };
        }
        if self.inflight.len() == 0 {
            // SAFETY: dropped once, here; the kernel has nothing of the slab.
            unsafe { ManuallyDrop::drop(&mut self.inflight) };
        } else {
            let count = self.inflight.len();
            tracing::warn!("{count} operations did not end: their memory is leaked");
        }
    }
}

fn build(depth: u32, wanted: &[Setup]) -> io::Result<IoUring> {
    let has = |setup: Setup| wanted.iter().any(|one| one.bit == setup.bit);
    let mut builder = IoUring::builder();
    builder.dontfork().setup_clamp();
    if has(COOP_TASKRUN) {
        // The flag that says when to enter the kernel comes with it.
        builder.setup_coop_taskrun().setup_taskrun_flag();
    }
    if has(SUBMIT_ALL) {
        builder.setup_submit_all();
    }
    if has(SINGLE_ISSUER) {
        builder.setup_single_issuer();
    }
    if has(DEFER_TASKRUN) {
        builder.setup_defer_taskrun();
    }
    builder.build(depth)
}

/// Says what is likely to have refused the ring, and what to do about it.
fn refusal(error: &io::Error) -> Error {
    let errno = Errno::from_io_error(error).unwrap_or(Errno::IO);
    let cause = match errno {
        Errno::PERM => "sysctl kernel.io_uring_disabled, or a seccomp profile, forbids it",
        Errno::NOSYS => "the kernel is built without it, or a seccomp profile hides it",
        Errno::NOMEM => "RLIMIT_MEMLOCK is too low: raise it (ulimit -l)",
        Errno::MFILE | Errno::NFILE => "no descriptor is left: raise RLIMIT_NOFILE (ulimit -n)",
        _ => "io_uring_setup failed",
    };
    let text = crate::error::describe(errno);
    Error::new(errno, format!("{text}: {cause}"))
}
