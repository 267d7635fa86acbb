/*
 * A call that must wait is refused in a callback, where waiting would be for ever:
 * `cold` is a file of which nothing is in the cache.
 */
#include "t.h"

enum { SIZE = T_CHUNK, SEED = 34 };

struct context {
    struct t_completions completions;
    cachefs_cache *cache;
    cachefs_origin *origin;
    cachefs_file *file;
    cachefs_file *cold;
    cachefs_queue *queue;
};

static void done(void *user, const cachefs_completion *completion) {
    struct context *context = user;
    unsigned char byte;
    struct iovec vector = {.iov_base = &byte, .iov_len = 1};
    cachefs_completion none;

    CHECK_ERROR(cachefs_read(context->cold, &byte, 1, 0), -EDEADLK);
    CHECK_ERROR(cachefs_readv(context->cold, &vector, 1, 0), -EDEADLK);
    CHECK_ERROR(cachefs_fill(context->cold, 0, 1, NULL, NULL), -EDEADLK);
    CHECK_ERROR(cachefs_queue_wait(context->queue, &none, 1, 1, -1), -EDEADLK);
    CHECK_ERROR(cachefs_cache_close(context->cache), -EDEADLK);

    /* What does not wait is fine. */
    t_statistics(context->cache);
    t_residency(context->file);
    CHECK_OK(cachefs_cancel(context->cache, completion->tag));
    t_complete(&context->completions, completion);
}

int main(void) {
    t_make_origin_file("file", SIZE, SEED);
    t_make_origin_file("cold", SIZE, SEED);
    struct context context = {.cache = t_cache_open()};
    context.origin = t_origin_open_dir(context.cache);
    context.file = t_file_open(context.origin, "file");
    context.cold = t_file_open(context.origin, "cold");
    context.queue = t_queue_open(context.cache, 4, CACHEFS_QUEUE_MOVABLE);
    unsigned char buffer[100];

    for (unsigned pass = 1; pass <= 2; pass++) {
        CHECK_OK(cachefs_read_async(context.file, buffer, sizeof buffer, 0, done, &context, NULL));
        CHECK_EQ(t_completion(&context.completions, pass).result, sizeof buffer);
    }
    CHECK_EQ(t_residency(context.cold).chunks_present, 0);
    CHECK_READ(context.file, SIZE, SEED, SIZE, 0);

    cachefs_queue_close(context.queue);
    cachefs_file_close(context.file);
    cachefs_file_close(context.cold);
    cachefs_origin_close(context.origin);
    cachefs_cache_close(context.cache);
    return 0;
}
