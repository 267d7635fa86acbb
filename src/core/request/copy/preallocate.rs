//! Blocks for a run before it is written.
//!
//! Only where the object is written past the page cache: what goes through it is
//! allocated when it is written back, in one piece, and unwritten blocks made it
//! slower (docs/copying.md).

use super::way::Way;
use super::{Failure, Shard, State};
use crate::buf::Buffer;
use crate::error::Errno;
use crate::exec::OpTarget;
use crate::io::{Op, Output, Verb};
use crate::store::Blocks;
use std::sync::Arc;
use std::time::Instant;

impl Shard {
    /// Has a run given its blocks, and then copied by the engine.
    pub(super) fn preallocate(&mut self, slot: usize) {
        let copy = &mut self.copying.copies[slot];
        let (offset, length) = copy.extent();
        let Some(kind) = copy.object().store().preallocation.best() else {
            return self.by_engine(slot, Way::Ring);
        };
        let op = Op {
            verb: match kind {
                Blocks::Zeroed => Verb::AllocateZeroed,
                Blocks::Unwritten => Verb::Allocate,
            },
            file: Arc::clone(copy.object().data()),
            buffer: Buffer::Span(length),
            offset,
            terms: copy.terms(),
        };
        copy.state = State::Working;
        copy.deadline = Some(Instant::now() + self.config.origin_timeout);
        copy.allocating = Some(kind);
        self.push(OpTarget::Blocks(slot), op);
    }

    /// A run has its blocks, or not.
    pub(crate) fn preallocated(&mut self, slot: usize, result: Result<Output, Errno>) {
        let copy = &mut self.copying.copies[slot];
        let kind = copy.allocating.take().expect("it was asked for");
        if copy.state == State::Overdue {
            return self.drop_copy(slot);
        }
        let (_, length) = copy.extent();
        match result {
            Ok(_) if kind == Blocks::Zeroed => self.counters.bytes_preallocated_zeroed.add(length),
            Ok(_) => self.counters.bytes_preallocated.add(length),
            Err(errno) if copy.object().store().preallocation.refused(kind, errno) => {
                return self.preallocate(slot);
            }
            Err(errno) => return self.copy_ended(slot, Err(Failure::Cache(errno))),
        }
        self.by_engine(slot, Way::Ring);
    }
}
