/* A queue copies ranges into the cache. */
#include "t.h"
#include "t_origin.h"

enum { SIZE = 4 * T_CHUNK + 10, SEED = 17 };

int main(void) {
    struct t_origin memory;
    t_origin_init(&memory, SIZE, SEED);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open(cache, &memory);
    cachefs_file *file = t_file_open(origin, "file");
    cachefs_queue *queue = t_queue_open(cache, 4, 0);
    cachefs_completion completion;

    CHECK_OK(cachefs_queue_fill(queue, file, 0, CACHEFS_TO_END, 42));
    CHECK_EQ(cachefs_queue_wait(queue, &completion, 1, 1, -1), 1);
    CHECK_EQ(completion.tag, 42);
    CHECK_EQ(completion.result, SIZE);
    CHECK_EQ(completion.operation, CACHEFS_OPERATION_FILL);
    CHECK_EQ(t_residency(file).complete, 1);
    CHECK_EQ(memory.reads, 5);
    CHECK_READ(file, SIZE, SEED, SIZE, 0);
    CHECK_EQ(memory.reads, 5);

    cachefs_queue_close(queue);
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
