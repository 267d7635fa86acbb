/* A completion says where its bytes came from, why, and how long it took. */
#include "t.h"
#include "t_origin.h"

enum { SIZE = 4 * T_CHUNK, SEED = 26 };

static unsigned char buffer[SIZE];

/* Reads through a queue; the range must be right. */
static cachefs_completion read_range(cachefs_queue *queue, cachefs_file *file, uint64_t length,
                                     uint64_t offset, uint64_t tag) {
    cachefs_completion completion;
    int64_t begin = t_now_ns();
    memset(&completion, 0xff, sizeof completion);
    CHECK_OK(cachefs_queue_read(queue, file, buffer, length, offset, tag));
    CHECK_EQ(cachefs_queue_wait(queue, &completion, 1, 1, -1), 1);
    CHECK_EQ(completion.tag, tag);
    CHECK_EQ(completion.operation, CACHEFS_OPERATION_READ);
    CHECK_EQ(completion.result, length);
    CHECK_CONTENT(buffer, length, SEED, offset);
    CHECK(completion.latency_ns > 0);
    CHECK((int64_t)completion.latency_ns <= t_now_ns() - begin);
    return completion;
}

int main(void) {
    struct t_origin memory;
    t_origin_init(&memory, SIZE, SEED);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open(cache, &memory);
    cachefs_file *file = t_file_open(origin, "file");
    cachefs_queue *queue = t_queue_open(cache, 4, 0);

    cachefs_completion completion = read_range(queue, file, T_CHUNK, T_CHUNK, UINT64_MAX);
    CHECK_EQ(completion.source, CACHEFS_SOURCE_MISS);
    CHECK_EQ(completion.miss_reason, CACHEFS_MISS_NEVER_CACHED);
    CHECK_EQ(completion.bytes_from_cache, 0);
    CHECK_SOON(t_residency(file).chunks_present == 1);

    completion = read_range(queue, file, 100, T_CHUNK + 100, 0);
    CHECK_EQ(completion.source, CACHEFS_SOURCE_HIT);
    CHECK_EQ(completion.miss_reason, CACHEFS_MISS_NONE);
    CHECK_EQ(completion.bytes_from_cache, 100);

    /* The second half of chunk 1 is there, the first of chunk 2 is not. */
    completion = read_range(queue, file, T_CHUNK, T_CHUNK + T_CHUNK / 2, 3);
    CHECK_EQ(completion.source, CACHEFS_SOURCE_MIXED);
    CHECK_EQ(completion.miss_reason, CACHEFS_MISS_NEVER_CACHED);
    CHECK_EQ(completion.bytes_from_cache, T_CHUNK / 2);

    /* A failure delivers nothing. */
    memory.result = -EIO;
    CHECK_OK(cachefs_queue_read(queue, file, buffer, 10, 0, 4));
    CHECK_EQ(cachefs_queue_wait(queue, &completion, 1, 1, -1), 1);
    CHECK_EQ(completion.result, -EIO);
    CHECK_EQ(completion.tag, 4);
    CHECK_EQ(completion.source, CACHEFS_SOURCE_NONE);
    CHECK_EQ(completion.bytes_from_cache, 0);

    /* Nor does a read behind the end, which is none. */
    CHECK_OK(cachefs_queue_read(queue, file, buffer, 10, SIZE, 5));
    CHECK_EQ(cachefs_queue_wait(queue, &completion, 1, 1, -1), 1);
    CHECK_EQ(completion.result, 0);
    CHECK_EQ(completion.source, CACHEFS_SOURCE_NONE);
    CHECK_EQ(completion.miss_reason, CACHEFS_MISS_NONE);

    cachefs_queue_close(queue);
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
