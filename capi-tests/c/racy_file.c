/*
 * A file that changed a moment ago may change again without a new time: it is
 * served, but not kept. A little later it is.
 */
#include "t.h"

enum { SIZE = T_CHUNK + 1, SEED = 25 };

int main(void) {
    CHECK_EQ(mkdir(t_path("origin"), 0755), 0);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open_dir(cache);

    /* Of many, one at least is opened within the granularity of the clock. */
    bool bypassed = false;
    for (int i = 0; i < 50 && !bypassed; i++) {
        static unsigned char buffer[SIZE];
        struct t_completions completions = {0};
        t_write_file(t_path("origin/file"), SIZE, SEED);
        cachefs_file *file = t_file_open(origin, "file");
        CHECK_OK(cachefs_read_async(file, buffer, SIZE, 0, t_complete, &completions, NULL));
        cachefs_completion completion = t_completion(&completions, 1);
        CHECK_EQ(completion.result, SIZE);
        CHECK_CONTENT(buffer, SIZE, SEED, 0);
        bypassed = completion.source == CACHEFS_SOURCE_BYPASS;
        if (bypassed) {
            CHECK_EQ(completion.miss_reason, CACHEFS_MISS_TOO_YOUNG);
            CHECK_EQ(t_residency(file).chunks_present, 0);
        }
        cachefs_file_close(file);
    }
    CHECK(bypassed);

    t_settle();
    cachefs_file *file = t_file_open(origin, "file");
    CHECK_READ(file, SIZE, SEED, SIZE, 0);
    CHECK_SOON(t_residency(file).complete == 1);
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
