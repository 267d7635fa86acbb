//! For benchmarks: operations that come and go without a kernel.

use super::inflight::Inflight;
use crate::buf::Buffer;
use crate::io::{Op, Terms, Verb};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

/// The slab of a ring.
pub struct Turns {
    slab: Inflight,
    file: Arc<OwnedFd>,
    now: Instant,
}

impl Turns {
    /// For so many operations, of which all but one are in flight.
    pub fn new(depth: u32, file: OwnedFd) -> Self {
        let mut turns = Self {
            slab: Inflight::new(depth),
            file: Arc::new(file),
            now: Instant::now(),
        };
        for _ in 1..depth {
            turns.insert();
        }
        turns
    }

    /// One operation comes, is found by its number, and goes.
    pub fn turn(&mut self) {
        let slot = self.insert();
        let found = self.slab.find(self.slab.user_data(slot));
        self.slab.remove(found.expect("it is in flight"));
    }

    fn insert(&mut self) -> u32 {
        let op = Op {
            verb: Verb::Read,
            file: Arc::clone(&self.file),
            buffer: Buffer::None,
            offset: 0,
            terms: Terms::default(),
        };
        let slot = self.slab.insert(0, op, self.now, true);
        slot.expect("there is a place for one more")
    }
}
