/*
 * A cache directory whose file system no longer answers reads: but for the read that it
 * has the memory of, all come from the origin, the report says so, and the cache is used
 * again once the file system answers.
 */
#include "t_hung.h"

enum { SIZE = 4 * T_CHUNK, SEED = 81 };

static uint32_t state(cachefs_cache *cache) {
    cachefs_report report = {.struct_size = sizeof report};
    CHECK_OK(cachefs_cache_report(cache, &report));
    CHECK((report.state == CACHEFS_STATE_NORMAL) == (report.state_reason[0] == '\0'));
    return report.state;
}

static void check_queue(cachefs_cache *cache, cachefs_file *file, uint64_t offset) {
    static unsigned char buffer[T_CHUNK];
    cachefs_completion done;
    cachefs_queue *queue = t_queue_open(cache, 1, 0);
    CHECK_OK(cachefs_queue_read(queue, file, buffer, T_CHUNK, offset, 1));
    CHECK_EQ(cachefs_queue_wait(queue, &done, 1, 1, -1), 1);
    CHECK_EQ(done.result, T_CHUNK);
    CHECK_CONTENT(buffer, T_CHUNK, SEED, offset);
    cachefs_queue_close(queue);
}

int main(void) {
    struct t_hung_fs fs;
    t_make_origin_file("file", SIZE, SEED);
    CHECK_EQ(mkdir(t_path("disk"), 0755), 0);
    t_hung_mount(&fs, "mount", "disk");
    cachefs_cache_options options = t_hung_options();
    options.device_timeout_ms = 200;
    cachefs_cache *cache = t_cache_open_with(t_path("mount/cache"), &options);
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "file");
    CHECK_EQ(cachefs_fill(file, 0, CACHEFS_TO_END, NULL, NULL), SIZE);
    CHECK_EQ(state(cache), CACHEFS_STATE_NORMAL);

    t_hung(&fs, "hang read");
    static unsigned char stuck[T_CHUNK];
    struct t_completions callback = {0};
    CHECK_OK(cachefs_read_async(file, stuck, T_CHUNK, 0, t_complete, &callback, NULL));
    CHECK_SOON(state(cache) != CACHEFS_STATE_NORMAL);
    CHECK_LOG("has not answered within 200 ms");
    /* Now also what would have been read on this thread. */
    CHECK_READ(file, SIZE, SEED, SIZE, 0);
    check_queue(cache, file, T_CHUNK);
    cachefs_statistics statistics = t_statistics(cache);
    CHECK_EQ(statistics.errors, 0);
    CHECK(statistics.device_hangs > 0);

    CHECK_EQ(t_completed(&callback), 0);
    t_hung(&fs, "go");
    CHECK_EQ(t_completion(&callback, 1).result, T_CHUNK);
    CHECK_CONTENT(stuck, T_CHUNK, SEED, 0);
    CHECK_SOON(state(cache) == CACHEFS_STATE_NORMAL);
    CHECK_LOG("in use again");
    uint64_t before = t_statistics(cache).bytes_from_origin;
    CHECK_READ(file, SIZE, SEED, SIZE, 0);
    CHECK_EQ(t_statistics(cache).bytes_from_origin, before);

    cachefs_file_close(file);
    cachefs_origin_close(origin);
    t_close_in_time(cache);
    t_hung_end(&fs);
    return 0;
}
