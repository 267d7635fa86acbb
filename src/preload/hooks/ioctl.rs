//! The function that asks anything of an open file: what is about the file itself, or its
//! file system, has to be asked of the origin's.

use super::metadata::{at_origin, of_origin};
use super::real;
use crate::give_back::{self, Found};
use libc::{c_int, c_ulong, c_void};
use std::os::fd::AsRawFd;

/// Which requests there are of a kind: a number of 8 bits (linux/ioctl.h).
const KIND_SHIFT: u32 = 8;
/// The kinds of file systems: FS_IOC_* are of the first three (linux/fs.h), what is of all
/// that can clone, of the last.
const KINDS: [u8; 4] = [b'f', b'v', b'X', 0x94];
/// What is done with the argument: 1 written to the file, 2 read from it, 3 both.
const DIRECTION_SHIFT: u32 = 30;
const READ: u32 = 2;

const FICLONE: u32 = 0x4004_9409;
const FICLONERANGE: u32 = 0x4020_940d;
const FIDEDUPERANGE: u32 = 0xc018_9436;
/// FS_IOC_FIEMAP, which reads only, but for where it is to begin.
const FIEMAP: u32 = 0xc020_660b;

/// struct file_clone_range.
#[repr(C)]
#[derive(Clone, Copy)]
struct CloneRange {
    from: i64,
    from_offset: u64,
    length: u64,
    to_offset: u64,
}

/// struct file_dedupe_range, behind which are so many of [`Target`].
#[repr(C)]
struct Dedupe {
    offset: u64,
    length: u64,
    count: u16,
    reserved: [u16; 3],
}

/// struct file_dedupe_range_info.
#[repr(C)]
struct Target {
    fd: i64,
    offset: u64,
    done: u64,
    status: i32,
    reserved: u32,
}

/// # Safety
/// As of ioctl(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn cachefs_preload_ioctl(
    fd: c_int,
    request: c_ulong,
    argument: *mut c_void,
) -> c_int {
    // As the kernel does it: the rest is not looked at.
    let number = request as u32;
    if !KINDS.contains(&((number >> KIND_SHIFT) as u8)) {
        return real!(ioctl(fd, request, argument));
    }
    // SAFETY: the caller's.
    unsafe { of_file(fd, (request, number), argument) }
}

/// # Safety
/// As above.
#[cold]
unsafe fn of_file(fd: c_int, (request, number): (c_ulong, u32), argument: *mut c_void) -> c_int {
    match number {
        FICLONE => {
            let from = argument as usize as c_int;
            clone_of(from, |from| {
                let from = std::ptr::without_provenance_mut(from as usize);
                real!(ioctl(fd, request, from))
            })
        }
        FICLONERANGE if !argument.is_null() => {
            // SAFETY: ioctl_ficlonerange(2): the argument is of this type.
            let range = unsafe { argument.cast::<CloneRange>().read_unaligned() };
            let Ok(from) = c_int::try_from(range.from) else {
                return real!(ioctl(fd, request, argument));
            };
            clone_of(from, |from| {
                let mut range = CloneRange {
                    from: from.into(),
                    ..range
                };
                real!(ioctl(fd, request, (&raw mut range).cast()))
            })
        }
        FIDEDUPERANGE if !argument.is_null() => {
            // SAFETY: the caller's.
            unsafe { give_back_targets(argument.cast()) };
            of_origin(fd, |fd| real!(ioctl(fd, request, argument)))
        }
        FIEMAP => of_origin(fd, |fd| real!(ioctl(fd, request, argument))),
        _ if number >> DIRECTION_SHIFT == READ => {
            of_origin(fd, |fd| real!(ioctl(fd, request, argument)))
        }
        _ => at_origin(fd, || real!(ioctl(fd, request, argument))),
    }
}

/// Has another file get the blocks of the origin's. Where that cannot be found any more,
/// those of the cached one have the same bytes.
fn clone_of(from: c_int, real: impl FnOnce(c_int) -> c_int) -> c_int {
    match give_back::origin_of(from) {
        Found::Origin(origin) => real(origin.as_raw_fd()),
        Found::Other | Found::Lost => real(from),
    }
}

/// The files that are to have the blocks of another one are changed by that. Of one that
/// cannot be found any more the kernel says itself that it cannot be.
///
/// # Safety
/// The argument is that of ioctl_fideduperange(2).
unsafe fn give_back_targets(argument: *const Dedupe) {
    // SAFETY: the caller's; it may lie anywhere.
    let count = unsafe { (&raw const (*argument).count).read_unaligned() };
    // SAFETY: so many follow.
    let targets = unsafe { argument.add(1) }.cast::<Target>();
    for index in 0..usize::from(count) {
        // SAFETY: as above.
        let fd = unsafe { (&raw const (*targets.add(index)).fd).read_unaligned() };
        if let Ok(fd) = c_int::try_from(fd) {
            let _stays = give_back::give_back(fd);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_structures_are_those_of_the_kernel() {
        assert_eq!(c_ulong::from(FICLONE), libc::FICLONE as c_ulong);
        assert_eq!(c_ulong::from(FICLONERANGE), libc::FICLONERANGE as c_ulong);
        let size = |number: u32| (number >> 16 & 0x3fff) as usize;
        assert_eq!(size(FICLONERANGE), size_of::<CloneRange>());
        assert_eq!(size(FIDEDUPERANGE), size_of::<Dedupe>());
        assert_eq!(size_of::<Target>(), 32);
        for number in [libc::FS_IOC_GETFLAGS, libc::FS_IOC_GETVERSION] {
            assert_eq!(number as u32 >> DIRECTION_SHIFT, READ);
        }
    }
}
