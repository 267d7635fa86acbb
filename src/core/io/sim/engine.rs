//! What every engine promises, kept above a kernel that does what a seed says.
//!
//! Time goes in steps: each submission ends at a step that the generator names.
//! A `reap` that may sleep goes on to the next step at which something ends, and
//! sleeps only when nothing ends by itself.

use super::kernel::{Attempt, Submission};
use super::waker::Waker;
use super::{Random, Simulation};
use crate::error::{Errno, Result};
use crate::io::metrics::{Meter, Tally};
use crate::io::progress::{Progress, did_all};
use crate::io::{Engine, Op, Outcome, Output, Verb, Wait, Wake, Which, signal};
use slab::Slab;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a step takes where time is simulated, too.
const STEP: Duration = Duration::from_millis(1);

pub(crate) struct Sim {
    host: Simulation,
    random: Random,
    depth: usize,
    /// Dropped only when empty, as what a kernel has may not be freed.
    slots: ManuallyDrop<Slab<Slot>>,
    /// First operations of chains that were not handed over.
    pushed: Vec<usize>,
    /// The first and the last of a chain whose next one has not been pushed yet.
    open_chain: Option<(usize, usize)>,
    step: u64,
    /// None: time goes by itself.
    clock: Option<Instant>,
    waker: Arc<Waker>,
    event: Option<Arc<OwnedFd>>,
    tally: Tally,
    meter: Meter,
    /// Operations that ended in this call, for the meter.
    ended: Vec<(Verb, Instant)>,
}

struct Slot {
    tag: u64,
    op: Op,
    begun: Instant,
    until: Option<Instant>,
    progress: Progress,
    /// The next of its chain.
    next: Option<usize>,
    state: State,
    /// It was cancelled, and that will win.
    doomed: bool,
    /// It was cancelled too late, so it is about to end by itself.
    committed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not handed over, or the one before it has not ended.
    Waiting,
    /// Its submission ends at this step.
    Due(u64),
    /// Looked at in each step, since a pipe has to be read or written first.
    Blocked,
    /// It ends when it is cancelled.
    Hung,
    /// It does not end.
    Deaf,
}

impl Sim {
    pub(super) fn new(host: Simulation, index: u64, depth: u32, meter: Meter) -> Self {
        let mut random = Random::of(host.seed(), index);
        let waker = Waker::new(host.clone(), Random::new(random.next()));
        Self {
            host,
            random,
            depth: depth as usize,
            slots: ManuallyDrop::new(Slab::with_capacity(depth as usize)),
            pushed: Vec::new(),
            open_chain: None,
            step: 0,
            clock: None,
            waker: Arc::new(waker),
            event: None,
            tally: Tally::default(),
            meter,
            ended: Vec::new(),
        }
    }

    /// Has time go in steps as well: nothing sleeps.
    #[cfg(test)]
    pub(crate) fn timeless(mut self) -> Self {
        self.clock = Some(Instant::now());
        self
    }

    /// What time it is for this engine.
    pub(crate) fn now(&self) -> Instant {
        self.clock.unwrap_or_else(Instant::now)
    }

    // --- submission ----------------------------------------------------------

    fn hand_over(&mut self) {
        for head in std::mem::take(&mut self.pushed) {
            self.start(head);
        }
    }

    fn start(&mut self, index: usize) {
        let due = self.step + self.delay();
        self.slots[index].state = State::Due(due);
    }

    fn delay(&mut self) -> u64 {
        let most = self.host.manners().delay_steps_max;
        self.random.below(most + 1)
    }

    // --- completion ----------------------------------------------------------

    /// Ends what ends up to this step, in any order.
    fn run(&mut self, outcomes: &mut Vec<Outcome>) {
        self.run_out_of_time(outcomes);
        let step = self.step;
        for (_, slot) in self.slots.iter_mut() {
            if slot.state == State::Blocked {
                slot.state = State::Due(step);
            }
        }
        loop {
            let ends = |(index, slot): (usize, &Slot)| {
                matches!(slot.state, State::Due(due) if due <= step).then_some(index)
            };
            let mut ready: Vec<usize> = self.slots.iter().filter_map(ends).collect();
            if ready.is_empty() {
                return;
            }
            self.random.shuffle(&mut ready);
            for index in ready {
                self.submission_ended(index, outcomes);
            }
        }
    }

    fn run_out_of_time(&mut self, outcomes: &mut Vec<Outcome>) {
        let now = self.now();
        let late = |(index, slot): (usize, &Slot)| {
            let over = slot.until.is_some_and(|until| until <= now);
            (over && slot.can_end_early()).then_some(index)
        };
        let late: Vec<usize> = self.slots.iter().filter_map(late).collect();
        for index in late {
            self.end(index, Err(Errno::TIMEDOUT), outcomes);
        }
    }

    fn submission_ended(&mut self, index: usize, outcomes: &mut Vec<Outcome>) {
        let slot = &self.slots[index];
        if slot.doomed {
            self.tally.cancels_won += 1;
            return self.end(index, Err(Errno::CANCELED), outcomes);
        }
        let submission = Submission {
            tag: slot.tag,
            op: &slot.op,
            done: slot.progress.done,
            may_hang: !slot.committed,
        };
        let answer = submission.attempt(&self.host, &mut self.random);
        let slot = &mut self.slots[index];
        let result = match answer {
            Attempt::NotReady => {
                slot.state = State::Blocked;
                return;
            }
            Attempt::Hangs { deaf: false } => {
                slot.state = State::Hung;
                return;
            }
            Attempt::Hangs { deaf: true } => {
                slot.state = State::Deaf;
                return;
            }
            Attempt::Answered(result) => result,
        };
        self.tally.enters += 1;
        let ended = match result {
            Ok(Output::Bytes(moved)) if slot.op.verb.moves_bytes() => {
                let all = slot
                    .progress
                    .moved(moved, slot.op.buffer.len(), &slot.op.terms);
                self.tally.short_transfers += u64::from(all.is_none());
                all.map(|all| Ok(Output::Bytes(all)))
            }
            Ok(output) => Some(Ok(output)),
            Err(errno) => slot.progress.failed(slot.op.verb, errno).map(Err),
        };
        match ended {
            Some(result) => self.end(index, result, outcomes),
            None => self.start(index),
        }
    }

    /// Ends an operation, and what is linked to it if it did not do all.
    fn end(
        &mut self,
        index: usize,
        result: std::result::Result<Output, Errno>,
        outcomes: &mut Vec<Outcome>,
    ) {
        let slot = self.slots.remove(index);
        let whole = slot.op.buffer.len();
        let next = slot.next;
        let broken = !did_all(&result, whole);
        self.tally.completions += 1;
        if let Ok(Output::Bytes(moved)) = result {
            self.tally.moved(slot.op.verb, moved);
        }
        self.ended.push((slot.op.verb, slot.begun));
        outcomes.push(Outcome {
            tag: slot.tag,
            result,
            buffer: slot.op.buffer,
        });
        match next {
            Some(next) if broken => self.end(next, Err(Errno::CANCELED), outcomes),
            Some(next) => self.start(next),
            None => {}
        }
    }

    // --- waiting -------------------------------------------------------------

    /// Goes on to when something may have ended, but not beyond the limit.
    fn go_on(&mut self, limit: Option<Instant>) {
        let times = self.slots.iter().filter(|(_, slot)| slot.can_end_early());
        let limit = times.filter_map(|(_, slot)| slot.until).chain(limit).min();
        let due = |(_, slot): (usize, &Slot)| match slot.state {
            State::Due(due) => Some(due),
            _ => None,
        };
        let blocked = self
            .slots
            .iter()
            .any(|(_, slot)| slot.state == State::Blocked);
        match self.slots.iter().filter_map(due).min() {
            Some(due) => self.skip(due.max(self.step + 1), limit),
            None if blocked => {
                let soon = self.now() + STEP;
                self.sleep(Some(limit.map_or(soon, |limit| limit.min(soon))));
                self.step += 1;
            }
            None => self.sleep(limit),
        }
    }

    fn skip(&mut self, step: u64, limit: Option<Instant>) {
        if let Some(now) = self.clock {
            let left = limit.map(|limit| limit.saturating_duration_since(now));
            let needs = STEP * (step - self.step) as u32;
            if let Some(left) = left.filter(|left| *left < needs) {
                self.clock = Some(now + left);
                return;
            }
            self.clock = Some(now + needs);
        }
        self.step = step;
    }

    fn sleep(&mut self, limit: Option<Instant>) {
        match (self.clock, limit) {
            (None, _) => self.waker.sleep(limit),
            (Some(now), Some(limit)) => self.clock = Some(now.max(limit)),
            (Some(_), None) => panic!("a sleep that nothing ends"),
        }
    }

    /// Tells an event loop to come again while anything may end without it.
    fn tell(&self) {
        let may_end = |slot: &Slot| match slot.state {
            State::Due(_) | State::Blocked => true,
            State::Hung => slot.until.is_some(),
            State::Waiting | State::Deaf => false,
        };
        if let Some(event) = &self.event
            && self.slots.iter().any(|(_, slot)| may_end(slot))
        {
            signal(event.as_fd());
        }
    }

    fn publish(&mut self) {
        self.tally.in_flight = self.slots.len() as u64;
        let mut recording = self.meter.record(&self.tally);
        for (verb, begun) in self.ended.drain(..) {
            recording.latency(verb, begun.elapsed().as_nanos() as u64, 1);
        }
    }
}

impl Slot {
    /// Begun, and the kernel can be told to end it.
    fn can_end_early(&self) -> bool {
        !matches!(self.state, State::Waiting | State::Deaf)
    }
}

impl Engine for Sim {
    fn push(&mut self, tag: u64, op: Op) -> std::result::Result<(), Op> {
        if self.slots.len() == self.depth {
            return Err(op);
        }
        self.tally.submissions += 1;
        let begun = self.now();
        let linked = op.terms.linked;
        let index = self.slots.insert(Slot {
            tag,
            begun,
            until: op.terms.timeout.and_then(|time| begun.checked_add(time)),
            op,
            progress: Progress::default(),
            next: None,
            state: State::Waiting,
            doomed: false,
            committed: false,
        });
        let first = match self.open_chain.take() {
            Some((first, last)) => {
                self.slots[last].next = Some(index);
                first
            }
            None => index,
        };
        if linked {
            self.open_chain = Some((first, index));
        } else {
            self.pushed.push(first);
        }
        Ok(())
    }

    fn flush(&mut self) {
        self.hand_over();
        self.tell();
        self.publish();
    }

    fn reap(&mut self, wait: Wait, outcomes: &mut Vec<Outcome>) {
        let before = outcomes.len();
        self.hand_over();
        self.skip(self.step + 1, None);
        self.run(outcomes);
        match wait {
            Wait::No => {
                self.tally.wakes += u64::from(self.waker.take_late());
            }
            Wait::For(want, until) => {
                while outcomes.len() - before < want {
                    let over = until.is_some_and(|until| until <= self.now());
                    let woken = if over {
                        self.waker.take_late()
                    } else {
                        self.waker.take()
                    };
                    self.tally.wakes += u64::from(woken);
                    let idle = self.host.manners().wake_for_nothing;
                    if over || woken || self.random.chance(idle) {
                        break;
                    }
                    self.go_on(until);
                    self.run(outcomes);
                }
            }
        }
        self.tell();
        self.publish();
    }

    fn cancel(&mut self, which: Which) -> usize {
        let lost = self.host.manners().cancel_lost;
        let mut count = 0;
        for (_, slot) in self.slots.iter_mut() {
            if slot.doomed || !which.is(slot.tag) {
                continue;
            }
            count += 1;
            let hears = match slot.state {
                State::Deaf => false,
                State::Hung => true,
                _ => !self.random.chance(lost),
            };
            if hears {
                slot.doomed = true;
                if slot.state != State::Waiting {
                    slot.state = State::Due(self.step + self.random.below(3));
                }
            } else {
                slot.committed = true;
                self.tally.cancels_lost += 1;
            }
        }
        self.tell();
        count
    }

    fn space(&self) -> usize {
        self.depth - self.slots.len()
    }

    fn in_flight(&self) -> usize {
        self.slots.len()
    }

    fn waker(&self) -> Arc<dyn Wake> {
        Arc::clone(&self.waker) as Arc<dyn Wake>
    }

    fn notify(&mut self, event: Arc<OwnedFd>) -> Result<()> {
        self.event = Some(event);
        Ok(())
    }

    fn shut_down(&mut self, deadline: Instant) -> usize {
        // Nobody will push the rest of it.
        self.pushed
            .extend(self.open_chain.take().map(|(first, _)| first));
        let mut outcomes = Vec::new();
        while !self.slots.is_empty() && self.now() < deadline {
            // Again, since each cancellation may be lost.
            self.cancel(Which::All);
            self.reap(Wait::For(1, Some(deadline)), &mut outcomes);
            outcomes.clear();
        }
        self.slots.len()
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        if self.slots.is_empty() {
            // SAFETY: dropped once, here.
            unsafe { ManuallyDrop::drop(&mut self.slots) };
        } else {
            let count = self.slots.len();
            tracing::warn!("{count} operations did not end: their memory is leaked");
        }
    }
}
