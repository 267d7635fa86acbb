//! What ends the sleep of a ring: its eventfd, which it always reads, or a
//! message from another ring.

use crate::error::{Context, Result};
use crate::io::{Wake, signal};
use rustix::event::{EventfdFlags, eventfd};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

pub(super) struct Waker {
    pub(super) event: OwnedFd,
    /// A duplicate, so that the number cannot be another file's by the time that
    /// a message to it is sent. None: the kernel has no messages.
    ring: Option<OwnedFd>,
    /// Set while it is woken and has not seen it.
    pending: AtomicBool,
}

impl Waker {
    pub(super) fn new(ring: Option<BorrowedFd<'_>>) -> Result<Self> {
        let duplicate = |ring| rustix::io::fcntl_dupfd_cloexec(ring, 0);
        let ring = ring.map(duplicate).transpose();
        Ok(Self {
            event: eventfd(0, EventfdFlags::CLOEXEC).context(|| "create an eventfd")?,
            ring: ring.context(|| "duplicate a ring's descriptor")?,
            pending: AtomicBool::new(false),
        })
    }

    /// The ring has seen it.
    pub(super) fn seen(&self) {
        // A swap, not a store: it orders what the waking thread did before its
        // own swap ahead of what we do after this one.
        self.pending.swap(false, Ordering::AcqRel);
    }
}

impl Wake for Waker {
    fn wake(&self) {
        if self.claim() {
            signal(self.event.as_fd());
        }
    }

    fn ring(&self) -> Option<BorrowedFd<'_>> {
        self.ring.as_ref().map(AsFd::as_fd)
    }

    fn claim(&self) -> bool {
        !self.pending.swap(true, Ordering::AcqRel)
    }

    fn insist(&self) {
        signal(self.event.as_fd());
    }
}
