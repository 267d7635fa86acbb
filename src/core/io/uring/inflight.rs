//! The slab of operations that the kernel has: it owns their files and buffers.
//!
//! The slots never move, and none is allocated per operation. `user_data` is
//! the slot's index and generation, so that a completion of a slot that was
//! given away since is noticed. Operations that are linked form a chain, known
//! by its first slot; one that is not is a chain of its own.

use crate::io::progress::Progress;
use crate::io::{Op, Verb, Which};
use crate::sys::Attributes;
use io_uring::types::Timespec;
use std::time::Instant;

/// No slot.
const NONE: u32 = u32::MAX;

pub(super) struct Inflight {
    slots: Box<[Slot]>,
    /// Where statx(2) writes and time-outs are read, apart from the slots, which
    /// are walked all the time.
    aside: Box<[Aside]>,
    free: Vec<u32>,
}

pub(super) struct Slot {
    generation: u32,
    /// The first of its chain.
    head: u32,
    /// The next of its chain.
    next: u32,
    /// The kernel has had it since its chain was last started.
    pub(super) submitted: bool,
    /// Of the first of a chain: submissions without a completion.
    pub(super) pending: u32,
    /// What the last completion said.
    pub(super) result: i32,
    /// Its end was asked for.
    pub(super) cancelled: bool,
    /// Its last entry went to the polled ring.
    pub(super) polled: bool,
    /// Some while the kernel may touch what it holds.
    op: Option<Op>,
    pub(super) tag: u64,
    /// What earlier submissions of this operation came to.
    pub(super) progress: Progress,
    pub(super) begun: Instant,
    pub(super) until: Option<Instant>,
}

pub(super) struct Aside {
    pub(super) statx: libc::statx,
    pub(super) timeout: Timespec,
}

impl Inflight {
    pub(super) fn new(count: u32) -> Self {
        let now = Instant::now();
        let slot = |index| Slot {
            generation: 0,
            head: index,
            next: NONE,
            submitted: false,
            pending: 0,
            result: 0,
            cancelled: false,
            polled: false,
            op: None,
            tag: 0,
            progress: Progress::default(),
            begun: now,
            until: None,
        };
        let aside = |_| Aside {
            // SAFETY: `statx` is a C structure of integers, for which zero is a value.
            statx: unsafe { std::mem::zeroed() },
            timeout: Timespec::new(),
        };
        Self {
            slots: (0..count).map(slot).collect(),
            aside: (0..count).map(aside).collect(),
            free: (0..count).rev().collect(),
        }
    }

    /// Takes an operation, or gives it back when every slot is in use. `timed`:
    /// the kernel can end it at its time.
    pub(super) fn insert(
        &mut self,
        tag: u64,
        op: Op,
        now: Instant,
        timed: bool,
    ) -> Result<u32, Op> {
        let Some(index) = self.free.pop() else {
            return Err(op);
        };
        let slot = &mut self.slots[index as usize];
        let timeout = op.terms.timeout.filter(|_| timed);
        slot.until = timeout.and_then(|timeout| now.checked_add(timeout));
        slot.op = Some(op);
        slot.head = index;
        slot.next = NONE;
        slot.tag = tag;
        slot.progress = Progress::default();
        slot.submitted = false;
        slot.cancelled = false;
        slot.begun = now;
        Ok(index)
    }

    /// Makes `next` follow `last`, the last of its chain.
    pub(super) fn link(&mut self, last: u32, next: u32) {
        self.slots[last as usize].next = next;
        self.slots[next as usize].head = self.slots[last as usize].head;
    }

    /// The slot of a `user_data`; None if its operation has already ended.
    pub(super) fn find(&self, user_data: u64) -> Option<u32> {
        let index = user_data as u32;
        let slot = self.slots.get(index as usize)?;
        let current = slot.op.is_some() && slot.generation == (user_data >> 32) as u32;
        current.then_some(index)
    }

    /// Ends an operation: the kernel has given its memory back.
    pub(super) fn remove(&mut self, index: u32) -> Op {
        let slot = &mut self.slots[index as usize];
        let op = slot.op.take().expect("found before");
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        op
    }

    /// A slot in use.
    pub(super) fn slot(&mut self, index: u32) -> &mut Slot {
        &mut self.slots[index as usize]
    }

    /// The first of a slot's chain.
    pub(super) fn head(&self, index: u32) -> u32 {
        self.slots[index as usize].head
    }

    /// The next of a slot's chain.
    pub(super) fn next(&self, index: u32) -> Option<u32> {
        let next = self.slots[index as usize].next;
        (next != NONE).then_some(next)
    }

    /// What is left of a chain is one that begins here.
    pub(super) fn behead(&mut self, index: u32) {
        let mut at = Some(index);
        while let Some(member) = at {
            self.slots[member as usize].head = index;
            at = self.next(member);
        }
    }

    /// The bytes of an operation that is linked to none and whose first submission
    /// moved them all.
    pub(super) fn done_at_once(&self, index: u32) -> Option<usize> {
        let slot = &self.slots[index as usize];
        let op = slot.op.as_ref()?;
        let moved = usize::try_from(slot.result).ok()?;
        let all = slot.next == NONE && slot.head == index && op.verb.moves_bytes();
        (all && slot.progress.done == 0 && moved == op.buffer.len()).then_some(moved)
    }

    /// A slot in use and what the kernel reads and writes beside it.
    pub(super) fn parts(&mut self, index: u32) -> (&Slot, &mut Aside) {
        (&self.slots[index as usize], &mut self.aside[index as usize])
    }

    /// What statx(2) wrote for a slot.
    pub(super) fn attributes(&self, index: u32) -> Attributes {
        Attributes::from(&self.aside[index as usize].statx)
    }

    pub(super) fn user_data(&self, index: u32) -> u64 {
        u64::from(self.slots[index as usize].generation) << 32 | u64::from(index)
    }

    /// Marks operations as cancelled; gives each one's `user_data`.
    pub(super) fn cancel(&mut self, which: Which, mut each: impl FnMut(u64)) -> usize {
        let mut count = 0;
        for index in 0..self.slots.len() as u32 {
            let slot = &mut self.slots[index as usize];
            if slot.op.is_some() && !slot.cancelled && which.is(slot.tag) {
                slot.cancelled = true;
                count += 1;
                each(self.user_data(index));
            }
        }
        count
    }

    /// The `user_data` of each that the kernel may have.
    pub(super) fn submitted(&self) -> Vec<u64> {
        let slots = self.slots.iter().zip(0..);
        let submitted = slots.filter(|(slot, _)| slot.op.is_some() && slot.submitted);
        submitted.map(|(_, index)| self.user_data(index)).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn space(&self) -> usize {
        self.free.len()
    }
}

impl Slot {
    /// The operation of a slot in use.
    pub(super) fn op(&self) -> &Op {
        self.op.as_ref().expect("only slots in use are submitted")
    }

    /// See [`Progress::moved`].
    pub(super) fn moved(&mut self, moved: usize) -> Option<usize> {
        let op = self.op.as_ref().expect("only slots in use are submitted");
        self.progress.moved(moved, op.buffer.len(), &op.terms)
    }

    pub(super) fn verb(&self) -> Verb {
        self.op().verb
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buf::Buffer;
    use crate::io::Terms;
    use std::sync::Arc;

    fn op() -> Op {
        Op {
            verb: Verb::Stat,
            file: Arc::new(std::fs::File::open("/dev/null").unwrap().into()),
            buffer: Buffer::None,
            offset: 0,
            terms: Terms::default(),
        }
    }

    fn insert(inflight: &mut Inflight, tag: u64) -> u32 {
        inflight.insert(tag, op(), Instant::now(), true).unwrap()
    }

    #[test]
    fn a_slot_that_was_given_away_again_does_not_answer_to_its_old_name() {
        let mut inflight = Inflight::new(1);
        let index = insert(&mut inflight, 1);
        let old = inflight.user_data(index);
        assert!(inflight.find(old).is_some());
        inflight.remove(index);
        assert!(inflight.find(old).is_none(), "ended");
        insert(&mut inflight, 2);
        assert!(inflight.find(old).is_none(), "another operation");
    }

    #[test]
    fn a_full_slab_gives_the_operation_back() {
        let mut inflight = Inflight::new(1);
        insert(&mut inflight, 1);
        assert_eq!(inflight.space(), 0);
        assert!(inflight.insert(2, op(), Instant::now(), true).is_err());
    }

    #[test]
    fn an_index_beyond_the_slab_is_not_found() {
        assert!(Inflight::new(1).find(7).is_none());
    }

    #[test]
    fn the_rest_of_a_chain_is_a_chain() {
        let mut inflight = Inflight::new(3);
        let slots = [1, 2, 3].map(|tag| insert(&mut inflight, tag));
        inflight.link(slots[0], slots[1]);
        inflight.link(slots[1], slots[2]);
        assert_eq!(inflight.head(slots[2]), slots[0]);
        inflight.behead(slots[1]);
        assert_eq!(inflight.head(slots[2]), slots[1]);
        assert_eq!(inflight.head(slots[0]), slots[0]);
    }

    #[test]
    fn an_operation_is_asked_to_end_once() {
        let mut inflight = Inflight::new(2);
        insert(&mut inflight, 1);
        insert(&mut inflight, 2);
        assert_eq!(inflight.cancel(Which::Tag(1), |_| ()), 1);
        assert_eq!(inflight.cancel(Which::All, |_| ()), 1);
    }
}
