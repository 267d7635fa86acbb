//! The ways in which a system refuses, done to a program before it begins.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use libc::{BPF_ABS, BPF_ALU, BPF_AND, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};
use libc::{c_long, sock_filter, sock_fprog};
use libtest_mimic::Failed;
use rustix::fs::FlockOperation;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};

use crate::sysctl;

/// The system calls of io_uring.
pub const IO_URING: [c_long; 3] = [
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
];
/// The one that registers files, memory and more with a ring.
pub const REGISTER: [c_long; 1] = [libc::SYS_io_uring_register];

// What io_uring_register(2) is asked for, from include/uapi/linux/io_uring.h. A
// feature may have several names, of which a kernel has the later ones or not.
/// IORING_REGISTER_FILES and …_FILES2.
pub const FILE_TABLE: [u32; 2] = [2, 13];
/// IORING_REGISTER_FILES_UPDATE and …_FILES_UPDATE2.
pub const FILE_UPDATES: [u32; 2] = [6, 14];
/// IORING_REGISTER_BUFFERS and …_BUFFERS2.
pub const BUFFER_TABLE: [u32; 2] = [0, 15];
/// IORING_REGISTER_BUFFERS_UPDATE.
pub const BUFFER_UPDATES: [u32; 1] = [16];
/// IORING_REGISTER_EVENTFD and …_EVENTFD_ASYNC.
pub const EVENTFD: [u32; 2] = [4, 7];
/// IORING_REGISTER_PROBE.
pub const PROBE: [u32; 1] = [8];
/// IORING_REGISTER_IOWQ_AFF and …_IOWQ_MAX_WORKERS.
pub const WORKER_LIMITS: [u32; 2] = [17, 19];
/// IORING_REGISTER_RING_FDS.
pub const RING_DESCRIPTORS: [u32; 1] = [20];

/// What is refused, and how.
#[derive(Clone, Copy)]
pub enum Refusal {
    /// These system calls fail with this errno.
    Calls(&'static [c_long], i32),
    /// io_uring_register(2) fails with this errno when it is asked for these.
    Registrations(&'static [u32], i32),
    /// The sysctl kernel.io_uring_disabled is 2.
    Sysctl,
    /// RLIMIT_MEMLOCK in bytes, and no capability that goes beyond it.
    LockedMemory(u64),
    /// RLIMIT_NOFILE.
    Descriptors(u64),
}

/// What is in force until this is dropped.
pub struct Applied {
    /// For one program: keeps others from changing the sysctl meanwhile.
    _lock: Option<File>,
    /// For the whole system.
    _held: Option<sysctl::Held>,
}

impl Refusal {
    /// Makes the program run where this is refused, and nothing else by a sysctl:
    /// until what is returned is dropped.
    pub fn apply(&self, command: &mut Command) -> Result<Applied, Failed> {
        match *self {
            Refusal::Calls(calls, errno) => filter(command, call_filter(calls, errno)),
            Refusal::Registrations(operations, errno) => {
                filter(command, registration_filter(operations, errno));
            }
            Refusal::Sysctl => {
                return Ok(Applied {
                    _lock: None,
                    _held: Some(sysctl::io_uring_disabled()?),
                });
            }
            Refusal::LockedMemory(bytes) => before(command, move || {
                limit(Resource::Memlock, bytes)?;
                // Root gets the capability back from the bounding set by execve(2).
                Ok(remove_capability_from_bounding_set(
                    CapabilitySet::IPC_LOCK,
                )?)
            }),
            Refusal::Descriptors(count) => {
                before(command, move || limit(Resource::Nofile, count));
            }
        }
        Ok(Applied {
            _lock: Some(sysctl::lock(FlockOperation::LockShared)?),
            _held: None,
        })
    }
}

/// Has the child do this before it becomes the program.
fn before(command: &mut Command, act: impl FnMut() -> io::Result<()> + Send + Sync + 'static) {
    // SAFETY: what is passed here makes system calls and nothing else: it neither
    // allocates nor takes a lock, as it must not between fork(2) and execve(2).
    unsafe { command.pre_exec(act) };
}

fn limit(resource: Resource, value: u64) -> io::Result<()> {
    let maximum = getrlimit(resource).maximum;
    Ok(setrlimit(
        resource,
        Rlimit {
            current: Some(value),
            maximum,
        },
    )?)
}

// --- filters of system calls: seccomp(2) ------------------------------------------

/// `offsetof(struct seccomp_data, nr)`, and the lower half of `args[1]`.
const NUMBER: u32 = 0;
const SECOND_ARGUMENT: u32 = if cfg!(target_endian = "little") {
    24
} else {
    28
};

/// IORING_REGISTER_USE_REGISTERED_RING, which may be set in what is asked for.
const USE_REGISTERED_RING: u32 = 1 << 31;

fn statement(code: u32, value: u32) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k: value,
    }
}

/// Goes on behind `skip` statements unless the loaded word is `value`.
fn skip_unless_equal(value: u32, skip: u8) -> sock_filter {
    sock_filter {
        jf: skip,
        ..statement(BPF_JMP | BPF_JEQ | BPF_K, value)
    }
}

fn load(offset: u32) -> sock_filter {
    statement(BPF_LD | BPF_W | BPF_ABS, offset)
}

fn refuse(errno: i32) -> sock_filter {
    statement(BPF_RET | BPF_K, libc::SECCOMP_RET_ERRNO | errno as u32)
}

fn allow() -> sock_filter {
    statement(BPF_RET | BPF_K, libc::SECCOMP_RET_ALLOW)
}

fn call_filter(calls: &[c_long], errno: i32) -> Vec<sock_filter> {
    let mut code = vec![load(NUMBER)];
    for call in calls {
        code.extend([skip_unless_equal(*call as u32, 1), refuse(errno)]);
    }
    code.push(allow());
    code
}

fn registration_filter(operations: &[u32], errno: i32) -> Vec<sock_filter> {
    let rest = 2 * operations.len() as u8 + 2;
    let mut code = vec![
        load(NUMBER),
        skip_unless_equal(libc::SYS_io_uring_register as u32, rest),
        load(SECOND_ARGUMENT),
        statement(BPF_ALU | BPF_AND | BPF_K, !USE_REGISTERED_RING),
    ];
    for operation in operations {
        code.extend([skip_unless_equal(*operation, 1), refuse(errno)]);
    }
    code.push(allow());
    code
}

/// Has the program run under a filter: its calls are of this machine's own
/// architecture, so it looks at numbers only.
fn filter(command: &mut Command, mut code: Vec<sock_filter>) {
    before(command, move || {
        let program = sock_fprog {
            len: code.len() as u16,
            filter: code.as_mut_ptr(),
        };
        // SAFETY: prctl(2) reads the program, which lives during the call.
        let result = unsafe {
            match libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) {
                0 => libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program),
                error => error,
            }
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    });
}

/// A filter of one registration is seen to take that one and no other. On a
/// descriptor that there is not, the kernel itself answers EBADF to all.
pub fn only_the_named_registrations_are_refused() -> Result<(), Failed> {
    const REFUSED: u32 = 8;
    /// Not -1, which newer kernels take for "no ring".
    const NOBODYS: i32 = -2;
    let mut command = Command::new("true");
    filter(&mut command, registration_filter(&[REFUSED], libc::EPERM));
    before(&mut command, || {
        let answer = |operation: u32| {
            // SAFETY: there is no such descriptor, so nothing is read or written.
            unsafe { libc::syscall(libc::SYS_io_uring_register, NOBODYS, operation, 0, 0) };
            io::Error::last_os_error().raw_os_error()
        };
        let by_number = answer(REFUSED | USE_REGISTERED_RING) == Some(libc::EPERM);
        let refused = answer(REFUSED) == Some(libc::EPERM) && by_number;
        let others = (0..20).filter(|operation| *operation != REFUSED);
        match refused
            && others
                .into_iter()
                .all(|other| answer(other) == Some(libc::EBADF))
        {
            true => Ok(()),
            false => Err(io::ErrorKind::InvalidData.into()),
        }
    });
    match command.status()?.success() {
        true => Ok(()),
        false => Err("true(1) has failed".into()),
    }
}
