/*
 * A million completions come through the queue's descriptor without a lost wake-up:
 * one request outstanding at a time, and many. Hits end at once or when the disk has
 * answered, on the program's thread; what is never stored ends on library threads.
 */
#include "t_origin.h"

#include <sys/epoll.h>

enum {
    SIZE = 40 * T_CHUNK,
    SEED = 71,
    DEPTH = 64,
    LENGTH = 16,
    COMPLETIONS = 1000000,
    COMPLETIONS_VALGRIND = 20000,
    /* One of so many reads is of the file that is never stored. */
    MISS_EVERY = 16,
    /* So many reads apart, the cached file is dropped from the page cache. */
    FORGET_EVERY = 4096,
};

struct slot {
    unsigned char buffer[LENGTH];
    uint64_t offset;
    bool busy;
};

static struct slot slots[DEPTH];
static cachefs_queue *queue;
static cachefs_file *stored, *never_stored;
static int epoll, data;

static uint64_t offset_of(unsigned number) {
    return number * UINT64_C(7919) % (SIZE - LENGTH);
}

static void push(unsigned number, unsigned slot) {
    struct slot *place = &slots[slot];
    place->busy = true;
    place->offset = offset_of(number);
    if (number % FORGET_EVERY == 0)
        CHECK_EQ(posix_fadvise(data, 0, 0, POSIX_FADV_DONTNEED), 0);
    cachefs_file *file = number % MISS_EVERY == 0 ? never_stored : stored;
    CHECK_EQ(cachefs_queue_read(queue, file, place->buffer, LENGTH, place->offset, slot), 0);
}

static unsigned fetch(void) {
    cachefs_completion done[DEPTH];
    int count = cachefs_queue_wait(queue, done, 0, DEPTH, 0);
    CHECK(count >= 0);
    for (int i = 0; i < count; i++) {
        CHECK(done[i].tag < DEPTH);
        struct slot *slot = &slots[done[i].tag];
        CHECK(slot->busy);
        CHECK_EQ(done[i].result, LENGTH);
        CHECK_CONTENT(slot->buffer, LENGTH, SEED, slot->offset);
        slot->busy = false;
    }
    return (unsigned)count;
}

/* Sleeps on the descriptor alone; says which it is if nothing wakes it. */
static void sleep_on_descriptor(unsigned pushed, unsigned completed) {
    struct epoll_event event;
    int ready;
    do
        ready = epoll_wait(epoll, &event, 1, T_WAIT_SECONDS * 1000);
    while (ready < 0 && errno == EINTR);
    CHECK(ready >= 0);
    if (ready == 0) {
        unsigned left = fetch();
        t_fail(__FILE__, __LINE__,
               "nothing woke the loop for %d s: %u were pushed, %u completed before, and %s",
               T_WAIT_SECONDS, pushed, completed,
               left > 0 ? "more had completed: a wake-up was lost" : "no other has completed");
    }
}

/* `total` reads, `depth` of them outstanding. */
static void run(unsigned total, unsigned depth) {
    unsigned pushed = 0, completed = 0;
    while (completed < total) {
        for (unsigned slot = 0; slot < depth && pushed < total; slot++) {
            if (!slots[slot].busy)
                push(pushed++, slot);
        }
        CHECK_EQ(cachefs_queue_submit(queue), 0);
        sleep_on_descriptor(pushed, completed);
        completed += fetch();
    }
    CHECK_EQ(completed, total);
}

int main(void) {
    unsigned total = t_under_valgrind() ? COMPLETIONS_VALGRIND : COMPLETIONS;
    t_make_origin_file("file", SIZE, SEED);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *directory = t_origin_open_dir(cache);
    stored = t_file_open(directory, "file");
    CHECK_EQ(cachefs_fill(stored, 0, CACHEFS_TO_END, NULL, NULL), SIZE);
    data = cachefs_file_fd(stored);
    CHECK(data >= 0);
    CHECK_EQ(fsync(data), 0);

    /* A file that was changed in the future is not trusted, so not stored. */
    struct t_origin code;
    t_origin_init(&code, SIZE, SEED);
    code.mtime_ns = INT64_MAX / 2;
    cachefs_origin_ops ops = t_origin_ops();
    ops.flags = CACHEFS_ORIGIN_NONBLOCKING;
    cachefs_origin *memory = NULL;
    CHECK_OK(cachefs_origin_open(cache, "memory", &ops, &code, NULL, &memory));
    never_stored = t_file_open(memory, "file");

    queue = t_queue_open(cache, DEPTH, 0);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    CHECK(epoll >= 0);
    int fd = cachefs_queue_fd(queue);
    CHECK(fd >= 0);
    struct epoll_event event = {.events = EPOLLIN};
    CHECK_EQ(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), 0);

    run(total / 2, 1);
    run(total / 2, DEPTH);

    cachefs_statistics statistics = t_statistics(cache);
    CHECK_EQ(statistics.hits + statistics.bypasses, total);
    CHECK(statistics.bypasses >= total / MISS_EVERY);
    CHECK_EQ(statistics.in_flight, 0);

    CHECK_EQ(close(epoll), 0);
    CHECK_EQ(close(data), 0);
    cachefs_queue_close(queue);
    cachefs_file_close(never_stored);
    cachefs_file_close(stored);
    cachefs_origin_close(memory);
    cachefs_origin_close(directory);
    cachefs_cache_close(cache);
    return 0;
}
