//! Those of counters. This file imports nothing: see `types.rs`.

/// Counters since the cache was opened, by this process.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cachefs_statistics {
    /// sizeof(cachefs_statistics) of the program.
    pub struct_size: u32,
    /// Must be ignored.
    pub reserved: u32,
    /// Reads that the cache alone served, those of no bytes included.
    pub hits: u64,
    /// Reads that needed the origin, and filled the cache with all they got from it.
    pub misses: u64,
    /// Reads that needed the origin, some of whose bytes were not kept.
    pub bypasses: u64,
    /// Reads that failed.
    pub errors: u64,
    /// Bytes that reads got from the cache.
    pub bytes_from_cache: u64,
    /// Bytes that were read from origins.
    pub bytes_from_origin: u64,
    /// Reads of origins: of at most one chunk each, or of a run of chunks that a
    /// fill has the kernel copy.
    pub origin_reads: u64,
    /// Chunks written to the cache.
    pub chunks_stored: u64,
    /// Chunks that could not be written to the cache.
    pub store_errors: u64,
    /// Fetches thrown away because the origin's file had changed.
    pub stale_fetches: u64,
    /// Objects removed to make room.
    pub evictions: u64,
    /// Bytes in the cache directory, those being written included (now).
    pub cached_bytes: u64,
    /// Objects in the cache directory (now).
    pub cached_objects: u64,
    /// Requests accepted and not completed (now).
    pub in_flight: u64,
    /// Those of bytes_from_origin that went straight to their reader's memory,
    /// since they were not kept.
    pub bytes_straight: u64,
    /// Bytes that fills had the object share with the origin's file (reflink).
    pub bytes_reflinked: u64,
    /// Bytes that fills copied by copy_file_range(2).
    pub bytes_copied_in_kernel: u64,
    /// Bytes that fills copied by reads and writes on the engine.
    pub bytes_copied_by_ring: u64,
    /// Those of them that were read past the page cache.
    pub bytes_read_directly: u64,
    /// Bytes that fills copied by splices through a pipe.
    pub bytes_spliced: u64,
    /// Bytes of holes that fills did not have to copy.
    pub bytes_of_holes: u64,
    /// Bytes for which zeroed blocks were allocated before they were written.
    pub bytes_preallocated_zeroed: u64,
    /// Bytes for which unwritten blocks were.
    pub bytes_preallocated: u64,
    /// Those of bytes_from_cache that were copied from locked memory, or leased there,
    /// without a system call (see the option memory_bytes).
    pub bytes_from_memory: u64,
    /// Bytes of cached files in locked memory, now.
    pub memory_bytes: u64,
    /// Bytes that are leased, in whole pages of 4 KiB (now).
    pub leased_bytes: u64,
    /// Chunks that were compared with their checksum, and found to be what was written:
    /// what an earlier boot of the host had left, and by cachefs_verify() and its like.
    pub chunks_verified: u64,
    /// Chunks that were found not to be what was written: each was dropped, and is
    /// fetched again when it is read.
    pub chunks_dropped: u64,
    /// Passes through all objects (see the option verify_bytes_per_second).
    pub verify_passes: u64,
    /// Rounds in which what was stored was synced (see the option durable).
    pub epochs: u64,
    /// Chunks that a round has brought to the device: they outlive a crash of the host.
    pub chunks_durable: u64,
    /// Bytes that were read from origins before anybody asked for them (see the option
    /// readahead).
    pub bytes_prefetched: u64,
    /// Those of them that nobody had read when the run of reads was over, or the file
    /// closed. They stay in the cache.
    pub bytes_prefetched_unused: u64,
    /// Reads that had to wait for a chunk that was on its way ahead of them.
    pub prefetch_stalls: u64,
    /// Bytes that are on their way ahead of readers, or there and not read, now.
    pub readahead_bytes: u64,
    /// Opens that failed because the origin had said a moment ago that it has no such
    /// file (see the option negative_ttl_ms of origins).
    pub negative_hits: u64,
    /// Opens of files that were not asked for at their origin, since what it had said
    /// before was still believed (see the option validation of origins).
    pub opens_unasked: u64,
    /// Opens of files whose origin could not be reached, and that are served as they were
    /// when it last was (see the option stale_ms of origins).
    pub stale_opens: u64,
    /// Those of `hits` that are of such files.
    pub stale_reads: u64,
    /// Times that a read or an open was tried again at its origin (see the option retries
    /// of origins).
    pub origin_retries: u64,
    /// Objects that the cache directory has room for.
    pub objects_max: u64,
    /// Bytes of pinned objects (now).
    pub pinned_bytes: u64,
    /// Those of evictions that were done beside the work, before anybody waited for room.
    pub evictions_ahead: u64,
    /// Times that nothing was stored since another process took too long to evict.
    pub eviction_waits: u64,
    /// Percent of the file system's blocks that were free when it was last asked.
    pub space_free_percent: u64,
    /// Percent of the file system's inodes that were free when it was last asked; 100 if
    /// it does not count them.
    pub inodes_free_percent: u64,
    /// Reads of the cache device that failed. Their chunks are dropped.
    pub device_read_errors: u64,
    /// Operations of the cache device that did not end in time.
    pub device_hangs: u64,
    /// Times that the state of the cache device has changed.
    pub device_changes: u64,
    /// Probes of the cache device.
    pub device_probes: u64,
    /// Bytes of reads that were not kept since fills are limited, or write too slowly.
    pub bytes_passed_by: u64,
    /// Bytes that were fetched when nobody read: what had passed by, and rests of files.
    pub bytes_filled_later: u64,
    /// Times that a fetch or a fill had to wait for what its origin, or fills, may take.
    pub throttled: u64,
    /// Nanoseconds that they waited.
    pub throttled_ns: u64,
    /// Chunks that one fill may have under way, now: see fill_latency_percent.
    pub fill_depth: u64,
    /// Times that of a very large file what was cold was removed, to make room, and the
    /// rest stayed.
    pub trims: u64,
}

/// Latencies of one kind of operation, from its start to its end.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cachefs_latency {
    /// Operations that ended.
    pub count: u64,
    /// Nanoseconds.
    pub mean_ns: u64,
    /// Half took no longer, in nanoseconds.
    pub p50_ns: u64,
    /// 99 of 100 took no longer.
    pub p99_ns: u64,
    /// 999 of 1000 took no longer.
    pub p999_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

/// What the engines of a cache have done since it was opened, those of closed
/// queues included; see cachefs_engine_stats().
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cachefs_engine_statistics {
    /// sizeof(cachefs_engine_statistics) of the program.
    pub struct_size: u32,
    /// Must be ignored.
    pub reserved: u32,
    /// Operations that engines took.
    pub submissions: u64,
    /// Operations that ended.
    pub completions: u64,
    /// Operations taken and not ended (now).
    pub in_flight: u64,
    /// io_uring_enter calls; on psync, system calls of transfers.
    pub enters: u64,
    /// Times that a submission queue had no room.
    pub sq_full: u64,
    /// Most operations that have waited for room in one submission queue.
    pub backlog_high_water: u64,
    /// Times that a completion queue had overflowed. Nothing is lost by it.
    pub cq_overflows: u64,
    /// Transfers that were continued because they had been short.
    pub short_transfers: u64,
    /// Cancellations that ended their operation.
    pub cancels_won: u64,
    /// Cancellations that came too late.
    pub cancels_lost: u64,
    /// Completions of operations that had already ended: a bug.
    pub stale_completions: u64,
    /// Wake-ups by other threads.
    pub wakes: u64,
    /// Bytes that operations read.
    pub bytes_read: u64,
    /// Bytes that operations wrote.
    pub bytes_written: u64,
    /// Of reads.
    pub read: cachefs_latency,
    /// Of writes.
    pub write: cachefs_latency,
    /// Of version checks.
    pub stat: cachefs_latency,
    /// Of splices.
    pub splice: cachefs_latency,
    /// Of preallocations.
    pub allocate: cachefs_latency,
}
