/* Relative directories are those of the call, wherever the program goes later. */
#include "t.h"

enum { SIZE = T_CHUNK, SEED = 49 };

int main(void) {
    t_require_directory_origin();
    t_make_origin_file("first", SIZE, SEED);
    t_make_origin_file("second", SIZE, SEED + 1);
    CHECK_EQ(chdir(getenv("T_DIR")), 0);
    cachefs_cache_options options = t_options();
    cachefs_cache *cache = t_cache_open_with("cache", &options);
    cachefs_origin *origin = NULL;
    CHECK_OK(cachefs_origin_open_dir(cache, "origin", NULL, &origin));
    cachefs_file *file = t_file_open(origin, "first");

    CHECK_EQ(chdir("/"), 0);
    CHECK_READ(file, SIZE, SEED, SIZE, 0);
    cachefs_file_close(file);
    file = t_file_open(origin, "second");
    CHECK_READ(file, SIZE, SEED + 1, SIZE, 0);
    cachefs_file_close(file);
    CHECK_SOON(t_statistics(cache).cached_objects == 2);

    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    CHECK_EQ(access("/cache", F_OK), -1);
    return 0;
}
