/*
 * An origin that delivers less than the file has gives an error, not zeros; and
 * so does a result that cannot be.
 */
#include "t.h"
#include "t_origin.h"

enum { SIZE = T_CHUNK, SEED = 41 };

/* Answers with a count that is more than was asked for, touching nothing. */
static int32_t read_too_much(void *user, const char *path, const cachefs_origin_attr *version,
                             void *buffer, uint64_t length, uint64_t offset,
                             cachefs_origin_token *token) {
    (void)user, (void)path, (void)version, (void)buffer, (void)offset;
    int result = cachefs_origin_complete(token, (int64_t)length + 1);
    CHECK(result == 0 || result == -EINVAL);
    /* One that was refused is still to be completed. */
    if (result == -EINVAL)
        CHECK_OK(cachefs_origin_complete(token, -EIO));
    return 0;
}

static void check_refused(cachefs_file *file) {
    static unsigned char buffer[SIZE];
    CHECK_EQ(cachefs_read(file, buffer, SIZE, 0), -EIO);
    CHECK_EQ(t_residency(file).chunks_present, 0);
}

int main(void) {
    struct t_origin memory;
    t_origin_init(&memory, SIZE, SEED);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open(cache, &memory);
    cachefs_file *file = t_file_open(origin, "file");

    memory.result = 0;
    check_refused(file);
    memory.result = SIZE - 1;
    check_refused(file);
    memory.result = T_ALL;
    CHECK_READ(file, SIZE, SEED, SIZE, 0);
    cachefs_file_close(file);
    cachefs_origin_close(origin);

    cachefs_origin_ops ops = t_origin_ops();
    ops.read = read_too_much;
    CHECK_OK(cachefs_origin_open(cache, "too much", &ops, &memory, NULL, &origin));
    file = t_file_open(origin, "file");
    check_refused(file);
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
