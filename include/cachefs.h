/*
 * cachefs.h: cached reads and copy-fills of files on slow storage.
 *
 * Files of an origin (a directory on any mounted file system, or callbacks of
 * the program) are read through a cache directory on fast local storage: what
 * was read once is served from there, as long as the origin's file stays the
 * same.
 *
 *     cc -std=c11 program.c $(pkg-config --cflags --libs cachefs)
 *
 * Errors. Functions return 0, or a count, or a negative errno; each lists the
 * errnos it returns. cachefs_last_error() is the text of the calling thread's
 * last failed call. Outputs are written only on success. These errnos mean the
 * same everywhere: -EINVAL a NULL handle or pointer, an unknown flag or value;
 * -EBADF a handle that is closed, or of another kind; -ESHUTDOWN a handle whose
 * cache is closed; -ECHILD a call in a process forked after the cache was
 * opened; -EDEADLK a call that waits, made inside a callback; -ENOMEM;
 * -ENOTRECOVERABLE a bug of the library was caught.
 *
 * Handles. cachefs_cache, cachefs_origin, cachefs_file, cachefs_queue,
 * cachefs_lease and cachefs_origin_token are opaque. Close files and queues
 * before their origin, and origins before their cache; the other order does no
 * harm, but each handle must still be closed. A lease outlives them all, and is
 * released. The functions that close or release accept NULL.
 *
 * Structures. Those that begin with struct_size grow in later releases. The
 * program sets it to sizeof of the structure, as it was compiled, and zeroes
 * the rest: 0 means the default in every field. A longer structure than the
 * library knows is accepted as long as the tail is zero, and refused with
 * -E2BIG when it is not. Values and flag bits that a release does not know are
 * refused with -EINVAL.
 *
 * Threads. All handles may be used by several threads at once, but for
 * cachefs_queue, which belongs to one. Callbacks run on threads of the library,
 * with no lock held, and must neither throw, longjmp, nor end their thread.
 *
 * Memory. What the library allocates it frees itself, when the handle is
 * closed; nothing is ever handed to free(). Texts that it returns belong to it.
 * A buffer lent for a read is the library's from the call until the read's one
 * completion, and never after it. Paths and options are copied during the call.
 *
 * Processes. Loading the library starts nothing. Opening a cache starts
 * threads, which block all signals, and opens descriptors, all of them
 * close-on-exec; signal handlers, umask, limits and locale stay as they are.
 * After fork(), the child's calls return -ECHILD and do nothing; it may call
 * exec, or _exit.
 */


#ifndef CACHEFS_H
#define CACHEFS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* The release that this header belongs to; see cachefs_version(). */
#define CACHEFS_VERSION_MAJOR 0
#define CACHEFS_VERSION_MINOR 1
#define CACHEFS_VERSION_PATCH 0

/* The value of cachefs_version() of the release that this header belongs to. */
#define CACHEFS_VERSION \
    ((CACHEFS_VERSION_MAJOR << 16) | (CACHEFS_VERSION_MINOR << 8) | CACHEFS_VERSION_PATCH)


/**
 * ABI number: the digit of `libcachefs.so.<N>`. Raised only by a break.
 */
#define CACHEFS_ABI 0

/**
 * cachefs_cache_options.engine: `uring` where the kernel grants it, else `psync`.
 */
#define CACHEFS_ENGINE_AUTO 0

/**
 * io_uring, one ring per queue and per library thread.
 */
#define CACHEFS_ENGINE_URING 1

/**
 * Threads that call pread and pwrite.
 */
#define CACHEFS_ENGINE_PSYNC 2

/**
 * cachefs_cache_options.copy_method: the cheapest that works.
 */
#define CACHEFS_COPY_AUTO 0

/**
 * Share the origin's blocks (FICLONERANGE); only within one file system.
 */
#define CACHEFS_COPY_REFLINK 1

/**
 * copy_file_range(2); only within one file system.
 */
#define CACHEFS_COPY_FILE_RANGE 2

/**
 * Reads and writes with the library's buffers.
 */
#define CACHEFS_COPY_RING 3

/**
 * Splices through a pipe.
 */
#define CACHEFS_COPY_SPLICE 4

/**
 * Levels of log messages; 0 in the options means CACHEFS_LOG_WARN.
 */
#define CACHEFS_LOG_ERROR 1

/**
 * Something is not as it should be, and the cache went on.
 */
#define CACHEFS_LOG_WARN 2

/**
 * Life of caches and origins.
 */
#define CACHEFS_LOG_INFO 3

/**
 * Life of files and fills.
 */
#define CACHEFS_LOG_DEBUG 4

/**
 * Single requests.
 */
#define CACHEFS_LOG_TRACE 5

/**
 * cachefs_option_info.type: a decimal number.
 */
#define CACHEFS_OPTION_NUMBER 1

/**
 * Bytes: a number, or one with a unit (K, M, G, T or KiB, MiB, GiB, TiB: powers of 1024).
 */
#define CACHEFS_OPTION_SIZE 2

/**
 * One word of those that `range` lists, separated by `|`.
 */
#define CACHEFS_OPTION_CHOICE 3

/**
 * `any`, or the number of a processor.
 */
#define CACHEFS_OPTION_PROCESSOR 4

/**
 * `none`, or words of those that `range` lists, joined by `+`.
 */
#define CACHEFS_OPTION_SET 5

/**
 * cachefs_cache_options.fill_priority: below what the thread has.
 */
#define CACHEFS_FILL_PRIORITY_LOW 0

/**
 * When the device has nothing else to do.
 */
#define CACHEFS_FILL_PRIORITY_IDLE 1

/**
 * As the thread has it.
 */
#define CACHEFS_FILL_PRIORITY_NONE 2

/**
 * cachefs_report.state: reads are served from the cache and fill it.
 */
#define CACHEFS_STATE_NORMAL 1

/**
 * The directory could not be used when it was opened: every read goes to its origin.
 */
#define CACHEFS_STATE_PASS_THROUGH 2

/**
 * The device of the directory has failed: nothing new is stored for now; what is there
 * is served. A program must expect states that it does not know.
 */
#define CACHEFS_STATE_DEGRADED 3

/**
 * It gives errors, or no answers: every read goes to its origin for now.
 */
#define CACHEFS_STATE_OFF 4

/**
 * cachefs_report.features: IORING_SETUP_SUBMIT_ALL (Linux 5.18).
 */
#define CACHEFS_FEATURE_SUBMIT_ALL (1 << 0)

/**
 * IORING_SETUP_COOP_TASKRUN (5.19).
 */
#define CACHEFS_FEATURE_COOP_TASKRUN (1 << 1)

/**
 * IORING_SETUP_SINGLE_ISSUER (6.0).
 */
#define CACHEFS_FEATURE_SINGLE_ISSUER (1 << 2)

/**
 * IORING_SETUP_DEFER_TASKRUN (6.1).
 */
#define CACHEFS_FEATURE_DEFER_TASKRUN (1 << 3)

/**
 * IORING_SETUP_NO_SQARRAY (6.6).
 */
#define CACHEFS_FEATURE_NO_SQARRAY (1 << 4)

/**
 * IORING_SETUP_SQPOLL, if sq_poll asks for it.
 */
#define CACHEFS_FEATURE_SQPOLL (1 << 5)

/**
 * IORING_SETUP_IOPOLL, if io_poll asks for it.
 */
#define CACHEFS_FEATURE_IOPOLL (1 << 6)

/**
 * IORING_REGISTER_RING_FDS (5.18).
 */
#define CACHEFS_FEATURE_REGISTER_RING_FDS (1 << 7)

/**
 * sparse IORING_REGISTER_FILES2 (5.19).
 */
#define CACHEFS_FEATURE_REGISTER_FILES2 (1 << 8)

/**
 * sparse IORING_REGISTER_BUFFERS2 (5.19).
 */
#define CACHEFS_FEATURE_REGISTER_BUFFERS2 (1 << 9)

/**
 * IORING_REGISTER_IOWQ_MAX_WORKERS (5.15).
 */
#define CACHEFS_FEATURE_REGISTER_IOWQ_MAX_WORKERS (1 << 10)

/**
 * IORING_OP_MSG_RING (5.18).
 */
#define CACHEFS_FEATURE_OP_MSG_RING (1 << 11)

/**
 * IORING_OP_SPLICE (5.7).
 */
#define CACHEFS_FEATURE_OP_SPLICE (1 << 12)

/**
 * IORING_OP_FALLOCATE (5.6).
 */
#define CACHEFS_FEATURE_OP_FALLOCATE (1 << 13)

/**
 * IORING_OP_LINK_TIMEOUT (5.5).
 */
#define CACHEFS_FEATURE_OP_LINK_TIMEOUT (1 << 14)

/**
 * cachefs_report.pages: ordinary pages.
 */
#define CACHEFS_PAGES_SMALL 1

/**
 * Transparent huge pages, where the kernel finds some.
 */
#define CACHEFS_PAGES_TRANSPARENT 2

/**
 * Huge pages of the reserve.
 */
#define CACHEFS_PAGES_RESERVED 3

/**
 * Bytes of a text in cachefs_report, its NUL included.
 */
#define CACHEFS_REASON_MAX 1024

/**
 * cachefs_file_info.flags: the origin could not be reached, and the file is what it was
 * when it last could (see the option stale_ms of origins).
 */
#define CACHEFS_FILE_STALE 1

/**
 * cachefs_completion.source: no bytes were delivered.
 */
#define CACHEFS_SOURCE_NONE 0

/**
 * All bytes came from the cache.
 */
#define CACHEFS_SOURCE_HIT 1

/**
 * All bytes came from the origin, and the cache was filled with them.
 */
#define CACHEFS_SOURCE_MISS 2

/**
 * Some came from the cache, some from the origin.
 */
#define CACHEFS_SOURCE_MIXED 3

/**
 * All bytes came from the origin, and none were kept.
 */
#define CACHEFS_SOURCE_BYPASS 4

/**
 * All bytes came from the cache, and the origin could not be reached to ask whether they
 * are still what it has (see the option stale_ms of origins).
 */
#define CACHEFS_SOURCE_STALE 5

/**
 * cachefs_completion.miss_reason: there was no miss.
 */
#define CACHEFS_MISS_NONE 0

/**
 * The range was not in the cache.
 */
#define CACHEFS_MISS_NEVER_CACHED 1

/**
 * The origin's file has another version than the cached one.
 */
#define CACHEFS_MISS_VERSION_CHANGED 2

/**
 * The bytes were not kept: fills take what they may already, or for a reason that has
 * no name of its own.
 */
#define CACHEFS_MISS_NOT_ADMITTED 3

/**
 * Cached bytes could not be read back.
 */
#define CACHEFS_MISS_CACHE_ERROR 4

/**
 * What was cached was not what had been written; it was dropped and fetched again.
 */
#define CACHEFS_MISS_FAILED_CHECKSUM 5

/**
 * The file was evicted, not long ago.
 */
#define CACHEFS_MISS_EVICTED 6

/**
 * There was no room to keep the bytes.
 */
#define CACHEFS_MISS_NO_ROOM 7

/**
 * The file changed too recently to be trusted, so the bytes were not kept.
 */
#define CACHEFS_MISS_TOO_YOUNG 8

/**
 * The cache stores nothing now: see cachefs_cache_report().
 */
#define CACHEFS_MISS_NOT_STORING 9

/**
 * Another process was getting the bytes, and took too long.
 */
#define CACHEFS_MISS_FETCHED_ELSEWHERE 10

/**
 * A length that means: to the end of the file.
 */
#define CACHEFS_TO_END UINT64_MAX

/**
 * cachefs_request.operation: read `length` bytes at `offset` into `buffer`.
 */
#define CACHEFS_OPERATION_READ 1

/**
 * Copy the range into the cache; `buffer` must be NULL.
 */
#define CACHEFS_OPERATION_FILL 2

/**
 * The same into several pieces: `buffer` is an array of `length` struct iovec
 * (<sys/uio.h>), which is copied. Library threads serve it.
 */
#define CACHEFS_OPERATION_READV 3

/**
 * cachefs_request.priority: of the thread that does the I/O.
 */
#define CACHEFS_PRIORITY_DEFAULT 0

/**
 * Before others at the device.
 */
#define CACHEFS_PRIORITY_HIGH 1

/**
 * Behind others at the device.
 */
#define CACHEFS_PRIORITY_LOW 2

/**
 * When the device has nothing else to do.
 */
#define CACHEFS_PRIORITY_BACKGROUND 3

/**
 * cachefs_queue_options.flags: the queue may be passed on between threads, one
 * at a time. Without it, it belongs to the first thread that submits.
 */
#define CACHEFS_QUEUE_MOVABLE 1

/**
 * cachefs_origin_ops.flags: `read` checks the version that it is given itself
 * and fails with -ESTALE when the file has another one (If-Match, say), so the
 * library does not call `stat` after each read.
 */
#define CACHEFS_ORIGIN_CHECKS_VERSION 1

/**
 * cachefs_origin_ops.flags: the callbacks never block, so they are called on
 * the library's own I/O threads, and `threads` must be 0.
 */
#define CACHEFS_ORIGIN_NONBLOCKING 2

/**
 * cachefs_origin_options.validation: the origin is asked for a file's version at each
 * open.
 */
#define CACHEFS_VALIDATE_ALWAYS 0

/**
 * It is asked at the first open, and again after `validate_ttl_ms`.
 */
#define CACHEFS_VALIDATE_TTL 1

/**
 * It is asked at the first open, and again after cachefs_invalidate().
 */
#define CACHEFS_VALIDATE_NEVER 2

/**
 * cachefs_invalidate(): the path and everything below it; of the path "", everything.
 */
#define CACHEFS_INVALIDATE_BELOW 1

/**
 * cachefs_origin_report_info.circuit: every question is let through to the origin.
 */
#define CACHEFS_CIRCUIT_CLOSED 1

/**
 * None is: what needs the origin fails at once, with its last error.
 */
#define CACHEFS_CIRCUIT_OPEN 2

/**
 * One is, and tells about the others.
 */
#define CACHEFS_CIRCUIT_HALF_OPEN 3

/**
 * Bytes of an origin's opaque version tag.
 */
#define CACHEFS_TAG_MAX 48

/**
 * A cache directory in use. Thread-safe.
 */
typedef struct cachefs_cache cachefs_cache;

/**
 * One file of an origin, open for cached reads. Thread-safe.
 */
typedef struct cachefs_file cachefs_file;

/**
 * Bytes of a file in memory, until it is released. Thread-safe.
 */
typedef struct cachefs_lease cachefs_lease;

/**
 * Where files come from: a directory, or a table of callbacks. Thread-safe.
 */
typedef struct cachefs_origin cachefs_origin;

/**
 * One read that an origin was asked for; see cachefs_origin_complete().
 */
typedef struct cachefs_origin_token cachefs_origin_token;

/**
 * Requests and completions of one thread.
 */
typedef struct cachefs_queue cachefs_queue;

/**
 * Receives one log message: a single line without a line feed, valid during
 * the call. Called on any thread, also from several at once; must not call
 * into the library.
 */
typedef void (*cachefs_log_callback)(void *user,
                                     uint32_t level,
                                     const char *message);

/**
 * Releases a user pointer. Called exactly once, also when the call that was
 * given the pointer fails.
 */
typedef void (*cachefs_free_callback)(void *user);

/**
 * Options of cachefs_cache_open(). Zero means the default in every field.
 *
 * Fill it with cachefs_cache_options_init(). cachefs_option_describe() lists
 * the string keys with their defaults and ranges.
 */
typedef struct cachefs_cache_options {
    /**
     * sizeof(cachefs_cache_options) of the program.
     */
    uint32_t struct_size;
    /**
     * CACHEFS_ENGINE_…
     */
    uint32_t engine;
    /**
     * None are defined: must be 0.
     */
    uint64_t flags;
    /**
     * Limit of the cache directory, in bytes.
     */
    uint64_t capacity_bytes;
    /**
     * Memory for reads from origins, in bytes, over all library threads.
     */
    uint64_t pool_bytes;
    /**
     * Memory to lock for the chunks that are read most, in bytes; 0: none. A read
     * within such a chunk takes no system call, and is over when it was queued.
     * RLIMIT_MEMLOCK bounds it for who lacks CAP_IPC_LOCK.
     */
    uint64_t memory_bytes;
    /**
     * Size in bytes from which on a file that is copied whole, and is not in memory
     * already, is written past the page cache (O_DIRECT), and read so until the copy
     * is complete.
     */
    uint64_t direct_copy_bytes;
    /**
     * Bytes that may be leased at once, counted in pages of 4 KiB.
     */
    uint64_t lease_bytes;
    /**
     * Bytes a second at which what is cached is compared with its checksums, beside
     * serving; 0: it is not.
     */
    uint64_t verify_bytes_per_second;
    /**
     * Limit of what is fetched ahead of readers and not yet read, in bytes, over all
     * files; less than chunk_bytes: nothing is.
     */
    uint64_t readahead_bytes;
    /**
     * Objects that the cache directory has room for; 0: as many as it was made for,
     * which is one for 16 KiB of its limit, 1048576 at most. Another number counts only
     * while nobody else has the cache open.
     */
    uint64_t objects_max;
    /**
     * Unit of presence, in bytes: a power of two. Fixed when the directory is first used.
     */
    uint32_t chunk_bytes;
    /**
     * Library threads that serve misses, fills and callbacks.
     */
    uint32_t threads;
    /**
     * Requests that a library thread has in flight at its engine.
     */
    uint32_t queue_depth;
    /**
     * Threads of the psync engine; half as many more are for what it writes.
     */
    uint32_t psync_threads;
    /**
     * Chunks of one request that are fetched at the same time.
     */
    uint32_t fill_depth;
    /**
     * Bytes a second that fills write to the cache; 0: no limit. Readers do not wait
     * for it: what they get is not kept then, and filled later.
     */
    uint64_t fill_bytes_per_second;
    /**
     * The same in writes, of up to a chunk each.
     */
    uint64_t fill_operations_per_second;
    /**
     * Fills become fewer while hits take more than this percentage of what they take
     * without fills; a large number: they never do.
     */
    uint32_t fill_latency_percent;
    /**
     * CACHEFS_FILL_PRIORITY_…, for devices whose scheduler knows priorities.
     */
    uint32_t fill_priority;
    /**
     * Percentage of a file that is cached from which on all of it is fetched, when
     * nobody reads; 0: never.
     */
    uint32_t fill_after_percent;
    /**
     * Callback reads and fills that may be in flight at once, over the cache.
     */
    uint32_t async_limit;
    /**
     * Milliseconds after which a read that the origin does not answer fails with -ETIMEDOUT.
     */
    uint32_t origin_timeout_ms;
    /**
     * Milliseconds after which an operation of the cache device counts as one that hangs.
     */
    uint32_t device_timeout_ms;
    /**
     * Milliseconds that cachefs_cache_close() waits for I/O that does not finish.
     */
    uint32_t close_timeout_ms;
    /**
     * CACHEFS_LOG_…: messages above this level are not made.
     */
    uint32_t log_level;
    /**
     * 1: a kernel thread submits for all rings; it needs a processor to spare.
     */
    uint32_t sq_poll;
    /**
     * Milliseconds without work after which that thread sleeps.
     */
    uint32_t sq_poll_idle_ms;
    /**
     * Number plus 1 of the processor that it stays on; 0: any.
     */
    uint32_t sq_poll_cpu;
    /**
     * 1: poll the device for direct reads, where it has poll queues.
     */
    uint32_t io_poll;
    /**
     * Microseconds that a wait polls before it sleeps, at most; 0: 50 from 8
     * processors on, else none.
     */
    uint32_t spin_us;
    /**
     * Kernel threads of each library thread for I/O that blocks.
     */
    uint32_t io_workers;
    /**
     * Pages of buffers. 0: transparent huge ones where they are large enough; 1: no
     * huge ones; 2: huge ones of the reserve (vm.nr_hugepages), if there are some.
     */
    uint32_t huge_pages;
    /**
     * 1: new objects are read and written past the page cache (O_DIRECT). A read of
     * one goes straight to the caller where address, offset and length are aligned
     * to the blocks of the file system, else through a buffer of the library's; at
     * the end of the file the rest of the last block counts as part of the buffer.
     */
    uint32_t direct_io;
    /**
     * CACHEFS_COPY_…
     */
    uint32_t copy_method;
    /**
     * CACHEFS_FEATURE_… bits of io_uring not to use, against bugs of a kernel.
     */
    uint32_t withhold;
    /**
     * 1: nothing is fetched before it is asked for. 0: what a run of reads of a file
     * will want is.
     */
    uint32_t readahead;
    /**
     * Percent of capacity_bytes, and of objects_max, in use at which evicting beside the
     * work ends; not above capacity_cull_percent.
     */
    uint32_t capacity_run_percent;
    /**
     * The same at which it begins.
     */
    uint32_t capacity_cull_percent;
    /**
     * Percent of the file system's blocks that are free at which evicting for their sake
     * ends (brun of cachefilesd); above space_cull_percent.
     */
    uint32_t space_run_percent;
    /**
     * The same at which it begins (bcull); above space_stop_percent.
     */
    uint32_t space_cull_percent;
    /**
     * The same below which nothing is stored (bstop).
     */
    uint32_t space_stop_percent;
    /**
     * Percent of the file system's inodes that are free at which evicting for their sake
     * ends (frun); above inodes_cull_percent.
     */
    uint32_t inodes_run_percent;
    /**
     * The same at which it begins (fcull); above inodes_stop_percent.
     */
    uint32_t inodes_cull_percent;
    /**
     * The same below which nothing is stored (fstop).
     */
    uint32_t inodes_stop_percent;
    /**
     * Percent of capacity_bytes that pinned objects may take.
     */
    uint32_t pinned_percent;
    /**
     * 1: what is stored is not synced. 0: it is, in the background, sync_interval_ms
     * after it was stored, and when the cache is closed as far as there is time.
     */
    uint32_t durable;
    /**
     * Milliseconds after which what was stored is synced.
     */
    uint32_t sync_interval_ms;
    /**
     * Must be 0.
     */
    uint32_t reserved;
    /**
     * NULL: no messages.
     */
    cachefs_log_callback log;
    /**
     * Passed to `log`.
     */
    void *log_user;
    /**
     * NULL, or called with `log_user` once the cache makes no more messages.
     */
    cachefs_free_callback log_free;
} cachefs_cache_options;

/**
 * What cachefs_option_describe() says of one option. The texts are static.
 */
typedef struct cachefs_option_info {
    /**
     * sizeof(cachefs_option_info) of the program.
     */
    uint32_t struct_size;
    /**
     * CACHEFS_OPTION_…; a program must expect values it does not know.
     */
    uint32_t type;
    /**
     * The key that cachefs_cache_options_set() takes.
     */
    const char *key;
    /**
     * What 0, or not setting it, means.
     */
    const char *default_value;
    /**
     * `LOW..HIGH`, both included, or the words of a choice.
     */
    const char *range;
    /**
     * One sentence.
     */
    const char *meaning;
} cachefs_option_info;

/**
 * What cachefs_cache_report() says.
 */
typedef struct cachefs_report {
    /**
     * sizeof(cachefs_report) of the program.
     */
    uint32_t struct_size;
    /**
     * The engine in use: CACHEFS_ENGINE_URING or CACHEFS_ENGINE_PSYNC.
     */
    uint32_t engine;
    /**
     * CACHEFS_STATE_…
     */
    uint32_t state;
    /**
     * IORING_SETUP_… bits that the kernel granted; 0 on psync.
     */
    uint32_t ring_flags;
    /**
     * CACHEFS_FEATURE_… bits that are in use; 0 on psync.
     */
    uint32_t features;
    /**
     * CACHEFS_FEATURE_… bits that were asked for and not granted.
     */
    uint32_t features_refused;
    /**
     * CACHEFS_PAGES_…: what the library's buffers are made of.
     */
    uint32_t pages;
    /**
     * Must be ignored.
     */
    uint32_t reserved;
    /**
     * Why this engine, and what the kernel did not grant, with its reasons.
     */
    char engine_reason[CACHEFS_REASON_MAX];
    /**
     * Why the state is not normal; empty when it is.
     */
    char state_reason[CACHEFS_REASON_MAX];
    /**
     * When the state last changed, by CLOCK_BOOTTIME, in nanoseconds; 0: never.
     */
    uint64_t state_since_ns;
    /**
     * When the device is tried again, by the same clock; 0: it need not be, or is now.
     */
    uint64_t next_probe_ns;
} cachefs_report;

/**
 * Options of cachefs_origin_open_dir() and cachefs_origin_open(). Zero means the
 * default in every field.
 *
 * Fill it with cachefs_origin_options_init(). cachefs_origin_option_describe() lists
 * the string keys with their defaults and ranges.
 */
typedef struct cachefs_origin_options {
    /**
     * sizeof(cachefs_origin_options) of the program.
     */
    uint32_t struct_size;
    /**
     * CACHEFS_VALIDATE_…
     */
    uint32_t validation;
    /**
     * None are defined: must be 0.
     */
    uint64_t flags;
    /**
     * Milliseconds for which a version is believed with CACHEFS_VALIDATE_TTL.
     */
    uint64_t validate_ttl_ms;
    /**
     * Milliseconds for which a path that the origin does not have (-ENOENT, -ENOTDIR)
     * is not looked for again; 0: it always is.
     */
    uint64_t negative_ttl_ms;
    /**
     * Times that a read or an open is tried again whose origin could not be reached.
     */
    uint64_t retries;
    /**
     * Milliseconds before the first retry, at most; twice as many before each further one.
     */
    uint64_t retry_first_ms;
    /**
     * Milliseconds before any retry, at most.
     */
    uint64_t retry_max_ms;
    /**
     * Failures in a row after which the origin is left alone; 0: it never is.
     */
    uint64_t breaker_failures;
    /**
     * Milliseconds after which an origin that is left alone is asked once.
     */
    uint64_t breaker_probe_ms;
    /**
     * Milliseconds for which a file is served whose origin cannot be reached, since it
     * was last asked for; 0: it is not.
     */
    uint64_t stale_ms;
    /**
     * Bytes that the origin's files may take of the cache, in all processes together;
     * beyond that, its own are evicted. 0: as many as the cache has. The last one who
     * opens an origin sets it.
     */
    uint64_t quota_bytes;
    /**
     * Percent of the cache's capacity_bytes beyond which the origin's files are evicted
     * before those of others. 0: never. The last one who opens an origin sets it.
     */
    uint64_t share_percent;
    /**
     * Bytes a second that are read from it; 0: no limit. Readers go first, and take up
     * to a second's worth in advance.
     */
    uint64_t bytes_per_second;
    /**
     * The same in reads of it, of up to a chunk each.
     */
    uint64_t operations_per_second;
    /**
     * Its share of what several origins of the cache want at once.
     */
    uint64_t weight;
} cachefs_origin_options;

/**
 * What identifies a version of an origin's file. Two versions are the same if
 * every field is.
 */
typedef struct cachefs_origin_attr {
    /**
     * sizeof(cachefs_origin_attr) of the library.
     */
    uint32_t struct_size;
    /**
     * Bytes of `tag` in use, 0 to CACHEFS_TAG_MAX.
     */
    uint32_t tag_length;
    /**
     * Bytes of the file.
     */
    uint64_t size;
    /**
     * Nanoseconds since 1970; 0 if the origin has none.
     */
    int64_t mtime_ns;
    /**
     * Nanoseconds since 1970; 0 if the origin has none.
     */
    int64_t ctime_ns;
    /**
     * Number of the file in its origin; 0 if it has none.
     */
    uint64_t inode;
    /**
     * ETag, change cookie, generation …
     */
    uint8_t tag[CACHEFS_TAG_MAX];
} cachefs_origin_attr;

/**
 * Fills `attr` (zeroed, but for struct_size) with the file's current version
 * and returns 0, or a negative errno. `path` is valid during the call.
 */
typedef int32_t (*cachefs_origin_stat_callback)(void *user,
                                                const char *path,
                                                struct cachefs_origin_attr *attr);

/**
 * Starts one read of `length` bytes at `offset` into `buffer` and returns 0, or
 * a negative errno if it will not be done.
 *
 * After 0, cachefs_origin_complete() must be called exactly once with `token`,
 * on any thread, also from inside this callback; until then `buffer` is the
 * origin's. `path` and `version` are valid during the call.
 */
typedef int32_t (*cachefs_origin_read_callback)(void *user,
                                                const char *path,
                                                const struct cachefs_origin_attr *version,
                                                void *buffer,
                                                uint64_t length,
                                                uint64_t offset,
                                                struct cachefs_origin_token *token);

/**
 * An origin made of callbacks; see cachefs_origin_open().
 */
typedef struct cachefs_origin_ops {
    /**
     * sizeof(cachefs_origin_ops) of the program.
     */
    uint32_t struct_size;
    /**
     * Threads that call `read` and `stat` after reads, so that they may block; 0: 4.
     */
    uint32_t threads;
    /**
     * CACHEFS_ORIGIN_…
     */
    uint64_t flags;
    /**
     * Must not be NULL. Also called on the thread of cachefs_file_open().
     */
    cachefs_origin_stat_callback stat;
    /**
     * Must not be NULL.
     */
    cachefs_origin_read_callback read;
    /**
     * NULL, or called with `user` once the origin is used no more.
     */
    cachefs_free_callback free;
} cachefs_origin_ops;

/**
 * What cachefs_origin_report() says. Times are nanoseconds of CLOCK_BOOTTIME; 0: never.
 */
typedef struct cachefs_origin_report_info {
    /**
     * sizeof(cachefs_origin_report_info) of the program.
     */
    uint32_t struct_size;
    /**
     * CACHEFS_CIRCUIT_…; a program must expect values it does not know.
     */
    uint32_t circuit;
    /**
     * When the circuit last changed.
     */
    uint64_t circuit_since_ns;
    /**
     * Times that the origin could not be reached, since it last answered.
     */
    uint64_t failures;
    /**
     * When it last could not be reached.
     */
    uint64_t last_error_ns;
    /**
     * The negative errno of that; 0: there was none.
     */
    int32_t last_error;
    /**
     * Must be ignored.
     */
    uint32_t reserved;
    /**
     * Times that something was tried again.
     */
    uint64_t retries;
} cachefs_origin_report_info;

/**
 * What cachefs_file_stat() says.
 */
typedef struct cachefs_file_info {
    /**
     * sizeof(cachefs_file_info) of the program.
     */
    uint32_t struct_size;
    /**
     * CACHEFS_FILE_…; a program must ignore bits it does not know.
     */
    uint32_t flags;
    /**
     * Bytes of the version that is open.
     */
    uint64_t size;
    /**
     * Nanoseconds since 1970.
     */
    int64_t mtime_ns;
    /**
     * Nanoseconds since 1970.
     */
    int64_t ctime_ns;
    /**
     * Number of the file in its origin; 0 if it has none.
     */
    uint64_t inode;
    /**
     * Hash of the version token: differs when the version does.
     */
    uint64_t version;
} cachefs_file_info;

/**
 * What cachefs_file_residency() says.
 */
typedef struct cachefs_residency {
    /**
     * sizeof(cachefs_residency) of the program.
     */
    uint32_t struct_size;
    /**
     * 1 if every chunk is in the cache, else 0.
     */
    uint32_t complete;
    /**
     * Bytes of the file that are in the cache.
     */
    uint64_t bytes_present;
    /**
     * Chunks that are in the cache.
     */
    uint64_t chunks_present;
    /**
     * Chunks of the file.
     */
    uint64_t chunks_total;
    /**
     * Bytes of a chunk; the last one of a file may be shorter.
     */
    uint64_t chunk_bytes;
} cachefs_residency;

/**
 * The end of one request; given to callbacks and returned by queues.
 */
typedef struct cachefs_completion {
    /**
     * The request's tag; of a callback request, its id.
     */
    uint64_t tag;
    /**
     * Bytes read or filled, or a negative errno. After -EBUSY, which comes only from
     * the close of a cache whose own device hangs, the kernel may still write to the
     * request's buffer: it must stay allocated, and unused, until the process ends.
     */
    int64_t result;
    /**
     * Bytes of `result` that came from the cache.
     */
    uint64_t bytes_from_cache;
    /**
     * From submission to completion, in nanoseconds.
     */
    uint64_t latency_ns;
    /**
     * CACHEFS_OPERATION_…
     */
    uint32_t operation;
    /**
     * CACHEFS_SOURCE_…; a program must expect values it does not know.
     */
    uint32_t source;
    /**
     * CACHEFS_MISS_…; a program must expect values it does not know.
     */
    uint32_t miss_reason;
    /**
     * Must be ignored.
     */
    uint32_t reserved[5];
} cachefs_completion;

/**
 * Receives the completion of one request, valid during the call.
 *
 * Called exactly once for each accepted request, on a library thread, with no
 * library lock held. It must return soon, since other requests wait behind it,
 * and may call everything but what would wait for a library thread:
 * cachefs_fill(), cachefs_queue_wait() and cachefs_cache_close() answer -EDEADLK
 * there, as do cachefs_read() and cachefs_readv() unless all bytes are cached
 * (and, of a file that was cached with the option direct_io, aligned).
 */
typedef void (*cachefs_completion_callback)(void *user,
                                            const struct cachefs_completion *completion);

/**
 * Told how far a copy-fill is; not 0 cancels it. Called on the thread that
 * called cachefs_fill(), at most some ten times a second and once at the end.
 */
typedef int32_t (*cachefs_progress_callback)(void *user,
                                             uint64_t bytes_done,
                                             uint64_t bytes_total);

/**
 * What cachefs_verify() has found so far.
 */
typedef struct cachefs_verification {
    /**
     * sizeof(cachefs_verification) of the program; that of the library where it is
     * told to a callback.
     */
    uint32_t struct_size;
    /**
     * Must be ignored.
     */
    uint32_t reserved;
    /**
     * Objects that were looked at.
     */
    uint64_t objects;
    /**
     * Objects whose metadata were damaged: they are gone.
     */
    uint64_t objects_dropped;
    /**
     * Chunks whose bytes have their checksum.
     */
    uint64_t chunks_verified;
    /**
     * Chunks that had no checksum, since the kernel had copied them, and have the one
     * of their bytes now.
     */
    uint64_t chunks_summed;
    /**
     * Chunks that could not be read, or whose bytes did not have their checksum: they
     * are fetched again when they are next read.
     */
    uint64_t chunks_dropped;
    /**
     * Objects and damaged chunks that others had in their hands: nothing is known of
     * the former, and the latter are still there.
     */
    uint64_t busy;
    /**
     * Bytes that were read.
     */
    uint64_t bytes;
} cachefs_verification;

/**
 * Told what a verification has found so far, after each chunk; not 0 cancels it.
 * Called on the thread that called cachefs_verify().
 */
typedef int32_t (*cachefs_verify_callback)(void *user,
                                           const struct cachefs_verification *verification);

/**
 * One request of a batch; see cachefs_queue_push() and cachefs_batch_async().
 */
typedef struct cachefs_request {
    /**
     * CACHEFS_OPERATION_…
     */
    uint32_t operation;
    /**
     * None are defined: must be 0.
     */
    uint32_t flags;
    /**
     * The file.
     */
    struct cachefs_file *file;
    /**
     * Where the bytes go; the library's until the completion. NULL for a fill.
     */
    void *buffer;
    /**
     * Bytes; of a fill also CACHEFS_TO_END; of CACHEFS_OPERATION_READV, pieces.
     */
    uint64_t length;
    /**
     * Where in the file.
     */
    uint64_t offset;
    /**
     * Returned unchanged in the completion.
     */
    uint64_t tag;
    /**
     * Nanoseconds after which it fails with -ETIMEDOUT; 0: as the cache's options
     * say. Where the kernel cannot take a read back (psync), it ends by itself.
     */
    uint64_t timeout_ns;
    /**
     * CACHEFS_PRIORITY_…, for devices whose scheduler knows priorities.
     */
    uint32_t priority;
    /**
     * Must be 0.
     */
    uint32_t reserved;
} cachefs_request;

/**
 * Receives the completions of a batch, in the order of its requests, valid
 * during the call. Called exactly once, as cachefs_completion_callback is.
 */
typedef void (*cachefs_batch_callback)(void *user,
                                       const struct cachefs_completion *completions,
                                       uint32_t count);

/**
 * Options of cachefs_queue_open(). Zero means the default in every field.
 */
typedef struct cachefs_queue_options {
    /**
     * sizeof(cachefs_queue_options) of the program.
     */
    uint32_t struct_size;
    /**
     * Requests that the queue holds, 1 to 4096; 0: 256.
     */
    uint32_t depth;
    /**
     * CACHEFS_QUEUE_…
     */
    uint64_t flags;
} cachefs_queue_options;

/**
 * Counters since the cache was opened, by this process.
 */
typedef struct cachefs_statistics {
    /**
     * sizeof(cachefs_statistics) of the program.
     */
    uint32_t struct_size;
    /**
     * Must be ignored.
     */
    uint32_t reserved;
    /**
     * Reads that the cache alone served, those of no bytes included.
     */
    uint64_t hits;
    /**
     * Reads that needed the origin, and filled the cache with all they got from it.
     */
    uint64_t misses;
    /**
     * Reads that needed the origin, some of whose bytes were not kept.
     */
    uint64_t bypasses;
    /**
     * Reads that failed.
     */
    uint64_t errors;
    /**
     * Bytes that reads got from the cache.
     */
    uint64_t bytes_from_cache;
    /**
     * Bytes that were read from origins.
     */
    uint64_t bytes_from_origin;
    /**
     * Reads of origins: of at most one chunk each, or of a run of chunks that a
     * fill has the kernel copy.
     */
    uint64_t origin_reads;
    /**
     * Chunks written to the cache.
     */
    uint64_t chunks_stored;
    /**
     * Chunks that could not be written to the cache.
     */
    uint64_t store_errors;
    /**
     * Fetches thrown away because the origin's file had changed.
     */
    uint64_t stale_fetches;
    /**
     * Objects removed to make room.
     */
    uint64_t evictions;
    /**
     * Bytes in the cache directory, those being written included (now).
     */
    uint64_t cached_bytes;
    /**
     * Objects in the cache directory (now).
     */
    uint64_t cached_objects;
    /**
     * Requests accepted and not completed (now).
     */
    uint64_t in_flight;
    /**
     * Those of bytes_from_origin that went straight to their reader's memory,
     * since they were not kept.
     */
    uint64_t bytes_straight;
    /**
     * Bytes that fills had the object share with the origin's file (reflink).
     */
    uint64_t bytes_reflinked;
    /**
     * Bytes that fills copied by copy_file_range(2).
     */
    uint64_t bytes_copied_in_kernel;
    /**
     * Bytes that fills copied by reads and writes on the engine.
     */
    uint64_t bytes_copied_by_ring;
    /**
     * Those of them that were read past the page cache.
     */
    uint64_t bytes_read_directly;
    /**
     * Bytes that fills copied by splices through a pipe.
     */
    uint64_t bytes_spliced;
    /**
     * Bytes of holes that fills did not have to copy.
     */
    uint64_t bytes_of_holes;
    /**
     * Bytes for which zeroed blocks were allocated before they were written.
     */
    uint64_t bytes_preallocated_zeroed;
    /**
     * Bytes for which unwritten blocks were.
     */
    uint64_t bytes_preallocated;
    /**
     * Those of bytes_from_cache that were copied from locked memory, or leased there,
     * without a system call (see the option memory_bytes).
     */
    uint64_t bytes_from_memory;
    /**
     * Bytes of cached files in locked memory, now.
     */
    uint64_t memory_bytes;
    /**
     * Bytes that are leased, in whole pages of 4 KiB (now).
     */
    uint64_t leased_bytes;
    /**
     * Chunks that were compared with their checksum, and found to be what was written:
     * what an earlier boot of the host had left, and by cachefs_verify() and its like.
     */
    uint64_t chunks_verified;
    /**
     * Chunks that were found not to be what was written: each was dropped, and is
     * fetched again when it is read.
     */
    uint64_t chunks_dropped;
    /**
     * Passes through all objects (see the option verify_bytes_per_second).
     */
    uint64_t verify_passes;
    /**
     * Rounds in which what was stored was synced (see the option durable).
     */
    uint64_t epochs;
    /**
     * Chunks that a round has brought to the device: they outlive a crash of the host.
     */
    uint64_t chunks_durable;
    /**
     * Bytes that were read from origins before anybody asked for them (see the option
     * readahead).
     */
    uint64_t bytes_prefetched;
    /**
     * Those of them that nobody had read when the run of reads was over, or the file
     * closed. They stay in the cache.
     */
    uint64_t bytes_prefetched_unused;
    /**
     * Reads that had to wait for a chunk that was on its way ahead of them.
     */
    uint64_t prefetch_stalls;
    /**
     * Bytes that are on their way ahead of readers, or there and not read, now.
     */
    uint64_t readahead_bytes;
    /**
     * Opens that failed because the origin had said a moment ago that it has no such
     * file (see the option negative_ttl_ms of origins).
     */
    uint64_t negative_hits;
    /**
     * Opens of files that were not asked for at their origin, since what it had said
     * before was still believed (see the option validation of origins).
     */
    uint64_t opens_unasked;
    /**
     * Opens of files whose origin could not be reached, and that are served as they were
     * when it last was (see the option stale_ms of origins).
     */
    uint64_t stale_opens;
    /**
     * Those of `hits` that are of such files.
     */
    uint64_t stale_reads;
    /**
     * Times that a read or an open was tried again at its origin (see the option retries
     * of origins).
     */
    uint64_t origin_retries;
    /**
     * Objects that the cache directory has room for.
     */
    uint64_t objects_max;
    /**
     * Bytes of pinned objects (now).
     */
    uint64_t pinned_bytes;
    /**
     * Those of evictions that were done beside the work, before anybody waited for room.
     */
    uint64_t evictions_ahead;
    /**
     * Times that nothing was stored since another process took too long to evict.
     */
    uint64_t eviction_waits;
    /**
     * Percent of the file system's blocks that were free when it was last asked.
     */
    uint64_t space_free_percent;
    /**
     * Percent of the file system's inodes that were free when it was last asked; 100 if
     * it does not count them.
     */
    uint64_t inodes_free_percent;
    /**
     * Reads of the cache device that failed. Their chunks are dropped.
     */
    uint64_t device_read_errors;
    /**
     * Operations of the cache device that did not end in time.
     */
    uint64_t device_hangs;
    /**
     * Times that the state of the cache device has changed.
     */
    uint64_t device_changes;
    /**
     * Probes of the cache device.
     */
    uint64_t device_probes;
    /**
     * Bytes of reads that were not kept since fills are limited, or write too slowly.
     */
    uint64_t bytes_passed_by;
    /**
     * Bytes that were fetched when nobody read: what had passed by, and rests of files.
     */
    uint64_t bytes_filled_later;
    /**
     * Times that a fetch or a fill had to wait for what its origin, or fills, may take.
     */
    uint64_t throttled;
    /**
     * Nanoseconds that they waited.
     */
    uint64_t throttled_ns;
    /**
     * Chunks that one fill may have under way, now: see fill_latency_percent.
     */
    uint64_t fill_depth;
    /**
     * Times that of a very large file what was cold was removed, to make room, and the
     * rest stayed.
     */
    uint64_t trims;
} cachefs_statistics;

/**
 * Latencies of one kind of operation, from its start to its end.
 */
typedef struct cachefs_latency {
    /**
     * Operations that ended.
     */
    uint64_t count;
    /**
     * Nanoseconds.
     */
    uint64_t mean_ns;
    /**
     * Half took no longer, in nanoseconds.
     */
    uint64_t p50_ns;
    /**
     * 99 of 100 took no longer.
     */
    uint64_t p99_ns;
    /**
     * 999 of 1000 took no longer.
     */
    uint64_t p999_ns;
    /**
     * The longest.
     */
    uint64_t max_ns;
} cachefs_latency;

/**
 * What the engines of a cache have done since it was opened, those of closed
 * queues included; see cachefs_engine_stats().
 */
typedef struct cachefs_engine_statistics {
    /**
     * sizeof(cachefs_engine_statistics) of the program.
     */
    uint32_t struct_size;
    /**
     * Must be ignored.
     */
    uint32_t reserved;
    /**
     * Operations that engines took.
     */
    uint64_t submissions;
    /**
     * Operations that ended.
     */
    uint64_t completions;
    /**
     * Operations taken and not ended (now).
     */
    uint64_t in_flight;
    /**
     * io_uring_enter calls; on psync, system calls of transfers.
     */
    uint64_t enters;
    /**
     * Times that a submission queue had no room.
     */
    uint64_t sq_full;
    /**
     * Most operations that have waited for room in one submission queue.
     */
    uint64_t backlog_high_water;
    /**
     * Times that a completion queue had overflowed. Nothing is lost by it.
     */
    uint64_t cq_overflows;
    /**
     * Transfers that were continued because they had been short.
     */
    uint64_t short_transfers;
    /**
     * Cancellations that ended their operation.
     */
    uint64_t cancels_won;
    /**
     * Cancellations that came too late.
     */
    uint64_t cancels_lost;
    /**
     * Completions of operations that had already ended: a bug.
     */
    uint64_t stale_completions;
    /**
     * Wake-ups by other threads.
     */
    uint64_t wakes;
    /**
     * Bytes that operations read.
     */
    uint64_t bytes_read;
    /**
     * Bytes that operations wrote.
     */
    uint64_t bytes_written;
    /**
     * Of reads.
     */
    struct cachefs_latency read;
    /**
     * Of writes.
     */
    struct cachefs_latency write;
    /**
     * Of version checks.
     */
    struct cachefs_latency stat;
    /**
     * Of splices.
     */
    struct cachefs_latency splice;
    /**
     * Of preallocations.
     */
    struct cachefs_latency allocate;
} cachefs_engine_statistics;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The version of the library that is loaded, which may be newer than the
 * header's CACHEFS_VERSION.
 *
 * Returns `major << 16 | minor << 8 | patch`.
 *
 * Thread-safety: any thread. Blocks: never. Since: 0.1.
 */
uint32_t cachefs_version(void);

/**
 * The same as text.
 *
 * Returns a static string, never NULL.
 *
 * Thread-safety: any thread. Blocks: never. Since: 0.1.
 */
const char *cachefs_version_string(void);

/**
 * What went wrong in this thread's last call that failed, in one line.
 *
 * Completions carry no text: their `result` says all.
 *
 * Returns a string, never NULL, valid until the thread's next call of the
 * library: empty if the last call succeeded.
 *
 * Thread-safety: any thread; each has its own. Blocks: never. Since: 0.1.
 */
const char *cachefs_last_error(void);

/**
 * Sets every option to its default.
 *
 * options  must not be NULL; `size` bytes
 * size     sizeof *options
 *
 * Returns 0, or a negative errno:
 *   -EINVAL  NULL, or `size` below 8     -E2BIG  `size` above 4096
 *
 * Thread-safety: any thread. Blocks: never. Since: 0.1.
 *
 * Safety: `options` must be NULL or writable for `size` bytes.
 */
int32_t cachefs_cache_options_init(struct cachefs_cache_options *options,
                                   size_t size);

/**
 * Sets one option from text, as files and command lines have it.
 *
 * options  must not be NULL; initialised
 * key      must not be NULL; one of those that cachefs_option_describe() lists
 * value    must not be NULL
 *
 * Returns 0, or a negative errno and nothing was changed:
 *   -ENOENT  no such key      -ERANGE  outside the range
 *   -EINVAL  NULL, or not a value of the option's type      -E2BIG  see cachefs_cache_open()
 *
 * Thread-safety: one thread at a time for one structure. Blocks: never. Since: 0.1.
 *
 * Safety: `options` must be NULL or an initialised structure; `key` and `value` must be
 * NULL or C strings.
 */
int32_t cachefs_cache_options_set(struct cachefs_cache_options *options,
                                  const char *key,
                                  const char *value);

/**
 * Describes the options one by one: call it with 0, 1, … until -ENOENT.
 *
 * index  which option
 * info   must not be NULL; its struct_size set
 *
 * Returns 0, or a negative errno:
 *   -ENOENT  no option has this index      -EINVAL  NULL, or struct_size not set
 *   -E2BIG   struct_size above 4096
 *
 * Thread-safety: any thread. Blocks: never. Since: 0.1.
 *
 * Safety: `info` must be NULL or writable for as many bytes as its first field says.
 */
int32_t cachefs_option_describe(uint32_t index,
                                struct cachefs_option_info *info);

/**
 * Opens a cache on a directory, and starts its threads.
 *
 * The directory is made if it is not there, and made a cache if it is empty.
 * Several processes may use one directory. Where it cannot be written to (no
 * permission, read-only, full, or its device does not answer) the cache opens all the
 * same and passes every read through to its origin: cachefs_cache_report() says so.
 *
 * dir      must not be NULL
 * options  NULL: all defaults; copied
 * cache    must not be NULL; close it with cachefs_cache_close()
 *
 * Returns 0, or a negative errno; `log_free` was then called:
 *   -EINVAL   NULL, an unknown flag or engine, a chunk size that the directory does not have
 *   -ERANGE   an option is outside its range
 *   -E2BIG    an option is set that this release does not know
 *   -ENOENT   the parent of `dir` does not exist      -ENOTDIR  `dir` is not a directory
 *   -ENOTEMPTY        `dir` is neither empty nor a cache; nothing was changed
 *   -EPROTONOSUPPORT  a cache of a format that this release does not know; nothing was changed
 *   -EMFILE, -ENFILE, -ENOMEM, -EAGAIN  no descriptors, memory or threads are left
 *   -EPERM, -ENOSYS   CACHEFS_ENGINE_URING was asked for, and the kernel refuses it
 *   -EOPNOTSUPP       the same, and the kernel's io_uring is too old
 *   -ECHILD   in a process forked from one that uses the library
 *
 * Thread-safety: any thread. Blocks: while it reads the directory, at most for the option
 * device_timeout_ms. Since: 0.1.
 *
 * Safety: `dir` must be NULL or a C string; `options` NULL or an initialised structure
 * whose callbacks keep their contract; `cache` NULL or writable.
 */
int32_t cachefs_cache_open(const char *dir,
                           const struct cachefs_cache_options *options,
                           struct cachefs_cache **cache);

/**
 * Closes a cache: cancels and completes what is in flight, ends the threads.
 *
 * Its origins, files and queues stay to be closed, before or after; their other
 * functions then answer -ESHUTDOWN, a queue's once its completions are fetched.
 * I/O that does not end within `close_timeout_ms` is left to the kernel with its
 * memory, and logged. Where that memory is a request's buffer, which happens when
 * the cache's own device hangs, the request completes with -EBUSY: see
 * cachefs_completion. A read that the kernel has begun on the thread of its caller
 * cannot be ended; it returns when the device answers.
 *
 * cache  NULL is ignored
 *
 * Returns 0, or a negative errno and nothing was done:
 *   -EBADF  not an open cache      -EDEADLK  inside a completion callback
 *   -ECHILD see cachefs_cache_open()
 *
 * Thread-safety: any thread. Blocks: up to `close_timeout_ms` and a moment. Since: 0.1.
 */
int32_t cachefs_cache_close(struct cachefs_cache *cache);

/**
 * Says what the cache runs on: the engine and why, and whether it stores.
 *
 * cache   must not be NULL
 * report  must not be NULL; its struct_size set
 *
 * Returns 0, or a negative errno:
 *   -EINVAL  NULL, or struct_size not set      -EBADF  not an open cache
 *   -E2BIG   struct_size above 4096            -ECHILD see cachefs_cache_open()
 *
 * Thread-safety: any thread. Blocks: never. Since: 0.1.
 *
 * Safety: `report` must be NULL or writable for as many bytes as its first field says.
 */
int32_t cachefs_cache_report(struct cachefs_cache *cache,
                             struct cachefs_report *report);

/**
 * Asks for the end of a callback request.
 *
 * Its callback is called all the same, once: with -ECANCELED, or with what the
 * request came to before the cancellation reached it.
 *
 * cache  must not be NULL
 * id     as cachefs_read_async() or cachefs_fill_async() gave it
 *
 * Returns 0, also when the request has already ended, or a negative errno:
 *   -EINVAL  NULL      -EBADF  not an open cache      -ECHILD  see cachefs_cache_open()
 *
 * Thread-safety: any thread. Blocks: never. Since: 0.1.
 */
int32_t cachefs_cancel(struct cachefs_cache *cache,
                       uint64_t id);

/**
 * Sets every option of an origin to its default.
 *
 * options  must not be NULL; `size` bytes
 * size     sizeof *options
 *
 * Returns 0, or a negative errno:
 *   -EINVAL  NULL, or `size` below 8     -E2BIG  `size` above 4096
 *
 * Thread-safety: any thread. Blocks: never. Since: 0.1.
 *
 * Safety: `options` must be NULL or writable for `size` bytes.
 */
int32_t cachefs_origin_options_init(struct cachefs_origin_options *options,
                                    size_t size);

/**
 * Sets one option of an origin from text, as files and command lines have it.
 *
 * options  must not be NULL; initialised
 * key      must not be NULL; one of those that cachefs_origin_option_describe() lists
 * value    must not be NULL
 *
 * Returns 0, or a negative errno and nothing was changed:
 *   -ENOENT  no such key      -ERANGE  outside the range
 *   -EINVAL  NULL, or not a value of the option's type      -E2BIG  see cachefs_origin_open()
 *
 * Thread-safety: one thread at a time for one structure. Blocks: never. Since: 0.1.
 *
 * Safety: `options` must be NULL or an initialised structure; `key` and `value` must be
 * NULL or C strings.
 */
int32_t cachefs_origin_options_set(struct cachefs_origin_options *options,
                                   const char *key,
                                   const char *value);

/**
 * Describes the options of an origin one by one: call it with 0, 1, … until -ENOENT.
 * No key is one of cachefs_option_describe(), so that a command line can have both.
 *
 * index  which option
 * info   must not be NULL; its struct_size set
 *
 * Returns 0, or a negative errno:
 *   -ENOENT  no option has this index      -EINVAL  NULL, or struct_size not set
 *   -E2BIG   struct_size above 4096
 *
 * Thread-safety: any thread. Blocks: never. Since: 0.1.
 *
 * Safety: `info` must be NULL or writable for as many bytes as its first field says.
 */
int32_t cachefs_origin_option_describe(uint32_t index,
                                       struct cachefs_option_info *info);

/**
 * Opens an origin that is a directory on any mounted file system.
 *
 * Neither `..` nor a link leads out of it. What is cached of it is found again
 * by every process that opens a cache directory with the same root.
 *
 * cache   must not be NULL
 * root    must not be NULL
 * options NULL: all defaults; copied
 * origin  must not be NULL; close it with cachefs_origin_close()
 *
 * Returns 0, or a negative errno:
 *   -EINVAL  NULL, or an unknown flag      -ERANGE  an option is outside its range
 *   -E2BIG   an option is set that this release does not know
 *   -EBADF  not an open cache      -ESHUTDOWN  the cache is closed
 *   -ENOENT, -ENOTDIR, -EACCES  as open(2) of the root
 *   -ELOOP   the root lies inside the cache directory
 *   -ECHILD  see cachefs_cache_open()
 *
 * Thread-safety: any thread. Blocks: as open(2) of the root. Since: 0.1.
 *
 * Safety: `root` must be NULL or a C string; `options` NULL or an initialised structure;
 * `origin` NULL or writable.
 */
int32_t cachefs_origin_open_dir(struct cachefs_cache *cache,
                                const char *root,
                                const struct cachefs_origin_options *options,
                                struct cachefs_origin **origin);

/**
 * Opens an origin that the program implements.
 *
 * cache   must not be NULL
 * name    must not be NULL; 1 to 4096 bytes. Tells the origin apart from others
 *         in the cache directory, so it must be the same after a restart
 * ops     must not be NULL; copied
 * user    passed to each callback
 * options NULL: all defaults; copied
 * origin  must not be NULL; close it with cachefs_origin_close()
 *
 * Returns 0, or a negative errno; `ops->free` was then called, unless `ops`
 * could not be read:
 *   -EINVAL  NULL, a callback is missing, an unknown flag, a bad name, or
 *            `threads` together with CACHEFS_ORIGIN_NONBLOCKING
 *   -ERANGE  an option is outside its range
 *   -E2BIG   something is set in `ops` or `options` that this release does not know
 *   -EBADF   not an open cache      -ESHUTDOWN  the cache is closed
 *   -ECHILD  see cachefs_cache_open()
 *
 * Thread-safety: any thread. Blocks: never. Since: 0.1.
 *
 * Safety: `name` must be NULL or a C string; `ops` NULL or a structure whose callbacks
 * keep their contract; `options` NULL or an initialised structure; `origin` NULL
 * or writable.
 */
int32_t cachefs_origin_open(struct cachefs_cache *cache,
                            const char *name,
                            const struct cachefs_origin_ops *ops,
                            void *user,
                            const struct cachefs_origin_options *options,
                            struct cachefs_origin **origin);

/**
 * Ends a read that an origin's `read` callback accepted.
 *
 * token   as the callback got it; it must not be used again
 * result  bytes that are in the buffer, or a negative errno. Fewer than were
 *         asked for is an error of the origin, unless its file has become
 *         shorter
 *
 * Returns 0, or a negative errno:
 *   -EINVAL  NULL      -EBADF  no such read, or it was completed before
 *   -ECHILD  see cachefs_cache_open()
 *
 * Thread-safety: any thread, also inside the `read` callback. Blocks: never. Since: 0.1.
 */
int32_t cachefs_origin_complete(struct cachefs_origin_token *token,
                                int64_t result);

/**
 * Closes an origin. Files that are open go on; `free` is called when the last
 * of them is closed and every read has been completed.
 *
 * origin  NULL is ignored; not an open origin: nothing is done, and
 *         cachefs_last_error() says so
 *
 * Returns nothing.
 *
 * Thread-safety: any thread. Blocks: never. Since: 0.1.
 */
void cachefs_origin_close(struct cachefs_origin *origin);

/**
 * Says whether an origin answers.
 *
 * origin  must not be NULL
 * report  must not be NULL; its struct_size set
 *
 * Returns 0, or a negative errno:
 *   -EINVAL  NULL, or struct_size not set      -EBADF  not an open origin
 *   -E2BIG   struct_size above 4096            -ECHILD see cachefs_cache_open()
 *
 * Thread-safety: any thread. Blocks: never. Since: 0.1.
 *
 * Safety: `report` must be NULL or writable for as many bytes as its first field says.
 */
int32_t cachefs_origin_report(struct cachefs_origin *origin,
                              struct cachefs_origin_report_info *report);

/**
 * Forgets what is believed of a path of an origin: that it has a version, or that it
 * is not there. The origin is asked before anything is served of it again: at the
 * next read of a file that is open, at the next open of one that is not. What is
 * cached stays, and is served if the version turns out to be the same.
 *
 * Holds for every process that uses the cache directory, as soon as the call returns,
 * and for requests that begin after it. Other names of the file, by links, are not
 * invalidated. A few paths more than those that were named may be asked for.
 *
 * origin  must not be NULL
 * path    must not be NULL; as for cachefs_file_open()
 * flags   CACHEFS_INVALIDATE_…
 *
 * Returns 0, or a negative errno and nothing was forgotten, but for -ETIMEDOUT:
 *   -EINVAL  NULL, or an unknown flag      -EBADF  not an open origin
 *   -ESHUTDOWN  the cache is closed        -ECHILD  see cachefs_cache_open()
 *   -ETIMEDOUT  the cache device does not answer: it holds for this process, which asks
 *            for every file anew, and for the others once the device does
 *
 * Thread-safety: any thread. Blocks: while the cache device takes it, at most for its
 * option device_timeout_ms. Since: 0.1.
 *
 * Safety: `path` must be NULL or a C string.
 */
int32_t cachefs_invalidate(struct cachefs_origin *origin,
                           const char *path,
                           uint64_t flags);

/**
 * Opens a file of an origin for cached reads.
 *
 * The origin is asked for the file's version as the option `validation` of origins
 * says; what the cache has of another version is dropped. If a later read finds that
 * the file has changed since, the file moves on to the new version; one read never
 * mixes two.
 *
 * origin  must not be NULL
 * path    must not be NULL; relative to the origin, leading slashes are ignored;
 *         up to 4095 bytes of any encoding
 * flags   none are defined: 0
 * file    must not be NULL; close it with cachefs_file_close()
 *
 * Returns 0, or a negative errno:
 *   -EINVAL  NULL, an unknown flag, or neither a regular file nor a directory
 *   -EISDIR  a directory      -EXDEV  `..` or a link leads out of the origin
 *   -ENOENT, -EACCES, -ENOTDIR, -ELOOP, -ENAMETOOLONG, -EIO, -ESTALE  as open(2)
 *            of the origin's file, or what the origin's `stat` said
 *   -EMFILE, -ENFILE  no descriptor is left
 *   -EOVERFLOW  the origin's `stat` gave a size of 2^63 or more
 *   -ELOOP   the file belongs to the cache directory
 *   -ETIMEDOUT  the origin is on no device of this host and has not answered within
 *            `origin_timeout_ms`
 *   -EBADF   not an open origin      -ESHUTDOWN  the cache is closed
 *   -ECHILD  see cachefs_cache_open()
 * While an origin is left alone (see the option breaker_failures of origins), its last
 * error is returned at once.
 *
 * Thread-safety: any thread. Blocks: as open(2) of the origin's file, or its `stat`.
 * Since: 0.1.
 *
 * Safety: `path` must be NULL or a C string; `file` NULL or writable.
 */
int32_t cachefs_file_open(struct cachefs_origin *origin,
                          const char *path,
                          uint64_t flags,
                          struct cachefs_file **file);

/**
 * Says what the file is, as of the version that is served. Does not ask the origin.
 *
 * file  must not be NULL
 * info  must not be NULL; its struct_size set
 *
 * Returns 0, or a negative errno:
 *   -EINVAL  NULL, or struct_size not set      -EBADF  not an open file
 *   -E2BIG   struct_size above 4096            -ESHUTDOWN  the cache is closed
 *   -ECHILD  see cachefs_cache_open()
 *
 * Thread-safety: any thread. Blocks: never. Since: 0.1.
 *
 * Safety: `info` must be NULL or writable for as many bytes as its first field says.
 */
int32_t cachefs_file_stat(struct cachefs_file *file,
                          struct cachefs_file_info *info);

/**
 * Says how much of the file is in the cache, as of the version that is served.
 *
 * file       must not be NULL
 * residency  must not be NULL; its struct_size set
 *
 * Returns 0, or a negative errno: as cachefs_file_stat().
 *
 * Thread-safety: any thread. Blocks: never. Since: 0.1.
 *
 * Safety: `residency` must be NULL or writable for as many bytes as its first field says.
 */
int32_t cachefs_file_residency(struct cachefs_file *file,
                               struct cachefs_residency *residency);

/**
 * Opens the cached copy of a file that is wholly in the cache, for mmap(2),
 * sendfile(2) and the like. It keeps its bytes when the file is closed, evicted
 * or replaced, and does not follow later versions.
 *
 * file  must not be NULL
 *
 * Returns a new read-only, close-on-exec descriptor, which the program closes
 * with close(2), or a negative errno:
 *   -ENODATA  a part of the file is not in the cache: see cachefs_fill()
 *   -EINVAL   NULL      -EBADF  not an open file      -ESHUTDOWN  the cache is closed
 *   -EMFILE, -ENFILE    no descriptor is left      -ECHILD  see cachefs_cache_open()
 *
 * Thread-safety: any thread. Blocks: never. Since: 0.1.
 */
int32_t cachefs_file_fd(struct cachefs_file *file);

/**
 * Keeps what is cached of a file from being evicted, and what is cached of it later,
 * also when it changes and after a restart. Fetches nothing: see cachefs_fill().
 *
 * file  must not be NULL
 *
 * Returns 0, or a negative errno:
 *   -ENOSPC   pinned files have as much of the cache as they may: see the option
 *             pinned_percent
 *   -ENODATA  nothing of the file is kept      -EAGAIN  it is not in the cache any
 *             more: open it again
 *   -EINVAL   NULL      -EBADF  not an open file      -ESHUTDOWN  the cache is closed
 *   -ETIMEDOUT  the cache device does not answer; should it, the file is pinned then
 *   -ECHILD   see cachefs_cache_open()
 *
 * Thread-safety: any thread. Blocks: while the cache device takes it, at most for its
 * option device_timeout_ms. Since: 0.1.
 */
int32_t cachefs_file_pin(struct cachefs_file *file);

/**
 * Lets a file be evicted again.
 *
 * file  must not be NULL
 *
 * Returns 0, or a negative errno: as cachefs_file_pin(), but for -ENOSPC.
 *
 * Thread-safety: any thread. Blocks: as cachefs_file_pin(). Since: 0.1.
 */
int32_t cachefs_file_unpin(struct cachefs_file *file);

/**
 * Closes a file. Requests on it go on to their completion.
 *
 * file  NULL is ignored; not an open file: nothing is done, and
 *       cachefs_last_error() says so
 *
 * Returns nothing.
 *
 * Thread-safety: any thread. Blocks: never. Since: 0.1.
 */
void cachefs_file_close(struct cachefs_file *file);

/**
 * Reads from a file.
 *
 * Bytes that are in the cache are read on the calling thread; for others it
 * waits while they come from the origin and the cache is filled with them.
 *
 * file    must not be NULL
 * buffer  must not be NULL unless `length` is 0
 * length  bytes
 * offset  where in the file
 *
 * Returns the bytes read: fewer than `length` only at the end of the file, 0
 * behind it. Or a negative errno. What of the buffer no bytes were read to is
 * undefined:
 *   -EINVAL    NULL, or `length` of 2^63 or more      -EBADF  not an open file
 *   -EIO, -EACCES, -ESTALE …  the origin's error, as it gave it
 *   -ESTALE    the origin's file changed again and again while it was read
 *   -ETIMEDOUT the origin did not answer within `origin_timeout_ms`
 *   -ECANCELED the cache was closed meanwhile      -ESHUTDOWN  it was closed before
 *   -EBUSY     the same, and the buffer is still the kernel's: see cachefs_completion
 *   -EDEADLK   inside a completion callback, and not all bytes are in the cache
 *              (or not aligned: see cachefs_completion_callback)
 *   -ENOTRECOVERABLE  a bug in the library was caught      -ECHILD  see cachefs_cache_open()
 *
 * Thread-safety: any thread. Blocks: while the origin is read. Since: 0.1.
 *
 * Safety: `buffer` must be writable for `length` bytes and nobody else's during the call.
 */
int64_t cachefs_read(struct cachefs_file *file,
                     void *buffer,
                     uint64_t length,
                     uint64_t offset);

/**
 * Reads from a file into several pieces of memory, in order: see cachefs_read().
 *
 * file    must not be NULL
 * iov     must not be NULL unless `count` is 0
 * count   pieces, 0 to 1024
 * offset  where in the file
 *
 * Returns what cachefs_read() does; also -EINVAL for more than 1024 pieces.
 *
 * Thread-safety: any thread. Blocks: while the origin is read. Since: 0.1.
 *
 * Safety: `iov` must be readable for `count` elements, and each must name writable
 * memory that is nobody else's during the call.
 */
int64_t cachefs_readv(struct cachefs_file *file,
                      const struct iovec *iov,
                      uint32_t count,
                      uint64_t offset);

/**
 * Starts a read; its end is told to a callback on a library thread.
 *
 * file      must not be NULL; may be closed before the completion
 * buffer    must not be NULL unless `length` is 0; the library's until the callback
 * length    bytes
 * offset    where in the file
 * callback  must not be NULL
 * user      passed to the callback
 * id        NULL, or a place for the request's id, for cachefs_cancel(); written
 *           before the callback is called
 *
 * Returns 0 if the read was accepted, and the callback is called exactly once:
 * its `result` is what cachefs_read() would return, -ECANCELED or -EBUSY. Or a negative
 * errno, and it is not called:
 *   -EINVAL  NULL      -EBADF  not an open file      -ESHUTDOWN  the cache is closed
 *   -EAGAIN  `async_limit` requests are in flight: try again after a completion
 *   -ECHILD  see cachefs_cache_open()
 *
 * Thread-safety: any thread, also inside a callback. Blocks: never. Since: 0.1.
 *
 * Safety: `buffer` must be writable for `length` bytes and nobody else's until the
 * callback; `callback` must be callable on any thread; `id` NULL or writable.
 */
int32_t cachefs_read_async(struct cachefs_file *file,
                           void *buffer,
                           uint64_t length,
                           uint64_t offset,
                           cachefs_completion_callback callback,
                           void *user,
                           uint64_t *id);

/**
 * Copies a range of a file into the cache, and waits until it is there.
 *
 * file      must not be NULL
 * offset    where in the file
 * length    bytes, or CACHEFS_TO_END
 * progress  NULL, or told how far it is
 * user      passed to `progress`
 *
 * Returns the bytes of the range that are in the cache now, or a negative errno;
 * what was copied before the error stays:
 *   -EINVAL    NULL      -EBADF  not an open file
 *   -ENOSPC    the cache has no room that could be made within 2 s, or its device is full
 *   -EROFS, -EACCES, -EPERM, -EDQUOT, -EIO  the cache cannot be written to: see
 *              cachefs_cache_report()
 *   -EFBIG     the file is larger than 16 TiB
 *   -EAGAIN    the file's time lies in the future, so that it cannot be trusted
 *   -ECANCELED by `progress`, or the cache was closed meanwhile
 *   -ESHUTDOWN the cache is closed      -EDEADLK  inside a completion callback
 *   else as cachefs_read()
 *
 * Thread-safety: any thread. Blocks: until it is done. Since: 0.1.
 *
 * Safety: `progress` must be callable with `user` on this thread.
 */
int64_t cachefs_fill(struct cachefs_file *file,
                     uint64_t offset,
                     uint64_t length,
                     cachefs_progress_callback progress,
                     void *user);

/**
 * Starts a copy of a range into the cache; its end is told to a callback on a
 * library thread.
 *
 * file      must not be NULL; may be closed before the completion
 * offset    where in the file
 * length    bytes, or CACHEFS_TO_END
 * callback  must not be NULL
 * user      passed to the callback
 * id        NULL, or a place for the request's id, for cachefs_cancel(); written
 *           before the callback is called
 *
 * Returns what cachefs_read_async() does; the completion's `result` is what
 * cachefs_fill() would return.
 *
 * Thread-safety: any thread, also inside a callback. Blocks: never. Since: 0.1.
 *
 * Safety: `callback` must be callable with `user` on any thread; `id` NULL or writable.
 */
int32_t cachefs_fill_async(struct cachefs_file *file,
                           uint64_t offset,
                           uint64_t length,
                           cachefs_completion_callback callback,
                           void *user,
                           uint64_t *id);

/**
 * Compares all that is cached with its checksums, past the page cache where the file
 * system can. What is wrong is dropped, a chunk at a time, and fetched again when it
 * is next read; damaged metadata cost their object. Readers are not waited for.
 *
 * cache         must not be NULL
 * progress      NULL, or told what was found so far
 * user          passed to `progress`
 * verification  NULL, or a place for what was found; its struct_size set
 *
 * Returns 0, also if something was wrong, or a negative errno; what was dropped before
 * the error is gone:
 *   -EINVAL    NULL, or struct_size below 8      -EBADF  not an open cache
 *   -E2BIG     struct_size above 4096
 *   -ECANCELED by `progress`
 *   -EIO       a failure of the device other than that it cannot read a chunk
 *   -EBUSY     another process keeps a part of the directory
 *   -ESHUTDOWN the cache is closed
 *   else       why nothing is cached: see cachefs_cache_report()
 *
 * Thread-safety: any thread. Blocks: until it is done. Since: 0.1.
 *
 * Safety: `progress` must be callable with `user` on this thread; `verification` NULL or
 * writable for as many bytes as its first field says.
 */
int32_t cachefs_verify(struct cachefs_cache *cache,
                       cachefs_verify_callback progress,
                       void *user,
                       struct cachefs_verification *verification);

/**
 * Compares what is cached of one file with its checksums, as cachefs_verify() does.
 *
 * file          must not be NULL
 * progress      NULL, or told what was found so far
 * user          passed to `progress`
 * verification  NULL, or a place for what was found; its struct_size set
 *
 * Returns what cachefs_verify() does; a file of which nothing is cached is no error.
 *
 * Thread-safety: any thread. Blocks: until it is done. Since: 0.1.
 *
 * Safety: As of cachefs_verify().
 */
int32_t cachefs_file_verify(struct cachefs_file *file,
                            cachefs_verify_callback progress,
                            void *user,
                            struct cachefs_verification *verification);

/**
 * Leases a range of a file: its bytes are in memory, and stay there unchanged until
 * cachefs_lease_release(), whatever becomes of the file, the origin, the cached copy
 * and the cache. They are of one version of the file, and do not follow later ones.
 *
 * What is in locked memory already (see the option memory_bytes), and within one
 * chunk, is leased without a system call. Else bytes that are in the cache are
 * mapped and locked, or read into memory of the lease's own where that cannot be
 * done: of a direct object, and beyond RLIMIT_MEMLOCK. Others come from the origin
 * first, as for cachefs_read(). An access to leased bytes never waits for a device,
 * and never meets an error of one.
 *
 * file    must not be NULL; may be closed before the lease is released
 * offset  where in the file
 * length  bytes, or CACHEFS_TO_END
 * lease   must not be NULL; give it back to cachefs_lease_release()
 *
 * Returns 0, or a negative errno. A lease has fewer bytes than `length` only at the
 * end of the file, and none behind it:
 *   -EINVAL    NULL      -EBADF  not an open file      -ESHUTDOWN  the cache is closed
 *   -EAGAIN    `lease_bytes` are leased, counted in pages of 4 KiB: release some first
 *   -E2BIG     the range alone is more than `lease_bytes`
 *   -ENOMEM    there is not so much memory      -ECHILD  see cachefs_cache_open()
 *   else as cachefs_read()
 *
 * Thread-safety: any thread. Blocks: while bytes are read that are not in memory;
 * -EDEADLK as of cachefs_read(). Since: 0.1.
 *
 * Safety: `lease` must be NULL or writable.
 */
int32_t cachefs_lease_acquire(struct cachefs_file *file,
                              uint64_t offset,
                              uint64_t length,
                              struct cachefs_lease **lease);

/**
 * Says where the bytes of a lease are. They may be read until the lease is
 * released, on any thread, and never written to. A forked child does not have them.
 *
 * lease   must not be NULL
 * data    must not be NULL; gets an address, also if there are no bytes: not NULL
 * length  must not be NULL; gets the bytes
 *
 * Returns 0, or a negative errno:
 *   -EINVAL  NULL      -EBADF  not a lease, or released
 *   -ECHILD  see cachefs_cache_open()
 *
 * Thread-safety: any thread, also inside a callback. Blocks: never. Since: 0.1.
 *
 * Safety: `data` and `length` must be NULL or writable.
 */
int32_t cachefs_lease_data(struct cachefs_lease *lease,
                           const void **data,
                           uint64_t *length);

/**
 * Gives a lease back. Nobody may look at its bytes any more.
 *
 * lease  NULL is ignored; not a lease: nothing is done, and cachefs_last_error()
 *        says so
 *
 * Returns nothing.
 *
 * Thread-safety: any thread, also inside a callback, and after the cache was closed.
 * Blocks: never. Since: 0.1.
 */
void cachefs_lease_release(struct cachefs_lease *lease);

/**
 * Starts a batch of reads and fills; one callback is told all their completions
 * once the last has ended, on a library thread.
 *
 * requests      must not be NULL; copied
 * count         elements, 1 to 4096
 * request_size  sizeof(cachefs_request) of the program
 * callback      must not be NULL
 * user          passed to the callback
 * ids           NULL, or a place for `count` ids of the requests, for
 *               cachefs_cancel(); written before the callback is called
 *
 * Returns 0 if all were accepted, and the callback is called exactly once, with as
 * many completions in the same order. Or a negative errno, and none was started:
 *   -EINVAL  NULL, an unknown operation, flag or priority, a buffer where none
 *            belongs, a `count` outside its range, or `request_size` is smaller
 *            than the first release's
 *   -E2BIG   something is set that this release does not know
 *   -EBADF   not an open file      -ESHUTDOWN  the cache is closed
 *   -EAGAIN  `async_limit` would be exceeded: try again after a completion
 *   -ECHILD  see cachefs_cache_open()
 *
 * Thread-safety: any thread, also inside a callback. Blocks: never. Since: 0.1.
 *
 * Safety: `requests` must be readable for `count` elements of `request_size` bytes; each
 * buffer must be writable, and nobody else's until the callback; `callback` must
 * be callable on any thread; `ids` NULL or writable for `count` elements.
 */
int32_t cachefs_batch_async(const struct cachefs_request *requests,
                            uint32_t count,
                            size_t request_size,
                            cachefs_batch_callback callback,
                            void *user,
                            uint64_t *ids);

/**
 * Opens a queue.
 *
 * cache    must not be NULL
 * options  NULL: all defaults; copied
 * queue    must not be NULL; close it with cachefs_queue_close()
 *
 * Returns 0, or a negative errno:
 *   -EINVAL  NULL, an unknown flag, or a depth above 4096
 *   -E2BIG   an option is set that this release does not know
 *   -EBADF   not an open cache      -ESHUTDOWN  the cache is closed
 *   -ECHILD  see cachefs_cache_open()
 *
 * Thread-safety: any thread; the queue then belongs to the first that submits on
 * it, or reads, fills, cancels, waits or asks for the descriptor. Blocks: never.
 * Since: 0.1.
 *
 * Safety: `options` must be NULL or an initialised structure; `queue` NULL or writable.
 */
int32_t cachefs_queue_open(struct cachefs_cache *cache,
                           const struct cachefs_queue_options *options,
                           struct cachefs_queue **queue);

/**
 * Closes a queue: cancels its requests and waits for their end. Completions
 * that were not fetched are dropped; afterwards no buffer is touched.
 *
 * But for those of requests that do not end within `close_timeout_ms`: the log
 * counts them, and their buffers must stay. To know which they are, close the cache
 * first, and then fetch the completions: they have -EBUSY.
 *
 * queue  NULL is ignored; not an open queue: nothing is done, and
 *        cachefs_last_error() says so
 *
 * Returns nothing.
 *
 * Thread-safety: the queue's thread, while no other call uses it. Blocks: up to
 * `close_timeout_ms`. Since: 0.1.
 */
void cachefs_queue_close(struct cachefs_queue *queue);

/**
 * Queues a batch of requests.
 *
 * queue         must not be NULL
 * requests      must not be NULL unless `count` is 0; copied
 * count         elements
 * request_size  sizeof(cachefs_request) of the program
 *
 * Returns how many were accepted, from the first on; each has one completion.
 * Fewer than `count` when the queue is full, or when the next one is bad. If
 * the first is not accepted, a negative errno:
 *   -EAGAIN  the queue is full: fetch completions first
 *   -EINVAL  NULL, an unknown operation or flag, a buffer where none belongs, or
 *            `request_size` is smaller than the first release's
 *   -E2BIG   something is set that this release does not know
 *   -EBADF   not an open queue or file      -ESHUTDOWN  the cache is closed
 *   -EPERM   another thread's queue         -EBUSY      another thread is using it
 *   -ECHILD  see cachefs_cache_open()
 *
 * Thread-safety: the queue's thread. Blocks: never. Since: 0.1.
 *
 * Safety: `requests` must be readable for `count` elements of `request_size` bytes; each
 * buffer must be writable, and nobody else's until the request's completion.
 */
int32_t cachefs_queue_push(struct cachefs_queue *queue,
                           const struct cachefs_request *requests,
                           uint32_t count,
                           size_t request_size);

/**
 * Says how many requests the queue still takes. Completions that were not
 * fetched hold their place.
 *
 * queue  must not be NULL
 *
 * Returns a count, 0 when it is full, or a negative errno:
 *   -EINVAL  NULL      -EBADF  not an open queue      -EBUSY  another thread is using it
 *   -ESHUTDOWN  the cache is closed, and every completion was fetched
 *   -ECHILD  see cachefs_cache_open()
 *
 * Thread-safety: the queue's thread. Blocks: never. Since: 0.1.
 */
int32_t cachefs_queue_space(struct cachefs_queue *queue);

/**
 * Queues one read: see cachefs_queue_push().
 *
 * Returns 0, or a negative errno of cachefs_queue_push() and nothing was queued.
 *
 * Thread-safety: the queue's thread. Blocks: never. Since: 0.1.
 *
 * Safety: `buffer` must be writable for `length` bytes, and nobody else's until the
 * request's completion.
 */
int32_t cachefs_queue_read(struct cachefs_queue *queue,
                           struct cachefs_file *file,
                           void *buffer,
                           uint64_t length,
                           uint64_t offset,
                           uint64_t tag);

/**
 * Queues one read into several pieces of memory: see cachefs_queue_push().
 *
 * Returns 0, or a negative errno of cachefs_queue_push() and nothing was queued.
 *
 * Thread-safety: the queue's thread. Blocks: never. Since: 0.1.
 *
 * Safety: `segments` must be readable for `count` elements; their memory must be
 * writable, and nobody else's until the request's completion.
 */
int32_t cachefs_queue_readv(struct cachefs_queue *queue,
                            struct cachefs_file *file,
                            const struct iovec *segments,
                            uint32_t count,
                            uint64_t offset,
                            uint64_t tag);

/**
 * Queues one copy-fill: see cachefs_queue_push().
 *
 * Returns 0, or a negative errno of cachefs_queue_push() and nothing was queued.
 *
 * Thread-safety: the queue's thread. Blocks: never. Since: 0.1.
 */
int32_t cachefs_queue_fill(struct cachefs_queue *queue,
                           struct cachefs_file *file,
                           uint64_t offset,
                           uint64_t length,
                           uint64_t tag);

/**
 * Asks for the end of every request of this queue that has this tag. Each is
 * completed all the same: with -ECANCELED, or with what it came to before.
 *
 * queue  must not be NULL
 * tag    as in the requests
 *
 * Returns how many requests were asked to end, or a negative errno:
 *   -EINVAL  NULL      -EBADF  not an open queue      -EPERM  another thread's queue
 *   -EBUSY   another thread is using it      -ECHILD  see cachefs_cache_open()
 *   -ESHUTDOWN  the cache is closed, and every completion was fetched
 *
 * Thread-safety: the queue's thread. Blocks: never. Since: 0.1.
 */
int32_t cachefs_queue_cancel(struct cachefs_queue *queue,
                             uint64_t tag);

/**
 * Asks for the end of every request of this queue that is on this file: see
 * cachefs_queue_cancel().
 *
 * queue  must not be NULL
 * file   must not be NULL
 *
 * Returns how many requests were asked to end, or a negative errno of
 * cachefs_queue_cancel(); -EBADF also for what is not an open file.
 *
 * Thread-safety: the queue's thread. Blocks: never. Since: 0.1.
 */
int32_t cachefs_queue_cancel_file(struct cachefs_queue *queue,
                                  struct cachefs_file *file);

/**
 * Asks for the end of every request of this queue: see cachefs_queue_cancel().
 *
 * queue  must not be NULL
 *
 * Returns how many requests were asked to end, or a negative errno of
 * cachefs_queue_cancel().
 *
 * Thread-safety: the queue's thread. Blocks: never. Since: 0.1.
 */
int32_t cachefs_queue_cancel_all(struct cachefs_queue *queue);

/**
 * Hands what was queued to the kernel. cachefs_queue_wait() does so as well.
 *
 * queue  must not be NULL
 *
 * Returns 0, or a negative errno: as cachefs_queue_cancel().
 *
 * Thread-safety: the queue's thread. Blocks: never. Since: 0.1.
 */
int32_t cachefs_queue_submit(struct cachefs_queue *queue);

/**
 * Hands what was queued to the kernel, waits, and fetches completions.
 *
 * queue        must not be NULL
 * completions  must not be NULL unless `max` is 0; room for `max`
 * min          waits for so many, or for all requests of the queue if they are fewer
 * max          fetches at most so many; at least `min`
 * timeout_ns   waits no longer than so many nanoseconds; below 0: no limit
 *
 * Returns how many were fetched: fewer than `min` only when the time is over or
 * the queue holds fewer. Or a negative errno:
 *   -EINVAL  NULL, or `min` above `max`      -EDEADLK  inside a completion callback
 *   else as cachefs_queue_cancel()
 *
 * Thread-safety: the queue's thread. Blocks: as told; once the cache is closed and
 * its device hangs, also up to `close_timeout_ms`. Since: 0.1.
 *
 * Safety: `completions` must be writable for `max` elements.
 */
int32_t cachefs_queue_wait(struct cachefs_queue *queue,
                           struct cachefs_completion *completions,
                           uint32_t min,
                           uint32_t max,
                           int64_t timeout_ns);

/**
 * Gives a descriptor for poll(2), select(2) and epoll(7): readable when
 * completions may be waiting, cleared by cachefs_queue_wait(). It belongs to the
 * queue: do not read, write or close it.
 *
 * queue  must not be NULL
 *
 * Returns the descriptor, the same each time, or a negative errno:
 *   -EMFILE, -ENFILE, -ENOMEM  it cannot be made
 *   else as cachefs_queue_cancel()
 *
 * Thread-safety: the queue's thread. Blocks: never. Since: 0.1.
 */
int32_t cachefs_queue_fd(struct cachefs_queue *queue);

/**
 * Allocates page-aligned memory that is registered with the engine: reads into
 * it by a queue cost less, since its pages are pinned once and not for each read.
 *
 * It is zeroed, and forked children do not get it. On psync it is memory like
 * any other. Where RLIMIT_MEMLOCK does not allow to pin it (8 MiB for ordinary
 * users), reads into it work all the same, and the log says so.
 *
 * cache   must not be NULL
 * length  bytes, not 0
 * buffer  must not be NULL; free it with cachefs_buffer_free()
 *
 * Returns 0, or a negative errno:
 *   -EINVAL  NULL, or no memory has that length      -ENOMEM  there is not so much
 *   -ENOSPC  64 pieces are registered; one has up to 1 GiB
 *   -EBADF   not an open cache      -ECHILD  see cachefs_cache_open()
 *
 * Thread-safety: any thread. Blocks: never. Since: 0.1.
 *
 * Safety: `buffer` must be NULL or writable.
 */
int32_t cachefs_buffer_alloc(struct cachefs_cache *cache,
                             uint64_t length,
                             void **buffer);

/**
 * Frees what cachefs_buffer_alloc() gave. No request may be using it. What is
 * not freed before cachefs_cache_close() goes when the last file, origin and
 * queue of the cache is closed.
 *
 * cache   must not be NULL
 * buffer  NULL is ignored
 *
 * Returns 0, or a negative errno and nothing was done:
 *   -ENOENT  no memory of this cache begins there
 *   -EINVAL  NULL cache      -EBADF  not an open cache
 *   -ECHILD  see cachefs_cache_open()
 *
 * Thread-safety: any thread. Blocks: never. Since: 0.1.
 *
 * Safety: No request may be using the buffer, and nobody may use it afterwards.
 */
int32_t cachefs_buffer_free(struct cachefs_cache *cache, void *buffer);

/**
 * Registers the program's own memory, with the effect that
 * cachefs_buffer_alloc() describes. It must stay mapped until
 * cachefs_buffer_unregister() or cachefs_cache_close().
 *
 * cache   must not be NULL
 * buffer  must not be NULL
 * length  bytes, not 0
 *
 * Returns 0, or a negative errno:
 *   -EINVAL  NULL, or `length` is 0 or leads out of memory
 *   -EEXIST  a part of it is registered already
 *   -ENOSPC  64 pieces are registered; one has up to 1 GiB
 *   -EBADF   not an open cache      -ECHILD  see cachefs_cache_open()
 *
 * Thread-safety: any thread. Blocks: never. Since: 0.1.
 *
 * Safety: The memory must stay mapped and writable as told.
 */
int32_t cachefs_buffer_register(struct cachefs_cache *cache,
                                void *buffer,
                                uint64_t length);

/**
 * Ends the registration of memory, by where it begins. Requests in flight go on;
 * later ones take it as memory like any other. Pages stay pinned until each
 * queue that used them is used again or closed.
 *
 * cache   must not be NULL
 * buffer  must not be NULL
 *
 * Returns 0, or a negative errno and nothing was done:
 *   -ENOENT  no registered memory begins there
 *   -EINVAL  NULL      -EBADF  not an open cache      -ECHILD  see cachefs_cache_open()
 *
 * Thread-safety: any thread. Blocks: never. Since: 0.1.
 */
int32_t cachefs_buffer_unregister(struct cachefs_cache *cache,
                                  void *buffer);

/**
 * Says what the cache has done since it was opened, by this process. Each
 * number is right; together they are of no single moment.
 *
 * cache       must not be NULL
 * statistics  must not be NULL; its struct_size set
 *
 * Returns 0, or a negative errno: as cachefs_cache_report().
 *
 * Thread-safety: any thread. Blocks: never. Since: 0.1.
 *
 * Safety: `statistics` must be NULL or writable for as many bytes as its first field says.
 */
int32_t cachefs_stats(struct cachefs_cache *cache,
                      struct cachefs_statistics *statistics);

/**
 * Says what the cache's engines have done since it was opened: of the library's
 * threads and of queues. The numbers of an engine are those of its last call.
 *
 * cache       must not be NULL
 * statistics  must not be NULL; its struct_size set
 *
 * Returns 0, or a negative errno: as cachefs_cache_report().
 *
 * Thread-safety: any thread. Blocks: never. Since: 0.1.
 *
 * Safety: `statistics` must be NULL or writable for as many bytes as its first field says.
 */
int32_t cachefs_engine_stats(struct cachefs_cache *cache,
                             struct cachefs_engine_statistics *statistics);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* CACHEFS_H */
