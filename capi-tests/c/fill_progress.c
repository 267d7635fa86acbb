/* A copy-fill tells how far it is, and the last time that it is done. */
#include "t.h"
#include "t_origin.h"

enum { SIZE = 20 * T_CHUNK + 1, SEED = 14 };

struct progress {
    pthread_t caller;
    unsigned calls;
    uint64_t last;
};

static int32_t note(void *user, uint64_t bytes_done, uint64_t bytes_total) {
    struct progress *progress = user;
    CHECK(pthread_equal(pthread_self(), progress->caller));
    CHECK_EQ(bytes_total, SIZE);
    CHECK(bytes_done >= progress->last && bytes_done <= bytes_total);
    progress->last = bytes_done;
    progress->calls++;
    return 0;
}

int main(void) {
    struct t_origin memory;
    t_origin_init(&memory, SIZE, SEED);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open(cache, &memory);
    cachefs_file *file = t_file_open(origin, "file");

    struct progress progress = {.caller = pthread_self()};
    CHECK_EQ(cachefs_fill(file, 0, CACHEFS_TO_END, note, &progress), SIZE);
    CHECK(progress.calls >= 1);
    CHECK_EQ(progress.last, SIZE);

    /* Also when there is nothing left to do. */
    progress = (struct progress){.caller = pthread_self()};
    CHECK_EQ(cachefs_fill(file, 0, CACHEFS_TO_END, note, &progress), SIZE);
    CHECK(progress.calls >= 1);
    CHECK_EQ(progress.last, SIZE);

    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
