/* cachefs_readv() fills its buffers one after another. */
#include "t.h"

enum { SIZE = 3 * T_CHUNK + 100, SEED = 3, PARTS_MAX = 1024 };

static unsigned char buffer[SIZE + 4096];

/* Reads with `count` parts of `part` bytes each, from `offset`. */
static void check_parts(cachefs_file *file, uint32_t count, size_t part, uint64_t offset) {
    static struct iovec vector[PARTS_MAX];
    CHECK(count * part <= sizeof buffer);
    memset(buffer, 0xa5, sizeof buffer);
    for (uint32_t i = 0; i < count; i++)
        vector[i] = (struct iovec){.iov_base = buffer + i * part, .iov_len = part};
    uint64_t wanted = count * part;
    uint64_t left = offset < SIZE ? SIZE - offset : 0;
    uint64_t expected = wanted < left ? wanted : left;
    CHECK_EQ(cachefs_readv(file, vector, count, offset), expected);
    CHECK_CONTENT(buffer, expected, SEED, offset);
    for (uint64_t i = expected; i < wanted; i++)
        CHECK_EQ(buffer[i], 0xa5);
}

int main(void) {
    t_make_origin_file("file", SIZE, SEED);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "file");

    for (int pass = 0; pass < 2; pass++) {
        check_parts(file, 1, 100, 0);
        check_parts(file, 3, T_CHUNK, 10);
        check_parts(file, PARTS_MAX, 7, T_CHUNK - 3);
        check_parts(file, 4, 50, SIZE - 120);
        check_parts(file, 2, 100, SIZE);
        check_parts(file, 0, 0, 0);
    }

    /* Parts of different lengths, some of them empty, in no order of addresses. */
    struct iovec vector[] = {
        {.iov_base = buffer + 1000, .iov_len = 10},
        {.iov_base = NULL, .iov_len = 0},
        {.iov_base = buffer, .iov_len = 500},
        {.iov_base = buffer + 2000, .iov_len = 1},
    };
    CHECK_EQ(cachefs_readv(file, vector, 4, 77), 511);
    CHECK_CONTENT(buffer + 1000, 10, SEED, 77);
    CHECK_CONTENT(buffer, 500, SEED, 87);
    CHECK_CONTENT(buffer + 2000, 1, SEED, 587);

    static struct iovec many[PARTS_MAX + 1];
    CHECK_ERROR(cachefs_readv(file, many, PARTS_MAX + 1, 0), -EINVAL);
    /* Together longer than a result can say. */
    vector[0].iov_len = SIZE_MAX;
    CHECK_ERROR(cachefs_readv(file, vector, 4, 0), -EINVAL);

    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
