/* Callback requests in flight have a limit: -EAGAIN, and nothing is accepted. */
#include "t.h"
#include "t_origin.h"

enum { LIMIT = 4, SIZE = 8 * T_CHUNK, SEED = 36 };

int main(void) {
    struct t_origin memory;
    t_origin_init(&memory, SIZE, SEED);
    cachefs_cache_options options = t_options();
    options.async_limit = LIMIT;
    options.readahead = 1; /* off: the origin's reads are counted */
    cachefs_cache *cache = t_cache_open_with(t_path("cache"), &options);
    cachefs_origin *origin = t_origin_open(cache, &memory);
    cachefs_file *file = t_file_open(origin, "file");
    static unsigned char buffers[LIMIT + 1][100];
    struct t_completions completions = {0};

    memory.hold = true;
    for (unsigned i = 0; i < LIMIT; i++)
        CHECK_OK(cachefs_read_async(file, buffers[i], 100, i * (uint64_t)T_CHUNK, t_complete,
                                    &completions, NULL));
    CHECK_ERROR(cachefs_read_async(file, buffers[LIMIT], 100, 0, t_complete, &completions, NULL),
                -EAGAIN);
    CHECK_ERROR(cachefs_fill_async(file, 0, 1, t_complete, &completions, NULL), -EAGAIN);
    CHECK_EQ(t_statistics(cache).in_flight, LIMIT);
    CHECK_SOON(t_origin_held(&memory) == LIMIT);
    t_origin_release(&memory);
    t_completion(&completions, LIMIT);

    /* There is room again, soon after. */
    CHECK_SOON(cachefs_read_async(file, buffers[LIMIT], 100, 0, t_complete, &completions, NULL) ==
               0);
    CHECK_EQ(t_completion(&completions, LIMIT + 1).result, 100);

    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
