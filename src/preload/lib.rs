//! `libcachefs_preload.so`: a program that is started with it in LD_PRELOAD opens files
//! below an origin in the cache, if they are whole there. From then on, the kernel alone
//! reads them.
//!
//! | file | what it does |
//! |---|---|
//! | `symbols` | the list of the functions that are replaced |
//! | `hooks/` | those functions, a file for each kind |
//! | `settings` | what the environment says |
//! | `redirect` | the way of one open, from the origin's file to the cached one |
//! | `attach` | cache directory and origins, looked at when they are first needed |
//! | `cwd` | whether relative names may lead below an origin |
//! | `identity` | whose a cached file is |
//! | `trust` | opens without the origin |
//! | `give_back` | from the cached file to the origin's |
//! | `fill` | asks for a copy of what is missing |
//! | `report` | what was done, told at the end |
//! | `real`, `errno`, `text` | functions of libc, errno, bytes on the stack |
//!
//! All of this runs in other people's programs: in signal handlers, between fork and exec,
//! inside of allocators, on stacks of a few pages. So it has no threads, no locks, no
//! memory of its own but static one, keeps no descriptor, does not panic, and asks the kernel
//! without libc.

// A panic in somebody else's program would end it.
#![cfg_attr(
    not(test),
    deny(
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]
// What is exported is used by nobody else, and in tests nothing is.
#![cfg_attr(test, allow(dead_code, reason = "nothing is exported in tests"))]

#[macro_use]
mod symbols;

mod attach;
mod cwd;
mod errno;
mod fill;
mod give_back;
mod hooks;
mod identity;
mod locks;
mod real;
mod redirect;
mod report;
mod settings;
mod text;
mod trust;
