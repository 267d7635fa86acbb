//! Handles of leases. They are made and released millions of times a second, so that
//! the table of the others would cost more than the lease: here a look takes no atomic
//! write, and making and releasing one take one together, as long as a thread has one
//! lease at a time. None of it allocates, but to hold more at once than ever before.
//!
//! A slot has a generation, odd while its lease is open, which is a part of the handle.
//! What `cachefs_lease_data` tells is kept beside the lease and read as under a seqlock:
//! a look that meets a release finds another generation afterwards.

use super::handle::{closed, decode, encode, is_null};
use cachefs_core::{Errno, Error, Lease, Result};
use once_cell::sync::OnceCell;
use std::cell::{Cell, UnsafeCell};
use std::mem::MaybeUninit;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

const KIND: usize = 6;
const NAME: &str = "lease";
/// Bits of a handle that number its slot: more than there are leases of a page.
const INDEX_BITS: u32 = 28;
/// Slots of the first segment; each further one has twice those of the one before.
const FIRST: usize = 64;
const SEGMENTS: usize = (INDEX_BITS - FIRST.trailing_zeros()) as usize;
/// Lists of free slots: threads on different ones do not meet.
const LISTS: usize = 16;
/// A slot whose generation is so large is not used again.
const LAST_GENERATION: u32 = u32::MAX - 2;

struct Slot {
    generation: AtomicU32,
    /// The next free slot, plus 1; 0: none.
    next: AtomicU32,
    start: AtomicPtr<u8>,
    length: AtomicUsize,
    lease: UnsafeCell<MaybeUninit<Lease>>,
}

// SAFETY: the lease is accessed only by whoever took the slot off a list, until the
// generation is published, and by the one that ends that generation.
unsafe impl Sync for Slot {}

/// A list of free slots: in the lower half the first one plus 1, in the upper half a
/// number that changes with each change, so that no stale view of it can succeed.
#[repr(align(64))]
struct List(AtomicU64);

struct Table {
    segments: [OnceCell<Box<[Slot]>>; SEGMENTS],
    lists: [List; LISTS],
    /// Slots that have ever been used.
    used: AtomicUsize,
}

static TABLE: Table = Table {
    segments: [const { OnceCell::new() }; SEGMENTS],
    lists: [const { List(AtomicU64::new(0)) }; LISTS],
    used: AtomicUsize::new(0),
};

/// Makes a handle. ENOMEM: there are too many.
pub(super) fn expose<C>(lease: Lease) -> Result<*mut C> {
    TABLE.expose(lease).map(|handle| handle as *mut C)
}

/// Where the bytes of an open lease are, and how many. EINVAL for NULL, EBADF if it is
/// not open.
pub(super) fn look<C>(handle: *mut C) -> Result<(*const u8, usize)> {
    let (index, generation) = split(handle)?;
    TABLE.look(index, generation).ok_or_else(|| closed(NAME))
}

/// Ends a handle and gives its lease; errors as of `look`.
pub(super) fn retire<C>(handle: *mut C) -> Result<Lease> {
    let (index, generation) = split(handle)?;
    TABLE.retire(index, generation).ok_or_else(|| closed(NAME))
}

fn split<C>(handle: *mut C) -> Result<(usize, u32)> {
    if handle.is_null() {
        return Err(is_null(NAME));
    }
    let number = decode(KIND, handle.addr()).ok_or_else(|| closed(NAME))?;
    let generation = u32::try_from(number >> INDEX_BITS).map_err(|_| closed(NAME))?;
    Ok((number & ((1 << INDEX_BITS) - 1), generation))
}

/// The segment of a slot, and its place there.
fn place(index: usize) -> (usize, usize) {
    let segment = (index / FIRST + 1).ilog2() as usize;
    (segment, index - (((1 << segment) - 1) * FIRST))
}

/// The list of the calling thread.
fn own_list() -> usize {
    thread_local! {
        // Without a destructor, so that it is there until the thread is gone.
        static LIST: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    let own = LIST.get();
    if own != usize::MAX {
        return own;
    }
    let own = THREADS.fetch_add(1, Ordering::Relaxed) % LISTS;
    LIST.set(own);
    own
}

impl Table {
    /// None: there has never been such a slot.
    fn slot(&self, index: usize) -> Option<&Slot> {
        let (segment, within) = place(index);
        self.segments.get(segment)?.get()?.get(within)
    }

    fn expose(&self, lease: Lease) -> Result<usize> {
        let spare = Spare::take().and_then(|index| Some((index, self.slot(index)?)));
        let (index, slot) = match spare.or_else(|| self.pop_any()) {
            Some(free) => free,
            None => self.grow()?,
        };
        // What follows comes after the end of the generation before.
        fence(Ordering::Release);
        let bytes = lease.bytes();
        slot.start
            .store(bytes.as_ptr().cast_mut(), Ordering::Relaxed);
        slot.length.store(bytes.len(), Ordering::Relaxed);
        // SAFETY: the slot was taken off its list, or is new: nobody else has it.
        unsafe { (*slot.lease.get()).write(lease) };
        let generation = slot.generation.load(Ordering::Relaxed) + 1;
        slot.generation.store(generation, Ordering::Release);
        Ok(encode(KIND, (generation as usize) << INDEX_BITS | index))
    }

    fn look(&self, index: usize, generation: u32) -> Option<(*const u8, usize)> {
        let slot = self.slot(index)?;
        if slot.generation.load(Ordering::Acquire) != generation || generation.is_multiple_of(2) {
            return None;
        }
        let start = slot.start.load(Ordering::Relaxed);
        let length = slot.length.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        let same = slot.generation.load(Ordering::Relaxed) == generation;
        same.then_some((start.cast_const(), length))
    }

    fn retire(&self, index: usize, generation: u32) -> Option<Lease> {
        let slot = self.slot(index)?;
        if generation.is_multiple_of(2) {
            return None;
        }
        let (success, failure) = (Ordering::AcqRel, Ordering::Relaxed);
        // Of two that release it at once, one finds another generation.
        slot.generation
            .compare_exchange(generation, generation.wrapping_add(1), success, failure)
            .ok()?;
        // SAFETY: the generation was open, so there is a lease; whoever ends it, once,
        // has it.
        let lease = unsafe { (*slot.lease.get()).assume_init_read() };
        if generation < LAST_GENERATION && !Spare::give(index) {
            self.push(own_list(), index, slot);
        }
        Some(lease)
    }

    fn pop_any(&self) -> Option<(usize, &Slot)> {
        let own = own_list();
        (own..LISTS).chain(0..own).find_map(|list| self.pop(list))
    }

    fn pop(&self, list: usize) -> Option<(usize, &Slot)> {
        let head = &self.lists[list].0;
        let mut before = head.load(Ordering::Acquire);
        loop {
            let index = (before as u32).checked_sub(1)? as usize;
            let slot = self.slot(index).expect("it was on a list");
            let next = slot.next.load(Ordering::Relaxed);
            let (success, failure) = (Ordering::Acquire, Ordering::Acquire);
            match head.compare_exchange_weak(before, follow(before, next), success, failure) {
                Ok(_) => return Some((index, slot)),
                Err(now) => before = now,
            }
        }
    }

    fn push(&self, list: usize, index: usize, slot: &Slot) {
        let head = &self.lists[list].0;
        let mut before = head.load(Ordering::Relaxed);
        loop {
            slot.next.store(before as u32, Ordering::Relaxed);
            let after = follow(before, index as u32 + 1);
            let (success, failure) = (Ordering::Release, Ordering::Relaxed);
            match head.compare_exchange_weak(before, after, success, failure) {
                Ok(_) => return,
                Err(now) => before = now,
            }
        }
    }

    /// A slot that nobody has had.
    fn grow(&self) -> Result<(usize, &Slot)> {
        let index = self.used.fetch_add(1, Ordering::Relaxed);
        let (segment, within) = place(index);
        let Some(segment) = self.segments.get(segment) else {
            self.used.fetch_sub(1, Ordering::Relaxed);
            return Err(Error::new(Errno::NOMEM, "too many leases"));
        };
        let slots = segment.get_or_init(|| (0..FIRST << place(index).0).map(|_| new()).collect());
        Ok((index, &slots[within]))
    }
}

fn new() -> Slot {
    Slot {
        generation: AtomicU32::new(0),
        next: AtomicU32::new(0),
        start: AtomicPtr::new(null_mut()),
        length: AtomicUsize::new(0),
        lease: UnsafeCell::new(MaybeUninit::uninit()),
    }
}

/// A free slot of the calling thread, plus 1; 0: none. It goes to the lists with the
/// thread.
struct Spare(Cell<u32>);

thread_local! {
    static SPARE: Spare = const { Spare(Cell::new(0)) };
}

impl Spare {
    fn take() -> Option<usize> {
        // A thread that is ending has none.
        let taken = SPARE.try_with(|spare| spare.0.take()).ok()?;
        Some(taken.checked_sub(1)? as usize)
    }

    /// False: there is one already.
    fn give(index: usize) -> bool {
        let give = |spare: &Spare| {
            let is_free = spare.0.get() == 0;
            if is_free {
                spare.0.set(index as u32 + 1);
            }
            is_free
        };
        SPARE.try_with(give).unwrap_or(false)
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        if let Some(index) = self.0.take().checked_sub(1) {
            let index = index as usize;
            let slot = TABLE.slot(index).expect("it was used");
            TABLE.push(own_list(), index, slot);
        }
    }
}

/// What follows `before` as the head of a list that begins with `first`.
fn follow(before: u64, first: u32) -> u64 {
    ((before >> 32) + 1) << 32 | u64::from(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cachefs_core::{Cache, Config, File, Origin, OriginOptions};
    use std::collections::HashSet;
    use std::ffi::c_void;

    /// A file of which leases can be had.
    struct Scene {
        file: File,
        _origin: Origin,
        _cache: Cache,
        _directory: tempfile::TempDir,
    }

    impl Scene {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let root = directory.path().join("origin");
            std::fs::create_dir(&root).unwrap();
            std::fs::write(root.join("file"), vec![7; 8192]).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(30));
            let cache = Cache::open(&directory.path().join("cache"), &Config::default()).unwrap();
            let origin = cache
                .open_directory(&root, &OriginOptions::default())
                .unwrap();
            Self {
                file: origin.open(b"file").unwrap(),
                _origin: origin,
                _cache: cache,
                _directory: directory,
            }
        }

        fn expose(&self, length: u64) -> *mut c_void {
            expose(self.file.lease(0, length).unwrap()).unwrap()
        }
    }

    #[test]
    fn slots_are_numbered_without_gaps() {
        let mut expected = 0;
        for segment in 0..4 {
            for within in 0..FIRST << segment {
                assert_eq!(place(expected), (segment, within));
                expected += 1;
            }
        }
        assert_eq!(place((1 << INDEX_BITS) - FIRST - 1).0, SEGMENTS - 1);
    }

    #[test]
    fn a_handle_is_known_until_it_is_released_and_never_again() {
        let scene = Scene::new();
        let mut gone = HashSet::new();
        for round in 0..1000 {
            let length = 1 + round % 9;
            let lease = scene.expose(length);
            assert!(!gone.contains(&lease), "a handle comes back");
            let (start, bytes) = look(lease).unwrap();
            assert_eq!(bytes as u64, length);
            // SAFETY: the lease is open, and has so many bytes there.
            assert_eq!(unsafe { start.read() }, 7);
            drop(retire(lease).unwrap());
            assert_eq!(look(lease).unwrap_err().errno(), Errno::BADF);
            assert_eq!(retire(lease).err().unwrap().errno(), Errno::BADF);
            gone.insert(lease);
        }
        for handle in gone {
            assert!(look(handle).is_err());
        }
    }

    #[test]
    fn numbers_are_no_leases() {
        assert_eq!(
            look::<c_void>(null_mut()).unwrap_err().errno(),
            Errno::INVAL
        );
        for number in [
            1,
            7,
            usize::MAX,
            KIND << 61,
            KIND << 61 | 3,
            KIND << 61 | 1 << 28,
        ] {
            let handle = number as *mut c_void;
            assert_eq!(look(handle).unwrap_err().errno(), Errno::BADF, "{number:x}");
            assert!(retire(handle).is_err(), "{number:x}");
        }
    }

    #[test]
    fn threads_that_make_pass_on_and_release_leases_never_share_one() {
        let scene = Scene::new();
        let passed = std::sync::Mutex::new(Vec::<usize>::new());
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (scene, passed) = (&scene, &passed);
                scope.spawn(move || {
                    for round in 0..3000u64 {
                        let length = 1 + (round * 4 + thread) % 8000;
                        let own = scene.expose(length);
                        assert_eq!(look(own).unwrap().1 as u64, length);
                        // It is released by whoever comes next.
                        passed.lock().unwrap().push(own.addr());
                        let other = passed.lock().unwrap().pop();
                        if let Some(other) = other {
                            drop(retire(other as *mut c_void).unwrap());
                        }
                    }
                });
            }
        });
        assert!(passed.lock().unwrap().is_empty());
    }

    #[test]
    fn a_thread_that_ends_leaves_its_slot_to_others() {
        let scene = Scene::new();
        let threads = 5 * FIRST;
        let used = (0..threads).map(|_| {
            let thread = || {
                let lease = scene.expose(1);
                drop(retire(lease).unwrap());
                split(lease).unwrap().0
            };
            std::thread::scope(|scope| scope.spawn(thread).join().unwrap())
        });
        // Other tests have leases at the same time, so it is not always the same one.
        assert!(used.collect::<HashSet<_>>().len() < threads);
    }

    #[test]
    fn of_many_that_release_one_lease_one_does() {
        let scene = Scene::new();
        for _ in 0..200 {
            let lease = scene.expose(1).addr();
            let released = AtomicUsize::new(0);
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        let given = retire(lease as *mut c_void).is_ok();
                        released.fetch_add(given.into(), Ordering::Relaxed);
                    });
                }
            });
            assert_eq!(released.load(Ordering::Relaxed), 1);
        }
    }
}
