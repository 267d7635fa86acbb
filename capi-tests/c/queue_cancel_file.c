/* All requests of one file of a queue are canceled, or all of the queue. */
#include "t.h"
#include "t_origin.h"

enum { SIZE = 8 * T_CHUNK, SEED = 73, DEPTH = 6 };

static unsigned char buffers[DEPTH][100];

static void read_chunks(cachefs_queue *queue, cachefs_file *file, unsigned from, unsigned to) {
    for (unsigned i = from; i < to; i++)
        CHECK_OK(cachefs_queue_read(queue, file, buffers[i], 100, i * (uint64_t)T_CHUNK, i));
}

int main(void) {
    struct t_origin memory;
    t_origin_init(&memory, SIZE, SEED);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open(cache, &memory);
    cachefs_file *first = t_file_open(origin, "first");
    cachefs_file *second = t_file_open(origin, "second");
    cachefs_queue *queue = t_queue_open(cache, DEPTH, 0);
    cachefs_completion done[DEPTH];

    CHECK_EQ(cachefs_queue_cancel_file(queue, first), 0);
    CHECK_EQ(cachefs_queue_cancel_all(queue), 0);
    memory.hold = true;
    read_chunks(queue, first, 0, 2);
    read_chunks(queue, second, 2, DEPTH);
    CHECK_SOON(t_origin_held(&memory) >= 4);

    CHECK_EQ(cachefs_queue_cancel_file(queue, first), 2);
    CHECK_EQ(cachefs_queue_wait(queue, done, 2, DEPTH, -1), 2);
    for (unsigned i = 0; i < 2; i++) {
        CHECK(done[i].tag < 2);
        CHECK_EQ(done[i].result, -ECANCELED);
    }
    CHECK_EQ(cachefs_queue_wait(queue, done, 0, DEPTH, 0), 0);
    CHECK_EQ(cachefs_queue_cancel_all(queue), DEPTH - 2);
    CHECK_EQ(cachefs_queue_wait(queue, done, DEPTH - 2, DEPTH, -1), DEPTH - 2);
    for (unsigned i = 0; i < DEPTH - 2; i++)
        CHECK_EQ(done[i].result, -ECANCELED);
    CHECK_EQ(cachefs_queue_space(queue), DEPTH);
    t_origin_release(&memory);

    CHECK_ERROR(cachefs_queue_cancel_file(queue, NULL), -EINVAL);
    CHECK_ERROR(cachefs_queue_cancel_file(NULL, first), -EINVAL);
    CHECK_ERROR(cachefs_queue_cancel_all(NULL), -EINVAL);

    cachefs_queue_close(queue);
    cachefs_file_close(first);
    cachefs_file_close(second);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
