//! The version of what was copied, and what is told to whom.

use super::way::Way;
use super::{Copy, Failure, Shard, State};
use crate::buf::Buffer;
use crate::completion::{MissReason, Operation};
use crate::error::{Errno, Error, describe};
use crate::exec::OpTarget;
use crate::file::Version;
use crate::io::{Op, Output, Terms, Verb};
use crate::request::Again;
use crate::request::fill::Waiter;
use crate::stats::Counters;
use crate::store::Object;
use crate::token::VersionToken;
use std::sync::Arc;

/// The copies of one version that wait for its version together.
pub(super) struct Batch {
    /// Keeps its address from naming another one.
    _version: Arc<Version>,
    /// Copies that are not copied yet.
    pub(super) active: u32,
    /// Those that are, and whose version has not been asked for.
    copied: Vec<usize>,
    /// Those that an answer under way is for.
    asked: Option<Vec<usize>>,
}

fn address(version: &Arc<Version>) -> usize {
    Arc::as_ptr(version).addr()
}

impl super::Copying {
    /// The first and the last chunk that an answer under way is for.
    pub(crate) fn ends_of(&self, check: usize) -> [Option<(&Arc<Object>, u64)>; 2] {
        let version = &self.checks[check];
        let batch = self.batches.get(&address(version));
        let asked = batch.and_then(|batch| batch.asked.as_deref());
        let copies = || asked.into_iter().flatten().map(|slot| &self.copies[*slot]);
        let of = |chunk| version.object.as_ref().zip(chunk);
        let first = copies().map(|copy| copy.chunks.start).min();
        let last = copies().map(|copy| copy.chunks.end - 1).max();
        [of(first), of(last)]
    }
}

impl Shard {
    pub(super) fn batch_of(&mut self, version: &Arc<Version>) -> &mut Batch {
        let batches = &mut self.copying.batches;
        batches.entry(address(version)).or_insert_with(|| Batch {
            _version: Arc::clone(version),
            active: 0,
            copied: Vec::new(),
            asked: None,
        })
    }

    /// A copy leaves its batch; `state` is what it was in.
    pub(super) fn leave_batch(&mut self, slot: usize, version: &Arc<Version>, state: State) {
        match state {
            State::Waiting | State::Working => self.batch_of(version).active -= 1,
            State::Copied => self.batch_of(version).copied.retain(|one| *one != slot),
            // Overdue: it has left already.
            State::Checking | State::Overdue => {}
        }
        self.check_copies(version);
    }

    /// What was under way for a copy has ended.
    pub(super) fn copy_ended(&mut self, slot: usize, result: Result<(), Failure>) {
        let copy = &mut self.copying.copies[slot];
        if copy.state == State::Overdue {
            return self.drop_copy(slot);
        }
        match result {
            Ok(()) => self.await_check(slot, None),
            // A file that has changed may fail in any way: its version tells.
            Err(Failure::Origin(errno)) => self.await_check(slot, Some(errno)),
            Err(Failure::Cache(errno)) => self.not_stored(slot, errno),
            Err(Failure::NoRoom(errno)) => self.not_admitted(slot, errno),
            Err(Failure::Refused | Failure::Unclear) => {
                self.copy_otherwise(slot, result.expect_err("matched"));
            }
            Err(Failure::Stopped) if copy.waiters.is_empty() => self.drop_copy(slot),
            // Somebody has come who wants it after all.
            Err(Failure::Stopped) => self.start_copy(slot, false),
        }
    }

    fn await_check(&mut self, slot: usize, unless_changed: Option<Errno>) {
        let timeout = self.config.origin_timeout;
        let copy = &mut self.copying.copies[slot];
        copy.state = State::Copied;
        copy.unless_changed = unless_changed;
        copy.deadline = copy.deadline.map(|deadline| deadline + timeout);
        let version = Arc::clone(&copy.version);
        let batch = self.batch_of(&version);
        batch.active -= 1;
        batch.copied.push(slot);
        self.check_copies(&version);
    }

    /// Asks for the version of what is copied of a file, once enough is, or
    /// nothing more is to come, or somebody reads.
    pub(super) fn check_copies(&mut self, version: &Arc<Version>) {
        let key = address(version);
        let enough = (self.config.fill_depth as usize / 2).max(1);
        let Some(batch) = self.copying.batches.get_mut(&key) else {
            return;
        };
        if batch.asked.is_some() {
            return;
        }
        let (copies, requests) = (&mut self.copying.copies, &self.requests);
        if batch.copied.is_empty() {
            if batch.active == 0 {
                self.copying.batches.remove(&key);
            }
            return;
        }
        let reads = |waiter: &Waiter| requests[waiter.request].operation == Operation::Read;
        let read = |slot: &usize| copies[*slot].waiters.iter().any(reads);
        let due = batch.copied.len() >= enough
            || batch.active == 0
            || batch
                .copied
                .iter()
                .any(|slot| read(slot) || copies[*slot].way.blocks());
        if !due {
            return;
        }
        for slot in &batch.copied {
            copies[*slot].state = State::Checking;
        }
        batch.asked = Some(std::mem::take(&mut batch.copied));
        let op = Op {
            verb: Verb::Stat,
            file: Arc::clone(super::descriptor(version).expect("it was copied")),
            buffer: Buffer::None,
            offset: 0,
            terms: Terms::default(),
        };
        let check = self.copying.checks.insert(Arc::clone(version));
        self.push(OpTarget::Check(check), op);
    }

    /// The version of a batch is known.
    pub(crate) fn checked(&mut self, check: usize, result: Result<Output, Errno>) {
        let version = self.copying.checks.remove(check);
        let token = result.map(|output| match output {
            Output::Attributes(attributes) => VersionToken::from(attributes),
            Output::Bytes(_) => unreachable!("a stat moves no bytes"),
        });
        let asked = self.batch_of(&version).asked.take().unwrap_or_default();
        for slot in asked {
            self.copy_checked(slot, token);
        }
        self.check_copies(&version);
    }

    fn copy_checked(&mut self, slot: usize, token: Result<VersionToken, Errno>) {
        let copy = &mut self.copying.copies[slot];
        if copy.state == State::Overdue {
            return self.drop_copy(slot);
        }
        let waiters = std::mem::take(&mut copy.waiters);
        copy.file.origin.told(&token);
        match token {
            Err(errno) => {
                self.drop_copy(slot);
                self.not_given(waiters, errno);
            }
            Ok(token) if token != copy.version.token => {
                self.counters.stale_fetches.add(1);
                let seen = Arc::clone(&copy.version);
                self.drop_copy(slot);
                self.tell_waiters(waiters, |request, _| {
                    request.restart(Again::Changed(token, Arc::clone(&seen)));
                });
            }
            Ok(_) => match copy.unless_changed {
                None => self.publish_copy(slot, waiters),
                Some(errno) => {
                    copy.file.origin.told::<()>(&Err(errno));
                    tracing::error!("the origin did not give what it has: {}", describe(errno));
                    self.drop_copy(slot);
                    self.not_given(waiters, errno);
                }
            },
        }
    }

    fn publish_copy(&mut self, slot: usize, waiters: Vec<Waiter>) {
        let copy = &mut self.copying.copies[slot];
        for chunk in copy.chunks.clone() {
            // What a buffer of the engine held was one chunk.
            copy.object().publish(chunk, copy.chain.sum);
        }
        self.counters
            .chunks_stored
            .add(copy.chunks.end - copy.chunks.start);
        copy.room = 0;
        count_bytes(copy, &self.counters);
        self.drop_copy(slot);
        let (reads, fills) = self.reads_and_fills(waiters);
        self.tell_waiters(fills, |request, length| {
            request.from_origin += length;
            request.filled(length);
        });
        for waiter in reads {
            self.requests[waiter.request].outstanding -= 1;
            self.read_present_part(waiter.request, waiter.offset, waiter.length);
            self.advance(waiter.request);
        }
    }

    fn reads_and_fills(&self, waiters: Vec<Waiter>) -> (Vec<Waiter>, Vec<Waiter>) {
        let reads = |waiter: &Waiter| self.requests[waiter.request].operation == Operation::Read;
        waiters.into_iter().partition(reads)
    }

    /// The cache could not take it: fills fail, and reads go to the origin.
    fn not_stored(&mut self, slot: usize, errno: Errno) {
        let copy = &mut self.copying.copies[slot];
        let chunks = copy.chunks.end - copy.chunks.start;
        self.counters.store_errors.add(chunks);
        let text = format!("write to the cache: {}", describe(errno));
        copy.object()
            .store()
            .health
            .failed(&Error::new(errno, text));
        let waiters = std::mem::take(&mut copy.waiters);
        self.drop_copy(slot);
        let (reads, fills) = self.reads_and_fills(waiters);
        self.fail_waiters(fills, errno);
        self.bypass_all(reads, MissReason::CacheError);
    }

    /// There was no room for it, which is not the device's fault.
    fn not_admitted(&mut self, slot: usize, errno: Errno) {
        let waiters = std::mem::take(&mut self.copying.copies[slot].waiters);
        self.drop_copy(slot);
        let (reads, fills) = self.reads_and_fills(waiters);
        self.tell_waiters(fills, |request, _| request.refuse_fill(errno, Again::Anew));
        self.bypass_all(reads, MissReason::NoRoom);
    }

    /// It took too long, on whichever side: reads ask the origin themselves.
    pub(super) fn copy_timed_out(&mut self, waiters: Vec<Waiter>) {
        let (reads, fills) = self.reads_and_fills(waiters);
        self.fail_waiters(fills, Errno::TIMEDOUT);
        self.bypass_all(reads, MissReason::NotAdmitted);
    }

    /// Has reads that waited get their bytes from the origin.
    fn bypass_all(&mut self, reads: Vec<Waiter>, reason: MissReason) {
        for waiter in reads {
            self.requests[waiter.request].outstanding -= 1;
            self.bypass(waiter, reason);
        }
    }

    /// The origin could not give it.
    fn not_given(&mut self, waiters: Vec<Waiter>, errno: Errno) {
        self.tell_waiters(waiters, |request, _| request.origin_failed(errno));
    }

    fn fail_waiters(&mut self, waiters: Vec<Waiter>, errno: Errno) {
        self.tell_waiters(waiters, |request, _| request.fail(errno));
    }
}

fn count_bytes(copy: &Copy, counters: &Counters) {
    let (_, length) = copy.extent();
    match copy.way {
        Way::Hole => return counters.bytes_of_holes.add(length),
        Way::Reflink => counters.bytes_reflinked.add(length),
        Way::CopyFileRange => counters.bytes_copied_in_kernel.add(length),
        Way::Splice => counters.bytes_spliced.add(length),
        Way::Ring => {
            counters.bytes_copied_by_ring.add(length);
            if copy.direct.is_some() {
                counters.bytes_read_directly.add(length);
            }
        }
    }
    counters.bytes_from_origin.add(length);
}
