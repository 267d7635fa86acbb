/* A read that the origin does not answer fails after the time-out, in any way. */
#include "t.h"
#include "t_origin.h"

enum { SIZE = 4 * T_CHUNK, SEED = 44, TIMEOUT_MS = 1000 };

int main(void) {
    struct t_origin memory;
    t_origin_init(&memory, SIZE, SEED);
    memory.hold = true;
    cachefs_cache_options options = t_options();
    options.origin_timeout_ms = TIMEOUT_MS;
    cachefs_cache *cache = t_cache_open_with(t_path("cache"), &options);
    cachefs_origin *origin = t_origin_open(cache, &memory);
    cachefs_file *file = t_file_open(origin, "file");
    cachefs_queue *queue = t_queue_open(cache, 4, 0);
    static unsigned char buffer[T_CHUNK];
    struct t_completions completions = {0};
    cachefs_completion completion;

    int64_t begin = t_now_ns();
    CHECK_ERROR(cachefs_read(file, buffer, T_CHUNK, 0), -ETIMEDOUT);
    int64_t waited = t_now_ns() - begin;
    CHECK(waited >= TIMEOUT_MS * INT64_C(1000000));
    CHECK(waited < 10 * INT64_C(1000000000));
    CHECK_OK(cachefs_read_async(file, buffer, T_CHUNK, T_CHUNK, t_complete, &completions, NULL));
    CHECK_EQ(t_completion(&completions, 1).result, -ETIMEDOUT);
    CHECK_OK(cachefs_queue_read(queue, file, buffer, T_CHUNK, 2 * T_CHUNK, 7));
    CHECK_EQ(cachefs_queue_wait(queue, &completion, 1, 1, -1), 1);
    CHECK_EQ(completion.result, -ETIMEDOUT);
    CHECK_ERROR(cachefs_fill(file, 3 * T_CHUNK, 1, NULL, NULL), -ETIMEDOUT);

    /* Late answers touch nothing, and are heard. */
    memset(buffer, 0x5a, sizeof buffer);
    t_origin_release(&memory);
    t_sleep_ms(50);
    for (size_t i = 0; i < sizeof buffer; i++)
        CHECK_EQ(buffer[i], 0x5a);
    CHECK_READ(file, SIZE, SEED, SIZE, 0);

    cachefs_queue_close(queue);
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    CHECK_EQ(memory.frees, 1);
    return 0;
}
