/*
 * `stat` is called after each read, unless the origin checks the version itself;
 * its -ESTALE is then the reader's.
 */
#include "t.h"
#include "t_origin.h"

enum { SIZE = 4 * T_CHUNK, SEED = 42 };

/* How often stat was called by reading a whole file. */
static unsigned stats_of_reading(cachefs_cache *cache, const char *name, uint64_t flags) {
    struct t_origin memory;
    cachefs_origin_ops ops = t_origin_ops();
    cachefs_origin *origin = NULL;
    t_origin_init(&memory, SIZE, SEED);
    ops.flags = flags;
    CHECK_OK(cachefs_origin_open(cache, name, &ops, &memory, &origin));
    cachefs_file *file = t_file_open(origin, "file");
    unsigned before = memory.stats;
    CHECK_READ(file, SIZE, SEED, SIZE, 0);
    unsigned stats = memory.stats - before;
    cachefs_file_close(file);

    /* Another path, so that it is not cached. */
    file = t_file_open(origin, "stale");
    memory.result = -ESTALE;
    unsigned char byte;
    CHECK_ERROR(cachefs_read(file, &byte, 1, 0), -ESTALE);
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    CHECK_SOON(memory.frees == 1);
    return stats;
}

int main(void) {
    cachefs_cache *cache = t_cache_open();
    CHECK(stats_of_reading(cache, "plain", 0) >= 4);
    CHECK_EQ(stats_of_reading(cache, "checks", CACHEFS_ORIGIN_CHECKS_VERSION), 0);
    cachefs_cache_close(cache);
    return 0;
}
