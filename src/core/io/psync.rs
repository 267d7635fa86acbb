//! The engine for where io_uring is refused: threads that call pread(2),
//! pwrite(2) and statx(2). One pool of threads serves all engines of a cache.

use super::errno::{Verdict, judge};
use super::{Engine, Op, Outcome, Output, Verb, Wait, Wake, signal};
use crate::buf::Buffer;
use crate::error::{Errno, Result};
use crate::limits::{INTERRUPTS_MAX, TRANSFER_BYTES_MAX};
use crate::sys;
use crate::workers::{Job, Workers};
use parking_lot::{Condvar, Mutex};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

/// Threads, started when the first operation comes.
pub(crate) struct PsyncPool(Workers<Transfer>);

/// One operation and where its outcome goes.
struct Transfer {
    tag: u64,
    op: Op,
    port: Arc<Port>,
}

impl Job for Transfer {
    fn run(self) {
        let result = perform(&self.op);
        self.port.deliver(self.tag, result, self.op.buffer);
    }
}

/// Where the operations of one engine come back.
struct Port {
    state: Mutex<PortState>,
    arrived: Condvar,
}

#[derive(Default)]
struct PortState {
    ended: Vec<Outcome>,
    woken: bool,
    event: Option<Arc<OwnedFd>>,
}

impl PsyncPool {
    pub(crate) fn new(threads_max: u32) -> Arc<Self> {
        Arc::new(Self(Workers::new("cachefs-psync", threads_max)))
    }

    pub(crate) fn engine(self: &Arc<Self>, depth: u32) -> Psync {
        let state = PortState {
            ended: Vec::with_capacity(depth as usize),
            ..PortState::default()
        };
        Psync {
            pool: Arc::clone(self),
            port: Arc::new(Port {
                state: Mutex::new(state),
                arrived: Condvar::new(),
            }),
            depth: depth as usize,
            in_flight: 0,
        }
    }

    /// See [`super::EngineFactory::shut_down`].
    pub(crate) fn shut_down(&self, deadline: Instant) -> usize {
        self.0.shut_down(deadline)
    }
}

impl Port {
    fn deliver(&self, tag: u64, result: std::result::Result<Output, Errno>, buffer: Buffer) {
        let mut state = self.state.lock();
        state.ended.push(Outcome {
            tag,
            result,
            buffer,
        });
        self.arrived.notify_one();
        if let Some(event) = &state.event {
            signal(event.as_fd());
        }
    }
}

impl Wake for Port {
    fn wake(&self) {
        self.state.lock().woken = true;
        self.arrived.notify_one();
    }
}

/// Does one operation on this thread, to its end.
fn perform(op: &Op) -> std::result::Result<Output, Errno> {
    let mut interrupts = 0;
    let mut done = 0;
    loop {
        match step(op, done) {
            Ok(Output::Bytes(moved)) => {
                done += moved;
                interrupts = 0;
                if moved == 0 || done == op.buffer.len() {
                    return Ok(Output::Bytes(done));
                }
            }
            Ok(attributes) => return Ok(attributes),
            Err(errno) => {
                interrupts += 1;
                if judge(op.verb, errno) == Verdict::Report || interrupts > INTERRUPTS_MAX {
                    return Err(errno);
                }
            }
        }
    }
}

/// One system call of an operation of which `done` bytes are done.
fn step(op: &Op, done: usize) -> std::result::Result<Output, Errno> {
    let length = (op.buffer.len() - done).min(TRANSFER_BYTES_MAX);
    let offset = op.offset + done as u64;
    // SAFETY: `done` is at most the length, so the address stays in the buffer.
    let start = unsafe { op.buffer.as_ptr().add(done) };
    let moved = match op.verb {
        // SAFETY: the buffer belongs to the operation, which this thread owns.
        Verb::Read => unsafe { sys::pread(op.file.as_fd(), start, length, offset) },
        // SAFETY: as above.
        Verb::Write => unsafe { sys::pwrite(op.file.as_fd(), start, length, offset) },
        Verb::Stat => return sys::attributes(op.file.as_fd()).map(Output::Attributes),
    };
    moved.map(Output::Bytes)
}

/// One user of the pool.
pub(crate) struct Psync {
    pool: Arc<PsyncPool>,
    port: Arc<Port>,
    depth: usize,
    in_flight: usize,
}

impl Engine for Psync {
    fn push(&mut self, tag: u64, op: Op) -> std::result::Result<(), Op> {
        if self.in_flight == self.depth {
            return Err(op);
        }
        self.in_flight += 1;
        let port = Arc::clone(&self.port);
        if let Err(refused) = self.pool.0.submit(Transfer { tag, op, port }) {
            // Nobody would come for it: it fails rather than hangs.
            refused
                .port
                .deliver(tag, Err(Errno::AGAIN), refused.op.buffer);
        }
        Ok(())
    }

    fn flush(&mut self) {}

    fn reap(&mut self, wait: Wait, outcomes: &mut Vec<Outcome>) {
        let mut state = self.port.state.lock();
        if let Wait::For(want, until) = wait {
            while state.ended.len() < want && !state.woken {
                match until {
                    Some(instant) => {
                        if self
                            .port
                            .arrived
                            .wait_until(&mut state, instant)
                            .timed_out()
                        {
                            break;
                        }
                    }
                    None => self.port.arrived.wait(&mut state),
                }
            }
        }
        state.woken = false;
        self.in_flight -= state.ended.len();
        outcomes.append(&mut state.ended);
    }

    fn cancel(&mut self, tag: u64) {
        // What a thread has begun cannot be called back: it comes by itself.
        let ours = |job: &Transfer| job.tag == tag && Arc::ptr_eq(&job.port, &self.port);
        for job in self.pool.0.recall(ours) {
            job.port
                .deliver(job.tag, Err(Errno::CANCELED), job.op.buffer);
        }
    }

    fn space(&self) -> usize {
        self.depth - self.in_flight
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::clone(&self.port) as Arc<dyn Wake>
    }

    fn notify(&mut self, event: Arc<OwnedFd>) -> Result<()> {
        self.port.state.lock().event = Some(event);
        Ok(())
    }

    fn shut_down(&mut self, deadline: Instant) -> usize {
        for job in self.pool.0.recall(|job| Arc::ptr_eq(&job.port, &self.port)) {
            job.port
                .deliver(job.tag, Err(Errno::CANCELED), job.op.buffer);
        }
        // Nothing to leak: a thread inside a system call owns its operation.
        let mut outcomes = Vec::new();
        while self.in_flight > 0 && Instant::now() < deadline {
            self.reap(Wait::For(1, Some(deadline)), &mut outcomes);
            outcomes.clear();
        }
        self.in_flight
    }
}
