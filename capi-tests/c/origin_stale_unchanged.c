/*
 * An origin that refuses the version it is asked for, and then tells the same one,
 * contradicts itself: the reader gets what the read said, and nothing is kept.
 */
#include "t.h"
#include "t_origin.h"

enum { SIZE = T_CHUNK, SEED = 71 };

static int32_t always_stale(void *user, const char *path, const cachefs_origin_attr *version,
                            void *buffer, uint64_t length, uint64_t offset,
                            cachefs_origin_token *token) {
    (void)user, (void)path, (void)version, (void)buffer, (void)length, (void)offset;
    CHECK_OK(cachefs_origin_complete(token, -ESTALE));
    return 0;
}

int main(void) {
    struct t_origin memory;
    cachefs_origin_ops ops = t_origin_ops();
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = NULL;
    unsigned char byte;

    t_origin_init(&memory, SIZE, SEED);
    ops.flags = CACHEFS_ORIGIN_CHECKS_VERSION;
    ops.read = always_stale;
    CHECK_OK(cachefs_origin_open(cache, "stale", &ops, &memory, NULL, &origin));
    cachefs_file *file = t_file_open(origin, "file");
    CHECK_ERROR(cachefs_read(file, &byte, 1, 0), -ESTALE);
    CHECK_EQ(t_residency(file).chunks_present, 0);

    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
