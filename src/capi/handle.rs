//! Handles: what C holds in place of pointers.
//!
//! A handle is a slot number with a generation and a kind, made to look like a
//! pointer and never dereferenced. So a handle that was closed, belongs to
//! another kind of object, or was made up is told apart from an open one.

use cachefs_core::{Cache, Errno, Error, File, Origin, OriginRead, Queue, Result};
use once_cell::sync::Lazy;
use sharded_slab::{Config, DefaultConfig, Slab};
use std::sync::Mutex;

/// Upper bits of a handle that hold its kind, so that no handle is NULL.
const KIND_BITS: usize = 3;

/// The slab's numbers with those bits left free.
pub(super) struct Numbers;

impl Config for Numbers {
    const RESERVED_BITS: usize = KIND_BITS;
    const MAX_THREADS: usize = DefaultConfig::MAX_THREADS;
}

pub(super) struct Registry<T>(Slab<T, Numbers>);

/// An object that a call uses: closing its handle meanwhile ends it afterwards.
pub(super) type Held<T> = sharded_slab::Entry<'static, T, Numbers>;

/// An object that C can hold.
pub(super) trait Handle: Send + Sync + Sized + 'static {
    /// Distinct, and not 0.
    const KIND: usize;
    /// For messages.
    const NAME: &'static str;
    fn registry() -> &'static Registry<Self>;

    /// Makes a handle. ENOMEM after some four billion of them.
    fn expose<C>(self) -> Result<*mut C> {
        let slot = Self::registry().0.insert(self);
        let slot = slot.ok_or_else(|| Error::new(Errno::NOMEM, "too many handles"))?;
        Ok(encode(Self::KIND, slot) as *mut C)
    }

    /// The object of a handle: EINVAL for NULL, EBADF if it is not open.
    fn get<C>(handle: *mut C) -> Result<Held<Self>> {
        let slot = Self::slot(handle)?;
        Self::registry()
            .0
            .get(slot)
            .ok_or_else(|| closed(Self::NAME))
    }

    /// Closes a handle and gives its object: errors as of `get`.
    fn retire<C>(handle: *mut C) -> Result<Held<Self>> {
        let object = Self::get(handle)?;
        // Of two that close it at once, one finds it closed.
        if Self::registry().0.remove(Self::slot(handle)?) {
            Ok(object)
        } else {
            Err(closed(Self::NAME))
        }
    }

    fn slot<C>(handle: *mut C) -> Result<usize> {
        if handle.is_null() {
            return Err(is_null(Self::NAME));
        }
        decode(Self::KIND, handle.addr()).ok_or_else(|| closed(Self::NAME))
    }
}

pub(super) fn closed(name: &str) -> Error {
    Error::new(Errno::BADF, format!("not an open {name}"))
}

pub(super) fn is_null(name: &str) -> Error {
    Error::new(Errno::INVAL, format!("the {name} is NULL"))
}

const SHIFT: usize = usize::BITS as usize - KIND_BITS;

pub(super) fn encode(kind: usize, slot: usize) -> usize {
    debug_assert!(slot >> SHIFT == 0, "the slab leaves the upper bits free");
    kind << SHIFT | slot
}

pub(super) fn decode(kind: usize, handle: usize) -> Option<usize> {
    (handle >> SHIFT == kind).then_some(handle & ((1 << SHIFT) - 1))
}

macro_rules! handle {
    ($object:ty, $kind:literal, $name:literal) => {
        impl Handle for $object {
            const KIND: usize = $kind;
            const NAME: &'static str = $name;
            fn registry() -> &'static Registry<Self> {
                static REGISTRY: Lazy<Registry<$object>> =
                    Lazy::new(|| Registry(Slab::new_with_config()));
                &REGISTRY
            }
        }
    };
}

/// A queue, and the lock that tells when two threads use it at once.
pub(super) type LockedQueue = Mutex<Queue>;
/// A read that an origin has not completed yet.
pub(super) type PendingRead = Mutex<Option<OriginRead>>;

handle!(Cache, 1, "cache");
handle!(Origin, 2, "origin");
handle!(File, 3, "file");
handle!(LockedQueue, 4, "queue");
handle!(PendingRead, 5, "token");
// 6 are leases: see `leases`.

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::c_void;

    fn pending() -> *mut c_void {
        PendingRead::expose(Mutex::new(None)).unwrap()
    }

    fn errno(result: Result<Held<PendingRead>>) -> Errno {
        result.err().expect("not open").errno()
    }

    #[test]
    fn a_closed_handle_stays_closed_when_its_slot_is_used_again() {
        let first = pending();
        PendingRead::retire(first).unwrap();
        let second = pending();
        assert_ne!(first, second);
        assert_eq!(errno(PendingRead::get(first)), Errno::BADF);
        assert_eq!(errno(PendingRead::retire(first)), Errno::BADF);
        PendingRead::retire(second).unwrap();
    }

    #[test]
    fn a_handle_of_another_kind_is_not_taken() {
        let token = pending();
        let taken = File::get(token);
        assert_eq!(taken.err().expect("not a file").errno(), Errno::BADF);
        PendingRead::retire(token).unwrap();
    }

    #[test]
    fn null_and_numbers_are_no_handles() {
        assert_eq!(
            errno(PendingRead::get::<c_void>(std::ptr::null_mut())),
            Errno::INVAL
        );
        assert_eq!(errno(PendingRead::get(7 as *mut c_void)), Errno::BADF);
        assert_eq!(
            errno(PendingRead::get(usize::MAX as *mut c_void)),
            Errno::BADF
        );
    }
}
