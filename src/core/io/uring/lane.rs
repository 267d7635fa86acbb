//! One ring: its queues, what it has registered, and the way into the kernel.

use super::features::Feature;
use super::registered::Registered;
use super::setup::{Granted, errno_of};
use crate::error::Errno;
use crate::log::say;
use crate::sys;
use io_uring::{IoUring, cqueue, squeue};
use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// io_uring_enter(2): wait for completions.
const ENTER_GETEVENTS: u32 = 1 << 0;
/// Wake the submitting thread.
const ENTER_SQ_WAKEUP: u32 = 1 << 1;
/// The argument is a [`GetEventsArg`].
const ENTER_EXT_ARG: u32 = 1 << 3;
/// The descriptor is an index of IORING_REGISTER_RING_FDS.
const ENTER_REGISTERED_RING: u32 = 1 << 4;
/// io_uring_register(2): IORING_REGISTER_RING_FDS and its opposite.
const REGISTER_RING_FDS: u32 = 20;
const UNREGISTER_RING_FDS: u32 = 21;

/// `struct io_uring_getevents_arg` of linux/io_uring.h.
#[repr(C)]
struct GetEventsArg {
    sigmask: u64,
    sigmask_size: u32,
    min_wait_us: u32,
    timespec: u64,
}

/// `struct __kernel_timespec`.
#[repr(C)]
struct KernelTimespec {
    seconds: i64,
    nanoseconds: i64,
}

/// `struct io_uring_rsrc_update` of linux/io_uring.h.
#[repr(C)]
struct RingUpdate {
    offset: u32,
    reserved: u32,
    data: u64,
}

pub(super) struct Lane {
    pub(super) ring: IoUring,
    pub(super) registered: Registered,
    /// The ring's number in the table of the thread that made it, which spares
    /// each call the look-up of the descriptor.
    index: Option<u32>,
    owner: u64,
    /// Entries pushed and without a completion.
    pub(super) outstanding: usize,
    /// Calls of io_uring_enter(2).
    pub(super) enters: u64,
    /// Times that the completion queue had overflowed.
    pub(super) overflows: u64,
    /// The kernel refuses to be entered: on another thread than the ring's own,
    /// say. What is in flight will not come back.
    pub(super) refused: bool,
}

impl Lane {
    pub(super) fn new(ring: IoUring, registered: Registered) -> Self {
        Self {
            ring,
            registered,
            index: None,
            owner: sys::current_thread(),
            outstanding: 0,
            enters: 0,
            overflows: 0,
            refused: false,
        }
    }

    /// Gives the ring a number in the calling thread's table.
    pub(super) fn register_ring(&mut self, granted: &mut Granted) {
        let mut update = RingUpdate {
            offset: u32::MAX,
            reserved: 0,
            data: self.ring.as_raw_fd() as u64,
        };
        let registered = self.register(REGISTER_RING_FDS, &mut update);
        if granted.note(Feature::RegisteredRing, registered) {
            self.index = Some(update.offset);
        }
    }

    fn register(&self, opcode: u32, update: &mut RingUpdate) -> io::Result<()> {
        // SAFETY: io_uring_register(2) reads and writes one update during the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_io_uring_register,
                self.ring.as_raw_fd(),
                opcode,
                &raw mut *update,
                1,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    pub(super) fn push(&mut self, entries: &[squeue::Entry]) -> bool {
        let mut queue = self.ring.submission();
        // SAFETY: what the entries point to lives until their completions: slots
        // and `wake_count` stay at their address and are dropped only after
        // `shut_down` saw every completion, else leaked; cancellations and
        // messages point to nothing.
        let pushed = unsafe { queue.push_multiple(entries) }.is_ok();
        if pushed {
            self.outstanding += entries.len();
        }
        pushed
    }

    pub(super) fn pop(&mut self) -> Option<cqueue::Entry> {
        let entry = self.ring.completion().next()?;
        // Messages of other rings are not among what was pushed.
        self.outstanding = self.outstanding.saturating_sub(1);
        Some(entry)
    }

    /// Completions that can be popped.
    pub(super) fn ready(&mut self) -> usize {
        self.ring.completion().len()
    }

    /// See [`Registered::sweep`].
    pub(super) fn sweep(&mut self) {
        self.registered.sweep(&self.ring.submitter());
    }

    pub(super) fn is_polled(&self) -> bool {
        self.ring.params().is_setup_iopoll()
    }

    /// How many entries may be pushed now that are to be taken in one piece.
    pub(super) fn unbroken(&mut self) -> usize {
        if !self.ring.params().is_setup_sqpoll() {
            return usize::MAX;
        }
        // Where the kernel's thread serves several rings, it takes so many of one
        // at a time, and what was linked across is not (io_uring/sqpoll.c,
        // IORING_SQPOLL_CAP_ENTRIES_VALUE). It has taken what is not queued.
        8usize.saturating_sub(self.ring.submission().len())
    }

    /// Whether entries wait to be handed over.
    pub(super) fn is_laden(&mut self) -> bool {
        !self.ring.submission().is_empty()
    }

    /// Whether the kernel holds completions that only a call brings forth.
    fn has_pending(&mut self) -> bool {
        let queue = self.ring.submission();
        queue.taskrun() || queue.cq_overflow()
    }

    /// Hands over what is queued and, for `want` > 0, waits for so many
    /// completions, until the instant. Does not call where that changes nothing.
    pub(super) fn enter(&mut self, want: usize, until: Option<Instant>) {
        let mut flags = 0;
        let (to_submit, overflowed) = {
            let queue = self.ring.submission();
            (queue.len() as u32, queue.cq_overflow())
        };
        self.overflows += u64::from(overflowed);
        // Completions that wait for a call that asks for them.
        if want > 0 || self.is_polled() || self.has_pending() {
            flags |= ENTER_GETEVENTS;
        }
        if self.ring.params().is_setup_sqpoll() {
            if self.ring.submission().need_wakeup() {
                flags |= ENTER_SQ_WAKEUP;
            } else if flags == 0 {
                return;
            }
        } else if to_submit == 0 && flags == 0 {
            return;
        }
        self.enters += 1;
        let result = match until.filter(|_| want > 0) {
            None => self.call(to_submit, want, flags, None),
            Some(instant) => {
                let left = instant.saturating_duration_since(Instant::now());
                self.call(to_submit, want, flags, Some(left))
            }
        };
        let Err(error) = result else { return };
        match errno_of(&error) {
            // The time is over, a signal came, or the kernel wants completions
            // reaped or memory freed before it takes more: all are seen to by
            // the caller's loop.
            Errno::TIME | Errno::INTR | Errno::BUSY | Errno::AGAIN => {}
            errno => {
                if !self.refused {
                    say(|| tracing::error!("io_uring_enter: {}", crate::error::describe(errno)));
                }
                self.refused = true;
            }
        }
    }

    fn call(
        &self,
        to_submit: u32,
        want: usize,
        flags: u32,
        limit: Option<Duration>,
    ) -> io::Result<()> {
        let (fd, registered) = match self.index {
            Some(index) if self.owner == sys::current_thread() => {
                (index as i32, ENTER_REGISTERED_RING)
            }
            _ => (self.ring.as_raw_fd(), 0),
        };
        let timespec = limit.map(|limit| KernelTimespec {
            seconds: limit.as_secs().try_into().unwrap_or(i64::MAX),
            nanoseconds: limit.subsec_nanos().into(),
        });
        let argument = timespec.as_ref().map(|timespec| GetEventsArg {
            sigmask: 0,
            sigmask_size: 0,
            min_wait_us: 0,
            timespec: std::ptr::from_ref(timespec).addr() as u64,
        });
        let (pointer, size, extended) = match &argument {
            None => (std::ptr::null(), 0, 0),
            Some(argument) => (
                std::ptr::from_ref(argument),
                size_of::<GetEventsArg>(),
                ENTER_EXT_ARG,
            ),
        };
        // SAFETY: io_uring_enter(2) reads the argument and the time-out that it
        // names during the call; what it submits is the contract of `push`.
        let result = unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                fd,
                to_submit,
                want as u32,
                flags | registered | extended,
                pointer,
                size,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

impl Drop for Lane {
    /// The table of a thread holds on to the ring, and with it to the files and
    /// the memory that are registered with it.
    fn drop(&mut self) {
        let Some(index) = self.index else { return };
        if self.owner != sys::current_thread() {
            // Only the owner can; its table goes with it.
            return;
        }
        let mut update = RingUpdate {
            offset: index,
            reserved: 0,
            data: 0,
        };
        if let Err(error) = self.register(UNREGISTER_RING_FDS, &mut update) {
            say(|| tracing::warn!("a ring stays in its thread's table: {error}"));
        }
    }
}
