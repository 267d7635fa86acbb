/* Reads of a queue give the origin's bytes; their tags tell which is which. */
#include "t.h"

enum { SIZE = 4 * T_CHUNK + 999, SEED = 6, READS = 100, DEPTH = 32, LENGTH = 9000 };

static unsigned char buffers[READS][LENGTH];

static uint64_t offset_of(uint64_t tag) {
    return tag * 2777 % SIZE;
}

static void check_completion(const cachefs_completion *completion, bool *seen) {
    uint64_t tag = completion->tag;
    CHECK(tag < READS && !seen[tag]);
    seen[tag] = true;
    uint64_t left = SIZE - offset_of(tag);
    uint64_t expected = left < LENGTH ? left : LENGTH;
    CHECK_EQ(completion->result, expected);
    CHECK_EQ(completion->operation, CACHEFS_OPERATION_READ);
    CHECK_CONTENT(buffers[tag], expected, SEED, offset_of(tag));
}

static void check_pass(cachefs_queue *queue, cachefs_file *file) {
    bool seen[READS] = {false};
    unsigned pushed = 0, completed = 0;
    memset(buffers, 0, sizeof buffers);
    while (completed < READS) {
        for (; pushed < READS && cachefs_queue_space(queue) > 0; pushed++)
            CHECK_OK(cachefs_queue_read(queue, file, buffers[pushed], LENGTH, offset_of(pushed),
                                        pushed));
        cachefs_completion completions[DEPTH];
        int count = cachefs_queue_wait(queue, completions, 1, DEPTH, -1);
        CHECK(count >= 1 && count <= DEPTH);
        for (int i = 0; i < count; i++)
            check_completion(&completions[i], seen);
        completed += (unsigned)count;
    }
    CHECK_EQ(completed, READS);
    CHECK_EQ(cachefs_queue_space(queue), DEPTH);
}

int main(void) {
    t_make_origin_file("file", SIZE, SEED);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "file");
    cachefs_queue *queue = t_queue_open(cache, DEPTH, 0);

    check_pass(queue, file);
    check_pass(queue, file);

    cachefs_queue_close(queue);
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
