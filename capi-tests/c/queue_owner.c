/*
 * A queue belongs to the thread that first uses it: others get -EPERM. One that
 * was opened as movable may be passed on.
 */
#include "t.h"
#include "t_handles.h"

enum { SIZE = T_CHUNK, SEED = 31 };

struct work {
    cachefs_queue *queue;
    cachefs_file *file;
};

static void read_once(const struct work *work) {
    unsigned char buffer[100];
    cachefs_completion completion;
    CHECK_OK(cachefs_queue_read(work->queue, work->file, buffer, sizeof buffer, 10, 1));
    CHECK_EQ(cachefs_queue_wait(work->queue, &completion, 1, 1, -1), 1);
    CHECK_EQ(completion.result, sizeof buffer);
    CHECK_CONTENT(buffer, sizeof buffer, SEED, 10);
}

static void *use(void *user) {
    read_once(user);
    return NULL;
}

static void *be_refused(void *user) {
    struct work *work = user;
    char byte = 'x';
    cachefs_completion completion;
    CHECK_ERROR(cachefs_queue_read(work->queue, work->file, &byte, 1, 0, 0), -EPERM);
    CHECK_ERROR(cachefs_queue_submit(work->queue), -EPERM);
    CHECK_ERROR(cachefs_queue_wait(work->queue, &completion, 0, 1, 0), -EPERM);
    CHECK_ERROR(cachefs_queue_cancel(work->queue, 0), -EPERM);
    CHECK_EQ(byte, 'x');
    return NULL;
}

static void in_thread(void *(*function)(void *), struct work *work) {
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, function, work), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

int main(void) {
    t_make_origin_file("file", SIZE, SEED);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "file");

    /* Opened here, first used there. */
    struct work work = {t_queue_open(cache, 4, 0), file};
    in_thread(use, &work);
    be_refused(&work);
    cachefs_queue_close(work.queue);

    work.queue = t_queue_open(cache, 4, 0);
    read_once(&work);
    in_thread(be_refused, &work);
    read_once(&work);
    cachefs_queue_close(work.queue);

    work.queue = t_queue_open(cache, 4, CACHEFS_QUEUE_MOVABLE);
    for (int i = 0; i < 3; i++) {
        read_once(&work);
        in_thread(use, &work);
    }
    cachefs_queue_close(work.queue);

    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
