/* A copy-fill stops when its progress callback says so, and keeps what it has. */
#include "t.h"
#include "t_origin.h"

enum { SIZE = 400 * T_CHUNK, SEED = 15 };

static int32_t slow_read(void *user, const char *path, const cachefs_origin_attr *version,
                         void *buffer, uint64_t length, uint64_t offset,
                         cachefs_origin_token *token) {
    t_sleep_ms(20);
    return t_origin_read(user, path, version, buffer, length, offset, token);
}

static int32_t stop(void *user, uint64_t bytes_done, uint64_t bytes_total) {
    (void)user;
    CHECK(bytes_done <= bytes_total);
    return 1;
}

int main(void) {
    struct t_origin memory;
    t_origin_init(&memory, SIZE, SEED);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin_ops ops = t_origin_ops();
    ops.read = slow_read;
    cachefs_origin *origin = NULL;
    CHECK_OK(cachefs_origin_open(cache, "slow", &ops, &memory, NULL, &origin));
    cachefs_file *file = t_file_open(origin, "file");

    CHECK_ERROR(cachefs_fill(file, 0, CACHEFS_TO_END, stop, NULL), -ECANCELED);
    CHECK_EQ(t_residency(file).complete, 0);

    /* What it had asked for still comes; then it is over. */
    t_sleep_ms(500);
    unsigned before = memory.reads;
    CHECK(before < 100);

    /* And the file is as good as ever. */
    CHECK_READ(file, SIZE, SEED, T_CHUNK, 390 * (uint64_t)T_CHUNK);
    CHECK_EQ(memory.reads, before + 1);

    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    CHECK_EQ(memory.frees, 1);
    return 0;
}
