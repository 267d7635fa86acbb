/*
 * Every function may be called while a thread ends, from the destructor of
 * thread-specific data: the last place where a program closes what is its own.
 */
#include "t.h"

enum { SIZE = 1000, SEED = 50 };

struct context {
    cachefs_cache *cache;
    cachefs_origin *origin;
    cachefs_file *file;
    atomic_bool ended;
};

static pthread_key_t key;

static void at_end(void *user) {
    struct context *context = user;
    CHECK(cachefs_last_error() != NULL);
    CHECK_READ(context->file, SIZE, SEED, SIZE, 0);
    cachefs_completion completion;
    cachefs_queue *queue = NULL;
    unsigned char byte;
    CHECK_EQ(cachefs_queue_open(context->cache, NULL, &queue), 0);
    CHECK_EQ(cachefs_queue_read(queue, context->file, &byte, 1, 0, 1), 0);
    CHECK_EQ(cachefs_queue_wait(queue, &completion, 1, 1, -1), 1);
    cachefs_queue_close(queue);
    cachefs_lease *lease = NULL;
    CHECK_EQ(cachefs_lease_acquire(context->file, 0, 1, &lease), 0);
    cachefs_lease_release(lease);
    CHECK_EQ(cachefs_read(NULL, &byte, 1, 0), -EINVAL);
    CHECK(cachefs_last_error() != NULL);
    cachefs_file_close(context->file);
    cachefs_origin_close(context->origin);
    CHECK_EQ(cachefs_cache_close(context->cache), 0);
    context->ended = true;
}

/* Uses the library first, so that it has something of this thread to lose. */
static void *work(void *user) {
    struct context *context = user;
    CHECK_EQ(pthread_setspecific(key, context), 0);
    CHECK_READ(context->file, SIZE, SEED, 10, 0);
    CHECK_ERROR(cachefs_read(NULL, context, 1, 0), -EINVAL);
    return NULL;
}

int main(void) {
    static struct context context;
    pthread_t thread;
    t_make_origin_file("file", SIZE, SEED);
    context.cache = t_cache_open();
    context.origin = t_origin_open_dir(context.cache);
    context.file = t_file_open(context.origin, "file");
    CHECK_EQ(pthread_key_create(&key, at_end), 0);
    CHECK_EQ(pthread_create(&thread, NULL, work, &context), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK(context.ended);
    return 0;
}
