/*
 * A lease is the range of the file, whether it was in the cache or not, and
 * however it came there.
 */
#include "t.h"

enum { SIZE = 3 * T_CHUNK + 777, SEED = 61 };

static void check(cachefs_file *file, uint64_t offset, uint64_t length) {
    cachefs_lease *lease = NULL;
    const void *data = NULL;
    uint64_t got = UINT64_MAX;

    CHECK_OK(cachefs_lease_acquire(file, offset, length, &lease));
    CHECK(lease != NULL);
    CHECK_OK(cachefs_lease_data(lease, &data, &got));
    CHECK_EQ(got, length);
    CHECK_CONTENT(data, length, SEED, offset);
    cachefs_lease_release(lease);
}

static void check_ranges(cachefs_file *file) {
    check(file, 0, 1);
    check(file, 4095, 2);
    check(file, T_CHUNK, T_CHUNK);
    check(file, T_CHUNK - 1, T_CHUNK + 2);
    check(file, SIZE - 1, 1);
    check(file, 0, SIZE);
}

static void check_cache(const char *dir, bool direct, uint64_t memory_bytes) {
    cachefs_cache_options options = t_options();
    options.direct_io = direct;
    options.memory_bytes = memory_bytes;
    cachefs_cache *cache = t_cache_open_with(dir, &options);
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "file");

    /* Enough of it to bring it into memory, where that is allowed. */
    for (int pass = 0; pass < 40; pass++)
        check_ranges(file);
    CHECK_EQ(t_statistics(cache).bytes_from_origin, SIZE);
    CHECK_EQ(t_statistics(cache).leased_bytes, 0);

    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
}

int main(void) {
    t_make_origin_file("file", SIZE, SEED);
    check_cache(t_path("buffered"), false, 0);
    check_cache(t_path("direct"), true, 0);
    check_cache(t_path("buffered, memory"), false, 1 << 20);
    check_cache(t_path("direct, memory"), true, 1 << 20);
    return 0;
}
