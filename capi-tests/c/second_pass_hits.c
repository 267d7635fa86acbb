/* What was read once is not read from the origin again, in whatever way. */
#include "t.h"
#include "t_origin.h"

enum { SIZE = 5 * T_CHUNK + 123, SEED = 9 };

static void read_blocking(cachefs_file *file) {
    CHECK_READ(file, SIZE, SEED, SIZE, 0);
}

static void read_callback(cachefs_file *file) {
    static unsigned char buffer[SIZE];
    struct t_completions completions = {0};
    CHECK_OK(cachefs_read_async(file, buffer, SIZE, 0, t_complete, &completions, NULL));
    cachefs_completion completion = t_completion(&completions, 1);
    CHECK_EQ(completion.result, SIZE);
    CHECK_EQ(completion.source, CACHEFS_SOURCE_HIT);
    CHECK_EQ(completion.bytes_from_cache, SIZE);
    CHECK_CONTENT(buffer, SIZE, SEED, 0);
}

static void read_queue(cachefs_cache *cache, cachefs_file *file) {
    static unsigned char buffer[SIZE];
    cachefs_queue *queue = t_queue_open(cache, 1, 0);
    cachefs_completion completion;
    CHECK_OK(cachefs_queue_read(queue, file, buffer, SIZE, 0, 1));
    CHECK_EQ(cachefs_queue_wait(queue, &completion, 1, 1, -1), 1);
    CHECK_EQ(completion.result, SIZE);
    CHECK_EQ(completion.source, CACHEFS_SOURCE_HIT);
    CHECK_CONTENT(buffer, SIZE, SEED, 0);
    cachefs_queue_close(queue);
}

int main(void) {
    struct t_origin memory;
    t_origin_init(&memory, SIZE, SEED);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open(cache, &memory);
    cachefs_file *file = t_file_open(origin, "file");

    read_blocking(file);
    CHECK_EQ(memory.reads, 6);
    /* A chunk that was answered may still be on its way to the cache. */
    CHECK_SOON(t_residency(file).complete == 1);
    cachefs_statistics cold = t_statistics(cache);
    CHECK_EQ(cold.misses, 1);
    CHECK_EQ(cold.hits, 0);
    CHECK_EQ(cold.bytes_from_origin, SIZE);
    CHECK_EQ(cold.bytes_from_cache, 0);
    CHECK_EQ(cold.origin_reads, 6);
    CHECK_EQ(cold.chunks_stored, 6);

    read_blocking(file);
    read_callback(file);
    read_queue(cache, file);
    cachefs_file_close(file);
    file = t_file_open(origin, "file");
    read_blocking(file);
    CHECK_EQ(memory.reads, 6);

    cachefs_statistics warm = t_statistics(cache);
    CHECK_EQ(warm.hits, 4);
    CHECK_EQ(warm.misses, 1);
    CHECK_EQ(warm.bypasses, 0);
    CHECK_EQ(warm.errors, 0);
    CHECK_EQ(warm.bytes_from_origin, SIZE);
    CHECK_EQ(warm.bytes_from_cache, 4 * SIZE);
    CHECK_EQ(warm.origin_reads, 6);
    CHECK_EQ(warm.cached_objects, 1);
    CHECK(warm.cached_bytes >= SIZE);

    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
