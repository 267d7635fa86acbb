/*
 * A request whose origin does not answer completes once when it is canceled,
 * and the origin's late answer is still accepted, once.
 */
#include "t.h"
#include "t_origin.h"

enum { SIZE = T_CHUNK, SEED = 20 };

int main(void) {
    struct t_origin memory;
    t_origin_init(&memory, SIZE, SEED);
    memory.hold = true;
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open(cache, &memory);
    cachefs_file *file = t_file_open(origin, "file");
    static unsigned char buffer[SIZE];
    struct t_completions completions = {0};
    uint64_t id = 0;

    memset(buffer, 0xa5, sizeof buffer);
    CHECK_OK(cachefs_read_async(file, buffer, SIZE, 0, t_complete, &completions, &id));
    CHECK_SOON(t_origin_held(&memory) == 1);
    t_sleep_ms(20);
    CHECK_EQ(t_completed(&completions), 0);
    CHECK_EQ(t_statistics(cache).in_flight, 1);

    CHECK_OK(cachefs_cancel(cache, id));
    cachefs_completion completion = t_completion(&completions, 1);
    CHECK_EQ(completion.result, -ECANCELED);
    CHECK_EQ(completion.tag, id);
    CHECK_EQ(completion.source, CACHEFS_SOURCE_NONE);
    /* Of what has ended, and of what never was. */
    CHECK_OK(cachefs_cancel(cache, id));
    CHECK_OK(cachefs_cancel(cache, UINT64_MAX));

    /* The buffer is the caller's again: what comes late must not touch it. */
    memset(buffer, 0x5a, sizeof buffer);
    struct t_held read = t_origin_take(&memory);
    CHECK_OK(t_origin_answer(&memory, &read, T_ALL));
    CHECK_ERROR(cachefs_origin_complete(read.token, SIZE), -EBADF);
    CHECK_SOON(t_statistics(cache).in_flight == 0);
    for (size_t i = 0; i < sizeof buffer; i++)
        CHECK_EQ(buffer[i], 0x5a);
    CHECK_EQ(t_completed(&completions), 1);

    /* And the next reader gets its bytes. */
    memory.hold = false;
    CHECK_READ(file, SIZE, SEED, SIZE, 0);

    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    CHECK_EQ(memory.frees, 1);
    return 0;
}
