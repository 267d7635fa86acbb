//! Operations that are linked, and those with a time-out, which is linked to
//! them: how they go to the kernel, and what comes of them.

use super::Uring;
use super::ring::TIMEOUT;
use crate::error::Errno;
use crate::io::progress::did_all;
use crate::io::{Outcome, Output, signal};
use crate::limits::CHAIN_MAX;
use io_uring::{opcode, squeue};
use std::os::fd::AsFd;

impl Uring {
    /// Submits a chain in one piece, or as much of it as may go: the rest begins
    /// when that has ended. False: nothing of it may go now.
    pub(super) fn try_start_chain(&mut self, head: u32) -> bool {
        let mut entries = [const { None::<squeue::Entry> }; 2 * CHAIN_MAX];
        let room = self.main.unbroken();
        let (mut count, mut members) = (0, 0);
        let mut at = Some(head);
        while let Some(index) = at {
            let slot = self.inflight.slot(index);
            let (until, cancelled) = (slot.until, slot.cancelled);
            if cancelled || count + 1 + usize::from(until.is_some()) > room {
                break;
            }
            slot.submitted = true;
            let (_, entry) = self.entry(index);
            entries[count] = Some(entry);
            count += 1;
            if let Some(until) = until {
                let entry = self.inflight.timeout_entry(index, until);
                entries[count] = Some(entry.user_data(TIMEOUT.into()));
                count += 1;
            }
            members += 1;
            at = self.inflight.next(index);
        }
        // What was submitted before, and has to wait this time.
        while let Some(index) = at {
            self.inflight.slot(index).submitted = false;
            at = self.inflight.next(index);
        }
        if count == 0 {
            return false;
        }
        self.inflight.slot(head).pending = members;
        let mut left = count;
        let entries = entries.map(|entry| {
            left = left.saturating_sub(1);
            match entry {
                Some(entry) if left > 0 => entry.flags(squeue::Flags::IO_LINK),
                Some(entry) => entry,
                None => opcode::Nop::new().build(),
            }
        });
        self.enqueue(false, &entries[..count])
    }

    /// The kernel has given back all that it had of a chain: its outcomes, up to
    /// where it has to go on.
    pub(super) fn settle(&mut self, head: u32, outcomes: &mut Vec<Outcome>) {
        let mut at = Some(head);
        let mut broken = false;
        while let Some(index) = at {
            at = self.inflight.next(index);
            let slot = self.inflight.slot(index);
            let result = if broken {
                Some(self.follower(index))
            } else if slot.submitted {
                self.result(index)
            } else {
                slot.cancelled.then_some(Err(Errno::CANCELED))
            };
            let Some(result) = result else {
                self.inflight.behead(index);
                self.start(index);
                return;
            };
            let whole = self.inflight.slot(index).op().buffer.len();
            broken |= !did_all(&result, whole);
            outcomes.push(self.end(index, result));
        }
    }

    /// What an operation comes to behind one that was not done whole.
    fn follower(&mut self, index: u32) -> std::result::Result<Output, Errno> {
        let slot = self.inflight.slot(index);
        let errno = Errno::from_raw_os_error(-slot.result.min(-1));
        // The kernel refused this very entry, and with it the whole chain.
        Err(match errno {
            Errno::INVAL | Errno::BADF | Errno::OPNOTSUPP if slot.submitted => errno,
            _ => Errno::CANCELED,
        })
    }

    /// Ends a chain that begins with a cancelled operation and that the kernel
    /// does not have: the next `reap` settles it.
    pub(super) fn give_back(&mut self, head: u32) {
        let mut at = Some(head);
        while let Some(index) = at {
            self.inflight.slot(index).submitted = false;
            at = self.inflight.next(index);
        }
        self.unsubmitted.push(head);
        if let Some(event) = &self.event {
            signal(event.as_fd());
        }
    }

    /// A member of a chain has ended, so that the next one begins: the kernel
    /// may not have known it when it was asked to end it.
    pub(super) fn cancel_next(&mut self, index: u32) {
        if let Some(next) = self.inflight.next(index) {
            let slot = self.inflight.slot(next);
            if slot.cancelled && slot.submitted {
                let user_data = self.inflight.user_data(next);
                self.ask_to_end(user_data);
            }
        }
    }
}
