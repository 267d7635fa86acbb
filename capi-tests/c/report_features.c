/*
 * What is withheld is not in use, the cache runs without it, and the report says
 * what was not granted and why.
 */
#include "t.h"

enum { SIZE = 2 * T_CHUNK, SEED = 76 };

static void check(const char *withheld, uint32_t bits) {
    cachefs_cache_options options = t_options();
    CHECK_OK(cachefs_cache_options_set(&options, "withhold", withheld));
    CHECK_EQ(options.withhold, bits);
    cachefs_cache *cache = NULL;
    CHECK_OK(cachefs_cache_open(t_path("cache-%u", bits), &options, &cache));
    cachefs_report report = {.struct_size = sizeof report};
    CHECK_OK(cachefs_cache_report(cache, &report));
    CHECK_EQ(report.features & bits, 0);
    if (report.engine == CACHEFS_ENGINE_PSYNC)
        CHECK_EQ(report.features, 0);
    CHECK_EQ(report.features & report.features_refused, 0);
    CHECK(report.pages >= CACHEFS_PAGES_SMALL && report.pages <= CACHEFS_PAGES_RESERVED);
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "file");
    CHECK_READ(file, SIZE, SEED, SIZE, 0);
    CHECK_READ(file, SIZE, SEED, SIZE, 0);
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
}

int main(void) {
    t_make_origin_file("file", SIZE, SEED);
    check("none", 0);
    for (uint32_t bit = 0; bit < 15; bit++) {
        static const char *const names[] = {
            "SUBMIT_ALL", "COOP_TASKRUN", "SINGLE_ISSUER", "DEFER_TASKRUN", "NO_SQARRAY",
            "SQPOLL", "IOPOLL", "REGISTER_RING_FDS", "REGISTER_FILES2", "REGISTER_BUFFERS2",
            "REGISTER_IOWQ_MAX_WORKERS", "OP_MSG_RING", "OP_SPLICE", "OP_FALLOCATE",
            "OP_LINK_TIMEOUT",
        };
        check(names[bit], UINT32_C(1) << bit);
    }
    check("SINGLE_ISSUER+DEFER_TASKRUN+COOP_TASKRUN",
          CACHEFS_FEATURE_SINGLE_ISSUER | CACHEFS_FEATURE_DEFER_TASKRUN |
              CACHEFS_FEATURE_COOP_TASKRUN);
    cachefs_cache_options options = t_options();
    CHECK_ERROR(cachefs_cache_options_set(&options, "withhold", "TURBO"), -EINVAL);
    return 0;
}
