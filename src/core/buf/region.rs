//! Memory that the program registered: every ring may pin it once and then
//! skip the work of pinning it for each operation.

use super::mapping::{Mapping, Pages};
use crate::error::{Errno, Error, Result};
use crate::limits::{REGION_BYTES_MAX, REGIONS_MAX};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One piece of registered memory: at most as much as a ring takes in one slot.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Region {
    start: usize,
    length: usize,
    /// Where the memory begins that it is a piece of.
    whole: usize,
}

impl Region {
    pub(crate) fn start(&self) -> usize {
        self.start
    }

    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// Whether it holds all of these bytes.
    pub(crate) fn holds(&self, start: usize, length: usize) -> bool {
        start >= self.start && length <= self.length && start - self.start <= self.length - length
    }
}

/// The registered memory of one cache. Rings look at `changes` before they
/// trust what they know.
#[derive(Default)]
pub(crate) struct Regions {
    changes: AtomicU64,
    list: Mutex<Vec<Arc<Region>>>,
    /// What was allocated here, by its address. What is left goes with the
    /// last handle of the cache.
    mappings: Mutex<HashMap<usize, Mapping>>,
}

impl Regions {
    /// Registers memory. EEXIST if it overlaps what is registered; ENOSPC if
    /// there are too many pieces; EINVAL if it is empty.
    ///
    /// # Safety
    /// The memory must stay mapped until it is unregistered.
    pub(crate) unsafe fn register(&self, start: usize, length: usize) -> Result<()> {
        let end = start.checked_add(length).filter(|end| *end > start);
        let end = end.ok_or_else(|| Error::new(Errno::INVAL, "the memory is empty"))?;
        let mut list = self.list.lock();
        let overlaps =
            |region: &Arc<Region>| region.start < end && start < region.start + region.length;
        if list.iter().any(overlaps) {
            return Err(Error::new(Errno::EXIST, "the memory is registered already"));
        }
        if list.len() + length.div_ceil(REGION_BYTES_MAX) > REGIONS_MAX {
            let text = format!("more than {REGIONS_MAX} pieces of registered memory");
            return Err(Error::new(Errno::NOSPC, text));
        }
        for piece in (start..end).step_by(REGION_BYTES_MAX) {
            list.push(Arc::new(Region {
                start: piece,
                length: REGION_BYTES_MAX.min(end - piece),
                whole: start,
            }));
        }
        self.changes.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Forgets what `register` was given, or ENOENT. Operations in flight keep
    /// their pages.
    pub(crate) fn unregister(&self, start: usize) -> Result<()> {
        let mut list = self.list.lock();
        let before = list.len();
        list.retain(|region| region.whole != start);
        if list.len() == before {
            return Err(Error::new(
                Errno::NOENT,
                "no registered memory begins there",
            ));
        }
        self.changes.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Maps memory and registers it; returns where it begins.
    pub(crate) fn allocate(&self, length: usize, pages: Pages) -> Result<*mut u8> {
        if length == 0 || length > isize::MAX as usize {
            return Err(Error::new(Errno::INVAL, "no memory has that length"));
        }
        let mapping = Mapping::new(length, pages)?;
        let start = mapping.as_ptr();
        // SAFETY: it stays mapped until `free`, which unregisters it first.
        unsafe { self.register(start.addr(), length) }?;
        self.mappings.lock().insert(start.addr(), mapping);
        Ok(start)
    }

    /// Unmaps what `allocate` gave, or ENOENT.
    pub(crate) fn free(&self, start: usize) -> Result<()> {
        let mapping = self.mappings.lock().remove(&start);
        let mapping = mapping
            .ok_or_else(|| Error::new(Errno::NOENT, "no memory of this cache begins there"))?;
        // The program may have unregistered it already.
        let _absent = self.unregister(start);
        drop(mapping);
        Ok(())
    }

    /// Changes with every call of the two above.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    pub(crate) fn snapshot(&self) -> Vec<Arc<Region>> {
        self.list.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register(regions: &Regions, start: usize, length: usize) -> Result<()> {
        // SAFETY: nobody accesses these made-up addresses.
        unsafe { regions.register(start, length) }
    }

    fn errno<T: std::fmt::Debug>(result: Result<T>) -> Errno {
        result.unwrap_err().errno()
    }

    #[test]
    fn memory_is_found_by_what_lies_wholly_in_it() {
        let region = Region {
            start: 100,
            length: 10,
            whole: 100,
        };
        assert!(region.holds(100, 10) && region.holds(109, 1) && region.holds(105, 0));
        assert!(!region.holds(99, 5) && !region.holds(105, 6) && !region.holds(100, 11));
        assert!(!region.holds(usize::MAX, 1));
    }

    #[test]
    fn memory_is_registered_once() {
        let regions = Regions::default();
        register(&regions, 4096, 4096).unwrap();
        assert_eq!(errno(register(&regions, 8191, 10)), Errno::EXIST);
        assert_eq!(errno(register(&regions, 0, 4097)), Errno::EXIST);
        register(&regions, 8192, 4096).unwrap();
        regions.unregister(4096).unwrap();
        assert_eq!(errno(regions.unregister(4096)), Errno::NOENT);
        assert_eq!(regions.snapshot().len(), 1);
    }

    #[test]
    fn large_memory_is_registered_in_pieces_and_unregistered_whole() {
        let regions = Regions::default();
        register(&regions, 4096, 2 * REGION_BYTES_MAX + 5).unwrap();
        assert_eq!(regions.snapshot().len(), 3);
        regions.unregister(4096).unwrap();
        assert!(regions.snapshot().is_empty());
    }

    #[test]
    fn allocated_memory_is_registered_until_it_is_freed() {
        let regions = Regions::default();
        let start = regions.allocate(5000, Pages::Small).unwrap();
        assert!(start.addr().is_multiple_of(4096));
        assert!(regions.snapshot()[0].holds(start.addr(), 5000));
        regions.free(start.addr()).unwrap();
        assert!(regions.snapshot().is_empty());
        assert_eq!(errno(regions.free(start.addr())), Errno::NOENT);
        assert_eq!(errno(regions.allocate(0, Pages::Small)), Errno::INVAL);
    }

    #[test]
    fn there_is_room_for_so_many_pieces_and_no_more() {
        let regions = Regions::default();
        for index in 0..REGIONS_MAX {
            register(&regions, 4096 * (2 * index + 1), 4096).unwrap();
        }
        assert_eq!(errno(register(&regions, 1 << 40, 4096)), Errno::NOSPC);
        assert_eq!(errno(register(&regions, 1 << 40, 0)), Errno::INVAL);
        assert_eq!(errno(register(&regions, usize::MAX, 2)), Errno::INVAL);
    }
}
