/*
 * A request with a time-out of its own fails with -ETIMEDOUT when its origin does
 * not answer in time, and not before; one whose bytes are there is served.
 */
#include "t.h"
#include "t_origin.h"

enum { SIZE = 4 * T_CHUNK, SEED = 72 };

static unsigned char buffers[3][100];

int main(void) {
    struct t_origin memory;
    t_origin_init(&memory, SIZE, SEED);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open(cache, &memory);
    cachefs_file *file = t_file_open(origin, "file");
    cachefs_queue *queue = t_queue_open(cache, 4, 0);
    CHECK_READ(file, SIZE, SEED, 100, 0);

    memory.hold = true;
    cachefs_request requests[3] = {0};
    for (unsigned i = 0; i < 3; i++) {
        requests[i].operation = CACHEFS_OPERATION_READ;
        requests[i].file = file;
        requests[i].buffer = buffers[i];
        requests[i].length = sizeof buffers[i];
        requests[i].offset = i * (uint64_t)T_CHUNK;
        requests[i].tag = i;
    }
    /* Cached, and in time; not cached, and not in time; not cached, without a time. */
    requests[0].timeout_ns = UINT64_C(60000000000);
    requests[1].timeout_ns = 20000000;
    CHECK_EQ(cachefs_queue_push(queue, requests, 3, sizeof *requests), 3);
    cachefs_completion done[3];
    CHECK_EQ(cachefs_queue_wait(queue, done, 2, 2, -1), 2);
    for (unsigned i = 0; i < 2; i++) {
        CHECK(done[i].tag < 2);
        CHECK_EQ(done[i].result, done[i].tag == 0 ? 100 : -ETIMEDOUT);
        if (done[i].tag == 1)
            CHECK(done[i].latency_ns >= 20000000);
    }
    CHECK_CONTENT(buffers[0], 100, SEED, 0);
    t_origin_release(&memory);
    CHECK_EQ(cachefs_queue_wait(queue, done, 1, 3, -1), 1);
    CHECK_EQ(done[0].tag, 2);
    CHECK_EQ(done[0].result, 100);

    cachefs_queue_close(queue);
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
