/* Requests of a queue are canceled by tag; each still has its one completion. */
#include "t.h"
#include "t_origin.h"

enum { SIZE = 8 * T_CHUNK, SEED = 30, DEPTH = 8 };

static unsigned char buffers[DEPTH][100];

int main(void) {
    struct t_origin memory;
    t_origin_init(&memory, SIZE, SEED);
    cachefs_cache_options options = t_options();
    options.readahead = 1; /* off: the origin's reads are counted */
    cachefs_cache *cache = t_cache_open_with(t_path("cache"), &options);
    cachefs_origin *origin = t_origin_open(cache, &memory);
    cachefs_file *file = t_file_open(origin, "file");
    cachefs_queue *queue = t_queue_open(cache, DEPTH, 0);
    cachefs_completion completions[DEPTH];

    CHECK_EQ(cachefs_queue_cancel(queue, 1), 0);

    memory.hold = true;
    for (unsigned i = 0; i < 4; i++)
        CHECK_OK(cachefs_queue_read(queue, file, buffers[i], 100, i * (uint64_t)T_CHUNK, i / 2));
    CHECK(cachefs_queue_submit(queue) >= 0);
    CHECK_SOON(t_origin_held(&memory) == 4);
    CHECK_EQ(cachefs_queue_wait(queue, completions, 0, DEPTH, 0), 0);

    /* Two of the same tag. */
    CHECK_EQ(cachefs_queue_cancel(queue, 1), 2);
    CHECK_EQ(cachefs_queue_wait(queue, completions, 2, DEPTH, -1), 2);
    for (unsigned i = 0; i < 2; i++) {
        CHECK_EQ(completions[i].tag, 1);
        CHECK_EQ(completions[i].result, -ECANCELED);
    }
    CHECK_EQ(cachefs_queue_cancel(queue, 1), 0);
    CHECK_EQ(cachefs_queue_space(queue), DEPTH - 2);

    t_origin_release(&memory);
    CHECK_EQ(cachefs_queue_wait(queue, completions, 2, DEPTH, -1), 2);
    for (unsigned i = 0; i < 2; i++) {
        CHECK_EQ(completions[i].tag, 0);
        CHECK_EQ(completions[i].result, 100);
    }
    CHECK_EQ(cachefs_queue_wait(queue, completions, 0, DEPTH, 0), 0);

    /* Pushed, but not submitted yet. */
    CHECK_OK(cachefs_queue_read(queue, file, buffers[0], 100, 7 * (uint64_t)T_CHUNK, 9));
    CHECK_EQ(cachefs_queue_cancel(queue, 9), 1);
    CHECK_EQ(cachefs_queue_wait(queue, completions, 1, DEPTH, -1), 1);
    CHECK_EQ(completions[0].tag, 9);
    CHECK(completions[0].result == -ECANCELED || completions[0].result == 100);

    cachefs_queue_close(queue);
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
