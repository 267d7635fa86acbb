/* The report names the engine in use, and why it is that one. */
#include "t.h"

int main(void) {
    cachefs_cache *cache = t_cache_open();
    cachefs_report report = {.struct_size = sizeof report};
    CHECK_OK(cachefs_cache_report(cache, &report));
    CHECK_EQ(report.engine, t_engine());
    CHECK_EQ(report.state, CACHEFS_STATE_NORMAL);
    CHECK(report.engine_reason[0] != '\0');
    CHECK_EQ(report.state_reason[0], '\0');
    if (report.engine == CACHEFS_ENGINE_PSYNC)
        CHECK_EQ(report.ring_flags, 0);
    cachefs_cache_close(cache);

    if (t_under_valgrind())
        return 0;
    /* What the library chooses when it is asked to is one of the two. */
    cachefs_cache_options options = t_options();
    options.engine = CACHEFS_ENGINE_AUTO;
    CHECK_OK(cachefs_cache_open(t_path("auto"), &options, &cache));
    CHECK_OK(cachefs_cache_report(cache, &report));
    CHECK(report.engine == CACHEFS_ENGINE_URING || report.engine == CACHEFS_ENGINE_PSYNC);
    cachefs_cache_close(cache);

    /* And without any options. */
    CHECK_OK(cachefs_cache_open(t_path("default"), NULL, &cache));
    CHECK_OK(cachefs_cache_report(cache, &report));
    CHECK_EQ(report.state, CACHEFS_STATE_NORMAL);
    cachefs_cache_close(cache);
    return 0;
}
