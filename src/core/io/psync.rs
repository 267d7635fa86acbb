//! The engine for where io_uring is refused: threads that call pread(2),
//! pwrite(2) and statx(2). One pool of threads serves all engines of a cache.

use super::call::call;
use super::metrics::{Meter, Tally};
use super::progress::{Progress, did_all};
use super::{Engine, Op, Outcome, Output, Priority, Verb, Wait, Wake, Which, signal};
use crate::error::{Errno, Result};
use crate::limits::TRANSFER_BYTES_MAX;
use crate::sys;
use crate::workers::{Job, Workers};
use parking_lot::{Condvar, Mutex};
use std::cell::Cell;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

/// Threads, started when the first operation comes. What writes has threads of its own: all
/// of it may hang on one device, and reads of others go on.
pub(crate) struct PsyncPool {
    reads: Workers<Transfer>,
    /// None: there is one thread for all.
    writes: Option<Workers<Transfer>>,
}

/// For so many threads, there is one more for what writes.
const WRITERS_SHARE: u32 = 2;

/// One operation, those that are linked to it, and where their outcomes go.
struct Transfer {
    first: Task,
    rest: Vec<Task>,
    port: Arc<Port>,
}

/// One operation as the engine took it.
struct Task {
    tag: u64,
    op: Op,
    begun: Instant,
    /// It was cancelled before its chain was whole.
    cancelled: bool,
}

impl Job for Transfer {
    fn run(self) {
        let mut broken = false;
        for task in std::iter::once(self.first).chain(self.rest) {
            let (result, calls) = match broken || task.cancelled {
                true => (Err(Errno::CANCELED), 0),
                false => perform(&task),
            };
            broken |= !did_all(&result, task.op.buffer.len());
            self.port.deliver(task, result, calls);
        }
    }
}

impl Transfer {
    fn tasks(&self) -> impl Iterator<Item = &Task> {
        std::iter::once(&self.first).chain(&self.rest)
    }

    fn writes(&self) -> bool {
        self.tasks()
            .any(|task| !matches!(task.op.verb, Verb::Read | Verb::Stat))
    }

    /// Ends what no thread has begun.
    fn give_back(self, errno: Errno) {
        for task in std::iter::once(self.first).chain(self.rest) {
            self.port.deliver(task, Err(errno), 0);
        }
    }
}

/// Where the operations of one engine come back.
struct Port {
    state: Mutex<PortState>,
    arrived: Condvar,
}

#[derive(Default)]
struct PortState {
    ended: Vec<Ended>,
    woken: bool,
    event: Option<Arc<OwnedFd>>,
}

struct Ended {
    outcome: Outcome,
    verb: Verb,
    begun: Instant,
    /// System calls that it took.
    calls: u64,
}

impl PsyncPool {
    pub(crate) fn new(threads_max: u32) -> Arc<Self> {
        let writers = threads_max / WRITERS_SHARE;
        Arc::new(Self {
            reads: Workers::new("cachefs-psync", threads_max),
            writes: (writers > 0).then(|| Workers::new("cachefs-write", writers)),
        })
    }

    pub(crate) fn engine(self: &Arc<Self>, depth: u32, meter: Meter) -> Psync {
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
            chain: Vec::new(),
            ended: Vec::with_capacity(depth as usize),
            tally: Tally::default(),
            meter,
        }
    }

    /// See [`super::EngineFactory::shut_down`].
    pub(crate) fn shut_down(&self, deadline: Instant) -> usize {
        let writing = self.writes.as_ref();
        self.reads.shut_down(deadline) + writing.map_or(0, |writes| writes.shut_down(deadline))
    }

    fn submit(&self, transfer: Transfer) {
        let workers = match &self.writes {
            Some(writes) if transfer.writes() => writes,
            _ => &self.reads,
        };
        if let Err(refused) = workers.submit(transfer) {
            // Nobody would come for it: it fails rather than hangs.
            refused.give_back(Errno::AGAIN);
        }
    }

    fn recall(&self, which: impl Fn(&Transfer) -> bool) -> Vec<Transfer> {
        let mut recalled = self.reads.recall(&which);
        if let Some(writes) = &self.writes {
            recalled.extend(writes.recall(&which));
        }
        recalled
    }
}

impl Port {
    fn deliver(&self, task: Task, result: std::result::Result<Output, Errno>, calls: u64) {
        let mut state = self.state.lock();
        state.ended.push(Ended {
            verb: task.op.verb,
            begun: task.begun,
            calls,
            outcome: Outcome {
                tag: task.tag,
                result,
                buffer: task.op.buffer,
            },
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

/// Does one operation on this thread, to its end; also says how many system
/// calls it took.
fn perform(task: &Task) -> (std::result::Result<Output, Errno>, u64) {
    let op = &task.op;
    if let Some(timeout) = op.terms.timeout
        && task.begun.elapsed() >= timeout
    {
        return (Err(Errno::TIMEDOUT), 0);
    }
    take_priority(op.terms.priority);
    let whole = op.buffer.len();
    let (mut progress, mut calls) = (Progress::default(), 0);
    loop {
        calls += 1;
        let ended = match call(op, progress.done, TRANSFER_BYTES_MAX) {
            Ok(Output::Bytes(moved)) => progress
                .moved(moved, whole, &op.terms)
                .map(|all| Ok(Output::Bytes(all))),
            Ok(attributes) => Some(Ok(attributes)),
            Err(errno) => progress.failed(op.verb, errno).map(Err),
        };
        if let Some(result) = ended {
            return (result, calls);
        }
    }
}

/// Gives this thread the priority of the operation that it does next.
fn take_priority(priority: Priority) {
    thread_local! {
        static CURRENT: Cell<Priority> = const { Cell::new(Priority(0)) };
    }
    if CURRENT.replace(priority) != priority
        && let Err(errno) = sys::set_io_priority(priority.0)
    {
        tracing::debug!("no I/O priority for a thread: {errno}");
    }
}

/// One user of the pool.
pub(crate) struct Psync {
    pool: Arc<PsyncPool>,
    port: Arc<Port>,
    depth: usize,
    in_flight: usize,
    /// Operations that wait for the rest of their chain to be pushed.
    chain: Vec<Task>,
    /// Swapped with the port's.
    ended: Vec<Ended>,
    tally: Tally,
    meter: Meter,
}

impl Psync {
    fn submit(&self, first: Task, rest: Vec<Task>) {
        let port = Arc::clone(&self.port);
        self.pool.submit(Transfer { first, rest, port });
    }

    /// Takes back what no thread has begun. What is before it in its chain goes
    /// on; what is behind it has nothing to begin for.
    fn recall(&mut self, which: Which) -> usize {
        let is = |task: &Task| which.is(task.tag);
        let mut count = 0;
        for task in self
            .chain
            .iter_mut()
            .filter(|task| is(task) && !task.cancelled)
        {
            task.cancelled = true;
            count += 1;
        }
        let ours = |job: &Transfer| Arc::ptr_eq(&job.port, &self.port) && job.tasks().any(is);
        for mut job in self.pool.recall(ours) {
            count += job.tasks().filter(|task| is(task)).count();
            match job.rest.iter().position(is) {
                Some(index) if !is(&job.first) => {
                    for task in job.rest.drain(index..) {
                        self.port.deliver(task, Err(Errno::CANCELED), 0);
                    }
                    self.submit(job.first, job.rest);
                }
                _ => job.give_back(Errno::CANCELED),
            }
        }
        self.tally.cancels_won += count as u64;
        count
    }

    fn publish(&mut self, ended: &[Ended]) {
        self.tally.completions += ended.len() as u64;
        self.tally.in_flight = self.in_flight as u64;
        for one in ended {
            self.tally.enters += one.calls;
            if let Ok(Output::Bytes(moved)) = one.outcome.result {
                self.tally.short_transfers += one.calls.saturating_sub(1);
                self.tally.moved(one.verb, moved);
            }
        }
        let mut recording = self.meter.record(&self.tally);
        let now = Instant::now();
        for one in ended {
            let latency = now.saturating_duration_since(one.begun).as_nanos() as u64;
            recording.latency(one.verb, latency, 1);
        }
    }
}

impl Engine for Psync {
    fn push(&mut self, tag: u64, op: Op) -> std::result::Result<(), Op> {
        if self.in_flight == self.depth {
            return Err(op);
        }
        self.in_flight += 1;
        self.tally.submissions += 1;
        let linked = op.terms.linked;
        let begun = Instant::now();
        let cancelled = false;
        let task = Task {
            tag,
            op,
            begun,
            cancelled,
        };
        if linked {
            self.chain.push(task);
            return Ok(());
        }
        if self.chain.is_empty() {
            self.submit(task, Vec::new());
        } else {
            let mut rest = std::mem::take(&mut self.chain);
            rest.push(task);
            let first = rest.remove(0);
            self.submit(first, rest);
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
        self.tally.wakes += u64::from(std::mem::take(&mut state.woken));
        let mut ended = std::mem::take(&mut self.ended);
        std::mem::swap(&mut ended, &mut state.ended);
        drop(state);
        self.in_flight -= ended.len();
        self.publish(&ended);
        outcomes.extend(ended.drain(..).map(|one| one.outcome));
        self.ended = ended;
    }

    fn cancel(&mut self, which: Which) -> usize {
        // What a thread has begun cannot be called back: it comes by itself.
        self.recall(which)
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
        self.recall(Which::All);
        for task in std::mem::take(&mut self.chain) {
            // Nobody will push the rest of it.
            self.port.deliver(task, Err(Errno::CANCELED), 0);
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
