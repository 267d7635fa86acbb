/*
 * A cache directory that cannot be written is no error: the cache opens, says
 * why it stores nothing, and every read is right.
 */
#include "t.h"
#include "t_mount.h"

enum { SIZE = 3 * T_CHUNK, SEED = 22 };

int main(void) {
    t_make_origin_file("file", SIZE, SEED);
    t_mount("disk", 16 << 20);
    CHECK_EQ(mkdir(t_path("disk/cache"), 0700), 0);
    t_mount_read_only("disk");

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
    cachefs_statistics statistics = t_statistics(cache);
    CHECK_EQ(statistics.hits, 0);
    CHECK_EQ(statistics.errors, 0);
    CHECK_EQ(statistics.bypasses, 2);
    CHECK_EQ(statistics.bytes_from_origin, 2 * SIZE);
    CHECK_EQ(statistics.cached_bytes, 0);

    static unsigned char buffer[SIZE];
    struct t_completions completions = {0};
    CHECK_OK(cachefs_read_async(file, buffer, SIZE, 0, t_complete, &completions, NULL));
    cachefs_completion completion = t_completion(&completions, 1);
    CHECK_EQ(completion.source, CACHEFS_SOURCE_BYPASS);
    CHECK_EQ(completion.miss_reason, CACHEFS_MISS_NOT_STORING);
    CHECK_EQ(t_residency(file).chunks_present, 0);
    CHECK_ERROR(cachefs_file_fd(file), -ENODATA);

    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
