/*
 * A cache directory whose file system no longer gives bytes: reads of what is cached
 * hang, and the close gives each its completion, in time. The memory of such a read
 * stays the kernel's, which -EBUSY says. One that blocks in a call of its own returns
 * when the file system answers.
 */
#include "t_hung.h"

enum { SIZE = 4 * T_CHUNK, SEED = 75 };

static unsigned char buffers[3][T_CHUNK];

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
    CHECK_SOON(t_hung(&fs, "count") == 3);

    t_close_in_time(cache);
    CHECK_EQ(t_completion(&callback, 1).result, -EBUSY);
    cachefs_completion done;
    CHECK_EQ(cachefs_queue_wait(queue, &done, 1, 1, -1), 1);
    CHECK_EQ(done.tag, 1);
    CHECK_EQ(done.result, -EBUSY);
    CHECK_ERROR(cachefs_queue_wait(queue, &done, 1, 1, -1), -ESHUTDOWN);
    t_check_left_behind(options.engine);
    cachefs_queue_close(queue);

    /* The bytes come now, into the buffers, which are still there. */
    t_hung(&fs, "go");
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
