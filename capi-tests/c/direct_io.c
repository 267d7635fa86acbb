/*
 * With direct_io, what is cached is neither written nor read through the page
 * cache, however it is read; and that belongs to the object: a cache without the
 * option uses it the same way.
 */
#include "t_direct.h"

enum { SIZE = 5 * T_CHUNK + 777, SEED = 51, TAIL_PAGES = 1, DEPTH = 8 };

static unsigned char *memory;

static void check(int64_t result, const unsigned char *buffer, uint64_t length, uint64_t offset) {
    uint64_t left = offset < SIZE ? SIZE - offset : 0;
    CHECK_EQ(result, length < left ? length : left);
    CHECK_CONTENT(buffer, (uint64_t)result, SEED, offset);
}

static void check_blocking(cachefs_file *file, size_t shift, uint64_t length, uint64_t offset) {
    memset(memory, 0xa5, SIZE + 2 * T_PAGE);
    check(cachefs_read(file, memory + shift, length, offset), memory + shift, length, offset);
    for (size_t i = 0; i < shift; i++)
        CHECK_EQ(memory[i], 0xa5);
    CHECK_EQ(memory[shift + length], 0xa5);
}

/* Segments that can go straight to their place, between some that cannot. */
static void check_vectored(cachefs_file *file) {
    struct iovec vector[] = {
        {.iov_base = memory, .iov_len = T_PAGE},
        {.iov_base = memory + 2 * T_PAGE, .iov_len = 100},
        {.iov_base = memory + 3 * T_PAGE + 1, .iov_len = T_PAGE - 100},
        {.iov_base = memory + 5 * T_PAGE, .iov_len = T_CHUNK},
        {.iov_base = memory + 6 * T_PAGE + T_CHUNK, .iov_len = T_CHUNK + 3},
    };
    uint64_t offset = 0;
    memset(memory, 0xa5, SIZE + 2 * T_PAGE);
    CHECK_EQ(cachefs_readv(file, vector, 5, 0), 2 * T_PAGE + 2 * T_CHUNK + 3);
    for (int i = 0; i < 5; i++) {
        const unsigned char *part = vector[i].iov_base;
        CHECK_CONTENT(part, vector[i].iov_len, SEED, offset);
        CHECK_EQ(part[vector[i].iov_len], 0xa5);
        offset += vector[i].iov_len;
    }
}

static void check_async(cachefs_file *file, size_t shift, uint64_t length, uint64_t offset) {
    struct t_completions completions = {0};
    CHECK_OK(cachefs_read_async(file, memory + shift, length, offset, t_complete, &completions,
                                NULL));
    cachefs_completion done = t_completion(&completions, 1);
    check(done.result, memory + shift, length, offset);
    CHECK_EQ(done.source, CACHEFS_SOURCE_HIT);
    CHECK_EQ(done.bytes_from_cache, done.result);
}

/* Aligned and unaligned reads in one batch; the last ones reach behind the end. */
static void check_queue(cachefs_cache *cache, cachefs_file *file) {
    cachefs_queue *queue = t_queue_open(cache, DEPTH, 0);
    cachefs_completion done[DEPTH];
    uint64_t offsets[DEPTH], lengths[DEPTH];
    for (uint64_t i = 0; i < DEPTH; i++) {
        offsets[i] = i < 6 ? i * 2 * T_PAGE : SIZE - 777;
        lengths[i] = 2 * T_PAGE - (i & 1);
        if (i >= 6)
            lengths[i] = i == 6 ? T_PAGE : 777;
        unsigned char *place = memory + i * 2 * T_PAGE;
        CHECK_OK(cachefs_queue_read(queue, file, place, lengths[i], offsets[i], i));
    }
    CHECK_EQ(cachefs_queue_wait(queue, done, DEPTH, DEPTH, -1), DEPTH);
    for (int i = 0; i < DEPTH; i++) {
        uint64_t tag = done[i].tag;
        check(done[i].result, memory + tag * 2 * T_PAGE, lengths[tag], offsets[tag]);
        CHECK_EQ(done[i].source, CACHEFS_SOURCE_HIT);
    }
    cachefs_queue_close(queue);
}

static void check_reads(cachefs_cache *cache, cachefs_file *file) {
    for (size_t shift = 0; shift <= 513; shift += 171) {
        check_blocking(file, shift, SIZE, 0);
        check_blocking(file, shift, T_PAGE, T_CHUNK - T_PAGE);
        check_blocking(file, shift, T_PAGE, T_CHUNK - 10);
        check_blocking(file, shift, 1, SIZE - 1);
        check_blocking(file, shift, T_PAGE, SIZE - 777);
        check_blocking(file, shift, T_PAGE, SIZE);
        check_async(file, shift, SIZE, 0);
        check_async(file, shift, 3 * T_CHUNK, 5);
    }
    check_vectored(file);
    check_queue(cache, file);
}

int main(void) {
    t_require_direct();
    t_make_origin_file("file", SIZE, SEED);
    memory = aligned_alloc(T_PAGE, (SIZE / T_PAGE + 3) * T_PAGE);
    CHECK(memory != NULL);

    cachefs_cache_options options = t_direct_options();
    for (int pass = 0; pass < 2; pass++) {
        cachefs_cache *cache = t_cache_open_with(t_path("cache"), &options);
        cachefs_origin *origin = t_origin_open_dir(cache);
        cachefs_file *file = t_file_open(origin, "file");
        CHECK_EQ(cachefs_fill(file, 0, CACHEFS_TO_END, NULL, NULL), SIZE);
        check_reads(cache, file);
        CHECK_EQ(t_statistics(cache).misses, 0);
        int data = t_open_data("cache");
        CHECK(t_pages_cached(data) <= TAIL_PAGES);

        /* Nothing is written any more: outside the library, it is a file as any other. */
        if (pass == 1) {
            int fd = cachefs_file_fd(file);
            CHECK(fd >= 0);
            CHECK_EQ(fcntl(fd, F_GETFL) & O_DIRECT, 0);
            CHECK_EQ(read(fd, memory + 1, SIZE), SIZE);
            CHECK_CONTENT(memory + 1, SIZE, SEED, 0);
            CHECK_EQ(close(fd), 0);
        }
        CHECK_EQ(close(data), 0);
        cachefs_file_close(file);
        cachefs_origin_close(origin);
        cachefs_cache_close(cache);
        options.direct_io = 0;
    }
    free(memory);
    return 0;
}
