//! Every bound of the core, with its unit, and what the bounds owe each other.

/// Smallest chunk, in bytes: below it a bitmap word covers too little to pay.
pub const CHUNK_BYTES_MIN: u64 = 64 << 10;
/// Largest chunk, in bytes: a buffer of the pool holds one.
pub const CHUNK_BYTES_MAX: u64 = 64 << 20;
/// Largest file that is cached, in bytes; larger ones are read through.
pub const OBJECT_BYTES_MAX: u64 = 16 << 40;
/// Bytes of a path within an origin, as in PATH_MAX.
pub const PATH_BYTES_MAX: usize = 4096;
/// Bytes of the name of an origin.
pub const ORIGIN_NAME_BYTES_MAX: usize = 4096;
/// Bytes that one transfer of the kernel moves at most (MAX_RW_COUNT, read(2)).
pub const TRANSFER_BYTES_MAX: usize = 0x7fff_f000;
/// Paths of one origin whose state is remembered.
pub const ORIGIN_PATHS_MAX: usize = 1 << 15;
/// Threads of one origin that open files of which something is missing after all.
pub const OPENERS_MAX: u32 = 4;
/// Objects that are kept open after they were closed: each takes two or three
/// descriptors, of which a process may have 1024 (RLIMIT_NOFILE).
pub const WARM_OBJECTS_MAX: usize = 64;
/// Milliseconds for which they are, at most: meanwhile no process evicts them.
pub const WARM_MS: u64 = 2_000;
/// Times that one request is tried again at its origin.
pub const ORIGIN_RETRIES_MAX: u64 = 64;
/// Failures in a row that can be asked for before an origin is left alone.
pub const BREAKER_FAILURES_MAX: u64 = 1_000_000;
/// Milliseconds that an option of an origin can name: a year.
pub const ORIGIN_MS_MAX: u64 = 366 * 86_400_000;
/// Library threads of one cache.
pub const THREADS_MAX: u64 = 64;
/// Processors that an option can name.
pub const PROCESSORS_MAX: u64 = 4096;
/// Kernel threads of one library thread.
pub const IO_WORKERS_MAX: u64 = 1024;
/// Microseconds that a wait spins at most.
pub const SPIN_US_MAX: u64 = 10_000;
/// Microseconds that a wait spins at most where there are processors to spare.
pub const SPIN_US_DEFAULT: u64 = 50;
/// Processors from which on there are some to spare.
pub const SPIN_PROCESSORS_MIN: usize = 8;
/// Requests in flight at one engine.
pub const QUEUE_DEPTH_MAX: u64 = 4096;
/// Requests that one queue of the application holds, if it does not say.
pub const QUEUE_DEPTH_DEFAULT: u32 = 256;
/// How often a read starts again because the origin's file changed under it.
pub const VERSION_RETRIES_MAX: u32 = 8;
/// How often an engine repeats a transfer that was interrupted without progress.
pub const INTERRUPTS_MAX: u32 = 64;
/// Buffers that each library thread has at least, whatever `pool_bytes` says.
pub const POOL_BUFFERS_MIN: u64 = 2;
/// Milliseconds to wait for other processes that are making or removing objects in a
/// directory where we want to.
pub const BUCKET_LOCK_MS_MAX: u64 = 1_000;
/// The same for those that are making the cache itself, each with an fsync(2).
pub const CACHE_LOCK_MS_MAX: u64 = 10_000;
/// Bytes of the blocks in which room is counted: what a byte takes on disk.
pub const BLOCK_BYTES: u64 = 4096;
/// Objects that one cache directory has room for at most.
pub const OBJECTS_MAX: u64 = 1 << 22;
/// Objects that every cache directory has room for.
pub const OBJECTS_MIN: u64 = 64;
/// Objects that a cache directory has room for unless it is told otherwise, at most.
pub const OBJECTS_DEFAULT_MAX: u64 = 1 << 20;
/// Bytes of the limit of a cache directory for each of which it has room for an object,
/// unless it is told otherwise.
pub const OBJECT_SHARE_BYTES: u64 = 16 << 10;
/// Milliseconds for which nobody reserves while the slot table is counted anew.
pub const QUIET_MS: u64 = 50;
/// Pauses of that length between two tries to count it anew, at most.
pub const RECOUNT_PAUSES_MAX: u32 = 20;
/// Milliseconds that nobody takes to write a key into a slot.
pub const BUSY_MS_MAX: u64 = 100;
/// Files that are looked at under one lock of their bucket.
pub const REPAIR_NAMES: usize = 64;
/// Milliseconds after which a fill asks again for room.
pub const ROOM_WAIT_MS: u64 = 20;
/// Milliseconds that it does so before it fails.
pub const ROOM_PATIENCE_MS: u64 = 2_000;
/// Milliseconds that a reservation waits for another process that evicts.
pub const EVICTOR_WAIT_MS_MAX: u64 = 50;
/// Milliseconds for which objects are evicted beside the work in one go.
pub const CULL_MS_MAX: u64 = 10;
/// Milliseconds between two of these, for those who wait for room.
pub const CULL_PAUSE_MS: u64 = 2;
/// Times that room is made for one reservation, which others may be faster to take.
pub const ROOM_TRIES_MAX: u32 = 16;
/// Milliseconds between two looks at what others have left.
pub const KEEP_MS: u64 = 1_000;
/// Milliseconds from a failure of the cache device to the first probe of it.
pub const DEVICE_PROBE_MS_FIRST: u64 = 1_000;
/// Milliseconds between two probes, at most.
pub const DEVICE_PROBE_MS_MAX: u64 = 60_000;
/// Probes that must succeed one after the other before the device is used again.
pub const DEVICE_PROBES_GOOD: u32 = 2;
/// Bytes that a probe writes, unless the device was full: then it is a chunk.
pub const DEVICE_PROBE_BYTES: usize = 4096;
/// Milliseconds after which a device that was good again counts as one that never failed.
pub const DEVICE_STABLE_MS: u64 = 60_000;
/// Milliseconds within which read errors count together.
pub const DEVICE_READ_WINDOW_MS: u64 = 10_000;
/// So many read errors within that time, and nothing more is stored.
pub const DEVICE_READ_ERRORS_DEGRADED: u32 = 4;
/// So many, and the cache is off.
pub const DEVICE_READ_ERRORS_OFF: u32 = 16;
/// Microseconds for which a store to a mapped page does not wait after the device has taken
/// something. Freezing a file system takes longer (two grace periods of RCU, of 8 ms and more
/// each), and a thread on a busy machine is seldom waited for as long.
pub const PULSE_FRESH_US: u64 = 10_000;
/// Pages of an object's metadata that are known at the same time to take stores at once.
pub const AWAKE_PAGES: usize = 8;
/// Objects and chunks that one beat of the pulse stores to: who asks for more asks again.
pub const PULSE_ASKED_MAX: usize = 256;
/// Milliseconds that a reader waits until the device takes something; then it reads from the
/// origin, and what it read is stored later.
pub const PULSE_PATIENCE_MS: u64 = 100;
/// Threads of a cache for work on its device that is waited for with a limit.
pub const ERRANDS_MAX: u32 = 16;
/// Milliseconds after which it is tried again to store what is read of a file that was opened
/// while the cache device did not answer.
pub const REGAIN_MS: u64 = 1_000;
/// Uses of objects that wait to be counted, at most.
pub const OWED_TOUCHES_MAX: usize = 4096;
/// Of so many buffers of a library thread, one is never used for what will be stored: a
/// device that hangs may keep all the others.
pub const STORE_POOL_SPARE: usize = 8;
/// An object that takes less is evicted as a whole, in bytes (in simulations that is less,
/// so that files of tests are very large),
pub const TRIM_BYTES_MIN: u64 = if cfg!(any(test, feature = "sim")) {
    256 << 10
} else {
    16 << 20
};
/// and so is one that takes a smaller part of `capacity_bytes` than this one: of others, what
/// is cold goes first.
pub const TRIM_SHARE_MAX: u64 = 64;
/// Pieces of an object of which it is asked whether they are cold.
pub const TRIM_LOOKS_MAX: u64 = 4096;
/// For so long the evictor waits for engines to let go of its file.
pub const TRIM_WAIT_MS_MAX: u64 = 20;
/// Entries that one call of the evictor passes over because they are in use.
pub const EVICT_SKIPS_MAX: usize = 128;
/// Nanoseconds within which two changes of a file may carry the same time: a
/// tick of the coarsest kernel clock (CONFIG_HZ=100 gives 10 ms), doubled.
pub const RACY_WINDOW_NS: i64 = 20_000_000;
/// The same for a file system that keeps whole seconds (FAT: two).
pub const RACY_WINDOW_WHOLE_SECONDS_NS: i64 = 2_000_000_000;
/// Pieces of memory that a program may have registered: each has a slot in the
/// table of every ring.
pub const REGIONS_MAX: usize = 64;
/// Bytes of one such piece (io_uring_register(2): a buffer has at most 1 GiB).
pub const REGION_BYTES_MAX: usize = 1 << 30;
/// Files in the table of one ring: those that its last operations were on.
pub const REGISTERED_FILES_MAX: usize = 64;
/// Buffers of a library thread's pool that its ring registers; the rest is used
/// as ordinary memory.
pub const POOL_SLOTS_MAX: usize = 960;
/// Operations that are linked to each other.
pub const CHAIN_MAX: usize = 8;
/// Threads of a cache for calls that copy, and that look at what is to be copied.
pub const COPY_THREADS_MAX: u32 = 4;
/// Threads of a cache that close files which may make them wait.
pub const CLOSERS_MAX: u32 = 1;
/// Bytes that one call of copy_file_range(2) copies: between two, a copy can be
/// stopped.
pub const COPY_CALL_BYTES_MAX: u64 = 8 << 20;
/// Chunks that one job of a worker thread copies.
pub const COPY_RUN_CHUNKS_MAX: u64 = 1024;
/// Milliseconds that such a job is to take: one that takes less than half of it
/// is followed by a larger one.
pub const COPY_RUN_MS: u64 = 50;
/// Such jobs of one request that are under way at the same time.
pub const COPY_RUNS_MAX: u32 = 2;
/// Bytes of a file that are looked at in one go before they are copied.
pub const SURVEY_BYTES_MAX: u64 = 1 << 30;
/// Extents of a file that are looked at in one go.
pub const SURVEY_EXTENTS_MAX: usize = 64;
/// Bytes that are preallocated in one go.
pub const PREALLOCATE_BYTES: u64 = 16 << 20;
/// Bytes that a pipe for splices is asked to hold: what an ordinary user may ask
/// for (/proc/sys/fs/pipe-max-size). Larger ones were no faster.
pub const PIPE_BYTES: usize = 1 << 20;
/// Pipes of one library thread.
pub const PIPES_MAX: usize = 4;
/// Milliseconds after which a request looks again whether another process has stored
/// what it was getting.
pub const CLAIM_WAIT_MS: u64 = 5;
/// Milliseconds that a read waits for that at most; then it asks the origin itself.
pub const CLAIM_PATIENCE_MS: u64 = 2000;
/// Entries of the submission queue of one ring, at least.
pub const SQ_ENTRIES_MIN: u32 = 16;
/// Entries of the submission queue of one ring, at most; what finds it full
/// waits in the ring's backlog.
pub const SQ_ENTRIES_MAX: u32 = 1024;
/// Requests of one batch with one callback.
pub const BATCH_MAX: usize = 4096;
/// Bytes to which O_DIRECT may ask for alignment, at most: what the pool's
/// buffers have. Objects on file systems that ask for more are buffered.
pub const DIRECT_ALIGNMENT_MAX: u32 = 4096;
/// Buffers of each library thread that only hits use, so that an origin that
/// hangs never has all of them.
pub const BOUNCE_BUFFERS: usize = 1;
/// Milliseconds after which a thread that waits for several completions of a queue
/// looks whether the cache was closed: a wake counts as no more than one of them.
pub const CLOSE_LOOK_MS: u64 = 250;
/// Reads of a chunk after which it is brought into the memory tier: together they
/// cost about what that does.
pub const MEMORY_READS_MIN: u32 = 32;
/// Chunks in the memory tier: each takes up to three of a process's mappings, of which
/// it may have 65530 (vm.max_map_count).
pub const MEMORY_WINDOWS_MAX: usize = 1 << 14;
/// Bytes in which leases are counted: what the shortest one holds on to.
pub const LEASE_UNIT_BYTES: u64 = 4096;
/// Bytes that may be leased at once, at most.
pub const LEASE_BYTES_MAX: u64 = 64 << 30;
/// Reads in a row after which chunks are fetched ahead: two in a row are common for
/// programs that only look what a file is.
pub const READAHEAD_RUN_READS: u32 = 3;
/// The same for reads at equal distances, which random ones have now and then.
pub const READAHEAD_STRIDE_READS: u32 = 4;
/// Bytes at the head of a file that may be read in a row without anything being
/// fetched ahead: what looks for a file's type reads up to 64 KiB, some of them twice.
pub const READAHEAD_HEAD_BYTES: u64 = 128 << 10;
/// Chunks that are fetched ahead of a new run.
pub const READAHEAD_CHUNKS_FIRST: u64 = 2;
/// Bytes that are fetched ahead of one run, at most.
pub const READAHEAD_RUN_BYTES_MAX: u64 = 32 << 20;
/// Runs of one file that are followed at the same time.
pub const READAHEAD_RUNS_MAX: usize = 8;
/// Reads of a file that do not belong to a run, after which it is over.
pub const READAHEAD_IDLE_READS: u64 = 64;
/// Hits that are looked at after a miss, as long as they belong to no run.
pub const READAHEAD_WATCH_READS: u32 = 32;
/// Of so many buffers of a library thread, one is not used to fetch ahead.
pub const READAHEAD_POOL_SPARE: usize = 4;
/// Of so many reads that can wait for an origin at once, one may be ahead of readers.
pub const READAHEAD_WAITS_SHARE: u64 = 2;
/// Chunks that a read may leave out, or come early, without leaving its run: several
/// threads of one reader do not keep their order.
pub const READAHEAD_SLACK_CHUNKS: u64 = 1;
/// Objects that wait to be synced, which keeps them open: three descriptors each. Once
/// there are so many, they are synced at once, and others meanwhile not.
pub const UNSYNCED_OBJECTS_MAX: usize = 64;
/// Chunks that wait to be taken back because they are not what was written.
pub const CONDEMNED_CHUNKS_MAX: usize = 64;
/// Milliseconds from one pass of verification to the next: an hour.
pub const VERIFY_PAUSE_MS: u64 = 3_600_000;
/// Words of bits of one object that one sync marks as durable: those of 4 Mi chunks.
pub const SYNC_WORDS_MAX: usize = 1 << 16;
/// Milliseconds for which the close of a cache syncs, about.
pub const SYNC_AT_CLOSE_MS: u64 = 1_000;
/// Bytes that a slow disk writes in a millisecond: what can be synced at the close.
pub const SYNC_BYTES_PER_MS: u64 = 32 << 10;
/// Milliseconds of its rate that a bucket saves while nobody takes from it.
pub const QOS_CREDIT_MS: u64 = 100;
/// Milliseconds of an origin's rate that readers may take in advance.
pub const QOS_READERS_AHEAD_MS: u64 = 1_000;
/// Milliseconds over which the shortest hit is looked for.
pub const QOS_WINDOW_MS: u64 = 100;
/// Such windows after which hits without fills are known anew: half a minute.
pub const QOS_BASELINE_WINDOWS: u32 = 300;
/// Nanoseconds that hits may always take longer than without fills.
pub const QOS_SLACK_NS: u64 = 50_000;
/// Of so many hits of a thread, the time of one is taken.
pub const QOS_HIT_SAMPLES: u32 = 64;
/// Of what waits, so many are looked at for whose turn it is.
pub const QOS_WAITING_MAX: usize = 256;
/// Milliseconds for which what is missed of origins of this host passes the cache by, once its
/// device has shown that it stores more slowly than those give (in simulations for longer, so
/// that no test has to be fast).
pub const PASS_BY_MS: u64 = if cfg!(any(test, feature = "sim")) {
    30_000
} else {
    1000
};
/// Files of a library thread that are kept open, at most, since something of them has passed
/// the cache by, and is filled later.
pub const LATER_FILES_MAX: usize = 16;
/// Milliseconds for which such a file is kept open after that.
pub const LATER_KEPT_MS: u64 = 60_000;
/// Ranges of files that are filled later, at most, of one library thread.
pub const LATER_RANGES_MAX: usize = 4096;
/// Milliseconds without a read at a library thread after which it fills them.
pub const LATER_IDLE_MS: u64 = 100;
/// Rates of bytes and operations, at most: more is no limit.
pub const QOS_RATE_MAX: u64 = 1 << 40;
/// Weight of an origin, at most.
pub const WEIGHT_MAX: u64 = 10_000;
/// Milliseconds for which what was fetched ahead, and nobody has read, counts.
pub const READAHEAD_UNREAD_MS: u64 = 10_000;
/// Segments of one vectored read, as IOV_MAX of the kernel.
pub const SEGMENTS_MAX: usize = 1024;

// What begins a run must be more than a look at a file's head.
const _: () = assert!(READAHEAD_RUN_READS >= 3 && READAHEAD_STRIDE_READS > READAHEAD_RUN_READS);
const _: () = assert!(CHUNK_BYTES_MIN.is_power_of_two() && CHUNK_BYTES_MAX.is_power_of_two());
// A table of buffers has at most 16384 slots (IORING_MAX_REG_BUFFERS).
const _: () = assert!(REGIONS_MAX + POOL_SLOTS_MAX <= 1 << 14);
// A chain, each member with its time-out, must fit an empty submission queue.
const _: () = assert!(2 * CHAIN_MAX as u32 <= SQ_ENTRIES_MIN);
// One chunk must fit one transfer, so that a fetch is one read of the origin.
const _: () = assert!(CHUNK_BYTES_MAX <= TRANSFER_BYTES_MAX as u64);
// So many leases may hold one window of the memory tier, which counts to 2^31.
const _: () = assert!(LEASE_BYTES_MAX / LEASE_UNIT_BYTES < 1 << 30);
// Chunk numbers must fit the bitmap's 32-bit word index with room to spare.
const _: () = assert!(OBJECT_BYTES_MAX / CHUNK_BYTES_MIN <= 1 << 32);
