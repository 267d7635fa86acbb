//! Files and memory that the ring knows by number, so that the kernel need not
//! look up a descriptor or pin pages for each operation.

use super::features::Feature;
use super::setup::{Granted, Plan};
use crate::buf::{Piece, Region, Regions};
use crate::io::Op;
use crate::limits::{POOL_SLOTS_MAX, REGIONS_MAX, REGISTERED_FILES_MAX};
use crate::log::say;
use io_uring::Submitter;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Weak};

/// How an entry names its file and its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// A descriptor, or a slot if `is_slot`.
    pub(super) file: i32,
    pub(super) is_slot: bool,
    /// The slot of the memory that holds the buffer.
    pub(super) buffer: Option<u16>,
}

impl Named {
    /// Without the ring's tables.
    pub(super) fn plain(op: &Op) -> Self {
        Self {
            file: op.file.as_raw_fd(),
            is_slot: false,
            buffer: None,
        }
    }
}

/// What one ring has registered.
pub(super) struct Registered {
    /// None where the kernel has no sparse tables (before 5.19) or no room.
    files: Option<FileTable>,
    buffers: Option<BufferTable>,
}

/// Descriptors in the ring's table. A slot keeps its file open for the kernel,
/// so it is given up once nobody else holds the descriptor.
#[derive(Default)]
struct FileTable {
    /// A `Weak` keeps the address of its allocation from being used again, so
    /// that an address names one file for as long as the slot is taken.
    slots: Vec<Option<Weak<OwnedFd>>>,
    /// Where the last operation's file was found: runs on one file are the rule.
    last: usize,
    /// The file of the last operation that had no slot.
    candidate: Weak<OwnedFd>,
    hand: usize,
}

/// Memory in the ring's table.
struct BufferTable {
    regions: Arc<Regions>,
    seen: Option<u64>,
    /// Of the regions; behind them in the ring's table come the pool's buffers.
    slots: Vec<Slot>,
    /// Where the last operation's memory was found.
    last: usize,
    /// The buffers of the pool that the ring's owner uses, and their state.
    own: Option<Piece>,
    own_states: Vec<Pinned>,
    /// It was said that some cannot be pinned.
    own_refused: bool,
}

/// A slot's memory, and whether the kernel has pinned it.
#[derive(Clone, Default)]
struct Slot {
    region: Option<Arc<Region>>,
    state: Pinned,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Pinned {
    /// Nobody has used it on this ring yet.
    #[default]
    NotYet,
    Yes,
    /// The kernel refused (RLIMIT_MEMLOCK): the memory works as any other.
    Refused,
}

impl Registered {
    /// Makes empty tables, where the kernel grants them.
    pub(super) fn new(
        submitter: &Submitter<'_>,
        plan: &Plan,
        regions: Arc<Regions>,
        granted: &mut Granted,
    ) -> Self {
        let mut ask = |feature, register: &dyn Fn() -> io::Result<()>| {
            plan.allowed.has(feature) && granted.note(feature, register())
        };
        let files = ask(Feature::RegisteredFiles, &|| {
            submitter.register_files_sparse(REGISTERED_FILES_MAX as u32)
        });
        let buffers = ask(Feature::RegisteredBuffers, &|| {
            submitter.register_buffers_sparse((REGIONS_MAX + POOL_SLOTS_MAX) as u32)
        });
        Self {
            files: files.then(|| FileTable {
                slots: vec![None; REGISTERED_FILES_MAX],
                ..FileTable::default()
            }),
            buffers: buffers.then(|| BufferTable {
                regions,
                seen: None,
                slots: vec![Slot::default(); REGIONS_MAX],
                last: 0,
                own: None,
                own_states: Vec::new(),
                own_refused: false,
            }),
        }
    }

    /// Takes note of the pool whose buffers the ring's operations use.
    pub(super) fn adopt(&mut self, piece: Piece) {
        if let Some(buffers) = &mut self.buffers {
            buffers.own = Some(piece);
            buffers.own_states = vec![Pinned::NotYet; POOL_SLOTS_MAX];
        }
    }

    /// How to name the file and the buffer of an operation; registers what is
    /// used repeatedly.
    pub(super) fn name(&mut self, submitter: &Submitter<'_>, op: &Op) -> Named {
        let slot = self
            .files
            .as_mut()
            .and_then(|files| files.find(submitter, &op.file));
        let buffer = self
            .buffers
            .as_mut()
            .filter(|_| op.buffer.len() > 0)
            .and_then(|buffers| buffers.find(submitter, op.buffer.as_ptr().addr(), op.span()));
        Named {
            file: slot.map_or_else(|| op.file.as_raw_fd(), |slot| slot as RawFd),
            is_slot: slot.is_some(),
            buffer,
        }
    }

    /// Gives up the slots of files that nobody else holds: the disk space of a
    /// removed file is free only then.
    pub(super) fn sweep(&mut self, submitter: &Submitter<'_>) {
        let Some(files) = &mut self.files else { return };
        for index in 0..files.slots.len() {
            let gone = |slot: &Weak<OwnedFd>| slot.strong_count() == 0;
            if files.slots[index].as_ref().is_some_and(gone) {
                files.clear(submitter, index);
            }
        }
    }
}

impl FileTable {
    fn find(&mut self, submitter: &Submitter<'_>, file: &Arc<OwnedFd>) -> Option<usize> {
        let is_it = |slot: &Option<Weak<OwnedFd>>| {
            slot.as_ref()
                .is_some_and(|slot| slot.as_ptr() == Arc::as_ptr(file))
        };
        if is_it(&self.slots[self.last]) {
            return Some(self.last);
        }
        if let Some(index) = self.slots.iter().position(is_it) {
            self.last = index;
            return Some(index);
        }
        // A slot costs a system call, which one operation would not pay for.
        if self.candidate.as_ptr() != Arc::as_ptr(file) {
            self.candidate = Arc::downgrade(file);
            return None;
        }
        let index = self.free_slot();
        if submitter
            .register_files_update(index as u32, &[file.as_raw_fd()])
            .is_err()
        {
            return None;
        }
        self.slots[index] = Some(Arc::downgrade(file));
        self.last = index;
        Some(index)
    }

    /// An empty slot, or the next one round: replacing a file that operations
    /// in flight use is safe, each holds its own reference
    /// (io_uring_register(2), IORING_REGISTER_FILES_UPDATE).
    fn free_slot(&mut self) -> usize {
        let empty = self.slots.iter().position(Option::is_none);
        empty.unwrap_or_else(|| {
            self.hand = (self.hand + 1) % self.slots.len();
            self.hand
        })
    }

    fn clear(&mut self, submitter: &Submitter<'_>, index: usize) {
        match submitter.register_files_update(index as u32, &[-1]) {
            Ok(_) => self.slots[index] = None,
            Err(error) => {
                say(|| tracing::warn!("a removed file stays in the ring's table: {error}"))
            }
        }
    }
}

impl BufferTable {
    fn find(&mut self, submitter: &Submitter<'_>, start: usize, length: usize) -> Option<u16> {
        let changes = self.regions.changes();
        if self.seen != Some(changes) {
            self.follow(submitter);
            self.seen = Some(changes);
        }
        let holds = |slot: &Slot| {
            slot.region
                .as_ref()
                .is_some_and(|region| region.holds(start, length))
        };
        if !holds(&self.slots[self.last]) {
            let Some(index) = self.slots.iter().position(holds) else {
                return self.find_own(submitter, start, length);
            };
            self.last = index;
        }
        let index = self.last;
        if self.slots[index].state == Pinned::NotYet {
            self.pin(submitter, index);
        }
        (self.slots[index].state == Pinned::Yes).then_some(index as u16)
    }

    /// The same for a buffer of the pool: each is pinned on its first use, so
    /// that as many are as RLIMIT_MEMLOCK allows.
    fn find_own(&mut self, submitter: &Submitter<'_>, start: usize, length: usize) -> Option<u16> {
        let (index, begin, bytes) = self.own.as_ref()?.find(start, length)?;
        let state = self.own_states.get_mut(index)?;
        let slot = REGIONS_MAX + index;
        if *state == Pinned::NotYet {
            *state = match update(submitter, slot, memory(begin, bytes)) {
                Ok(()) => Pinned::Yes,
                Err(error) => {
                    if !std::mem::replace(&mut self.own_refused, true) {
                        say(|| {
                            tracing::info!(
                                "buffers of the pool are used as ordinary memory: {error}; \
                             RLIMIT_MEMLOCK (ulimit -l) may be too low"
                            )
                        });
                    }
                    Pinned::Refused
                }
            };
        }
        (*state == Pinned::Yes).then_some(slot as u16)
    }

    /// Takes over what was registered and forgets what was unregistered.
    fn follow(&mut self, submitter: &Submitter<'_>) {
        let current = self.regions.snapshot();
        for index in 0..self.slots.len() {
            let slot = &self.slots[index];
            // The same address may be other memory by now, so identity counts.
            let stays = slot
                .region
                .as_ref()
                .is_some_and(|region| current.iter().any(|one| Arc::ptr_eq(one, region)));
            if stays || slot.region.is_none() {
                continue;
            }
            if slot.state == Pinned::Yes
                && let Err(error) = update(submitter, index, memory(0, 0))
            {
                say(|| tracing::warn!("unregistered memory stays pinned: {error}"));
            }
            self.slots[index] = Slot::default();
        }
        for region in current {
            let known = |slot: &Slot| {
                slot.region
                    .as_ref()
                    .is_some_and(|one| Arc::ptr_eq(one, &region))
            };
            if self.slots.iter().any(known) {
                continue;
            }
            let empty = self.slots.iter_mut().find(|slot| slot.region.is_none());
            let empty = empty.expect("a table has a slot for each region");
            empty.region = Some(region);
        }
    }

    fn pin(&mut self, submitter: &Submitter<'_>, index: usize) {
        let slot = &mut self.slots[index];
        let region = slot.region.as_ref().expect("found by its region");
        let memory = memory(region.start(), region.length());
        slot.state = match update(submitter, index, memory) {
            Ok(()) => Pinned::Yes,
            Err(error) => {
                let length = region.length();
                say(|| {
                    tracing::warn!(
                        "{length} bytes of registered memory are used as ordinary memory: {error}; \
                     RLIMIT_MEMLOCK (ulimit -l) may be too low"
                    )
                });
                Pinned::Refused
            }
        };
    }
}

fn memory(start: usize, length: usize) -> libc::iovec {
    libc::iovec {
        iov_base: std::ptr::without_provenance_mut(start),
        iov_len: length,
    }
}

fn update(submitter: &Submitter<'_>, index: usize, memory: libc::iovec) -> io::Result<()> {
    // SAFETY: the program promised that registered memory stays mapped until it
    // is unregistered, and the pool's is held on to by the table; the kernel pins
    // its pages, so even a broken promise makes it write to pages that nobody else has.
    unsafe { submitter.register_buffers_update(index as u32, &[memory], None) }
}
