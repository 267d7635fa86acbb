/* What an origin does not have is not asked for again for negative_ttl_ms; what it cannot
 * tell is. */
#include "t_origin.h"

static cachefs_origin *open_with(cachefs_cache *cache, struct t_origin *memory, const char *name,
                                 uint64_t negative_ttl_ms) {
    cachefs_origin_ops ops = t_origin_ops();
    cachefs_origin_options options;
    cachefs_origin *origin = NULL;
    CHECK_OK(cachefs_origin_options_init(&options, sizeof options));
    options.negative_ttl_ms = negative_ttl_ms;
    CHECK_OK(cachefs_origin_open(cache, name, &ops, memory, &options, &origin));
    return origin;
}

static uint64_t negative_hits(cachefs_cache *cache) {
    cachefs_statistics statistics = {.struct_size = sizeof statistics};
    CHECK_OK(cachefs_stats(cache, &statistics));
    return statistics.negative_hits;
}

int main(void) {
    struct t_origin memory;
    cachefs_file *file = NULL;
    cachefs_cache *cache = t_cache_open();

    t_origin_init(&memory, T_CHUNK, 1);
    cachefs_origin *origin = open_with(cache, &memory, "remembers", 3600 * 1000);
    for (unsigned i = 0; i < 3; i++) {
        CHECK_ERROR(cachefs_file_open(origin, "missing", 0, &file), -ENOENT);
        CHECK_EQ(memory.stats, 1);
        CHECK_EQ(negative_hits(cache), i);
    }
    memory.stat_result = -ETIMEDOUT;
    for (unsigned i = 0; i < 3; i++) {
        CHECK_ERROR(cachefs_file_open(origin, "unreachable", 0, &file), -ETIMEDOUT);
        CHECK_EQ(memory.stats, 2 + i);
    }
    memory.stat_result = 0;
    cachefs_file_close(t_file_open(origin, "unreachable"));
    cachefs_origin_close(origin);

    memory.stats = 0;
    origin = open_with(cache, &memory, "asks", 0);
    for (unsigned i = 1; i < 4; i++) {
        CHECK_ERROR(cachefs_file_open(origin, "missing", 0, &file), -ENOENT);
        CHECK_EQ(memory.stats, i);
    }
    cachefs_origin_close(origin);
    CHECK_OK(cachefs_cache_close(cache));
    return 0;
}
