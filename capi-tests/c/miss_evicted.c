/* A miss says that the file had been in the cache, and was evicted. */
#include "t.h"
#include "t_origin.h"

enum { SIZE = 8 * T_CHUNK, CAPACITY = 16 * T_CHUNK, SEED = 48 };

/* Reads the first byte of a file, and then all of it, in a cache of its own: when that is
 * closed, nothing is in use any more. The reason of the first miss. */
static uint32_t read_whole(struct t_origin *memory, const char *name) {
    cachefs_cache_options options = t_options();
    options.capacity_bytes = CAPACITY;
    options.readahead = 1;
    cachefs_cache *cache = t_cache_open_with(t_path("cache"), &options);
    cachefs_origin *origin = t_origin_open(cache, memory);
    cachefs_file *file = t_file_open(origin, name);
    cachefs_queue *queue = t_queue_open(cache, 4, 0);
    char byte;
    cachefs_completion completion = {0};
    CHECK_OK(cachefs_queue_read(queue, file, &byte, 1, 0, 0));
    CHECK_EQ(cachefs_queue_wait(queue, &completion, 1, 1, -1), 1);
    CHECK_EQ(completion.result, 1);
    CHECK_READ(file, SIZE, SEED, SIZE, 0);
    cachefs_queue_close(queue);
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return completion.miss_reason;
}

int main(void) {
    struct t_origin memory;
    t_origin_init(&memory, SIZE, SEED);
    CHECK_EQ(read_whole(&memory, "first"), CACHEFS_MISS_NEVER_CACHED);
    CHECK_EQ(read_whole(&memory, "second"), CACHEFS_MISS_NEVER_CACHED);
    CHECK_EQ(read_whole(&memory, "third"), CACHEFS_MISS_NEVER_CACHED);
    CHECK_EQ(read_whole(&memory, "first"), CACHEFS_MISS_EVICTED);
    return 0;
}
