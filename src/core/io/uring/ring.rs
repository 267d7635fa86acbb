//! The engine: operations into entries, completions into outcomes.

use super::features::{Feature, FeatureSet};
use super::inflight::Inflight;
use super::lane::Lane;
use super::registered::{Named, Registered};
use super::setup::{Granted, Plan, setup_flags};
use super::waker::Waker;
use crate::buf::{Piece, Regions};
use crate::error::{Context, Errno, Result};
use crate::io::metrics::{Meter, Tally};
use crate::io::{Engine, Op, Outcome, Output, Owner, Refusal, Verb, Wait, Wake, Which};
use crate::limits::{SQ_ENTRIES_MAX, SQ_ENTRIES_MIN};
use crate::log::say;
use io_uring::{Probe, opcode, squeue, types};
use slab::Slab;
use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Names in the lower half of a `user_data` that no slot has: a slab has at
/// most QUEUE_DEPTH_MAX slots.
const WAKE: u32 = u32::MAX;
/// A cancellation. Whether it won is counted; the operation's own outcome says
/// what came of it.
const CANCEL: u32 = u32::MAX - 1;
/// The time-out of an operation, whose own outcome tells.
pub(super) const TIMEOUT: u32 = u32::MAX - 2;
/// A message from another ring.
const TOLD: u32 = u32::MAX - 3;
/// A message to another ring; its place in `nudges` is in the upper half.
const NUDGE: u32 = u32::MAX - 4;

/// How long a wait sleeps while something has found the submission queue full.
const BACKLOG_TICK: Duration = Duration::from_millis(1);

/// Waits shorter than this are not worth a spin.
const SPIN_MIN: Duration = Duration::from_micros(1);

/// The io_uring engine. Dropping it before `shut_down` leaks what is in flight.
pub(crate) struct Uring {
    pub(super) main: Lane,
    /// For O_DIRECT reads, where devices are to be polled.
    polled: Option<Lane>,
    /// An event loop is told of completions, which a polled ring cannot do.
    told_of: bool,
    poll_refused: Arc<AtomicBool>,
    /// Behind ManuallyDrop because the kernel may outlive us in here.
    pub(super) inflight: ManuallyDrop<Inflight>,
    /// Chains whose entries found the submission queue full; at most all slots.
    backlog: VecDeque<u32>,
    /// The last operation of a chain whose next one has not been pushed yet.
    open_chain: Option<u32>,
    /// Chains that were cancelled before they were submitted.
    pub(super) unsubmitted: Vec<u32>,
    waker: Arc<Waker>,
    /// Where the read of the waker's eventfd lands; boxed, since the kernel has
    /// its address for as long as the ring lives.
    wake_count: ManuallyDrop<Box<u64>>,
    wake_armed: bool,
    /// Engines that messages are on their way to.
    nudges: Slab<Arc<dyn Wake>>,
    pub(super) event: Option<Arc<OwnedFd>>,
    granted: Granted,
    spin_max: Duration,
    /// What a wait spins now: less after spins in vain.
    spin: Duration,
    /// Read once for a batch.
    clock: Option<Instant>,
    tally: Tally,
    meter: Meter,
    /// Operations that ended in this call, for the meter.
    ended: Vec<(Verb, Instant)>,
}

impl Uring {
    /// Sets up a ring for the calling thread, with everything that the plan asks
    /// for and the kernel grants.
    ///
    /// Errors: what io_uring_setup(2) refuses without any flag (EPERM, ENOSYS,
    /// ENOMEM, EMFILE), or EOPNOTSUPP for a kernel before 5.11.
    pub(crate) fn new(
        plan: &Plan,
        depth: u32,
        owner: Owner,
        regions: Arc<Regions>,
        meter: Meter,
    ) -> Result<Self> {
        let mut granted = Granted::default();
        let entries = depth.clamp(SQ_ENTRIES_MIN, SQ_ENTRIES_MAX);
        let single = owner != (Owner::Program { movable: true });
        let ring = plan.build(entries, single, &mut granted)?;
        ask_for_operations(&ring.submitter(), plan, &mut granted);
        let registered =
            Registered::new(&ring.submitter(), plan, Arc::clone(&regions), &mut granted);
        let mut main = Lane::new(ring, registered);
        if single && plan.allowed.has(Feature::RegisteredRing) {
            main.register_ring(&mut granted);
        }
        if plan.allowed.has(Feature::BoundedWorkers) {
            bound_workers(&main, owner, plan.io_workers, &mut granted);
        }
        let polled = polled_lane(plan, entries, regions, &mut granted);
        let told = granted.features.has(Feature::MsgRing);
        // SAFETY: the ring's descriptor is open: `main` owns it.
        let descriptor = unsafe { BorrowedFd::borrow_raw(main.ring.as_raw_fd()) };
        let waker = Waker::new(told.then_some(descriptor))?;
        Ok(Self {
            main,
            polled,
            told_of: false,
            poll_refused: Arc::clone(&plan.poll_refused),
            inflight: ManuallyDrop::new(Inflight::new(depth)),
            backlog: VecDeque::with_capacity(depth as usize),
            open_chain: None,
            unsubmitted: Vec::new(),
            waker: Arc::new(waker),
            wake_count: ManuallyDrop::new(Box::new(0)),
            wake_armed: false,
            nudges: Slab::new(),
            event: None,
            granted,
            spin_max: plan.spin,
            spin: plan.spin,
            clock: None,
            tally: Tally::default(),
            meter,
            ended: Vec::with_capacity(depth as usize),
        })
    }

    /// What the kernel granted.
    pub(crate) fn granted(&self) -> FeatureSet {
        self.granted.features
    }

    /// What was asked for in vain.
    pub(crate) fn refused(&self) -> &[Refusal] {
        &self.granted.refused
    }

    /// IORING_SETUP_… bits in force.
    pub(crate) fn setup_flags(&self) -> u32 {
        setup_flags(self.granted.features)
    }

    /// A duplicate of the ring's descriptor, for rings that share its thread.
    pub(crate) fn descriptor(&self) -> Result<Arc<OwnedFd>> {
        // SAFETY: the ring's descriptor is open: `main` owns it.
        let fd = unsafe { BorrowedFd::borrow_raw(self.main.ring.as_raw_fd()) };
        let fd = rustix::io::fcntl_dupfd_cloexec(fd, 0).context(|| "duplicate a ring")?;
        Ok(Arc::new(fd))
    }

    fn now(&mut self) -> Instant {
        *self.clock.get_or_insert_with(Instant::now)
    }

    // --- submission ----------------------------------------------------------

    /// Puts entries into the submission queue, all or none, handing over what is
    /// there if they find no room.
    pub(super) fn enqueue(&mut self, polled: bool, entries: &[squeue::Entry]) -> bool {
        let lane = match &mut self.polled {
            Some(lane) if polled => lane,
            _ => &mut self.main,
        };
        if lane.push(entries) {
            return true;
        }
        self.tally.sq_full += 1;
        lane.enter(0, None);
        lane.push(entries)
    }

    /// Submits a chain, or has it wait behind those that wait already.
    pub(super) fn start(&mut self, head: u32) {
        if self.inflight.slot(head).cancelled {
            self.give_back(head);
        } else if !self.backlog.is_empty() || !self.try_start(head) {
            self.backlog.push_back(head);
            let waiting = self.backlog.len() as u64;
            self.tally.backlog_high_water = self.tally.backlog_high_water.max(waiting);
        }
    }

    fn try_start(&mut self, head: u32) -> bool {
        let slot = self.inflight.slot(head);
        let simple = slot.until.is_none();
        if simple && self.inflight.next(head).is_none() {
            let (polled, entry) = self.entry(head);
            let slot = self.inflight.slot(head);
            slot.pending = 1;
            slot.submitted = true;
            return self.enqueue(polled, &[entry]);
        }
        self.try_start_chain(head)
    }

    /// The next entry of a slot, and whether it is for the polled ring.
    pub(super) fn entry(&mut self, index: u32) -> (bool, squeue::Entry) {
        let polls = self.polls();
        let slot = self.inflight.slot(index);
        let op = slot.op();
        let alone = slot.until.is_none() && !op.terms.linked;
        let polled = polls && op.terms.direct.is_some() && op.verb == Verb::Read && alone;
        slot.polled = polled;
        let op = slot.op();
        let lane = match &mut self.polled {
            Some(lane) if polled => lane,
            _ => &mut self.main,
        };
        let named = match op.verb {
            Verb::Read | Verb::Write => lane.registered.name(&lane.ring.submitter(), op),
            // statx(2) resolves a path, for which the kernel takes no slots; the
            // others are few.
            _ => Named::plain(op),
        };
        (polled, self.inflight.entry(index, named))
    }

    fn polls(&self) -> bool {
        self.polled.is_some() && !self.told_of && !self.poll_refused.load(Ordering::Relaxed)
    }

    fn drain_backlog(&mut self) {
        while let Some(&head) = self.backlog.front() {
            if !self.try_start(head) {
                break;
            }
            self.backlog.pop_front();
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
            .user_data(WAKE.into());
        self.wake_armed = self.enqueue(false, &[entry]);
    }

    // --- completion ----------------------------------------------------------

    /// Takes every completion; true if the engine was woken.
    fn harvest(&mut self, outcomes: &mut Vec<Outcome>) -> bool {
        let mut woken = false;
        while let Some(entry) = self.main.pop() {
            woken |= self.completed(entry.user_data(), entry.result(), outcomes);
        }
        while let Some(entry) = self.polled.as_mut().and_then(Lane::pop) {
            self.completed(entry.user_data(), entry.result(), outcomes);
        }
        woken
    }

    /// One completion; true if it is a wake-up.
    fn completed(&mut self, user_data: u64, result: i32, outcomes: &mut Vec<Outcome>) -> bool {
        match user_data as u32 {
            WAKE | TOLD => {
                self.wake_armed &= user_data as u32 != WAKE;
                self.tally.wakes += 1;
                self.waker.seen();
                return true;
            }
            CANCEL if result == 0 => self.tally.cancels_won += 1,
            CANCEL => self.tally.cancels_lost += 1,
            TIMEOUT => {}
            NUDGE => {
                let other = self.nudges.remove((user_data >> 32) as usize);
                if result < 0 {
                    other.insist();
                }
            }
            _ => self.operation_completed(user_data, result, outcomes),
        }
        false
    }

    fn operation_completed(&mut self, user_data: u64, result: i32, outcomes: &mut Vec<Outcome>) {
        let Some(index) = self.inflight.find(user_data) else {
            self.tally.stale_completions += 1;
            say(|| tracing::error!("completion {user_data:#x} of an operation that has ended"));
            return;
        };
        self.inflight.slot(index).result = result;
        let head = self.inflight.head(index);
        let first = self.inflight.slot(head);
        first.pending -= 1;
        if first.pending > 0 {
            self.cancel_next(index);
            return;
        }
        // What nearly every operation is: alone, and done at once.
        if let Some(whole) = self.inflight.done_at_once(index) {
            let outcome = self.end(index, Ok(Output::Bytes(whole)));
            outcomes.push(outcome);
        } else {
            self.settle(head, outcomes);
        }
    }

    /// What came of an operation; None: it goes on.
    pub(super) fn result(&mut self, index: u32) -> Option<std::result::Result<Output, Errno>> {
        let slot = self.inflight.slot(index);
        let verb = slot.verb();
        let whole = slot.op().buffer.len();
        match u32::try_from(slot.result) {
            Ok(_) if verb == Verb::Stat => {
                Some(Ok(Output::Attributes(self.inflight.attributes(index))))
            }
            Ok(_) if !verb.moves_bytes() => Some(Ok(Output::Bytes(whole))),
            Ok(moved) => {
                if let Some(all) = slot.moved(moved as usize) {
                    return Some(Ok(Output::Bytes(all)));
                }
                if slot.cancelled {
                    return Some(Err(Errno::CANCELED));
                }
                self.tally.short_transfers += 1;
                None
            }
            Err(_) => self.failure(index).map(Err),
        }
    }

    /// What an errno of the kernel comes to; None: try again.
    fn failure(&mut self, index: u32) -> Option<Errno> {
        let slot = self.inflight.slot(index);
        let errno = Errno::from_raw_os_error(-slot.result);
        if slot.cancelled {
            return Some(Errno::CANCELED);
        }
        let over = slot.until.is_some_and(|until| Instant::now() >= until);
        if over && [Errno::CANCELED, Errno::INTR, Errno::TIME].contains(&errno) {
            return Some(Errno::TIMEDOUT);
        }
        // The file system or the device has no polling: the file is read without.
        if slot.polled && errno == Errno::OPNOTSUPP {
            if !self.poll_refused.swap(true, Ordering::Relaxed) {
                say(|| {
                    tracing::warn!(
                        "io_poll: the file system or device of a cached file has no polling"
                    )
                });
            }
            return None;
        }
        let verb = slot.verb();
        if errno == Errno::CANCELED {
            // Nobody asked: the thread that had submitted it has exited.
            let ended = slot.progress.failed(verb, Errno::INTR);
            return ended.map(|_| Errno::CANCELED);
        }
        slot.progress.failed(verb, errno)
    }

    pub(super) fn end(
        &mut self,
        index: u32,
        result: std::result::Result<Output, Errno>,
    ) -> Outcome {
        let slot = self.inflight.slot(index);
        let (tag, begun) = (slot.tag, slot.begun);
        let op = self.inflight.remove(index);
        self.tally.completions += 1;
        if let Ok(Output::Bytes(moved)) = result {
            self.tally.moved(op.verb, moved);
        }
        self.ended.push((op.verb, begun));
        Outcome {
            tag,
            result,
            buffer: op.buffer,
        }
    }

    // --- waiting -------------------------------------------------------------

    /// Enters the kernel for completions, as `until` allows; spins before it sleeps.
    fn wait(&mut self, want: usize, until: Option<Instant>) {
        if let Some(lane) = &mut self.polled
            && lane.outstanding > 0
        {
            // A polled ring wakes nobody: both are looked at in turn.
            lane.enter(0, None);
            self.main.enter(0, None);
            return;
        }
        if self.spin >= SPIN_MIN && self.spin_for(want) {
            return;
        }
        if self.backlog.is_empty() {
            return self.main.enter(want, until);
        }
        // What the kernel takes from the queue makes room, and tells nobody.
        let soon = Instant::now() + BACKLOG_TICK;
        let until = until.map_or(soon, |until| until.min(soon));
        self.main.enter(want, Some(until));
    }

    /// Looks for completions without sleeping; true if there are enough. A spin
    /// in vain halves the next one, and one that was worth it doubles it.
    fn spin_for(&mut self, want: usize) -> bool {
        let end = Instant::now() + self.spin;
        loop {
            self.main.enter(0, None);
            if self.main.ready() >= want {
                self.spin = (self.spin * 2).min(self.spin_max);
                return true;
            }
            if Instant::now() >= end {
                self.spin = (self.spin / 2).max(SPIN_MIN);
                return false;
            }
            std::hint::spin_loop();
        }
    }

    /// Gives the numbers of this call to the meter.
    fn publish(&mut self) {
        self.clock = None;
        let lanes = [Some(&self.main), self.polled.as_ref()];
        self.tally.enters = lanes.iter().flatten().map(|lane| lane.enters).sum();
        self.tally.cq_overflows = lanes.iter().flatten().map(|lane| lane.overflows).sum();
        self.tally.in_flight = self.inflight.len() as u64;
        let mut recording = self.meter.record(&self.tally);
        if self.ended.is_empty() {
            return;
        }
        let now = Instant::now();
        // Those of one batch began at one look at the clock.
        for run in self.ended.chunk_by(|one, next| one == next) {
            let (verb, begun) = run[0];
            let latency = now.saturating_duration_since(begun).as_nanos() as u64;
            recording.latency(verb, latency, run.len() as u32);
        }
        self.ended.clear();
    }

    /// Ends what has not been submitted yet.
    fn cancel_backlog(&mut self) {
        let waiting = std::mem::take(&mut self.backlog);
        for head in waiting {
            if self.inflight.slot(head).cancelled {
                self.give_back(head);
            } else {
                self.backlog.push_back(head);
            }
        }
    }

    /// Asks the kernel to end an operation, if it has begun it.
    pub(super) fn ask_to_end(&mut self, user_data: u64) {
        let entry = opcode::AsyncCancel::new(user_data)
            .build()
            .user_data(CANCEL.into());
        if !self.enqueue(false, &[entry]) {
            // The operation then ends by itself; nobody is left waiting for
            // it, since whoever cancels answers the request at once.
            say(|| tracing::warn!("no room to cancel an operation"));
        }
    }

    fn refused_entry(&self) -> bool {
        self.main.refused
    }
}

impl Engine for Uring {
    fn push(&mut self, tag: u64, op: Op) -> std::result::Result<(), Op> {
        let linked = op.terms.linked;
        let now = self.now();
        let timed = self.granted.features.has(Feature::LinkTimeout);
        let index = self.inflight.insert(tag, op, now, timed)?;
        self.tally.submissions += 1;
        if let Some(last) = self.open_chain.take() {
            self.inflight.link(last, index);
        }
        if linked {
            self.open_chain = Some(index);
        } else {
            self.start(self.inflight.head(index));
        }
        Ok(())
    }

    fn flush(&mut self) {
        self.drain_backlog();
        for lane in [Some(&mut self.main), self.polled.as_mut()]
            .into_iter()
            .flatten()
        {
            if lane.is_laden() {
                lane.enter(0, None);
            }
        }
        self.publish();
    }

    fn reap(&mut self, wait: Wait, outcomes: &mut Vec<Outcome>) {
        let before = outcomes.len();
        for head in std::mem::take(&mut self.unsubmitted) {
            self.settle(head, outcomes);
        }
        self.drain_backlog();
        let mut woken = self.harvest(outcomes);
        match wait {
            Wait::No => {
                self.main.enter(0, None);
                if let Some(lane) = self.polled.as_mut().filter(|lane| lane.outstanding > 0) {
                    lane.enter(0, None);
                }
                self.harvest(outcomes);
            }
            Wait::For(want, until) => {
                if !woken && outcomes.len() - before < want {
                    self.arm_waker();
                    self.main.sweep();
                }
                // A short transfer that goes on is a completion without an
                // outcome, so one call need not be enough.
                while !woken && outcomes.len() - before < want {
                    self.drain_backlog();
                    self.wait(want - (outcomes.len() - before), until);
                    woken = self.harvest(outcomes);
                    let over = until.is_some_and(|instant| Instant::now() >= instant);
                    if over || self.refused_entry() {
                        break;
                    }
                }
            }
        }
        self.flush();
    }

    fn cancel(&mut self, which: Which) -> usize {
        let mut victims = Vec::new();
        let count = self
            .inflight
            .cancel(which, |user_data| victims.push(user_data));
        if count == 0 {
            return 0;
        }
        self.cancel_backlog();
        for user_data in victims {
            self.ask_to_end(user_data);
        }
        self.main.enter(0, None);
        count
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

    fn nudge(&mut self, other: &Arc<dyn Wake>) {
        let told = self.granted.features.has(Feature::MsgRing);
        let Some(ring) = other.ring().filter(|_| told) else {
            return other.wake();
        };
        if !other.claim() {
            return;
        }
        let ring = types::Fd(ring.as_raw_fd());
        let place = self.nudges.insert(Arc::clone(other)) as u64;
        let entry = opcode::MsgRingData::new(ring, 0, TOLD.into(), None)
            .build()
            .user_data(place << 32 | u64::from(NUDGE));
        if !self.enqueue(false, &[entry]) {
            self.nudges.remove(place as usize).insist();
        }
    }

    fn notify(&mut self, event: Arc<OwnedFd>) -> Result<()> {
        self.main
            .ring
            .submitter()
            .register_eventfd(event.as_raw_fd())
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
            .context(|| "register an eventfd with the ring")?;
        self.told_of = true;
        self.event = Some(event);
        Ok(())
    }

    fn adopt(&mut self, buffers: Piece) {
        self.main.registered.adopt(buffers);
    }

    fn shut_down(&mut self, deadline: Instant) -> usize {
        self.cancel(Which::All);
        if let Some(last) = self.open_chain.take() {
            // Nobody will push the rest of it.
            self.start(self.inflight.head(last));
        }
        let mut outcomes = Vec::new();
        while self.in_flight() > 0 && !self.refused_entry() && Instant::now() < deadline {
            let tick = (Instant::now() + Duration::from_millis(50)).min(deadline);
            self.reap(Wait::For(1, Some(tick)), &mut outcomes);
            if outcomes.is_empty() {
                // What had not begun when it was asked to end may have since.
                for user_data in self.inflight.submitted() {
                    self.ask_to_end(user_data);
                }
            }
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
            self.waker.insist();
            let limit = Instant::now() + Duration::from_secs(1);
            let mut outcomes = Vec::new();
            while self.wake_armed && !self.refused_entry() && Instant::now() < limit {
                self.main.enter(1, Some(limit));
                self.harvest(&mut outcomes);
            }
        }
        if !self.wake_armed {
            // SAFETY: dropped once, here; no read of the eventfd is in the ring.
            unsafe { ManuallyDrop::drop(&mut self.wake_count) };
        }
        // Whoever a message did not reach.
        for other in self.nudges.drain() {
            other.insist();
        }
        if self.inflight.len() == 0 {
            // SAFETY: dropped once, here; the kernel has nothing of the slab.
            unsafe { ManuallyDrop::drop(&mut self.inflight) };
        } else {
            let count = self.inflight.len();
            say(|| tracing::warn!("{count} operations did not end: their memory is leaked"));
        }
    }
}

/// Notes which of the operations that the engine can do without there are.
fn ask_for_operations(submitter: &io_uring::Submitter<'_>, plan: &Plan, granted: &mut Granted) {
    let mut probe = Probe::new();
    let probed = submitter.register_probe(&mut probe);
    for (feature, code) in [
        (Feature::MsgRing, opcode::MsgRingData::CODE),
        (Feature::Splice, opcode::Splice::CODE),
        (Feature::Allocate, opcode::Fallocate::CODE),
        (Feature::LinkTimeout, opcode::LinkTimeout::CODE),
    ] {
        if !plan.allowed.has(feature) {
            continue;
        }
        match &probed {
            Ok(()) if probe.is_supported(code) => {
                granted.note(feature, Ok(()));
            }
            Ok(()) => granted.refuse(feature, "not in this kernel".to_owned()),
            Err(error) => granted.refuse(feature, format!("the kernel does not tell: {error}")),
        }
    }
}

/// Limits the kernel's threads for what would block. They belong to the calling
/// thread: on one of the program's, the limit is only asked for (0 changes nothing).
fn bound_workers(lane: &Lane, owner: Owner, count: u32, granted: &mut Granted) {
    let count = if owner == Owner::Library { count } else { 0 };
    let mut limits = [count, count];
    let submitter = lane.ring.submitter();
    granted.note(
        Feature::BoundedWorkers,
        submitter.register_iowq_max_workers(&mut limits),
    );
}

fn polled_lane(
    plan: &Plan,
    entries: u32,
    regions: Arc<Regions>,
    granted: &mut Granted,
) -> Option<Lane> {
    if !plan.io_poll || plan.poll_refused() {
        return None;
    }
    if !plan.allowed.has(Feature::IoPoll) {
        granted.refuse(Feature::IoPoll, "withheld by the option without".to_owned());
        return None;
    }
    match plan.build_polled(entries) {
        Ok(ring) => {
            granted.note(Feature::IoPoll, Ok(()));
            // Its tables are its own; what they lack is already noted.
            let mut aside = Granted::default();
            let registered = Registered::new(&ring.submitter(), plan, regions, &mut aside);
            Some(Lane::new(ring, registered))
        }
        Err(error) => {
            granted.note(Feature::IoPoll, Err(error));
            None
        }
    }
}

#[cfg(test)]
mod tests;
