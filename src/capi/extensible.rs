//! Structures that grow: the rule of openat2(2).
//!
//! A structure shorter than ours is taken as followed by zeros; a longer one is
//! taken if what we do not know is zero. On the way out, what the program does
//! not know is left out, and what we do not know is zero.

use super::types::*;
use cachefs_core::{Errno, Error, Result};

/// No structure grows beyond a page, so that a wild size is noticed.
const STRUCT_BYTES_MAX: usize = 4096;
/// The first field and its padding or successor.
const STRUCT_BYTES_MIN: usize = 8;

/// A public structure that begins with its `u32` size and whose fields may all
/// be zero.
///
/// # Safety
/// The type is `repr(C)`, its first field is `struct_size: u32`, and every
/// pattern of bytes with valid function pointers is a value of it.
pub(super) unsafe trait Extensible: Copy {
    /// For messages.
    const NAME: &'static str;
}

macro_rules! extensible {
    ($($name:ident),* $(,)?) => {
        $(
            // SAFETY: `repr(C)`, `struct_size` first; integers, pointers and
            // optional functions are all.
            unsafe impl Extensible for $name {
                const NAME: &'static str = stringify!($name);
            }
        )*
    };
}

extensible!(
    cachefs_cache_options,
    cachefs_file_info,
    cachefs_option_info,
    cachefs_origin_attr,
    cachefs_origin_ops,
    cachefs_origin_options,
    cachefs_origin_report_info,
    cachefs_queue_options,
    cachefs_report,
    cachefs_residency,
    cachefs_engine_statistics,
    cachefs_statistics,
    cachefs_verification,
);

/// All fields zero, which means their defaults.
pub(super) fn zeroed<T: Extensible>() -> T {
    // SAFETY: by the contract of `Extensible`.
    unsafe { std::mem::zeroed() }
}

fn invalid<T: Extensible>(errno: Errno, what: &str) -> Error {
    Error::new(errno, format!("{}: {what}", T::NAME))
}

/// The size that a structure says it has. EINVAL for NULL or less than its
/// first field; E2BIG for more than any release can have.
///
/// # Safety
/// `pointer` must be NULL or readable for 4 bytes.
unsafe fn size<T: Extensible>(pointer: *const T) -> Result<usize> {
    if pointer.is_null() {
        return Err(invalid::<T>(Errno::INVAL, "NULL"));
    }
    // SAFETY: not NULL, and the caller promises 4 readable bytes.
    let size = unsafe { pointer.cast::<u32>().read_unaligned() } as usize;
    if size < STRUCT_BYTES_MIN {
        return Err(invalid::<T>(
            Errno::INVAL,
            "struct_size is too small: set it to sizeof",
        ));
    }
    if size > STRUCT_BYTES_MAX {
        return Err(invalid::<T>(
            Errno::TOOBIG,
            "struct_size is larger than any release has",
        ));
    }
    Ok(size)
}

/// Copies a structure in. E2BIG if it sets something that this release does not
/// know; else errors as of `size`.
///
/// # Safety
/// `pointer` must be NULL or readable for as many bytes as its first field says.
pub(super) unsafe fn copy_in<T: Extensible>(pointer: *const T) -> Result<T> {
    // SAFETY: the caller's promise covers the first field.
    let given = unsafe { size(pointer) }?;
    let known = given.min(size_of::<T>());
    for index in known..given {
        // SAFETY: below the size that the structure says it has.
        if unsafe { pointer.cast::<u8>().add(index).read() } != 0 {
            let what = "a field that this release does not know is set";
            return Err(invalid::<T>(Errno::TOOBIG, what));
        }
    }
    let mut value: T = zeroed();
    // SAFETY: `known` bytes are readable at the one and writable at the other;
    // the result is a value by the contract of `Extensible`.
    unsafe {
        std::ptr::copy_nonoverlapping(pointer.cast::<u8>(), (&raw mut value).cast(), known);
    }
    Ok(value)
}

/// Clears a structure and gives it its size.
///
/// # Safety
/// `pointer` must be NULL or writable for `size` bytes.
pub(super) unsafe fn init<T: Extensible>(pointer: *mut T, size: usize) -> Result<()> {
    if pointer.is_null() {
        return Err(invalid::<T>(Errno::INVAL, "NULL"));
    }
    if size < size_of::<u32>() {
        return Err(invalid::<T>(Errno::INVAL, "no room for its size"));
    }
    let struct_size = u32::try_from(size).unwrap_or(u32::MAX);
    // SAFETY: the caller promises `size` writable bytes, which are enough.
    unsafe { pointer.cast::<u32>().write(struct_size) };
    // SAFETY: as above; the first field says how many bytes there are.
    unsafe { copy_out(pointer, &zeroed()) }
}

/// Copies a structure out; the program's `struct_size` stays. Errors as of `size`.
///
/// # Safety
/// `pointer` must be NULL or writable for as many bytes as its first field says.
pub(super) unsafe fn copy_out<T: Extensible>(pointer: *mut T, value: &T) -> Result<()> {
    // SAFETY: the caller's promise covers the first field.
    let given = unsafe { size(pointer) }?;
    let known = given.min(size_of::<T>());
    let (source, target) = ((&raw const *value).cast::<u8>(), pointer.cast::<u8>());
    // SAFETY: `given` bytes are writable, of which `known` are copied behind the
    // first field and the rest cleared.
    unsafe {
        std::ptr::copy_nonoverlapping(source.add(4), target.add(4), known - 4);
        std::ptr::write_bytes(target.add(known), 0, given - known);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue_options(struct_size: u32) -> [u64; 4] {
        // struct_size, depth | flags | two words that this release does not know
        [u64::from(struct_size) | 7 << 32, 1, 0, 0]
    }

    fn read(words: &[u64; 4]) -> Result<cachefs_queue_options> {
        // SAFETY: the array is longer than any size that the tests put into it.
        unsafe { copy_in(words.as_ptr().cast()) }
    }

    #[test]
    fn a_short_structure_is_followed_by_zeros() {
        let options = read(&queue_options(8)).unwrap();
        assert_eq!((options.depth, options.flags), (7, 0));
    }

    #[test]
    fn a_long_structure_is_taken_if_its_tail_is_zero() {
        let mut words = queue_options(32);
        assert_eq!(read(&words).unwrap().flags, 1);
        words[3] = 1 << 63;
        assert_eq!(read(&words).err().map(|e| e.errno()), Some(Errno::TOOBIG));
    }

    #[test]
    fn wild_sizes_are_refused() {
        for (size, errno) in [(0, Errno::INVAL), (7, Errno::INVAL), (4097, Errno::TOOBIG)] {
            let error = read(&queue_options(size)).err();
            assert_eq!(error.map(|e| e.errno()), Some(errno), "{size}");
        }
    }

    #[test]
    fn what_goes_out_keeps_the_size_and_clears_the_tail() {
        let mut words = [u64::from(32u32), 5, 5, 5];
        let value = cachefs_queue_options {
            struct_size: 16,
            depth: 3,
            flags: 4,
        };
        // SAFETY: the array has 32 bytes, as its first field says.
        unsafe { copy_out(words.as_mut_ptr().cast(), &value) }.unwrap();
        assert_eq!(words, [32 | 3 << 32, 4, 0, 0]);
    }
}
