/*
 * `stat` is called after each read, unless the origin checks the version itself;
 * when its `read` says -ESTALE, `stat` is asked for the new version.
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
    CHECK_OK(cachefs_origin_open(cache, name, &ops, &memory, NULL, &origin));
    cachefs_file *file = t_file_open(origin, "file");
    unsigned before = memory.stats;
    CHECK_READ(file, SIZE, SEED, SIZE, 0);
    unsigned stats = memory.stats - before;
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    CHECK_SOON(memory.frees == 1);
    return stats;
}

/* What the origin of check_stale() says of the version that it is asked for. */
static int32_t read_if_match(void *user, const char *path, const cachefs_origin_attr *version,
                             void *buffer, uint64_t length, uint64_t offset,
                             cachefs_origin_token *token) {
    struct t_origin *origin = user;
    if (version->mtime_ns != origin->mtime_ns) {
        CHECK_OK(cachefs_origin_complete(token, -ESTALE));
        return 0;
    }
    return t_origin_read(user, path, version, buffer, length, offset, token);
}

static void check_stale(cachefs_cache *cache) {
    struct t_origin memory;
    cachefs_origin_ops ops = t_origin_ops();
    cachefs_origin *origin = NULL;
    t_origin_init(&memory, SIZE, SEED);
    ops.flags = CACHEFS_ORIGIN_CHECKS_VERSION;
    ops.read = read_if_match;
    CHECK_OK(cachefs_origin_open(cache, "if match", &ops, &memory, NULL, &origin));
    cachefs_file *file = t_file_open(origin, "file");
    CHECK_READ(file, SIZE, SEED, T_CHUNK, 0);
    memory.seed = SEED + 1;
    memory.mtime_ns++;
    CHECK_READ(file, SIZE, SEED + 1, T_CHUNK, 2 * T_CHUNK);
    CHECK_READ(file, SIZE, SEED + 1, SIZE, 0);
    CHECK(t_statistics(cache).stale_fetches >= 1);
    cachefs_file_close(file);
    cachefs_origin_close(origin);
}

int main(void) {
    cachefs_cache *cache = t_cache_open();
    CHECK(stats_of_reading(cache, "plain", 0) >= 4);
    CHECK_EQ(stats_of_reading(cache, "checks", CACHEFS_ORIGIN_CHECKS_VERSION), 0);
    check_stale(cache);
    cachefs_cache_close(cache);
    return 0;
}
