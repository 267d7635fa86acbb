/*
 * A lease keeps its bytes when its file, its origin and its cache are closed and
 * the directory is gone; what it held on to goes when it is released.
 */
#include "t.h"

enum { SIZE = 3 * T_CHUNK, SEED = 63, LEASES = 4 };

static const struct {
    uint64_t offset, length;
} RANGES[LEASES] = {{0, SIZE}, {T_CHUNK, 4096}, {100, 1}, {SIZE, 1}};

static void check_all(cachefs_lease *const *leases) {
    for (int i = 0; i < LEASES; i++) {
        uint64_t left = SIZE - RANGES[i].offset, length = 0;
        const void *data = NULL;
        CHECK_OK(cachefs_lease_data(leases[i], &data, &length));
        CHECK_EQ(length, RANGES[i].length < left ? RANGES[i].length : left);
        CHECK_CONTENT(data, length, SEED, RANGES[i].offset);
    }
}

static void check_cache(const char *name, uint64_t memory_bytes, bool direct) {
    cachefs_cache_options options = t_options();
    options.memory_bytes = memory_bytes;
    options.direct_io = direct;
    cachefs_lease *leases[LEASES] = {NULL};
    unsigned descriptors = t_count_descriptors();
    cachefs_cache *cache = t_cache_open_with(t_path("%s", name), &options);
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "file");

    CHECK_EQ(cachefs_fill(file, 0, CACHEFS_TO_END, NULL, NULL), SIZE);
    for (int pass = 0; pass < 40; pass++) {
        for (int i = 0; i < LEASES; i++) {
            cachefs_lease_release(leases[i]);
            CHECK_OK(cachefs_lease_acquire(file, RANGES[i].offset, RANGES[i].length, &leases[i]));
        }
    }
    cachefs_file_close(file);
    check_all(leases);
    cachefs_origin_close(origin);
    check_all(leases);
    CHECK_OK(cachefs_cache_close(cache));
    check_all(leases);
    char command[8192];
    snprintf(command, sizeof command, "rm -r '%s'", t_path("%s", name));
    CHECK_EQ(system(command), 0);
    check_all(leases);
    for (int i = 0; i < LEASES; i++)
        cachefs_lease_release(leases[i]);
    CHECK_SOON(t_count_descriptors() == descriptors);
}

int main(void) {
    t_make_origin_file("file", SIZE, SEED);
    check_cache("buffered", 0, false);
    check_cache("direct", 0, true);
    check_cache("memory", 1 << 20, false);
    return 0;
}
