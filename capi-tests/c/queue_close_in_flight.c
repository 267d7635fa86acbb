/* Closing a queue with requests in flight ends them before it returns. */
#include "t.h"
#include "t_origin.h"

enum { SIZE = 8 * T_CHUNK, SEED = 33, READS = 8 };

int main(void) {
    struct t_origin memory;
    t_origin_init(&memory, SIZE, SEED);
    memory.hold = true;
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open(cache, &memory);
    cachefs_file *file = t_file_open(origin, "file");
    cachefs_queue *queue = t_queue_open(cache, READS, 0);
    unsigned char *buffer = malloc(SIZE);
    CHECK(buffer != NULL);

    for (uint64_t i = 0; i < READS; i++)
        CHECK_OK(cachefs_queue_read(queue, file, buffer + i * T_CHUNK, T_CHUNK, i * T_CHUNK, i));
    CHECK(cachefs_queue_submit(queue) >= 0);
    CHECK_SOON(t_origin_held(&memory) > 0);

    int64_t begin = t_now_ns();
    cachefs_queue_close(queue);
    CHECK(t_now_ns() - begin < INT64_C(10) * 1000000000);
    CHECK_SOON(t_statistics(cache).in_flight == 0);

    /* The memory is the caller's again: the late answers must not go there. */
    memset(buffer, 0x5a, SIZE);
    t_origin_release(&memory);
    t_sleep_ms(50);
    for (unsigned i = 0; i < SIZE; i++)
        CHECK_EQ(buffer[i], 0x5a);
    free(buffer);

    /* Warm ones, and one that was never submitted. */
    CHECK_EQ(cachefs_fill(file, 0, CACHEFS_TO_END, NULL, NULL), SIZE);
    buffer = malloc(SIZE);
    CHECK(buffer != NULL);
    queue = t_queue_open(cache, READS, 0);
    for (uint64_t i = 0; i < READS; i++)
        CHECK_OK(cachefs_queue_read(queue, file, buffer + i * T_CHUNK, T_CHUNK, i * T_CHUNK, i));
    CHECK(cachefs_queue_submit(queue) >= 0);
    cachefs_queue_close(queue);
    queue = t_queue_open(cache, READS, 0);
    CHECK_OK(cachefs_queue_read(queue, file, buffer, T_CHUNK, 0, 1));
    cachefs_queue_close(queue);
    free(buffer);

    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    CHECK_SOON(memory.frees == 1);
    return 0;
}
