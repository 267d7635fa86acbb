/* Each key sets its field, and no other. */
#include "t.h"

/* What the options are when this one is set to `value`. */
static cachefs_cache_options set(const char *key, const char *value) {
    cachefs_cache_options options;
    CHECK_OK(cachefs_cache_options_init(&options, sizeof options));
    CHECK_OK(cachefs_cache_options_set(&options, key, value));
    return options;
}

#define CHECK_SETS(key, value, field, expected)                                             \
    do {                                                                                    \
        cachefs_cache_options got = set(key, value), wanted;                                \
        CHECK_OK(cachefs_cache_options_init(&wanted, sizeof wanted));                       \
        wanted.field = expected;                                                            \
        CHECK_EQ(got.field, wanted.field);                                                  \
        CHECK_EQ(memcmp(&got, &wanted, sizeof got), 0);                                     \
    } while (0)

int main(void) {
    CHECK_SETS("engine", "auto", engine, CACHEFS_ENGINE_AUTO);
    CHECK_SETS("engine", "uring", engine, CACHEFS_ENGINE_URING);
    CHECK_SETS("engine", "psync", engine, CACHEFS_ENGINE_PSYNC);

    CHECK_SETS("log_level", "error", log_level, CACHEFS_LOG_ERROR);
    CHECK_SETS("log_level", "warn", log_level, CACHEFS_LOG_WARN);
    CHECK_SETS("log_level", "info", log_level, CACHEFS_LOG_INFO);
    CHECK_SETS("log_level", "debug", log_level, CACHEFS_LOG_DEBUG);
    CHECK_SETS("log_level", "trace", log_level, CACHEFS_LOG_TRACE);

    CHECK_SETS("capacity_bytes", "1073741824", capacity_bytes, UINT64_C(1) << 30);
    CHECK_SETS("capacity_bytes", "1G", capacity_bytes, UINT64_C(1) << 30);
    CHECK_SETS("capacity_bytes", "1GiB", capacity_bytes, UINT64_C(1) << 30);
    CHECK_SETS("capacity_bytes", "2T", capacity_bytes, UINT64_C(2) << 40);
    CHECK_SETS("capacity_bytes", "2TiB", capacity_bytes, UINT64_C(2) << 40);
    CHECK_SETS("pool_bytes", "64M", pool_bytes, UINT64_C(64) << 20);
    CHECK_SETS("pool_bytes", "64MiB", pool_bytes, UINT64_C(64) << 20);
    CHECK_SETS("chunk_bytes", "128K", chunk_bytes, 128 << 10);
    CHECK_SETS("chunk_bytes", "128KiB", chunk_bytes, 128 << 10);

    CHECK_SETS("threads", "2", threads, 2);
    CHECK_SETS("queue_depth", "64", queue_depth, 64);
    CHECK_SETS("psync_threads", "3", psync_threads, 3);
    CHECK_SETS("fill_depth", "4", fill_depth, 4);
    CHECK_SETS("async_limit", "100", async_limit, 100);
    CHECK_SETS("origin_timeout_ms", "2000", origin_timeout_ms, 2000);
    CHECK_SETS("close_timeout_ms", "3000", close_timeout_ms, 3000);
    return 0;
}
