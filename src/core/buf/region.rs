//! Memory that the program registered: every ring may pin it once and then
//! skip the work of pinning it for each operation.

use crate::error::{Errno, Error, Result};
use crate::limits::{REGION_BYTES_MAX, REGIONS_MAX};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One piece of registered memory: at most as much as a ring takes in one slot.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Region {
    start: usize,
    length: usize,
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
            }));
        }
        self.changes.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Forgets what `register` was given; returns its length, or ENOENT.
    pub(crate) fn unregister(&self, start: usize) -> Result<usize> {
        let mut list = self.list.lock();
        let mut next = start;
        list.retain(|region| {
            let ours = region.start == next;
            next += if ours { region.length } else { 0 };
            !ours
        });
        if next == start {
            return Err(Error::new(
                Errno::NOENT,
                "no registered memory begins there",
            ));
        }
        self.changes.fetch_add(1, Ordering::Release);
        Ok(next - start)
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
        assert_eq!(regions.unregister(4096).unwrap(), 4096);
        assert_eq!(errno(regions.unregister(4096)), Errno::NOENT);
        assert_eq!(regions.snapshot().len(), 1);
    }

    #[test]
    fn large_memory_is_registered_in_pieces_and_unregistered_whole() {
        let regions = Regions::default();
        register(&regions, 4096, 2 * REGION_BYTES_MAX + 5).unwrap();
        assert_eq!(regions.snapshot().len(), 3);
        assert_eq!(regions.unregister(4096).unwrap(), 2 * REGION_BYTES_MAX + 5);
        assert!(regions.snapshot().is_empty());
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
