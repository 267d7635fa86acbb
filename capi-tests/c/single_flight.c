/* Many readers of one cold file cost one read of each chunk at the origin. */
#include "t.h"
#include "t_origin.h"

enum { THREADS = 8, CHUNKS = 6, SIZE = CHUNKS * T_CHUNK, SEED = 45 };

struct context {
    struct t_origin memory;
    cachefs_file *file;
    pthread_barrier_t start;
};

static void *read_all(void *user) {
    struct context *context = user;
    pthread_barrier_wait(&context->start);
    CHECK_READ(context->file, SIZE, SEED, SIZE, 0);
    return NULL;
}

int main(void) {
    static struct context context;
    pthread_t threads[THREADS];
    t_origin_init(&context.memory, SIZE, SEED);
    context.memory.hold = true;
    CHECK_EQ(pthread_barrier_init(&context.start, NULL, THREADS), 0);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open(cache, &context.memory);
    context.file = t_file_open(origin, "file");

    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, read_all, &context), 0);
    CHECK_SOON(t_statistics(cache).in_flight == THREADS);
    CHECK_SOON(t_origin_held(&context.memory) > 0);
    t_sleep_ms(50);
    t_origin_release(&context.memory);
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK_EQ(context.memory.reads, CHUNKS);
    CHECK_EQ(t_statistics(cache).bytes_from_origin, SIZE);

    cachefs_file_close(context.file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
