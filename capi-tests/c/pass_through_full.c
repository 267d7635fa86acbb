/*
 * A cache device without room is no error: the cache opens, says why it stores
 * nothing, and every read is right.
 */
#include "t.h"
#include "t_mount.h"

enum { SIZE = 3 * T_CHUNK, SEED = 23 };

int main(void) {
    t_make_origin_file("file", SIZE, SEED);
    t_mount("disk", 1 << 20);
    CHECK_EQ(mkdir(t_path("disk/cache"), 0700), 0);
    t_fill_disk(t_path("disk/ballast"));

    cachefs_cache_options options = t_options();
    cachefs_cache *cache = t_cache_open_with(t_path("disk/cache"), &options);
    cachefs_report report = {.struct_size = sizeof report};
    CHECK_OK(cachefs_cache_report(cache, &report));
    CHECK_EQ(report.state, CACHEFS_STATE_PASS_THROUGH);
    CHECK(report.state_reason[0] != '\0');

    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "file");
    for (int pass = 0; pass < 2; pass++)
        CHECK_READ(file, SIZE, SEED, SIZE, 0);
    CHECK_EQ(t_statistics(cache).hits, 0);
    CHECK_EQ(t_statistics(cache).errors, 0);

    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
