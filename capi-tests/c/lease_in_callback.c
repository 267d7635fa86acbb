/*
 * Inside a completion callback, what is in the cache can be leased; what is not
 * would make the library wait for itself.
 */
#include "t.h"
#include "t_origin.h"

enum { SIZE = 2 * T_CHUNK, SEED = 66 };

struct context {
    cachefs_file *file;
    cachefs_lease *lease;
    atomic_bool ended;
};

static void completed(void *user, const cachefs_completion *completion) {
    struct context *context = user;
    cachefs_lease *lease = NULL;
    CHECK_EQ(completion->result, 1);
    CHECK_OK(cachefs_lease_acquire(context->file, 10, 100, &context->lease));
    CHECK_ERROR(cachefs_lease_acquire(context->file, T_CHUNK, 1, &lease), -EDEADLK);
    CHECK(lease == NULL);
    context->ended = true;
}

int main(void) {
    struct t_origin memory;
    t_origin_init(&memory, SIZE, SEED);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open(cache, &memory);
    static struct context context;
    unsigned char byte;
    const void *data;
    uint64_t length;

    context.file = t_file_open(origin, "file");
    CHECK_READ(context.file, SIZE, SEED, 1, 0);
    CHECK_SOON(t_residency(context.file).chunks_present == 1);
    CHECK_OK(cachefs_read_async(context.file, &byte, 1, 0, completed, &context, NULL));
    CHECK_SOON(context.ended);
    CHECK_OK(cachefs_lease_data(context.lease, &data, &length));
    CHECK_EQ(length, 100);
    CHECK_CONTENT(data, length, SEED, 10);
    cachefs_lease_release(context.lease);
    CHECK_EQ(t_statistics(cache).leased_bytes, 0);

    cachefs_file_close(context.file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}
