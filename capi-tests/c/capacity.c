/*
 * The cache keeps to its limit by removing what was not used for long, and reads
 * stay right all the time.
 */
#include "t.h"
#include "t_origin.h"

enum { FILES = 40, SIZE = 8 * T_CHUNK, CAPACITY = 64 * T_CHUNK, SEED = 47 };

int main(void) {
    struct t_origin memory;
    t_origin_init(&memory, SIZE, SEED);
    cachefs_cache_options options = t_options();
    options.capacity_bytes = CAPACITY;
    cachefs_cache *cache = t_cache_open_with(t_path("cache"), &options);
    cachefs_origin *origin = t_origin_open(cache, &memory);

    for (unsigned i = 0; i < FILES; i++) {
        char name[32];
        snprintf(name, sizeof name, "file-%u", i);
        cachefs_file *file = t_file_open(origin, name);
        CHECK_READ(file, SIZE, SEED, SIZE, 0);
        cachefs_file_close(file);
        CHECK(t_statistics(cache).cached_bytes <= CAPACITY);
    }
    CHECK_SOON(t_statistics(cache).in_flight == 0);
    cachefs_statistics statistics = t_statistics(cache);
    CHECK(statistics.evictions > 0);
    CHECK(statistics.cached_objects < FILES);
    CHECK_EQ(statistics.errors, 0);
    CHECK_EQ(statistics.bytes_from_origin, (uint64_t)FILES * SIZE);

    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
