/* A cache device that fills up while the cache is in use is no reader's error. */
#include "t.h"
#include "t_mount.h"

enum { SIZE = 64 * T_CHUNK, SEED = 24 };

int main(void) {
    t_make_origin_file("file", SIZE, SEED);
    t_mount("disk", 1 << 20);

    cachefs_cache_options options = t_options();
    cachefs_cache *cache = t_cache_open_with(t_path("disk/cache"), &options);
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "file");
    for (int pass = 0; pass < 3; pass++) {
        for (uint64_t offset = 0; offset < SIZE; offset += 8 * T_CHUNK)
            CHECK_READ(file, SIZE, SEED, 8 * T_CHUNK, offset);
    }
    CHECK_EQ(t_statistics(cache).errors, 0);

    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
