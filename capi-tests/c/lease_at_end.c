/* A lease is shorter at the end of the file, and has no bytes behind it. */
#include "t.h"

enum { SIZE = T_CHUNK + 10, SEED = 62 };

static void check(cachefs_file *file, uint64_t offset, uint64_t length, uint64_t expected) {
    cachefs_lease *lease = NULL;
    const void *data = NULL;
    uint64_t got = UINT64_MAX;

    CHECK_OK(cachefs_lease_acquire(file, offset, length, &lease));
    CHECK_OK(cachefs_lease_data(lease, &data, &got));
    CHECK(data != NULL);
    CHECK_EQ(got, expected);
    CHECK_CONTENT(data, got, SEED, offset);
    cachefs_lease_release(lease);
}

int main(void) {
    t_make_origin_file("file", SIZE, SEED);
    t_make_origin_file("empty", 0, SEED);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "file");
    cachefs_file *empty = t_file_open(origin, "empty");

    for (int pass = 0; pass < 2; pass++) {
        check(file, SIZE - 3, 100, 3);
        check(file, T_CHUNK - 1, CACHEFS_TO_END, 11);
        check(file, SIZE, 1, 0);
        check(file, SIZE + 1, CACHEFS_TO_END, 0);
        check(file, UINT64_MAX, UINT64_MAX, 0);
        check(file, 5, 0, 0);
        check(empty, 0, 1, 0);
    }

    cachefs_file_close(empty);
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
