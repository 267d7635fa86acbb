//! The rows: what is compared with what, and what is to be reached.

use super::mount::{self, Memory};
use super::mounted::Present;
use super::report::Measured;
use super::scratch::Scratch;
use super::subject::Subject;
use super::trouble::Trouble;
use super::{cached, cold, copy, direct, disk, idle, many, opened, preloaded, tail};
use cachefs_core::Config;
use std::path::PathBuf;

/// Bytes of the file that is read, at most.
const READ_BYTES_MAX: u64 = 1 << 30;

/// What all rows are run on.
pub struct Bed {
    /// Where files are made.
    pub scratch: Scratch,
    /// Options of the caches.
    pub config: Config,
    /// Measurements of each side.
    pub pairs: u16,
    /// Bytes of the file that is copied.
    pub size: u64,
    /// Objects of a cache that has very many.
    pub objects: u64,
    /// Seconds that the disk is watched.
    pub mixed_seconds: u64,
    /// Seconds that the idle engine is watched.
    pub idle: u16,
    /// Where the file that is read comes from.
    pub origin: PathBuf,
    /// The program cachefsd.
    pub daemon: PathBuf,
    /// Options that it is given, as KEY=VALUE.
    pub options: Vec<String>,
}

impl Bed {
    /// Bytes of the file that is read.
    pub fn read_size(&self) -> u64 {
        read_size(self.size)
    }

    /// A new cache with that file in it.
    pub fn subject(&self, config: &Config) -> Result<Subject<'_>, Trouble> {
        Subject::new(&self.scratch, config, &self.origin, (self.read_size(), 0))
    }
}

/// Bytes of the file that is read, when `size` were asked for.
pub fn read_size(size: u64) -> u64 {
    size.min(READ_BYTES_MAX)
}

/// One of them.
pub struct Row {
    /// As on the command line.
    pub name: &'static str,
    /// What is compared with what.
    pub title: &'static str,
    /// Measures it.
    pub run: fn(&Bed) -> Result<Measured, Trouble>,
}

/// Those of the cache, in the order in which they are run.
pub static CACHE_ROWS: [Row; 10] = [
    Row {
        name: "lease",
        title: "4 KiB in locked memory leased, located and released, against pread",
        run: cached::leases,
    },
    Row {
        name: "open-hit",
        title: "cached files opened, looked at and closed, against open, fstat and close",
        run: opened::hits,
    },
    Row {
        name: "lookup",
        title: "opens of cached files among very many objects, against among a thousand",
        run: many::lookup,
    },
    Row {
        name: "open",
        title: "a cache with very many objects, opened until its first hit",
        run: many::first_hit,
    },
    Row {
        name: "memory",
        title: "private memory of a process that has a cache with very many objects open",
        run: many::memory,
    },
    Row {
        name: "disk",
        title: "what a cache takes at most while two fill and read all at once",
        run: disk::run,
    },
    Row {
        name: "cold-limited",
        title: "a cold file of an origin of 200 MB/s read in order, against that origin",
        run: cold::limited,
    },
    Row {
        name: "cold-same-disk",
        title: "a cold file of an origin on the same disk read in order, against pread",
        run: cold::same_disk,
    },
    Row {
        name: "readahead",
        title: "an origin of 10 ms a request read in order by 128 KiB, against no readahead",
        run: cold::ahead,
    },
    Row {
        name: P99,
        title: "4 KiB hits while a cold file is copied into the cache, against an idle cache",
        run: tail::run,
    },
];

/// Reads of one file by fio, the same for all ways to one that is cached: between other rows.
macro_rules! with_fio_rows {
    ($reads:path; [$($before:expr,)*] [$($after:expr,)*]) => {
        [
            $($before,)*
            Row {
                name: "warm-1m",
                title: "a cached file read in order by 1 MiB, page cache warm",
                run: |bed| $reads(bed, Memory::Warm, (false, 1 << 20, 1)),
            },
            Row {
                name: "warm-4k",
                title: "the same in no order by 4 KiB",
                run: |bed| $reads(bed, Memory::Warm, (true, 4 << 10, 1)),
            },
            Row {
                name: "cold-1m",
                title: "a cached file read in order by 1 MiB, page cache cold",
                run: |bed| $reads(bed, Memory::Cold, (false, 1 << 20, 1)),
            },
            Row {
                name: "cold-4k",
                title: "the same in no order by 4 KiB",
                run: |bed| $reads(bed, Memory::Cold, (true, 4 << 10, 1)),
            },
            Row {
                name: "direct-1m",
                title: "O_DIRECT reads of 1 MiB in order, one at a time",
                run: |bed| $reads(bed, Memory::Direct, (false, 1 << 20, 1)),
            },
            Row {
                name: "direct-1m-8",
                title: "the same, 8 in flight",
                run: |bed| $reads(bed, Memory::Direct, (false, 1 << 20, 8)),
            },
            Row {
                name: "direct-4k",
                title: "O_DIRECT reads of 4 KiB in no order, one at a time",
                run: |bed| $reads(bed, Memory::Direct, (true, 4 << 10, 1)),
            },
            Row {
                name: "direct-4k-32",
                title: "the same, 32 in flight",
                run: |bed| $reads(bed, Memory::Direct, (true, 4 << 10, 32)),
            },
            $($after,)*
        ]
    };
}

/// Those of a mount.
pub static MOUNT_ROWS: [Row; 16] = with_fio_rows! {
    mount::complete;
    []
    [
        Row {
            name: "small-files",
            title: "2,000 files of 4 KiB opened, read and closed",
            run: mount::small,
        },
        Row {
            name: "stat",
            title: "2,000 names looked at, time-outs of a second",
            run: mount::stat,
        },
        Row {
            name: "partly-4k",
            title: "a file that is not wholly cached, O_DIRECT 4 KiB in no order, one at a time",
            run: |bed| mount::partly(bed, 1, 0.6),
        },
        Row {
            name: "partly-4k-32",
            title: "the same, 32 in flight",
            run: |bed| mount::partly(bed, 32, 0.6),
        },
        Row {
            name: "first-read",
            title: "a file that is not cached read in order, against its slow origin",
            run: mount::first_read,
        },
        Row {
            name: "daemon-time",
            title: "processor time of the daemon while the kernel serves reads",
            run: mount::daemon_time,
        },
        Row {
            name: "calls",
            title: "system calls of the daemon for a read of a cached file that it serves itself",
            run: |bed| mount::calls(bed, Present::Whole),
        },
        Row {
            name: "calls-partly",
            title: "the same of a file that is not wholly cached",
            run: |bed| mount::calls(bed, Present::Most),
        },
    ]
};

/// Those of the library for LD_PRELOAD.
pub static PRELOAD_ROWS: [Row; 14] = with_fio_rows! {
    preloaded::reads;
    [
        Row {
            name: "verify",
            title: "32 cached files of 4 KiB opened, read and closed, each verified",
            run: |bed| preloaded::opens(bed, preloaded::FEW, "verify", 2.2),
        },
        Row {
            name: "verify-many",
            title: "the same of 2,000 files",
            run: |bed| preloaded::opens(bed, preloaded::MANY, "verify", 2.2),
        },
        Row {
            name: "trust",
            title: "32 cached files opened, read and closed without asking the origin",
            run: |bed| preloaded::opens(bed, preloaded::FEW, "trust", 1.3),
        },
        Row {
            name: "trust-many",
            title: "the same of 2,000 files",
            run: |bed| preloaded::opens(bed, preloaded::MANY, "trust", 1.3),
        },
        Row {
            name: "outside",
            title: "32 files of 4 KiB outside the origin opened, read and closed",
            run: preloaded::outside,
        },
        Row {
            name: "start",
            title: "/bin/true started",
            run: preloaded::start,
        },
    ]
    []
};

/// Those of the engine.
pub static ENGINE_ROWS: [Row; 9] = [
    Row {
        name: "direct-4k",
        title: "O_DIRECT reads of 4 KiB in no order, 32 in flight, against fio",
        run: |bed| direct::run(bed, true, 4 << 10, (32, 1)),
    },
    Row {
        name: "direct-128k",
        title: "O_DIRECT reads of 128 KiB in order, 16 in flight, against fio",
        run: |bed| direct::run(bed, false, 128 << 10, (16, 4)),
    },
    Row {
        name: "direct-1m",
        title: "O_DIRECT reads of 1 MiB in order, 8 in flight, against fio",
        run: |bed| direct::run(bed, false, 1 << 20, (8, 2)),
    },
    Row {
        name: "cached-queue",
        title: "4 KiB from the page cache, locked, batches of 32 on a queue, against pread",
        run: cached::batches,
    },
    Row {
        name: "cached-ring",
        title: "the same without the memory tier: each read by the ring",
        run: cached::batches_by_ring,
    },
    Row {
        name: "cached-blocking",
        title: "4 KiB from the page cache, blocking calls, against pread",
        run: cached::blocking,
    },
    Row {
        name: "system-calls",
        title: "system calls of 4 KiB reads from the page cache, batches of 32 on a queue",
        run: cached::calls,
    },
    Row {
        name: COPY,
        title: "a cold file copied into the cache, against cp --sparse=never --reflink=never",
        run: copy::run,
    },
    Row {
        name: "idle",
        title: "the engine without requests",
        run: |bed| idle::run(bed, bed.idle),
    },
];

/// The row that copies.
pub const COPY: &str = "copy";
/// How those are named that read a cold file into a cache.
pub const COLD: &str = "cold-";
/// The one that copies beside hits.
pub const P99: &str = "p99";

/// System calls for each of `operations` of a run that counted them. A run that
/// could not count leaves a note.
pub fn note_calls<T>(
    notes: &mut Vec<String>,
    counted: Result<(Result<T, Trouble>, u64), String>,
    operations: u64,
) -> Result<Option<f64>, Trouble> {
    match counted {
        Ok((run, calls)) => run.map(|_| Some(calls as f64 / operations as f64)),
        Err(reason) => {
            if !notes.contains(&reason) {
                notes.push(reason);
            }
            Ok(None)
        }
    }
}
