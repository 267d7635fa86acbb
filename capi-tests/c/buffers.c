/*
 * Reads into memory that is registered are right: allocated by the library or the
 * program's own, at any place of it, and across what is registered and what is not.
 */
#include "t.h"
#include <sys/mman.h>

enum { SIZE = 2 * T_CHUNK + 99, SEED = 70, LENGTH = 1 << 20, PAGE = 4096 };

static cachefs_cache *cache;
static cachefs_file *file;
static cachefs_queue *queue;

/* Reads `length` bytes to `target` on the queue, several times, so that it is
 * worth the engine's while to register. */
static void check_reads(unsigned char *target, uint64_t length, uint64_t offset) {
    for (int round = 0; round < 4; round++) {
        cachefs_completion done;
        memset(target, 0x5a, length);
        CHECK_OK(cachefs_queue_read(queue, file, target, length, offset, 1));
        CHECK_EQ(cachefs_queue_wait(queue, &done, 1, 1, -1), 1);
        CHECK_EQ(done.result, length);
        CHECK_CONTENT(target, length, SEED, offset);
    }
}

static void check_allocated(void) {
    void *memory = NULL;
    CHECK_OK(cachefs_buffer_alloc(cache, LENGTH, &memory));
    CHECK_EQ((uintptr_t)memory % PAGE, 0);
    unsigned char *bytes = memory;
    CHECK_EQ(bytes[0], 0);
    CHECK_EQ(bytes[LENGTH - 1], 0);
    check_reads(bytes, PAGE, 0);
    check_reads(bytes + 1, 777, T_CHUNK - 300);
    check_reads(bytes + LENGTH - 5, 5, SIZE - 5);
    CHECK_OK(cachefs_buffer_free(cache, memory));
    CHECK_ERROR(cachefs_buffer_free(cache, memory), -ENOENT);
    CHECK_OK(cachefs_buffer_free(cache, NULL));
}

static unsigned char *map(void *where) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | (where ? MAP_FIXED : 0);
    void *memory = mmap(where, 4 * PAGE, PROT_READ | PROT_WRITE, flags, -1, 0);
    CHECK(memory != MAP_FAILED);
    return memory;
}

static void check_own(void) {
    unsigned char *memory = map(NULL);
    CHECK_OK(cachefs_buffer_register(cache, memory, 2 * PAGE));
    check_reads(memory, PAGE, 0);
    /* Half of it is registered, and then none of it. */
    check_reads(memory + PAGE, 2 * PAGE, 10);
    check_reads(memory + 2 * PAGE, PAGE, 10);

    /* Other memory at the same place: what the kernel has pinned is not it. */
    CHECK_OK(cachefs_buffer_unregister(cache, memory));
    map(memory);
    check_reads(memory, PAGE, 20);
    CHECK_OK(cachefs_buffer_register(cache, memory, PAGE));
    check_reads(memory, PAGE, 30);
    CHECK_OK(cachefs_buffer_unregister(cache, memory));
    CHECK_OK(cachefs_buffer_register(cache, memory, PAGE));
    check_reads(memory, PAGE, 40);
    CHECK_OK(cachefs_buffer_unregister(cache, memory));
    CHECK_EQ(munmap(memory, 4 * PAGE), 0);
}

int main(void) {
    t_make_origin_file("file", SIZE, SEED);
    cache = t_cache_open();
    cachefs_origin *origin = t_origin_open_dir(cache);
    file = t_file_open(origin, "file");
    queue = t_queue_open(cache, 4, 0);
    CHECK_EQ(cachefs_fill(file, 0, CACHEFS_TO_END, NULL, NULL), SIZE);

    check_allocated();
    check_own();

    /* Whatever is not freed goes with the cache. */
    void *left = NULL;
    CHECK_OK(cachefs_buffer_alloc(cache, LENGTH, &left));
    check_reads(left, PAGE, 0);
    cachefs_queue_close(queue);
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
