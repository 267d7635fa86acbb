/*
 * What is not kept is read straight into the program's memory. A read that is
 * cancelled, or whose origin takes too long, completes only once the kernel has
 * given that memory back. Here it cannot for a while: a page of it is missing, and
 * who touches it waits for this program (userfaultfd).
 */
#include "t.h"

#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

enum { SIZE = 1 << 20, SEED = 54, HELD_MS = 150, TIMEOUT_MS = 50 };

/* Memory of which every page is missing until `release`. */
struct held {
    unsigned char *memory;
    int descriptor;
};

static struct held hold(void) {
    struct uffdio_api api = {.api = UFFD_API};
    struct held held = {.descriptor = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK)};
    if (held.descriptor < 0)
        t_skip("no userfaultfd for this user: %s", strerror(errno));
    CHECK_EQ(ioctl(held.descriptor, UFFDIO_API, &api), 0);
    held.memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(held.memory != MAP_FAILED);
    struct uffdio_register range = {.range = {(uintptr_t)held.memory, SIZE},
                                    .mode = UFFDIO_REGISTER_MODE_MISSING};
    CHECK_EQ(ioctl(held.descriptor, UFFDIO_REGISTER, &range), 0);
    return held;
}

/* Waits until somebody waits for a page. */
static void await_touch(struct held held) {
    struct pollfd poll_for = {.fd = held.descriptor, .events = POLLIN};
    CHECK_EQ(poll(&poll_for, 1, T_WAIT_SECONDS * 1000), 1);
    CHECK_EQ(poll_for.revents, POLLIN);
}

static void release(struct held held) {
    struct uffdio_range range = {(uintptr_t)held.memory, SIZE};
    CHECK_EQ(ioctl(held.descriptor, UFFDIO_UNREGISTER, &range), 0);
    CHECK_EQ(close(held.descriptor), 0);
}

/* `error` is what the read ends with unless it was too late for that. */
static void check(cachefs_cache *cache, cachefs_file *file, bool cancel, int error) {
    struct t_completions completions = {0};
    struct held held = hold();
    uint64_t id = 0;
    CHECK_OK(cachefs_read_async(file, held.memory, SIZE, 0, t_complete, &completions, &id));
    await_touch(held);
    if (cancel)
        CHECK_OK(cachefs_cancel(cache, id));
    t_sleep_ms(HELD_MS);
    CHECK_EQ(t_completed(&completions), 0);
    release(held);
    int64_t result = t_completion(&completions, 1).result;
    if (result != SIZE)
        CHECK_EQ(result, error);
    if (result == SIZE)
        CHECK_CONTENT(held.memory, SIZE, SEED, 0);

    memset(held.memory, 0x5a, SIZE);
    t_sleep_ms(20);
    for (size_t i = 0; i < SIZE; i++)
        CHECK_EQ(held.memory[i], 0x5a);
    CHECK_EQ(munmap(held.memory, SIZE), 0);
}

int main(void) {
    t_require_directory_origin();
    t_make_origin_file("file", SIZE, SEED);
    for (int pass = 0; pass < 2; pass++) {
        bool cancel = pass == 0;
        cachefs_cache_options options = t_options();
        /* Of which nothing is left for a chunk. */
        options.chunk_bytes = options.capacity_bytes = 1 << 20;
        options.origin_timeout_ms = cancel ? 0 : TIMEOUT_MS;
        cachefs_cache *cache = t_cache_open_with(t_path("cache%d", pass), &options);
        cachefs_origin *origin = t_origin_open_dir(cache);
        cachefs_file *file = t_file_open(origin, "file");
        check(cache, file, cancel, cancel ? -ECANCELED : -ETIMEDOUT);

        uint64_t before = t_statistics(cache).bytes_straight;
        CHECK_READ(file, SIZE, SEED, SIZE, 0);
        CHECK_EQ(t_statistics(cache).bytes_straight - before, SIZE);
        cachefs_file_close(file);
        cachefs_origin_close(origin);
        cachefs_cache_close(cache);
    }
    return 0;
}
