//! Every function that the library puts in the place of libc's: the one list of them.
//!
//! The library resolves libc's own ones by it, and the tests compare it with what the
//! library exports and with what real programs import.

/// Calls a macro with all of them: the name, and the type of the function in libc.
macro_rules! for_each_symbol {
    ($each:ident) => {
        $each! {
            // Opens. In C they are declared with `...` behind the flags.
            open: fn(*const c_char, c_int, c_uint) -> c_int;
            open64: fn(*const c_char, c_int, c_uint) -> c_int;
            __open: fn(*const c_char, c_int, c_uint) -> c_int;
            __open64: fn(*const c_char, c_int, c_uint) -> c_int;
            __open_2: fn(*const c_char, c_int) -> c_int;
            __open64_2: fn(*const c_char, c_int) -> c_int;
            openat: fn(c_int, *const c_char, c_int, c_uint) -> c_int;
            openat64: fn(c_int, *const c_char, c_int, c_uint) -> c_int;
            __openat_2: fn(c_int, *const c_char, c_int) -> c_int;
            __openat64_2: fn(c_int, *const c_char, c_int) -> c_int;
            openat2: fn(c_int, *const c_char, *const c_void, usize) -> c_int;
            creat: fn(*const c_char, mode_t) -> c_int;
            creat64: fn(*const c_char, mode_t) -> c_int;
            // Streams.
            fopen: fn(*const c_char, *const c_char) -> *mut FILE;
            fopen64: fn(*const c_char, *const c_char) -> *mut FILE;
            freopen: fn(*const c_char, *const c_char, *mut FILE) -> *mut FILE;
            freopen64: fn(*const c_char, *const c_char, *mut FILE) -> *mut FILE;
            // What a file is.
            stat: fn(*const c_char, *mut libc::stat) -> c_int;
            stat64: fn(*const c_char, *mut libc::stat) -> c_int;
            fstat: fn(c_int, *mut libc::stat) -> c_int;
            fstat64: fn(c_int, *mut libc::stat) -> c_int;
            fstatat: fn(c_int, *const c_char, *mut libc::stat, c_int) -> c_int;
            fstatat64: fn(c_int, *const c_char, *mut libc::stat, c_int) -> c_int;
            statx: fn(c_int, *const c_char, c_int, c_uint, *mut libc::statx) -> c_int;
            // The same as programs call it that were linked before glibc 2.33.
            __xstat: fn(c_int, *const c_char, *mut libc::stat) -> c_int;
            __xstat64: fn(c_int, *const c_char, *mut libc::stat) -> c_int;
            __fxstat: fn(c_int, c_int, *mut libc::stat) -> c_int;
            __fxstat64: fn(c_int, c_int, *mut libc::stat) -> c_int;
            __fxstatat: fn(c_int, c_int, *const c_char, *mut libc::stat, c_int) -> c_int;
            __fxstatat64: fn(c_int, c_int, *const c_char, *mut libc::stat, c_int) -> c_int;
            // What has to be done to the origin's file itself. The first three are declared
            // with `...` behind the command.
            fcntl: fn(c_int, c_int, *mut c_void) -> c_int;
            fcntl64: fn(c_int, c_int, *mut c_void) -> c_int;
            ioctl: fn(c_int, c_ulong, *mut c_void) -> c_int;
            flock: fn(c_int, c_int) -> c_int;
            lockf: fn(c_int, c_int, i64) -> c_int;
            lockf64: fn(c_int, c_int, i64) -> c_int;
            fchmod: fn(c_int, mode_t) -> c_int;
            fchown: fn(c_int, uid_t, gid_t) -> c_int;
            futimens: fn(c_int, *const timespec) -> c_int;
            futimes: fn(c_int, *const timeval) -> c_int;
            fsetxattr: fn(c_int, *const c_char, *const c_void, usize, c_int) -> c_int;
            fremovexattr: fn(c_int, *const c_char) -> c_int;
            fgetxattr: fn(c_int, *const c_char, *mut c_void, usize) -> isize;
            flistxattr: fn(c_int, *mut c_char, usize) -> isize;
            // The same by a name, which may be that of a descriptor.
            chmod: fn(*const c_char, mode_t) -> c_int;
            chown: fn(*const c_char, uid_t, gid_t) -> c_int;
            utime: fn(*const c_char, *const utimbuf) -> c_int;
            utimes: fn(*const c_char, *const timeval) -> c_int;
            setxattr: fn(*const c_char, *const c_char, *const c_void, usize, c_int) -> c_int;
            removexattr: fn(*const c_char, *const c_char) -> c_int;
            fchmodat: fn(c_int, *const c_char, mode_t, c_int) -> c_int;
            fchownat: fn(c_int, *const c_char, uid_t, gid_t, c_int) -> c_int;
            utimensat: fn(c_int, *const c_char, *const timespec, c_int) -> c_int;
            // What changes what a name leads to.
            truncate: fn(*const c_char, i64) -> c_int;
            truncate64: fn(*const c_char, i64) -> c_int;
            rename: fn(*const c_char, *const c_char) -> c_int;
            renameat: fn(c_int, *const c_char, c_int, *const c_char) -> c_int;
            renameat2: fn(c_int, *const c_char, c_int, *const c_char, c_uint) -> c_int;
            unlink: fn(*const c_char) -> c_int;
            unlinkat: fn(c_int, *const c_char, c_int) -> c_int;
            remove: fn(*const c_char) -> c_int;
            link: fn(*const c_char, *const c_char) -> c_int;
            linkat: fn(c_int, *const c_char, c_int, *const c_char, c_int) -> c_int;
            // Where relative names begin.
            chdir: fn(*const c_char) -> c_int;
            fchdir: fn(c_int) -> c_int;
        }
    };
}
