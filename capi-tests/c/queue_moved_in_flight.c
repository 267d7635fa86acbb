/* A movable queue may be passed on with requests in flight; two at once is -EBUSY. */
#include "t.h"
#include "t_origin.h"

enum { SIZE = 2 * T_CHUNK, SEED = 32 };

static unsigned char buffer[100];

struct work {
    cachefs_queue *queue;
    atomic_bool waiting;
};

static void *wait_for_it(void *user) {
    struct work *work = user;
    cachefs_completion completion;
    work->waiting = true;
    CHECK_EQ(cachefs_queue_wait(work->queue, &completion, 1, 1, -1), 1);
    CHECK_EQ(completion.tag, 5);
    CHECK_EQ(completion.result, sizeof buffer);
    CHECK_CONTENT(buffer, sizeof buffer, SEED, 0);
    return NULL;
}

int main(void) {
    struct t_origin memory;
    t_origin_init(&memory, SIZE, SEED);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open(cache, &memory);
    cachefs_file *file = t_file_open(origin, "file");
    struct work work = {.queue = t_queue_open(cache, 4, CACHEFS_QUEUE_MOVABLE)};
    cachefs_completion completion;

    memory.hold = true;
    CHECK_OK(cachefs_queue_read(work.queue, file, buffer, sizeof buffer, 0, 5));
    CHECK(cachefs_queue_submit(work.queue) >= 0);
    CHECK_SOON(t_origin_held(&memory) == 1);

    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, wait_for_it, &work), 0);
    CHECK_SOON(work.waiting);
    CHECK_SOON(cachefs_queue_wait(work.queue, &completion, 0, 1, 0) == -EBUSY);
    CHECK_ERROR(cachefs_queue_read(work.queue, file, buffer, 1, 0, 6), -EBUSY);
    t_origin_release(&memory);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(cachefs_queue_wait(work.queue, &completion, 0, 1, 0), 0);

    cachefs_queue_close(work.queue);
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
