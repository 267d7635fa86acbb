/*
 * An origin's error is the reader's, whether the read was refused or failed
 * later; it is not kept, and the next read asks again.
 */
#include "t.h"
#include "t_origin.h"

enum { SIZE = 2 * T_CHUNK, SEED = 40 };

static void check_fails(cachefs_cache *cache, cachefs_file *file, int expected) {
    static unsigned char buffer[SIZE];
    struct t_completions completions = {0};
    uint64_t errors = t_statistics(cache).errors;

    CHECK_ERROR(cachefs_read(file, buffer, SIZE, 0), expected);
    CHECK_OK(cachefs_read_async(file, buffer, SIZE, 0, t_complete, &completions, NULL));
    CHECK_EQ(t_completion(&completions, 1).result, expected);
    CHECK_EQ(t_statistics(cache).errors, errors + 2);
    CHECK_ERROR(cachefs_fill(file, 0, CACHEFS_TO_END, NULL, NULL), expected);
    CHECK_EQ(t_residency(file).chunks_present, 0);
}

int main(void) {
    struct t_origin memory;
    t_origin_init(&memory, SIZE, SEED);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open(cache, &memory);
    cachefs_file *file = t_file_open(origin, "file");

    memory.result = -EIO;
    check_fails(cache, file, -EIO);
    memory.result = -ENOENT;
    check_fails(cache, file, -ENOENT);
    memory.result = T_ALL;
    memory.read_result = -EHOSTUNREACH;
    check_fails(cache, file, -EHOSTUNREACH);

    memory.read_result = 0;
    CHECK_READ(file, SIZE, SEED, SIZE, 0);
    CHECK_SOON(t_residency(file).complete == 1);

    /* What is cached needs no origin. */
    memory.result = -EIO;
    CHECK_READ(file, SIZE, SEED, SIZE, 0);

    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
