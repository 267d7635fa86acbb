//! The slab of operations that the kernel has: it owns their files and buffers.
//!
//! The slots never move, and none is allocated per operation. `user_data` is
//! the slot's index and generation, so that a completion of a slot that was
//! given away since is noticed.

use crate::io::{Op, Verb};
use crate::limits::TRANSFER_BYTES_MAX;
use crate::sys::{Attributes, STATX_MASK};
use io_uring::{opcode, squeue, types};
use std::os::fd::AsRawFd;

pub(super) struct Inflight {
    slots: Box<[Slot]>,
    free: Vec<u32>,
}

pub(super) struct Slot {
    generation: u32,
    /// Some while the kernel may touch what it holds.
    op: Option<Op>,
    pub(super) tag: u64,
    /// Bytes that earlier submissions of this operation moved.
    pub(super) done: usize,
    /// Submissions in a row that were interrupted.
    pub(super) interrupts: u32,
    /// Where statx(2) writes.
    statx: libc::statx,
}

impl Inflight {
    pub(super) fn new(count: u32) -> Self {
        let slot = |_| Slot {
            generation: 0,
            op: None,
            tag: 0,
            done: 0,
            interrupts: 0,
            // SAFETY: `statx` is a C structure of integers, for which zero is a value.
            statx: unsafe { std::mem::zeroed() },
        };
        Self {
            slots: (0..count).map(slot).collect(),
            free: (0..count).rev().collect(),
        }
    }

    /// Takes an operation, or gives it back when every slot is in use.
    pub(super) fn insert(&mut self, tag: u64, op: Op) -> Result<u32, Op> {
        let Some(index) = self.free.pop() else {
            return Err(op);
        };
        let slot = &mut self.slots[index as usize];
        slot.op = Some(op);
        slot.tag = tag;
        slot.done = 0;
        slot.interrupts = 0;
        Ok(index)
    }

    /// The slot of a `user_data`; None if its operation has already ended.
    pub(super) fn find(&mut self, user_data: u64) -> Option<(u32, &mut Slot)> {
        let index = user_data as u32;
        let slot = self.slots.get_mut(index as usize)?;
        let current = slot.op.is_some() && slot.generation == (user_data >> 32) as u32;
        current.then_some((index, slot))
    }

    /// Ends an operation: the kernel has given its memory back.
    pub(super) fn remove(&mut self, index: u32) -> Op {
        let slot = &mut self.slots[index as usize];
        let op = slot.op.take().expect("found before");
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        op
    }

    /// What the kernel is to do next for this slot.
    pub(super) fn entry(&mut self, index: u32) -> squeue::Entry {
        let user_data = self.user_data(index);
        let slot = &mut self.slots[index as usize];
        let op = slot.op.as_ref().expect("only slots in use are submitted");
        let file = types::Fd(op.file.as_raw_fd());
        let length = (op.buffer.len() - slot.done).min(TRANSFER_BYTES_MAX) as u32;
        // SAFETY: `done` is at most the length, so the address stays in the buffer.
        let start = unsafe { op.buffer.as_ptr().add(slot.done) };
        let offset = op.offset + slot.done as u64;
        let entry = match op.verb {
            Verb::Read => opcode::Read::new(file, start, length)
                .offset(offset)
                .build(),
            Verb::Write => opcode::Write::new(file, start, length)
                .offset(offset)
                .build(),
            Verb::Stat => {
                let target = (&raw mut slot.statx).cast();
                opcode::Statx::new(file, c"".as_ptr(), target)
                    .flags(libc::AT_EMPTY_PATH)
                    .mask(STATX_MASK)
                    .build()
            }
        };
        entry.user_data(user_data)
    }

    fn user_data(&self, index: u32) -> u64 {
        u64::from(self.slots[index as usize].generation) << 32 | u64::from(index)
    }

    /// The `user_data` of every operation with this tag.
    pub(super) fn tagged(&self, tag: u64) -> impl Iterator<Item = u64> {
        (0..self.slots.len() as u32)
            .filter(move |index| {
                let slot = &self.slots[*index as usize];
                slot.op.is_some() && slot.tag == tag
            })
            .map(|index| self.user_data(index))
    }

    /// The `user_data` of every operation.
    pub(super) fn all(&self) -> impl Iterator<Item = u64> {
        (0..self.slots.len() as u32)
            .filter(|index| self.slots[*index as usize].op.is_some())
            .map(|index| self.user_data(index))
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn space(&self) -> usize {
        self.free.len()
    }
}

impl Slot {
    pub(super) fn verb(&self) -> Verb {
        self.op.as_ref().expect("the slot is in use").verb
    }

    /// Bytes that the whole operation is to move.
    pub(super) fn length(&self) -> usize {
        self.op.as_ref().map_or(0, |op| op.buffer.len())
    }

    /// What statx(2) wrote.
    pub(super) fn attributes(&self) -> Attributes {
        Attributes::from(&self.statx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buf::Buffer;
    use std::sync::Arc;

    fn op() -> Op {
        Op {
            verb: Verb::Stat,
            file: Arc::new(std::fs::File::open("/dev/null").unwrap().into()),
            buffer: Buffer::None,
            offset: 0,
        }
    }

    #[test]
    fn a_slot_that_was_given_away_again_does_not_answer_to_its_old_name() {
        let mut inflight = Inflight::new(1);
        let index = inflight.insert(1, op()).unwrap();
        let old = inflight.user_data(index);
        assert!(inflight.find(old).is_some());
        inflight.remove(index);
        assert!(inflight.find(old).is_none(), "ended");
        inflight.insert(2, op()).unwrap();
        assert!(inflight.find(old).is_none(), "another operation");
    }

    #[test]
    fn a_full_slab_gives_the_operation_back() {
        let mut inflight = Inflight::new(1);
        inflight.insert(1, op()).unwrap();
        assert_eq!(inflight.space(), 0);
        assert!(inflight.insert(2, op()).is_err());
    }

    #[test]
    fn an_index_beyond_the_slab_is_not_found() {
        assert!(Inflight::new(1).find(7).is_none());
    }
}
