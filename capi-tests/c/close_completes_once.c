/*
 * cachefs_cache_close() with requests that their origin does not answer: each
 * callback is called once, before the close returns, and the close has a limit.
 */
#include "t.h"
#include "t_origin.h"

enum { SIZE = 8 * T_CHUNK, SEED = 21, READS = 8 };

int main(void) {
    struct t_origin memory;
    t_origin_init(&memory, SIZE, SEED);
    memory.hold = true;
    cachefs_cache_options options = t_options();
    options.close_timeout_ms = 1000;
    cachefs_cache *cache = t_cache_open_with(t_path("cache"), &options);
    cachefs_origin *origin = t_origin_open(cache, &memory);
    cachefs_file *file = t_file_open(origin, "file");
    static unsigned char buffers[READS][T_CHUNK];
    static struct t_completions completions[READS];
    struct t_completions fill = {0};

    for (unsigned i = 0; i < READS; i++)
        CHECK_OK(cachefs_read_async(file, buffers[i], T_CHUNK, i * (uint64_t)T_CHUNK, t_complete,
                                    &completions[i], NULL));
    CHECK_OK(cachefs_fill_async(file, 0, CACHEFS_TO_END, t_complete, &fill, NULL));
    CHECK_SOON(t_origin_held(&memory) > 0);

    int64_t begin = t_now_ns();
    cachefs_cache_close(cache);
    CHECK(t_now_ns() - begin < INT64_C(10) * 1000000000);
    for (unsigned i = 0; i < READS; i++) {
        CHECK_EQ(t_completed(&completions[i]), 1);
        CHECK_EQ(completions[i].last.result, -ECANCELED);
    }
    CHECK_EQ(t_completed(&fill), 1);
    CHECK_EQ(fill.last.result, -ECANCELED);

    /* The origin may still answer; nobody hears it, and nothing breaks. */
    while (t_origin_held(&memory) > 0) {
        struct t_held read = t_origin_take(&memory);
        CHECK_OK(t_origin_answer(&memory, &read, T_ALL));
        CHECK_ERROR(cachefs_origin_complete(read.token, 0), -EBADF);
    }
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    CHECK_SOON(memory.frees == 1);
    for (unsigned i = 0; i < READS; i++)
        CHECK_EQ(t_completed(&completions[i]), 1);
    return 0;
}
