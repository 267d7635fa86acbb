/* The engines' numbers add up, also those of a closed queue. */
#include "t.h"
#include "t_origin.h"

enum { SIZE = 4 * T_CHUNK, SEED = 75, READS = 64 };

static unsigned char buffers[READS][4096];

int main(void) {
    t_make_origin_file("file", SIZE, SEED);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "file");
    CHECK_EQ(cachefs_fill(file, 0, CACHEFS_TO_END, NULL, NULL), SIZE);
    cachefs_engine_statistics filled = {.struct_size = sizeof filled};
    CHECK_SOON(cachefs_engine_stats(cache, &filled) == 0 && filled.in_flight == 0);
    CHECK_EQ(filled.submissions, filled.completions);

    cachefs_queue *queue = t_queue_open(cache, READS, 0);
    for (unsigned i = 0; i < READS; i++)
        CHECK_OK(cachefs_queue_read(queue, file, buffers[i], 4096, i * UINT64_C(4096), i));
    cachefs_completion done[READS];
    CHECK_EQ(cachefs_queue_wait(queue, done, READS, READS, -1), READS);

    for (unsigned closed = 0; closed < 2; closed++) {
        cachefs_engine_statistics now = {.struct_size = sizeof now};
        CHECK_OK(cachefs_engine_stats(cache, &now));
        CHECK_EQ(now.submissions - filled.submissions, READS);
        CHECK_EQ(now.completions - filled.completions, READS);
        CHECK_EQ(now.bytes_read - filled.bytes_read, READS * 4096);
        CHECK_EQ(now.read.count - filled.read.count, READS);
        CHECK(now.read.mean_ns > 0 && now.read.p50_ns <= now.read.p99_ns);
        CHECK(now.read.p99_ns <= now.read.p999_ns);
        CHECK(now.enters > filled.enters);
        CHECK_EQ(now.in_flight, 0);
        CHECK_EQ(now.stale_completions, 0);
        if (closed == 0)
            cachefs_queue_close(queue);
    }
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
