/* cachefs_file_residency() counts the bytes and chunks that are in the cache. */
#include "t.h"

enum { SIZE = 4 * T_CHUNK + 100, SEED = 18 };

static void check(cachefs_file *file, uint64_t chunks, uint64_t bytes) {
    CHECK_SOON(t_residency(file).chunks_present == chunks);
    cachefs_residency residency = t_residency(file);
    CHECK_EQ(residency.bytes_present, bytes);
    CHECK_EQ(residency.chunks_total, 5);
    CHECK_EQ(residency.chunk_bytes, T_CHUNK);
    CHECK_EQ(residency.complete, chunks == 5);
}

int main(void) {
    t_make_origin_file("file", SIZE, SEED);
    t_make_origin_file("empty", 0, SEED);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "file");

    check(file, 0, 0);
    CHECK_READ(file, SIZE, SEED, 10, 2 * T_CHUNK);
    check(file, 1, T_CHUNK);
    CHECK_READ(file, SIZE, SEED, 10, SIZE - 10);
    check(file, 2, T_CHUNK + 100);
    CHECK_READ(file, SIZE, SEED, 2, T_CHUNK - 1);
    check(file, 4, 3 * T_CHUNK + 100);
    CHECK_EQ(cachefs_fill(file, 0, CACHEFS_TO_END, NULL, NULL), SIZE);
    check(file, 5, SIZE);

    /* Nothing of nothing is all of it. */
    cachefs_file *empty = t_file_open(origin, "empty");
    cachefs_residency residency = t_residency(empty);
    CHECK_EQ(residency.complete, 1);
    CHECK_EQ(residency.chunks_total, 0);
    CHECK_EQ(residency.bytes_present, 0);

    cachefs_file_close(empty);
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
