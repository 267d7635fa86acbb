/* A directory that cannot be an origin is refused, with a reason. */
#include "t.h"

static void check_refused(cachefs_cache *cache, const char *root, int expected) {
    cachefs_origin *origin = NULL;
    CHECK_ERROR(cachefs_origin_open_dir(cache, root, NULL, &origin), expected);
    CHECK(origin == NULL);
}

int main(void) {
    t_make_origin_file("file", 100, 1);
    cachefs_cache *cache = t_cache_open();
    unsigned descriptors = t_count_descriptors();

    check_refused(cache, t_path("missing"), -ENOENT);
    check_refused(cache, "", -ENOENT);
    check_refused(cache, t_path("origin/file"), -ENOTDIR);
    check_refused(cache, t_path("origin/file/below"), -ENOTDIR);
    /* Reading the cache through itself. */
    check_refused(cache, t_path("cache"), -ELOOP);
    CHECK_EQ(mkdir(t_path("cache/below"), 0755), 0);
    check_refused(cache, t_path("cache/below"), -ELOOP);
    CHECK_EQ(symlink("cache", t_path("link")), 0);
    check_refused(cache, t_path("link"), -ELOOP);
    CHECK_EQ(rmdir(t_path("cache/below")), 0);

    CHECK_EQ(t_count_descriptors(), descriptors);
    cachefs_cache_close(cache);
    return 0;
}
