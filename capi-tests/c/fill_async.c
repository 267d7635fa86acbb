/* A copy-fill with a callback completes once, and the range is in the cache. */
#include "t.h"
#include "t_origin.h"

enum { SIZE = 4 * T_CHUNK + 10, SEED = 16 };

int main(void) {
    struct t_origin memory;
    t_origin_init(&memory, SIZE, SEED);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open(cache, &memory);
    cachefs_file *file = t_file_open(origin, "file");
    struct t_completions completions = {0};
    uint64_t id = 0;

    CHECK_OK(cachefs_fill_async(file, 0, 2 * T_CHUNK, t_complete, &completions, &id));
    cachefs_completion completion = t_completion(&completions, 1);
    CHECK_EQ(completion.result, 2 * T_CHUNK);
    CHECK_EQ(completion.operation, CACHEFS_OPERATION_FILL);
    CHECK_EQ(completion.tag, id);
    CHECK_EQ(t_residency(file).chunks_present, 2);

    CHECK_OK(cachefs_fill_async(file, 0, CACHEFS_TO_END, t_complete, &completions, NULL));
    completion = t_completion(&completions, 2);
    CHECK_EQ(completion.result, SIZE);
    CHECK_EQ(t_residency(file).complete, 1);
    CHECK_EQ(memory.reads, 5);
    CHECK_READ(file, SIZE, SEED, SIZE, 0);
    CHECK_EQ(memory.reads, 5);

    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
