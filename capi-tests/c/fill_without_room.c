/* A copy-fill of more than the cache may hold says -ENOSPC; reads still work. */
#include "t.h"
#include "t_origin.h"

enum { CAPACITY = 64 * T_CHUNK, SIZE = 3 * CAPACITY, SEED = 48 };

int main(void) {
    struct t_origin memory;
    t_origin_init(&memory, SIZE, SEED);
    cachefs_cache_options options = t_options();
    options.capacity_bytes = CAPACITY;
    cachefs_cache *cache = t_cache_open_with(t_path("cache"), &options);
    cachefs_origin *origin = t_origin_open(cache, &memory);
    cachefs_file *file = t_file_open(origin, "file");

    CHECK_ERROR(cachefs_fill(file, 0, CACHEFS_TO_END, NULL, NULL), -ENOSPC);
    CHECK_EQ(t_residency(file).complete, 0);
    CHECK(t_statistics(cache).cached_bytes <= CAPACITY);
    CHECK_READ(file, SIZE, SEED, SIZE, 0);
    CHECK(t_statistics(cache).cached_bytes <= CAPACITY);

    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
