/*
 * A batch has one callback, with one completion for each request in their order:
 * hits, misses, vectored reads, fills and failures together.
 */
#include "t.h"
#include "t_origin.h"
#include <sys/uio.h>

enum { SIZE = 4 * T_CHUNK + 5, SEED = 70, COUNT = 5 };

struct told {
    pthread_mutex_t lock;
    unsigned calls, count;
    cachefs_completion completions[COUNT];
};

static void tell(void *user, const cachefs_completion *completions, uint32_t count) {
    struct told *told = user;
    pthread_mutex_lock(&told->lock);
    told->calls++;
    told->count = count;
    for (uint32_t i = 0; i < count && i < COUNT; i++)
        told->completions[i] = completions[i];
    pthread_mutex_unlock(&told->lock);
}

static unsigned calls(struct told *told) {
    pthread_mutex_lock(&told->lock);
    unsigned calls = told->calls;
    pthread_mutex_unlock(&told->lock);
    return calls;
}

static unsigned char one[T_CHUNK], first[100], second[200];

int main(void) {
    t_make_origin_file("file", SIZE, SEED);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "file");
    struct iovec pieces[] = {{first, sizeof first}, {second, sizeof second}};
    struct told told = {.lock = PTHREAD_MUTEX_INITIALIZER};

    cachefs_request requests[COUNT] = {
        {.operation = CACHEFS_OPERATION_READ, .buffer = one, .length = sizeof one, .offset = 7},
        {.operation = CACHEFS_OPERATION_READV, .buffer = pieces, .length = 2},
        {.operation = CACHEFS_OPERATION_FILL, .length = CACHEFS_TO_END},
        {.operation = CACHEFS_OPERATION_READ, .buffer = one, .length = 0, .offset = 0},
        {.operation = CACHEFS_OPERATION_READ, .buffer = first, .length = 10, .offset = SIZE},
    };
    for (unsigned i = 0; i < COUNT; i++) {
        requests[i].file = file;
        requests[i].tag = 100 + i;
        requests[i].priority = i % 4;
    }
    requests[1].offset = 3 * T_CHUNK;
    uint64_t ids[COUNT] = {0};
    CHECK_OK(cachefs_batch_async(requests, COUNT, sizeof *requests, tell, &told, ids));
    CHECK_SOON(calls(&told) == 1);
    CHECK_EQ(told.count, COUNT);
    const int64_t results[COUNT] = {T_CHUNK, 300, SIZE, 0, 0};
    for (unsigned i = 0; i < COUNT; i++) {
        CHECK_EQ(told.completions[i].tag, 100 + i);
        CHECK_EQ(told.completions[i].result, results[i]);
        CHECK(ids[i] != 0);
        for (unsigned j = 0; j < i; j++)
            CHECK(ids[j] != ids[i]);
    }
    CHECK_CONTENT(one, sizeof one, SEED, 7);
    CHECK_CONTENT(first, sizeof first, SEED, 3 * T_CHUNK);
    CHECK_CONTENT(second, sizeof second, SEED, 3 * T_CHUNK + sizeof first);

    /* What is bad refuses all of it. */
    CHECK_ERROR(cachefs_batch_async(requests, 0, sizeof *requests, tell, &told, NULL), -EINVAL);
    CHECK_ERROR(cachefs_batch_async(NULL, 1, sizeof *requests, tell, &told, NULL), -EINVAL);
    CHECK_ERROR(cachefs_batch_async(requests, 1, sizeof *requests, NULL, &told, NULL), -EINVAL);
    CHECK_ERROR(cachefs_batch_async(requests, 4097, sizeof *requests, tell, &told, NULL), -EINVAL);
    requests[COUNT - 1].priority = 4;
    CHECK_ERROR(cachefs_batch_async(requests, COUNT, sizeof *requests, tell, &told, NULL), -EINVAL);
    requests[COUNT - 1].priority = 0;
    requests[COUNT - 1].file = NULL;
    CHECK_ERROR(cachefs_batch_async(requests, COUNT, sizeof *requests, tell, &told, NULL), -EINVAL);

    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    CHECK_EQ(calls(&told), 1);
    return 0;
}
