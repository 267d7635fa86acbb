/* cachefs_read() gives the origin's bytes, short only at the end of the file. */
#include "t.h"

enum { SEED = 7 };

/* Ranges around every edge of a file of `size` bytes, first cold, then warm. */
static void check_file(cachefs_origin *origin, const char *name, uint64_t size) {
    cachefs_file *file = t_file_open(origin, name);
    const uint64_t edges[] = {0, 1, 4095, 4096, T_CHUNK - 1, T_CHUNK, T_CHUNK + 1, 3 * T_CHUNK};
    const uint64_t lengths[] = {1, 511, 4096, T_CHUNK, T_CHUNK + 1, 3 * T_CHUNK + 17};
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < sizeof edges / sizeof edges[0]; i++) {
            for (size_t j = 0; j < sizeof lengths / sizeof lengths[0]; j++)
                CHECK_READ(file, size, SEED, lengths[j], edges[i]);
        }
        CHECK_READ(file, size, SEED, size, 0);
        CHECK_READ(file, size, SEED, size + 1, 0);
        CHECK_READ(file, size, SEED, 0, 0);
        CHECK_READ(file, size, SEED, 10, size);
        CHECK_READ(file, size, SEED, 10, size + 1);
        CHECK_READ(file, size, SEED, 10, size + T_CHUNK);
        if (size > 0)
            CHECK_READ(file, size, SEED, 10, size - 1);
    }
    cachefs_file_close(file);
}

int main(void) {
    const uint64_t sizes[] = {0, 1, 4096, T_CHUNK - 1, T_CHUNK, T_CHUNK + 1, 5 * T_CHUNK + 4321};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char name[32];
        snprintf(name, sizeof name, "file-%" PRIu64, sizes[i]);
        t_make_origin_file(name, sizes[i], SEED);
    }
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open_dir(cache);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char name[32];
        snprintf(name, sizeof name, "file-%" PRIu64, sizes[i]);
        check_file(origin, name, sizes[i]);
    }
    CHECK_EQ(t_statistics(cache).errors, 0);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
