/* Offsets and lengths near the limits of 64 bits, and files of terabytes. */
#include "t.h"
#include "t_origin.h"

enum { SEED = 46 };

/* The largest file that is cached, and its last chunk is not a whole one. */
static const uint64_t SIZE = (UINT64_C(16) << 40) - 12345;

static void check_ranges(cachefs_file *file) {
    static unsigned char buffer[1000];
    struct t_completions completions = {0};

    CHECK_READ(file, SIZE, SEED, 1000, UINT64_C(1) << 32);
    CHECK_READ(file, SIZE, SEED, 1000, (UINT64_C(1) << 41) - 500);
    CHECK_READ(file, SIZE, SEED, 1000, SIZE - 999);
    CHECK_EQ(cachefs_read(file, buffer, sizeof buffer, INT64_MAX), 0);
    CHECK_EQ(cachefs_read(file, buffer, sizeof buffer, UINT64_MAX), 0);

    /* Longer than a result can say; and as long as a call may be, short at the end. */
    CHECK_ERROR(cachefs_read(file, buffer, UINT64_MAX, SIZE - 1000), -EINVAL);
    CHECK_ERROR(cachefs_read(file, buffer, UINT64_C(1) << 63, SIZE - 1000), -EINVAL);
    CHECK_EQ(cachefs_read(file, buffer, UINT64_C(3) << 30, SIZE - 1000), 1000);
    CHECK_CONTENT(buffer, 1000, SEED, SIZE - 1000);
    CHECK_OK(cachefs_read_async(file, buffer, UINT64_C(3) << 30, SIZE - 10, t_complete,
                                &completions, NULL));
    CHECK_EQ(t_completion(&completions, 1).result, 10);
    CHECK_EQ(cachefs_fill(file, SIZE - 1, CACHEFS_TO_END, NULL, NULL), 1);
    CHECK_EQ(cachefs_fill(file, SIZE - 1, UINT64_MAX - 1, NULL, NULL), 1);

    cachefs_residency residency = t_residency(file);
    CHECK_EQ(residency.complete, 0);
    CHECK_EQ(residency.chunks_total, (SIZE + residency.chunk_bytes - 1) / residency.chunk_bytes);
}

int main(void) {
    struct t_origin memory;
    t_origin_init(&memory, SIZE, SEED);
    cachefs_cache_options options = t_options();
    options.chunk_bytes = 0;
    cachefs_cache *cache = t_cache_open_with(t_path("cache"), &options);
    cachefs_origin *origin = t_origin_open(cache, &memory);
    cachefs_file *file = t_file_open(origin, "file");
    check_ranges(file);
    check_ranges(file);
    cachefs_file_close(file);

    /* A larger one is read all the same, but not kept. */
    memory.size = (UINT64_C(16) << 40) + 1;
    file = t_file_open(origin, "larger");
    CHECK_READ(file, memory.size, SEED, 1000, memory.size - 999);
    CHECK_ERROR(cachefs_fill(file, 0, 1, NULL, NULL), -EFBIG);
    CHECK_EQ(t_residency(file).chunks_present, 0);
    cachefs_file_close(file);

    /* A size that no file can have is the origin's mistake. */
    memory.size = UINT64_MAX;
    file = NULL;
    int result = cachefs_file_open(origin, "impossible", 0, &file);
    CHECK(result == -EOVERFLOW || result == -EFBIG || result == -EIO);
    CHECK(file == NULL);

    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
