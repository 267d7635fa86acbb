//! What is refused, one after another, and what has to be said of it.

use crate::refusal::{
    BUFFER_TABLE, BUFFER_UPDATES, EVENTFD, FILE_TABLE, FILE_UPDATES, IO_URING, PROBE, REGISTER,
    RING_DESCRIPTORS, Refusal, WORKER_LIMITS,
};

/// A system that refuses something.
pub struct Environment {
    pub name: &'static str,
    pub refusal: Refusal,
    /// The engine that `auto` has to take there: uring, psync or any.
    pub engine: &'static str,
    /// What the report has to say: several, with `;` between them.
    pub reason: &'static str,
    /// What the log or the report has to say when memory is registered.
    pub log: &'static str,
    pub scenarios: Scenarios,
    /// The doors, as the modules of the scenario tests are named.
    pub doors: &'static [&'static str],
    /// Tests that run at the same time.
    pub threads: u32,
    /// Whether the tests of the engines themselves run.
    pub engines: bool,
}

/// Tests at the same time, most of which wait: for a limit of time, or for another process.
const THREADS: u32 = 8;

/// Which of the scenarios run.
pub enum Scenarios {
    All,
    /// All but these, each with the reason.
    Without(&'static [(&'static str, &'static str)]),
}

const BOTH_DOORS: [&str; 2] = ["core_auto", "c_auto"];
/// The C functions call the core, so they test both.
const ONE_DOOR: [&str; 1] = ["c_auto"];

/// Where only one registration is refused, what is said in `all_of_register` has
/// been tested with all of them, and what these add is time.
const LIGHT: Scenarios = Scenarios::Without(&[
    ("random_ranges_equal_the_origin", "3 s"),
    ("many_readers_share_one_fetch", "2 s"),
    ("no_read_mixes_versions", "1 s"),
    (
        "many_that_begin_one_cache_agree",
        "of the cache directory alone",
    ),
    ("closing_completes_what_hangs", "1 s"),
    ("closing_ends_a_copy", "2 s"),
    ("a_file_that_keeps_changing", "2 s"),
    ("what_a_stopped_process_is_fetching", "2 s, of locks alone"),
    ("what_another_process", "4 s, of locks alone"),
    ("direct::", "the same again, past the page cache"),
]);

/// Each of these has more than 60 files open at the same time.
const FEW_DESCRIPTORS: Scenarios = Scenarios::Without(&[
    (
        "random_ranges_equal_the_origin",
        "50 files, three descriptors each",
    ),
    ("many_that_begin_one_cache_agree", "8 caches"),
    (
        "leases_stay_while_others_are_evicted",
        "18 leases of files that were evicted, three descriptors each",
    ),
]);

/// io_uring as it is, but for some registrations: refused as by a kernel that
/// does not know them.
const fn without(
    name: &'static str,
    operations: &'static [u32],
    reason: &'static str,
) -> Environment {
    Environment {
        name,
        refusal: Refusal::Registrations(operations, libc::EINVAL),
        engine: "uring",
        reason,
        log: "",
        scenarios: LIGHT,
        doors: &ONE_DOOR,
        threads: THREADS,
        engines: true,
    }
}

/// io_uring is refused, and the report says by what that may be.
const fn no_io_uring(name: &'static str, refusal: Refusal, reason: &'static str) -> Environment {
    Environment {
        name,
        refusal,
        engine: "psync",
        reason,
        log: "",
        scenarios: Scenarios::All,
        doors: &BOTH_DOORS,
        threads: THREADS,
        engines: true,
    }
}

pub static ENVIRONMENTS: [Environment; 15] = [
    no_io_uring(
        "seccomp_enosys",
        Refusal::Calls(&IO_URING, libc::ENOSYS),
        "psync, because io_uring is refused;seccomp",
    ),
    no_io_uring(
        "seccomp_eperm",
        Refusal::Calls(&IO_URING, libc::EPERM),
        "psync, because io_uring is refused;kernel.io_uring_disabled;seccomp",
    ),
    no_io_uring(
        "sysctl_io_uring_disabled",
        Refusal::Sysctl,
        "psync, because io_uring is refused;kernel.io_uring_disabled",
    ),
    Environment {
        name: "rlimit_memlock_64k",
        refusal: Refusal::LockedMemory(64 << 10),
        // Kernels that count rings grant two, and free them some time after their
        // end: caches begin on either engine, and queues get what is left.
        engine: "any",
        reason: "",
        log: "RLIMIT_MEMLOCK",
        scenarios: Scenarios::All,
        doors: &BOTH_DOORS,
        threads: 2,
        // They ask for a ring, which is there or not.
        engines: false,
    },
    Environment {
        name: "rlimit_memlock_8m",
        // What ordinary users have: enough for rings.
        refusal: Refusal::LockedMemory(8 << 20),
        engine: "uring",
        reason: "io_uring",
        log: "registered memory;RLIMIT_MEMLOCK",
        scenarios: LIGHT,
        doors: &ONE_DOOR,
        threads: 2,
        engines: true,
    },
    Environment {
        name: "rlimit_nofile_60",
        // One less than the table of files that a ring asks for, and some.
        refusal: Refusal::Descriptors(60),
        engine: "uring",
        reason: "not granted: REGISTER_FILES2 (Too many open files)",
        log: "",
        scenarios: FEW_DESCRIPTORS,
        doors: &BOTH_DOORS,
        threads: 1,
        // They have more pipes and rings open at once than that.
        engines: false,
    },
    Environment {
        name: "all_of_register",
        refusal: Refusal::Calls(&REGISTER, libc::EPERM),
        engine: "psync",
        reason: "register an eventfd",
        log: "",
        scenarios: Scenarios::All,
        doors: &BOTH_DOORS,
        threads: THREADS,
        // They ask for what is refused here.
        engines: false,
    },
    without(
        "no_file_table",
        &FILE_TABLE,
        "not granted: REGISTER_FILES2 (Invalid",
    ),
    without("no_file_updates", &FILE_UPDATES, ""),
    without(
        "no_buffer_table",
        &BUFFER_TABLE,
        "not granted: REGISTER_BUFFERS2",
    ),
    Environment {
        log: "registered memory",
        ..without("no_buffer_updates", &BUFFER_UPDATES, "")
    },
    Environment {
        engine: "psync",
        // They ask for what is refused here.
        engines: false,
        ..without("no_eventfd", &EVENTFD, "register an eventfd")
    },
    without("no_probe", &PROBE, ""),
    without(
        "no_worker_limits",
        &WORKER_LIMITS,
        "REGISTER_IOWQ_MAX_WORKERS",
    ),
    without(
        "no_ring_descriptors",
        &RING_DESCRIPTORS,
        "REGISTER_RING_FDS",
    ),
];
