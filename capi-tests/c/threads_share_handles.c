/* Caches, origins and files are used by several threads at once. */
#include "t.h"

enum { THREADS = 4, FILES = 6, ROUNDS = 30, SIZE = 3 * T_CHUNK + 7 };

struct context {
    cachefs_cache *cache;
    cachefs_origin *origin;
    cachefs_file *shared;
    unsigned number;
};

/* Opens, reads and closes files of its own, and reads the one of all. */
static void *work(void *user) {
    struct context *context = user;
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned number = (round + context->number) % FILES;
        char name[32];
        snprintf(name, sizeof name, "file-%u", number);
        cachefs_file *file = t_file_open(context->origin, name);
        CHECK_READ(file, SIZE, number, T_CHUNK + 100, round * UINT64_C(5001) % SIZE);
        CHECK_READ(context->shared, SIZE, 0, 1000, round * UINT64_C(6007) % SIZE);
        t_residency(file);
        t_statistics(context->cache);
        cachefs_file_close(file);
    }
    return NULL;
}

int main(void) {
    struct context contexts[THREADS];
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < FILES; i++) {
        char name[32];
        snprintf(name, sizeof name, "file-%u", i);
        t_make_origin_file(name, SIZE, i);
    }
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *shared = t_file_open(origin, "file-0");

    for (unsigned i = 0; i < THREADS; i++) {
        contexts[i] = (struct context){cache, origin, shared, i};
        CHECK_EQ(pthread_create(&threads[i], NULL, work, &contexts[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK_EQ(t_statistics(cache).errors, 0);
    CHECK_SOON(t_statistics(cache).in_flight == 0);

    cachefs_file_close(shared);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
