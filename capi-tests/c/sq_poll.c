/*
 * With a submitting thread, on whichever processor and also while it sleeps, every
 * read is right; where it is refused the cache runs without one and says so.
 */
#include "t.h"

enum { SIZE = 4 * T_CHUNK, SEED = 77, DEPTH = 16 };

static unsigned char buffers[DEPTH][4096];

static void check(const char *processor) {
    cachefs_cache_options options = t_options();
    CHECK_OK(cachefs_cache_options_set(&options, "sq_poll", "true"));
    CHECK_OK(cachefs_cache_options_set(&options, "sq_poll_idle_ms", "1"));
    CHECK_OK(cachefs_cache_options_set(&options, "sq_poll_cpu", processor));
    cachefs_cache *cache = NULL;
    CHECK_OK(cachefs_cache_open(t_path("cache-%s", processor), &options, &cache));
    cachefs_report report = {.struct_size = sizeof report};
    CHECK_OK(cachefs_cache_report(cache, &report));
    if (report.engine == CACHEFS_ENGINE_URING) {
        uint32_t bit = CACHEFS_FEATURE_SQPOLL;
        CHECK(((report.features & bit) != 0) != ((report.features_refused & bit) != 0));
        printf("sq_poll_cpu=%s: %s\n", processor, report.engine_reason);
    }
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "file");
    CHECK_EQ(cachefs_fill(file, 0, CACHEFS_TO_END, NULL, NULL), SIZE);
    /* Two queues share the thread. */
    cachefs_queue *queues[2] = {t_queue_open(cache, DEPTH, 0), t_queue_open(cache, DEPTH, 0)};
    for (unsigned round = 0; round < 50; round++) {
        cachefs_queue *queue = queues[round % 2];
        for (unsigned i = 0; i < DEPTH; i++) {
            uint64_t offset = (round * DEPTH + i) * UINT64_C(4096) % SIZE;
            CHECK_OK(cachefs_queue_read(queue, file, buffers[i], 4096, offset, i));
        }
        cachefs_completion done[DEPTH];
        CHECK_EQ(cachefs_queue_wait(queue, done, DEPTH, DEPTH, -1), DEPTH);
        for (unsigned i = 0; i < DEPTH; i++) {
            CHECK_EQ(done[i].result, 4096);
            CHECK_CONTENT(buffers[i], 4096, SEED, (round * DEPTH + i) * UINT64_C(4096) % SIZE);
        }
        /* Longer than the thread polls without work. */
        if (round % 10 == 0)
            usleep(5000);
    }
    cachefs_queue_close(queues[0]);
    cachefs_queue_close(queues[1]);
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
}

int main(void) {
    t_make_origin_file("file", SIZE, SEED);
    check("any");
    check("0");
    return 0;
}
