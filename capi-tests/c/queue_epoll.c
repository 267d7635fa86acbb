/* An event loop that only sleeps on the queue's descriptor misses no completion. */
#include "t.h"

#include <sys/epoll.h>

enum { SIZE = 40 * T_CHUNK, SEED = 29, DEPTH = 16, READS = 2000, LENGTH = 300 };

static unsigned char buffers[DEPTH][LENGTH];
static uint64_t offsets[DEPTH];

static uint64_t offset_of(unsigned number) {
    return number * UINT64_C(7919) % (SIZE - LENGTH);
}

/* Waits for the descriptor; a lost wake-up ends here. */
static void sleep_on(int epoll) {
    struct epoll_event event;
    int ready;
    do
        ready = epoll_wait(epoll, &event, 1, T_WAIT_SECONDS * 1000);
    while (ready < 0 && errno == EINTR);
    CHECK_EQ(ready, 1);
}

static void run(cachefs_queue *queue, cachefs_file *file, int epoll) {
    bool busy[DEPTH] = {false};
    unsigned pushed = 0, completed = 0;
    while (completed < READS) {
        for (unsigned slot = 0; slot < DEPTH && pushed < READS; slot++) {
            if (busy[slot])
                continue;
            busy[slot] = true;
            offsets[slot] = offset_of(pushed++);
            CHECK_OK(cachefs_queue_read(queue, file, buffers[slot], LENGTH, offsets[slot], slot));
        }
        CHECK(cachefs_queue_submit(queue) >= 0);
        sleep_on(epoll);

        cachefs_completion completions[DEPTH];
        int count = cachefs_queue_wait(queue, completions, 0, DEPTH, 0);
        CHECK(count >= 0);
        for (int i = 0; i < count; i++) {
            uint64_t slot = completions[i].tag;
            CHECK(slot < DEPTH && busy[slot]);
            CHECK_EQ(completions[i].result, LENGTH);
            CHECK_CONTENT(buffers[slot], LENGTH, SEED, offsets[slot]);
            busy[slot] = false;
        }
        completed += (unsigned)count;
    }
}

int main(void) {
    t_make_origin_file("file", SIZE, SEED);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "file");
    cachefs_queue *queue = t_queue_open(cache, DEPTH, 0);

    int fd = cachefs_queue_fd(queue);
    CHECK(fd >= 0);
    CHECK_EQ(cachefs_queue_fd(queue), fd);
    CHECK_EQ(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    CHECK(epoll >= 0);
    struct epoll_event event = {.events = EPOLLIN};
    CHECK_EQ(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), 0);

    /* Cold and warm: completions from library threads and from the queue's own. */
    run(queue, file, epoll);
    run(queue, file, epoll);

    CHECK_EQ(close(epoll), 0);
    cachefs_queue_close(queue);
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
