/* An origin may contain the cache directory, but no file of the cache is read. */
#include "t.h"

int main(void) {
    t_require_directory_origin();
    t_make_origin_file("file", 1000, 1);
    cachefs_cache_options options = t_options();
    cachefs_cache *cache = t_cache_open_with(t_path("origin/cache"), &options);
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "file");
    CHECK_READ(file, 1000, 1, 1000, 0);
    CHECK_SOON(t_residency(file).complete == 1);
    cachefs_file_close(file);

    file = NULL;
    CHECK_ERROR(cachefs_file_open(origin, "cache/cachefs.format", 0, &file), -ELOOP);
    CHECK(file == NULL);

    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
