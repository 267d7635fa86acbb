//! Counters of one cache.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Counters since the cache was opened, by this process.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
            /// Bytes that the memory tier holds (now).
            pub memory_bytes: u64,
            /// Bytes that are on their way ahead of readers, or there and not read (now).
            pub readahead_bytes: u64,
            /// Chunks that one fill may have under way (now).
            pub fill_depth: u64,
            /// Bytes in the cache directory, those being written included (now).
            pub cached_bytes: u64,
            /// Objects in the cache directory (now).
            pub cached_objects: u64,
            /// Objects that the cache directory has room for.
            pub objects_max: u64,
            /// Bytes of pinned objects (now).
            pub pinned_bytes: u64,
            /// Percent of the file system's blocks that were free when it was last asked.
            pub space_free_percent: u64,
            /// The same of its inodes; 100 if it does not count them.
            pub inodes_free_percent: u64,
        }

        impl Stats {
            /// Every number with its name.
            pub fn numbers(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [
                    $((stringify!($name), self.$name),)*
                    ("memory_bytes", self.memory_bytes),
                    ("readahead_bytes", self.readahead_bytes),
                    ("fill_depth", self.fill_depth),
                    ("cached_bytes", self.cached_bytes),
                    ("cached_objects", self.cached_objects),
                    ("objects_max", self.objects_max),
                    ("pinned_bytes", self.pinned_bytes),
                    ("space_free_percent", self.space_free_percent),
                    ("inodes_free_percent", self.inodes_free_percent),
                ]
                .into_iter()
            }
        }

        #[derive(Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)*
        }

        impl Counters {
            pub(crate) fn snapshot(&self) -> Stats {
                Stats {
                    $($name: self.$name.get(),)*
                    memory_bytes: 0,
                    readahead_bytes: 0,
                    fill_depth: 0,
                    cached_bytes: 0,
                    cached_objects: 0,
                    objects_max: 0,
                    pinned_bytes: 0,
                    space_free_percent: 0,
                    inodes_free_percent: 0,
                }
            }
        }
    };
}

counters! {
    /// Reads that the cache alone served.
    hits,
    /// Reads that needed the origin, and filled the cache with all they got from it.
    misses,
    /// Reads that needed the origin, some of whose bytes were not kept.
    bypasses,
    /// Reads that failed.
    errors,
    /// Bytes that reads got from the cache.
    bytes_from_cache,
    /// Bytes that were read from origins.
    bytes_from_origin,
    /// Those of them that went straight to their reader's memory, and were not kept.
    bytes_straight,
    /// Reads of origins: of at most one chunk each, or of a run of chunks that a
    /// fill has the kernel copy.
    origin_reads,
    /// Chunks written to the cache.
    chunks_stored,
    /// Chunks that could not be written to the cache.
    store_errors,
    /// Fetches thrown away because the origin's file had changed.
    stale_fetches,
    /// Objects removed to make room.
    evictions,
    /// Those of them that were removed beside the work.
    evictions_ahead,
    /// Very large objects of which what was cold was removed to make room.
    trims,
    /// Times that nothing was stored since another process took too long to evict.
    eviction_waits,
    /// Requests accepted and not completed (now).
    in_flight,
    /// Bytes that fills had the object share with the origin's file (reflink).
    bytes_reflinked,
    /// Bytes that fills copied by copy_file_range(2).
    bytes_copied_in_kernel,
    /// Bytes that fills copied by reads and writes on the engine.
    bytes_copied_by_ring,
    /// Those of them that were read past the page cache.
    bytes_read_directly,
    /// Bytes that fills copied by splices through a pipe.
    bytes_spliced,
    /// Bytes of holes that fills did not have to copy.
    bytes_of_holes,
    /// Bytes for which zeroed blocks were allocated before they were written.
    bytes_preallocated_zeroed,
    /// Bytes for which unwritten blocks were.
    bytes_preallocated,
    /// Bytes of `bytes_from_cache` that came from the memory tier.
    bytes_from_memory,
    /// Bytes that are leased, in whole pages of 4 KiB (now).
    leased_bytes,
    /// Chunks that were compared with their checksum and found to be what was written.
    chunks_verified,
    /// Chunks that were found not to be what was written: they are fetched again.
    chunks_dropped,
    /// Passes of verification through all objects beside serving.
    verify_passes,
    /// Rounds in which what was stored was synced.
    epochs,
    /// Chunks that have been found on the device since, and outlive a crash of the host.
    chunks_durable,
    /// Bytes that were read from origins before anybody asked for them.
    bytes_prefetched,
    /// Those of them that nobody had read when the run of reads was over, or the file
    /// closed. They stay in the cache.
    bytes_prefetched_unused,
    /// Reads that had to wait for a chunk that was on its way ahead of them.
    prefetch_stalls,
    /// Opens that failed because the origin had said a moment ago that it has no such
    /// file (see the option negative_ttl_ms of origins).
    negative_hits,
    /// Opens of files that were not asked for at their origin, since what it had said
    /// before was still believed (see the option validation of origins).
    opens_unasked,
    /// Opens of files whose origin could not be reached, and that are served as they were
    /// when it last was (see the option stale_ms of origins).
    stale_opens,
    /// Reads of such files that the cache alone served.
    stale_reads,
    /// Times that a request was tried again at its origin (see the option retries).
    origin_retries,
    /// Reads of the cache device that failed. Their chunks are dropped.
    device_read_errors,
    /// Operations of the cache device that did not end in time.
    device_hangs,
    /// Times that the condition of the cache device has changed.
    device_changes,
    /// Probes of the cache device.
    device_probes,
    /// Bytes of reads that were not kept since fills are limited, or write too slowly.
    bytes_passed_by,
    /// Bytes that were fetched when nobody read: what had passed by, and rests of files.
    bytes_filled_later,
    /// Times that a fetch or a fill had to wait for what its origin, or fills, may take.
    throttled,
    /// Nanoseconds that they waited.
    throttled_ns,
}

impl Counters {
    /// A read that was over before anybody could see it in flight.
    pub(crate) fn hit_at_once(&self, bytes: u64) {
        self.hits.add(1);
        self.bytes_from_cache.add(bytes);
    }
}

/// One number that any thread may change.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn sub(&self, count: u64) {
        self.0.fetch_sub(count, Ordering::Relaxed);
    }

    /// Adds unless that leads beyond the limit; whether it did.
    pub(crate) fn add_within(&self, count: u64, limit: u64) -> bool {
        // For a moment it may be too much: then another one is refused that would
        // have had room just so. Nobody ever has more than the limit.
        let before = self.0.fetch_add(count, Ordering::Relaxed);
        let fits = before.saturating_add(count) <= limit;
        if !fits {
            self.sub(count);
        }
        fits
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
