/*
 * A cache directory whose file system no longer takes writes: reads are answered from
 * the origin, a fill that waits for the write completes at the close, in time.
 */
#include "t_hung.h"

enum { SIZE = 4 * T_CHUNK, SEED = 74 };

int main(void) {
    struct t_hung_fs fs;
    t_make_origin_file("file", SIZE, SEED);
    CHECK_EQ(mkdir(t_path("disk"), 0755), 0);
    t_hung_mount(&fs, "mount", "disk");
    cachefs_cache_options options = t_hung_options();
    /* The way whose reads of the origin can be counted. */
    options.copy_method = CACHEFS_COPY_RING;
    cachefs_cache *cache = t_cache_open_with(t_path("mount/cache"), &options);
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "file");
    CHECK_EQ(cachefs_fill(file, 0, T_CHUNK, NULL, NULL), T_CHUNK);

    t_hung(&fs, "hang write");
    CHECK_READ(file, SIZE, SEED, T_CHUNK, 0);
    CHECK_READ(file, SIZE, SEED, 100, T_CHUNK + 7);
    CHECK_SOON(t_hung(&fs, "count") == 1);
    CHECK_READ(file, SIZE, SEED, 100, T_CHUNK + 9);
    struct t_completions callback = {0};
    CHECK_OK(cachefs_fill_async(file, T_CHUNK, 2 * T_CHUNK, t_complete, &callback, NULL));
    /* Its second write waits in the kernel for the first. */
    CHECK_SOON(t_statistics(cache).origin_reads == 3);
    CHECK_EQ(t_completed(&callback), 0);

    t_close_in_time(cache);
    CHECK_EQ(t_completion(&callback, 1).result, -ECANCELED);
    t_check_left_behind(options.engine);
    /* FUSE writes back a mapping when it is unmapped (fuse_vma_close): not in this call. */
    t_file_close_in_time(file);
    cachefs_origin_close(origin);
    t_hung(&fs, "go");

    /* What was not published is not there; what was, is. */
    cache = t_cache_open_with(t_path("mount/cache"), &options);
    origin = t_origin_open_dir(cache);
    file = t_file_open(origin, "file");
    CHECK_EQ(t_residency(file).chunks_present, 1);
    CHECK_READ(file, SIZE, SEED, SIZE, 0);
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    t_close_in_time(cache);
    t_hung_end(&fs);
    return 0;
}
