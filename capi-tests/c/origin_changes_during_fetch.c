/*
 * A file that changes while it is fetched: what was fetched is thrown away, and
 * the reader gets the new version as a whole, never a mixture.
 */
#include "t.h"
#include "t_origin.h"

enum { SIZE = 2 * T_CHUNK };

int main(void) {
    struct t_origin memory;
    t_origin_init(&memory, SIZE, 1);
    memory.hold = true;
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open(cache, &memory);
    cachefs_file *file = t_file_open(origin, "file");
    static unsigned char buffer[SIZE];
    struct t_completions completions = {0};

    CHECK_OK(cachefs_read_async(file, buffer, SIZE, 0, t_complete, &completions, NULL));
    CHECK_SOON(t_origin_held(&memory) == 2);
    struct t_held first = t_origin_take(&memory);
    CHECK_OK(t_origin_answer(&memory, &first, T_ALL));
    t_sleep_ms(50);
    memory.seed = 2;
    memory.mtime_ns++;
    t_origin_release(&memory);

    cachefs_completion completion = t_completion(&completions, 1);
    CHECK_EQ(completion.result, SIZE);
    CHECK_EQ(completion.miss_reason, CACHEFS_MISS_VERSION_CHANGED);
    CHECK_CONTENT(buffer, SIZE, 2, 0);
    CHECK(t_statistics(cache).stale_fetches >= 1);

    /* The file has moved on with it, and so has one that is opened now. */
    CHECK_READ(file, SIZE, 2, SIZE, 0);
    cachefs_file *other = t_file_open(origin, "file");
    CHECK_READ(other, SIZE, 2, SIZE, 0);
    cachefs_file_close(other);
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
