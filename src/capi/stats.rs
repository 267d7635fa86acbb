//! Statistics.

use super::extensible::copy_out;
use super::guard;
use super::handle::Handle;
use super::types::*;
use cachefs_core::{Cache, EngineStats, Latency};

/// Says what the cache has done since it was opened, by this process. Each
/// number is right; together they are of no single moment.
///
/// cache       must not be NULL
/// statistics  must not be NULL; its struct_size set
///
/// Returns 0, or a negative errno: as cachefs_cache_report().
///
/// Thread-safety: any thread. Blocks: never. Since: 0.1.
///
/// # Safety
/// `statistics` must be NULL or writable for as many bytes as its first field says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cachefs_stats(
    cache: *mut cachefs_cache,
    statistics: *mut cachefs_statistics,
) -> i32 {
    guard::status(|| {
        let stats = Cache::get(cache)?.stats();
        let value = cachefs_statistics {
            struct_size: 0,
            reserved: 0,
            hits: stats.hits,
            misses: stats.misses,
            bypasses: stats.bypasses,
            errors: stats.errors,
            bytes_from_cache: stats.bytes_from_cache,
            bytes_from_origin: stats.bytes_from_origin,
            origin_reads: stats.origin_reads,
            chunks_stored: stats.chunks_stored,
            store_errors: stats.store_errors,
            stale_fetches: stats.stale_fetches,
            evictions: stats.evictions,
            cached_bytes: stats.cached_bytes,
            cached_objects: stats.cached_objects,
            in_flight: stats.in_flight,
            bytes_straight: stats.bytes_straight,
            bytes_reflinked: stats.bytes_reflinked,
            bytes_copied_in_kernel: stats.bytes_copied_in_kernel,
            bytes_copied_by_ring: stats.bytes_copied_by_ring,
            bytes_read_directly: stats.bytes_read_directly,
            bytes_spliced: stats.bytes_spliced,
            bytes_of_holes: stats.bytes_of_holes,
            bytes_preallocated_zeroed: stats.bytes_preallocated_zeroed,
            bytes_preallocated: stats.bytes_preallocated,
            bytes_from_memory: stats.bytes_from_memory,
            memory_bytes: stats.memory_bytes,
            leased_bytes: stats.leased_bytes,
            chunks_verified: stats.chunks_verified,
            chunks_dropped: stats.chunks_dropped,
            verify_passes: stats.verify_passes,
            epochs: stats.epochs,
            chunks_durable: stats.chunks_durable,
            bytes_prefetched: stats.bytes_prefetched,
            bytes_prefetched_unused: stats.bytes_prefetched_unused,
            prefetch_stalls: stats.prefetch_stalls,
            readahead_bytes: stats.readahead_bytes,
            negative_hits: stats.negative_hits,
            opens_unasked: stats.opens_unasked,
            stale_opens: stats.stale_opens,
            stale_reads: stats.stale_reads,
            origin_retries: stats.origin_retries,
            objects_max: stats.objects_max,
            pinned_bytes: stats.pinned_bytes,
            evictions_ahead: stats.evictions_ahead,
            eviction_waits: stats.eviction_waits,
            space_free_percent: stats.space_free_percent,
            inodes_free_percent: stats.inodes_free_percent,
            device_read_errors: stats.device_read_errors,
            device_hangs: stats.device_hangs,
            device_changes: stats.device_changes,
            device_probes: stats.device_probes,
            bytes_passed_by: stats.bytes_passed_by,
            bytes_filled_later: stats.bytes_filled_later,
            throttled: stats.throttled,
            throttled_ns: stats.throttled_ns,
            fill_depth: stats.fill_depth,
            trims: stats.trims,
        };
        // SAFETY: the caller promises the structure.
        unsafe { copy_out(statistics, &value) }
    })
}

/// Says what the cache's engines have done since it was opened: of the library's
/// threads and of queues. The numbers of an engine are those of its last call.
///
/// cache       must not be NULL
/// statistics  must not be NULL; its struct_size set
///
/// Returns 0, or a negative errno: as cachefs_cache_report().
///
/// Thread-safety: any thread. Blocks: never. Since: 0.1.
///
/// # Safety
/// `statistics` must be NULL or writable for as many bytes as its first field says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cachefs_engine_stats(
    cache: *mut cachefs_cache,
    statistics: *mut cachefs_engine_statistics,
) -> i32 {
    guard::status(|| {
        let value = convert(&Cache::get(cache)?.engine_stats());
        // SAFETY: the caller promises the structure.
        unsafe { copy_out(statistics, &value) }
    })
}

/// Of an operation that has not been used.
const NONE: cachefs_latency = cachefs_latency {
    count: 0,
    mean_ns: 0,
    p50_ns: 0,
    p99_ns: 0,
    p999_ns: 0,
    max_ns: 0,
};

fn convert(stats: &EngineStats) -> cachefs_engine_statistics {
    let of = |operations: &[&str]| {
        let latency = |one: &&Latency| operations.contains(&one.operation);
        stats
            .latencies
            .iter()
            .find(latency)
            .map_or(NONE, |one| cachefs_latency {
                count: one.count,
                mean_ns: one.mean_ns,
                p50_ns: one.p50_ns,
                p99_ns: one.p99_ns,
                p999_ns: one.p999_ns,
                max_ns: one.max_ns,
            })
    };
    cachefs_engine_statistics {
        struct_size: 0,
        reserved: 0,
        submissions: stats.submissions,
        completions: stats.completions,
        in_flight: stats.in_flight,
        enters: stats.enters,
        sq_full: stats.sq_full,
        backlog_high_water: stats.backlog_high_water,
        cq_overflows: stats.cq_overflows,
        short_transfers: stats.short_transfers,
        cancels_won: stats.cancels_won,
        cancels_lost: stats.cancels_lost,
        stale_completions: stats.stale_completions,
        wakes: stats.wakes,
        bytes_read: stats.bytes_read,
        bytes_written: stats.bytes_written,
        read: of(&["read"]),
        write: of(&["write"]),
        stat: of(&["stat"]),
        splice: of(&["splice"]),
        allocate: of(&["allocate", "allocate_zeroed"]),
    }
}
