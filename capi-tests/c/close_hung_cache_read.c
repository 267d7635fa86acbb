/*
 * A cache directory whose file system no longer gives bytes: reads of what is cached
 * hang, and the close gives each its completion, in time. The memory of such a read
 * stays the kernel's, which -EBUSY says. One that blocks in a call of its own returns
 * when the file system answers.
 */
#include "t_hung.h"

enum { SIZE = 4 * T_CHUNK, SEED = 75 };

static unsigned char buffers[5][T_CHUNK];

/* A queue of another thread, which waits for two completions when the cache is closed. */
struct waiter {
    pthread_t thread;
    cachefs_cache *cache;
    cachefs_file *file;
    atomic_bool done;
};

static void *wait_for_two(void *user) {
    struct waiter *waiter = user;
    cachefs_completion done[2];
    cachefs_queue *queue = t_queue_open(waiter->cache, 2, 0);
    CHECK_OK(cachefs_queue_read(queue, waiter->file, buffers[3], T_CHUNK, 0, 3));
    CHECK_OK(cachefs_queue_read(queue, waiter->file, buffers[4], T_CHUNK, 0, 4));
    CHECK_EQ(cachefs_queue_wait(queue, done, 2, 2, -1), 2);
    CHECK_EQ(done[0].result, -EBUSY);
    CHECK_EQ(done[1].result, -EBUSY);
    CHECK_EQ(done[0].tag + done[1].tag, 7);
    cachefs_queue_close(queue);
    waiter->done = true;
    return NULL;
}

int main(void) {
    struct t_hung_fs fs;
    t_make_origin_file("file", SIZE, SEED);
    CHECK_EQ(mkdir(t_path("disk"), 0755), 0);
    t_hung_mount(&fs, "mount", "disk");
    cachefs_cache_options options = t_hung_options();
    cachefs_cache *cache = t_cache_open_with(t_path("mount/cache"), &options);
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "file");
    CHECK_EQ(cachefs_fill(file, 0, CACHEFS_TO_END, NULL, NULL), SIZE);
    CHECK_READ(file, SIZE, SEED, SIZE, 0);

    t_hung(&fs, "hang read");
    cachefs_queue *queue = t_queue_open(cache, 4, 0);
    CHECK_OK(cachefs_queue_read(queue, file, buffers[0], T_CHUNK, 0, 1));
    CHECK_OK(cachefs_queue_submit(queue));
    struct t_completions callback = {0};
    CHECK_OK(cachefs_read_async(file, buffers[1], T_CHUNK, T_CHUNK, t_complete, &callback, NULL));
    struct t_blocked blocked = {
        .file = file, .buffer = buffers[2], .length = T_CHUNK, .offset = 2 * T_CHUNK};
    t_blocked_start(&blocked);
    struct waiter waiter = {.cache = cache, .file = file};
    CHECK_EQ(pthread_create(&waiter.thread, NULL, wait_for_two, &waiter), 0);
    CHECK_SOON(t_hung(&fs, "count") == 5);

    t_close_in_time(cache);
    CHECK_EQ(t_completion(&callback, 1).result, -EBUSY);
    cachefs_completion done;
    CHECK_EQ(cachefs_queue_wait(queue, &done, 1, 1, -1), 1);
    CHECK_EQ(done.tag, 1);
    CHECK_EQ(done.result, -EBUSY);
    CHECK_ERROR(cachefs_queue_wait(queue, &done, 1, 1, -1), -ESHUTDOWN);
    CHECK_SOON(waiter.done);
    t_check_left_behind(options.engine);
    cachefs_queue_close(queue);

    /* The bytes come now, into the buffers, which are still there. */
    t_hung(&fs, "go");
    CHECK_EQ(pthread_join(waiter.thread, NULL), 0);
    CHECK_EQ(t_blocked_result(&blocked), T_CHUNK);
    CHECK_CONTENT(buffers[2], T_CHUNK, SEED, 2 * T_CHUNK);
    CHECK_SOON(buffers[0][T_CHUNK - 1] == t_byte(SEED, T_CHUNK - 1));
    CHECK_SOON(buffers[1][T_CHUNK - 1] == t_byte(SEED, 2 * T_CHUNK - 1));
    CHECK_EQ(t_completed(&callback), 1);
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    t_hung_end(&fs);
    return 0;
}
