/* After cachefs_fill() every read of the range is a hit. */
#include "t.h"
#include "t_origin.h"

enum { SIZE = 6 * T_CHUNK + 77, SEED = 13 };

int main(void) {
    struct t_origin memory;
    t_origin_init(&memory, SIZE, SEED);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open(cache, &memory);
    cachefs_file *file = t_file_open(origin, "file");

    /* One byte brings its chunk, and no other. */
    CHECK_EQ(cachefs_fill(file, T_CHUNK, 1, NULL, NULL), 1);
    CHECK_EQ(memory.reads, 1);
    CHECK_EQ(t_residency(file).chunks_present, 1);
    CHECK_READ(file, SIZE, SEED, T_CHUNK, T_CHUNK);
    CHECK_EQ(memory.reads, 1);

    CHECK_EQ(cachefs_fill(file, 0, CACHEFS_TO_END, NULL, NULL), SIZE);
    CHECK_EQ(memory.reads, 7);
    CHECK_EQ(t_residency(file).complete, 1);
    CHECK_READ(file, SIZE, SEED, SIZE, 0);
    cachefs_statistics statistics = t_statistics(cache);
    CHECK_EQ(statistics.hits, 2);
    CHECK_EQ(statistics.misses, 0);
    CHECK_EQ(statistics.bytes_from_origin, SIZE);

    /* What is there is there; what is past the end is nothing. */
    CHECK_EQ(cachefs_fill(file, 0, CACHEFS_TO_END, NULL, NULL), SIZE);
    CHECK_EQ(cachefs_fill(file, SIZE - 10, 1000, NULL, NULL), 10);
    CHECK_EQ(cachefs_fill(file, SIZE, CACHEFS_TO_END, NULL, NULL), 0);
    CHECK_EQ(cachefs_fill(file, SIZE + 1, 1, NULL, NULL), 0);
    CHECK_EQ(cachefs_fill(file, 0, 0, NULL, NULL), 0);
    CHECK_EQ(memory.reads, 7);

    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
