/*
 * A file system that gives bytes and then hangs on the question which version they
 * are of does not hold up the close.
 */
#include "t_hung.h"

enum { SIZE = 4 * T_CHUNK, SEED = 73 };

int main(void) {
    static unsigned char buffer[T_CHUNK];
    struct t_hung_fs fs;
    t_make_origin_file("file", SIZE, SEED);
    t_hung_mount(&fs, "mount", "origin");
    cachefs_cache_options options = t_hung_options();
    cachefs_cache *cache = t_cache_open_with(t_path("cache"), &options);
    cachefs_origin *origin;
    CHECK_OK(cachefs_origin_open_dir(cache, t_path("mount"), NULL, &origin));
    cachefs_file *file = t_file_open(origin, "file");

    t_hung(&fs, "hang getattr");
    struct t_completions callback = {0};
    CHECK_OK(cachefs_read_async(file, buffer, T_CHUNK, 0, t_complete, &callback, NULL));
    CHECK_SOON(t_hung(&fs, "count") == 1);
    t_close_in_time(cache);
    CHECK_EQ(t_completion(&callback, 1).result, -ECANCELED);
    t_check_left_behind(options.engine);
    for (unsigned i = 0; i < sizeof buffer; i++)
        CHECK_EQ(buffer[i], 0);

    t_hung(&fs, "go");
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    t_hung_end(&fs);
    CHECK_EQ(t_completed(&callback), 1);
    return 0;
}
