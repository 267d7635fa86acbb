/*
 * Where the file system cannot do without the page cache, direct_io is no error:
 * objects are made as without it, and that is said once.
 */
#include "t.h"
#include "t_mount.h"

enum { SIZE = 3 * T_CHUNK + 5, SEED = 52 };

static void count(void *user, uint32_t level, const char *message) {
    if (strstr(message, "direct_io") != NULL) {
        CHECK_EQ(level, CACHEFS_LOG_WARN);
        atomic_fetch_add((atomic_uint *)user, 1);
    }
}

int main(void) {
    atomic_uint said = 0;
    t_make_origin_file("one", SIZE, SEED);
    t_make_origin_file("two", SIZE, SEED);
    t_mount("memory", 8 << 20);

    cachefs_cache_options options = t_options();
    options.direct_io = 1;
    options.log = count;
    options.log_user = &said;
    cachefs_cache *cache = t_cache_open_with(t_path("memory/cache"), &options);
    cachefs_origin *origin = t_origin_open_dir(cache);
    const char *names[] = {"one", "two"};
    for (int i = 0; i < 2; i++) {
        cachefs_file *file = t_file_open(origin, names[i]);
        CHECK_EQ(cachefs_fill(file, 0, CACHEFS_TO_END, NULL, NULL), SIZE);
        CHECK_READ(file, SIZE, SEED, SIZE + 10, 1);
        cachefs_file_close(file);
    }
    CHECK_EQ(t_statistics(cache).hits, 2);
    CHECK_EQ(atomic_load(&said), 1);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
