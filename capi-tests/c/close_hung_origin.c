/*
 * A cache whose directory origin lies on a file system that stopped answering closes
 * in time: every request completes once. What the kernel writes later harms nobody.
 */
#include "t_hung.h"

enum { CHUNKS = 8, SIZE = CHUNKS * T_CHUNK, SEED = 72 };

static unsigned char buffers[4][T_CHUNK];

static cachefs_file *open_file(cachefs_cache *cache, cachefs_origin **origin) {
    CHECK_OK(cachefs_origin_open_dir(cache, t_path("mount"), NULL, origin));
    return t_file_open(*origin, "file");
}

int main(void) {
    struct t_hung_fs fs;
    t_make_origin_file("file", SIZE, SEED);
    t_hung_mount(&fs, "mount", "origin");
    cachefs_cache_options options = t_hung_options();
    cachefs_cache *cache = t_cache_open_with(t_path("cache"), &options);
    cachefs_origin *origin;
    cachefs_file *file = open_file(cache, &origin);
    CHECK_READ(file, SIZE, SEED, T_CHUNK, 0);

    t_hung(&fs, "hang read");
    cachefs_queue *queue = t_queue_open(cache, 4, 0);
    CHECK_OK(cachefs_queue_read(queue, file, buffers[0], T_CHUNK, 1 * T_CHUNK, 1));
    CHECK_OK(cachefs_queue_fill(queue, file, 2 * T_CHUNK, T_CHUNK, 2));
    struct t_completions callback = {0};
    CHECK_OK(
        cachefs_read_async(file, buffers[1], T_CHUNK, 3 * T_CHUNK, t_complete, &callback, NULL));
    struct t_blocked blocked = {
        .file = file, .buffer = buffers[2], .length = T_CHUNK, .offset = 4 * T_CHUNK};
    t_blocked_start(&blocked);
    CHECK_SOON(t_hung(&fs, "count") == 4);

    t_close_in_time(cache);
    CHECK_EQ(t_blocked_result(&blocked), -ECANCELED);
    CHECK_EQ(t_completion(&callback, 1).result, -ECANCELED);
    cachefs_completion done[4];
    CHECK_EQ(cachefs_queue_wait(queue, done, 2, 4, -1), 2);
    CHECK_EQ(done[0].result, -ECANCELED);
    CHECK_EQ(done[1].result, -ECANCELED);
    CHECK_EQ(done[0].tag + done[1].tag, 3);
    CHECK_ERROR(cachefs_queue_wait(queue, done, 1, 4, -1), -ESHUTDOWN);
    t_check_left_behind(options.engine);
    cachefs_queue_close(queue);
    cachefs_file_close(file);
    cachefs_origin_close(origin);

    /* The bytes come now, into memory that nobody else has. */
    CHECK_EQ(t_hung(&fs, "go"), 0);
    cache = t_cache_open_with(t_path("cache"), &options);
    file = open_file(cache, &origin);
    CHECK_READ(file, SIZE, SEED, SIZE, 0);
    for (unsigned i = 0; i < sizeof buffers; i++)
        CHECK_EQ(buffers[0][i], 0);
    CHECK_EQ(t_completed(&callback), 1);
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    t_close_in_time(cache);
    t_hung_end(&fs);
    return 0;
}
