/* cachefs_queue_wait(): at least min, at most max, not longer than the time-out. */
#include "t.h"
#include "t_origin.h"

enum { SIZE = 16 * T_CHUNK, SEED = 28, DEPTH = 8, MS = 1000000 };

static unsigned char buffers[DEPTH][100];

static void push(cachefs_queue *queue, cachefs_file *file, unsigned count) {
    for (unsigned i = 0; i < count; i++)
        CHECK_OK(cachefs_queue_read(queue, file, buffers[i], 100, i * (uint64_t)T_CHUNK, i));
}

static void check_max(cachefs_queue *queue, cachefs_file *file) {
    cachefs_completion completions[DEPTH];
    push(queue, file, 5);
    CHECK_EQ(cachefs_queue_wait(queue, completions, 2, 2, -1), 2);
    CHECK_EQ(cachefs_queue_wait(queue, completions, 3, 3, -1), 3);

    push(queue, file, 5);
    int got = cachefs_queue_wait(queue, completions, 4, DEPTH, -1);
    CHECK(got == 4 || got == 5);
    /* With fewer in flight than asked for, all of them. */
    CHECK_EQ(cachefs_queue_wait(queue, completions, DEPTH, DEPTH, -1), 5 - got);
    CHECK_EQ(cachefs_queue_wait(queue, completions, 1, DEPTH, -1), 0);
    CHECK_ERROR(cachefs_queue_wait(queue, completions, 2, 1, 0), -EINVAL);
    CHECK_EQ(cachefs_queue_wait(queue, completions, 0, 0, 0), 0);
}

static void check_timeout(cachefs_queue *queue, cachefs_file *file, struct t_origin *memory) {
    cachefs_completion completions[DEPTH];
    memory->hold = true;
    CHECK_OK(cachefs_queue_read(queue, file, buffers[0], 100, 12 * (uint64_t)T_CHUNK, 12));

    int64_t begin = t_now_ns();
    CHECK_EQ(cachefs_queue_wait(queue, completions, 1, DEPTH, 50 * (int64_t)MS), 0);
    int64_t waited = t_now_ns() - begin;
    CHECK(waited >= 50 * (int64_t)MS);
    CHECK(waited < T_WAIT_SECONDS * INT64_C(1000) * MS);

    /* Not at all. */
    begin = t_now_ns();
    CHECK_EQ(cachefs_queue_wait(queue, completions, 1, DEPTH, 0), 0);
    CHECK_EQ(cachefs_queue_wait(queue, completions, 0, DEPTH, -1), 0);
    CHECK(t_now_ns() - begin < T_WAIT_SECONDS * INT64_C(1000) * MS);

    /* What is there is delivered at the time-out, though it is less than min. */
    push(queue, file, 1);
    CHECK_EQ(cachefs_queue_wait(queue, completions, 2, DEPTH, 200 * (int64_t)MS), 1);
    CHECK_EQ(completions[0].tag, 0);

    t_origin_release(memory);
    CHECK_EQ(cachefs_queue_wait(queue, completions, 1, 1, -1), 1);
    CHECK_EQ(completions[0].tag, 12);
}

/* Submitted without a wait, they are done some time later. */
static void check_submit(cachefs_queue *queue, cachefs_file *file) {
    cachefs_completion completions[DEPTH];
    unsigned got = 0;
    push(queue, file, 4);
    CHECK(cachefs_queue_submit(queue) >= 0);
    CHECK(cachefs_queue_submit(queue) >= 0);
    CHECK_SOON((got += (unsigned)cachefs_queue_wait(queue, completions, 0, DEPTH, 0)) == 4);
}

int main(void) {
    struct t_origin memory;
    t_origin_init(&memory, SIZE, SEED);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open(cache, &memory);
    cachefs_file *file = t_file_open(origin, "file");
    cachefs_queue *queue = t_queue_open(cache, DEPTH, 0);

    check_max(queue, file);
    check_submit(queue, file);
    check_timeout(queue, file, &memory);

    cachefs_queue_close(queue);
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
