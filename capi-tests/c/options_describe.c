/* Every option can be enumerated, and its default is a value that it accepts. */
#include "t.h"

static const char *const KEYS[] = {
    "engine",      "capacity_bytes", "chunk_bytes",       "pool_bytes",       "threads",
    "queue_depth", "psync_threads",  "fill_depth",        "async_limit",      "origin_timeout_ms",
    "log_level",   "close_timeout_ms", "sq_poll",         "sq_poll_idle_ms",  "sq_poll_cpu",
    "io_poll",     "spin_us",        "io_workers",        "huge_pages",       "direct_io",
    "copy_method", "withhold",       "memory_bytes",     "direct_copy_bytes",
    "lease_bytes",
    "readahead",   "readahead_bytes", "objects_max",
    "capacity_run_percent", "capacity_cull_percent", "space_run_percent",
    "space_cull_percent", "space_stop_percent", "inodes_run_percent",
    "inodes_cull_percent", "inodes_stop_percent", "pinned_percent",
    "device_timeout_ms", "durable", "sync_interval_ms",
    "fill_bytes_per_second", "fill_operations_per_second", "fill_latency_percent",
    "fill_priority", "fill_after_percent", "verify_bytes_per_second",
};

enum { KEY_COUNT = sizeof KEYS / sizeof KEYS[0] };

static unsigned place(const char *key) {
    for (unsigned i = 0; i < KEY_COUNT; i++) {
        if (strcmp(KEYS[i], key) == 0)
            return i;
    }
    t_fail(__FILE__, __LINE__, "unexpected key %s", key);
}

int main(void) {
    bool seen[KEY_COUNT] = {false};
    cachefs_option_info info;
    uint32_t count = 0;
    int result;

    for (;; count++) {
        info = (cachefs_option_info){.struct_size = sizeof info};
        result = cachefs_option_describe(count, &info);
        if (result != 0)
            break;
        CHECK(!seen[place(info.key)]);
        seen[place(info.key)] = true;
        CHECK_EQ(info.struct_size, sizeof info);
        CHECK(info.type >= CACHEFS_OPTION_NUMBER && info.type <= CACHEFS_OPTION_SET);
        CHECK(info.default_value[0] != '\0' && info.range[0] != '\0' && info.meaning[0] != '\0');
        CHECK(strstr(info.range, info.type >= CACHEFS_OPTION_CHOICE ? "|" : "..") != NULL);

        cachefs_cache_options options;
        CHECK_OK(cachefs_cache_options_init(&options, sizeof options));
        CHECK_OK(cachefs_cache_options_set(&options, info.key, info.default_value));
    }
    CHECK_EQ(result, -ENOENT);
    CHECK_EQ(count, KEY_COUNT);
    CHECK_ERROR(cachefs_option_describe(UINT32_MAX, &info), -ENOENT);
    CHECK_ERROR(cachefs_option_describe(0, NULL), -EINVAL);
    return 0;
}
